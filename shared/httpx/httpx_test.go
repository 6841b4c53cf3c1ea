package httpx_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// canary is what must never be seen outside.
const canary = "canary-value-nobody-may-see"

// bearers is an authenticator that knows callers by their Authorization header.
type bearers map[string]auth.Caller

func (b bearers) Authenticate(_ context.Context, header http.Header) (auth.Caller, error) {
	caller, ok := b[header.Get("Authorization")]
	if !ok {
		return auth.Caller{}, fault.New(fault.AuthInvalid, "the token was not accepted")
	}
	return caller, nil
}

var callers = bearers{
	"viewer":   auth.NewCaller(auth.Identity{Kind: auth.Google, Subject: "1", Email: "alice@acme.example"}, auth.Grants{"payments": {catalogue.Viewer}}),
	"operator": auth.NewCaller(auth.Identity{Kind: auth.Local, Subject: "bob"}, auth.Grants{"payments": {catalogue.Operator}}),
	"root":     auth.NewCaller(auth.Identity{Kind: auth.Local, Subject: "root"}, auth.Grants{"*": {catalogue.Operator}}),
	"nobody":   auth.NewCaller(auth.Identity{Kind: auth.Local, Subject: "nobody"}, nil),
}

var row = catalogue.Function{Name: "things", TimeoutSec: 30, Routes: []catalogue.Route{
	{Method: "GET", Path: "/things/{id}", Role: catalogue.Viewer},
	{Method: "PUT", Path: "/things/{id}", Role: catalogue.Operator},
	{Method: "POST", Path: "/things", Role: catalogue.Operator},
	{Method: "GET", Path: "/open", Role: catalogue.Anyone},
}}

// world is the function with one handler at all its routes, and its log.
type world struct {
	http.Handler
	log *bytes.Buffer
}

func serve(handler httpx.Handler) world {
	log := &bytes.Buffer{}
	kit := httpx.Kit{Log: telemetry.NewLogger(log, telemetry.Options{Project: "acme"}), Clock: clock.Real(), Authenticator: callers}
	handlers := httpx.Handlers{}
	for _, route := range row.Routes {
		handlers[route.Method+" "+route.Path] = handler
	}
	return world{httpx.Function(row, kit, handlers), log}
}

