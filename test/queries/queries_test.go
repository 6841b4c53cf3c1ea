package queries

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/gcp/firedoc"
	"github.com/sealpost/sealpost/test/emulator"
)

func TestMain(m *testing.M) { emulator.Run(m) }

const root = "../.."

// recorded is one run of the scenario for all tests of it.
var recorded = sync.OnceValues(func() (Recording, error) { return RecordInMemory(context.Background()) })

func recording(t *testing.T) Recording {
	t.Helper()
	r, err := recorded()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestIndexFilesAreCurrent(t *testing.T) {
	t.Parallel()
	r := recording(t)
	want := map[string]Use{"state.json": r.State, "audit.json": r.Audit}
	for name, use := range want {
		got, err := os.ReadFile(filepath.Join(root, "terraform", "indexes", name))
		if text := Configure(use).JSON(); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s is not what the queries need (%v): run go run ./scripts/generate; it is to be\n%s", name, err, text)
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, "terraform", "indexes"))
	if err != nil || len(entries) != len(want) {
		t.Errorf("terraform/indexes has %d files (%v), want %d", len(entries), err, len(want))
	}
}

// TestEveryQueryIsAsked holds that the scenario knows every place where the
// product makes a query.
func TestEveryQueryIsAsked(t *testing.T) {
	t.Parallel()
	product, err := readSources(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(product.queries) == 0 {
		t.Fatal("the product makes no query at all")
	}
	asked := recording(t).Callers
	for _, q := range product.queries {
		if !q.reached(asked) {
			t.Errorf("%s makes a query that the scenario in test/queries does not ask: add a step that does, then run make generate", q)
		}
	}
	inOneFunction := map[query]int{}
	for _, q := range product.queries {
		q.line = 0
		if inOneFunction[q]++; inOneFunction[q] == 2 {
			t.Errorf("%s, lines %d to %d: a function makes two queries, so that nobody can tell which was asked: make two functions of it", q.file, q.first, q.last)
		}
	}
}

// TestEveryCollectionIsKnown holds that the fields of every collection are
// exempt, and that those expire whose package says so.
func TestEveryCollectionIsKnown(t *testing.T) {
	t.Parallel()
	product, err := readSources(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	r := recording(t)
	known := slices.Concat(r.State.Collections, r.Audit.Collections)
	expiring := slices.Concat(r.State.Expiring, r.Audit.Expiring)
	declared := 0
	for dir, names := range product.collections {
		for _, name := range names {
			declared++
			if !slices.Contains(known, name) {
				t.Errorf("%s: the scenario writes nothing to the collection %s", dir, name)
			}
			if product.expiring[dir] && !slices.Contains(expiring, name) {
				t.Errorf("%s: documents of %s expire, but the scenario writes none that does", dir, name)
			}
		}
	}
	if declared != len(known) {
		t.Errorf("%d collections are declared, %d are written: %q", declared, len(known), known)
	}
	for dir, expires := range product.expiring {
		if expires && product.collections[dir] == nil {
			t.Errorf("%s sets ExpireAt and declares no collection", dir)
		}
	}
}

func TestEveryCombinationOfAuditFiltersIsAsked(t *testing.T) {
	t.Parallel()
	var got []string
	for _, s := range recording(t).Audit.Shapes {
		if s.Collection != "secret_sync_events" || s.OrderBy != "at" || !s.Descending {
			t.Errorf("a query of the audit has the shape %+v", s)
		}
		got = append(got, strings.TrimSpace(s.Equal+" "+s.Range))
	}
	var want []string
	for _, equal := range []string{
		"", "actor", "actor,operation", "actor,operation,projectId", "actor,projectId", "operation", "operation,projectId", "projectId",
	} {
		want = append(want, equal, strings.TrimSpace(equal+" at"))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("asked\n%q\nwant\n%q", got, want)
	}
}

// TestQueriesOnTheEmulator holds that Firestore takes every query, and that the
// scenario asks the same there.
func TestQueriesOnTheEmulator(t *testing.T) {
	t.Parallel()
	host := emulator.Firestore.Host(t)
	open := func() docstore.Store {
		store, err := firedoc.Open(t.Context(), firedoc.Config{Project: emulator.Project(), EmulatorHost: host}, clock.Real())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		return store
	}
	got, err := Record(t.Context(), Databases{State: open(), Audit: open()})
	if err != nil {
		t.Fatal(err)
	}
	want := recording(t)
	if !slices.Equal(got.State.Shapes, want.State.Shapes) || !slices.Equal(got.Audit.Shapes, want.Audit.Shapes) {
		t.Errorf("over Firestore the scenario asks\n%+v\n%+v\nover SQLite\n%+v\n%+v", got.State.Shapes, got.Audit.Shapes, want.State.Shapes, want.Audit.Shapes)
	}
}

func TestSiteHasEveryFunction(t *testing.T) {
	t.Parallel()
	databases, closeAll, err := InMemory()
	if err != nil {
		t.Fatal(err)
	}
	site, err := Open(t.Context(), databases)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range catalogue.Functions() {
		if site.handlers[f.Name] == nil {
			t.Errorf("the site in test/queries has no function %s: add its handler, and what it costs to the row query-cost of the bench", f.Name)
		}
	}
	if err := site.Close(); err != nil {
		t.Error(err)
	}
	if err := closeAll(); err != nil {
		t.Error(err)
	}
}

// TestConfigure has a case for each rule of the package's doc.
func TestConfigure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		shapes []docstore.Shape
		want   string // composite indexes, then overrides but those of everything
	}{
		"by id":                                {[]docstore.Shape{{}}, ""},
		"one equality":                         {[]docstore.Shape{{Equal: "a"}}, "| a ASCENDING"},
		"equalities are merged":                {[]docstore.Shape{{Equal: "a,b"}}, "| a ASCENDING | b ASCENDING"},
		"an order":                             {[]docstore.Shape{{OrderBy: "a"}}, "| a ASCENDING"},
		"an order downwards":                   {[]docstore.Shape{{OrderBy: "a", Descending: true}}, "| a DESCENDING"},
		"both orders":                          {[]docstore.Shape{{OrderBy: "a", Descending: true}, {OrderBy: "a"}}, "| a ASCENDING DESCENDING"},
		"the same field twice":                 {[]docstore.Shape{{OrderBy: "a"}, {Equal: "a"}, {OrderBy: "a", Range: "a"}}, "| a ASCENDING"},
		"an array":                             {[]docstore.Shape{{Contains: "a"}}, "| a CONTAINS"},
		"equality and order":                   {[]docstore.Shape{{Equal: "a", OrderBy: "b"}}, "a ASCENDING, b ASCENDING"},
		"equality and order downwards":         {[]docstore.Shape{{Equal: "a", OrderBy: "b", Descending: true}}, "a ASCENDING, b DESCENDING"},
		"a range is served by the order":       {[]docstore.Shape{{Equal: "a", OrderBy: "b"}, {Equal: "a", OrderBy: "b", Range: "b"}}, "a ASCENDING, b ASCENDING"},
		"a range alone is an order":            {[]docstore.Shape{{Equal: "a", Range: "b"}}, "a ASCENDING, b ASCENDING"},
		"each combination":                     {[]docstore.Shape{{Equal: "a", OrderBy: "c"}, {Equal: "a,b", OrderBy: "c"}}, "a ASCENDING, b ASCENDING, c ASCENDING; a ASCENDING, c ASCENDING"},
		"an array and an equality":             {[]docstore.Shape{{Equal: "b", Contains: "a"}}, "b ASCENDING, a CONTAINS"},
		"equality and order of one field":      {[]docstore.Shape{{Equal: "a", OrderBy: "a"}}, "| a ASCENDING"},
		"equality and order of one of several": {[]docstore.Shape{{Equal: "a,b", OrderBy: "b"}}, "a ASCENDING, b ASCENDING"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			use := Use{Collections: []string{"things"}}
			for _, s := range c.shapes {
				s.Collection = "things"
				use.Shapes = append(use.Shapes, s)
			}
			if got := render(Configure(use)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			slices.Reverse(use.Shapes)
			if got := render(Configure(use)); got != c.want {
				t.Errorf("in another order: got %q", got)
			}
		})
	}
}

