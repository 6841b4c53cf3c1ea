package topic

import (
	"context"
	"testing"
	"time"

	pubsub "cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/event/eventtest"
	"github.com/sealpost/sealpost/test/emulator"
)

func TestMain(m *testing.M) { emulator.Run(m) }

func TestContractOnTheEmulator(t *testing.T) {
	t.Parallel()
	eventtest.Run(t, func(t *testing.T) eventtest.Bench {
		t.Helper()
		host, project := emulator.PubSub.Host(t), emulator.Project()
		options := []option.ClientOption{
			option.WithEndpoint(host), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		}
		topics, err := pubsub.NewTopicAdminClient(t.Context(), options...)
		check(t, err)
		t.Cleanup(func() { _ = topics.Close() })
		subscriptions, err := pubsub.NewSubscriptionAdminClient(t.Context(), options...)
		check(t, err)
		t.Cleanup(func() { _ = subscriptions.Close() })
		parent := "projects/" + project
		_, err = topics.CreateTopic(t.Context(), &pubsubpb.Topic{Name: parent + "/topics/" + eventtest.Topic})
		check(t, err)
		subscription, err := subscriptions.CreateSubscription(t.Context(), &pubsubpb.Subscription{
			Name: parent + "/subscriptions/suite", Topic: parent + "/topics/" + eventtest.Topic,
		})
		check(t, err)

		p, err := Open(t.Context(), Config{Project: project, EmulatorHost: host}, clock.Real())
		check(t, err)
		t.Cleanup(func() { check(t, p.Close()) })
		return eventtest.Bench{Publisher: p, Arrived: func(t *testing.T, least int) []event.Message {
			t.Helper()
			return pull(t, subscriptions, subscription.GetName(), least)
		}}
	})
}

// pull takes messages until there are enough.
func pull(t *testing.T, from *pubsub.SubscriptionAdminClient, subscription string, least int) []event.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var arrived []event.Message
	for len(arrived) < least {
		answer, err := from.Pull(ctx, &pubsubpb.PullRequest{Subscription: subscription, MaxMessages: 1000})
		check(t, err)
		var acks []string
		for _, received := range answer.GetReceivedMessages() {
			m := received.GetMessage()
			acks = append(acks, received.GetAckId())
			arrived = append(arrived, event.Message{
				ID: m.GetMessageId(), PublishedAt: m.GetPublishTime().AsTime(), Data: m.GetData(), Attributes: m.GetAttributes(),
			})
		}
		if len(acks) > 0 {
			check(t, from.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: subscription, AckIds: acks}))
		}
	}
	return arrived
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
