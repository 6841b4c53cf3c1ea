package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

const (
	killSecrets = 100 // × 3 scopes
	// killRound is how many children die and wait side by side at one hub; its
	// log must hold them all.
	killRound = 48
	// atWork is how many of them sync at the same time.
	atWork = 4
	// leaseOver is how long after a death the lease has certainly ended.
	leaseOver = lease.TTL + 200*time.Millisecond
)

// proveKill kills a sync of 300 values at one point after the other. The clock
// is the machine's: the leases end in their own time, side by side.
func proveKill(ctx context.Context, l *lab) (string, error) {
	all, err := rehearse(ctx, l)
	if err != nil {
		return "", err
	}
	chosen := choose(l, all)
	var f findings
	deaths := duringRenewals()
	for _, at := range chosen {
		deaths = append(deaths, &death{point: at, secrets: killSecrets, mode: pace.Off})
	}
	for round := range slices.Chunk(deaths, killRound) {
		if err := killAt(ctx, l, round); err != nil {
			return "", err
		}
	}
	most, written := 0, 0
	for _, d := range deaths {
		f.list = append(f.list, d.findings.list...)
		most = max(most, d.rewritten)
		if d.early > 0 && d.early < d.site.targets() {
			written++
		}
	}
	figures := fmt.Sprintf("%d kills at %d named points, %d of them half-way; afterwards all right each time (300/300), at most %d rewritten (a batch is %d)",
		len(deaths), len(all), written, most, syncer.BatchSize)
	if written == 0 {
		f.add("no kill came half-way through the writes")
	}
	return figures, f.err()
}

// rehearse counts how often a whole sync reaches each point.
func rehearse(ctx context.Context, l *lab) (map[string]int, error) {
	h, err := l.startHub(ctx, 1, hubLatency)
	if err != nil {
		return nil, err
	}
	defer func() { _ = h.process.stop() }()
	s, err := h.site(ctx, killSecrets)
	if err != nil {
		return nil, err
	}
	_, f, err := l.syncInChild(ctx, job{Site: s})
	if err == nil && f.Result.Status != syncer.StatusSucceeded {
		err = fmt.Errorf("the rehearsal ended %s: %s", f.Result.Status, f.Error)
	}
	return f.Points, err
}

// hubLatency keeps requests in flight for a while, as a network does.
const hubLatency = 10 * time.Millisecond

// choose picks each kind of point at its first, last and some other ordinal,
// and a sample of all points.
func choose(l *lab, all map[string]int) []string {
	random := l.random()
	chosen := map[string]bool{}
	names := slices.Sorted(maps.Keys(all))
	if !l.full {
		// One ordinal of each kind; before the first call of all nothing is at stake.
		for _, name := range names {
			chosen[point(name, 1+random.IntN(all[name]))] = true
		}
		return sample(l, slices.Sorted(maps.Keys(chosen)), ciKills)
	}
	var rest []string
	for _, name := range names {
		n := all[name]
		for _, ordinal := range []int{1, 2, n/2 + 1, n - 1, n} {
			if ordinal >= 1 && ordinal <= n {
				chosen[point(name, ordinal)] = true
			}
		}
		for ordinal := 1; ordinal <= n; ordinal++ {
			rest = append(rest, point(name, ordinal))
		}
	}
	for _, p := range sample(l, rest, fullSample) {
		chosen[p] = true
	}
	return slices.Sorted(maps.Keys(chosen))
}

const (
	ciKills    = 26
	fullSample = 240
)

// sample draws at most n of the list.
func sample(l *lab, list []string, n int) []string {
	list = slices.Clone(list)
	l.random().Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(n, len(list))]
}

// duringRenewals are kills of runs that last long enough to renew their lease in
// the middle of a batch: the ledger knows of some of its writes by then.
func duringRenewals() []*death {
	const renewal = "store.Commit[leases+sync_ledgers]"
	var deaths []*death
	for _, at := range []string{point(renewal+"/before", 2), point(renewal+"/after", 2), point("targets.Put/after", 8), point(renewal+"/after", 3)} {
		deaths = append(deaths, &death{point: at, secrets: slowSecrets, mode: pace.Polite})
	}
	return deaths
}

// slowSecrets × 3 scopes take half a minute at a write a second.
const slowSecrets = 10

// death is one kill and what came after it.
type death struct {
	point     string
	secrets   int
	mode      pace.Mode // of the run that is killed
	site      site
	early     int // writes before the kill
	rewritten int // writes more than there are targets
	findings  findings
}

