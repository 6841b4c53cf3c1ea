package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC) // as a real clock tells it: not in whole microseconds

func open(t *testing.T) docstore.Store {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// full is an event with something in every field.
func full() audit.Event {
	return audit.Event{
		ID: audit.NewID(start), At: start, Operation: audit.SecretUpdate, Result: audit.Failed, Actor: "https://issuer.example alice",
		ProjectID: "payments-api", Container: "repository-42", Secret: "DATABASE_URL", Scope: secret.Actions, Version: 7,
		Targets: []string{"actions/DATABASE_URL"}, SyncID: "sync-1", CorrelationID: "correlation-1",
		Code: fault.TargetRejected, Reason: "GitHub refused the write", DurationMs: 12,
	}
}

// sink is a sink that can fail.
type sink struct {
	name   string
	err    error
	events []audit.Event
}

func (s *sink) Name() string { return s.name }

func (s *sink) Record(_ context.Context, events []audit.Event) error {
	if s.err != nil {
		return s.err
	}
	s.events = append(s.events, events...)
	return nil
}

// TestRecorder records where it can, reports what failed, and refuses if
// nothing took the event.
func TestRecorder(t *testing.T) {
	t.Parallel()
	down := fault.Wrap(fault.Unavailable, "write", errors.New("no route"))
	tests := []struct {
		name   string
		sinks  []*sink
		failed []string
		want   error
		alerts int
	}{
		{"both work", []*sink{{name: "store"}, {name: "log"}}, nil, nil, 0},
		{"the store fails", []*sink{{name: "store", err: down}, {name: "log"}}, []string{"store"}, nil, 1},
		{"the log fails", []*sink{{name: "store"}, {name: "log", err: down}}, []string{"log"}, nil, 1},
		{"both fail", []*sink{{name: "store", err: down}, {name: "log", err: down}}, []string{"store", "log"}, fault.AuditUnavailable, 0},
		{"the caller has gone", []*sink{{name: "store", err: context.Canceled}, {name: "log", err: context.Canceled}}, []string{"store", "log"}, fault.AuditUnavailable, 0},
		{"there is none", nil, nil, fault.AuditUnavailable, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			sinks := make([]audit.Sink, 0, len(test.sinks))
			for _, s := range test.sinks {
				sinks = append(sinks, s)
			}
			recorder := audit.NewRecorder(slog.New(slog.NewJSONHandler(&log, nil)), sinks...)
			failed, err := recorder.Record(t.Context(), full(), full())
			if !slices.Equal(failed, test.failed) {
				t.Errorf("failed: got %v, want %v", failed, test.failed)
			}
			if (err == nil) != (test.want == nil) || err != nil && !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err != nil && (fault.KindOf(err) != fault.Unavailable || strings.Contains(fault.Detail(err), "route")) {
				t.Errorf("the caller sees %s: %s", fault.KindOf(err), fault.Detail(err))
			}
			for _, s := range test.sinks {
				if want := 2; s.err == nil && len(s.events) != want {
					t.Errorf("the sink %s has %d events, want %d", s.name, len(s.events), want)
				}
			}
			if got := strings.Count(log.String(), `"alert":"audit-sink"`); got != test.alerts {
				t.Errorf("%d alerts, want %d: %s", got, test.alerts, log.String())
			}
			if failed, err := recorder.Record(t.Context()); failed != nil || err != nil {
				t.Errorf("no events: %v, %v", failed, err)
			}
		})
	}
}

// TestStoredEvent stores a full event and reads it back, to the microsecond.
func TestStoredEvent(t *testing.T) {
	t.Parallel()
	docs := open(t)
	store := audit.NewStore(docs, 0)
	e := full()
	for range 2 { // the same event is no error
		if err := store.Record(t.Context(), []audit.Event{e}); err != nil {
			t.Fatal(err)
		}
	}
	events, next, err := store.Find(t.Context(), audit.Query{Limit: 10})
	if err != nil || next != "" || len(events) != 1 {
		t.Fatalf("got %v, %q, %v", events, next, err)
	}
	e.At = e.At.Truncate(time.Microsecond)
	if !reflect.DeepEqual(events[0], e) {
		t.Errorf("got\n%+v\nwant\n%+v", events[0], e)
	}
}

// expiring keeps when the documents that pass may go.
type expiring struct {
	docstore.Store
	at []time.Time
}

func (s *expiring) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	for _, w := range writes {
		s.at = append(s.at, w.ExpireAt)
	}
	return s.Store.Commit(ctx, writes...)
}

func TestRetention(t *testing.T) {
	t.Parallel()
	for set, want := range map[time.Duration]time.Duration{0: audit.DefaultRetention, time.Hour: time.Hour} {
		docs := &expiring{Store: open(t)}
		if err := audit.NewStore(docs, set).Record(t.Context(), []audit.Event{full()}); err != nil {
			t.Fatal(err)
		}
		if len(docs.at) != 1 || !docs.at[0].Equal(start.Add(want).Truncate(time.Microsecond)) {
			t.Errorf("retention %s: events go at %v, want %s after %s", set, docs.at, want, start)
		}
	}
}

