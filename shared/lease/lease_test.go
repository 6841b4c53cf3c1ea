package lease_test

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/lease"
)

const key = "repository-42"

// open opens a store. In a bubble it must be called there.
func open(t *testing.T, path string) docstore.Store {
	t.Helper()
	store, err := sqlitedoc.Open(path, clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func acquire(t *testing.T, store docstore.Store, clk clock.Clock, holder string) *lease.Lease {
	t.Helper()
	l, err := lease.Acquire(t.Context(), store, clk, key, holder)
	if err != nil {
		t.Fatalf("%s could not take the lease: %v", holder, err)
	}
	return l
}

func wantCode(t *testing.T, what string, err error, code fault.Code) {
	t.Helper()
	if !errors.Is(err, code) || !errors.Is(err, fault.Conflict) {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

// note is a document that is written under a lease.
func note(text string, condition docstore.Precondition) docstore.Write {
	return docstore.Write{Key: docstore.Key{Collection: "notes", ID: "one"}, Fields: docstore.Fields{"text": text}, If: condition}
}

func noted(t *testing.T, store docstore.Store) string {
	t.Helper()
	doc, err := store.Get(t.Context(), note("", docstore.Always()).Key)
	if errors.Is(err, fault.NotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	text, _ := doc.Fields["text"].(string)
	return text
}

// TestRace lets a crowd race, each for itself and over one file: one wins, the
// others fail at once.
func TestRace(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "state.db"))
	for fence := int64(1); fence <= 3; fence++ {
		var (
			wait   sync.WaitGroup
			mu     sync.Mutex
			winner []*lease.Lease
			start  = make(chan struct{})
		)
		for range 50 {
			wait.Go(func() {
				<-start
				l, err := lease.Acquire(t.Context(), store, clock.Real(), key, "run")
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					winner = append(winner, l)
					return
				}
				wantCode(t, "a loser", err, fault.SyncInProgress)
				if after, ok := fault.RetryAfter(err); !ok || after < time.Second || after > lease.TTL {
					t.Errorf("a loser is told to wait %s", after)
				}
			})
		}
		close(start)
		wait.Wait()
		if len(winner) != 1 {
			t.Fatalf("%d won", len(winner))
		}
		if winner[0].Fence != fence {
			t.Errorf("the winner has fence %d, want %d", winner[0].Fence, fence)
		}
		if _, err := winner[0].Release(t.Context(), lease.Run{}); err != nil {
			t.Fatal(err)
		}
	}
}

// apart is a clock that is off by so much.
type apart struct {
	clock.Clock
	by time.Duration
}

func (c apart) Now() time.Time { return c.Clock.Now().Add(c.by) }

// TestExpiry lets a lease run out by the store's clock, whatever the machines'
// clocks say.
func TestExpiry(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{0, -time.Hour, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			store := open(t, ":memory:")
			clk := apart{clock.Real(), by}
			first := acquire(t, store, clk, "first")
			time.Sleep(lease.TTL - time.Millisecond)
			_, err := lease.Acquire(t.Context(), store, apart{clock.Real(), -by}, key, "second")
			wantCode(t, "before its end", err, fault.SyncInProgress)
			if _, held, err := lease.Last(t.Context(), store, key); err != nil || !held {
				t.Errorf("before its end it is held: %t, %v", held, err)
			}
			time.Sleep(time.Millisecond)
			if _, held, err := lease.Last(t.Context(), store, key); err != nil || held {
				t.Errorf("after its end it is held: %t, %v", held, err)
			}
			second := acquire(t, store, apart{clock.Real(), -by}, "second")
			if second.Fence != first.Fence+1 {
				t.Errorf("fences %d, then %d", first.Fence, second.Fence)
			}
		})
	}
}

