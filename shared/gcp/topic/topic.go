// Package topic publishes messages on Pub/Sub's topics, and is the only
// importer of its client library.
//
// It calls the service's Publish itself. The library's publisher gathers
// messages and sends them from goroutines of its own, when a batch is full or
// its time has come: in a function, whose processor is taken away between
// requests, what it holds may never be sent. The library's generated client
// would do, but an environment variable makes it talk to an emulator without
// TLS, and where Sealpost publishes is settled by [Config] alone. So [Publisher]
// sends all messages in one request, or in as many as Pub/Sub's limits ask for,
// and returns when it has the answers. Nothing is left running.
//
// A message is a nudge, so repeating one does no harm: each request is made up
// to three times, for whatever may be better the next time. What Pub/Sub answers
// is mapped to a kind of package fault; its text is dropped.
package topic

import (
	"context"
	"errors"
	"log/slog"
	"net/url"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	transport "google.golang.org/api/transport/grpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
)

const (
	endpoint = "pubsub.googleapis.com:443"
	scope    = "https://www.googleapis.com/auth/pubsub"

	// What Pub/Sub takes in one request.
	// Source: cloud.google.com/pubsub/quotas, "Resource limits": publish request.
	maxMessages = 1000
	maxBytes    = 10_000_000
)

// Config says where the topics are.
type Config struct {
	Project      string // Google Cloud project id
	EmulatorHost string // host:port of an emulator, without TLS or credentials; empty: Pub/Sub itself
}

// Publisher is an [event.Publisher] on the topics of one project. It is safe
// for concurrent use.
type Publisher struct {
	conn   *grpc.ClientConn
	api    pubsubpb.PublisherClient
	clock  clock.Clock
	prefix string // of topics' names
}

var _ event.Publisher = (*Publisher)(nil)

// Open prepares a connection, which is made when it is first needed, with the
// environment's default credentials. It returns a [fault.ConfigInvalid] for a
// Config without a project and a [fault.Unavailable] where there are no
// credentials. The context may end once Open has returned. The Publisher must
// be closed.
func Open(ctx context.Context, config Config, clk clock.Clock) (*Publisher, error) {
	if config.EmulatorHost == "" {
		return open(ctx, config, clk, option.WithEndpoint(endpoint), option.WithScopes(scope))
	}
	return open(ctx, config, clk,
		option.WithEndpoint(config.EmulatorHost), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
}

func open(ctx context.Context, config Config, clk clock.Clock, options ...option.ClientOption) (*Publisher, error) {
	if config.Project == "" {
		return nil, fault.New(fault.ConfigInvalid, "Pub/Sub's topics need a Google Cloud project")
	}
	conn, err := transport.Dial(ctx, append(options,
		option.WithGRPCDialOption(grpc.WithDisableRetry()), // we retry; nothing below us does
		option.WithTelemetryDisabled(),
		option.WithLogger(slog.New(slog.DiscardHandler)))...)
	if err != nil {
		// The cause is dropped: a parser's message may quote a credentials file.
		return nil, fault.Wrap(fault.Unavailable, "topic.Open "+config.Project, errors.New("no usable Google credentials"))
	}
	return &Publisher{
		conn: conn, api: pubsubpb.NewPublisherClient(conn), clock: clk, prefix: "projects/" + config.Project + "/topics/",
	}, nil
}

// Close ends the connection and every call under way.
func (p *Publisher) Close() error {
	if err := p.conn.Close(); err != nil {
		return fault.Wrap(fault.Internal, "topic.Close", nil)
	}
	return nil
}

// Publish implements [event.Publisher]. A topic is named without its project.
// Messages beyond one request's limits go in several, one after another. It
// returns a [fault.Internal], before anything is sent, for a message that
// [event.Message.Check] refuses, and for a request that Pub/Sub does not
// understand.
func (p *Publisher) Publish(ctx context.Context, topic string, messages ...event.Message) error {
	op := "topic.Publish " + topic
	requests, err := split(p.prefix+topic, messages)
	if err != nil {
		return fault.Annotate(op, err)
	}
	for _, request := range requests {
		if err := p.send(ctx, request); err != nil {
			return failure(ctx, op, err)
		}
	}
	return nil
}

// send publishes one request, repeating it where that may help.
func (p *Publisher) send(ctx context.Context, request *pubsubpb.PublishRequest) error {
	// Tells the service's front where to route: google.aip.dev/client-libraries/4222.
	ctx = metadata.AppendToOutgoingContext(ctx, "x-goog-request-params", "topic="+url.QueryEscape(request.GetTopic()))
	return p.retry(ctx, func(ctx context.Context) error {
		_, err := p.api.Publish(ctx, request)
		return err
	})
}

// split returns the requests for the messages, each within Pub/Sub's limits.
func split(topic string, messages []event.Message) ([]*pubsubpb.PublishRequest, error) {
	var requests []*pubsubpb.PublishRequest
	var last *pubsubpb.PublishRequest
	size := 0
	for _, m := range messages {
		if err := m.Check(); err != nil {
			return nil, err
		}
		message := &pubsubpb.PubsubMessage{Data: m.Data, Attributes: m.Attributes}
		more := 1 + protowire.SizeBytes(proto.Size(message)) // a tag of one byte, the length, the message
		if last == nil || len(last.GetMessages()) == maxMessages || size+more > maxBytes {
			last = &pubsubpb.PublishRequest{Topic: topic}
			requests = append(requests, last)
			size = proto.Size(last)
		}
		last.Messages = append(last.GetMessages(), message)
		size += more
	}
	return requests, nil
}

// failure gives an answer its kind.
func failure(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.KindOf(ctx.Err()), op, nil)
	}
	cause := errors.New("Pub/Sub answered " + code(err).String())
	switch code(err) {
	case codes.NotFound:
		return fault.Wrap(fault.NotFound, op, cause)
	case codes.PermissionDenied, codes.Unauthenticated:
		return fault.Wrap(fault.Denied, op, cause)
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented:
		return fault.Wrap(fault.Internal, op, cause)
	}
	return fault.Wrap(fault.Unavailable, op, cause)
}
