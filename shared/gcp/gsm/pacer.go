package gsm

import (
	"context"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
)

// pacer lets at most limit calls start in any period, in the order of asking.
// A burst up to the limit is not slowed down.
type pacer struct {
	clock  clock.Clock
	period time.Duration

	mu     sync.Mutex
	starts []time.Time // of the last limit calls, a ring; some may be to come
	next   int         // place of the oldest
}

// newPacer returns a pacer; a limit below 0 never slows down.
func newPacer(c clock.Clock, limit int, period time.Duration) *pacer {
	return &pacer{clock: c, period: period, starts: make([]time.Time, max(limit, 0))}
}

// wait returns nil when a call may start, or the context's error if that ends
// first. A start that was given up is spent all the same: that errs towards
// fewer calls, and a canceled caller has few.
func (p *pacer) wait(ctx context.Context) error {
	if len(p.starts) == 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	return p.clock.Sleep(ctx, p.reserve())
}

func (p *pacer) reserve() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	start := now
	if oldest := p.starts[p.next]; !oldest.IsZero() && oldest.Add(p.period).After(now) {
		start = oldest.Add(p.period)
	}
	p.starts[p.next] = start
	p.next = (p.next + 1) % len(p.starts)
	return start.Sub(now)
}
