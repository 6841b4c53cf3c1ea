package docstore_test

import (
	"errors"
	"testing"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

type person struct {
	Name string `doc:"name"`
	Age  int    `doc:"age"`
}

// people is at version 3: version 1 had a first and a last name, version 2 no age.
var people = docstore.Collection[person]{
	Name: "people", Version: 3,
	Upgrades: map[int]func(docstore.Fields) (docstore.Fields, error){
		1: func(f docstore.Fields) (docstore.Fields, error) {
			first, _ := f["first"].(string)
			last, _ := f["last"].(string)
			if first == "" {
				return nil, errors.New("no first name")
			}
			return docstore.Fields{"name": first + " " + last}, nil
		},
		2: func(f docstore.Fields) (docstore.Fields, error) {
			f["age"] = int64(-1)
			return f, nil
		},
	},
}

func TestRecords(t *testing.T) {
	t.Parallel()
	store := memory(t)
	write, err := people.Put("a", person{Name: "alice", Age: 30}, docstore.IfAbsent())
	if err != nil {
		t.Fatal(err)
	}
	at, err := store.Commit(t.Context(), write)
	if err != nil {
		t.Fatal(err)
	}
	got, err := people.Get(t.Context(), store, "a")
	if err != nil || got.Value != (person{"alice", 30}) || got.ID != "a" || !got.UpdateTime.Equal(at) || got.ReadTime.Before(at) {
		t.Errorf("got %+v (%v)", got, err)
	}
	list, next, err := people.List(t.Context(), store, docstore.Query{Limit: 10})
	if err != nil || next != "" || len(list) != 1 || list[0].Value != got.Value || list[0].ID != "a" {
		t.Errorf("listed %+v, %q (%v)", list, next, err)
	}
	if _, err := store.Commit(t.Context(), people.Delete("a", docstore.IfUnchanged(at))); err != nil {
		t.Error(err)
	}
	if _, err := people.Get(t.Context(), store, "a"); !errors.Is(err, fault.NotFound) {
		t.Errorf("got error %v, want one of kind %q", err, fault.NotFound)
	}
}

func TestOlderAndNewerRecords(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		stored docstore.Fields
		want   person
		err    error
	}{
		"two versions ago":        {docstore.Fields{"schemaVersion": int64(1), "first": "alice", "last": "doe"}, person{"alice doe", -1}, nil},
		"one version ago":         {docstore.Fields{"schemaVersion": int64(2), "name": "alice"}, person{"alice", -1}, nil},
		"now":                     {docstore.Fields{"schemaVersion": int64(3), "name": "alice", "age": int64(3)}, person{"alice", 3}, nil},
		"newer":                   {docstore.Fields{"schemaVersion": int64(4), "name": "alice"}, person{}, fault.SchemaTooNew},
		"without a version":       {docstore.Fields{"name": "alice"}, person{}, fault.Internal},
		"before the first":        {docstore.Fields{"schemaVersion": int64(0)}, person{}, fault.Internal},
		"a failing upgrade":       {docstore.Fields{"schemaVersion": int64(1)}, person{}, fault.Internal},
		"a field of another type": {docstore.Fields{"schemaVersion": int64(3), "name": int64(1)}, person{}, fault.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memory(t)
			if _, err := store.Commit(t.Context(), docstore.Write{Key: docstore.Key{Collection: "people", ID: "a"}, Fields: test.stored}); err != nil {
				t.Fatal(err)
			}
			got, err := people.Get(t.Context(), store, "a")
			if !errors.Is(err, test.err) || got.Value != test.want {
				t.Errorf("got %+v (%v), want %+v (%v)", got.Value, err, test.want, test.err)
			}
			if _, _, err := people.List(t.Context(), store, docstore.Query{Limit: 1}); !errors.Is(err, test.err) {
				t.Errorf("List: got error %v, want %v", err, test.err)
			}
		})
	}
}

func TestRecordThatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	if _, err := (docstore.Collection[struct{ Name string }]{Name: "people", Version: 1}).Put("a", struct{ Name string }{}, docstore.Always()); !errors.Is(err, fault.Internal) {
		t.Errorf("got error %v, want one of kind %q", err, fault.Internal)
	}
}
