// Package plan decides what has to be done: a pure function of what is
// desired, what the ledger knows, what was observed and what the policy
// allows. It reads no clock and calls nobody; every action carries its reason.
//
// # Whose is a target?
//
// GitHub returns neither a value nor a label, only a name and when it was last
// updated, in whole seconds. So a target is taken as ours, and as we left it,
// if the ledger has a confirmed write of it and its updated_at is the one that
// was settled after that write. Before a write is settled, updated_at is
// accepted within [SettleWindow] of the Date of GitHub's answer to it. A
// listing may lag behind a write: for [ListLag] after it, a target that is
// absent or shows an older time is taken as not shown yet, and so is one whose
// time may be that of the write before.
//
// A write-ahead without a recorded outcome (the writer was killed) confers
// ownership of what was updated while it may have been in flight. It is
// written again, since nobody can tell whether it took effect. What was
// updated later is somebody else's. What was updated earlier shows, once
// listings no longer lag, that it took no effect; then what is known from
// before it decides.
package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

const (
	// SettleWindow is how far GitHub's updated_at may lie from the Date of its
	// answer to the write: terraform-provider-github#810 saw it differ by
	// seconds.
	SettleWindow = 5 * time.Second
	// ListLag is how long a listing may take to show a write. It is ours:
	// GitHub documents none.
	ListLag = 30 * time.Second
)

// Kind is what is to be done with a target.
type Kind string

// The kinds of action.
const (
	Create    Kind = "create"
	Update    Kind = "update"
	Unchanged Kind = "unchanged"
	Excluded  Kind = "excluded"
	Conflict  Kind = "conflict"
	Delete    Kind = "delete"
	Invalid   Kind = "invalid"
)

// Writes reports whether the action writes to its target.
func (k Kind) Writes() bool { return k == Create || k == Update || k == Delete }

// Action is what is to be done with one target, and why.
type Action struct {
	secret.Target
	Kind    Kind
	Reason  string
	Err     error           // conflict and invalid only: code, detail and remedy
	Content ledger.Content  // create, update and unchanged: what the target is to hold; the fingerprint may be missing
	Access  *project.Access // organisation scopes only
	Forced  bool            // the write replaces what is not ours
	// Replaces is when what the write replaces was written, as far as that is
	// known; zero if nothing is there.
	Replaces time.Time
	// Sparable means that the target is as the ledger left it and only its
	// source has moved: if the new value has the old fingerprint, the write can
	// be spared.
	Sparable bool
	// Settled is what updated_at a listing shows for an unsettled write of
	// ours; zero if there is nothing to settle.
	Settled time.Time
}

// Plan is the planner's result.
type Plan struct {
	Actions []Action        // by name, then by scope; one a target
	Forget  []secret.Target // in the ledger, not desired, and nothing of ours is there
	Orphans []secret.Target // in the ledger and there, but not desired; left alone without prune
	// Released are orphans that somebody else has changed since: with prune they
	// are left as they are, and the ledger forgets them.
	Released []secret.Target
}

// Listed is one secret as GitHub lists it. Times are GitHub's, in whole seconds.
type Listed struct {
	Name       secret.Name
	CreatedAt  time.Time
	UpdatedAt  time.Time
	Visibility project.Visibility // organisation scopes only
}

// PageSize is how many secrets GitHub lists at a time, at the most. Source:
// docs.github.com, rest/actions/secrets.
const PageSize = 100

// Listing is what a scope held while it was listed. It may take many answers,
// and the later ones may have waited for the pace.
type Listing struct {
	Targets []Listed
	At      time.Time // GitHub's clock: the Date of the first answer; it shows nothing later for certain
	Ended   time.Time // GitHub's clock: the Date of the last answer
}

// Desired is what a mapping asks of one target.
type Desired struct {
	secret.Target // once in an Input
	Source        secret.Source
	Access        *project.Access    // organisation scopes only
	Fingerprint   secret.Fingerprint // unversioned sources only: that of the value
	Err           error              // unversioned sources only: what is wrong with the value
}

// Observation is a scope's listing, or why there is none.
type Observation struct {
	Listing Listing
	Err     error
}

// Policy is what the caller and the project allow.
type Policy struct {
	Force         bool // take over what the ledger did not write
	Prune         bool // delete what the ledger wrote and nobody desires
	MaxDeletions  int  // how many deletions the caller allows; 0 leaves it to [DeletionBudget]
	AllowRollback bool // write a lower version once the higher one is disabled or destroyed
}

