package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/broker"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/event/eventtest"
	"github.com/sealpost/sealpost/shared/eventx"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// push is one request, as a handler sees it.
type push struct {
	Message struct {
		Data       []byte
		Attributes map[string]string
		MessageID  string    `json:"messageId"`
		Published  time.Time `json:"publishTime"`
	}
	Subscription    string
	DeliveryAttempt int

	header http.Header
	text   string
	after  time.Duration // since the endpoint was made
}

func (p push) String() string { return string(p.Message.Data) }

// endpoint keeps what is pushed to it and answers as it is told.
type endpoint struct {
	mu     sync.Mutex
	began  time.Time
	pushes []push
	answer func(push, http.ResponseWriter, *http.Request) // 204 if nil
}

func newEndpoint(answer func(push, http.ResponseWriter, *http.Request)) *endpoint {
	return &endpoint{began: time.Now(), answer: answer}
}

// failing answers 503 to the messages that say so.
func failing(text string) func(push, http.ResponseWriter, *http.Request) {
	return func(p push, w http.ResponseWriter, _ *http.Request) {
		if p.String() == text {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	p := push{header: r.Header.Clone(), text: string(text), after: time.Since(e.began)}
	if err != nil || json.Unmarshal(text, &p) != nil {
		panic("the body is not what a push has")
	}
	e.mu.Lock()
	e.pushes = append(e.pushes, p)
	e.mu.Unlock()
	if e.answer != nil {
		e.answer(p, w, r)
	}
}

func (e *endpoint) got() []push {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.pushes)
}

func (e *endpoint) texts() []string {
	var all []string
	for _, p := range e.got() {
		all = append(all, p.String())
	}
	return all
}

const topic = eventtest.Topic

// start returns a broker with the topics sync-requests and dead, which is closed
// with the test.
func start(t *testing.T, chaos broker.Chaos) *broker.Broker {
	t.Helper()
	b := broker.New(broker.Config{Project: "acme", Topics: []string{topic, "dead"}, Clock: clock.Real(), Chaos: chaos})
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

func subscribe(t *testing.T, b *broker.Broker, e http.Handler, s broker.Subscription) {
	t.Helper()
	if s.Name == "" {
		s.Name = "worker"
	}
	if s.Topic == "" {
		s.Topic = topic
	}
	if s.Endpoint == "" {
		s.Endpoint, s.Handler = "http://local/push/worker", e
	}
	check(t, b.Subscribe(s))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func messages(texts ...string) []event.Message {
	var all []event.Message
	for _, text := range texts {
		all = append(all, event.Message{Data: []byte(text)})
	}
	return all
}

func idle(t *testing.T, b *broker.Broker) {
	t.Helper()
	check(t, b.Idle(t.Context()))
}

func TestContract(t *testing.T) {
	t.Parallel()
	eventtest.Run(t, func(t *testing.T) eventtest.Bench {
		t.Helper()
		b, e := start(t, broker.Chaos{}), newEndpoint(nil)
		subscribe(t, b, e, broker.Subscription{})
		return eventtest.Bench{Publisher: b, Arrived: func(t *testing.T, least int) []event.Message {
			t.Helper()
			idle(t, b)
			var all []event.Message
			for _, p := range e.got() {
				all = append(all, event.Message{ID: p.Message.MessageID, PublishedAt: p.Message.Published, Data: p.Message.Data, Attributes: p.Message.Attributes})
			}
			if len(all) < least {
				t.Fatalf("%d messages arrived, want %d", len(all), least)
			}
			return all
		}}
	})
}

// TestAPushIsThatOfPubSub has the whole request, in the process and over the
// network.
func TestAPushIsThatOfPubSub(t *testing.T) {
	t.Parallel()
	e := newEndpoint(nil)
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	b := start(t, broker.Chaos{})
	token := func(context.Context) (string, error) { return "t0ken", nil }
	subscribe(t, b, e, broker.Subscription{Name: "near", Token: token, DeadLetter: "dead"})
	subscribe(t, b, nil, broker.Subscription{Name: "far", Endpoint: server.URL + "/push/worker", Token: token, DeadLetter: "dead"})
	check(t, b.Publish(t.Context(), topic, event.Message{Data: []byte("hi>?"), Attributes: map[string]string{"k": "v"}}))
	idle(t, b)
	pushes := e.got()
	if len(pushes) != 2 {
		t.Fatalf("%d pushes", len(pushes))
	}
	for _, p := range pushes {
		at := p.Message.Published.Format("2006-01-02T15:04:05.999Z07:00")
		want := `{"message":{"data":"aGk+Pw==","attributes":{"k":"v"},"messageId":"1","message_id":"1","publishTime":"` + at + `","publish_time":"` + at +
			`"},"subscription":"` + p.Subscription + `","deliveryAttempt":1}`
		if p.text != want || !slices.Contains([]string{b.FullName("near"), b.FullName("far")}, p.Subscription) {
			t.Errorf("body: %s", p.text)
		}
		if p.header.Get("Authorization") != "Bearer t0ken" || p.header.Get("Content-Type") != "application/json" || p.header.Get("User-Agent") != "CloudPubSub-Google" {
			t.Errorf("header: %v", p.header)
		}
	}
	if b.FullName("near") != "projects/acme/subscriptions/near" {
		t.Errorf("named %s", b.FullName("near"))
	}
}

// TestWhatIsNotAcknowledgedComesAgain follows a poison message through its
// attempts to the dead letters, and others past it.
func TestWhatIsNotAcknowledgedComesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, e, dead := start(t, broker.Chaos{}), newEndpoint(failing("poison")), newEndpoint(nil)
		subscribe(t, b, e, broker.Subscription{DeadLetter: "dead", MaxBackoff: time.Minute, Concurrency: 1, MaxAttempts: 6})
		subscribe(t, b, dead, broker.Subscription{Name: "grave", Topic: "dead"})
		poison := event.Message{Data: []byte("poison"), Attributes: map[string]string{"k": "v"}}
		check(t, b.Publish(t.Context(), topic, append([]event.Message{poison}, messages("a", "b")...)...))
		idle(t, b)

		var at []time.Duration
		for _, p := range e.got() {
			if p.String() != "poison" {
				if p.after != 0 {
					t.Errorf("%s waited %s", p, p.after)
				}
				continue
			}
			at = append(at, p.after/time.Second)
			if p.DeliveryAttempt != len(at) {
				t.Errorf("push %d is attempt %d", len(at), p.DeliveryAttempt)
			}
		}
		if !slices.Equal(at, []time.Duration{0, 10, 30, 70, 130, 190}) || len(e.got()) != 8 {
			t.Errorf("attempts after %d s, %d pushes", at, len(e.got()))
		}
		if buried := dead.got(); len(buried) != 1 || buried[0].String() != "poison" || buried[0].Message.MessageID == e.got()[0].Message.MessageID ||
			!maps.Equal(buried[0].Message.Attributes, map[string]string{
				"k": "v", "CloudPubSubDeadLetterSourceSubscription": "worker", "CloudPubSubDeadLetterSourceSubscriptionProject": "acme",
				"CloudPubSubDeadLetterSourceDeliveryCount": "6", "CloudPubSubDeadLetterSourceTopicPublishTime": e.began.UTC().Format(time.RFC3339Nano),
			}) {
			t.Errorf("dead letters: %+v", buried)
		}
	})
}

func TestWithoutDeadLettersItGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, e := start(t, broker.Chaos{}), newEndpoint(failing("poison"))
		subscribe(t, b, e, broker.Subscription{MinBackoff: time.Second, MaxBackoff: time.Second})
		check(t, b.Publish(t.Context(), topic, messages("poison")...))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		if err := b.Idle(ctx); !errors.Is(err, fault.Deadline) {
			t.Errorf("idle: %v", err)
		}
		if n := len(e.got()); n < 99 || e.got()[n-1].DeliveryAttempt != 0 {
			t.Errorf("%d pushes; the last: %+v", n, e.got()[n-1])
		}
	})
}

func TestAnswersThatAcknowledge(t *testing.T) {
	t.Parallel()
	for status := 200; status < 600; status++ {
		if http.StatusText(status) == "" {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			e := newEndpoint(func(p push, w http.ResponseWriter, _ *http.Request) {
				if p.DeliveryAttempt == 1 {
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(status)
				}
			})
			b := start(t, broker.Chaos{})
			subscribe(t, b, e, broker.Subscription{DeadLetter: "dead"})
			check(t, b.Publish(t.Context(), topic, messages("x")...))
			idle(t, b)
			want := 2
			if slices.Contains([]int{200, 201, 202, 204}, status) {
				want = 1
			}
			if n := len(e.got()); n != want {
				t.Errorf("%d: %d pushes, want %d", status, n, want)
			}
		})
	}
}

