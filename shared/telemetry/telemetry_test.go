package telemetry_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// leaks are credentials as they look, put together at run time so that no
// scanner takes this file for a leak. Of each, the part that must not show.
var leaks = map[string]struct{ text, hidden string }{
	"GitHub classic":          {"got " + "gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a back", "16C7e42F292c6912E7710c838347Ae178B4a"},
	"GitHub OAuth":            {"gh" + "o_16C7e42F292c6912E7710c838347Ae178B4a", "16C7e42F"},
	"GitHub installation":     {"gh" + "s_16C7e42F292c6912E7710c838347Ae178B4a", "16C7e42F"},
	"GitHub installation JWT": {"gh" + "s_1234_eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxIn0.c2lnbmF0dXJl", "c2lnbmF0dXJl"},
	"GitHub user":             {"gh" + "u_16C7e42F292c6912E7710c838347Ae178B4a", "16C7e42F"},
	"GitHub refresh":          {"gh" + "r_16C7e42F292c6912E7710c838347Ae178B4a", "16C7e42F"},
	"GitHub fine-grained":     {"github" + "_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz", "mnopqrstuvwxyz"},
	"JWT":                     {"token=eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl.", "c2lnbmF0dXJl"},
	"unsigned JWT":            {"eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0In0.", "eyJzdWIiOiIxMjM0In0"},
	"PEM":                     {"-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----", "IBAAKC"},
	"PEM in one line":         {`-----BEGIN ` + `PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END PRIVATE KEY-----`, "IBAAKC"},
	"PEM cut short":           {"-----BEGIN EC " + "PRIVATE KEY-----\nMIIEow\nIBAA", "IBAA"},
	"AWS key id":              {"AKIA" + "IOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"},
	"AWS secret key":          {"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"},
	"Google API key":          {"key=AIza" + "SyA-1234567890abcdefghijklmnopqrst", "1234567890abcdef"},
	"Google access token":     {"ya29." + "a0AfH6SMBabcdefghijklmnop", "AfH6SMB"},
	"connection string":       {"dial postgres://app:hunter2@db.internal:5432/payments failed", "hunter2"},
	"password with @ and /":   {"postgres://app:p@ss/word@db.internal/payments", "ss/word"},
	"no user":                 {"redis://:hunter2@cache:6379", "hunter2"},
	"token as user":           {"https://0123456789abcdef@github.example/acme/app", "0123456789abcdef"},
	"encoded in a query":      {"/x?dsn=postgres%3A%2F%2Fapp%3Ahunter2%40db", "hunter2"},
	"MySQL":                   {"app:hunter2@tcp(db:3306)/payments", "hunter2"},
	"key=value DSN":           {"host=db user=app password=hunter2 dbname=x", "hunter2"},
	"quoted":                  {`password="correct horse battery"`, "battery"},
	"JSON":                    {`{"client_secret":"hunter2"}`, "hunter2"},
	"Bearer":                  {"Bearer 0123456789abcdef0123", "0123456789abcdef"},
	"Authorization":           {"Authorization: token hunter2hunter2", "hunter2"},
	"header map":              {"map[Authorization:[Basic aHVudGVyMjpodW50ZXI=]]", "aHVudGVy"},
	"Stripe":                  {"sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqLyjWDarjtT1zdp7dc"},
	"Slack":                   {"xox" + "b-123456789012-abcdefGHIJKL", "abcdefGHIJKL"},
}

// What the registry of codes says is ours, and must arrive as it stands there.
func TestRedactLeavesTheRegistryWhole(t *testing.T) {
	t.Parallel()
	for _, entry := range fault.Registry() {
		for _, text := range []string{entry.Title, entry.Remedy} {
			if got := telemetry.Redact(text); got != text {
				t.Errorf("%s: %q arrives as %q", entry.Code, text, got)
			}
		}
	}
}

