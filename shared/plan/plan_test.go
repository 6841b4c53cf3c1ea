package plan_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

const repository = 42

var (
	source = secret.Source{Project: "acme-secrets", Secret: "db-url"}
	other  = secret.Source{Project: "acme-secrets", Secret: "db-url-2"}
	target = secret.Target{Scope: secret.Actions, Name: "DB_URL"}
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// at is a time of GitHub's clock, in seconds from the start.
func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

// mac is the fingerprint of a value under a key.
func mac(key, value string) secret.Fingerprint { return secret.Fingerprint{KeyID: key, MAC: value} }

// written is an entry for a write of that version, answered at the given time
// and settled then, if settled.
func written(version secret.Version, put int, settled bool) ledger.Entry {
	w := ledger.Written{Content: ledger.Content{Source: source, Version: version, Fingerprint: mac("k1", "m")}, PutAt: at(put)}
	if settled {
		w = w.Settle(at(put))
	}
	return ledger.Entry{Written: &w}
}

// pending puts a write-ahead over an entry.
func pending(e ledger.Entry, version secret.Version, from, until int, forced bool) ledger.Entry {
	return e.WriteAhead(ledger.Pending{Content: ledger.Content{Source: source, Version: version}, From: at(from), Until: at(until), Forced: forced})
}

// versions is the state of a source that admits the repository. A text such as
// "3 enabled, 2 disabled" gives its versions, newest first.
func versions(text string) secret.SourceState {
	state := secret.SourceState{Exists: true, Repositories: []int64{7, repository}}
	for part := range strings.SplitSeq(text, ", ") {
		number, condition, _ := strings.Cut(part, " ")
		state.Versions = append(state.Versions, secret.SourceVersion{Number: secret.Version(number[0] - '0'), State: secret.VersionState(condition)})
	}
	return state
}

var envFile = secret.SourceState{Exists: true, Unversioned: true}

// none is a target that is not listed.
const none = -1 << 30

// input is one target's world: what the ledger knows, when the listing says it
// was updated, and when the listing was made.
func input(entry ledger.Entry, updated, listedAt int, state secret.SourceState) plan.Input {
	in := plan.Input{
		RepositoryID: repository,
		Desired:      []plan.Desired{{Target: target, Source: source}},
		Sources:      map[secret.Source]secret.SourceState{source: state},
		Ledger:       map[secret.Target]ledger.Entry{},
		Observed:     map[secret.Scope]plan.Observation{target.Scope: {Listing: plan.Listing{At: at(listedAt)}}},
		Exclude:      func(secret.Name) (string, bool) { return "", false },
		Selected:     func(secret.Target) bool { return true },
	}
	if entry.Written != nil || entry.Pending != nil {
		in.Ledger[target] = entry
	}
	if updated != none {
		show(&in, plan.Listed{Name: target.Name, UpdatedAt: at(updated)})
	}
	return in
}

func show(in *plan.Input, listed plan.Listed) {
	observation := in.Observed[target.Scope]
	observation.Listing.Targets = []plan.Listed{listed}
	in.Observed[target.Scope] = observation
}

// TestDecisions is the specification of the planner for one target. Times are
// seconds; a write of ours was answered at 100.
func TestDecisions(t *testing.T) {
	t.Parallel()
	v3 := versions("3 enabled, 2 enabled, 1 enabled")
	unknown := ledger.Entry{}
	tests := []struct {
		name     string
		entry    ledger.Entry
		updated  int // as listed; none if it is not listed
		listedAt int
		state    secret.SourceState
		change   func(*plan.Input)
		want     plan.Kind
		reason   string // a part of it
		code     fault.Code
		check    func(plan.Action) bool
	}{
		// A target that Sealpost never wrote.
		{name: "new", entry: unknown, updated: none, listedAt: 500, state: v3,
			want: plan.Create, reason: "not there yet", check: func(a plan.Action) bool { return a.Content.Version == 3 && a.Replaces.IsZero() }},
		{name: "somebody else's", entry: unknown, updated: 10, listedAt: 500, state: v3,
			want: plan.Conflict, reason: "did not write it", code: fault.SecretConflict},
		{name: "somebody else's, forced", entry: unknown, updated: 10, listedAt: 500, state: v3, change: force,
			want: plan.Update, reason: "forced: it exists", check: func(a plan.Action) bool { return a.Forced && a.Replaces.Equal(at(10)) }},

		// A target that Sealpost wrote and settled.
		{name: "as we left it", entry: written(3, 100, true), updated: 100, listedAt: 500, state: v3,
			want: plan.Unchanged, check: func(a plan.Action) bool { return a.Content.Fingerprint == mac("k1", "m") }},
		{name: "deleted by somebody", entry: written(3, 100, true), updated: none, listedAt: 500, state: v3,
			want: plan.Create, reason: "drift: it was deleted"},
		{name: "deleted by somebody, at once", entry: written(3, 100, true), updated: none, listedAt: 102, state: v3,
			want: plan.Create, reason: "drift: it was deleted"},
		{name: "changed by somebody", entry: written(3, 100, true), updated: 200, listedAt: 500, state: v3,
			want: plan.Conflict, reason: "changed outside Sealpost", code: fault.SecretConflict},
		{name: "changed by somebody within the settle window", entry: written(3, 100, true), updated: 102, listedAt: 500, state: v3,
			want: plan.Conflict, reason: "changed outside Sealpost", code: fault.SecretConflict},
		{name: "changed by somebody, forced", entry: written(3, 100, true), updated: 200, listedAt: 500, state: v3, change: force,
			want: plan.Update, reason: "forced: it was changed", check: func(a plan.Action) bool { return a.Forced }},
		{name: "a listing older than one before", entry: written(3, 100, true), updated: 80, listedAt: 110, state: v3,
			want: plan.Unchanged},

		// A target that Sealpost wrote and that was not settled.
		{name: "settles", entry: written(3, 100, false), updated: 101, listedAt: 102, state: v3,
			want: plan.Unchanged, check: func(a plan.Action) bool { return a.Settled.Equal(at(101)) }},
		{name: "settles at the window's ends", entry: written(3, 100, false), updated: 95, listedAt: 500, state: v3,
			want: plan.Unchanged, check: func(a plan.Action) bool { return a.Settled.Equal(at(95)) }},
		{name: "settled, and the source has moved", entry: written(2, 100, false), updated: 105, listedAt: 500, state: v3,
			want: plan.Update, reason: "version 3 is newer than 2", check: func(a plan.Action) bool { return a.Settled.Equal(at(105)) }},
		{name: "changed after the window", entry: written(3, 100, false), updated: 106, listedAt: 110, state: v3,
			want: plan.Conflict, reason: "changed outside", code: fault.SecretConflict},
		{name: "not listed yet", entry: written(3, 100, false), updated: none, listedAt: 129, state: v3,
			want: plan.Unchanged, check: func(a plan.Action) bool { return a.Settled.IsZero() }},
		{name: "never listed", entry: written(3, 100, false), updated: none, listedAt: 130, state: v3,
			want: plan.Create, reason: "drift: it was deleted"},
		{name: "listed as before the write", entry: written(3, 100, false), updated: 50, listedAt: 129, state: v3,
			want: plan.Unchanged, check: func(a plan.Action) bool { return a.Settled.IsZero() }},
		{name: "listed as before the write for ever", entry: written(3, 100, false), updated: 50, listedAt: 130, state: v3,
			want: plan.Conflict, reason: "changed outside", code: fault.SecretConflict},
		{name: "listed as before, shortly before the write", entry: replacing(97), updated: 97, listedAt: 102, state: v3,
			want: plan.Unchanged, check: func(a plan.Action) bool { return a.Settled.IsZero() }},
		{name: "written twice in one second, long ago", entry: replacing(100), updated: 100, listedAt: 130, state: v3,
			want: plan.Unchanged, check: func(a plan.Action) bool { return a.Settled.Equal(at(100)) }},
		{name: "a write over one that was not listed yet", entry: written(2, 100, false), updated: none, listedAt: 103, state: v3,
			want: plan.Update, reason: "newer", check: func(a plan.Action) bool { return a.Replaces.Equal(at(100)) }},

		// A write that was interrupted between 200 and 220.
		{name: "interrupted, and not there", entry: pending(unknown, 3, 200, 220, false), updated: none, listedAt: 500, state: v3,
			want: plan.Create, reason: "interrupted"},
		{name: "interrupted, and took effect", entry: pending(unknown, 3, 200, 220, false), updated: 215, listedAt: 500, state: v3,
			want: plan.Update, reason: "interrupted", check: func(a plan.Action) bool { return !a.Forced && !a.Sparable }},
		{name: "interrupted; somebody made it earlier", entry: pending(unknown, 3, 200, 220, false), updated: 194, listedAt: 500, state: v3,
			want: plan.Conflict, reason: "did not write it", code: fault.SecretConflict},
		{name: "interrupted; somebody made it later", entry: pending(unknown, 3, 200, 220, false), updated: 226, listedAt: 500, state: v3,
			want: plan.Conflict, reason: "changed outside", code: fault.SecretConflict},
		{name: "interrupted over ours, no effect", entry: pending(written(2, 100, true), 3, 200, 220, false), updated: 100, listedAt: 500, state: v3,
			want: plan.Update, reason: "newer", check: func(a plan.Action) bool { return a.Sparable }},
		{name: "interrupted over ours, perhaps not listed yet", entry: pending(written(2, 100, true), 3, 200, 220, false), updated: 100, listedAt: 249, state: v3,
			want: plan.Update, reason: "interrupted", check: func(a plan.Action) bool { return !a.Sparable }},
		{name: "interrupted over ours, no effect, and the version withdrawn", entry: pending(written(2, 100, true), 3, 200, 220, false), updated: 100, listedAt: 500,
			state: versions("3 disabled, 2 enabled"), want: plan.Unchanged},
		{name: "interrupted over ours, took effect, and the version withdrawn", entry: pending(written(2, 100, true), 3, 200, 220, false), updated: 205, listedAt: 500,
			state: versions("3 disabled, 2 enabled"), want: plan.Invalid, code: fault.SourceDisabled},
		{name: "interrupted over ours; somebody changed it before", entry: pending(written(2, 100, true), 3, 200, 220, false), updated: 150, listedAt: 221, state: v3,
			want: plan.Conflict, reason: "changed outside", code: fault.SecretConflict},
		{name: "interrupted twice; the first took effect", entry: pending(pending(unknown, 3, 200, 220, false), 3, 300, 320, false), updated: 201, listedAt: 500, state: v3,
			want: plan.Update, reason: "interrupted"},
		{name: "a forced write was interrupted, no effect", entry: pending(unknown, 3, 200, 220, true), updated: 50, listedAt: 500, state: v3,
			want: plan.Update, reason: "an earlier forced write", check: func(a plan.Action) bool { return a.Forced }},
		{name: "a forced write was interrupted twice", entry: pending(pending(unknown, 3, 200, 220, true), 3, 300, 320, false), updated: 50, listedAt: 500, state: v3,
			want: plan.Update, reason: "an earlier forced write", check: func(a plan.Action) bool { return a.Forced }},
		{name: "a forced write was interrupted; somebody changed it later", entry: pending(unknown, 3, 200, 220, true), updated: 300, listedAt: 500, state: v3,
			want: plan.Conflict, code: fault.SecretConflict},

		// The source.
		{name: "no source", updated: none, listedAt: 500, state: secret.SourceState{}, want: plan.Invalid, code: fault.SourceMissing},
		{name: "a source with no version", updated: none, listedAt: 500, state: secret.SourceState{Exists: true, Repositories: []int64{repository}},
			want: plan.Invalid, code: fault.SourceMissing},
		{name: "a source that admits others only", updated: none, listedAt: 500,
			state: secret.SourceState{Exists: true, Repositories: []int64{7}, Versions: v3.Versions}, want: plan.Invalid, code: fault.SourceNotPermitted},
		{name: "the newest version is disabled", updated: none, listedAt: 500, state: versions("3 disabled, 2 enabled"),
			want: plan.Invalid, code: fault.SourceDisabled},
		{name: "the newest version is destroyed", updated: none, listedAt: 500, state: versions("3 destroyed, 2 enabled"),
			want: plan.Invalid, code: fault.SourceDestroyed},
		{name: "the newest version is disabled, rollback allowed", updated: none, listedAt: 500, state: versions("3 disabled, 2 enabled"), change: rollback,
			want: plan.Create, check: func(a plan.Action) bool { return a.Content.Version == 2 }},
		{name: "all versions are disabled, rollback allowed", updated: none, listedAt: 500, state: versions("3 disabled, 2 destroyed"), change: rollback,
			want: plan.Invalid, code: fault.SourceDisabled},
		{name: "what we wrote is disabled", entry: written(3, 100, true), updated: 100, listedAt: 500, state: versions("3 disabled, 2 enabled"),
			want: plan.Invalid, code: fault.SourceDisabled},
		{name: "what we wrote is disabled, rollback allowed", entry: written(3, 100, true), updated: 100, listedAt: 500, state: versions("3 disabled, 2 enabled"), change: rollback,
			want: plan.Update, reason: "rollback: version 3", check: func(a plan.Action) bool { return a.Content.Version == 2 && a.Sparable }},
		{name: "a disabled version above what we wrote", entry: written(2, 100, true), updated: 100, listedAt: 500, state: versions("3 disabled, 2 enabled"),
			want: plan.Unchanged, check: func(a plan.Action) bool { return a.Content.Version == 2 }},
		{name: "a late older version", entry: written(3, 100, true), updated: 100, listedAt: 500, state: versions("2 enabled, 1 enabled"),
			want: plan.Invalid, code: fault.DowngradeRefused},
		{name: "a late older version, rollback allowed", entry: written(3, 100, true), updated: 100, listedAt: 500, state: versions("2 enabled, 1 enabled"), change: rollback,
			want: plan.Invalid, code: fault.DowngradeRefused},
		{name: "a late older version, forced", entry: written(3, 100, true), updated: 200, listedAt: 500, state: versions("2 enabled"), change: force,
			want: plan.Invalid, code: fault.DowngradeRefused},
		{name: "an older version than the interrupted one", entry: pending(written(2, 100, true), 3, 200, 220, false), updated: 210, listedAt: 500, state: versions("2 enabled"),
			want: plan.Invalid, code: fault.DowngradeRefused},
		{name: "another source", entry: written(3, 100, true), updated: 100, listedAt: 500, state: v3, change: func(in *plan.Input) {
			in.Desired[0].Source, in.Sources[other] = other, versions("1 enabled")
		}, want: plan.Update, reason: "source has changed", check: func(a plan.Action) bool { return a.Sparable && a.Content.Version == 1 }},

		// A source that does not count, such as an env file.
		{name: "a first value", updated: none, listedAt: 500, state: envFile, change: value(mac("k1", "m")),
			want: plan.Create, check: func(a plan.Action) bool { return a.Content.Version == 1 && a.Content.Fingerprint == mac("k1", "m") }},
		{name: "the same value", entry: written(3, 100, true), updated: 100, listedAt: 500, state: envFile, change: value(mac("k1", "m")),
			want: plan.Unchanged, check: func(a plan.Action) bool { return a.Content.Version == 3 }},
		{name: "another value", entry: written(3, 100, true), updated: 100, listedAt: 500, state: envFile, change: value(mac("k1", "n")),
			want: plan.Update, reason: "value has changed", check: func(a plan.Action) bool { return a.Content.Version == 4 && !a.Sparable }},
		{name: "another key", entry: written(3, 100, true), updated: 100, listedAt: 500, state: envFile, change: value(mac("k2", "n")),
			want: plan.Update, reason: "another key"},
		{name: "a value that cannot be written", entry: written(3, 100, true), updated: 100, listedAt: 500, state: envFile, change: func(in *plan.Input) {
			in.Desired[0].Err = fault.New(fault.ValueTooLarge, "too large")
		}, want: plan.Invalid, code: fault.ValueTooLarge},
		{name: "a fingerprint key that changed is no drift where versions count", entry: written(3, 100, true), updated: 100, listedAt: 500, state: v3,
			want: plan.Unchanged},

		// What is not to be touched, and what could not be seen.
		{name: "excluded", updated: 10, listedAt: 500, state: v3, change: exclude, want: plan.Excluded, reason: "the pattern DB_*"},
		{name: "excluded, forced", entry: written(2, 100, true), updated: 100, listedAt: 500, state: v3, change: both(exclude, force), want: plan.Excluded},
		{name: "the listing failed", entry: written(2, 100, true), updated: none, listedAt: 500, state: v3, change: func(in *plan.Input) {
			in.Observed[target.Scope] = plan.Observation{Err: fault.New(fault.TargetNotFound, "no such environment")}
		}, want: plan.Invalid, code: fault.TargetNotFound},
		{name: "nobody listed the scope", entry: written(2, 100, true), updated: none, listedAt: 500, state: v3, change: func(in *plan.Input) {
			delete(in.Observed, target.Scope)
		}, want: plan.Invalid, code: fault.InternalError},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := input(test.entry, test.updated, test.listedAt, test.state)
			if test.change != nil {
				test.change(&in)
			}
			p := plan.Make(in)
			if len(p.Actions) != 1 {
				t.Fatalf("got %d actions, want 1", len(p.Actions))
			}
			a := p.Actions[0]
			if a.Kind != test.want || !strings.Contains(a.Reason, test.reason) {
				t.Fatalf("got %s (%s), want %s (…%s…)", a.Kind, a.Reason, test.want, test.reason)
			}
			if test.code != "" && fault.CodeOf(a.Err) != test.code {
				t.Errorf("got code %s, want %s", fault.CodeOf(a.Err), test.code)
			}
			if failed := a.Kind == plan.Conflict || a.Kind == plan.Invalid; failed != (a.Err != nil) {
				t.Errorf("%s has the error %v", a.Kind, a.Err)
			}
			if test.check != nil && !test.check(a) {
				t.Errorf("the action is not as it should be: %+v", a)
			}
		})
	}
}

