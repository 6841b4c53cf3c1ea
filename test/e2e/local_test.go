package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/telemetry"
	"github.com/sealpost/sealpost/test/contract"
)

const (
	repositoryID = 5001
	otherID      = 5002
	source       = "acme-secrets-test"
)

// system is a local server, reached through a proxy that holds every exchange
// against the API's description.
type system struct {
	t      *testing.T
	server *local.Server
	url    string
	log    *bytes.Buffer
	token  string
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func start(t *testing.T) *system {
	t.Helper()
	s := &system{t: t, log: new(bytes.Buffer)}
	log := telemetry.NewLogger(&lockedBuffer{b: s.log}, telemetry.Options{Level: slog.LevelDebug})
	server, err := local.Start(t.Context(), local.Options{
		StateDir: t.TempDir(), Address: "127.0.0.1:0", Log: log, Clock: clock.Real(), GitHub: ghapi.Config{Mode: pace.Off},
		World: githubd.World{
			Users:  []githubd.User{{Login: "bot"}},
			Tokens: []githubd.Token{{Token: local.EmbeddedToken, Login: "bot"}},
			Repositories: []githubd.Repository{
				{ID: repositoryID, Owner: "acme", Name: "payments", Environments: []string{"production"}},
				{ID: otherID, Owner: "acme", Name: "other"},
			},
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
	s.server = server
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(contract.New(t).Handler(t, httputil.NewSingleHostReverseProxy(target)))
	t.Cleanup(proxy.Close)
	s.url = proxy.URL
	s.token = s.mint(catalogue.Operator, auth.AllProjects)
	return s
}

func (s *system) mint(role catalogue.Role, project string) string {
	s.t.Helper()
	token, err := s.server.Token("alice", auth.Grants{project: {role}}, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func (s *system) seed(id, value string, repositories ...int64) {
	s.t.Helper()
	consent := map[string]string{}
	if len(repositories) > 0 {
		consent["sealpost-repositories"] = strings.Trim(strings.ReplaceAll(fmt.Sprint(repositories), " ", ","), "[]")
	}
	if _, err := s.server.Secrets.SetSecret(source, id, secret.NewValue(value), consent); err != nil {
		s.t.Fatal(err)
	}
}

// answer is what the server said.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) code() string {
	var problem struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(a.body, &problem)
	return problem.Code
}

func (s *system) call(method, path, body string) answer {
	s.t.Helper()
	return s.callAs(s.token, method, path, body)
}

func (s *system) callAs(token, method, path, body string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: content}
}

func (s *system) want(a answer, status int, code string) {
	s.t.Helper()
	if a.status != status || a.code() != code {
		s.t.Errorf("status %d code %q, want %d %q: %s", a.status, a.code(), status, code, a.body)
	}
}

const payments = `{"project":"payments-api","github":{"owner":"acme","repo":"payments"},"source":{"gcpProject":"` + source + `"},
	"secrets":[{"name":"DATABASE_URL","from":"db"},{"name":"STRIPE_KEY","from":"stripe","scopes":["actions"]}],
	"exclude":["LEGACY_*"],"environments":{"production":{"secrets":[{"name":"DATABASE_URL","from":"db-prod"}]}}}`

func (s *system) register() {
	s.t.Helper()
	s.seed("db", "postgres://db", repositoryID)
	s.seed("stripe", "sk_live", repositoryID)
	s.seed("db-prod", "postgres://prod", repositoryID)
	s.want(s.call("POST", "/projects", payments), http.StatusCreated, "")
}

func TestRegisterSyncStatusAudit(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register()

	dry := s.call("POST", "/github/secrets/sync", `{"projectId":"payments-api","dryRun":true}`)
	if s.want(dry, http.StatusOK, ""); !bytes.Contains(dry.body, []byte(`"created":5`)) {
		t.Errorf("dry run: %s", dry.body)
	}
	first := s.call("POST", "/github/secrets/sync", `{"projectId":"payments-api"}`)
	if s.want(first, http.StatusOK, ""); !bytes.Contains(first.body, []byte(`"status":"succeeded"`)) {
		t.Errorf("first sync: %s", first.body)
	}
	second := s.call("POST", "/github/secrets/sync", `{"projectId":"payments-api"}`)
	if s.want(second, http.StatusOK, ""); !bytes.Contains(second.body, []byte(`"status":"unchanged"`)) {
		t.Errorf("second sync: %s", second.body)
	}
	status := s.call("GET", "/github/secrets/sync/status?projectId=payments-api", "")
	if s.want(status, http.StatusOK, ""); !bytes.Contains(status.body, []byte(`"synced":5`)) {
		t.Errorf("status: %s", status.body)
	}
	for _, format := range []string{"json", "csv", "ndjson"} {
		log := s.call("GET", "/github/audit?projectId=payments-api&operation=secret.create&format="+format, "")
		if s.want(log, http.StatusOK, ""); bytes.Count(log.body, []byte("secret.create")) != 5 {
			t.Errorf("audit as %s: %s", format, log.body)
		}
		if registered := s.call("GET", "/github/audit?operation=project.register&format="+format, ""); bytes.Contains(registered.body, []byte(",0,,")) {
			t.Errorf("a version where there is none, as %s: %s", format, registered.body)
		}
	}
	page := s.call("GET", "/github/audit?limit=2", "")
	var listed struct {
		Events     []json.RawMessage `json:"events"`
		NextCursor string            `json:"nextCursor"`
	}
	if err := json.Unmarshal(page.body, &listed); err != nil || len(listed.Events) != 2 || listed.NextCursor == "" {
		t.Errorf("audit page: %s", page.body)
	}
	s.want(s.call("GET", "/github/audit?limit=2&cursor="+url.QueryEscape(listed.NextCursor), ""), http.StatusOK, "")
	s.want(s.call("GET", "/healthz", ""), http.StatusOK, "")
	s.want(s.call("GET", "/readyz", ""), http.StatusOK, "")
	s.want(s.call("DELETE", "/projects/payments-api", ""), http.StatusNoContent, "")
	s.want(s.call("GET", "/projects/payments-api", ""), http.StatusNotFound, "REQUEST_PROJECT_NOT_FOUND")
}

// Everything here is refused with a code of its own, and nothing is written.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register()
	s.seed("big", strings.Repeat("x", 49*1024), otherID)
	s.seed("closed", "value", repositoryID)
	one := func(name, from string) string {
		return `{"project":"other","github":{"owner":"acme","repo":"other"},"source":{"gcpProject":"` + source + `"},"secrets":[{"name":"` + name + `","from":"` + from + `","scopes":["actions"]}]}`
	}
	sync := func(body string) answer { return s.call("POST", "/github/secrets/sync", body) }
	for _, c := range []struct {
		name   string
		answer answer
		status int
		code   string
	}{
		{"malformed JSON", sync(`{"projectId":`), 400, "REQUEST_MALFORMED"},
		{"unknown field", sync(`{"projectId":"payments-api","dryrun":true}`), 400, "REQUEST_MALFORMED"},
		{"wrong type", sync(`{"projectId":"payments-api","force":"yes"}`), 400, "REQUEST_MALFORMED"},
		{"duplicate key", sync(`{"projectId":"payments-api","projectId":"other"}`), 400, "REQUEST_MALFORMED"},
		{"no project", sync(`{}`), 400, "REQUEST_MALFORMED"},
		{"10 MB body", sync(`{"projectId":"` + strings.Repeat("x", 10<<20) + `"}`), 413, "REQUEST_TOO_LARGE"},
		{"unknown project", sync(`{"projectId":"no-such"}`), 404, "REQUEST_PROJECT_NOT_FOUND"},
		{"unknown scope", sync(`{"projectId":"payments-api","scopes":["action"]}`), 422, "GITHUB_SECRETS_SCOPE_INVALID"},
		{"scope of no mapping", sync(`{"projectId":"payments-api","scopes":["org-actions"]}`), 422, "GITHUB_SECRETS_SCOPE_INVALID"},
		{"bad name", sync(`{"projectId":"payments-api","secrets":["1ST"]}`), 422, "GITHUB_SECRETS_NAME_INVALID"},
		{"unknown secret", sync(`{"projectId":"payments-api","secrets":["NO_SUCH"]}`), 404, "REQUEST_NOT_FOUND"},
		{"bad manifest", s.call("POST", "/projects", `{"project":"x","secrets":[{"name":"1"}]}`), 422, "REQUEST_MANIFEST_INVALID"},
		{"manifest of another project", s.call("PUT", "/projects/other", payments), 422, "REQUEST_MANIFEST_INVALID"},
		{"project twice", s.call("POST", "/projects", payments), 409, "REQUEST_PROJECT_EXISTS"},
		{"repository of another project", s.call("POST", "/projects", strings.Replace(payments, "payments-api", "thief", 1)), 409, "GITHUB_SECRETS_CONTAINER_OWNED"},
		{"unknown repository", s.call("POST", "/projects", strings.Replace(one("A", "db"), `"repo":"other"`, `"repo":"nowhere"`, 1)), 422, "GITHUB_SECRETS_TARGET_NOT_FOUND"},
		{"unknown parameter", s.call("GET", "/github/audit?project=x", ""), 400, "REQUEST_MALFORMED"},
		{"empty list of secrets", sync(`{"projectId":"payments-api","secrets":[]}`), 400, "REQUEST_MALFORMED"},
		{"empty list of scopes", sync(`{"projectId":"payments-api","scopes":[]}`), 400, "REQUEST_MALFORMED"},
		{"scope that is not served", s.call("PUT", "/projects/payments-api", strings.Replace(payments, `"scopes":["actions"]`, `"scopes":["cloudflare:worker"]`, 1)), 422, "REQUEST_MANIFEST_INVALID"},
		{"body of a hundred thousand lists", sync(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)), 400, "REQUEST_MALFORMED"},
		{"unknown operation", s.call("GET", "/github/audit?operation=bogus", ""), 400, "REQUEST_MALFORMED"},
		{"empty operation", s.call("GET", "/github/audit?operation=", ""), 400, "REQUEST_MALFORMED"},
		{"empty actor", s.call("GET", "/github/audit?actor=", ""), 400, "REQUEST_MALFORMED"},
		{"audit that ends before it begins", s.call("GET", "/github/audit?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", ""), 400, "REQUEST_MALFORMED"},
		{"route of nobody", s.call("GET", "/github/secrets", ""), 403, "AUTH_ROUTE_UNKNOWN"},
		{"wrong method", s.call("DELETE", "/github/audit", ""), 405, "REQUEST_METHOD_NOT_ALLOWED"},
	} {
		if c.answer.status != c.status || c.answer.code() != c.code {
			t.Errorf("%s: status %d code %q, want %d %q: %.300s", c.name, c.answer.status, c.answer.code(), c.status, c.code, c.answer.body)
		}
	}
	if lost := s.call("GET", "/no/such/path", ""); bytes.Contains(lost.body, []byte("health")) {
		t.Errorf("an unknown path is told of as another function's: %s", lost.body)
	}
	for id, want := range map[string]struct {
		status int
		code   string
	}{
		"big":     {413, "GITHUB_SECRETS_VALUE_TOO_LARGE"},
		"closed":  {403, "GITHUB_SECRETS_SOURCE_NOT_PERMITTED"},
		"missing": {422, "GITHUB_SECRETS_SOURCE_MISSING"},
	} {
		s.want(s.call("POST", "/projects", one("A", id)), http.StatusCreated, "")
		s.want(s.call("POST", "/github/secrets/sync", `{"projectId":"other"}`), want.status, want.code)
		s.want(s.call("DELETE", "/projects/other", ""), http.StatusNoContent, "")
	}
	if n := s.server.GitHub.Counts().Writes(); n != 0 {
		t.Errorf("%d secrets were written", n)
	}
}

// A role for one project opens nothing of another, and nobody learns whether
// the other exists.
func TestRolesAreForOneProject(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register()
	viewer := s.mint(catalogue.Viewer, "payments-api")
	stranger := s.mint(catalogue.Operator, "other")
	for _, c := range []struct {
		name, token, method, path, body string
		status                          int
	}{
		{"viewer looks", viewer, "GET", "/projects/payments-api", "", 200},
		{"viewer syncs", viewer, "POST", "/github/secrets/sync", `{"projectId":"payments-api"}`, 403},
		{"viewer sees the audit of all", viewer, "GET", "/github/audit", "", 403},
		{"viewer sees the project's audit", viewer, "GET", "/github/audit?projectId=payments-api", "", 200},
		{"stranger looks", stranger, "GET", "/projects/payments-api", "", 403},
		{"stranger looks for what is not there", stranger, "GET", "/projects/no-such", "", 403},
		{"stranger syncs", stranger, "POST", "/github/secrets/sync", `{"projectId":"payments-api"}`, 403},
		{"stranger replaces", stranger, "PUT", "/projects/payments-api", payments, 403},
		{"stranger claims the organisation", stranger, "POST", "/projects", `{"project":"other","github":{"owner":"acme","repo":"other"},"source":{"gcpProject":"` + source + `"},"secrets":[{"name":"A","from":"db","scopes":["org-actions"],"visibility":"all"}]}`, 403},
		{"nobody", "not-a-token", "GET", "/projects/payments-api", "", 401},
	} {
		if a := s.callAs(c.token, c.method, c.path, c.body); a.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, a.status, c.status, a.body)
		}
	}
}
