package gsm

import (
	"context"
	"math/rand/v2"
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sealpost/sealpost/shared/clock"
)

// attempts is how often a call is made at the most, the first time included.
const attempts = 3

// policy is how one method is called.
type policy struct {
	// timeout is what one attempt may take. The caller's own deadline covers
	// all attempts and the waiting between them.
	timeout time.Duration
	// retry says which answers are worth another attempt, and how long to wait
	// before it.
	retry map[codes.Code]backoff
	// metadata says that it counts against the quota of metadata reads.
	metadata bool
}

// backoff is exponential with full jitter: before the nth repetition, any time
// up to base × 2ⁿ⁻¹, but at most the ceiling.
// Source: google.aip.dev/client-libraries/4221.
type backoff struct{ base, ceiling time.Duration }

var (
	// passing is for failures that say nothing about the next attempt.
	passing = backoff{base: 200 * time.Millisecond, ceiling: 2 * time.Second}
	// refused is for a spent quota, which comes back over a minute.
	refused = backoff{base: 2 * time.Second, ceiling: 20 * time.Second}
)

// Reads can be repeated whatever became of the attempt before. NotFound,
// PermissionDenied, FailedPrecondition and InvalidArgument would be answered
// the same again. DataLoss is ours: see intact.
var (
	readRetry = map[codes.Code]backoff{
		codes.Unavailable: passing, codes.Internal: passing, codes.DeadlineExceeded: passing,
		codes.Aborted: passing, codes.DataLoss: passing, codes.ResourceExhausted: refused,
	}
	// A write is repeated only if it was refused before it could take effect:
	// repeating one whose answer was lost would add a second version.
	writeRetry = map[codes.Code]backoff{codes.ResourceExhausted: refused}
)

// policies names every method that is called; no other can be.
var policies = map[string]policy{
	pb.SecretManagerService_GetSecret_FullMethodName:           {timeout: 5 * time.Second, retry: readRetry, metadata: true},
	pb.SecretManagerService_ListSecretVersions_FullMethodName:  {timeout: 5 * time.Second, retry: readRetry, metadata: true},
	pb.SecretManagerService_GetSecretVersion_FullMethodName:    {timeout: 5 * time.Second, retry: readRetry, metadata: true},
	pb.SecretManagerService_AccessSecretVersion_FullMethodName: {timeout: 5 * time.Second, retry: readRetry},
	pb.SecretManagerService_CreateSecret_FullMethodName:        {timeout: 10 * time.Second, retry: writeRetry},
	pb.SecretManagerService_AddSecretVersion_FullMethodName:    {timeout: 10 * time.Second, retry: writeRetry},
}

// caller makes each call by its policy. It stands in the connection, so that
// every page of a listing and every repetition passes it.
type caller struct {
	clock clock.Clock
	reads *pacer
}

func (c *caller) intercept(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	p, ok := policies[method]
	if !ok {
		return status.Error(codes.Unimplemented, "no policy for "+method)
	}
	for n := 1; ; n++ {
		err := c.attempt(ctx, p, reply, func(ctx context.Context) error { return invoke(ctx, method, req, reply, conn, opts...) })
		wait, again := p.retry[status.Code(err)]
		if err == nil || !again || n == attempts || ctx.Err() != nil {
			return err
		}
		if err := c.clock.Sleep(ctx, wait.jittered(n)); err != nil {
			return err
		}
	}
}

func (c *caller) attempt(ctx context.Context, p policy, reply any, invoke func(context.Context) error) error {
	if p.metadata {
		if err := c.reads.wait(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if message, ok := reply.(proto.Message); ok {
		proto.Reset(message) // of what a failed attempt may have left
	}
	if err := invoke(ctx); err != nil {
		return err
	}
	return intact(reply)
}

// intact compares a value with its checksum. A mismatch, or no checksum, is
// damage on the way, which a repetition repairs.
// Source: cloud.google.com/secret-manager/docs/data-integrity.
func intact(reply any) error {
	access, ok := reply.(*pb.AccessSecretVersionResponse)
	if !ok {
		return nil
	}
	payload := access.GetPayload()
	if payload == nil || payload.DataCrc32C == nil || payload.GetDataCrc32C() != checksum(payload.GetData()) {
		return status.Error(codes.DataLoss, "the value does not match its checksum")
	}
	return nil
}

func (b backoff) jittered(n int) time.Duration {
	limit := min(b.ceiling, b.base<<(n-1))
	return rand.N(limit) + 1
}
