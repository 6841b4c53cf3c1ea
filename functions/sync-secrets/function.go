// Package syncsecrets is the Cloud Function sync-secrets.
//
// POST /github/secrets/sync brings a project's targets level with their
// sources, or with dryRun shows what it would do. Callers are people and
// pipelines with the role syncer for the project.
package syncsecrets

import (
	"context"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/github"
	"github.com/sealpost/sealpost/shared/backend/secretmanager"
	"github.com/sealpost/sealpost/shared/backend/state"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/telemetry"
)

const name = "sync-secrets"

func init() { functions.HTTP("SyncSecrets", backend.Function(name, open)) }

func open(ctx context.Context, b backend.Base) (httpx.Handlers, error) {
	store, err := state.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	recorder, err := state.OpenRecorder(ctx, b)
	if err != nil {
		return nil, err
	}
	secrets, err := secretmanager.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	targets, err := github.Open(ctx, b, secrets)
	if err != nil {
		return nil, err
	}
	return handlers(store, &syncer.Engine{
		Store: store, Audit: recorder, Targets: targets, Sources: secrets,
		Fingerprints: secretmanager.Fingerprints(secrets, b.Config.FingerprintKey),
		Clock:        b.Kit.Clock, Log: b.Kit.Log, Mode: b.Config.Pace,
	}), nil
}

// Handler returns the function over a store and an engine.
func Handler(kit httpx.Kit, store docstore.Store, engine *syncer.Engine) http.Handler {
	return httpx.Function(catalogue.Lookup(name), kit, handlers(store, engine))
}

func handlers(store docstore.Store, engine *syncer.Engine) httpx.Handlers {
	h := handler{store: store, engine: engine}
	return httpx.Handlers{"POST /github/secrets/sync": h.sync}
}

type handler struct {
	store  docstore.Store
	engine *syncer.Engine
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
	if req.Project, err = project.Get(r.Context(), h.store, id); err != nil {
		return err
	}
	req.Actor = httpx.Caller(r.Context()).Identity.Actor()
	req.CorrelationID = telemetry.Correlation(r.Context())
	result, err := h.engine.Sync(r.Context(), req)
	if err == nil && !req.DryRun {
		err = result.Refusal()
	}
	if err != nil && !result.Wrote() {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, result)
}

// parse checks the names, scopes and numbers of the body.
func (b request) parse() (syncer.Request, error) {
	req := syncer.Request{Force: b.Force, DryRun: b.DryRun, Prune: b.Prune, MaxDeletions: b.MaxDeletions}
	if b.MaxDeletions < 0 {
		return syncer.Request{}, fault.New(fault.RequestMalformed, "maxDeletions is below 0")
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
