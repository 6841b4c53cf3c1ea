package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/functions/dispatcher"
	scheduledsync "github.com/sealpost/sealpost/functions/scheduled-sync"
	secretchanged "github.com/sealpost/sealpost/functions/secret-changed"
	syncworker "github.com/sealpost/sealpost/functions/sync-worker"
	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/auth/idtoken"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/dispatch"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/embedded/broker"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/embedded/issuer"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/eventx"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/manifest"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/provisioning"
	"github.com/sealpost/sealpost/shared/quota"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/telemetry"
	"github.com/sealpost/sealpost/shared/versionstate"
)

// crowd is many projects, each with a repository, which all have the same number
// of secrets in the three scopes of a repository.
type crowd struct {
	projects int
	secrets  int // of each project
	sharing  int // so many projects have the same sources, and so the same values
	owners   int // the repositories are spread over so many accounts
	synced   bool
	app      bool // an App's installations, one an account; else one token
	scale    float64
	limits   githubd.Limits
}

func (c crowd) targets() int { return c.projects * c.secrets * len(repositoryScopes) }

func (c crowd) owner(i int) string         { return fmt.Sprintf("owner-%d", i%c.owners) }
func (c crowd) repo(i int) string          { return fmt.Sprintf("repo-%04d", i) }
func (c crowd) id(i int) string            { return fmt.Sprintf("project-%04d", i) }
func (c crowd) sourceProject(i int) string { return fmt.Sprintf("acme-secrets-%04d", i/c.sharing) }
func (c crowd) name(j int) string          { return fmt.Sprintf("SECRET_%04d", j) }
func (c crowd) source(i, j int) secret.Source {
	return secret.Source{Project: c.sourceProject(i), Secret: c.name(j)}
}

func (c crowd) manifest(i int) []byte {
	work := load{gcp: c.sourceProject(i), scopes: repositoryScopes}
	for j := range c.secrets {
		work.names = append(work.names, c.name(j))
	}
	return work.manifestOf(c.id(i), c.owner(i), c.repo(i))
}

// Names of what a fleet has.
const (
	fleetCloud   = "bench"
	fleetTopic   = "projects/" + fleetCloud + "/topics/" + event.SecretEvents
	fleetPusher  = "push@bench"
	fleetApp     = 7
	fleetWorkers = 3
	// atOnce is how many nudges one worker is brought at once.
	atOnce = 8
)

// fleet is the whole product in this process but for GitHub, on a clock of the
// row's choice: the functions behind an in-process broker, as the local server
// has them, with three instances of the worker. Each has a client of GitHub of its own,
// whose pacer draws from the one budget in the store.
type fleet struct {
	crowd
	lab     *lab
	dir     string
	clock   clock.Clock
	hub     *hub
	store   *docstore.Counting
	values  *secretmanagerd.Server
	held    map[secret.Source]string // the values
	broker  *broker.Broker
	token   string
	calls   map[string]*calls // by function
	key     secret.FingerprintKey
	closers []func() error
}

// calls is what a function was asked.
type calls struct {
	count  atomic.Int64
	billed atomic.Int64 // in nanoseconds of the fleet's clock, each call's as it is billed
}

