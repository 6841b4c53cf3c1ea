package versionstate

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

const (
	// SweepEvery is how often a sweep looks at a source at the most.
	SweepEvery = 10 * time.Minute

	pageSize = 20 // documents that are held at a time; one may have most of a megabyte
	atOnce   = 8  // documents that a sweep works on concurrently
)

// Tell is told that sources of a project have changed, after the document says
// so: whoever reads it then sees the new state. What it returns an error for is
// told again by the next notification or sweep.
type Tell func(ctx context.Context, projectID string) error

// Changed looks at a source again of which a notification came, and tells each
// project whose state of it really changed: its existence, its consent, its
// versions or their states. It returns the projects that were told. A source
// that no document names is nobody's and costs nothing.
//
// The source is read once, however many projects have it. After an error some
// may have been told; the same notification may be brought again and tells only
// the rest.
func (s Sources) Changed(ctx context.Context, ref Ref, tell Tell) (told []string, err error) {
	op := "versionstate.Changed " + ref.String()
	query := docstore.Query{Where: []docstore.Filter{{Path: sourcesField, Op: docstore.Contains, Value: ref.String()}}, Limit: pageSize}
	seen := map[secret.Source]entry{}
	var failures []error
	for {
		docs, next, err := s.list(ctx, query)
		if err == nil {
			err = s.look(ctx, docs, ref, seen)
		}
		if err != nil {
			return told, fault.Annotate(op, errors.Join(append(failures, err)...))
		}
		for _, doc := range docs {
			saved, err := s.save(ctx, doc, func(d document) document { return d.again(seen) })
			if err == nil && saved.untold() {
				err = s.announce(ctx, saved, tell, &told)
			}
			if err != nil {
				failures = append(failures, err)
			}
		}
		if query.Cursor = next; next == "" {
			return told, fault.Annotate(op, errors.Join(failures...))
		}
	}
}

// look reads live what goes by that name in the documents and was not seen yet.
func (s Sources) look(ctx context.Context, docs []document, ref Ref, seen map[secret.Source]entry) error {
	for _, doc := range docs {
		for _, source := range doc.named(ref) {
			if _, known := seen[source]; known {
				continue
			}
			live, err := s.Live.Inspect(ctx, []secret.Source{source})
			if err != nil {
				return err
			}
			seen[source] = newEntry(live[source], docs[0].readTime)
		}
	}
	return nil
}

// announce tells, and takes the notes away that made it. Where the document was
// written meanwhile the notes stay, and it is told once more than needed.
func (s Sources) announce(ctx context.Context, doc document, tell Tell, told *[]string) error {
	if err := tell(ctx, doc.projectID); err != nil {
		return err
	}
	*told = append(*told, doc.projectID)
	write, err := doc.told().write()
	if err != nil {
		return err
	}
	if _, err = s.Store.Commit(ctx, write); lost(err) {
		return nil
	}
	return err
}

// Sweep looks again at the sources that nobody has looked at for the longest,
// within a number of metadata reads, [ReadsPerSource] for each, and tells the
// projects whose sources have changed or whose changes nobody was told yet. It
// returns those. To call it once a minute with less than Secret Manager allows
// is up to the caller. Repetitions that Live makes by itself are not counted.
//
// A project whose sources cannot be read goes to the end of the line, so that
// it holds up no other. One with more sources than there are reads comes first
// again the next time. Where Live asks to be left alone for a while the sweep
// ends.
func (s Sources) Sweep(ctx context.Context, reads int, tell Tell) (told []string, err error) {
	const op = "versionstate.Sweep"
	budget := reads / ReadsPerSource
	query := docstore.Query{OrderBy: &docstore.Order{Path: sweptAtField}, Limit: pageSize}
	var failures []error
	for budget > 0 {
		docs, next, err := s.list(ctx, query)
		if err != nil {
			return told, fault.Annotate(op, errors.Join(append(failures, err)...))
		}
		page := pick(docs, &budget)
		s.lookAt(ctx, page)
		s.store(ctx, page)
		exhausted := false
		for _, p := range page {
			if p.err == nil && p.saved.untold() {
				p.err = s.announce(ctx, p.saved, tell, &told)
			}
			if p.err != nil {
				failures = append(failures, p.err)
			}
			if _, later := fault.RetryAfter(p.err); later {
				exhausted = true
			}
		}
		if query.Cursor = next; next == "" || len(page) < len(docs) || exhausted || ctx.Err() != nil {
			break
		}
	}
	return told, fault.Annotate(op, errors.Join(failures...))
}

// swept is one document in a sweep.
type swept struct {
	doc     document
	due     []secret.Source                      // to be seen again
	asks    []secret.Source                      // those of them that no other document of the page asks for
	live    map[secret.Source]secret.SourceState // the answer
	err     error
	saved   document
	sharing map[secret.Source]*swept // who asks for the rest
}

// pick chooses what is looked at of documents in the sweep's order, as long as
// the budget lasts, which is in sources. It ends where nothing is due.
func pick(docs []document, budget *int) []*swept {
	var page []*swept
	asked := map[secret.Source]*swept{}
	for _, doc := range docs {
		if *budget == 0 || doc.readTime.Sub(doc.sweptAt) < SweepEvery {
			break
		}
		p := &swept{doc: doc, sharing: map[secret.Source]*swept{}}
		for _, source := range doc.oldestFirst() {
			other := asked[source]
			if doc.readTime.Sub(doc.entries[source].seenAt) < SweepEvery || other == nil && *budget == 0 {
				break
			}
			if other == nil {
				*budget--
				asked[source] = p
				p.asks = append(p.asks, source)
			} else {
				p.sharing[source] = other
			}
			p.due = append(p.due, source)
		}
		page = append(page, p)
	}
	return page
}

// lookAt reads live what the documents ask for, each by itself, so that one that
// fails keeps no other from its answer.
func (s Sources) lookAt(ctx context.Context, page []*swept) {
	each(page, func(p *swept) (err error) {
		if len(p.asks) > 0 {
			p.live, err = s.Live.Inspect(ctx, p.asks)
		}
		return err
	})
}

// store writes what was seen. A document of which something could not be seen
// goes to the end of the line.
func (s Sources) store(ctx context.Context, page []*swept) {
	each(page, func(p *swept) error {
		seen, complete := map[secret.Source]entry{}, true
		for _, source := range p.due {
			live := p.live
			if other := p.sharing[source]; other != nil {
				live = other.live
			}
			state, ok := live[source]
			if complete = complete && ok; ok {
				seen[source] = newEntry(state, p.doc.readTime)
			}
		}
		var err error
		p.saved, err = s.save(ctx, p.doc, func(d document) document {
			if d = d.again(seen); !complete {
				d.sweptAt = d.readTime
			}
			return d
		})
		if lost(err) {
			return nil // others are at it; its turn comes again
		}
		return err
	})
}

// each works on the documents concurrently, and leaves each its first error.
func each(page []*swept, work func(*swept) error) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, p := range page {
		group.Go(func() error {
			err := fault.Contain(func() error { return work(p) })
			if p.err == nil {
				p.err = err
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are with the documents
}

func (s Sources) list(ctx context.Context, query docstore.Query) ([]document, string, error) {
	records, next, err := collection.List(ctx, s.Store, query)
	if err != nil {
		return nil, "", err
	}
	docs := make([]document, 0, len(records))
	for _, record := range records {
		doc, err := fromRecord(record)
		if err != nil {
			return nil, "", err
		}
		docs = append(docs, doc)
	}
	return docs, next, nil
}
