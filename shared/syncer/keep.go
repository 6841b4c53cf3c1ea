package syncer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/ledger"
)

// githubNow estimates GitHub's clock.
func (r *run) githubNow() time.Time { return r.Clock.Now().Add(r.ahead) }

// tellTime notes GitHub's clock as an answer showed it. It was that time when
// the answer was made, which is a while ago: so each answer tells the least by
// which GitHub's clock may be ahead, and the greatest of them is the closest.
func (r *run) tellTime(at time.Time) {
	if at.IsZero() {
		return
	}
	if ahead := at.Sub(r.Clock.Now()); !r.told || ahead > r.ahead {
		r.ahead, r.told = ahead, true
	}
}

const (
	// renewal is how long a renewal may take. Two that hang, one after the
	// other, leave time for a third before the lease ends.
	renewal = 4 * time.Second
	// again is when a renewal that failed is repeated.
	again = time.Second / 2
)

// save stores the ledger, if it has changed, and renews the lease. It may take
// as long as limit says, and is not cut off when ctx ends: nobody could tell
// whether it took effect.
func (r *run) save(ctx context.Context, limit time.Duration) error {
	r.saving.Lock()
	defer r.saving.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	writes, err := r.ledgerWrite(ctx)
	if err != nil {
		return err
	}
	at, err := r.lease.Commit(ctx, writes...)
	r.saved(at, len(writes) > 0, err)
	return err
}

// ledgerWrite returns the write of the ledger, or none if it has not changed.
// It records the outcomes that the ledger tells of first: whoever is killed in
// between repeats a write, and the audit misses no outcome. r.saving is held.
//
// A write that is pending may start until the lease ends, and the ledger says
// so. The commit that follows renews the lease, so this is reckoned when the
// events are recorded, however long that took; [lease.Margin] is more than what
// passes from here to the commit.
func (r *run) ledgerWrite(ctx context.Context) ([]docstore.Write, error) {
	l, outcomes := r.snapshot()
	err := r.recordOrKeep(ctx, outcomes)
	if l == nil {
		return nil, err
	}
	var write docstore.Write
	if err == nil {
		r.extend(l)
		write, err = l.Write()
	}
	if err != nil {
		r.saved(time.Time{}, true, err)
		return nil, err
	}
	return []docstore.Write{write}, nil
}

// extend notes until when this run's pending writes may start, once the commit
// that is to come has renewed the lease.
func (r *run) extend(l *ledger.Ledger) {
	r.mu.Lock()
	until := r.githubNow().Add(lease.TTL)
	r.mu.Unlock()
	for t, entry := range l.Entries {
		if r.mayStart(entry) {
			pending := *entry.Pending
			pending.Until = until
			l.Entries[t] = ledger.Entry{Written: entry.Written, Pending: &pending}
		}
	}
}

// mayStart reports whether a write of this run is pending.
func (r *run) mayStart(entry ledger.Entry) bool {
	return entry.Pending != nil && entry.Pending.Fence == r.lease.Fence
}

// recordOutcomes records the outcomes that no sink was told yet, and what comes
// after them.
func (r *run) recordOutcomes(ctx context.Context, next ...audit.Event) error {
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	outcomes := r.outcomes
	r.outcomes = nil
	r.mu.Unlock()
	return r.recordOrKeep(ctx, outcomes, next...)
}

// recordOrKeep records outcomes and what comes after them, or keeps the outcomes
// for the next time.
func (r *run) recordOrKeep(ctx context.Context, outcomes []audit.Event, next ...audit.Event) error {
	err := r.record(ctx, slices.Concat(outcomes, next)...)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.outcomes = append(outcomes, r.outcomes...)
	}
	return err
}

// snapshot returns a copy of the ledger, or nil if the stored one is as good,
// and the outcomes of the same moment.
func (r *run) snapshot() (*ledger.Ledger, []audit.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	outcomes := r.outcomes
	r.outcomes = nil
	if r.ledger == nil {
		return nil, outcomes
	}
	for _, entry := range r.ledger.Entries {
		r.dirty = r.dirty || r.mayStart(entry)
	}
	if !r.dirty {
		return nil, outcomes
	}
	r.dirty = false
	return r.ledger.Clone(), outcomes
}

func (r *run) saved(at time.Time, ledger bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !ledger:
	case err != nil:
		r.dirty = true
	default:
		r.ledger.Stored(at)
	}
}

// keepAlive renews the lease until stop is called. The context that it returns
// ends if the lease is lost.
func (r *run) keepAlive(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	renewing, halt := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait := lease.RenewEvery
		for r.Clock.Sleep(renewing, wait) == nil {
			wait = lease.RenewEvery
			err := fault.Contain(func() error { return r.save(ctx, renewal) })
			if _, lost := r.lease.Check(); lost != nil {
				cancel(lost)
				return
			}
			if err != nil && renewing.Err() == nil {
				wait = again
				r.Log.WarnContext(ctx, "the lease could not be renewed", "syncId", r.id, "error", err)
			}
		}
	}()
	return ctx, sync.OnceFunc(func() {
		halt()
		<-done
		cancel(nil)
	})
}