func (w world) do(method, path, who string, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if who != "" {
		r.Header.Set("Authorization", who)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	return answer
}

// line returns the one line of the log.
func (w world) line(t *testing.T) map[string]any {
	t.Helper()
	if n := strings.Count(w.log.String(), "\n"); n != 1 {
		t.Fatalf("%d lines in the log: %s", n, w.log)
	}
	var line map[string]any
	if err := json.Unmarshal(w.log.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	return line
}

func problem(t *testing.T, answer *httptest.ResponseRecorder) httpx.Problem {
	t.Helper()
	if got := answer.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("Content-Type = %q, body %s", got, answer.Body)
	}
	decoder := json.NewDecoder(answer.Body)
	decoder.DisallowUnknownFields()
	var p httpx.Problem
	if err := decoder.Decode(&p); err != nil {
		t.Fatal(err)
	}
	if p.Status != answer.Code || p.CorrelationID != answer.Header().Get("X-Correlation-Id") || p.Type != "urn:sealpost:error:"+string(p.Code) ||
		p.Title == "" || p.Detail == "" || len(p.Remediation) == 0 {
		t.Errorf("problem = %+v", p)
	}
	return p
}

func fails(err error) httpx.Handler {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

func answers(w http.ResponseWriter, r *http.Request) error {
	if r.PathValue("id") != "" {
		if _, err := httpx.PathProject(r, "id"); err != nil {
			return err
		}
	}
	return httpx.WriteJSON(w, http.StatusOK, map[string]string{"ok": "yes"})
}

func TestEveryKindHasItsStatus(t *testing.T) {
	t.Parallel()
	want := map[fault.Kind]int{
		fault.Invalid: 400, fault.Unauthenticated: 401, fault.Denied: 403, fault.NotFound: 404, fault.Exists: 409, fault.Conflict: 409,
		fault.TooLarge: 413, fault.Unprocessable: 422, fault.Exhausted: 429, fault.Internal: 500, fault.Upstream: 502,
		fault.Unavailable: 503, fault.Deadline: 504, fault.Canceled: 499,
	}
	for _, kind := range fault.Kinds() {
		answer := serve(fails(fault.Wrap(kind, "op "+canary, errors.New(canary)))).do("GET", "/open", "", "")
		if answer.Code != want[kind] {
			t.Errorf("%s = %d, want %d", kind, answer.Code, want[kind])
		}
		if strings.Contains(answer.Body.String(), canary) {
			t.Errorf("%s shows its cause: %s", kind, answer.Body)
		}
		problem(t, answer)
	}
	if got := httpx.Status(errors.New("any")); got != 500 {
		t.Errorf("an error of no kind = %d", got)
	}
	for code, status := range map[fault.Code]int{fault.RequestMethod: 405, fault.RequestMediaType: 415, fault.RequestTooLarge: 413, fault.ValueTooLarge: 413} {
		if got := httpx.Status(fault.New(code, "x")); got != status {
			t.Errorf("%s = %d, want %d", code, got, status)
		}
	}
}

func TestProblem(t *testing.T) {
	t.Parallel()
	err := fault.New(fault.RateLimitExhausted, "the quota is spent").WithRetryAfter(1500*time.Millisecond).
		WithRemedy("Look at the quota", "sealpost status").WithCause(errors.New(canary))
	w := serve(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "text/csv")
		w.Header().Set("ETag", "x")
		return err
	})
	answer := w.do("GET", "/open", "", "", "X-Correlation-Id", "req-1")
	if answer.Code != 429 || answer.Header().Get("Retry-After") != "2" || answer.Header().Get("ETag") != "" {
		t.Errorf("answer = %d %v", answer.Code, answer.Header())
	}
	want := httpx.Problem{
		Type: "urn:sealpost:error:GITHUB_SECRETS_RATE_LIMIT_EXHAUSTED", Title: "GitHub's rate limit is spent", Status: 429,
		Detail: "the quota is spent", Code: fault.RateLimitExhausted, CorrelationID: "req-1", RetryAfter: 2,
		Remediation: []fault.Remedy{{Action: "Look at the quota", Command: "sealpost status"}, {Action: "Wait as long as retryAfter says; nothing was written beyond what the result lists."}},
	}
	if got := problem(t, answer); !reflect.DeepEqual(got, want) {
		t.Errorf("problem = %+v", got)
	}
	if fmt.Sprint(w.line(t)["error"]) != "map[code:GITHUB_SECRETS_RATE_LIMIT_EXHAUSTED kind:exhausted text:the quota is spent [GITHUB_SECRETS_RATE_LIMIT_EXHAUSTED]: "+canary+"]" {
		t.Errorf("log = %v", w.line(t)["error"])
	}
}

func TestCredentialsInADetailAreRedacted(t *testing.T) {
	t.Parallel()
	token := "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a"
	w := serve(fails(fault.New(fault.RequestMalformed, "bad %s", token).WithRemedy("use "+token, "curl "+token)))
	answer := w.do("GET", "/open", "", "", "X-Correlation-Id", token, "User-Agent", token)
	if strings.Contains(answer.Body.String()+fmt.Sprint(answer.Header())+w.log.String(), token) {
		t.Errorf("answer = %s, log = %s", answer.Body, w.log)
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]httpx.Handler{"success": answers, "failure": fails(fault.NotFound), "panic": func(http.ResponseWriter, *http.Request) error { panic(1) }} {
		header := serve(handler).do("GET", "/open", "", "").Header()
		for key, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"} {
			if header.Get(key) != want {
				t.Errorf("%s: %s = %q", name, key, header.Get(key))
			}
		}
	}
}

