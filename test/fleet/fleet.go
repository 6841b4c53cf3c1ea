// Package fleet runs Sealpost as it is deployed, for tests: each function of the
// catalogue is a process of its own, built from its zip, over Firestore's and
// Pub/Sub's emulators. Secret Manager, GitHub and an issuer of tokens are in the
// test's process, and are reached over loopback.
//
//	people, pipelines ── load balancer ──► edge functions ──► Firestore
//	Scheduler (Tick) ──► topic ──► subscription ──► gate ──► private functions
//	Secret Manager ──► secret-events ──► …                        │
//	                              GitHub ◄────────────────────────┘
//
// Every fleet has a Google Cloud project of its own in the emulators, with the
// databases, topics and subscriptions that a deployment has; a subscription has
// the name of its function. So fleets may run side by side in one test binary,
// which builds the functions once. Its TestMain calls emulator.Run. Where an
// emulator is not installed the test is skipped, or fails if this is CI: see
// package emulator.
//
// # What the gate adds
//
// Google's Pub/Sub emulator (0.8.20) pushes, pushes again what is not
// acknowledged, and after the last attempt puts it on the topic of the dead
// letters; but its pushes have no token and do not tell the attempt. The [Gate]
// between it and the functions adds both: the token of a service account that has
// the role internal, as an OIDC push subscription does, and deliveryAttempt. It
// can hold pushes back, for a test to lose, repeat and shuffle them.
package fleet

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/auth/authtest"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/embedded/issuer"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/gcp/topic"
	"github.com/sealpost/sealpost/test/contract"
	"github.com/sealpost/sealpost/test/emulator"
	"github.com/sealpost/sealpost/test/program"
)

// Names of what a fleet has.
const (
	StateDatabase = "state-of-test"
	AuditDatabase = "audit-of-test"
	Audience      = "https://sealpost.acme.example"
	// Values is the Google Cloud project whose secrets are the sources.
	Values = "acme-values"

	keys     = "acme-sealpost" // the Google Cloud project of Sealpost's own secrets
	hubToken = "token-of-the-fleet-test"
)

// Options say what a fleet is to have.
type Options struct {
	// Repositories exist at GitHub, and every source consents to them.
	Repositories []githubd.Repository
	// Latency is how long GitHub takes for each request.
	Latency time.Duration
}

// Fleet is the running system. It stops when the test ends that started it.
type Fleet struct {
	Project   string // Google Cloud project id
	Firestore string // host:port of the emulator
	URL       string // of the load balancer: the routes of the edge functions
	Secrets   *secretmanagerd.Server
	GitHub    *githubd.Server
	Issuer    *issuer.Issuer
	Forger    *authtest.Provider // another issuer, which the functions trust as well
	Gate      *Gate

	consent  map[string]string // annotations of every source
	events   *topic.Publisher
	admin    admin
	env      map[string]string // every setting
	binaries map[string]string

	mu      sync.Mutex
	at      map[string]string // address of each function
	running map[string]*program.Process
}

// Start builds and starts a fleet.
func Start(t testing.TB, o Options) *Fleet {
	t.Helper()
	f := &Fleet{
		Project: emulator.Project(), Firestore: emulator.Firestore.Host(t),
		at: map[string]string{}, running: map[string]*program.Process{},
	}
	pubSub := emulator.PubSub.Host(t)
	f.binaries = build(t)
	f.startPubSub(t, pubSub)
	f.startUpstreams(t, o, pubSub)
	t.Cleanup(func() {
		if t.Failed() {
			f.logs(t)
		}
	})
	for _, row := range catalogue.Functions() {
		f.Restart(t, row.Name)
	}
	balancer := httptest.NewServer(contract.New(t).Handler(t, f.routes()))
	t.Cleanup(balancer.Close)
	f.URL = balancer.URL
	return f
}

// logs shows the end of what each function printed.
func (f *Fleet) logs(t testing.TB) {
	t.Helper()
	const most = 3000
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, p := range f.running {
		text := p.Stdout.String() + p.Stderr.String()
		t.Logf("the end of what %s printed:\n%s", name, text[max(0, len(text)-most):])
	}
}

// Restart starts the function of that name, where a balancer and the gate find it
// from then on.
func (f *Fleet) Restart(t testing.TB, function string) {
	t.Helper()
	var own []string
	for _, s := range config.Settings() {
		if text, ok := f.env[s.Name]; ok && slices.Contains(s.Readers, function) {
			own = append(own, s.Name+"="+text)
		}
	}
	at, p := program.StartFunction(t, f.binaries[function], catalogue.Lookup(function), own...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at[function], f.running[function] = at, p
}

// Kill ends the function at once, by SIGKILL, and returns when it has ended.
func (f *Fleet) Kill(t testing.TB, function string) {
	t.Helper()
	f.mu.Lock()
	p := f.running[function]
	f.mu.Unlock()
	p.Signal(t, os.Kill)
	p.Wait(t)
}

// At returns the address of a function's own process.
func (f *Fleet) At(function string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at[function]
}

// Log returns what the function has printed since it was started last.
func (f *Fleet) Log(function string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running[function].Stdout.String()
}

// Tick publishes what Scheduler does for the function.
func (f *Fleet) Tick(t testing.TB, function string) {
	t.Helper()
	f.Publish(t, catalogue.Lookup(function).Topic, event.Message{})
}

// Publish puts a message on a topic.
func (f *Fleet) Publish(t testing.TB, topic string, m event.Message) {
	t.Helper()
	if m.Data == nil && len(m.Attributes) == 0 {
		m.Data = []byte("{}") // Pub/Sub takes none that has neither
	}
	if err := f.events.Publish(t.Context(), topic, m); err != nil {
		t.Fatal(err)
	}
}

// routes sends each request to the function that the catalogue names.
func (f *Fleet) routes() http.Handler {
	mux := http.NewServeMux()
	for _, row := range catalogue.Functions() {
		if row.Exposure != catalogue.Edge {
			continue
		}
		proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			if target, err := url.Parse(f.At(row.Name)); err == nil { // a made-up address is ours
				r.SetURL(target)
			}
		}}
		for _, route := range row.Routes {
			mux.Handle(route.Method+" "+route.Path, proxy)
		}
	}
	return mux
}

// patience is how long anything may take on a loaded machine.
const patience = time.Minute

// Wait returns as soon as it is done.
func (f *Fleet) Wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !done() {
		if err := clock.Real().Sleep(ctx, 20*time.Millisecond); err != nil {
			t.Fatalf("still waiting: %s", what)
		}
	}
}

// token returns one of the issuer's for the grants.
func (f *Fleet) token(subject string, grants auth.Grants) (string, error) {
	return f.Issuer.Mint(subject, Audience, grants, time.Hour)
}
