package pace_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
)

// stub is a budget that answers as its function says.
type stub struct {
	mu    sync.Mutex
	draws []pace.Want
	draw  func(ctx context.Context, n int, want pace.Want) (pace.Chunk, error)
}

func (s *stub) Draw(ctx context.Context, want pace.Want) (pace.Chunk, error) {
	s.mu.Lock()
	s.draws = append(s.draws, want)
	n := len(s.draws)
	s.mu.Unlock()
	return s.draw(ctx, n, want)
}
func (s *stub) Note(pace.Quota)                                          {}
func (s *stub) Quota(context.Context) (pace.Quota, bool, error)          { return pace.Quota{}, false, nil }
func (s *stub) Reserve(context.Context, int, func() int) (func(), error) { return func() {}, nil }

// generous gives all that is wanted, for five seconds.
func generous(_ context.Context, _ int, want pace.Want) (pace.Chunk, error) {
	now := time.Now()
	return pace.Chunk{Points: want.Points, Until: now.Add(5 * time.Second), WritesFrom: now, WritesUntil: now.Add(6 * time.Second)}, nil
}

func TestAShareOfWhatMayBeInFlight(t *testing.T) {
	t.Parallel()
	for name, budget := range map[string]pace.Budget{"with a budget": &stub{draw: generous}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, c clock.Clock) {
				s, p := &server{}, pace.NewShared(pace.Off, c, budget, 3)
				s.writeAll(p, 100, time.Second)
				if s.maxBusy != 30 {
					t.Errorf("%d requests in flight, want a third of 90", s.maxBusy)
				}
			})
		})
	}
}

func TestADrawIsForAllWhoWaitAndMadeByOne(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		b := &stub{draw: func(ctx context.Context, n int, want pace.Want) (pace.Chunk, error) {
			time.Sleep(time.Second)
			return generous(ctx, n, want)
		}}
		s, p := &server{}, pace.NewShared(pace.Fast, c, b, 3)
		took := s.writeAll(p, 20, 0)
		if len(b.draws) > 2 || took > 3*time.Second { // the first, and one for those who came meanwhile
			t.Errorf("%d draws in %s", len(b.draws), took)
		}
		// What was drawn, spent and is left is told with the next draw, and void after its time.
		time.Sleep(10 * time.Second)
		s.writeAll(p, 1, 0)
		spent := 0
		last := b.draws[len(b.draws)-1]
		for _, x := range last.Spent {
			spent += x.Points
		}
		if spent != 100 || last.InFlight != 0 || last.Points < last.Least || last.Limit != 855 {
			t.Errorf("told %d points spent, asked for %+v", spent, last)
		}
	})
}

func TestWithoutItsBudgetAPacerAdmitsNobody(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		away := true
		b := &stub{draw: func(ctx context.Context, n int, want pace.Want) (pace.Chunk, error) {
			time.Sleep(time.Second)
			if away {
				return pace.Chunk{}, fault.Wrap(fault.Unavailable, "store", nil)
			}
			return generous(ctx, n, want)
		}}
		p := pace.NewShared(pace.Polite, c, b, 3)
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				if _, err := p.Acquire(t.Context(), pace.Write); !errors.Is(err, fault.Unavailable) {
					t.Errorf("got %v", err)
				}
			})
		}
		start := time.Now()
		wg.Wait()
		if time.Since(start) > 2*time.Second {
			t.Errorf("it took %s to turn them all away", time.Since(start))
		}
		if err := p.Tell(t.Context()); !errors.Is(err, fault.Unavailable) {
			t.Errorf("Tell: %v", err)
		}
		away = false
		if _, err := p.Acquire(t.Context(), pace.Write); err != nil {
			t.Error(err)
		}
	})
}

func TestABudgetThatGivesNothingIsNotAskedWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, chunk := range map[string]pace.Chunk{"nothing": {}, "too late": {Points: 100}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, c clock.Clock) {
				b := &stub{draw: func(context.Context, int, pace.Want) (pace.Chunk, error) { return chunk, nil }}
				p := pace.NewShared(pace.Fast, c, b, 3)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := p.Acquire(ctx, pace.Write)
				if !errors.Is(err, fault.RateLimitExhausted) || len(b.draws) > 101 {
					t.Errorf("%v after %d draws", err, len(b.draws))
				}
			})
		})
	}
}

