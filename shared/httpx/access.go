package httpx

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/fault"
)

// access is what the adapter knows of a request's caller.
type access struct {
	caller  auth.Caller
	role    catalogue.Role // that the route asks for
	decided atomic.Bool    // Authorize has said yes
}

type accessKey struct{}

func withAccess(ctx context.Context, a *access) context.Context {
	return context.WithValue(ctx, accessKey{}, a)
}

func accessOf(ctx context.Context) *access {
	a, ok := ctx.Value(accessKey{}).(*access)
	if !ok {
		return &access{role: catalogue.Internal} // no caller, and so no role
	}
	return a
}

// Caller returns who is calling: for the audit, and for what a role does not
// decide.
func Caller(ctx context.Context) auth.Caller { return accessOf(ctx).caller }

// ProjectRef is a project's id as a caller gave it. Its text is to be had only
// from [Authorize]. In a body's struct it stands for a JSON string.
type ProjectRef struct{ id string }

// Ref returns a reference to the project, for an id that did not come through
// [ProjectRef] itself, like a manifest's. [auth.AllProjects] refers to all.
func Ref(id string) ProjectRef { return ProjectRef{id} }

// UnmarshalText takes the id of a project; it does not look for the project.
func (p *ProjectRef) UnmarshalText(text []byte) error {
	if !auth.IsProjectID(string(text)) {
		return fault.New(fault.RequestMalformed, "want the id of a project")
	}
	p.id = string(text)
	return nil
}

// Authorize returns the project's id if the caller holds the role that the
// route asks for, for that project. It returns a [fault.RequestMalformed] for
// what cannot be an id, and a [fault.AuthDenied] otherwise, the same whether
// the project exists or not: decide first, look then.
func Authorize(ctx context.Context, ref ProjectRef) (string, error) {
	if ref.id != auth.AllProjects && !auth.IsProjectID(ref.id) {
		return "", fault.New(fault.RequestMalformed, "the id of the project is missing or cannot be one")
	}
	a := accessOf(ctx)
	if err := a.caller.Require(a.role, ref.id); err != nil {
		return "", err
	}
	a.decided.Store(true)
	return ref.id, nil
}

// PathProject authorises for the project that a part of the path names, and
// returns its id. Errors are those of [Authorize].
func PathProject(r *http.Request, name string) (string, error) {
	id := r.PathValue(name)
	if id == auth.AllProjects { // it stands for all in bindings, and for none in a path
		id = ""
	}
	return Authorize(r.Context(), Ref(id))
}
