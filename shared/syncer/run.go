package syncer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

const (
	// BatchSize is how many targets are written ahead at once, and so how many
	// a crash can make the next run repeat. It is twice what the pace lets be in
	// flight: while answers come in there is a next write, sealed, to send.
	BatchSize = 2 * pace.MaxInFlight
	// maxRounds bounds how often a run is made again because of new marks; a
	// mark that is left waits for the next run.
	maxRounds = 3
	// closing is how long a run that was interrupted may take to store what it
	// did.
	closing = 10 * time.Second
)

// run is one container's run.
type run struct {
	*Engine
	Request
	id        string
	container project.Container
	desired   []plan.Desired
	started   time.Time

	lease  *lease.Lease
	lost   bool       // the lease ended before the run: it asks for nothing more
	saving sync.Mutex // held while the ledger is being stored

	mu       sync.Mutex // guards what follows
	ledger   *ledger.Ledger
	dirty    bool          // the ledger differs from the stored one
	outcomes []audit.Event // of writes, not recorded yet
	items    map[secret.Target]Item
	invalid  map[secret.Target]error
	orphans  []Orphan
	price    Price
	warnings []string
	done     int           // targets written
	total    int           // targets to write
	ahead    time.Duration // how far GitHub's clock is ahead of ours
}

// do runs the container. The outcome is valid even if there is an error.
func (r *run) do(ctx context.Context) (outcome, error) {
	r.items, r.invalid = map[secret.Target]Item{}, map[secret.Target]error{}
	asked := r.Request
	var err error
	if r.DryRun {
		err = r.preview(ctx)
	} else {
		err = r.sync(ctx)
	}
	return r.outcome(ctx, asked), err
}

// outcome is what became of the targets that were asked for.
func (r *run) outcome(ctx context.Context, asked Request) outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := outcome{orphans: r.orphans, price: r.price, warnings: r.warnings, invalid: r.invalid}
	for t, item := range r.items {
		if asked.selected(t) {
			o.items = append(o.items, item)
		}
	}
	if len(o.items) > 0 && ctx.Err() == nil && !r.lost {
		if quota, err := r.Targets.Quota(ctx, r.container); err == nil {
			o.quota = limits(quota)
		}
	}
	return o
}

// preview plans without a lease: it writes nothing, so it needs no right to.
func (r *run) preview(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	_, held, err := lease.Last(ctx, r.Store, r.container.Key())
	if err != nil {
		return err
	}
	if held {
		r.warnings = append(r.warnings, "a sync of "+r.container.String()+" is running: what it has written so far may show as interrupted")
	}
	_, err = r.plan(ctx)
	return err
}

// plan observes, plans, and notes each target's item.
func (r *run) plan(ctx context.Context) (plan.Plan, error) {
	in, err := r.observe(ctx)
	if err != nil {
		return plan.Plan{}, err
	}
	p := plan.Make(in)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range p.Actions {
		before, ok := r.items[a.Target]
		if ok && before.Status == ItemSucceeded && a.Kind == plan.Unchanged {
			continue // an earlier round wrote it: that is what is told
		}
		r.items[a.Target] = item(a, r.DryRun)
		if a.Kind == plan.Invalid {
			r.invalid[a.Target] = a.Err
		}
	}
	r.orphans = nil
	for _, t := range p.Orphans {
		r.orphans = append(r.orphans, Orphan{Secret: t.Name, Scope: t.Scope})
	}
	r.price = r.priceOf(p, in)
	return p, nil
}

// sync is the protocol of the package's documentation. If somebody asked for a
// sync while this one held the lease, it runs again: for the whole container,
// and with no more than the plainest rights.
func (r *run) sync(ctx context.Context) error {
	again, err := r.leased(ctx)
	for round := 1; again && err == nil && round < maxRounds; round++ {
		r.Secrets, r.Scopes, r.Force, r.Prune = nil, nil, false, false
		r.desired = r.targets(r.Request, r.container.Kind)
		if again, err = r.leased(ctx); errors.Is(err, fault.SyncInProgress) {
			return nil // another one has taken the request up
		}
	}
	return err
}

