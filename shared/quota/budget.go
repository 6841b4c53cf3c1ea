package quota

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	randv2 "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
)

// Budget is one worker's access to the budget of one identity. It is safe for
// concurrent use.
type Budget struct {
	store    docstore.Store
	clock    clock.Clock
	identity string
	worker   string
	turn     chan struct{} // held by who reads and writes the document

	mu           sync.Mutex
	noted        pace.Quota
	reservations map[*reservation]bool
}

var _ pace.Budget = (*Budget)(nil)

// reservation is part of the hourly quota that was set aside for one run.
type reservation struct {
	requests int
	used     func() int
}

// New returns a new worker's access to the budget of the identity, which names
// the document: letters, digits and hyphens. It asks nothing of the store.
func New(store docstore.Store, clk clock.Clock, identity string) *Budget {
	return &Budget{
		store: store, clock: clk, identity: identity,
		worker: strings.ToLower(rand.Text()[:12]), turn: make(chan struct{}, 1),
		reservations: map[*reservation]bool{},
	}
}

// seen is a document as it was read. The read was sent at before and answered
// at after, both on our clock; the rest is in the store's time.
type seen struct {
	doc           storedQuota
	now           time.Time
	before, after time.Time
}

// told returns in the store's time when something happened here; not before it did.
func (s seen) told(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return s.now.Add(at.Sub(s.before) + grain).Round(0)
}

// from returns on our clock when something begins; not before it does.
func (s seen) from(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return s.after.Add(at.Sub(s.now))
}

// until returns on our clock when something ends; not after it does.
func (s seen) until(at time.Time) time.Time { return s.before.Add(at.Sub(s.now) - grain) }

// slow is by how much what is reserved must be longer, since it takes a commit
// until it can be used.
func (s seen) slow() time.Duration { return 2 * s.after.Sub(s.before) }

// Draw implements [pace.Budget].
func (b *Budget) Draw(ctx context.Context, want pace.Want) (pace.Chunk, error) {
	var chunk pace.Chunk
	err := b.change(ctx, func(s *seen) (bool, error) {
		var write bool
		chunk, write = b.draw(s, want)
		return write, nil
	})
	return chunk, fault.Annotate("quota.Draw "+b.identity, err)
}

// draw makes a draw in the document as it was read, and reports whether that
// must be written.
func (b *Budget) draw(s *seen, want pace.Want) (pace.Chunk, bool) {
	before := s.doc.Workers[b.worker]
	write := want.Learned != nil || want.Points == 0
	if want.Learned != nil {
		learned := *want.Learned
		learned.StoppedUntil, learned.QuotaUntil = s.told(learned.StoppedUntil), s.told(learned.QuotaUntil)
		s.doc.Brake = storeBrake(s.doc.Brake.brake().Merge(learned))
	}
	chunk := b.chunk(s)
	mine := storedWorker{ToldAt: s.now, Held: int64(want.InFlight), HeldUntil: s.now.Add(Travel)}
	mine.spend(s.now, s.toldAll(want.Spent))
	b.reserve(s, &mine, 0)
	s.doc.Workers[b.worker] = mine
	if s.doc.Writer == b.worker && !want.Keep {
		s.doc.WritesUntil = earliest(s.doc.WritesUntil, latest(s.now, s.told(want.NextWrite), s.doc.WritesFrom))
	}
	stopped := s.doc.Brake.StoppedUntil
	switch {
	case want.Points == 0 || int(s.doc.Brake.Refusals) > want.Refusals:
		return chunk, write
	case stopped.After(s.now):
		chunk.Again = s.from(stopped)
		return chunk, write
	}
	if want.Writes > 0 {
		from := latest(s.now, s.doc.WritesUntil, s.told(want.NextWrite))
		until := from.Add(time.Duration(want.Writes)*want.Spacing + slack + s.slow())
		s.doc.Writer, s.doc.WritesFrom, s.doc.WritesUntil = b.worker, from, until
		chunk.WritesFrom, chunk.WritesUntil = s.from(from), s.until(until)
		write = true
	}
	until := s.now.Add(ChunkLife + s.slow())
	if want.Limit == 0 {
		chunk.Points, chunk.Until = want.Points, s.until(until)
		return chunk, write || b.lapsing(s, before)
	}
	free := want.Limit - s.doc.used(s.now)
	if free < want.Least {
		room := s.doc.room(s.now, want.Limit, want.Least)
		chunk.Again = s.from(room).Add(time.Duration(randv2.Int64N(int64(settle / 2))))
		return chunk, write || b.lapsing(s, before)
	}
	chunk.Points, chunk.Until = min(want.Points, free), s.until(until)
	mine.Held += int64(chunk.Points)
	mine.HeldUntil = until.Add(Travel)
	s.doc.Workers[b.worker] = mine
	return chunk, true
}

