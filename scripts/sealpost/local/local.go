// Package local assembles the whole system in one process on loopback: every
// function at its public route, over a SQLite file, an embedded Secret Manager,
// an embedded issuer of tokens, and the real GitHub where credentials are
// configured, else an embedded one.
//
// It is the same engine with the same ports and the same functions as in the
// cloud; only what stands behind the ports is embedded.
package local

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	auditlog "github.com/sealpost/sealpost/functions/audit-log"
	"github.com/sealpost/sealpost/functions/dispatcher"
	"github.com/sealpost/sealpost/functions/health"
	"github.com/sealpost/sealpost/functions/projects"
	scheduledsync "github.com/sealpost/sealpost/functions/scheduled-sync"
	secretchanged "github.com/sealpost/sealpost/functions/secret-changed"
	syncsecrets "github.com/sealpost/sealpost/functions/sync-secrets"
	syncstatus "github.com/sealpost/sealpost/functions/sync-status"
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
	"github.com/sealpost/sealpost/shared/embedded/scheduler"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/provisioning"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/versionstate"
)

// DatabaseFile is the name of the store in the state directory.
const DatabaseFile = "sealpost.db"

// Names of what else is kept there.
const (
	secretsFile     = "secret-manager.json"
	gitHubFile      = "github.jsonl"
	issuerKeyFile   = "issuer.pem"
	fingerprintFile = "fingerprint.key"
)

// Audience is whom the local issuer's tokens are for.
const Audience = "sealpost-local"

// EmbeddedToken is the token by which the server calls its embedded GitHub.
const EmbeddedToken = "embedded"

// Options say how the server is to run.
type Options struct {
	StateDir string // made if it is not there
	Address  string // host:port on loopback; port 0 takes a free one
	Log      *slog.Logger
	Clock    clock.Clock
	// GitHub is the way to the real GitHub. Without credentials in it, GitHub
	// is embedded, and World is what exists there.
	GitHub ghapi.Config
	World  githubd.World
	// Latency is how long the embedded GitHub takes for each request.
	Latency time.Duration
}

// Server is the running system.
type Server struct {
	URL string // base URL of the routes
	// SecretsSocket is the whole path of the unix socket at which the embedded
	// Secret Manager serves its owner's other commands.
	SecretsSocket string

	Store     docstore.Store
	Engine    *syncer.Engine
	Registrar *provisioning.Registrar
	Secrets   *secretmanagerd.Server
	GitHub    *githubd.Server // nil where GitHub is the real one
	Broker    *broker.Broker
	Scheduler *scheduler.Scheduler
	Issuer    *issuer.Issuer

	sources       versionstate.Sources
	watch         *watch
	stopScheduler func()
	http          *http.Server
	done          chan error
	closers       []func() error
}

// Start opens the state and serves until Close. What is at fault in the options
// is a [fault.ConfigInvalid].
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	s := &Server{done: make(chan error, 1)}
	defer func() {
		if err != nil {
			_ = s.closeAll()
		}
	}()
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, fault.New(fault.ConfigInvalid, "the state directory cannot be made").WithCause(err)
	}
	listener, err := listen(o.Address)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, listener.Close)
	s.URL = "http://" + listener.Addr().String()
	kit, recorder, events, err := s.openKernel(o)
	if err != nil {
		return nil, err
	}
	s.openBroker(o)
	values, err := s.openSecretManager(ctx, o)
	if err != nil {
		return nil, err
	}
	hub, err := s.openGitHub(o)
	if err != nil {
		return nil, err
	}
	key, err := FingerprintKey(filepath.Join(o.StateDir, fingerprintFile))
	if err != nil {
		return nil, err
	}
	if ReadableByOthers(filepath.Join(o.StateDir, fingerprintFile)) {
		o.Log.WarnContext(ctx, "the fingerprint key can be read by others, who can then try values against fingerprints", "file", fingerprintFile)
	}
	s.sources = versionstate.Sources{Store: s.Store, Live: values, Clock: o.Clock}
	s.Engine = &syncer.Engine{
		Store: s.Store, Audit: recorder, Targets: hub, Sources: values,
		SourcesOf:    func(projectID string) syncer.Sources { return s.sources.Of(projectID) },
		Fingerprints: func(context.Context) (secret.FingerprintKey, error) { return key, nil },
		Clock:        o.Clock, Log: o.Log, Mode: o.GitHub.Mode,
	}
	s.Registrar = &provisioning.Registrar{Store: s.Store, Audit: recorder, Directory: hub, Clock: o.Clock}
	routes, err := s.routes(kit, events)
	if err != nil {
		return nil, err
	}
	if err := s.startScheduler(o); err != nil {
		return nil, err
	}
	s.serve(listener, routes)
	return s, nil
}