// TestFind asks by every filter, page by page.
func TestFind(t *testing.T) {
	t.Parallel()
	store := audit.NewStore(open(t), 0)
	var all []audit.Event // newest first
	for i := range 24 {
		e := audit.Event{ID: fmt.Sprintf("%03d", i), At: start.Add(time.Duration(i/2) * time.Minute), Operation: audit.SecretUpdate, Actor: "alice", ProjectID: "payments-api"}
		if i%2 == 1 {
			e.Operation = audit.SecretCreate
		}
		if i%3 == 1 {
			e.Actor = "scheduled-sync"
		}
		if i%4 == 1 {
			e.ProjectID = "web"
		}
		all = append([]audit.Event{e}, all...)
	}
	// More than one commit holds, in no order.
	if err := store.Record(t.Context(), slices.Concat(all[7:], all[:7])); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		query audit.Query
		keep  func(audit.Event) bool
	}{
		{"all", audit.Query{}, func(audit.Event) bool { return true }},
		{"a project", audit.Query{ProjectID: "web"}, func(e audit.Event) bool { return e.ProjectID == "web" }},
		{"an operation", audit.Query{Operation: audit.SecretCreate}, func(e audit.Event) bool { return e.Operation == audit.SecretCreate }},
		{"an actor", audit.Query{Actor: "alice"}, func(e audit.Event) bool { return e.Actor == "alice" }},
		{"from, included", audit.Query{From: start.Add(3 * time.Minute)}, func(e audit.Event) bool { return !e.At.Before(start.Add(3 * time.Minute)) }},
		{"to, not included", audit.Query{To: start.Add(3 * time.Minute)}, func(e audit.Event) bool { return e.At.Before(start.Add(3 * time.Minute)) }},
		{"all of it", audit.Query{ProjectID: "payments-api", Operation: audit.SecretCreate, Actor: "alice", From: start, To: start.Add(9 * time.Minute)}, func(e audit.Event) bool {
			return e.ProjectID == "payments-api" && e.Operation == audit.SecretCreate && e.Actor == "alice" && e.At.Before(start.Add(9*time.Minute))
		}},
		{"nobody", audit.Query{Actor: "bob"}, func(audit.Event) bool { return false }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var want []string
			for _, e := range all {
				if test.keep(e) {
					want = append(want, e.ID)
				}
			}
			for _, limit := range []int{1, 5, 100} {
				var got []string
				query := test.query
				query.Limit = limit
				for pages := 0; pages <= len(all); pages++ {
					events, next, err := store.Find(t.Context(), query)
					if err != nil {
						t.Fatal(err)
					}
					if len(events) > limit {
						t.Fatalf("a page of %d events, want at most %d", len(events), limit)
					}
					for _, e := range events {
						got = append(got, e.ID)
					}
					if query.Cursor = next; next == "" {
						break
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("by %d: got %v, want %v", limit, got, want)
				}
			}
		})
	}
	for _, query := range []audit.Query{{}, {Limit: docstore.MaxListLimit + 1}, {Limit: 5, Cursor: "nonsense"}} {
		if _, _, err := store.Find(t.Context(), query); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%+v: got %v, want %v", query, err, fault.Invalid)
		}
	}
}

// TestManyEvents records more events than a commit holds.
func TestManyEvents(t *testing.T) {
	t.Parallel()
	store := audit.NewStore(open(t), 0)
	events := make([]audit.Event, docstore.MaxCommitWrites+1)
	for i := range events {
		events[i] = audit.Event{ID: audit.NewID(start), At: start, Operation: audit.SecretCreate}
	}
	if err := store.Record(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	got, _, err := store.Find(t.Context(), audit.Query{Limit: docstore.MaxListLimit})
	if err != nil || len(got) != len(events) {
		t.Errorf("got %d events, %v; want %d", len(got), err, len(events))
	}
}

// TestLogLine holds the shape of an event in the log, from which a locked
// bucket is fed: these fields and no others.
func TestLogLine(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	e := full()
	if err := audit.NewLogSink(slog.NewJSONHandler(&log, nil)).Record(t.Context(), []audit.Event{e, e}); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(&log)
	for range 2 {
		var line map[string]any
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		got, _ := line["audit"].(map[string]any)
		want := map[string]any{
			"id": e.ID, "operation": "secret.update", "result": "failed", "actor": "https://issuer.example alice",
			"projectId": "payments-api", "container": "repository-42", "secret": "DATABASE_URL", "scope": "actions", "version": 7.0,
			"targets": []any{"actions/DATABASE_URL"}, "syncId": "sync-1", "correlationId": "correlation-1",
			"code": "GITHUB_SECRETS_TARGET_REJECTED", "reason": "GitHub refused the write", "durationMs": 12.0,
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%v\nwant\n%v", got, want)
		}
		if keys, want := slices.Sorted(maps.Keys(line)), []string{"audit", "level", "msg", "time"}; !slices.Equal(keys, want) {
			t.Errorf("the line has %v, want %v", keys, want)
		}
	}
	// A field of Event that the line does not have would be missing from the bucket.
	if fields, want := reflect.TypeFor[audit.Event]().NumField(), 16; fields != want {
		t.Errorf("Event has %d fields and the line was written for %d", fields, want)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestLogFails(t *testing.T) {
	t.Parallel()
	err := audit.NewLogSink(slog.NewJSONHandler(brokenWriter{}, nil)).Record(t.Context(), []audit.Event{full()})
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want %v", err, fault.Unavailable)
	}
}

// TestNewID makes ids that sort by time and never repeat.
func TestNewID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	last := ""
	for i := range 1000 {
		id := audit.NewID(start.Add(time.Duration(i) * time.Millisecond))
		if len(id) != 32 || id <= last || seen[id] {
			t.Fatalf("%q follows %q", id, last)
		}
		seen[id], last = true, id
		if again := audit.NewID(start.Add(time.Duration(i) * time.Millisecond)); again == id {
			t.Fatalf("%q came twice", id)
		}
	}
}
