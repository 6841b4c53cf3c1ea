package pace

import (
	"context"
	"time"
)

// Guard is asked right before a write is sent, after it has waited for its
// place: it returns how long the right to write certainly still lasts, or the
// error with which the write is given up. A writer that was paused past the
// end of its lease therefore starts no new request.
type Guard func() (time.Duration, error)

type guardKey struct{}

// WithGuard returns a context whose writes ask the guard.
func WithGuard(ctx context.Context, g Guard) context.Context {
	return context.WithValue(ctx, guardKey{}, g)
}

// GuardFrom returns the context's guard, or nil if writes are not guarded.
func GuardFrom(ctx context.Context) Guard {
	g, _ := ctx.Value(guardKey{}).(Guard)
	return g
}
