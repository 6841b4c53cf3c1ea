// Package auditlog is the Cloud Function audit-log.
//
// GET /github/audit lists who did what to which name in which scope, newest
// first, as JSON, CSV or NDJSON. Callers are people with the role viewer for
// the project that they ask about, or for all projects.
package auditlog

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/state"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
)

const name = "audit-log"

func init() { functions.HTTP("AuditLog", backend.Function(name, open)) }

func open(ctx context.Context, b backend.Base) (httpx.Handlers, error) {
	store, err := state.OpenAudit(ctx, b)
	if err != nil {
		return nil, err
	}
	return handlers(store), nil
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Handler returns the function over the audit's store.
func Handler(kit httpx.Kit, store *audit.Store) http.Handler {
	return httpx.Function(catalogue.Lookup(name), kit, handlers(store))
}

func handlers(store *audit.Store) httpx.Handlers {
	h := handler{store: store}
	return httpx.Handlers{"GET /github/audit": h.list}
}

type handler struct{ store *audit.Store }

// event is an event as the API shows it.
type event struct {
	ID            string   `json:"id"`
	At            string   `json:"at"`
	Operation     string   `json:"operation"`
	Result        string   `json:"result"`
	Actor         string   `json:"actor"`
	ProjectID     string   `json:"projectId"`
	Container     string   `json:"container,omitempty"`
	Secret        string   `json:"secret,omitempty"`
	Scope         string   `json:"scope,omitempty"`
	SourceVersion int64    `json:"sourceVersion,omitempty"`
	Targets       []string `json:"targets,omitempty"`
	SyncID        string   `json:"syncId,omitempty"`
	CorrelationID string   `json:"correlationId,omitempty"`
	Code          string   `json:"code,omitempty"`
	Reason        string   `json:"reason,omitempty"`
	DurationMs    int64    `json:"durationMs"`
}

type page struct {
	Events     []event `json:"events"`
	NextCursor *string `json:"nextCursor"` // null on the last page
}

func (h handler) list(w http.ResponseWriter, r *http.Request) error {
	query, err := httpx.ParseQuery(r, "projectId", "operation", "actor", "from", "to", "cursor", "limit", "format")
	if err != nil {
		return err
	}
	ref, named, err := query.Project("projectId")
	if err != nil {
		return err
	}
	if !named {
		ref = httpx.Ref(auth.AllProjects)
	}
	id, err := httpx.Authorize(r.Context(), ref)
	if err != nil {
		return err
	}
	find := audit.Query{Actor: query.Text("actor"), Cursor: query.Text("cursor")}
	if named {
		find.ProjectID = id
	}
	for _, name := range []string{"operation", "actor", "cursor"} {
		if r.URL.Query().Has(name) && query.Text(name) == "" {
			return fault.New(fault.RequestMalformed, "the parameter %s is empty, which would mean all: name one, or leave it out", name)
		}
	}
	if find.Operation, err = operation(query); err != nil {
		return err
	}
	if find.From, err = query.Time("from"); err != nil {
		return err
	}
	if find.To, err = query.Time("to"); err != nil {
		return err
	}
	if !find.From.IsZero() && !find.To.IsZero() && find.From.After(find.To) {
		return fault.New(fault.RequestMalformed, "from is later than to")
	}
	if find.Limit, err = query.Int("limit", 1, maxLimit, defaultLimit); err != nil {
		return err
	}
	format, err := query.OneOf("format", "json", "csv", "ndjson")
	if err != nil {
		return err
	}
	found, next, err := h.store.Find(r.Context(), find)
	if err != nil {
		return err
	}
	events := make([]event, 0, len(found))
	for _, e := range found {
		events = append(events, show(e))
	}
	p := page{Events: events}
	if next != "" {
		p.NextCursor = &next
	}
	return render(w, format, p)
}

// operation returns the operation that is asked for, or none.
func operation(query httpx.Query) (audit.Operation, error) {
	choices := []string{""}
	for _, o := range audit.Operations() {
		choices = append(choices, string(o))
	}
	text, err := query.OneOf("operation", choices...)
	return audit.Operation(text), err
}

func show(e audit.Event) event {
	return event{
		ID: e.ID, At: e.At.UTC().Format(time.RFC3339Nano), Operation: string(e.Operation), Result: string(e.Result), Actor: e.Actor,
		ProjectID: e.ProjectID, Container: e.Container, Secret: string(e.Secret), Scope: string(e.Scope), SourceVersion: int64(e.Version),
		Targets: e.Targets, SyncID: e.SyncID, CorrelationID: e.CorrelationID, Code: string(e.Code), Reason: e.Reason, DurationMs: e.DurationMs,
	}
}

// nextHeader carries the cursor where the body has no place for it.
const nextHeader = "X-Next-Cursor"

func render(w http.ResponseWriter, format string, p page) error {
	if format == "json" {
		return httpx.WriteJSON(w, http.StatusOK, p)
	}
	if p.NextCursor != nil {
		w.Header().Set(nextHeader, *p.NextCursor)
	}
	if format == "ndjson" {
		w.Header().Set("Content-Type", "application/x-ndjson")
		encoder := json.NewEncoder(w)
		for _, e := range p.Events {
			if err := encoder.Encode(e); err != nil {
				return err
			}
		}
		return nil
	}
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	table := csv.NewWriter(w)
	_ = table.Write([]string{"id", "at", "operation", "result", "actor", "projectId", "container", "secret", "scope", "sourceVersion", "targets", "syncId", "correlationId", "code", "reason", "durationMs"})
	for _, e := range p.Events {
		_ = table.Write(harmless(e.ID, e.At, e.Operation, e.Result, e.Actor, e.ProjectID, e.Container, e.Secret, e.Scope,
			versionCell(e.SourceVersion), strings.Join(e.Targets, " "), e.SyncID, e.CorrelationID, e.Code, e.Reason, fmt.Sprint(e.DurationMs)))
	}
	table.Flush()
	return table.Error()
}

// versionCell is empty where there is no version, as the JSON leaves it out.
func versionCell(version int64) string {
	if version == 0 {
		return ""
	}
	return strconv.FormatInt(version, 10)
}

// harmless keeps a spreadsheet from taking a cell for a formula. Source:
// owasp.org/www-community/attacks/CSV_Injection.
func harmless(cells ...string) []string {
	for i, cell := range cells {
		if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			cells[i] = "'" + cell
		}
	}
	return cells
}