// DeletionBudget is how many of n targets in the ledger may be deleted without
// an explicit yes: at most 5, and at most 20 %.
func DeletionBudget(n int) int { return min(5, n/5) }

// Input is all that a plan depends on.
type Input struct {
	RepositoryID int64 // that a source must admit
	Desired      []Desired
	Sources      map[secret.Source]secret.SourceState
	Ledger       map[secret.Target]ledger.Entry
	Observed     map[secret.Scope]Observation // each scope of Desired, and each that may be pruned
	Exclude      func(secret.Name) (pattern string, excluded bool)
	Selected     func(secret.Target) bool // limits prune to what the caller asked for
	Policy       Policy
}

// Make returns the plan.
func Make(in Input) Plan {
	p := planner{Input: in, observed: map[secret.Target]Listed{}}
	for scope, observation := range in.Observed {
		for _, listed := range observation.Listing.Targets {
			p.observed[secret.Target{Scope: scope, Name: listed.Name}] = listed
		}
	}
	desired := make(map[secret.Target]bool, len(in.Desired))
	for _, d := range in.Desired {
		desired[d.Target] = true
		p.plan.Actions = append(p.plan.Actions, p.decide(d))
	}
	p.orphans(desired)
	p.sort()
	p.checkDeletions()
	p.checkCapacity()
	return p.plan
}

type planner struct {
	Input
	observed map[secret.Target]Listed
	plan     Plan
}

// decide says what is to be done with one desired target.
func (p *planner) decide(d Desired) Action {
	a := Action{Target: d.Target, Access: d.Access, Content: ledger.Content{Source: d.Source}}
	if d.Access != nil {
		a.Content.Access = d.Access.String()
	}
	if pattern, excluded := p.Exclude(d.Name); excluded {
		return a.be(Excluded, "the pattern %s excludes it", pattern)
	}
	observation, observed := p.Observed[d.Scope]
	if !observed {
		return a.fail(Invalid, fault.Wrap(fault.Internal, "plan "+d.Target.String()+": nobody listed the scope", nil))
	}
	if observation.Err != nil {
		return a.fail(Invalid, observation.Err)
	}
	entry := p.Ledger[d.Target]
	state := p.ownership(d.Target, entry)
	if state == intact || state == unseen {
		entry.Pending = nil // it took no effect
	}
	version, err := p.version(d, entry)
	if err != nil {
		return a.fail(Invalid, err)
	}
	a.Content.Version, a.Content.Fingerprint = version, d.Fingerprint

	a.Replaces = p.replaces(d.Target, state, entry)

	listed, there := p.observed[d.Target]
	switch state {
	case absent:
		return a.be(Create, "it is not there yet")
	case gone:
		return a.be(Create, "drift: it was deleted outside Sealpost")
	case interrupted:
		if !there {
			return a.be(Create, "an earlier write of it was interrupted")
		}
		return a.be(Update, "an earlier write of it was interrupted")
	case consented:
		a.Forced = true
		return a.be(Update, "an earlier forced write of it was interrupted")
	case foreign:
		return p.takeOver(a, "it exists, and Sealpost did not write it")
	case changed:
		return p.takeOver(a, "it was changed outside Sealpost after Sealpost's last write")
	case unseen:
		return p.compare(a, d, *entry.Written, "")
	}
	if !entry.Written.Settled() {
		a.Settled = listed.UpdatedAt
	}
	return p.compare(a, d, *entry.Written, listed.Visibility)
}

// replaces returns when what stands at the target was written: as it is listed,
// or else at the latest.
func (p *planner) replaces(t secret.Target, state ownership, e ledger.Entry) time.Time {
	switch state {
	case unseen:
		return e.Written.PutAt
	case interrupted, consented:
		return p.Observed[t.Scope].Listing.At
	}
	return p.observed[t].UpdatedAt
}

// takeOver is what becomes of a target that is not ours, or not any more.
func (p *planner) takeOver(a Action, reason string) Action {
	if p.Policy.Force {
		a.Forced = true
		return a.be(Update, "forced: %s", reason)
	}
	return a.fail(Conflict, fault.New(fault.SecretConflict, "%s", reason))
}

