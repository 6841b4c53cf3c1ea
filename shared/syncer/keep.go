package syncer

import (
	"context"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
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
	writes, err := r.ledgerWrite()
	if err != nil {
		return err
	}
	at, err := r.lease.Commit(ctx, writes...)
	r.saved(at, len(writes) > 0, err)
	return err
}

// ledgerWrite returns the write of the ledger, or none if it has not changed.
func (r *run) ledgerWrite() ([]docstore.Write, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ledger == nil {
		return nil, nil
	}
	for t, entry := range r.ledger.Entries {
		if p := entry.Pending; p != nil && p.Fence == r.lease.Fence {
			pending := *p
			pending.Until = r.githubNow().Add(lease.TTL)
			r.ledger.Entries[t] = ledger.Entry{Written: entry.Written, Pending: &pending}
			r.dirty = true
		}
	}
	if !r.dirty {
		return nil, nil
	}
	write, err := r.ledger.Write()
	if err != nil {
		return nil, err
	}
	r.dirty = false
	return []docstore.Write{write}, nil
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
			err := r.save(saving)
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