// TestCheck lets a holder look at its lease before each request.
func TestCheck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := open(t, ":memory:")
		l := acquire(t, store, clock.Real(), "run")
		lasts := func(want time.Duration) {
			t.Helper()
			if got, err := l.Check(); err != nil || got != want {
				t.Errorf("it lasts %s (%v), want %s", got, err, want)
			}
		}
		lasts(lease.TTL - lease.Margin)
		time.Sleep(lease.RenewEvery)
		lasts(lease.TTL - lease.Margin - lease.RenewEvery)
		if _, err := l.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		lasts(lease.TTL - lease.Margin)

		// A holder that was paused stops before anybody else can have the lease.
		time.Sleep(lease.TTL - lease.Margin)
		_, err := l.Check()
		wantCode(t, "Check after a pause", err, fault.LeaseLost)
		_, err = l.Commit(t.Context(), note("late", docstore.Always()))
		wantCode(t, "Commit after a pause", err, fault.LeaseLost)
		_, err = l.Release(t.Context(), lease.Run{}, note("late", docstore.Always()))
		wantCode(t, "Release after a pause", err, fault.LeaseLost)
		if got := noted(t, store); got != "" {
			t.Errorf("%q was stored after the end", got)
		}
		_, err = lease.Acquire(t.Context(), store, clock.Real(), key, "other")
		wantCode(t, "Acquire within the margin", err, fault.SyncInProgress)
	})
}

// stopped is the clock of a holder that does not know that it was paused.
type stopped struct {
	clock.Clock
	at time.Time
}

func (c stopped) Now() time.Time { return c.at }

// TestFence holds that the store refuses whoever lost the lease, and all that
// he wanted to store with it.
func TestFence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := open(t, ":memory:")
		clk := stopped{clock.Real(), time.Now()}
		first := acquire(t, store, clk, "first")
		if _, err := first.Commit(t.Context(), note("first", docstore.Always())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lease.TTL + time.Millisecond) // update times move on by themselves
		second := acquire(t, store, clock.Real(), "second")
		if _, err := first.Check(); err != nil {
			t.Fatalf("the first holder is meant to be in the dark: %v", err)
		}
		_, err := first.Commit(t.Context(), note("late", docstore.Always()))
		wantCode(t, "Commit", err, fault.LeaseLost)
		if got := noted(t, store); got != "first" {
			t.Errorf("the loser stored %q", got)
		}
		_, err = first.Check()
		wantCode(t, "Check", err, fault.LeaseLost)

		again := acquireStale(t, store, clk)
		_, err = again.Release(t.Context(), lease.Run{SyncID: "stale"}, note("late", docstore.Always()))
		wantCode(t, "Release", err, fault.LeaseLost)
		if got := noted(t, store); got != "first" {
			t.Errorf("the loser stored %q", got)
		}
		if run, held, err := lease.Last(t.Context(), store, key); err != nil || !held || run.SyncID != "" {
			t.Errorf("a release by the loser went through: %+v, held %t, %v", run, held, err)
		}
		if second.Fence != first.Fence+1 {
			t.Errorf("fences %d, then %d", first.Fence, second.Fence)
		}
	})
}

// acquireStale takes the lease, loses it to another holder, and does not know.
func acquireStale(t *testing.T, store docstore.Store, clk stopped) *lease.Lease {
	t.Helper()
	time.Sleep(lease.TTL + time.Millisecond) // update times move on by themselves
	clk.at = time.Now()
	l := acquire(t, store, clk, "stale")
	time.Sleep(lease.TTL + time.Millisecond) // update times move on by themselves
	acquire(t, store, clock.Real(), "next")
	return l
}