func TestCorrelationAndTrace(t *testing.T) {
	t.Parallel()
	var seen string
	w := serve(func(w http.ResponseWriter, r *http.Request) error {
		seen = telemetry.Correlation(r.Context())
		return answers(w, r)
	})
	for given, kept := range map[string]bool{"req-1": true, "A.b_c-9": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "": false, "a b": false, "a\nb": false, "ä": false} {
		got := w.do("GET", "/open", "", "", "X-Correlation-Id", given).Header().Get("X-Correlation-Id")
		if (got == given) != kept || len(got) < 5 || got != seen {
			t.Errorf("X-Correlation-Id %q became %q, in the context %q", given, got, seen)
		}
	}
	if got := w.do("GET", "/open", "", "", "X-Correlation-Id", "req-1", "X-Correlation-Id", "req-2").Header().Get("X-Correlation-Id"); strings.HasPrefix(got, "req") {
		t.Errorf("two ids became %q", got)
	}

	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for name, header := range map[string][]string{
		"W3C":    {"traceparent", "00-" + id + "-" + span + "-01"},
		"Google": {"X-Cloud-Trace-Context", id + "/67667974448284343;o=1"},
		"both":   {"X-Cloud-Trace-Context", strings.Repeat("1", 32), "Traceparent", "00-" + id + "-" + span + "-01"},
	} {
		w := serve(answers)
		w.do("GET", "/open", "", "", append(header, "X-Correlation-Id", "req-1")...)
		line := w.line(t)
		if line["logging.googleapis.com/trace"] != "projects/acme/traces/"+id || line["logging.googleapis.com/spanId"] != span ||
			fmt.Sprint(line["logging.googleapis.com/labels"]) != "map[correlationId:req-1]" {
			t.Errorf("%s: log = %v", name, line)
		}
	}
}

func TestAccessLine(t *testing.T) {
	t.Parallel()
	w := serve(answers)
	w.do("GET", "/things/payments?token="+canary, "viewer", "", "User-Agent", "curl/8")
	line := w.line(t)
	request, _ := line["httpRequest"].(map[string]any)
	if line["severity"] != "INFO" || line["message"] != "request" || line["route"] != "GET /things/{id}" || line["caller"] != "alice@acme.example" ||
		request["requestMethod"] != "GET" || request["requestUrl"] != "/things/payments" || request["status"] != 200.0 ||
		request["userAgent"] != "curl/8" || request["responseSize"] != "13" || !strings.HasSuffix(fmt.Sprint(request["latency"]), "s") {
		t.Errorf("line = %v", line)
	}
	if strings.Contains(w.log.String(), canary) {
		t.Errorf("the query is in the log: %s", w.log)
	}
	for status, c := range map[string]struct{ err error }{"ERROR": {fault.Internal}, "WARNING": {fault.Denied}, "INFO": {fault.NotFound}} {
		w := serve(fails(c.err))
		w.do("GET", "/open", "", "")
		if got := w.line(t)["severity"]; got != status {
			t.Errorf("%v is logged as %v", c.err, got)
		}
	}
}

