package audit

import (
	"context"
	"log/slog"

	"github.com/sealpost/sealpost/shared/fault"
)

// LogSink writes each event as one line of the log, from where a log sink of
// the platform takes it to a locked bucket.
type LogSink struct{ handler slog.Handler }

// NewLogSink returns a sink over the handler, whose errors count as failures;
// a Logger would drop them.
func NewLogSink(handler slog.Handler) *LogSink { return &LogSink{handler: handler} }

// Name returns "log".
func (*LogSink) Name() string { return "log" }

// Record writes the events. It returns a [fault.Unavailable] if the log cannot
// be written.
func (s *LogSink) Record(ctx context.Context, events []Event) error {
	for _, e := range events {
		record := slog.NewRecord(e.At, slog.LevelInfo, "audit", 0)
		// Plain strings and numbers: what has another type is rendered by way of JSON.
		record.AddAttrs(slog.Group("audit",
			"id", e.ID, "operation", string(e.Operation), "result", string(e.Result), "actor", e.Actor, "projectId", e.ProjectID,
			"container", e.Container, "secret", string(e.Secret), "scope", string(e.Scope), "version", int64(e.Version), "targets", e.Targets,
			"syncId", e.SyncID, "correlationId", e.CorrelationID, "code", string(e.Code), "reason", e.Reason, "durationMs", e.DurationMs))
		if err := s.handler.Handle(ctx, record); err != nil {
			return fault.Wrap(fault.Unavailable, "write the audit log", err)
		}
	}
	return nil
}
