package syncer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

const (
	// BatchSize is how many targets are written ahead at once, and so how many
	// a crash can make the next run repeat. It is the most that the pace lets
	// be in flight: a smaller batch would leave places empty.
	BatchSize = 90
	// maxRounds bounds how often a run plans again because of new marks; a mark
	// that is left waits for the next run.
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
	saving sync.Mutex // held while the ledger is being stored

	mu       sync.Mutex // guards what follows
	ledger   *ledger.Ledger
	dirty    bool // the ledger differs from the stored one
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
	var err error
	if r.DryRun {
		err = r.preview(ctx)
	} else {
		err = r.sync(ctx)
	}
	return r.outcome(ctx), err
}

func (r *run) outcome(ctx context.Context) outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := outcome{orphans: r.orphans, price: r.price, warnings: r.warnings, invalid: r.invalid}
	for _, item := range r.items {
		o.items = append(o.items, item)
	}
	if len(o.items) > 0 && ctx.Err() == nil {
		if quota, err := r.Targets.Quota(ctx, r.container); err == nil {
			o.quota = limits(quota)
		}
	}
	return o
}

// preview plans without a lease: it writes nothing, so it needs no right to.
func (r *run) preview(ctx context.Context) (err error) {
	if r.ledger, err = ledger.Load(ctx, r.Store, r.container); err != nil {
		return err
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

// sync is the protocol of the package's documentation.
func (r *run) sync(ctx context.Context) (err error) {
	key := r.container.Key()
	r.lease, err = lease.Acquire(ctx, r.Store, r.Clock, key, r.id)
	if errors.Is(err, fault.SyncInProgress) {
		m := mark.Mark{ProjectID: r.Project.ID, Why: "a sync found the lease held", Since: r.Clock.Now()}
		return errors.Join(err, mark.Set(ctx, r.Store, key, m))
	}
	if err != nil {
		return err
	}
	ctx, stop := r.keepAlive(ctx)
	defer stop()

	runErr := r.rounds(ctx, key)

	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	stop()
	return errors.Join(runErr, r.end(ending, runErr))
}

// rounds plans and writes until no new mark is there.
func (r *run) rounds(ctx context.Context, key string) error {
	m, marked, err := mark.Get(ctx, r.Store, key)
	if err != nil {
		return err
	}
	if r.ledger, err = ledger.Load(ctx, r.Store, r.container); err != nil {
		return err
	}
	if r.ledger.Owner != "" && r.ledger.Owner != r.Project.ID {
		return fault.New(fault.ContainerOwned, "%s belongs to project %s", r.container, r.ledger.Owner)
	}
	for range maxRounds {
		if marked {
			if _, err := r.lease.Commit(ctx, m.Clear(key)); err != nil {
				return err
			}
		}
		if err := r.round(ctx); err != nil {
			return err
		}
		if m, marked, err = mark.Get(ctx, r.Store, key); err != nil || !marked {
			return err
		}
	}
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
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := r.batch(ctx, batch); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	return r.observeAgain(ctx, writes)
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
	written := *entry.Written
	written.UpdatedAt = updatedAt
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
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrentReads)
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

func (r *run) settleScope(scope secret.Scope, listing Listing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, listed := range listing.Targets {
		t := secret.Target{Scope: scope, Name: listed.Name}
		written := r.ledger.Entries[t].Written
		if written == nil || written.Settled() {
			continue
		}
		switch {
		case plan.Settles(*written, listed.UpdatedAt):
			r.confirm(t, listed.UpdatedAt)
		case listed.UpdatedAt.After(written.PutAt):
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
	recordErr := r.record(ctx, event)

	r.saving.Lock()
	defer r.saving.Unlock()
	writes, err := r.ledgerWrite()
	if err != nil {
		return errors.Join(recordErr, err)
	}
	last := lease.Run{SyncID: r.id, Status: string(status), FinishedAt: event.At, DurationMs: event.DurationMs, Problems: problems(r.lease.Previous().Problems, items)}
	if quota, err := r.Targets.Quota(ctx, r.container); err == nil {
		last.Quota = lease.Quota{Limit: int64(quota.Limit), Remaining: int64(quota.Remaining), ResetAt: quota.ResetAt}
	}
	at, err := r.lease.Release(ctx, last, writes...)
	r.saved(at, len(writes) > 0, err)
	return errors.Join(recordErr, err)
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
