package pace

import (
	"context"
	"slices"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
)

const (
	// drawsAMinute is how many draws of all pacers together use up a minute's
	// points: none takes less, be there work for it or not, so that the document
	// behind a budget is not written more often.
	drawsAMinute = 50
	// reservedWrites is for how long a pacer reserves the right to write, where
	// writes are spaced: others that want to write wait that long.
	reservedWrites = 5 * time.Second
	// betweenDraws is how long a pacer waits at the least before it draws again,
	// whatever it was given.
	betweenDraws = 10 * time.Millisecond
	// unlimited is what is drawn where the mode sets no limit.
	unlimited = 1 << 20
)

// purse is what a pacer has drawn from its budget.
type purse struct {
	budget Budget // nil: there is none, and everything is the pacer's own
	share  int    // one of how many pacers it is

	drawing chan struct{} // closed when the draw in progress is over; nil if there is none
	drawn   time.Time     // when the last draw was over
	untold  bool          // a refusal taught something since the last draw

	points      int
	until       time.Time // the points are void from then on
	again       time.Time // no points are to be had before
	writesFrom  time.Time
	writesUntil time.Time
	lastWrite   time.Duration // took that long
	others      Spent
}

// NewShared returns a pacer that is one of share pacers of one identity, in
// processes of their own, which draw from one budget. It has a fixed share of
// the requests in flight, and of an hourly limit that was found out.
//
// Without a budget it is as [New] with that share.
func NewShared(mode Mode, c clock.Clock, budget Budget, share int) *Pacer {
	p := New(mode, c)
	p.purse.budget, p.purse.share = budget, max(1, share)
	return p
}

// limits returns what may be spent at a share of the rate.
func (p *Pacer) limits(now time.Time, rate float64) limits {
	l := p.brake.limits(p.mode.limits(), now, rate)
	if l.hourly > 0 && p.purse.share > 1 {
		l.hourly = max(1, l.hourly/p.purse.share)
	}
	return l
}

func (p *Pacer) maxInFlight() int { return max(1, MaxInFlight/max(1, p.purse.share)) }

// covered decides by what was drawn about a request that all else admits.
func (p *Pacer) covered(now time.Time, w *waiter, l limits) verdict {
	if p.purse.budget == nil {
		return verdict{may: true}
	}
	if now.Before(p.purse.again) { // nothing was to be had
		return verdict{at: p.purse.again}
	}
	draw := verdict{draw: p.purse.drawing == nil}
	if next := p.purse.drawn.Add(betweenDraws); draw.draw && now.Before(next) && !p.purse.drawn.After(now) {
		draw = verdict{at: next}
	}
	if w.cost == Write && l.spacing > 0 {
		if now.Before(p.purse.writesFrom) {
			return verdict{passable: true, at: p.purse.writesFrom}
		}
		if !p.mayWrite(now, l) {
			draw.passable = true
			return draw
		}
	}
	if p.purse.points >= int(w.cost) && before(now, p.purse.until) {
		return verdict{may: true}
	}
	return draw
}

// mayWrite reports whether a write that starts now is over before others may
// write, if it takes as long as the last one. A write that suddenly takes
// longer may meet the first of another pacer.
func (p *Pacer) mayWrite(now time.Time, l limits) bool {
	takes := l.spacing
	if l.serial {
		takes = max(takes, min(p.purse.lastWrite, reservedWrites/2))
	}
	return before(now.Add(takes-1), p.purse.writesUntil)
}

// before is Time.Before by both clocks: the monotonic one, by which Go compares,
// may stand still while a machine sleeps; the wall clock may be set back.
func before(now, until time.Time) bool {
	return now.Before(until) && now.Round(0).Before(until.Round(0))
}

