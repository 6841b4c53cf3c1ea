package versionstate_test

import (
	"context"
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
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/firedoc"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/source/sourcetest"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/versionstate"
	"github.com/sealpost/sealpost/test/emulator"
)

const (
	vault = "acme-secrets-prod"
	topic = "projects/acme-ops/topics/secret-events"
)

var _ syncer.Sources = (*versionstate.Run)(nil)

func TestMain(m *testing.M) { emulator.Run(m) }

// site is a Secret Manager, reached by the real client, and a store.
type site struct {
	*testing.T
	secrets *secretmanagerd.Server
	client  *gsm.Client
	store   *docstore.Counting
	versionstate.Sources

	mu            sync.Mutex
	notifications []map[string]string // attributes of those that a topic got
	denied        bool                // whether Sealpost may look at nothing
}

// everywhere runs a test over each implementation of the store.
func everywhere(t *testing.T, test func(s *site)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(newSite(t, sqlite(t), topic))
	})
	t.Run("Firestore", func(t *testing.T) {
		t.Parallel()
		test(newSite(t, firestore(t), topic))
	})
}

func sqlite(t *testing.T) docstore.Store {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	check(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func firestore(t *testing.T) docstore.Store {
	t.Helper()
	store, err := firedoc.Open(t.Context(), firedoc.Config{Project: emulator.Project(), EmulatorHost: emulator.Firestore.Host(t)}, clock.Real())
	check(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func newSite(t *testing.T, store docstore.Store, topics ...string) *site {
	t.Helper()
	s := &site{T: t, store: docstore.NewCounting(store)}
	var err error
	s.secrets, err = secretmanagerd.New(secretmanagerd.Config{Topics: topics, Notify: s.notify, Permit: s.permit})
	check(t, err)
	endpoint := s.secrets.ListenInMemory()
	t.Cleanup(endpoint.Close)
	s.client, err = gsm.Open(t.Context(), gsm.Config{Endpoint: endpoint.Address, Dial: endpoint.Dial, Insecure: true, ReadsPerMinute: -1, Topic: topic})
	check(t, err)
	t.Cleanup(func() { _ = s.client.Close() })
	s.Sources = versionstate.Sources{Store: s.store, Live: s.client, Clock: clock.Real()}
	return s
}

func (s *site) notify(e secretmanagerd.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(e.Topics, topic) {
		s.notifications = append(s.notifications, e.Attributes)
	}
}

func (s *site) permit(secretmanagerd.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.denied
}

func (s *site) deny(denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denied = denied
}

// lose drops the notifications that were not delivered yet.
func (s *site) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notifications = nil
}

// deliver brings the notifications, and returns who was told, sorted.
func (s *site) deliver() []string {
	s.Helper()
	s.mu.Lock()
	notifications := s.notifications
	s.notifications = nil
	s.mu.Unlock()
	var told []string
	for _, attributes := range notifications {
		ref, event, err := versionstate.ParseNotification(attributes)
		check(s.T, err)
		if (ref == versionstate.Ref{}) {
			if event != "TOPIC_CONFIGURED" {
				s.Errorf("nothing to look at after %s", event)
			}
			continue
		}
		told = append(told, s.changed(ref)...)
	}
	slices.Sort(told)
	return told
}

func (s *site) changed(ref versionstate.Ref) []string {
	s.Helper()
	told, err := s.Changed(s.Context(), ref, heard)
	check(s.T, err)
	return told
}

// heard is what is told by those who only want to be told.
func heard(context.Context, string) error { return nil }

func source(id string) secret.Source { return secret.Source{Project: vault, Secret: id} }

func sources(n int) []secret.Source {
	var all []secret.Source
	for i := range n {
		all = append(all, source(fmt.Sprintf("s%03d", i)))
	}
	return all
}

// put has the source hold a value and admit these repositories.
func (s *site) put(source secret.Source, value string, repositories ...int64) {
	s.Helper()
	_, err := s.secrets.SetSecret(source.Project, source.Secret, secret.NewValue(value), map[string]string{gsm.RepositoriesAnnotation: gsm.FormatRepositories(repositories)})
	check(s.T, err)
}

func (s *site) inspect(project string, sources ...secret.Source) map[secret.Source]secret.SourceState {
	s.Helper()
	states, err := s.Inspect(s.Context(), project, sources)
	check(s.T, err)
	return states
}

// reads returns how many metadata reads there were since it was last asked.
func (s *site) reads() int {
	n := s.secrets.Calls("GetSecret") + s.secrets.Calls("ListSecretVersions") + s.secrets.Calls("GetSecretVersion")
	s.secrets.ResetCalls()
	return n
}

// age makes the project's document look as if it had been written so long ago.
func (s *site) age(project string, by time.Duration) {
	s.Helper()
	key := docstore.Key{Collection: "source_versions", ID: project}
	doc, err := s.store.Get(s.Context(), key)
	check(s.T, err)
	doc.Fields["sweptAt"] = doc.Fields["sweptAt"].(time.Time).Add(-by)
	for _, state := range doc.Fields["states"].([]any) {
		fields := state.(map[string]any)
		fields["seenAt"] = fields["seenAt"].(time.Time).Add(-by)
	}
	_, err = s.store.Commit(s.Context(), docstore.Write{Key: key, Fields: doc.Fields})
	check(s.T, err)
}

func (s *site) wantReads(what string, want int) {
	s.Helper()
	if got := s.reads(); got != want {
		s.Errorf("%s: %d metadata reads, want %d", what, got, want)
	}
}

func wantTold(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: told %q, want %q", what, got, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// forget drops what is known, as the registration of a project does.
func (s *site) forget(projectID string) {
	s.T.Helper()
	_, err := s.Store.Commit(s.Context(), versionstate.Forgetting(projectID))
	check(s.T, err)
}

// Whoever syncs sees no difference to live sources, as long as notifications
// come.
func TestRunKeepsTheContractOfSources(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) docstore.Store{"SQLite": sqlite, "Firestore": firestore} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sourcetest.Run(t, sourcetest.Harness{
				Project: vault,
				Open: func(t *testing.T, values map[secret.Source]secret.Value) (syncer.Sources, sourcetest.Admin) {
					t.Helper()
					s := newSite(t, open(t), topic)
					for source, value := range values {
						_, err := s.secrets.SetSecret(source.Project, source.Secret, value, nil)
						check(t, err)
					}
					return s.Of("payments-api"), admin{s}
				},
			})
		})
	}
}

