package pace

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
)

// Pacer admits the requests of one identity at the pace of its mode. Requests
// are admitted in the order in which they came; only while a write waits for
// what concerns writes alone, such as a second since the last one, do reads
// behind it pass. It keeps no goroutine and no ticker: the request at the head
// of the queue waits for its own time.
type Pacer struct {
	clock clock.Clock
	mode  Mode

	mu             sync.Mutex
	arrivals       uint64
	reads, writes  []*waiter // each in the order of arrival
	inFlight       int
	pendingPoints  int // of the requests in flight
	pendingWrites  int
	nextWrite      time.Time // the spacing between writes allows none before
	points         window
	minuteOfWrites window
	hourOfWrites   window
	brake          brake
	purse          purse
}

// New returns a pacer for one identity that has not spent anything yet.
func New(mode Mode, c clock.Clock) *Pacer {
	return &Pacer{
		clock: c, mode: mode,
		points: minuteWindow(), minuteOfWrites: minuteWindow(), hourOfWrites: hourWindow(),
	}
}

// waiter is a request that is not admitted yet.
type waiter struct {
	cost     Cost
	arrival  uint64
	deadline time.Time          // on the pacer's clock; zero if there is none
	tell     bool               // instead of waiting for the hourly quota
	wake     context.CancelFunc // ends its sleep; nil while it does not sleep
	grant    *Grant             // set when it is admitted
	err      error              // set when it is turned away
}

// rouse ends w's sleep, if it sleeps.
func (w *waiter) rouse() {
	if w != nil && w.wake != nil {
		w.wake()
		w.wake = nil
	}
}

// Grant is the right to send one request. It is given back with exactly one
// call of Done or Refused once the answer is read; calls after the first do
// nothing.
type Grant struct {
	pacer    *Pacer
	cost     Cost
	began    time.Time
	refusals int // before it was admitted
	over     bool
}

// Acquire waits until a request of this cost may be sent. It returns a
// [fault.Exhausted] with [fault.RateLimitExhausted] and a RetryAfter at once if
// the context's deadline comes before the request's turn can, or if the hourly
// quota is spent and the context is one of [ToldOfQuota], and the context's error
// if that is cancelled first. A pacer with a budget also returns the errors of
// [Budget].Draw.
func (p *Pacer) Acquire(ctx context.Context, cost Cost) (*Grant, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Annotate("pace.Acquire", err)
	}
	w := &waiter{cost: cost, tell: toldOfQuota(ctx)}
	p.enqueue(ctx, w)
	for {
		sleep, until, want, decided := p.turn(ctx, w)
		if decided { // and so changed by nobody any more
			return w.grant, w.err
		}
		if want != nil {
			_ = p.draw(ctx, *want) // an error was told to everybody who waits
		} else {
			p.sleep(sleep, until)
		}
		if ctx.Err() != nil {
			return p.leave(ctx, w)
		}
	}
}

// enqueue puts w at the end of its queue, or turns it away if its turn cannot
// come before the context's deadline.
func (p *Pacer) enqueue(ctx context.Context, w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	p.arrivals++
	w.arrival = p.arrivals
	if deadline, ok := ctx.Deadline(); ok {
		w.deadline = now.Add(clock.Until(p.clock, deadline))
	}
	queue := p.queue(w)
	*queue = append(*queue, w)
	if err := p.late(now, w); err != nil {
		p.remove(w)
		w.err = err
	}
}

// late returns an error if w need not wait any more: its turn cannot come before
// its deadline, or the hourly quota is spent and w wants to be told.
func (p *Pacer) late(now time.Time, w *waiter) error {
	if wait := p.brake.QuotaUntil.Sub(now); w.tell && wait > patience {
		return fault.New(fault.RateLimitExhausted, "GitHub's hourly quota is spent until %s", p.brake.QuotaUntil.UTC().Format(time.RFC3339)).
			WithRetryAfter(wait)
	}
	if at := p.earliest(now, w); !w.deadline.IsZero() && at.After(w.deadline) {
		return exhausted(at.Sub(now))
	}
	return nil
}

func (p *Pacer) queue(w *waiter) *[]*waiter {
	if w.cost == Write {
		return &p.writes
	}
	return &p.reads
}

func (p *Pacer) remove(w *waiter) {
	queue := p.queue(w)
	*queue = slices.DeleteFunc(*queue, func(other *waiter) bool { return other == w })
}

