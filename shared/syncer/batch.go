package syncer

import (
	"context"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/secret"
)

// write is one action of a batch with its value.
type write struct {
	plan.Action
	value  secret.Value
	before ledger.Entry // the ledger's, without this write
}

// batch carries out one batch: values, intent, write-ahead, writes. Its outcomes
// are recorded with what comes next: the intent of another batch, a renewal of
// the lease, or the lists that settle.
func (r *run) batch(ctx context.Context, actions []plan.Action) error {
	writes, err := r.prepare(ctx, actions)
	if err != nil || len(writes) == 0 {
		return err
	}
	if err := r.recordOutcomes(ctx, r.intent(writes)); err != nil {
		return err
	}
	r.writeAhead(writes)
	if err := r.save(ctx, closing); err != nil {
		for _, w := range writes {
			r.forget(w)
		}
		return err
	}
	r.write(ctx, writes)
	return nil
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
	group, gctx := newGroup(ctx)
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

// writeAhead notes in the ledger what is about to be written. Deletions need no
// note: one that was interrupted leaves a target that is gone, or as it was.
func (r *run) writeAhead(writes []write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, w := range writes {
		writes[i].before = r.ledger.Entries[w.Target]
		if w.Kind == plan.Delete {
			continue
		}
		r.ledger.Entries[w.Target] = writes[i].before.WriteAhead(ledger.Pending{
			Content: w.Content, Fence: r.lease.Fence, From: r.githubNow(), Forced: w.Forced,
		})
		r.dirty = true
	}
}

// forget takes back the note of a write that was never sent.
func (r *run) forget(w write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.Entries[w.Target] = w.before
	if w.before == (ledger.Entry{}) {
		delete(r.ledger.Entries, w.Target)
	}
	r.dirty = true
}

// write sends the batch and notes the outcomes.
func (r *run) write(ctx context.Context, writes []write) {
	ctx = pace.WithGuard(ctx, func() (time.Duration, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return r.lease.Check()
	})
	var group sync.WaitGroup
	for _, w := range writes {
		group.Go(func() {
			started := r.Clock.Now()
			receipt, err := r.send(ctx, w)
			if Unsent(err) {
				r.notSent(w, err)
				return
			}
			r.note(w, receipt, err, r.Clock.Now().Sub(started))
		})
	}
	group.Wait()
}

func (r *run) send(ctx context.Context, w write) (receipt Receipt, err error) {
	err = fault.Contain(func() (err error) {
		if w.Kind == plan.Delete {
			receipt, err = r.Targets.Delete(ctx, r.container, w.Scope, w.Name)
			return err
		}
		receipt, err = r.Targets.Put(ctx, r.container, Put{Scope: w.Scope, Name: w.Name, Value: w.value, Access: w.Access})
		return err
	})
	return receipt, err
}

// notSent notes that nothing was sent to a target because of err. Who is turned
// away for want of quota or time tells that for all that were to come.
func (r *run) notSent(w write, err error) {
	r.forget(w)
	r.mu.Lock()
	defer r.mu.Unlock()
	item := r.items[w.Target]
	item.notSent(err)
	r.items[w.Target], r.invalid[w.Target] = item, err
	if r.spent == nil && fault.KindOf(err) == fault.Exhausted {
		r.spent = err
	}
	r.step()
}

// note notes what became of a write that was sent: in the ledger, in the results
// and for the audit.
func (r *run) note(w write, receipt Receipt, err error, took time.Duration) {
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
	case unanswered(err):
		item.failed(err)
		item.Status = ItemUnknown
		r.over(w.Target, lease.TTL)
	default:
		item.failed(err)
		r.over(w.Target, 0)
	}
	r.items[w.Target] = item
	r.step()
	e := r.event(operations[w.Kind], audit.Succeeded)
	e.Secret, e.Scope, e.Version, e.Reason, e.DurationMs = w.Name, w.Scope, w.Content.Version, item.Reason, took.Milliseconds()
	if err != nil {
		e.Result, e.Code = audit.Failed, item.Code
	}
	r.outcomes = append(r.outcomes, e)
}

// over notes that the pending write of a target will not be sent again, and for
// how much longer it may take effect: not at all once it was answered. Without an
// answer it is given the time that the write of a killed run is given at the
// most; GitHub ends a request at 10 seconds.
func (r *run) over(t secret.Target, late time.Duration) {
	entry := r.ledger.Entries[t]
	if entry.Pending == nil {
		return // a deletion
	}
	pending := *entry.Pending
	pending.Fence, pending.Until = 0, r.githubNow().Add(late)
	r.ledger.Entries[t] = ledger.Entry{Written: entry.Written, Pending: &pending}
	r.dirty = true
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
	written := ledger.Written{Content: w.Content, PutAt: receipt.At, Replaced: w.Replaces, SyncedAt: r.Clock.Now()}
	if receipt.Retried {
		written.Replaced = receipt.At // a listing may yet show the first attempt's time
	}
	r.ledger.Entries[w.Target] = ledger.Entry{Written: &written}
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
