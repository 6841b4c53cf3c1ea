package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

const (
	lateSecrets = 6 // × 3 scopes
	lateTrials  = 1000
	fewTrials   = 200
)

// late is a Secret Manager whose answers about states arrive late at random: it
// tells of an older state than there is, as if the newest versions had not been
// made yet. Values it reads by their number, as Secret Manager does.
type late struct {
	vault

	mu     sync.Mutex
	random *rand.Rand
	newest map[secret.Source]secret.Version
	honest bool
	stale  int // answers that were older than the truth
}

// Inspect answers an older state for about half of the sources.
func (l *late) Inspect(_ context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	states := map[secret.Source]secret.SourceState{}
	for _, s := range sources {
		version := l.newest[s]
		if !l.honest && l.random.IntN(2) == 0 {
			version = 1 + secret.Version(l.random.Int64N(int64(version)))
		}
		if version < l.newest[s] {
			l.stale++
		}
		states[s] = l.state(version)
	}
	return states, nil
}

// downgrades is the state of the proof.
type downgrades struct {
	hub     *hub
	site    site
	clock   clock.Clock
	source  *late
	random  *rand.Rand
	highest map[secret.Target]secret.Version // that GitHub ever held
	refused int                              // older versions that were refused
	lost    int                              // trials in which GitHub failed
	findings
}

// proveNoDowngrade syncs again and again from a source whose states come late,
// with new versions, lost answers and rivals in between, and looks after each
// trial at what GitHub holds.
func proveNoDowngrade(ctx context.Context, l *lab) (_ string, err error) {
	h, err := l.startHub(ctx, faultScale, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, h.process.stop()) }()
	s, err := h.site(ctx, lateSecrets)
	if err != nil {
		return "", err
	}
	d := &downgrades{
		hub: h, site: s, clock: clock.Scaled(faultScale), random: l.random(), highest: map[secret.Target]secret.Version{},
		source: &late{vault: vault{s.ID}, random: l.random(), newest: map[secret.Source]secret.Version{}},
	}
	for i := range s.Secrets {
		d.source.newest[s.source(i)] = 1
	}
	trials := l.pick(lateTrials, fewTrials)
	for n := range trials {
		if err := d.trial(ctx, n); err != nil {
			return "", fmt.Errorf("trial %d: %w", n, err)
		}
	}
	d.source.honest = true
	if err := d.run(ctx); err != nil {
		return "", err
	}
	if err := d.look(ctx, "in the end", true); err != nil {
		return "", err
	}
	if d.refused == 0 || d.lost == 0 {
		d.add("%d older versions were refused and %d trials had a fault: nothing was tried", d.refused, d.lost)
	}
	return fmt.Sprintf("%d trials with %d late answers, %d of them with faults: %d older versions refused, none written, the newest everywhere in the end",
		trials, d.source.stale, d.lost, d.refused), d.err()
}

// trial makes versions, perhaps has GitHub fail, and syncs, perhaps twice at once.
func (d *downgrades) trial(ctx context.Context, n int) error {
	for range d.random.IntN(3) {
		d.source.newest[d.site.source(d.random.IntN(d.site.Secrets))]++
	}
	runs := 1
	switch d.random.IntN(10) {
	case 0:
		runs = 2
	case 1:
		d.lost++
		f := githubd.Fault{Method: "PUT", Effect: githubd.EffectReset, After: d.random.IntN(2) == 0, Probability: 0.7, Seed: uint64(n)}
		if err := d.hub.AddFault(ctx, f); err != nil {
			return err
		}
	case 2: // somebody deletes a copy: what is written anew must not be older
		t := githubd.Target{Container: d.site.container(), Scope: secret.Actions, Name: string(d.site.name(d.random.IntN(d.site.Secrets)))}
		if err := d.hub.Remove(ctx, t); err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
	}
	var group errgroup.Group
	for range runs {
		group.Go(func() error { return d.run(ctx) })
	}
	if err := errors.Join(group.Wait(), d.hub.ClearFaults(ctx)); err != nil {
		return err
	}
	return d.look(ctx, fmt.Sprintf("after trial %d", n), false)
}

// run is one sync by a process of its own.
func (d *downgrades) run(ctx context.Context) error {
	t, err := d.site.open(d.clock, new(points))
	if err != nil {
		return err
	}
	t.engine.Sources = d.source
	result, err := t.sync(ctx)
	d.source.mu.Lock()
	defer d.source.mu.Unlock()
	if err != nil && !errors.Is(err, fault.SyncInProgress) {
		d.addError("sync", err)
	}
	for _, item := range result.Results {
		switch item.Code {
		case fault.DowngradeRefused:
			d.refused++
		case fault.SecretConflict:
			d.add("%s: conflict: %s", item.Target(), item.Reason)
		}
		if d.source.honest && item.Status != syncer.ItemSucceeded {
			d.add("%s is %s in the end: %s", item.Target(), item.Status, item.Reason)
		}
	}
	return t.close()
}

// look finds what has a lower version than before, or not the newest.
func (d *downgrades) look(ctx context.Context, when string, newest bool) error {
	held, err := d.hub.held(ctx, d.site)
	if err != nil {
		return err
	}
	for i := range d.site.Secrets {
		source := d.site.source(i)
		versions := map[string]secret.Version{}
		for v := range d.source.newest[source] {
			versions[digestOf(source, v+1)] = v + 1
		}
		for _, scope := range secret.DefaultScopes() {
			t := secret.Target{Scope: scope, Name: d.site.name(i)}
			version, there := versions[held[t]]
			switch {
			case there && version < d.highest[t]:
				d.add("%s: %s went from version %d to %d", when, t, d.highest[t], version)
			case newest && version != d.source.newest[source]:
				d.add("%s: %s has version %d, not %d", when, t, version, d.source.newest[source])
			}
			d.highest[t] = max(d.highest[t], version)
		}
	}
	return nil
}
