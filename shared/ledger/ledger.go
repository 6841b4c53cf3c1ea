// Package ledger keeps what Sealpost last wrote, or is about to write, to each
// target of a container. It is the only proof of ownership: GitHub returns
// neither values nor labels, so a target that the ledger does not know is
// somebody else's.
//
// One document holds a container's whole ledger. It is written with a
// precondition on its update time, together with the renewal of the lease, so
// that a holder whose lease has passed on cannot write it.
package ledger

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// Content identifies what is written to a target, without its value.
type Content struct {
	Source      secret.Source
	Version     secret.Version
	Fingerprint secret.Fingerprint
	Access      string // canonical form of project.Access; organisation scopes only
}

// Written is a write that GitHub has confirmed.
type Written struct {
	Content
	PutAt     time.Time // GitHub's clock: Date of the answer to our write
	UpdatedAt time.Time // GitHub's clock: what its listing shows for our write; zero until settled
	Replaced  time.Time // GitHub's clock: when what stood there before was written; zero once settled, or if nothing was there
	SyncedAt  time.Time // our clock: when the target was last made or found right
}

// Settled reports whether a listing has shown the write.
func (w Written) Settled() bool { return !w.UpdatedAt.IsZero() }

// Settle returns the write as one that a listing has shown with that updated_at.
func (w Written) Settle(updatedAt time.Time) Written {
	w.UpdatedAt, w.Replaced = updatedAt, time.Time{}
	return w
}

// Pending is a write-ahead: a write that was about to start and of which no
// outcome is recorded.
type Pending struct {
	Content
	Fence  int64     // of the lease under which it was to be written
	From   time.Time // GitHub's clock: no write of it can have started earlier
	Until  time.Time // GitHub's clock: nor later
	Forced bool      // it was to replace somebody else's value
}

// Entry is what the ledger knows of one target. A pending write may stand over
// an earlier one that was confirmed.
type Entry struct {
	Written *Written
	Pending *Pending
}

// WriteAhead returns the entry with p pending. If p too takes no effect, the
// target holds what a pending write before it may have left there. So p takes
// over since when the target may be ours, unless it is somebody else's.
func (e Entry) WriteAhead(p Pending) Entry {
	if before := e.Pending; before != nil && !p.Forced {
		if before.From.Before(p.From) {
			p.From = before.From
		}
		p.Forced = before.Forced
	}
	e.Pending = &p
	return e
}

// Ledger is a container's ledger as it was read, and changes to it that are
// not stored yet.
type Ledger struct {
	Container project.Container
	Owner     string // id of the project that owns the container; empty if none
	Entries   map[secret.Target]Entry

	updateTime time.Time // zero if the document does not exist
}

// Load reads a container's ledger. A container without one has an empty ledger.
// Errors are those of docstore.Store.Get but for NotFound.
func Load(ctx context.Context, store docstore.Store, c project.Container) (*Ledger, error) {
	record, err := collection.Get(ctx, store, c.Key())
	if errors.Is(err, fault.NotFound) {
		return &Ledger{Container: c, Entries: map[secret.Target]Entry{}}, nil
	}
	if err != nil {
		return nil, fault.Annotate("ledger.Load "+c.Key(), err)
	}
	l, err := record.Value.ledger()
	if err != nil {
		return nil, fault.Annotate("ledger.Load "+c.Key(), err)
	}
	l.Container = c
	l.updateTime = record.UpdateTime
	return l, nil
}

// Write returns the write that stores the ledger as it is now, on condition
// that the stored one has not changed since it was read or written.
func (l *Ledger) Write() (docstore.Write, error) {
	condition := docstore.IfAbsent()
	if !l.updateTime.IsZero() {
		condition = docstore.IfUnchanged(l.updateTime)
	}
	return collection.Put(l.Container.Key(), store(l), condition)
}

// Stored notes that the write of the ledger was committed at that time.
func (l *Ledger) Stored(at time.Time) { l.updateTime = at }

// Exists reports whether the container has a stored ledger.
func (l *Ledger) Exists() bool { return !l.updateTime.IsZero() }

// Clone returns a copy whose entries can be changed apart.
func (l *Ledger) Clone() *Ledger {
	c := *l
	c.Entries = maps.Clone(l.Entries)
	return &c
}

// Scopes returns the scopes that have entries.
func (l *Ledger) Scopes() map[secret.Scope]bool {
	scopes := map[secret.Scope]bool{}
	for t := range l.Entries {
		scopes[t.Scope] = true
	}
	return scopes
}
