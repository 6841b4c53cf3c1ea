package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/manifest"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/provisioning"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/source"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/telemetry"
)

const (
	projectID     = "bench"
	sourceProject = "acme-secrets"
	valueBytes    = 1024
)

// load is the secrets of one row.
type load struct {
	names  []string
	values map[string]string
	scopes []secret.Scope
	gcp    string // source project; empty: an env file
}

var repositoryScopes = []secret.Scope{"actions", "codespaces", "dependabot"}

func newLoad(secrets int, gcp string, scopes ...secret.Scope) load {
	l := load{values: map[string]string{}, scopes: scopes, gcp: gcp}
	for i := range secrets {
		name := fmt.Sprintf("SECRET_%04d", i)
		l.names = append(l.names, name)
		l.values[name] = newValue()
	}
	return l
}

func newValue() string {
	text := rand.Text()
	return strings.Repeat(text, valueBytes/len(text)+1)[:valueBytes]
}

// manifest returns the project as its owner would write it.
func (l load) manifest() []byte { return l.manifestOf(projectID, owner, repo) }

func (l load) manifestOf(id, owner, repo string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "project: %s\ngithub: {owner: %s, repo: %s}\n", id, owner, repo)
	if l.gcp != "" {
		fmt.Fprintf(&b, "source: {gcpProject: %s}\n", l.gcp)
	}
	b.WriteString("secrets:\n")
	var scopes []string
	access := ""
	for _, s := range l.scopes {
		scopes = append(scopes, string(s))
		if s.Organisation() {
			access = ", visibility: all"
		}
	}
	for _, name := range l.names {
		fmt.Fprintf(&b, "  - {name: %s, from: %s, scopes: [%s]%s}\n", name, name, strings.Join(scopes, ", "), access)
	}
	return []byte(b.String())
}

// envFile returns the values as an env file.
func (l load) envFile() []byte {
	var b strings.Builder
	for _, name := range l.names {
		fmt.Fprintf(&b, "%s=%s\n", name, l.values[name])
	}
	return []byte(b.String())
}

// sources returns the values as the sources of an env file.
func (l load) sources() syncer.Sources {
	values := map[string]secret.Value{}
	for name, text := range l.values {
		values[name] = secret.NewValue(text)
	}
	return source.EnvFile(values)
}

// right counts the targets that hold their value at the hub.
func (l load) right(ctx context.Context, h *hub) (int, error) {
	right := 0
	for _, scope := range l.scopes {
		container := owner + "/" + repo
		if scope.Organisation() {
			container = owner
		}
		held, err := h.Digests(ctx, container, scope, false)
		if err != nil {
			return 0, err
		}
		for _, d := range held {
			sum := sha256.Sum256([]byte(l.values[d.Name]))
			if d.SHA256 == hex.EncodeToString(sum[:]) {
				right++
			}
		}
	}
	return right, nil
}

// rig is the engine as the command assembles it, on a clock of our choice, with
// a registered project.
type rig struct {
	clock   clock.Clock
	store   *docstore.Counting
	engine  *syncer.Engine
	project project.Project
	closers []func() error
}

// newRig registers the load's project. Its sources may be set later.
func (l *lab) newRig(ctx context.Context, h *hub, work load, mode pace.Mode, clk clock.Clock) (_ *rig, err error) {
	r := &rig{clock: clk}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	dir, err := l.directory()
	if err != nil {
		return nil, err
	}
	store, err := sqlitedoc.Open(filepath.Join(dir, "sealpost.db"), clk)
	if err != nil {
		return nil, err
	}
	r.closers = append(r.closers, store.Close)
	r.store = docstore.NewCounting(store)
	logFile, err := os.Create(filepath.Join(dir, "sealpost.log"))
	if err != nil {
		return nil, err
	}
	r.closers = append(r.closers, logFile.Close)
	log := telemetry.NewLogger(logFile, telemetry.Options{})
	recorder := audit.NewRecorder(log, audit.NewStore(r.store, 0), audit.NewLogSink(log.Handler()))
	key, err := secret.NewFingerprintKey("bench", secret.NewValue(newValue()))
	if err != nil {
		return nil, err
	}
	r.engine = &syncer.Engine{
		Store: r.store, Audit: recorder, Sources: work.sources(),
		Fingerprints: func(context.Context) (secret.FingerprintKey, error) { return key, nil },
		Clock:        clk, Log: log, Mode: mode,
	}
	if r.project, err = register(ctx, h, r.store, recorder, work, clk); err != nil {
		return nil, err
	}
	if err := r.renewClient(h); err != nil {
		return nil, err
	}
	return r, nil
}

// renewClient gives the engine a new client of GitHub: a cold instance.
func (r *rig) renewClient(h *hub) error {
	client, err := h.client(r.clock, r.engine.Mode)
	if err != nil {
		return err
	}
	r.engine.Targets = client
	r.closers = append(r.closers, func() error { client.Close(); return nil })
	return nil
}

func (h *hub) client(clk clock.Clock, mode pace.Mode) (*ghapi.Client, error) {
	return ghapi.New(ghapi.Config{
		BaseURL: h.url, Mode: mode, Clock: clk, Credentials: ghapi.Credentials{Token: secret.NewValue(hubToken)},
	})
}

// register stores the project with a client of its own, so that what follows
// begins cold.
func register(ctx context.Context, h *hub, store docstore.Store, recorder *audit.Recorder, work load, clk clock.Clock) (project.Project, error) {
	m, err := manifest.Parse(work.manifest())
	if err != nil {
		return project.Project{}, err
	}
	client, err := h.client(clk, pace.Off)
	if err != nil {
		return project.Project{}, err
	}
	defer client.Close()
	registrar := provisioning.Registrar{Store: store, Audit: recorder, Directory: client, Clock: clk}
	return registrar.Register(ctx, m, provisioning.Caller{Actor: "bench"})
}

func (r *rig) close() error {
	var errs []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		errs = append(errs, r.closers[i]())
	}
	return errors.Join(errs...)
}

// sync runs one sync from the project's document on, as the function does, and
// returns how long that took on the rig's clock.
func (r *rig) sync(ctx context.Context) (time.Duration, error) {
	started := r.clock.Now()
	p, err := project.Get(ctx, r.store, r.project.ID)
	if err != nil {
		return 0, err
	}
	result, err := r.engine.Sync(ctx, syncer.Request{Project: p, Actor: "bench"})
	took := r.clock.Now().Sub(started)
	if err == nil && (result.Status == syncer.StatusFailed || result.Status == syncer.StatusPartial) {
		err = fmt.Errorf("the sync ended %s: %+v", result.Status, result.Summary)
	}
	return took, err
}