// TestAnswersThatDoNotCome are deliveries that fail in other ways than by a status.
func TestAnswersThatDoNotCome(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer func(push, http.ResponseWriter, *http.Request)
		token  func(context.Context) (string, error)
		again  time.Duration // when the second attempt comes
	}{
		"a panic": {answer: func(p push, _ http.ResponseWriter, _ *http.Request) {
			if p.DeliveryAttempt == 1 {
				panic("no")
			}
		}, again: 10 * time.Second},
		"it ends with the deadline": {answer: func(p push, _ http.ResponseWriter, r *http.Request) {
			if p.DeliveryAttempt == 1 {
				<-r.Context().Done()
			}
		}, again: 40 * time.Second},
		"it goes on after the deadline": {answer: func(p push, _ http.ResponseWriter, _ *http.Request) {
			if p.DeliveryAttempt == 1 {
				time.Sleep(time.Hour)
			}
		}, again: 40 * time.Second},
		"an answer that is cut off": {answer: func(p push, w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("{"))
			if p.DeliveryAttempt == 1 {
				_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
			}
		}, again: 10 * time.Second},
		"no token": {token: func() func(context.Context) (string, error) {
			calls := 0
			return func(context.Context) (string, error) {
				calls++
				switch calls {
				case 1:
					return "", errors.New("no")
				case 2:
					panic("no")
				}
				return "t", nil
			}
		}(), again: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, e := start(t, broker.Chaos{}), newEndpoint(test.answer)
				subscribe(t, b, e, broker.Subscription{DeadLetter: "dead", AckDeadline: 30 * time.Second, Token: test.token})
				check(t, b.Publish(t.Context(), topic, messages("x")...))
				idle(t, b)
				pushes := e.got()
				if last := pushes[len(pushes)-1]; last.after != test.again || (test.token == nil) != (len(pushes) == 2) {
					t.Errorf("%d pushes, the last after %s", len(pushes), last.after)
				}
			})
		})
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		e := newEndpoint(func(push, http.ResponseWriter, *http.Request) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
		})
		b := start(t, broker.Chaos{})
		subscribe(t, b, e, broker.Subscription{Concurrency: 3})
		began := time.Now()
		check(t, b.Publish(t.Context(), topic, messages("a", "b", "c", "d", "e", "f", "g")...))
		idle(t, b)
		if took := time.Since(began); most != 3 || took != 3*time.Second {
			t.Errorf("%d at once, %s for all", most, took)
		}
	})
}

func TestEachSubscriptionOfATopicGetsAll(t *testing.T) {
	t.Parallel()
	b, one, two, other := start(t, broker.Chaos{}), newEndpoint(nil), newEndpoint(nil), newEndpoint(nil)
	subscribe(t, b, one, broker.Subscription{Name: "one"})
	subscribe(t, b, two, broker.Subscription{Name: "two"})
	subscribe(t, b, other, broker.Subscription{Name: "other", Topic: "dead"})
	check(t, b.Publish(t.Context(), topic, messages("x")...))
	idle(t, b)
	if len(one.got()) != 1 || len(two.got()) != 1 || len(other.got()) != 0 {
		t.Errorf("%d, %d and %d pushes", len(one.got()), len(two.got()), len(other.got()))
	}
}

