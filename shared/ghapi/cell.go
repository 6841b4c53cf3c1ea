package ghapi

import (
	"context"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
)

// cell keeps one value until its time is up, and fetches it once for however
// many want it. The first who wants it fetches it, within its own context; the
// others wait for that. So there is no goroutine that could outlive a request.
type cell[T any] struct {
	clock clock.Clock
	// apart: each has a question of its own, which only a good answer settles for
	// the others. Else a failure is theirs too.
	apart bool

	mu     sync.Mutex
	value  *T
	until  time.Time // zero: for good
	flight *flight[T]
}

type flight[T any] struct {
	done  chan struct{}
	value *T
	err   error
}

// fetch returns a value and when its time is up; a zero time is never.
type fetch[T any] func(context.Context) (*T, time.Time, error)

// get returns the value, but never the unwanted one, which turned out to be no
// good.
func (c *cell[T]) get(ctx context.Context, unwanted *T, fetch fetch[T]) (*T, error) {
	for {
		value, f, mine := c.join(unwanted)
		if value != nil {
			return value, nil
		}
		if mine {
			c.land(ctx, f, fetch)
			return f.value, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if f.err == nil || !c.apart && !ownFault(f.err) {
			return f.value, f.err
		}
	}
}

// ownFault reports whether an error is due to the caller's own context, so that
// it says nothing to those who waited with it.
func ownFault(err error) bool {
	kind := fault.KindOf(err)
	return kind == fault.Canceled || kind == fault.Deadline || kind == fault.Exhausted
}

// join returns the value if it is good, or else the flight that fetches it, and
// whether that is for the caller to carry out.
func (c *cell[T]) join(unwanted *T) (value *T, f *flight[T], mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.value != nil && c.value != unwanted && (c.until.IsZero() || c.clock.Now().Before(c.until)) {
		return c.value, nil, false
	}
	if c.flight != nil {
		return nil, c.flight, false
	}
	c.flight = &flight[T]{done: make(chan struct{})}
	return nil, c.flight, true
}

func (c *cell[T]) land(ctx context.Context, f *flight[T], fetch fetch[T]) {
	var until time.Time
	defer func() { // also if fetch panics: nobody must wait for ever
		c.mu.Lock()
		defer c.mu.Unlock()
		if f.value == nil && f.err == nil {
			f.err = fault.Wrap(fault.Internal, "ghapi: fetch", nil)
		}
		if f.err == nil {
			c.value, c.until = f.value, until
		}
		c.flight = nil
		close(f.done)
	}()
	f.value, until, f.err = fetch(ctx)
}

// cells are cells by name.
type cells[T any] struct {
	clock clock.Clock
	apart bool

	mu sync.Mutex
	m  map[string]*cell[T]
}

func (c *cells[T]) at(name string) *cell[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[string]*cell[T]{}
	}
	if c.m[name] == nil {
		c.m[name] = &cell[T]{clock: c.clock, apart: c.apart}
	}
	return c.m[name]
}
