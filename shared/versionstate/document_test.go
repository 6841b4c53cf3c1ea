package versionstate

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/secret"
)

func TestVersionsAsText(t *testing.T) {
	t.Parallel()
	v := func(number int64, state secret.VersionState) secret.SourceVersion {
		return secret.SourceVersion{Number: secret.Version(number), State: state}
	}
	for text, versions := range map[string][]secret.SourceVersion{
		"":               nil,
		"1e":             {v(1, secret.Enabled)},
		"3-1e":           {v(3, secret.Enabled), v(2, secret.Enabled), v(1, secret.Enabled)},
		"4d 3-2e 1x":     {v(4, secret.Disabled), v(3, secret.Enabled), v(2, secret.Enabled), v(1, secret.Destroyed)},
		"9e 7e 8e":       {v(9, secret.Enabled), v(7, secret.Enabled), v(8, secret.Enabled)},
		"100000000-99e ": nil, // more than there can be
		"1":              nil,
		"e":              nil,
		"1-2e":           nil,
		"0e":             nil,
		"1e2":            nil,
		"1y":             nil,
	} {
		if versions != nil || text == "" {
			if got := formatVersions(versions); got != text {
				t.Errorf("%v: got %q, want %q", versions, got, text)
			}
		}
		got, err := parseVersions(text)
		if !slices.Equal(got, versions) || (err != nil) != (versions == nil && text != "") {
			t.Errorf("%q: got %v and %v, want %v", text, got, err, versions)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var versions []secret.SourceVersion
		for range rapid.IntRange(0, 60).Draw(t, "n") {
			versions = append(versions, v(rapid.Int64Range(1, 70).Draw(t, "number"), rapid.SampledFrom([]secret.VersionState{secret.Enabled, secret.Disabled, secret.Destroyed}).Draw(t, "state")))
		}
		if got, err := parseVersions(formatVersions(versions)); err != nil || !slices.Equal(got, versions) {
			t.Fatalf("%v came back as %v (%v)", versions, got, err)
		}
	})
}

// FuzzParseVersions reads whatever a document may hold without using more than
// its share of memory.
func FuzzParseVersions(f *testing.F) {
	for _, seed := range []string{"7-5e 4x", "9223372036854775807-1e", "1-1d", "- e", "\u00a01e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		versions, err := parseVersions(text)
		if err != nil {
			return
		}
		if len(versions) > maxVersions {
			t.Errorf("%d versions", len(versions))
		}
		if again, err := parseVersions(formatVersions(versions)); err != nil || !slices.Equal(again, versions) {
			t.Errorf("%q is %v, and then %v (%v)", text, versions, again, err)
		}
	})
}

// TestSame tells what a plan depends on from how changes become known.
func TestSame(t *testing.T) {
	t.Parallel()
	state := func(change func(*secret.SourceState)) entry {
		s := secret.SourceState{Exists: true, Repositories: []int64{7, 42}, Versions: []secret.SourceVersion{{Number: 1, State: secret.Enabled}}}
		change(&s)
		return newEntry(s, time.Unix(0, 0))
	}
	plain := state(func(*secret.SourceState) {})
	many := make([]int64, maxRepositories+2)
	for i := range many {
		many[i] = int64(i + 1)
	}
	for name, test := range map[string]struct {
		other entry
		same  bool
	}{
		"nothing":           {plain, true},
		"when it was seen":  {newEntry(plain.state, time.Unix(1, 0)), true},
		"notified":          {state(func(s *secret.SourceState) { s.Notified = true }), true},
		"a number":          {state(func(s *secret.SourceState) { s.ProjectNumber = "1" }), true},
		"the order":         {state(func(s *secret.SourceState) { s.Repositories = []int64{42, 7, 7} }), true},
		"existence":         {state(func(s *secret.SourceState) { s.Exists = false }), false},
		"denied":            {state(func(s *secret.SourceState) { s.Denied = true }), false},
		"another admitted":  {state(func(s *secret.SourceState) { s.Repositories = []int64{7, 42, 43} }), false},
		"one less admitted": {state(func(s *secret.SourceState) { s.Repositories = []int64{7} }), false},
		"a version more":    {state(func(s *secret.SourceState) { s.Versions = append(s.Versions, s.Versions...) }), false},
		"a version's state": {state(func(s *secret.SourceState) { s.Versions[0].State = secret.Disabled }), false},
	} {
		if got := plain.same(test.other); got != test.same || test.other.same(plain) != test.same {
			t.Errorf("%s: got %t, want %t", name, got, test.same)
		}
	}
	one, two := newEntry(secret.SourceState{Repositories: many[:maxRepositories+1]}, time.Time{}), newEntry(secret.SourceState{Repositories: many}, time.Time{})
	if one.same(two) || one.more != 1 || two.more != 2 || len(two.state.Repositories) != maxRepositories {
		t.Errorf("of %d and %d repositories %d and %d are left out", maxRepositories+1, maxRepositories+2, one.more, two.more)
	}
}