func TestAPanicInABudgetLeavesNobodyWaiting(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		b := &stub{draw: func(ctx context.Context, n int, want pace.Want) (pace.Chunk, error) {
			time.Sleep(time.Second)
			if n == 1 {
				panic("a defect")
			}
			return generous(ctx, n, want)
		}}
		p := pace.NewShared(pace.Fast, c, b, 3)
		var wg sync.WaitGroup
		wg.Go(func() {
			defer func() { _ = recover() }()
			_, _ = p.Acquire(t.Context(), pace.Write)
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := p.Acquire(t.Context(), pace.Write); fault.KindOf(err) != fault.Internal {
				t.Errorf("who waited: %v", err)
			}
		})
		wg.Wait()
		if _, err := p.Acquire(t.Context(), pace.Write); err != nil {
			t.Error(err)
		}
	})
}

// TestARefusalIsToldOnceAndLearnedFromTheOthers holds what a pacer tells of a
// refusal, and that it takes in what the others met.
func TestARefusalIsToldOnceAndLearnedFromTheOthers(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, c clock.Clock) {
		all := pace.Brake{}
		b := &stub{draw: func(ctx context.Context, n int, want pace.Want) (pace.Chunk, error) {
			chunk, err := generous(ctx, n, want)
			if want.Learned != nil {
				all = all.Merge(*want.Learned)
			}
			chunk.Learned = all
			chunk.Others = pace.Spent{At: time.Now(), Points: 200, Writes: 40}
			return chunk, err
		}}
		p := pace.NewShared(pace.Fast, c, b, 3)
		grant, err := p.Acquire(t.Context(), pace.Write)
		if err != nil {
			t.Fatal(err)
		}
		grant.Refused(0, time.Time{})
		for range 2 {
			if err := p.Tell(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if told := b.draws[1].Learned; told == nil || told.Refusals != 1 || told.Points != 190 || b.draws[2].Learned != nil {
			t.Errorf("told %+v, then %+v: want once, with what the others were served", told, b.draws[2].Learned)
		}
		all = pace.Brake{Refusals: 7, StoppedUntil: time.Now().Add(10 * time.Minute), QuotaUntil: time.Now().Add(10 * time.Minute), Share: 0.25}
		if err := p.Tell(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Acquire(pace.ToldOfQuota(t.Context()), pace.Read); !errors.Is(err, fault.RateLimitExhausted) {
			t.Errorf("who wants to be told of the quota that another found spent: %v", err)
		}
		start := time.Now()
		if _, err := p.Acquire(t.Context(), pace.Write); err != nil || time.Since(start) != 10*time.Minute {
			t.Errorf("went on after %s: %v", time.Since(start), err)
		}
		if last := b.draws[len(b.draws)-1]; last.Refusals != 7 || last.Limit != 855/4 {
			t.Errorf("goes on at %d points a minute", last.Limit)
		}
	})
}

func TestMergeCountsARefusalOnce(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	one := pace.Brake{Refusals: 1, StoppedUntil: at(60), Share: 0.5, Unserved: 1}
	echo := pace.Brake{Refusals: 1, StoppedUntil: at(70), Share: 0.25, Unserved: 1}
	if got := one.Merge(echo); got != (pace.Brake{Refusals: 1, StoppedUntil: at(70), Share: 0.5, Unserved: 1}) {
		t.Errorf("an echo: %+v", got)
	}
	told := pace.Brake{Refusals: 1, StoppedUntil: at(60), Share: 0.5, Unserved: 1, Points: 400}
	if got := one.Merge(told); got.Points != 400 {
		t.Errorf("what was learned of the limit: %+v", got)
	}
	next := pace.Brake{Refusals: 2, StoppedUntil: at(50), QuotaUntil: at(50), Share: 0.25, Unserved: 2}
	for _, got := range []pace.Brake{one.Merge(next), next.Merge(one)} {
		if got != (pace.Brake{Refusals: 2, StoppedUntil: at(60), QuotaUntil: at(50), Share: 0.25, Unserved: 2}) {
			t.Errorf("another refusal: %+v", got)
		}
	}
}
