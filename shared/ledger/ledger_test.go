package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

var repository = project.Container{Kind: project.Repository, Owner: "acme", Name: "payments-api", ID: 42}

func open(t *testing.T) docstore.Store {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Context() context.Context
}

// save stores the ledger and notes that.
func save(t failer, store docstore.Store, l *ledger.Ledger) {
	t.Helper()
	write, err := l.Write()
	if err != nil {
		t.Fatalf("Write: %v", err)
	}
	at, err := store.Commit(t.Context(), write)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	l.Stored(at)
}

func load(t failer, store docstore.Store, c project.Container) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Load(t.Context(), store, c)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return l
}

// TestRoundTrip stores any ledger and reads the same back.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	store := open(t)
	number := int64(0)
	rapid.Check(t, func(t *rapid.T) {
		number++
		container := project.Container{Kind: project.Organisation, Owner: "acme", ID: number}
		l := load(t, store, container)
		if l.Exists() || len(l.Entries) > 0 {
			t.Fatalf("a container without a ledger has %+v", l)
		}
		l.Owner = rapid.SampledFrom([]string{"", "payments-api"}).Draw(t, "owner")
		l.Entries = rapid.MapOfN(target(), entry(), 0, 20).Draw(t, "entries")
		save(t, store, l)
		got := load(t, store, container)
		if !got.Exists() || got.Owner != l.Owner || got.Container != container || !reflect.DeepEqual(got.Entries, l.Entries) {
			t.Fatalf("read back\n%+v\nwant\n%+v", got, l)
		}
		// What was read can be written again as it is, and from either copy once.
		save(t, store, got)
		write, err := l.Write()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Commit(t.Context(), write); !errors.Is(err, fault.Conflict) {
			t.Fatalf("a stale copy was stored: %v", err)
		}
	})
}

func target() *rapid.Generator[secret.Target] {
	scopes := []secret.Scope{secret.Actions, secret.OrgActions, secret.EnvironmentScope("prod.eu/1 ünï"), secret.EnvironmentScope("__x__")}
	return rapid.Custom(func(t *rapid.T) secret.Target {
		name := rapid.StringMatching(`[A-Z_][A-Z0-9_]{0,20}|__[A-Z]{1,3}__`).Draw(t, "name")
		return secret.Target{Scope: rapid.SampledFrom(scopes).Draw(t, "scope"), Name: secret.Name(name)}
	})
}

func entry() *rapid.Generator[ledger.Entry] {
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "microseconds")).UTC()
	})
	some := rapid.OneOf(moment, rapid.Just(time.Time{}))
	text := rapid.SampledFrom([]string{"", "one", "two", "three"})
	content := rapid.Custom(func(t *rapid.T) ledger.Content {
		return ledger.Content{
			Source:  secret.Source{Project: text.Draw(t, "project"), Secret: text.Draw(t, "secret")},
			Version: secret.Version(rapid.Int64Range(0, 1<<40).Draw(t, "version")), Access: text.Draw(t, "access"),
			Fingerprint: secret.Fingerprint{KeyID: text.Draw(t, "key"), MAC: text.Draw(t, "mac")},
		}
	})
	written := rapid.Custom(func(t *rapid.T) ledger.Written {
		return ledger.Written{Content: content.Draw(t, "content"), PutAt: moment.Draw(t, "put"), UpdatedAt: some.Draw(t, "updated"),
			Replaced: some.Draw(t, "replaced"), SyncedAt: moment.Draw(t, "synced")}
	})
	pending := rapid.Custom(func(t *rapid.T) ledger.Pending {
		return ledger.Pending{Content: content.Draw(t, "content"), Fence: rapid.Int64().Draw(t, "fence"), From: moment.Draw(t, "from"),
			Until: moment.Draw(t, "until"), Forced: rapid.Bool().Draw(t, "forced")}
	})
	return rapid.Custom(func(t *rapid.T) ledger.Entry {
		return ledger.Entry{Written: rapid.Ptr(written, true).Draw(t, "written"), Pending: rapid.Ptr(pending, true).Draw(t, "pending")}
	})
}

