package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// site is one repository and the machine that it is synced from, as JSON for a
// child.
type site struct {
	Hub      string
	Token    string
	Login    string
	Repo     string
	ID       int64
	StateDir string
	Secrets  int // in each of three scopes
	Mode     pace.Mode
}

func (s site) targets() int      { return s.Secrets * len(secret.DefaultScopes()) }
func (s site) container() string { return owner + "/" + s.Repo }

// path is what the paths of the repository begin with.
func (s site) path() string { return "/repos/" + s.container() + "/" }

func (s site) name(i int) secret.Name { return secret.Name(fmt.Sprintf("SECRET_%03d", i)) }

func (s site) source(i int) secret.Source {
	return secret.Source{Project: "acme-secrets", Secret: fmt.Sprintf("secret-%03d", i)}
}

// valueOf is the value of a version of a source.
func valueOf(s secret.Source, version secret.Version) string {
	return fmt.Sprintf("value of %s in version %d", s, version)
}

func digestOf(s secret.Source, version secret.Version) string {
	hash := sha256.Sum256([]byte(valueOf(s, version)))
	return hex.EncodeToString(hash[:])
}

func (s site) project() project.Project {
	p := project.Project{
		ID:         "payments",
		Repository: project.Container{Kind: project.Repository, Owner: owner, Name: s.Repo, ID: s.ID},
	}
	for i := range s.Secrets {
		p.Mappings = append(p.Mappings, project.Mapping{Name: s.name(i), Source: s.source(i), Scopes: secret.DefaultScopes()})
	}
	return p
}

// station is an engine over a site's state and the real client, like one
// process: what it remembers goes with it.
type station struct {
	site   site
	engine *syncer.Engine
	store  *sqlitedoc.Store
	log    *os.File
	client *ghapi.Client
}

// Files of a state directory.
const (
	databaseFile = "state.db"
	auditFile    = "audit.log"
)

