// Package docstoretest is the contract of [docstore.Store] as tests: what every
// implementation passes, and what code over the port may rely on.
package docstoretest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

// Maker returns an empty store that shares nothing with any other, and sees to
// its end with t.Cleanup.
type Maker func(t *testing.T) docstore.Store

// Run tests the stores that the maker returns, in parallel.
func Run(t *testing.T, fresh Maker) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(bench)
	}{
		{"get of what is not there", getMissing},
		{"put and get", putAndGet},
		{"every type comes back as it was", typeFidelity},
		{"put replaces the whole document", putReplaces},
		{"create once", createOnce},
		{"put if unchanged", putIfUnchanged},
		{"delete", deletes},
		{"delete if unchanged", deleteIfUnchanged},
		{"update times increase", updateTimesIncrease},
		{"the same content is a write", sameContentIsAWrite},
		{"one update time for a commit", oneTimeForACommit},
		{"all writes or none", allOrNone},
		{"the caller's maps stay the caller's", aliasing},
		{"of racing creates one wins", racingCreates},
		{"of racing puts one wins", racingPuts},
		{"of racing commits one wins", racingCommits},
		{"racing increments lose nothing", racingIncrements},
		{"an ended context writes nothing", endedContext},
		{"expiry", expiry},
		{"bad keys", badKeys},
		{"bad fields", badFields},
		{"bad writes", badWrites},
		{"bad queries", badQueries},
		{"limits of size", sizeLimits},
		{"list by id", listByID},
		{"list with filters", listFilters},
		{"list what an array contains", listContains},
		{"list in order", listOrder},
		{"list every page once", listPages},
		{"list agrees with a model", listModel},
		{"cursors belong to their query", foreignCursors},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(bench{t, fresh(t)})
		})
	}
}

// crowd is how many race for one document.
const crowd = 20

// farOff is an expiry that no test lives to see.
var farOff = time.Date(2200, 1, 2, 3, 4, 5, 6000, time.UTC)

// bench is a store to test, with helpers, which take what else may fail: a
// property's checks are no test of their own.
type bench struct {
	*testing.T
	store docstore.Store
}

func key(id string) docstore.Key { return docstore.Key{Collection: "things", ID: id} }

func put(id string, fields docstore.Fields, condition docstore.Precondition) docstore.Write {
	return docstore.Write{Key: key(id), Fields: fields, If: condition}
}

func (b bench) commit(t require, writes ...docstore.Write) time.Time {
	t.Helper()
	at, err := b.store.Commit(context.Background(), writes...)
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return at
}

func (b bench) get(t require, id string) docstore.Doc {
	t.Helper()
	doc, err := b.store.Get(context.Background(), key(id))
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return doc
}

func (b bench) refuses(t require, want fault.Kind, writes ...docstore.Write) {
	t.Helper()
	if _, err := b.store.Commit(context.Background(), writes...); !errors.Is(err, want) {
		t.Fatalf("Commit: got error %v, want one of kind %q", err, want)
	}
}

func (b bench) absent(t require, id string) {
	t.Helper()
	if _, err := b.store.Get(context.Background(), key(id)); !errors.Is(err, fault.NotFound) {
		t.Fatalf("Get %s: got error %v, want one of kind %q", id, err, fault.NotFound)
	}
}

func (b bench) holds(t require, id string, want docstore.Fields) {
	t.Helper()
	if got := b.get(t, id).Fields; !reflect.DeepEqual(got, want) {
		t.Fatalf("%s holds\n %#v, want\n %#v", id, got, want)
	}
}

// list reads all pages of the query, and tells how the pages were filled.
func (b bench) list(t require, query docstore.Query) (docs []docstore.Doc, sizes []int) {
	t.Helper()
	query.Collection = "things"
	for {
		page, err := b.store.List(context.Background(), query)
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		docs = append(docs, page.Docs...)
		sizes = append(sizes, len(page.Docs))
		if page.Next == "" {
			return docs, sizes
		}
		query.Cursor = page.Next
	}
}

func (b bench) ids(t require, query docstore.Query) []string {
	t.Helper()
	docs, _ := b.list(t, query)
	ids := make([]string, 0, len(docs))
	for _, doc := range docs {
		ids = append(ids, doc.ID)
	}
	return ids
}

// require is what tests and properties have in common.
type require interface {
	Helper()
	Fatalf(format string, args ...any)
}

func getMissing(b bench) { b.absent(b.T, "nothing") }

func putAndGet(b bench) {
	t := b.T
	at := b.commit(t, put("a", docstore.Fields{"n": int64(1)}, docstore.Always()))
	doc := b.get(t, "a")
	want := docstore.Doc{Key: key("a"), Fields: docstore.Fields{"n": int64(1)}, UpdateTime: at, ReadTime: doc.ReadTime}
	if !reflect.DeepEqual(doc, want) {
		t.Errorf("got %#v, want %#v", doc, want)
	}
	if doc.ReadTime.Before(doc.UpdateTime) {
		t.Errorf("read at %v, before the update at %v", doc.ReadTime, doc.UpdateTime)
	}
	for name, at := range map[string]time.Time{"update": doc.UpdateTime, "read": doc.ReadTime} {
		if at.Location() != time.UTC || at.Nanosecond()%1000 != 0 {
			t.Errorf("the %s time %v is not in UTC and whole microseconds", name, at)
		}
	}
	docs, _ := b.list(t, docstore.Query{Limit: 10})
	want.ReadTime = docs[0].ReadTime
	if len(docs) != 1 || !reflect.DeepEqual(docs[0], want) {
		t.Errorf("listed %#v, want %#v", docs, want)
	}
	if docs[0].ReadTime.Before(at) {
		t.Errorf("listed at %v, before the update at %v", docs[0].ReadTime, at)
	}
	b.commit(t, put("empty", docstore.Fields{}, docstore.Always()))
	b.holds(t, "empty", docstore.Fields{})
	if _, err := b.store.Get(context.Background(), docstore.Key{Collection: "others", ID: "a"}); !errors.Is(err, fault.NotFound) {
		t.Errorf("another collection has the document: %v", err)
	}
}

