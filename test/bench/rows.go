package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/test/bench/floor"
)

// Names of the figures.
const (
	duration      = "duration"
	requests      = "requests"
	right         = "targets right"
	refusals      = "refusals"
	writes        = "writes"
	lists         = "lists"
	notModified   = "answers 304"
	others        = "other requests"
	documentReads = "document reads"
	documentPuts  = "document writes"
	growth        = "documents more for 100 than for 10"
	valuesRead    = "values read"
	commandMemory = "peak of the command"
	functionPeak  = "peak of the function"
)

// The work of the rows.
var (
	firstSync    = floor.Job{Writes: 300, Scopes: 3}
	organisation = floor.Job{Writes: 1000, Scopes: 1}
	oneChange    = floor.Job{Writes: 3, Scopes: 3}

	free    = floor.Conditions{RoundTrip: 80 * time.Millisecond, InFlight: floor.GitHubInFlight}
	limited = floor.Conditions{RoundTrip: 80 * time.Millisecond, InFlight: floor.GitHubInFlight, PointsPerMinute: floor.GitHubPoints}
)

const maxMemory = 64 // MiB

// rows returns every row.
func rows() []row {
	return []row{
		{
			name: "first-sync", title: "first sync of 100 secrets to 3 scopes, no limits, pace off", tries: 5,
			bounds: []bound{
				within(1.5, firstSync, free),
				{figure: requests, rule: atMost, limit: float64(floor.Requests(firstSync)), basis: "writes + 3 × scopes"},
				{figure: right, rule: exactly, limit: 300},
			},
			once: func(ctx context.Context, l *lab) (trial, error) {
				return l.write(ctx, newLoad(100, "", repositoryScopes...), pace.Off, 1)
			},
		},
		{
			name: "first-sync-limited", title: "the same under 900 points a minute and 100 in flight, pace fast", tries: 2,
			bounds: underLimits(firstSync),
			once: func(ctx context.Context, l *lab) (trial, error) {
				return l.write(ctx, newLoad(100, "", repositoryScopes...), pace.Fast, l.scale, "--limits")
			},
		},
		{
			name: "organisation-limited", title: "1,000 organisation secrets to 1 scope under the same limits", tries: 2,
			bounds: underLimits(organisation),
			once: func(ctx context.Context, l *lab) (trial, error) {
				return l.write(ctx, newLoad(1000, "", "org-actions"), pace.Fast, l.scale, "--limits")
			},
		},
		{
			name: "unchanged", title: "nothing changed, 100 secrets in 3 scopes, warm instance", tries: 1,
			bounds: []bound{
				{figure: writes, rule: exactly, limit: 0},
				{figure: lists, rule: exactly, limit: 3, basis: "one a scope"},
				{figure: notModified, rule: exactly, limit: 3, basis: "every list"},
				{figure: others, rule: exactly, limit: 0},
				{figure: documentReads, rule: atMost, limit: 8},
				{figure: documentPuts, rule: atMost, limit: 4},
				{figure: growth, rule: exactly, limit: 0},
			},
			once: unchanged,
		},
		{
			name: "one-changed", title: "one value of 100 changed, 3 scopes, cold instance", tries: 1,
			bounds: []bound{
				{figure: writes, rule: exactly, limit: 3},
				{figure: requests, rule: atMost, limit: float64(floor.Requests(oneChange)), basis: "writes + 3 × scopes"},
				{figure: valuesRead, rule: exactly, limit: 1},
				{figure: right, rule: exactly, limit: 300},
			},
			once: oneChanged,
		},
		{
			name: "memory", title: "resident memory during the first sync, 100 secrets to 3 scopes", tries: 1,
			bounds: []bound{
				{figure: commandMemory, unit: "MiB", rule: atMost, limit: maxMemory},
				{figure: functionPeak, unit: "MiB", rule: atMost, limit: maxMemory},
			},
			once: memory,
		},
		{
			name: "query-cost", title: "documents that each function reads and writes: one project, 10 secrets in 3 scopes", tries: 1,
			bounds: queryBounds(),
			once:   queryCost,
		},
		{
			name: "reconcile", title: "nothing changed at 1,000 projects of 20 secrets in 3 scopes, 3 workers, one installation", tries: 3,
			bounds: []bound{
				{
					figure: duration, unit: "s", rule: atMost, limit: 1.1 * floor.Lists(allLists, limited).Seconds(), best: true,
					basis: fmt.Sprintf("1.1 × the floor of %.2f s", floor.Lists(allLists, limited).Seconds()),
				},
				{figure: lists, rule: exactly, limit: allLists, basis: "one a scope"},
				{figure: others, rule: exactly, limit: 0},
				{figure: secretManagerCalls, rule: exactly, limit: 0},
				{figure: refusals, rule: exactly, limit: 0},
			},
			once: reconcile,
		},
		{
			name: "fanout-first", title: "first sync of 200 projects of 20 secrets in 3 scopes, 5,000 requests an hour, pace fast, 3 workers", tries: 1, slow: true,
			bounds: []bound{
				{figure: unusedShare, unit: "%", rule: atMost, limit: 10, basis: "of 5,000 requests an hour, while work waits"},
				{figure: right, rule: exactly, limit: float64(firstSyncs.targets())},
				{figure: refusals, rule: exactly, limit: 0},
			},
			once: func(ctx context.Context, l *lab) (trial, error) { return l.fanOut(ctx, firstSyncs) },
		},
		{
			name: "fanout-two", title: "the same under two installations of an App", tries: 1, slow: true,
			bounds: []bound{
				{
					figure: duration, unit: "s", rule: atMost, limit: 0.55 * leastAlone.Seconds(), best: true,
					basis: fmt.Sprintf("0.55 × the floor of one installation, %.0f s", leastAlone.Seconds()),
				},
				{figure: right, rule: exactly, limit: float64(firstSyncs.targets())},
				{figure: refusals, rule: exactly, limit: 0},
			},
			once: func(ctx context.Context, l *lab) (trial, error) {
				spread := firstSyncs
				spread.owners, spread.app = 2, true
				return l.fanOut(ctx, spread)
			},
		},
		{
			name: "event", title: "a new version in Secret Manager to three scopes, the whole system idle before, 100 times", tries: 2,
			bounds: []bound{
				{figure: slowest, unit: "s", rule: atMost, limit: 2, best: true},
				{figure: right, rule: exactly, limit: float64(listeners.targets())},
				{figure: refusals, rule: exactly, limit: 0},
			},
			once: events,
		},
		{
			name: "cost", title: "list prices of 1 M changed target writes and of 1 M unchanged checks, from counted calls", tries: 1,
			bounds: []bound{
				{figure: millionWrites, unit: "$", rule: atMost, limit: 3, basis: "all sources of a project change at once"},
				{figure: millionFirst, unit: "$", rule: atMost, limit: 3},
				{figure: millionChecks, unit: "$", rule: atMost, limit: 0.5, basis: "with the ticks of 1,000 projects"},
			},
			once: cost,
		},
		{
			name: "cold-start", title: "the program of each function against a bare one with the same clients linked, one core", tries: 2,
			bounds: []bound{
				{figure: startRatio, unit: "×", rule: atMost, limit: 1.3, best: true, basis: "the worst function"},
				{figure: memoryRatio, unit: "×", rule: atMost, limit: 1.3, basis: "the worst function"},
				{figure: sizeRatio, unit: "×", rule: atMost, limit: 1.3, basis: "the worst function"},
			},
			once: coldStart,
		},
	}
}

