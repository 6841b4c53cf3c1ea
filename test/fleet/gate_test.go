package fleet

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sealpost/sealpost/test/emulator"
)

func TestMain(m *testing.M) { emulator.Run(m) }

// TestWhyThereIsAGate holds what the package says of Google's emulator. If it
// fails, the emulator has learnt something that the gate need not do any more.
func TestWhyThereIsAGate(t *testing.T) {
	t.Parallel()
	const deliveries = 2 // a third takes seconds
	type arrival struct{ token, body string }
	arrived := make(chan arrival, deliveries)
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		select {
		case arrived <- arrival{r.Header.Get("Authorization"), string(body)}:
		default: // there were enough
		}
		w.WriteHeader(http.StatusBadRequest)
	}))
	t.Cleanup(function.Close)
	host := emulator.PubSub.Host(t)
	admin := newAdmin(t, host)
	parent := "projects/" + emulator.Project()
	short := durationpb.New(10 * time.Millisecond)
	for _, s := range []*pubsubpb.Subscription{
		{Topic: parent + "/topics/dead", Name: parent + "/subscriptions/dead"},
		{
			Topic: parent + "/topics/work", Name: parent + "/subscriptions/work", PushConfig: &pubsubpb.PushConfig{PushEndpoint: function.URL + "/"},
			RetryPolicy:      &pubsubpb.RetryPolicy{MinimumBackoff: short, MaximumBackoff: short},
			DeadLetterPolicy: &pubsubpb.DeadLetterPolicy{DeadLetterTopic: parent + "/topics/dead", MaxDeliveryAttempts: MaxAttempts},
		},
	} {
		admin.subscribe(t, s)
	}
	_, err := admin.topics.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: parent + "/topics/work", Messages: []*pubsubpb.PubsubMessage{{Data: []byte("x")}}})
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for n := 1; n <= deliveries; n++ {
		select {
		case a := <-arrived:
			if a.token != "" || strings.Contains(strings.ToLower(a.body), "attempt") {
				t.Errorf("attempt %d has the token %q and the body %s", n, a.token, a.body)
			}
		case <-ctx.Done():
			t.Fatalf("attempt %d did not come", n)
		}
	}
}
