// Package backend opens what a deployed function works with: its settings, its
// log, the verifier of its callers' tokens and, in packages of their own so
// that a function links only what it uses, the document databases, Secret
// Manager and GitHub.
//
// A function is opened when a caller whose token was verified first calls it,
// so that nobody else can make it work. If that fails, the request gets the
// reason as any other failure, and the next one tries again.
package backend

import (
	"context"
	"net/http"
	"os"
	"slices"
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
// open function makes the handlers of its routes; its context outlasts the
// request.
func Function(name string, open func(context.Context, Base) (httpx.Handlers, error)) http.HandlerFunc {
	f := &function{row: catalogue.Lookup(name), open: open}
	serve := sync.OnceValue(f.handler) // not in init: a fault of the settings is told to a request
	return func(w http.ResponseWriter, r *http.Request) { serve().ServeHTTP(w, r) }
}

type function struct {
	row  catalogue.Function
	open func(context.Context, Base) (httpx.Handlers, error)

	mu       sync.Mutex
	handlers httpx.Handlers // nil until they were opened
}

// handler returns the adapter over handlers that open the function first.
func (f *function) handler() http.Handler {
	base, err := f.base()
	handlers := httpx.Handlers{}
	for _, route := range f.row.Routes {
		key := route.Method + " " + route.Path
		handlers[key] = func(w http.ResponseWriter, r *http.Request) error {
			opened, err := f.get(context.WithoutCancel(r.Context()), base)
			if err != nil {
				return fault.Wrap(fault.Unavailable, "open the function "+f.row.Name, err)
			}
			return opened[key](w, r)
		}
	}
	if err != nil {
		err = fault.Wrap(fault.Unavailable, "configure the function "+f.row.Name, err)
		base.Kit.Authenticator = refusing{err}
		for key := range handlers {
			handlers[key] = func(http.ResponseWriter, *http.Request) error { return err }
		}
	}
	return httpx.Function(f.row, base.Kit, handlers)
}

// get returns the handlers, opening them if need be. A failure is not kept.
func (f *function) get(ctx context.Context, base Base) (httpx.Handlers, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.handlers != nil {
		return f.handlers, nil
	}
	handlers, err := f.open(ctx, base)
	if err != nil {
		return nil, err
	}
	f.handlers = handlers
	return handlers, nil
}

// base reads the settings. What it returns with an error can still log.
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
	return slices.ContainsFunc(row.Routes, func(r catalogue.Route) bool { return r.Role != catalogue.Anyone })
}

// refusing fails every request that would have to be authenticated.
type refusing struct{ err error }

func (r refusing) Authenticate(context.Context, http.Header) (auth.Caller, error) {
	return auth.Caller{}, r.err
}