// newFleet prepares the crowd in this process, without limits or latency, and
// then starts everything anew on the scaled clock.
func (l *lab) newFleet(ctx context.Context, c crowd) (_ *fleet, err error) {
	f := &fleet{crowd: c, lab: l, held: map[secret.Source]string{}, calls: map[string]*calls{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.dir, err = l.directory(); err != nil {
		return nil, err
	}
	if f.key, err = secret.NewFingerprintKey("bench", secret.NewValue(newValue())); err != nil {
		return nil, err
	}
	f.values, err = secretmanagerd.New(secretmanagerd.Config{Topics: []string{fleetTopic}, Notify: f.announce})
	if err != nil {
		return nil, err
	}
	if err := f.prepare(ctx); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	if err := f.start(ctx); err != nil {
		return nil, err
	}
	f.values.ResetCalls()
	return f, f.hub.ResetCounts(ctx)
}

// announce publishes what Secret Manager tells.
func (f *fleet) announce(e secretmanagerd.Event) {
	if f.broker != nil && len(e.Topics) > 0 {
		_ = f.broker.Publish(context.Background(), event.SecretEvents, event.Message{Attributes: e.Attributes, Data: e.Data})
	}
}

func (f *fleet) databaseFile() string { return filepath.Join(f.dir, "sealpost.db") }
func (f *fleet) hubFile() string      { return filepath.Join(f.dir, "github.jsonl") }

// prepare registers the projects, and gives GitHub and the store what a sync of
// each would have left there, if they are to be synced already.
func (f *fleet) prepare(ctx context.Context) (err error) {
	world := githubd.World{
		Users:  []githubd.User{{Login: "emulated"}},
		Tokens: []githubd.Token{{Token: hubToken, Login: "emulated"}},
	}
	for i := range f.projects {
		world.Repositories = append(world.Repositories, githubd.Repository{Owner: f.owner(i), Name: f.repo(i)})
	}
	server, err := githubd.New(githubd.Config{World: world, StatePath: f.hubFile()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	client, err := ghapi.New(ghapi.Config{
		BaseURL: "http://127.0.0.1", Mode: pace.Off, Transport: server.Transport(), Credentials: ghapi.Credentials{Token: secret.NewValue(hubToken)},
	})
	if err != nil {
		return err
	}
	defer client.Close()
	store, err := sqlitedoc.Open(f.databaseFile(), clock.Real())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := f.fillSecretManager(server); err != nil {
		return err
	}
	sources, closeSources, err := f.openSources(ctx, clock.Real(), -1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSources()) }()
	log := slog.New(slog.DiscardHandler)
	registrar := provisioning.Registrar{
		Store: store, Directory: client, Clock: clock.Real(),
		Audit: audit.NewRecorder(log, audit.NewStore(store, 0), audit.NewLogSink(log.Handler())),
	}
	kept := versionstate.Sources{Store: store, Live: sources, Clock: clock.Real()}
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for i := range f.projects {
		group.Go(func() error {
			m, err := manifest.Parse(f.manifest(i))
			if err != nil {
				return err
			}
			p, err := registrar.Register(working, m, provisioning.Caller{Actor: "bench"})
			if err != nil || !f.synced {
				return err
			}
			return f.markSynced(working, store, kept, server, i, p)
		})
	}
	return group.Wait()
}

// fillSecretManager makes the sources, which let their repositories have them.
func (f *fleet) fillSecretManager(server *githubd.Server) error {
	for first := 0; first < f.projects; first += f.sharing {
		var ids []int64
		for i := first; i < min(first+f.sharing, f.projects); i++ {
			ids = append(ids, server.RepositoryID(f.owner(i)+"/"+f.repo(i)))
		}
		consent := map[string]string{gsm.RepositoriesAnnotation: gsm.FormatRepositories(ids)}
		for j := range f.secrets {
			s := f.source(first, j)
			f.held[s] = newValue()
			if _, err := f.values.SetSecret(s.Project, s.Secret, secret.NewValue(f.held[s]), consent); err != nil {
				return err
			}
		}
	}
	return nil
}

// markSynced gives GitHub a project's values, its ledger the entries of settled
// writes, and its version state what there is.
func (f *fleet) markSynced(ctx context.Context, store docstore.Store, kept versionstate.Sources, server *githubd.Server, i int, p project.Project) error {
	container := p.Containers()[0]
	l, err := ledger.Load(ctx, store, container)
	if err != nil {
		return err
	}
	var sources []secret.Source
	for j := range f.secrets {
		source := f.source(i, j)
		sources = append(sources, source)
		content := ledger.Content{Source: source, Version: 1, Fingerprint: f.key.Fingerprint(secret.NewValue(f.held[source]))}
		for _, scope := range repositoryScopes {
			target := githubd.Target{Container: f.owner(i) + "/" + f.repo(i), Scope: scope, Name: f.name(j)}
			if err := server.Edit(target, f.held[source]); err != nil {
				return err
			}
			l.Entries[secret.Target{Scope: scope, Name: secret.Name(f.name(j))}] = ledger.Entry{Written: &ledger.Written{Content: content}}
		}
	}
	for _, scope := range repositoryScopes {
		stored, err := server.Stored(f.owner(i)+"/"+f.repo(i), scope)
		if err != nil {
			return err
		}
		for _, s := range stored {
			written := l.Entries[secret.Target{Scope: scope, Name: secret.Name(s.Name)}].Written
			written.PutAt, written.UpdatedAt, written.SyncedAt = s.UpdatedAt, s.UpdatedAt, s.UpdatedAt
		}
	}
	write, err := l.Write()
	if err != nil {
		return err
	}
	if _, err := store.Commit(ctx, write); err != nil {
		return err
	}
	_, err = kept.Inspect(ctx, p.ID, sources)
	return err
}

// openSources returns a client of Secret Manager.
func (f *fleet) openSources(ctx context.Context, clk clock.Clock, readsPerMinute int) (*gsm.Client, func() error, error) {
	endpoint := f.values.ListenInMemory()
	client, err := gsm.Open(ctx, gsm.Config{
		Endpoint: endpoint.Address, Insecure: true, Dial: endpoint.Dial, Topic: fleetTopic, Clock: clk, ReadsPerMinute: readsPerMinute,
	})
	if err != nil {
		endpoint.Close()
		return nil, nil, err
	}
	return client, func() error {
		err := client.Close()
		endpoint.Close()
		return err
	}, nil
}

// start starts GitHub, and then the clock and the functions.
func (f *fleet) start(ctx context.Context) (err error) {
	f.hub, err = f.lab.startHub(ctx, "--state", f.hubFile(), "--clock-scale", strconv.FormatFloat(f.scale, 'f', -1, 64))
	if err != nil {
		return err
	}
	f.closers = append(f.closers, f.hub.process.stop)
	f.clock = clock.Scaled(f.scale)
	credentials, err := f.credentials(ctx)
	if err != nil {
		return err
	}
	roundTrip, err := time.ParseDuration(latency)
	if err != nil {
		return err
	}
	if err := f.hub.SetSettings(ctx, githubd.Settings{Latency: githubd.Duration(roundTrip), Limits: f.limits}); err != nil {
		return err
	}
	store, err := sqlitedoc.Open(f.databaseFile(), f.clock)
	if err != nil {
		return err
	}
	f.closers = append(f.closers, store.Close)
	f.store = docstore.NewCounting(store)
	return f.openFunctions(ctx, credentials)
}

// credentials makes an App of GitHub's, if there is to be one.
func (f *fleet) credentials(ctx context.Context) (ghapi.Credentials, error) {
	if !f.app {
		return ghapi.Credentials{Token: secret.NewValue(hubToken)}, nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return ghapi.Credentials{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return ghapi.Credentials{}, err
	}
	world := githubd.World{Apps: []githubd.App{{
		ID: fleetApp, Slug: "sealpost", PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	}}}
	for i := range f.owners {
		world.Installations = append(world.Installations, githubd.Installation{
			ID: int64(100 + i), AppID: fleetApp, Account: f.owner(i), Permissions: githubd.Permissions{
				"metadata": "read", "secrets": "write", "codespaces_secrets": "write", "dependabot_secrets": "write",
			},
		})
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	credentials := ghapi.Credentials{App: &ghapi.App{ID: fleetApp, PrivateKey: secret.NewValue(string(private))}}
	return credentials, f.hub.Add(ctx, world)
}

// openFunctions assembles the functions and subscribes them.
func (f *fleet) openFunctions(ctx context.Context, credentials ghapi.Credentials) error {
	log, err := f.openLog()
	if err != nil {
		return err
	}
	kit, err := f.openKit(log)
	if err != nil {
		return err
	}
	topics := []string{}
	for _, row := range catalogue.Functions() {
		if row.Topic != "" {
			topics = append(topics, row.Topic)
		}
	}
	f.broker = broker.New(broker.Config{Project: fleetCloud, Topics: topics, Clock: f.clock})
	f.closers = append(f.closers, func() error {
		patience, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		return f.broker.Close(patience)
	})
	sources, closeSources, err := f.openSources(ctx, f.clock, 0)
	if err != nil {
		return err
	}
	f.closers = append(f.closers, closeSources)
	kept := versionstate.Sources{Store: f.store, Live: sources, Clock: f.clock}
	workers := make([]http.Handler, fleetWorkers)
	for i := range workers {
		engine, err := f.openEngine(ctx, credentials, log)
		if err != nil {
			return err
		}
		workers[i] = syncworker.Handler(kit, f.pushes("sync-worker"), engine, f.broker)
	}
	accounts := dispatch.Quotas{Store: f.store, Mode: pace.Fast, App: f.app}
	for name, instances := range map[string][]http.Handler{
		"dispatcher":     {dispatcher.Handler(kit, f.pushes("dispatcher"), kept, f.broker, accounts)},
		"scheduled-sync": {scheduledsync.Handler(kit, f.pushes("scheduled-sync"), f.store)},
		"secret-changed": {secretchanged.Handler(kit, f.pushes("secret-changed"), kept, f.broker)},
		"sync-worker":    workers,
	} {
		row := catalogue.Lookup(name)
		f.calls[name] = &calls{}
		err := f.broker.Subscribe(broker.Subscription{
			Name: name, Topic: row.Topic, Endpoint: "http://127.0.0.1" + eventx.Path(name), Handler: f.counted(name, instances),
			AckDeadline: time.Duration(row.TimeoutSec) * time.Second, MinBackoff: time.Second, Concurrency: atOnce * len(instances),
			Token: func(context.Context) (string, error) { return f.token, nil },
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// counted hands each request to the next of the function's instances.
func (f *fleet) counted(name string, instances []http.Handler) http.Handler {
	c := f.calls[name]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := f.clock.Now()
		n := c.count.Add(1)
		instances[int(n)%len(instances)].ServeHTTP(w, r)
		c.billed.Add(int64(billedTime(f.clock.Now().Sub(began))))
	})
}

func (f *fleet) pushes(function string) eventx.Options {
	return eventx.Options{Subscriptions: []string{"projects/" + fleetCloud + "/subscriptions/" + function}}
}

// openEngine returns the engine of one instance of the worker.
func (f *fleet) openEngine(ctx context.Context, credentials ghapi.Credentials, log *slog.Logger) (*syncer.Engine, error) {
	client, err := ghapi.New(ghapi.Config{
		BaseURL: f.hub.url, Credentials: credentials, Mode: pace.Fast, Clock: f.clock, Workers: githubWorkers(),
		Budget: func(identity string) pace.Budget { return quota.New(f.store, f.clock, identity) },
	})
	if err != nil {
		return nil, err
	}
	f.closers = append(f.closers, func() error { client.Close(); return nil })
	sources, closeSources, err := f.openSources(ctx, f.clock, 0)
	if err != nil {
		return nil, err
	}
	f.closers = append(f.closers, closeSources)
	kept := versionstate.Sources{Store: f.store, Live: sources, Clock: f.clock}
	return &syncer.Engine{
		Store: f.store, Targets: client, Sources: sources, Clock: f.clock, Log: log, Mode: pace.Fast,
		Audit:        audit.NewRecorder(log, audit.NewStore(f.store, 0), audit.NewLogSink(log.Handler())),
		SourcesOf:    func(projectID string) syncer.Sources { return kept.Of(projectID) },
		Fingerprints: func(context.Context) (secret.FingerprintKey, error) { return f.key, nil },
	}, nil
}

// openLog keeps the log of all workers in a file.
func (f *fleet) openLog() (*slog.Logger, error) {
	file, err := os.Create(filepath.Join(f.dir, "sealpost.log"))
	if err != nil {
		return nil, err
	}
	f.closers = append(f.closers, file.Close)
	return telemetry.NewLogger(file, telemetry.Options{}), nil
}

// githubWorkers is how many instances may ask GitHub at once, as a deployed
// function takes it from the catalogue.
func githubWorkers() int {
	n := 0
	for _, row := range catalogue.Functions() {
		n += row.MaxInstances
	}
	return n
}

// openKit makes an issuer, and a token of it for the broker.
func (f *fleet) openKit(log *slog.Logger) (httpx.Kit, error) {
	const url, audience = "http://127.0.0.1/issuer", "bench"
	provider, err := issuer.New(url, "", f.clock)
	if err != nil {
		return httpx.Kit{}, err
	}
	f.token, err = provider.Mint(fleetPusher, audience, auth.Grants{auth.AllProjects: {catalogue.Internal}}, 24*time.Hour)
	if err != nil {
		return httpx.Kit{}, err
	}
	verifier, err := idtoken.New(idtoken.Options{
		Issuers: []auth.Issuer{{URL: url, Audience: audience, Kind: auth.Local}}, AllowLocal: true,
		Clock: f.clock, Transport: inProcess{provider.Handler()},
	})
	return httpx.Kit{Log: log, Clock: f.clock, Authenticator: verifier}, err
}

// inProcess carries requests to a handler in this process.
type inProcess struct{ handler http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	t.handler.ServeHTTP(answer, r)
	return answer.Result(), nil
}

// scheduled is what Scheduler publishes: a message that says nothing.
var scheduled = event.Message{Data: []byte("tick")}

// work ticks as Scheduler does, scheduled-sync once and the dispatcher each
// minute, until no mark is left.
func (f *fleet) work(ctx context.Context) error {
	if err := f.broker.Publish(ctx, event.SyncTick, scheduled); err != nil {
		return err
	}
	if err := f.broker.Idle(ctx); err != nil {
		return err
	}
	next := f.clock.Now()
	for {
		if now := f.clock.Now(); !now.Before(next) {
			if err := f.broker.Publish(ctx, event.DispatchTick, scheduled); err != nil {
				return err
			}
			next = next.Add(dispatch.Tick)
		}
		left, err := f.marks(ctx)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return f.broker.Idle(ctx)
		}
		if err := f.clock.Sleep(ctx, min(next.Sub(f.clock.Now()), time.Duration(f.scale)*50*time.Millisecond)); err != nil {
			return err
		}
	}
}

// spell is from the first request's arrival at GitHub to the last answer, by
// GitHub's clock, without questions that are no work of a sync.
func spell(log []githubd.Request) (first, last time.Time) {
	for _, r := range log {
		if first.IsZero() || r.At.Before(first) {
			first = r.At
		}
		if end := r.At.Add(time.Duration(r.Took)); end.After(last) {
			last = end
		}
	}
	return first, last
}

// unused is the share in percent of an hourly limit that was not used in the
// hours that passed while there was work, as GitHub charges.
func unused(log []githubd.Request, limit int) float64 {
	first, last := spell(log)
	hours := int(last.Sub(first) / time.Hour)
	if hours == 0 {
		return 0
	}
	charged := 0
	for _, r := range log {
		if r.Refused == "" && r.Status != http.StatusNotModified && r.Kind != githubd.KindRateLimit && int(r.At.Sub(first)/time.Hour) < hours {
			charged++
		}
	}
	return 100 * (1 - float64(charged)/float64(hours*limit))
}

func refused(c githubd.Counts) float64 {
	n := 0
	for _, count := range c.Refused {
		n += count
	}
	return float64(n)
}

// right counts the targets that hold their value.
func (f *fleet) right(ctx context.Context) (float64, error) {
	var right atomic.Int64
	group, working := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range f.projects {
		group.Go(func() error {
			want := map[string]string{}
			for j := range f.secrets {
				sum := sha256.Sum256([]byte(f.held[f.source(i, j)]))
				want[f.name(j)] = hex.EncodeToString(sum[:])
			}
			for _, scope := range repositoryScopes {
				held, err := f.hub.Digests(working, f.owner(i)+"/"+f.repo(i), scope, false)
				if errors.Is(err, fault.NotFound) {
					continue
				}
				if err != nil {
					return err
				}
				for _, d := range held {
					if want[d.Name] == d.SHA256 {
						right.Add(1)
					}
				}
			}
			return nil
		})
	}
	err := group.Wait()
	return float64(right.Load()), err
}

func (f *fleet) close() error {
	var errs []error
	for i := len(f.closers) - 1; i >= 0; i-- {
		errs = append(errs, f.closers[i]())
	}
	return errors.Join(errs...)
}
