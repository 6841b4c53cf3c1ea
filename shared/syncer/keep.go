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

// tellTime notes GitHub's clock as an answer showed it.
func (r *run) tellTime(at time.Time) {
	if !at.IsZero() {
		r.ahead = at.Sub(r.Clock.Now())
	}
}

// save stores the ledger, if it has changed, and renews the lease. A write that
// is pending may start until the lease ends, and the ledger says so.
func (r *run) save(ctx context.Context) error {
	r.saving.Lock()
	defer r.saving.Unlock()
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
func (r *run) ledgerWrite(ctx context.Context) ([]docstore.Write, error) {
	writes, outcomes, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	if err := r.recordOrKeep(ctx, outcomes); err != nil {
		r.saved(time.Time{}, len(writes) > 0, err)
		return nil, err
	}
	return writes, nil
}

// recordOutcomes records the outcomes that no sink was told yet, and what comes
// after them.
func (r *run) recordOutcomes(ctx context.Context, next ...audit.Event) error {
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	events := slices.Concat(r.outcomes, next)
	r.outcomes = nil
	r.mu.Unlock()
	return r.recordOrKeep(ctx, events)
}

// recordOrKeep records outcomes, or keeps them for the next time.
func (r *run) recordOrKeep(ctx context.Context, outcomes []audit.Event) error {
	err := r.record(ctx, outcomes...)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.outcomes = append(outcomes, r.outcomes...)
	}
	return err
}

// snapshot returns the ledger's write and the outcomes of one moment.
func (r *run) snapshot() ([]docstore.Write, []audit.Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ledger == nil {
		return nil, nil, nil
	}
	for t, entry := range r.ledger.Entries {
		if p := entry.Pending; p != nil && p.Fence == r.lease.Fence {
			pending := *p
			pending.Until = r.githubNow().Add(lease.TTL)
			r.ledger.Entries[t] = ledger.Entry{Written: entry.Written, Pending: &pending}
			r.dirty = true
		}
	}
	var writes []docstore.Write
	if r.dirty {
		write, err := r.ledger.Write()
		if err != nil {
			return nil, nil, err
		}
		writes, r.dirty = []docstore.Write{write}, false
	}
	outcomes := r.outcomes
	r.outcomes = nil
	return writes, outcomes, nil
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
		for r.Clock.Sleep(renewing, lease.RenewEvery) == nil {
			// A renewal is never cut off: nobody could tell whether it took effect.
			saving, cut := context.WithTimeout(context.WithoutCancel(ctx), closing)
			err := fault.Contain(func() error { return r.save(saving) })
			cut()
			if _, lost := r.lease.Check(); lost != nil {
				cancel(lost)
				return
			}
			if err != nil && renewing.Err() == nil {
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
