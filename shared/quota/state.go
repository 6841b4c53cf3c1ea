package quota

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
)

// State is an identity's budget as it was read. Times are the store's.
type State struct {
	ReadTime     time.Time  // zero if nobody ever drew
	StoppedUntil time.Time  // GitHub refused: nothing is sent before; zero or past if it did not
	Quota        pace.Quota // of the hour, as GitHub told it last; zero if it is not known
	Reserved     int        // of the quota, by runs that have begun

	doc storedQuota
}

// Spare is what may be admitted in the coming minute. What has no limit is
// [math.MaxInt].
type Spare struct {
	Points   int
	Writes   int
	Requests int // of the hourly quota, beyond what is reserved
}

// Read reads the budget of an identity, in one read of a document. Errors are
// those of Store.Get but NotFound: an identity that nobody drew for has all to
// spare.
func Read(ctx context.Context, store docstore.Store, identity string) (State, error) {
	record, err := collection.Get(ctx, store, identity)
	if errors.Is(err, fault.NotFound) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fault.Annotate("quota.Read "+identity, err)
	}
	s := State{
		ReadTime: record.ReadTime, StoppedUntil: record.Value.Brake.StoppedUntil,
		Reserved: record.Value.reserved(record.ReadTime), doc: record.Value,
	}
	if s.doc.known(s.ReadTime) {
		s.Quota = pace.Quota{Limit: int(s.doc.Limit), Remaining: int(s.doc.Remaining), ResetAt: s.doc.ResetAt}
	}
	return s, nil
}

// Spare returns what workers of that mode may still be given for the minute
// after now, a time of the store's clock: what they hold or have reserved, and the
// time during which GitHub's refusal stops them, are taken off.
func (s State) Spare(mode pace.Mode, now time.Time) Spare {
	spare := Spare{Points: math.MaxInt, Writes: math.MaxInt, Requests: math.MaxInt}
	end := now.Add(minute)
	from := latest(now, s.doc.Brake.StoppedUntil)
	if s.doc.known(now) {
		spare.Requests = max(0, int(s.doc.Remaining)-s.doc.reserved(now))
	}
	if !from.Before(end) {
		spare.Points, spare.Writes = 0, 0
		return spare
	}
	points, spacing := s.doc.Brake.brake().Allows(mode, from)
	if points > 0 {
		// What was spent before now is there again by then, give or take a margin.
		spare.Points = max(0, points-s.doc.used(end.Add(Margin+2*slot)))
		spare.Writes = spare.Points / int(pace.Write)
	}
	if spacing > 0 {
		left := max(0, end.Sub(latest(from, s.doc.WritesUntil)))
		spare.Writes = min(spare.Writes, int((left+spacing-1)/spacing))
	}
	return spare
}
