package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/test/bench/floor"
)

// Names of the figures of crowds.
const (
	secretManagerCalls = "calls to Secret Manager"
	unusedShare        = "unused share of the limit"
)

// reconciled are the projects of the row reconcile. Fifty at a time share their
// sources, so that preparing them takes seconds: what a sync does is the same.
var reconciled = crowd{
	projects: 1000, secrets: 20, sharing: 50, owners: 1, synced: true, limits: githubd.DocumentedLimits(),
}

// reconcileScale is lower than limitScale: three workers, the store and Secret
// Manager share this process, in which a run costs some milliseconds.
const reconcileScale = 4

// allLists is a list for each scope of each of their projects.
const allLists = 3000

// firstSyncs are the projects of the rows fanout-*. They take hours of GitHub's
// time, in which little happens but waiting for the next hour.
var firstSyncs = crowd{projects: 200, secrets: 20, sharing: 1, owners: 1, scale: fanOutScale, limits: githubd.DocumentedLimits()}

const fanOutScale = 16 // leases of 20 s must outlast what a busy machine takes

// leastAlone is how long their first sync takes at the least under one identity.
var leastAlone = floor.FirstSyncs(floor.Fleet{
	Containers: firstSyncs.projects, Identities: 1, Each: floor.Job{Writes: firstSyncs.secrets * len(repositoryScopes), Scopes: len(repositoryScopes)},
}, floor.GitHubRequests, limited)

// reconcile measures the sync of every six hours where nothing has changed.
func reconcile(ctx context.Context, l *lab) (t trial, err error) {
	c := reconciled
	c.scale = min(l.scale, reconcileScale)
	f, counts, err := l.workOff(ctx, c)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	calls := 0
	for _, method := range []string{"ListSecrets", "GetSecret", "GetSecretVersion", "ListSecretVersions", "AccessSecretVersion"} {
		calls += f.values.Calls(method)
	}
	t.figures, t.notes, err = f.figures(ctx, counts)
	if err != nil {
		return t, err
	}
	t.figures[lists] = float64(counts.ByKind[githubd.KindList])
	t.figures[others] = float64(counts.Requests - counts.ByKind[githubd.KindList])
	t.figures[secretManagerCalls] = float64(calls)
	return t, nil
}

// fanOut measures the first sync of a crowd.
func (l *lab) fanOut(ctx context.Context, c crowd) (t trial, err error) {
	f, counts, err := l.workOff(ctx, c)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if t.figures, t.notes, err = f.figures(ctx, counts); err != nil {
		return t, err
	}
	t.figures[right], err = f.right(ctx)
	return t, err
}

// workOff prepares a crowd and works until no mark is left.
func (l *lab) workOff(ctx context.Context, c crowd) (_ *fleet, counts githubd.Counts, err error) {
	f, err := l.newFleet(ctx, c)
	if err != nil {
		return nil, counts, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if err := f.work(ctx); err != nil {
		return nil, counts, err
	}
	counts, err = f.hub.Counts(ctx)
	return f, counts, err
}

// figures are those that every crowd has.
func (f *fleet) figures(ctx context.Context, counts githubd.Counts) (figures, []string, error) {
	log, err := f.hub.Requests(ctx)
	if err != nil {
		return nil, nil, err
	}
	first, last := spell(log)
	took := last.Sub(first)
	measured := figures{
		duration: took.Seconds(), refusals: refused(counts), unusedShare: unused(log, f.limits.Primary*f.owners),
	}
	notes := []string{
		fmt.Sprintf("on a clock that runs %g times as fast; %s of GitHub's time, %d requests, %d writes, %v refused, %d faults", f.scale,
			took.Round(time.Second), counts.Requests, counts.Writes(), counts.Refused, len(counts.Faults)),
		fmt.Sprintf("%d runs of the worker, %d ticks of the dispatcher; documents: %+v",
			f.calls["sync-worker"].count.Load(), f.calls["dispatcher"].count.Load(), f.store.Counts()),
	}
	return measured, notes, nil
}
