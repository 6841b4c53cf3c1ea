package eventx_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/eventx"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/telemetry"
)

const (
	canary       = "canary-value-nobody-may-see"
	subscription = "projects/acme/subscriptions/worker"
	pusher       = "pusher@acme.iam.gserviceaccount.com"
)

var row = catalogue.Function{Name: "worker", TimeoutSec: 30, Routes: []catalogue.Route{{Method: "POST", Path: "/push/worker", Role: catalogue.Internal}}}

// bearers is an authenticator that knows callers by their Authorization header.
type bearers map[string]auth.Caller

func (b bearers) Authenticate(_ context.Context, header http.Header) (auth.Caller, error) {
	caller, ok := b[header.Get("Authorization")]
	if !ok {
		return auth.Caller{}, fault.New(fault.AuthRequired, "there is no token")
	}
	return caller, nil
}

func account(email string, project string, role catalogue.Role) auth.Caller {
	return auth.NewCaller(auth.Identity{Kind: auth.Google, Subject: "1", Email: email}, auth.Grants{project: {role}})
}

var callers = bearers{
	"pusher":    account(pusher, "*", catalogue.Internal),
	"scheduler": account("scheduler@acme.iam.gserviceaccount.com", "*", catalogue.Internal),
	"one":       account(pusher, "payments", catalogue.Internal),
	"operator":  account(pusher, "*", catalogue.Operator),
}

// world is the function, its log and the messages that it got.
type world struct {
	http.Handler
	log bytes.Buffer
	got []event.Message
	ids []string // correlation ids
}

func serve(handle func(context.Context, event.Message) error) *world {
	w := &world{}
	kit := httpx.Kit{Log: telemetry.NewLogger(&w.log, telemetry.Options{}), Clock: clock.Real(), Authenticator: callers}
	options := eventx.Options{Subscriptions: []string{"projects/acme/subscriptions/other", subscription}, Callers: []string{pusher}}
	w.Handler = eventx.Function(row, kit, options, func(ctx context.Context, m event.Message) error {
		w.got = append(w.got, m)
		w.ids = append(w.ids, telemetry.Correlation(ctx))
		return handle(ctx, m)
	})
	return w
}

func done(context.Context, event.Message) error { return nil }

func (w *world) push(who, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/push/worker", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", who)
	answer := httptest.NewRecorder()
	w.ServeHTTP(answer, r)
	return answer
}

// lines returns the log's lines with a message.
func (w *world) lines(t *testing.T, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for text := range strings.Lines(w.log.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line["message"] == message {
			found = append(found, line)
		}
	}
	return found
}

func body(from string, attempt int, attributes string) string {
	data := base64.StdEncoding.EncodeToString([]byte("nudge"))
	return fmt.Sprintf(`{"message":{"data":%q,"attributes":{%s},"messageId":"7"},"subscription":%q,"deliveryAttempt":%d}`, data, attributes, from, attempt)
}

func TestAMessageIsCalledWith(t *testing.T) {
	t.Parallel()
	w := serve(done)
	answer := w.push("pusher", body(subscription, 2, `"correlationId":"req-1","k":"v"`))
	if answer.Code != http.StatusNoContent || len(w.got) != 1 {
		t.Fatalf("answer = %d %s, %d calls", answer.Code, answer.Body, len(w.got))
	}
	if m := w.got[0]; string(m.Data) != "nudge" || m.Attributes["k"] != "v" || m.ID != "7" || m.Attempt != 2 || m.Subscription != subscription {
		t.Errorf("message = %+v", m)
	}
	line := w.lines(t, eventx.LineDone)
	if len(line) != 1 || line[0]["severity"] != "INFO" || line[0]["messageId"] != "7" ||
		fmt.Sprint(line[0]["logging.googleapis.com/labels"]) != "map[correlationId:req-1]" {
		t.Errorf("lines = %v", line)
	}
}

// TestRefusals is who may push, from where, and what. Nothing of a refused body
// is repeated, and nothing is called.
func TestRefusals(t *testing.T) {
	t.Parallel()
	good := body(subscription, 1, "")
	for name, test := range map[string]struct {
		who, body string
		status    int
	}{
		"no token":                       {"", good, 401},
		"another role":                   {"operator", good, 403},
		"the role for one project":       {"one", good, 403},
		"another service account":        {"scheduler", good, 403},
		"another subscription":           {"pusher", body("projects/"+canary+"/subscriptions/worker", 1, ""), 403},
		"no subscription":                {"pusher", `{"message":{"messageId":"7"}}`, 403},
		"no body":                        {"pusher", "", 400},
		"no JSON":                        {"pusher", canary, 400},
		"a list":                         {"pusher", `["` + canary + `"]`, 400},
		"two bodies":                     {"pusher", good + good, 400},
		"a field twice":                  {"pusher", `{"message":{},"message":{}}`, 400},
		"no message":                     {"pusher", `{"subscription":"` + subscription + `"}`, 400},
		"no base64":                      {"pusher", `{"message":{"data":"` + canary + `?"},"subscription":"` + subscription + `"}`, 400},
		"larger than a message":          {"pusher", body(subscription, 1, `"a":"`+strings.Repeat("x", event.MaxBytes)+`"`), 413},
		"larger than any body":           {"pusher", body(subscription, 1, `"a":"`+strings.Repeat("x", 1<<20)+`"`), 413},
		"garbled, another subscription":  {"pusher", `{"message":{"data":"?"},"subscription":"x"}`, 400},
		"another account, another topic": {"scheduler", body("x", 1, ""), 403},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(done)
			for range 2 { // each time
				answer := w.push(test.who, test.body)
				if answer.Code != test.status {
					t.Errorf("answer = %d %s, want %d", answer.Code, answer.Body, test.status)
				}
				if strings.Contains(answer.Body.String()+w.log.String(), canary) {
					t.Errorf("the body is repeated: %s %s", answer.Body, w.log.String())
				}
			}
			if len(w.got) > 0 {
				t.Errorf("it was called with %+v", w.got)
			}
			if n := len(w.lines(t, "request")); n != 2 {
				t.Errorf("%d lines about the requests", n)
			}
		})
	}
}