// admin changes sources, and sees to it that Sealpost hears of it.
type admin struct{ site *site }

func (a admin) Create(t *testing.T, s secret.Source) {
	t.Helper()
	check(t, a.site.client.Create(t.Context(), s, nil))
	a.site.deliver()
}

func (a admin) Add(t *testing.T, s secret.Source, v secret.Value) secret.Version {
	t.Helper()
	version, err := a.site.client.AddVersion(t.Context(), s, v)
	check(t, err)
	a.site.deliver()
	return version
}

func (a admin) SetState(t *testing.T, s secret.Source, v secret.Version, state secret.VersionState) {
	t.Helper()
	set := map[secret.VersionState]func(string, string, secret.Version) error{
		secret.Enabled: a.site.secrets.EnableVersion, secret.Disabled: a.site.secrets.DisableVersion, secret.Destroyed: a.site.secrets.DestroyVersion,
	}
	check(t, set[state](s.Project, s.Secret, v))
	a.site.deliver()
}

func (a admin) Admit(t *testing.T, s secret.Source, ids ...int64) {
	t.Helper()
	value, err := a.site.client.Value(t.Context(), s, 1)
	check(t, err)
	_, err = a.site.secrets.SetSecret(s.Project, s.Secret, value, map[string]string{gsm.RepositoriesAnnotation: gsm.FormatRepositories(ids)})
	check(t, err)
	a.site.deliver()
}

