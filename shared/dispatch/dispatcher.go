package dispatch

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/quota"
)

const (
	// Tick is how often the dispatcher runs.
	Tick = time.Minute
	// tickSlack is how much earlier than a tick a published mark is due again:
	// Scheduler is late or early by seconds.
	tickSlack = 10 * time.Second
	// window is how many due marks one tick looks at.
	window = docstore.MaxListLimit
)

// Accounts tells what is left of each account's pace.
type Accounts interface {
	// Spare returns what the account of the login has left, with the errors of
	// the store. An account that must not be asked now has nothing left.
	Spare(ctx context.Context, owner string) (quota.Spare, error)
}

// Quotas are the accounts' budgets in the store.
type Quotas struct {
	Store docstore.Store
	Mode  pace.Mode
	App   bool // each account is an installation of an App; else one token serves all
}

// Spare implements [Accounts].
func (q Quotas) Spare(ctx context.Context, owner string) (quota.Spare, error) {
	state, err := quota.Read(ctx, q.Store, quota.Identity(q.App, owner))
	if err != nil {
		return quota.Spare{}, err
	}
	return state.Spare(q.Mode, state.ReadTime), nil
}

// Dispatcher publishes the marks that are due.
type Dispatcher struct {
	Store    docstore.Store
	Events   event.Publisher
	Accounts Accounts
	Clock    clock.Clock
	Log      *slog.Logger
}

// Report says what a tick did.
type Report struct {
	Due       int // marks that were looked at
	Published int // of them
	Waiting   int // for their account's pace
}

// Tick publishes what is due and what the pace admits. Errors are those of the
// store and of [event.Publisher]; whatever was not published is so at the next
// tick.
func (d Dispatcher) Tick(ctx context.Context) (Report, error) {
	due, err := mark.List(ctx, d.Store, d.Clock.Now(), window)
	if err != nil {
		return Report{}, err
	}
	admitted, err := d.admit(ctx, due)
	if err != nil {
		return Report{Due: len(due)}, err
	}
	report := Report{Due: len(due), Published: len(admitted), Waiting: len(due) - len(admitted)}
	nudges := make([]Nudge, 0, len(admitted))
	for _, m := range admitted {
		nudges = append(nudges, Nudge{Container: m.Key})
	}
	if err := publish(ctx, d.Events, nudges); err != nil {
		return Report{Due: len(due)}, err
	}
	d.move(ctx, admitted)
	return report, nil
}

// admit returns the marks that may go out now, the most urgent and then the
// oldest first.
func (d Dispatcher) admit(ctx context.Context, due []mark.Due) ([]mark.Due, error) {
	slices.SortStableFunc(due, func(a, b mark.Due) int {
		return cmp.Or(cmp.Compare(b.Urgency, a.Urgency), a.Since.Compare(b.Since))
	})
	left := map[string]*quota.Spare{}
	var admitted []mark.Due
	for _, m := range due {
		spare := left[m.Owner]
		if spare == nil {
			found, err := d.Accounts.Spare(ctx, m.Owner)
			if err != nil {
				return nil, err
			}
			spare = &found
			left[m.Owner] = spare
		}
		if take(spare, m.Points) {
			admitted = append(admitted, m)
		}
	}
	return admitted, nil
}

// take reports whether the work may be asked for, and takes it off. The last one
// may go over what is left: its worker waits for the rest.
func take(spare *quota.Spare, points int) bool {
	if spare.Points <= 0 || spare.Requests <= 0 {
		return false
	}
	points = max(points, 1)
	spare.Points -= points
	spare.Requests -= points // a list is one point and one request
	return true
}

// move sets the marks to the next tick. One that cannot be moved is published
// again, which is a repeat like any other.
func (d Dispatcher) move(ctx context.Context, published []mark.Due) {
	again := d.Clock.Now().Add(Tick - tickSlack)
	errs := each(published, func(m mark.Due) error { return m.Published(ctx, d.Store, m.Key, again) })
	for i, err := range errs {
		if err != nil {
			d.Log.WarnContext(ctx, "a published mark could not be moved", "container", published[i].Key, "error", err)
		}
	}
}
