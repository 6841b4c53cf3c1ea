package idempotency_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/firedoc"
	"github.com/sealpost/sealpost/shared/idempotency"
	"github.com/sealpost/sealpost/test/emulator"
)

func TestMain(m *testing.M) { emulator.Run(m) }

const life = 30 * time.Second

var (
	request = idempotency.Request{Caller: "https://accounts.google.com 1", Route: "POST /projects", Project: "payments", Key: "k1", Body: []byte(`{"project":"payments"}`), CorrelationID: "req-1"}
	created = idempotency.Answer{Status: 201, ContentType: "application/json", Location: "/projects/payments", Body: []byte("{}\n")}
)

func sqlite(t *testing.T) idempotency.Keys {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return idempotency.Keys{Store: store, Clock: clock.Real()}
}

func firestore(t *testing.T) idempotency.Keys {
	t.Helper()
	store, err := firedoc.Open(t.Context(), firedoc.Config{Project: emulator.Project(), EmulatorHost: emulator.Firestore.Host(t)}, clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return idempotency.Keys{Store: store, Clock: clock.Real()}
}

// onEach runs a test over both stores.
func onEach(t *testing.T, test func(*testing.T, idempotency.Keys)) {
	t.Helper()
	for name, open := range map[string]func(*testing.T) idempotency.Keys{"sqlite": sqlite, "firestore": firestore} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// with returns the request with another body.
func with(r idempotency.Request, body string) idempotency.Request {
	r.Body = []byte(body)
	return r
}

func begin(t *testing.T, keys idempotency.Keys, r idempotency.Request) *idempotency.Claim {
	t.Helper()
	claim, answer, err := keys.Begin(t.Context(), r, life)
	if err != nil || claim == nil || answer != nil {
		t.Fatalf("Begin: claim %v, answer %v, error %v; want a claim", claim != nil, answer, err)
	}
	return claim
}

func keep(t *testing.T, claim *idempotency.Claim, answer idempotency.Answer) {
	t.Helper()
	if err := claim.Keep(t.Context(), answer); err != nil {
		t.Fatalf("Keep: %v", err)
	}
}

func refuses(t *testing.T, keys idempotency.Keys, r idempotency.Request, code fault.Code) error {
	t.Helper()
	claim, answer, err := keys.Begin(t.Context(), r, life)
	if claim != nil || answer != nil || !errors.Is(err, code) {
		t.Errorf("Begin: claim %v, answer %v, error %v; want %s", claim != nil, answer, err, code)
	}
	return err
}

func replays(t *testing.T, keys idempotency.Keys, r idempotency.Request, want idempotency.Answer) {
	t.Helper()
	want.CorrelationID = "req-1"
	claim, answer, err := keys.Begin(t.Context(), r, life)
	if err != nil || claim != nil || answer == nil || !reflect.DeepEqual(*answer, want) {
		t.Errorf("Begin: claim %v, answer %+v, error %v; want %+v", claim != nil, answer, err, want)
	}
}

// TestKey is the life of a key, with its price.
func TestKey(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, keys idempotency.Keys) {
		counting := docstore.NewCounting(keys.Store)
		keys.Store = counting
		costs := func(what string, want docstore.Counts) {
			t.Helper()
			if got := counting.Reset(); got != want {
				t.Errorf("%s cost %+v, want %+v", what, got, want)
			}
		}
		repeat := request
		repeat.CorrelationID = "req-2"

		claim := begin(t, keys, request)
		costs("the claim", docstore.Counts{Gets: 1, Reads: 1, Commits: 1, Writes: 1})
		if wait, ok := fault.RetryAfter(refuses(t, keys, repeat, fault.RequestInFlight)); !ok || wait < time.Second || wait > life {
			t.Errorf("a request under way: ask again after %v", wait)
		}
		costs("a repeat meanwhile", docstore.Counts{Gets: 1, Reads: 1})
		refuses(t, keys, with(repeat, "{}"), fault.IdempotencyKeyReused)

		counting.Reset()
		keep(t, claim, created)
		costs("the answer", docstore.Counts{Commits: 1, Writes: 1})
		replays(t, keys, repeat, created)
		costs("a repeat", docstore.Counts{Gets: 1, Reads: 1})
		refuses(t, keys, with(repeat, "{}"), fault.IdempotencyKeyReused)
		refuses(t, keys, with(repeat, ""), fault.IdempotencyKeyReused)
		costs("two refusals", docstore.Counts{Gets: 2, Reads: 2})
	})
}