// anyFields draws content of every type, deep and with awkward names.
func anyFields() *rapid.Generator[docstore.Fields] {
	scalar := rapid.OneOf(
		rapid.Just(any(nil)),
		rapid.Bool().AsAny(),
		rapid.Int64().AsAny(),
		rapid.Float64().Filter(func(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) }).AsAny(),
		rapid.String().AsAny(),
		rapid.SliceOfN(rapid.Byte(), 0, 20).AsAny(),
		rapid.Map(rapid.Int64Range(-62135596800e6, 253402300799e6), func(micros int64) any { return time.UnixMicro(micros).UTC() }),
	)
	name := rapid.OneOf(
		rapid.StringMatching(`[a-z]{1,3}`),
		rapid.SampledFrom([]string{"$time", "$bytes", "$$", "a.b", "a b", "`", `"`, `\`, "ä", "<&>", "DATABASE_URL", "0"}),
	)
	value := scalar
	for range 3 {
		element, array := value, rapid.SliceOfN(scalar, 0, 3).AsAny()
		value = rapid.OneOf(element, array, rapid.MapOfN(name, element, 0, 3).AsAny(),
			rapid.SliceOfN(rapid.MapOfN(name, element, 0, 2).AsAny(), 0, 2).AsAny())
	}
	return rapid.Map(rapid.MapOfN(name, value, 0, 4), func(m map[string]any) docstore.Fields { return m })
}

func typeFidelity(b bench) {
	t := b.T
	fields := docstore.Fields{
		"nil": nil, "true": true, "false": false, "zero": int64(0), "min": int64(math.MinInt64), "max": int64(math.MaxInt64),
		"whole": 1.0, "tiny": math.SmallestNonzeroFloat64, "huge": math.MaxFloat64, "third": 1.0 / 3, "minus zero": math.Copysign(0, -1),
		"text": "Grüße, 世界 \U0001F511\n\t\"\\\u2028<&>", "empty text": "", "nul": "a\x00b",
		"bytes": []byte{0, 255, 128}, "no bytes": []byte{},
		"time": time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC), "early": time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC),
		"late":  time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		"array": []any{nil, true, int64(1), 1.5, "x", []byte("y"), time.Unix(0, 0).UTC(), map[string]any{"deep": []any{}}}, "no array": []any{},
		"map": map[string]any{"a.b": map[string]any{"c": int64(1), "$time": int64(2), "$bytes": "AA=="}}, "no map": map[string]any{},
	}
	b.commit(t, put("a", fields, docstore.Always()))
	got := b.get(t, "a").Fields
	for name, want := range fields {
		if !reflect.DeepEqual(got[name], want) {
			t.Errorf("%s: got %#v, want %#v", name, got[name], want)
		}
	}
	if len(got) != len(fields) {
		t.Errorf("got %d fields, want %d", len(got), len(fields))
	}
	rapid.Check(t, func(t *rapid.T) {
		want := anyFields().Draw(t, "fields")
		b.commit(t, put("b", want, docstore.Always()))
		b.holds(t, "b", want)
	})

	berlin := time.FixedZone("Berlin", 2*60*60)
	b.commit(t, put("c", docstore.Fields{"at": time.Date(2026, 7, 1, 12, 0, 0, 0, berlin)}, docstore.Always()))
	b.holds(t, "c", docstore.Fields{"at": time.Date(2026, 7, 1, 10, 0, 0, 0, time.UTC)})
}

func putReplaces(b bench) {
	t := b.T
	b.commit(t, put("a", docstore.Fields{"old": true, "n": int64(1)}, docstore.Always()))
	b.commit(t, put("a", docstore.Fields{"n": int64(2)}, docstore.Always()))
	b.holds(t, "a", docstore.Fields{"n": int64(2)})
}

func createOnce(b bench) {
	t := b.T
	b.commit(t, put("a", docstore.Fields{"n": int64(1)}, docstore.IfAbsent()))
	b.refuses(t, fault.Exists, put("a", docstore.Fields{"n": int64(2)}, docstore.IfAbsent()))
	b.holds(t, "a", docstore.Fields{"n": int64(1)})
	b.commit(t, docstore.Write{Key: key("a")})
	b.commit(t, put("a", docstore.Fields{"n": int64(3)}, docstore.IfAbsent()))
	b.holds(t, "a", docstore.Fields{"n": int64(3)})
}

func putIfUnchanged(b bench) {
	t := b.T
	first := b.commit(t, put("a", docstore.Fields{"n": int64(1)}, docstore.Always()))
	second := b.commit(t, put("a", docstore.Fields{"n": int64(2)}, docstore.IfUnchanged(first)))
	b.refuses(t, fault.Conflict, put("a", docstore.Fields{"n": int64(3)}, docstore.IfUnchanged(first)))
	b.refuses(t, fault.Conflict, put("a", docstore.Fields{"n": int64(3)}, docstore.IfUnchanged(second.Add(-time.Microsecond))))
	b.holds(t, "a", docstore.Fields{"n": int64(2)})
	b.refuses(t, fault.Conflict, put("gone", docstore.Fields{"n": int64(1)}, docstore.IfUnchanged(first)))
	b.absent(t, "gone")
}

func deletes(b bench) {
	t := b.T
	b.commit(t, docstore.Write{Key: key("a")})
	b.commit(t, put("a", docstore.Fields{}, docstore.Always()))
	b.commit(t, docstore.Write{Key: key("a")})
	b.absent(t, "a")
	if ids := b.ids(t, docstore.Query{Limit: 10}); len(ids) != 0 {
		t.Errorf("still listed: %v", ids)
	}
}

func deleteIfUnchanged(b bench) {
	t := b.T
	first := b.commit(t, put("a", docstore.Fields{}, docstore.Always()))
	second := b.commit(t, put("a", docstore.Fields{}, docstore.Always()))
	b.refuses(t, fault.Conflict, docstore.Write{Key: key("a"), If: docstore.IfUnchanged(first)})
	b.get(t, "a")
	b.commit(t, docstore.Write{Key: key("a"), If: docstore.IfUnchanged(second)})
	b.refuses(t, fault.Conflict, docstore.Write{Key: key("a"), If: docstore.IfUnchanged(second)})
	b.absent(t, "a")
}

func updateTimesIncrease(b bench) {
	t := b.T
	var last time.Time
	for i := range 50 {
		at := b.commit(t, put("a", docstore.Fields{"n": int64(i)}, docstore.Always()))
		if !at.After(last) {
			t.Fatalf("update %d was at %v, not after %v", i, at, last)
		}
		if got := b.get(t, "a").UpdateTime; !got.Equal(at) {
			t.Fatalf("read update time %v, want %v as Commit returned", got, at)
		}
		last = at
	}
	b.commit(t, docstore.Write{Key: key("a")})
	if at := b.commit(t, put("a", docstore.Fields{}, docstore.IfAbsent())); !at.After(last) {
		t.Errorf("created again at %v, not after %v", at, last)
	}
}

// sameContentIsAWrite matters because Firestore itself leaves the update time
// as it was where a write changes nothing: two holders of one precondition
// would both succeed.
func sameContentIsAWrite(b bench) {
	t := b.T
	fields := docstore.Fields{"holder": "nobody"}
	first := b.commit(t, put("a", fields, docstore.Always()))
	second := b.commit(t, put("a", fields, docstore.IfUnchanged(first)))
	if !second.After(first) {
		t.Errorf("the second write was at %v, not after %v", second, first)
	}
	b.refuses(t, fault.Conflict, put("a", fields, docstore.IfUnchanged(first)))
}

func oneTimeForACommit(b bench) {
	t := b.T
	b.commit(t, put("same", docstore.Fields{"n": int64(0)}, docstore.Always()), put("old", docstore.Fields{}, docstore.Always()))
	at := b.commit(t, put("same", docstore.Fields{"n": int64(0)}, docstore.Always()), put("new", docstore.Fields{}, docstore.IfAbsent()),
		docstore.Write{Key: key("old")}, docstore.Write{Key: docstore.Key{Collection: "others", ID: "new"}, Fields: docstore.Fields{}})
	for _, k := range []docstore.Key{key("same"), key("new"), {Collection: "others", ID: "new"}} {
		doc, err := b.store.Get(context.Background(), k)
		if err != nil || !doc.UpdateTime.Equal(at) {
			t.Errorf("%s was updated at %v (%v), want %v as Commit returned", k, doc.UpdateTime, err, at)
		}
	}
	b.absent(t, "old")
}

func allOrNone(b bench) {
	t := b.T
	kept := docstore.Fields{"n": int64(1)}
	at := b.commit(t, put("changed", kept, docstore.Always()), put("deleted", kept, docstore.Always()))
	stale := at.Add(-time.Second)
	good := []docstore.Write{
		put("created", kept, docstore.IfAbsent()),
		put("changed", docstore.Fields{"n": int64(2)}, docstore.IfUnchanged(at)),
		{Key: key("deleted")},
	}
	for name, test := range map[string]struct {
		bad  docstore.Write
		want fault.Kind
	}{
		"exists":            {put("bad", kept, docstore.IfAbsent()), fault.Exists},
		"changed meanwhile": {put("bad", kept, docstore.IfUnchanged(stale)), fault.Conflict},
		"gone":              {put("nowhere", kept, docstore.IfUnchanged(at)), fault.Conflict},
		"stale deletion":    {docstore.Write{Key: key("bad"), If: docstore.IfUnchanged(stale)}, fault.Conflict},
		"invalid":           {put("bad", docstore.Fields{"n": 1}, docstore.Always()), fault.Invalid},
	} {
		b.commit(t, put("bad", kept, docstore.Always()))
		for position := range len(good) + 1 {
			b.refuses(t, test.want, slices.Insert(slices.Clone(good), position, test.bad)...)
		}
		b.absent(t, "created")
		b.absent(t, "nowhere")
		for _, id := range []string{"changed", "deleted", "bad"} {
			if !reflect.DeepEqual(b.get(t, id).Fields, kept) {
				t.Errorf("%s: %s was written", name, id)
			}
		}
	}
	b.commit(t, good...)
	b.holds(t, "created", kept)
}

func aliasing(b bench) {
	t := b.T
	fresh := func() docstore.Fields {
		return docstore.Fields{"text": "kept", "bytes": []byte("kept"), "array": []any{"kept", map[string]any{"k": "kept"}}, "map": map[string]any{"k": "kept"}}
	}
	spoil := func(fields docstore.Fields) {
		fields["text"] = "spoilt"
		fields["more"] = "spoilt"
		copy(fields["bytes"].([]byte), "oops")
		array := fields["array"].([]any)
		array[0] = "spoilt"
		array[1].(map[string]any)["k"] = "spoilt"
		fields["map"].(map[string]any)["k"] = "spoilt"
	}
	mine := fresh()
	b.commit(t, docstore.Write{Key: key("a"), Fields: mine, ExpireAt: farOff})
	if !reflect.DeepEqual(mine, fresh()) {
		t.Errorf("Commit changed the caller's fields to %#v", mine)
	}
	spoil(mine)
	b.holds(t, "a", fresh())
	spoil(b.get(t, "a").Fields)
	b.holds(t, "a", fresh())
	docs, _ := b.list(t, docstore.Query{Limit: 10})
	spoil(docs[0].Fields)
	b.holds(t, "a", fresh())
}

// race runs f for a crowd at once and returns the errors.
func race(f func(i int) error) []error {
	errs := make([]error, crowd)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range crowd {
		group.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	group.Wait()
	return errs
}

// oneWinner checks that one of a crowd succeeded and the rest lost as they should.
func oneWinner(t *testing.T, errs []error, lost ...fault.Kind) int {
	t.Helper()
	winner, winners := -1, 0
	for i, err := range errs {
		if err == nil {
			winner, winners = i, winners+1
		} else if !slices.Contains(lost, fault.KindOf(err)) {
			t.Errorf("a loser got %v, want one of %q", err, lost)
		}
	}
	if winners != 1 {
		t.Fatalf("%d winners, want 1", winners)
	}
	return winner
}

func racingCreates(b bench) {
	t := b.T
	winner := oneWinner(t, race(func(i int) error {
		_, err := b.store.Commit(context.Background(), put("a", docstore.Fields{"by": int64(i)}, docstore.IfAbsent()))
		return err
	}), fault.Exists)
	b.holds(t, "a", docstore.Fields{"by": int64(winner)})
}

func racingPuts(b bench) {
	t := b.T
	before := b.commit(t, put("a", docstore.Fields{"by": int64(-1)}, docstore.Always()))
	winner := oneWinner(t, race(func(i int) error {
		_, err := b.store.Commit(context.Background(), put("a", docstore.Fields{"by": int64(i)}, docstore.IfUnchanged(before)))
		return err
	}), fault.Conflict)
	b.holds(t, "a", docstore.Fields{"by": int64(winner)})
}

// racingCommits races for two documents, named in opposite orders by half of
// the crowd: neither a deadlock nor a half may come of it.
func racingCommits(b bench) {
	t := b.T
	before := b.commit(t, put("a", docstore.Fields{"by": int64(-1)}, docstore.Always()), put("b", docstore.Fields{"by": int64(-1)}, docstore.Always()))
	winner := oneWinner(t, race(func(i int) error {
		fields := docstore.Fields{"by": int64(i)}
		writes := []docstore.Write{put("a", fields, docstore.IfUnchanged(before)), put("b", fields, docstore.IfUnchanged(before))}
		if i%2 == 1 {
			slices.Reverse(writes)
		}
		_, err := b.store.Commit(context.Background(), writes...)
		return err
	}), fault.Conflict)
	b.holds(t, "a", docstore.Fields{"by": int64(winner)})
	b.holds(t, "b", docstore.Fields{"by": int64(winner)})
}

// racingIncrements counts to the number of wins: read, add one, put if
// unchanged, each of the crowd a few times.
func racingIncrements(b bench) {
	t := b.T
	b.commit(t, put("a", docstore.Fields{"n": int64(0)}, docstore.Always()))
	var mu sync.Mutex
	wins := int64(0)
	for _, err := range race(func(int) error {
		for range 3 {
			doc, err := b.store.Get(context.Background(), key("a"))
			if err != nil {
				return err
			}
			_, err = b.store.Commit(context.Background(),
				put("a", docstore.Fields{"n": doc.Fields["n"].(int64) + 1}, docstore.IfUnchanged(doc.UpdateTime)))
			switch {
			case err == nil:
				mu.Lock()
				wins++
				mu.Unlock()
			case !errors.Is(err, fault.Conflict):
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Error(err)
		}
	}
	if wins == 0 {
		t.Error("nobody won")
	}
	b.holds(t, "a", docstore.Fields{"n": wins})
}

func endedContext(b bench) {
	t := b.T
	kept := docstore.Fields{"n": int64(1)}
	b.commit(t, put("a", kept, docstore.Always()))
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancelExpired := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancelExpired()
	for want, ctx := range map[fault.Kind]context.Context{fault.Canceled: canceled, fault.Deadline: expired} {
		_, err := b.store.Get(ctx, key("a"))
		if !errors.Is(err, want) {
			t.Errorf("Get: got error %v, want one of kind %q", err, want)
		}
		_, err = b.store.List(ctx, docstore.Query{Collection: "things", Limit: 1})
		if !errors.Is(err, want) {
			t.Errorf("List: got error %v, want one of kind %q", err, want)
		}
		_, err = b.store.Commit(ctx, put("a", docstore.Fields{"n": int64(2)}, docstore.Always()), put("b", kept, docstore.Always()))
		if !errors.Is(err, want) {
			t.Errorf("Commit: got error %v, want one of kind %q", err, want)
		}
	}
	b.holds(t, "a", kept)
	b.absent(t, "b")
}

func expiry(b bench) {
	t := b.T
	fields := docstore.Fields{"n": int64(1)}
	b.commit(t, docstore.Write{Key: key("a"), Fields: fields, ExpireAt: farOff}, docstore.Write{Key: key("empty"), Fields: docstore.Fields{}, ExpireAt: farOff})
	b.commit(t, put("stays", fields, docstore.Always()))
	b.holds(t, "a", fields)
	b.holds(t, "empty", docstore.Fields{})
	due := docstore.Query{
		Where:   []docstore.Filter{{Path: docstore.ExpireField, Op: docstore.LessOrEqual, Value: farOff}},
		OrderBy: &docstore.Order{Path: docstore.ExpireField}, Limit: 10,
	}
	if got, want := b.ids(t, due), []string{"a", "empty"}; !slices.Equal(got, want) {
		t.Errorf("%v expire, want %v", got, want)
	}
	b.commit(t, put("a", fields, docstore.Always()))
	if got, want := b.ids(t, due), []string{"empty"}; !slices.Equal(got, want) {
		t.Errorf("after a put without expiry %v expire, want %v", got, want)
	}
	nested := docstore.Fields{"map": map[string]any{docstore.ExpireField: "mine"}}
	b.commit(t, put("nested", nested, docstore.Always()))
	b.holds(t, "nested", nested)
}

func badKeys(b bench) {
	t := b.T
	for _, k := range []docstore.Key{
		{}, {Collection: "things"}, {ID: "a"},
		{Collection: "things", ID: "a/b"}, {Collection: "things", ID: "."}, {Collection: "things", ID: ".."},
		{Collection: "things", ID: "__a__"}, {Collection: "things", ID: "____"}, {Collection: "things", ID: "\xff"},
		{Collection: "things", ID: strings.Repeat("x", 1001)},
		{Collection: "Things", ID: "a"}, {Collection: "a/b/c", ID: "a"}, {Collection: "__things__", ID: "a"},
	} {
		if _, err := b.store.Get(context.Background(), k); !errors.Is(err, fault.Invalid) {
			t.Errorf("Get %q: got error %v, want one of kind %q", k, err, fault.Invalid)
		}
		if _, err := b.store.Commit(context.Background(), docstore.Write{Key: k, Fields: docstore.Fields{}}); !errors.Is(err, fault.Invalid) {
			t.Errorf("Commit %q: got error %v, want one of kind %q", k, err, fault.Invalid)
		}
	}
	for _, id := range []string{strings.Repeat("x", 1000), "...", "a b", "ä%2F?#", `"'` + "`", "repository-123", "_a_", "__a", "a:b|c", "\\"} {
		b.commit(t, put(id, docstore.Fields{"id": id}, docstore.IfAbsent()))
		b.holds(t, id, docstore.Fields{"id": id})
		if got := b.get(t, id).ID; got != id {
			t.Errorf("read back as %q, want %q", got, id)
		}
	}
}

func badFields(b bench) {
	t := b.T
	deep := any("bottom")
	for range 21 {
		deep = map[string]any{"d": deep}
	}
	for name, fields := range map[string]docstore.Fields{
		"an int":              {"a": 1},
		"a struct":            {"a": struct{}{}},
		"a typed map":         {"a": map[string]string{}},
		"a typed slice":       {"a": []string{}},
		"fields in fields":    {"a": docstore.Fields{}},
		"not a number":        {"a": math.NaN()},
		"infinity":            {"a": math.Inf(1)},
		"not UTF-8":           {"a": "\xff"},
		"nanoseconds":         {"a": time.Unix(0, 1)},
		"year 10000":          {"a": time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"year 0":              {"a": time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)},
		"arrays in arrays":    {"a": []any{[]any{}}},
		"too deep":            {"a": deep},
		"no name":             {"": int64(1)},
		"a long name":         {strings.Repeat("n", 1501): int64(1)},
		"a reserved name":     {"__a__": int64(1)},
		"a name not UTF-8":    {"\xff": int64(1)},
		"deep down":           {"a": []any{map[string]any{"b": map[string]any{"__c__": 1}}}},
		"the field of expiry": {docstore.ExpireField: time.Unix(0, 0)},
		"the store's nonce":   {docstore.NonceField: []byte("mine")},
	} {
		if _, err := b.store.Commit(context.Background(), put("a", fields, docstore.Always())); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got error %v, want one of kind %q", name, err, fault.Invalid)
		}
	}
	_, err := b.store.Commit(context.Background(), put("a", docstore.Fields{"a": "hunter2\xff"}, docstore.Always()))
	if strings.Contains(fmt.Sprint(err), "hunter2") {
		t.Errorf("the error shows the value: %v", err)
	}
	b.absent(t, "a")
}

func badWrites(b bench) {
	t := b.T
	fields := docstore.Fields{}
	b.refuses(t, fault.Invalid)
	b.refuses(t, fault.Invalid, put("a", fields, docstore.Always()), put("a", fields, docstore.Always()))
	b.refuses(t, fault.Invalid, put("a", fields, docstore.Always()), docstore.Write{Key: key("a")})
	b.refuses(t, fault.Invalid, put("a", fields, docstore.IfUnchanged(time.Time{})))
	b.refuses(t, fault.Invalid, docstore.Write{Key: key("a"), If: docstore.IfAbsent()})
	b.refuses(t, fault.Invalid, docstore.Write{Key: key("a"), ExpireAt: time.Unix(1, 0)})
	b.refuses(t, fault.Invalid, docstore.Write{Key: key("a"), Fields: fields, ExpireAt: time.Unix(1, 1)})
	b.absent(t, "a")
}

func badQueries(b bench) {
	t := b.T
	where := func(filters ...docstore.Filter) docstore.Query {
		return docstore.Query{Collection: "things", Where: filters, Limit: 1}
	}
	for name, query := range map[string]docstore.Query{
		"no collection":      {Limit: 1},
		"bad collection":     {Collection: "a/b", Limit: 1},
		"no limit":           {Collection: "things"},
		"negative limit":     {Collection: "things", Limit: -1},
		"huge limit":         {Collection: "things", Limit: docstore.MaxListLimit + 1},
		"bad cursor":         {Collection: "things", Limit: 1, Cursor: "!"},
		"another cursor":     {Collection: "things", Limit: 1, Cursor: "e30"},
		"empty path":         where(docstore.Filter{Op: docstore.Equal, Value: "x"}),
		"quoted path":        where(docstore.Filter{Path: `a"`, Op: docstore.Equal, Value: "x"}),
		"half a path":        where(docstore.Filter{Path: "a.", Op: docstore.Equal, Value: "x"}),
		"reserved path":      where(docstore.Filter{Path: "a.__name__", Op: docstore.Equal, Value: "x"}),
		"unknown operator":   where(docstore.Filter{Path: "a", Op: "!=", Value: "x"}),
		"an int":             where(docstore.Filter{Path: "a", Op: docstore.Equal, Value: 1}),
		"a nil":              where(docstore.Filter{Path: "a", Op: docstore.Equal}),
		"bytes":              where(docstore.Filter{Path: "a", Op: docstore.Equal, Value: []byte("x")}),
		"not UTF-8":          where(docstore.Filter{Path: "a", Op: docstore.Equal, Value: "\xff"}),
		"nanoseconds":        where(docstore.Filter{Path: "a", Op: docstore.Equal, Value: time.Unix(0, 1)}),
		"range out of order": where(docstore.Filter{Path: "a", Op: docstore.Less, Value: "x"}),
		"order elsewhere": {Collection: "things", Limit: 1, OrderBy: &docstore.Order{Path: "b"},
			Where: []docstore.Filter{{Path: "a", Op: docstore.Less, Value: "x"}}},
		"two ranges": {Collection: "things", Limit: 1, OrderBy: &docstore.Order{Path: "a"},
			Where: []docstore.Filter{{Path: "a", Op: docstore.Less, Value: "x"}, {Path: "b", Op: docstore.Less, Value: "x"}}},
		"two arrays":           where(docstore.Filter{Path: "a", Op: docstore.Contains, Value: "x"}, docstore.Filter{Path: "b", Op: docstore.Contains, Value: "x"}),
		"one array twice":      where(docstore.Filter{Path: "a", Op: docstore.Contains, Value: "x"}, docstore.Filter{Path: "a", Op: docstore.Contains, Value: "y"}),
		"a number in an array": where(docstore.Filter{Path: "a", Op: docstore.Contains, Value: int64(1)}),
		"an array in order": {Collection: "things", Limit: 1, OrderBy: &docstore.Order{Path: "b"},
			Where: []docstore.Filter{{Path: "a", Op: docstore.Contains, Value: "x"}}},
		"an array and a range": {Collection: "things", Limit: 1, OrderBy: &docstore.Order{Path: "b"},
			Where: []docstore.Filter{{Path: "a", Op: docstore.Contains, Value: "x"}, {Path: "b", Op: docstore.Less, Value: "x"}}},
		"order by nothing": {Collection: "things", Limit: 1, OrderBy: &docstore.Order{}},
	} {
		if _, err := b.store.List(context.Background(), query); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got error %v, want one of kind %q", name, err, fault.Invalid)
		}
	}
}

