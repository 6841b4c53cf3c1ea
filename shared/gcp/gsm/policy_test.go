package gsm_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/secret"
)

// calls makes each method be called once, if nothing fails.
var calls = map[string]func(context.Context, *gsm.Client) error{
	"GetSecret":          inspectOne,
	"ListSecretVersions": inspectOne,
	"GetSecretVersion": func(ctx context.Context, c *gsm.Client) error {
		_, err := c.Value(ctx, source("disabled"), 1)
		return err
	},
	"AccessSecretVersion": func(ctx context.Context, c *gsm.Client) error {
		_, err := c.Value(ctx, source("db-url"), 1)
		return err
	},
	"CreateSecret": func(ctx context.Context, c *gsm.Client) error { return c.Create(ctx, source("new"), nil) },
	"AddSecretVersion": func(ctx context.Context, c *gsm.Client) error {
		_, err := c.AddVersion(ctx, source("db-url"), secret.NewValue("w"))
		return err
	},
}

// Every answer to every method: how often the call is made, and what comes of it.
func TestEachCodeIsRetriedOrNot(t *testing.T) {
	t.Parallel()
	reads := []string{"GetSecret", "ListSecretVersions", "GetSecretVersion", "AccessSecretVersion"}
	writes := []string{"CreateSecret", "AddSecretVersion"}
	for _, test := range []struct {
		code          codes.Code
		reads, writes int
		want          error
	}{
		{codes.Unavailable, 3, 1, fault.SourceUnavailable},
		{codes.ResourceExhausted, 3, 3, fault.SourceUnavailable},
		{codes.Internal, 3, 1, fault.SourceUnavailable},
		{codes.DeadlineExceeded, 3, 1, fault.SourceUnavailable},
		{codes.Aborted, 3, 1, fault.SourceUnavailable},
		{codes.DataLoss, 3, 1, fault.SourceUnavailable},
		{codes.Unknown, 1, 1, fault.SourceUnavailable},
		{codes.Canceled, 1, 1, fault.SourceUnavailable},
		{codes.OutOfRange, 1, 1, fault.SourceUnavailable},
		{codes.Unimplemented, 1, 1, fault.SourceUnavailable},
		{codes.PermissionDenied, 1, 1, fault.SourceNotPermitted},
		{codes.Unauthenticated, 1, 1, fault.SourceNotPermitted},
		{codes.InvalidArgument, 1, 1, fault.SourceMissing},
	} {
		for methods, want := range map[*[]string]int{&reads: test.reads, &writes: test.writes} {
			for _, method := range *methods {
				t.Run(test.code.String()+" of "+method, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						s, c := startWithSecrets(t)
						s.Plant(secretmanagerd.Fault{Method: method, Code: test.code})
						err := calls[method](t.Context(), c)
						if got := s.Calls(method); got != want {
							t.Errorf("called %d times, want %d", got, want)
						}
						if !errors.Is(err, test.want) {
							t.Errorf("got %v, want %v", err, test.want)
						}
						if _, ok := fault.RetryAfter(err); ok != (test.code == codes.ResourceExhausted) {
							t.Errorf("it says how long to wait: %v", ok)
						}
					})
				})
			}
		}
	}
}

// inspectOne looks at one source; that it may not is an error here.
func inspectOne(ctx context.Context, c *gsm.Client) error {
	states, err := c.Inspect(ctx, []secret.Source{source("db-url")})
	if err == nil && states[source("db-url")].Denied {
		return fault.SourceNotPermitted
	}
	return err
}

func startWithSecrets(t *testing.T) (*secretmanagerd.Server, *gsm.Client) {
	t.Helper()
	s, c := start(t, secretmanagerd.Config{}, gsm.Config{})
	put(t, s, "db-url", "v")
	put(t, s, "disabled", "v")
	check(t, s.DisableVersion(project, "disabled", 1))
	return s, c
}

func TestAPassingFailureIsOvercome(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.ResourceExhausted, codes.Internal} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, c := startWithSecrets(t)
				s.Plant(
					secretmanagerd.Fault{Method: "GetSecret", Code: code, Times: 2},
					secretmanagerd.Fault{Method: "ListSecretVersions", Code: code, Times: 2},
				)
				states, err := c.Inspect(t.Context(), []secret.Source{source("db-url")})
				if err != nil || len(states[source("db-url")].Versions) != 1 {
					t.Errorf("got %v, %v", states, err)
				}
			})
		})
	}
}

