// Package syncsecrets is the Cloud Function sync-secrets.
//
// POST /github/secrets/sync brings a project's targets level with their
// sources, or with dryRun shows what it would do, or with async leaves it to the
// workers. Callers are people and pipelines with the role syncer for the
// project. A POST may have an Idempotency-Key.
package syncsecrets

import (
	"context"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/engine"
	"github.com/sealpost/sealpost/shared/backend/events"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/dispatch"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/idempotency"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/telemetry"
)

const name = "sync-secrets"

func init() { functions.HTTP("SyncSecrets", backend.Function(name, open)) }

func open(ctx context.Context, b backend.Base) (httpx.Handlers, error) {
	e, err := engine.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	events, err := events.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	return handlers(e.Store, e, events), nil
}

// Handler returns the function over a store, an engine, and where nudges to the
// workers are published.
func Handler(kit httpx.Kit, store docstore.Store, engine *syncer.Engine, events event.Publisher) http.Handler {
	return httpx.Function(catalogue.Lookup(name), kit, handlers(store, engine, events))
}

func handlers(store docstore.Store, engine *syncer.Engine, events event.Publisher) httpx.Handlers {
	h := handler{
		store: store, engine: engine, keys: idempotency.Keys{Store: store, Clock: engine.Clock},
		requester: dispatch.Requester{Store: store, Events: events, Clock: engine.Clock, Log: engine.Log},
	}
	return httpx.Handlers{"POST /github/secrets/sync": h.sync}
}

type handler struct {
	store  docstore.Store
	engine *syncer.Engine
	keys   idempotency.Keys
	// requester leaves requests to the workers.
	requester dispatch.Requester
}

// request is the body of POST /github/secrets/sync.
type request struct {
	ProjectID    httpx.ProjectRef `json:"projectId"`
	Secrets      []string         `json:"secrets"`
	Scopes       []string         `json:"scopes"`
	Force        bool             `json:"force"`
	DryRun       bool             `json:"dryRun"`
	Prune        bool             `json:"prune"`
	MaxDeletions int              `json:"maxDeletions"`
	Async        bool             `json:"async"`
}

func (h handler) sync(w http.ResponseWriter, r *http.Request) error {
	var body request
	if err := httpx.DecodeJSON(r, &body); err != nil {
		return err
	}
	id, err := httpx.Authorize(r.Context(), body.ProjectID)
	if err != nil {
		return err
	}
	req, err := body.parse()
	if err != nil {
		return err
	}
	return httpx.Once(h.keys, w, r, id, func(w http.ResponseWriter, r *http.Request) error {
		return h.run(w, r, id, req, body.Async)
	})
}

func (h handler) run(w http.ResponseWriter, r *http.Request, id string, req syncer.Request, async bool) (err error) {
	if req.Project, err = project.Get(r.Context(), h.store, id); err != nil {
		return err
	}
	req.Actor = httpx.Caller(r.Context()).Identity.Actor()
	req.CorrelationID = telemetry.Correlation(r.Context())
	if async {
		return h.queue(w, r, req)
	}
	result, err := h.engine.Sync(r.Context(), req)
	if err == nil && !req.DryRun {
		err = result.Refusal()
	}
	if err != nil && !result.Wrote() {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, result)
}

// queue leaves the request to the workers.
func (h handler) queue(w http.ResponseWriter, r *http.Request, req syncer.Request) error {
	if err := req.Check(); err != nil {
		return err
	}
	now := h.engine.Clock.Now()
	req.SyncID = audit.NewID(now)
	err := h.requester.Ask(r.Context(), req.Project, mark.Ask{
		SyncID: req.SyncID, Actor: req.Actor, CorrelationID: req.CorrelationID, Secrets: req.Secrets, Scopes: req.Scopes,
		Force: req.Force, Prune: req.Prune, MaxDeletions: req.MaxDeletions,
	})
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusAccepted, syncer.Queued(req, now))
}

// parse checks the names, scopes and numbers of the body.
func (b request) parse() (syncer.Request, error) {
	req := syncer.Request{Force: b.Force, DryRun: b.DryRun, Prune: b.Prune, MaxDeletions: b.MaxDeletions}
	if b.Async && b.DryRun {
		return syncer.Request{}, fault.New(fault.RequestMalformed, "a dry run is answered at once: dryRun and async exclude each other")
	}
	if b.MaxDeletions < 0 {
		return syncer.Request{}, fault.New(fault.RequestMalformed, "maxDeletions is below 0")
	}
	if b.Secrets != nil && len(b.Secrets) == 0 || b.Scopes != nil && len(b.Scopes) == 0 {
		return syncer.Request{}, fault.New(fault.RequestMalformed, "secrets and scopes name at least one each, or are left out to mean all")
	}
	for i, text := range b.Secrets {
		name, err := secret.ParseName(text)
		if err != nil {
			return syncer.Request{}, fault.New(fault.NameInvalid, "secrets[%d]: %s", i, fault.Detail(err))
		}
		req.Secrets = append(req.Secrets, name)
	}
	for i, text := range b.Scopes {
		scope, err := secret.ParseScope(text)
		if err != nil {
			return syncer.Request{}, fault.New(fault.ScopeInvalid, "scopes[%d]: %s", i, fault.Detail(err))
		}
		req.Scopes = append(req.Scopes, scope)
	}
	return req, nil
}
