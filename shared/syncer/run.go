package syncer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/docstore"
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

// write is one action of a batch with its value.
type write struct {
	plan.Action
	value secret.Value
}

// batch carries out one batch: values, intent, write-ahead, writes, outcomes.
func (r *run) batch(ctx context.Context, actions []plan.Action) error {
	writes, err := r.prepare(ctx, actions)
	if err != nil || len(writes) == 0 {
		return err
	}
	if err := r.record(ctx, r.intent(writes)); err != nil {
		return err
	}
	r.writeAhead(writes)
	if err := r.save(ctx); err != nil {
		return err
	}
	events := r.write(ctx, writes)

	// The outcomes are recorded even if the run was interrupted meanwhile.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	return r.record(ending, events...)
}

// prepare reads the batch's values, each once, and leaves out what cannot be
// read and what has, by its fingerprint, the value already.
func (r *run) prepare(ctx context.Context, actions []plan.Action) ([]write, error) {
	type version struct {
		source secret.Source
		number secret.Version
	}
	type read struct {
		value       secret.Value
		fingerprint secret.Fingerprint
		err         error
	}
	reads := map[version]*read{}
	of := func(a plan.Action) version {
		if a.Content.Fingerprint.KeyID != "" { // an unversioned source: the number is ours
			return version{source: a.Content.Source}
		}
		return version{a.Content.Source, a.Content.Version}
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrentReads)
	for _, a := range actions {
		v := of(a)
		if a.Kind == plan.Delete || reads[v] != nil {
			continue
		}
		result := new(read)
		reads[v] = result
		group.Go(func() error {
			result.value, result.fingerprint, result.err = r.value(gctx, v.source, v.number)
			return gctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var writes []write
	for _, a := range actions {
		if a.Kind == plan.Delete {
			writes = append(writes, write{Action: a})
			continue
		}
		result := reads[of(a)]
		a.Content.Fingerprint = result.fingerprint
		switch {
		case result.err != nil:
			r.fail(a.Target, result.err)
		case r.spared(a):
		default:
			writes = append(writes, write{Action: a, value: result.value})
		}
	}
	return writes, nil
}

// spared reports whether the target has the value already, though its source
// has a new version, and then notes that version.
func (r *run) spared(a plan.Action) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.ledger.Entries[a.Target].Written
	if !a.Sparable || before.Fingerprint.Compare(a.Content.Fingerprint) != secret.Same {
		return false
	}
	written := *before
	written.Content, written.SyncedAt = a.Content, r.Clock.Now()
	r.ledger.Entries[a.Target] = ledger.Entry{Written: &written}
	r.dirty = true
	item := r.items[a.Target]
	item.Action, item.Status, item.Reason = plan.Unchanged, ItemSucceeded, "the new version has the same value"
	r.items[a.Target] = item
	r.step()
	return true
}

// intent is the audit's event before a batch.
func (r *run) intent(writes []write) audit.Event {
	e := r.event(audit.SyncIntent, audit.Intended)
	for _, w := range writes {
		e.Targets = append(e.Targets, w.Target.String())
	}
	return e
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

// writeAhead notes in the ledger what is about to be written. Deletions need no
// note: one that was interrupted leaves a target that is gone, or as it was.
func (r *run) writeAhead(writes []write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range writes {
		if w.Kind == plan.Delete {
			continue
		}
		entry := r.ledger.Entries[w.Target]
		entry.Pending = &ledger.Pending{Content: w.Content, Fence: r.lease.Fence, From: r.githubNow(), Forced: w.Forced}
		r.ledger.Entries[w.Target] = entry
		r.dirty = true
	}
}

// githubNow estimates GitHub's clock.
func (r *run) githubNow() time.Time { return r.Clock.Now().Add(r.ahead) }

// tellTime notes GitHub's clock as an answer showed it.
func (r *run) tellTime(at time.Time) {
	if !at.IsZero() {
		r.ahead = at.Sub(r.Clock.Now())
	}
}

// save stores the ledger, if it has changed, and renews the lease. A write that
// is pending may start until the lease ends, and the ledger says so.
func (r *run) save(ctx context.Context) error {
	r.saving.Lock()
	defer r.saving.Unlock()
	writes, err := r.ledgerWrite()
	if err != nil {
		return err
	}
	at, err := r.lease.Commit(ctx, writes...)
	r.saved(at, len(writes) > 0, err)
	return err
}

// ledgerWrite returns the write of the ledger, or none if it has not changed.
func (r *run) ledgerWrite() ([]docstore.Write, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ledger == nil {
		return nil, nil
	}
	for t, entry := range r.ledger.Entries {
		if p := entry.Pending; p != nil && p.Fence == r.lease.Fence {
			pending := *p
			pending.Until = r.githubNow().Add(lease.TTL)
			r.ledger.Entries[t] = ledger.Entry{Written: entry.Written, Pending: &pending}
			r.dirty = true
		}
	}
	if !r.dirty {
		return nil, nil
	}
	write, err := r.ledger.Write()
	if err != nil {
		return nil, err
	}
	r.dirty = false
	return []docstore.Write{write}, nil
}

func (r *run) saved(at time.Time, ledger bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !ledger:
	case err != nil:
		r.dirty = true
	default:
		r.ledger.Stored(at)
	}
}

// keepAlive renews the lease until stop is called. The context that it returns
// ends if the lease is lost.
func (r *run) keepAlive(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	renewing, halt := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r.Clock.Sleep(renewing, lease.RenewEvery) == nil {
			err := r.save(renewing)
			if _, lost := r.lease.Check(); lost != nil {
				cancel(lost)
				return
			}
			if err != nil && renewing.Err() == nil {
				r.Log.WarnContext(ctx, "the lease could not be renewed", "syncId", r.id, "error", err)
			}
		}
	}()
	return ctx, sync.OnceFunc(func() {
		halt()
		<-done
		cancel(nil)
	})
}

// write sends the batch and returns the audit's events of the outcomes.
func (r *run) write(ctx context.Context, writes []write) []audit.Event {
	ctx = pace.WithGuard(ctx, func() (time.Duration, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.lease.Check()
	})
	events := make([]audit.Event, len(writes))
	var group sync.WaitGroup
	for i, w := range writes {
		group.Go(func() {
			started := r.Clock.Now()
			receipt, err := r.send(ctx, w)
			events[i] = r.outcomeOf(w, receipt, err)
			events[i].DurationMs = r.Clock.Now().Sub(started).Milliseconds()
		})
	}
	group.Wait()
	return slices.DeleteFunc(events, func(e audit.Event) bool { return e.ID == "" })
}

func (r *run) send(ctx context.Context, w write) (Receipt, error) {
	if w.Kind == plan.Delete {
		return r.Targets.Delete(ctx, r.container, w.Scope, w.Name)
	}
	return r.Targets.Put(ctx, r.container, Put{Scope: w.Scope, Name: w.Name, Value: w.value, Access: w.Access})
}

// outcomeOf notes what became of a write in the ledger and the results, and
// returns the audit's event; one without an id if nothing was sent.
func (r *run) outcomeOf(w write, receipt Receipt, err error) audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	item := r.items[w.Target]
	switch {
	case err == nil:
		r.tellTime(receipt.At)
		r.applied(w, receipt)
		item.Status = ItemSucceeded
		if finding := surprise(w, receipt); finding != "" {
			item.Reason = finding
		}
	case unsent(err):
		entry := r.ledger.Entries[w.Target]
		if entry.Pending = nil; entry.Written == nil {
			delete(r.ledger.Entries, w.Target)
		} else {
			r.ledger.Entries[w.Target] = entry
		}
		r.dirty = true
		item.Reason = "not started: the run was stopped"
	default:
		item.failed(err)
		if unanswered(err) {
			item.Status = ItemUnknown
		}
	}
	r.items[w.Target] = item
	r.step()
	if unsent(err) {
		return audit.Event{}
	}
	e := r.event(operations[w.Kind], audit.Succeeded)
	e.Secret, e.Scope, e.Version, e.Reason = w.Name, w.Scope, w.Content.Version, item.Reason
	if err != nil {
		e.Result, e.Code = audit.Failed, item.Code
	}
	return e
}