func TestRouting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, path string
		status       int
		code         fault.Code
		allow        string
	}{
		{"GET", "/things/payments", 200, "", ""},
		{"HEAD", "/things/payments", 200, "", ""},
		{"GET", "/open", 200, "", ""},
		{"DELETE", "/things/payments", 405, fault.RequestMethod, "GET, HEAD, PUT"},
		{"OPTIONS", "/things/payments", 405, fault.RequestMethod, "GET, HEAD, PUT"},
		{"get", "/things/payments", 405, fault.RequestMethod, "GET, HEAD, PUT"},
		{"GET", "/things", 405, fault.RequestMethod, "POST"},
		{"POST", "/open", 405, fault.RequestMethod, "GET, HEAD"},
		{"GET", "/", 403, fault.AuthUnrouted, ""},
		{"GET", "/other", 403, fault.AuthUnrouted, ""},
		{"GET", "/things/", 403, fault.AuthUnrouted, ""},
		{"GET", "/things/payments/", 403, fault.AuthUnrouted, ""},
		{"GET", "/things/payments/more", 403, fault.AuthUnrouted, ""},
		{"GET", "//open", 403, fault.AuthUnrouted, ""},
		{"GET", "/things/../open", 403, fault.AuthUnrouted, ""},
		{"GET", "/things/./payments", 403, fault.AuthUnrouted, ""},
		{"GET", "/things/%2e%2e/open", 403, fault.AuthUnrouted, ""},
		{"DELETE", "/things//payments", 403, fault.AuthUnrouted, ""},
		{"GET", "/OPEN", 403, fault.AuthUnrouted, ""},
		{"GET", "/open;x=1", 403, fault.AuthUnrouted, ""},
	} {
		answer := serve(answers).do(c.method, c.path, "root", "")
		if answer.Code != c.status || answer.Header().Get("Allow") != c.allow || answer.Header().Get("Location") != "" {
			t.Errorf("%s %s = %d %v", c.method, c.path, answer.Code, answer.Header())
		}
		if c.code != "" {
			if got := problem(t, answer).Code; got != c.code {
				t.Errorf("%s %s: %s, want %s", c.method, c.path, got, c.code)
			}
		}
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method, path, who string
		status            int
	}{
		{"GET", "/things/payments", "", 401},
		{"GET", "/things/payments", "stranger", 401},
		{"GET", "/things/payments", "nobody", 403},
		{"GET", "/things/payments", "viewer", 200},
		{"GET", "/things/payments", "operator", 200},
		{"GET", "/things/payments", "root", 200},
		{"GET", "/things/web", "viewer", 403},
		{"GET", "/things/web", "root", 200},
		{"PUT", "/things/payments", "viewer", 403},
		{"PUT", "/things/payments", "operator", 200},
		{"PUT", "/things/web", "operator", 403},
		{"GET", "/things/*", "viewer", 400},
		{"GET", "/things/a%20b", "root", 400},
		{"GET", "/things/" + strings.Repeat("a", 101), "root", 400},
		{"GET", "/open", "", 200},
		{"GET", "/open", "stranger", 200},
	} {
		if answer := serve(answers).do(c.method, c.path, c.who, ""); answer.Code != c.status {
			t.Errorf("%s %s by %q = %d %s", c.method, c.path, c.who, answer.Code, answer.Body)
		}
	}
	if got := serve(answers).do("GET", "/things/payments", "stranger", "").Header().Get("WWW-Authenticate"); got != `Bearer realm="sealpost", error="invalid_token"` {
		t.Errorf("WWW-Authenticate = %q", got)
	}
}

// TestNoSuccessWithoutADecision is for the handler whose author forgot.
func TestNoSuccessWithoutADecision(t *testing.T) {
	t.Parallel()
	forgets := map[string]httpx.Handler{
		"writes JSON":   func(w http.ResponseWriter, _ *http.Request) error { return httpx.WriteJSON(w, 200, canary) },
		"writes":        func(w http.ResponseWriter, _ *http.Request) error { _, _ = io.WriteString(w, canary); return nil },
		"sets a status": func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(204); return nil },
		"flushes": func(w http.ResponseWriter, _ *http.Request) error {
			_ = http.NewResponseController(w).Flush()
			return nil
		},
		"writes nothing": func(http.ResponseWriter, *http.Request) error { return nil },
		"redirects": func(w http.ResponseWriter, r *http.Request) error {
			http.Redirect(w, r, "/"+canary, http.StatusFound)
			return nil
		},
		"ignores a no": func(w http.ResponseWriter, r *http.Request) error {
			_, _ = httpx.Authorize(r.Context(), httpx.Ref("web"))
			return httpx.WriteJSON(w, 200, canary)
		},
	}
	for name, handler := range forgets {
		answer := serve(handler).do("GET", "/things/payments", "viewer", "")
		if answer.Code != 500 || strings.Contains(answer.Body.String()+fmt.Sprint(answer.Header()), canary) || problem(t, answer).Code != fault.InternalError {
			t.Errorf("%s: %d %v %s", name, answer.Code, answer.Header(), answer.Body)
		}
	}
	// Where nobody is asked for a role, there is nothing to decide.
	if answer := serve(forgets["writes JSON"]).do("GET", "/open", "", ""); answer.Code != 200 {
		t.Errorf("open route = %d", answer.Code)
	}
}

