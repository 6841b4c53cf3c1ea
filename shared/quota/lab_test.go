package quota_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/quota"
)

const identity = "owner-acme"

// open opens a store. In a bubble it must be called there.
func open(t testing.TB) docstore.Store {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// bubble runs f on a clock of its own, which stands still while anybody works.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// rough is a store that takes its time, loses races, and is out of reach.
type rough struct {
	docstore.Store
	takes     time.Duration // each call, at the most
	conflicts int           // of a hundred commits, so many meet another
	away      bool
	forgets   bool // commits take effect, but no answer comes
}

func (r *rough) travel(ctx context.Context) error {
	if r.takes > 0 {
		if err := clock.Real().Sleep(ctx, time.Duration(rand.Int64N(int64(r.takes)))); err != nil {
			return err
		}
	}
	if r.away {
		return fault.Wrap(fault.Unavailable, "store", nil)
	}
	return nil
}

func (r *rough) Get(ctx context.Context, key docstore.Key) (docstore.Doc, error) {
	if err := r.travel(ctx); err != nil {
		return docstore.Doc{}, err
	}
	doc, err := r.Store.Get(ctx, key)
	if err == nil {
		err = r.travel(ctx)
	}
	return doc, err
}

func (r *rough) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	if err := r.travel(ctx); err != nil {
		return time.Time{}, err
	}
	if rand.IntN(100) < r.conflicts {
		return time.Time{}, fault.Wrap(fault.Conflict, "store", nil)
	}
	at, err := r.Store.Commit(ctx, writes...)
	if err == nil && r.forgets {
		return time.Time{}, fault.Wrap(fault.Unavailable, "store", nil)
	}
	if err == nil {
		err = r.travel(ctx)
	}
	return at, err
}

// apart is a clock that is off by so much.
type apart struct {
	clock.Clock
	by time.Duration
}

func (c apart) Now() time.Time { return c.Clock.Now().Add(c.by) }

// hub is a GitHub that is strict: it refuses whatever is beyond a limit, and
// writes down why.
type hub struct {
	points   int           // in any minute
	spacing  time.Duration // between the starts of two writes
	oneWrite bool          // at a time

	mu       sync.Mutex
	arrivals []arrival // all
	starts   []time.Time
	busy     int
	writing  int
	maxBusy  int
	broken   []string
	refuse   int // so many are refused whatever they are
	refused  []time.Time
}

type arrival struct {
	at   time.Time
	cost pace.Cost
}

func (h *hub) start(cost pace.Cost) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.busy++
	h.maxBusy = max(h.maxBusy, h.busy)
	if h.busy > pace.MaxInFlight {
		h.broken = append(h.broken, fmt.Sprintf("%d in flight", h.busy))
	}
	if cost == pace.Write {
		h.writing++
		if h.oneWrite && h.writing > 1 {
			h.broken = append(h.broken, fmt.Sprintf("%d writes at a time", h.writing))
		}
		if n := len(h.starts); n > 0 && now.Sub(h.starts[n-1]) < h.spacing {
			h.broken = append(h.broken, fmt.Sprintf("two writes within %s", now.Sub(h.starts[n-1])))
		}
		h.starts = append(h.starts, now)
	}
}

// arrive counts a request, and reports whether it is refused.
func (h *hub) arrive(cost pace.Cost) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if h.refuse > 0 {
		h.refuse--
		h.refused = append(h.refused, now)
		return true
	}
	h.arrivals = append(h.arrivals, arrival{now, cost})
	if n := h.sum(now, time.Minute); h.points > 0 && n > h.points {
		h.broken = append(h.broken, fmt.Sprintf("%d points in a minute", n))
	}
	return false
}

// within returns the points of the span before now.
func (h *hub) within(now time.Time, span time.Duration) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sum(now, span)
}

func (h *hub) sum(now time.Time, span time.Duration) int {
	n := 0
	for i := len(h.arrivals) - 1; i >= 0 && h.arrivals[i].at.After(now.Add(-span)); i-- {
		n += int(h.arrivals[i].cost)
	}
	return n
}

func (h *hub) end(cost pace.Cost) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy--
	if cost == pace.Write {
		h.writing--
	}
}

func (h *hub) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.broken) > 0 {
		t.Errorf("%d limits broken, the first by %s", len(h.broken), h.broken[0])
	}
}

// worker is one process.
type worker struct {
	*pace.Pacer
	budget *quota.Budget
	hub    *hub
}

// hire starts a worker, one of three.
func hire(mode pace.Mode, store docstore.Store, clk clock.Clock, h *hub) worker {
	b := quota.New(store, clk, identity)
	return worker{pace.NewShared(mode, clk, b, 3), b, h}
}

// send sends one request, again if it is refused.
func (w worker) send(ctx context.Context, cost pace.Cost, there, back time.Duration) error {
	for {
		grant, err := w.Acquire(ctx, cost)
		if err != nil {
			return err
		}
		w.hub.start(cost)
		time.Sleep(there)
		refused := w.hub.arrive(cost)
		time.Sleep(back)
		w.hub.end(cost)
		if !refused {
			grant.Done()
			return nil
		}
		grant.Refused(0, time.Time{})
		_ = w.Tell(context.WithoutCancel(ctx))
	}
}

// toil keeps so many requests waiting until ctx ends.
func (w worker) toil(ctx context.Context, wg *sync.WaitGroup, many int, roundTrip time.Duration, cost func() pace.Cost) {
	for range many {
		wg.Go(func() {
			for ctx.Err() == nil {
				there, back := rand.Int64N(int64(roundTrip/2)), rand.Int64N(int64(roundTrip/2))
				if err := w.send(ctx, cost(), time.Duration(there), time.Duration(back)); err != nil {
					time.Sleep(time.Second) // a store that was too slow
				}
			}
		})
	}
}

func writes() pace.Cost { return pace.Write }

func mixed() pace.Cost {
	if rand.IntN(3) == 0 {
		return pace.Read
	}
	return pace.Write
}