// CheckAddress returns a [fault.ConfigInvalid] for an address that others can
// reach: the tokens and the embedded systems are made for one person's machine.
func CheckAddress(address string) error {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	if err != nil || (host != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return fault.New(fault.ConfigInvalid, "the address %q is not host:port on loopback", address).
			WithRemedy("Take an address on this machine with --addr, such as 127.0.0.1:0 for a free port.", "")
	}
	return nil
}

func listen(address string) (net.Listener, error) {
	if err := CheckAddress(address); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fault.New(fault.ConfigInvalid, "the address %s is taken or cannot be used", address).
			WithRemedy("Stop what runs there, or add --addr 127.0.0.1:0 to take a free port.", "").WithCause(err)
	}
	return listener, nil
}

// openKernel opens the store, the audit and the verifier of tokens.
func (s *Server) openKernel(o Options) (httpx.Kit, *audit.Recorder, *audit.Store, error) {
	store, err := sqlitedoc.Open(filepath.Join(o.StateDir, DatabaseFile), o.Clock)
	if err != nil {
		return httpx.Kit{}, nil, nil, err
	}
	s.Store = store
	s.closers = append(s.closers, store.Close)
	events := audit.NewStore(store, 0)
	s.watch = newWatch(events)
	recorder := audit.NewRecorder(o.Log, s.watch, audit.NewLogSink(o.Log.Handler()))

	s.Issuer, err = issuer.New(s.URL+"/issuer", filepath.Join(o.StateDir, issuerKeyFile), o.Clock)
	if err != nil {
		return httpx.Kit{}, nil, nil, err
	}
	verifier, err := idtoken.New(idtoken.Options{
		Issuers: []auth.Issuer{{URL: s.Issuer.URL(), Audience: Audience, Kind: auth.Local}}, AllowLocal: true, Clock: o.Clock,
	})
	return httpx.Kit{Log: o.Log, Clock: o.Clock, Authenticator: verifier}, recorder, events, err
}

// openSecretManager starts the embedded Secret Manager, for this process and at
// a socket for others, and returns the real client to it.
func (s *Server) openSecretManager(ctx context.Context, o Options) (*gsm.Client, error) {
	var err error
	s.Secrets, err = secretmanagerd.New(secretmanagerd.Config{
		Clock: o.Clock, File: filepath.Join(o.StateDir, secretsFile), Topics: []string{secretsTopic}, Notify: s.announce,
	})
	if err != nil {
		return nil, err
	}
	socket, path, remove, err := listenAtSocket(ctx, o.StateDir)
	if err != nil {
		return nil, err
	}
	outer, endpoint := s.Secrets.Serve(socket), s.Secrets.ListenInMemory()
	s.SecretsSocket = path
	s.closers = append(s.closers, remove, func() error { outer.Close(); endpoint.Close(); return nil })
	client, err := gsm.Open(ctx, gsm.Config{Endpoint: endpoint.Address, Insecure: true, Dial: endpoint.Dial, Topic: secretsTopic, Clock: o.Clock})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, client.Close)
	return client, nil
}

// openGitHub returns a client of the real GitHub, or of the embedded one.
func (s *Server) openGitHub(o Options) (*ghapi.Client, error) {
	config := o.GitHub
	config.Clock = o.Clock
	if config.Credentials.Token.Len() == 0 && config.Credentials.App == nil {
		var err error
		s.GitHub, err = githubd.New(githubd.Config{
			Clock: o.Clock, World: o.World, StatePath: filepath.Join(o.StateDir, gitHubFile),
			Settings: githubd.Settings{Latency: githubd.Duration(o.Latency), Limits: githubd.DocumentedLimits()},
		})
		if err != nil {
			return nil, err
		}
		s.closers = append(s.closers, s.GitHub.Close)
		config.BaseURL, config.Transport = "http://127.0.0.1", s.GitHub.Transport()
		config.Credentials.Token = secret.NewValue(EmbeddedToken)
	}
	client, err := ghapi.New(config)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { client.Close(); return nil })
	return client, nil
}

