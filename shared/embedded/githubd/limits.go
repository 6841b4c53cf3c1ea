package githubd

import (
	"time"
)

// The reasons for which a request is refused by a limit.
const (
	refusedPrimary     = "primary"
	refusedPoints      = "points"
	refusedConcurrent  = "concurrent"
	refusedContent     = "content"
	refusedUnannounced = "unannounced"
	refusedPenalty     = "penalty"
)

// refusal is why a request is refused and for how long the next would be.
type refusal struct {
	reason string
	wait   time.Duration
}

// demand is what one request asks of the limits.
type demand struct {
	endpoint string
	charged  bool // counts against the primary limit
	write    bool // costs 5 points rather than 1
	content  bool // may count as creating content
}

func (d demand) points() int {
	if d.write {
		return 5
	}
	return 1
}

// usage is what one identity has used. The server's mutex guards it.
type usage struct {
	primary      window
	points       map[string]*window // by endpoint, or all under ""
	contentMin   window
	contentHour  window
	unannounced  window
	inFlight     int
	blockedUntil time.Time
}

func newUsage() *usage { return &usage{points: map[string]*window{}} }

// admit takes a request into account, or says why not. What is admitted is in
// flight until release. A refused request counts towards nothing.
func (u *usage) admit(now time.Time, l Limits, d demand) *refusal {
	if now.Before(u.blockedUntil) {
		return &refusal{refusedPenalty, u.blockedUntil.Sub(now)}
	}
	checks := []struct {
		reason string
		window *window
		limit  int
		period time.Duration
		fixed  bool
		cost   int
	}{
		{refusedPrimary, &u.primary, l.Primary, time.Hour, true, cost(d.charged, 1)},
		{refusedPoints, u.pointsWindow(l, d), l.Points, time.Minute, l.FixedWindows, d.points()},
		{refusedContent, &u.contentMin, l.ContentPerMinute, time.Minute, l.FixedWindows, cost(d.content, 1)},
		{refusedContent, &u.contentHour, l.ContentPerHour, time.Hour, l.FixedWindows, cost(d.content, 1)},
		{refusedUnannounced, &u.unannounced, l.Unannounced, unannouncedWindow(l), l.FixedWindows, cost(d.write, 1)},
	}
	if l.Concurrent > 0 && u.inFlight >= l.Concurrent {
		return u.punish(now, l, &refusal{refusedConcurrent, time.Second})
	}
	for _, c := range checks {
		wait := c.window.wait(now, c.cost, c.limit, c.period, c.fixed)
		switch {
		case wait > 0 && c.reason == refusedPrimary:
			return &refusal{c.reason, wait}
		case wait > 0:
			return u.punish(now, l, &refusal{c.reason, wait})
		}
	}
	for _, c := range checks {
		c.window.take(now, c.cost, c.limit, c.fixed)
	}
	u.inFlight++
	return nil
}

func unannouncedWindow(l Limits) time.Duration {
	if l.UnannouncedWindow <= 0 {
		return time.Minute
	}
	return time.Duration(l.UnannouncedWindow)
}

// cost is n for a request that counts and 0 for one that does not.
func cost(counts bool, n int) int {
	if counts {
		return n
	}
	return 0
}

func (u *usage) pointsWindow(l Limits, d demand) *window {
	endpoint := ""
	if l.PointsPerEndpoint {
		endpoint = d.endpoint
	}
	w := u.points[endpoint]
	if w == nil {
		w = &window{}
		u.points[endpoint] = w
	}
	return w
}

func (u *usage) punish(now time.Time, l Limits, r *refusal) *refusal {
	if l.Penalty > 0 {
		u.blockedUntil = now.Add(time.Duration(l.Penalty))
		r.wait = max(r.wait, time.Duration(l.Penalty))
	}
	return r
}

func (u *usage) release() { u.inFlight-- }

// window counts costs over a period that either slides or begins with the
// first cost after the last period ended.
type window struct {
	start  time.Time
	end    time.Time
	used   int
	events []event // sliding windows only, oldest first
}

type event struct {
	at   time.Time
	cost int
}

// wait returns how long until cost fits, after forgetting what is over: 0 if it
// fits now.
func (w *window) wait(now time.Time, cost, limit int, period time.Duration, fixed bool) time.Duration {
	if limit <= 0 {
		return 0
	}
	if fixed {
		return w.waitFixed(now, cost, limit, period)
	}
	gone := 0
	for gone < len(w.events) && !w.events[gone].at.After(now.Add(-period)) {
		w.used -= w.events[gone].cost
		gone++
	}
	w.events = w.events[gone:]
	excess := w.used + cost - limit
	if cost == 0 || excess <= 0 {
		return 0
	}
	for _, e := range w.events {
		if excess -= e.cost; excess <= 0 {
			return e.at.Add(period).Sub(now)
		}
	}
	return period // a single request that costs more than the limit
}

func (w *window) waitFixed(now time.Time, cost, limit int, period time.Duration) time.Duration {
	if !now.Before(w.end) {
		w.start, w.end, w.used = now, now.Add(period), 0
	}
	if cost == 0 || w.used+cost <= limit {
		return 0
	}
	return w.end.Sub(now)
}

// take counts a cost for which wait has just returned 0.
func (w *window) take(now time.Time, cost, limit int, fixed bool) {
	if limit <= 0 || cost == 0 {
		return
	}
	w.used += cost
	if fixed {
		return
	}
	if n := len(w.events); n > 0 && w.events[n-1].at.Equal(now) {
		w.events[n-1].cost += cost
		return
	}
	w.events = append(w.events, event{now, cost})
}

// giveBack takes back one that was counted at the time given, if its window is
// still the present one.
func (w *window) giveBack(countedAt time.Time) {
	if w.used > 0 && !countedAt.Before(w.start) {
		w.used--
	}
}
