package dispatch

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/project"
)

// Requester asks for syncs.
type Requester struct {
	Store  docstore.Store
	Events event.Publisher
	Clock  clock.Clock
	Log    *slog.Logger
}

// Request asks for a sync of each of the project's containers. An error means
// that a mark may not have been set; where only the nudge could not be
// published, the dispatcher does that at its next tick.
func (r Requester) Request(ctx context.Context, p project.Project, why string, urgency mark.Urgency, correlationID string) error {
	return r.mark(ctx, p, correlationID, func(c project.Container) mark.Mark {
		return mark.For(p, c, why, urgency, r.Clock.Now())
	})
}

// Changed asks for a sync of a project because its sources have changed. A
// project that is not registered any more needs none.
func (r Requester) Changed(ctx context.Context, projectID, why, correlationID string) error {
	p, err := project.Get(ctx, r.Store, projectID)
	if errors.Is(err, fault.ProjectNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.Request(ctx, p, why, mark.Change, correlationID)
}

// Ask asks for a run of its own in each of the project's containers, with the
// errors of Request and of [mark.Set].
func (r Requester) Ask(ctx context.Context, p project.Project, ask mark.Ask) error {
	return r.mark(ctx, p, ask.CorrelationID, func(c project.Container) mark.Mark {
		return mark.For(p, c, "asked for by "+ask.Actor, mark.Change, r.Clock.Now()).With(ask)
	})
}

func (r Requester) mark(ctx context.Context, p project.Project, correlationID string, markOf func(project.Container) mark.Mark) error {
	sooner, err := r.set(ctx, p, markOf)
	if err != nil {
		return err
	}
	nudges := make([]Nudge, 0, len(sooner))
	for _, key := range sooner {
		nudges = append(nudges, Nudge{Container: key, CorrelationID: correlationID})
	}
	if err := publish(ctx, r.Events, nudges); err != nil {
		r.Log.WarnContext(ctx, "a nudge could not be published; the next tick does that", "projectId", p.ID, "error", err)
	}
	return nil
}

// set marks each of the project's containers, and returns the keys of those that
// are worth a nudge.
func (r Requester) set(ctx context.Context, p project.Project, markOf func(project.Container) mark.Mark) (keys []string, err error) {
	for _, c := range p.Containers() {
		sooner, err := mark.Set(ctx, r.Store, c.Key(), markOf(c))
		if err != nil {
			return keys, err
		}
		if sooner {
			keys = append(keys, c.Key())
		}
	}
	return keys, nil
}

const (
	// projectsAtOnce is how many projects are read at once, and marksAtOnce how
	// many marks are changed side by side.
	projectsAtOnce = 200
	marksAtOnce    = 16
)

// RequestAll marks every project and publishes nothing: what is due at once goes
// out at the pace of the dispatcher. It returns how many projects it marked.
// One that cannot be marked keeps no other from it; the first such error is
// returned, so that the tick is repeated.
func (r Requester) RequestAll(ctx context.Context, why string) (marked int, err error) {
	for cursor := ""; ; {
		projects, next, listErr := project.List(ctx, r.Store, projectsAtOnce, cursor)
		if listErr != nil {
			return marked, listErr
		}
		errs := each(projects, func(p project.Project) error {
			_, err := r.set(ctx, p, func(c project.Container) mark.Mark {
				return mark.For(p, c, why, mark.Reconcile, r.Clock.Now())
			})
			return err
		})
		for _, failed := range errs {
			if failed == nil {
				marked++
			} else if err == nil {
				err = failed
			}
		}
		if cursor = next; cursor == "" || ctx.Err() != nil {
			return marked, err
		}
	}
}

// each works on the items side by side and returns the error of each.
func each[T any](items []T, work func(T) error) []error {
	errs := make([]error, len(items))
	var group errgroup.Group
	group.SetLimit(marksAtOnce)
	for i, item := range items {
		group.Go(func() error {
			errs[i] = fault.Contain(func() error { return work(item) })
			return nil
		})
	}
	_ = group.Wait() // no function returns an error
	return errs
}