// version picks the version to write, or says why there is none.
func (p *planner) version(d Desired, entry ledger.Entry) (secret.Version, error) {
	state := p.Sources[d.Source]
	switch {
	case state.Denied:
		return 0, fault.New(fault.SourceNotPermitted, "Sealpost may not look at the source %s, if it exists", d.Source).
			WithRemedy("Check the name, and grant Sealpost's service account the roles secretmanager.viewer and secretmanager.secretAccessor on it.", "")
	case !state.Exists && d.Source.Project == "":
		return 0, fault.New(fault.SourceMissing, "the env file has no %s", d.Source)
	case !state.Exists:
		return 0, fault.New(fault.SourceMissing, "the source %s does not exist", d.Source)
	case state.Unversioned:
		return count(entry), d.Err
	case !slices.Contains(state.Repositories, p.RepositoryID):
		return 0, fault.New(fault.SourceNotPermitted, "the source %s does not name repository %d in its annotation sealpost-repositories", d.Source, p.RepositoryID).
			WithRemedy("Let an owner of the source admit the repository.", fmt.Sprintf("gcloud secrets update %s --project=%s --update-annotations=sealpost-repositories=%d",
				d.Source.Secret, d.Source.Project, p.RepositoryID))
	case len(state.Versions) == 0:
		return 0, fault.New(fault.SourceMissing, "the source %s has no version", d.Source)
	}
	newest := state.Versions[0]
	usable := newestEnabled(state.Versions)
	written, wrote := lastWritten(entry, d.Source)

	if newest.State != secret.Enabled && !p.Policy.AllowRollback && (!wrote || usable != written) {
		return 0, unusable(d.Source, newest)
	}
	if usable == 0 {
		return 0, unusable(d.Source, newest)
	}
	if wrote && usable < written && (!p.Policy.AllowRollback || !retired(state.Versions, written)) {
		return 0, fault.New(fault.DowngradeRefused, "the source %s is at version %d, and version %d was written already", d.Source, usable, written)
	}
	return usable, nil
}

// compare is for a target that is as we left it, and that the listing shows
// with that visibility, if it shows it.
func (p *planner) compare(a Action, d Desired, written ledger.Written, seen project.Visibility) Action {
	switch {
	case a.Content.Access != written.Access:
		return a.be(Update, "who may see it has changed")
	case d.Access != nil && seen != "" && seen != d.Access.Visibility:
		return a.be(Update, "drift: who may see it was changed outside Sealpost")
	case a.Content.Source != written.Source:
		a.Sparable = true
		return a.be(Update, "its source has changed")
	case p.Sources[d.Source].Unversioned:
		switch d.Fingerprint.Compare(written.Fingerprint) {
		case secret.Different:
			return a.be(Update, "the value has changed")
		case secret.Unknown:
			return a.be(Update, "the ledger's fingerprint was made with another key")
		}
	case a.Content.Version > written.Version:
		a.Sparable = true
		return a.be(Update, "version %d is newer than %d", a.Content.Version, written.Version)
	case a.Content.Version < written.Version:
		a.Sparable = true
		return a.be(Update, "rollback: version %d was disabled or destroyed", written.Version)
	}
	a.Content = written.Content
	return a.be(Unchanged, "")
}

// ownership is what the ledger and the listing tell about a target.
type ownership int

const (
	absent      ownership = iota // not there, and never was by our hand
	gone                         // we wrote it, and it is not there any more
	intact                       // as we left it
	unseen                       // as we left it, though the listing does not show our write yet
	interrupted                  // a write of ours may or may not have taken effect
	consented                    // not ours; a forced write of it was interrupted and took no effect
	foreign                      // there, and the ledger knows nothing of it
	changed                      // we wrote it, and somebody wrote it later
)

func (p *planner) ownership(t secret.Target, e ledger.Entry) ownership {
	listed, there := p.observed[t]
	pending := e.Pending
	if pending == nil {
		return p.confirmed(t, e.Written)
	}
	switch {
	case !there || within(listed.UpdatedAt, pending.From, pending.Until):
		return interrupted
	case listed.UpdatedAt.After(pending.Until):
		return changed
	case pending.Forced:
		return consented
	}
	before := p.confirmed(t, e.Written)
	if p.lagsBehind(t, pending.Until) && (before == intact || before == unseen) {
		return interrupted
	}
	return before
}

