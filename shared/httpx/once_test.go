package httpx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/idempotency"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// shop is the function with a handler that does its work once.
type shop struct {
	world
	store   *docstore.Counting
	callers bearers
	works   *atomic.Int32 // how often work was called
}

func openShop(t *testing.T, work httpx.Handler) shop {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return shopOver(store, work)
}

func shopOver(store docstore.Store, work httpx.Handler) shop {
	s := shop{store: docstore.NewCounting(store), callers: maps.Clone(callers), works: new(atomic.Int32)}
	for name, issuer := range map[string]string{"carol": "https://a.example", "another carol": "https://b.example"} {
		s.callers[name] = auth.NewCaller(auth.Identity{Kind: auth.Local, Issuer: issuer, Subject: "carol"}, auth.Grants{"payments": {catalogue.Operator}})
	}
	keys := idempotency.Keys{Store: s.store, Clock: clock.Real()}
	handler := func(w http.ResponseWriter, r *http.Request) error {
		var b body
		if err := httpx.DecodeJSON(r, &b); err != nil {
			return err
		}
		id, err := httpx.Authorize(r.Context(), b.ProjectID)
		if err != nil {
			return err
		}
		return httpx.Once(keys, w, r, id, func(w http.ResponseWriter, r *http.Request) error {
			s.works.Add(1)
			return work(w, r)
		})
	}
	log := &bytes.Buffer{}
	kit := httpx.Kit{Log: telemetry.NewLogger(log, telemetry.Options{}), Clock: clock.Real(), Authenticator: s.callers}
	handlers := httpx.Handlers{}
	for _, route := range row.Routes {
		handlers[route.Method+" "+route.Path] = handler
	}
	s.world = world{httpx.Function(row, kit, handlers), log}
	return s
}

const payments = `{"projectId":"payments"}`

// post sends the request with that key.
func (s shop) post(who, key, body string, header ...string) *httptest.ResponseRecorder {
	s.log.Reset()
	return s.do("POST", "/things", who, body, append([]string{"Content-Type", "application/json", "Idempotency-Key", key}, header...)...)
}

// sells is work that answers with the number of the call.
func sells() httpx.Handler {
	var calls atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Location", "/things/payments")
		return httpx.WriteJSON(w, http.StatusCreated, map[string]any{"call": calls.Add(1), "correlationId": telemetry.Correlation(r.Context())})
	}
}

