package pace

import "time"

const (
	// untold is GitHub's advice where a refusal does not say how long to wait;
	// it doubles while nothing is served in between, up to sixteen minutes.
	untold       = minute
	mostDoubling = 4
	// longestStop bounds what a refusal can demand: the primary quota resets hourly.
	longestStop = time.Hour + minute
	// Of the allowed rate, half is left after a refusal, an eighth comes back
	// with each clean minute, and never less than a sixteenth is left.
	halved    = 1.0 / 2
	step      = 1.0 / 8
	leastRate = 1.0 / 16

	// learnedShare of what GitHub served before it refused is taken as its limit.
	learnedShare = 0.95
	// What was served before a refusal says something of a limit by the minute
	// only if it is more than this; else GitHub had another reason.
	tellingWrites = 20
	tellingPoints = 100
	// An hourly limit is suspected from here on: GitHub documents 500 an hour.
	tellingHourly = 400
	// forgetAfter is how long a limit that was found out is kept to. It is longer
	// than an hour, so that an hourly limit is not tried anew each hour.
	forgetAfter = 6 * time.Hour

	leastPoints = 2 * int(Write)
	leastWrites = 3
)

// brake is what a pacer learned from refusals. Its zero value has learned nothing.
//
// All that are in flight at a refusal are likely to be refused as well: that is
// one refusal and is learned from once. Requests therefore carry the number of
// the refusals before them, and a refusal of an older number is an echo.
type brake struct {
	Brake
	serving bool // something was served since work resumed

	// What was served in the minute before the refusal, later answers included,
	// if a limit by the minute can be learned from it.
	learning                   bool
	beforePoints, beforeWrites int
}

// slowed reports whether refusals still have an effect.
func (b *brake) slowed(now time.Time) bool {
	return b.Refusals > 0 && now.Sub(b.StoppedUntil) < forgetAfter
}

// rate returns the present share of the allowed rate.
func (b *brake) rate(now time.Time) float64 {
	if !b.slowed(now) {
		return 1
	}
	clean := max(0, int(now.Sub(b.StoppedUntil)/minute))
	return min(1, b.Share+float64(clean)*step)
}

// limits returns what is left of the mode's limits at a share of the rate.
func (b *brake) limits(base limits, now time.Time, share float64) limits {
	if !b.slowed(now) {
		return base
	}
	// Whoever refuses has limits: where the mode assumes none, it has GitHub's.
	points, writes := fastPoints, fastPoints/int(Write)
	if base.spacing > 0 {
		writes = int(minute / base.spacing)
	}
	base.points = max(leastPoints, int(share*float64(lower(points, b.Points))))
	base.writes = max(leastWrites, int(share*float64(lower(writes, b.Writes))))
	base.hourly = b.Hourly
	base.spacing = minute / time.Duration(base.writes)
	return base
}

func lower(limit, learned int) int {
	if learned > 0 && learned < limit {
		return learned
	}
	return limit
}

// refused takes in a refusal that is no echo. The served counts are of the last
// minute and hour; wait is what GitHub asked for, or 0; quota tells that the
// hourly quota is spent, which says nothing of limits by the minute.
func (b *brake) refused(now time.Time, wait time.Duration, quota bool, points, writes, hourly int) {
	if b.serving || !b.slowed(now) {
		b.Unserved = 0
	}
	if !b.slowed(now) {
		b.Points, b.Writes, b.Hourly = 0, 0, 0
	}
	if wait == 0 {
		wait = untold << min(b.Unserved, mostDoubling)
	}
	b.Share = max(leastRate, halved*b.rate(now))
	b.Refusals++
	b.Unserved++
	b.serving = false
	b.learning, b.beforePoints, b.beforeWrites = !quota, points, writes
	b.stop(now, wait)
	if !quota && !b.learn() && hourly >= tellingHourly {
		b.Hourly = int(learnedShare * float64(hourly))
	}
}

// stop holds everything up for the given time at least.
func (b *brake) stop(now time.Time, wait time.Duration) {
	if until := now.Add(min(wait, longestStop)); until.After(b.StoppedUntil) {
		b.StoppedUntil = until
	}
}

// served takes in an answer that was no refusal, and reports whether something
// was learned from it: one that was in flight when GitHub refused was within
// the limit too.
func (b *brake) served(refusals, points, writes int) bool {
	if refusals == b.Refusals {
		b.serving = true
		return false
	}
	if refusals == b.Refusals-1 && b.learning {
		b.beforePoints += points
		b.beforeWrites += writes
		return b.learn()
	}
	return false
}

// learn takes what was served in the minute before a refusal as the limit, and
// reports whether that was enough to say anything.
func (b *brake) learn() bool {
	telling := false
	if b.beforePoints >= tellingPoints {
		b.Points, telling = int(learnedShare*float64(b.beforePoints)), true
	}
	if b.beforeWrites >= tellingWrites {
		b.Writes, telling = int(learnedShare*float64(b.beforeWrites)), true
	}
	if telling {
		b.Share = max(b.Share, halved)
	}
	return telling
}
