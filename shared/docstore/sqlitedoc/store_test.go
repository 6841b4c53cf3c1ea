package sqlitedoc_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/docstoretest"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
)

var counter = docstore.Key{Collection: "counters", ID: "a"}

func TestMain(m *testing.M) {
	file := flag.String("increment", "", "be the other process: add to the counter in this file")
	flag.Parse()
	if *file == "" {
		m.Run()
	} else if err := incrementTimes(*file, 50); err != nil {
		panic(err)
	}
}

func open(t testing.TB, path string, clk clock.Clock) *sqlitedoc.Store {
	t.Helper()
	store, err := sqlitedoc.Open(path, clk)
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

func TestContractInAFile(t *testing.T) {
	t.Parallel()
	docstoretest.Run(t, func(t *testing.T) docstore.Store {
		t.Helper()
		return open(t, filepath.Join(t.TempDir(), "store.db"), clock.Real())
	})
}

func TestContractInMemory(t *testing.T) {
	t.Parallel()
	docstoretest.Run(t, func(t *testing.T) docstore.Store {
		t.Helper()
		return open(t, ":memory:", clock.Real())
	})
}

// incrementTimes adds to the counter, n times, however often it loses the race.
func incrementTimes(path string, n int64) error {
	store, err := sqlitedoc.Open(path, clock.Real())
	if err != nil {
		return err
	}
	for won := int64(0); won < n; {
		err := increment(store)
		switch {
		case err == nil:
			won++
		case !errors.Is(err, fault.Conflict) && !errors.Is(err, fault.Exists):
			return errors.Join(err, store.Close())
		}
	}
	return store.Close()
}

func increment(store docstore.Store) error {
	doc, err := store.Get(context.Background(), counter)
	condition := docstore.IfUnchanged(doc.UpdateTime)
	switch {
	case errors.Is(err, fault.NotFound):
		condition = docstore.IfAbsent()
	case err != nil:
		return err
	}
	n, _ := doc.Fields["n"].(int64)
	_, err = store.Commit(context.Background(), docstore.Write{Key: counter, Fields: docstore.Fields{"n": n + 1}, If: condition})
	return err
}

func TestProcessesShareANewFile(t *testing.T) {
	t.Parallel()
	const processes = 3
	path := filepath.Join(t.TempDir(), "a dir?%", "store.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range processes {
		group.Go(func() {
			if out, err := exec.Command(os.Args[0], "-increment="+path).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	group.Wait()
	doc, err := open(t, path, clock.Real()).Get(t.Context(), counter)
	if err != nil || doc.Fields["n"] != int64(processes*50) {
		t.Errorf("got %v (%v), want %d", doc.Fields["n"], err, processes*50)
	}
}

func TestManyOpenANewFileAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			if err := incrementTimes(path, 1); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	doc, err := open(t, path, clock.Real()).Get(t.Context(), counter)
	if err != nil || doc.Fields["n"] != int64(10) {
		t.Errorf("got %v (%v), want 10", doc.Fields["n"], err)
	}
}

func TestDocumentsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	if err := incrementTimes(path, 3); err != nil {
		t.Fatal(err)
	}
	if err := incrementTimes(path, 4); err != nil {
		t.Fatal(err)
	}
	doc, err := open(t, path, clock.Real()).Get(t.Context(), counter)
	if err != nil || doc.Fields["n"] != int64(7) {
		t.Errorf("got %v (%v), want 7", doc.Fields["n"], err)
	}
}

func TestOnlyTheOwnerReadsTheFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	store := open(t, path, clock.Real())
	if err := increment(store); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("found %v (%v), want the file and its two companions", files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v), want 0600", file, info.Mode(), err)
		}
	}
}

func TestFilesThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newer := filepath.Join(dir, "newer.db")
	rawExec(t, newer, "PRAGMA user_version = 2")
	text := filepath.Join(dir, "text.db")
	if err := os.WriteFile(text, []byte("this is a letter, and a rather long one, not a database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		newer:                             fault.SchemaTooNew,
		text:                              fault.StateDamaged,
		dir:                               fault.Unavailable,
		filepath.Join(dir, "no", "where"): fault.Unavailable,
	} {
		store, err := sqlitedoc.Open(path, clock.Real())
		if !errors.Is(err, want) {
			t.Errorf("%s: got error %v, want %v", path, err, want)
		}
		if path != newer && !strings.Contains(fault.Detail(err), path) {
			t.Errorf("%q does not name %s", fault.Detail(err), path)
		}
		if store != nil {
			t.Errorf("%s: a store came with the error", path)
		}
	}
}

