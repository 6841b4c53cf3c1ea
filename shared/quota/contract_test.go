package quota_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/firedoc"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/quota"
	"github.com/sealpost/sealpost/test/emulator"
)

func TestMain(m *testing.M) { emulator.Run(m) }

func TestContractOverSQLite(t *testing.T) {
	t.Parallel()
	contract(t, open)
}

func TestContractOnTheEmulator(t *testing.T) {
	t.Parallel()
	contract(t, func(t testing.TB) docstore.Store {
		t.Helper()
		config := firedoc.Config{Project: emulator.Project(), EmulatorHost: emulator.Firestore.Host(t)}
		store, err := firedoc.Open(t.Context(), config, clock.Real())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return store
	})
}

// contract holds what a budget promises, in the time that passes by itself.
func contract(t *testing.T, open func(testing.TB) docstore.Store) {
	t.Helper()
	// A worker's machine may be off by an hour.
	worker := func(store docstore.Store, off int) *quota.Budget {
		return quota.New(store, apart{clock.Real(), time.Duration(off) * time.Hour}, identity)
	}
	draw := func(t *testing.T, b *quota.Budget, want pace.Want) pace.Chunk {
		t.Helper()
		chunk, err := b.Draw(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		return chunk
	}
	some := pace.Want{Points: 285, Least: 20, Limit: 855}

	t.Run("a crowd gets the limit and no more", func(t *testing.T) {
		t.Parallel()
		store := open(t)
		var mu sync.Mutex
		var wg sync.WaitGroup
		total := 0
		for i := range 4 {
			wg.Go(func() {
				chunk, err := worker(store, i%3-1).Draw(t.Context(), some)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				total += chunk.Points
			})
		}
		wg.Wait()
		if total != 855 {
			t.Errorf("%d points were drawn", total)
		}
	})

	t.Run("what is spent, held and given back", func(t *testing.T) {
		t.Parallel()
		store := open(t)
		first, second := worker(store, 1), worker(store, -1)
		now := func(off int) time.Time { return time.Now().Add(time.Duration(off) * time.Hour) }
		all := pace.Want{Points: 855, Least: 20, Limit: 855}
		begin := now(1)
		chunk := draw(t, first, all)
		if life := chunk.Until.Sub(begin); chunk.Points != 855 || life > quota.ChunkLife+2*time.Second || life < quota.ChunkLife-time.Second {
			t.Errorf("a chunk of %d points for %s", chunk.Points, life)
		}
		begin = now(-1)
		if none := draw(t, second, some); none.Points != 0 || none.Again.Sub(begin) < 59*time.Second || none.Again.Sub(begin) > 64*time.Second {
			t.Errorf("%d points beyond the limit; look again in %s", none.Points, none.Again.Sub(begin))
		}
		// 300 were answered almost a minute ago, 200 just now, 100 are in flight.
		told := pace.Want{InFlight: 100, Spent: []pace.Spent{
			{At: now(1).Add(-50 * time.Second), Points: 300, Writes: 60}, {At: now(1), Points: 200, Writes: 40},
		}}
		draw(t, first, told)
		begin = now(-1)
		chunk = draw(t, second, pace.Want{Points: 400, Least: 400, Limit: 855})
		if in := chunk.Again.Sub(begin); chunk.Points != 0 || in < 8*time.Second || in > 14*time.Second {
			t.Errorf("%d points; look again in %s, want the end of the minute of those spent first", chunk.Points, in)
		}
		if chunk.Others.Points != 500 || chunk.Others.Writes != 100 {
			t.Errorf("others spent %+v", chunk.Others)
		}
		if chunk = draw(t, second, all); chunk.Points != 255 {
			t.Errorf("%d points were given back, want 255", chunk.Points)
		}
		state, err := quota.Read(t.Context(), store, identity)
		if spare := state.Spare(pace.Fast, time.Now()); err != nil || spare.Points != 500 || spare.Writes != 100 || spare.Requests != math.MaxInt {
			t.Errorf("to spare in the coming minute: %+v, %v", spare, err)
		}
	})

	t.Run("turns to write", func(t *testing.T) {
		t.Parallel()
		store := open(t)
		first, second := worker(store, 1), worker(store, -1)
		want := pace.Want{Points: 25, Least: 20, Limit: 855, Writes: 5, Spacing: time.Second}
		one, two := draw(t, first, want), draw(t, second, want)
		if gap := two.WritesFrom.Add(2 * time.Hour).Sub(one.WritesUntil); gap < 0 || gap > time.Second {
			t.Errorf("the second turn begins %s after the first", gap)
		}
		if length := one.WritesUntil.Sub(one.WritesFrom); length < 5*time.Second || length > 7*time.Second {
			t.Errorf("a turn of %s", length)
		}
		// A turn that is given back before it begins leaves those before it alone.
		draw(t, first, want)
		draw(t, first, pace.Want{})
		third := draw(t, worker(store, -1), want)
		if gap := third.WritesFrom.Sub(two.WritesUntil); gap < 0 || gap > time.Second {
			t.Errorf("the third turn begins %s after the second", gap)
		}
		state, err := quota.Read(t.Context(), store, identity)
		if spare := state.Spare(pace.Polite, time.Now()); err != nil || spare.Writes < 41 || spare.Writes > 45 {
			t.Errorf("to spare in the coming minute: %+v, %v", spare, err)
		}
	})

	t.Run("a refusal", func(t *testing.T) {
		t.Parallel()
		store := open(t)
		first, second := worker(store, 1), worker(store, -1)
		learned := pace.Brake{Refusals: 1, StoppedUntil: time.Now().Add(time.Hour + 40*time.Second), Share: 0.5, Unserved: 1, Points: 300}
		draw(t, first, pace.Want{Learned: &learned, Refusals: 1})
		chunk := draw(t, second, some)
		if chunk.Points != 0 || chunk.Learned.Refusals != 1 || chunk.Learned.Share != 0.5 || chunk.Learned.Points != 300 {
			t.Errorf("the other worker: %+v", chunk)
		}
		some := some
		some.Refusals = 1
		chunk = draw(t, second, some)
		if stop := time.Until(chunk.Again.Add(time.Hour)); chunk.Points != 0 || stop < 38*time.Second || stop > 42*time.Second {
			t.Errorf("who knows of the stop gets %d points, and the rest in %s", chunk.Points, stop)
		}
		state, err := quota.Read(t.Context(), store, identity)
		if stop := time.Until(state.StoppedUntil); err != nil || stop < 38*time.Second || stop > 42*time.Second {
			t.Errorf("stopped for %s: %v", stop, err)
		}
		if spare := state.Spare(pace.Fast, time.Now().Add(-30*time.Second)); spare.Points != 0 || spare.Writes != 0 {
			t.Errorf("to spare in the minute before the end of the stop: %+v", spare)
		}
		if spare := state.Spare(pace.Fast, time.Now()); spare.Points != 150 {
			t.Errorf("to spare in the coming minute: %+v, want a half of what GitHub seems to allow", spare)
		}
	})

	t.Run("who comes after a refusal learns of it first", func(t *testing.T) {
		t.Parallel()
		store := open(t)
		over := pace.Brake{Refusals: 1, StoppedUntil: time.Now().Add(-time.Minute), Share: 0.5}
		draw(t, worker(store, 0), pace.Want{Learned: &over, Refusals: 1})
		if chunk := draw(t, worker(store, 0), some); chunk.Points != 0 || chunk.Learned.Refusals != 1 {
			t.Errorf("at the full rate it was given %+v", chunk)
		}
	})

	t.Run("the hourly quota", func(t *testing.T) {
		t.Parallel()
		store := open(t)
		first, second := worker(store, 1), worker(store, -1)
		if _, known, err := first.Quota(t.Context()); known || err != nil {
			t.Errorf("before anybody was told: %t, %v", known, err)
		}
		reset := time.Now().Add(40 * time.Minute).Truncate(time.Second)
		first.Note(pace.Quota{Limit: 5000, Remaining: 1000, ResetAt: reset})
		sent := 0
		release, err := first.Reserve(t.Context(), 700, func() int { return sent })
		if err != nil {
			t.Fatal(err)
		}
		none := func() int { return 0 }
		_, err = second.Reserve(t.Context(), 301, none)
		if wait, _ := fault.RetryAfter(err); !errors.Is(err, fault.RateLimitExhausted) || wait != time.Minute {
			t.Errorf("more than is left: %v, retry after %s", err, wait)
		}
		_, err = second.Reserve(t.Context(), 1001, none)
		if wait, _ := fault.RetryAfter(err); !errors.Is(err, fault.RateLimitExhausted) || wait < 38*time.Minute {
			t.Errorf("more than there will be: %v, retry after %s", err, wait)
		}
		other, err := second.Reserve(t.Context(), 300, none)
		if err != nil {
			t.Fatalf("what is left: %v", err)
		}
		other()
		draw(t, second, pace.Want{})
		sent = 400
		first.Note(pace.Quota{Limit: 5000, Remaining: 600, ResetAt: reset})
		draw(t, first, pace.Want{})
		left, known, err := second.Quota(t.Context())
		if want := (pace.Quota{Limit: 5000, Remaining: 300, ResetAt: reset.UTC()}); err != nil || !known || left.Remaining != want.Remaining || !left.ResetAt.Equal(reset) {
			t.Errorf("after 400 of 700: %+v, %t, %v", left, known, err)
		}
		state, err := quota.Read(t.Context(), store, identity)
		if spare := state.Spare(pace.Fast, time.Now()); err != nil || spare.Requests != 300 || state.Reserved != 300 || state.Quota.Remaining != 600 {
			t.Errorf("to spare: %+v of %+v, %v", spare, state.Quota, err)
		}
		if lapsed := state.Spare(pace.Fast, time.Now().Add(quota.ReservationLife+time.Second)); lapsed.Requests != 600 {
			t.Errorf("when its worker has said nothing for long: %+v", lapsed)
		}
		release()
		draw(t, first, pace.Want{})
		second.Note(pace.Quota{Limit: 5000, Remaining: 900, ResetAt: reset}) // an answer that was overtaken
		if left, _, err := second.Quota(t.Context()); err != nil || left.Remaining != 600 {
			t.Errorf("after it was given back: %+v, %v", left, err)
		}
	})
}

// TestNobodyDrewYet holds that an identity without a document has all to spare.
func TestNobodyDrewYet(t *testing.T) {
	t.Parallel()
	state, err := quota.Read(t.Context(), open(t), identity)
	spare := state.Spare(pace.Polite, time.Now())
	if want := (quota.Spare{Points: 855, Writes: 60, Requests: math.MaxInt}); err != nil || spare != want {
		t.Errorf("got %+v, %v", spare, err)
	}
	if off := state.Spare(pace.Off, time.Now()); off.Points != math.MaxInt || off.Writes != math.MaxInt {
		t.Errorf("without a pace: %+v", off)
	}
	away := &rough{Store: open(t), away: true}
	if _, err := quota.Read(t.Context(), away, identity); !errors.Is(err, fault.Unavailable) {
		t.Errorf("out of reach: %v", err)
	}
}

// TestADocumentOfANewerVersionIsLeftAlone holds that an old worker sends nothing.
func TestADocumentOfANewerVersionIsLeftAlone(t *testing.T) {
	t.Parallel()
	store := open(t)
	key := docstore.Key{Collection: "github_api_quotas", ID: identity}
	if _, err := store.Commit(t.Context(), docstore.Write{Key: key, Fields: docstore.Fields{"schemaVersion": int64(99)}}); err != nil {
		t.Fatal(err)
	}
	_, err := quota.New(store, clock.Real(), identity).Draw(context.Background(), pace.Want{Points: 20, Least: 20, Limit: 855})
	if !errors.Is(err, fault.SchemaTooNew) {
		t.Errorf("got %v", err)
	}
}
