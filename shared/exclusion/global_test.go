package exclusion_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/exclusion"
	"github.com/sealpost/sealpost/shared/fault"
)

func newStore(t *testing.T) *docstore.Counting {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return docstore.NewCounting(store)
}

func TestGlobalListIsKept(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	global, err := exclusion.Load(t.Context(), store)
	if err != nil || len(global.Patterns) != 0 {
		t.Fatalf("before the first save: %v, %v; want none", global.Patterns, err)
	}
	for _, texts := range [][]string{{"ORG_*", "KEY?"}, {"ORG_*"}, {}} {
		global.Patterns, _ = exclusion.ParseAll(texts)
		if err := global.Save(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		before := store.Counts().Reads
		saved := global.Patterns
		if global, err = exclusion.Load(t.Context(), store); err != nil || !slices.Equal(global.Patterns, saved) {
			t.Errorf("loaded %v, %v; want %v", global.Patterns, err, saved)
		}
		if reads := store.Counts().Reads - before; reads != 1 {
			t.Errorf("loading took %d document reads, want 1", reads)
		}
	}
}

func TestGlobalListIsNotOverwrittenUnseen(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	mine, _ := exclusion.ParseAll([]string{"MINE"})
	theirs, _ := exclusion.ParseAll([]string{"THEIRS"})

	none, _ := exclusion.Load(t.Context(), store)
	none.Patterns = theirs
	if err := none.Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	none.Patterns = mine
	if err := none.Save(t.Context(), store); !errors.Is(err, fault.Exists) {
		t.Errorf("a first save behind another: %v, want %s", err, fault.Exists)
	}

	seen, _ := exclusion.Load(t.Context(), store)
	late := seen
	if err := seen.Save(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	late.Patterns = mine
	if err := late.Save(t.Context(), store); !errors.Is(err, fault.Conflict) {
		t.Errorf("a save behind another: %v, want %s", err, fault.Conflict)
	}
	if now, _ := exclusion.Load(t.Context(), store); !slices.Equal(now.Patterns, theirs) {
		t.Errorf("the list is %v, want %v", now.Patterns, theirs)
	}
}

func TestGlobalListThatCannotBeReadExcludesNothingSilently(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	_, err := store.Commit(t.Context(), docstore.Write{
		Key:    docstore.Key{Collection: "secret_exclusion_patterns", ID: "global"},
		Fields: docstore.Fields{"schemaVersion": int64(1), "patterns": []any{"OK", "not a pattern"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if global, err := exclusion.Load(t.Context(), store); !errors.Is(err, fault.Internal) {
		t.Errorf("Load = %v, %v; want %s", global.Patterns, err, fault.Internal)
	}
}