// begin prepares a draw: until it is over nothing is spent of what was drawn.
// It asks for what the queues want, or for nothing.
func (p *Pacer) begin(now time.Time, ask bool) Want {
	l := p.limits(now, p.brake.rate(now))
	want := Want{
		Spent: p.spent(now), InFlight: p.pendingPoints, NextWrite: p.nextWrite,
		Refusals: p.brake.Refusals, Limit: l.points, Spacing: l.spacing,
	}
	writes := len(p.writes)
	if l.spacing > 0 {
		writes = min(writes, max(1, int(reservedWrites/l.spacing)))
		reserved := now.Before(p.purse.writesFrom) || p.mayWrite(now, l)
		// A write in flight keeps the others out as long as it was expected to take.
		want.Keep = p.pendingWrites > 0 || reserved && len(p.writes) > 0
		if ask && !reserved {
			want.Writes = writes
		}
	}
	if need := len(p.reads)*int(Read) + writes*int(Write); ask && need > 0 {
		want.Points, want.Least = unlimited, unlimited
		if l.points > 0 {
			want.Least = max(int(Write), l.points/drawsAMinute)
			want.Points = max(want.Least, min(need, l.points/p.purse.share))
		}
	}
	if p.purse.untold {
		learned := p.brake.Brake
		want.Learned, p.purse.untold = &learned, false
	}
	if !want.Keep {
		p.purse.writesFrom, p.purse.writesUntil = time.Time{}, time.Time{}
	}
	p.purse.points = 0
	p.purse.drawing = make(chan struct{})
	return want
}

// spent lists what is still in the log of the last minute.
func (p *Pacer) spent(now time.Time) []Spent {
	p.points.used(now)
	p.minuteOfWrites.used(now)
	list := make([]Spent, 0, len(p.points.spends))
	writes := p.minuteOfWrites.spends
	for _, s := range p.points.spends {
		one := Spent{At: s.at, Points: s.all}
		for len(writes) > 0 && !writes[0].at.After(s.at) {
			one.Writes += writes[0].all
			writes = writes[1:]
		}
		list = append(list, one)
	}
	return list
}

// draw asks the budget. Of the waiters, the one that draws is at the head of
// its queue; it holds no lock meanwhile.
func (p *Pacer) draw(ctx context.Context, want Want) (err error) {
	var chunk Chunk
	err = fault.Wrap(fault.Internal, "pace: draw", nil)
	defer func() { p.end(ctx, want, chunk, err) }() // also if the budget panics: nobody must wait for ever
	chunk, err = p.purse.budget.Draw(ctx, want)
	return err
}

// end takes in what came of a draw. One that failed turns away everybody who
// waits: without the budget nobody knows what may be sent.
func (p *Pacer) end(ctx context.Context, want Want, chunk Chunk, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	close(p.purse.drawing)
	p.purse.drawing, p.purse.drawn = nil, now
	switch {
	case err == nil:
		p.fill(now, want, chunk)
	case want.Learned != nil:
		p.purse.untold = true
	}
	if err != nil && ctx.Err() == nil {
		for _, w := range slices.Concat(p.reads, p.writes) {
			p.remove(w)
			w.err = fault.Annotate("pace.Acquire", err)
			w.rouse()
		}
	}
	p.moved(now)
}

func (p *Pacer) fill(now time.Time, want Want, chunk Chunk) {
	p.purse.points, p.purse.until, p.purse.again = chunk.Points, chunk.Until, chunk.Again
	if want.Writes > 0 {
		p.purse.writesFrom, p.purse.writesUntil = chunk.WritesFrom, chunk.WritesUntil
	}
	p.purse.others = chunk.Others
	if p.brake.adopt(chunk.Learned) {
		p.turnAway(now)
	}
}

// Tell tells the budget at once what it was not told yet, and gives back what
// is left: after a refusal, so that the others stop as well, and when there is
// no more work for a while. Errors are those of [Budget]; what could not be
// told is told with the next draw. Without a budget it does nothing.
func (p *Pacer) Tell(ctx context.Context) error {
	if p.purse.budget == nil {
		return nil
	}
	for {
		want, drawing := p.tell()
		if drawing == nil {
			return fault.Annotate("pace.Tell", p.draw(ctx, want))
		}
		select {
		case <-drawing:
		case <-ctx.Done():
			return fault.Annotate("pace.Tell", ctx.Err())
		}
	}
}

func (p *Pacer) tell() (Want, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.purse.drawing != nil {
		return Want{}, p.purse.drawing
	}
	return p.begin(p.clock.Now(), false), nil
}
