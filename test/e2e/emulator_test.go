package e2e

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/auth/authtest"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/firedoc"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/test/emulator"
	"github.com/sealpost/sealpost/test/fleet"
)

func TestMain(m *testing.M) { emulator.Run(m) }

// cloud is the system as it is deployed: see package fleet.
type cloud struct {
	*fleet.Fleet
	t *testing.T
}

func (c *cloud) call(method, path, body string) answer {
	c.t.Helper()
	return answerOf(c.Call(c.t, method, path, body))
}

func (c *cloud) callWith(base string, header http.Header, method, path, body string) answer {
	c.t.Helper()
	return answerOf(c.Send(c.t, base, header, method, path, body))
}

func answerOf(a fleet.Answer) answer { return answer{status: a.Status, header: a.Header, body: a.Body} }

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
	c := &cloud{t: t, Fleet: fleet.Start(t, fleet.Options{Repositories: []githubd.Repository{{ID: repositoryID, Owner: "acme", Name: "payments", Environments: []string{"production"}}}})}
	t.Run("tokens that are none", func(t *testing.T) { c.refusesTokens(t) })         //nolint:paralleltest // shares the processes
	t.Run("register, sync, status, audit", func(t *testing.T) { c.goesWholeWay(t) }) //nolint:paralleltest // shares the processes
}

// goesWholeWay registers a project, syncs it twice and looks at everything.
func (c *cloud) goesWholeWay(t *testing.T) {
	c.t = t
	const manifest = `{"project":"payments-api","github":{"owner":"acme","repo":"payments"},"source":{"gcpProject":"` + fleet.Values + `"},
		"secrets":[{"name":"DATABASE_URL","from":"db"},{"name":"STRIPE_KEY","from":"stripe","scopes":["actions"]}],
		"environments":{"production":{"secrets":[{"name":"DATABASE_URL","from":"db-prod"}]}}}`
	texts := map[string]string{"db": "postgres://db\nsecond line", "stripe": "sk_live_of_test", "db-prod": strings.Repeat("p", secret.MaxValueBytes)}
	for id, text := range texts {
		c.AddVersion(t, id, text)
	}
	c.want(c.call("GET", "/readyz", ""), http.StatusOK, `"status":"ready"`)
	c.want(c.call("POST", "/projects", manifest), http.StatusCreated, `"id":5001`)
	c.want(c.call("POST", "/github/secrets/sync", `{"projectId":"payments-api","dryRun":true}`), http.StatusOK, `"created":5`, `"dryRun":true`)
	if n := c.GitHub.Counts().Writes(); n != 0 {
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
		if got, ok := c.GitHub.Value(target); !ok || got != texts[id] {
			t.Errorf("%v: GitHub has %d bytes (%t), not the value of %s", target, len(got), ok, id)
		}
	}
	c.want(c.call("GET", "/github/secrets/sync/status?projectId=payments-api", ""), http.StatusOK, `"synced":5`, `"status":"succeeded"`)
	c.want(c.call("GET", "/github/audit?projectId=payments-api&operation=secret.create", ""), http.StatusOK, `"actor":"local:alice"`, `"scope":"environment:production"`)
	writes := c.GitHub.Counts().Writes()
	c.want(c.call("POST", "/github/secrets/sync", `{"projectId":"payments-api"}`), http.StatusOK, `"status":"unchanged"`, `"unchanged":5`)
	if again := c.GitHub.Counts().Writes(); writes != 5 || again != writes {
		t.Errorf("%d writes in the first sync and %d after the second", writes, again)
	}
	c.keepsApart(t)
}

// keepsApart looks for each kind of document in the database where it belongs,
// and wants none in the other or in the default one.
func (c *cloud) keepsApart(t *testing.T) {
	t.Helper()
	for _, collection := range []struct{ name, database string }{
		{"projects", fleet.StateDatabase}, {"sync_ledgers", fleet.StateDatabase}, {"secret_sync_events", fleet.AuditDatabase},
	} {
		for _, database := range []string{fleet.StateDatabase, fleet.AuditDatabase, "(default)"} {
			found := c.count(t, database, collection.name)
			if (found > 0) != (database == collection.database) {
				t.Errorf("%d documents of %s in the database %s", found, collection.name, database)
			}
		}
	}
}

func (c *cloud) count(t *testing.T, database, collection string) int {
	t.Helper()
	store, err := firedoc.Open(t.Context(), firedoc.Config{Project: c.Project, Database: database, EmulatorHost: c.Firestore}, clock.Real())
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
	good := http.Header{"Authorization": {"Bearer " + c.Forger.Sign(c.Forger.Claims(now, nil))}}
	refused := authtest.Refused(t, c.Forger, now)
	// Whom the issuer trusts for another audience is not trusted here.
	other, err := c.Issuer.Mint("alice", "https://other.acme.example", auth.Grants{auth.AllProjects: {catalogue.Operator}}, time.Hour)
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
			if a := c.callWith(c.At(row.Name), good, route.Method, path, ""); a.status == http.StatusUnauthorized {
				t.Fatalf("%s %s: a good token is refused, so the others prove nothing: %s", route.Method, path, a.body)
			}
			for _, bad := range refused {
				if strings.ContainsAny(strings.Join(bad.Header["Authorization"], ""), "\r\n") {
					continue // no client sends it
				}
				tried++
				a := c.callWith(c.At(row.Name), bad.Header, route.Method, path, "")
				if a.status != http.StatusUnauthorized || a.code() != string(bad.Code) {
					t.Errorf("%s %s, %s: status %d code %q, want 401 %s", route.Method, path, bad.Name, a.status, a.code(), bad.Code)
				}
			}
		}
		// A route that is not in the table, even with a good token.
		if a := c.callWith(c.At(row.Name), good, http.MethodGet, "/admin", ""); a.status != http.StatusForbidden || a.code() != string(fault.AuthUnrouted) {
			t.Errorf("%s: GET /admin: status %d: %s", row.Name, a.status, a.body)
		}
	}
	if tried < 200 {
		t.Errorf("only %d credentials were tried", tried)
	}
}
