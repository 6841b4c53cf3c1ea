package syncer

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/exclusion"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// Engine syncs projects. It holds no state of its own: everything is in the
// store, and any number of engines may run over one store.
type Engine struct {
	Store   docstore.Store
	Audit   *audit.Recorder
	Targets Targets
	Sources Sources
	// SourcesOf, if set, returns the sources for one run of a project in place of
	// Sources: those that know their states without being asked each time.
	SourcesOf func(projectID string) Sources
	// Fingerprints returns the key for fingerprints; it is asked only by runs
	// that read a value.
	Fingerprints func(context.Context) (secret.FingerprintKey, error)
	Clock        clock.Clock
	Log          *slog.Logger
	Mode         pace.Mode // for the price of a plan
}

// Sync brings the project's targets level with their sources and says what
// became of each. A request with DryRun plans and writes nothing. What fails
// for some targets is in the result. An error means that the run ended early;
// the result then tells how far it came. Its kinds are those of the ports, [fault.Conflict] with
// [fault.SyncInProgress], [fault.Exhausted] with [fault.RateLimitExhausted],
// and [fault.NotFound] or [fault.Unprocessable] for a request that names
// secrets or scopes that the project does not have.
func (e *Engine) Sync(ctx context.Context, req Request) (Result, error) {
	if err := req.Check(); err != nil {
		return Result{}, err
	}
	if e.SourcesOf != nil {
		engine := *e
		engine.Sources = e.SourcesOf(req.Project.ID)
		e = &engine
	}
	ctx, stop := e.working(ctx, req)
	defer stop()
	meter := new(pace.Meter)
	ctx = pace.WithMeter(ctx, meter)
	started := e.Clock.Now()
	id := req.SyncID
	if id == "" {
		id = audit.NewID(started)
	}

	var total outcome
	var failure error
	for _, container := range req.Project.Containers() {
		if req.Container != "" && req.Container != container.Key() {
			continue
		}
		desired := e.targets(req, container.Kind)
		if len(desired) == 0 && !req.Prune {
			continue
		}
		r := &run{Engine: e, Request: req, id: id, container: container, desired: desired, started: started}
		o, err := r.do(ctx)
		total.add(o)
		if err != nil {
			failure = errors.Join(failure, fault.Annotate("sync "+container.String(), err))
		}
	}
	result := total.result(req, id)
	if failure != nil {
		e.Log.WarnContext(ctx, "a sync ended early", "syncId", id, "error", failure)
	}
	result.Cost = cost(meter.Usage())
	result.StartedAt = Timestamp(started)
	result.DurationMs = e.Clock.Now().Sub(started).Milliseconds()
	return result, first(failure)
}

// working returns the context in which a run may start something new. It ends
// early enough before ctx's deadline that the run is closed by then; where there
// is little time, half of it is for the work.
func (e *Engine) working(ctx context.Context, req Request) (context.Context, context.CancelFunc) {
	deadline, limited := ctx.Deadline()
	if !limited || req.DryRun {
		return context.WithCancel(ctx)
	}
	left := clock.Until(e.Clock, deadline)
	return clock.WithTimeout(ctx, e.Clock, left-min(reserve, left/2))
}

// first returns the first of joined errors: the one that a caller is told.
func first(err error) error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()[0]
	}
	return err
}

// outcome is what became of the containers so far.
type outcome struct {
	items    []Item
	orphans  []Orphan
	price    Price
	quota    *Limits
	warnings []string
	invalid  map[secret.Target]error // why nothing was sent to a target
}

func (o *outcome) add(p outcome) {
	o.items = append(o.items, p.items...)
	o.orphans = append(o.orphans, p.orphans...)
	o.price.Requests += p.price.Requests
	o.price.Points += p.price.Points
	o.price.DurationMs += p.price.DurationMs
	o.warnings = append(o.warnings, p.warnings...)
	if p.quota != nil {
		o.quota = p.quota
	}
	if o.invalid == nil {
		o.invalid = map[secret.Target]error{}
	}
	maps.Copy(o.invalid, p.invalid)
}

