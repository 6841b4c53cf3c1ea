package pace_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/pace"
)

// server counts as GitHub does: a request costs when it arrives. It refuses
// what is over its limits; what it refuses costs nothing.
type server struct {
	limits []limit
	quota  int // requests until reset, if set
	reset  time.Time
	tell   bool // refuse with Retry-After

	mu       sync.Mutex
	arrivals []arrival
	refused  []time.Time
	inFlight int
	maxBusy  int
}

type limit struct {
	span   time.Duration
	most   int
	points bool // count points, or else writes
	fixed  bool // windows that start at whole spans, or else sliding
}

type arrival struct {
	at   time.Time
	cost pace.Cost
}

// handle counts a request that arrives now. It returns how long to wait if it
// is refused.
func (s *server) handle(now time.Time, cost pace.Cost) (refused bool, retryAfter time.Duration, reset time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quota > 0 && now.Before(s.reset) && len(s.arrivals) >= s.quota {
		s.refused = append(s.refused, now)
		return true, 0, s.reset
	}
	for _, l := range s.limits {
		if l.count(s.arrivals, now)+l.weigh(cost) > l.most {
			s.refused = append(s.refused, now)
			if s.tell {
				return true, l.span, time.Time{}
			}
			return true, 0, time.Time{}
		}
	}
	s.arrivals = append(s.arrivals, arrival{now, cost})
	return false, 0, time.Time{}
}

func (l limit) weigh(cost pace.Cost) int {
	switch {
	case l.points:
		return int(cost)
	case cost == pace.Write:
		return 1
	}
	return 0
}

func (l limit) count(arrivals []arrival, now time.Time) int {
	from := now.Add(-l.span)
	if l.fixed {
		from = now.Truncate(l.span).Add(-1)
	}
	n := 0
	for _, a := range arrivals {
		if a.at.After(from) {
			n += l.weigh(a.cost)
		}
	}
	return n
}

func (s *server) busy(delta int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight += delta
	s.maxBusy = max(s.maxBusy, s.inFlight)
}

// episodes counts refusals, where those that follow within ten seconds belong together.
func (s *server) episodes() int {
	n := 0
	var last time.Time
	for _, at := range s.refused {
		if at.Sub(last) > 10*time.Second {
			n++
		}
		last = at
	}
	return n
}

// send acquires, lets the request travel and be answered, and gives the grant
// back. It repeats until it is served.
func (s *server) send(ctx context.Context, p *pace.Pacer, cost pace.Cost, there, back time.Duration) error {
	for {
		grant, err := p.Acquire(ctx, cost)
		if err != nil {
			return err
		}
		s.busy(1)
		time.Sleep(there)
		refused, retryAfter, reset := s.handle(time.Now(), cost)
		time.Sleep(back)
		s.busy(-1)
		if !refused {
			grant.Done()
			return nil
		}
		grant.Refused(retryAfter, reset)
	}
}

// writeAll sends n writes at once and returns how long they took.
func (s *server) writeAll(p *pace.Pacer, n int, roundTrip time.Duration) time.Duration {
	start := time.Now()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { _ = s.send(context.Background(), p, pace.Write, roundTrip/2, roundTrip/2) })
	}
	wg.Wait()
	return time.Since(start)
}

// bubble runs f on a clock of its own, which stands still while anybody works.
func bubble(t *testing.T, f func(t *testing.T, c clock.Clock)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, clock.Real()) })
}