func sizeLimits(b bench) {
	t := b.T
	sized := func(id string, size int) docstore.Write {
		w := put(id, docstore.Fields{"text": ""}, docstore.Always())
		w.Fields["text"] = strings.Repeat("x", size-w.Size())
		return w
	}
	b.refuses(t, fault.TooLarge, put("a", docstore.Fields{}, docstore.Always()), sized("b", docstore.MaxDocumentBytes+1))
	b.absent(t, "a")
	largest := sized("b", docstore.MaxDocumentBytes)
	b.commit(t, largest)
	b.holds(t, "b", largest.Fields)

	var many []docstore.Write
	for i := range docstore.MaxCommitWrites + 1 {
		many = append(many, put(fmt.Sprintf("many-%04d", i), docstore.Fields{}, docstore.Always()))
	}
	b.refuses(t, fault.TooLarge, many...)
	b.commit(t, many[1:]...)
	if ids := b.ids(t, docstore.Query{Limit: docstore.MaxListLimit}); len(ids) != docstore.MaxCommitWrites+1 {
		t.Errorf("%d documents, want %d", len(ids), docstore.MaxCommitWrites+1)
	}

	var heavy []docstore.Write
	for i := range docstore.MaxCommitBytes/docstore.MaxDocumentBytes + 1 {
		heavy = append(heavy, sized(fmt.Sprintf("heavy-%d", i), docstore.MaxDocumentBytes))
	}
	b.refuses(t, fault.TooLarge, heavy...)
	b.commit(t, heavy[1:]...)
	docs, sizes := b.list(t, docstore.Query{Limit: docstore.MaxListLimit})
	if want := 1 + docstore.MaxCommitWrites + len(heavy) - 1; len(docs) != want {
		t.Errorf("%d documents in pages of %v, want %d", len(docs), sizes, want)
	}
}

