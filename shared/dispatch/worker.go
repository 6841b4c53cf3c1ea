package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/syncer"
)

const (
	// Actor is who syncs where nobody asked in person.
	Actor = "job:sync-worker"

	firstHold   = time.Minute
	longestHold = 6 * time.Hour
	// alertTries is after how many failures in a row somebody is told.
	alertTries = 5
	// closing is what the worker keeps of its time for itself. The engine stores
	// what it did within the rest.
	closing = 5 * time.Second
)

// Engine syncs: see [syncer.Engine].
type Engine interface {
	Sync(ctx context.Context, req syncer.Request) (syncer.Result, error)
}

// Worker carries out what a mark asks for.
type Worker struct {
	Store  docstore.Store
	Events event.Publisher
	Engine Engine
	Clock  clock.Clock
	Log    *slog.Logger
	Time   time.Duration // for one nudge: the function's timeout
}

// Do carries out what the mark of the nudge's container asks for. It returns an
// error only if the store failed: then the nudge is worth repeating.
func (w Worker) Do(ctx context.Context, n Nudge) error {
	m, marked, err := mark.Get(ctx, w.Store, n.Container)
	if err != nil || !marked || m.Held && m.DueAt.After(w.Clock.Now()) {
		return err
	}
	p, found, err := w.subject(ctx, n.Container, m)
	if err != nil || !found {
		return err
	}
	working, cancel := clock.WithTimeout(ctx, w.Clock, w.Time-closing)
	defer cancel()
	for _, ask := range m.Asks {
		req := syncer.Request{
			Project: p, Container: n.Container, SyncID: ask.SyncID, Marked: true, Actor: ask.Actor, CorrelationID: ask.CorrelationID,
			Secrets: ask.Secrets, Scopes: ask.Scopes, Force: ask.Force, Prune: ask.Prune, MaxDeletions: ask.MaxDeletions,
		}
		if done, err := w.run(ctx, working, req); !done {
			return err
		}
		if err := mark.Done(ctx, w.Store, n.Container, ask.SyncID); err != nil {
			return err
		}
	}
	if m.Plain {
		_, err = w.run(ctx, working, syncer.Request{Project: p, Container: n.Container, Marked: true, Actor: Actor, CorrelationID: n.CorrelationID})
	}
	return err
}

// subject returns whose container it is. A mark of a project that is gone, or
// that has given the container up, is taken away.
func (w Worker) subject(ctx context.Context, key string, m mark.Mark) (p project.Project, found bool, err error) {
	p, err = project.Get(ctx, w.Store, m.ProjectID)
	if err != nil && !errors.Is(err, fault.ProjectNotFound) {
		return project.Project{}, false, err
	}
	if err != nil || !slices.ContainsFunc(p.Containers(), func(c project.Container) bool { return c.Key() == key }) {
		return project.Project{}, false, m.Drop(ctx, w.Store, key)
	}
	return p, true, nil
}

// run syncs within the time of working, and then decides when the mark is
// looked at again. It reports whether the request was answered, were it by an
// error that would come again.
func (w Worker) run(ctx, working context.Context, req syncer.Request) (answered bool, err error) {
	var result syncer.Result
	syncErr := fault.Contain(func() (err error) {
		result, err = w.Engine.Sync(working, req)
		return err
	})
	wait, _ := fault.RetryAfter(syncErr)
	wait = max(wait, result.UntilReset(w.Clock.Now()))
	switch {
	case syncErr == nil && !result.Unfinished():
		return true, nil
	case ctx.Err() != nil, errors.Is(syncErr, fault.SyncInProgress), errors.Is(syncErr, fault.LeaseLost):
		return false, nil //nolint:nilerr // whoever holds the lease answers the mark, or the next tick comes back to it
	case working.Err() != nil, fault.KindOf(syncErr) == fault.Exhausted, fault.KindOf(syncErr) == fault.Deadline, syncErr == nil && result.Starved():
		if wait >= Tick {
			return false, mark.Hold(ctx, w.Store, req.Container, w.Clock.Now().Add(wait))
		}
		return false, w.goOn(ctx, req)
	case len(req.Secrets)+len(req.Scopes) > 0 && lasting(syncErr):
		w.Log.WarnContext(ctx, "a request was refused", "syncId", req.SyncID, "container", req.Container, "error", syncErr)
		return true, nil
	}
	return false, w.failed(ctx, req, syncErr)
}

// lasting reports whether a request gets this error however often it is made.
func lasting(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.NotFound, fault.Unprocessable, fault.TooLarge:
		return true
	}
	return false
}

// goOn nudges again at once. If that fails, the next tick does it.
func (w Worker) goOn(ctx context.Context, req syncer.Request) error {
	err := publish(ctx, w.Events, []Nudge{{Container: req.Container, CorrelationID: req.CorrelationID}})
	if err != nil {
		w.Log.WarnContext(ctx, "a nudge could not be published; the next tick does that", "container", req.Container, "error", err)
	}
	return nil
}

// failed keeps the mark for a while, longer each time, and tells somebody once
// if it goes on.
func (w Worker) failed(ctx context.Context, req syncer.Request, cause error) error {
	m, marked, err := mark.Get(ctx, w.Store, req.Container)
	if err != nil || !marked {
		return err
	}
	wait := longestHold
	if m.Tries < 9 { // beyond that it is longer than the longest
		wait = min(firstHold<<m.Tries, longestHold)
	}
	log := w.Log.WarnContext
	if m.Tries+1 == alertTries {
		log = w.Log.ErrorContext
	}
	log(ctx, "a container could not be synced", "alert", "sync-failing", "container", req.Container, "projectId", req.Project.ID,
		"tries", m.Tries+1, "nextTryAfter", wait.String(), "error", cause)
	return mark.Fail(ctx, w.Store, req.Container, w.Clock.Now().Add(wait))
}