func (o *outcome) result(req Request, id string) Result {
	r := Result{
		SyncID: id, ProjectID: req.Project.ID, DryRun: req.DryRun, Results: o.items, Orphans: o.orphans,
		Quota: o.quota, Warnings: o.warnings, CorrelationID: req.CorrelationID,
	}
	if r.Results == nil {
		r.Results = []Item{}
	}
	slices.SortFunc(r.Results, func(a, b Item) int { return a.Target().Compare(b.Target()) })
	r.Summary, r.Status = summarise(r.Results)
	if r.Status == StatusPartial || r.Status == StatusFailed {
		r.Code = r.telling()
	}
	r.refusal = refusal(r.Results, o.invalid)
	if req.DryRun {
		r.Price = &o.price
	}
	return r
}

// refusal returns the first target's error if nothing could be sent to any.
func refusal(items []Item, invalid map[secret.Target]error) error {
	for _, i := range items {
		if invalid[i.Target()] == nil {
			return nil
		}
	}
	if len(items) == 0 {
		return nil
	}
	return invalid[items[0].Target()]
}

// Check refuses names and scopes that the project does not have, so that a
// typing error is not taken for "nothing to do": a [fault.NotFound] with
// [fault.RequestNotFound], or an [fault.Unprocessable] with [fault.ScopeInvalid].
func (r Request) Check() error {
	known := map[secret.Name]bool{}
	for _, m := range r.Project.Mappings {
		known[m.Name] = true
	}
	var unknown []string
	for _, name := range r.Secrets {
		if !known[name] && !r.Prune {
			unknown = append(unknown, string(name))
		}
	}
	if len(unknown) > 0 {
		return fault.New(fault.RequestNotFound, "project %s has no secret %s", r.Project.ID, strings.Join(unknown, ", "))
	}
	scopes := r.Project.Scopes()
	for _, scope := range r.Scopes {
		if !slices.Contains(scopes, scope) && !r.Prune {
			unknown = append(unknown, string(scope))
		}
	}
	if len(unknown) > 0 {
		return fault.New(fault.ScopeInvalid, "project %s maps nothing to %s", r.Project.ID, strings.Join(unknown, ", "))
	}
	return nil
}

// selected reports whether the request asks for the target.
func (r Request) selected(t secret.Target) bool {
	return (len(r.Secrets) == 0 || slices.Contains(r.Secrets, t.Name)) &&
		(len(r.Scopes) == 0 || slices.Contains(r.Scopes, t.Scope))
}

// targets expands the mappings to the targets of one kind of container that
// the request asks for.
func (e *Engine) targets(req Request, kind project.ContainerKind) []plan.Desired {
	var desired []plan.Desired
	for _, m := range req.Project.Mappings {
		for _, scope := range m.Scopes {
			d := plan.Desired{Target: secret.Target{Scope: scope, Name: m.Name}, Source: m.Source}
			if !kind.Holds(scope) || !req.selected(d.Target) {
				continue
			}
			if scope.Organisation() {
				d.Access = m.Access
			}
			desired = append(desired, d)
		}
	}
	return desired
}

