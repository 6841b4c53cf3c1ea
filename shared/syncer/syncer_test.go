package syncer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// bubble runs a test on a clock that jumps when everybody waits.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestFirstSyncThenNothingToDo(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 12)
		first := w.mustSync()
		if first.Status != syncer.StatusSucceeded || first.Summary.Created != 36 {
			t.Fatalf("first sync: %s, %+v", first.Status, first.Summary)
		}
		w.checkRight()
		w.checkAudit()
		if w.vault.reads != 12 {
			t.Errorf("%d values were read, want each of the 12 once", w.vault.reads)
		}
		lists, reads := w.hub.lists, w.vault.reads
		second := w.mustSync()
		if second.Status != syncer.StatusUnchanged || second.Summary.Unchanged != 36 {
			t.Errorf("second sync: %s, %+v", second.Status, second.Summary)
		}
		if w.hub.writes() != 36 || w.hub.lists != lists+3 || w.vault.reads != reads {
			t.Errorf("second sync: %d writes, %d lists, %d values", w.hub.writes()-36, w.hub.lists-lists, w.vault.reads-reads)
		}
	})
}

func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 2)
		result := w.mustSync(func(r *syncer.Request) { r.DryRun = true })
		if result.Summary.Created != 6 || result.Price == nil || result.Price.Requests != 6+3+3 {
			t.Errorf("dry run: %+v, price %+v", result.Summary, result.Price)
		}
		if w.hub.writes() != 0 || w.vault.reads != 0 || len(w.events.list) != 0 {
			t.Errorf("a dry run wrote %d targets, read %d values, left %d events", w.hub.writes(), w.vault.reads, len(w.events.list))
		}
	})
}

func TestNewVersion(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.mustSync()
		w.vault.add(w.project.Mappings[2].Source, "new")
		before := w.vault.reads
		result := w.mustSync()
		if result.Summary.Updated != 3 || result.Summary.Unchanged != 12 || w.vault.reads-before != 1 {
			t.Errorf("%+v, %d values read", result.Summary, w.vault.reads-before)
		}
		w.checkRight()
	})
}

func TestNewVersionWithTheSameValueIsNotWritten(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.mustSync()
		w.vault.add(w.project.Mappings[0].Source, "value 0")
		if result := w.mustSync(); result.Status != syncer.StatusUnchanged || w.hub.writes() != 3 {
			t.Errorf("%s after %d writes", result.Status, w.hub.writes())
		}
		before := w.vault.reads
		if w.mustSync(); w.vault.reads != before {
			t.Error("the version was not remembered: its value was read again")
		}
	})
}

func TestForeignEdit(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.mustSync()
		time.Sleep(time.Minute)
		edited := secret.Target{Scope: secret.Actions, Name: "SECRET_000"}
		w.hub.edit(edited, "theirs")
		result := w.mustSync()
		if result.Summary.Conflicts != 1 || result.Status != syncer.StatusPartial || w.hub.copies[edited].value.Reveal() != "theirs" {
			t.Fatalf("%s, %+v", result.Status, result.Summary)
		}
		report, err := syncer.StatusOf(context.Background(), w.docs, w.project)
		if err != nil || report.Counts.Conflicts != 1 || report.Counts.Synced != 5 {
			t.Errorf("status: %+v, %v", report.Counts, err)
		}
		result = w.mustSync(func(r *syncer.Request) { r.Force = true })
		if result.Summary.Updated != 1 || result.Summary.Unchanged != 5 {
			t.Errorf("forced: %+v", result.Summary)
		}
		w.checkRight()
	})
}

func TestOneFailureDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 4)
		broken := secret.Target{Scope: secret.Dependabot, Name: "SECRET_001"}
		w.hub.fault = func(t secret.Target) error {
			if t == broken {
				return fault.New(fault.GitHubUnavailable, "no answer")
			}
			return nil
		}
		result := w.mustSync()
		if result.Summary.Created != 11 || result.Summary.Failed != 1 || result.Status != syncer.StatusPartial {
			t.Errorf("%s, %+v", result.Status, result.Summary)
		}
		w.hub.fault = nil
		if result = w.mustSync(); result.Summary.Created != 1 || result.Summary.Unchanged != 11 {
			t.Errorf("next: %+v", result.Summary)
		}
		w.checkRight()
	})
}

