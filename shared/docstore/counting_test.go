package docstore_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
)

func memory(t *testing.T) *sqlitedoc.Store {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func TestCounts(t *testing.T) {
	t.Parallel()
	store, ctx := docstore.NewCounting(memory(t)), context.Background()
	put := func(id string, condition docstore.Precondition) docstore.Write {
		return docstore.Write{Key: docstore.Key{Collection: "things", ID: id}, Fields: docstore.Fields{"on": true}, If: condition}
	}
	for _, step := range []struct {
		name string
		do   func() error
		want docstore.Counts
		err  error
	}{
		{"two puts and a deletion", func() error {
			_, err := store.Commit(ctx, put("a", docstore.Always()), put("b", docstore.Always()), docstore.Write{Key: docstore.Key{Collection: "things", ID: "c"}})
			return err
		}, docstore.Counts{Commits: 1, Writes: 2, Deletes: 1}, nil},
		{"a commit that is refused", func() error {
			_, err := store.Commit(ctx, put("a", docstore.IfAbsent()))
			return err
		}, docstore.Counts{Commits: 1}, fault.Exists},
		{"a get", func() error {
			_, err := store.Get(ctx, docstore.Key{Collection: "things", ID: "a"})
			return err
		}, docstore.Counts{Gets: 1, Reads: 1}, nil},
		{"a get of nothing", func() error {
			_, err := store.Get(ctx, docstore.Key{Collection: "things", ID: "z"})
			return err
		}, docstore.Counts{Gets: 1, Reads: 1}, fault.NotFound},
		{"a listing", func() error {
			_, err := store.List(ctx, docstore.Query{Collection: "things", Limit: 10})
			return err
		}, docstore.Counts{Lists: 1, Reads: 2}, nil},
		{"a listing of nothing", func() error {
			_, err := store.List(ctx, docstore.Query{Collection: "others", Limit: 10})
			return err
		}, docstore.Counts{Lists: 1, Reads: 1}, nil},
	} {
		if err := step.do(); !errors.Is(err, step.err) {
			t.Errorf("%s: got error %v, want %v", step.name, err, step.err)
		}
		if got := store.Counts(); got != step.want {
			t.Errorf("%s: got %+v, want %+v", step.name, got, step.want)
		}
		if got := store.Reset(); got != step.want {
			t.Errorf("%s: Reset returned %+v, want %+v", step.name, got, step.want)
		}
	}
	if got := store.Counts(); got != (docstore.Counts{}) {
		t.Errorf("after a reset: %+v", got)
	}
}

func TestShapes(t *testing.T) {
	t.Parallel()
	store := docstore.NewCounting(memory(t))
	equal := func(path string) docstore.Filter { return docstore.Filter{Path: path, Op: docstore.Equal, Value: "x"} }
	for _, query := range []docstore.Query{
		{Collection: "things", Limit: 1},
		{Collection: "things", Limit: 2},
		{Collection: "things", Limit: 1, Where: []docstore.Filter{equal("b"), equal("a")}},
		{Collection: "things", Limit: 1, Where: []docstore.Filter{equal("a"), equal("b")}},
		{Collection: "things", Limit: 1, OrderBy: &docstore.Order{Path: "at", Descending: true}, Where: []docstore.Filter{
			equal("a"), {Path: "at", Op: docstore.Greater, Value: "x"}, {Path: "at", Op: docstore.Less, Value: "y"}}},
		{Collection: "others", Limit: 1, OrderBy: &docstore.Order{Path: "at"}},
		{Collection: "things", Limit: 1, Where: []docstore.Filter{equal("a"), {Path: "list", Op: docstore.Contains, Value: "x"}}},
	} {
		if _, err := store.List(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	want := []docstore.Shape{
		{Collection: "others", OrderBy: "at"},
		{Collection: "things"},
		{Collection: "things", Equal: "a", Range: "at", OrderBy: "at", Descending: true},
		{Collection: "things", Equal: "a", Contains: "list"},
		{Collection: "things", Equal: "a,b"},
	}
	if got := store.Shapes(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