// within holds the duration of a job to a multiple of the floor.
func within(factor float64, j floor.Job, c floor.Conditions) bound {
	least := floor.Time(j, c).Seconds()
	return bound{
		figure: duration, unit: "s", rule: atMost, limit: factor * least, best: true,
		basis: fmt.Sprintf("%g × the floor of %.2f s", factor, least),
	}
}

func underLimits(j floor.Job) []bound {
	return []bound{
		within(1.1, j, limited),
		{figure: right, rule: exactly, limit: float64(j.Writes)},
		{figure: refusals, rule: exactly, limit: 0},
	}
}

// write measures a first sync of the work.
func (l *lab) write(ctx context.Context, work load, mode pace.Mode, scale float64, hubArgs ...string) (t trial, err error) {
	h, err := l.startHub(ctx, append(hubArgs, "--clock-scale", strconv.FormatFloat(scale, 'f', -1, 64))...)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, h.process.stop()) }()
	r, err := l.newRig(ctx, h, work, mode, clock.Scaled(scale))
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := h.ResetCounts(ctx); err != nil {
		return t, err
	}
	took, err := r.sync(ctx)
	if err != nil {
		return t, err
	}
	counts, err := h.Counts(ctx)
	if err != nil {
		return t, err
	}
	n, err := work.right(ctx, h)
	if err != nil {
		return t, err
	}
	refused := 0
	for _, count := range counts.Refused {
		refused += count
	}
	t.figures = figures{
		duration: took.Seconds(), requests: float64(counts.Requests), right: float64(n), refusals: float64(refused),
	}
	if scale != 1 {
		t.notes = append(t.notes, fmt.Sprintf("on a clock that runs %g times as fast, on both sides; --real runs it at 1", scale))
	}
	return t, nil
}

