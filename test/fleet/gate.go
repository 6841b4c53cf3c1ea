package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	pubsub "cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/eventx"
)

const (
	// MaxAttempts is how often a message is delivered before it goes to the dead
	// letters.
	MaxAttempts = eventx.DefaultMaxAttempts
	// DeadLetters is their topic, and the subscription by which they are looked
	// at.
	DeadLetters = "dead-letters"

	minBackoff = time.Second
	maxBackoff = 10 * time.Minute
	pusher     = "push-subscriptions"
)

// Pusher are the grants of the service account that pushes.
func Pusher() auth.Grants { return auth.Grants{auth.AllProjects: {catalogue.Internal}} }

// Gate stands between Pub/Sub's emulator and the functions. See the package.
type Gate struct {
	fleet *Fleet

	mu         sync.Mutex
	attempts   map[string]int
	deliveries []Delivery
	holding    map[string]bool
	held       []Push
}

// Push is one message on its way to a function.
type Push struct {
	Function  string
	MessageID string
	Attempt   int
	Body      []byte // as it is sent
}

// Delivery is a push with what came of it.
type Delivery struct {
	Push
	Status int // 0 if there was no answer
}

// startPubSub makes the topics of the catalogue and a subscription for each
// function, and the gate that they push to.
func (f *Fleet) startPubSub(t testing.TB, host string) {
	t.Helper()
	f.Gate = &Gate{fleet: f, attempts: map[string]int{}, holding: map[string]bool{}}
	server := httptest.NewServer(f.Gate)
	t.Cleanup(server.Close)
	f.admin = newAdmin(t, host)
	parent := "projects/" + f.Project
	wanted := []*pubsubpb.Subscription{{Name: parent + "/subscriptions/" + DeadLetters, Topic: parent + "/topics/" + DeadLetters}}
	for _, row := range catalogue.Functions() {
		if row.Topic != "" {
			wanted = append(wanted, &pubsubpb.Subscription{
				Name: parent + "/subscriptions/" + row.Name, Topic: parent + "/topics/" + row.Topic,
				PushConfig:         &pubsubpb.PushConfig{PushEndpoint: server.URL + eventx.Path(row.Name)},
				AckDeadlineSeconds: int32(max(row.TimeoutSec, 10)),
				RetryPolicy:        &pubsubpb.RetryPolicy{MinimumBackoff: durationpb.New(minBackoff), MaximumBackoff: durationpb.New(maxBackoff)},
				DeadLetterPolicy:   &pubsubpb.DeadLetterPolicy{DeadLetterTopic: parent + "/topics/" + DeadLetters, MaxDeliveryAttempts: MaxAttempts},
			})
		}
	}
	for _, s := range wanted {
		f.admin.subscribe(t, s)
	}
}

// admin makes what Terraform makes.
type admin struct {
	topics        *pubsub.TopicAdminClient
	subscriptions *pubsub.SubscriptionAdminClient
}

