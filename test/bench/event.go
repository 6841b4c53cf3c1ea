package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/test/bench/floor"
)

// Names of the figures of events.
const (
	slowest = "99th of 100 events"
	middle  = "half of the events"
)

// listeners are the projects of the row event. Each account is an installation,
// so that a hundred events in a minute wait for nobody's pace.
var listeners = crowd{
	projects: 5, secrets: 20, sharing: 1, owners: 5, app: true, synced: true, scale: 1, limits: githubd.DocumentedLimits(),
}

// patience is how long one event may take before the row is given up.
const patience = 2 * time.Minute

// events measures how long it takes from a new version in Secret Manager to
// GitHub's last answer, one after the other in a system that is idle before.
func events(ctx context.Context, l *lab) (t trial, err error) {
	f, err := l.newFleet(ctx, listeners)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	began := map[string]time.Time{} // by the path's end
	for i := range f.projects {
		for j := range f.secrets {
			path := f.owner(i) + "/" + f.repo(i) + " " + f.name(j)
			began[path] = f.clock.Now()
			if err := f.newVersion(i, j); err != nil {
				return t, err
			}
			if err := f.settled(ctx); err != nil {
				return t, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	log, err := f.hub.Requests(ctx)
	if err != nil {
		return t, err
	}
	counts, err := f.hub.Counts(ctx)
	if err != nil {
		return t, err
	}
	took := f.reached(log, began)
	if len(took) != len(began) {
		return t, fmt.Errorf("%d of %d events reached GitHub", len(took), len(began))
	}
	n, err := f.right(ctx)
	least := floor.Time(floor.Job{Writes: len(repositoryScopes), Scopes: len(repositoryScopes)}, free)
	t.figures = figures{
		slowest: percentile(took, 99).Seconds(), middle: percentile(took, 50).Seconds(), right: n, refusals: refused(counts),
	}
	t.notes = []string{fmt.Sprintf("the slowest took %.2f s; a list and a key, and then the writes, take %.2f s at the least", slices.Max(took).Seconds(), least.Seconds())}
	return t, err
}

// newVersion gives a source another value, of which Secret Manager tells.
func (f *fleet) newVersion(i, j int) error {
	s := f.source(i, j)
	f.held[s] = newValue()
	_, err := f.values.AddVersion(s.Project, s.Secret, secret.NewValue(f.held[s]))
	return err
}

// settled returns when nothing is under way or asked for.
func (f *fleet) settled(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := f.broker.Idle(waiting); err != nil {
		return err
	}
	left, err := f.marks(waiting)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("the mark was left: %s", left[0].Why)
	}
	return err
}

// marks returns a mark, if there is any.
func (f *fleet) marks(ctx context.Context) ([]mark.Due, error) {
	return mark.List(ctx, f.store, f.clock.Now().Add(7*24*time.Hour), 1)
}

// reached returns how long each event took until the answer of its last write,
// for those that reached every scope.
func (f *fleet) reached(log []githubd.Request, began map[string]time.Time) []time.Duration {
	writes, last := map[string]int{}, map[string]time.Time{}
	for _, r := range log {
		if r.Kind != githubd.KindPut || r.Status >= 300 {
			continue
		}
		parts := strings.Split(strings.Trim(r.Path, "/"), "/") // repos/O/R/FAMILY/secrets/NAME
		key := parts[1] + "/" + parts[2] + " " + parts[len(parts)-1]
		writes[key]++
		if end := r.At.Add(time.Duration(r.Took)); end.After(last[key]) {
			last[key] = end
		}
	}
	var took []time.Duration
	for key, at := range began {
		if writes[key] == len(repositoryScopes) {
			took = append(took, last[key].Sub(at))
		}
	}
	return took
}

// percentile returns the shortest time that so many percent do not exceed.
func percentile(all []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(1, (len(sorted)*percent+99)/100)-1]
}
