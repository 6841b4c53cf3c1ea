// Package mark keeps what is still to be done: the requests to sync a container
// that no run has answered yet. A mark is state, where a message is a nudge: a
// message that is lost, late or repeated changes nothing, as long as the mark
// stands. It says that a container is dirty: why, since when, how urgently, and
// when somebody is to look at it next.
//
// # Who writes it
//
// Whoever wants a sync sets the mark, and gives it an identity of its own by
// that. A run reads the mark before anything that its plan depends on, and
// clears it afterwards only if it is still the one that it read: what was asked
// for meanwhile stays. The dispatcher moves the time of a mark that it
// published to the next tick, so that a lost message is published again. A run
// that could not go on, for a spent quota or a failure, holds the mark until a
// time: nobody who asks again makes that sooner.
//
// # Plain requests and asks
//
// Most requests are plain: bring the container level, with no more than the
// plainest rights. Any number of them are one, and any run of the whole
// container answers them. A request that is more, or whose author waits for its
// own result, is an [Ask]: kept word for word, carried out by itself, and taken
// away by [Mark.Done] only.
package mark

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// Urgency orders marks that are due at once: the higher one first.
type Urgency int64

// The urgencies.
const (
	Reconcile Urgency = 10 // nobody knows of a change
	Change    Urgency = 20 // a source, a manifest or a person's request
	Rotation  Urgency = 30 // a credential that is being replaced
	Override  Urgency = 40 // break-glass
)

// MaxAsks is how many asks may wait for one container.
const MaxAsks = 20

// Mark is one container's request.
type Mark struct {
	ProjectID string
	Owner     string // login of the container's account, in lower case: whose pace it is
	Why       string
	Since     time.Time
	Urgency   Urgency
	Points    int       // of GitHub's budget a minute that a run takes at the least
	DueAt     time.Time // when to look at it next
	Held      bool      // DueAt was set by a run that could not go on
	Tries     int       // runs in a row that could not go on because of a failure
	Plain     bool      // a run of the whole container is asked for
	Asks      []Ask     // in the order in which they came

	id         string
	updateTime time.Time
}

// Ask is a request that is carried out by itself.
type Ask struct {
	SyncID        string
	Actor         string
	CorrelationID string
	Secrets       []secret.Name
	Scopes        []secret.Scope
	Force         bool
	Prune         bool
	MaxDeletions  int
}

// For returns a plain mark of one of the project's containers, due now.
func For(p project.Project, c project.Container, why string, urgency Urgency, now time.Time) Mark {
	points := 0
	for _, scope := range p.Scopes() {
		if c.Kind.Holds(scope) {
			points++ // one list a scope
		}
	}
	return Mark{
		ProjectID: p.ID, Owner: strings.ToLower(c.Owner), Why: why, Since: now, Urgency: urgency, Points: points,
		DueAt: now, Plain: true,
	}
}

// With returns the mark with an ask instead of the plain request.
func (m Mark) With(ask Ask) Mark {
	m.Plain, m.Asks = false, []Ask{ask}
	return m
}

// tries bounds how often a change begins again because the mark was changed
// meanwhile.
const tries = 8

// Set marks the container. A mark that is there is joined: it keeps what it says
// of why and since when, and becomes as urgent and as early as the more urgent
// and the earlier of both, unless it is held. It counts as set anew: see
// [Mark.Same]. Of a crowd that asks for the same, one writes, and the others see
// that it was set since they began. It returns a [fault.Exhausted] with
// [fault.QueueFull] if too many asks wait already.
//
// It reports whether the mark is worth a nudge: because it is new, or due sooner
// than it was. Else whoever set it before has nudged.
func Set(ctx context.Context, store docstore.Store, key string, m Mark) (sooner bool, err error) {
	var begun *Mark
	err = change(ctx, store, key, func(before Mark, marked bool) (*Mark, error) {
		switch {
		case begun == nil:
			begun = &before
		case marked && !before.Same(*begun) && before.covers(m):
			sooner = false
			return nil, nil
		}
		after := m
		if marked {
			after = before.join(m)
		}
		if len(after.Asks) > MaxAsks {
			return nil, fault.New(fault.QueueFull, "%d requests wait for %s already", len(before.Asks), key)
		}
		after.id = rand.Text()
		sooner = !marked || after.DueAt.Before(before.DueAt) || len(after.Asks) > len(before.Asks)
		return &after, nil
	})
	return sooner && err == nil, err
}

// covers reports whether a run that answers m answers other.
func (m Mark) covers(other Mark) bool {
	return m.ProjectID == other.ProjectID && m.Plain && len(other.Asks) == 0 &&
		m.Urgency >= other.Urgency && (m.Held || !m.DueAt.After(other.DueAt))
}

func (m Mark) join(other Mark) Mark {
	if m.ProjectID != other.ProjectID { // the container has another owner now
		return other
	}
	m.Urgency, m.Points = max(m.Urgency, other.Urgency), max(m.Points, other.Points)
	m.Plain = m.Plain || other.Plain
	m.Asks = slices.Concat(m.Asks, other.Asks)
	if !m.Held && other.DueAt.Before(m.DueAt) {
		m.DueAt = other.DueAt
	}
	return m
}