func TestRedactHidesCredentials(t *testing.T) {
	t.Parallel()
	for name, leak := range leaks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := telemetry.Redact(leak.text); strings.Contains(got, leak.hidden) || !strings.Contains(got, telemetry.Redacted) {
				t.Errorf("Redact = %q", got)
			}
			if encoded := base64.StdEncoding.EncodeToString([]byte(leak.text + strings.Repeat(" ", 24))); telemetry.Redact("body "+encoded) != "body "+telemetry.Redacted {
				t.Errorf("base64 shows: %q", telemetry.Redact(encoded))
			}
			if encoded := hex.EncodeToString([]byte(leak.text)); telemetry.Redact(encoded) != telemetry.Redacted {
				t.Errorf("hex shows: %q", telemetry.Redact(encoded))
			}
		})
	}
}

func TestRedactLeavesTheRest(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "synced DATABASE_URL to actions", "projects/acme/secrets/db-url/versions/7", "https://api.github.com/repos/acme/app",
		"http://127.0.0.1:8080/projects/payments-api", "alice@acme.example", "the token is expired", "secret STRIPE_KEY: not found",
		"lease ghost_of_a_chance", "4bf92f3577b34da6a3ce929d0e0e4736", "bearer token required", "the password is wrong",
	} {
		if got := telemetry.Redact(text); got != text {
			t.Errorf("Redact(%q) = %q", text, got)
		}
	}
}

func TestRedactIsIdempotentAndKeepsNoLeak(t *testing.T) {
	t.Parallel()
	names := make([]string, 0, len(leaks))
	for name := range leaks {
		names = append(names, name)
	}
	rapid.Check(t, func(t *rapid.T) {
		leak := leaks[rapid.SampledFrom(names).Draw(t, "leak")]
		around := rapid.StringOf(rapid.RuneFrom([]rune("ab =:\"'[]{}\n,é")))
		text := around.Draw(t, "before") + " " + leak.text + "\n" + around.Draw(t, "after")
		once := telemetry.Redact(text)
		if strings.Contains(once, leak.hidden) {
			t.Fatalf("Redact(%q) = %q", text, once)
		}
		if twice := telemetry.Redact(once); twice != once {
			t.Fatalf("Redact again: %q, then %q", once, twice)
		}
	})
}

// line logs once and returns the decoded line with its raw text.
func line(t *testing.T, options telemetry.Options, log func(*slog.Logger)) (map[string]any, string) {
	t.Helper()
	var out bytes.Buffer
	log(telemetry.NewLogger(&out, options))
	var fields map[string]any
	if err := json.Unmarshal(out.Bytes(), &fields); err != nil {
		t.Fatalf("not one JSON line: %v in %q", err, out.String())
	}
	return fields, out.String()
}

type upstream struct {
	Name   string
	Body   []byte
	Header map[string][]string
	Nested struct{ DSN *string }
}

type talkative struct{ text string }

func (t talkative) LogValue() slog.Value { return slog.GroupValue(slog.String("inner", t.text)) }

type panicking struct{}

func (panicking) Error() string { panic("gh" + "p_16C7e42F292c6912E7710c838347Ae178B4a") }