func TestAuthorizeOutsideARequest(t *testing.T) {
	t.Parallel()
	if _, err := httpx.Authorize(t.Context(), httpx.Ref("payments")); !errors.Is(err, fault.AuthDenied) {
		t.Errorf("Authorize = %v", err)
	}
}

func TestPanicsAreContained(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{"text": canary, "error": errors.New(canary), "struct": struct{ V string }{canary}, "abort": http.ErrAbortHandler} {
		w := serve(func(http.ResponseWriter, *http.Request) error { panic(value) })
		answer := w.do("GET", "/open", "", "")
		if answer.Code != 500 || problem(t, answer).Code != fault.InternalError || strings.Contains(answer.Body.String()+w.log.String(), canary) {
			t.Errorf("%s: %d %s, log %s", name, answer.Code, answer.Body, w.log)
		}
		stack := fmt.Sprint(w.line(t)["stack"])
		if !strings.Contains(stack, "TestPanicsAreContained") || strings.Contains(stack, "0x") {
			t.Errorf("%s: stack = %s", name, stack)
		}
	}
	w := serve(func(w http.ResponseWriter, r *http.Request) error {
		return httpx.WriteJSON(w, 200, []int{}[len(r.Header)])
	})
	if answer := w.do("GET", "/open", "", ""); answer.Code != 500 || w.line(t)["severity"] != "ERROR" {
		t.Errorf("runtime panic = %d", answer.Code)
	}
}

// TestFailureAfterWriting needs a real connection: the caller must not take
// half an answer for a whole one.
func TestFailureAfterWriting(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func() error{"error": func() error { return fault.Upstream }, "panic": func() error { panic(canary) }} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(func(w http.ResponseWriter, _ *http.Request) error {
				_, _ = io.WriteString(w, "first line\n")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
				return end()
			})
			server := httptest.NewServer(w)
			answer, err := server.Client().Get(server.URL + "/open")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			server.Close() // and with it, the handler has ended
			if err == nil || string(body) != "first line\n" {
				t.Errorf("body = %q, %v; want it cut off", body, err)
			}
			if w.line(t)["severity"] != "ERROR" {
				t.Errorf("log = %s", w.log)
			}
		})
	}
}

func TestTimeIsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		answer := serve(func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return fault.Annotate("wait", r.Context().Err())
		}).do("GET", "/open", "", "")
		if answer.Code != 504 || time.Since(start) != 28*time.Second {
			t.Errorf("answer = %d after %v", answer.Code, time.Since(start))
		}
	})
}

type body struct {
	ProjectID httpx.ProjectRef `json:"projectId" required:"true"`
	Force     bool             `json:"force"`
}

