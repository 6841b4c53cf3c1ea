package local

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// watch tells people in a line each what happens to secrets and what syncs make
// of it. It stands before the audit's store, so that it tells what is recorded.
type watch struct {
	audit.Sink

	mu   sync.Mutex
	tell func(line string)        // nil as long as nobody looks on
	runs map[string][]audit.Event // writes of the runs that have not ended, by id and container
}

func newWatch(sink audit.Sink) *watch { return &watch{Sink: sink, runs: map[string][]audit.Event{}} }

// Watch has tell called with a line on each version of a secret that is new, or
// in another state, and on each sync that wrote something or did not go well.
// It is called by one goroutine at a time and holds up the sync meanwhile.
func (s *Server) Watch(tell func(line string)) {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	s.watch.tell = tell
}

func (w *watch) print(format string, args ...any) {
	if w.tell != nil {
		w.tell(fmt.Sprintf(format, args...))
	}
}

// Record implements [audit.Sink].
func (w *watch) Record(ctx context.Context, events []audit.Event) error {
	if err := w.Sink.Record(ctx, events); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		key := e.SyncID + " " + e.Container
		switch e.Operation {
		case audit.SecretCreate, audit.SecretUpdate, audit.SecretDelete:
			w.runs[key] = append(w.runs[key], e)
		case audit.SyncCompleted:
			w.ended(e, w.runs[key])
			delete(w.runs, key)
		}
	}
	return nil
}

// ended tells of a run: what it wrote, what it could not write, and whether
// something is left.
func (w *watch) ended(run audit.Event, writes []audit.Event) {
	took := (time.Duration(run.DurationMs) * time.Millisecond).Round(10 * time.Millisecond)
	failed := 0
	for _, g := range grouped(writes) {
		if g.Result == audit.Succeeded {
			w.print("%s: %s %s in %s", run.ProjectID, g, strings.Join(g.scopes, ", "), took)
			continue
		}
		failed++
		w.print("%s: %s could not be written in %s: %s", run.ProjectID, g.Secret, strings.Join(g.scopes, ", "), g.Reason)
	}
	switch {
	case run.Result == audit.Failed:
		entry, _ := fault.Lookup(run.Code)
		w.print("%s: a sync ended early: %s", run.ProjectID, entry.Title)
	case run.Result == audit.Partial && failed == 0:
		w.print("%s: a sync ended %s; the status tells why", run.ProjectID, run.Reason)
	}
}

// group is what became of one secret in several scopes.
type group struct {
	audit.Event // the first scope's
	scopes      []string
}

// String says what was done, in words that a list of scopes can follow.
func (g group) String() string {
	switch {
	case g.Operation == audit.SecretDelete:
		return string(g.Secret) + " deleted from"
	case g.Version > 0:
		return fmt.Sprintf("%s version %d synced to", g.Secret, g.Version)
	}
	return string(g.Secret) + " synced to"
}

func grouped(writes []audit.Event) []group {
	type key struct {
		name      secret.Name
		version   secret.Version
		operation audit.Operation
		result    audit.Result
		reason    string
	}
	at := map[key]int{}
	var groups []group
	for _, e := range writes {
		k := key{e.Secret, e.Version, audit.SecretUpdate, e.Result, ""}
		if e.Operation == audit.SecretDelete {
			k.operation = e.Operation
		}
		if e.Result != audit.Succeeded {
			k.reason = e.Reason // of a success it differs where nothing else does
		}
		i, known := at[k]
		if !known {
			i = len(groups)
			at[k] = i
			groups = append(groups, group{Event: e})
		}
		groups[i].scopes = append(groups[i].scopes, string(e.Scope))
	}
	for _, g := range groups {
		slices.Sort(g.scopes)
	}
	slices.SortStableFunc(groups, func(a, b group) int { return strings.Compare(string(a.Secret), string(b.Secret)) })
	return groups
}

// changed tells of an event of the embedded Secret Manager.
func (w *watch) changed(e secretmanagerd.Event) {
	version, name := path.Base(e.Attributes["versionId"]), path.Base(e.Attributes["secretId"])
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Type {
	case secretmanagerd.VersionAdded:
		w.print("%s has version %s", name, version)
	case secretmanagerd.VersionEnabled:
		w.print("%s has version %s enabled", name, version)
	case secretmanagerd.VersionDisabled:
		w.print("%s has version %s disabled", name, version)
	case secretmanagerd.VersionDestroyed:
		w.print("%s has version %s destroyed", name, version)
	}
}
