package docstore

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Counts is what was asked of a store. Documents are counted as Firestore bills
// them: a read of what is not there and a listing that finds nothing are one
// read each. Commits that failed wrote nothing and count no writes.
type Counts struct {
	Gets, Lists, Commits int // calls, failed ones too
	Reads                int // documents read
	Writes               int // documents put
	Deletes              int // documents deleted
}

// Shape is what decides whether a query needs a composite index.
type Shape struct {
	Collection string
	Equal      string // paths of the equality filters, sorted, joined by commas
	Contains   string // path of the array that is looked into; empty if there is none
	Range      string // path of the filters that compare order; empty if there is none
	OrderBy    string // empty: by id
	Descending bool
}

// Counting is a [Store] that counts what it passes on. It is safe for
// concurrent use.
type Counting struct {
	store  Store
	mu     sync.Mutex
	counts Counts
	shapes map[Shape]bool
}

// NewCounting returns a store that counts what it passes on to another.
func NewCounting(store Store) *Counting {
	return &Counting{store: store, shapes: map[Shape]bool{}}
}

// Counts returns the counts since the beginning or the last Reset.
func (c *Counting) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// Reset sets the counts to zero and returns what they were. Shapes are kept.
func (c *Counting) Reset() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	c.counts = Counts{}
	return counts
}

// Shapes returns every shape of a query that was asked, each once, sorted.
func (c *Counting) Shapes() []Shape {
	c.mu.Lock()
	defer c.mu.Unlock()
	shapes := make([]Shape, 0, len(c.shapes))
	for shape := range c.shapes {
		shapes = append(shapes, shape)
	}
	slices.SortFunc(shapes, func(a, b Shape) int {
		return cmp.Or(cmp.Compare(a.Collection, b.Collection), cmp.Compare(a.Equal, b.Equal),
			cmp.Compare(a.Contains, b.Contains), cmp.Compare(a.Range, b.Range), cmp.Compare(a.OrderBy, b.OrderBy))
	})
	return shapes
}

// Get implements [Store].
func (c *Counting) Get(ctx context.Context, key Key) (Doc, error) {
	doc, err := c.store.Get(ctx, key)
	c.add(Counts{Gets: 1, Reads: 1})
	return doc, err
}

// List implements [Store].
func (c *Counting) List(ctx context.Context, query Query) (Page, error) {
	page, err := c.store.List(ctx, query)
	c.add(Counts{Lists: 1, Reads: max(1, len(page.Docs))})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shapes[ShapeOf(query)] = true
	return page, err
}

// Commit implements [Store].
func (c *Counting) Commit(ctx context.Context, writes ...Write) (time.Time, error) {
	at, err := c.store.Commit(ctx, writes...)
	counts := Counts{Commits: 1}
	for _, w := range writes {
		switch {
		case err != nil:
		case w.Fields == nil:
			counts.Deletes++
		default:
			counts.Writes++
		}
	}
	c.add(counts)
	return at, err
}

func (c *Counting) add(more Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Gets += more.Gets
	c.counts.Lists += more.Lists
	c.counts.Commits += more.Commits
	c.counts.Reads += more.Reads
	c.counts.Writes += more.Writes
	c.counts.Deletes += more.Deletes
}

// ShapeOf returns the shape of a query.
func ShapeOf(query Query) Shape {
	shape := Shape{Collection: query.Collection}
	var equal []string
	for _, filter := range query.Where {
		switch filter.Op {
		case Equal:
			equal = append(equal, filter.Path)
		case Contains:
			shape.Contains = filter.Path
		default:
			shape.Range = filter.Path
		}
	}
	slices.Sort(equal)
	shape.Equal = strings.Join(slices.Compact(equal), ",")
	if query.OrderBy != nil {
		shape.OrderBy, shape.Descending = query.OrderBy.Path, query.OrderBy.Descending
	}
	return shape
}
