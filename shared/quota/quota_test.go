package quota_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/quota"
)

// TestThreeWorkersThatAlwaysHaveWork holds that together they stay within the
// limits of a strict GitHub, use nine tenths of what it allows, and write the
// document about once a second at the most.
func TestThreeWorkersThatAlwaysHaveWork(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name      string
		workers   int
		many      int           // requests of each worker at a time
		roundTrip time.Duration // of a request, at the most
		cost      func() pace.Cost
		takes     time.Duration
		conflicts int
		apart     time.Duration
		least     int // points a minute
	}{
		{"writes", 3, 60, ms(80), writes, 0, 0, 0, 810},
		{"reads and writes", 3, 60, ms(80), mixed, 0, 0, 0, 810},
		{"as far away as Firestore", 3, 60, ms(80), mixed, ms(100), 5, 0, 810},
		{"clocks apart", 3, 60, ms(80), mixed, ms(100), 5, time.Hour, 810},
		// A point is counted from when it may be spent until its answer: slow answers cost.
		{"slow requests, spread over the minute", 3, 2, ms(2000), mixed, ms(100), 5, 0, 790},
		{"one at a time, spread over the minute", 3, 1, ms(800), writes, ms(100), 5, 0, 810},
		{"two of them idle", 1, 60, ms(80), mixed, ms(100), 0, 0, 810},
		{"a slow store that conflicts", 3, 60, ms(80), mixed, time.Second, 30, 0, 500}, // some draws take too long
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				counting := docstore.NewCounting(open(t))
				store := &rough{Store: counting, takes: c.takes, conflicts: c.conflicts}
				h := &hub{points: 900}
				minutes := 30 // if all is spent in one burst a minute, one burst more or less counts little
				if c.many < 10 {
					minutes = 6
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(minutes+1)*time.Minute)
				defer cancel()
				var wg sync.WaitGroup
				for i := range c.workers {
					w := hire(pace.Fast, store, apart{clock.Real(), time.Duration(i-1) * c.apart}, h)
					w.toil(ctx, &wg, c.many, c.roundTrip, c.cost)
				}
				time.Sleep(time.Minute)
				before := counting.Reset()
				wg.Wait()
				h.check(t)
				used := h.within(time.Now(), time.Duration(minutes)*time.Minute) / minutes
				counts := counting.Counts()
				t.Logf("%d points a minute; in %d minutes %d reads, %d writes; in the first %+v", used, minutes, counts.Gets, counts.Writes, before)
				if used < c.least {
					t.Errorf("%d points a minute were used, want %d", used, c.least)
				}
				if counts.Writes > minutes*60 {
					t.Errorf("%d writes of the document in %d minutes", counts.Writes, minutes)
				}
			})
		})
	}
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// TestPolitenessHoldsOverAllWorkers holds that they write a second apart and one
// at a time, each in its turn, and that reads do not wait for that.
func TestPolitenessHoldsOverAllWorkers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		workers int
		takes   time.Duration
		apart   time.Duration
		least   int // writes in five minutes
	}{
		"three workers":        {3, 0, 0, 270},
		"far from their store": {3, ms(100), time.Hour, 255},
		"a slow store":         {3, time.Second, -time.Hour, 120},
		"one of three":         {1, ms(100), 0, 280},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				store := &rough{Store: open(t), takes: c.takes}
				h := &hub{points: 900, spacing: time.Second, oneWrite: true}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				var wg sync.WaitGroup
				for i := range c.workers {
					w := hire(pace.Polite, store, apart{clock.Real(), time.Duration(i) * c.apart}, h)
					w.toil(ctx, &wg, 20, ms(300), func() pace.Cost { return pace.Write })
					wg.Go(func() {
						for ctx.Err() == nil {
							time.Sleep(20 * time.Second)
							start := time.Now()
							if err := w.send(ctx, pace.Read, 0, 0); err == nil && time.Since(start) > time.Second+8*c.takes {
								t.Errorf("a read waited %s", time.Since(start))
							}
						}
					})
				}
				wg.Wait()
				h.check(t)
				if n := len(h.starts); n < c.least {
					t.Errorf("%d writes in five minutes, want %d", n, c.least)
				}
			})
		})
	}
}