// leased runs once under the lease. It reports whether a request came while it
// held it: a request sets its mark before it gives up, and this reads the mark
// after the release, so that one of the two sees the other.
func (r *run) leased(ctx context.Context) (again bool, err error) {
	key := r.container.Key()
	if err := r.acquire(ctx, key); err != nil {
		return false, err
	}
	before, err := r.underLease(ctx, key)
	if err != nil {
		return false, err
	}
	if len(r.Secrets) == 0 && len(r.Scopes) == 0 {
		if err := before.Clear(ctx, r.Store, key); err != nil {
			return false, err
		}
	}
	after, marked, err := mark.Get(ctx, r.Store, key)
	return marked && !after.Same(before), err
}

// acquire takes the lease. If it is held, the mark is left for the holder; and
// since the holder may have looked for marks just before, once more is tried.
func (r *run) acquire(ctx context.Context, key string) error {
	var err error
	if r.lease, err = lease.Acquire(ctx, r.Store, r.Clock, key, r.id); !errors.Is(err, fault.SyncInProgress) {
		return err
	}
	m := mark.Mark{ProjectID: r.Project.ID, Why: "a sync found the lease held", Since: r.Clock.Now()}
	if markErr := mark.Set(ctx, r.Store, key, m); markErr != nil {
		return errors.Join(err, markErr)
	}
	r.lease, err = lease.Acquire(ctx, r.Store, r.Clock, key, r.id)
	return err
}

