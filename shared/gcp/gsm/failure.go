package gsm

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealpost/sealpost/shared/fault"
)

// quotaPeriod is over which Secret Manager counts its quotas.
const quotaPeriod = time.Minute

// failure maps what Secret Manager answered to a fault about what was asked
// for, such as acme/db-url@7. Only the answer's code is kept.
func failure(ctx context.Context, op, what string, err error) error {
	if ctx.Err() != nil {
		return fault.Wrap(fault.KindOf(ctx.Err()), op+" "+what, nil)
	}
	code := status.Code(err)
	cause := errors.New("Secret Manager answered " + code.String())
	return describe(code, what).WithOp(op + " " + what).WithCause(cause)
}

func describe(code codes.Code, what string) *fault.Error {
	switch code {
	case codes.NotFound, codes.InvalidArgument:
		return fault.New(fault.SourceMissing, "Secret Manager knows no %s", what)
	case codes.PermissionDenied, codes.Unauthenticated:
		return fault.New(fault.SourceNotPermitted, "Sealpost's own identity lacks a right on %s, or it does not exist", what).
			WithRemedy("Grant Sealpost's service account roles/secretmanager.viewer and roles/secretmanager.secretAccessor on the secret.", "")
	case codes.ResourceExhausted:
		return fault.New(fault.SourceUnavailable, "Secret Manager's quota is spent; it was asked about %s", what).WithRetryAfter(quotaPeriod)
	default:
		return fault.New(fault.SourceUnavailable, "Secret Manager failed on %s", what)
	}
}
