package pace

import (
	"context"
	"time"
)

// Budget is what all pacers of one identity draw from, so that together they
// stay within what the identity may do. A pacer that has one admits nothing
// that it has not drawn. Times are of the pacer's clock.
//
// Each method returns an error of kind [fault.Unavailable] if the budget cannot
// be reached, and [fault.Canceled] or [fault.Deadline] if its context ends
// first. Nothing is sent then: nobody knows what the others do.
type Budget interface {
	// Draw tells what this pacer spent and learned, gives back what it had
	// drawn before and has left, and takes what it wants now, or some of it.
	Draw(ctx context.Context, want Want) (Chunk, error)

	// Note takes in the hourly quota as GitHub told it. It is passed on with
	// the next Draw or Reserve.
	Note(quota Quota)

	// Quota returns the hourly quota, from which what is reserved is taken off,
	// and whether it is known.
	Quota(ctx context.Context) (Quota, bool, error)

	// Reserve sets requests of the hourly quota aside, for work that asks used
	// how many of them it has sent. It returns a [fault.Exhausted] with
	// [fault.RateLimitExhausted] and a RetryAfter if fewer are left. Release
	// gives back what was not used; it is told with the next Draw.
	Reserve(ctx context.Context, requests int, used func() int) (release func(), err error)
}

// Want is what a pacer tells its budget, and what it asks for.
type Want struct {
	Spent    []Spent // by requests that were answered in the last minute, oldest first
	InFlight int     // points of requests that are not answered yet
	Learned  *Brake  // what a refusal taught; nil if that was told already
	Refusals int     // that this pacer knows of; if others know of more, it is given nothing but those

	Points int // wanted; 0 for none
	Least  int // fewer than that are not worth a draw
	Limit  int // points that all pacers together may spend in a minute; 0 for no limit

	Writes    int           // consecutive writes to reserve; 0 for none
	Spacing   time.Duration // between the starts of two writes of all pacers
	Keep      bool          // the writes that are reserved
	NextWrite time.Time     // no write of this pacer starts before
}

// Spent is what was spent at one time.
type Spent struct {
	At             time.Time
	Points, Writes int
}

// Chunk is what a pacer may spend.
type Chunk struct {
	Points int       // before Until; 0 if there are too few at present
	Until  time.Time // whatever is left then, is void
	Again  time.Time // when more points may be had, if Points is 0

	// Writes may start from WritesFrom on, and so that they are over by
	// WritesUntil. Both are zero if none were wanted.
	WritesFrom, WritesUntil time.Time

	Others  Spent // what other pacers told to have spent in the last minute
	Learned Brake // what all pacers learned from refusals
}

// Quota is an hourly quota.
type Quota struct {
	Limit     int
	Remaining int
	ResetAt   time.Time // of GitHub's clock
}

// Brake is what refusals taught, as pacers share it.
type Brake struct {
	Refusals     int       // so far; echoes of one are not counted
	StoppedUntil time.Time // nothing starts before
	QuotaUntil   time.Time // the hourly quota is spent until then
	Share        float64   // of the allowed rate, when work resumed
	Unserved     int       // refusals in a row with nothing served between them
	// The limits that GitHub seems to have, by the minute and by the hour; 0
	// where none was found.
	Points, Writes, Hourly int
}

// Merge returns b with what another pacer learned. A refusal that b knows is
// counted once, however many pacers met it.
func (b Brake) Merge(other Brake) Brake {
	older, newer := b, other
	if other.Refusals <= b.Refusals {
		older, newer = other, b
	}
	newer.StoppedUntil = latest(newer.StoppedUntil, older.StoppedUntil)
	newer.QuotaUntil = latest(newer.QuotaUntil, older.QuotaUntil)
	if newer.Refusals == older.Refusals && max(older.Points, older.Writes) > 0 {
		// Answers that were in flight at the refusal tell more of the limit.
		newer.Points, newer.Writes = max(newer.Points, older.Points), max(newer.Writes, older.Writes)
		newer.Share = max(newer.Share, halved)
	}
	return newer
}

// Allows returns what a mode leaves of its rate: points a minute, 0 for no
// limit, and how far apart the starts of two writes are.
func (b Brake) Allows(mode Mode, now time.Time) (points int, spacing time.Duration) {
	learned := brake{Brake: b}
	l := learned.limits(mode.limits(), now, learned.rate(now))
	return l.points, l.spacing
}

// sameStop is how much later than known a stop must be to be news: times that
// travel through a store come back somewhat later.
const sameStop = 2 * time.Second

// adopt takes in what all pacers learned, and reports whether it is news.
func (b *brake) adopt(all Brake) bool {
	if all.Refusals < b.Refusals {
		return false
	}
	if all.Refusals == b.Refusals {
		news := all.StoppedUntil.Sub(b.StoppedUntil) > sameStop || all.QuotaUntil.Sub(b.QuotaUntil) > sameStop
		if news {
			b.StoppedUntil = latest(b.StoppedUntil, all.StoppedUntil)
			b.QuotaUntil = latest(b.QuotaUntil, all.QuotaUntil)
		}
		b.Points, b.Writes = max(b.Points, all.Points), max(b.Writes, all.Writes)
		return news
	}
	*b = brake{Brake: all}
	return true
}
