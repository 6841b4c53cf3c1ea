package mark_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

const key = "repository-42"

var (
	start  = time.UnixMicro(1_700_000_000_000_000).UTC()
	first  = mark.Mark{ProjectID: "payments-api", Owner: "acme", Why: "a new version", Since: start, DueAt: start, Urgency: mark.Reconcile, Points: 3, Plain: true}
	second = mark.Mark{ProjectID: "payments-api", Owner: "acme", Why: "a sync found the lease held", Since: start.Add(time.Minute), DueAt: start.Add(time.Minute), Urgency: mark.Reconcile, Points: 3, Plain: true}
)

func open(t *testing.T) docstore.Store {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func set(t *testing.T, store docstore.Store, m mark.Mark) {
	t.Helper()
	if _, err := mark.Set(t.Context(), store, key, m); err != nil {
		t.Fatalf("Set: %v", err)
	}
}

// get returns the mark if there is one, and its zero value if not.
func get(t *testing.T, store docstore.Store) mark.Mark {
	t.Helper()
	m, ok, err := mark.Get(t.Context(), store, key)
	if err != nil || ok != (m.Why != "") {
		t.Fatalf("Get: %+v, %t, %v", m, ok, err)
	}
	return m
}

// equal compares what marks say.
func equal(a, b mark.Mark) bool {
	return a.ProjectID == b.ProjectID && a.Owner == b.Owner && a.Why == b.Why && a.Since.Equal(b.Since) && a.Urgency == b.Urgency &&
		a.Points == b.Points && a.DueAt.Equal(b.DueAt) && a.Held == b.Held && a.Tries == b.Tries && a.Plain == b.Plain &&
		slices.EqualFunc(a.Asks, b.Asks, func(a, b mark.Ask) bool { return reflect.DeepEqual(a, b) })
}

func want(t *testing.T, got, want mark.Mark) {
	t.Helper()
	if !equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestSet keeps the older of two marks.
func TestSet(t *testing.T) {
	t.Parallel()
	store := open(t)
	want(t, get(t, store), mark.Mark{})
	set(t, store, first)
	set(t, store, second)
	want(t, get(t, store), first)
	if m, ok, err := mark.Get(t.Context(), store, "repository-43"); ok || err != nil {
		t.Errorf("another container has a mark: %+v, %v", m, err)
	}
}

// TestClear takes a mark up only as it was read, so that none is lost that was
// set meanwhile.
func TestClear(t *testing.T) {
	t.Parallel()
	store := open(t)
	set(t, store, first)
	read := get(t, store)
	take := func(m mark.Mark) {
		t.Helper()
		if err := m.Clear(t.Context(), store, key); err != nil {
			t.Fatal(err)
		}
	}
	set(t, store, second) // keeps what the first says, and counts as set anew
	if get(t, store).Same(read) {
		t.Error("a mark that was set again counts as the one before")
	}
	take(read)
	want(t, get(t, store), first)

	take(get(t, store))
	want(t, get(t, store), mark.Mark{})
	take(read)
	take(mark.Mark{})
}

// TestRace sets one mark from many sides.
func TestRace(t *testing.T) {
	t.Parallel()
	store := open(t)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := mark.Set(t.Context(), store, key, first); err != nil {
				t.Errorf("Set: %v", err)
			}
		})
	}
	wait.Wait()
	want(t, get(t, store), first)
}

// TestJoin sets a second mark on a first.
func TestJoin(t *testing.T) {
	t.Parallel()
	ask := mark.Ask{
		SyncID: "1", Actor: "alice", CorrelationID: "c", Secrets: []secret.Name{"A"}, Scopes: []secret.Scope{"actions"},
		Force: true, Prune: true, MaxDeletions: 7,
	}
	alter := func(m mark.Mark, f func(*mark.Mark)) mark.Mark { f(&m); return m }
	tests := []struct {
		name                string
		before, after, want mark.Mark
	}{
		{
			"the older reason and time stay, the higher urgency and price win", first,
			alter(second, func(m *mark.Mark) { m.Urgency, m.Points = mark.Change, 9 }),
			alter(first, func(m *mark.Mark) { m.Urgency, m.Points = mark.Change, 9 }),
		},
		{
			"an earlier time wins", alter(first, func(m *mark.Mark) { m.DueAt = start.Add(time.Hour); m.Tries = 3 }), second,
			alter(first, func(m *mark.Mark) { m.DueAt = start.Add(time.Minute); m.Tries = 3 }),
		},
		{
			"but not over a spent quota", alter(first, func(m *mark.Mark) { m.DueAt, m.Held = start.Add(time.Hour), true }), second,
			alter(first, func(m *mark.Mark) { m.DueAt, m.Held = start.Add(time.Hour), true }),
		},
		{
			"an ask joins a plain request", first, second.With(ask),
			alter(first, func(m *mark.Mark) { m.Asks = []mark.Ask{ask} }),
		},
		{
			"a plain request joins an ask", first.With(ask), second,
			alter(first, func(m *mark.Mark) { m.Asks = []mark.Ask{ask} }),
		},
		{
			"another project takes over", first.With(ask), alter(second, func(m *mark.Mark) { m.ProjectID = "billing" }),
			alter(second, func(m *mark.Mark) { m.ProjectID = "billing" }),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store := open(t)
			set(t, store, test.before)
			set(t, store, test.after)
			want(t, get(t, store), test.want)
		})
	}
}

