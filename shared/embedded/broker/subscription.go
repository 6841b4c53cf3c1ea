package broker

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
)

// Pub/Sub's own defaults. Source: google.pubsub.v1, Subscription, RetryPolicy
// and DeadLetterPolicy.
const (
	DefaultAckDeadline = 10 * time.Second
	DefaultMinBackoff  = 10 * time.Second
	DefaultMaxBackoff  = 600 * time.Second
	DefaultMaxAttempts = 5
)

// DefaultConcurrency is how many messages a subscription delivers at once.
const DefaultConcurrency = 8

// Subscription pushes what is published on a topic to one place. Zero values
// stand for the defaults.
type Subscription struct {
	Name  string // without its project
	Topic string

	// Endpoint is the URL that messages are pushed to. With a Handler its host
	// is not asked: the handler gets the requests, in this process.
	Endpoint string
	Handler  http.Handler
	// Token, if set, makes the bearer token of each push.
	Token func(ctx context.Context) (string, error)

	AckDeadline time.Duration // how long an answer may take
	MinBackoff  time.Duration // before the second attempt; doubled each time
	MaxBackoff  time.Duration

	// DeadLetter is the topic for messages whose attempts are used up. Without
	// one they are delivered for ever, and a push does not tell the attempt, as
	// in Pub/Sub.
	DeadLetter  string
	MaxAttempts int

	Concurrency int
}

func (s Subscription) check() error {
	if s.Name == "" || s.Topic == "" || s.Endpoint == "" {
		return fault.New(fault.ConfigInvalid, "a subscription has a name, a topic and an endpoint")
	}
	request, err := http.NewRequest(http.MethodPost, s.Endpoint, nil) //nolint:noctx // it is not sent
	if err != nil || request.URL.Host == "" {
		return fault.New(fault.ConfigInvalid, "the endpoint of the subscription %s is not a URL", s.Name)
	}
	if s.AckDeadline < 0 || s.MinBackoff < 0 || s.MaxBackoff < 0 || s.MaxAttempts < 0 || s.Concurrency < 0 {
		return fault.New(fault.ConfigInvalid, "the subscription %s has a limit below 0", s.Name)
	}
	return nil
}

// subscription is a Subscription at work. Its fields are under the broker's lock.
type subscription struct {
	Subscription
	broker *Broker
	client http.Client
	ready  []delivery // to be delivered now, in order
	busy   int        // deliveries under way
}

// delivery is one copy of a message on its way.
type delivery struct {
	message  event.Message
	attempts int // so far
}

func newSubscription(b *Broker, s Subscription) *subscription {
	orElse(&s.AckDeadline, DefaultAckDeadline)
	orElse(&s.MinBackoff, DefaultMinBackoff)
	orElse(&s.MaxBackoff, DefaultMaxBackoff)
	orElse(&s.MaxAttempts, DefaultMaxAttempts)
	orElse(&s.Concurrency, DefaultConcurrency)
	started := &subscription{Subscription: s, broker: b}
	started.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	started.client.Transport = &b.network
	if s.Handler != nil {
		started.client.Transport = inProcess{s.Handler, &b.running}
	}
	return started
}

func orElse[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

// pump starts deliveries while there is room. The lock is held.
func (s *subscription) pump() {
	for !s.broker.closed && s.busy < s.Concurrency && len(s.ready) > 0 {
		next := 0
		if s.broker.config.Chaos.Shuffle {
			next = s.broker.chance.IntN(len(s.ready))
		}
		d := s.ready[next]
		s.ready = slices.Delete(s.ready, next, next+1)
		s.busy++
		s.broker.running.Go(func() { s.deliver(d) })
	}
}

// deliver makes one attempt and does what follows from it.
func (s *subscription) deliver(d delivery) {
	d.attempts++
	acknowledged := s.push(d)
	b := s.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	s.busy--
	switch {
	case acknowledged:
		b.settle()
	case s.DeadLetter != "" && d.attempts >= s.MaxAttempts:
		b.enqueue(s.DeadLetter, s.dead(d))
		b.pump()
		b.settle()
	case !b.closed:
		b.running.Go(func() { s.again(d) })
	}
	s.pump()
}

// again puts a message back after its backoff.
func (s *subscription) again(d delivery) {
	b := s.broker
	if b.config.Clock.Sleep(b.waiting, s.backoff(d.attempts)) != nil {
		return // the broker is closed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.ready = append(s.ready, d)
	s.pump()
}

// backoff is how long a message waits after its nth attempt.
func (s Subscription) backoff(attempt int) time.Duration {
	wait := s.MinBackoff
	for range attempt - 1 {
		if wait >= s.MaxBackoff/2 {
			return s.MaxBackoff
		}
		wait *= 2
	}
	return min(wait, s.MaxBackoff)
}

// dead returns the message for the dead-letter topic, with the attributes that
// Pub/Sub adds. Source: cloud.google.com/pubsub/docs/handling-failures.
func (s *subscription) dead(d delivery) event.Message {
	m := event.Message{Data: d.message.Data, Attributes: map[string]string{
		"CloudPubSubDeadLetterSourceSubscription":        s.Name,
		"CloudPubSubDeadLetterSourceSubscriptionProject": s.broker.config.Project,
		"CloudPubSubDeadLetterSourceDeliveryCount":       strconv.Itoa(d.attempts),
		"CloudPubSubDeadLetterSourceTopicPublishTime":    d.message.PublishedAt.Format(time.RFC3339Nano),
	}}
	for name, value := range d.message.Attributes {
		m.Attributes[name] = value
	}
	return m
}

// push makes one attempt and reports whether it was acknowledged in time.
func (s *subscription) push(d delivery) (acknowledged bool) {
	ctx, cancel := clock.WithTimeout(s.broker.pushing, s.broker.config.Clock, s.AckDeadline)
	defer cancel()
	err := fault.Contain(func() error { // of a token function's panic
		request, err := s.request(ctx, d)
		if err != nil {
			return err
		}
		answer, err := s.client.Do(request)
		if err != nil {
			return err
		}
		acknowledged = acknowledges[answer.StatusCode]
		return answer.Body.Close()
	})
	return acknowledged && err == nil
}

// acknowledges are the answers that acknowledge. 102, which does too, is never
// the last word of an HTTP answer.
// Source: cloud.google.com/pubsub/docs/push.
var acknowledges = map[int]bool{
	http.StatusOK: true, http.StatusCreated: true, http.StatusAccepted: true, http.StatusNoContent: true,
}