// A file that is whole at its beginning only is found out when it is read.
func TestAFileThatIsCutIsToldSo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	store, err := sqlitedoc.Open(path, clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		key := docstore.Key{Collection: "c", ID: fmt.Sprint(i)}
		if _, err := store.Commit(t.Context(), docstore.Write{Key: key, Fields: docstore.Fields{"text": strings.Repeat("x", 1000)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	_, err = file.WriteAt(bytes.Repeat([]byte{0xff}, 20*page), page)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	store, err = sqlitedoc.Open(path, clock.Real())
	if err == nil {
		defer func() { _ = store.Close() }()
		_, err = store.Get(t.Context(), docstore.Key{Collection: "c", ID: "7"})
	}
	if !errors.Is(err, fault.StateDamaged) || !strings.Contains(fault.Detail(err), path) {
		t.Errorf("got %v, want %s for %s", err, fault.StateDamaged, path)
	}
}

func rawExec(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A writer that finds the file locked waits no longer than its context, and a
// reader does not wait at all.
func TestWaitingForAnotherProcessEndsWithTheContext(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	store := open(t, path, clock.Real())
	if err := increment(store); err != nil {
		t.Fatal(err)
	}
	other, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	locked, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = store.Commit(ctx, docstore.Write{Key: counter, Fields: docstore.Fields{"n": int64(-1)}})
	if !errors.Is(err, fault.Deadline) {
		t.Errorf("got error %v, want one of kind %q", err, fault.Deadline)
	}
	if doc, err := store.Get(t.Context(), counter); err != nil || doc.Fields["n"] != int64(1) {
		t.Errorf("got %v (%v), want 1", doc.Fields["n"], err)
	}
	if err := locked.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := increment(store); err != nil {
		t.Error(err)
	}
}

// A process that stands still while it makes the file keeps nobody for ever.
func TestOpeningALockedFileEnds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	other, err := sql.Open("sqlite", "file:"+path+"?_txlock=exclusive")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	locked, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = locked.Rollback() }()
	if store, err := sqlitedoc.Open(path, clock.Scaled(1000)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v, %v, want %v", store, err, fault.Unavailable)
	}
}

// at is a clock that stands still.
type at time.Time

func (c at) Now() time.Time                           { return time.Time(c) }
func (at) Sleep(context.Context, time.Duration) error { return nil }

func TestTimesIncreaseThoughTheClockGoesBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	noon := time.Date(2026, 1, 1, 12, 0, 0, 1234567, time.UTC)
	var last time.Time
	for i, now := range []time.Time{noon, noon, noon.Add(-time.Hour), noon.Add(time.Microsecond), noon.Add(time.Minute)} {
		store := open(t, path, at(now))
		updated, err := store.Commit(t.Context(), docstore.Write{Key: counter, Fields: docstore.Fields{}})
		if err != nil {
			t.Fatal(err)
		}
		if !updated.After(last) {
			t.Errorf("commit %d was at %v, not after %v", i, updated, last)
		}
		doc, err := store.Get(t.Context(), counter)
		if err != nil || doc.ReadTime.Before(updated) {
			t.Errorf("commit %d was read at %v (%v), before it was made at %v", i, doc.ReadTime, err, updated)
		}
		last = updated
	}
	if want := noon.Add(time.Minute).Truncate(time.Microsecond); !last.Equal(want) {
		t.Errorf("the last commit was at %v, want %v as soon as the clock has caught up", last, want)
	}
}

func TestExpiredDocumentsGoInTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clk := clock.Real()
		store := open(t, ":memory:", clk)
		gone := func(id string) bool {
			_, err := store.Get(t.Context(), docstore.Key{Collection: "c", ID: id})
			if err != nil && !errors.Is(err, fault.NotFound) {
				t.Fatal(err)
			}
			return err != nil
		}
		put := func(id string, expireAt time.Time) {
			write := docstore.Write{Key: docstore.Key{Collection: "c", ID: id}, Fields: docstore.Fields{}, ExpireAt: expireAt}
			if _, err := store.Commit(t.Context(), write); err != nil {
				t.Fatal(err)
			}
		}
		soon := clk.Now().Add(time.Minute).Truncate(time.Microsecond)
		put("short", soon)
		put("renewed", soon)
		put("endless", time.Time{})
		time.Sleep(time.Hour)
		put("other", time.Time{})
		if gone("short") {
			t.Error("an expired document went at once")
		}
		time.Sleep(time.Hour)
		put("renewed", clk.Now().Add(time.Hour).Truncate(time.Microsecond))
		for id, want := range map[string]bool{"short": true, "renewed": false, "endless": false, "other": false} {
			if gone(id) != want {
				t.Errorf("%s is gone: %t, want %t", id, gone(id), want)
			}
		}
	})
}

// What a damaged file holds is an error and not shown.
func TestDamagedDocument(t *testing.T) {
	t.Parallel()
	for _, stored := range []string{"hunter2", `["hunter2"]`, `{"n": 99999999999999999999}`, `{"t": {"$time": 1.5}}`, `{"b": {"$bytes": "hunter2!"}}`} {
		path := filepath.Join(t.TempDir(), "store.db")
		store := open(t, path, clock.Real())
		if err := increment(store); err != nil {
			t.Fatal(err)
		}
		rawExec(t, path, "UPDATE documents SET fields = '"+stored+"'")
		_, err := store.Get(t.Context(), counter)
		if want := "sqlitedoc.Get counters/a"; !errors.Is(err, fault.Internal) || err.Error()[:len(want)] != want {
			t.Errorf("got error %v, want one of kind %q", err, fault.Internal)
		}
		if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "9999") {
			t.Errorf("the error shows what was stored: %v", err)
		}
	}
}

func BenchmarkCommit(b *testing.B) {
	for name, path := range map[string]string{"file": filepath.Join(b.TempDir(), "store.db"), "memory": ":memory:"} {
		b.Run(name, func(b *testing.B) {
			store := open(b, path, clock.Real())
			fields := docstore.Fields{"text": "some text of a usual length", "n": int64(1), "map": map[string]any{"a": "b"}}
			for i := 0; b.Loop(); i++ {
				fields["n"] = int64(i)
				if _, err := store.Commit(b.Context(), docstore.Write{Key: counter, Fields: fields}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	store := open(b, filepath.Join(b.TempDir(), "store.db"), clock.Real())
	if err := increment(store); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := store.Get(b.Context(), counter); err != nil {
			b.Fatal(err)
		}
	}
}