// TestPlace puts a document where its source stands that waits the longest.
func TestPlace(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 0).UTC()
	seen := map[secret.Source]entry{}
	for i := range 9 {
		seen[secret.Source{Project: "acme-prod", Secret: fmt.Sprint(i)}] = newEntry(secret.SourceState{}, at.Add(time.Duration(i)*time.Minute))
	}
	d := document{projectID: "p"}.with(seen)
	if !d.sweptAt.Equal(at) || d.oldestFirst()[0].Secret != "0" {
		t.Errorf("got %s and %s first", d.sweptAt, d.oldestFirst()[0])
	}
	last := secret.Source{Project: "acme-prod", Secret: "8"}
	distrusted := d.without(last)
	if !distrusted.sweptAt.IsZero() || distrusted.oldestFirst()[0] != last || !d.sweptAt.Equal(at) {
		t.Errorf("without one: got %s and %s first, and %s before", distrusted.sweptAt, distrusted.oldestFirst()[0], d.sweptAt)
	}
	if again := distrusted.again(seen); !again.sweptAt.Equal(at) || again.untold() {
		t.Errorf("seen again: got %s, untold %t", again.sweptAt, again.untold())
	}
}

// TestStoredForm is what lies in the store: a change of it needs another schema
// version and an upgrade.
func TestStoredForm(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	here, gone := secret.Source{Project: "acme-prod", Secret: "here"}, secret.Source{Project: "acme-prod", Secret: "gone"}
	d := document{projectID: "p"}.with(map[secret.Source]entry{
		here: newEntry(secret.SourceState{
			Exists: true, Notified: true, ProjectNumber: "123", Repositories: []int64{42, 7, 42},
			Versions: []secret.SourceVersion{{Number: 2, State: secret.Disabled}, {Number: 1, State: secret.Enabled}},
		}, at),
		gone: newEntry(secret.SourceState{Denied: true}, at.Add(-time.Hour)),
	})
	write, err := d.write()
	if err != nil {
		t.Fatal(err)
	}
	want := docstore.Write{
		Key: docstore.Key{Collection: "source_versions", ID: "p"}, If: docstore.IfAbsent(),
		Fields: docstore.Fields{
			"schemaVersion": int64(1), "sweptAt": at.Add(-time.Hour),
			"sources": []any{"acme-prod/gone", "123/gone", "acme-prod/here", "123/here"},
			"states": []any{
				map[string]any{"project": "acme-prod", "secret": "gone", "denied": true, "seenAt": at.Add(-time.Hour)},
				map[string]any{
					"project": "acme-prod", "secret": "here", "number": "123", "exists": true, "notified": true,
					"repositories": []any{int64(7), int64(42)}, "versions": "2d 1e", "seenAt": at,
				},
			},
		},
	}
	if !reflect.DeepEqual(write, want) {
		t.Errorf("got\n %#v, want\n %#v", write, want)
	}
}

// A document has room for 1,000 sources, and one that is over its bound keeps
// what fits.
func TestSize(t *testing.T) {
	t.Parallel()
	fill := func(n, name, repositories, versions int) document {
		state := secret.SourceState{Exists: true, Notified: true, ProjectNumber: "827585297303"}
		for i := range repositories {
			state.Repositories = append(state.Repositories, int64(i+1))
		}
		for i := range versions {
			states := []secret.VersionState{secret.Enabled, secret.Destroyed}
			state.Versions = append(state.Versions, secret.SourceVersion{Number: secret.Version(100_000 - i), State: states[i%2]})
		}
		seen := map[secret.Source]entry{}
		for i := range n {
			id := fmt.Sprintf("%0*d", name, i)
			seen[secret.Source{Project: "acme-secrets-production-000001", Secret: id}] = newEntry(state, time.Unix(0, 0).UTC())
		}
		return document{projectID: strings.Repeat("p", 63)}.with(seen)
	}
	for name, test := range map[string]struct {
		doc      document
		most     int
		complete bool
	}{
		"usual names":                {fill(1000, 40, 3, 5), 512 << 10, true},
		"long names, many versions":  {fill(1000, 80, 10, 50), maxBytes, true},
		"the longest that there are": {fill(1000, 255, 1000, 50), maxBytes, false},
	} {
		write, err := test.doc.write()
		if err != nil {
			t.Fatal(err)
		}
		states := write.Fields["states"].([]any)
		if size := write.Size(); size > test.most || (len(states) == 1000) != test.complete || len(states) < 300 {
			t.Errorf("%s: %d bytes for %d sources, want at most %d bytes and all of them: %t", name, size, len(states), test.most, test.complete)
		}
		if len(write.Fields["sources"].([]any)) != 2*len(states) {
			t.Errorf("%s: %d names for %d sources", name, len(write.Fields["sources"].([]any)), len(states))
		}
	}
}
