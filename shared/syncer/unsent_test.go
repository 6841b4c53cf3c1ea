package syncer_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// Of a write that was never sent there is no trace: not in the ledger, and no
// outcome in the audit. The result says why it was not started.
func TestWhatWasNeverSentIsNotToldAsSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		status syncer.ItemStatus
		code   fault.Code
		early  bool // the run ends with the error
	}{
		"the pace":      {fault.New(fault.RateLimitExhausted, "no room").WithRetryAfter(time.Minute), syncer.ItemPending, fault.RateLimitExhausted, true},
		"the deadline":  {context.DeadlineExceeded, syncer.ItemPending, "", false},
		"an interrupt":  {context.Canceled, syncer.ItemPending, "", false},
		"no key":        {fault.New(fault.GitHubUnavailable, "no answer"), syncer.ItemFailed, fault.GitHubUnavailable, false},
		"no permission": {fault.New(fault.PermissionMissing, "no"), syncer.ItemFailed, fault.PermissionMissing, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 2)
				w.hub.fault = func(secret.Target) error { return syncer.NotSent(c.err) }
				result, err := w.sync()
				if early := errors.Is(err, c.err); early != c.early || !early && err != nil {
					t.Errorf("error %v", err)
				}
				if result.Status != syncer.StatusFailed || len(result.Results) != 6 || !result.Unfinished() && name != "no permission" {
					t.Errorf("%s, %+v", result.Status, result.Summary)
				}
				for _, i := range result.Results {
					if i.Status != c.status || i.Code != c.code || c.status == syncer.ItemPending != strings.HasPrefix(i.Reason, "not started: ") {
						t.Errorf("%s: %s %q: %s", i.Target(), i.Status, i.Code, i.Reason)
					}
				}
				if n := len(w.events.of(audit.SecretCreate)); n != 0 || len(w.events.of(audit.SyncIntent)) != 1 {
					t.Errorf("the audit has %d outcomes", n)
				}
				w.hub.fault = nil
				w.hub.edit(secret.Target{Scope: secret.Actions, Name: "SECRET_000"}, "theirs")
				if next := w.mustSync(); next.Summary.Conflicts != 1 || next.Summary.Created != 5 {
					t.Errorf("next: %+v: an edit was taken for the write that never was", next.Summary)
				}
			})
		})
	}
}

// Once the quota is spent, no more values are read and nothing more is intended.
func TestNothingIsBegunAfterTheQuotaIsSpent(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, twoBatches)
		var asked atomic.Int64
		w.hub.fault = func(secret.Target) error {
			if asked.Add(1) > 10 {
				return syncer.NotSent(fault.New(fault.RateLimitExhausted, "spent").WithRetryAfter(time.Hour))
			}
			return nil
		}
		result, err := w.sync()
		if wait, _ := fault.RetryAfter(err); !errors.Is(err, fault.RateLimitExhausted) || wait != time.Hour {
			t.Errorf("error %v, to be repeated after %s", err, wait)
		}
		if asked.Load() != syncer.BatchSize || w.vault.reads >= twoBatches || len(w.events.of(audit.SyncIntent)) != 1 {
			t.Errorf("%d writes were tried, %d values read, %d batches intended", asked.Load(), w.vault.reads, len(w.events.of(audit.SyncIntent)))
		}
		if result.Status != syncer.StatusPartial || result.Summary.Created != 10 || !result.Starved() {
			t.Errorf("%s, %+v", result.Status, result.Summary)
		}
		w.hub.fault = nil
		if next := w.mustSync(); next.Summary.Created != 3*twoBatches-10 {
			t.Errorf("next: %+v", next.Summary)
		}
		w.checkRight()
	})
}

// A run stops early enough before its deadline that it is closed by then.
func TestARunIsClosedByItsDeadline(t *testing.T) {
	t.Parallel()
	for _, allowed := range []time.Duration{10 * time.Second, 40 * time.Second} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, twoBatches)
			engine := w.engine(new(killer))
			engine.Targets = meddled{Targets: engine.Targets, put: func(_ secret.Target, next func() (syncer.Receipt, error)) (syncer.Receipt, error) {
				receipt, err := next()
				time.Sleep(min(allowed/2, lease.TTL-lease.Margin)) // the answer comes late
				return receipt, err
			}}
			ctx, cancel := context.WithTimeout(t.Context(), allowed)
			defer cancel()
			result, err := engine.Sync(ctx, syncer.Request{Project: w.project})
			if fault.KindOf(err) != fault.Deadline || ctx.Err() != nil {
				t.Errorf("with %s: %v; ended too late: %v", allowed, err, ctx.Err())
			}
			if result.Summary.Created == 0 || result.Summary.Created != w.hub.writes() {
				t.Errorf("with %s: %+v of %d writes", allowed, result.Summary, w.hub.writes())
			}
			w.mustSync() // the lease was given back
			w.checkRight()
		})
	}
}

