package canary

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/httpx"
	document "github.com/sealpost/sealpost/shared/manifest"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/provisioning"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/test/program"
)

const panickingFunction = "SEALPOST_CANARY_FUNCTION"

// TestPanicOfADeployedFunctionShowsNoValue runs a function under the Functions
// Framework, as it is deployed, that panics with each canary.
func TestPanicOfADeployedFunctionShowsNoValue(t *testing.T) {
	t.Parallel()
	if os.Getenv(panickingFunction) != "" {
		servePanics(t)
		return
	}
	var d drain
	url, p := program.StartServer(t, program.Call{
		Path: os.Args[0], Args: []string{"-test.run=^" + t.Name() + "$"},
		Env: []string{"FUNCTION_TARGET=Panicking", panickingFunction + "=1", "SEALPOST_ENV=dev", "GCP_PROJECT_ID=acme-birds", "LOG_LEVEL=debug"},
	})
	for i := range Canaries() {
		path := "/healthz"
		if i%2 == 1 {
			path = "/readyz"
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		status, body := d.exchange(t, request)
		var problem struct{ Code, CorrelationID string }
		if err := json.Unmarshal(body, &problem); err != nil || status != http.StatusInternalServerError || problem.Code == "" || problem.CorrelationID == "" {
			t.Fatalf("status %d, not a problem: %s", status, body)
		}
	}
	d.add("stdout", []byte(p.Stdout.String()))
	d.add("stderr", []byte(p.Stderr.String()))
	if !strings.Contains(p.Stdout.String(), "servePanics") {
		t.Errorf("the log does not tell where it panicked:\n%.2000s", p.Stdout)
	}
	d.check(t, "answers", "stdout")
}

// servePanics is the child: two routes that panic, one before and one after it
// has begun its answer.
func servePanics(t *testing.T) {
	t.Helper()
	canaries, next := Canaries(), 0
	value := func() any {
		c := canaries[next%count]
		next++
		all := panics(c.Text)
		return all[next%len(all)]
	}
	functions.HTTP("Panicking", backend.Function("health", func(context.Context, backend.Base) (httpx.Handlers, error) {
		return httpx.Handlers{
			"GET /healthz": func(http.ResponseWriter, *http.Request) error { panic(value()) },
			"GET /readyz": func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("X-Half", "written")
				panic(value())
			},
		}, nil
	}))
	if err := funcframework.Start(os.Getenv("PORT")); err != nil {
		t.Fatal(err)
	}
}

// TestFirestoreHoldsNoValue syncs every canary over Firestore and looks at all
// documents.
func TestFirestoreHoldsNoValue(t *testing.T) {
	t.Parallel()
	f := startFirestore(t)
	parrot := startParrot(t)
	var d drain
	log := slog.New(slog.NewJSONHandler(d.writer("log"), &slog.HandlerOptions{Level: slog.LevelDebug}))
	state := f.open(t, stateDatabase)
	recorder := audit.NewRecorder(log, audit.NewStore(f.open(t, auditDatabase), 0))
	hub, err := ghapi.New(ghapi.Config{BaseURL: parrot.URL, Mode: pace.Off, Credentials: ghapi.Credentials{Token: secret.NewValue(gitHubToken)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hub.Close)
	engine := &syncer.Engine{
		Store: state, Audit: recorder, Targets: hub, Sources: fullSources(t), Clock: clock.Real(), Log: log, Mode: pace.Off,
		Fingerprints: func(context.Context) (secret.FingerprintKey, error) {
			return secret.NewFingerprintKey("key@1", secret.NewValue(strings.Repeat("k", 32)))
		},
	}
	registrar := &provisioning.Registrar{Store: state, Audit: recorder, Directory: hub, Clock: clock.Real()}
	m, err := document.ParseJSON([]byte(asJSON(t, manifest())))
	if err != nil {
		t.Fatal(err)
	}
	p, err := registrar.Register(t.Context(), m, provisioning.Caller{Actor: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*mood{{method: http.MethodPut, status: http.StatusUnprocessableEntity}, nil} {
		parrot.talk(t, m)
		if _, err := engine.Sync(t.Context(), syncer.Request{Project: p, Actor: "alice"}); err != nil {
			t.Fatal(err)
		}
	}
	parrot.received(t)
	d.add("state", f.dump(t, stateDatabase))
	d.add("audit", f.dump(t, auditDatabase))
	d.check(t, "state", "audit")
}

// fullSources is Secret Manager with every canary.
func fullSources(t *testing.T) *gsm.Client {
	t.Helper()
	server, err := secretmanagerd.New(secretmanagerd.Config{})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, server)
	return connect(t, server)
}

func fill(t *testing.T, server *secretmanagerd.Server) {
	t.Helper()
	for _, c := range Canaries() {
		if _, err := server.SetSecret(source, c.ID(), secret.NewValue(c.Text), map[string]string{"sealpost-repositories": "7001"}); err != nil {
			t.Fatal(err)
		}
	}
}

// connect returns a client whose time flies, so that it keeps Google's pace of
// ten metadata reads a second without taking that long.
func connect(t *testing.T, server *secretmanagerd.Server) *gsm.Client {
	t.Helper()
	endpoint := server.ListenInMemory()
	t.Cleanup(endpoint.Close)
	client, err := gsm.Open(t.Context(), gsm.Config{Endpoint: endpoint.Address, Insecure: true, Dial: endpoint.Dial, Clock: clock.Scaled(500)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}