// TestRelease gives a lease back, with what the run did.
func TestRelease(t *testing.T) {
	t.Parallel()
	store := open(t, ":memory:")
	if run, held, err := lease.Last(t.Context(), store, key); err != nil || held || !reflect.DeepEqual(run, lease.Run{}) {
		t.Errorf("before any run: %+v, held %t, %v", run, held, err)
	}
	l := acquire(t, store, clock.Real(), "first")
	if run, held, err := lease.Last(t.Context(), store, key); err != nil || !held || !reflect.DeepEqual(run, lease.Run{}) {
		t.Errorf("during the first run: %+v, held %t, %v", run, held, err)
	}
	done := lease.Run{SyncID: "first", Status: "succeeded", FinishedAt: time.UnixMicro(1_700_000_000_000_000).UTC(), DurationMs: 1200,
		Problems: []lease.Problem{{Scope: "actions", Name: "DB_URL", Code: "GITHUB_SECRETS_CONFLICT"}},
		Quota:    lease.Quota{Limit: 5000, Remaining: 4000, ResetAt: time.UnixMicro(1_700_000_060_000_000).UTC()}}
	at, err := l.Release(t.Context(), done, note("first", docstore.IfAbsent()))
	if err != nil || at.IsZero() {
		t.Fatalf("Release: %s, %v", at, err)
	}
	if got := noted(t, store); got != "first" {
		t.Errorf("the last writes were not made: %q", got)
	}
	_, err = l.Check()
	wantCode(t, "Check after Release", err, fault.LeaseLost)
	_, err = l.Commit(t.Context())
	wantCode(t, "Commit after Release", err, fault.LeaseLost)

	next := acquire(t, store, clock.Real(), "second")
	if previous := next.Previous(); !reflect.DeepEqual(previous, done) {
		t.Errorf("the next holder sees the run before it as %+v", previous)
	}
	if next.Fence != l.Fence+1 {
		t.Errorf("fences %d, then %d", l.Fence, next.Fence)
	}
	if run, held, err := lease.Last(t.Context(), store, key); err != nil || !held || !reflect.DeepEqual(run, done) {
		t.Errorf("during the next run: %+v, held %t, %v", run, held, err)
	}
}

// TestCommitFails holds that a refused write takes the whole commit with it,
// and that a store out of reach does not cost the lease.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	store := open(t, ":memory:")
	l := acquire(t, store, clock.Real(), "run")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Commit(ended, note("never", docstore.Always())); !errors.Is(err, fault.Canceled) || errors.Is(err, fault.LeaseLost) {
		t.Errorf("a commit that was canceled: got %v, want %v", err, fault.Canceled)
	}
	if _, err := l.Commit(t.Context(), note("one", docstore.IfAbsent())); err != nil {
		t.Fatalf("a commit after that: %v", err)
	}
	_, err := l.Commit(t.Context(), note("two", docstore.IfAbsent()))
	wantCode(t, "a commit with a refused write", err, fault.LeaseLost)
	_, err = l.Check()
	wantCode(t, "Check after that", err, fault.LeaseLost)
	if got := noted(t, store); got != "one" {
		t.Errorf("got %q, want one", got)
	}
}

// hungStore answers no commit.
type hungStore struct{ docstore.Store }

func (hungStore) Commit(ctx context.Context, _ ...docstore.Write) (time.Time, error) {
	<-ctx.Done()
	return time.Time{}, ctx.Err()
}

// switched is a store that can be exchanged.
type switched struct{ docstore.Store }

// TestCheckDoesNotWait holds that a store that hangs keeps nobody from looking
// at the lease, and that giving the commit up does not cost it.
func TestCheckDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		whole := open(t, ":memory:")
		store := &switched{whole}
		l := acquire(t, store, clock.Real(), "run")
		store.Store = hungStore{whole}
		began := time.Now()
		var wait sync.WaitGroup
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := l.Commit(ctx); !errors.Is(err, fault.Deadline) || errors.Is(err, fault.LeaseLost) {
				t.Errorf("a commit that hangs: got %v, want %v", err, fault.Deadline)
			}
		})
		synctest.Wait()
		if left, err := l.Check(); err != nil || left != lease.TTL-lease.Margin || time.Since(began) > 0 {
			t.Errorf("after %s it lasts %s, %v", time.Since(began), left, err)
		}
		wait.Wait()
		store.Store = whole
		if _, err := l.Commit(t.Context()); err != nil {
			t.Errorf("the next commit: %v", err)
		}
	})
}

// TestConcurrentCommits uses one lease from many goroutines.
func TestConcurrentCommits(t *testing.T) {
	t.Parallel()
	store := open(t, ":memory:")
	l := acquire(t, store, clock.Real(), "run")
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := l.Commit(t.Context()); err != nil {
				t.Errorf("Commit: %v", err)
			}
			if _, err := l.Check(); err != nil {
				t.Errorf("Check: %v", err)
			}
		})
	}
	wait.Wait()
}