// turn admits whoever may start now, and reports whether w was admitted or
// turned away. If not, it returns what w is to draw from the budget, or the
// context that w is to sleep in and the time at which to look again: zero if
// only what another request does can bring its turn.
func (p *Pacer) turn(ctx context.Context, w *waiter) (sleep context.Context, until time.Time, want *Want, decided bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	p.admit(now)
	w.rouse() // releases the sleep before this one
	if w.grant != nil || w.err != nil {
		return nil, time.Time{}, nil, true
	}
	next := p.lookAgain(now, w)
	if next.draw {
		asked := p.begin(now, true)
		return nil, time.Time{}, &asked, false
	}
	sleep, w.wake = context.WithCancel(ctx)
	return sleep, next.at, nil, false
}

// lookAgain returns when w's own turn may have come, or zero if others must
// move first.
func (p *Pacer) lookAgain(now time.Time, w *waiter) verdict {
	first, second := p.heads()
	if w != first && w != second {
		return verdict{}
	}
	if w == second && !p.check(now, first).passable {
		return verdict{}
	}
	return p.check(now, w)
}

// sleep returns at the given time or when ctx ends.
func (p *Pacer) sleep(ctx context.Context, until time.Time) {
	if until.IsZero() {
		<-ctx.Done()
		return
	}
	_ = p.clock.Sleep(ctx, until.Sub(p.clock.Now())) // whatever ended it, the caller looks again
}

// leave takes w out of the queue because its context has ended.
func (p *Pacer) leave(ctx context.Context, w *waiter) (*Grant, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	wait := latest(p.earliest(now, w), p.purse.again).Sub(now)
	if w.grant != nil { // admitted at the same moment, and nothing was sent
		p.release(w.grant)
	}
	p.remove(w)
	w.rouse()
	p.moved(now)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, exhausted(wait)
	}
	return nil, fault.Annotate("pace.Acquire", ctx.Err())
}

func exhausted(wait time.Duration) *fault.Error {
	return fault.New(fault.RateLimitExhausted, "the pace that GitHub allows admits this request only after the time allowed for it").
		WithRetryAfter(max(wait, time.Second))
}

// moved admits whoever may start now that something changed, and rouses those
// at the heads of the queues, whose times may have changed.
func (p *Pacer) moved(now time.Time) {
	p.admit(now)
	p.rouseHeads()
}

func (p *Pacer) rouseHeads() {
	first, second := p.heads()
	first.rouse()
	second.rouse()
}

// admit starts, in order, every request that may start now.
func (p *Pacer) admit(now time.Time) {
	started := false
	for {
		first, second := p.heads()
		if first == nil {
			return
		}
		v := p.check(now, first)
		if !v.may && v.passable && second != nil {
			first = second
			v = p.check(now, first)
		}
		if !v.may {
			break
		}
		p.start(now, first)
		started = true
	}
	if started {
		p.rouseHeads()
	}
}

// heads returns the first of each queue, the one that came first first.
func (p *Pacer) heads() (first, second *waiter) {
	switch {
	case len(p.reads) == 0 && len(p.writes) == 0:
		return nil, nil
	case len(p.writes) == 0:
		return p.reads[0], nil
	case len(p.reads) == 0:
		return p.writes[0], nil
	}
	first, second = p.reads[0], p.writes[0]
	if second.arrival < first.arrival {
		first, second = second, first
	}
	return first, second
}

// verdict says whether a request may start now, and if not, whether a request
// of the other queue may pass it, whether it takes a draw from the budget, and
// else when to look again: zero if that depends on the end of a request in
// flight, or of a draw.
type verdict struct {
	may, passable, draw bool
	at                  time.Time
}

// check decides about w.
func (p *Pacer) check(now time.Time, w *waiter) verdict {
	l := p.limits(now, p.brake.rate(now))
	if now.Before(p.brake.StoppedUntil) {
		return verdict{at: p.brake.StoppedUntil}
	}
	if p.inFlight >= p.maxInFlight() {
		return verdict{}
	}
	if w.cost == Write {
		if l.serial && p.pendingWrites > 0 {
			return verdict{passable: true}
		}
		at := latest(p.nextWrite,
			p.minuteOfWrites.room(now, l.writes, 1, p.pendingWrites),
			p.hourOfWrites.room(now, l.hourly, 1, p.pendingWrites))
		if at.After(now) {
			return verdict{passable: true, at: at}
		}
	}
	if at := p.points.room(now, l.points, int(w.cost), p.pendingPoints); at.After(now) {
		return verdict{at: at}
	}
	return p.covered(now, w, l)
}

