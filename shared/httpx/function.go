package httpx

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// Handler answers one route. It writes a success itself and returns every
// failure. What it has written when it returns an error is cut off.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Handlers are a function's handlers, by "METHOD path" as in the catalogue.
type Handlers map[string]Handler

// Authenticator tells from a request's headers who is calling. Its errors are
// of kind [fault.Unauthenticated], or [fault.Unavailable] if it could not find out.
type Authenticator interface {
	Authenticate(ctx context.Context, header http.Header) (auth.Caller, error)
}

// Kit is what every function's adapter needs.
type Kit struct {
	Log           *slog.Logger
	Clock         clock.Clock
	Authenticator Authenticator // may be nil where every route is for anyone
}

const (
	correlationHeader = "X-Correlation-Id"
	maxLoggedPath     = 256

	// answerTime is kept back from a function's time, so that the answer that
	// time is up comes from us and not from the platform.
	answerTime = 2 * time.Second
)

// Function returns the handler of one function. It panics if the handlers are
// not exactly those of the row's routes, or if a route asks for a role and
// there is no authenticator: that is a defect of ours, seen at the first start.
func Function(fn catalogue.Function, kit Kit, handlers Handlers) http.Handler {
	f := &function{kit: kit, row: fn, mux: http.NewServeMux()}
	for _, route := range fn.Routes {
		key := route.Method + " " + route.Path
		handler, ok := handlers[key]
		if !ok {
			panic(fmt.Sprintf("httpx: function %s has no handler for %s", fn.Name, key))
		}
		if route.Role != catalogue.Anyone && (kit.Authenticator == nil || !slices.Contains(catalogue.Roles(), route.Role)) {
			panic(fmt.Sprintf("httpx: function %s cannot check the role of %s", fn.Name, key))
		}
		f.mux.HandleFunc(key, func(w http.ResponseWriter, r *http.Request) {
			exchangeOf(r.Context()).err = f.serve(w, r, route, handler)
		})
	}
	if len(handlers) != len(fn.Routes) {
		panic(fmt.Sprintf("httpx: function %s has handlers for routes that the catalogue does not have", fn.Name))
	}
	return f
}

type function struct {
	kit Kit
	row catalogue.Function
	mux *http.ServeMux
}

// exchange is one request with its answer.
type exchange struct {
	response
	access
	request *http.Request
	start   time.Time
	route   string // "METHOD /path" of the catalogue, or empty
	err     error

	body     []byte // what the handler has read of the request's body as JSON
	replayOf string // correlation id of the request whose answer this one repeats
	unkept   error  // why the answer is not there for a repeat
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange) // set in ServeHTTP, before anything that asks
	return x
}

// ServeHTTP answers one request.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{response: response{under: w}, start: f.kit.Clock.Now()}
	ctx := context.WithValue(withTrace(withCorrelation(r.Context(), r.Header), r.Header), exchangeKey{}, x)
	ctx, cancel := context.WithTimeout(ctx, f.timeout())
	defer cancel()
	x.request = r.WithContext(ctx)

	setHeaders(w.Header(), telemetry.Correlation(ctx))
	f.contain(x)
	if x.err == nil {
		x.WriteHeader(http.StatusOK) // for a handler that wrote nothing
	}
	if x.blocked != nil {
		x.err = x.blocked
	}
	if x.err != nil {
		f.fail(ctx, x)
	}
	f.log(ctx, x)
}

func (f *function) timeout() time.Duration {
	return max(time.Duration(f.row.TimeoutSec)*time.Second-answerTime, time.Second)
}

// withCorrelation takes the caller's id if it is one, and else makes one.
func withCorrelation(ctx context.Context, header http.Header) context.Context {
	id := header.Get(correlationHeader)
	if !correlationID.MatchString(id) || len(header.Values(correlationHeader)) > 1 || telemetry.Redact(id) != id {
		id = rand.Text()
	}
	return telemetry.WithCorrelation(ctx, id)
}

var correlationID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// withTrace takes the W3C's header, or Google's older one.
func withTrace(ctx context.Context, header http.Header) context.Context {
	trace, ok := telemetry.ParseTraceparent(header.Get("Traceparent"))
	if !ok {
		trace, ok = telemetry.ParseCloudTrace(header.Get("X-Cloud-Trace-Context"))
	}
	if !ok {
		return ctx
	}
	return telemetry.WithTrace(ctx, trace)
}

// setHeaders sets what every answer has; a handler may replace it before it writes.
func setHeaders(header http.Header, correlation string) {
	header.Set(correlationHeader, correlation)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
}