// seed puts documents with these contents under the ids a, b, c, …
func (b bench) seed(t require, contents ...docstore.Fields) {
	t.Helper()
	var writes []docstore.Write
	for i, fields := range contents {
		writes = append(writes, put(string(rune('a'+i)), fields, docstore.Always()))
	}
	b.commit(t, writes...)
}

func listByID(b bench) {
	t := b.T
	if ids := b.ids(t, docstore.Query{Limit: 5}); len(ids) != 0 {
		t.Fatalf("an empty collection lists %v", ids)
	}
	want := []string{"10", "9", "A", "Z", "a", "aa", "b", "ä", "世"} // by their bytes
	for _, i := range []int{4, 0, 8, 3, 1, 7, 2, 6, 5} {
		b.commit(t, put(want[i], docstore.Fields{}, docstore.Always()))
	}
	b.commit(t, docstore.Write{Key: docstore.Key{Collection: "others", ID: "b"}, Fields: docstore.Fields{}})
	for limit := 1; limit <= len(want)+1; limit++ {
		docs, sizes := b.list(t, docstore.Query{Limit: limit})
		var ids []string
		for _, doc := range docs {
			ids = append(ids, doc.ID)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("limit %d: got %v, want %v", limit, ids, want)
		}
		if pages := (len(want) + limit - 1) / limit; len(sizes) != pages {
			t.Errorf("limit %d: %d pages of %v, want %d and none empty", limit, len(sizes), sizes, pages)
		}
	}
}