// However many secrets there are: one document read, one write if anything was
// read live, and nothing asked of Secret Manager where nothing changed.
func TestAnIdleSyncAsksNothing(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		all := sources(30)
		for _, source := range all {
			s.put(source, "one", 42, 7)
			s.put(source, "two", 42, 7)
		}
		check(s.T, s.secrets.DisableVersion(vault, all[3].Secret, 2))
		s.reads()

		first := s.inspect("payments-api", all...)
		s.wantReads("the first look", 2*len(all))
		if got, want := s.store.Reset(), (docstore.Counts{Gets: 1, Reads: 1, Commits: 1, Writes: 1}); got != want {
			s.Errorf("the first look: %+v, want %+v", got, want)
		}
		second := s.inspect("payments-api", all...)
		s.wantReads("the second look", 0)
		if got, want := s.store.Reset(), (docstore.Counts{Gets: 1, Reads: 1}); got != want {
			s.Errorf("the second look: %+v, want %+v", got, want)
		}
		for source, state := range first {
			slices.Sort(state.Repositories)
			if !reflect.DeepEqual(second[source], state) || len(state.Versions) != 2 || !state.Notified {
				s.Errorf("%s: first %+v, then %+v", source, state, second[source])
			}
		}

		more := sources(32)
		s.put(more[30], "one", 42)
		s.inspect("payments-api", more...)
		s.wantReads("two more sources, one that is missing", 3)
		s.inspect("another", all[0])
		s.wantReads("another project", 2)
	})
}

// A state is trusted for so long, and no longer.
func TestTrust(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		const slack = 10 * time.Second
		notified, silent, crowded, gone := source("notified"), source("silent"), source("crowded"), source("gone")
		s.put(notified, "v", 42)
		s.put(silent, "v", 42)
		check(s.T, s.secrets.SetTopics(vault, "silent", "projects/acme-ops/topics/audit"))
		var many []int64
		for i := range int64(101) {
			many = append(many, i+1)
		}
		s.put(crowded, "v", many...)
		for name, test := range map[string]struct {
			source secret.Source
			age    time.Duration
			reads  int
		}{
			"notified":                {notified, versionstate.MaxAge - slack, 0},
			"notified, too long ago":  {notified, versionstate.MaxAge + slack, 2},
			"notified, in the future": {notified, -time.Hour, 2},
			"silent":                  {silent, versionstate.UnnotifiedAge - slack, 0},
			"silent, a minute ago":    {silent, versionstate.UnnotifiedAge + slack, 2},
			"too many repositories":   {crowded, 0, 2},
			"missing":                 {gone, 0, 1},
		} {
			s.forget("p")
			s.inspect("p", test.source) // dated back, since there is no document
			s.age("p", versionstate.MaxAge)
			s.inspect("p", test.source)
			s.age("p", test.age)
			s.reads()
			state := s.inspect("p", test.source)[test.source]
			s.wantReads(name, test.reads)
			if want := map[secret.Source]int{notified: 1, silent: 1, crowded: 101}[test.source]; len(state.Repositories) != want {
				s.Errorf("%s: %d repositories, want %d", name, len(state.Repositories), want)
			}
		}
	})
}

func TestEnvFilesAreNotKept(t *testing.T) {
	t.Parallel()
	s := newSite(t, sqlite(t))
	if state := s.inspect("p", secret.Source{Secret: "TOKEN"})[secret.Source{Secret: "TOKEN"}]; state.Exists {
		t.Errorf("got %+v", state)
	}
	if got := s.store.Counts(); got != (docstore.Counts{}) {
		t.Errorf("the store was asked: %+v", got)
	}
}