// unchanged measures a second sync, for a hundred secrets and for ten.
func unchanged(ctx context.Context, l *lab) (trial, error) {
	t, documents, err := l.again(ctx, 100)
	if err != nil {
		return t, err
	}
	_, few, err := l.again(ctx, 10)
	if err != nil {
		return t, err
	}
	t.figures[growth] = float64(documents.Reads + documents.Writes - few.Reads - few.Writes)
	return t, nil
}

// again syncs twice with one client and measures the second time.
func (l *lab) again(ctx context.Context, secrets int) (t trial, documents docstore.Counts, err error) {
	s, err := l.newStand(ctx, newLoad(secrets, sourceProject, repositoryScopes...))
	if err != nil {
		return t, documents, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.rig.sync(ctx); err != nil {
		return t, documents, err
	}
	counts, err := s.measure(ctx)
	if err != nil {
		return t, documents, err
	}
	documents = s.rig.store.Counts()
	t.figures = figures{
		writes: float64(counts.Writes()), lists: float64(counts.ByKind[githubd.KindList]),
		notModified:   float64(counts.ByStatus[http.StatusNotModified]),
		others:        float64(counts.Requests - counts.ByKind[githubd.KindList]),
		documentReads: float64(documents.Reads), documentPuts: float64(documents.Writes + documents.Deletes),
	}
	return t, documents, nil
}

// oneChanged measures the sync after one source has a new version.
func oneChanged(ctx context.Context, l *lab) (t trial, err error) {
	work := newLoad(100, sourceProject, repositoryScopes...)
	s, err := l.newStand(ctx, work)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.rig.sync(ctx); err != nil {
		return t, err
	}
	name := work.names[len(work.names)/2]
	work.values[name] = newValue()
	if _, err := s.values.AddVersion(sourceProject, name, secret.NewValue(work.values[name])); err != nil {
		return t, err
	}
	if err := s.rig.renewClient(s.hub); err != nil {
		return t, err
	}
	counts, err := s.measure(ctx)
	if err != nil {
		return t, err
	}
	n, err := work.right(ctx, s.hub)
	if err != nil {
		return t, err
	}
	t.figures = figures{
		writes: float64(counts.Writes()), requests: float64(counts.Requests), right: float64(n),
		valuesRead: float64(s.values.Calls("AccessSecretVersion")),
	}
	return t, nil
}

// stand is a rig whose values are in an embedded Secret Manager.
type stand struct {
	hub     *hub
	rig     *rig
	values  *secretmanagerd.Server
	closers []func() error
}

func (l *lab) newStand(ctx context.Context, work load) (_ *stand, err error) {
	s := &stand{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.hub, err = l.startHub(ctx); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.hub.process.stop)
	if s.rig, err = l.newRig(ctx, s.hub, work, pace.Off, clock.Real()); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.rig.close)
	if s.values, err = work.secretManager(s.rig.project.Repository.ID); err != nil {
		return nil, err
	}
	endpoint := s.values.ListenInMemory()
	s.closers = append(s.closers, func() error { endpoint.Close(); return nil })
	client, err := gsm.Open(ctx, gsm.Config{
		Endpoint: endpoint.Address, Insecure: true, Dial: endpoint.Dial, ReadsPerMinute: -1, // two syncs a minute are within no quota
	})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, client.Close)
	s.rig.engine.Sources = client
	return s, nil
}

// secretManager returns a Secret Manager that holds the values and lets the
// repository have them.
func (l load) secretManager(repository int64) (*secretmanagerd.Server, error) {
	server, err := secretmanagerd.New(secretmanagerd.Config{})
	if err != nil {
		return nil, err
	}
	consent := map[string]string{gsm.RepositoriesAnnotation: gsm.FormatRepositories([]int64{repository})}
	for _, name := range l.names {
		if _, err := server.SetSecret(l.gcp, name, secret.NewValue(l.values[name]), consent); err != nil {
			return nil, err
		}
	}
	return server, nil
}

// addFingerprintKey adds the key under which a function keeps fingerprints.
func addFingerprintKey(server *secretmanagerd.Server) error {
	_, err := server.SetSecret(sourceProject, "fingerprint-key", secret.NewValue(newValue()), nil)
	return err
}

func (s *stand) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

// measure runs one sync with all counters at zero before it.
func (s *stand) measure(ctx context.Context) (githubd.Counts, error) {
	if err := s.hub.ResetCounts(ctx); err != nil {
		return githubd.Counts{}, err
	}
	s.values.ResetCalls()
	s.rig.store.Reset()
	if _, err := s.rig.sync(ctx); err != nil {
		return githubd.Counts{}, err
	}
	return s.hub.Counts(ctx)
}
