package contract

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/idempotency"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/secret"
)

// TestKeyPatternAndParserAgree on what an Idempotency-Key is.
func TestKeyPatternAndParserAgree(t *testing.T) {
	t.Parallel()
	parameter, ok := New(t).model.Components.Parameters.Get("IdempotencyKey")
	if !ok {
		t.Fatal("openapi.yaml has no parameter IdempotencyKey")
	}
	pattern := regexp.MustCompile(parameter.Schema.Schema().Pattern)
	fields := []string{"", `""`, `"a`, `a"`, `"a"b`, `"a";p`, `"\"\\"`, `"\a"`, `"\"`, "8e03978e-40d5-43e8-bc93-6894a57f9324"}
	for c := range 256 {
		fields = append(fields, string([]byte{byte(c)}), string([]byte{'"', byte(c), '"'}))
	}
	for _, n := range []int{255, 256} {
		fields = append(fields, strings.Repeat("k", n), `"`+strings.Repeat("k", n)+`"`, `"`+strings.Repeat(`\"`, n)+`"`)
	}
	for _, field := range fields {
		if _, err := idempotency.ParseKey(field); (err == nil) != pattern.MatchString(field) {
			t.Errorf("%q: pattern %t, parser %v", field, pattern.MatchString(field), err)
		}
	}
}

// TestRepeats sends each mutating POST twice to the whole system.
func TestRepeats(t *testing.T) {
	t.Parallel()
	server, err := local.Start(t.Context(), local.Options{
		StateDir: t.TempDir(), Address: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Clock: clock.Real(), GitHub: ghapi.Config{Mode: pace.Off},
		World: githubd.World{
			Users: []githubd.User{{Login: "bot"}}, Tokens: []githubd.Token{{Token: local.EmbeddedToken, Login: "bot"}},
			Repositories: []githubd.Repository{{ID: 5001, Owner: "acme", Name: "payments"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := server.Secrets.SetSecret("acme-secrets-test", "db-url", secret.NewValue("value"), map[string]string{"sealpost-repositories": "5001"}); err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(New(t).Handler(t, httputil.NewSingleHostReverseProxy(target)))
	t.Cleanup(proxy.Close)

	post := func(role catalogue.Role, path, key, body string) (int, http.Header, []byte) {
		t.Helper()
		token, err := server.Token("alice", auth.Grants{"payments": {role}}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, proxy.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Idempotency-Key": {key}}
		answer, err := proxy.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header, text
	}
	events := func() int {
		t.Helper()
		found, _, err := audit.NewStore(server.Store, 0).Find(t.Context(), audit.Query{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	const (
		registration = `{"project":"payments","github":{"owner":"acme","repo":"payments"},"source":{"gcpProject":"acme-secrets-test"},"secrets":[{"name":"DB_URL","from":"db-url","scopes":["actions"]}]}`
		plan         = `{"projectId":"payments","dryRun":true}`
		run          = `{"projectId":"payments"}`
	)
	for i, c := range []struct {
		path, body string
		role, less catalogue.Role
		status     int
	}{
		{"/github/secrets/sync", run, catalogue.Syncer, catalogue.Viewer, 404},
		{"/projects", registration, catalogue.Operator, catalogue.Syncer, 201},
		{"/projects", registration, catalogue.Operator, catalogue.Syncer, 409},
		{"/github/secrets/sync", plan, catalogue.Syncer, catalogue.Viewer, 200},
		{"/github/secrets/sync", run, catalogue.Syncer, catalogue.Viewer, 200},
	} {
		key := fmt.Sprintf(`"key-%d"`, i)
		status, header, first := post(c.role, c.path, key, c.body)
		if status != c.status || header.Get("Idempotent-Replayed") != "" {
			t.Fatalf("POST %s %s = %d %s", c.path, c.body, status, first)
		}
		before := events()
		status, again, text := post(c.role, c.path, key, c.body)
		if status != c.status || again.Get("Idempotent-Replayed") != "true" || !bytes.Equal(text, first) || again.Get("Location") != header.Get("Location") {
			t.Errorf("repeated POST %s %s = %d %v %s, first %s", c.path, c.body, status, again, text, first)
		}
		if status, _, text := post(c.less, c.path, key, c.body); status != 403 {
			t.Errorf("repeated POST %s by a %s = %d %s", c.path, c.less, status, text)
		}
		if status, _, text := post(c.role, c.path, key, c.body+" "); status != 422 || !bytes.Contains(text, []byte("REQUEST_IDEMPOTENCY_KEY_REUSED")) {
			t.Errorf("POST %s with another body = %d %s", c.path, status, text)
		}
		if status, _, text := post(c.role, c.path, `"`, c.body); status != 400 || !bytes.Contains(text, []byte("REQUEST_IDEMPOTENCY_KEY_INVALID")) {
			t.Errorf("POST %s with a broken key = %d %s", c.path, status, text)
		}
		if after := events(); after != before {
			t.Errorf("POST %s %s: repeats made %d audit events", c.path, c.body, after-before)
		}
	}
}