// TestSlowPoliteWrites holds that the next turn waits for writes that are as
// slow as those before them.
func TestSlowPoliteWrites(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		store := open(t)
		h := &hub{spacing: time.Second}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for range 2 {
			w := hire(pace.Polite, store, clock.Real(), h)
			if err := w.send(ctx, pace.Write, ms(1000), ms(1000)); err != nil {
				t.Fatal(err)
			}
			_ = w.Tell(ctx)
			for range 5 {
				wg.Go(func() {
					for w.send(ctx, pace.Write, ms(1000), ms(1000)) == nil {
						h.mu.Lock()
						h.oneWrite = true
						h.mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
		h.check(t)
		if n := len(h.starts); n < 100 {
			t.Errorf("%d writes of two seconds in five minutes", n)
		}
	})
}

// TestATurnIsGivenBack holds that who has no more to write keeps nobody waiting.
func TestATurnIsGivenBack(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		store, h := open(t), &hub{spacing: time.Second, oneWrite: true}
		first, second := hire(pace.Polite, store, clock.Real(), h), hire(pace.Polite, store, clock.Real(), h)
		if err := first.send(t.Context(), pace.Write, 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := first.Tell(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := second.send(t.Context(), pace.Write, 0, 0); err != nil || time.Since(start) > 1100*time.Millisecond {
			t.Errorf("the other worker waited %s: %v", time.Since(start), err)
		}
		// The second tells nothing: its turn passes.
		if err := first.send(t.Context(), pace.Write, 0, 0); err != nil || time.Since(start) > 8*time.Second {
			t.Errorf("the turn of one that is gone passed after %s: %v", time.Since(start), err)
		}
		h.check(t)
	})
}

// TestACrashedWorkersChunkLapses lets a worker vanish with a chunk in hand.
func TestACrashedWorkersChunkLapses(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		store, h := open(t), &hub{points: 900}
		gone := hire(pace.Fast, store, clock.Real(), h)
		for range 3 { // requests that nothing is heard of any more
			var wg sync.WaitGroup
			for range 30 {
				wg.Go(func() {
					if _, err := gone.Acquire(t.Context(), pace.Write); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			gone.Pacer = hire(pace.Fast, store, clock.Real(), h).Pacer // and another
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		hire(pace.Fast, store, clock.Real(), h).toil(ctx, &wg, 60, ms(80), writes)
		const lapse = quota.ChunkLife + quota.Travel + time.Minute + quota.Margin
		time.Sleep(time.Until(start.Add(lapse - time.Second)))
		before := h.within(time.Now(), time.Hour)
		time.Sleep(time.Until(start.Add(lapse + 65*time.Second)))
		after := h.within(time.Now(), time.Minute)
		cancel()
		wg.Wait()
		if before > 855*2-450 { // what the others may have spent is not spent again
			t.Errorf("%d points were spent while the vanished ones might spend theirs", before)
		}
		if after < 810 {
			t.Errorf("%d points a minute once their chunks had lapsed", after)
		}
	})
}

// TestARefusalStopsTheOthers holds that a refusal at one worker keeps all from
// their next draw, and that all go on slower.
func TestARefusalStopsTheOthers(t *testing.T) {
	t.Parallel()
	for mode, takes := range map[pace.Mode]time.Duration{pace.Polite: ms(50), pace.Fast: 0, pace.Off: ms(50)} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				store, h := &rough{Store: open(t), takes: takes}, &hub{}
				ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
				defer cancel()
				var wg sync.WaitGroup
				for range 3 {
					hire(mode, store, clock.Real(), h).toil(ctx, &wg, 10, ms(80), writes)
				}
				time.Sleep(10 * time.Second)
				h.mu.Lock()
				h.refuse = 1
				h.mu.Unlock()
				wg.Wait()
				if len(h.refused) != 1 {
					t.Fatalf("%d refusals", len(h.refused))
				}
				at, late, slow := h.refused[0], 0, 0
				for _, start := range h.starts {
					switch after := start.Sub(at); {
					case after > quota.ChunkLife && after < time.Minute:
						late++
					case after >= time.Minute && after < 2*time.Minute:
						slow++
					}
				}
				if late > 0 {
					t.Errorf("%d writes started while all should have stopped", late)
				}
				if slow == 0 || slow > 100 {
					t.Errorf("%d writes in the minute after the stop", slow)
				}
				state, err := quota.Read(t.Context(), store, identity)
				if err != nil || state.StoppedUntil.Sub(at) < time.Minute || state.StoppedUntil.Sub(at) > time.Minute+time.Second {
					t.Errorf("stopped for %s: %v", state.StoppedUntil.Sub(at), err)
				}
			})
		})
	}
}

