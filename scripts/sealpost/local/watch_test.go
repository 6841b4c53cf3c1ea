package local

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

type sink struct{ err error }

func (sink) Name() string { return "sink" }

func (s sink) Record(context.Context, []audit.Event) error { return s.err }

// Each case is the events of some runs, and the lines that people see.
func TestWatchTellsARunInALineASecret(t *testing.T) {
	t.Parallel()
	wrote := func(operation audit.Operation, name secret.Name, scope secret.Scope, version secret.Version) audit.Event {
		return audit.Event{Operation: operation, Result: audit.Succeeded, SyncID: "1", ProjectID: "web", Secret: name, Scope: scope, Version: version, Reason: "the source has version 3"}
	}
	failed := func(name secret.Name, scope secret.Scope) audit.Event {
		return audit.Event{Operation: audit.SecretUpdate, Result: audit.Failed, SyncID: "1", ProjectID: "web", Secret: name, Scope: scope, Reason: "GitHub refused it"}
	}
	ended := func(result audit.Result, reason string, code fault.Code) audit.Event {
		return audit.Event{Operation: audit.SyncCompleted, Result: result, SyncID: "1", ProjectID: "web", Reason: reason, Code: code, DurationMs: 1234}
	}
	for name, c := range map[string]struct {
		events []audit.Event
		want   []string
	}{
		"nothing to do": {[]audit.Event{ended(audit.Succeeded, "unchanged", "")}, nil},
		"new and changed copies": {[]audit.Event{
			wrote(audit.SecretUpdate, "B", "dependabot", 3), wrote(audit.SecretCreate, "B", "actions", 3), wrote(audit.SecretCreate, "A", "actions", 1),
			ended(audit.Succeeded, "succeeded", ""),
		}, []string{"web: A version 1 synced to actions in 1.23s", "web: B version 3 synced to actions, dependabot in 1.23s"}},
		"a deletion": {[]audit.Event{wrote(audit.SecretDelete, "A", "actions", 0), ended(audit.Succeeded, "succeeded", "")},
			[]string{"web: A deleted from actions in 1.23s"}},
		"a part fails": {[]audit.Event{wrote(audit.SecretUpdate, "A", "actions", 2), failed("A", "dependabot"), ended(audit.Partial, "partial", "")},
			[]string{"web: A version 2 synced to actions in 1.23s", "web: A could not be written in dependabot: GitHub refused it"}},
		"nothing can be written": {[]audit.Event{ended(audit.Partial, "failed", "")}, []string{"web: a sync ended failed; the status tells why"}},
		"it ends early":          {[]audit.Event{ended(audit.Failed, "pending", fault.RateLimitExhausted)}, []string{"web: a sync ended early: GitHub's rate limit is spent"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWatch(sink{})
			var lines []string
			s := Server{watch: w}
			for _, look := range []bool{false, true} {
				if look {
					s.Watch(func(line string) { lines = append(lines, line) })
				}
				for _, e := range c.events {
					if err := w.Record(t.Context(), []audit.Event{e}); err != nil {
						t.Fatal(err)
					}
				}
			}
			if !slices.Equal(lines, c.want) || len(w.runs) != 0 {
				t.Errorf("got %q, want %q, and %d runs are kept", lines, c.want, len(w.runs))
			}
		})
	}
}

// What the store did not take is no news, and the failure is not hidden.
func TestWatchTellsOnlyWhatIsRecorded(t *testing.T) {
	t.Parallel()
	down := errors.New("no store")
	s := Server{watch: newWatch(sink{down})}
	s.Watch(func(line string) { t.Errorf("told %q", line) })
	err := s.watch.Record(t.Context(), []audit.Event{{Operation: audit.SyncCompleted, Result: audit.Failed, Code: fault.InternalError}})
	if !errors.Is(err, down) {
		t.Errorf("got %v, want %v", err, down)
	}
}

func TestWatchTellsVersions(t *testing.T) {
	t.Parallel()
	w := newWatch(sink{})
	server, err := secretmanagerd.New(secretmanagerd.Config{Notify: w.changed})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	s := Server{watch: w}
	s.Watch(func(line string) { lines = append(lines, line) })
	_, err = server.SetSecret("acme-secrets", "db", secret.NewValue("hunter2"), nil)
	err = errors.Join(err, server.DisableVersion("acme-secrets", "db", 1), server.EnableVersion("acme-secrets", "db", 1), server.DestroyVersion("acme-secrets", "db", 1))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"db has version 1", "db has version 1 disabled", "db has version 1 enabled", "db has version 1 destroyed"}; !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
}