func TestBodies(t *testing.T) {
	t.Parallel()
	decode := func(w http.ResponseWriter, r *http.Request) error {
		var b body
		if err := httpx.DecodeJSON(r, &b); err != nil {
			return err
		}
		id, err := httpx.Authorize(r.Context(), b.ProjectID)
		if err != nil {
			return err
		}
		return httpx.WriteJSON(w, 200, id)
	}
	const kind = "application/json"
	for name, c := range map[string]struct {
		text, contentType string
		status            int
		code              fault.Code
		detail            string
	}{
		"good":            {`{"projectId":"payments"}`, kind, 200, "", ""},
		"charset":         {`{"projectId":"payments"}`, kind + "; charset=UTF-8", 200, "", ""},
		"another project": {`{"projectId":"web"}`, kind, 403, fault.AuthDenied, `this needs the role operator for the project "web"`},
		"all projects":    {`{"projectId":"*"}`, kind, 400, fault.RequestMalformed, "projectId is not of the form that is wanted"},
		"no id":           {`{"projectId":"` + canary + ` x"}`, kind, 400, fault.RequestMalformed, "projectId is not of the form that is wanted"},
		"nothing":         {``, kind, 400, fault.RequestMalformed, "there is no JSON: it is empty"},
		"unknown field":   {`{"projectId":"payments","x":"` + canary + `"}`, kind, 400, fault.RequestMalformed, "x is not a known field"},
		"missing":         {`{}`, kind, 400, fault.RequestMalformed, "projectId is missing"},
		"no type":         {`{}`, "", 415, fault.RequestMediaType, "the body must have the Content-Type application/json"},
		"form":            {`a=b`, "application/x-www-form-urlencoded", 415, fault.RequestMediaType, "the body must have the Content-Type application/json"},
		"another charset": {`{}`, kind + "; charset=latin1", 415, fault.RequestMediaType, "the body must be in UTF-8"},
		"at the limit":    {`{"projectId":"payments"` + strings.Repeat(" ", 1<<20-24) + `}`, kind, 200, "", ""},
		"over the limit":  {`{"projectId":"payments"` + strings.Repeat(" ", 1<<20-23) + `}`, kind, 413, fault.RequestTooLarge, "the body is larger than 1048576 bytes"},
		"ten times over":  {strings.Repeat(canary, 400_000), kind, 413, fault.RequestTooLarge, "the body is larger than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, length := range []string{"with its length", "in chunks"} {
				w := serve(decode)
				r := httptest.NewRequest("POST", "/things", strings.NewReader(c.text))
				r.Header.Set("Authorization", "operator")
				r.Header.Set("Content-Type", c.contentType)
				if length == "in chunks" {
					r.ContentLength = -1
				}
				answer := httptest.NewRecorder()
				w.ServeHTTP(answer, r)
				if answer.Code != c.status || strings.Contains(answer.Body.String()+w.log.String(), canary) {
					t.Fatalf("%s: %d %s, log %.300s", length, answer.Code, answer.Body, w.log)
				}
				if c.code != "" {
					if p := problem(t, answer); p.Code != c.code || p.Detail != c.detail {
						t.Errorf("%s: %s %q", length, p.Code, p.Detail)
					}
				}
			}
		})
	}
	compressed := serve(decode).do("POST", "/things", "operator", "{}", "Content-Type", kind, "Content-Encoding", "gzip")
	if compressed.Code != 415 {
		t.Errorf("compressed = %d", compressed.Code)
	}
}

func TestReadJSONKeepsTheText(t *testing.T) {
	t.Parallel()
	var got []byte
	w := serve(func(_ http.ResponseWriter, r *http.Request) (err error) { got, err = httpx.ReadJSON(r); return err })
	const text = ` {"a":[1.0]} `
	if w.do("GET", "/open", "", text, "Content-Type", "application/json"); string(got) != text {
		t.Errorf("ReadJSON = %q", got)
	}
	if answer := w.do("GET", "/open", "", `{"a":1,"a":2}`, "Content-Type", "application/json"); answer.Code != 400 {
		t.Errorf("repeated field = %d", answer.Code)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New(canary) }

func TestBodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	w := serve(func(_ http.ResponseWriter, r *http.Request) error { return httpx.DecodeJSON(r, &body{}) })
	r := httptest.NewRequest("GET", "/open", broken{})
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	if answer.Code != 400 || strings.Contains(answer.Body.String(), canary) {
		t.Errorf("answer = %d %s", answer.Code, answer.Body)
	}
}

func TestAnswerWithoutJSON(t *testing.T) {
	t.Parallel()
	answer := serve(func(w http.ResponseWriter, _ *http.Request) error { return httpx.WriteJSON(w, 200, make(chan int)) }).do("GET", "/open", "", "")
	if answer.Code != 500 {
		t.Errorf("answer = %d", answer.Code)
	}
	problem(t, answer)
}