// is reports an answer that is not the call of that number, first or replayed.
func is(t *testing.T, answer *httptest.ResponseRecorder, call int, replayed bool) {
	t.Helper()
	header := answer.Header()
	if answer.Code != 201 || !strings.Contains(answer.Body.String(), fmt.Sprintf(`"call":%d,`, call)) ||
		header.Get("Location") != "/things/payments" || header.Get("Content-Type") != "application/json" || (header.Get("Idempotent-Replayed") == "true") != replayed {
		t.Errorf("answer = %d %v %s, want that of call %d, replayed %t", answer.Code, header, answer.Body, call, replayed)
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	s := openShop(t, sells())
	first := s.post("operator", `"k"`, payments, "X-Correlation-Id", "req-1")
	is(t, first, 1, false)
	if got, want := s.store.Reset(), (docstore.Counts{Gets: 1, Reads: 1, Commits: 2, Writes: 2}); got != want {
		t.Errorf("the first cost %+v, want %+v", got, want)
	}
	for _, key := range []string{`"k"`, `k`} {
		again := s.post("operator", key, payments, "X-Correlation-Id", "req-2")
		is(t, again, 1, true)
		if again.Body.String() != first.Body.String() || again.Header().Get("X-Correlation-Id") != "req-2" {
			t.Errorf("replayed %v %s, first %s", again.Header(), again.Body, first.Body)
		}
		if line := s.line(t); line["replayOf"] != "req-1" || line["severity"] != "INFO" {
			t.Errorf("log = %v", line)
		}
		if got, want := s.store.Reset(), (docstore.Counts{Gets: 1, Reads: 1}); got != want {
			t.Errorf("a repeat cost %+v, want %+v", got, want)
		}
	}

	for name, answer := range map[string]*httptest.ResponseRecorder{
		"another body":  s.post("operator", "k", `{"projectId":"payments","force":true}`),
		"an equal body": s.post("operator", "k", `{"projectId": "payments"}`),
		"a default":     s.post("operator", "k", `{"projectId":"payments","force":false}`),
	} {
		if p := problem(t, answer); answer.Code != 422 || p.Code != fault.IdempotencyKeyReused {
			t.Errorf("%s: %+v", name, p)
		}
	}
	is(t, s.post("carol", "k", payments), 2, false)
	is(t, s.post("root", "k", payments), 3, false)
	is(t, s.post("root", "k", `{"projectId":"web"}`), 4, false)
	is(t, s.post("operator", "K", payments), 5, false)
	is(t, s.post("another carol", "k", payments), 6, false)
	send := func(method, path string) *httptest.ResponseRecorder {
		return s.do(method, path, "operator", payments, "Content-Type", "application/json", "Idempotency-Key", "k")
	}
	is(t, send("PUT", "/things/payments"), 7, false)
	is(t, send("PUT", "/things/others"), 8, false)
	is(t, send("GET", "/things/others"), 9, false)
	is(t, send("PUT", "/things/payments"), 7, true)
	is(t, s.post("root", "k", payments), 3, true)
}

func TestWithoutAKeyNothingIsKept(t *testing.T) {
	t.Parallel()
	s := openShop(t, sells())
	for call := 1; call <= 2; call++ {
		is(t, s.do("POST", "/things", "operator", payments, "Content-Type", "application/json"), call, false)
	}
	if got := s.store.Counts(); got != (docstore.Counts{}) {
		t.Errorf("the store was asked: %+v", got)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	s := openShop(t, sells())
	for name, header := range map[string][]string{
		"empty": {""}, "an empty string": {`""`}, "too long": {strings.Repeat("k", 256)}, "not ASCII": {"schlüssel"}, "two": {"a", "b"}, "a list": {"a, b"}, "open": {`"` + canary},
	} {
		r := httptest.NewRequest("POST", "/things", strings.NewReader(payments))
		r.Header = http.Header{"Authorization": {"operator"}, "Content-Type": {"application/json"}, "Idempotency-Key": header}
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, r)
		if p := problem(t, answer); answer.Code != 400 || p.Code != fault.IdempotencyKeyInvalid || strings.Contains(p.Detail, canary) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if s.works.Load() != 0 || s.store.Counts() != (docstore.Counts{}) {
		t.Errorf("%d requests were carried out; the store was asked %+v", s.works.Load(), s.store.Counts())
	}
}

// TestCrowdOfOneKey holds the first request in the middle until all others
// have their answers.
func TestCrowdOfOneKey(t *testing.T) {
	t.Parallel()
	const crowd = 50
	others := make(chan struct{})
	s := openShop(t, func(w http.ResponseWriter, r *http.Request) error {
		select {
		case <-others:
		case <-r.Context().Done():
			t.Error("the others have not been answered")
		}
		return httpx.WriteJSON(w, http.StatusCreated, "done")
	})
	var wait sync.WaitGroup
	var refused atomic.Int32
	answers := make([]*httptest.ResponseRecorder, crowd)
	for i := range crowd {
		wait.Go(func() {
			answers[i] = s.do("POST", "/things", "operator", payments, "Content-Type", "application/json", "Idempotency-Key", "k")
			if answers[i].Code == http.StatusConflict && refused.Add(1) == crowd-1 {
				close(others)
			}
		})
	}
	wait.Wait()
	for _, answer := range answers {
		if answer.Code == http.StatusCreated {
			continue
		}
		wait := answer.Header().Get("Retry-After")
		if p := problem(t, answer); p.Code != fault.RequestInFlight || p.RetryAfter < 1 || fmt.Sprint(p.RetryAfter) != wait {
			t.Errorf("a request among others: %+v, Retry-After %s", p, wait)
		}
	}
	if s.works.Load() != 1 || refused.Load() != crowd-1 {
		t.Errorf("%d were carried out, %d refused", s.works.Load(), refused.Load())
	}
	if again := s.post("operator", "k", payments); again.Code != 201 || again.Body.String() != "\"done\"\n" || again.Header().Get("Idempotent-Replayed") != "true" {
		t.Errorf("a repeat after that: %d %s", again.Code, again.Body)
	}
}

// TestWhatIsKept repeats a request that was answered so.
func TestWhatIsKept(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		work   httpx.Handler
		status int
		kept   bool
	}{
		"success":         {sells(), 201, true},
		"nothing written": {func(http.ResponseWriter, *http.Request) error { return nil }, 200, true},
		"no content":      {func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(204); return nil }, 204, true},
		"text":            {func(w http.ResponseWriter, _ *http.Request) error { _, err := io.WriteString(w, "text"); return err }, 200, true},
		"malformed":       {fails(fault.Invalid), 400, true},
		"denied":          {fails(fault.New(fault.PermissionMissing, "x")), 403, true},
		"not found":       {fails(fault.New(fault.ProjectNotFound, "x")), 404, true},
		"exists":          {fails(fault.New(fault.ProjectExists, "x").WithRemedy("Look", "sealpost status")), 409, true},
		"unprocessable":   {fails(fault.New(fault.SourceMissing, "x")), 422, true},
		"too large":       {fails(fault.New(fault.ValueTooLarge, "x")), 413, true},
		"exhausted":       {fails(fault.Exhausted), 429, false},
		"to be repeated":  {fails(fault.New(fault.SyncInProgress, "x").WithRetryAfter(time.Second)), 409, false},
		"internal":        {fails(errors.New(canary)), 500, false},
		"upstream":        {fails(fault.Upstream), 502, false},
		"unavailable":     {fails(fault.Unavailable), 503, false},
		"deadline":        {fails(context.DeadlineExceeded), 504, false},
		"canceled":        {fails(context.Canceled), 499, false},
		"panic":           {func(http.ResponseWriter, *http.Request) error { panic(canary) }, 500, false},
		"written 503":     {func(w http.ResponseWriter, _ *http.Request) error { return httpx.WriteJSON(w, 503, "x") }, 503, false},
		"written 429":     {func(w http.ResponseWriter, _ *http.Request) error { return httpx.WriteJSON(w, 429, "x") }, 429, false},
		"failed when half": {func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = io.WriteString(w, canary)
			return fault.Upstream
		}, 502, false},
		"refused when half": {func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = io.WriteString(w, canary)
			return fault.NotFound
		}, 404, true},
		"written to be rep.": {func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Retry-After", "1")
			return httpx.WriteJSON(w, 202, "x")
		}, 202, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openShop(t, c.work)
			first := s.post("operator", "k", payments, "X-Correlation-Id", "req-1")
			if name == "panic" && (!strings.Contains(s.log.String(), "once_test.go") || strings.Contains(s.log.String(), canary)) {
				t.Errorf("log = %s", s.log)
			}
			again := s.post("operator", "k", payments, "X-Correlation-Id", "req-2")
			if first.Code != c.status || again.Code != c.status || strings.Contains(first.Body.String(), canary) || first.Header().Get("Idempotent-Replayed") != "" {
				t.Errorf("first %d %s, then %d %s; want %d", first.Code, first.Body, again.Code, again.Body, c.status)
			}
			if kept := again.Header().Get("Idempotent-Replayed") == "true"; kept != c.kept || (s.works.Load() == 1) != c.kept {
				t.Errorf("replayed %t, carried out %d times; want it kept: %t", kept, s.works.Load(), c.kept)
			}
			if c.kept && (again.Body.String() != first.Body.String() || again.Header().Get("Content-Type") != first.Header().Get("Content-Type")) {
				t.Errorf("first %v %s, then %v %s", first.Header(), first.Body, again.Header(), again.Body)
			}
			if !c.kept {
				other := s.post("operator", "k", `{"projectId":"payments","force":true}`)
				if other.Code != c.status {
					t.Errorf("the key is not free: %d %s", other.Code, other.Body)
				}
			}
		})
	}
}

