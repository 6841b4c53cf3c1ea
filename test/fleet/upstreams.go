package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/auth/authtest"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/embedded/issuer"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/gcp/topic"
	"github.com/sealpost/sealpost/shared/secret"
)

// startUpstreams starts what is outside of Sealpost, and notes the settings by
// which it is found.
func (f *Fleet) startUpstreams(t testing.TB, o Options, pubSub string) {
	t.Helper()
	var err error
	if f.events, err = topic.Open(t.Context(), topic.Config{Project: f.Project, EmulatorHost: pubSub}, clock.Real()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.events.Close(); err != nil {
			t.Error(err)
		}
	})
	f.env = map[string]string{
		"SEALPOST_ENV": "dev", "GCP_PROJECT_ID": f.Project,
		"FIRESTORE_DATABASE_STATE": StateDatabase, "FIRESTORE_DATABASE_AUDIT": AuditDatabase,
		"FIRESTORE_EMULATOR_HOST": f.Firestore, "PUBSUB_EMULATOR_HOST": pubSub,
		"SECRET_MANAGER_ENDPOINT":  f.startSecretManager(t),
		"SEALPOST_FINGERPRINT_KEY": "projects/" + keys + "/secrets/fingerprint-key/versions/latest",
		"GITHUB_API_URL":           f.startGitHub(t, o), "GITHUB_TOKEN": hubToken, "SEALPOST_PACE": "off",
		"SEALPOST_AUDIENCE": Audience, "SEALPOST_ISSUERS": f.startIssuers(t),
	}
}

// startSecretManager returns its address. What it tells of its secrets goes to
// their topics.
func (f *Fleet) startSecretManager(t testing.TB) string {
	t.Helper()
	ours := "projects/" + f.Project + "/topics/" + event.SecretEvents
	var err error
	f.Secrets, err = secretmanagerd.New(secretmanagerd.Config{Topics: []string{ours}, Notify: func(e secretmanagerd.Event) {
		if !slices.Contains(e.Topics, ours) {
			return
		}
		// A version that a test adds is the test's doing, whatever context it has.
		if err := f.events.Publish(context.Background(), event.SecretEvents, event.Message{Attributes: e.Attributes, Data: e.Data}); err != nil {
			t.Errorf("a notification of Secret Manager: %v", err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Secrets.SetSecret(keys, "fingerprint-key", secret.NewValue(strings.Repeat("key!", 8)), nil); err != nil {
		t.Fatal(err)
	}
	endpoint, err := f.Secrets.Listen(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(endpoint.Close)
	return endpoint.Address
}

// startGitHub returns its URL.
func (f *Fleet) startGitHub(t testing.TB, o Options) string {
	t.Helper()
	var err error
	f.GitHub, err = githubd.New(githubd.Config{
		Settings: githubd.Settings{Latency: githubd.Duration(o.Latency)},
		World: githubd.World{
			Users:  []githubd.User{{Login: "bot"}},
			Tokens: []githubd.Token{{Token: hubToken, Login: "bot"}}, Repositories: o.Repositories,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	hub := httptest.NewServer(f.GitHub)
	t.Cleanup(func() {
		hub.Close()
		if err := f.GitHub.Close(); err != nil {
			t.Error(err)
		}
	})
	var ids []string
	for _, r := range o.Repositories {
		ids = append(ids, fmt.Sprint(r.ID))
	}
	f.consent = map[string]string{"sealpost-repositories": strings.Join(ids, ",")}
	return hub.URL
}

// startIssuers serves the local issuer, and one whose tokens can be made wrong
// in every way, and returns the setting that names both.
func (f *Fleet) startIssuers(t testing.TB) string {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	var err error
	if f.Issuer, err = issuer.New(server.URL+"/issuer", "", clock.Real()); err != nil {
		t.Fatal(err)
	}
	mux.Handle("/issuer/", f.Issuer.Handler())

	f.Forger = authtest.NewProvider(t, auth.Issuer{URL: server.URL + "/forger", Audience: Audience, Kind: auth.Local})
	mux.HandleFunc("/forger/", func(w http.ResponseWriter, r *http.Request) {
		answer, err := f.Forger.RoundTrip(httptest.NewRequestWithContext(r.Context(), http.MethodGet, server.URL+r.URL.Path, nil))
		if err != nil {
			t.Error(err)
			return
		}
		defer answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body) // the caller may be gone
	})
	setting, err := json.Marshal([]map[string]string{{"issuer": f.Issuer.URL(), "kind": "local"}, {"issuer": f.Forger.Issuer.URL, "kind": "local"}})
	if err != nil {
		t.Fatal(err)
	}
	return string(setting)
}

// AddVersion gives a source its next version, and makes the source if it is not
// there, with consent to every repository of the fleet.
func (f *Fleet) AddVersion(t testing.TB, id, value string) {
	t.Helper()
	if _, err := f.Secrets.SetSecret(Values, id, secret.NewValue(value), f.consent); err != nil {
		t.Fatal(err)
	}
}