func TestQuery(t *testing.T) {
	t.Parallel()
	parse := func(query string) (httpx.Query, error) {
		return httpx.ParseQuery(&http.Request{URL: mustParse("/x?" + query)}, "projectId", "limit", "from", "format")
	}
	q, err := parse("projectId=payments&limit=7&from=2026-01-02T03:04:05%2B01:00")
	if err != nil {
		t.Fatal(err)
	}
	ref, given, err := q.Project("projectId")
	if err != nil || !given || ref != httpx.Ref("payments") {
		t.Errorf("Project = %v, %v, %v", ref, given, err)
	}
	if n, err := q.Int("limit", 1, 10, 5); n != 7 || err != nil {
		t.Errorf("Int = %d, %v", n, err)
	}
	if at, err := q.Time("from"); !at.Equal(time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC)) || at.Location() != time.UTC || err != nil {
		t.Errorf("Time = %v, %v", at, err)
	}
	if text, err := q.OneOf("format", "json", "csv"); text != "json" || err != nil {
		t.Errorf("OneOf = %q, %v", text, err)
	}
	q, err = parse("")
	if n, _ := q.Int("limit", 1, 10, 5); err != nil || n != 5 || q.Text("projectId") != "" {
		t.Errorf("defaults = %d, %v", n, err)
	}

	for query, want := range map[string]string{
		"x=1": "the query has a parameter other than projectId, limit, from, format", canary + "=1": "the query has a parameter other than projectId, limit, from, format",
		"limit=1&limit=2": "the parameter limit is there twice", "limit=%zz": "the query is not well formed", "a;b": "the query is not well formed",
		"projectId=%ff": "the parameter projectId has a character that it cannot have", "projectId=a%0ab": "the parameter projectId has a character that it cannot have",
	} {
		if _, err := parse(query); !errors.Is(err, fault.RequestMalformed) || fault.Detail(err) != want {
			t.Errorf("%s: %v", query, err)
		}
	}
	q, err = parse("projectId=*&limit=" + canary + "&from=" + canary + "&format=" + canary)
	if err != nil {
		t.Fatal(err)
	}
	_, _, errProject := q.Project("projectId")
	_, errInt := q.Int("limit", 1, 10, 5)
	_, errTime := q.Time("from")
	_, errOne := q.OneOf("format", "json", "csv")
	for _, err := range []error{errProject, errInt, errTime, errOne} {
		if !errors.Is(err, fault.RequestMalformed) || strings.Contains(err.Error(), canary) {
			t.Errorf("bad value: %v", err)
		}
	}
}

func TestWiringFaultsShowAtOnce(t *testing.T) {
	t.Parallel()
	kit := httpx.Kit{Log: slog.New(slog.DiscardHandler), Clock: clock.Real(), Authenticator: callers}
	full := func() httpx.Handlers {
		return httpx.Handlers{"GET /things/{id}": answers, "PUT /things/{id}": answers, "POST /things": answers, "GET /open": answers}
	}
	for name, build := range map[string]func(){
		"a handler is missing": func() { h := full(); delete(h, "GET /open"); httpx.Function(row, kit, h) },
		"a handler too many":   func() { h := full(); h["GET /more"] = answers; httpx.Function(row, kit, h) },
		"nobody authenticates": func() { k := kit; k.Authenticator = nil; httpx.Function(row, k, full()) },
		"a role that is unknown": func() {
			httpx.Function(catalogue.Function{Routes: []catalogue.Route{{Method: "GET", Path: "/open"}}}, kit, httpx.Handlers{"GET /open": answers})
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: it was built", name)
				}
			}()
			build()
		}()
	}
}

func TestErrorReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("errors.md")
	if err != nil || string(page) != httpx.ErrorReference() {
		t.Errorf("errors.md is not what the registry says (%v): run go run ./scripts/generate", err)
	}
}

func mustParse(raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err) // the queries of the table parse as far as a URL needs
	}
	return u
}