// replacing is an unsettled write, answered at 100, over a value of that time.
func replacing(updated int) ledger.Entry {
	e := written(3, 100, false)
	e.Written.Replaced = at(updated)
	return e
}

func force(in *plan.Input)    { in.Policy.Force = true }
func prune(in *plan.Input)    { in.Policy.Prune = true }
func rollback(in *plan.Input) { in.Policy.AllowRollback = true }

func exclude(in *plan.Input) {
	in.Exclude = func(secret.Name) (string, bool) { return "DB_*", true }
}

func value(f secret.Fingerprint) func(*plan.Input) {
	return func(in *plan.Input) { in.Desired[0].Fingerprint = f }
}

func both(first, second func(*plan.Input)) func(*plan.Input) {
	return func(in *plan.Input) { first(in); second(in) }
}

// TestAccess is about who sees an organisation's secret.
func TestAccess(t *testing.T) {
	t.Parallel()
	selected := project.Access{Visibility: project.VisibleToSelected, Repositories: []int64{2, 1}}
	all := project.Access{Visibility: project.VisibleToAll}
	tests := []struct {
		name    string
		desired project.Access
		settled bool
		updated int
		seen    project.Visibility
		want    plan.Kind
		reason  string
	}{
		{"as we left it", selected, true, 100, project.VisibleToSelected, plan.Unchanged, ""},
		{"in another order", project.Access{Visibility: project.VisibleToSelected, Repositories: []int64{1, 2, 2}}, true, 100, project.VisibleToSelected, plan.Unchanged, ""},
		{"another repository", project.Access{Visibility: project.VisibleToSelected, Repositories: []int64{3}}, true, 100, project.VisibleToSelected, plan.Update, "who may see it has changed"},
		{"no repository", project.Access{Visibility: project.VisibleToSelected}, true, 100, project.VisibleToSelected, plan.Update, "who may see it has changed"},
		{"to all", all, true, 100, project.VisibleToSelected, plan.Update, "who may see it has changed"},
		{"opened by somebody", selected, true, 100, project.VisibleToAll, plan.Update, "drift"},
		{"opened by somebody with a new time", selected, true, 200, project.VisibleToAll, plan.Conflict, "changed outside"},
		{"a listing that does not show our write yet", selected, false, 50, project.VisibleToAll, plan.Unchanged, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			entry := written(3, 100, test.settled)
			entry.Written.Access = selected.String()
			in := input(entry, none, 110, versions("3 enabled"))
			in.Desired[0].Access = &test.desired
			show(&in, plan.Listed{Name: target.Name, UpdatedAt: at(test.updated), Visibility: test.seen})
			a := plan.Make(in).Actions[0]
			if a.Kind != test.want || !strings.Contains(a.Reason, test.reason) {
				t.Errorf("got %s (%s), want %s (…%s…)", a.Kind, a.Reason, test.want, test.reason)
			}
			if a.Content.Access != test.desired.String() {
				t.Errorf("the action would record the access %q, want %q", a.Content.Access, test.desired)
			}
			if a.Sparable {
				t.Error("a change of access must not be spared")
			}
		})
	}
}

