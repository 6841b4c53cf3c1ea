package syncer_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// Killed twice in a row, before the first kill was made good, the run after
// that still says no false conflict.
func TestKilledTwice(t *testing.T) {
	t.Parallel()
	total := points(t, twoBatches)
	for first := total / 8; first < total; first += total/8 + 1 {
		for second := 10; second < total; second += total/8 + 1 {
			t.Run(fmt.Sprint(first, "-", second), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(t *testing.T) {
					w := newWorld(t, twoBatches)
					for _, at := range []int{first, second} {
						_, _ = w.engine(&killer{at: at}).Sync(t.Context(), syncer.Request{Project: w.project, Actor: "test"})
						time.Sleep(lease.TTL + 10*time.Second)
					}
					if result := w.mustSync(); result.Summary.Conflicts+result.Summary.Failed > 0 {
						t.Errorf("next run: %+v", result.Summary)
					}
					w.checkRight()
				})
			})
		}
	}
}

// Killed, and the next run interrupted before it could write again: what the
// first one wrote stays ours.
func TestKilledThenInterrupted(t *testing.T) {
	t.Parallel()
	total := points(t, twoBatches)
	for first := total / 8; first < total; first += total/21 + 1 {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w := newWorld(t, twoBatches)
				_, _ = w.engine(&killer{at: first}).Sync(t.Context(), syncer.Request{Project: w.project, Actor: "test"})
				time.Sleep(lease.TTL + 10*time.Second)
				ctx, cancel := context.WithCancel(t.Context())
				w.hub.fault = func(secret.Target) error { cancel(); return nil }
				_, _ = w.engine(new(killer)).Sync(ctx, syncer.Request{Project: w.project, Actor: "test"})
				w.hub.fault = nil
				if result := w.mustSync(); result.Summary.Conflicts+result.Summary.Failed > 0 {
					t.Errorf("next run: %+v", result.Summary)
				}
				w.checkRight()
			})
		})
	}
}

// slow answers each write a second later than the one before.
type slow struct {
	syncer.Targets
	puts *atomic.Int64
}

func (s slow) Put(ctx context.Context, c project.Container, p syncer.Put) (syncer.Receipt, error) {
	time.Sleep(time.Duration(s.puts.Add(1)) * time.Second)
	return s.Targets.Put(ctx, c, p)
}

// Killed in the middle of a batch, after a renewal of the lease has stored what
// was written until then: the audit has the outcomes of that too.
func TestKilledAfterARenewal(t *testing.T) {
	t.Parallel()
	for seconds := range 29 {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 10)
				k := new(killer)
				engine := w.engine(k)
				engine.Targets = slow{engine.Targets, new(atomic.Int64)}
				time.AfterFunc(time.Duration(seconds)*time.Second+500*time.Millisecond, func() {
					k.mu.Lock()
					defer k.mu.Unlock()
					k.dead = true
				})
				if _, err := engine.Sync(t.Context(), syncer.Request{Project: w.project, Actor: "test"}); err == nil {
					t.Fatal("it was not killed")
				}
				time.Sleep(lease.TTL)
				if result := w.mustSync(); result.Summary.Conflicts+result.Summary.Failed > 0 {
					t.Errorf("next run: %+v", result.Summary)
				}
				w.checkRight()
				w.checkAudit()
			})
		})
	}
}

// A write without an answer may take effect for as long as that of a killed run,
// and not for as long as the run happens to last.
func TestAnEditLongAfterAnUnansweredWriteIsTheirs(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.mustSync()
		time.Sleep(time.Hour)
		for _, m := range w.project.Mappings {
			w.vault.add(m.Source, "new "+string(m.Name))
		}
		unanswered := secret.Target{Scope: secret.Actions, Name: "SECRET_000"}
		engine := w.engine(new(killer))
		engine.Targets = meddled{Targets: engine.Targets, put: func(t secret.Target, next func() (syncer.Receipt, error)) (syncer.Receipt, error) {
			if t == unanswered {
				return syncer.Receipt{}, fault.New(fault.GitHubUnavailable, "no answer")
			}
			time.Sleep(10 * time.Minute) // the others wait for the pace
			return next()
		}}
		time.AfterFunc(5*time.Minute, func() { w.hub.edit(unanswered, "theirs") })
		if result, err := engine.Sync(t.Context(), syncer.Request{Project: w.project}); err != nil || result.Summary.Failed != 1 {
			t.Fatalf("%+v, %v", result.Summary, err)
		}
		if next := w.mustSync(); next.Summary.Conflicts != 1 || w.hub.copies[unanswered].value.Reveal() != "theirs" {
			t.Errorf("next: %+v", next.Summary)
		}
	})
}