// A value is read only if the source admits now whom it admitted when the plan
// was made, however old the state is that the plan was made of.
func TestConsentIsLookedAtLive(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		here := source("here")
		for name, test := range map[string]struct {
			meanwhile func()
			want      error
			reads     int
			told      []string // by the notification that comes late
		}{
			"nothing":                        {func() {}, nil, 2, nil},
			"another admitted, too":          {func() { s.put(here, "v", 42, 7, 9) }, nil, 2, []string{"p"}},
			"one no longer admitted":         {func() { s.put(here, "v", 7) }, fault.SourceNotPermitted, 2, []string{"p"}},
			"nobody admitted any more":       {func() { s.put(here, "v") }, fault.SourceNotPermitted, 2, []string{"p"}},
			"a version more":                 {func() { s.put(here, "w", 42, 7) }, nil, 2, []string{"p"}},
			"disabled":                       {func() { check(s.T, s.secrets.DisableVersion(vault, "here", 1)) }, fault.SourceDisabled, 3, []string{"p"}},
			"destroyed":                      {func() { check(s.T, s.secrets.DestroyVersion(vault, "here", 1)) }, fault.SourceDestroyed, 3, []string{"p"}},
			"deleted":                        {func() { check(s.T, s.secrets.RemoveSecret(vault, "here")) }, fault.SourceMissing, 1, []string{"p"}},
			"Sealpost may no longer look on": {func() { s.deny(true) }, fault.SourceNotPermitted, 1, nil},
		} {
			s.forget("p")
			s.put(here, "v", 42, 7)
			s.inspect("p", here)
			s.lose()

			run := s.Of("p")
			states, err := run.Inspect(s.Context(), []secret.Source{here, here})
			check(s.T, err)
			for i := range states[here].Repositories {
				states[here].Repositories[i] = 0 // the caller's own
			}
			test.meanwhile()
			s.reads()
			value, err := run.Value(s.Context(), here, 1)
			if !errors.Is(err, test.want) || (test.want == nil) != (value.Len() == 1) {
				s.Errorf("%s: got %v and %d bytes, want %v", name, err, value.Len(), test.want)
			}
			s.wantReads(name, test.reads)
			if test.want == nil {
				_, err = run.Value(s.Context(), here, 1)
				check(s.T, err)
				s.wantReads(name+", again", 0)
			}
			s.deny(false)
			wantTold(s.T, name, s.deliver(), test.told...)
			_ = s.secrets.RemoveSecret(vault, "here") // it may be gone
			s.lose()
		}
	})
}

// What a run read live itself needs no second look, and what it was told wrong
// is read live the next time.
func TestARunTrustsItsOwnEyes(t *testing.T) {
	t.Parallel()
	s := newSite(t, sqlite(t), topic)
	here := source("here")
	s.put(here, "v", 42)
	run := s.Of("p")
	look := func(what string, reads int) {
		t.Helper()
		_, err := run.Inspect(t.Context(), []secret.Source{here})
		check(t, err)
		s.wantReads(what, reads)
	}
	look("the first look", 2)
	_, err := run.Value(t.Context(), here, 1)
	check(t, err)
	s.wantReads("a value after a live look", 0)
	look("the second look", 0)
	s.put(here, "v", 7)
	s.lose()
	if _, err = run.Value(t.Context(), here, 1); !errors.Is(err, fault.SourceNotPermitted) {
		t.Errorf("got %v, want %s", err, fault.SourceNotPermitted)
	}
	s.wantReads("a value after a stored look", 2)
	look("after the document was wrong", 2)
	_, err = run.Value(t.Context(), here, 1)
	check(t, err)
	s.wantReads("a value after a live look in place of a stored one", 0)
	s.age("p", versionstate.SweepEvery)
	wantTold(t, "after the document was wrong", s.sweep(2), "p")
}

func TestNewerSchema(t *testing.T) {
	t.Parallel()
	everywhere(t, func(s *site) {
		here := source("here")
		s.put(here, "v", 42)
		s.lose()
		newer := docstore.Fields{"schemaVersion": int64(2), "sources": []any{here.String()}, "sweptAt": time.UnixMicro(0).UTC(), "meaning": "unknown"}
		key := docstore.Key{Collection: "source_versions", ID: "p"}
		_, err := s.store.Commit(s.Context(), docstore.Write{Key: key, Fields: newer})
		check(s.T, err)
		s.reads()
		for range 2 {
			if state := s.inspect("p", here)[here]; !state.Exists || len(state.Versions) != 1 {
				s.Errorf("got %+v", state)
			}
			s.wantReads("a document of a newer schema", 2)
		}
		if _, err := s.Changed(s.Context(), versionstate.Ref(here), heard); !errors.Is(err, fault.SchemaTooNew) {
			s.Errorf("Changed: got %v, want %s", err, fault.SchemaTooNew)
		}
		if _, err := s.Sweep(s.Context(), 100, heard); !errors.Is(err, fault.SchemaTooNew) {
			s.Errorf("Sweep: got %v, want %s", err, fault.SchemaTooNew)
		}
		doc, err := s.store.Get(s.Context(), key)
		if err != nil || !reflect.DeepEqual(doc.Fields, newer) {
			s.Errorf("it was changed to %v (%v)", doc.Fields, err)
		}
	})
}
