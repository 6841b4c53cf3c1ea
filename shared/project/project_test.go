package project_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
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

// full is a project with something in every field.
func full(id string) project.Project {
	return project.Project{
		ID:           id,
		Repository:   project.Container{Kind: project.Repository, Owner: "acme", Name: "payments-api", ID: 42},
		Organisation: &project.Container{Kind: project.Organisation, Owner: "acme", ID: 7},
		Mappings: []project.Mapping{
			{Name: "DATABASE_URL", Source: secret.Source{Project: "acme-secrets", Secret: "db"}, Scopes: []secret.Scope{secret.Dependabot, secret.Actions}},
			{Name: "SHARED", Source: secret.Source{Secret: "SHARED"}, Scopes: []secret.Scope{secret.OrgActions, secret.Actions},
				Access: &project.Access{Visibility: project.VisibleToSelected, Repositories: []int64{2, 1}}},
			{Name: "OPEN", Source: secret.Source{Project: "acme-secrets", Secret: "open"}, Scopes: []secret.Scope{secret.OrgDependabot},
				Access: &project.Access{Visibility: project.VisibleToAll}},
		},
		Exclude: []string{"LEGACY_*"}, AllowRollback: true, Manifest: []byte(`{"project":"payments-api"}`),
		CreatedAt: time.UnixMicro(1_700_000_000_000_000).UTC(), UpdatedAt: time.UnixMicro(1_700_000_060_000_000).UTC(),
	}
}

func write(t *testing.T, store docstore.Store, p project.Project) error {
	t.Helper()
	w, err := p.Write()
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Commit(t.Context(), w)
	return err
}

func get(t *testing.T, store docstore.Store, id string) project.Project {
	t.Helper()
	p, err := project.Get(t.Context(), store, id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantSame compares what can be seen of two projects.
func wantSame(t *testing.T, got, want project.Project) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		field := g.Type().Field(i)
		if field.IsExported() && !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s: got %+v, want %+v", field.Name, g.Field(i), w.Field(i))
		}
	}
}

// TestStored stores, replaces and removes a project, each only as it was read.
func TestStored(t *testing.T) {
	t.Parallel()
	store := open(t)
	p := full("payments-api")
	if err := write(t, store, p); err != nil {
		t.Fatal(err)
	}
	read := get(t, store, p.ID)
	wantSame(t, read, p)
	if err := write(t, store, p); !errors.Is(err, fault.Exists) {
		t.Errorf("a second registration: got %v, want %v", err, fault.Exists)
	}

	plain := project.Project{ID: p.ID, Repository: p.Repository, Mappings: []project.Mapping{}, CreatedAt: time.Now(), UpdatedAt: p.UpdatedAt}
	if err := write(t, store, plain.Replaces(read)); err != nil {
		t.Fatal(err)
	}
	replaced := get(t, store, p.ID)
	if !replaced.CreatedAt.Equal(p.CreatedAt) || replaced.Organisation != nil || len(replaced.Mappings) != 0 {
		t.Errorf("got %+v", replaced)
	}
	if err := write(t, store, plain.Replaces(read)); !errors.Is(err, fault.Conflict) {
		t.Errorf("a change of what was changed meanwhile: got %v, want %v", err, fault.Conflict)
	}
	if _, err := store.Commit(t.Context(), read.Delete()); !errors.Is(err, fault.Conflict) {
		t.Errorf("a removal of what was changed meanwhile: got %v, want %v", err, fault.Conflict)
	}
	if _, err := store.Commit(t.Context(), replaced.Delete()); err != nil {
		t.Fatal(err)
	}
	if _, err := project.Get(t.Context(), store, p.ID); !errors.Is(err, fault.ProjectNotFound) || !errors.Is(err, fault.NotFound) {
		t.Errorf("after its removal: got %v, want %s", err, fault.ProjectNotFound)
	}
}

