package queries

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/exclusion"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/versionstate"
)

// Recording is what the scenario asked of each database.
type Recording struct {
	State, Audit Use
	// Callers are the places in the source, file and line, that led to a listing.
	Callers map[Place]bool
}

// Place is a line of a source file, as the runtime names it.
type Place struct {
	File string
	Line int
}

// Record runs the scenario over the databases, which are empty.
func Record(ctx context.Context, databases Databases) (Recording, error) {
	state, events := newRecorder(databases.State), newRecorder(databases.Audit)
	err := scenario(ctx, Databases{State: state, Audit: events})
	callers := maps.Clone(state.callers)
	maps.Copy(callers, events.callers)
	return Recording{State: state.use(), Audit: events.use(), Callers: callers}, err
}

// Files returns the text of each index configuration file, by its path in the
// checkout, from a run of the scenario over SQLite.
func Files(ctx context.Context) (map[string][]byte, error) {
	recording, err := RecordInMemory(ctx)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"terraform/indexes/state.json": Configure(recording.State).JSON(),
		"terraform/indexes/audit.json": Configure(recording.Audit).JSON(),
	}, nil
}

// RecordInMemory runs the scenario over SQLite.
func RecordInMemory(ctx context.Context) (recording Recording, err error) {
	databases, closeAll, err := InMemory()
	if err != nil {
		return Recording{}, err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	return Record(ctx, databases)
}

// InMemory opens empty databases that are gone when they are closed.
func InMemory() (Databases, func() error, error) {
	state, err := sqlitedoc.Open("", clock.Real())
	if err != nil {
		return Databases{}, nil, err
	}
	events, err := sqlitedoc.Open("", clock.Real())
	if err != nil {
		return Databases{}, nil, errors.Join(err, state.Close())
	}
	return Databases{State: state, Audit: events}, func() error { return errors.Join(events.Close(), state.Close()) }, nil
}

// scenario asks every query of the product. A new one is to be added here, by a
// call of the function that asks it; one with optional filters by a call for each
// combination of them.
func scenario(ctx context.Context, databases Databases) (err error) {
	s, err := Open(ctx, databases)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, step := range []struct {
		name string
		run  func(context.Context, *Site) error
	}{
		{"requests", requests},
		{"audit", findAudit},
		{"marks", listMarks},
		{"projects", listProjects},
		{"versions", lookAtVersions},
		{"exclusions", exclude},
	} {
		if err := step.run(ctx, s); err != nil {
			return fmt.Errorf("scenario, %s: %w", step.name, err)
		}
	}
	return nil
}

// requests goes through the functions as a caller does.
func requests(ctx context.Context, s *Site) error {
	const status = "/github/secrets/sync/status?projectId=" + ProjectID
	for i, r := range []struct{ function, method, target, body string }{
		{"projects", http.MethodPost, "/projects", Manifest("OLD_*")},
		{"projects", http.MethodPut, "/projects/" + ProjectID, Manifest("LEGACY_*")},
		{"projects", http.MethodGet, "/projects/" + ProjectID, ""},
		{"sync-secrets", http.MethodPost, "/github/secrets/sync", SyncBody(`"dryRun":true`)},
		{"sync-secrets", http.MethodPost, "/github/secrets/sync", SyncBody(`"force":false`)},
		{"sync-secrets", http.MethodPost, "/github/secrets/sync", SyncBody(`"async":true`)},
		{"sync-status", http.MethodGet, status, ""},
		{"health", http.MethodGet, "/readyz", ""},
	} {
		if _, err := s.Call(ctx, r.function, r.method, r.target, r.body, "Idempotency-Key", fmt.Sprintf(`"request-%d"`, i)); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		function   string
		attributes map[string]string
	}{
		{"scheduled-sync", nil}, {"secret-changed", Changed(0)}, {"dispatcher", nil}, {"sync-worker", s.Nudge()},
	} {
		if err := s.Push(ctx, m.function, m.attributes); err != nil {
			return err
		}
	}
	filters := []string{"projectId", "operation", "actor", "from", "to"}
	values := map[string]string{"projectId": ProjectID, "operation": string(audit.SecretCreate), "actor": "alice"}
	for _, name := range []string{"from", "to"} {
		values[name] = s.Clock.Now().UTC().Format(time.RFC3339)
	}
	for some := range subsets(len(filters)) {
		query := url.Values{"limit": {"1"}}
		for _, i := range some {
			query.Set(filters[i], values[filters[i]])
		}
		if _, err := s.Call(ctx, "audit-log", http.MethodGet, "/github/audit?"+query.Encode(), ""); err != nil {
			return err
		}
	}
	return nil
}

// SyncBody returns the body of a request to sync, with one more member.
func SyncBody(member string) string { return fmt.Sprintf(`{"projectId":%q,%s}`, ProjectID, member) }

// findAudit asks for each combination of all the filters that audit.Query has, a
// page and the next.
func findAudit(ctx context.Context, s *Site) error {
	var filters []int
	asked := reflect.TypeFor[audit.Query]()
	for i := range asked.NumField() {
		if name := asked.Field(i).Name; name != "Limit" && name != "Cursor" {
			filters = append(filters, i)
		}
	}
	for some := range subsets(len(filters)) {
		query := audit.Query{Limit: 1}
		for _, i := range some {
			if err := fill(reflect.ValueOf(&query).Elem().Field(filters[i]), s.Clock.Now()); err != nil {
				return fmt.Errorf("audit.Query.%s: %w", asked.Field(filters[i]).Name, err)
			}
		}
		_, next, err := s.Events.Find(ctx, query)
		if err != nil {
			return err
		}
		if query.Cursor = next; next == "" {
			continue
		}
		if _, _, err := s.Events.Find(ctx, query); err != nil {
			return err
		}
	}
	return nil
}

// fill sets a filter to something.
func fill(filter reflect.Value, now time.Time) error {
	switch {
	case filter.Type() == reflect.TypeFor[time.Time]():
		filter.Set(reflect.ValueOf(now))
	case filter.Kind() == reflect.String:
		filter.SetString("something")
	default:
		return fmt.Errorf("the scenario has no value for a filter of type %s", filter.Type())
	}
	return nil
}

func listMarks(ctx context.Context, s *Site) error {
	_, err := mark.List(ctx, s.State, s.Clock.Now(), 1)
	return err
}

func listProjects(ctx context.Context, s *Site) error {
	projects, cursor, err := project.List(ctx, s.State, 1, "")
	if err != nil || len(projects) != 1 {
		return errors.Join(err, fmt.Errorf("there are %d projects, want 1", len(projects)))
	}
	_, _, err = project.List(ctx, s.State, 1, cursor)
	return err
}

func lookAtVersions(ctx context.Context, s *Site) error {
	sources := versionstate.Sources{Store: s.State, Live: s.Sources, Clock: s.Clock}
	if _, err := sources.Inspect(ctx, ProjectID, []secret.Source{Source(0), Source(1)}); err != nil {
		return err
	}
	if err := s.NewVersion(0); err != nil {
		return err
	}
	told := func(context.Context, string) error { return nil }
	projects, err := sources.Changed(ctx, versionstate.Ref(Source(0)), told)
	if err != nil || !slices.Equal(projects, []string{ProjectID}) {
		return errors.Join(err, fmt.Errorf("told %q of a new version", projects))
	}
	_, err = sources.Sweep(ctx, 10*versionstate.ReadsPerSource, told)
	return err
}

// exclude saves the list of what is left out everywhere, which nothing above
// writes, so that its collection is known.
func exclude(ctx context.Context, s *Site) error {
	return exclusion.Global{Patterns: []exclusion.Pattern{"OLD_*"}}.Save(ctx, s.State)
}

// subsets yields every subset of the numbers below n.
func subsets(n int) func(yield func([]int) bool) {
	return func(yield func([]int) bool) {
		for set := range 1 << n {
			var some []int
			for i := range n {
				if set&(1<<i) != 0 {
					some = append(some, i)
				}
			}
			if !yield(some) {
				return
			}
		}
	}
}

// recorder is a database that notes what it is asked.
type recorder struct {
	*docstore.Counting
	mu          sync.Mutex
	collections map[string]bool
	expiring    map[string]bool
	callers     map[Place]bool
}

func newRecorder(store docstore.Store) *recorder {
	return &recorder{
		Counting: docstore.NewCounting(store), collections: map[string]bool{}, expiring: map[string]bool{}, callers: map[Place]bool{},
	}
}

// List notes who asks.
func (r *recorder) List(ctx context.Context, query docstore.Query) (docstore.Page, error) {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	r.mu.Lock()
	for {
		frame, more := frames.Next()
		r.callers[Place{frame.File, frame.Line}] = true
		if !more {
			break
		}
	}
	r.mu.Unlock()
	return r.Counting.List(ctx, query)
}

// Commit notes what is written, and what of it expires.
func (r *recorder) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	r.mu.Lock()
	for _, w := range writes {
		r.collections[w.Collection] = true
		if !w.ExpireAt.IsZero() {
			r.expiring[w.Collection] = true
		}
	}
	r.mu.Unlock()
	return r.Counting.Commit(ctx, writes...)
}

func (r *recorder) use() Use {
	return Use{Shapes: r.Shapes(), Collections: slices.Sorted(maps.Keys(r.collections)), Expiring: slices.Sorted(maps.Keys(r.expiring))}
}
