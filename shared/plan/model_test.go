package plan_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/secret"
)

const (
	modelBatch = 3
	leaseTTL   = 20 * time.Second
)

// world is a small GitHub, a ledger and a writer that keeps the protocol: write
// ahead, write, note the outcome, store it with the next write-ahead, settle.
// Each write is held against the rules as it is made.
type world struct {
	t        failer
	now      time.Time
	lag      time.Duration // of listings
	skew     time.Duration // of updated_at behind the Date of the answer
	github   map[secret.Target][]event
	stored   map[secret.Target]ledger.Entry
	known    map[secret.Target]ledger.Entry // stored as the run began
	sources  map[secret.Source]secret.SourceState
	desired  []plan.Desired
	excluded map[secret.Name]bool
	rollback bool
	consent  map[secret.Target]time.Time // until when edits may be replaced, since somebody forced it
	late     int                         // how many of the newest versions are not known yet
	needless int                         // writes of the last run that changed nothing
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// event is a change of one target.
type event struct {
	at      time.Time
	content string // empty: deleted
}

const foreignContent = "somebody else's"

func (w *world) wait(d time.Duration) { w.now = w.now.Add(d) }

// holds returns what a target held at a moment; the empty event if nothing.
func (w *world) holds(t secret.Target, moment time.Time) event {
	for _, e := range slices.Backward(w.github[t]) {
		if !e.at.After(moment) {
			return e
		}
	}
	return event{}
}

func (w *world) observe() map[secret.Scope]plan.Observation {
	observed := map[secret.Scope]plan.Observation{}
	for _, scope := range modelScopes {
		observed[scope] = plan.Observation{Listing: plan.Listing{At: w.now.Truncate(time.Second)}}
	}
	for t := range w.github {
		if e := w.holds(t, w.now.Add(-w.lag)); e.content != "" {
			observation := observed[t.Scope]
			observation.Listing.Targets = append(observation.Listing.Targets,
				plan.Listed{Name: t.Name, UpdatedAt: e.at.Add(-w.skew).Truncate(time.Second)})
			observed[t.Scope] = observation
		}
	}
	return observed
}

// view is what is known of the sources: a notification may be late.
func (w *world) view() map[secret.Source]secret.SourceState {
	view := maps.Clone(w.sources)
	for s, state := range view {
		state.Versions = state.Versions[min(w.late, len(state.Versions)-1):]
		view[s] = state
	}
	return view
}

func (w *world) input(policy plan.Policy) plan.Input {
	return plan.Input{
		RepositoryID: repository, Desired: w.desired, Sources: w.view(), Ledger: w.stored, Observed: w.observe(),
		Exclude:  func(n secret.Name) (string, bool) { return string(n), w.excluded[n] },
		Selected: func(secret.Target) bool { return true },
		Policy:   policy,
	}
}

// killed is how many steps a run takes before it is killed; a write-ahead, a
// write and a note of its outcome are a step each.
const notKilled = 1 << 30

// run makes a plan and carries it out, at most up to the step at which it is killed.
func (w *world) run(policy plan.Policy, killedAt int) plan.Plan {
	policy.AllowRollback = w.rollback
	p := plan.Make(w.input(policy))
	w.known = w.stored
	memory := maps.Clone(w.stored)
	for _, a := range p.Actions {
		if !a.Settled.IsZero() {
			settled := memory[a.Target].Written.Settle(a.Settled)
			memory[a.Target] = ledger.Entry{Written: &settled}
		}
	}
	for _, t := range slices.Concat(p.Forget, p.Released) {
		delete(memory, t)
	}
	w.needless = 0
	steps := 0
	step := func() bool { steps++; return steps > killedAt }
	for batch := range slices.Chunk(p.Writes(), modelBatch) {
		for _, a := range batch {
			if a.Kind != plan.Delete {
				memory[a.Target] = memory[a.Target].WriteAhead(ledger.Pending{
					Content: a.Content, From: w.now, Until: w.now.Add(leaseTTL), Forced: a.Forced,
				})
			}
			if policy.Force && a.Forced {
				w.consent[a.Target] = w.now
			}
		}
		w.stored = maps.Clone(memory)
		if step() {
			return p
		}
		for _, a := range batch {
			w.wait(200 * time.Millisecond)
			w.write(a, policy)
			if step() {
				return p
			}
			if delete(memory, a.Target); a.Kind != plan.Delete {
				memory[a.Target] = ledger.Entry{Written: &ledger.Written{Content: a.Content, PutAt: w.now.Truncate(time.Second), Replaced: a.Replaces}}
			}
			if step() {
				return p
			}
		}
	}
	for scope, observation := range w.observe() {
		for _, listed := range observation.Listing.Targets {
			t := secret.Target{Scope: scope, Name: listed.Name}
			if e := memory[t]; e.Written != nil && e.Pending == nil && !e.Written.Settled() && plan.Settles(*e.Written, listed.UpdatedAt) {
				settled := e.Written.Settle(listed.UpdatedAt)
				memory[t] = ledger.Entry{Written: &settled}
			}
		}
	}
	w.stored = memory
	return p
}

func contentOf(c ledger.Content) string { return fmt.Sprintf("%s@%d", c.Source, c.Version) }

// write is where the rules are held.
func (w *world) write(a plan.Action, policy plan.Policy) {
	before := w.holds(a.Target, w.now)
	entry := w.known[a.Target]
	switch {
	case w.excluded[a.Name]:
		w.t.Fatalf("%s is excluded and would be written: %s (%s)", a.Target, a.Kind, a.Reason)
	case a.Kind == plan.Delete && before.content == foreignContent:
		w.t.Fatalf("%s is somebody else's and would be deleted (%s)", a.Target, a.Reason)
	case a.Kind == plan.Delete && entry.Written == nil && entry.Pending == nil:
		w.t.Fatalf("%s is not in the ledger and would be deleted", a.Target)
	case a.Kind == plan.Delete && !policy.Prune:
		w.t.Fatalf("%s would be deleted without prune", a.Target)
	case before.content == foreignContent && !policy.Force && before.at.After(w.consent[a.Target]):
		w.t.Fatalf("%s is somebody else's and would be replaced without force (%s)", a.Target, a.Reason)
	}
	if a.Kind == plan.Delete {
		w.github[a.Target] = append(w.github[a.Target], event{at: w.now})
		return
	}
	w.checkOrder(a, before)
	if before.content == contentOf(a.Content) {
		w.needless++
	}
	w.github[a.Target] = append(w.github[a.Target], event{at: w.now, content: contentOf(a.Content)})
}

// checkOrder holds that a lower version is written only over a withdrawn one,
// and only where that is allowed.
func (w *world) checkOrder(a plan.Action, before event) {
	var last secret.Version
	for _, v := range w.sources[a.Content.Source].Versions {
		if before.content == contentOf(ledger.Content{Source: a.Content.Source, Version: v.Number}) {
			last = v.Number
			if a.Content.Version < v.Number && (v.State == secret.Enabled || !w.rollback) {
				w.t.Fatalf("%s: version %d would replace %d, which is %s", a.Target, a.Content.Version, v.Number, v.State)
			}
		}
	}
	newest := w.view()[a.Content.Source].Versions[0]
	if last == 0 && a.Content.Version < newest.Number && !w.rollback && entryVersion(w.known[a.Target], a.Content.Source) != a.Content.Version {
		w.t.Fatalf("%s: version %d would be written, and %d is the newest", a.Target, a.Content.Version, newest.Number)
	}
}

func entryVersion(e ledger.Entry, s secret.Source) secret.Version {
	switch {
	case e.Pending != nil && e.Pending.Source == s:
		return e.Pending.Version
	case e.Written != nil && e.Written.Source == s:
		return e.Written.Version
	}
	return 0
}

var (
	modelScopes  = []secret.Scope{secret.Actions, secret.Dependabot}
	modelNames   = []secret.Name{"A", "B", "C", "D", "E"}
	modelSources = []secret.Source{{Project: "acme-secrets", Secret: "one"}, {Project: "acme-secrets", Secret: "two"}}
)

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, now: start,
		lag:     time.Duration(rapid.IntRange(0, 25).Draw(t, "lag")) * time.Second,
		skew:    time.Duration(rapid.IntRange(-3, 3).Draw(t, "skew")) * time.Second,
		github:  map[secret.Target][]event{},
		stored:  map[secret.Target]ledger.Entry{},
		sources: map[secret.Source]secret.SourceState{}, excluded: map[secret.Name]bool{}, consent: map[secret.Target]time.Time{},
		rollback: rapid.Bool().Draw(t, "rollback"),
	}
	for _, s := range modelSources {
		w.sources[s] = secret.SourceState{Exists: true, Repositories: []int64{repository}, Versions: []secret.SourceVersion{{Number: 1, State: secret.Enabled}}}
	}
	w.assign(t, modelTarget(t))
	return w
}