func TestPruneDeletesOnlyWhatTheLedgerWrote(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 10)
		theirs := secret.Target{Scope: secret.Actions, Name: "THEIRS"}
		w.hub.edit(theirs, "theirs")
		w.mustSync()
		w.project.Mappings = w.project.Mappings[1:]
		if result := w.mustSync(); result.Summary.Deleted != 0 || len(result.Orphans) != 3 {
			t.Errorf("without prune: %+v, %d orphans", result.Summary, len(result.Orphans))
		}
		result := w.mustSync(func(r *syncer.Request) { r.Prune = true })
		if result.Summary.Deleted != 3 || len(w.hub.copies) != 27+1 {
			t.Errorf("with prune: %+v, %d left", result.Summary, len(w.hub.copies))
		}
		w.project.Mappings = w.project.Mappings[3:]
		result = w.mustSync(func(r *syncer.Request) { r.Prune = true })
		if result.Summary.Deleted != 0 || result.Summary.Conflicts != 9 {
			t.Errorf("over the budget: %+v", result.Summary)
		}
		result = w.mustSync(func(r *syncer.Request) { r.Prune, r.MaxDeletions = true, 9 })
		if result.Summary.Deleted != 9 {
			t.Errorf("with an explicit yes: %+v", result.Summary)
		}
		if w.hub.copies[theirs].value.Reveal() != "theirs" {
			t.Error("somebody else's secret was touched")
		}
	})
}

func TestNoAuditNoWrite(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.events.err = fault.Wrap(fault.Unavailable, "sink", nil)
		if _, err := w.sync(); !errors.Is(err, fault.AuditUnavailable) {
			t.Errorf("error %v", err)
		}
		if w.hub.writes() != 0 {
			t.Errorf("%d targets were written without an audit", w.hub.writes())
		}
	})
}

// A run that loses the race fails at once, and the winner plans again for it.
func TestOneWriterAtATime(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20)
		var mu sync.Mutex
		outcomes := map[fault.Kind]int{}
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				_, err := w.sync()
				mu.Lock()
				defer mu.Unlock()
				outcomes[fault.KindOf(err)]++
			})
		}
		group.Wait()
		if outcomes[""] < 1 || outcomes[""]+outcomes[fault.Conflict] != 50 {
			t.Errorf("outcomes %v", outcomes)
		}
		if w.hub.writes() != 60 {
			t.Errorf("%d writes, want each target once", w.hub.writes())
		}
		w.checkRight()
	})
}

func TestInterrupt(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 100)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req := syncer.Request{Project: w.project, Actor: "test"}
		req.Progress = func(p syncer.Progress) {
			if p.Phase == syncer.PhaseWrite && p.Done == 100 {
				cancel()
			}
		}
		result, err := w.engine(new(killer)).Sync(ctx, req)
		if fault.KindOf(err) != fault.Canceled {
			t.Errorf("error %v", err)
		}
		written := 0
		for _, item := range result.Results {
			if item.Status == syncer.ItemSucceeded {
				written++
			}
		}
		if written != w.hub.writes() || written < 100 || written == 300 {
			t.Errorf("the result names %d writes, GitHub has %d", written, w.hub.writes())
		}
		// The lease was given back: the next run goes on at once.
		if next := w.mustSync(); next.Summary.Created != 300-written {
			t.Errorf("next: %+v after %d", next.Summary, written)
		}
		w.checkRight()
		if w.hub.writes() != 300 {
			t.Errorf("%d writes, want 300", w.hub.writes())
		}
	})
}

// Killed at any point, the next run leaves every target right, says no false
// conflict, repeats at most one batch, and leaves no gap in the audit.
func TestKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	total := 0
	synctest.Test(t, func(t *testing.T) {
		w, k := newWorld(t, 70), new(killer)
		if _, err := w.engine(k).Sync(t.Context(), syncer.Request{Project: w.project}); err != nil {
			t.Fatal(err)
		}
		total = k.points
	})
	if total < 300 {
		t.Fatalf("only %d points", total)
	}
	step := 7
	if testing.Short() {
		step = 41
	}
	for at := 1; at <= total; at += step {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w, k := newWorld(t, 70), &killer{at: at}
				_, err := w.engine(k).Sync(t.Context(), syncer.Request{Project: w.project, Actor: "test"})
				if !k.dead {
					t.Fatalf("point %d was never reached", at)
				}
				if err == nil && at < total-4 {
					t.Error("a killed run reported success")
				}
				time.Sleep(lease.TTL + time.Second)
				result := w.mustSync()
				if result.Summary.Conflicts+result.Summary.Failed > 0 {
					t.Errorf("next run: %+v", result.Summary)
				}
				w.checkRight()
				w.checkAudit()
				if repeated := w.hub.writes() - 210; repeated > syncer.BatchSize {
					t.Errorf("%d writes were repeated", repeated)
				}
				if again := w.mustSync(); again.Status != syncer.StatusUnchanged {
					t.Errorf("third run: %s, %+v", again.Status, again.Summary)
				}
			})
		})
	}
}

