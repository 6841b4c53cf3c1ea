// Package syncstatus is the Cloud Function sync-status.
//
// GET /github/secrets/sync/status?projectId= tells how each of a project's
// targets stands, from the store alone. Callers are people and pipelines with
// the role viewer for the project.
package syncstatus

import (
	"context"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/state"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/syncer"
)

const name = "sync-status"

func init() { functions.HTTP("SyncStatus", backend.Function(name, open)) }

func open(ctx context.Context, b backend.Base) (httpx.Handlers, error) {
	store, err := state.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	return handlers(store), nil
}

// Handler returns the function over a store.
func Handler(kit httpx.Kit, store docstore.Store) http.Handler {
	return httpx.Function(catalogue.Lookup(name), kit, handlers(store))
}

func handlers(store docstore.Store) httpx.Handlers {
	status := func(w http.ResponseWriter, r *http.Request) error {
		query, err := httpx.ParseQuery(r, "projectId")
		if err != nil {
			return err
		}
		ref, _, err := query.Project("projectId")
		if err != nil {
			return err
		}
		id, err := httpx.Authorize(r.Context(), ref)
		if err != nil {
			return err
		}
		p, err := project.Get(r.Context(), store, id)
		if err != nil {
			return err
		}
		report, err := syncer.StatusOf(r.Context(), store, p)
		if err != nil {
			return err
		}
		return httpx.WriteJSON(w, http.StatusOK, report)
	}
	return httpx.Handlers{"GET /github/secrets/sync/status": status}
}