// confirmed is ownership by the last confirmed write alone.
func (p *planner) confirmed(t secret.Target, written *ledger.Written) ownership {
	listed, there := p.observed[t]
	switch {
	case written == nil && there:
		return foreign
	case written == nil:
		return absent
	}
	lagging := p.lagsBehind(t, written.PutAt)
	switch {
	case !there && lagging && !written.Settled():
		return unseen
	case !there:
		return gone
	case written.Settled() && listed.UpdatedAt.Equal(written.UpdatedAt):
		return intact
	case !written.Settled() && Settles(*written, listed.UpdatedAt):
		return intact
	case lagging && older(*written, listed.UpdatedAt):
		return unseen
	case !written.Settled() && within(listed.UpdatedAt, written.PutAt, written.PutAt):
		return intact
	}
	return changed
}

// lagsBehind reports whether the listing that the target is in may not show
// yet what was written at that time.
func (p *planner) lagsBehind(t secret.Target, written time.Time) bool {
	return p.Observed[t.Scope].Listing.At.Before(written.Add(ListLag))
}

// Settles reports whether a listing's updated_at is certainly that of the
// write, however much the listing lags.
func Settles(w ledger.Written, updatedAt time.Time) bool {
	return within(updatedAt, w.PutAt, w.PutAt) && !within(updatedAt, w.Replaced, w.Replaced)
}

// older reports whether updated_at may be of a time before the write.
func older(w ledger.Written, updatedAt time.Time) bool {
	if w.Settled() {
		return updatedAt.Before(w.UpdatedAt)
	}
	return updatedAt.Before(w.PutAt) || within(updatedAt, w.Replaced, w.Replaced)
}

// within allows for the whole seconds and the lag of updated_at.
func within(t, from, until time.Time) bool {
	return !t.Before(from.Add(-SettleWindow)) && !t.After(until.Add(SettleWindow))
}

// orphans deals with what the ledger wrote and nobody desires any more.
func (p *planner) orphans(desired map[secret.Target]bool) {
	for t, entry := range p.Ledger {
		observation, observed := p.Observed[t.Scope]
		if desired[t] || !observed || observation.Err != nil || !p.Selected(t) {
			continue
		}
		switch state := p.ownership(t, entry); {
		case p.vanished(t, entry, state):
			p.plan.Forget = append(p.plan.Forget, t)
		case !p.Policy.Prune:
			p.plan.Orphans = append(p.plan.Orphans, t)
		case state == changed && !p.mayShowUp(t, entry):
			p.plan.Released = append(p.plan.Released, t)
		default:
			p.plan.Actions = append(p.plan.Actions, p.prune(t, state))
		}
	}
}

// vanished reports whether nothing of ours is there for good: no write of ours
// can still show up.
func (p *planner) vanished(t secret.Target, e ledger.Entry, state ownership) bool {
	switch state {
	case absent, gone:
		return true
	case interrupted:
		_, there := p.observed[t]
		return !there && !p.mayShowUp(t, e)
	case foreign, consented: // what was to replace it took no effect
		return !p.mayShowUp(t, e)
	}
	return false
}

// mayShowUp reports whether a write that is pending may have taken effect
// though the listing does not show it.
func (p *planner) mayShowUp(t secret.Target, e ledger.Entry) bool {
	return e.Pending != nil && p.lagsBehind(t, e.Pending.Until)
}

// prune deletes what is ours.
func (p *planner) prune(t secret.Target, state ownership) Action {
	a := Action{Target: t, Replaces: p.observed[t].UpdatedAt}
	if pattern, excluded := p.Exclude(t.Name); excluded {
		return a.be(Excluded, "nothing in the manifest asks for it any more, but the pattern %s excludes it", pattern)
	}
	switch state {
	case intact, unseen, interrupted:
		return a.be(Delete, "nothing in the manifest asks for it any more")
	}
	return a.fail(Conflict, fault.New(fault.SecretConflict,
		"nothing asks for it any more, but it was changed outside Sealpost at %s", a.Replaces.Format(time.RFC3339)))
}

// sort puts the actions in their one order.
func (p *planner) sort() {
	slices.SortFunc(p.plan.Actions, func(a, b Action) int { return a.Compare(b.Target) })
	slices.SortFunc(p.plan.Forget, secret.Target.Compare)
	slices.SortFunc(p.plan.Orphans, secret.Target.Compare)
	slices.SortFunc(p.plan.Released, secret.Target.Compare)
}