var operations = map[plan.Kind]audit.Operation{
	plan.Create: audit.SecretCreate, plan.Update: audit.SecretUpdate, plan.Delete: audit.SecretDelete,
}

// applied notes a confirmed write in the ledger.
func (r *run) applied(w write, receipt Receipt) {
	r.dirty = true
	if w.Kind == plan.Delete {
		delete(r.ledger.Entries, w.Target)
		return
	}
	r.ledger.Entries[w.Target] = ledger.Entry{
		Written: &ledger.Written{Content: w.Content, PutAt: receipt.At, SyncedAt: r.Clock.Now()},
	}
}

// surprise tells when GitHub's answer contradicts the listing that the plan was
// made from: somebody else wrote the target in between.
func surprise(w write, receipt Receipt) string {
	switch {
	case receipt.Retried: // it may be our own first attempt that was there before
	case w.Kind == plan.Create && !receipt.Created:
		return "it appeared between the listing and the write, and was replaced"
	case w.Kind == plan.Update && receipt.Created:
		return "it vanished between the listing and the write, and was created again"
	}
	return ""
}

// unsent reports whether the error says that the write was never sent.
func unsent(err error) bool {
	return errors.Is(err, fault.LeaseLost) || fault.KindOf(err) == fault.Canceled
}

// unanswered reports whether the write may have taken effect all the same.
func unanswered(err error) bool {
	kind := fault.KindOf(err)
	return kind == fault.Unavailable || kind == fault.Deadline
}

// fail notes that nothing was sent to a target because of err.
func (r *run) fail(t secret.Target, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	item := r.items[t]
	item.failed(err)
	r.items[t], r.invalid[t] = item, err
	r.step()
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
