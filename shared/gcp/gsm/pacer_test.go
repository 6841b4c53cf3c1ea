package gsm

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// handClock is moved by the test alone.
type handClock struct{ now time.Time }

func (c *handClock) Now() time.Time                                   { return c.now }
func (c *handClock) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// However calls arrive, no period holds more starts than the limit, none
// starts before it asked or before those that asked sooner, and none waits
// that had room.
func TestNoPeriodHoldsMoreStartsThanTheLimit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 6).Draw(t, "limit")
		clock := &handClock{now: time.Unix(1_800_000_000, 0)}
		p := newPacer(clock, limit, time.Minute)
		var starts []time.Time
		for _, pause := range rapid.SliceOf(rapid.IntRange(0, 90)).Draw(t, "pauses") {
			clock.now = clock.now.Add(time.Duration(pause) * time.Second)
			start := clock.now.Add(p.reserve())
			n := len(starts)
			earliest := clock.now
			if n >= limit && starts[n-limit].Add(time.Minute).After(earliest) {
				earliest = starts[n-limit].Add(time.Minute)
			}
			if !start.Equal(earliest) {
				t.Fatalf("call %d starts at %s, want %s", n, start, earliest)
			}
			if n > 0 && start.Before(starts[n-1]) {
				t.Fatalf("call %d starts before the one that asked sooner", n)
			}
			starts = append(starts, start)
		}
	})
}
