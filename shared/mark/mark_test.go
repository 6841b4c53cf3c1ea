package mark_test

import (
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/mark"
)

const key = "repository-42"

var (
	first  = mark.Mark{ProjectID: "payments-api", Why: "a new version", Since: time.UnixMicro(1_700_000_000_000_000).UTC()}
	second = mark.Mark{ProjectID: "payments-api", Why: "a sync found the lease held", Since: time.UnixMicro(1_700_000_060_000_000).UTC()}
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
	if err := mark.Set(t.Context(), store, key, m); err != nil {
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

func want(t *testing.T, got, want mark.Mark) {
	t.Helper()
	if got.ProjectID != want.ProjectID || got.Why != want.Why || !got.Since.Equal(want.Since) {
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
			if err := mark.Set(t.Context(), store, key, first); err != nil {
				t.Errorf("Set: %v", err)
			}
		})
	}
	wait.Wait()
	want(t, get(t, store), first)
}
