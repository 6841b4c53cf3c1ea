// Package projects is the Cloud Function projects.
//
// POST /projects registers a project from its manifest, as JSON; GET, PUT and
// DELETE /projects/{id} show, replace and unregister it. Callers are people and
// pipelines with the role operator for the project, or viewer to look. A
// project that writes organisation secrets needs an operator of all projects.
// A POST may have an Idempotency-Key.
package projects

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/engine"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/idempotency"
	"github.com/sealpost/sealpost/shared/manifest"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/provisioning"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/telemetry"
)

const name = "projects"

func init() { functions.HTTP("Projects", backend.Function(name, open)) }

func open(ctx context.Context, b backend.Base) (httpx.Handlers, error) {
	p, err := engine.OpenParts(ctx, b)
	if err != nil {
		return nil, err
	}
	return handlers(p.Store, &provisioning.Registrar{Store: p.Store, Audit: p.Audit, Directory: p.GitHub, Clock: b.Kit.Clock}), nil
}

// Handler returns the function over a store and a registrar.
func Handler(kit httpx.Kit, store docstore.Store, registrar *provisioning.Registrar) http.Handler {
	return httpx.Function(catalogue.Lookup(name), kit, handlers(store, registrar))
}

func handlers(store docstore.Store, registrar *provisioning.Registrar) httpx.Handlers {
	h := handler{store: store, registrar: registrar, keys: idempotency.Keys{Store: store, Clock: registrar.Clock}}
	return httpx.Handlers{
		"POST /projects":        h.register,
		"GET /projects/{id}":    h.show,
		"PUT /projects/{id}":    h.replace,
		"DELETE /projects/{id}": h.remove,
	}
}

type handler struct {
	store     docstore.Store
	registrar *provisioning.Registrar
	keys      idempotency.Keys
}

// view is a project as the API shows it.
type view struct {
	ProjectID    string          `json:"projectId"`
	Repository   container       `json:"repository"`
	Organisation *container      `json:"organisation,omitempty"`
	Manifest     json.RawMessage `json:"manifest"`
	CreatedAt    string          `json:"createdAt"`
	UpdatedAt    string          `json:"updatedAt"`
}

type container struct {
	Owner string `json:"owner"`
	Name  string `json:"name,omitempty"`
	ID    int64  `json:"id"`
}

func show(p project.Project) view {
	v := view{
		ProjectID: p.ID, Repository: container{p.Repository.Owner, p.Repository.Name, p.Repository.ID}, Manifest: p.Manifest,
		CreatedAt: syncer.Timestamp(p.CreatedAt), UpdatedAt: syncer.Timestamp(p.UpdatedAt),
	}
	if o := p.Organisation; o != nil {
		v.Organisation = &container{Owner: o.Owner, ID: o.ID}
	}
	return v
}

func (h handler) register(w http.ResponseWriter, r *http.Request) error {
	m, err := readManifest(r)
	if err != nil {
		return err
	}
	return httpx.Once(h.keys, w, r, m.Project, func(w http.ResponseWriter, r *http.Request) error {
		p, err := h.registrar.Register(r.Context(), m, caller(r))
		if err != nil {
			return err
		}
		w.Header().Set("Location", "/projects/"+p.ID)
		return httpx.WriteJSON(w, http.StatusCreated, show(p))
	})
}

func (h handler) show(w http.ResponseWriter, r *http.Request) error {
	id, err := httpx.PathProject(r, "id")
	if err != nil {
		return err
	}
	p, err := project.Get(r.Context(), h.store, id)
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, show(p))
}

func (h handler) replace(w http.ResponseWriter, r *http.Request) error {
	id, err := httpx.PathProject(r, "id")
	if err != nil {
		return err
	}
	m, err := readManifest(r)
	if err != nil {
		return err
	}
	if m.Project != id {
		return fault.New(fault.ManifestInvalid, "the manifest is of another project than the path")
	}
	p, _, err := h.registrar.Replace(r.Context(), m, caller(r))
	if err != nil {
		return err
	}
	return httpx.WriteJSON(w, http.StatusOK, show(p))
}

func (h handler) remove(w http.ResponseWriter, r *http.Request) error {
	id, err := httpx.PathProject(r, "id")
	if err != nil {
		return err
	}
	if err := h.registrar.Remove(r.Context(), id, caller(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// readManifest returns the body's manifest, if the caller may act on its
// project and, where it writes organisation secrets, for the organisation.
func readManifest(r *http.Request) (manifest.Manifest, error) {
	body, err := httpx.ReadJSON(r)
	if err != nil {
		return manifest.Manifest{}, err
	}
	m, err := manifest.ParseJSON(body)
	if err != nil {
		return manifest.Manifest{}, err
	}
	if _, err := httpx.Authorize(r.Context(), httpx.Ref(m.Project)); err != nil {
		return manifest.Manifest{}, err
	}
	if m.Source == nil {
		return manifest.Manifest{}, fault.New(fault.ManifestInvalid, "source is missing: a registered project takes its values from Secret Manager")
	}
	if provisioning.NeedsOrganisation(m) && httpx.Caller(r.Context()).Require(catalogue.Operator, auth.AllProjects) != nil {
		return manifest.Manifest{}, fault.New(fault.OrgGrantMissing, "the project %s would write secrets of the organisation %s", m.Project, m.GitHub.Owner)
	}
	return m, nil
}

func caller(r *http.Request) provisioning.Caller {
	return provisioning.Caller{Actor: httpx.Caller(r.Context()).Identity.Actor(), CorrelationID: telemetry.Correlation(r.Context())}
}
