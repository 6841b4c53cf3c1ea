package pace

import "time"

// window is a sliding log of what was spent in the last span.
//
// A spend is stamped when its request has been answered, though GitHub counted
// it when it arrived, a little earlier: once it has left this window it has
// left GitHub's, be that sliding or fixed. A token bucket would give points
// back too early for a fixed window and would not allow the first burst.
//
// Stamps are rounded up to whole slots. That bounds the log however many
// requests there are, and leaves a margin for clocks of unequal speed.
type window struct {
	span, slot time.Duration
	spends     []spend // oldest first
}

type spend struct {
	at     time.Time
	all    int
	served int // of all, what GitHub did not refuse
}

func minuteWindow() window { return window{span: minute, slot: 100 * time.Millisecond} }
func hourWindow() window   { return window{span: time.Hour, slot: minute} }

// add records n, spent by a request that has just been answered.
func (w *window) add(now time.Time, n int, served bool) {
	s := spend{at: now.Add(w.slot - time.Duration(now.UnixNano())%w.slot), all: n}
	if served {
		s.served = n
	}
	if last := len(w.spends) - 1; last >= 0 && !w.spends[last].at.Before(s.at) {
		w.spends[last].all += s.all
		w.spends[last].served += s.served
		return
	}
	w.spends = append(w.spends, s)
}

// used returns what was spent in the span before now, and how much of it GitHub served.
func (w *window) used(now time.Time) (all, served int) {
	gone := 0
	for gone < len(w.spends) && !w.spends[gone].at.Add(w.span).After(now) {
		gone++
	}
	w.spends = w.spends[gone:]
	for _, s := range w.spends {
		all += s.all
		served += s.served
	}
	return all, served
}

// room returns a time before which need more cannot have been spent under
// the limit, given that pending is being spent right now. It is exact for a
// need that fits into what is free or in the log.
func (w *window) room(now time.Time, limit, need, pending int) time.Time {
	if limit <= 0 || need <= 0 {
		return now
	}
	// In any span at most the limit is spent, so each further limit takes one span more.
	spans := (need - 1) / limit
	need -= spans * limit
	wait := time.Duration(spans) * w.span

	all, _ := w.used(now)
	free := limit - all - pending
	if need <= free {
		return now.Add(wait)
	}
	for _, s := range w.spends {
		if free += s.all; need <= free {
			return s.at.Add(w.span + wait)
		}
	}
	return now.Add(w.span + wait)
}
