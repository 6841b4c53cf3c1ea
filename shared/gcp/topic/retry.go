package topic

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	attempts = 3                // the first time included
	timeout  = 10 * time.Second // of one attempt
)

// backoff is exponential with full jitter: before the nth repetition, any time
// up to base × 2ⁿ⁻¹.
// Source: google.aip.dev/client-libraries/4221.
type backoff struct{ base time.Duration }

var (
	// passing is for failures that say nothing about the next attempt.
	passing = backoff{200 * time.Millisecond}
	// refused is for a spent quota.
	refused = backoff{2 * time.Second}
)

// repeated are the answers that are worth another attempt: those that Google's
// own clients repeat a Publish for. The others would be answered the same again.
// Source: pubsub_grpc_service_config.json in googleapis/googleapis.
var repeated = map[codes.Code]backoff{
	codes.Aborted: passing, codes.Canceled: passing, codes.DeadlineExceeded: passing, codes.Internal: passing,
	codes.Unavailable: passing, codes.Unknown: passing, codes.ResourceExhausted: refused,
}

// retry calls f until it succeeds, answers what is not worth repeating, or has
// been called [attempts] times, and returns its last error. Each call has a
// context of its own, which ends when the call returns.
func (p *Publisher) retry(ctx context.Context, f func(context.Context) error) error {
	for n := 1; ; n++ {
		err := bounded(ctx, f)
		wait, again := repeated[code(err)]
		if err == nil || ctx.Err() != nil || n == attempts || !again {
			return err
		}
		if slept := p.clock.Sleep(ctx, rand.N(wait.base<<(n-1))); slept != nil {
			return slept
		}
	}
}

func bounded(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return f(ctx)
}

// code returns the status code of an error of the client's.
func code(err error) codes.Code {
	if errors.Is(err, context.DeadlineExceeded) {
		return codes.DeadlineExceeded
	}
	return status.Code(err)
}
