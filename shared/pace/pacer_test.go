package pace_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
)

// request is one caller of the property test.
type request struct {
	cost        pace.Cost
	start       time.Duration
	there, back time.Duration
	cancel      time.Duration // after its start; 0 for never
}

// outcome is what became of it.
type outcome struct {
	served         bool
	asked, started time.Time
}

func drawRequest(t *rapid.T) request {
	ms := func(most int, label string) time.Duration {
		return time.Duration(rapid.IntRange(0, most).Draw(t, label)) * time.Millisecond
	}
	r := request{
		cost:  rapid.SampledFrom([]pace.Cost{pace.Read, pace.Write, pace.Write}).Draw(t, "cost"),
		start: ms(90_000, "start"), there: ms(3_000, "there"), back: ms(3_000, "back"),
	}
	if rapid.IntRange(0, 9).Draw(t, "cancelled") == 0 {
		r.cancel = ms(60_000, "cancel") + 1
	}
	return r
}

// run sends the requests through one pacer to the server.
func run(t *testing.T, mode pace.Mode, s *server, requests []request) []outcome {
	outcomes := make([]outcome, len(requests))
	synctest.Test(t, func(*testing.T) {
		p := pace.New(mode, clock.Real())
		var wg sync.WaitGroup
		for i, r := range requests {
			wg.Go(func() {
				time.Sleep(r.start + time.Duration(i)) // no two at the same time, so that their order is known
				ctx := context.Background()
				if r.cancel > 0 {
					c, cancel := context.WithCancel(ctx)
					defer time.AfterFunc(r.cancel, cancel).Stop()
					ctx = c
				}
				outcomes[i].asked = time.Now()
				grant, err := p.Acquire(ctx, r.cost)
				if err != nil {
					return
				}
				outcomes[i].started = time.Now()
				s.busy(1)
				time.Sleep(r.there)
				refused, _, _ := s.handle(time.Now(), r.cost)
				time.Sleep(r.back)
				s.busy(-1)
				outcomes[i].served = !refused
				grant.Done()
				grant.Done() // a second time does nothing
			})
		}
		wg.Wait()
	})
	return outcomes
}

func TestNoWindowIsEverOverspentAndNobodyIsForgotten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		mode := rapid.SampledFrom([]pace.Mode{pace.Polite, pace.Fast, pace.Off}).Draw(rt, "mode")
		requests := rapid.SliceOfN(rapid.Custom(drawRequest), 1, 400).Draw(rt, "requests")
		s := &server{}
		if mode != pace.Off {
			s.limits = []limit{{time.Minute, 855, true, false}, {time.Minute, 855, true, true}}
		}
		outcomes := run(t, mode, s, requests)

		if len(s.refused) > 0 {
			rt.Fatalf("%d requests were over the budget", len(s.refused))
		}
		if s.maxBusy > 90 {
			rt.Fatalf("%d requests in flight", s.maxBusy)
		}
		inOrder := [][]pace.Cost{{pace.Read, pace.Write}}
		if mode == pace.Polite { // reads may pass writes
			inOrder = [][]pace.Cost{{pace.Read}, {pace.Write}}
		}
		for _, class := range inOrder {
			var started []outcome
			for i, o := range outcomes {
				if requests[i].cancel == 0 && !o.served {
					rt.Fatalf("request %d was never served", i)
				}
				if slices.Contains(class, requests[i].cost) && o.served {
					started = append(started, o)
				}
			}
			slices.SortFunc(started, func(a, b outcome) int { return a.asked.Compare(b.asked) })
			for i := 1; i < len(started); i++ {
				gap := started[i].started.Sub(started[i-1].started)
				if gap < 0 {
					rt.Fatalf("a later request started %s before an earlier one", -gap)
				}
				if mode == pace.Polite && class[0] == pace.Write && gap < time.Second {
					rt.Fatalf("two polite writes within %s", gap)
				}
			}
		}
	})
}

func TestFiguresOfTheFastPace(t *testing.T) {
	t.Parallel()
	const roundTrip = 80 * time.Millisecond
	cases := []struct {
		writes, reads int
		floor         time.Duration
	}{
		{171, 0, 2 * roundTrip},
		{300, 9, 60*time.Second + 200*time.Millisecond},
		{1000, 3, 300 * time.Second},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.writes), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, clk clock.Clock) {
				s := &server{limits: []limit{{time.Minute, 900, true, false}, {time.Minute, 900, true, true}}}
				p := pace.New(pace.Fast, clk)
				start := time.Now()
				for range c.reads {
					_ = s.send(t.Context(), p, pace.Read, roundTrip, 0)
				}
				s.writeAll(p, c.writes, roundTrip)
				took := time.Since(start)
				most := c.floor + c.floor/10 + time.Duration(c.reads)*roundTrip
				if took > most || len(s.refused) > 0 {
					t.Errorf("took %s, at most %s; %d refusals", took, most, len(s.refused))
				}
			})
		})
	}
}

