// Package sourcetest is the contract suite of syncer.Sources. Every
// implementation passes it: what the planner and the syncer rely on is here.
package sourcetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// Harness makes one implementation ready to be tested.
type Harness struct {
	// Project is the project of the sources; empty for an env file.
	Project string
	// Open returns sources that hold these values, nothing else, and admit
	// nobody. The second result is nil where sources have no versions.
	Open func(t *testing.T, values map[secret.Source]secret.Value) (syncer.Sources, Admin)
}

// Admin changes sources that have versions.
type Admin interface {
	// Create makes a source without a version.
	Create(t *testing.T, s secret.Source)
	// Add adds an enabled version to a source and returns its number.
	Add(t *testing.T, s secret.Source, v secret.Value) secret.Version
	// SetState gives a version a state.
	SetState(t *testing.T, s secret.Source, v secret.Version, state secret.VersionState)
	// Admit replaces the repositories that a source admits.
	Admit(t *testing.T, s secret.Source, repositories ...int64)
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	tests := map[string]func(*testing.T, Harness){
		"inspect tells what is there of what was asked": inspectTellsWhatIsThere,
		"inspect of nothing is nothing":                 inspectOfNothing,
		"a value is read byte for byte":                 valueIsReadByteForByte,
		"a missing value has its code":                  missingValueHasItsCode,
		"the result belongs to the caller":              resultBelongsToTheCaller,
		"an ended context ends the work":                endedContextEndsTheWork,
		"many may ask at once":                          manyMayAskAtOnce,
	}
	versioned := map[string]func(*testing.T, Harness){
		"versions come newest first with their states": versionsComeNewestFirst,
		"the newest twenty versions are there":         newestTwentyAreThere,
		"a source without versions exists":             sourceWithoutVersions,
		"a value follows the state of its version":     valueFollowsState,
		"a source admits whom its owner names":         sourceAdmits,
	}
	unversioned := map[string]func(*testing.T, Harness){
		"the only version is 0": onlyVersionIsZero,
	}
	if h.Project == "" {
		addTests(tests, unversioned)
	} else {
		addTests(tests, versioned)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, h)
		})
	}
}

func addTests(tests, more map[string]func(*testing.T, Harness)) {
	for name, test := range more {
		tests[name] = test
	}
}

func (h Harness) source(id string) secret.Source {
	return secret.Source{Project: h.Project, Secret: id}
}

// first is the number of the version that Open makes.
func (h Harness) first() secret.Version {
	if h.Project == "" {
		return 0
	}
	return 1
}

func inspectTellsWhatIsThere(t *testing.T, h Harness) {
	here, gone := h.source("here"), h.source("gone")
	elsewhere := secret.Source{Project: "elsewhere-1", Secret: "here"}
	sources, _ := h.Open(t, map[secret.Source]secret.Value{here: secret.NewValue("v"), h.source("unasked"): secret.NewValue("v")})
	states, err := sources.Inspect(t.Context(), []secret.Source{here, gone, here, elsewhere})
	if err != nil {
		t.Fatal(err)
	}
	if len(states) != 3 {
		t.Errorf("asked for three different sources, got %d", len(states))
	}
	for source, exists := range map[secret.Source]bool{here: true, gone: false, elsewhere: false} {
		state, ok := states[source]
		if !exists && (state.Notified || state.ProjectNumber != "") || h.Project == "" && state.Notified {
			t.Errorf("%s: notified %v, in project %q; nobody tells of it", source, state.Notified, state.ProjectNumber)
		}
		if !ok || state.Exists != exists {
			t.Errorf("%s: in the result %v, exists %v; want true, %v", source, ok, state.Exists, exists)
		}
	}
	if state := states[here]; state.Unversioned != (h.Project == "") || len(state.Repositories) != 0 {
		t.Errorf("%s: unversioned %v, repositories %v", here, state.Unversioned, state.Repositories)
	}
}

func inspectOfNothing(t *testing.T, h Harness) {
	sources, _ := h.Open(t, nil)
	states, err := sources.Inspect(t.Context(), nil)
	if err != nil || len(states) != 0 {
		t.Errorf("got %v, %v", states, err)
	}
}

