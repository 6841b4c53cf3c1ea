// Package versionstate keeps what is known of each project's sources in the
// store, so that a sync where nothing changed asks Secret Manager nothing.
//
// Secret Manager allows 600 metadata reads a minute, and a source costs
// [ReadsPerSource] of them. It tells of changes, but only for secrets that were
// given a Pub/Sub topic, and a message may be lost, late, repeated or out of
// order. So there is one document for each project of Sealpost, with a state
// for each of its sources, and three ways to it:
//
//   - A sync looks ([Sources.Inspect], [Sources.Of]). A state is taken from the
//     document if the source exists, is notified and was read within [MaxAge];
//     without notifications it is trusted for [UnnotifiedAge]. All others are
//     read live, and the document is written back once.
//   - A notification says that there is something to look at
//     ([Sources.Changed]): the source is read live, whatever the notification
//     says happened.
//   - A sweep reads again what nobody has read for the longest time
//     ([Sources.Sweep]), and so finds what no notification told.
//
// What the last two find changed, they tell, so that the project is synced.
// Whatever else finds a change, a dry run for one, leaves a note in the
// document, so that the notification that follows is not taken for old news.
// Who is told is told at least once: the note is taken away afterwards.
//
// # Why a stale state leaks nothing
//
// A stored state decides what a plan says, never whether a value is read. Who
// may have a value stands in an annotation of the source, which its owner may
// have changed since. So before [Run.Value] reads a value on the strength of a
// stored state, it reads that state live and compares: the value is read only
// if the source still admits every repository that the plan was shown. A state
// that was read live by the same run needs no second look. So there is no more
// time between consent and reading than without this package, and an idle sync,
// which reads no value, needs no consent. The state of the version itself is
// Secret Manager's to judge: a disabled or destroyed version has no value to
// be read.
//
// # Clocks
//
// Times are the store's: a state was seen when the document was read before
// the source was. Of two that looked, the later one's state stays. Only for a
// project's first document there is no such time: it is dated back by the
// machine's clock, by [UnnotifiedAge].
package versionstate

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

const (
	// MaxAge is how long the state of a notified source is trusted: a day, and
	// time for a sweep that is late.
	MaxAge = 26 * time.Hour
	// UnnotifiedAge is how long the state of any other source is trusted: long
	// enough for the containers of one project to be synced by one look.
	UnnotifiedAge = time.Minute
	// ReadsPerSource is how many metadata reads one live look at a source costs.
	ReadsPerSource = 2

	// saveTries bounds how often a document is merged and written again because
	// somebody else wrote it meanwhile.
	saveTries = 5
)

// Live is the service that the sources are in; gsm.Client is one. Its methods
// are those of syncer.Sources, with their errors.
type Live interface {
	Inspect(ctx context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error)
	Value(ctx context.Context, source secret.Source, version secret.Version) (secret.Value, error)
}

// Sources are sources whose states are kept. It may be used concurrently, also
// by several machines.
//
// Besides the kinds named below, every method returns the errors of the store
// and of Live. A document of a newer schema is [fault.SchemaTooNew], except to
// Inspect, which then reads everything live and writes nothing.
type Sources struct {
	Store docstore.Store
	Live  Live
	Clock clock.Clock
}

// Inspect returns the state of each source of the project, as syncer.Sources
// has it, with one read of a document, and one write if anything had to be read
// live; more only where others write it at the same time. That such a race is
// lost is no error: what was read live is returned all the same. The values of
// an env file, which have no project, are looked at live and not kept.
//
// A state may be as old as MaxAge: see [Sources.Of] for who reads values.
func (s Sources) Inspect(ctx context.Context, projectID string, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	stored, live, err := s.inspect(ctx, projectID, sources)
	if err != nil {
		return nil, err
	}
	maps.Copy(stored, live)
	return stored, nil
}

// inspect returns the states that are taken from the document, and those that
// were read live.
func (s Sources) inspect(ctx context.Context, projectID string, sources []secret.Source) (stored, live map[secret.Source]secret.SourceState, err error) {
	op := "versionstate.Inspect " + projectID
	keep := slices.ContainsFunc(sources, kept)
	var doc document
	if keep {
		doc, err = s.read(ctx, projectID)
		if errors.Is(err, fault.SchemaTooNew) {
			keep, err = false, nil
		}
		if err != nil {
			return nil, nil, fault.Annotate(op, err)
		}
	}
	stored = map[secret.Source]secret.SourceState{}
	var rest []secret.Source
	for _, source := range sources {
		if e, known := doc.entries[source]; known && e.trusted(doc.readTime) {
			stored[source] = e.state
		} else {
			rest = append(rest, source)
		}
	}
	if len(rest) == 0 {
		return stored, nil, nil
	}
	if live, err = s.Live.Inspect(ctx, rest); err != nil {
		return nil, nil, err
	}
	seen := s.seen(live, doc)
	if !keep || len(seen) == 0 {
		return stored, live, nil
	}
	_, err = s.save(ctx, doc, func(d document) document { return d.with(seen) })
	if err != nil && !lost(err) {
		return nil, nil, fault.Annotate(op, err)
	}
	return stored, live, nil
}

// kept reports whether the states of such a source are kept.
func kept(source secret.Source) bool { return source.Project != "" }

