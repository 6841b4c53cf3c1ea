package syncer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
		w := newWorld(t, twoBatches)
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
		if written != w.hub.writes() || written < 100 || written == 3*twoBatches {
			t.Errorf("the result names %d writes, GitHub has %d", written, w.hub.writes())
		}
		// The lease was given back: the next run goes on at once.
		if next := w.mustSync(); next.Summary.Created != 3*twoBatches-written {
			t.Errorf("next: %+v after %d", next.Summary, written)
		}
		w.checkRight()
		if w.hub.writes() != 3*twoBatches {
			t.Errorf("%d writes, want %d", w.hub.writes(), 3*twoBatches)
		}
	})
}

// points is how many points a first run with so many secrets has.
func points(t *testing.T, secrets int) (total int) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		w, k := newWorld(t, secrets), new(killer)
		if _, err := w.engine(k).Sync(t.Context(), syncer.Request{Project: w.project}); err != nil {
			t.Fatal(err)
		}
		total = k.points
	})
	if total < 6*secrets {
		t.Fatalf("only %d points", total)
	}
	return total
}

// Killed at any point, the next run leaves every target right, says no false
// conflict, repeats at most one batch, and leaves no gap in the audit.
func TestKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	total := points(t, twoBatches)
	step := 7
	if testing.Short() {
		step = 41
	}
	for at := 1; at <= total; at += step {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w, k := newWorld(t, twoBatches), &killer{at: at}
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
				if repeated := w.hub.writes() - 3*twoBatches; repeated > syncer.BatchSize {
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
	total := points(t, twoBatches)
	for _, pause := range []int{total / 20, total / 4, total / 2, total * 9 / 10} {
		t.Run(fmt.Sprint(pause), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w, k := newWorld(t, twoBatches), &killer{pause: pause}
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
				if _, err := mark.Set(context.Background(), w.docs, repository.Key(), mark.Mark{ProjectID: "payments", Why: "test", Plain: true}); err != nil {
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
				if _, err := mark.Set(t.Context(), w.docs, repository.Key(), mark.Mark{ProjectID: "payments", Why: "test", Plain: true}); err != nil {
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

// Deletions make room: they are over before anything is created.
func TestDeletionsComeBeforeEverythingElse(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 8)
		w.mustSync()
		w.project.Mappings[0].Name = "AAA"
		left := 0
		w.hub.fault = func(secret.Target) error {
			for t := range w.hub.copies {
				if t.Name == "SECRET_000" {
					left++
				}
			}
			return nil
		}
		result := w.mustSync(func(r *syncer.Request) { r.Prune = true })
		if result.Summary.Deleted != 3 || result.Summary.Created != 3 || left > 0 {
			t.Errorf("%+v; %d were still there when others were created", result.Summary, left)
		}
	})
}

// What was changed right after a write is told of targets that were asked for.
func TestOnlyTargetsOfTheRunAreTold(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 2)
		engine := w.engine(new(killer))
		lists := new(atomic.Int64)
		engine.Targets = meddled{Targets: engine.Targets, list: func(next func() (plan.Listing, error)) (plan.Listing, error) {
			if lists.Add(1) > 3 {
				return plan.Listing{}, fault.New(fault.GitHubUnavailable, "no answer")
			}
			return next()
		}}
		if _, err := engine.Sync(t.Context(), syncer.Request{Project: w.project}); err != nil { // settles nothing
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.hub.edit(secret.Target{Scope: secret.Actions, Name: "SECRET_001"}, "theirs")
		w.project.Mappings = w.project.Mappings[:1]
		w.vault.add(w.project.Mappings[0].Source, "new")
		if result := w.mustSync(); len(result.Results) != 3 || result.Status != syncer.StatusSucceeded {
			t.Errorf("%s: %+v", result.Status, result.Results)
		}
		if last, _, err := lease.Last(t.Context(), w.docs, w.project.Repository.Key()); err != nil || len(last.Problems) > 0 {
			t.Errorf("problems: %+v, %v", last.Problems, err)
		}
	})
}

// A write that took no effect, and is not asked for any more, is forgotten.
func TestAWriteThatTookNoEffectIsForgotten(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.project.AllowRollback = true
		w.mustSync()
		time.Sleep(time.Minute)
		source := w.project.Mappings[0].Source
		w.vault.add(source, "new")
		w.hub.fault = func(secret.Target) error { return fault.New(fault.PermissionMissing, "no") }
		w.mustSync()
		w.hub.fault = nil
		w.vault.states[source].Versions[0].State = secret.Disabled
		time.Sleep(time.Hour)
		if result := w.mustSync(); result.Summary.Unchanged != 3 {
			t.Errorf("%+v", result.Summary)
		}
		report, err := syncer.StatusOf(t.Context(), w.docs, w.project)
		if err != nil || report.Counts.Synced != 3 {
			t.Errorf("status: %+v, %v", report.Counts, err)
		}
	})
}

