package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/auth/authtest"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/embedded/issuer"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/firedoc"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/test/contract"
	"github.com/sealpost/sealpost/test/emulator"
	"github.com/sealpost/sealpost/test/program"
)

func TestMain(m *testing.M) { emulator.Run(m) }

const (
	stateDatabase = "state-of-test"
	auditDatabase = "audit-of-test"
	audience      = "https://sealpost.acme.example"
	hubToken      = "token-of-the-cloud-test"
	values        = "acme-values"
)

// cloud is the system as it is deployed: each function a process of its own,
// built from its zip, over Firestore's emulator, Secret Manager, GitHub and an
// issuer of tokens that are reached over loopback.
type cloud struct {
	t        *testing.T
	project  string
	emulator string
	secrets  *secretmanagerd.Server
	gitHub   *githubd.Server
	issuer   *issuer.Issuer
	forger   *authtest.Provider // another issuer, which the functions trust as well
	url      string             // where a load balancer would be
	at       map[string]string  // address of each function
	programs map[string]*program.Process
}

func startCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{t: t, project: emulator.Project(), emulator: emulator.Firestore.Host(t), at: map[string]string{}, programs: map[string]*program.Process{}}
	binaries := buildFunctions(t)
	env := c.startUpstreams()
	for _, row := range catalogue.Functions() {
		own := []string{}
		for _, s := range config.Settings() {
			if text, ok := env[s.Name]; ok && slices.Contains(s.Readers, row.Name) {
				own = append(own, s.Name+"="+text)
			}
		}
		c.at[row.Name], c.programs[row.Name] = program.StartFunction(t, binaries[row.Name], row, own...)
	}
	balancer := httptest.NewServer(contract.New(t).Handler(t, c.routes()))
	t.Cleanup(balancer.Close)
	c.url = balancer.URL
	t.Cleanup(func() {
		if t.Failed() {
			for name, p := range c.programs {
				t.Logf("the end of what %s printed:\n%s", name, tail(p.Stdout.String()+p.Stderr.String()))
			}
		}
	})
	return c
}

func tail(text string) string {
	const most = 3000
	return text[max(0, len(text)-most):]
}

// buildFunctions makes every function's zip and, at once, the programs of them.
func buildFunctions(t *testing.T) map[string]string {
	t.Helper()
	dist := t.TempDir()
	program.Go(t, program.Root(t), "run", "./scripts/package", "-out", dist)
	var mu sync.Mutex
	var group sync.WaitGroup
	binaries := map[string]string{}
	for _, row := range catalogue.Functions() {
		group.Go(func() {
			archive, err := zip.OpenReader(filepath.Join(dist, row.Name+".zip"))
			if err != nil {
				t.Error(err)
				return
			}
			defer archive.Close()
			binary := program.BuildFunction(t, &archive.Reader)
			mu.Lock()
			defer mu.Unlock()
			binaries[row.Name] = binary
		})
	}
	group.Wait()
	if len(binaries) != len(catalogue.Functions()) {
		t.FailNow()
	}
	return binaries
}

