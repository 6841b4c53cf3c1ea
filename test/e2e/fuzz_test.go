package e2e

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// fuzzer is a local server that takes any body.
type fuzzer struct {
	server *local.Server
	token  string
}

func startFuzzer(f *testing.F) *fuzzer {
	f.Helper()
	server, err := local.Start(f.Context(), local.Options{
		StateDir: f.TempDir(), Address: "127.0.0.1:0", Clock: clock.Real(), GitHub: ghapi.Config{Mode: pace.Off},
		Log: telemetry.NewLogger(io.Discard, telemetry.Options{Level: slog.LevelDebug}),
		World: githubd.World{
			Users:        []githubd.User{{Login: "bot"}},
			Tokens:       []githubd.Token{{Token: local.EmbeddedToken, Login: "bot"}},
			Repositories: []githubd.Repository{{ID: repositoryID, Owner: "acme", Name: "payments", Environments: []string{"production"}}},
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := server.Close(); err != nil {
			f.Error(err)
		}
	})
	for _, id := range []string{"db", "stripe", "db-prod"} {
		if _, err := server.Secrets.SetSecret(source, id, secret.NewValue("value of "+id), map[string]string{"sealpost-repositories": "5001"}); err != nil {
			f.Fatal(err)
		}
	}
	server.GitHub.SetSettings(githubd.Settings{}) // no rate limits: a fuzzer soon has made 5,000 requests
	// Google's pace for metadata reads would be the fuzzer's.
	endpoint := server.Secrets.ListenInMemory()
	f.Cleanup(endpoint.Close)
	client, err := gsm.Open(f.Context(), gsm.Config{Endpoint: endpoint.Address, Insecure: true, Dial: endpoint.Dial, Clock: clock.Scaled(1000)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = client.Close() }) // with the endpoint, all is closed
	server.Engine.Sources = client
	token, err := server.Token("alice", auth.Grants{auth.AllProjects: {catalogue.Operator}}, 12*time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	return &fuzzer{server: server, token: token}
}

// send reports a failure of ours: whatever the body is, the caller's mistake is
// a 4xx.
func (z *fuzzer) send(t *testing.T, method, path string, body []byte) (status int, location string) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, z.server.URL+path, strings.NewReader(string(body)))
	request.RequestURI = ""
	request.Header.Set("Authorization", "Bearer "+z.token)
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode >= 500 {
		t.Errorf("%s %s: status %d: %s\n%q", method, path, answer.StatusCode, text, body)
	}
	return answer.StatusCode, answer.Header.Get("Location")
}

func FuzzSyncBody(f *testing.F) {
	z := startFuzzer(f)
	for _, seed := range []string{
		`{"projectId":"payments-api","dryRun":true}`, `{"projectId":"payments-api"}`, `{"projectId":"no-such"}`, `{}`, `[]`, `null`, `{"projectId":null}`,
		`{"projectId":"payments-api","secrets":["DATABASE_URL","stripe_key"],"scopes":["actions","environment:production"],"force":true,"dryRun":true}`,
		`{"projectId":"payments-api","secrets":["1"],"scopes":["environment:","cloudflare:x","org-actions"]}`,
		`{"projectId":"payments-api","prune":true,"maxDeletions":3,"dryRun":true}`, `{"projectId":"payments-api","maxDeletions":-1}`, `{"projectId":"payments-api","maxDeletions":1e99}`,
		`{"projectId":"payments-api","projectId":"x"}`, `{"projectId":"payments-api","secrets":[[[[]]]]}`, "{\"projectId\":\"\xff\"}", `{"projectId":"\ud800"}`, `{"projectId":"..","dryRun":true}`, `{"projectId":"*"}`,
	} {
		f.Add([]byte(seed))
	}
	registered := false
	f.Fuzz(func(t *testing.T, body []byte) {
		if !registered {
			z.send(t, "POST", "/projects", []byte(payments))
			registered = true
		}
		z.send(t, "POST", "/github/secrets/sync", body)
	})
}

func FuzzProjectBody(f *testing.F) {
	z := startFuzzer(f)
	for _, seed := range []string{
		payments, `{}`, `[]`, `{"project":"payments-api"}`,
		strings.Replace(payments, `"scopes":["actions"]`, `"scopes":["org-actions"],"visibility":"selected","repositories":["payments"]`, 1),
		strings.Replace(payments, `"environments":{`, `"environments":{"dev":{"linkedResources":{"neonBranchId":"br-1","cloudflareWorkerName":"w"},"protection":{"reviewers":["user:alice","team:x"],"waitMinutes":5,"branches":["main"]}},`, 1),
		strings.Replace(payments, `"exclude":["LEGACY_*"]`, `"exclude":["[","**","?"]`, 1), strings.Replace(payments, "payments-api", "../x", 1), strings.Replace(payments, `"acme"`, `"a/b%2f"`, 1),
		strings.Replace(payments, `"DATABASE_URL"`, `"GITHUB_X"`, 1), strings.Replace(payments, `"db"`, `"projects/x/secrets/y"`, 1), strings.Replace(payments, `"production"`, `"prod\u0000/.."`, 1),
		`{"project":"p","secrets":` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `}`, `{"project":"p","github":{"owner":"acme","repo":"payments"},"source":{"gcpProject":"x"},"secrets":[{"name":"A","from":"b","from":"c"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		z.send(t, "PUT", "/projects/payments-api", body)
		status, location := z.send(t, "POST", "/projects", body)
		if status == http.StatusCreated { // what was taken can be read and planned, and makes room again
			id := strings.TrimPrefix(location, "/projects/")
			z.send(t, "GET", location, nil)
			z.send(t, "PUT", location, body)
			z.send(t, "POST", "/github/secrets/sync", []byte(`{"dryRun":true,"projectId":"`+id+`"}`))
			z.send(t, "GET", "/github/secrets/sync/status?projectId="+id, nil)
			z.send(t, "DELETE", location, nil)
		}
	})
}
