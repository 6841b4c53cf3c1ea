// Package audit records who did what to which name in which scope, with what
// result and how long it took. It never records a value.
//
// There are two sinks, the store and the log. An event counts as recorded if
// one of them took it; the failure of the other is reported. If neither took
// it, the caller must not act: see [Recorder.Record].
package audit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// Operation names what was done.
type Operation string

// The operations.
const (
	SyncIntent      Operation = "sync.intent" // about to write the targets listed
	SyncCompleted   Operation = "sync.completed"
	SecretCreate    Operation = "secret.create"
	SecretUpdate    Operation = "secret.update"
	SecretDelete    Operation = "secret.delete"
	ProjectRegister Operation = "project.register"
	ProjectUpdate   Operation = "project.update"
	ProjectRemove   Operation = "project.unregister"
)

// Operations returns every operation once.
func Operations() []Operation {
	return []Operation{SyncIntent, SyncCompleted, SecretCreate, SecretUpdate, SecretDelete, ProjectRegister, ProjectUpdate, ProjectRemove}
}

// Result says how it went.
type Result string

// The results.
const (
	Intended  Result = "intended"
	Succeeded Result = "succeeded"
	Failed    Result = "failed"
	Partial   Result = "partial"
)

// Event is one thing done or about to be done.
type Event struct {
	ID            string
	At            time.Time
	Operation     Operation
	Result        Result
	Actor         string // issuer and subject of the caller, or the job's name
	ProjectID     string
	Container     string // key of the container
	Secret        secret.Name
	Scope         secret.Scope
	Version       secret.Version
	Targets       []string // intents: scope/name of each target
	SyncID        string
	CorrelationID string
	Code          fault.Code
	Reason        string
	DurationMs    int64
}

// NewID returns an id that sorts by time: 12 hexadecimal digits of the
// milliseconds, then 20 random ones.
func NewID(at time.Time) string {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails: see its documentation
	return fmt.Sprintf("%012x%s", at.UnixMilli(), hex.EncodeToString(random[:]))
}

// Sink takes events. Record takes all of them or returns an error; an event
// with the id of one that it has is the same event and is no error.
type Sink interface {
	Name() string
	Record(ctx context.Context, events []Event) error
}

// Recorder records events in every sink.
type Recorder struct {
	sinks []Sink
	log   *slog.Logger
}

// NewRecorder returns a recorder over the sinks. It reports a failing sink to log.
func NewRecorder(log *slog.Logger, sinks ...Sink) *Recorder { return &Recorder{sinks: sinks, log: log} }

// Record records the events. It returns a [fault.Unavailable] with
// [fault.AuditUnavailable] only if no sink took them. It returns the names of
// the sinks that failed, so that a result can tell.
func (r *Recorder) Record(ctx context.Context, events ...Event) (failed []string, err error) {
	if len(events) == 0 {
		return nil, nil
	}
	errs := make([]error, len(r.sinks))
	var group sync.WaitGroup
	for i, sink := range r.sinks { // at once: whoever acts next waits for the slowest
		group.Go(func() { errs[i] = fault.Contain(func() error { return sink.Record(ctx, events) }) })
	}
	group.Wait()
	var causes []error
	for i, sink := range r.sinks {
		if errs[i] != nil {
			failed = append(failed, sink.Name())
			causes = append(causes, fault.Annotate("audit sink "+sink.Name(), errs[i]))
		}
	}
	if len(failed) == len(r.sinks) {
		return failed, fault.New(fault.AuditUnavailable, "no audit sink took the event").WithCause(errors.Join(causes...))
	}
	for _, cause := range causes {
		r.log.ErrorContext(ctx, "an audit sink failed", "alert", "audit-sink", "error", cause)
	}
	return failed, nil
}