// TestIDs refuses ids that no project has, without asking the store.
func TestIDs(t *testing.T) {
	t.Parallel()
	for id, ok := range map[string]bool{
		"a": true, "payments-api": true, "0": true, "a--b": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "a-": false, "A": false, "a_b": false, "a/b": false, "a.b": false, "ä": false, "a\n": false, strings.Repeat("a", 64): false,
	} {
		if err := project.CheckID(id); (err == nil) != ok || err != nil && !errors.Is(err, fault.ManifestInvalid) {
			t.Errorf("%q: got %v", id, err)
		}
		if !ok {
			_, err := project.Get(t.Context(), nil, id)
			if !errors.Is(err, fault.ProjectNotFound) || len(fault.Detail(err)) > 120 {
				t.Errorf("%q: got %v, want %s", id, err, fault.ProjectNotFound)
			}
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	store := open(t)
	var want []string
	for i := range 7 {
		p := full(fmt.Sprintf("p%d", i))
		want = append(want, p.ID)
		if err := write(t, store, p); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	cursor := ""
	for range want {
		projects, next, err := project.List(t.Context(), store, 3, cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range projects {
			got = append(got, p.ID)
			wantSame(t, p, full(p.ID))
		}
		if cursor = next; next == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// What was listed can be removed as it was read.
	projects, _, err := project.List(t.Context(), store, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Commit(t.Context(), projects[0].Delete()); err != nil {
		t.Error(err)
	}
}

// TestContainers tells which container holds which scope.
func TestContainers(t *testing.T) {
	t.Parallel()
	p := full("payments-api")
	if got := p.Containers(); len(got) != 2 || got[0] != p.Repository || got[1] != *p.Organisation {
		t.Errorf("got %v", got)
	}
	if want := []secret.Scope{secret.Actions, secret.Dependabot, secret.OrgActions, secret.OrgDependabot}; !slices.Equal(p.Scopes(), want) {
		t.Errorf("got %v, want %v", p.Scopes(), want)
	}
	p.Organisation = nil
	if got := p.Containers(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	renamed := p.Repository
	renamed.Owner, renamed.Name = "acme-2", "payments"
	if p.Repository.Key() != "repository-42" || renamed.Key() != p.Repository.Key() {
		t.Errorf("a rename moves the key from %s to %s", p.Repository.Key(), renamed.Key())
	}
	organisation := project.Container{Kind: project.Organisation, Owner: "acme", ID: 42}
	if organisation.Key() == p.Repository.Key() || organisation.String() != "acme" || p.Repository.String() != "acme/payments-api" {
		t.Errorf("%s %s, %s %s", organisation, organisation.Key(), p.Repository, p.Repository.Key())
	}
	for scope, want := range map[secret.Scope][2]bool{ // repository, organisation
		secret.Actions: {true, false}, secret.EnvironmentScope("org-x"): {true, false}, secret.OrgActions: {false, true}, "cloudflare:w": {false, false},
	} {
		if got := [2]bool{project.Repository.Holds(scope), project.Organisation.Holds(scope)}; got != want {
			t.Errorf("%s: got %v, want %v", scope, got, want)
		}
	}
}

// TestAccess gives equal access one form, and other access another.
func TestAccess(t *testing.T) {
	t.Parallel()
	selected := func(ids ...int64) project.Access {
		return project.Access{Visibility: project.VisibleToSelected, Repositories: ids}
	}
	given := []int64{3, 1, 2, 1}
	if a, b := selected(given...).String(), selected(1, 2, 3).String(); a != b || a != "selected:1,2,3" {
		t.Errorf("got %q and %q", a, b)
	}
	if !slices.Equal(given, []int64{3, 1, 2, 1}) {
		t.Errorf("the list was changed: %v", given)
	}
	seen := map[string]bool{}
	for _, a := range []project.Access{{Visibility: project.VisibleToAll}, {Visibility: project.VisibleToPrivate}, selected(), selected(1), selected(12), selected(1, 2)} {
		if seen[a.String()] {
			t.Errorf("%+v has the form of another: %s", a, a)
		}
		seen[a.String()] = true
	}
}
