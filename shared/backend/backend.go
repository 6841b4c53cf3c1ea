// Package backend opens what a deployed function works with: its settings, its
// log, the verifier of its callers' tokens and, in packages of their own so
// that a function links only what it uses, the document databases, Secret
// Manager and GitHub.
//
// A function is opened at its first request. If that fails, the request gets
// the reason as any other failure, and the next one tries again.
package backend

import (
	"context"
	"net/http"
	"os"
	"sync"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/auth/idtoken"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// Base is what every function has.
type Base struct {
	Config config.Config
	Kit    httpx.Kit
}

// Function returns the handler to register for the function of that name. The
// open function makes the real handler; its context lasts as long as the
// process.
func Function(name string, open func(context.Context, Base) (http.Handler, error)) http.HandlerFunc {
	f := &function{row: catalogue.Lookup(name), open: open}
	return f.ServeHTTP
}

type function struct {
	row  catalogue.Function
	open func(context.Context, Base) (http.Handler, error)

	mu      sync.Mutex
	handler http.Handler // nil until it was opened
}

func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.get(context.WithoutCancel(r.Context())).ServeHTTP(w, r)
}

// get returns the handler, opening it if need be. A failure is not kept.
func (f *function) get(ctx context.Context) http.Handler {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.handler != nil {
		return f.handler
	}
	base, err := f.base()
	if err != nil {
		return failing(f.row, base.Kit, err)
	}
	handler, err := f.open(ctx, base)
	if err != nil {
		return failing(f.row, base.Kit, err)
	}
	f.handler = handler
	return handler
}

func (f *function) base() (Base, error) {
	clk := clock.Real()
	base := Base{Kit: httpx.Kit{Clock: clk, Log: telemetry.NewLogger(os.Stdout, telemetry.Options{Function: f.row.Name})}}
	c, err := config.Load(f.row.Name, config.Environ)
	if err != nil {
		return base, err
	}
	base.Config = c
	base.Kit.Log = telemetry.NewLogger(os.Stdout, telemetry.Options{Level: c.LogLevel, Project: c.GCPProject, Function: f.row.Name})
	if !asksForRole(f.row) {
		return base, nil
	}
	base.Kit.Authenticator, err = idtoken.New(idtoken.Options{
		Issuers: c.Issuers, Bindings: c.Bindings, AllowLocal: c.Environment == config.Dev, Clock: clk,
	})
	return base, err
}

func asksForRole(row catalogue.Function) bool {
	for _, route := range row.Routes {
		if route.Role != catalogue.Anyone {
			return true
		}
	}
	return false
}

// failing answers every request with the reason why the function could not be
// opened. To the caller a defect of the deployment is ours, whatever its kind.
func failing(row catalogue.Function, kit httpx.Kit, reason error) http.Handler {
	err := fault.Wrap(fault.Unavailable, "open the function "+row.Name, reason)
	kit.Authenticator = refusing{err}
	handlers := httpx.Handlers{}
	for _, route := range row.Routes {
		handlers[route.Method+" "+route.Path] = func(http.ResponseWriter, *http.Request) error { return err }
	}
	return httpx.Function(row, kit, handlers)
}

type refusing struct{ err error }

func (r refusing) Authenticate(context.Context, http.Header) (auth.Caller, error) {
	return auth.Caller{}, r.err
}
