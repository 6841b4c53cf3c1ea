package eventx_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	pubsub "cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/eventx"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/telemetry"
	"github.com/sealpost/sealpost/test/emulator"
)

func TestMain(m *testing.M) { emulator.Run(m) }

// everybody admits whoever asks: the emulator sends no token, and counts no
// attempts.
type everybody struct{}

func (everybody) Authenticate(context.Context, http.Header) (auth.Caller, error) {
	return callers["pusher"], nil
}

// TestThePushOfGooglesEmulator has Google's own code make the requests.
func TestThePushOfGooglesEmulator(t *testing.T) {
	t.Parallel()
	host, parent := emulator.PubSub.Host(t), "projects/"+emulator.Project()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	name := parent + "/subscriptions/worker"
	arrived := make(chan event.Message, 10)
	var log bytes.Buffer
	kit := httpx.Kit{Log: telemetry.NewLogger(&log, telemetry.Options{}), Clock: clock.Real(), Authenticator: everybody{}}
	first := true
	function := httptest.NewServer(eventx.Function(row, kit, eventx.Options{Subscriptions: []string{name}}, func(_ context.Context, m event.Message) error {
		arrived <- m
		if first {
			first = false
			return context.Canceled
		}
		return nil
	}))
	t.Cleanup(function.Close)

	options := []option.ClientOption{
		option.WithEndpoint(host), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
	topics, err := pubsub.NewTopicAdminClient(ctx, options...)
	check(t, err)
	t.Cleanup(func() { _ = topics.Close() })
	subscriptions, err := pubsub.NewSubscriptionAdminClient(ctx, options...)
	check(t, err)
	t.Cleanup(func() { _ = subscriptions.Close() })
	_, err = topics.CreateTopic(ctx, &pubsubpb.Topic{Name: parent + "/topics/work"})
	check(t, err)
	_, err = subscriptions.CreateSubscription(ctx, &pubsubpb.Subscription{
		Name: name, Topic: parent + "/topics/work", PushConfig: &pubsubpb.PushConfig{PushEndpoint: function.URL + eventx.Path("worker")},
	})
	check(t, err)
	t.Cleanup(func() { // else it goes on pushing
		_ = subscriptions.DeleteSubscription(context.WithoutCancel(ctx), &pubsubpb.DeleteSubscriptionRequest{Subscription: name})
	})
	_, err = topics.Publish(ctx, &pubsubpb.PublishRequest{Topic: parent + "/topics/work", Messages: []*pubsubpb.PubsubMessage{
		{Data: []byte("\x00\xff?>"), Attributes: map[string]string{"k": "v"}},
	}})
	check(t, err)

	for attempt := range 2 {
		select {
		case m := <-arrived:
			if string(m.Data) != "\x00\xff?>" || m.Attributes["k"] != "v" || m.ID == "" || m.PublishedAt.IsZero() || m.Subscription != name {
				t.Errorf("delivery %d: %+v", attempt+1, m)
			}
		case <-ctx.Done():
			t.Fatalf("delivery %d did not come; the log says %s", attempt+1, log.String())
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
