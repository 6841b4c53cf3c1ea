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

// setTries bounds how often Set begins again because the mark was cleared while
// it was being set.
const setTries = 5

// Set marks the container. A mark that is there keeps what it says, since it is
// the older one, but counts as set anew: see [Mark.Same]. Of a crowd that sets
// one mark, one writes, and the others see that it was set since they began.
func Set(ctx context.Context, store docstore.Store, key string, m Mark) error {
	var err error
	for range setTries {
		var before Mark
		var marked bool
		if before, marked, err = Get(ctx, store, key); err != nil {
			return err
		}
		condition := docstore.IfAbsent()
		if marked {
			m, condition = before, docstore.IfUnchanged(before.updateTime)
		}
		write, encodeErr := collection.Put(key, storedMark{ProjectID: m.ProjectID, Why: m.Why, Since: m.Since}, condition)
		if encodeErr != nil {
			return encodeErr
		}
		_, err = store.Commit(ctx, write)
		if !errors.Is(err, fault.Conflict) && !errors.Is(err, fault.Exists) {
			break
		}
		after, there, getErr := Get(ctx, store, key)
		if getErr != nil || there && !after.Same(before) {
			return getErr
		}
	}
	return fault.Annotate("mark.Set "+key, err)
}

// Same reports whether other is this mark, and not one that was set since.
func (m Mark) Same(other Mark) bool { return m.updateTime.Equal(other.updateTime) }

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

// Clear takes the mark away, if it is still as it was read: one that was set
// since stays. It must have been read before what the run that answers it
// reads. Clearing the zero Mark does nothing.
func (m Mark) Clear(ctx context.Context, store docstore.Store, key string) error {
	if m.updateTime.IsZero() {
		return nil
	}
	_, err := store.Commit(ctx, collection.Delete(key, docstore.IfUnchanged(m.updateTime)))
	if errors.Is(err, fault.Conflict) {
		return nil
	}
	return fault.Annotate("mark.Clear "+key, err)
}

type storedMark struct {
	ProjectID string    `doc:"projectId"`
	Why       string    `doc:"why"`
	Since     time.Time `doc:"since"`
}

var collection = docstore.Collection[storedMark]{Name: "sync_marks", Version: 1}
