package syncer

import (
	"context"
	"errors"
	"iter"
	"maps"
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
	// reserve is how long before the end of the time allowed a run starts nothing
	// new any more: the answer to what it sent last, which nobody may wait for
	// longer than the lease lasts, and then closing.
	reserve = lease.TTL + closing
	// asking is how long a run asks for the quota that it only reports.
	asking = time.Second
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
	invalid  map[secret.Target]error // why nothing was sent to a target
	spent    error                   // the quota or the time ran out before a write was sent
	orphans  []Orphan
	price    Price
	warnings []string
	done     int           // targets written
	total    int           // targets to write
	ahead    time.Duration // how far GitHub's clock is ahead of ours, at the least
	told     bool          // ahead was told, and is not just 0
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
	o := r.found(asked)
	if len(o.items) > 0 && ctx.Err() == nil && !r.lost {
		if quota, err := r.quota(ctx); err == nil {
			o.quota = limits(quota)
		}
	}
	return o
}

func (r *run) found(asked Request) outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := outcome{orphans: r.orphans, price: r.price, warnings: r.warnings, invalid: maps.Clone(r.invalid)}
	for t, item := range r.items {
		if asked.selected(t) {
			o.items = append(o.items, item)
		}
	}
	return o
}

// quota asks for the quota, and not for long: a GitHub that hangs must not take
// the time in which the run is to be closed.
func (r *run) quota(ctx context.Context) (Quota, error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	return r.Targets.Quota(ctx, r.container)
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
	for _, t := range p.Released {
		r.warn(t.String() + " was changed outside Sealpost and nothing asks for it: it stays, and Sealpost forgets it")
	}
	for _, a := range p.Actions {
		delete(r.invalid, a.Target)
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
// and with no more than the plainest rights. What goes wrong with that is not
// the caller's: the mark stays for whoever takes it up.
func (r *run) sync(ctx context.Context) error {
	again, err := r.leased(ctx)
	for round := 1; again && err == nil && round < maxRounds; round++ {
		answered := r.found(Request{})
		r.Secrets, r.Scopes, r.Force, r.Prune = nil, nil, false, false
		r.desired = r.targets(r.Request, r.container.Kind)
		var further error
		if again, further = r.leased(ctx); further != nil {
			if !errors.Is(further, fault.SyncInProgress) { // another one has taken the request up
				r.Log.WarnContext(ctx, "a request that came meanwhile waits for another run", "syncId", r.id, "error", further)
			}
			r.tell(answered)
			return nil
		}
	}
	return err
}

// tell makes what was found before what the run tells.
func (r *run) tell(o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.items = map[secret.Target]Item{}
	for _, item := range o.items {
		r.items[item.Target()] = item
	}
	r.invalid, r.orphans, r.price = o.invalid, o.orphans, o.price
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
	if len(r.Secrets) == 0 && len(r.Scopes) == 0 && !r.unfinished() {
		if err := before.Clear(ctx, r.Store, key); err != nil {
			return false, err
		}
	}
	after, marked, err := mark.Get(ctx, r.Store, key)
	return marked && !after.Same(before), err
}

// unfinished reports whether a target waits for another run.
func (r *run) unfinished() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.items {
		if i.unfinished() {
			return true
		}
	}
	return false
}

// acquire takes the lease. If it is held, the mark is left for the holder; and
// since the holder may have looked for marks just before, once more is tried.
func (r *run) acquire(ctx context.Context, key string) error {
	var err error
	if r.lease, err = lease.Acquire(ctx, r.Store, r.Clock, key, r.id); r.Marked || !errors.Is(err, fault.SyncInProgress) {
		return err
	}
	m := mark.For(r.Project, r.container, "a sync found the lease held", mark.Change, r.Clock.Now())
	if _, markErr := mark.Set(ctx, r.Store, key, m); markErr != nil {
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
	m, marked, err := mark.Get(ctx, r.Store, key)
	answered := r.Marked && !marked // by who held the lease before
	if err == nil && !answered {
		err = r.load(ctx)
	}
	if err == nil && !answered {
		err = r.round(ctx)
	}
	if cause := context.Cause(ctx); errors.Is(cause, fault.LeaseLost) {
		err = cause // and not what it broke off
	}
	stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	if err == nil && answered {
		_, err = r.lease.Release(ending, r.lease.Previous())
		return m, err
	}
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
	release, err := r.Targets.Reserve(ctx, r.container, r.price.Requests)
	if err != nil {
		return err
	}
	defer r.giveBack(ctx, release)
	r.total += len(writes)
	r.progress(PhaseWrite, r.done, r.total)
	deletions := p.Count(plan.Delete) // they come first, and what they make room for after them
	for batch := range batches(writes[:deletions], writes[deletions:]) {
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

// batches cuts each part into batches, one part after the other.
func batches(parts ...[]plan.Action) iter.Seq[[]plan.Action] {
	return func(yield func([]plan.Action) bool) {
		for _, part := range parts {
			for batch := range slices.Chunk(part, BatchSize) {
				if !yield(batch) {
					return
				}
			}
		}
	}
}

// giveBack gives back what is left of the hourly quota that was reserved. It is
// not worth waiting for: what is not told lapses.
func (r *run) giveBack(ctx context.Context, release func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), asking)
	defer cancel()
	release(ctx)
}

// stopped returns why nothing new may be started, or nil. A process that stood
// still sees by the clock that its lease has ended, before any renewal tells.
func (r *run) stopped(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, lost := r.lease.Check(); lost != nil {
		return lost
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spent
}

// settle takes over what the plan found out about the ledger itself.
func (r *run) settle(p plan.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range p.Actions {
		switch entry := r.ledger.Entries[a.Target]; {
		case !a.Settled.IsZero():
			r.confirm(a.Target, a.Settled)
		case a.Kind == plan.Unchanged && entry.Pending != nil: // it took no effect, and is not repeated
			r.ledger.Entries[a.Target], r.dirty = ledger.Entry{Written: entry.Written}, true
		}
	}
	for _, t := range slices.Concat(p.Forget, p.Released) {
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
		r.warn("the audit sink " + sink + " failed")
	}
	return err
}

// warn adds a warning once; r.mu is held.
func (r *run) warn(warning string) {
	if !slices.Contains(r.warnings, warning) {
		r.warnings = append(r.warnings, warning)
	}
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
			item, ours := r.items[t]
			if !ours { // an orphan, or a target that was not asked for: another run tells
				continue
			}
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
	if quota, err := r.quota(ctx); err == nil {
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