// seen returns the entries of what was read live after the document.
func (s Sources) seen(live map[secret.Source]secret.SourceState, doc document) map[secret.Source]entry {
	at := doc.readTime
	if !doc.exists() {
		at = s.Clock.Now().Add(-UnnotifiedAge).UTC().Truncate(time.Microsecond)
	}
	seen := make(map[secret.Source]entry, len(live))
	for source, state := range live {
		if kept(source) && !state.Unversioned {
			seen[source] = newEntry(state, at)
		}
	}
	return seen
}

// Forgetting returns the write that drops what is known of a project's sources,
// to be committed with the change of a project that is unregistered, or whose
// sources are others now: the next sync then reads those that there are.
func Forgetting(projectID string) docstore.Write {
	return collection.Delete(projectID, docstore.Always())
}

// Of returns the sources of a project for one run, from its plan to its last
// value. It implements syncer.Sources.
func (s Sources) Of(projectID string) *Run { return &Run{sources: s, projectID: projectID} }

// Run is the sources of one project's run. It may be used concurrently.
type Run struct {
	sources   Sources
	projectID string

	mu     sync.Mutex
	stored map[secret.Source]secret.SourceState // given to the run and not confirmed live since
}

// Inspect is [Sources.Inspect] for the run's project.
func (r *Run) Inspect(ctx context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	stored, live, err := r.sources.inspect(ctx, r.projectID, sources)
	if err != nil {
		return nil, err
	}
	states := maps.Clone(stored)
	maps.Copy(states, live)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stored == nil {
		r.stored = map[secret.Source]secret.SourceState{}
	}
	for source := range live {
		delete(r.stored, source)
	}
	for source, state := range stored {
		state.Repositories = slices.Clone(state.Repositories) // the caller's are the caller's
		r.stored[source] = state
	}
	return states, nil
}

// Value reads a value as syncer.Sources has it. If the run was given a stored
// state of the source, it reads that live first, and returns a [fault.Denied]
// with [fault.SourceNotPermitted] if the source no longer admits all whom it
// did, or may not be looked at, and [fault.SourceMissing] if it is gone.
func (r *Run) Value(ctx context.Context, source secret.Source, version secret.Version) (secret.Value, error) {
	if err := r.confirm(ctx, source); err != nil {
		return secret.Value{}, fault.Annotate("versionstate.Value "+source.String(), err)
	}
	return r.sources.Live.Value(ctx, source, version)
}

// confirm reads a source live that the run knows from the document only.
func (r *Run) confirm(ctx context.Context, source secret.Source) error {
	r.mu.Lock()
	shown, unconfirmed := r.stored[source]
	r.mu.Unlock()
	if !unconfirmed {
		return nil
	}
	live, err := r.sources.Live.Inspect(ctx, []secret.Source{source})
	if err != nil {
		return err
	}
	state := live[source]
	if !newEntry(shown, time.Time{}).same(newEntry(state, time.Time{})) {
		// The document was wrong, so what it says is not to be trusted again. It
		// gets no state from here: there is no time for one that was read later
		// than the document.
		if err := r.sources.distrust(ctx, r.projectID, source); err != nil {
			return err
		}
	}
	switch {
	case state.Denied:
		return fault.New(fault.SourceNotPermitted, "Sealpost may no longer look at the source %s", source)
	case !state.Exists:
		return fault.New(fault.SourceMissing, "the source %s does not exist any more", source)
	}
	for _, id := range shown.Repositories {
		if !slices.Contains(state.Repositories, id) {
			return fault.New(fault.SourceNotPermitted, "the source %s no longer names repository %d in its annotation sealpost-repositories; the next sync goes by the new list", source, id)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.stored, source)
	return nil
}

// distrust has the next look at a source be a live one.
func (s Sources) distrust(ctx context.Context, projectID string, source secret.Source) error {
	doc, err := s.read(ctx, projectID)
	if err == nil && doc.exists() {
		_, err = s.save(ctx, doc, func(d document) document { return d.without(source) })
	}
	if lost(err) {
		return nil
	}
	return err
}

// read returns the project's document, or an empty one if there is none.
func (s Sources) read(ctx context.Context, projectID string) (document, error) {
	record, err := collection.Get(ctx, s.Store, projectID)
	if errors.Is(err, fault.NotFound) {
		return document{projectID: projectID}, nil
	}
	if err != nil {
		return document{}, err
	}
	return fromRecord(record)
}

// save writes what change makes of the document. If somebody else has written
// it since, the change is made to what is there now. It returns the document as
// it was written, or none if there was one and it is gone; after saveTries, a
// lost race.
func (s Sources) save(ctx context.Context, doc document, change func(document) document) (document, error) {
	for try := 1; ; try++ {
		next := change(doc)
		write, err := next.write()
		if err != nil {
			return document{}, err
		}
		next.updateTime, err = s.Store.Commit(ctx, write)
		if err == nil {
			return next, nil
		}
		if !lost(err) || try == saveTries {
			return document{}, err
		}
		existed := doc.exists()
		if doc, err = s.read(ctx, doc.projectID); err != nil {
			return document{}, err
		}
		if existed && !doc.exists() {
			return document{}, nil // forgotten: it stays so
		}
	}
}

// lost reports whether a commit failed because of another.
func lost(err error) bool { return errors.Is(err, fault.Conflict) || errors.Is(err, fault.Exists) }
