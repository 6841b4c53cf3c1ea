// Package state opens the document databases of a deployed function.
package state

import (
	"context"
	"log/slog"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/gcp/firedoc"
)

// Open returns the database of projects, ledgers, leases and marks.
func Open(ctx context.Context, b backend.Base) (docstore.Store, error) {
	return open(ctx, b, b.Config.StateDatabase)
}

// OpenAuditDocs returns the database of audit events.
func OpenAuditDocs(ctx context.Context, b backend.Base) (docstore.Store, error) {
	return open(ctx, b, b.Config.AuditDatabase)
}

// OpenAudit returns the audit's sink in the audit database.
func OpenAudit(ctx context.Context, b backend.Base) (*audit.Store, error) {
	docs, err := OpenAuditDocs(ctx, b)
	if err != nil {
		return nil, err
	}
	return audit.NewStore(docs, time.Duration(b.Config.AuditRetentionDays)*24*time.Hour), nil
}

// OpenRecorder returns the recorder over both sinks: the audit database and
// the log.
func OpenRecorder(ctx context.Context, b backend.Base) (*audit.Recorder, error) {
	store, err := OpenAudit(ctx, b)
	if err != nil {
		return nil, err
	}
	return NewRecorder(b.Kit.Log, store), nil
}

// NewRecorder returns the recorder over a store and the log.
func NewRecorder(log *slog.Logger, store *audit.Store) *audit.Recorder {
	return audit.NewRecorder(log, store, audit.NewLogSink(log.Handler()))
}

func open(ctx context.Context, b backend.Base, database string) (docstore.Store, error) {
	c := firedoc.Config{Project: b.Config.GCPProject, Database: database, EmulatorHost: b.Config.FirestoreEmulator}
	return firedoc.Open(ctx, c, b.Kit.Clock)
}
