package queries

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
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
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/embedded/issuer"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/eventx"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/provisioning"
	"github.com/sealpost/sealpost/shared/quota"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/versionstate"
)

// What every site has: a project's manifest names ten secrets, and GitHub and
// Secret Manager have what it names.
const (
	ProjectID     = "payments"
	Secrets       = 10 // each to three scopes
	sourceProject = "acme-secrets"
	owner, repo   = "acme", "payments"
	audience      = "queries"
	issuerURL     = "http://127.0.0.1/issuer" // never dialled: see answering
	subscription  = "projects/queries/subscriptions/every"
)

// Databases are the document databases of one deployment.
type Databases struct{ State, Audit docstore.Store }

// Site is the whole product in this process: the handler of every function, over
// given databases, the real clients, and an embedded GitHub and Secret Manager.
type Site struct {
	Databases
	Events  *audit.Store
	Sources *gsm.Client
	Clock   clock.Clock

	values     *secretmanagerd.Server
	repository int64
	handlers   map[string]http.Handler // by the function's name
	token      string
	closers    []func() error
}

// Open assembles a site whose databases are empty. It is to be closed.
func Open(ctx context.Context, databases Databases) (_ *Site, err error) {
	s := &Site{Databases: databases, Events: audit.NewStore(databases.Audit, 0), Clock: clock.Real()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	log := slog.New(slog.DiscardHandler)
	recorder := audit.NewRecorder(log, s.Events, audit.NewLogSink(log.Handler()))
	kit, err := s.openKit(log)
	if err != nil {
		return nil, err
	}
	hub, err := s.openGitHub(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.openSecretManager(ctx); err != nil {
		return nil, err
	}
	key, err := secret.NewFingerprintKey("queries", secret.NewValue(strings.Repeat("k", 32)))
	if err != nil {
		return nil, err
	}
	kept := versionstate.Sources{Store: s.State, Live: s.Sources, Clock: s.Clock}
	engine := &syncer.Engine{
		Store: s.State, Audit: recorder, Targets: hub, Sources: s.Sources,
		SourcesOf:    func(projectID string) syncer.Sources { return kept.Of(projectID) },
		Fingerprints: func(context.Context) (secret.FingerprintKey, error) { return key, nil },
		Clock:        s.Clock, Log: log, Mode: pace.Fast,
	}
	registrar := &provisioning.Registrar{Store: s.State, Audit: recorder, Directory: hub, Clock: s.Clock}
	accounts := dispatch.Quotas{Store: s.State, Mode: pace.Fast}
	pushes := eventx.Options{Subscriptions: []string{subscription}}
	s.handlers = map[string]http.Handler{
		"audit-log":  auditlog.Handler(kit, s.Events),
		"dispatcher": dispatcher.Handler(kit, pushes, kept, nowhere{}, accounts),
		"health": health.Handler(kit, health.Store("state", s.State), health.Store("audit", s.Audit),
			health.Sources("secret-manager", s.Sources, sourceProject)),
		"projects":       projects.Handler(kit, s.State, registrar),
		"scheduled-sync": scheduledsync.Handler(kit, pushes, s.State),
		"secret-changed": secretchanged.Handler(kit, pushes, kept, nowhere{}),
		"sync-secrets":   syncsecrets.Handler(kit, s.State, engine, nowhere{}),
		"sync-status":    syncstatus.Handler(kit, s.State),
		"sync-worker":    syncworker.Handler(kit, pushes, engine, nowhere{}),
	}
	return s, nil
}

// openKit makes an issuer, and a token of it that may do everything.
func (s *Site) openKit(log *slog.Logger) (httpx.Kit, error) {
	provider, err := issuer.New(issuerURL, "", s.Clock)
	if err != nil {
		return httpx.Kit{}, err
	}
	s.token, err = provider.Mint("alice", audience, auth.Grants{auth.AllProjects: catalogue.Roles()}, time.Hour)
	if err != nil {
		return httpx.Kit{}, err
	}
	verifier, err := idtoken.New(idtoken.Options{
		Issuers: []auth.Issuer{{URL: issuerURL, Audience: audience, Kind: auth.Local}}, AllowLocal: true,
		Clock: s.Clock, Transport: answering{provider.Handler()},
	})
	return httpx.Kit{Log: log, Clock: s.Clock, Authenticator: verifier}, err
}

func (s *Site) openGitHub(ctx context.Context) (*ghapi.Client, error) {
	const token = "queries"
	server, err := githubd.New(githubd.Config{World: githubd.World{
		Organizations: []githubd.Organization{{Login: owner}},
		Repositories:  []githubd.Repository{{Owner: owner, Name: repo}},
		Users:         []githubd.User{{Login: "alice"}},
		Tokens:        []githubd.Token{{Token: token, Login: "alice"}},
	}})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, server.Close)
	client, err := ghapi.New(ghapi.Config{
		BaseURL: "http://127.0.0.1", Mode: pace.Fast, Clock: s.Clock, Transport: server.Transport(),
		Budget:      func(identity string) pace.Budget { return quota.New(s.State, s.Clock, identity) },
		Credentials: ghapi.Credentials{Token: secret.NewValue(token)},
	})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error { client.Close(); return nil })
	container, err := client.Repository(ctx, owner, repo)
	s.repository = container.ID
	return client, err
}