// killAt kills a child at each point, lets the lease end, and syncs again.
func killAt(ctx context.Context, l *lab, deaths []*death) (err error) {
	h, err := l.startHub(ctx, 1, hubLatency)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.process.stop()) }()
	places := semaphore.NewWeighted(atWork)
	group, groupCtx := errgroup.WithContext(ctx)
	for _, d := range deaths {
		group.Go(func() error {
			if err := d.dieAndReturn(groupCtx, l, h, places); err != nil {
				return fmt.Errorf("%s: %w", d.point, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	log, err := h.Requests(ctx)
	if err != nil {
		return err
	}
	for _, d := range deaths {
		if err := d.check(ctx, h, log); err != nil {
			return err
		}
	}
	return nil
}

func (d *death) dieAndReturn(ctx context.Context, l *lab, h *hub, places *semaphore.Weighted) (err error) {
	if d.site, err = h.site(ctx, d.secrets); err != nil {
		return err
	}
	slow := d.site
	slow.Mode = d.mode
	var p *process
	die := func() { p, _, err = l.syncInChild(ctx, job{Site: slow, Kill: d.point}) }
	if d.mode == pace.Off {
		at(ctx, places, die)
	} else {
		die() // it does little but wait
	}
	died := now()
	if err != nil {
		return err
	}
	if p.endedBy() != syscall.SIGKILL {
		d.findings.add("%s: the point was never reached", d.point)
		return nil
	}
	held, err := h.held(ctx, d.site)
	if err != nil {
		return err
	}
	d.early = len(held)
	if err := sleep(ctx, died.Add(leaseOver).Sub(now())); err != nil {
		return err
	}
	var f finished
	at(ctx, places, func() { _, f, err = l.syncInChild(ctx, job{Site: d.site}) })
	if s := f.Result.Summary; err == nil && (f.Error != "" || s.Conflicts+s.Failed > 0) {
		d.findings.add("%s: the next run had %d conflicts and %d failures: %s", d.point, s.Conflicts, s.Failed, f.Error)
	}
	return err
}

// at does something when there is a place for it.
func at(ctx context.Context, places *semaphore.Weighted, do func()) {
	if places.Acquire(ctx, 1) == nil {
		defer places.Release(1)
	}
	do()
}

// check looks at what both runs left.
func (d *death) check(ctx context.Context, h *hub, log []githubd.Request) error {
	h.checkRight(ctx, d.site, &d.findings)
	writes := d.site.writes(log)
	if d.rewritten = len(writes) - d.site.targets(); d.rewritten > syncer.BatchSize {
		d.findings.add("%s: %d targets were rewritten, and a batch is %d", d.point, d.rewritten, syncer.BatchSize)
	}
	stored, err := d.site.events(ctx)
	if err != nil {
		return err
	}
	logged, err := d.site.loggedEvents()
	if err != nil {
		return err
	}
	for sink, events := range map[string][]audit.Event{"store": stored, "log": logged} {
		for _, gap := range gaps(d.site, writes, events) {
			d.findings.add("%s: the audit's %s: %s", d.point, sink, gap)
		}
	}
	return nil
}

// gaps returns what is missing in a sink: an intent before each write, and at
// last an outcome for each target.
func gaps(s site, writes []githubd.Request, events []audit.Event) []string {
	intended := map[secret.Target]time.Time{} // first
	done := map[secret.Target]bool{}
	for _, e := range events {
		if e.Result == audit.Succeeded && e.Secret != "" {
			done[secret.Target{Scope: e.Scope, Name: e.Secret}] = true
		}
		for _, text := range e.Targets {
			for _, scope := range secret.DefaultScopes() {
				if name, ok := nameIn(text, scope); ok && e.Operation == audit.SyncIntent {
					t := secret.Target{Scope: scope, Name: name}
					if first, ok := intended[t]; !ok || e.At.Before(first) {
						intended[t] = e.At
					}
				}
			}
		}
	}
	var missing []string
	for _, w := range writes {
		if at, ok := intended[s.target(w)]; !ok || at.After(w.At) {
			missing = append(missing, fmt.Sprintf("%s was written without an intent before", s.target(w)))
		}
	}
	if len(done) != s.targets() {
		missing = append(missing, fmt.Sprintf("%d of %d targets have an outcome", len(done), s.targets()))
	}
	return missing
}

// nameIn reads an intent's scope/name.
func nameIn(text string, scope secret.Scope) (secret.Name, bool) {
	prefix := string(scope) + "/"
	if len(text) <= len(prefix) || text[:len(prefix)] != prefix {
		return "", false
	}
	return secret.Name(text[len(prefix):]), true
}

// loggedEvents returns what the log sink has of the site. A process that is
// killed in the middle of a line leaves a part of it, and the next process goes
// on in the same line.
func (s site) loggedEvents() ([]audit.Event, error) {
	text, err := os.ReadFile(filepath.Join(s.StateDir, auditFile))
	if err != nil {
		return nil, err
	}
	var events []audit.Event
	for line := range bytes.Lines(text) {
		whole := line[max(0, bytes.LastIndex(line, []byte(`{"time":`))):]
		var entry struct {
			Time  time.Time
			Audit struct {
				Operation audit.Operation
				Result    audit.Result
				Secret    secret.Name
				Scope     secret.Scope
				Targets   []string
			}
		}
		if json.Unmarshal(whole, &entry) != nil {
			continue // cut off
		}
		a := entry.Audit
		events = append(events, audit.Event{At: entry.Time, Operation: a.Operation, Result: a.Result, Secret: a.Secret, Scope: a.Scope, Targets: a.Targets})
	}
	return events, nil
}