func TestNoAttributeLeaks(t *testing.T) {
	t.Parallel()
	for name, leak := range leaks {
		body := upstream{Name: leak.text, Body: []byte(leak.text + strings.Repeat(" ", 24)), Header: map[string][]string{"Cookie": {leak.hidden}, leak.text: {leak.text}}}
		body.Nested.DSN = &leak.text
		sinks := map[string]func(*slog.Logger){
			"message": func(l *slog.Logger) {
				_ = l.Handler().Handle(t.Context(), slog.NewRecord(time.Time{}, slog.LevelInfo, leak.text, 0))
			},
			"string":        func(l *slog.Logger) { l.Info("x", "a", leak.text) },
			"key":           func(l *slog.Logger) { l.Info("x", leak.text, 1) },
			"error":         func(l *slog.Logger) { l.Info("x", "error", errors.New(leak.text)) },
			"wrapped error": func(l *slog.Logger) { l.Info("x", "error", fmt.Errorf("op: %w", errors.New(leak.text))) },
			"fault":         func(l *slog.Logger) { l.Info("x", "error", fault.Wrap(fault.Upstream, "op", errors.New(leak.text))) },
			"bytes":         func(l *slog.Logger) { l.Info("x", "a", []byte(leak.text)) },
			"any":           func(l *slog.Logger) { l.Info("x", "a", body) },
			"pointer":       func(l *slog.Logger) { l.Info("x", "a", &body) },
			"slice":         func(l *slog.Logger) { l.Info("x", "a", []any{1, leak.text}) },
			"raw JSON":      func(l *slog.Logger) { l.Info("x", "a", json.RawMessage(fmt.Sprintf("{%q:%q}", "k", leak.text))) },
			"group":         func(l *slog.Logger) { l.Info("x", slog.Group("g", slog.Group("h", "a", leak.text))) },
			"With":          func(l *slog.Logger) { l.With("a", leak.text).Info("x") },
			"WithGroup":     func(l *slog.Logger) { l.WithGroup(leak.text).With("a", leak.text).Info("x", "b", leak.text) },
			"LogValuer":     func(l *slog.Logger) { l.Info("x", "a", talkative{leak.text}) },
			"name of a field": func(l *slog.Logger) {
				l.Info("x", slog.Attr{Key: "X-Serverless-Authorization", Value: slog.StringValue(leak.hidden)})
			},
		}
		for sink, log := range sinks {
			if _, raw := line(t, telemetry.Options{}, log); strings.Contains(raw, leak.hidden) {
				t.Errorf("%s leaks through %s: %s", name, sink, raw)
			}
		}
	}
}

func TestValuesAndPanicsStayHidden(t *testing.T) {
	t.Parallel()
	const canary = "canary-value-nobody-may-see"
	held := struct{ Value secret.Value }{secret.NewValue(canary)}
	for name, v := range map[string]any{"value": held.Value, "struct": held, "map": map[string]any{"v": held.Value}, "panic": panicking{}, "channel": make(chan int)} {
		if _, raw := line(t, telemetry.Options{}, func(l *slog.Logger) { l.Info("x", "a", v) }); strings.Contains(raw, canary) || strings.Contains(raw, "16C7e42F") {
			t.Errorf("%s: %s", name, raw)
		}
	}
}

func TestLineHasCloudLoggingsFields(t *testing.T) {
	t.Parallel()
	ctx := telemetry.WithCorrelation(t.Context(), "req-1")
	ctx = telemetry.WithTrace(ctx, telemetry.Trace{TraceID: strings.Repeat("a", 32), SpanID: strings.Repeat("b", 16), Sampled: true})
	cause := fault.New(fault.SourceMissing, "acme/db-url has no version").WithOp("gsm.Value").WithCause(errors.New("gone"))
	fields, raw := line(t, telemetry.Options{Project: "acme", Function: "sync-secrets", Source: true}, func(l *slog.Logger) {
		l.WithGroup("sync").With("n", 3).ErrorContext(ctx, "failed", "error", cause, "took", time.Second)
	})
	want := map[string]any{
		"severity": "ERROR", "message": "failed",
		"logging.googleapis.com/trace":         "projects/acme/traces/" + strings.Repeat("a", 32),
		"logging.googleapis.com/spanId":        strings.Repeat("b", 16),
		"logging.googleapis.com/trace_sampled": true,
		"logging.googleapis.com/labels":        map[string]any{"correlationId": "req-1", "function": "sync-secrets"},
		"sync": map[string]any{"n": 3.0, "took": 1e9, "error": map[string]any{
			"text": "gsm.Value: acme/db-url has no version [GITHUB_SECRETS_SOURCE_MISSING]: gone", "kind": "unprocessable", "code": "GITHUB_SECRETS_SOURCE_MISSING"}},
	}
	for key, value := range want {
		if fmt.Sprint(fields[key]) != fmt.Sprint(value) {
			t.Errorf("%s = %v, want %v", key, fields[key], value)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(fields["time"])); err != nil {
		t.Errorf("time: %v", err)
	}
	source, _ := fields["logging.googleapis.com/sourceLocation"].(map[string]any)
	if file, _ := source["file"].(string); !strings.HasSuffix(file, "telemetry_test.go") {
		t.Errorf("sourceLocation = %v", source)
	}
	if strings.Count(raw, "\n") != 1 {
		t.Errorf("more than one line: %q", raw)
	}
}

func TestSeverities(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "DEBUG", slog.LevelInfo: "INFO", telemetry.LevelNotice: "NOTICE",
		slog.LevelWarn: "WARNING", slog.LevelError: "ERROR", telemetry.LevelCritical: "CRITICAL",
	} {
		fields, _ := line(t, telemetry.Options{Level: slog.LevelDebug}, func(l *slog.Logger) { l.Log(t.Context(), level, "x") })
		if fields["severity"] != want {
			t.Errorf("%v is %v, want %s", level, fields["severity"], want)
		}
	}
}

