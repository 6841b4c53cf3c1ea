package syncer

import (
	"context"
	"errors"
	"time"

	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// Targets is the side that copies are written to. The adapter seals values,
// keeps the pace, retries what is worth retrying and counts what it sends in
// the context's [pace.Meter].
//
// Besides the kinds named below, every method returns [fault.Denied] with the
// code [fault.PermissionMissing] or [fault.CredentialsRejected],
// [fault.Exhausted] with [fault.RateLimitExhausted] and a RetryAfter when the
// hourly quota is spent or GitHub went on refusing, [fault.Unavailable] with
// [fault.GitHubUnavailable] when GitHub failed or did not answer, and the
// context's own error kinds. Put and Delete ask the context's [pace.Guard]
// right before they send, and return its error. What they return before they
// have sent anything that may take effect is marked by [NotSent]. Once sent, a
// write is awaited although its context ends, for a while. Whether a write that
// failed otherwise took effect is not known: the next List tells.
type Targets interface {
	// List returns every secret of one scope. It returns a
	// [fault.Unprocessable] with [fault.TargetNotFound] if GitHub does not know
	// the container or the environment.
	List(ctx context.Context, c project.Container, scope secret.Scope) (plan.Listing, error)

	// Prepare fetches what the first Put to a scope waits for, the scope's key,
	// so that it can be had at the same time as the lists.
	Prepare(ctx context.Context, c project.Container, scope secret.Scope) error

	// Put creates or replaces one secret. It returns a [fault.TooLarge] with
	// [fault.ValueTooLarge], a [fault.Upstream] with [fault.EncryptionFailed]
	// if GitHub could not open the sealed value under a fresh key either, and a
	// [fault.Unprocessable] with [fault.TargetRejected],
	// [fault.CapacityExceeded] or [fault.TargetNotFound].
	Put(ctx context.Context, c project.Container, w Put) (Receipt, error)

	// Delete removes one secret. Removing what is not there succeeds.
	Delete(ctx context.Context, c project.Container, scope secret.Scope, name secret.Name) (Receipt, error)

	// Quota returns the hourly quota of the credentials that serve this
	// container, as GitHub last told it, asking GitHub only if it has not told
	// yet. A zero Limit means that GitHub sets none.
	Quota(ctx context.Context, c project.Container) (Quota, error)

	// Reserve sets requests of that quota aside for a run that is about to begin
	// its writes, from the context's meter on, so that no other run counts on
	// them. Too few are a [fault.Exhausted] with a RetryAfter, and nothing is set
	// aside. Release gives back what was not sent, and returns when its context
	// ends at the latest.
	Reserve(ctx context.Context, c project.Container, requests int) (release func(context.Context), err error)
}

// NotSent marks an error as that of a write of which nothing was sent. It keeps
// all that the error says, and returns nil for nil.
func NotSent(err error) error {
	if err == nil {
		return nil
	}
	return notSent{err}
}

type notSent struct{ error }

func (n notSent) Unwrap() error { return n.error }

// Unsent reports whether the error is marked by [NotSent].
func Unsent(err error) bool {
	var marked notSent
	return errors.As(err, &marked)
}

// Put is one secret to be written, whole.
type Put struct {
	Scope  secret.Scope
	Name   secret.Name
	Value  secret.Value
	Access *project.Access // organisation scopes only, and there always
}

// Receipt is GitHub's answer to a write.
type Receipt struct {
	Created bool      // 201: the secret was not there before
	Retried bool      // an earlier attempt may have taken effect, so Created says nothing
	At      time.Time // GitHub's clock: the Date of the answer
}

// Quota is the hourly budget of one set of credentials.
type Quota = pace.Quota

// Sources is where values come from.
//
// Besides the kinds named below, both methods return [fault.Unavailable] with
// [fault.SourceUnavailable], [fault.Denied] with [fault.SourceNotPermitted] if
// Sealpost's own identity lacks a right there, and the context's error kinds.
type Sources interface {
	// Inspect returns the state of each source without reading any value. A
	// source that does not exist, or that Sealpost may not look at, has a state
	// that says so and keeps it from no other.
	Inspect(ctx context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error)

	// Value reads the value of one version, where version 0 stands for a source
	// that does not count. It returns [fault.Unprocessable] with
	// [fault.SourceMissing], [fault.SourceDisabled] or [fault.SourceDestroyed].
	Value(ctx context.Context, source secret.Source, version secret.Version) (secret.Value, error)
}