// cutStore lets a commit of more than the lease take effect and cancels while
// its answer is under way, as over a network.
type cutStore struct {
	docstore.Store
	cancel func()
}

func (s cutStore) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	at, err := s.Store.Commit(context.WithoutCancel(ctx), writes...)
	if len(writes) > 1 {
		s.cancel()
	}
	if err == nil && ctx.Err() != nil {
		return time.Time{}, fault.Wrap(fault.Canceled, "commit", ctx.Err())
	}
	return at, err
}

func TestAnInterruptDoesNotCutACommitOff(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 2)
		engine := w.engine(new(killer))
		ctx, cancel := context.WithCancel(t.Context())
		engine.Store = cutStore{engine.Store, cancel}
		if _, err := engine.Sync(ctx, syncer.Request{Project: w.project}); fault.KindOf(err) != fault.Canceled {
			t.Errorf("error %v", err)
		}
		if _, held, err := lease.Last(t.Context(), w.docs, w.project.Repository.Key()); held || err != nil {
			t.Errorf("the lease is held: %v, %v", held, err)
		}
		if w.mustSync().Summary.Created != 6 {
			t.Error("the next run does not do the rest")
		}
	})
}

// A GitHub that hangs when it is asked for the quota does not keep the ledger
// from being stored nor the lease from being given back.
func TestAGitHubThatHangsAtTheEnd(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.mustSync()
		w.vault.add(w.project.Mappings[0].Source, "new")
		engine := w.engine(new(killer))
		lists := 0
		engine.Targets = meddled{
			Targets: engine.Targets,
			list: func(next func() (plan.Listing, error)) (plan.Listing, error) {
				w.hub.mu.Lock()
				lists++
				n := lists
				w.hub.mu.Unlock()
				if n > 3 {
					return plan.Listing{}, fault.New(fault.GitHubUnavailable, "no answer")
				}
				return next()
			},
			quota: func(ctx context.Context) (syncer.Quota, error) {
				if w.hub.writes() < 9 {
					return syncer.Quota{}, nil
				}
				<-ctx.Done()
				return syncer.Quota{}, ctx.Err()
			},
		}
		if result, err := engine.Sync(t.Context(), syncer.Request{Project: w.project}); err != nil || result.Summary.Updated != 3 {
			t.Errorf("%+v, %v", result.Summary, err)
		}
		if next := w.mustSync(); next.Status != syncer.StatusUnchanged {
			t.Errorf("next: %+v", next.Summary)
		}
	})
}

// hungStore does not answer so many commits.
type hungStore struct {
	docstore.Store
	hangs *atomic.Int64
}

func (s hungStore) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	if s.hangs.Add(-1) >= 0 {
		<-ctx.Done()
		return time.Time{}, ctx.Err()
	}
	return s.Store.Commit(ctx, writes...)
}

// Two renewals in a row that hang do not cost the lease, nor do they keep the
// writes waiting.
func TestAStoreThatHangsForAWhile(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 1)
		engine := w.engine(new(killer))
		hangs := new(atomic.Int64)
		engine.Store = hungStore{engine.Store, hangs}
		engine.Targets = meddled{Targets: engine.Targets, put: func(_ secret.Target, next func() (syncer.Receipt, error)) (syncer.Receipt, error) {
			hangs.Store(2)
			time.Sleep(lease.RenewEvery + 2*time.Second) // in the middle of a renewal
			began := time.Now()
			receipt, err := next()
			if waited := time.Since(began); waited > 0 {
				t.Errorf("the guard waited %s for the store", waited)
			}
			time.Sleep(lease.TTL)
			return receipt, err
		}}
		if result, err := engine.Sync(t.Context(), syncer.Request{Project: w.project}); err != nil || result.Summary.Created != 3 {
			t.Errorf("%+v, %v", result.Summary, err)
		}
	})
}

// refusingStore refuses the first commit of more than the lease.
type refusingStore struct {
	docstore.Store
	refused *atomic.Bool
}

func (s refusingStore) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	if len(writes) > 1 && !s.refused.Swap(true) {
		return time.Time{}, fault.Wrap(fault.Unavailable, "store", nil)
	}
	return s.Store.Commit(ctx, writes...)
}

// A batch whose write-ahead could not be stored is not sent, and what the run
// stores as it ends does not say that it was.
func TestAWriteAheadThatWasNotStored(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 2)
		engine := w.engine(new(killer))
		engine.Store = refusingStore{engine.Store, new(atomic.Bool)}
		if _, err := engine.Sync(t.Context(), syncer.Request{Project: w.project}); fault.KindOf(err) != fault.Unavailable || w.hub.writes() > 0 {
			t.Errorf("%d writes, error %v", w.hub.writes(), err)
		}
		w.hub.edit(secret.Target{Scope: secret.Actions, Name: "SECRET_000"}, "theirs")
		if next := w.mustSync(); next.Summary.Conflicts != 1 || next.Summary.Created != 5 {
			t.Errorf("next: %+v", next.Summary)
		}
	})
}