// A request that comes while a run holds the lease is no part of what the run
// was asked for: neither what it makes good nor what goes wrong with it.
func TestAFurtherRoundIsNotTheFirstCallers(t *testing.T) {
	t.Parallel()
	t.Run("that makes it good", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T) {
			w := newWorld(t, 1)
			source := w.project.Mappings[0].Source
			state := w.vault.states[source]
			delete(w.vault.states, source)
			meanwhile(w, 1, func() { w.vault.states[source] = state })
			result, err := w.sync()
			if err != nil || result.Status != syncer.StatusSucceeded || result.Refusal() != nil {
				t.Errorf("%s, %v, refusal %v", result.Status, err, result.Refusal())
			}
		})
	})
	t.Run("that fails", func(t *testing.T) {
		t.Parallel()
		bubble(t, func(t *testing.T) {
			w := newWorld(t, 1)
			meanwhile(w, 2, func() { // it is asked for before the writes too
				w.vault.add(w.project.Mappings[0].Source, "new")
				w.hub.fault = func(secret.Target) error {
					return syncer.NotSent(fault.New(fault.RateLimitExhausted, "spent"))
				}
			})
			result, err := w.sync()
			if err != nil || result.Status != syncer.StatusSucceeded || result.Summary.Created != 3 {
				t.Errorf("%s, %+v, %v", result.Status, result.Summary, err)
			}
			if _, marked, err := mark.Get(t.Context(), w.docs, repository.Key()); !marked || err != nil {
				t.Errorf("the mark is gone: %v", err)
			}
		})
	})
}

// meanwhile sets a mark and changes the world when the quota is asked for the
// n-th time: as a run ends, which still holds the lease.
func meanwhile(w *world, n int, change func()) {
	w.hub.quota = func() {
		if n--; n != 0 {
			return
		}
		if _, held, _ := lease.Last(context.Background(), w.docs, repository.Key()); !held {
			w.t.Error("nobody holds the lease")
		}
		if _, err := mark.Set(context.Background(), w.docs, repository.Key(), mark.Mark{ProjectID: "payments", Why: "test", Plain: true}); err != nil {
			w.t.Error(err)
		}
		change()
	}
}

// The intent of a batch that the audit refused is not kept for later: the batch
// was not carried out.
func TestARefusedIntentIsNotAnOutcome(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, twoBatches)
		w.events.refuse = func(list []audit.Event) error {
			if len(list) > 1 && list[len(list)-1].Operation == audit.SyncIntent { // the second, with the outcomes of the first
				return fault.Wrap(fault.Unavailable, "sink", nil)
			}
			return nil
		}
		if _, err := w.sync(); !errors.Is(err, fault.AuditUnavailable) {
			t.Errorf("error %v", err)
		}
		if intents, outcomes := len(w.events.of(audit.SyncIntent)), len(w.events.of(audit.SecretCreate)); intents != 1 || outcomes != syncer.BatchSize {
			t.Errorf("%d intents and %d outcomes are recorded", intents, outcomes)
		}
	})
}

// What was a person's before or became a person's is let go of once nothing asks
// for it, and is not a conflict at each prune.
func TestPruneLetsGoOfWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 6)
		theirs := secret.Target{Scope: secret.Actions, Name: "SECRET_005"}
		changed := secret.Target{Scope: secret.Dependabot, Name: "SECRET_005"}
		w.hub.edit(theirs, "theirs")
		time.Sleep(time.Hour)
		w.hub.fault = func(t secret.Target) error {
			if t == theirs {
				return fault.New(fault.TargetRejected, "no")
			}
			return nil
		}
		w.mustSync(func(r *syncer.Request) { r.Force = true })
		time.Sleep(time.Hour)
		w.hub.edit(changed, "theirs too")
		time.Sleep(time.Hour)
		w.project.Mappings = w.project.Mappings[:5]
		prune := func(r *syncer.Request) { r.Prune, r.MaxDeletions = true, 9 }
		first := w.mustSync(prune)
		if first.Summary.Conflicts+first.Summary.Failed > 0 || first.Summary.Deleted != 1 || len(first.Warnings) != 1 {
			t.Errorf("%+v, warnings %q", first.Summary, first.Warnings)
		}
		if next := w.mustSync(prune); next.Status != syncer.StatusUnchanged || len(next.Warnings)+len(next.Orphans) > 0 {
			t.Errorf("next: %+v, warnings %q", next.Summary, next.Warnings)
		}
		if w.hub.copies[theirs].value.Reveal() != "theirs" || w.hub.copies[changed].value.Reveal() != "theirs too" {
			t.Error("somebody else's secret was touched")
		}
	})
}

// A nudge may come after whoever held the lease has answered the mark.
func TestARequestWhoseMarkIsGoneIsAnswered(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3)
		first := w.mustSync()
		lists := w.hub.lists
		late := w.mustSync(func(r *syncer.Request) { r.Marked = true })
		if late.Status != syncer.StatusUnchanged || w.hub.lists != lists {
			t.Errorf("%s after %d more lists", late.Status, w.hub.lists-lists)
		}
		last, held, err := lease.Last(t.Context(), w.docs, repository.Key())
		if held || err != nil || last.SyncID != first.SyncID {
			t.Errorf("the lease: %+v, %t, %v", last, held, err)
		}
	})
}