// A listing's later pages may have waited: its first answer does not tell what
// time it is at GitHub.
func TestKilledAfterAListingThatTookLong(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w, k := newWorld(t, 2), new(killer)
		engine := w.engine(k)
		lists := new(atomic.Int64)
		engine.Targets = meddled{
			Targets: engine.Targets,
			list: func(next func() (plan.Listing, error)) (plan.Listing, error) {
				listing, err := next()
				time.Sleep(time.Minute)
				listing.Ended = w.hub.now()
				if lists.Add(1) == 1 { // its last answer comes late, after those of the others
					time.Sleep(time.Minute)
				}
				return listing, err
			},
			put: func(_ secret.Target, next func() (syncer.Receipt, error)) (syncer.Receipt, error) {
				_, _ = next()
				k.mu.Lock()
				defer k.mu.Unlock()
				k.dead = true
				return syncer.Receipt{}, errKilled
			},
		}
		_, _ = engine.Sync(t.Context(), syncer.Request{Project: w.project})
		time.Sleep(time.Minute)
		if next := w.mustSync(); next.Summary.Conflicts+next.Summary.Failed > 0 {
			t.Errorf("next: %+v", next.Summary)
		}
	})
}

// A sink that takes its time must not let the ledger say that a write may start
// for less long than the lease, which is counted from the commit after it.
func TestAPendingWriteMayStartUntilTheLeaseEnds(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w, k := newWorld(t, 2), new(killer)
		engine := w.engine(k)
		engine.Audit = audit.NewRecorder(engine.Log, slowSink{w.events, new(atomic.Bool)})
		engine.Targets = meddled{Targets: engine.Targets, put: func(t secret.Target, next func() (syncer.Receipt, error)) (syncer.Receipt, error) {
			if t.Name == "SECRET_000" { // an outcome for the renewal to record
				return next()
			}
			time.Sleep(lease.TTL) // the others are under way until then
			k.mu.Lock()
			defer k.mu.Unlock()
			k.dead = true
			return syncer.Receipt{}, errKilled
		}}
		killed := &dieAfter{Store: engine.Store}
		engine.Store = killed
		_, _ = engine.Sync(t.Context(), syncer.Request{Project: w.project})
		l, err := ledger.Load(t.Context(), w.docs, w.project.Repository)
		if err != nil {
			t.Fatal(err)
		}
		for target, entry := range l.Entries {
			if p := entry.Pending; p != nil && p.Until.Before(killed.last.Add(lease.TTL-time.Second)) {
				t.Errorf("%s may start until %s, and the lease was renewed at %s", target, p.Until, killed.last)
			}
		}
		if killed.renewals != 1 {
			t.Errorf("%d renewals", killed.renewals)
		}
	})
}

// slowSink takes three seconds for the first outcomes.
type slowSink struct {
	*events
	slow *atomic.Bool
}

func (s slowSink) Record(ctx context.Context, list []audit.Event) error {
	if list[0].Operation == audit.SecretCreate && !s.slow.Swap(true) {
		time.Sleep(3 * time.Second)
	}
	return s.events.Record(ctx, list)
}

// dieAfter is a store that is out of reach after the first renewal with a ledger
// after the write-ahead's.
type dieAfter struct {
	docstore.Store
	renewals int
	last     time.Time
	commits  int
}

func (s *dieAfter) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	if len(writes) > 1 {
		s.commits++
	}
	if s.commits > 2 {
		return time.Time{}, errKilled
	}
	if s.commits == 2 {
		s.renewals++
		s.last = time.Now()
	}
	return s.Store.Commit(ctx, writes...)
}