// contain routes and turns a panic into an error.
func (f *function) contain(x *exchange) {
	err := fault.Contain(func() error {
		if err := f.refuse(x); err != nil {
			return err
		}
		f.mux.ServeHTTP(&x.response, x.request) // which notes the handler's error
		return nil
	})
	if err != nil {
		x.err = err
	}
}

// refuse returns an error for a request that no route takes. The mux alone
// would redirect a path with dots or double slashes.
func (f *function) refuse(x *exchange) error {
	if _, pattern := f.mux.Handler(x.request); pattern != "" && isClean(x.request.URL.Path) {
		x.route = pattern
		return nil
	}
	allowed := f.allowed(x.request)
	if len(allowed) == 0 || !isClean(x.request.URL.Path) {
		return fault.New(fault.AuthUnrouted, "there is no such route")
	}
	x.Header().Set("Allow", strings.Join(allowed, ", "))
	return fault.New(fault.RequestMethod, "this route takes %s", strings.Join(allowed, ", "))
}

func isClean(p string) bool { return p == path.Clean(p) }

// allowed returns the methods that the path takes. HEAD goes with GET.
func (f *function) allowed(r *http.Request) []string {
	var methods []string
	for _, route := range f.row.Routes {
		probe := &http.Request{Method: route.Method, URL: r.URL, Host: r.Host}
		if _, pattern := f.mux.Handler(probe); pattern == "" || slices.Contains(methods, route.Method) {
			continue
		}
		methods = append(methods, route.Method)
		if route.Method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	return methods
}

// serve checks the caller, limits the body and calls the handler.
func (f *function) serve(w http.ResponseWriter, r *http.Request, route catalogue.Route, handler Handler) error {
	x := exchangeOf(r.Context())
	x.role = route.Role
	if route.Role != catalogue.Anyone {
		caller, err := f.kit.Authenticator.Authenticate(r.Context(), r.Header)
		if err != nil {
			return err
		}
		x.caller = caller
		if err := caller.RequireSomewhere(route.Role); err != nil {
			return err
		}
		x.gate = x.requireDecision
	}
	if r.ContentLength > MaxBodyBytes {
		return bodyTooLarge()
	}
	r = r.WithContext(withAccess(r.Context(), &x.access)) // a copy, which keeps the path's values
	r.Body = http.MaxBytesReader(x.under, r.Body, MaxBodyBytes)
	return handler(w, r)
}

// requireDecision is the gate of routes that ask for a role.
func (x *exchange) requireDecision() error {
	if x.decided.Load() {
		return nil
	}
	return fault.Wrap(fault.Internal, "answer without a decision on the project", nil)
}

// fail renders the error, if nothing was written yet.
func (*function) fail(ctx context.Context, x *exchange) {
	if x.status != 0 {
		_ = x.sever() // a server that cannot do it has no connection to keep from being taken for whole
		return
	}
	x.gate, x.blocked = nil, nil
	writeProblem(&x.response, ProblemOf(x.err, telemetry.Correlation(ctx)))
}

// log writes the one line of a request.
func (f *function) log(ctx context.Context, x *exchange) {
	r, status := x.request, x.status
	attrs := []slog.Attr{
		slog.Group("httpRequest", // cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#HttpRequest
			slog.String("requestMethod", r.Method),
			slog.String("requestUrl", r.URL.Path[:min(len(r.URL.Path), maxLoggedPath)]),
			slog.Int("status", status),
			slog.String("responseSize", fmt.Sprint(x.bytes)),
			slog.String("userAgent", r.UserAgent()[:min(len(r.UserAgent()), maxLoggedPath)]),
			slog.String("latency", fmt.Sprintf("%.6fs", f.kit.Clock.Now().Sub(x.start).Seconds())),
			slog.String("protocol", r.Proto)),
		slog.String("route", x.route),
	}
	if x.caller.Identity.Subject != "" {
		attrs = append(attrs, slog.String("caller", x.caller.Identity.Actor()))
	}
	if x.err != nil {
		attrs = append(attrs, slog.Any("error", x.err))
	}
	if x.replayOf != "" {
		attrs = append(attrs, slog.String("replayOf", x.replayOf))
	}
	if x.unkept != nil {
		attrs = append(attrs, slog.Any("answerNotKept", x.unkept))
	}
	var panicked *fault.Panic
	if errors.As(x.err, &panicked) {
		attrs = append(attrs, slog.Any("stack", panicked.Stack))
	}
	f.kit.Log.LogAttrs(ctx, levelOf(x), "request", attrs...)
}

func levelOf(x *exchange) slog.Level {
	switch {
	case x.status >= 500, x.err != nil && x.status < 400: // also an answer that was cut off
		return slog.LevelError
	case x.status == http.StatusUnauthorized, x.status == http.StatusForbidden, x.unkept != nil:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