// underLease makes a round and ends the run, whatever becomes of it. It returns
// the mark that the round answers.
func (r *run) underLease(ctx context.Context, key string) (mark.Mark, error) {
	ctx, stop := r.keepAlive(ctx)
	defer stop()
	m, _, err := mark.Get(ctx, r.Store, key)
	if err == nil {
		err = r.load(ctx)
	}
	if err == nil {
		err = r.round(ctx)
	}
	if cause := context.Cause(ctx); errors.Is(cause, fault.LeaseLost) {
		err = cause // and not what it broke off
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	stop()
	return m, errors.Join(err, r.end(ending, err))
}

// load reads the ledger, if the container is the project's.
func (r *run) load(ctx context.Context) error {
	l, err := ledger.Load(ctx, r.Store, r.container)
	if err != nil {
		return err
	}
	if l.Owner != "" && l.Owner != r.Project.ID {
		return fault.New(fault.ContainerOwned, "%s belongs to project %s", r.container, l.Owner)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger = l
	return nil
}

// round makes one plan and carries it out.
func (r *run) round(ctx context.Context) error {
	p, err := r.plan(ctx)
	if err != nil {
		return err
	}
	r.settle(p)
	writes := p.Writes()
	if len(writes) == 0 {
		return nil
	}
	if err := r.checkQuota(ctx, r.price); err != nil {
		return err
	}
	r.total += len(writes)
	r.progress(PhaseWrite, r.done, r.total)
	for batch := range slices.Chunk(writes, BatchSize) {
		if err := r.stopped(ctx); err != nil {
			return err
		}
		if err := r.batch(ctx, batch); err != nil {
			return err
		}
	}
	if err := r.stopped(ctx); err != nil {
		return err
	}
	return r.observeAgain(ctx, writes)
}

// stopped returns why nothing new may be started, or nil. A process that stood
// still sees by the clock that its lease has ended, before any renewal tells.
func (r *run) stopped(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, lost := r.lease.Check()
	return lost
}

// settle takes over what the plan found out about the ledger itself.
func (r *run) settle(p plan.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range p.Actions {
		if a.Settled.IsZero() {
			continue
		}
		r.confirm(a.Target, a.Settled)
	}
	for _, t := range p.Forget {
		delete(r.ledger.Entries, t)
		r.dirty = true
	}
}

// confirm notes the updated_at by which a write of ours is known from now on.
func (r *run) confirm(t secret.Target, updatedAt time.Time) {
	entry := r.ledger.Entries[t]
	written := entry.Written.Settle(updatedAt)
	r.ledger.Entries[t] = ledger.Entry{Written: &written}
	r.dirty = true
}

// event returns an event of this run.
func (r *run) event(operation audit.Operation, result audit.Result) audit.Event {
	now := r.Clock.Now()
	return audit.Event{
		ID: audit.NewID(now), At: now, Operation: operation, Result: result, Actor: r.Actor, ProjectID: r.Project.ID,
		Container: r.container.Key(), SyncID: r.id, CorrelationID: r.CorrelationID,
	}
}

// record records the events, and warns of a sink that failed.
func (r *run) record(ctx context.Context, events ...audit.Event) error {
	failed, err := r.Audit.Record(ctx, events...)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sink := range failed {
		warning := "the audit sink " + sink + " failed"
		if !slices.Contains(r.warnings, warning) {
			r.warnings = append(r.warnings, warning)
		}
	}
	return err
}

// observeAgain lists each scope that was written, and settles what it shows.
func (r *run) observeAgain(ctx context.Context, writes []plan.Action) error {
	r.progress(PhaseSettle, r.done, r.total)
	scopes := map[secret.Scope]bool{}
	for _, w := range writes {
		scopes[w.Scope] = true
	}
	group, ctx := newGroup(ctx)
	group.Go(func() error { return r.recordOutcomes(ctx) })
	for scope := range scopes {
		group.Go(func() error {
			listing, err := r.Targets.List(ctx, r.container, scope)
			if fatal(err) {
				return err
			}
			if err == nil { // else the next run settles
				r.settleScope(scope, listing)
			}
			return nil
		})
	}
	return group.Wait()
}

func (r *run) settleScope(scope secret.Scope, listing plan.Listing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, listed := range listing.Targets {
		t := secret.Target{Scope: scope, Name: listed.Name}
		entry := r.ledger.Entries[t]
		written := entry.Written
		if written == nil || written.Settled() || entry.Pending != nil {
			continue
		}
		switch {
		case plan.Settles(*written, listed.UpdatedAt):
			r.confirm(t, listed.UpdatedAt)
		case listed.UpdatedAt.After(written.PutAt.Add(plan.SettleWindow)):
			item := r.items[t]
			item.Status = ItemFailed
			item.Code, item.Reason = fault.SecretConflict, "it was changed outside Sealpost right after the write"
			r.items[t] = item
		}
	}
}

// end records how the run went, stores the ledger and releases the lease.
func (r *run) end(ctx context.Context, runErr error) error {
	r.mu.Lock()
	items := make([]Item, 0, len(r.items))
	for _, item := range r.items {
		items = append(items, item)
	}
	r.mu.Unlock()
	_, status := summarise(items)
	event := r.event(audit.SyncCompleted, audit.Succeeded)
	event.DurationMs = event.At.Sub(r.started).Milliseconds()
	event.Reason = string(status)
	switch {
	case runErr != nil:
		event.Result, event.Code = audit.Failed, fault.CodeOf(runErr)
	case status == StatusPartial || status == StatusFailed:
		event.Result = audit.Partial
	}

	r.saving.Lock()
	defer r.saving.Unlock()
	writes, ledgerErr := r.ledgerWrite(ctx)
	recordErr := r.record(ctx, event)
	last := lease.Run{SyncID: r.id, Status: string(status), FinishedAt: event.At, DurationMs: event.DurationMs, Problems: problems(r.lease.Previous().Problems, items)}
	if _, lost := r.lease.Check(); lost != nil {
		r.lost = true
		return errors.Join(ledgerErr, recordErr, lost)
	}
	if quota, err := r.Targets.Quota(ctx, r.container); err == nil {
		last.Quota = lease.Quota{Limit: int64(quota.Limit), Remaining: int64(quota.Remaining), ResetAt: quota.ResetAt}
	}
	if errors.Is(runErr, fault.ContainerOwned) {
		last = r.lease.Previous() // the owner's
	}
	at, err := r.lease.Release(ctx, last, writes...)
	r.saved(at, len(writes) > 0, err)
	return errors.Join(ledgerErr, recordErr, err)
}

// step counts one more write; r.mu is held.
func (r *run) step() {
	r.done++
	r.progress(PhaseWrite, r.done, r.total)
}

func (r *run) progress(phase Phase, done, total int) {
	if r.Progress != nil {
		r.Progress(Progress{Container: r.container.String(), Phase: phase, Done: done, Total: total})
	}
}