func (p *Pacer) start(now time.Time, w *waiter) {
	p.remove(w)
	p.inFlight++
	p.pendingPoints += int(w.cost)
	if p.purse.budget != nil {
		p.purse.points -= int(w.cost)
	}
	if w.cost == Write {
		p.pendingWrites++
		p.nextWrite = now.Add(p.limits(now, p.brake.rate(now)).spacing)
	}
	w.grant = &Grant{pacer: p, cost: w.cost, began: now, refusals: p.brake.Refusals}
	w.rouse()
}

// release takes a request out of flight, and reports whether this was the first time.
func (p *Pacer) release(g *Grant) bool {
	if g.over {
		return false
	}
	g.over = true
	p.inFlight--
	p.pendingPoints -= int(g.cost)
	if g.cost == Write {
		p.pendingWrites--
		p.purse.lastWrite = p.clock.Now().Sub(g.began)
	}
	return true
}

// Done tells that the request was answered, or failed, in another way than by
// a refusal.
func (g *Grant) Done() {
	p := g.pacer
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.release(g) {
		return
	}
	now := p.clock.Now()
	p.spend(now, g, true)
	p.purse.untold = p.brake.served(g.refusals, int(g.cost), g.writes()) || p.purse.untold
	p.moved(now)
}

// Refused tells that GitHub refused the request because of a rate limit. Nobody
// starts until retryAfter has passed or, where that is 0, until reset, which
// tells that the hourly quota is spent; where that is zero too, for a minute,
// and longer if that did not help. Times are of the pacer's clock. After that
// work goes on slower. Whoever waits and has a deadline before that, or wants to
// be told of a spent quota, is turned away. Other pacers that draw from the same
// budget learn of it by [Pacer.Tell].
func (g *Grant) Refused(retryAfter time.Duration, reset time.Time) {
	p := g.pacer
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.release(g) {
		return
	}
	now := p.clock.Now()
	quota := retryAfter <= 0 && !reset.IsZero()
	if quota {
		retryAfter = max(reset.Sub(now), time.Second)
		p.brake.QuotaUntil = latest(p.brake.QuotaUntil, now.Add(min(retryAfter, longestStop)))
	}
	if g.refusals == p.brake.Refusals {
		_, points := p.points.used(now)
		_, writes := p.minuteOfWrites.used(now)
		_, hourly := p.hourOfWrites.used(now)
		if others := p.purse.others; now.Sub(others.At) < minute {
			points += others.Points
			writes += others.Writes
		}
		p.brake.refused(now, max(retryAfter, 0), quota, points, writes, hourly)
	} else {
		p.brake.stop(now, retryAfter)
	}
	p.purse.untold = true
	p.spend(now, g, false)
	p.turnAway(now)
	p.moved(now)
}

func (g *Grant) writes() int {
	if g.cost == Write {
		return 1
	}
	return 0
}

func (p *Pacer) spend(now time.Time, g *Grant, served bool) {
	p.points.add(now, int(g.cost), served)
	if g.cost == Write {
		p.minuteOfWrites.add(now, 1, served)
		p.hourOfWrites.add(now, 1, served)
	}
}

// turnAway refuses those who need not wait any more.
func (p *Pacer) turnAway(now time.Time) {
	for _, w := range slices.Concat(p.reads, p.writes) {
		if err := p.late(now, w); err != nil {
			p.remove(w)
			w.err = err
			w.rouse()
		}
	}
}

// earliest returns a time before which w's turn cannot come, given who is
// before it: if GitHub refuses nothing more, and work goes on at the full rate.
func (p *Pacer) earliest(now time.Time, w *waiter) time.Time {
	l := p.limits(now, 1)
	points, writes := int(w.cost), 0
	for _, other := range p.reads {
		if other.arrival < w.arrival {
			points += int(other.cost)
		}
	}
	if w.cost == Write {
		for _, other := range p.writes {
			if other.arrival < w.arrival {
				points += int(other.cost)
				writes++
			}
		}
	}
	at := latest(now, p.brake.StoppedUntil, p.points.room(now, l.points, points, p.pendingPoints))
	if w.cost != Write {
		return at
	}
	first := latest(at, p.nextWrite)
	if l.spacing > 0 {
		first = first.Add(time.Duration(writes) * l.spacing)
	}
	return latest(first,
		p.minuteOfWrites.room(now, l.writes, writes+1, p.pendingWrites),
		p.hourOfWrites.room(now, l.hourly, writes+1, p.pendingWrites))
}

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}
