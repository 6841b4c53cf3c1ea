package githubd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// Remote looks behind the scenes of a [Server] in another process, whose
// configuration has Control. Its methods do what those of the same name on
// [Server] do. They return a [fault.Invalid] or a [fault.NotFound] where the
// server does, and a [fault.Unavailable] if it does not answer.
type Remote struct {
	base   string
	client *http.Client
}

// NewRemote takes the server's address, such as http://127.0.0.1:8080.
func NewRemote(base string) *Remote { return &Remote{base: base, client: &http.Client{}} }

// Add adds to what exists.
func (r *Remote) Add(ctx context.Context, w World) error {
	return r.send(ctx, http.MethodPost, controlWorld, w, nil)
}

// Settings returns how the server behaves at present.
func (r *Remote) Settings(ctx context.Context) (s Settings, err error) {
	err = r.send(ctx, http.MethodGet, controlSettings, nil, &s)
	return s, err
}

// SetSettings changes how the server behaves.
func (r *Remote) SetSettings(ctx context.Context, s Settings) error {
	return r.send(ctx, http.MethodPut, controlSettings, s, nil)
}

// AddFault makes requests fail from now on.
func (r *Remote) AddFault(ctx context.Context, f Fault) error {
	return r.send(ctx, http.MethodPost, controlFaults, f, nil)
}

// ClearFaults ends every fault.
func (r *Remote) ClearFaults(ctx context.Context) error {
	return r.send(ctx, http.MethodDelete, controlFaults, nil, nil)
}

// Struck returns how many requests each present fault struck.
func (r *Remote) Struck(ctx context.Context) (struck map[string]int, err error) {
	err = r.send(ctx, http.MethodGet, controlFaults, nil, &struck)
	return struck, err
}

// Counts returns what the server was asked since the last reset.
func (r *Remote) Counts(ctx context.Context) (c Counts, err error) {
	err = r.send(ctx, http.MethodGet, controlCounts, nil, &c)
	return c, err
}

// ResetCounts begins the counts and the log anew.
func (r *Remote) ResetCounts(ctx context.Context) error {
	return r.send(ctx, http.MethodDelete, controlCounts, nil, nil)
}

// Requests returns the log since the last reset.
func (r *Remote) Requests(ctx context.Context) (log []Request, err error) {
	err = r.send(ctx, http.MethodGet, controlRequests, nil, &log)
	return log, err
}

// Digests returns the secrets of a scope, with their values if asked.
func (r *Remote) Digests(ctx context.Context, container string, scope secret.Scope, values bool) (all []Digest, err error) {
	query := url.Values{"container": {container}, "scope": {string(scope)}, "values": {fmt.Sprint(values)}}
	err = r.send(ctx, http.MethodGet, controlSecrets+"?"+query.Encode(), nil, &all)
	return all, err
}

// Edit writes a secret as somebody else would.
func (r *Remote) Edit(ctx context.Context, t Target, value string) error {
	return r.send(ctx, http.MethodPut, controlSecrets, edit{t, value}, nil)
}

// Remove deletes a secret as somebody else would.
func (r *Remote) Remove(ctx context.Context, t Target) error {
	return r.send(ctx, http.MethodDelete, controlSecrets, t, nil)
}

// RotateKey replaces the key of a scope.
func (r *Remote) RotateKey(ctx context.Context, container string, scope secret.Scope) error {
	return r.send(ctx, http.MethodPost, controlRotate, Target{Container: container, Scope: scope}, nil)
}

// Spend uses up some of an identity's limits.
func (r *Remote) Spend(ctx context.Context, identity string, requests, points int) error {
	return r.send(ctx, http.MethodPost, controlSpend, spending{identity, requests, points}, nil)
}

// ExpireTokens makes every installation token worthless.
func (r *Remote) ExpireTokens(ctx context.Context) error {
	return r.send(ctx, http.MethodPost, controlExpire, nil, nil)
}

func (r *Remote) send(ctx context.Context, method, path string, body, into any) error {
	op := "githubd: " + method + " " + path
	request, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewReader(encode(body)))
	if err != nil {
		return fault.Wrap(fault.Invalid, op, err)
	}
	answer, err := r.client.Do(request)
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, err)
	}
	defer func() { _ = answer.Body.Close() }() // it was read
	if kind, failed := controlKinds[answer.StatusCode]; failed {
		return fault.Wrap(kind, op, nil)
	}
	if answer.StatusCode != http.StatusOK {
		return fault.Wrap(fault.Upstream, fmt.Sprintf("%s: status %d", op, answer.StatusCode), nil)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return fault.Wrap(fault.Upstream, op, err)
	}
	return nil
}

// controlKinds are the kinds of the statuses that the control endpoints use.
var controlKinds = map[int]fault.Kind{
	http.StatusBadRequest: fault.Invalid,
	http.StatusForbidden:  fault.Denied,
	http.StatusNotFound:   fault.NotFound,
}