// lapsing reports whether the worker's reservation lapses soon if nothing is written.
func (b *Budget) lapsing(s *seen, before storedWorker) bool {
	return s.doc.Workers[b.worker].Reserved > 0 && before.ReservedUntil.Before(s.now.Add(ReservationLife/2))
}

// chunk returns what a draw learns, whatever it gets.
func (b *Budget) chunk(s *seen) pace.Chunk {
	chunk := pace.Chunk{Learned: s.doc.Brake.brake(), Others: pace.Spent{At: s.after}}
	chunk.Learned.StoppedUntil, chunk.Learned.QuotaUntil = s.from(chunk.Learned.StoppedUntil), s.from(chunk.Learned.QuotaUntil)
	for name, w := range s.doc.Workers {
		if name != b.worker {
			points, writes := w.spent(s.now)
			chunk.Others.Points += points
			chunk.Others.Writes += writes
		}
	}
	return chunk
}

func (s seen) toldAll(spent []pace.Spent) []pace.Spent {
	list := slices.Clone(spent)
	for i := range list {
		list[i].At = s.told(list[i].At)
	}
	return list
}

// Note implements [pace.Budget].
func (b *Budget) Note(told pace.Quota) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noted = told
}

// Quota implements [pace.Budget].
func (b *Budget) Quota(ctx context.Context) (pace.Quota, bool, error) {
	var quota pace.Quota
	err := b.change(ctx, func(s *seen) (bool, error) {
		if quota = (pace.Quota{}); s.doc.known(s.now) {
			left := int(s.doc.Remaining) - s.doc.reserved(s.now)
			quota = pace.Quota{Limit: int(s.doc.Limit), Remaining: max(0, left), ResetAt: s.doc.ResetAt}
		}
		return false, nil
	})
	return quota, quota.Limit > 0, fault.Annotate("quota.Quota "+b.identity, err)
}

// Reserve implements [pace.Budget].
func (b *Budget) Reserve(ctx context.Context, requests int, used func() int) (release func(), err error) {
	r := &reservation{requests, used}
	err = b.changeAnd(ctx, func(s *seen) (bool, error) {
		mine := s.doc.Workers[b.worker]
		b.reserve(s, &mine, 0)
		s.doc.Workers[b.worker] = mine
		if err := s.enough(requests); err != nil {
			return false, err
		}
		b.reserve(s, &mine, requests)
		s.doc.Workers[b.worker] = mine
		return true, nil
	}, func() { b.hold(r, true) })
	if err != nil {
		return nil, fault.Annotate("quota.Reserve "+b.identity, err)
	}
	return func() { b.hold(r, false) }, nil
}

func (b *Budget) hold(r *reservation, held bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if held {
		b.reservations[r] = true
	} else {
		delete(b.reservations, r)
	}
}

// reserve fills in what the worker's runs have reserved and not used, and more.
func (b *Budget) reserve(s *seen, mine *storedWorker, more int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for r := range b.reservations {
		more += max(0, r.requests-r.used())
	}
	mine.Reserved, mine.ReservedUntil = int64(more), time.Time{}
	if more > 0 {
		mine.ReservedUntil = s.now.Add(ReservationLife)
	}
}

// enough returns an error if fewer requests are left of the hourly quota, and
// not reserved.
func (s *seen) enough(requests int) error {
	if !s.doc.known(s.now) {
		return nil
	}
	remaining, reserved := int(s.doc.Remaining), s.doc.reserved(s.now)
	if requests <= remaining-reserved {
		return nil
	}
	wait := s.doc.ResetAt.Sub(s.now)
	if requests <= remaining { // and may be given back
		wait = min(wait, minute)
	}
	return fault.New(fault.RateLimitExhausted, "the plan needs %d requests; %d of %d are left this hour, and %d of them are reserved", requests, remaining, s.doc.Limit, reserved).
		WithRetryAfter(max(wait, time.Second))
}