func listFilters(b bench) {
	t := b.T
	at := time.Date(2026, 1, 1, 0, 0, 0, 1000, time.UTC)
	b.seed(t,
		docstore.Fields{"s": "x", "n": int64(1), "t": at, "on": true, "m": map[string]any{"deep": map[string]any{"s": "x"}}},
		docstore.Fields{"s": "y", "n": int64(2), "t": at.Add(time.Microsecond), "on": false, "m": map[string]any{"deep": "x"}},
		docstore.Fields{"s": "x", "n": 2.0, "t": at.Add(time.Hour), "on": true},
		docstore.Fields{"s": nil, "n": nil, "t": nil, "on": nil, "m": nil},
		docstore.Fields{"s": int64(1), "n": "1", "t": at.Format(time.RFC3339Nano), "on": int64(1), "m": []any{"x"}},
		docstore.Fields{"s": []byte("x"), "n": true, "t": at.UnixMicro(), "on": "true", "m": map[string]any{"$time": int64(1)}},
		docstore.Fields{"m.deep.s": "x"},
	)
	for _, test := range []struct {
		path  string
		op    docstore.Op
		value any
		want  string
	}{
		{"s", docstore.Equal, "x", "ac"},
		{"s", docstore.Equal, "none", ""},
		{"s", docstore.Less, "y", "ac"},
		{"s", docstore.LessOrEqual, "y", "acb"},
		{"s", docstore.Greater, "", "acb"},
		{"s", docstore.GreaterOrEqual, "y", "b"},
		{"n", docstore.Equal, int64(2), "bc"},
		{"n", docstore.Less, int64(2), "a"},
		{"n", docstore.GreaterOrEqual, int64(1), "abc"},
		{"t", docstore.Equal, at, "a"},
		{"t", docstore.Greater, at, "bc"},
		{"t", docstore.LessOrEqual, at.Add(time.Microsecond).In(time.FixedZone("", 3600)), "ab"},
		{"on", docstore.Equal, true, "ac"},
		{"on", docstore.Equal, false, "b"},
		{"on", docstore.Less, true, "b"},
		{"m.deep.s", docstore.Equal, "x", "a"},
		{"m.deep", docstore.Equal, "x", "b"},
		{"m", docstore.Equal, "x", ""},
		{"absent", docstore.Equal, "x", ""},
	} {
		query := docstore.Query{Where: []docstore.Filter{{Path: test.path, Op: test.op, Value: test.value}}, Limit: 10}
		if test.op != docstore.Equal {
			query.OrderBy = &docstore.Order{Path: test.path}
		}
		if got := strings.Join(b.ids(t, query), ""); got != test.want {
			t.Errorf("%s %s %v: got %q, want %q", test.path, test.op, test.value, got, test.want)
		}
	}
	both := docstore.Query{
		Where: []docstore.Filter{
			{Path: "on", Op: docstore.Equal, Value: true}, {Path: "s", Op: docstore.Equal, Value: "x"},
			{Path: "t", Op: docstore.Greater, Value: at.Add(-time.Hour)}, {Path: "t", Op: docstore.LessOrEqual, Value: at.Add(time.Hour)},
		},
		OrderBy: &docstore.Order{Path: "t", Descending: true}, Limit: 10,
	}
	if got := strings.Join(b.ids(t, both), ""); got != "ca" {
		t.Errorf("with several filters: got %q, want %q", got, "ca")
	}
}