// TestOrphans is about what the ledger knows and nobody asks for.
func TestOrphans(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		entry    ledger.Entry
		updated  int
		listedAt int
		change   func(*plan.Input)
		want     string // forget, orphan, or the kind of the action with prune
	}{
		{"gone", written(3, 100, true), none, 500, nil, "forget"},
		{"gone, with prune", written(3, 100, true), none, 500, prune, "forget"},
		{"as we left it", written(3, 100, true), 100, 500, nil, "orphan"},
		{"as we left it, with prune", written(3, 100, true), 100, 500, prune, "delete"},
		{"not listed yet", written(3, 100, false), none, 110, nil, "orphan"},
		{"not listed yet, with prune", written(3, 100, false), none, 110, prune, "delete"},
		{"changed by somebody", written(3, 100, true), 200, 500, nil, "orphan"},
		{"changed by somebody, with prune", written(3, 100, true), 200, 500, prune, "released"},
		{"changed by somebody since it was interrupted, with prune", pending(ledger.Entry{}, 3, 200, 220, false), 230, 249, prune, "conflict"},
		{"changed by somebody since it was interrupted, later, with prune", pending(ledger.Entry{}, 3, 200, 220, false), 230, 250, prune, "released"},
		{"never ours, and a write of it may show up", pending(ledger.Entry{}, 3, 200, 220, false), 50, 249, nil, "orphan"},
		{"never ours", pending(ledger.Entry{}, 3, 200, 220, false), 50, 250, nil, "forget"},
		{"never ours, with prune", pending(ledger.Entry{}, 3, 200, 220, false), 50, 250, prune, "forget"},
		{"changed by somebody, with prune and force", written(3, 100, true), 200, 500, both(prune, force), "released"},
		{"interrupted and not listed yet", pending(ledger.Entry{}, 3, 200, 220, false), none, 249, nil, "orphan"},
		{"interrupted and never listed", pending(ledger.Entry{}, 3, 200, 220, false), none, 250, nil, "forget"},
		{"interrupted, took effect, with prune", pending(ledger.Entry{}, 3, 200, 220, false), 210, 500, prune, "delete"},
		{"a forced write interrupted, not listed yet, with prune", pending(ledger.Entry{}, 3, 200, 220, true), 50, 249, prune, "conflict"},
		{"a forced write interrupted without effect, with prune", pending(ledger.Entry{}, 3, 200, 220, true), 50, 500, prune, "forget"},
		{"excluded, with prune", written(3, 100, true), 100, 500, both(prune, exclude), "excluded"},
		{"not selected, with prune", written(3, 100, true), 100, 500, both(prune, func(in *plan.Input) {
			in.Selected = func(secret.Target) bool { return false }
		}), ""},
		{"the listing failed, with prune", written(3, 100, true), none, 500, both(prune, func(in *plan.Input) {
			in.Observed[target.Scope] = plan.Observation{Err: fault.New(fault.GitHubUnavailable, "500")}
		}), ""},
		{"nobody listed the scope, with prune", written(3, 100, true), none, 500, both(prune, func(in *plan.Input) {
			delete(in.Observed, target.Scope)
		}), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := input(test.entry, test.updated, test.listedAt, versions("3 enabled"))
			in.Desired, in.Policy.MaxDeletions = nil, 1
			if test.change != nil {
				test.change(&in)
			}
			p := plan.Make(in)
			got := ""
			for _, found := range p.Forget {
				got += "forget"
				wantTarget(t, found)
			}
			for _, found := range p.Orphans {
				got += "orphan"
				wantTarget(t, found)
			}
			for _, found := range p.Released {
				got += "released"
				wantTarget(t, found)
			}
			for _, a := range p.Actions {
				got += string(a.Kind)
				wantTarget(t, a.Target)
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func wantTarget(t *testing.T, got secret.Target) {
	t.Helper()
	if got != target {
		t.Errorf("got target %s, want %s", got, target)
	}
}

// TestDeletionBudget deletes only as many as allowed, or none.
func TestDeletionBudget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		inLedger, orphans, allowed, want int
	}{
		{4, 1, 0, 0}, // 20 % of 4 is none
		{5, 1, 0, 1},
		{9, 2, 0, 0},
		{10, 2, 0, 2},
		{25, 5, 0, 5},
		{1000, 5, 0, 5},
		{1000, 6, 0, 0}, // never more than 5
		{1000, 6, 5, 0},
		{1000, 6, 6, 6},
		{1000, 5, 1, 0}, // the caller may allow less than the budget
		{1, 1, 1, 1},
	}
	for _, test := range tests {
		in := input(ledger.Entry{}, none, 500, versions("3 enabled"))
		in.Desired = nil
		in.Policy = plan.Policy{Prune: true, MaxDeletions: test.allowed}
		listing := plan.Listing{At: at(500)}
		for i := range test.inLedger {
			name := secretName(i)
			in.Ledger[secret.Target{Scope: secret.Actions, Name: name}] = written(3, 100, true)
			listing.Targets = append(listing.Targets, plan.Listed{Name: name, UpdatedAt: at(100)})
			if i >= test.orphans {
				in.Desired = append(in.Desired, plan.Desired{Target: secret.Target{Scope: secret.Actions, Name: name}, Source: source})
			}
		}
		in.Observed[secret.Actions] = plan.Observation{Listing: listing}
		p := plan.Make(in)
		if got := p.Count(plan.Delete); got != test.want {
			t.Errorf("%+v: %d would be deleted", test, got)
		}
		for _, a := range p.Actions {
			if a.Kind == plan.Conflict && !errors.Is(a.Err, fault.DeletionBudget) {
				t.Errorf("%+v: got %v, want %s", test, a.Err, fault.DeletionBudget)
			}
		}
		if want := test.orphans - test.want; p.Count(plan.Conflict) != want {
			t.Errorf("%+v: %d conflicts, want %d", test, p.Count(plan.Conflict), want)
		}
	}
}

// TestCapacity counts what is there, whoever made it, and what is to be deleted.
func TestCapacity(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                       string
		foreign, orphans, wanted   int
		prune                      bool
		wantCreates, wantRefusals  int
		scope                      secret.Scope
		wantDeletes, wantConflicts int
	}{
		{name: "room for all", foreign: 50, wanted: 50, wantCreates: 50, scope: secret.Actions},
		{name: "room for some", foreign: 99, wanted: 3, wantCreates: 1, wantRefusals: 2, scope: secret.Codespaces},
		{name: "over it already", foreign: 101, wanted: 1, wantRefusals: 1, scope: "environment:dev"},
		{name: "deletions make room", foreign: 95, orphans: 5, wanted: 5, prune: true, wantCreates: 5, wantDeletes: 5, scope: secret.Actions},
		{name: "refused deletions make none", foreign: 94, orphans: 6, wanted: 5, prune: true, wantRefusals: 5, wantConflicts: 6, scope: secret.Actions},
		{name: "no documented limit", foreign: 500, wanted: 3, wantCreates: 3, scope: secret.Dependabot},
		{name: "an organisation", foreign: 999, wanted: 2, wantCreates: 1, wantRefusals: 1, scope: secret.OrgActions},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := input(ledger.Entry{}, none, 500, versions("3 enabled"))
			in.Desired, in.Policy.Prune = nil, test.prune
			listing := plan.Listing{At: at(500)}
			for i := range test.foreign {
				listing.Targets = append(listing.Targets, plan.Listed{Name: "F_" + secretName(i), UpdatedAt: at(1)})
			}
			for i := range 60 { // a ledger large enough for the budget
				in.Ledger[secret.Target{Scope: "environment:other", Name: secretName(i)}] = written(3, 100, true)
			}
			for i := range test.orphans {
				name := "O_" + secretName(i)
				in.Ledger[secret.Target{Scope: test.scope, Name: name}] = written(3, 100, true)
				listing.Targets = append(listing.Targets, plan.Listed{Name: name, UpdatedAt: at(100)})
			}
			for i := range test.wanted {
				in.Desired = append(in.Desired, plan.Desired{Target: secret.Target{Scope: test.scope, Name: "W_" + secretName(i)}, Source: source})
			}
			in.Observed = map[secret.Scope]plan.Observation{test.scope: {Listing: listing}}
			p := plan.Make(in)
			got := [4]int{p.Count(plan.Create), p.Count(plan.Invalid), p.Count(plan.Delete), p.Count(plan.Conflict)}
			if want := [4]int{test.wantCreates, test.wantRefusals, test.wantDeletes, test.wantConflicts}; got != want {
				t.Errorf("creates, refusals, deletions, conflicts: got %v, want %v", got, want)
			}
			for _, a := range p.Actions {
				if a.Kind == plan.Invalid && !errors.Is(a.Err, fault.CapacityExceeded) {
					t.Errorf("got %v, want %s", a.Err, fault.CapacityExceeded)
				}
			}
			for i, a := range p.Writes() {
				if (a.Kind == plan.Delete) != (i < test.wantDeletes) {
					t.Fatalf("write %d is a %s: deletions come first", i, a.Kind)
				}
			}
		})
	}
}

func secretName(i int) secret.Name {
	return secret.Name("S" + string([]byte{'0' + byte(i/1000%10), '0' + byte(i/100%10), '0' + byte(i/10%10), '0' + byte(i%10)}))
}
