// Package broker is a Pub/Sub inside the process, for the local server and for
// tests: topics, and subscriptions that push.
//
// A push is what Pub/Sub's is: a POST with the same body and headers, a bearer
// token where the subscription has one, and the same answers that acknowledge.
// What is not acknowledged within the deadline is delivered again after an
// exponential backoff; after the last attempt the message goes to the
// dead-letter topic, with the attributes that Pub/Sub gives it. A message that
// waits to be delivered again delays no other.
// Sources: cloud.google.com/pubsub/docs/push, .../docs/handling-failures, and
// google.pubsub.v1 for the defaults.
//
// It is less than Pub/Sub where nothing of Sealpost's depends on it: there is no
// pulling, no ordering, no filter, and nothing is durable. Messages are in
// memory and gone with the process, which loses nothing, since a message is a
// nudge and what it is about is in the store.
//
// [Chaos] makes it as bad as Pub/Sub is allowed to be: it repeats, shuffles and
// loses messages. Its choices follow from a seed, and are the same as long as
// things happen in the same order.
package broker

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
)

// Config says what a broker has. The topics are all that there are.
type Config struct {
	Project string   // in the names of subscriptions; nothing else
	Topics  []string // without their project
	Clock   clock.Clock
	Chaos   Chaos
}

// Chaos is what the broker does to messages, for tests. The zero value does
// nothing.
type Chaos struct {
	Repeat  int     // further copies of each message that a subscription gets, with the same id
	Shuffle bool    // of the messages that are to be delivered, any may be next
	Lose    float64 // share of the deliveries, 0 to 1, that a subscription never gets
	Seed    uint64
}

// Broker is an [event.Publisher] that delivers what it is given. All methods
// may be called concurrently.
type Broker struct {
	config  Config
	pushing context.Context // ends when deliveries under way are given up
	giveUp  context.CancelFunc
	waiting context.Context // ends when nothing is delivered again
	stop    context.CancelFunc
	running sync.WaitGroup // pushes, and waits before the next
	network http.Transport // to endpoints that are not in this process

	mu            sync.Mutex
	chance        *rand.Rand
	subscriptions map[string]*subscription
	published     int
	open          int           // copies that are not settled: acknowledged, given up or dead
	idle          chan struct{} // closed as long as open is 0
	closed        bool
}

var _ event.Publisher = (*Broker)(nil)

// New returns a broker. Nothing runs until something is published. It must be
// closed.
func New(config Config) *Broker {
	b := &Broker{
		config: config, subscriptions: map[string]*subscription{}, idle: make(chan struct{}),
		chance: rand.New(rand.NewPCG(config.Chaos.Seed, 0)),
	}
	close(b.idle)
	b.pushing, b.giveUp = context.WithCancel(context.Background())
	b.waiting, b.stop = context.WithCancel(b.pushing)
	return b
}

// Subscribe adds a subscription, which gets what is published from then on. It
// returns a [fault.NotFound] for a topic that is not there, a [fault.Exists] for
// a name that is, and a [fault.ConfigInvalid] for a subscription that cannot
// work.
func (b *Broker) Subscribe(s Subscription) error {
	op := "broker.Subscribe " + s.Name
	if err := s.check(); err != nil {
		return fault.Annotate(op, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, topic := range []string{s.Topic, s.DeadLetter} {
		if topic != "" && !slices.Contains(b.config.Topics, topic) {
			return fault.Wrap(fault.NotFound, op+": topic "+topic, nil)
		}
	}
	if b.subscriptions[s.Name] != nil {
		return fault.Wrap(fault.Exists, op, nil)
	}
	b.subscriptions[s.Name] = newSubscription(b, s)
	return nil
}

// FullName returns the full name of a subscription, as it is in a push.
func (b *Broker) FullName(subscription string) string {
	return "projects/" + b.config.Project + "/subscriptions/" + subscription
}

// Publish implements [event.Publisher]: it returns when the messages are in the
// queues of the topic's subscriptions. On a topic without one they are lost, as
// they are in Pub/Sub. A message that [event.Message.Check] refuses is a
// [fault.Internal], and a closed broker is [fault.Unavailable].
func (b *Broker) Publish(ctx context.Context, topic string, messages ...event.Message) error {
	op := "broker.Publish " + topic
	for _, m := range messages {
		if err := m.Check(); err != nil {
			return fault.Annotate(op, err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(messages) == 0:
		return nil
	case ctx.Err() != nil:
		return fault.Wrap(fault.KindOf(ctx.Err()), op, nil)
	case b.closed:
		return fault.Wrap(fault.Unavailable, op, nil)
	case !slices.Contains(b.config.Topics, topic):
		return fault.Wrap(fault.NotFound, op, nil)
	}
	for _, m := range messages {
		b.enqueue(topic, m)
	}
	b.pump() //nolint:contextcheck // a delivery outlives the publishing, as it does in Pub/Sub
	return nil
}

// pump starts what can be delivered. The lock is held.
func (b *Broker) pump() {
	for _, name := range slices.Sorted(maps.Keys(b.subscriptions)) {
		b.subscriptions[name].pump()
	}
}

// enqueue gives each subscription its copies. The lock is held.
func (b *Broker) enqueue(topic string, m event.Message) {
	b.published++
	m.ID, m.PublishedAt = strconv.Itoa(b.published), b.config.Clock.Now()
	m.Data, m.Attributes = slices.Clone(m.Data), maps.Clone(m.Attributes)
	for _, name := range slices.Sorted(maps.Keys(b.subscriptions)) {
		s := b.subscriptions[name]
		if s.Topic != topic {
			continue
		}
		for range 1 + b.config.Chaos.Repeat {
			if b.chance.Float64() < b.config.Chaos.Lose {
				continue
			}
			b.begin()
			s.ready = append(s.ready, delivery{message: m})
		}
	}
}

// begin counts a copy that is to be delivered. The lock is held.
func (b *Broker) begin() {
	if b.open == 0 {
		b.idle = make(chan struct{})
	}
	b.open++
}

// settle counts a copy that is delivered, dead or given up. The lock is held.
func (b *Broker) settle() {
	b.open--
	if b.open == 0 {
		close(b.idle)
	}
}

// Idle returns when nothing is queued, under way or waiting to be delivered
// again, with the context's error if that ends first, or with a
// [fault.Unavailable] if the broker is closed before.
func (b *Broker) Idle(ctx context.Context) error {
	b.mu.Lock()
	idle := b.idle
	b.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-b.waiting.Done():
		return fault.Wrap(fault.Unavailable, "broker.Idle", nil)
	case <-ctx.Done():
		return fault.Wrap(fault.KindOf(ctx.Err()), "broker.Idle", nil)
	}
}

// Close stops the broker: nothing more is published or delivered, and what is
// queued is lost. It waits for the deliveries under way; when the context ends
// first, it gives them up and returns its error.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	defer b.network.CloseIdleConnections()
	defer b.giveUp()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.running.Wait()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fault.Wrap(fault.KindOf(ctx.Err()), "broker.Close", nil)
	}
}