func valueIsReadByteForByte(t *testing.T, h Harness) {
	values := map[secret.Source]secret.Value{
		h.source("plain"):      secret.NewValue("hunter2"),
		h.source("multi-line"): secret.NewValue("-----BEGIN KEY-----\r\nAAAA\n-----END KEY-----\n"),
		h.source("unicode"):    secret.NewValue("pässwörd 🔑 \u2028"),
		h.source("bytes"):      secret.NewValue("\x00\xff\xfe\x80"),
		h.source("space"):      secret.NewValue("  \t "),
		h.source("largest"):    secret.NewValue(strings.Repeat("x", secret.MaxValueBytes)),
	}
	sources, _ := h.Open(t, values)
	for source, want := range values {
		got, err := sources.Value(t.Context(), source, h.first())
		if err != nil {
			t.Errorf("%s: %v", source, err)
		} else if got.Reveal() != want.Reveal() {
			t.Errorf("%s: got %d bytes, which are not the %d that were put there", source, got.Len(), want.Len())
		}
	}
}

func missingValueHasItsCode(t *testing.T, h Harness) {
	here := h.source("here")
	sources, _ := h.Open(t, map[secret.Source]secret.Value{here: secret.NewValue("v")})
	for name, ask := range map[string]struct {
		source  secret.Source
		version secret.Version
	}{
		"no such source":          {h.source("gone"), h.first()},
		"no such version":         {here, h.first() + 1},
		"no such project":         {secret.Source{Project: "elsewhere-1", Secret: "here"}, h.first()},
		"another kind of version": {here, 1 - h.first()},
	} {
		value, err := sources.Value(t.Context(), ask.source, ask.version)
		if !errors.Is(err, fault.Unprocessable) || !errors.Is(err, fault.SourceMissing) || value.Len() != 0 {
			t.Errorf("%s: got %v and %d bytes, want %s", name, err, value.Len(), fault.SourceMissing)
		}
	}
}

func resultBelongsToTheCaller(t *testing.T, h Harness) {
	here := h.source("here")
	sources, _ := h.Open(t, map[secret.Source]secret.Value{here: secret.NewValue("v")})
	asked := []secret.Source{here, here}
	for range 2 {
		states, err := sources.Inspect(t.Context(), asked)
		if err != nil || !states[here].Exists {
			t.Fatalf("got %v, %v", states, err)
		}
		if asked[0] != here || asked[1] != here {
			t.Fatalf("the caller's list was changed to %v", asked)
		}
		for i := range states[here].Versions {
			states[here].Versions[i].Number = 99
		}
		delete(states, here)
	}
}

func endedContextEndsTheWork(t *testing.T, h Harness) {
	here := h.source("here")
	sources, _ := h.Open(t, map[secret.Source]secret.Value{here: secret.NewValue("v")})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, stop := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer stop()
	for kind, ctx := range map[fault.Kind]context.Context{fault.Canceled: canceled, fault.Deadline: late} {
		if _, err := sources.Inspect(ctx, []secret.Source{here}); !errors.Is(err, kind) {
			t.Errorf("Inspect: got %v, want %s", err, kind)
		}
		if _, err := sources.Value(ctx, here, h.first()); !errors.Is(err, kind) {
			t.Errorf("Value: got %v, want %s", err, kind)
		}
	}
}

func manyMayAskAtOnce(t *testing.T, h Harness) {
	here := h.source("here")
	sources, _ := h.Open(t, map[secret.Source]secret.Value{here: secret.NewValue("v")})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			states, err := sources.Inspect(t.Context(), []secret.Source{here, h.source("gone")})
			if err != nil || !states[here].Exists {
				t.Errorf("Inspect: got %v, %v", states, err)
			}
			if v, err := sources.Value(t.Context(), here, h.first()); err != nil || v.Reveal() != "v" {
				t.Errorf("Value: %v", err)
			}
		})
	}
	group.Wait()
}

