// Package lease gives one holder at a time the right to write a container's
// targets, with a fencing number that rises with every holder.
//
// A lease is one document. Who wants it writes the document on condition that
// it is as it was read, so that of a crowd one wins and the others fail at
// once. A lease lasts [TTL] from its last renewal, by the store's clock: a
// reader compares the document's update time with the time of its own read,
// and both are the store's. The holder itself counts from before it sent its
// renewal, which is never later than the store's time, and stops [Margin]
// early. A crash therefore holds nobody up for longer than TTL, and machines
// whose clocks are apart agree.
//
// Whatever the holder stores under the lease goes through [Lease.Commit],
// which renews the lease in the same commit. A holder whose lease has passed
// on cannot commit anything: the store refuses, atomically.
package lease

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

const (
	// TTL is how long a lease lasts without renewal.
	TTL = 20 * time.Second
	// Margin is how much earlier the holder stops than the lease ends.
	Margin = 3 * time.Second
	// RenewEvery is how often a holder renews.
	RenewEvery = 5 * time.Second
)

// Run is what the last holder did, kept so that a status can be told without
// another document.
type Run struct {
	SyncID     string    `doc:"syncId,omitempty"`
	Status     string    `doc:"status,omitempty"`
	FinishedAt time.Time `doc:"finishedAt,omitempty"`
	DurationMs int64     `doc:"durationMs,omitempty"`
	Problems   []Problem `doc:"problems,omitempty"` // targets that it left not right
	Quota      Quota     `doc:"quota,omitempty"`    // hourly quota when it ended
}

// Problem is a target that a run left not right.
type Problem struct {
	Scope string `doc:"scope"`
	Name  string `doc:"name"`
	Code  string `doc:"code"`
}

// Quota is an hourly quota; all zero if there is none.
type Quota struct {
	Limit     int64     `doc:"limit,omitempty"`
	Remaining int64     `doc:"remaining,omitempty"`
	ResetAt   time.Time `doc:"resetAt,omitempty"`
}

// Lease is the right to write one container. It is safe for concurrent use.
type Lease struct {
	Fence int64

	store docstore.Store
	clock clock.Clock
	key   string

	committing sync.Mutex // held while the store is asked; Check must not wait for that

	mu         sync.Mutex // guards what follows
	holder     string     // changed with committing held too
	last       Run        // likewise
	updateTime time.Time  // the store's clock
	until      time.Time  // our clock
	lost       bool
}

// Acquire takes the lease of the container with that key, or returns a
// [fault.Conflict] with [fault.SyncInProgress] at once if it is held. The
// holder names the run, for people who look at the document.
func Acquire(ctx context.Context, store docstore.Store, clk clock.Clock, key, holder string) (*Lease, error) {
	l := &Lease{store: store, clock: clk, key: key, holder: holder}
	condition := docstore.IfAbsent()
	record, err := collection.Get(ctx, store, key)
	switch {
	case errors.Is(err, fault.NotFound):
	case err != nil:
		return nil, fault.Annotate("lease.Acquire "+key, err)
	default:
		stored := record.Value
		if left := record.UpdateTime.Add(TTL).Sub(record.ReadTime); stored.Holder != "" && left > 0 {
			return nil, inProgress(left)
		}
		l.Fence, l.last = stored.Fence, stored.Last
		condition = docstore.IfUnchanged(record.UpdateTime)
	}
	l.Fence++
	if _, err := l.commit(ctx, condition); err != nil {
		if errors.Is(err, fault.Conflict) || errors.Is(err, fault.Exists) {
			return nil, inProgress(TTL)
		}
		return nil, fault.Annotate("lease.Acquire "+key, err)
	}
	return l, nil
}

func inProgress(left time.Duration) error {
	return fault.New(fault.SyncInProgress, "another run holds the lease, or was killed less than %.0f s ago", TTL.Seconds()).WithRetryAfter(max(left, time.Second))
}