// render writes a file short: the composite indexes, and then each field with
// indexes of its own.
func render(f File) string {
	var composites []string
	for _, index := range f.Indexes {
		var fields []string
		for _, field := range index.Fields {
			fields = append(fields, field.FieldPath+" "+field.Order+field.ArrayConfig)
		}
		composites = append(composites, strings.Join(fields, ", "))
	}
	text := strings.Join(composites, "; ")
	for _, o := range f.FieldOverrides {
		if o.FieldPath == "*" && len(o.Indexes) == 0 && !o.TTL {
			continue
		}
		text += "| " + o.FieldPath
		for _, index := range o.Indexes {
			text += " " + index.Order + index.ArrayConfig
		}
		text += " "
	}
	return strings.TrimSpace(text)
}

func TestConfigureExemptsEverythingElse(t *testing.T) {
	t.Parallel()
	got := string(Configure(Use{
		Collections: []string{"ledgers", "events"}, Expiring: []string{"events"}, Shapes: []docstore.Shape{{Collection: "events", OrderBy: "at"}},
	}).JSON())
	want := `{
  "indexes": [],
  "fieldOverrides": [
    {
      "collectionGroup": "events",
      "fieldPath": "*",
      "indexes": []
    },
    {
      "collectionGroup": "events",
      "fieldPath": "at",
      "indexes": [
        {
          "queryScope": "COLLECTION",
          "order": "ASCENDING"
        }
      ]
    },
    {
      "collectionGroup": "events",
      "fieldPath": "expireAt",
      "ttl": true,
      "indexes": []
    },
    {
      "collectionGroup": "ledgers",
      "fieldPath": "*",
      "indexes": []
    }
  ]
}
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSourcesAreReadRight(t *testing.T) {
	t.Parallel()
	const head = "package x\n\nimport \"github.com/sealpost/sealpost/shared/docstore\"\n\n"
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	got, err := readSources(fstest.MapFS{
		"functions/f/function.go": file(head + "func f() any {\n\treturn docstore.Query{}\n}\n"),
		"scripts/s/main.go":       file("package s\n\nimport d \"github.com/sealpost/sealpost/shared/docstore\"\n\nvar q = []*d.Query{{Limit: 1}}\n\nfunc f() { _ = new(d.Query) }\n"),
		"shared/a/a.go":           file(head + "var q docstore.Query\n\nvar c = docstore.Collection[int]{Version: 1, Name: \"as\"}\n\nfunc f(w *docstore.Write) { w.ExpireAt = now }\n"),
		"shared/b/b.go":           file(head + "func f(q docstore.Query) (n docstore.Query) { return q }\n\nvar w = docstore.Write{ExpireAt: now}\n"),
		"shared/c/c.go":           file("package c\n\nimport \"example.com/docstore\"\n\nvar q = docstore.Query{}\n"),
		"shared/a/a_test.go":      file(head + "var q = docstore.Query{}\n"),
		"shared/docstore/d.go":    file(head + "var q = docstore.Query{}\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []query{{"functions/f/function.go", 6, 5, 7}, {"scripts/s/main.go", 5, 0, 0}, {"scripts/s/main.go", 7, 7, 7}, {"shared/a/a.go", 5, 0, 0}}
	if !slices.Equal(got.queries, want) {
		t.Errorf("queries %+v, want %+v", got.queries, want)
	}
	if len(got.collections) != 1 || !slices.Equal(got.collections["shared/a"], []string{"as"}) {
		t.Errorf("collections %q", got.collections)
	}
	if !got.expiring["shared/a"] || !got.expiring["shared/b"] || got.expiring["functions/f"] {
		t.Errorf("expiring %v", got.expiring)
	}
	callers := map[Place]bool{{"/checkout/functions/f/function.go", 7}: true, {"/checkout/scripts/s/main.go", 8}: true}
	if !want[0].reached(callers) || want[1].reached(callers) || want[2].reached(callers) {
		t.Error("which queries were reached is not told right")
	}
}