// checkDeletions turns all deletions into conflicts if there are more than the
// caller allows or, where he does not say, the budget.
func (p *planner) checkDeletions() {
	n := p.plan.Count(Delete)
	allowed := p.Policy.MaxDeletions
	if allowed <= 0 {
		allowed = DeletionBudget(len(p.Ledger))
	}
	if n <= allowed {
		return
	}
	err := fault.New(fault.DeletionBudget, "%d targets would be deleted, and %d may be", n, allowed).
		WithRemedy(fmt.Sprintf("Look at the plan; if it is right, allow that many deletions: add --max-deletions %d to the command, or maxDeletions to the request.", n), "")
	for i, a := range p.plan.Actions {
		if a.Kind == Delete {
			p.plan.Actions[i] = a.fail(Conflict, err)
		}
	}
}

// checkCapacity refuses the creations that a scope has no room for, counting
// what we do not manage.
func (p *planner) checkCapacity() {
	count := map[secret.Scope]int{}
	for scope, observation := range p.Observed {
		count[scope] = len(observation.Listing.Targets)
	}
	for _, a := range p.plan.Actions {
		if _, there := p.observed[a.Target]; a.Kind == Delete && there {
			count[a.Scope]--
		}
	}
	for i, a := range p.plan.Actions {
		if a.Kind != Create {
			continue
		}
		count[a.Scope]++
		if limit := a.Scope.Capacity(); limit > 0 && count[a.Scope] > limit {
			p.plan.Actions[i] = a.fail(Invalid, fault.New(fault.CapacityExceeded, "%s holds at most %d secrets, counting those that Sealpost does not manage", a.Scope, limit))
		}
	}
}

// be returns the action with its kind and reason.
func (a Action) be(kind Kind, format string, args ...any) Action {
	a.Kind, a.Reason = kind, fmt.Sprintf(format, args...)
	return a
}

// fail returns the action as one that cannot be taken.
func (a Action) fail(kind Kind, err error) Action {
	a.Kind, a.Reason, a.Err = kind, fault.Detail(err), err
	return a
}

// Count returns how many actions are of the kind.
func (p Plan) Count(kind Kind) int {
	n := 0
	for _, a := range p.Actions {
		if a.Kind == kind {
			n++
		}
	}
	return n
}

// Writes returns the actions that write, deletions first, so that they make
// room before anything is created.
func (p Plan) Writes() []Action {
	var writes []Action
	for _, a := range p.Actions {
		if a.Kind.Writes() {
			writes = append(writes, a)
		}
	}
	slices.SortStableFunc(writes, func(a, b Action) int { return cmp.Compare(rank(a.Kind), rank(b.Kind)) })
	return writes
}

func rank(k Kind) int {
	if k == Delete {
		return 0
	}
	return 1
}

// newestEnabled returns the highest enabled version, or 0.
func newestEnabled(versions []secret.SourceVersion) secret.Version {
	for _, v := range versions {
		if v.State == secret.Enabled {
			return v.Number
		}
	}
	return 0
}

// retired reports whether the version is known to be disabled or destroyed.
func retired(versions []secret.SourceVersion, number secret.Version) bool {
	for _, v := range versions {
		if v.Number == number {
			return v.State != secret.Enabled
		}
	}
	return false
}

// lastWritten returns the highest version of this source that we wrote, or may
// have written, to the target.
func lastWritten(e ledger.Entry, source secret.Source) (secret.Version, bool) {
	var last secret.Version
	if e.Written != nil && e.Written.Source == source {
		last = e.Written.Version
	}
	if e.Pending != nil && e.Pending.Source == source {
		last = max(last, e.Pending.Version)
	}
	return last, last > 0
}

// count is the number of the target's next write, which stands in for a version
// where the source has none.
func count(e ledger.Entry) secret.Version {
	var last secret.Version
	if e.Written != nil {
		last = e.Written.Version
	}
	if e.Pending != nil {
		last = max(last, e.Pending.Version)
	}
	return last + 1
}

func unusable(source secret.Source, newest secret.SourceVersion) error {
	code := fault.SourceDisabled
	if newest.State == secret.Destroyed {
		code = fault.SourceDestroyed
	}
	return fault.New(code, "the newest version of %s, %d, is %s", source, newest.Number, newest.State)
}