// startUpstreams starts what is outside of Sealpost, and returns the settings
// by which it is found.
func (c *cloud) startUpstreams() map[string]string {
	t := c.t
	t.Helper()
	var err error
	if c.secrets, err = secretmanagerd.New(secretmanagerd.Config{}); err != nil {
		t.Fatal(err)
	}
	endpoint, err := c.secrets.Listen(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(endpoint.Close)
	if _, err := c.secrets.SetSecret("acme-sealpost", "fingerprint-key", secret.NewValue(strings.Repeat("key!", 8)), nil); err != nil {
		t.Fatal(err)
	}
	c.gitHub, err = githubd.New(githubd.Config{World: githubd.World{
		Users:        []githubd.User{{Login: "bot"}},
		Tokens:       []githubd.Token{{Token: hubToken, Login: "bot"}},
		Repositories: []githubd.Repository{{ID: repositoryID, Owner: "acme", Name: "payments", Environments: []string{"production"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	hub := httptest.NewServer(c.gitHub)
	t.Cleanup(func() {
		hub.Close()
		if err := c.gitHub.Close(); err != nil {
			t.Error(err)
		}
	})
	return map[string]string{
		"SEALPOST_ENV": "dev", "GCP_PROJECT_ID": c.project,
		"FIRESTORE_DATABASE_STATE": stateDatabase, "FIRESTORE_DATABASE_AUDIT": auditDatabase, "FIRESTORE_EMULATOR_HOST": c.emulator,
		"SECRET_MANAGER_ENDPOINT": endpoint.Address, "SEALPOST_FINGERPRINT_KEY": "projects/acme-sealpost/secrets/fingerprint-key/versions/latest",
		"GITHUB_API_URL": hub.URL, "GITHUB_TOKEN": hubToken, "SEALPOST_PACE": "off",
		"SEALPOST_AUDIENCE": audience, "SEALPOST_ISSUERS": c.startIssuers(),
	}
}

// startIssuers serves the local issuer, and one whose tokens can be made wrong
// in every way, and returns the setting that names both.
func (c *cloud) startIssuers() string {
	t := c.t
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	var err error
	if c.issuer, err = issuer.New(server.URL+"/issuer", "", clock.Real()); err != nil {
		t.Fatal(err)
	}
	mux.Handle("/issuer/", c.issuer.Handler())

	c.forger = authtest.NewProvider(t, auth.Issuer{URL: server.URL + "/forger", Audience: audience, Kind: auth.Local})
	mux.HandleFunc("/forger/", func(w http.ResponseWriter, r *http.Request) {
		answer, err := c.forger.RoundTrip(httptest.NewRequestWithContext(r.Context(), http.MethodGet, server.URL+r.URL.Path, nil))
		if err != nil {
			t.Error(err)
			return
		}
		defer answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	})
	setting, err := json.Marshal([]map[string]string{{"issuer": c.issuer.URL(), "kind": "local"}, {"issuer": c.forger.Issuer.URL, "kind": "local"}})
	if err != nil {
		t.Fatal(err)
	}
	return string(setting)
}

// routes sends each request to the function that the catalogue names.
func (c *cloud) routes() http.Handler {
	mux := http.NewServeMux()
	for _, row := range catalogue.Functions() {
		target, err := url.Parse(c.at[row.Name])
		if err != nil {
			c.t.Fatal(err)
		}
		for _, route := range row.Routes {
			mux.Handle(route.Method+" "+route.Path, httputil.NewSingleHostReverseProxy(target))
		}
	}
	return mux
}

func (c *cloud) call(method, path, body string) answer {
	c.t.Helper()
	token, err := c.issuer.Mint("alice", audience, auth.Grants{auth.AllProjects: {catalogue.Operator}}, time.Hour)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.callWith(c.url, http.Header{"Authorization": {"Bearer " + token}}, method, path, body)
}

func (c *cloud) callWith(base string, header http.Header, method, path, body string) answer {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header = header.Clone()
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{status: response.StatusCode, header: response.Header, body: content}
}

func (c *cloud) want(a answer, status int, parts ...string) {
	c.t.Helper()
	for _, part := range parts {
		if !bytes.Contains(a.body, []byte(part)) {
			c.t.Errorf("no %s in %s", part, a.body)
		}
	}
	if a.status != status {
		c.t.Errorf("status %d, want %d: %s", a.status, status, a.body)
	}
}

// TestDeployedFunctions builds and starts the functions once: its parts run one
// after another.
func TestDeployedFunctions(t *testing.T) {
	t.Parallel()
	c := startCloud(t)
	t.Run("tokens that are none", func(t *testing.T) { c.refusesTokens(t) })         //nolint:paralleltest // shares the processes
	t.Run("register, sync, status, audit", func(t *testing.T) { c.goesWholeWay(t) }) //nolint:paralleltest // shares the processes
}

// goesWholeWay registers a project, syncs it twice and looks at everything.
func (c *cloud) goesWholeWay(t *testing.T) {
	c.t = t
	const manifest = `{"project":"payments-api","github":{"owner":"acme","repo":"payments"},"source":{"gcpProject":"` + values + `"},
		"secrets":[{"name":"DATABASE_URL","from":"db"},{"name":"STRIPE_KEY","from":"stripe","scopes":["actions"]}],
		"environments":{"production":{"secrets":[{"name":"DATABASE_URL","from":"db-prod"}]}}}`
	texts := map[string]string{"db": "postgres://db\nsecond line", "stripe": "sk_live_of_test", "db-prod": strings.Repeat("p", secret.MaxValueBytes)}
	for id, text := range texts {
		if _, err := c.secrets.SetSecret(values, id, secret.NewValue(text), map[string]string{"sealpost-repositories": fmt.Sprint(repositoryID)}); err != nil {
			t.Fatal(err)
		}
	}
	c.want(c.call("GET", "/readyz", ""), http.StatusOK, `"status":"ready"`)
	c.want(c.call("POST", "/projects", manifest), http.StatusCreated, `"id":5001`)
	c.want(c.call("POST", "/github/secrets/sync", `{"projectId":"payments-api","dryRun":true}`), http.StatusOK, `"created":5`, `"dryRun":true`)
	if n := c.gitHub.Counts().Writes(); n != 0 {
		t.Errorf("the dry run made %d writes", n)
	}
	c.want(c.call("POST", "/github/secrets/sync", `{"projectId":"payments-api"}`), http.StatusOK, `"created":5`, `"status":"succeeded"`)
	for target, id := range map[githubd.Target]string{
		{Container: "acme/payments", Scope: secret.Actions, Name: "DATABASE_URL"}:                        "db",
		{Container: "acme/payments", Scope: secret.Codespaces, Name: "DATABASE_URL"}:                     "db",
		{Container: "acme/payments", Scope: secret.Dependabot, Name: "DATABASE_URL"}:                     "db",
		{Container: "acme/payments", Scope: secret.Actions, Name: "STRIPE_KEY"}:                          "stripe",
		{Container: "acme/payments", Scope: secret.EnvironmentScope("production"), Name: "DATABASE_URL"}: "db-prod",
	} {
		if got, ok := c.gitHub.Value(target); !ok || got != texts[id] {
			t.Errorf("%v: GitHub has %d bytes (%t), not the value of %s", target, len(got), ok, id)
		}
	}
	c.want(c.call("GET", "/github/secrets/sync/status?projectId=payments-api", ""), http.StatusOK, `"synced":5`, `"status":"succeeded"`)
	c.want(c.call("GET", "/github/audit?projectId=payments-api&operation=secret.create", ""), http.StatusOK, `"actor":"local:alice"`, `"scope":"environment:production"`)
	writes := c.gitHub.Counts().Writes()
	c.want(c.call("POST", "/github/secrets/sync", `{"projectId":"payments-api"}`), http.StatusOK, `"status":"unchanged"`, `"unchanged":5`)
	if again := c.gitHub.Counts().Writes(); writes != 5 || again != writes {
		t.Errorf("%d writes in the first sync and %d after the second", writes, again)
	}
	c.keepsApart(t)
}

// keepsApart looks for each kind of document in the database where it belongs,
// and wants none in the other or in the default one.
func (c *cloud) keepsApart(t *testing.T) {
	t.Helper()
	for _, collection := range []struct{ name, database string }{
		{"projects", stateDatabase}, {"sync_ledgers", stateDatabase}, {"secret_sync_events", auditDatabase},
	} {
		for _, database := range []string{stateDatabase, auditDatabase, "(default)"} {
			found := c.count(t, database, collection.name)
			if (found > 0) != (database == collection.database) {
				t.Errorf("%d documents of %s in the database %s", found, collection.name, database)
			}
		}
	}
}

func (c *cloud) count(t *testing.T, database, collection string) int {
	t.Helper()
	store, err := firedoc.Open(t.Context(), firedoc.Config{Project: c.project, Database: database, EmulatorHost: c.emulator}, clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	page, err := store.List(t.Context(), docstore.Query{Collection: collection, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Docs)
}

// refusesTokens shows every bad credential to every route of every function
// that asks for a role.
func (c *cloud) refusesTokens(t *testing.T) {
	c.t = t
	now := time.Now()
	good := http.Header{"Authorization": {"Bearer " + c.forger.Sign(c.forger.Claims(now, nil))}}
	refused := authtest.Refused(t, c.forger, now)
	// Whom the issuer trusts for another audience is not trusted here.
	other, err := c.issuer.Mint("alice", "https://other.acme.example", auth.Grants{auth.AllProjects: {catalogue.Operator}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	refused = append(refused, authtest.Case{Name: "local issuer, another audience", Header: http.Header{"Authorization": {"Bearer " + other}}, Code: fault.AuthInvalid})
	tried := 0
	for _, row := range catalogue.Functions() {
		for _, route := range row.Routes {
			if route.Role == catalogue.Anyone {
				continue
			}
			path := strings.ReplaceAll(route.Path, "{id}", "payments-api")
			if a := c.callWith(c.at[row.Name], good, route.Method, path, ""); a.status == http.StatusUnauthorized {
				t.Fatalf("%s %s: a good token is refused, so the others prove nothing: %s", route.Method, path, a.body)
			}
			for _, bad := range refused {
				if strings.ContainsAny(strings.Join(bad.Header["Authorization"], ""), "\r\n") {
					continue // no client sends it
				}
				tried++
				a := c.callWith(c.at[row.Name], bad.Header, route.Method, path, "")
				if a.status != http.StatusUnauthorized || a.code() != string(bad.Code) {
					t.Errorf("%s %s, %s: status %d code %q, want 401 %s", route.Method, path, bad.Name, a.status, a.code(), bad.Code)
				}
			}
		}
		// A route that is not in the table, even with a good token.
		if a := c.callWith(c.at[row.Name], good, http.MethodGet, "/admin", ""); a.status != http.StatusForbidden || a.code() != string(fault.AuthUnrouted) {
			t.Errorf("%s: GET /admin: status %d: %s", row.Name, a.status, a.body)
		}
	}
	if tried < 200 {
		t.Errorf("only %d credentials were tried", tried)
	}
}