// A holder that was paused past the end of its lease starts no new request,
// and what another run did meanwhile stays.
func TestPausedHolder(t *testing.T) {
	t.Parallel()
	for _, pause := range []int{40, 60, 90, 130} {
		t.Run(fmt.Sprint(pause), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w, k := newWorld(t, 40), &killer{pause: pause}
				first := make(chan error)
				go func() {
					_, err := w.engine(k).Sync(t.Context(), syncer.Request{Project: w.project, Actor: "paused"})
					first <- err
				}()
				synctest.Wait()
				time.Sleep(lease.TTL + lease.RenewEvery/10) // the pause ends later
				if second := w.mustSync(); second.Summary.Conflicts+second.Summary.Failed > 0 {
					t.Errorf("the run that took over: %+v", second.Summary)
				}
				before := w.hub.writes()
				err := <-first
				if started := w.hub.writes() - before; started != 0 {
					t.Errorf("%d requests were started after the lease had passed on", started)
				}
				if !errors.Is(err, fault.LeaseLost) {
					t.Errorf("error %v", err)
				}
				if result := w.mustSync(); result.Summary.Conflicts+result.Summary.Failed > 0 {
					t.Errorf("next run: %+v", result.Summary)
				}
				w.checkRight()
			})
		})
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3)
		result := w.mustSync(func(r *syncer.Request) {
			r.Secrets, r.Scopes = []secret.Name{"SECRET_001"}, []secret.Scope{secret.Codespaces}
		})
		if len(result.Results) != 1 || result.Results[0].Action != plan.Create {
			t.Errorf("%+v", result.Results)
		}
		for name, change := range map[string]func(*syncer.Request){
			"secret": func(r *syncer.Request) { r.Secrets = []secret.Name{"NO_SUCH"} },
			"scope":  func(r *syncer.Request) { r.Scopes = []secret.Scope{secret.OrgActions} },
		} {
			if _, err := w.sync(change); err == nil {
				t.Errorf("an unknown %s was accepted", name)
			}
		}
		if len(w.events.of(audit.SecretCreate)) != 1 {
			t.Error("the audit has not exactly one write")
		}
	})
}

// A request that came while a run for one secret held the lease is answered by
// that run, for everything; whoever asked for one secret is told of that one.
func TestMarkSetDuringASelectiveRun(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3)
		req := syncer.Request{Project: w.project, Secrets: []secret.Name{"SECRET_001"}, Actor: "test"}
		asked := false
		w.hub.fault = func(secret.Target) error {
			if !asked {
				asked = true
				if err := mark.Set(context.Background(), w.docs, repository.Key(), mark.Mark{ProjectID: "payments", Why: "test"}); err != nil {
					t.Error(err)
				}
			}
			return nil
		}
		result, err := w.engine(new(killer)).Sync(t.Context(), req)
		if err != nil || len(result.Results) != 3 {
			t.Errorf("%d results, %v", len(result.Results), err)
		}
		w.checkRight()
		if _, marked, err := mark.Get(t.Context(), w.docs, repository.Key()); marked || err != nil {
			t.Errorf("the mark is still there: %v", err)
		}
	})
}

// A mark is taken away by a run that did all that was asked, and by no other.
func TestMarkOutlivesWhatDoesNotAnswerIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*world, *syncer.Request)
		stays  bool
	}{
		"a whole run":            {func(*world, *syncer.Request) {}, false},
		"a selective run":        {func(_ *world, r *syncer.Request) { r.Scopes = []secret.Scope{secret.Actions} }, true},
		"a dry run":              {func(_ *world, r *syncer.Request) { r.DryRun = true }, true},
		"a run that ended early": {func(w *world, _ *syncer.Request) { w.events.err = fault.Wrap(fault.Unavailable, "sink", nil) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 2)
				if err := mark.Set(t.Context(), w.docs, repository.Key(), mark.Mark{ProjectID: "payments", Why: "test"}); err != nil {
					t.Fatal(err)
				}
				_, _ = w.sync(func(r *syncer.Request) { c.change(w, r) })
				if _, marked, err := mark.Get(t.Context(), w.docs, repository.Key()); marked != c.stays || err != nil {
					t.Errorf("the mark stays: %v, %v", marked, err)
				}
			})
		})
	}
}