func listContains(b bench) {
	t := b.T
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b.seed(t,
		docstore.Fields{"list": []any{"x", "y"}, "on": true},
		docstore.Fields{"list": []any{"y", "x", "x", "x"}, "on": false}, // once, however often it stands there
		docstore.Fields{"list": []any{}, "on": true},
		docstore.Fields{"list": "x", "on": true},
		docstore.Fields{"list": nil, "on": true},
		docstore.Fields{"on": true},
		docstore.Fields{"list": map[string]any{"0": "x", "x": "x"}, "on": true},
		docstore.Fields{"list": []any{nil, true, int64(1), 1.5, at, []byte("x"), map[string]any{"x": "x", "list": []any{"x"}}, "1", "true", "null", "a\x00b", "ä"}, "on": true},
		docstore.Fields{"deep": map[string]any{"list": []any{"x"}}, "list": []any{"X", "x ", "xy"}, "on": true},
		docstore.Fields{"list": []any{int64(1), "x"}, "on": true},
	)
	contains := func(path, value string) docstore.Filter {
		return docstore.Filter{Path: path, Op: docstore.Contains, Value: value}
	}
	on := docstore.Filter{Path: "on", Op: docstore.Equal, Value: true}
	for name, test := range map[string]struct {
		where []docstore.Filter
		want  string
	}{
		"an element":                   {[]docstore.Filter{contains("list", "x")}, "abj"},
		"another":                      {[]docstore.Filter{contains("list", "y")}, "ab"},
		"none":                         {[]docstore.Filter{contains("list", "none")}, ""},
		"the empty text":               {[]docstore.Filter{contains("list", "")}, ""},
		"text like a number":           {[]docstore.Filter{contains("list", "1")}, "h"},
		"text like a truth":            {[]docstore.Filter{contains("list", "true")}, "h"},
		"text like nothing":            {[]docstore.Filter{contains("list", "null")}, "h"},
		"text like a map":              {[]docstore.Filter{contains("list", `{"list":["x"],"x":"x"}`)}, ""},
		"a nul":                        {[]docstore.Filter{contains("list", "a\x00b")}, "h"},
		"up to a nul":                  {[]docstore.Filter{contains("list", "a")}, ""},
		"beyond ASCII":                 {[]docstore.Filter{contains("list", "ä")}, "h"},
		"a field deep down":            {[]docstore.Filter{contains("deep.list", "x")}, "i"},
		"no such field":                {[]docstore.Filter{contains("absent", "x")}, ""},
		"with another filter":          {[]docstore.Filter{contains("list", "x"), on}, "aj"},
		"after another filter":         {[]docstore.Filter{on, contains("list", "x")}, "aj"},
		"and the array's text at once": {[]docstore.Filter{contains("list", "x"), {Path: "list", Op: docstore.Equal, Value: "x"}}, ""},
	} {
		for limit := 1; limit <= 4; limit++ {
			docs, sizes := b.list(t, docstore.Query{Where: test.where, Limit: limit})
			got := ""
			for _, doc := range docs {
				got += doc.ID
			}
			if got != test.want {
				t.Errorf("%s, %d a page: got %q, want %q", name, limit, got, test.want)
			}
			if pages := max(1, (len(test.want)+limit-1)/limit); len(sizes) != pages {
				t.Errorf("%s, %d a page: pages of %v, want %d of them", name, limit, sizes, pages)
			}
		}
	}
	query := docstore.Query{Collection: "things", Where: []docstore.Filter{contains("list", "x")}, Limit: 1}
	page, err := b.store.List(context.Background(), query)
	if err != nil || page.Next == "" {
		t.Fatalf("got the cursor %q and %v", page.Next, err)
	}
	for _, other := range []docstore.Filter{contains("list", "y"), contains("deep.list", "x"), {Path: "list", Op: docstore.Equal, Value: "x"}} {
		query.Where, query.Cursor = []docstore.Filter{other}, page.Next
		if _, err := b.store.List(context.Background(), query); !errors.Is(err, fault.Invalid) {
			t.Errorf("its cursor with %s %s %v: got error %v, want one of kind %q", other.Path, other.Op, other.Value, err, fault.Invalid)
		}
	}
}