func modelTarget(t *rapid.T) secret.Target {
	return secret.Target{Scope: rapid.SampledFrom(modelScopes).Draw(t, "scope"), Name: rapid.SampledFrom(modelNames).Draw(t, "name")}
}

// assign adds a target, or moves it to another source.
func (w *world) assign(t *rapid.T, target secret.Target) {
	w.unmap(target)
	w.desired = append(w.desired, plan.Desired{Target: target, Source: rapid.SampledFrom(modelSources).Draw(t, "source")})
}

func (w *world) unmap(t secret.Target) {
	w.desired = slices.DeleteFunc(slices.Clone(w.desired), func(d plan.Desired) bool { return d.Target == t })
}

func (w *world) addVersion(s secret.Source) {
	state := w.sources[s]
	newest := secret.SourceVersion{Number: state.Versions[0].Number + 1, State: secret.Enabled}
	state.Versions = append([]secret.SourceVersion{newest}, state.Versions...)
	w.sources[s] = state
}

func (w *world) withdraw(s secret.Source, to secret.VersionState) {
	state := w.sources[s]
	state.Versions = slices.Clone(state.Versions)
	state.Versions[0].State = to
	w.sources[s] = state
}

// quiet is longer than a lease, a settle window and any lag.
const quiet = time.Minute