// TestRoleTakenAway asks for an answer that the caller was once given.
func TestRoleTakenAway(t *testing.T) {
	t.Parallel()
	s := openShop(t, sells())
	is(t, s.post("carol", "k", payments), 1, false)
	s.callers["carol"] = auth.NewCaller(s.callers["carol"].Identity, auth.Grants{"web": {catalogue.Operator}})
	if p := problem(t, s.post("carol", "k", payments)); p.Status != 403 || p.Code != fault.AuthDenied {
		t.Errorf("a caller without the role: %+v", p)
	}
	delete(s.callers, "carol")
	if p := problem(t, s.post("carol", "k", payments)); p.Status != 401 {
		t.Errorf("a caller without a token: %+v", p)
	}
}

// TestOnceWithoutADecision is for the handler whose author forgot, and for a
// kept failure, which the gate for successes would let pass.
func TestOnceWithoutADecision(t *testing.T) {
	t.Parallel()
	s := openShop(t, fails(fault.New(fault.ProjectNotFound, canary)))
	if answer := s.post("operator", "k", payments); answer.Code != 404 {
		t.Fatalf("answer = %d %s", answer.Code, answer.Body)
	}
	keys := idempotency.Keys{Store: s.store, Clock: clock.Real()}
	forgets := serve(func(w http.ResponseWriter, r *http.Request) error {
		if err := httpx.DecodeJSON(r, &body{}); err != nil {
			return err
		}
		return httpx.Once(keys, w, r, "payments", sells())
	})
	answer := forgets.do("POST", "/things", "operator", payments, "Content-Type", "application/json", "Idempotency-Key", "k")
	if answer.Code != 500 || strings.Contains(answer.Body.String(), canary) {
		t.Errorf("answer = %d %s", answer.Code, answer.Body)
	}
}