// Previous returns what the holder before this one did.
func (l *Lease) Previous() Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Commit makes the writes and renews the lease, all or nothing, and returns
// the update time of the writes. It returns a [fault.Conflict] with
// [fault.LeaseLost] if the lease has passed on, or if a precondition of the
// writes fails: somebody else has changed what the holder took for its own, or
// an earlier commit took effect though its answer was lost. Either way the
// holder no longer knows what is stored, and its lease is over.
//
// Check does not wait for a Commit: until the store has answered, the lease
// lasts as long as it did before.
func (l *Lease) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	l.committing.Lock()
	defer l.committing.Unlock()
	if _, err := l.Check(); err != nil {
		return time.Time{}, err
	}
	return l.renew(ctx, writes...)
}

// Release gives the lease back in the same commit as the last writes, and
// notes what the run did. Errors are those of Commit; the lease then ends by
// itself.
func (l *Lease) Release(ctx context.Context, run Run, writes ...docstore.Write) (time.Time, error) {
	l.committing.Lock()
	defer l.committing.Unlock()
	if _, err := l.Check(); err != nil {
		return time.Time{}, err
	}
	l.mu.Lock()
	l.holder, l.last = "", run
	l.mu.Unlock()
	at, err := l.renew(ctx, writes...)
	l.end()
	return at, err
}

// end makes the lease one that is over.
func (l *Lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
}

// Check returns how long the lease certainly still lasts, or a
// [fault.Conflict] with [fault.LeaseLost] if it may have ended. It asks no
// store, so that it can stand before every request.
func (l *Lease) Check() (time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	// The monotonic clock, by which Go compares, stands still while a laptop
	// sleeps; the wall clock, which Round(0) leaves, may be set back.
	if l.lost || !now.Before(l.until) || !now.Round(0).Before(l.until.Round(0)) {
		return 0, lost(nil)
	}
	return l.until.Sub(now), nil
}

// renew commits on condition that the lease is as this holder left it;
// committing is held.
func (l *Lease) renew(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	l.mu.Lock()
	condition := docstore.IfUnchanged(l.updateTime)
	l.mu.Unlock()
	at, err := l.commit(ctx, condition, writes...)
	if errors.Is(err, fault.Conflict) || errors.Is(err, fault.Exists) {
		l.end()
		return time.Time{}, lost(err)
	}
	return at, fault.Annotate("lease.Commit "+l.key, err)
}

func (l *Lease) commit(ctx context.Context, condition docstore.Precondition, writes ...docstore.Write) (time.Time, error) {
	l.mu.Lock()
	stored := storedLease{Holder: l.holder, Fence: l.Fence, Last: l.last}
	l.mu.Unlock()
	write, err := collection.Put(l.key, stored, condition)
	if err != nil {
		return time.Time{}, err
	}
	sent := l.clock.Now()
	at, err := l.store.Commit(ctx, append([]docstore.Write{write}, writes...)...)
	if err != nil {
		return time.Time{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.updateTime, l.until = at, sent.Add(TTL-Margin)
	return at, nil
}

func lost(cause error) error {
	return fault.New(fault.LeaseLost, "the lease has ended, or what was stored under it has changed").WithCause(cause)
}

// Last returns what the last run of a container did, and whether a run holds
// its lease now. A container that never had a run has a zero Run.
func Last(ctx context.Context, store docstore.Store, key string) (Run, bool, error) {
	record, err := collection.Get(ctx, store, key)
	if errors.Is(err, fault.NotFound) {
		return Run{}, false, nil
	}
	if err != nil {
		return Run{}, false, fault.Annotate("lease.Last "+key, err)
	}
	held := record.Value.Holder != "" && record.ReadTime.Before(record.UpdateTime.Add(TTL))
	return record.Value.Last, held, nil
}

// storedLease is the stored form. A run's part of it changes with Run, which
// has no other form.
type storedLease struct {
	Holder string `doc:"holder"` // empty: released
	Fence  int64  `doc:"fence"`
	Last   Run    `doc:"last"`
}

var collection = docstore.Collection[storedLease]{Name: "leases", Version: 1}
