package githubd

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWindowsAgainstTheirDefinition holds windows against the plain rule: what
// was admitted within the period, and how long until enough of it is over.
func TestWindowsAgainstTheirDefinition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(5, 30).Draw(t, "limit")
		fixed := rapid.Bool().Draw(t, "fixed")
		const period = 10 * time.Second
		var w window
		var taken []event
		now := time.Unix(1_800_000_000, 0)
		windowStart := now.Add(-period)
		// used is what counts at a moment.
		used := func(at time.Time) (sum int) {
			for _, e := range taken {
				if fixed && !e.at.Before(windowStart) && at.Before(windowStart.Add(period)) || !fixed && e.at.After(at.Add(-period)) {
					sum += e.cost
				}
			}
			return sum
		}
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			cost := rapid.SampledFrom([]int{1, 5}).Draw(t, "cost")
			if fixed && !now.Before(windowStart.Add(period)) {
				windowStart = now
			}
			wait := w.wait(now, cost, limit, period, fixed)
			if fits := used(now)+cost <= limit; fits != (wait == 0) {
				t.Fatalf("%d used of %d, %d wanted: wait %s", used(now), limit, cost, wait)
			}
			if wait == 0 {
				w.take(now, cost, limit, fixed)
				taken = append(taken, event{now, cost})
				continue
			}
			if used(now.Add(wait))+cost > limit {
				t.Fatalf("after %s there is still no room", wait)
			}
			if used(now.Add(wait-1))+cost <= limit {
				t.Fatalf("there is room before %s", wait)
			}
		}
	})
}