func TestAttributesNeverRepeatAReservedField(t *testing.T) {
	t.Parallel()
	fields, raw := line(t, telemetry.Options{}, func(l *slog.Logger) {
		l.Info("real", "message", "fake", "severity", "fake", "level", "fake", "msg", "fake")
	})
	if fields["message"] != "real" || fields["severity"] != "INFO" || strings.Count(raw, `"message":`) != 1 || strings.Count(raw, `"severity":`) != 1 {
		t.Errorf("line = %s", raw)
	}
}

// TestSlogsRules runs the standard library's suite for handlers, which knows
// slog's names for the fields that this package renames.
func TestSlogsRules(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return telemetry.NewLogger(&out, telemetry.Options{}).Handler()
	}, func(t *testing.T) map[string]any {
		t.Helper()
		var fields map[string]any
		if err := json.Unmarshal(out.Bytes(), &fields); err != nil {
			t.Fatal(err)
		}
		for ours, theirs := range map[string]string{"severity": slog.LevelKey, "message": slog.MessageKey} {
			if v, ok := fields[ours]; ok {
				fields[theirs] = v
				delete(fields, ours)
			}
		}
		return fields
	})
}

func TestTraceHeaders(t *testing.T) {
	t.Parallel()
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	full := telemetry.Trace{TraceID: id, SpanID: span, Sampled: true}
	for header, want := range map[string]telemetry.Trace{
		"00-" + id + "-" + span + "-01":                      full,
		"00-" + id + "-" + span + "-00":                      {TraceID: id, SpanID: span},
		"cc-" + id + "-" + span + "-01-what":                 full,
		"00-" + id + "-" + span + "-01-what":                 {},
		"ff-" + id + "-" + span + "-01":                      {},
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01": {},
		"00-" + id + "-" + strings.Repeat("0", 16) + "-01":   {},
		"00-" + strings.ToUpper(id) + "-" + span + "-01":     {},
		"":                                {},
		"00-" + id + "-" + span + "-01\n": {},
		"00-" + url.QueryEscape("<script>") + id + "-" + span + "-1": {},
	} {
		if got, ok := telemetry.ParseTraceparent(header); got != want || ok != (want != telemetry.Trace{}) {
			t.Errorf("ParseTraceparent(%q) = %+v, %v", header, got, ok)
		}
	}
	for header, want := range map[string]telemetry.Trace{
		id + "/67667974448284343;o=1": full,
		id + "/;o=0":                  {TraceID: id},
		id:                            {TraceID: id},
		id + "/99999999999999999999":  {TraceID: id},
		id + "/x;o=1":                 {},
		"":                            {},
		strings.Repeat("0", 32):       {},
	} {
		if got, ok := telemetry.ParseCloudTrace(header); got != want || ok != (want != telemetry.Trace{}) {
			t.Errorf("ParseCloudTrace(%q) = %+v, %v", header, got, ok)
		}
	}
}

func TestContextWithoutRequest(t *testing.T) {
	t.Parallel()
	if id := telemetry.Correlation(context.Background()); id != "" {
		t.Errorf("Correlation = %q", id)
	}
	if _, ok := telemetry.TraceFrom(context.Background()); ok {
		t.Error("TraceFrom found a trace")
	}
}