func TestWithoutCallersTheRoleDecides(t *testing.T) {
	t.Parallel()
	kit := httpx.Kit{Log: slog.New(slog.DiscardHandler), Clock: clock.Real(), Authenticator: callers}
	w := &world{Handler: eventx.Function(row, kit, eventx.Options{Subscriptions: []string{subscription}}, done)}
	if answer := w.push("scheduler", body(subscription, 1, "")); answer.Code != 204 {
		t.Errorf("answer = %d", answer.Code)
	}
	if answer := w.push("operator", body(subscription, 1, "")); answer.Code != 403 {
		t.Errorf("another role = %d", answer.Code)
	}
}

// TestAttempts follows a poison message to its end: every answer makes Pub/Sub
// deliver it again, and the last attempt, and only that, is critical.
func TestAttempts(t *testing.T) {
	t.Parallel()
	for name, handle := range map[string]func(context.Context, event.Message) error{
		"an error":          func(context.Context, event.Message) error { return errors.New("no") },
		"a fault":           func(context.Context, event.Message) error { return fault.New(fault.SyncInProgress, "held") },
		"a panic":           func(context.Context, event.Message) error { panic(canary) },
		"an ended context":  func(context.Context, event.Message) error { return context.Canceled },
		"a garbled message": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := serve(handle)
			for attempt := 1; attempt <= eventx.DefaultMaxAttempts; attempt++ {
				text := body(subscription, attempt, `"correlationId":"req-1"`)
				if handle == nil {
					text = strings.Replace(text, `"data":"`, `"data":"?`, 1)
				}
				if answer := w.push("pusher", text); answer.Code < 400 {
					t.Errorf("attempt %d = %d", attempt, answer.Code)
				}
			}
			failed, dead := w.lines(t, eventx.LineFailed), w.lines(t, eventx.LineDead)
			if len(failed) != eventx.DefaultMaxAttempts-1 || failed[0]["severity"] != "WARNING" {
				t.Errorf("failed: %v", failed)
			}
			if len(dead) != 1 || dead[0]["severity"] != "CRITICAL" || dead[0]["subscription"] != subscription || dead[0]["error"] == nil {
				t.Errorf("dead: %v", dead)
			}
			if strings.Contains(w.log.String(), canary) {
				t.Errorf("the log shows what panicked: %s", w.log.String())
			}
		})
	}
}

func TestAttemptsThatNobodyCounts(t *testing.T) {
	t.Parallel()
	w := serve(func(context.Context, event.Message) error { return fault.Unavailable })
	if answer := w.push("pusher", body(subscription, 0, "")); answer.Code != 503 || len(w.lines(t, eventx.LineFailed)) != 1 {
		t.Errorf("answer = %d, log %s", answer.Code, w.log.String())
	}
}

func TestCorrelation(t *testing.T) {
	t.Parallel()
	for attribute, taken := range map[string]bool{
		"req-1": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false, "a b": false, "": false, "é": false,
		"gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a": false,
	} {
		w := serve(done)
		if answer := w.push("pusher", body(subscription, 1, `"correlationId":"`+attribute+`"`)); answer.Code != 204 {
			t.Fatalf("%q: answer = %d", attribute, answer.Code)
		}
		if got := w.ids[0]; (got == attribute) != taken || got == "" {
			t.Errorf("%q: the call has %q", attribute, got)
		}
	}
}

func TestWiringFaultsShowAtOnce(t *testing.T) {
	t.Parallel()
	for name, route := range map[string]catalogue.Route{
		"another role":   {Method: "POST", Path: "/push/worker", Role: catalogue.Anyone},
		"another method": {Method: "PUT", Path: "/push/worker", Role: catalogue.Internal},
		"another path":   {Method: "POST", Path: "/push/other", Role: catalogue.Internal},
		"no log":         row.Routes[0],
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: it was built", name)
				}
			}()
			log := slog.New(slog.DiscardHandler)
			if name == "no log" {
				log = nil
			}
			eventx.Handlers(catalogue.Function{Name: "worker", Routes: []catalogue.Route{route}}, eventx.Options{Log: log}, done)
		}()
	}
}
