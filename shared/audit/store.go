package audit

import (
	"context"
	"slices"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// DefaultRetention is how long events are kept in the store.
const DefaultRetention = 400 * 24 * time.Hour

// Store is the sink that can be asked. It keeps events in the audit database.
type Store struct {
	docs      docstore.Store
	retention time.Duration
}

// NewStore returns a sink that keeps each event for the retention; 0 means
// [DefaultRetention].
func NewStore(docs docstore.Store, retention time.Duration) *Store {
	if retention <= 0 {
		retention = DefaultRetention
	}
	return &Store{docs: docs, retention: retention}
}

// Name returns "store".
func (*Store) Name() string { return "store" }

// Record stores the events, each as one document. Errors are those of
// docstore.Store.Commit.
func (s *Store) Record(ctx context.Context, events []Event) error {
	for chunk := range slices.Chunk(events, docstore.MaxCommitWrites) {
		writes := make([]docstore.Write, 0, len(chunk))
		for _, e := range chunk {
			write, err := collection.Put(e.ID, storeEvent(e), docstore.Always())
			if err != nil {
				return err
			}
			write.ExpireAt = e.At.Add(s.retention).Truncate(time.Microsecond) // as the store keeps times
			writes = append(writes, write)
		}
		if _, err := s.docs.Commit(ctx, writes...); err != nil {
			return fault.Annotate("audit.Record", err)
		}
	}
	return nil
}

// Query selects events, newest first. Empty fields select all.
type Query struct {
	ProjectID string
	Operation Operation
	Actor     string
	From, To  time.Time // From included, To not
	Limit     int       // 1 to docstore.MaxListLimit
	Cursor    string
}

// Find returns one page of events and the cursor of the next, empty if this is
// the last. Errors are those of docstore.Store.List.
func (s *Store) Find(ctx context.Context, q Query) ([]Event, string, error) {
	query := docstore.Query{OrderBy: &docstore.Order{Path: "at", Descending: true}, Limit: q.Limit, Cursor: q.Cursor}
	equal := func(path, value string) {
		if value != "" {
			query.Where = append(query.Where, docstore.Filter{Path: path, Op: docstore.Equal, Value: value})
		}
	}
	equal("projectId", q.ProjectID)
	equal("operation", string(q.Operation))
	equal("actor", q.Actor)
	if !q.From.IsZero() {
		query.Where = append(query.Where, docstore.Filter{Path: "at", Op: docstore.GreaterOrEqual, Value: q.From.Truncate(time.Microsecond)})
	}
	if !q.To.IsZero() {
		query.Where = append(query.Where, docstore.Filter{Path: "at", Op: docstore.Less, Value: q.To.Truncate(time.Microsecond)})
	}
	records, next, err := collection.List(ctx, s.docs, query)
	if err != nil {
		return nil, "", fault.Annotate("audit.Find", err)
	}
	events := make([]Event, 0, len(records))
	for _, r := range records {
		events = append(events, r.Value.event(r.ID))
	}
	return events, next, nil
}

type storedEvent struct {
	At            time.Time `doc:"at"`
	Operation     string    `doc:"operation"`
	Result        string    `doc:"result"`
	Actor         string    `doc:"actor"`
	ProjectID     string    `doc:"projectId"`
	Container     string    `doc:"container,omitempty"`
	Secret        string    `doc:"secret,omitempty"`
	Scope         string    `doc:"scope,omitempty"`
	Version       int64     `doc:"version,omitempty"`
	Targets       []string  `doc:"targets,omitempty"`
	SyncID        string    `doc:"syncId,omitempty"`
	CorrelationID string    `doc:"correlationId,omitempty"`
	Code          string    `doc:"code,omitempty"`
	Reason        string    `doc:"reason,omitempty"`
	DurationMs    int64     `doc:"durationMs"`
}

var collection = docstore.Collection[storedEvent]{Name: "secret_sync_events", Version: 1}

func storeEvent(e Event) storedEvent {
	return storedEvent{
		At: e.At, Operation: string(e.Operation), Result: string(e.Result), Actor: e.Actor, ProjectID: e.ProjectID,
		Container: e.Container, Secret: string(e.Secret), Scope: string(e.Scope), Version: int64(e.Version), Targets: e.Targets,
		SyncID: e.SyncID, CorrelationID: e.CorrelationID, Code: string(e.Code), Reason: e.Reason, DurationMs: e.DurationMs,
	}
}

func (s storedEvent) event(id string) Event {
	return Event{
		ID: id, At: s.At, Operation: Operation(s.Operation), Result: Result(s.Result), Actor: s.Actor, ProjectID: s.ProjectID,
		Container: s.Container, Secret: secret.Name(s.Secret), Scope: secret.Scope(s.Scope), Version: secret.Version(s.Version), Targets: s.Targets,
		SyncID: s.SyncID, CorrelationID: s.CorrelationID, Code: fault.Code(s.Code), Reason: s.Reason, DurationMs: s.DurationMs,
	}
}