// routes puts every function at its routes. A path that is in no row goes to a
// function all the same, whose adapter refuses it.
func (s *Server) routes(kit httpx.Kit, events *audit.Store) (http.Handler, error) {
	handlers := map[string]http.Handler{
		"audit-log":      auditlog.Handler(kit, events),
		"dispatcher":     dispatcher.Handler(kit, s.pushes("dispatcher"), s.sources, s.Broker, dispatch.Quotas{Store: s.Store, Mode: s.Engine.Mode}),
		"health":         health.Handler(kit, health.Store("state", s.Store), health.Sources("secret-manager", s.Engine.Sources, cloudProject)),
		"projects":       projects.Handler(kit, s.Store, s.Registrar),
		"scheduled-sync": scheduledsync.Handler(kit, s.pushes("scheduled-sync"), s.Store),
		"secret-changed": secretchanged.Handler(kit, s.pushes("secret-changed"), s.sources, s.Broker),
		"sync-secrets":   syncsecrets.Handler(kit, s.Store, s.Engine, s.Broker),
		"sync-status":    syncstatus.Handler(kit, s.Store),
		"sync-worker":    syncworker.Handler(kit, s.pushes("sync-worker"), s.Engine, s.Broker),
	}
	if err := s.subscribe(handlers); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, f := range catalogue.Functions() {
		handler, ok := handlers[f.Name]
		if !ok {
			panic("local: the function " + f.Name + " is not served")
		}
		seen := map[string]bool{}
		for _, route := range f.Routes {
			if !seen[route.Path] {
				seen[route.Path] = true
				mux.Handle(route.Path, handler)
			}
		}
	}
	mux.Handle("/issuer/", s.Issuer.Handler())
	mux.Handle("/", handlers["health"])
	return mux, nil
}

func (s *Server) serve(listener net.Listener, handler http.Handler) {
	ending, end := context.WithCancel(context.Background()) // Close ends it
	s.http = &http.Server{Handler: BoundBody(ending, handler, BodyTime), ReadHeaderTimeout: 10 * time.Second}
	s.http.RegisterOnShutdown(end)
	go func() { s.done <- s.http.Serve(listener) }()
}

// Token mints a token for the roles, of somebody called subject.
func (s *Server) Token(subject string, roles auth.Grants, lifetime time.Duration) (string, error) {
	return s.Issuer.Mint(subject, Audience, roles, lifetime)
}

// closeTime is how long requests under way may take to end after an interrupt.
const closeTime = 5 * time.Second

// Close ends what happens by itself, then lets the requests under way end, for
// a while, breaks off those that do not, and closes the state.
func (s *Server) Close() error {
	s.stopScheduler()
	brokerErr := s.closeBroker()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close() // a sync that is broken off goes on from its ledger
	}
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return errors.Join(brokerErr, err, s.closeAll())
}

// closeAll closes in the reverse order of opening. The listener may be closed
// already, by the server.
func (s *Server) closeAll() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// FingerprintKey reads the key in the file, or makes it, for its owner only.
func FingerprintKey(path string) (secret.FingerprintKey, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return secret.FingerprintKey{}, fault.New(fault.ConfigInvalid, "the fingerprint key in %s cannot be read", path).WithCause(err)
	}
	return parseKey(path, content)
}

// ReadableByOthers reports whether the file's mode lets others than its owner
// read it. Windows has no such modes.
func ReadableByOthers(path string) bool {
	info, err := os.Stat(path)
	return err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0
}

// keyIDBytes is how much of the file names the key; the rest is the key.
const keyIDBytes = 8

func parseKey(path string, content []byte) (secret.FingerprintKey, error) {
	if len(content) != keyIDBytes+sha256.Size {
		return secret.FingerprintKey{}, fault.New(fault.ConfigInvalid, "the fingerprint key in %s is damaged: it has %d bytes, not %d", path, len(content), keyIDBytes+sha256.Size).
			WithRemedy("Restore it from a copy, or move it away: the next sync then makes a new one, and writes every secret once more.", "")
	}
	return secret.NewFingerprintKey(fmt.Sprintf("local@%x", content[:keyIDBytes]), secret.NewValue(string(content[keyIDBytes:])))
}

// makeKey creates the file; of two processes at once, one makes it and both use it.
func makeKey(path string) (secret.FingerprintKey, error) {
	content := make([]byte, keyIDBytes+sha256.Size)
	_, _ = rand.Read(content)                                     // never fails: see its documentation
	temporary, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return secret.FingerprintKey{}, fault.New(fault.ConfigInvalid, "the fingerprint key cannot be made").WithCause(err)
	}
	defer func() { _ = os.Remove(temporary.Name()) }()
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Close())
	if err == nil {
		err = os.Link(temporary.Name(), path)
	}
	if errors.Is(err, os.ErrExist) {
		return FingerprintKey(path)
	}
	if err != nil {
		return secret.FingerprintKey{}, fault.New(fault.ConfigInvalid, "the fingerprint key cannot be made").WithCause(err)
	}
	return parseKey(path, content)
}