func TestRelease(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, keys idempotency.Keys) {
		counting := docstore.NewCounting(keys.Store)
		keys.Store = counting
		if err := begin(t, keys, request).Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := counting.Counts(), (docstore.Counts{Gets: 1, Reads: 1, Commits: 2, Writes: 1, Deletes: 1}); got != want {
			t.Errorf("it cost %+v, want %+v", got, want)
		}
		begin(t, keys, with(request, "another body"))
	})
}

// TestCrowd begins one request from many sides, with a key that is new and with
// one that a crash has left behind.
func TestCrowd(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, keys idempotency.Keys) {
		for _, r := range []idempotency.Request{request, abandoned(t, keys)} {
			var claims atomic.Int32
			var wait sync.WaitGroup
			for range 50 {
				wait.Go(func() {
					claim, answer, err := keys.Begin(t.Context(), r, life)
					switch {
					case claim != nil:
						claims.Add(1)
					case answer != nil || !errors.Is(err, fault.RequestInFlight):
						t.Errorf("a loser got answer %v, error %v", answer, err)
					}
				})
			}
			wait.Wait()
			if claims.Load() != 1 {
				t.Errorf("%d of a crowd may carry the request %s out", claims.Load(), r.Key)
			}
		}
	})
}

// abandoned returns a request whose key was taken by one that never ended, and
// is free by the store's clock.
func abandoned(t *testing.T, keys idempotency.Keys) idempotency.Request {
	t.Helper()
	r := request
	r.Key, r.Project = "abandoned", "web"
	if claim, _, err := keys.Begin(t.Context(), r, time.Millisecond); claim == nil {
		t.Fatal(err)
	}
	for {
		page, err := keys.Store.List(t.Context(), docstore.Query{Collection: "idempotency_keys", Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		if doc := page.Docs[0]; doc.ReadTime.Sub(doc.UpdateTime) > time.Millisecond {
			return r
		}
	}
}

// TestCrash leaves a request in the middle.
func TestCrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := sqlite(t)
		crashed := begin(t, keys, request)
		for _, c := range []struct{ pass, wait time.Duration }{{0, 5 * time.Second}, {life - 3*time.Second, 3 * time.Second}, {3*time.Second - time.Millisecond, time.Second}} {
			time.Sleep(c.pass)
			if wait, _ := fault.RetryAfter(refuses(t, keys, request, fault.RequestInFlight)); wait.Round(time.Second) != c.wait {
				t.Errorf("ask again after %v, want %v", wait, c.wait)
			}
		}
		time.Sleep(time.Millisecond)
		next := begin(t, keys, with(request, "another body"))
		refuses(t, keys, with(request, "another body"), fault.RequestInFlight)

		if err := crashed.Keep(t.Context(), created); !errors.Is(err, fault.Conflict) {
			t.Errorf("who lost the key kept an answer: %v", err)
		}
		if err := crashed.Release(t.Context()); !errors.Is(err, fault.Conflict) {
			t.Errorf("who lost the key gave it back: %v", err)
		}
		keep(t, next, created)
		replays(t, keys, with(request, "another body"), created)
	})
}

// TestOverrun is a request that took longer than it may, while nobody asked.
func TestOverrun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := sqlite(t)
		claim := begin(t, keys, request)
		time.Sleep(2 * life)
		keep(t, claim, created)
		replays(t, keys, request, created)
	})
}

// apart is the clock of a machine that is wrong.
type apart struct {
	clock.Clock
	by time.Duration
}

func (a apart) Now() time.Time { return a.Clock.Now().Add(a.by) }

func TestLife(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{0, -time.Hour, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			keys := sqlite(t)
			keys.Clock = apart{clock.Real(), by}
			keep(t, begin(t, keys, request), created)
			time.Sleep(24*time.Hour - time.Millisecond)
			replays(t, keys, request, created)
			time.Sleep(2 * time.Millisecond) // update times move on by themselves
			keep(t, begin(t, keys, with(request, "another body")), idempotency.Answer{Status: 204})
			replays(t, keys, with(request, "another body"), idempotency.Answer{Status: 204})
		})
	}
}

// TestWhatAKeyBelongsTo changes one part at a time, and where parts meet.
func TestWhatAKeyBelongsTo(t *testing.T) {
	t.Parallel()
	keys := sqlite(t)
	begin(t, keys, request)
	for name, change := range map[string]func(*idempotency.Request){
		"caller":  func(r *idempotency.Request) { r.Caller += "0" },
		"route":   func(r *idempotency.Request) { r.Route = "POST /github/secrets/sync" },
		"project": func(r *idempotency.Request) { r.Project = "web" },
		"key":     func(r *idempotency.Request) { r.Key = "K1" },
		"joint":   func(r *idempotency.Request) { r.Project, r.Key = "paymentsk", "1" },
		"no part": func(r *idempotency.Request) { r.Project, r.Key = "", "paymentsk1" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := with(request, "another body")
			change(&other)
			keep(t, begin(t, keys, other), created)
			replays(t, keys, other, created)
			refuses(t, keys, request, fault.RequestInFlight)
		})
	}
}