// TestSize keeps a full ledger well under a document's 1 MiB.
func TestSize(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		container project.Container
		scopes    []secret.Scope
		entries   int // a scope
		limit     int // KiB
		long      bool
	}{
		{"an organisation's 1,000", project.Container{Kind: project.Organisation, Owner: "acme", ID: 1}, []secret.Scope{secret.OrgActions}, 1000, 600, false},
		{"a repository's three scopes and seven environments", repository, []secret.Scope{
			secret.Actions, secret.Codespaces, secret.Dependabot, "environment:1", "environment:2", "environment:3",
			"environment:4", "environment:5", "environment:6", "environment:7",
		}, 100, 600, false},
		{"an organisation's 1,000 with the longest names", project.Container{Kind: project.Organisation, Owner: "acme", ID: 1}, []secret.Scope{secret.OrgActions}, 1000, 900, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := &ledger.Ledger{Container: test.container, Owner: "payments-api", Entries: map[secret.Target]ledger.Entry{}}
			key, err := secret.NewFingerprintKey("projects/acme/secrets/sealpost-fingerprint/versions/1", secret.NewValue(strings.Repeat("k", 32)))
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now().UTC()
			access := project.Access{Visibility: project.VisibleToSelected}
			for id := range int64(200) {
				access.Repositories = append(access.Repositories, 600_000_000+id)
			}
			for _, scope := range test.scopes {
				for i := range test.entries {
					name := fmt.Sprintf("PAYMENTS_SERVICE_SECRET_%04d", i)
					id := "payments-service-secret-production-" + name
					if test.long {
						name += strings.Repeat("X", 200-len(name))
						id += strings.Repeat("x", 255-len(id))
					}
					content := ledger.Content{
						Source: secret.Source{Project: "acme-secrets-production", Secret: id}, Version: 12,
						Fingerprint: key.Fingerprint(secret.NewValue(name)), Access: access.String(),
					}
					w := ledger.Written{Content: content, PutAt: now, SyncedAt: now}.Settle(now)
					e := ledger.Entry{Written: &w}
					if i < 180 { // a batch in flight, the syncer's BatchSize
						e = e.WriteAhead(ledger.Pending{Content: content, Fence: 1000, From: now, Until: now, Forced: true})
					}
					l.Entries[secret.Target{Scope: scope, Name: secret.Name(name)}] = e
				}
			}
			write, err := l.Write()
			if err != nil {
				t.Fatal(err)
			}
			size := write.Size() / 1024
			t.Logf("%d entries take %d KiB", len(l.Entries), size)
			if size >= test.limit {
				t.Errorf("%d entries take %d KiB, want less than %d", len(l.Entries), size, test.limit)
			}
			if err := docstore.CheckWrites([]docstore.Write{write}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSchema holds that an old binary leaves a newer ledger alone, and that a
// ledger that cannot be read is an error and not an empty one.
func TestSchema(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(docstore.Fields)
		want   error
	}{
		{"newer", func(f docstore.Fields) { f["schemaVersion"] = int64(99) }, fault.SchemaTooNew},
		{"older than any", func(f docstore.Fields) { f["schemaVersion"] = int64(0) }, fault.Internal},
		{"no version", func(f docstore.Fields) { delete(f, "schemaVersion") }, fault.Internal},
		{"another type", func(f docstore.Fields) { f["scopes"] = "all" }, fault.Internal},
		{"an index outside its table", func(f docstore.Fields) { delete(f, "projects") }, fault.Internal},
		{"a field that is not known", func(f docstore.Fields) { f["note"] = "added by hand" }, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			store := open(t)
			l := load(t, store, repository)
			l.Entries[secret.Target{Scope: secret.Actions, Name: "A"}] = ledger.Entry{
				Written: &ledger.Written{Content: ledger.Content{Source: secret.Source{Project: "acme-secrets", Secret: "a"}}},
			}
			write, err := l.Write()
			if err != nil {
				t.Fatal(err)
			}
			test.change(write.Fields)
			if _, err := store.Commit(t.Context(), write); err != nil {
				t.Fatal(err)
			}
			got, err := ledger.Load(t.Context(), store, repository)
			if test.want == nil {
				if err != nil || len(got.Entries) != 1 {
					t.Fatalf("got %+v, %v", got, err)
				}
				return
			}
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// TestClone changes a copy and looks at the original.
func TestClone(t *testing.T) {
	t.Parallel()
	a := secret.Target{Scope: secret.Actions, Name: "A"}
	l := &ledger.Ledger{Container: repository, Entries: map[secret.Target]ledger.Entry{a: {}}}
	c := l.Clone()
	delete(c.Entries, a)
	c.Entries[secret.Target{Scope: "environment:dev", Name: "B"}] = ledger.Entry{}
	if want := map[secret.Scope]bool{secret.Actions: true}; !reflect.DeepEqual(l.Scopes(), want) {
		t.Errorf("the original has the scopes %v, want %v", l.Scopes(), want)
	}
	if want := map[secret.Scope]bool{"environment:dev": true}; !reflect.DeepEqual(c.Scopes(), want) {
		t.Errorf("the copy has the scopes %v, want %v", c.Scopes(), want)
	}
}

// TestWriteAhead puts a write-ahead over one whose outcome nobody knows.
func TestWriteAhead(t *testing.T) {
	t.Parallel()
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	first := ledger.Pending{Fence: 1, From: at(10), Until: at(30)}
	forced := ledger.Pending{Fence: 1, From: at(10), Until: at(30), Forced: true}
	second := ledger.Pending{Fence: 2, From: at(50), Until: at(70)}
	secondForced := ledger.Pending{Fence: 2, From: at(50), Until: at(70), Forced: true}
	tests := []struct {
		name   string
		before *ledger.Pending
		p      ledger.Pending
		from   int64
		forced bool
	}{
		{"over none", nil, second, 50, false},
		{"over one that may have taken effect", &first, second, 10, false},
		{"over a forced one", &forced, second, 10, true},
		{"over what somebody else wrote since", &first, secondForced, 50, true},
	}
	for _, test := range tests {
		before := ledger.Entry{Written: &ledger.Written{}, Pending: test.before}
		got := before.WriteAhead(test.p)
		if p := got.Pending; !p.From.Equal(at(test.from)) || !p.Until.Equal(at(70)) || p.Forced != test.forced || p.Fence != 2 {
			t.Errorf("%s: got %+v", test.name, *p)
		}
		if got.Written != before.Written || before.Pending != test.before {
			t.Errorf("%s: more was changed than the write-ahead", test.name)
		}
	}
}