func (s *Site) openSecretManager(ctx context.Context) (err error) {
	if s.values, err = secretmanagerd.New(secretmanagerd.Config{Clock: s.Clock}); err != nil {
		return err
	}
	for i := range Secrets {
		if err := s.NewVersion(i); err != nil {
			return err
		}
	}
	endpoint := s.values.ListenInMemory()
	s.closers = append(s.closers, func() error { endpoint.Close(); return nil })
	s.Sources, err = gsm.Open(ctx, gsm.Config{Endpoint: endpoint.Address, Insecure: true, Dial: endpoint.Dial, ReadsPerMinute: -1})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.Sources.Close)
	return nil
}

// NewVersion gives one of the sources another value.
func (s *Site) NewVersion(i int) error {
	consent := map[string]string{gsm.RepositoriesAnnotation: gsm.FormatRepositories([]int64{s.repository})}
	value := secret.NewValue(fmt.Sprintf("value %d of %s", s.Clock.Now().UnixNano(), Source(i)))
	_, err := s.values.SetSecret(sourceProject, Source(i).Secret, value, consent)
	return err
}

// Source returns one of the sources that the manifest names.
func Source(i int) secret.Source {
	return secret.Source{Project: sourceProject, Secret: fmt.Sprintf("secret-%d", i)}
}

// Manifest returns the project's manifest, as JSON, with a pattern of names that
// are left out.
func Manifest(exclude string) string {
	var mappings []string
	for i := range Secrets {
		mappings = append(mappings, fmt.Sprintf(`{"name":"SECRET_%d","from":%q}`, i, Source(i).Secret))
	}
	return fmt.Sprintf(`{"project":%q,"github":{"owner":%q,"repo":%q},"source":{"gcpProject":%q},"secrets":[%s],"exclude":[%q]}`,
		ProjectID, owner, repo, sourceProject, strings.Join(mappings, ","), exclude)
}

// Call sends a request to a function, from a caller who may do everything, and
// returns the body of the answer. A status of 400 or more is an error.
func (s *Site) Call(ctx context.Context, function, method, target, body string, header ...string) (string, error) {
	handler, ok := s.handlers[function]
	if !ok {
		return "", fmt.Errorf("the site has no function %s", function)
	}
	request := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+s.token)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	if answer.Code >= http.StatusBadRequest {
		return "", fmt.Errorf("%s %s = %d %s", method, target, answer.Code, answer.Body)
	}
	return answer.Body.String(), nil
}

// Push brings a function a message, as Pub/Sub does. A message that it does not
// take is an error.
func (s *Site) Push(ctx context.Context, function string, attributes map[string]string) error {
	body, err := json.Marshal(map[string]any{
		"subscription": subscription,
		"message":      map[string]any{"attributes": attributes, "messageId": "1", "publishTime": s.Clock.Now().UTC()},
	})
	if err != nil {
		return err
	}
	_, err = s.Call(ctx, function, http.MethodPost, eventx.Path(function), string(body))
	return err
}

// Container returns the key of the repository that the project writes to.
func (s *Site) Container() string {
	return project.Container{Kind: project.Repository, Owner: owner, Name: repo, ID: s.repository}.Key()
}

// Changed returns the attributes of Secret Manager's message that one of the
// sources has a new version.
func Changed(i int) map[string]string {
	return map[string]string{"eventType": "SECRET_VERSION_ADD", "secretId": "projects/" + sourceProject + "/secrets/" + Source(i).Secret}
}

// Nudge returns the attributes of a message to a worker.
func (s *Site) Nudge() map[string]string { return map[string]string{"container": s.Container()} }

// Close closes what Open opened, but not the databases.
func (s *Site) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

// answering carries requests to a handler in this process.
type answering struct{ handler http.Handler }

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	a.handler.ServeHTTP(answer, r)
	return answer.Result(), nil
}

// nowhere is a broker that loses every message.
type nowhere struct{}

func (nowhere) Publish(context.Context, string, ...event.Message) error { return nil }