func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, keys idempotency.Keys) {
		var results bytes.Buffer // a sync of 1,000 secrets into 3 scopes
		for i := range 3000 {
			fmt.Fprintf(&results, `{"secret":"SECRET_%04d","scope":"actions","action":"create","status":"succeeded","reason":"the target does not exist"},`, i)
		}
		if results.Len() <= idempotency.MaxAnswerBytes {
			t.Fatalf("%d bytes are no large answer", results.Len())
		}
		large := idempotency.Answer{Status: 200, ContentType: "application/json", Body: results.Bytes()}
		keep(t, begin(t, keys, request), large)
		replays(t, keys, request, large)

		noise := make([]byte, idempotency.MaxAnswerBytes)
		_, _ = rand.Read(noise)
		other := request
		other.Key = "k2"
		keep(t, begin(t, keys, other), idempotency.Answer{Status: 200, Body: noise})
		refuses(t, keys, other, fault.AnswerNotKept)
		refuses(t, keys, with(other, "another body"), fault.IdempotencyKeyReused)
	})
}

// TestWhatIsStored looks for what is not to be there, and for the time at which
// the store may drop the rest.
func TestWhatIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		keys := sqlite(t)
		secretive := idempotency.Request{Caller: "canary-caller", Route: "canary-route", Project: "canary-project", Key: "canary-key", Body: []byte("canary-body")}
		again := secretive
		again.Key = "canary-key-2"
		keep(t, begin(t, keys, secretive), created)
		begin(t, keys, again)
		at := time.Now().Add(24 * time.Hour)
		page, err := keys.Store.List(t.Context(), docstore.Query{Collection: "idempotency_keys", Limit: 10, Where: []docstore.Filter{{Path: docstore.ExpireField, Op: docstore.Equal, Value: at}}})
		if err != nil || len(page.Docs) != 2 {
			t.Fatalf("%d documents expire at %v (%v)", len(page.Docs), at, err)
		}
		macs := map[string]bool{}
		for _, doc := range page.Docs {
			if text := fmt.Sprintf("%s %q", doc.ID, doc.Fields); bytes.Contains([]byte(text), []byte("canary")) {
				t.Errorf("stored: %s", text)
			}
			mac, _ := doc.Fields["bodyMac"].([]byte)
			macs[string(mac)] = true
			id, err := hex.DecodeString(doc.ID)
			if err != nil || len(id) != sha256.Size || len(mac) != sha256.Size {
				t.Errorf("id %s, code %x", doc.ID, mac)
			}
			guess := hmac.New(sha256.New, id)
			guess.Write(secretive.Body)
			if hmac.Equal(mac, guess.Sum(nil)) {
				t.Error("who reads the id can try out bodies")
			}
		}
		if len(macs) != 2 {
			t.Error("equal bodies show as equal")
		}
	})
}

// broken is a store that fails at one call.
type broken struct {
	docstore.Store
	get, commit error
}

func (b broken) Get(ctx context.Context, key docstore.Key) (docstore.Doc, error) {
	if b.get != nil {
		return docstore.Doc{}, b.get
	}
	return b.Store.Get(ctx, key)
}

func (b broken) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	if b.commit != nil {
		return time.Time{}, b.commit
	}
	return b.Store.Commit(ctx, writes...)
}

// TestStoreFails carries nothing out that it cannot note.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	keys := sqlite(t)
	for _, b := range []broken{{keys.Store, fault.Unavailable, nil}, {keys.Store, nil, fault.Unavailable}} {
		claim, answer, err := idempotency.Keys{Store: b, Clock: clock.Real()}.Begin(t.Context(), request, life)
		if claim != nil || answer != nil || !errors.Is(err, fault.Unavailable) {
			t.Errorf("claim %v, answer %v, error %v", claim != nil, answer, err)
		}
	}
	keep(t, begin(t, keys, request), created)
	page, err := keys.Store.List(t.Context(), docstore.Query{Collection: "idempotency_keys", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	page.Docs[0].Fields["body"] = []byte("no gzip")
	if _, err := keys.Store.Commit(t.Context(), docstore.Write{Key: page.Docs[0].Key, Fields: page.Docs[0].Fields}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := keys.Begin(t.Context(), request, life); !errors.Is(err, fault.Internal) {
		t.Errorf("an answer that is not what was kept: %v", err)
	}
}
