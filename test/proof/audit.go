package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/syncer"
)

// outage is what of the audit fails, and from which call on.
type outage struct {
	store, log atomic.Bool
	from       int64 // of a sink's calls, counted from 0
	storeCalls atomic.Int64
	logCalls   atomic.Int64
}

// brokenStore is the audit's store.
type brokenStore struct {
	docstore.Store
	outage *outage
}

func (s brokenStore) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	if n := s.outage.storeCalls.Add(1); s.outage.store.Load() && n > s.outage.from {
		return time.Time{}, fault.Wrap(fault.Unavailable, "commit", nil)
	}
	return s.Store.Commit(ctx, writes...)
}

// brokenLog is what the audit's log is written to, a line for each call.
type brokenLog struct{ outage *outage }

func (w brokenLog) Write(line []byte) (int, error) {
	if n := w.outage.logCalls.Add(1); w.outage.log.Load() && n > w.outage.from {
		return 0, io.ErrClosedPipe
	}
	return len(line), nil
}

// proveAudit calls the sync route while sinks of the audit fail.
func proveAudit(ctx context.Context, l *lab) (_ string, err error) {
	h, err := l.startHub(ctx, 1, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, h.process.stop()) }()
	var f findings
	for _, try := range []func(context.Context, *lab, *hub, *findings) error{bothSinks, storeSink, logSink, bothSinksMeanwhile} {
		if err := try(ctx, l, h, &f); err != nil {
			return "", err
		}
	}
	return "both: 503 and no write; either: everything written, with a warning; both half-way: no further batch, the next run completes", f.err()
}

// audited is a local server whose audit can fail.
type audited struct {
	site   site
	local  *local.Server
	server server
	outage *outage
}

// startAudited starts a local server in this process, at a hub in another.
func startAudited(ctx context.Context, h *hub, secrets int) (*audited, error) {
	s, err := h.site(ctx, secrets)
	if err != nil {
		return nil, err
	}
	v, err := startLocal(ctx, s, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	a := &audited{site: s, local: v, outage: new(outage)}
	v.Engine.Audit = audit.NewRecorder(slog.New(slog.DiscardHandler),
		audit.NewStore(brokenStore{v.Store, a.outage}, 0), audit.NewLogSink(slog.NewJSONHandler(brokenLog{a.outage}, nil)))
	token, err := v.Token("alice", auth.Grants{auth.AllProjects: {catalogue.Operator}}, time.Hour)
	if err == nil {
		a.server = server{URL: v.URL, Token: token}
		err = a.server.register(ctx, s)
	}
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return a, nil
}

// sync calls the route and reads the answer as a result or as a problem.
func (a *audited) sync(ctx context.Context) (status int, result syncer.Result, code fault.Code, err error) {
	status, body, err := a.server.post(ctx, "/github/secrets/sync", `{"projectId":"payments"}`)
	switch {
	case err != nil:
	case status == http.StatusOK:
		err = json.Unmarshal(body, &result)
	default:
		var problem struct{ Code fault.Code }
		err = json.Unmarshal(body, &problem)
		code = problem.Code
	}
	return status, result, code, err
}

func bothSinks(ctx context.Context, _ *lab, h *hub, f *findings) (err error) {
	a, err := startAudited(ctx, h, crowdSecrets)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.local.Close()) }()
	a.outage.store.Store(true)
	a.outage.log.Store(true)
	status, _, code, err := a.sync(ctx)
	if err != nil {
		return err
	}
	if status != http.StatusServiceUnavailable || code != fault.AuditUnavailable {
		f.add("both sinks: status %d and %s, not 503 and %s", status, code, fault.AuditUnavailable)
	}
	held, err := h.held(ctx, a.site)
	if len(held) > 0 {
		f.add("both sinks: %d targets were written", len(held))
	}
	return err
}

func storeSink(ctx context.Context, _ *lab, h *hub, f *findings) error {
	return oneSink(ctx, h, f, "store", func(o *outage) { o.store.Store(true) })
}

func logSink(ctx context.Context, _ *lab, h *hub, f *findings) error {
	return oneSink(ctx, h, f, "log", func(o *outage) { o.log.Store(true) })
}

func oneSink(ctx context.Context, h *hub, f *findings, sink string, fail func(*outage)) (err error) {
	a, err := startAudited(ctx, h, crowdSecrets)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.local.Close()) }()
	fail(a.outage)
	status, result, _, err := a.sync(ctx)
	if err != nil {
		return err
	}
	if status != http.StatusOK || result.Status != syncer.StatusSucceeded {
		f.add("the sink %s: status %d, %s", sink, status, result.Status)
	}
	if want := "the audit sink " + sink + " failed"; !slices.Contains(result.Warnings, want) {
		f.add("the sink %s: the warnings are %q", sink, result.Warnings)
	}
	h.checkRight(ctx, a.site, f)
	return nil
}

// bothSinksMeanwhile lets the sinks take the first intent and the first
// outcomes, and fail from then on.
func bothSinksMeanwhile(ctx context.Context, _ *lab, h *hub, f *findings) (err error) {
	a, err := startAudited(ctx, h, killSecrets)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.local.Close()) }()
	a.outage.from = 1 // the intent
	a.outage.store.Store(true)
	a.outage.log.Store(true)
	_, result, _, err := a.sync(ctx)
	if err != nil {
		return err
	}
	held, err := h.held(ctx, a.site)
	if err != nil {
		return err
	}
	if n := len(held); n == 0 || n > syncer.BatchSize {
		f.add("both sinks half-way: %d targets were written, and a batch is %d", n, syncer.BatchSize)
	}
	if len(result.Results) > 0 {
		checkItems(a.site, result, held, f)
	} else {
		f.add("both sinks half-way: the answer does not tell what was written")
	}
	a.outage.store.Store(false)
	a.outage.log.Store(false)
	status, result, _, err := a.sync(ctx)
	if err != nil {
		return err
	}
	if status != http.StatusOK || result.Status != syncer.StatusSucceeded || result.Summary.Conflicts > 0 {
		f.add("after both sinks came back: status %d, %s, %d conflicts", status, result.Status, result.Summary.Conflicts)
	}
	h.checkRight(ctx, a.site, f)
	events, err := a.site.localEvents(ctx, a.local)
	if err != nil {
		return err
	}
	log, err := h.Requests(ctx)
	if err != nil {
		return err
	}
	for _, gap := range gaps(a.site, a.site.writes(log), events) {
		f.add("after both sinks came back: %s", gap)
	}
	return nil
}

// localEvents returns what the store of a local server has of the audit.
func (s site) localEvents(ctx context.Context, v *local.Server) ([]audit.Event, error) {
	events, next, err := audit.NewStore(v.Store, 0).Find(ctx, audit.Query{Limit: docstore.MaxListLimit})
	if err == nil && next != "" {
		err = fmt.Errorf("%s has more events than a page holds", s.Repo)
	}
	return events, err
}