// observe reads all that the plan depends on.
func (r *run) observe(ctx context.Context) (plan.Input, error) {
	r.progress(PhaseObserve, 0, 0)
	in := plan.Input{
		RepositoryID: r.Project.Repository.ID, Desired: slices.Clone(r.desired), Ledger: r.ledger.Entries,
		Observed: map[secret.Scope]plan.Observation{}, Selected: r.selected,
		Policy: plan.Policy{Force: r.Force, Prune: r.Prune, MaxDeletions: r.MaxDeletions, AllowRollback: r.Project.AllowRollback},
	}
	exclude, err := exclusions(ctx, r.Store, r.Project)
	if err != nil {
		return plan.Input{}, err
	}
	in.Exclude = exclude.Match

	group, gctx := newGroup(ctx)
	group.Go(func() (err error) {
		in.Sources, err = r.inspect(gctx, in.Desired)
		return err
	})
	known := r.ledger.Scopes()
	for scope := range r.scopesToList() {
		if !known[scope] && !r.DryRun {
			group.Go(func() error {
				_ = r.Targets.Prepare(gctx, r.container, scope) // the first Put meets the same fault, and tells
				return nil
			})
		}
		group.Go(func() error {
			listing, err := r.Targets.List(gctx, r.container, scope)
			if fatal(err) {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			in.Observed[scope] = plan.Observation{Listing: listing, Err: err}
			r.tellTime(listing.Ended)
			return nil
		})
	}
	return in, group.Wait()
}

// scopesToList are those of the targets that are desired, and with prune those
// of the ledger's that were asked for.
func (r *run) scopesToList() map[secret.Scope]bool {
	scopes := map[secret.Scope]bool{}
	for _, d := range r.desired {
		scopes[d.Scope] = true
	}
	if r.Prune {
		for t := range r.ledger.Entries {
			if r.selected(t) {
				scopes[t.Scope] = true
			}
		}
	}
	return scopes
}

// exclusions are the patterns for everybody and the project's own.
func exclusions(ctx context.Context, store docstore.Store, p project.Project) (exclusion.Matcher, error) {
	global, err := exclusion.Load(ctx, store)
	if err != nil {
		return exclusion.Matcher{}, err
	}
	own, err := exclusion.ParseAll(p.Exclude)
	if err != nil {
		return exclusion.Matcher{}, err
	}
	return exclusion.Compile(global.Patterns, own), nil
}

// fatal reports whether a listing's error concerns the whole run, and not only
// its scope.
func fatal(err error) bool {
	switch fault.KindOf(err) {
	case fault.Canceled, fault.Deadline, fault.Exhausted:
		return true
	}
	return errors.Is(err, fault.CredentialsRejected)
}

// inspect returns the sources' states, and fills in the fingerprints of values
// whose source does not count versions.
func (r *run) inspect(ctx context.Context, desired []plan.Desired) (map[secret.Source]secret.SourceState, error) {
	var sources []secret.Source
	for _, d := range desired {
		sources = append(sources, d.Source)
	}
	slices.SortFunc(sources, func(a, b secret.Source) int { return strings.Compare(a.String(), b.String()) })
	states, err := r.Sources.Inspect(ctx, slices.Compact(sources))
	if err != nil {
		return nil, err
	}
	for i, d := range desired {
		state := states[d.Source]
		if !state.Exists || !state.Unversioned {
			continue
		}
		_, desired[i].Fingerprint, desired[i].Err = r.value(ctx, d.Source, 0)
	}
	return states, nil
}

// value reads a value that can be written, and its fingerprint.
func (r *run) value(ctx context.Context, source secret.Source, version secret.Version) (secret.Value, secret.Fingerprint, error) {
	value, err := r.Sources.Value(ctx, source, version)
	if err != nil {
		return secret.Value{}, secret.Fingerprint{}, err
	}
	switch n := value.Len(); {
	case n == 0:
		return secret.Value{}, secret.Fingerprint{}, fault.New(fault.ValueEmpty, "the value of %s is empty", source)
	case n > secret.MaxValueBytes:
		return secret.Value{}, secret.Fingerprint{}, fault.New(fault.ValueTooLarge, "the value of %s has %d bytes; GitHub takes %d", source, n, secret.MaxValueBytes)
	}
	key, err := r.Fingerprints(ctx)
	if err != nil {
		return secret.Value{}, secret.Fingerprint{}, err
	}
	return value, key.Fingerprint(value), nil
}

// price is what the writes of a plan will cost: keys, writes, and the lists to
// settle.
func (r *run) priceOf(p plan.Plan, in plan.Input) Price {
	puts, deletes := map[secret.Scope]int{}, map[secret.Scope]int{}
	for _, a := range p.Writes() {
		if a.Kind == plan.Delete {
			deletes[a.Scope]++
		} else {
			puts[a.Scope]++
		}
	}
	var work pace.Work
	for scope, observation := range in.Observed {
		n := puts[scope] + deletes[scope]
		if n == 0 {
			continue
		}
		work.Writes += n
		work.Settles += pages(len(observation.Listing.Targets) + puts[scope])
		if puts[scope] > 0 {
			work.Keys++
		}
	}
	price := pace.PriceOf(r.Mode, work)
	return Price{Requests: price.Requests, Points: price.Points, DurationMs: price.Duration.Milliseconds()}
}

// pages is how many answers a listing of n secrets takes.
func pages(n int) int { return max(1, (n+plan.PageSize-1)/plan.PageSize) }