// change reads the document, lets f change what was read, and writes it if f
// says so and nobody else wrote it meanwhile: else all again.
func (b *Budget) change(ctx context.Context, f func(*seen) (bool, error)) error {
	return b.changeAnd(ctx, f, func() {})
}

// changeAnd also does what is to be done before another change of this worker's
// begins.
func (b *Budget) changeAnd(ctx context.Context, f func(*seen) (bool, error), then func()) error {
	limited, cancel := clock.WithTimeout(ctx, b.clock, patience)
	defer cancel()
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-limited.Done():
		return unavailable(ctx, limited.Err())
	}
	for i := range tries {
		written, err := b.attempt(limited, f)
		switch {
		case errors.Is(err, fault.RateLimitExhausted):
			return err
		case err != nil:
			return unavailable(ctx, err)
		case written:
			then()
			return nil
		}
		wait := time.Duration(randv2.Int64N(int64(min(firstBackOff<<i, longestBackOff))))
		if err := b.clock.Sleep(limited, wait); err != nil {
			return unavailable(ctx, err)
		}
	}
	return unavailable(ctx, fault.Conflict)
}

// attempt reports whether f's change, if it made one, is written.
func (b *Budget) attempt(ctx context.Context, f func(*seen) (bool, error)) (bool, error) {
	s, condition, err := b.read(ctx)
	if errors.Is(err, fault.NotFound) { // others are creating it
		return false, nil
	}
	if err != nil {
		return false, err
	}
	write, err := f(&s)
	if err != nil || !write {
		return err == nil, err
	}
	maps.DeleteFunc(s.doc.Workers, func(_ string, w storedWorker) bool { return w.over(s.now) })
	put, err := collection.Put(b.identity, s.doc, condition)
	if err != nil {
		return false, err
	}
	_, err = b.store.Commit(ctx, put)
	if errors.Is(err, fault.Conflict) || errors.Is(err, fault.Exists) {
		return false, nil
	}
	return err == nil, err
}

// read reads the document, and puts in what GitHub told this worker since.
func (b *Budget) read(ctx context.Context) (seen, docstore.Precondition, error) {
	s := seen{before: b.clock.Now()}
	record, err := collection.Get(ctx, b.store, b.identity)
	if errors.Is(err, fault.NotFound) {
		// What is not there has no time of the store's: an empty document has.
		if err := b.create(ctx); err != nil {
			return s, docstore.Precondition{}, err
		}
		s.before = b.clock.Now()
		record, err = collection.Get(ctx, b.store, b.identity)
	}
	if err != nil {
		return s, docstore.Precondition{}, err
	}
	s.after = b.clock.Now()
	s.doc, s.now = record.Value, record.ReadTime
	if s.doc.Workers == nil {
		s.doc.Workers = map[string]storedWorker{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.doc.note(b.noted)
	return s, docstore.IfUnchanged(record.UpdateTime), nil
}

// create writes an empty document, if there is none.
func (b *Budget) create(ctx context.Context) error {
	put, err := collection.Put(b.identity, storedQuota{}, docstore.IfAbsent())
	if err != nil {
		return err
	}
	_, err = b.store.Commit(ctx, put)
	if errors.Is(err, fault.Exists) || errors.Is(err, fault.Conflict) {
		return nil
	}
	return err
}

// unavailable is the error where the budget could not be drawn from: the
// caller's own, if its context has ended.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch fault.KindOf(err) {
	case fault.Unavailable, fault.Deadline, fault.Canceled, fault.Conflict:
	default:
		return err // such as a document of a newer version
	}
	return fault.New(fault.Unreachable, "what the workers share of GitHub's limits cannot be told, so nothing is sent to GitHub").WithCause(err)
}

func latest(times ...time.Time) time.Time   { return slices.MaxFunc(times, time.Time.Compare) }
func earliest(times ...time.Time) time.Time { return slices.MinFunc(times, time.Time.Compare) }
