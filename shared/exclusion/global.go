package exclusion

import (
	"context"
	"errors"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

// Global is the list that applies to every project, besides the built-in one.
type Global struct {
	Patterns   []Pattern
	updateTime time.Time // when the stored list that was loaded was written
}

// stored is the one document of the collection, so that a sync learns every
// global pattern in one read.
type stored struct {
	Patterns []string `doc:"patterns"`
}

const globalID = "global"

var collection = docstore.Collection[stored]{Name: "secret_exclusion_patterns", Version: 1}

// Load reads the global list, which is empty until one is saved. Errors are
// those of Store.Get, but for NotFound. A stored pattern that cannot be read is
// a [fault.Internal]: to pass over it would write what was to be left alone.
func Load(ctx context.Context, store docstore.Store) (Global, error) {
	record, err := collection.Get(ctx, store, globalID)
	if errors.Is(err, fault.NotFound) {
		return Global{}, nil
	}
	if err != nil {
		return Global{}, fault.Annotate("exclusion.Load", err)
	}
	patterns, err := ParseAll(record.Value.Patterns)
	if err != nil {
		return Global{}, fault.Wrap(fault.Internal, "exclusion.Load", err)
	}
	return Global{Patterns: patterns, updateTime: record.UpdateTime}, nil
}

// Save replaces the global list, provided that it is as it was when g was
// loaded: otherwise it returns a [fault.Exists] or a [fault.Conflict] and the
// list stays. A Global that was not loaded can only become the first list.
// Other errors are those of Store.Commit.
func (g Global) Save(ctx context.Context, store docstore.Store) error {
	texts := make([]string, 0, len(g.Patterns))
	for _, p := range g.Patterns {
		texts = append(texts, string(p))
	}
	condition := docstore.IfAbsent()
	if !g.updateTime.IsZero() {
		condition = docstore.IfUnchanged(g.updateTime)
	}
	write, err := collection.Put(globalID, stored{Patterns: texts}, condition)
	if err == nil {
		_, err = store.Commit(ctx, write)
	}
	return fault.Annotate("exclusion.Global.Save", err)
}