// TestOneRefusalIsCountedOnce lets GitHub refuse all workers in the same moment.
func TestOneRefusalIsCountedOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		store, h := open(t), &hub{}
		var workers []worker
		var grants []*pace.Grant
		for range 3 {
			w := hire(pace.Fast, store, clock.Real(), h)
			grant, err := w.Acquire(t.Context(), pace.Write)
			if err != nil {
				t.Fatal(err)
			}
			workers, grants = append(workers, w), append(grants, grant)
		}
		for i, grant := range grants {
			grant.Refused(0, time.Time{})
			if err := workers[i].Tell(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		state, err := quota.Read(t.Context(), store, identity)
		if err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Minute)
		if spare := state.Spare(pace.Fast, later); spare.Points < 400 || spare.Points > 450 {
			t.Errorf("%d points a minute are left, want a half of the rate", spare.Points)
		}
		start := time.Now()
		if _, err := hire(pace.Fast, store, clock.Real(), h).Acquire(t.Context(), pace.Read); err != nil || time.Since(start) < time.Minute {
			t.Errorf("a worker that started later went on after %s: %v", time.Since(start), err)
		}
	})
}

// TestWithoutTheStoreNothingIsSent holds that whoever waits is told so, and that
// work goes on when the store is back.
func TestWithoutTheStoreNothingIsSent(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]*rough{
		"out of reach":      {away: true},
		"too slow":          {takes: time.Hour},
		"always conflicts":  {conflicts: 100},
		"tells no outcomes": {forgets: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				store := *store
				store.Store = open(t)
				h := &hub{points: 900}
				w := hire(pace.Fast, &store, clock.Real(), h)
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						err := w.send(t.Context(), pace.Write, 0, 0)
						if !errors.Is(err, fault.Unavailable) || !errors.Is(err, fault.Unreachable) {
							t.Errorf("got %v", err)
						}
					})
				}
				start := time.Now()
				wg.Wait()
				if took := time.Since(start); took > 21*time.Second || len(h.arrivals) > 0 {
					t.Errorf("%d requests were sent, and it took %s to say that none may be", len(h.arrivals), took)
				}
				_, err := w.budget.Reserve(t.Context(), 1, func() int { return 0 })
				if !errors.Is(err, fault.Unavailable) {
					t.Errorf("Reserve: %v", err)
				}
				store = rough{Store: store.Store}
				if err := w.send(t.Context(), pace.Write, 0, 0); err != nil {
					t.Errorf("when it was back: %v", err)
				}
			})
		})
	}
}

// TestACallerThatLeavesTakesNobodyAlong holds that a draw goes on for the others
// when the one that makes it leaves.
func TestACallerThatLeavesTakesNobodyAlong(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		w := hire(pace.Fast, &rough{Store: open(t), takes: 2 * time.Second}, clock.Real(), &hub{})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := w.send(ctx, pace.Write, 0, 0); fault.KindOf(err) != fault.Canceled {
				t.Errorf("got %v", err)
			}
		})
		time.Sleep(time.Millisecond)
		for range 3 {
			wg.Go(func() {
				if err := w.send(t.Context(), pace.Write, 0, 0); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Millisecond)
		cancel()
		wg.Wait()
	})
}