// open opens the site. Every port goes through the points.
func (s site) open(clk clock.Clock, p *points) (*station, error) {
	store, err := sqlitedoc.Open(filepath.Join(s.StateDir, databaseFile), clk)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(s.StateDir, auditFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	client, err := ghapi.New(ghapi.Config{
		BaseURL: s.Hub, Credentials: ghapi.Credentials{Token: secret.NewValue(s.Token)}, Mode: s.Mode, Clock: clk,
	})
	if err != nil {
		return nil, errors.Join(err, store.Close(), log.Close())
	}
	key, err := secret.NewFingerprintKey("proof@1", secret.NewValue(strings.Repeat("k", sha256.Size)))
	if err != nil {
		return nil, errors.Join(err, store.Close(), log.Close())
	}
	handler := slog.NewJSONHandler(log, nil)
	quiet := slog.New(slog.DiscardHandler)
	return &station{site: s, store: store, log: log, client: client, engine: &syncer.Engine{
		Store: pointedStore{p, store}, Targets: pointedTargets{p, client}, Sources: pointedSources{p, vault{repository: s.ID}},
		Audit:        audit.NewRecorder(quiet, pointedSink{p, audit.NewStore(store, 0)}, pointedSink{p, audit.NewLogSink(handler)}),
		Fingerprints: func(context.Context) (secret.FingerprintKey, error) { return key, nil },
		Clock:        clk, Log: quiet, Mode: s.Mode,
	}}, nil
}

func (t *station) close() error {
	t.client.Close()
	return errors.Join(t.store.Close(), t.log.Close())
}

func (t *station) sync(ctx context.Context, change ...func(*syncer.Request)) (syncer.Result, error) {
	req := syncer.Request{Project: t.site.project(), Actor: "proof"}
	for _, f := range change {
		f(&req)
	}
	return t.engine.Sync(ctx, req)
}

// syncOnce is one sync by a process of its own, as far as memory goes.
func (s site) syncOnce(ctx context.Context, clk clock.Clock) (syncer.Result, error) {
	t, err := s.open(clk, new(points))
	if err != nil {
		return syncer.Result{}, err
	}
	result, err := t.sync(ctx)
	return result, errors.Join(err, t.close())
}

// vault is Secret Manager at the height of the port: every source has version 1
// and admits the repository.
type vault struct{ repository int64 }

func (v vault) Inspect(_ context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	states := map[secret.Source]secret.SourceState{}
	for _, s := range sources {
		states[s] = v.state(1)
	}
	return states, nil
}

// state is that of a source whose newest version is that one.
func (v vault) state(newest secret.Version) secret.SourceState {
	state := secret.SourceState{Exists: true, Repositories: []int64{v.repository}}
	for n := newest; n > 0; n-- {
		state.Versions = append(state.Versions, secret.SourceVersion{Number: n, State: secret.Enabled})
	}
	return state
}

func (v vault) Value(_ context.Context, s secret.Source, version secret.Version) (secret.Value, error) {
	if version < 1 {
		return secret.Value{}, fault.New(fault.SourceMissing, "%s has no version %d", s, version)
	}
	return secret.NewValue(valueOf(s, version)), nil
}

// held returns the digest of everything that GitHub holds for the site.
func (h *hub) held(ctx context.Context, s site) (map[secret.Target]string, error) {
	held := map[secret.Target]string{}
	for _, scope := range secret.DefaultScopes() {
		digests, err := h.Digests(ctx, s.container(), scope, false)
		if err != nil {
			return nil, err
		}
		for _, d := range digests {
			held[secret.Target{Scope: scope, Name: secret.Name(d.Name)}] = d.SHA256
		}
	}
	return held, nil
}

// checkRight finds every target that does not hold its value at GitHub.
func (h *hub) checkRight(ctx context.Context, s site, f *findings) {
	held, err := h.held(ctx, s)
	if err != nil {
		f.addError(s.Repo+": read GitHub", err)
		return
	}
	right := 0
	for i := range s.Secrets {
		for _, scope := range secret.DefaultScopes() {
			if held[secret.Target{Scope: scope, Name: s.name(i)}] == digestOf(s.source(i), 1) {
				right++
			}
		}
	}
	if right != s.targets() || len(held) != right {
		f.add("%s: %d of %d targets are right, and GitHub has %d", s.Repo, right, s.targets(), len(held))
	}
}

// checkExact holds a first run's result against what GitHub has: what the
// result says is done is there, and what it says is not, is not.
func (h *hub) checkExact(ctx context.Context, s site, result syncer.Result, f *findings) {
	held, err := h.held(ctx, s)
	if err != nil {
		f.addError(s.Repo+": read GitHub", err)
		return
	}
	checkItems(s, result, held, f)
}

func checkItems(s site, result syncer.Result, held map[secret.Target]string, f *findings) {
	if len(result.Results) != s.targets() {
		f.add("%s: the result tells of %d targets, not of %d", s.Repo, len(result.Results), s.targets())
	}
	succeeded := 0
	for _, item := range result.Results {
		_, there := held[item.Target()]
		switch {
		case item.Status == syncer.ItemSucceeded:
			succeeded++
			if !there {
				f.add("%s: %s is said to be done and is not at GitHub", s.Repo, item.Target())
			}
		case item.Status != syncer.ItemUnknown && there:
			f.add("%s: %s is said to be %s (%s) and is at GitHub", s.Repo, item.Target(), item.Status, item.Reason)
		}
	}
	if n := result.Summary.Created + result.Summary.Updated + result.Summary.Unchanged; n != succeeded {
		f.add("%s: the summary counts %d done targets, the results %d", s.Repo, n, succeeded)
	}
}

// wrote reports whether a logged request wrote a secret of the site, whatever
// the caller learned of it.
func (s site) wrote(r githubd.Request) bool {
	return r.Method == "PUT" && strings.HasPrefix(r.Path, s.path()) && (r.Status == 201 || r.Status == 204)
}

// target is what a logged request for a secret is about.
func (s site) target(r githubd.Request) secret.Target {
	scope, rest, _ := strings.Cut(strings.TrimPrefix(r.Path, s.path()), "/")
	return secret.Target{Scope: secret.Scope(scope), Name: secret.Name(strings.TrimPrefix(rest, "secrets/"))}
}

// writes are the site's writes that took effect, in the order of their arrival.
func (s site) writes(log []githubd.Request) []githubd.Request {
	var writes []githubd.Request
	for _, r := range log {
		if s.wrote(r) {
			writes = append(writes, r)
		}
	}
	return writes
}

// events returns what the store sink has of the site.
func (s site) events(ctx context.Context) (events []audit.Event, err error) {
	store, err := sqlitedoc.Open(filepath.Join(s.StateDir, databaseFile), clock.Real())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	query := audit.Query{Limit: docstore.MaxListLimit}
	for {
		page, next, err := audit.NewStore(store, 0).Find(ctx, query)
		if err != nil {
			return nil, err
		}
		events = append(events, page...)
		if query.Cursor = next; next == "" {
			return events, nil
		}
	}
}