func TestPolitenessIsAWriteASecondOneAtATime(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		s := &server{}
		took := s.writeAll(pace.New(pace.Polite, c), 20, 2500*time.Millisecond)
		if took != 50*time.Second || s.maxBusy != 1 {
			t.Errorf("20 slow writes took %s with %d in flight", took, s.maxBusy)
		}
	})
}

func TestReadsPassWritesThatWaitForTheirSecond(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		s, p := &server{}, pace.New(pace.Polite, c)
		var wg sync.WaitGroup
		wg.Go(func() { s.writeAll(p, 100, 80*time.Millisecond) })
		synctest.Wait()
		start := time.Now()
		if err := s.send(t.Context(), p, pace.Read, 0, 0); err != nil || time.Since(start) > 0 {
			t.Errorf("the read waited %s: %v", time.Since(start), err)
		}
		wg.Wait()
	})
}

func TestAfterARefusalNobodyStartsUntilItsEnd(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name       string
		retryAfter time.Duration
		reset      time.Duration
		stop       time.Duration
	}{
		{"Retry-After", 7 * time.Second, 0, 7 * time.Second},
		{"Retry-After before the reset", 7 * time.Second, time.Hour, 7 * time.Second},
		{"reset", 0, 20 * time.Minute, 20 * time.Minute},
		{"neither", 0, 0, time.Minute},
		{"an absurd Retry-After", 1000 * time.Hour, 0, time.Hour + time.Minute},
	}
	for _, c := range cases {
		for _, mode := range []pace.Mode{pace.Polite, pace.Fast, pace.Off} {
			t.Run(c.name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(t *testing.T, clk clock.Clock) {
					p := pace.New(mode, clk)
					first, err := p.Acquire(t.Context(), pace.Write)
					if err != nil {
						t.Fatal(err)
					}
					refusedAt := time.Now()
					var reset time.Time
					if c.reset > 0 {
						reset = refusedAt.Add(c.reset)
					}
					first.Refused(c.retryAfter, reset)
					var starts []time.Duration
					for range 5 {
						grant, err := p.Acquire(t.Context(), pace.Write)
						if err != nil {
							t.Fatal(err)
						}
						starts = append(starts, time.Since(refusedAt))
						grant.Done()
					}
					if starts[0] != c.stop {
						t.Errorf("work went on after %s, want %s", starts[0], c.stop)
					}
					if mode == pace.Polite && starts[1]-starts[0] < 2*time.Second {
						t.Errorf("work went on no slower: %s between writes", starts[1]-starts[0])
					}
					if mode != pace.Polite && starts[1]-starts[0] < 700*time.Millisecond { // 85 writes a minute
						t.Errorf("work went on no slower: %s between writes", starts[1]-starts[0])
					}
				})
			})
		}
	}
}

func TestARefusalStopsThoseWhoWaitAndEchoesCountOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		p := pace.New(pace.Off, c)
		var inFlight []*pace.Grant
		for range 90 {
			grant, err := p.Acquire(t.Context(), pace.Write)
			if err != nil {
				t.Fatal(err)
			}
			inFlight = append(inFlight, grant)
		}
		var mu sync.Mutex
		var starts []time.Time
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				grant, err := p.Acquire(context.Background(), pace.Write)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				starts = append(starts, time.Now())
				mu.Unlock()
				grant.Done()
			})
		}
		synctest.Wait()
		for _, grant := range inFlight {
			grant.Refused(0, time.Time{})
		}
		resume := time.Now().Add(time.Minute)
		wg.Wait()
		for _, at := range starts {
			if at.Before(resume) {
				t.Fatalf("a request started %s before the stop's end", resume.Sub(at))
			}
		}
		// Halved once, 85 a minute: halved ninety times, thirty would take more than three minutes.
		if took := time.Since(resume); took > 30*time.Second {
			t.Errorf("thirty writes took %s after one refusal and its echoes", took)
		}
	})
}

