package syncer

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/shared/fault"
)

// maxConcurrentReads bounds the listings and source reads of one run.
const maxConcurrentReads = 16

// group runs reads concurrently, a bounded number of them at once. A panic in
// one of them is its error.
type group struct{ group *errgroup.Group }

// newGroup returns a group, and a context that ends with its first error.
func newGroup(ctx context.Context) (group, context.Context) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxConcurrentReads)
	return group{g}, ctx
}

// Go runs f, as soon as there is room.
func (g group) Go(f func() error) { g.group.Go(func() error { return fault.Contain(f) }) }

// Wait waits for all and returns the first error.
func (g group) Wait() error { return g.group.Wait() }