// TestModel runs the planner in a world where versions, mappings and foreign
// hands come and go, and runs are killed at any step.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		source := func() secret.Source { return rapid.SampledFrom(modelSources).Draw(t, "source") }
		t.Repeat(map[string]func(*rapid.T){
			"map":   func(t *rapid.T) { w.assign(t, modelTarget(t)) },
			"unmap": func(t *rapid.T) { w.unmap(modelTarget(t)) },
			"exclude": func(t *rapid.T) {
				w.excluded[rapid.SampledFrom(modelNames).Draw(t, "name")] = rapid.Bool().Draw(t, "excluded")
			},
			"add":      func(*rapid.T) { w.addVersion(source()) },
			"withdraw": func(*rapid.T) { w.withdraw(source(), secret.Disabled) },
			"restore":  func(*rapid.T) { w.withdraw(source(), secret.Enabled) },
			"wait":     func(t *rapid.T) { w.wait(time.Duration(rapid.IntRange(0, 60).Draw(t, "seconds")) * time.Second) },
			"edit": func(t *rapid.T) {
				w.wait(quiet)
				w.edit(modelTarget(t), foreignContent)
				w.wait(quiet)
			},
			"delete": func(t *rapid.T) {
				w.wait(quiet)
				w.edit(modelTarget(t), "")
				w.wait(quiet)
			},
			"run": func(t *rapid.T) {
				policy := plan.Policy{Force: rapid.IntRange(0, 4).Draw(t, "force") == 0, Prune: rapid.Bool().Draw(t, "prune"), MaxDeletions: rapid.IntRange(0, 10).Draw(t, "deletions")}
				w.wait(time.Second)
				w.late = max(0, rapid.IntRange(-3, 2).Draw(t, "late"))
				defer func() { w.late = 0 }()
				if killedAt := rapid.IntRange(0, 40).Draw(t, "killed at"); killedAt < 20 {
					w.run(policy, killedAt)
					w.wait(leaseTTL)
					return
				}
				w.run(policy, notKilled)
			},
			"": func(t *rapid.T) { w.checkPlan(t, plan.Policy{}) },
		})
		// In the end everything comes right, but for what somebody else changed.
		w.wait(quiet)
		w.run(plan.Policy{}, notKilled)
		w.wait(quiet)
		p := w.run(plan.Policy{}, notKilled)
		if writes := p.Writes(); len(writes) > 0 {
			t.Fatalf("a second run would still write %s: %s (%s)", writes[0].Target, writes[0].Kind, writes[0].Reason)
		}
		for _, a := range p.Actions {
			holds := w.holds(a.Target, w.now).content
			if a.Kind == plan.Unchanged && holds != contentOf(a.Content) {
				t.Fatalf("%s is said to be unchanged and holds %q, not %q", a.Target, holds, contentOf(a.Content))
			}
			if a.Kind == plan.Conflict && holds != foreignContent {
				t.Fatalf("%s is said to be in conflict (%s) and holds %q", a.Target, a.Reason, holds)
			}
			if holds == foreignContent && a.Kind != plan.Conflict && a.Kind != plan.Excluded && a.Kind != plan.Invalid {
				t.Fatalf("%s is somebody else's and is said to be %s", a.Target, a.Kind)
			}
		}
	})
}