func TestUnannouncedLimitsAreFoundWithThreeRefusals(t *testing.T) {
	t.Parallel()
	perMinute := func(most int, fixed bool) limit { return limit{time.Minute, most, false, fixed} }
	perHour := func(fixed bool) limit { return limit{time.Hour, 500, false, fixed} }
	cases := []struct {
		name   string
		limits []limit
		tell   bool
		writes int
		most   time.Duration
	}{
		{"80 a sliding minute", []limit{perMinute(80, false)}, false, 1000, 16 * time.Minute},
		{"80 a fixed minute", []limit{perMinute(80, true)}, false, 1000, 16 * time.Minute},
		{"80 a minute, told", []limit{perMinute(80, false)}, true, 1000, 16 * time.Minute},
		{"30 a minute", []limit{perMinute(30, false)}, false, 300, 14 * time.Minute},
		{"80 a minute and 500 an hour", []limit{perMinute(80, false), perHour(false)}, false, 1000, 3 * time.Hour},
		{"80 a minute and 500 a fixed hour", []limit{perMinute(80, true), perHour(true)}, false, 1000, 3 * time.Hour},
		{"900 points shared with somebody else", []limit{{time.Minute, 500, true, false}}, false, 1000, 13 * time.Minute},
	}
	for _, c := range cases {
		for _, mode := range []pace.Mode{pace.Polite, pace.Fast, pace.Off} {
			t.Run(c.name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(t *testing.T, clk clock.Clock) {
					s := &server{limits: c.limits, tell: c.tell}
					took := s.writeAll(pace.New(mode, clk), c.writes, 80*time.Millisecond)
					most := c.most
					if mode == pace.Polite {
						most += time.Duration(c.writes) * time.Second
					}
					if len(s.arrivals) != c.writes || s.episodes() > 3 || took > most {
						t.Errorf("%d of %d served in %s with %d refusals", len(s.arrivals), c.writes, took, s.episodes())
					}
				})
			})
		}
	}
}

func TestASpentQuotaIsWaitedForAndTeachesNoRate(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		s := &server{quota: 150, reset: time.Now().Add(10 * time.Minute)}
		took := s.writeAll(pace.New(pace.Fast, c), 300, 80*time.Millisecond)
		if len(s.arrivals) != 300 || s.episodes() != 1 {
			t.Errorf("%d served with %d refusals", len(s.arrivals), s.episodes())
		}
		if took < 10*time.Minute || took > 12*time.Minute+30*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestWhoWantsToBeToldOfASpentQuotaDoesNotWait(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		p := pace.New(pace.Fast, c)
		told := pace.ToldOfQuota(t.Context())
		spent := func(wait time.Duration) {
			t.Helper()
			g, err := p.Acquire(told, pace.Read)
			if err != nil {
				t.Fatal(err)
			}
			g.Refused(0, c.Now().Add(wait))
		}
		spent(30 * time.Second) // which is worth waiting for
		spent(20 * time.Minute)
		start := time.Now()
		_, err := p.Acquire(told, pace.Write)
		wait, _ := fault.RetryAfter(err)
		if !errors.Is(err, fault.RateLimitExhausted) || wait != 20*time.Minute || time.Since(start) > 0 {
			t.Errorf("got %v, retry after %s, after %s", err, wait, time.Since(start))
		}
		if _, err := p.Acquire(t.Context(), pace.Read); err != nil || time.Since(start) < 20*time.Minute {
			t.Errorf("who did not ask to be told: %v after %s", err, time.Since(start))
		}
	})
}

func TestStormsEnd(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		p := pace.New(pace.Fast, c)
		var waits []time.Duration
		for range 40 {
			grant, err := p.Acquire(t.Context(), pace.Write)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Now()
			grant.Refused(0, time.Time{})
			next, err := p.Acquire(t.Context(), pace.Read)
			if err != nil {
				t.Fatal(err)
			}
			waits = append(waits, time.Since(at))
			next.Refused(time.Millisecond, time.Time{})
		}
		if waits[0] != time.Minute || waits[len(waits)-1] != 16*time.Minute {
			t.Errorf("waits %v: want from one minute to sixteen", waits)
		}
		// A clean spell later the full pace is back: no trace of a limit was found.
		time.Sleep(10 * time.Minute)
		s := &server{}
		if took := s.writeAll(p, 100, 80*time.Millisecond); took > 65*time.Second {
			t.Errorf("a hundred writes took %s", took)
		}
	})
}

func TestADeadlineBeforeTheTurnIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	spent := func(t *testing.T, p *pace.Pacer) {
		s := &server{}
		s.writeAll(p, 171, 80*time.Millisecond)
	}
	refused := func(t *testing.T, p *pace.Pacer) {
		grant, err := p.Acquire(t.Context(), pace.Read)
		if err != nil {
			t.Fatal(err)
		}
		grant.Refused(40*time.Second, time.Time{})
	}
	cases := []struct {
		name    string
		mode    pace.Mode
		prepare func(*testing.T, *pace.Pacer)
		within  time.Duration
		turned  bool
		wait    time.Duration // at least, and at most a second more
	}{
		{"the budget is spent", pace.Fast, spent, 30 * time.Second, true, 59 * time.Second},
		{"the budget is back in time", pace.Fast, spent, 61 * time.Second, false, 0},
		{"refused", pace.Off, refused, 39 * time.Second, true, 40 * time.Second},
		{"refused, but over in time", pace.Off, refused, 41 * time.Second, false, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, clk clock.Clock) {
				p := pace.New(c.mode, clk)
				c.prepare(t, p)
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), c.within)
				defer cancel()
				grant, err := p.Acquire(ctx, pace.Write)
				if !c.turned {
					if err != nil {
						t.Fatalf("turned away: %v", err)
					}
					grant.Done()
					return
				}
				wait, _ := fault.RetryAfter(err)
				if !errors.Is(err, fault.Exhausted) || !errors.Is(err, fault.RateLimitExhausted) || wait < c.wait || wait > c.wait+time.Second {
					t.Errorf("got %v, retry after %s", err, wait)
				}
				if waited := time.Since(start); waited > 0 {
					t.Errorf("waited %s in vain", waited)
				}
			})
		})
	}
}

func TestReadsDoNotPassAWriteThatWaitsForPoints(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		s, p := &server{}, pace.New(pace.Fast, c)
		s.writeAll(p, 170, 80*time.Millisecond)
		for range 4 {
			_ = s.send(t.Context(), p, pace.Read, 0, 0)
		}
		var wg sync.WaitGroup
		wg.Go(func() { s.writeAll(p, 1, 0) }) // one point is left
		synctest.Wait()
		wg.Go(func() { _ = s.send(context.Background(), p, pace.Read, 0, 0) })
		wg.Wait()
		last := s.arrivals[len(s.arrivals)-2:]
		if last[0].cost != pace.Write || last[1].at.Before(last[0].at) {
			t.Errorf("the read passed the write: %v", last)
		}
	})
}

func TestWhoeverIsBehindInTheQueueIsToldAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		s, p := &server{}, pace.New(pace.Polite, c)
		var wg sync.WaitGroup
		wg.Go(func() { s.writeAll(p, 100, 80*time.Millisecond) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 99*time.Second)
		defer cancel()
		start := time.Now()
		_, err := p.Acquire(ctx, pace.Write)
		if wait, _ := fault.RetryAfter(err); wait != 100*time.Second || time.Since(start) > 0 {
			t.Errorf("after %s: %v, retry after %s", time.Since(start), err, wait)
		}
		wg.Wait()
	})
}

func TestARefusalTurnsAwayThoseWhoseTimeEndsBeforeIt(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		p := pace.New(pace.Polite, c)
		inFlight, err := p.Acquire(t.Context(), pace.Write)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := p.Acquire(ctx, pace.Write)
			if wait, _ := fault.RetryAfter(err); !errors.Is(err, fault.Exhausted) || wait < time.Minute {
				t.Errorf("got %v, retry after %s", err, wait)
			}
		})
		synctest.Wait()
		start := time.Now()
		inFlight.Refused(0, time.Time{})
		wg.Wait()
		if waited := time.Since(start); waited > 0 {
			t.Errorf("waited %s in vain", waited)
		}
	})
}

func TestCancelledCallersLeaveNoSlotBehind(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		p := pace.New(pace.Off, c)
		var held []*pace.Grant
		for range 90 {
			grant, err := p.Acquire(t.Context(), pace.Read)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, grant)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := p.Acquire(ctx, pace.Read); !errors.Is(err, fault.Canceled) && fault.KindOf(err) != fault.Canceled {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		if _, err := p.Acquire(ctx, pace.Read); fault.KindOf(err) != fault.Canceled {
			t.Errorf("with an ended context: %v", err)
		}
		for _, grant := range held {
			grant.Done()
		}
		for range 90 {
			if _, err := p.Acquire(t.Context(), pace.Read); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestACallerCancelledInTheMomentOfItsTurnLeavesItsSlot(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		p := pace.New(pace.Polite, c)
		held, err := p.Acquire(t.Context(), pace.Write)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _, err = p.Acquire(ctx, pace.Write) })
		synctest.Wait()
		held.Done() // its turn
		cancel()    // before it can take it
		wg.Wait()
		if fault.KindOf(err) != fault.Canceled {
			t.Fatalf("got %v", err)
		}
		next, err := p.Acquire(t.Context(), pace.Write)
		if err != nil {
			t.Fatal(err)
		}
		next.Done()
	})
}

func TestAScaledClockPacesInItsOwnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, p := &server{}, pace.New(pace.Fast, clock.Scaled(10))
		took := s.writeAll(p, 300, 0)
		if took < 6*time.Second || took > 7*time.Second {
			t.Errorf("a minute at ten times the speed took %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		if _, err := p.Acquire(ctx, pace.Write); err != nil {
			t.Errorf("70 seconds on its clock were not enough: %v", err)
		}
	})
}