func TestChaos(t *testing.T) {
	t.Parallel()
	var texts []string
	for i := range 100 {
		texts = append(texts, fmt.Sprintf("%02d", i))
	}
	run := func(t *testing.T, chaos broker.Chaos) []string {
		t.Helper()
		b, e := start(t, chaos), newEndpoint(nil)
		subscribe(t, b, e, broker.Subscription{Concurrency: 1})
		check(t, b.Publish(t.Context(), topic, messages(texts...)...))
		idle(t, b)
		return e.texts()
	}
	if got := run(t, broker.Chaos{}); !slices.Equal(got, texts) {
		t.Errorf("without chaos: %v", got)
	}
	if got := run(t, broker.Chaos{Lose: 1}); len(got) != 0 {
		t.Errorf("all lost: %v", got)
	}
	if got := run(t, broker.Chaos{Repeat: 2}); len(got) != 300 || len(slices.Compact(got)) != 100 {
		t.Errorf("repeated: %d", len(got))
	}
	for name, chaos := range map[string]broker.Chaos{"shuffled": {Shuffle: true, Seed: 1}, "some lost": {Lose: 0.5, Seed: 1}} {
		got, again := run(t, chaos), run(t, chaos)
		chaos.Seed = 2
		if other := run(t, chaos); !slices.Equal(got, again) || slices.Equal(got, other) || slices.Equal(got, texts) {
			t.Errorf("%s: %v, %v, with another seed %v", name, got, again, other)
		}
		slices.Sort(got)
		if n := len(slices.Compact(got)); chaos.Shuffle && n != 100 || !chaos.Shuffle && (n < 25 || n > 75) {
			t.Errorf("%s: %d are left", name, n)
		}
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := start(t, broker.Chaos{})
		e := newEndpoint(func(p push, w http.ResponseWriter, r *http.Request) {
			switch p.String() {
			case "fails":
				w.WriteHeader(http.StatusServiceUnavailable)
			case "slow":
				select {
				case <-release:
				case <-r.Context().Done():
				}
			}
		})
		subscribe(t, b, e, broker.Subscription{Concurrency: 1, AckDeadline: time.Hour})
		check(t, b.Publish(t.Context(), topic, messages("fails", "slow", "queued")...))
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := b.Close(ctx); !errors.Is(err, fault.Deadline) || time.Since(began) != time.Minute {
			t.Errorf("a delivery that goes on: %v after %s", err, time.Since(began))
		}
		check(t, b.Close(t.Context()))
		if took := time.Since(began); took != time.Minute {
			t.Errorf("what was under way was not given up, but went on until %s", took)
		}
		if err := b.Publish(t.Context(), topic, messages("late")...); !errors.Is(err, fault.Unavailable) {
			t.Errorf("publishing: %v", err)
		}
		if err := b.Idle(t.Context()); !errors.Is(err, fault.Unavailable) {
			t.Errorf("waiting: %v", err)
		}
		if got := e.texts(); !slices.Equal(got, []string{"fails", "slow"}) {
			t.Errorf("delivered: %v", got)
		}
	})
}

func TestCloseWaitsForWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := false
		b := start(t, broker.Chaos{})
		subscribe(t, b, newEndpoint(func(push, http.ResponseWriter, *http.Request) {
			time.Sleep(5 * time.Second)
			ended = true
		}), broker.Subscription{})
		check(t, b.Publish(t.Context(), topic, messages("slow")...))
		synctest.Wait()
		if err := b.Close(t.Context()); err != nil || !ended {
			t.Errorf("closed with %v, and the delivery had ended: %t", err, ended)
		}
	})
}

func TestCloseDoesNotWaitForAnotherAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, e := start(t, broker.Chaos{}), newEndpoint(failing("poison"))
		subscribe(t, b, e, broker.Subscription{})
		check(t, b.Publish(t.Context(), topic, messages("poison")...))
		synctest.Wait()
		began := time.Now()
		if err := b.Close(t.Context()); err != nil || time.Since(began) != 0 || len(e.got()) != 1 {
			t.Errorf("closed after %s with %v, %d pushes", time.Since(began), err, len(e.got()))
		}
	})
}

func TestSubscriptionsThatCannotWork(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Chaos{})
	good := broker.Subscription{Name: "worker", Topic: topic, Endpoint: "http://local/", Handler: http.NotFoundHandler()}
	check(t, b.Subscribe(good))
	for name, test := range map[string]struct {
		change func(*broker.Subscription)
		want   error
	}{
		"the same name":     {func(*broker.Subscription) {}, fault.Exists},
		"no name":           {func(s *broker.Subscription) { s.Name = "" }, fault.ConfigInvalid},
		"no endpoint":       {func(s *broker.Subscription) { s.Endpoint = "" }, fault.ConfigInvalid},
		"no URL":            {func(s *broker.Subscription) { s.Endpoint = "/push" }, fault.ConfigInvalid},
		"a limit below 0":   {func(s *broker.Subscription) { s.Concurrency = -1 }, fault.ConfigInvalid},
		"no such topic":     {func(s *broker.Subscription) { s.Name, s.Topic = "x", "x" }, fault.NotFound},
		"no such last stop": {func(s *broker.Subscription) { s.Name, s.DeadLetter = "x", "x" }, fault.NotFound},
	} {
		s := good
		test.change(&s)
		if err := b.Subscribe(s); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type pusher struct{}

func (pusher) Authenticate(_ context.Context, header http.Header) (auth.Caller, error) {
	if header.Get("Authorization") != "Bearer t0ken" {
		return auth.Caller{}, fault.New(fault.AuthInvalid, "not the token")
	}
	return auth.NewCaller(auth.Identity{Kind: auth.Local, Subject: "pusher"}, auth.Grants{"*": {catalogue.Internal}}), nil
}

// TestAFunctionTakesWhatIsPushed runs a message-driven function behind a
// subscription, to the last attempt.
func TestAFunctionTakesWhatIsPushed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, broker.Chaos{})
		row := catalogue.Function{Name: "worker", TimeoutSec: 60, Routes: []catalogue.Route{{Method: "POST", Path: eventx.Path("worker"), Role: catalogue.Internal}}}
		var log strings.Builder
		var got []event.Message
		kit := httpx.Kit{Log: slog.New(slog.NewTextHandler(&log, nil)), Clock: clock.Real(), Authenticator: pusher{}}
		options := eventx.Options{Subscriptions: []string{b.FullName("worker")}}
		function := eventx.Function(row, kit, options, func(_ context.Context, m event.Message) error {
			got = append(got, m)
			if string(m.Data) == "poison" {
				return fault.Unavailable
			}
			return nil
		})
		subscribe(t, b, function, broker.Subscription{DeadLetter: "dead", Concurrency: 1, Token: func(context.Context) (string, error) { return "t0ken", nil }})
		good := event.Message{Data: []byte("good"), Attributes: map[string]string{"k": "v"}}
		check(t, b.Publish(t.Context(), topic, good, event.Message{Data: []byte("poison")}))
		idle(t, b)
		if len(got) != 1+broker.DefaultMaxAttempts || got[len(got)-1].Attempt != broker.DefaultMaxAttempts {
			t.Fatalf("got %+v", got)
		}
		if m := got[0]; string(m.Data) != "good" || m.Attributes["k"] != "v" || m.ID != "1" || m.PublishedAt.IsZero() {
			t.Errorf("the good one: %+v", m)
		}
		if n := strings.Count(log.String(), eventx.LineDead); n != 1 {
			t.Errorf("%d lines about dead letters: %s", n, log.String())
		}
	})
}