// The waiting between attempts is exponential, has a ceiling and is spread
// over its whole range.
func TestBackoffHasFullJitter(t *testing.T) {
	t.Parallel()
	for code, longest := range map[codes.Code]time.Duration{
		codes.Unavailable:       600 * time.Millisecond, // 200 ms, then 400 ms
		codes.ResourceExhausted: 6 * time.Second,        // 2 s, then 4 s
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, c := startWithSecrets(t)
				s.Plant(secretmanagerd.Fault{Method: "AccessSecretVersion", Code: code})
				shortest, slowest := time.Hour, time.Duration(0)
				for range 200 {
					begin := time.Now()
					_ = calls["AccessSecretVersion"](t.Context(), c)
					took := time.Since(begin)
					shortest, slowest = min(shortest, took), max(slowest, took)
				}
				if slowest > longest+time.Microsecond || slowest < longest*7/10 || shortest > longest*3/10 {
					t.Errorf("waited between %s and %s; the longest is %s", shortest, slowest, longest)
				}
			})
		})
	}
}

func TestAnAttemptThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := startWithSecrets(t)
		s.Plant(secretmanagerd.Fault{Method: "AccessSecretVersion", Delay: time.Hour, Times: 1})
		begin := time.Now()
		if _, err := c.Value(t.Context(), source("db-url"), 1); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("took %s, want an attempt of 5 s and a good one", took)
		}
	})
}

func TestTheCallersDeadlineHoldsOverAllAttempts(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GetSecret", "ListSecretVersions", "AccessSecretVersion", "AddSecretVersion"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, c := startWithSecrets(t)
				s.Plant(secretmanagerd.Fault{Method: method, Delay: time.Hour})
				ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
				defer cancel()
				begin := time.Now()
				if err := calls[method](ctx, c); !errors.Is(err, fault.Deadline) {
					t.Errorf("got %v, want %s", err, fault.Deadline)
				}
				if took := time.Since(begin); took > 7*time.Second {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

func TestCancelEndsTheWaitingBetweenAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := startWithSecrets(t)
		s.Plant(secretmanagerd.Fault{Method: "AccessSecretVersion", Code: codes.ResourceExhausted})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Nanosecond, cancel) // sooner than any wait
		_, err := c.Value(ctx, source("db-url"), 1)
		if !errors.Is(err, fault.Canceled) || s.Calls("AccessSecretVersion") > 1 {
			t.Errorf("got %v after %d calls", err, s.Calls("AccessSecretVersion"))
		}
	})
}

// A write whose answer is lost must not be made twice.
func TestALostAnswerAddsOneVersionOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := startWithSecrets(t)
		s.Plant(secretmanagerd.Fault{Method: "AddSecretVersion", Code: codes.Unavailable, After: true})
		if _, err := c.AddVersion(t.Context(), source("db-url"), secret.NewValue("w")); !errors.Is(err, fault.SourceUnavailable) {
			t.Errorf("got %v", err)
		}
		states, err := c.Inspect(t.Context(), []secret.Source{source("db-url")})
		if err != nil || len(states[source("db-url")].Versions) != 2 {
			t.Errorf("got %v, %v; want two versions", states, err)
		}
	})
}

// The first minute's reads go out at once, the others wait for it to pass: no
// read is refused by a service with just that quota.
func TestMetadataReadsArePaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, secretmanagerd.Config{ReadsPerMinute: gsm.DefaultReadsPerMinute}, gsm.Config{})
		var sources []secret.Source
		for n := range 700 {
			sources = append(sources, source("s-"+string(rune('a'+n%26))+"-"+time.Duration(n).String()))
			put(t, s, sources[n].Secret, "v")
		}
		begin := time.Now()
		states, err := c.Inspect(t.Context(), sources)
		if err != nil || len(states) != 700 {
			t.Fatalf("%d states, %v", len(states), err)
		}
		if got := s.Calls("GetSecret") + s.Calls("ListSecretVersions"); got != 1400 {
			t.Errorf("%d reads, want 1,400: none refused", got)
		}
		if took := time.Since(begin); took < 2*time.Minute || took > 2*time.Minute+time.Second {
			t.Errorf("took %s, want the two minutes that 1,400 reads need at %d a minute", took, gsm.DefaultReadsPerMinute)
		}
	})
}

func TestRetriesArePacedToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, secretmanagerd.Config{}, gsm.Config{ReadsPerMinute: 3})
		put(t, s, "db-url", "v")
		s.Plant(secretmanagerd.Fault{Method: "GetSecret", Code: codes.Unavailable, Times: 2})
		begin := time.Now()
		if _, err := c.Inspect(t.Context(), []secret.Source{source("db-url")}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < time.Minute {
			t.Errorf("four reads took %s at three a minute", took)
		}
	})
}

func TestValuesAreNotPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, secretmanagerd.Config{}, gsm.Config{ReadsPerMinute: 1})
		put(t, s, "db-url", "v")
		begin := time.Now()
		for range 50 {
			if _, err := c.Value(t.Context(), source("db-url"), 1); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestInspectLooksAtSixteenSourcesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, secretmanagerd.Config{Latency: time.Second}, gsm.Config{})
		var sources []secret.Source
		for n := range 64 {
			sources = append(sources, source("s-"+time.Duration(n).String()))
			put(t, s, sources[n].Secret, "v")
		}
		begin := time.Now()
		if _, err := c.Inspect(t.Context(), sources); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 8*time.Second {
			t.Errorf("64 sources of two reads of a second each took %s, want 8 s", took)
		}
	})
}

func TestInspectGivesUpTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t, secretmanagerd.Config{}, gsm.Config{})
		s.Plant(secretmanagerd.Fault{Method: "GetSecret", Code: codes.Unavailable})
		sources := make([]secret.Source, 500)
		for n := range sources {
			sources[n] = source("s-" + time.Duration(n).String())
		}
		if _, err := c.Inspect(t.Context(), sources); !errors.Is(err, fault.SourceUnavailable) {
			t.Errorf("got %v", err)
		}
		if got := s.Calls("GetSecret"); got > 16*3 {
			t.Errorf("asked %d times after the service was seen to be down", got)
		}
	})
}

// A value that was damaged on the way is read again, and never handed out.
func TestDamagedValuesAreReadAgain(t *testing.T) {
	t.Parallel()
	damages := map[string]func(*pb.AccessSecretVersionResponse){
		"a flipped bit": func(r *pb.AccessSecretVersionResponse) {
			data := r.GetPayload().GetData()
			r.Payload.Data = append([]byte{data[0] ^ 1}, data[1:]...)
		},
		"a lost end":  func(r *pb.AccessSecretVersionResponse) { r.Payload.Data = r.GetPayload().GetData()[:1] },
		"no checksum": func(r *pb.AccessSecretVersionResponse) { r.Payload.DataCrc32C = nil },
		"no payload":  func(r *pb.AccessSecretVersionResponse) { r.Payload = nil },
	}
	for name, damage := range damages {
		for _, test := range []struct {
			damaged, calls int32
			want           error
		}{{damaged: 2, calls: 3}, {damaged: 99, calls: 3, want: fault.SourceUnavailable}} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var seen atomic.Int32
				c := startDamaging(t, func(r *pb.AccessSecretVersionResponse) {
					if seen.Add(1) <= test.damaged {
						damage(r)
					}
				})
				value, err := c.Value(t.Context(), source("db-url"), 1)
				if !errors.Is(err, test.want) || seen.Load() != test.calls || test.want == nil && value.Reveal() != "value" {
					t.Errorf("got %v after %d calls", err, seen.Load())
				}
			})
		}
	}
}

func TestAnotherVersionThanAskedForIsRefused(t *testing.T) {
	t.Parallel()
	c := startDamaging(t, func(r *pb.AccessSecretVersionResponse) { r.Name = "projects/1/secrets/db-url/versions/2" })
	if _, err := c.Value(t.Context(), source("db-url"), 1); !errors.Is(err, fault.SourceUnavailable) {
		t.Errorf("got %v", err)
	}
}

// startDamaging runs a server whose values pass through damage on their way.
func startDamaging(t *testing.T, damage func(*pb.AccessSecretVersionResponse)) *gsm.Client {
	t.Helper()
	s, err := secretmanagerd.New(secretmanagerd.Config{})
	check(t, err)
	put(t, s, "db-url", "value")
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		answer, err := handle(ctx, req)
		if access, ok := answer.(*pb.AccessSecretVersionResponse); ok && err == nil {
			damage(access)
		}
		return answer, err
	}))
	s.Register(server)
	listener := bufconn.Listen(1 << 16)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return open(t, gsm.Config{
		Endpoint: "damaging", Insecure: true,
		Dial: func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) },
	})
}