func listOrder(b bench) {
	t := b.T
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b.seed(t,
		docstore.Fields{"s": "B", "n": int64(10), "t": at.Add(time.Hour), "m": map[string]any{"on": true}},
		docstore.Fields{"s": "a", "n": 9.5, "t": at, "m": map[string]any{"on": false}},
		docstore.Fields{"s": "ä", "n": int64(-1), "t": at.Add(-time.Hour), "m": map[string]any{"on": true}},
		docstore.Fields{"s": "a", "n": int64(9), "t": at},
		docstore.Fields{},
	)
	for path, want := range map[string]string{"s": "abdc", "n": "cdba", "t": "cbda", "m.on": "bac", "absent": ""} {
		got := strings.Join(b.ids(t, docstore.Query{OrderBy: &docstore.Order{Path: path}, Limit: 10}), "")
		if got != want {
			t.Errorf("by %s: got %q, want %q", path, got, want)
		}
		docs := b.ids(t, docstore.Query{OrderBy: &docstore.Order{Path: path, Descending: true}, Limit: 10})
		slices.Reverse(docs)
		if got := strings.Join(docs, ""); got != want {
			t.Errorf("by %s descending: got %q reversed, want %q", path, got, want)
		}
	}
}

func listPages(b bench) {
	t := b.T
	var want []string
	for i := range 23 {
		id := fmt.Sprintf("%02d", i)
		want = append(want, id)
		b.commit(t, put(id, docstore.Fields{"half": int64(i / 5), "even": i%2 == 0}, docstore.Always()))
	}
	for _, descending := range []bool{false, true} {
		query := docstore.Query{OrderBy: &docstore.Order{Path: "half", Descending: descending}, Limit: 3}
		got := b.ids(t, query)
		if descending {
			slices.Reverse(got)
		}
		if !slices.Equal(got, want) {
			t.Errorf("descending %t: got %v, want %v", descending, got, want)
		}
	}
	query := docstore.Query{Collection: "things", Limit: 10, Where: []docstore.Filter{{Path: "even", Op: docstore.Equal, Value: true}}}
	first, err := b.store.List(context.Background(), query)
	if err != nil {
		t.Fatal(err)
	}
	// What the first page showed may go meanwhile, even its last document.
	b.commit(t, docstore.Write{Key: first.Docs[9].Key}, put("181", docstore.Fields{"even": true}, docstore.Always()))
	query.Cursor, query.Limit = first.Next, 20
	if got, want := b.ids(t, query), []string{"181", "20", "22"}; !slices.Equal(got, want) {
		t.Errorf("after a change the second page is %v, want %v", got, want)
	}
}

