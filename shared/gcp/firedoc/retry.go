package firedoc

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

// How often and how long. An attempt that outlives its time counts as
// DEADLINE_EXCEEDED and is repeated while the caller's context lives.
const (
	attempts      = 3
	firstBackoff  = 100 * time.Millisecond // doubled each time, with full jitter
	readTimeout   = 10 * time.Second
	listTimeout   = 30 * time.Second
	commitTimeout = 10 * time.Second
)

// retryRead tells which answers to a read are worth repeating it.
func retryRead(c codes.Code) bool {
	return among(c, codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Internal, codes.Aborted)
}

// retryCommit tells which answers to a commit are worth repeating it. ABORTED
// tells a conditioned commit that another is at its documents: it has lost and
// shall learn so at once.
func retryCommit(writes []docstore.Write) func(codes.Code) bool {
	create, compare := conditions(writes)
	return func(c codes.Code) bool {
		return among(c, codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted) ||
			c == codes.Aborted && !create && !compare
	}
}

func among(c codes.Code, some ...codes.Code) bool { return slices.Contains(some, c) }

// retry calls f until it succeeds, answers what is not worth repeating, or has
// been called [attempts] times, and returns its last error. Each call has a
// context of its own, which ends when the call returns.
func (s *Store) retry(ctx context.Context, timeout time.Duration, worth func(codes.Code) bool, f func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		err := bounded(ctx, timeout, f)
		if err == nil || ctx.Err() != nil || attempt == attempts || !worth(code(err)) {
			return err
		}
		if slept := s.clock.Sleep(ctx, rand.N(firstBackoff<<(attempt-1))); slept != nil {
			return slept
		}
	}
}

func bounded(ctx context.Context, timeout time.Duration, f func(context.Context) error) error {
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

// failure gives an answer its kind. What cannot be told from an outage by
// whoever called is [fault.Unavailable]; a database that is missing or may not be
// used is a fault of the deployment, as is a request that Firestore does not
// understand: [fault.Internal].
func failure(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.KindOf(ctx.Err()), op, nil)
	}
	cause := errors.New("Firestore answered " + code(err).String())
	if among(code(err), codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted, codes.Canceled) {
		return fault.Wrap(fault.Unavailable, op, cause)
	}
	return fault.Wrap(fault.Internal, op, cause)
}

// annotateStored is for what was stored and cannot be read back.
func annotateStored(op string, err error) error {
	if err == nil {
		return nil
	}
	return fault.Wrap(fault.Internal, op, err)
}
