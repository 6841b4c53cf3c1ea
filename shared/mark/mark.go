// Package mark keeps the requests to sync that nobody has taken up yet. A mark
// says that a container is dirty: why, and since when. It is state, where a
// message would be a nudge: a request that finds the container's lease held
// leaves a mark, and the holder plans again before it ends.
package mark

import (
	"context"
	"errors"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

// Mark is one container's request.
type Mark struct {
	ProjectID string
	Why       string
	Since     time.Time

	updateTime time.Time
}

// Set marks the container unless it is marked already: the older mark asks for
// the same, and since longer.
func Set(ctx context.Context, store docstore.Store, key string, m Mark) error {
	write, err := collection.Put(key, storedMark{ProjectID: m.ProjectID, Why: m.Why, Since: m.Since}, docstore.IfAbsent())
	if err != nil {
		return err
	}
	if _, err = store.Commit(ctx, write); errors.Is(err, fault.Exists) {
		return nil
	}
	return fault.Annotate("mark.Set "+key, err)
}

// Get returns the container's mark, and whether there is one.
func Get(ctx context.Context, store docstore.Store, key string) (Mark, bool, error) {
	record, err := collection.Get(ctx, store, key)
	if errors.Is(err, fault.NotFound) {
		return Mark{}, false, nil
	}
	if err != nil {
		return Mark{}, false, fault.Annotate("mark.Get "+key, err)
	}
	v := record.Value
	return Mark{ProjectID: v.ProjectID, Why: v.Why, Since: v.Since, updateTime: record.UpdateTime}, true, nil
}

// Clear returns the write that takes the mark up, on condition that it is as it
// was read. It must come before the reads of the run that takes it up, so that
// a mark set during the run stays.
func (m Mark) Clear(key string) docstore.Write {
	return collection.Delete(key, docstore.IfUnchanged(m.updateTime))
}

type storedMark struct {
	ProjectID string    `doc:"projectId"`
	Why       string    `doc:"why"`
	Since     time.Time `doc:"since"`
}

var collection = docstore.Collection[storedMark]{Name: "sync_marks", Version: 1}