// Same reports whether other is this mark, and not one that was set since.
func (m Mark) Same(other Mark) bool { return m.id == other.id }

// Get returns the container's mark, and whether there is one.
func Get(ctx context.Context, store docstore.Store, key string) (Mark, bool, error) {
	record, err := collection.Get(ctx, store, key)
	if errors.Is(err, fault.NotFound) {
		return Mark{}, false, nil
	}
	if err != nil {
		return Mark{}, false, fault.Annotate("mark.Get "+key, err)
	}
	return record.Value.mark(record.UpdateTime), true, nil
}

// Clear takes away what a run of the whole container answers, if the mark is
// still the one that was read: one that was set since stays. It must have been
// read before what the run that answers it reads. Asks stay. Clearing the zero
// Mark does nothing.
func (m Mark) Clear(ctx context.Context, store docstore.Store, key string) error {
	return m.amend(ctx, store, key, func(now *Mark) { now.Plain, now.Tries = false, 0 })
}

// Done takes an ask away, however often the mark was set since.
func Done(ctx context.Context, store docstore.Store, key, syncID string) error {
	return change(ctx, store, key, func(m Mark, _ bool) (*Mark, error) {
		i := slices.IndexFunc(m.Asks, func(a Ask) bool { return a.SyncID == syncID })
		if i < 0 {
			return nil, nil
		}
		m.Asks = slices.Delete(slices.Clone(m.Asks), i, i+1)
		return &m, nil
	})
}

// Published moves a mark whose message was published to the time at which it is
// published again, if it is still there. One that was set since stays as it is.
func (m Mark) Published(ctx context.Context, store docstore.Store, key string, again time.Time) error {
	return m.amend(ctx, store, key, func(now *Mark) { now.DueAt, now.Held = again, false })
}

// Hold keeps the mark, if there is one, from being looked at before until, and
// whoever asks meanwhile waits too: a quota is spent.
func Hold(ctx context.Context, store docstore.Store, key string, until time.Time) error {
	return change(ctx, store, key, func(m Mark, _ bool) (*Mark, error) {
		m.DueAt, m.Held = until, true
		return &m, nil
	})
}

// Fail counts a failure and puts the mark off, if there is one. Whoever asks
// meanwhile makes it sooner.
func Fail(ctx context.Context, store docstore.Store, key string, until time.Time) error {
	return change(ctx, store, key, func(m Mark, _ bool) (*Mark, error) {
		m.DueAt = until
		m.Tries++
		return &m, nil
	})
}

// Drop takes the mark away with all that it asks for, unless it was set since.
func (m Mark) Drop(ctx context.Context, store docstore.Store, key string) error {
	return m.amend(ctx, store, key, func(now *Mark) { now.Plain, now.Asks = false, nil })
}

// amend changes the mark if it is still the one that was read.
func (m Mark) amend(ctx context.Context, store docstore.Store, key string, alter func(*Mark)) error {
	if m.id == "" {
		return nil
	}
	return change(ctx, store, key, func(now Mark, _ bool) (*Mark, error) {
		if !now.Same(m) {
			return nil, nil
		}
		alter(&now)
		return &now, nil
	})
}

// change reads the mark and stores what alter makes of it, until nobody comes in
// between. A mark that asks for nothing any more is deleted. A nil mark changes
// nothing.
func change(ctx context.Context, store docstore.Store, key string, alter func(m Mark, marked bool) (*Mark, error)) error {
	var err error
	for range tries {
		before, marked, getErr := Get(ctx, store, key)
		if getErr != nil {
			return getErr
		}
		after, alterErr := alter(before, marked)
		if after == nil || alterErr != nil {
			return alterErr
		}
		empty := !after.Plain && len(after.Asks) == 0
		if empty && !marked {
			return nil
		}
		condition := docstore.IfAbsent()
		if marked {
			condition = docstore.IfUnchanged(before.updateTime)
		}
		write := collection.Delete(key, condition)
		if !empty {
			if write, err = collection.Put(key, stored(*after), condition); err != nil {
				return err
			}
		}
		if _, err = store.Commit(ctx, write); !errors.Is(err, fault.Conflict) && !errors.Is(err, fault.Exists) {
			break
		}
	}
	return fault.Annotate("mark "+key, err)
}

// Due is a mark and the key of its container.
type Due struct {
	Key string
	Mark
}

// List returns the marks that are due at a time, to the microsecond that stores
// keep, those first that are due longest, at most limit.
func List(ctx context.Context, store docstore.Store, at time.Time, limit int) ([]Due, error) {
	records, _, err := collection.List(ctx, store, docstore.Query{
		Where:   []docstore.Filter{{Path: "dueAt", Op: docstore.LessOrEqual, Value: at.Truncate(time.Microsecond)}},
		OrderBy: &docstore.Order{Path: "dueAt"}, Limit: limit,
	})
	if err != nil {
		return nil, fault.Annotate("mark.List", err)
	}
	due := make([]Due, 0, len(records))
	for _, r := range records {
		due = append(due, Due{r.ID, r.Value.mark(r.UpdateTime)})
	}
	return due, nil
}