func newAdmin(t testing.TB, host string) (a admin) {
	t.Helper()
	options := []option.ClientOption{
		option.WithEndpoint(host), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
	var err error
	a.topics, err = pubsub.NewTopicAdminClient(t.Context(), options...)
	check(t, err)
	t.Cleanup(func() { check(t, a.topics.Close()) })
	a.subscriptions, err = pubsub.NewSubscriptionAdminClient(t.Context(), options...)
	check(t, err)
	t.Cleanup(func() { check(t, a.subscriptions.Close()) })
	return a
}

// subscribe makes a subscription, and its topic if it is not there.
func (a admin) subscribe(t testing.TB, s *pubsubpb.Subscription) {
	t.Helper()
	_, err := a.topics.CreateTopic(t.Context(), &pubsubpb.Topic{Name: s.GetTopic()})
	if status.Code(err) != codes.AlreadyExists {
		check(t, err)
	}
	_, err = a.subscriptions.CreateSubscription(t.Context(), s)
	check(t, err)
	t.Cleanup(func() { // else it goes on pushing
		check(t, a.subscriptions.DeleteSubscription(context.WithoutCancel(t.Context()), &pubsubpb.DeleteSubscriptionRequest{Subscription: s.GetName()}))
	})
}

// pull waits for a message of a subscription, which it does not acknowledge.
func (a admin) pull(t testing.TB, subscription string) event.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		answer, err := a.subscriptions.Pull(ctx, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 1})
		check(t, err)
		for _, received := range answer.GetReceivedMessages() {
			return event.Message{Attributes: received.GetMessage().GetAttributes(), Data: received.GetMessage().GetData()}
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// DeadLetter waits for a dead letter and returns it. It stays where it is.
func (f *Fleet) DeadLetter(t testing.TB) event.Message {
	t.Helper()
	return f.admin.pull(t, "projects/"+f.Project+"/subscriptions/"+DeadLetters)
}

// ServeHTTP takes a push of the emulator's.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "", http.StatusBadRequest)
		return
	}
	p, err := g.arrive(r.URL.Path, body)
	if err != nil {
		http.Error(w, "", http.StatusBadRequest)
		return
	}
	if g.hold(p) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	status := g.Deliver(r.Context(), p)
	if status == 0 {
		status = http.StatusBadGateway
	}
	w.WriteHeader(status)
}

// arrive counts the attempt and writes it into the body.
func (g *Gate) arrive(path string, body []byte) (Push, error) {
	var message struct{ Message struct{ MessageID string } }
	fields := map[string]any{}
	if err := errors.Join(json.Unmarshal(body, &message), json.Unmarshal(body, &fields)); err != nil {
		return Push{}, err
	}
	p := Push{MessageID: message.Message.MessageID}
	for _, row := range catalogue.Functions() {
		if eventx.Path(row.Name) == path {
			p.Function = row.Name
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.attempts[p.Function+" "+p.MessageID]++
	p.Attempt = g.attempts[p.Function+" "+p.MessageID]
	fields["deliveryAttempt"] = p.Attempt
	var err error
	p.Body, err = json.Marshal(fields)
	return p, err
}

// Deliver sends a push to its function, with the token that a subscription's has,
// and returns the status of the answer, or 0 if there was none.
func (g *Gate) Deliver(ctx context.Context, p Push) int {
	d := Delivery{Push: p, Status: g.send(ctx, p)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.deliveries = append(g.deliveries, d)
	return d.Status
}

func (g *Gate) send(ctx context.Context, p Push) int {
	token, err := g.fleet.token(pusher, Pusher())
	if err != nil {
		return 0
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.fleet.At(p.Function)+eventx.Path(p.Function), bytes.NewReader(p.Body))
	if err != nil {
		return 0
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := client.Do(request)
	if err != nil {
		return 0
	}
	_ = answer.Body.Close() // a subscription looks at the status only
	return answer.StatusCode
}

// Deliveries returns what was sent to the function so far, in the order of the
// answers.
func (g *Gate) Deliveries(function string) []Delivery {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.deliveries), func(d Delivery) bool { return d.Function != function })
}

// Hold keeps what is pushed to the function from now on, instead of delivering
// it. To Pub/Sub it is acknowledged: what is held is lost, unless it is delivered.
func (g *Gate) Hold(function string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding[function] = true
}

// Held returns what is held for the function.
func (g *Gate) Held(function string) []Push {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(g.held), func(p Push) bool { return p.Function != function })
}

// Release lets through what is pushed from now on, and gives what was held to
// the caller.
func (g *Gate) Release(function string) []Push {
	held := g.Held(function)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding[function] = false
	g.held = slices.DeleteFunc(g.held, func(p Push) bool { return p.Function == function })
	return held
}

// hold keeps a push if it is to be held.
func (g *Gate) hold(p Push) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.holding[p.Function] {
		g.held = append(g.held, p)
	}
	return g.holding[p.Function]
}