// listModel compares listings with filtering and sorting by hand, over scalars
// of mixed types. How types are ordered among each other is the model's, which
// is Firestore's.
func listModel(b bench) {
	t := b.T
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	scalars := []any{nil, false, true, int64(-1), int64(0), 0.5, int64(1), 1.0, at, at.Add(time.Microsecond), "", "A", "a", "a\x00", "ab", "ä"}
	stored := map[string]docstore.Fields{}
	for i := range 60 {
		fields := docstore.Fields{"group": []any{"x", "y", int64(1)}[i%3]}
		if i%7 != 0 {
			fields["value"] = scalars[i%len(scalars)]
		}
		id := fmt.Sprintf("%02d", i*37%60)
		stored[id] = fields
		b.commit(t, put(id, fields, docstore.Always()))
	}
	filterable := slices.DeleteFunc(slices.Clone(scalars), func(v any) bool { _, float := v.(float64); return v == nil || float })
	rapid.Check(t, func(t *rapid.T) {
		query := docstore.Query{Limit: rapid.IntRange(7, 70).Draw(t, "limit")}
		if rapid.Bool().Draw(t, "grouped") {
			query.Where = append(query.Where, docstore.Filter{Path: "group", Op: docstore.Equal, Value: rapid.SampledFrom([]any{"x", int64(1)}).Draw(t, "group")})
		}
		if rapid.Bool().Draw(t, "ordered") {
			query.OrderBy = &docstore.Order{Path: "value", Descending: rapid.Bool().Draw(t, "descending")}
			for range rapid.IntRange(0, 2).Draw(t, "filters") {
				query.Where = append(query.Where, docstore.Filter{
					Path:  "value",
					Op:    rapid.SampledFrom([]docstore.Op{docstore.Equal, docstore.Less, docstore.LessOrEqual, docstore.Greater, docstore.GreaterOrEqual}).Draw(t, "op"),
					Value: rapid.SampledFrom(filterable).Draw(t, "value"),
				})
			}
		}
		got, want := b.ids(t, query), modelList(stored, query)
		if !slices.Equal(got, want) {
			t.Fatalf("%+v\n got %v\nwant %v", query, got, want)
		}
	})
}

func modelList(stored map[string]docstore.Fields, query docstore.Query) []string {
	ids := slices.Sorted(maps.Keys(stored))
	ids = slices.DeleteFunc(ids, func(id string) bool {
		for _, filter := range query.Where {
			if value, ok := stored[id][filter.Path]; !ok || !modelMatches(value, filter) {
				return true
			}
		}
		if query.OrderBy == nil {
			return false
		}
		_, ok := stored[id][query.OrderBy.Path]
		return !ok
	})
	if query.OrderBy == nil {
		return ids
	}
	slices.SortStableFunc(ids, func(a, b string) int {
		return modelCompare(stored[a][query.OrderBy.Path], stored[b][query.OrderBy.Path])
	})
	if query.OrderBy.Descending {
		slices.Reverse(ids)
	}
	return ids
}

func modelMatches(value any, filter docstore.Filter) bool {
	if modelRank(value) != modelRank(filter.Value) {
		return false
	}
	order := modelCompare(value, filter.Value)
	switch filter.Op {
	case docstore.Equal:
		return order == 0
	case docstore.Less:
		return order < 0
	case docstore.LessOrEqual:
		return order <= 0
	case docstore.Greater:
		return order > 0
	case docstore.GreaterOrEqual:
		return order >= 0
	}
	return false
}

func modelRank(v any) int {
	switch v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case int64, float64:
		return 2
	case time.Time:
		return 3
	}
	return 4
}

func modelCompare(a, b any) int {
	if order := modelRank(a) - modelRank(b); order != 0 {
		return order
	}
	switch a := a.(type) {
	case bool:
		if a == b.(bool) {
			return 0
		} else if a {
			return 1
		}
		return -1
	case time.Time:
		return a.Compare(b.(time.Time))
	case string:
		return strings.Compare(a, b.(string))
	case nil:
		return 0
	}
	number := func(v any) float64 {
		if n, ok := v.(int64); ok {
			return float64(n)
		}
		return v.(float64)
	}
	switch x, y := number(a), number(b); {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func foreignCursors(b bench) {
	t := b.T
	b.seed(t, docstore.Fields{"n": int64(1), "s": "x"}, docstore.Fields{"n": int64(2), "s": "x"}, docstore.Fields{"n": int64(3), "s": "x"})
	byNumber := docstore.Query{Collection: "things", OrderBy: &docstore.Order{Path: "n"}, Limit: 1}
	page, err := b.store.List(context.Background(), byNumber)
	if err != nil || page.Next == "" {
		t.Fatalf("got cursor %q and error %v", page.Next, err)
	}
	for name, query := range map[string]docstore.Query{
		"by id":              {Collection: "things", Limit: 1},
		"another order":      {Collection: "things", OrderBy: &docstore.Order{Path: "s"}, Limit: 1},
		"another direction":  {Collection: "things", OrderBy: &docstore.Order{Path: "n", Descending: true}, Limit: 1},
		"another filter":     {Collection: "things", OrderBy: &docstore.Order{Path: "n"}, Limit: 1, Where: []docstore.Filter{{Path: "s", Op: docstore.Equal, Value: "x"}}},
		"another collection": {Collection: "others", OrderBy: &docstore.Order{Path: "n"}, Limit: 1},
	} {
		query.Cursor = page.Next
		if _, err := b.store.List(context.Background(), query); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: got error %v, want one of kind %q", name, err, fault.Invalid)
		}
	}
	byNumber.Cursor, byNumber.Limit = page.Next, 2
	if page, err = b.store.List(context.Background(), byNumber); err != nil || len(page.Docs) != 2 {
		t.Errorf("a page of another size: got %d documents and error %v", len(page.Docs), err)
	}
}