func onlyVersionIsZero(t *testing.T, h Harness) {
	here := h.source("here")
	sources, _ := h.Open(t, map[secret.Source]secret.Value{here: secret.NewValue("v")})
	states, err := sources.Inspect(t.Context(), []secret.Source{here})
	if err != nil || !states[here].Unversioned || len(states[here].Versions) != 0 {
		t.Errorf("got %+v, %v", states[here], err)
	}
	if v, err := sources.Value(t.Context(), here, 0); err != nil || v.Reveal() != "v" {
		t.Errorf("Value: %v", err)
	}
}

func versionsComeNewestFirst(t *testing.T, h Harness) {
	here := h.source("here")
	sources, admin := h.Open(t, map[secret.Source]secret.Value{here: secret.NewValue("one")})
	for _, v := range []string{"two", "three", "four"} {
		admin.Add(t, here, secret.NewValue(v))
	}
	admin.SetState(t, here, 4, secret.Disabled)
	admin.SetState(t, here, 2, secret.Destroyed)
	want := []secret.SourceVersion{{Number: 4, State: secret.Disabled}, {Number: 3, State: secret.Enabled}, {Number: 2, State: secret.Destroyed}, {Number: 1, State: secret.Enabled}}
	if got := inspectOne(t, sources, here).Versions; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func newestTwentyAreThere(t *testing.T, h Harness) {
	here := h.source("here")
	sources, admin := h.Open(t, map[secret.Source]secret.Value{here: secret.NewValue("v")})
	for range 119 {
		admin.Add(t, here, secret.NewValue("v"))
	}
	versions := inspectOne(t, sources, here).Versions
	if len(versions) < 20 {
		t.Fatalf("got %d versions", len(versions))
	}
	for i, v := range versions {
		if want := secret.Version(120 - i); v.Number != want {
			t.Fatalf("version %d stands at place %d, where %d belongs", v.Number, i, want)
		}
	}
}

func sourceWithoutVersions(t *testing.T, h Harness) {
	bare := h.source("bare")
	sources, admin := h.Open(t, nil)
	admin.Create(t, bare)
	if state := inspectOne(t, sources, bare); !state.Exists || len(state.Versions) != 0 {
		t.Errorf("got %+v", state)
	}
	if _, err := sources.Value(t.Context(), bare, 1); !errors.Is(err, fault.SourceMissing) {
		t.Errorf("got %v, want %s", err, fault.SourceMissing)
	}
}

func valueFollowsState(t *testing.T, h Harness) {
	here := h.source("here")
	sources, admin := h.Open(t, map[secret.Source]secret.Value{here: secret.NewValue("one")})
	admin.Add(t, here, secret.NewValue("two"))
	for _, step := range []struct {
		state secret.VersionState
		want  error
	}{{secret.Disabled, fault.SourceDisabled}, {secret.Enabled, nil}, {secret.Destroyed, fault.SourceDestroyed}} {
		admin.SetState(t, here, 1, step.state)
		value, err := sources.Value(t.Context(), here, 1)
		switch {
		case step.want == nil && (err != nil || value.Reveal() != "one"):
			t.Errorf("%s: got %v", step.state, err)
		case step.want != nil && (!errors.Is(err, step.want) || !errors.Is(err, fault.Unprocessable) || value.Len() != 0):
			t.Errorf("%s: got %v and %d bytes, want %v", step.state, err, value.Len(), step.want)
		}
		if other, err := sources.Value(t.Context(), here, 2); err != nil || other.Reveal() != "two" {
			t.Errorf("%s: the other version: %v", step.state, err)
		}
	}
}

func sourceAdmits(t *testing.T, h Harness) {
	here := h.source("here")
	sources, admin := h.Open(t, map[secret.Source]secret.Value{here: secret.NewValue("v")})
	for _, ids := range [][]int64{{42}, {7, 9_007_199_254_740_993}, {}} {
		admin.Admit(t, here, ids...)
		state := inspectOne(t, sources, here)
		if !slices.Equal(state.Repositories, ids) || len(state.Versions) != 1 {
			t.Errorf("got %v and %d versions, want %v and 1", state.Repositories, len(state.Versions), ids)
		}
	}
}

func inspectOne(t *testing.T, sources syncer.Sources, s secret.Source) secret.SourceState {
	t.Helper()
	states, err := sources.Inspect(t.Context(), []secret.Source{s})
	if err != nil {
		t.Fatal(err)
	}
	return states[s]
}
