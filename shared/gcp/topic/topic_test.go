package topic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/event/eventtest"
	"github.com/sealpost/sealpost/shared/fault"
)

const canary = "canary-value-nobody-may-see"

// server is a Pub/Sub with one topic, which fails as it is told.
type server struct {
	pubsubpb.UnimplementedPublisherServer

	mu       sync.Mutex
	faults   []codes.Code // of the next calls, one each
	hang     bool         // calls answer only when their context ends
	requests []*pubsubpb.PublishRequest
	routes   []string
	stored   []event.Message
}

func (s *server) Publish(ctx context.Context, request *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	if s.hang {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request)
	headers, _ := metadata.FromIncomingContext(ctx)
	s.routes = append(s.routes, headers.Get("x-goog-request-params")...)
	if len(s.faults) > 0 {
		failed := s.faults[0]
		s.faults = s.faults[1:]
		if failed != codes.OK {
			return nil, status.Error(failed, canary)
		}
	}
	if request.GetTopic() != "projects/acme/topics/"+eventtest.Topic {
		return nil, status.Error(codes.NotFound, canary)
	}
	answer := &pubsubpb.PublishResponse{}
	for _, m := range request.GetMessages() {
		id := fmt.Sprint(len(s.stored) + 1)
		answer.MessageIds = append(answer.GetMessageIds(), id)
		s.stored = append(s.stored, event.Message{ID: id, PublishedAt: timestamppb.Now().AsTime(), Data: m.GetData(), Attributes: m.GetAttributes()})
	}
	return answer, nil
}

func (s *server) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// start runs the server and a publisher that talk through memory.
func start(t *testing.T, s *server) *Publisher {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	running := grpc.NewServer(grpc.MaxRecvMsgSize(2 * maxBytes))
	pubsubpb.RegisterPublisherServer(running, s)
	go func() { _ = running.Serve(listener) }()
	t.Cleanup(running.Stop)
	p, err := open(t.Context(), Config{Project: "acme"}, clock.Real(),
		option.WithEndpoint("passthrough:///memory"), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestContractInMemory(t *testing.T) {
	t.Parallel()
	eventtest.Run(t, func(t *testing.T) eventtest.Bench {
		t.Helper()
		s := &server{}
		return eventtest.Bench{Publisher: start(t, s), Arrived: func(t *testing.T, least int) []event.Message {
			t.Helper()
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.stored) < least {
				t.Fatalf("%d messages arrived, want %d", len(s.stored), least)
			}
			return slices.Clone(s.stored)
		}}
	})
}

var nudge = event.Message{Data: []byte(canary)}

func TestEveryAnswerHasItsKindAndItsRepetition(t *testing.T) {
	t.Parallel()
	kinds := map[codes.Code]fault.Kind{
		codes.NotFound: fault.NotFound, codes.PermissionDenied: fault.Denied, codes.Unauthenticated: fault.Denied,
		codes.InvalidArgument: fault.Internal, codes.FailedPrecondition: fault.Internal, codes.OutOfRange: fault.Internal,
		codes.Unimplemented: fault.Internal,
	}
	again := []codes.Code{
		codes.Aborted, codes.Canceled, codes.DeadlineExceeded, codes.Internal, codes.Unavailable, codes.Unknown, codes.ResourceExhausted,
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &server{faults: []codes.Code{code, code, code}}
				p := start(t, s)
				began := time.Now()
				err := p.Publish(t.Context(), eventtest.Topic, nudge)
				want, ok := kinds[code]
				if !ok {
					want = fault.Unavailable
				}
				if !errors.Is(err, want) || strings.Contains(err.Error(), canary) {
					t.Errorf("got %v, want it to be of the kind %s", err, want)
				}
				calls := 1
				if slices.Contains(again, code) {
					calls = attempts
				}
				if s.calls() != calls {
					t.Errorf("%d calls, want %d", s.calls(), calls)
				}
				longest := 600 * time.Millisecond
				if code == codes.ResourceExhausted {
					longest = 6 * time.Second
				}
				if waited := time.Since(began); waited > longest || (calls == 1) != (waited == 0) {
					t.Errorf("waited %s", waited)
				}
			})
		})
	}
}

func TestAPassingFailureIsOvercome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{faults: []codes.Code{codes.Unavailable, codes.Aborted, codes.OK}}
		p := start(t, s)
		if err := p.Publish(t.Context(), eventtest.Topic, nudge); err != nil || len(s.stored) != 1 {
			t.Errorf("%d messages arrived, %v", len(s.stored), err)
		}
		if s.routes[0] != "topic=projects%2Facme%2Ftopics%2F"+eventtest.Topic {
			t.Errorf("routed by %q", s.routes)
		}
	})
}

func TestAServiceThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := start(t, &server{hang: true})
		began := time.Now()
		if err := p.Publish(t.Context(), eventtest.Topic, nudge); !errors.Is(err, fault.Unavailable) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took < attempts*timeout || took > attempts*timeout+time.Second {
			t.Errorf("gave up after %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if err := p.Publish(ctx, eventtest.Topic, nudge); !errors.Is(err, fault.Deadline) || time.Since(began) != time.Second {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
	})
}

func TestTheCallersTimeEndsTheWaitingToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{faults: []codes.Code{codes.ResourceExhausted, codes.ResourceExhausted, codes.ResourceExhausted}}
		p := start(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		if err := p.Publish(ctx, eventtest.Topic, nudge); !errors.Is(err, fault.Deadline) {
			t.Errorf("got %v", err)
		}
	})
}

// TestRequestsKeepToTheLimits holds that the requests are within Pub/Sub's
// limits, have every message once and in order, and are no more than needed.
func TestRequestsKeepToTheLimits(t *testing.T) {
	t.Parallel()
	full := strings.Repeat("x", event.MaxBytes-2)
	rapid.Check(t, func(t *rapid.T) {
		var messages []event.Message
		for i := range rapid.SampledFrom([]int{0, 1, 300, 1000, 1001, 2500}).Draw(t, "messages") {
			messages = append(messages, event.Message{Data: fmt.Append(nil, i), Attributes: map[string]string{"i": "x"}})
		}
		every := rapid.IntRange(1, 20).Draw(t, "every so many a large one")
		for i := 0; i < len(messages); i += every {
			messages[i].Data = append([]byte(fmt.Sprint(i, " ")), full[:len(full)-6]...)
		}
		requests, err := split("projects/acme/topics/t", messages)
		if err != nil {
			t.Fatal(err)
		}
		i, before := 0, 0
		for n, r := range requests {
			size := proto.Size(r)
			if len(r.GetMessages()) > maxMessages || size > maxBytes {
				t.Fatalf("a request has %d messages, %d bytes", len(r.GetMessages()), size)
			}
			first := &pubsubpb.PublishRequest{Messages: r.GetMessages()[:1]}
			if n > 0 && len(requests[n-1].GetMessages()) < maxMessages && before+proto.Size(first) <= maxBytes {
				t.Fatalf("request %d could have gone with the one before", n)
			}
			for _, m := range r.GetMessages() {
				if string(m.GetData()) != string(messages[i].Data) {
					t.Fatalf("message %d is not in its place", i)
				}
				i++
			}
			before = size
		}
		if i != len(messages) {
			t.Fatalf("%d of %d messages are in the requests", i, len(messages))
		}
	})
}

func TestManyAreFewCalls(t *testing.T) {
	t.Parallel()
	s := &server{}
	p := start(t, s)
	messages := slices.Repeat([]event.Message{nudge}, maxMessages+1)
	if err := p.Publish(t.Context(), eventtest.Topic, messages...); err != nil || s.calls() != 2 {
		t.Errorf("%d calls, %v", s.calls(), err)
	}
	s.faults = []codes.Code{codes.NotFound}
	if err := p.Publish(t.Context(), eventtest.Topic, messages...); !errors.Is(err, fault.NotFound) || s.calls() != 3 {
		t.Errorf("after a failure: %d calls, %v", s.calls(), err)
	}
}

func TestOpenNeedsAProject(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.Context(), Config{EmulatorHost: "127.0.0.1:1"}, clock.Real()); !errors.Is(err, fault.ConfigInvalid) {
		t.Errorf("got %v", err)
	}
}

// Where messages go is the configuration's to say.
func TestTheEnvironmentDoesNotRedirect(t *testing.T) {
	t.Setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
	s := &server{}
	if err := start(t, s).Publish(t.Context(), eventtest.Topic, nudge); err != nil || s.calls() != 1 {
		t.Errorf("%d calls, %v", s.calls(), err)
	}
}

func TestUnusableCredentialsAreNotQuoted(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/dev/null/"+canary)
	_, err := Open(t.Context(), Config{Project: "acme"}, clock.Real())
	if !errors.Is(err, fault.Unavailable) || strings.Contains(err.Error(), canary) {
		t.Errorf("got %v", err)
	}
}