// TestAsks come and go one by one, whatever is set and cleared meanwhile.
func TestAsks(t *testing.T) {
	t.Parallel()
	store := open(t)
	for i := range mark.MaxAsks {
		set(t, store, first.With(mark.Ask{SyncID: fmt.Sprint(i)}))
	}
	_, err := mark.Set(t.Context(), store, key, first.With(mark.Ask{SyncID: "more"}))
	if !errors.Is(err, fault.QueueFull) {
		t.Errorf("one ask too many: %v", err)
	}
	set(t, store, second)
	read := get(t, store)
	if err := mark.Done(t.Context(), store, key, "3"); err != nil {
		t.Fatal(err)
	}
	if err := read.Clear(t.Context(), store, key); err != nil {
		t.Fatal(err)
	}
	left := get(t, store)
	if left.Plain || len(left.Asks) != mark.MaxAsks-1 || left.Asks[3].SyncID != "4" {
		t.Errorf("after one ask was done and the plain request answered: %+v", left)
	}
	for i := range mark.MaxAsks {
		if err := mark.Done(t.Context(), store, key, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	want(t, get(t, store), mark.Mark{})
}

// TestTimes moves a mark by those who published it, failed, or ran out of quota.
func TestTimes(t *testing.T) {
	t.Parallel()
	store := open(t)
	if err := errors.Join(mark.Hold(t.Context(), store, key, start), mark.Fail(t.Context(), store, key, start), mark.Done(t.Context(), store, key, "1")); err != nil {
		t.Fatal(err)
	}
	want(t, get(t, store), mark.Mark{})

	set(t, store, first)
	read := get(t, store)
	expect := first
	step := func(what string, err error, f func(*mark.Mark)) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		f(&expect)
		want(t, get(t, store), expect)
	}
	later := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	step("Fail", mark.Fail(t.Context(), store, key, later(1)), func(m *mark.Mark) { m.DueAt, m.Tries = later(1), 1 })
	step("Hold", mark.Hold(t.Context(), store, key, later(2)), func(m *mark.Mark) { m.DueAt, m.Held = later(2), true })
	step("Published", read.Published(t.Context(), store, key, later(3)), func(m *mark.Mark) { m.DueAt, m.Held = later(3), false })
	if !get(t, store).Same(read) {
		t.Error("a mark that was only moved counts as set anew: its holder would plan again")
	}
	set(t, store, second)
	expect.DueAt = second.DueAt
	step("Published, though set since", read.Published(t.Context(), store, key, later(4)), func(*mark.Mark) {})
	step("Drop, though set since", read.Drop(t.Context(), store, key), func(*mark.Mark) {})
	step("Drop", get(t, store).Drop(t.Context(), store, key), func(m *mark.Mark) { *m = mark.Mark{} })
}

// TestList gives what is due, in order.
func TestList(t *testing.T) {
	t.Parallel()
	store := open(t)
	for i := range 5 {
		m := first
		m.DueAt = start.Add(time.Duration(4-i) * time.Minute)
		if _, err := mark.Set(t.Context(), store, fmt.Sprintf("repository-%d", i), m); err != nil {
			t.Fatal(err)
		}
	}
	due, err := mark.List(t.Context(), store, start.Add(3*time.Minute+time.Nanosecond), 3)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, d := range due {
		keys = append(keys, d.Key)
	}
	if !slices.Equal(keys, []string{"repository-4", "repository-3", "repository-2"}) {
		t.Errorf("due are %v", keys)
	}
}

// TestFor prices a mark by the scopes of its container.
func TestFor(t *testing.T) {
	t.Parallel()
	p := project.Project{
		ID: "payments-api", Repository: project.Container{Kind: project.Repository, Owner: "Acme", Name: "web", ID: 42},
		Mappings: []project.Mapping{{Name: "A", Scopes: []secret.Scope{"actions", "dependabot", "org-actions"}}, {Name: "B", Scopes: []secret.Scope{"actions"}}},
	}
	got := mark.For(p, p.Repository, "because", mark.Change, start)
	want(t, got, mark.Mark{ProjectID: "payments-api", Owner: "acme", Why: "because", Since: start, DueAt: start, Urgency: mark.Change, Points: 2, Plain: true})
}

// TestOlderForm reads a mark as the first version wrote it.
func TestOlderForm(t *testing.T) {
	t.Parallel()
	store := open(t)
	_, err := store.Commit(t.Context(), docstore.Write{
		Key:    docstore.Key{Collection: "sync_marks", ID: key},
		Fields: docstore.Fields{"schemaVersion": int64(1), "projectId": "payments-api", "why": "old", "since": start},
	})
	if err != nil {
		t.Fatal(err)
	}
	read := get(t, store)
	want(t, read, mark.Mark{ProjectID: "payments-api", Why: "old", Since: start, DueAt: start, Urgency: mark.Change, Plain: true})
	if err := read.Clear(t.Context(), store, key); err != nil {
		t.Fatal(err)
	}
	want(t, get(t, store), mark.Mark{})
}
