package quota_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/pace"
)

// job is one request of the property test.
type job struct {
	worker      int
	cost        pace.Cost
	start       time.Duration
	there, back time.Duration
	cancel      time.Duration // after its start; 0 for never
}

// plan is a few minutes in the life of three workers.
type plan struct {
	mode      pace.Mode
	jobs      []job
	crash     time.Duration // of the first worker, whose requests then end unheard; 0 for never
	takes     time.Duration // each call of the store
	conflicts int
	apart     time.Duration
}

func drawPlan(t *rapid.T) plan {
	upTo := func(most time.Duration, label string) time.Duration {
		return time.Duration(rapid.IntRange(0, int(most/time.Millisecond)).Draw(t, label)) * time.Millisecond
	}
	p := plan{
		mode:      rapid.SampledFrom([]pace.Mode{pace.Polite, pace.Fast}).Draw(t, "mode"),
		takes:     upTo(300*time.Millisecond, "takes"),
		conflicts: rapid.SampledFrom([]int{0, 0, 20}).Draw(t, "conflicts"),
		apart:     rapid.SampledFrom([]time.Duration{0, time.Hour, -time.Hour}).Draw(t, "apart"),
	}
	if rapid.Bool().Draw(t, "crash") {
		p.crash = upTo(60*time.Second, "crash") + 1
	}
	slowest := 2 * time.Second
	if p.mode == pace.Polite {
		slowest = 400 * time.Millisecond // a turn leaves a second for its last write
	}
	bursts := rapid.IntRange(1, 4).Draw(t, "bursts")
	for range bursts {
		at, n := upTo(100*time.Second, "at"), rapid.IntRange(1, 80).Draw(t, "many")
		worker := rapid.IntRange(0, 2).Draw(t, "worker")
		spread := upTo(20*time.Second, "spread")
		reads := rapid.IntRange(0, 3).Draw(t, "reads")
		there, back := upTo(slowest, "there"), upTo(slowest, "back")
		leaves := rapid.IntRange(0, 9).Draw(t, "leaves") == 0
		for i := range n {
			j := job{worker: worker, cost: pace.Write, start: at + spread*time.Duration(i)/time.Duration(n), there: there, back: back}
			if i%4 < reads {
				j.cost = pace.Read
			}
			if leaves && i%5 == 0 {
				j.cancel = 3 * time.Second
			}
			p.jobs = append(p.jobs, j)
		}
	}
	return p
}

// TestNoLimitIsEverBrokenAndNobodyIsForgotten is the property that the package
// is for, under whatever comes.
func TestNoLimitIsEverBrokenAndNobodyIsForgotten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlan(rt)
		h := &hub{points: 855}
		if p.mode == pace.Polite {
			h.spacing, h.oneWrite = time.Second, p.crash == 0
		}
		served := make([]bool, len(p.jobs))
		bubble(t, func(t *testing.T) {
			store := &rough{Store: open(t), takes: p.takes, conflicts: p.conflicts}
			var workers []worker
			for i := range 3 {
				workers = append(workers, hire(p.mode, store, apart{clock.Real(), time.Duration(i) * p.apart}, h))
			}
			crash, vanish := context.WithCancel(context.Background())
			defer vanish()
			if p.crash > 0 {
				defer time.AfterFunc(p.crash, vanish).Stop()
			}
			var wg sync.WaitGroup
			for i, j := range p.jobs {
				wg.Go(func() {
					ctx := context.Background()
					if j.worker == 0 {
						ctx = crash
					}
					time.Sleep(j.start)
					if j.cancel > 0 {
						c, cancel := context.WithTimeout(ctx, j.cancel)
						defer cancel()
						ctx = c
					}
					served[i] = workers[j.worker].send(ctx, j.cost, j.there, j.back) == nil
				})
			}
			wg.Wait()
		})
		if len(h.broken) > 0 {
			rt.Fatalf("%d limits broken, the first by %s", len(h.broken), h.broken[0])
		}
		if i := slices.Index(served, false); i >= 0 && p.jobs[i].cancel == 0 && (p.crash == 0 || p.jobs[i].worker > 0) {
			rt.Fatalf("request %d was never served", i)
		}
	})
}