// edit is a foreign hand.
func (w *world) edit(t secret.Target, content string) {
	if content == "" && w.holds(t, w.now).content == "" {
		return
	}
	w.github[t] = append(w.github[t], event{at: w.now, content: content})
}

// checkPlan holds what is true of every plan.
func (w *world) checkPlan(t *rapid.T, policy plan.Policy) {
	in := w.input(policy)
	p := plan.Make(in)
	shuffled := in
	shuffled.Desired = rapid.Permutation(in.Desired).Draw(t, "order")
	if again := plan.Make(shuffled); fmt.Sprintf("%+v", p) != fmt.Sprintf("%+v", again) {
		w.t.Fatalf("the same input gave another plan:\n%+v\n%+v", p, again)
	}
	seen := map[secret.Target]bool{}
	for _, a := range p.Actions {
		if seen[a.Target] {
			w.t.Fatalf("%s has two actions", a.Target)
		}
		seen[a.Target] = true
		if a.Kind == "" || (a.Err != nil) != (a.Kind == plan.Conflict || a.Kind == plan.Invalid) {
			w.t.Fatalf("%s is %q with the error %v", a.Target, a.Kind, a.Err)
		}
		if a.Reason == "" && a.Kind != plan.Unchanged {
			w.t.Fatalf("%s is %s for no reason", a.Target, a.Kind)
		}
	}
	for _, d := range w.desired {
		if !seen[d.Target] {
			w.t.Fatalf("%s has no action", d.Target)
		}
	}
	if !slices.IsSortedFunc(p.Actions, func(a, b plan.Action) int { return a.Compare(b.Target) }) {
		w.t.Fatalf("the actions are out of order: %+v", p.Actions)
	}
}

// TestKill kills a first sync and an update at every step, and the run after it
// too. Nobody else writes, so no plan has a conflict, and no more than one batch
// is written again.
func TestKill(t *testing.T) {
	t.Parallel()
	for _, update := range []bool{false, true} {
		for _, lag := range []time.Duration{0, 4 * time.Second, 25 * time.Second} {
			for first := range 26 {
				for second := range 26 {
					killTwice(t, update, lag, first, second)
				}
			}
		}
	}
}

