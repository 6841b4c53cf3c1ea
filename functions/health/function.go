// Package health is the Cloud Function health.
//
// GET /healthz says that the process lives; GET /readyz says whether each
// dependency answers. Anyone may ask: neither tells anything of a project.
package health

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/secretmanager"
	"github.com/sealpost/sealpost/shared/backend/state"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

const name = "health"

func init() { functions.HTTP("Health", backend.Function(name, open)) }

func open(ctx context.Context, b backend.Base) (httpx.Handlers, error) {
	docs, err := state.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	events, err := state.OpenAuditDocs(ctx, b)
	if err != nil {
		return nil, err
	}
	secrets, err := secretmanager.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	return handlers(Store("state", docs), Store("audit", events), Sources("secret-manager", secrets, b.Config.GCPProject)), nil
}

// Dependency is something that must answer for the system to work.
type Dependency struct {
	Name  string
	Check func(context.Context) error
}

// Store returns the dependency on a document database: it reads a document
// that need not be there.
func Store(name string, store docstore.Store) Dependency {
	return Dependency{Name: name, Check: func(ctx context.Context) error {
		_, err := store.Get(ctx, docstore.Key{Collection: "projects", ID: "readyz"})
		if errors.Is(err, fault.NotFound) {
			return nil
		}
		return err
	}}
}

// Sources returns the dependency on Secret Manager: it looks at a secret that
// need not be there.
func Sources(name string, sources syncer.Sources, project string) Dependency {
	return Dependency{Name: name, Check: func(ctx context.Context) error {
		_, err := sources.Inspect(ctx, []secret.Source{{Project: project, Secret: "sealpost-readyz"}})
		return err
	}}
}

// checkTime is how long a dependency may take to answer.
const checkTime = 3 * time.Second

// Handler returns the function over its dependencies.
func Handler(kit httpx.Kit, dependencies ...Dependency) http.Handler {
	return httpx.Function(catalogue.Lookup(name), kit, handlers(dependencies...))
}

func handlers(dependencies ...Dependency) httpx.Handlers {
	h := handler{dependencies: dependencies}
	return httpx.Handlers{
		"GET /healthz": h.live,
		"GET /readyz":  h.ready,
	}
}

type handler struct{ dependencies []Dependency }

func (h handler) live(w http.ResponseWriter, _ *http.Request) error {
	return httpx.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readiness is the answer of /readyz.
type readiness struct {
	Status       string            `json:"status"` // ready or unready
	Dependencies []dependencyState `json:"dependencies"`
}

type dependencyState struct {
	Name   string `json:"name"`
	Status string `json:"status"` // up or down
}

func (h handler) ready(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	answer := readiness{Status: "ready", Dependencies: make([]dependencyState, len(h.dependencies))}
	var group sync.WaitGroup
	for i, d := range h.dependencies {
		group.Go(func() {
			answer.Dependencies[i] = dependencyState{Name: d.Name, Status: "up"}
			if d.Check(ctx) != nil {
				answer.Dependencies[i].Status = "down"
			}
		})
	}
	group.Wait()
	status := http.StatusOK
	if slices.ContainsFunc(answer.Dependencies, func(s dependencyState) bool { return s.Status == "down" }) {
		answer.Status, status = "unready", http.StatusServiceUnavailable
	}
	return httpx.WriteJSON(w, status, answer)
}
