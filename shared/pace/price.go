package pace

import "time"

// Work is what is to be sent to GitHub, as far as a plan can tell.
type Work struct {
	Keys    int // public keys, one for each scope that is written to
	Writes  int // secrets to be put or deleted
	Settles int // lists to settle the scopes that were written to, one a page
}

// Price is what some work will cost if nothing fails and nobody else uses the
// identity.
type Price struct {
	Requests int
	Points   int           // of the budget a minute
	Duration time.Duration // expected, from the first request to the last answer
}

// expectedRoundTrip is what one request to GitHub is taken to last.
const expectedRoundTrip = 100 * time.Millisecond

// PriceOf returns what the work costs under the mode. A conditional request is
// priced as any other, though it may turn out to cost no quota.
func PriceOf(mode Mode, work Work) Price {
	reads := work.Keys + work.Settles
	price := Price{
		Requests: reads + work.Writes,
		Points:   reads*int(Read) + work.Writes*int(Write),
	}
	for _, n := range []int{work.Keys, work.Settles} {
		price.Duration += rounds(n)
	}
	l := mode.limits()
	if l.serial {
		spacing := max(l.spacing, expectedRoundTrip)
		price.Duration += time.Duration(max(0, work.Writes-1))*spacing + rounds(min(1, work.Writes))
	} else {
		price.Duration += rounds(work.Writes)
	}
	if l.points > 0 && price.Points > l.points {
		// Each budget but the first is waited for a minute long.
		waits := (price.Points - 1) / l.points
		price.Duration = max(price.Duration, time.Duration(waits)*minute+price.Duration%minute)
	}
	return price
}

// rounds returns how long n requests last with as many in flight as there may be.
func rounds(n int) time.Duration {
	return time.Duration((n+MaxInFlight-1)/MaxInFlight) * expectedRoundTrip
}