func killTwice(t *testing.T, update bool, lag time.Duration, first, second int) {
	t.Helper()
	w := &world{
		t: t, now: start, lag: lag, github: map[secret.Target][]event{},
		stored: map[secret.Target]ledger.Entry{}, consent: map[secret.Target]time.Time{},
		sources: map[secret.Source]secret.SourceState{source: versions("1 enabled")},
	}
	for _, scope := range modelScopes {
		for _, name := range modelNames {
			w.desired = append(w.desired, plan.Desired{Target: secret.Target{Scope: scope, Name: name}, Source: source})
		}
	}
	if update {
		w.run(plan.Policy{}, notKilled)
		w.wait(quiet)
		w.addVersion(source)
	}
	for _, killedAt := range []int{first, second, notKilled, notKilled} {
		p := w.run(plan.Policy{}, killedAt)
		if n := p.Count(plan.Conflict) + p.Count(plan.Invalid); n > 0 {
			t.Fatalf("update %t, lag %s, killed at %d and %d: %d targets in conflict: %+v", update, lag, first, second, n, p.Actions)
		}
		if w.needless > modelBatch {
			t.Fatalf("update %t, lag %s, killed at %d and %d: %d targets written again, more than a batch", update, lag, first, second, w.needless)
		}
		w.wait(leaseTTL)
	}
	w.wait(quiet)
	if p := plan.Make(w.input(plan.Policy{})); p.Count(plan.Unchanged) != len(w.desired) {
		t.Fatalf("update %t, lag %s, killed at %d and %d: %d of %d are right in the end", update, lag, first, second, p.Count(plan.Unchanged), len(w.desired))
	}
}

// TestHaste updates one target two or three times within seconds, while listings lag
// and answers get lost. Nobody else writes, so in the end there is no conflict.
func TestHaste(t *testing.T) {
	t.Parallel()
	for _, lag := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 25 * time.Second} {
		for _, skew := range []time.Duration{-2 * time.Second, 0, 2 * time.Second} {
			for _, gap1 := range []int{0, 1, 3, 6} {
				for _, gap2 := range []int{0, 1, 3, 6} {
					for lost := range 4 { // bit 0: the first answer, bit 1: the second
						haste(t, lag, skew, gap1, gap2, lost, false)
						haste(t, lag, skew, gap1, gap2, lost, true)
					}
				}
			}
		}
	}
}

func haste(t *testing.T, lag, skew time.Duration, gap1, gap2, lost int, again bool) {
	t.Helper()
	w := &world{
		t: t, now: start, lag: lag, skew: skew, github: map[secret.Target][]event{},
		stored: map[secret.Target]ledger.Entry{}, consent: map[secret.Target]time.Time{},
		sources: map[secret.Source]secret.SourceState{source: versions("1 enabled")},
		desired: []plan.Desired{{Target: target, Source: source}},
	}
	for i, gap := range []int{gap1, gap2, 60} {
		killedAt := notKilled
		if lost&(1<<i) != 0 {
			killedAt = 1 // written ahead and written, and no more
		}
		w.run(plan.Policy{}, killedAt)
		w.wait(time.Duration(gap) * time.Second)
		if i == 0 || again {
			w.addVersion(source)
		}
	}
	for range 2 {
		p := w.run(plan.Policy{}, notKilled)
		if a := p.Actions[0]; a.Kind == plan.Conflict {
			t.Fatalf("lag %s, skew %s, gaps %d and %d s, answers lost %b, again %t: %s", lag, skew, gap1, gap2, lost, again, a.Reason)
		}
		w.wait(quiet)
	}
	if a := plan.Make(w.input(plan.Policy{})).Actions[0]; a.Kind != plan.Unchanged {
		t.Fatalf("lag %s, skew %s, gaps %d and %d s, answers lost %b, again %t: %s (%s)", lag, skew, gap1, gap2, lost, again, a.Kind, a.Reason)
	}
}
