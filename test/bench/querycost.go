package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/test/queries"
)

// operation is one thing that a function does, with what it may cost in
// documents, as Firestore bills them.
type operation struct {
	function string
	name     string
	rule     rule // where it is atMost, the basis says what varies
	reads    int
	writes   int
	deletes  int
	basis    string
	do       func(context.Context, *queries.Site) error
}

// A draw from the pace that workers share is a read and a write; how many there
// are depends on how many requests are in flight at once.
const withDraws = ", and draws from the shared pace, a read and a write each"

// operations are done one after the other, at one project of ten secrets in
// three scopes. A new function is a line here, and a handler in test/queries.
var operations = []operation{
	{
		"projects", "register", exactly, 2, 4, 1, "project, ledger; an intent and an outcome; what was known of its sources goes",
		call("projects", http.MethodPost, "/projects", queries.Manifest("OLD_*")),
	},
	{
		"projects", "replace", exactly, 3, 3, 1, "project twice, ledger; an intent and an outcome; what was known of its sources goes",
		call("projects", http.MethodPut, projectPath, queries.Manifest("LEGACY_*")),
	},
	{
		"projects", "replace, nothing changed", exactly, 1, 0, 0, "project",
		call("projects", http.MethodPut, projectPath, queries.Manifest("LEGACY_*")),
	},
	{"projects", "get", exactly, 1, 0, 0, "project", call("projects", http.MethodGet, projectPath, "")},
	{
		"sync-secrets", "dry run, new project", exactly, 5, 1, 0, "project, ledger, lease, exclusions, versions; the versions once",
		syncs(`"dryRun":true`),
	},
	{"sync-secrets", "first sync", atMost, 22, 53, 0, "7 and 38: an event each, 8 more" + withDraws, syncs(`"force":false`)},
	{"sync-secrets", "nothing changed", atMost, 8, 4, 0, "7 and 3, however many secrets" + withDraws, syncs(`"force":false`)},
	{"sync-secrets", "left to the workers", exactly, 2, 1, 0, "project, mark", syncs(`"async":true`)},
	{
		"sync-worker", "a request, nothing changed", atMost, 12, 6, 1, "a sync and the mark, which goes" + withDraws,
		pushed("sync-worker", (*queries.Site).Nudge),
	},
	{"sync-worker", "no request", exactly, 1, 0, 0, "mark", pushed("sync-worker", (*queries.Site).Nudge)},
	{"scheduled-sync", "one project", exactly, 2, 1, 0, "project, mark", pushed("scheduled-sync", nothing)},
	{
		"dispatcher", "one mark due", exactly, 4, 1, 0, "mark twice, pace of its account, versions",
		pushed("dispatcher", nothing),
	},
	{"dispatcher", "nothing due", exactly, 2, 0, 0, "two listings", pushed("dispatcher", nothing)},
	{"secret-changed", "a source as before", exactly, 1, 1, 0, "versions", pushed("secret-changed", changed)},
	{
		"sync-status", "ten secrets", exactly, 5, 0, 0, "project, exclusions, ledger, lease, mark",
		call("sync-status", http.MethodGet, "/github/secrets/sync/status?projectId="+queries.ProjectID, ""),
	},
	{
		"audit-log", "a page of 50", exactly, pageOfEvents, 0, 0, "an event each",
		call("audit-log", http.MethodGet, fmt.Sprintf("/github/audit?limit=%d", pageOfEvents), ""),
	},
	{
		"audit-log", "nothing found", exactly, 1, 0, 0, "a listing",
		call("audit-log", http.MethodGet, "/github/audit?actor=nobody", ""),
	},
	{"health", "ready", exactly, 2, 0, 0, "one a database", call("health", http.MethodGet, "/readyz", "")},
	{"health", "live", exactly, 0, 0, 0, "", call("health", http.MethodGet, "/healthz", "")},
	{
		"projects", "remove", exactly, 2, 3, 2, "project, which goes, ledger, what was known of its sources; an intent and an outcome",
		call("projects", http.MethodDelete, projectPath, ""),
	},
}

// pageOfEvents is how long a page of the audit is. The one document more that
// firedoc reads, to learn whether there is a next page, is not counted.
const pageOfEvents = 50

const projectPath = "/projects/" + queries.ProjectID

// queryCost measures every operation through the function's own handler, all in
// this process.
func queryCost(ctx context.Context, _ *lab) (t trial, err error) {
	databases, closeAll, err := queries.InMemory()
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	state, events := docstore.NewCounting(databases.State), docstore.NewCounting(databases.Audit)
	site, err := queries.Open(ctx, queries.Databases{State: state, Audit: events})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	var earlier []audit.Event
	for range pageOfEvents {
		now := site.Clock.Now()
		earlier = append(earlier, audit.Event{ID: audit.NewID(now), At: now})
	}
	if err := site.Events.Record(ctx, earlier); err != nil {
		return t, err
	}
	t.figures = figures{}
	for _, o := range operations {
		state.Reset()
		events.Reset()
		if err := o.do(ctx, site); err != nil {
			return t, fmt.Errorf("%s, %s: %w", o.function, o.name, err)
		}
		a, b := state.Counts(), events.Counts()
		t.figures[o.figure("reads")] = float64(a.Reads + b.Reads)
		t.figures[o.figure("writes")] = float64(a.Writes + b.Writes)
		t.figures[o.figure("deletes")] = float64(a.Deletes + b.Deletes)
	}
	return t, nil
}

func (o operation) figure(what string) string { return o.function + ", " + o.name + ": " + what }

// queryBounds are the bounds of all operations.
func queryBounds() []bound {
	var bounds []bound
	for _, o := range operations {
		for _, b := range []struct {
			what  string
			limit int
		}{{"reads", o.reads}, {"writes", o.writes}, {"deletes", o.deletes}} {
			b := bound{figure: o.figure(b.what), rule: o.rule, limit: float64(b.limit), basis: o.basis}
			if b.limit == 0 {
				b.rule = exactly
			}
			bounds = append(bounds, b)
		}
	}
	return bounds
}

// call returns a request to a function of that name.
func call(function, method, target, body string) func(context.Context, *queries.Site) error {
	return func(ctx context.Context, s *queries.Site) error {
		_, err := s.Call(ctx, function, method, target, body)
		return err
	}
}

// syncs returns a request to sync, with one more member in its body.
func syncs(member string) func(context.Context, *queries.Site) error {
	return call("sync-secrets", http.MethodPost, "/github/secrets/sync", queries.SyncBody(member))
}

// pushed returns a message to a function.
func pushed(function string, attributes func(*queries.Site) map[string]string) func(context.Context, *queries.Site) error {
	return func(ctx context.Context, s *queries.Site) error { return s.Push(ctx, function, attributes(s)) }
}

func changed(*queries.Site) map[string]string { return queries.Changed(0) }

func nothing(*queries.Site) map[string]string { return nil }