// TestCallerGoesAway keeps what was done for a caller who did not wait for it.
func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	for name, done := range map[string]bool{"done": true, "broken off": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, goAway := context.WithCancel(t.Context())
			s := openShop(t, func(w http.ResponseWriter, r *http.Request) error {
				goAway()
				if !done {
					return fault.Annotate("work", r.Context().Err())
				}
				return httpx.WriteJSON(w, 201, "done")
			})
			r := httptest.NewRequestWithContext(ctx, "POST", "/things", strings.NewReader(payments))
			r.Header = http.Header{"Authorization": {"operator"}, "Content-Type": {"application/json"}, "Idempotency-Key": {"k"}}
			s.ServeHTTP(httptest.NewRecorder(), r)
			again := s.post("operator", "k", payments)
			if got := again.Header().Get("Idempotent-Replayed") == "true"; got != done {
				t.Errorf("then %d %v %s", again.Code, again.Header(), again.Body)
			}
		})
	}
}

// TestKilledInTheMiddle ends the request's goroutine as the end of the process would.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		s := openShop(t, func(w http.ResponseWriter, _ *http.Request) error {
			if calls.Add(1) == 1 {
				runtime.Goexit()
			}
			return httpx.WriteJSON(w, 201, "done")
		})
		var killed sync.WaitGroup
		killed.Go(func() { s.post("operator", "k", payments) })
		killed.Wait()
		timeout := time.Duration(row.TimeoutSec) * time.Second
		for _, pass := range []time.Duration{0, timeout / 2, timeout/2 - time.Millisecond} {
			time.Sleep(pass)
			if p := problem(t, s.post("operator", "k", payments)); p.Code != fault.RequestInFlight {
				t.Errorf("before its time is up: %+v", p)
			}
		}
		time.Sleep(time.Millisecond)
		if answer := s.post("operator", "k", payments); answer.Code != 201 || calls.Load() != 2 {
			t.Errorf("after that: %d %s", answer.Code, answer.Body)
		}
	})
}

func TestKeptForADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, sells())
		is(t, s.post("operator", "k", payments), 1, false)
		time.Sleep(24*time.Hour - time.Millisecond)
		is(t, s.post("operator", "k", payments), 1, true)
		time.Sleep(2 * time.Millisecond) // update times move on by themselves
		is(t, s.post("operator", "k", `{"projectId":"payments","force":true}`), 2, false)
	})
}

// TestTimeIsUpInWork frees the key although the request's own time has passed.
func TestTimeIsUpInWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := openShop(t, func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return fault.Annotate("work", r.Context().Err())
		})
		for range 2 {
			if answer := s.post("operator", "k", payments); answer.Code != 504 {
				t.Errorf("answer = %d %s", answer.Code, answer.Body)
			}
		}
		if s.works.Load() != 2 {
			t.Errorf("carried out %d times", s.works.Load())
		}
	})
}

// failing is a store whose commits fail from the second on.
type failing struct {
	docstore.Store
	commits atomic.Int32
	from    int32
}

func (f *failing) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	if f.commits.Add(1) >= f.from {
		return time.Time{}, fault.Wrap(fault.Unavailable, "commit", nil)
	}
	return f.Store.Commit(ctx, writes...)
}

func TestAnswerThatCannotBeKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from   int32
		status int
		works  int32
	}{{1, 503, 0}, {2, 201, 1}} {
		store, err := sqlitedoc.Open(":memory:", clock.Real())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		s := shopOver(&failing{Store: store, from: c.from}, sells())
		answer := s.post("operator", "k", payments)
		if answer.Code != c.status || s.works.Load() != c.works {
			t.Errorf("without commits from the %d. on: %d %s, carried out %d times", c.from, answer.Code, answer.Body, s.works.Load())
		}
		if line := s.line(t); c.status == 201 && (line["severity"] != "WARNING" || line["answerNotKept"] == nil) {
			t.Errorf("log = %v", line)
		}
	}
}
