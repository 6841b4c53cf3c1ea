package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// await looks again and again until it is done.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	limit := time.After(time.Minute)
	for !done() {
		select {
		case <-again.C:
		case <-limit:
			t.Fatalf("still waiting: %s", what)
		}
	}
}

func (s *system) status(projectID string) (r syncer.Report) {
	s.t.Helper()
	a := s.call("GET", "/github/secrets/sync/status?projectId="+projectID, "")
	if err := json.Unmarshal(a.body, &r); err != nil || a.status != http.StatusOK {
		s.t.Fatalf("status %d: %s", a.status, a.body)
	}
	return r
}

// has reports whether GitHub has the value in the scopes.
func (s *system) has(name secret.Name, value string, scopes ...secret.Scope) bool {
	return !slices.ContainsFunc(scopes, func(scope secret.Scope) bool {
		got, ok := s.server.GitHub.Value(githubd.Target{Container: "acme/payments", Scope: scope, Name: string(name)})
		return !ok || got != value
	})
}

// A new version at the source reaches every copy by itself, and no other.
func TestNewVersionIsSyncedByItself(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register()
	s.want(s.call("POST", "/github/secrets/sync", `{"projectId":"payments-api"}`), http.StatusOK, "")
	writes := s.server.GitHub.Counts().Writes()
	for _, value := range []string{"postgres://second", "postgres://third"} {
		s.seed("db", value, repositoryID)
		await(t, "the new version in three scopes", func() bool {
			return s.has("DATABASE_URL", value, secret.Actions, secret.Codespaces, secret.Dependabot)
		})
	}
	if !s.has("DATABASE_URL", "postgres://prod", secret.EnvironmentScope("production")) || !s.has("STRIPE_KEY", "sk_live", secret.Actions) {
		t.Error("another secret has another value")
	}
	await(t, "the end of the last sync", func() bool { r := s.status("payments-api"); return r.State == "idle" && r.Counts.Synced == 5 })
	if n := s.server.GitHub.Counts().Writes() - writes; n != 6 {
		t.Errorf("%d writes for two versions in three scopes, want 6", n)
	}
}

// A request that does not wait is queued, carried out, and told by its id.
func TestAsyncSync(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register()
	queued := s.call("POST", "/github/secrets/sync", `{"projectId":"payments-api","async":true}`)
	var result syncer.Result
	if err := json.Unmarshal(queued.body, &result); err != nil || queued.status != http.StatusAccepted || result.Status != syncer.StatusQueued || result.SyncID == "" {
		t.Fatalf("status %d: %s", queued.status, queued.body)
	}
	await(t, "the sync that was asked for", func() bool { r := s.status("payments-api"); return r.State == "idle" && r.Counts.Synced == 5 })
	if r := s.status("payments-api"); r.LastSync == nil || r.LastSync.SyncID != result.SyncID || len(r.Requests) != 0 {
		t.Errorf("the status tells of %+v and %+v, not of %s", r.LastSync, r.Requests, result.SyncID)
	}
	if !s.has("DATABASE_URL", "postgres://db", secret.Actions, secret.Codespaces, secret.Dependabot) {
		t.Error("GitHub does not have the values")
	}
	log := s.call("GET", "/github/audit?projectId=payments-api&operation=secret.create", "")
	if s.want(log, http.StatusOK, ""); strings.Count(string(log.body), `"actor":"local:alice"`) != 5 {
		t.Errorf("the audit does not name who asked: %s", log.body)
	}
	s.want(s.call("POST", "/github/secrets/sync", `{"projectId":"payments-api","async":true,"scopes":["org-actions"]}`), http.StatusUnprocessableEntity, "GITHUB_SECRETS_SCOPE_INVALID")
}

// What was marked by a server that was killed before it could say so is taken
// up at the next tick.
func TestMarkWithoutANudgeIsTakenUpAtTheNextTick(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register()
	p, err := project.Get(t.Context(), s.server.Store, "payments-api")
	if err != nil {
		t.Fatal(err)
	}
	m := mark.For(p, p.Repository, "a test", mark.Change, clock.Real().Now())
	if _, err := mark.Set(t.Context(), s.server.Store, p.Repository.Key(), m); err != nil {
		t.Fatal(err)
	}
	if r := s.status("payments-api"); r.State != "queued" {
		t.Errorf("the state is %s, want queued", r.State)
	}
	if err := s.server.Scheduler.Tick(t.Context(), "dispatcher"); err != nil {
		t.Fatal(err)
	}
	await(t, "the marked sync", func() bool { r := s.status("payments-api"); return r.State == "idle" && r.Counts.Synced == 5 })
}

// The sync of every six hours repairs what was changed behind Sealpost's back.
func TestScheduledSyncMarksEveryProject(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.register()
	for _, job := range []string{"scheduled-sync", "dispatcher"} {
		if err := s.server.Scheduler.Tick(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		if err := s.server.Broker.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if r := s.status("payments-api"); r.State != "idle" || r.Counts.Synced != 5 {
		t.Errorf("the status is %+v", r)
	}
}

// A server that is stopped while a new version is on its way ends in good
// order, and the next one goes on from there.
func TestStopAndGoOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *system {
		t.Helper()
		server, err := local.Start(t.Context(), local.Options{
			StateDir: dir, Address: "127.0.0.1:0", Log: telemetry.NewLogger(io.Discard, telemetry.Options{}), Clock: clock.Real(),
			GitHub: ghapi.Config{Mode: pace.Off}, Latency: 50 * time.Millisecond,
			World: githubd.World{
				Users:        []githubd.User{{Login: "bot"}},
				Tokens:       []githubd.Token{{Token: local.EmbeddedToken, Login: "bot"}},
				Repositories: []githubd.Repository{{ID: repositoryID, Owner: "acme", Name: "payments", Environments: []string{"production"}}},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		s := &system{t: t, server: server, url: server.URL}
		s.token = s.mint(catalogue.Operator, auth.AllProjects)
		return s
	}
	s := open()
	s.register()
	s.want(s.call("POST", "/github/secrets/sync", `{"projectId":"payments-api"}`), http.StatusOK, "")
	s.seed("db", "postgres://second", repositoryID)
	if err := s.server.Close(); err != nil {
		t.Fatal(err)
	}

	s = open()
	defer func() {
		if err := s.server.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.server.Scheduler.Tick(t.Context(), "dispatcher"); err != nil {
		t.Fatal(err)
	}
	await(t, "the new version in three scopes", func() bool {
		return s.has("DATABASE_URL", "postgres://second", secret.Actions, secret.Codespaces, secret.Dependabot)
	})
}
