package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/dispatch"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/quota"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// world is a store, a topic and an engine that does what it is told.
type world struct {
	t     *testing.T
	store docstore.Store
	topic topic
	spare map[string]quota.Spare

	mu     sync.Mutex
	ran    []syncer.Request
	engine func(context.Context, syncer.Request) (syncer.Result, error)
}

// topic keeps what was published.
type topic struct {
	mu     sync.Mutex
	nudges []string
	err    error
}

func (p *topic) Publish(_ context.Context, name string, messages ...event.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	for _, m := range messages {
		n, err := dispatch.ParseNudge(m)
		if err != nil || name != event.SyncRequests {
			return fmt.Errorf("%s: %w", name, err)
		}
		p.nudges = append(p.nudges, n.Container)
	}
	return nil
}

// take returns what was published since the last time.
func (p *topic) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.nudges = nil }()
	return p.nudges
}

func newWorld(t *testing.T) *world {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &world{t: t, store: store}
}

func (w *world) requester() dispatch.Requester {
	return dispatch.Requester{Store: w.store, Events: &w.topic, Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)}
}

func (w *world) dispatcher() dispatch.Dispatcher {
	return dispatch.Dispatcher{Store: w.store, Events: &w.topic, Accounts: w, Clock: clock.Real(), Log: slog.New(slog.DiscardHandler)}
}

func (w *world) worker() dispatch.Worker {
	return dispatch.Worker{Store: w.store, Events: &w.topic, Engine: w, Clock: clock.Real(), Log: slog.New(slog.DiscardHandler), Time: 9 * time.Minute}
}

// Spare implements [dispatch.Accounts].
func (w *world) Spare(_ context.Context, owner string) (quota.Spare, error) {
	if spare, ok := w.spare[owner]; ok {
		return spare, nil
	}
	return quota.Spare{Points: 855, Requests: math.MaxInt}, nil
}

// Sync implements [dispatch.Engine]. Like the real one, it clears the mark after
// a run of a whole container that left nothing to do.
func (w *world) Sync(ctx context.Context, req syncer.Request) (syncer.Result, error) {
	w.mu.Lock()
	w.ran = append(w.ran, req)
	w.mu.Unlock()
	before, _, err := mark.Get(ctx, w.store, req.Container)
	if err != nil {
		return syncer.Result{}, err
	}
	result := syncer.Result{Status: syncer.StatusUnchanged}
	if w.engine != nil {
		if result, err = w.engine(ctx, req); err != nil {
			return result, err
		}
	}
	if len(req.Secrets)+len(req.Scopes) == 0 && !result.Unfinished() {
		err = before.Clear(ctx, w.store, req.Container)
	}
	return result, err
}

// register stores a project with one repository.
func (w *world) register(id string, number int64, owner string) project.Project {
	w.t.Helper()
	p := project.Project{
		ID: id, Repository: project.Container{Kind: project.Repository, Owner: owner, Name: id, ID: number},
		Mappings: []project.Mapping{{Name: "A", Source: secret.Source{Secret: "a"}, Scopes: []secret.Scope{"actions", "codespaces", "dependabot"}}},
	}
	write, err := p.Write()
	if err == nil {
		_, err = w.store.Commit(w.t.Context(), write)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) mark(key string) (mark.Mark, bool) {
	w.t.Helper()
	m, marked, err := mark.Get(w.t.Context(), w.store, key)
	w.ok(err)
	return m, marked
}

func (w *world) tick() []string {
	w.t.Helper()
	_, err := w.dispatcher().Tick(w.t.Context())
	w.ok(err)
	return w.topic.take()
}

func (w *world) work(key string) []syncer.Request {
	w.t.Helper()
	w.ok(w.worker().Do(w.t.Context(), dispatch.Nudge{Container: key}))
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.ran = nil }()
	return w.ran
}

func request(w *world, p project.Project) {
	w.t.Helper()
	w.ok(w.requester().Request(w.t.Context(), p, "a new version", mark.Change, "c"))
}

// bubble runs a test in time of its own.
func bubble(t *testing.T, f func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

// TestNudgeIsAnswered goes from a request to the run that answers it.
func TestNudgeIsAnswered(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		p := w.register("web", 42, "acme")
		request(w, p)
		if got := w.topic.take(); !slices.Equal(got, []string{"repository-42"}) {
			t.Errorf("published: %v", got)
		}
		ran := w.work("repository-42")
		if len(ran) != 1 || ran[0].Project.ID != "web" || ran[0].Container != "repository-42" || !ran[0].Marked || ran[0].Force || ran[0].Actor != dispatch.Actor {
			t.Errorf("ran %+v", ran)
		}
		if m, marked := w.mark("repository-42"); marked {
			t.Errorf("the mark is still there: %+v", m)
		}
		if again := w.work("repository-42"); len(again) > 0 {
			t.Errorf("a repeated nudge ran %+v", again)
		}
	})
}

// TestOneNudgeForMany publishes none for a mark that is due already.
func TestOneNudgeForMany(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		p := w.register("web", 42, "acme")
		for range 3 {
			request(w, p)
		}
		if got := w.topic.take(); len(got) != 1 {
			t.Errorf("published: %v", got)
		}
		w.ok(mark.Fail(t.Context(), w.store, "repository-42", time.Now().Add(time.Hour)))
		request(w, p)
		if got := w.topic.take(); len(got) != 1 {
			t.Errorf("published for a mark that was put off: %v", got)
		}
		w.ok(w.requester().Ask(t.Context(), p, mark.Ask{SyncID: "1"}))
		if got := w.topic.take(); len(got) != 1 {
			t.Errorf("published for somebody who waits: %v", got)
		}
	})
}

// TestLostNudge is published again at each tick for as long as the mark stands.
func TestLostNudge(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		p := w.register("web", 42, "acme")
		w.topic.err = fault.Wrap(fault.Unavailable, "publish", nil)
		request(w, p) // no error: the mark is what counts
		if _, err := w.dispatcher().Tick(t.Context()); !errors.Is(err, fault.Unavailable) {
			t.Errorf("a tick that could not publish: %v", err)
		}
		w.topic.err = nil
		for i := range 3 {
			if got := w.tick(); len(got) != 1 {
				t.Errorf("tick %d published %v", i, got)
			}
			if got := w.tick(); len(got) != 0 {
				t.Errorf("within the same minute it published %v", got)
			}
			time.Sleep(dispatch.Tick - 5*time.Second) // a tick may come early
		}
		w.work("repository-42")
		time.Sleep(time.Hour)
		if got := w.tick(); len(got) != 0 {
			t.Errorf("after the work it published %v", got)
		}
	})
}

// TestOrder admits the most urgent and then the oldest, as much as each
// account's pace admits.
func TestOrder(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		for i := range 9 {
			owner := []string{"acme", "Acme", "umbrella"}[i/3]
			p := w.register(fmt.Sprintf("p%d", i), int64(i+1), owner)
			urgency := mark.Reconcile
			if i == 4 {
				urgency = mark.Rotation
			}
			w.ok(w.requester().Request(t.Context(), p, "test", urgency, ""))
			time.Sleep(time.Second)
		}
		w.topic.take()
		w.spare = map[string]quota.Spare{"acme": {Points: 7, Requests: math.MaxInt}, "umbrella": {Points: 800, Requests: 6}}
		want := []string{"repository-5", "repository-1", "repository-2", "repository-7", "repository-8"}
		if got := w.tick(); !slices.Equal(got, want) {
			t.Errorf("published %v, want %v", got, want)
		}
		w.spare["acme"], w.spare["umbrella"] = quota.Spare{}, quota.Spare{Points: 100}
		if got := w.tick(); len(got) != 0 {
			t.Errorf("published %v for accounts that must not be asked", got)
		}
	})
}

// TestEverything marks all projects and publishes none.
func TestEverything(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		const projects = 230 // more than a page
		for i := range projects {
			w.register(fmt.Sprintf("p%d", i), int64(i+1), "acme")
		}
		if n, err := w.requester().RequestAll(t.Context(), "every six hours"); n != projects || err != nil {
			t.Errorf("%d marked, %v", n, err)
		}
		if got := w.topic.take(); len(got) != 0 {
			t.Errorf("published %v", got)
		}
		due, err := mark.List(t.Context(), w.store, time.Now(), docstore.MaxListLimit)
		if len(due) != projects || err != nil {
			t.Errorf("%d due, %v", len(due), err)
		}
		if got := w.tick(); len(got) != 855/3 && len(got) != projects {
			t.Errorf("%d published", len(got))
		}
	})
}

// TestAsks runs each by itself, in order, and then what was asked plainly.
func TestAsks(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		p := w.register("web", 42, "acme")
		w.ok(w.requester().Ask(t.Context(), p, mark.Ask{SyncID: "1", Actor: "alice", Secrets: []secret.Name{"A"}, Force: true}))
		w.ok(w.requester().Ask(t.Context(), p, mark.Ask{SyncID: "2", Actor: "bob", Prune: true, MaxDeletions: 7, CorrelationID: "c"}))
		request(w, p)
		ran := w.work("repository-42")
		if len(ran) != 3 || ran[0].SyncID != "1" || !ran[0].Force || ran[0].Actor != "alice" || len(ran[0].Secrets) != 1 ||
			ran[1].SyncID != "2" || ran[1].Force || !ran[1].Prune || ran[1].MaxDeletions != 7 || ran[1].CorrelationID != "c" ||
			ran[2].Force || ran[2].Prune || ran[2].SyncID != "" {
			t.Errorf("ran %+v", ran)
		}
		if m, marked := w.mark("repository-42"); marked {
			t.Errorf("the mark is still there: %+v", m)
		}
	})
}

// TestOutcomes decides by a run's end when its mark is looked at again.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	one := func(i syncer.Item) syncer.Result { return syncer.Result{Results: []syncer.Item{i}} }
	tests := []struct {
		name   string
		result syncer.Result
		err    error
		stays  bool
		due    time.Duration // from now, if it stays
		held   bool
		tries  int
		nudged bool
	}{
		{name: "answered"},
		{name: "a target that will not be right for now", result: one(syncer.Item{Status: syncer.ItemFailed, Code: fault.SourceMissing})},
		{name: "another one holds the lease", err: fault.New(fault.SyncInProgress, "held"), stays: true},
		{name: "the lease was lost", err: fault.New(fault.LeaseLost, "lost"), stays: true},
		{
			name: "the hourly quota is spent", err: fault.New(fault.RateLimitExhausted, "spent").WithRetryAfter(40 * time.Minute),
			stays: true, due: 40 * time.Minute, held: true,
		},
		{name: "the time for the work was up", err: fault.Wrap(fault.Deadline, "engine", nil), stays: true, nudged: true},
		{
			name: "there was no time", result: one(syncer.Item{Status: syncer.ItemPending}), stays: true, nudged: true,
		},
		{
			name: "there was no quota", stays: true, due: 30 * time.Minute, held: true,
			result: syncer.Result{
				Results: []syncer.Item{{Status: syncer.ItemPending}},
				Quota:   &syncer.Limits{Limit: 5000, ResetAt: syncer.Timestamp(time.Date(2000, 1, 1, 0, 30, 0, 0, time.UTC))},
			},
		},
		{name: "no answer came", result: one(syncer.Item{Status: syncer.ItemUnknown, Code: fault.GitHubUnavailable}), stays: true, due: time.Minute, tries: 1},
		{name: "the store failed", err: fault.Wrap(fault.Unavailable, "store", nil), stays: true, due: time.Minute, tries: 1},
		{name: "a defect", err: fault.Wrap(fault.Internal, "engine", nil), stays: true, due: time.Minute, tries: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				p := w.register("web", 42, "acme")
				request(w, p)
				w.topic.take()
				w.engine = func(context.Context, syncer.Request) (syncer.Result, error) { return test.result, test.err }
				now := time.Now()
				if ran := w.work("repository-42"); len(ran) != 1 {
					t.Errorf("ran %+v", ran)
				}
				m, marked := w.mark("repository-42")
				if marked != test.stays || marked && (!m.DueAt.Equal(now.Add(test.due)) || m.Held != test.held || m.Tries != test.tries) {
					t.Errorf("the mark: %t, %+v", marked, m)
				}
				if got := w.topic.take(); (len(got) > 0) != test.nudged {
					t.Errorf("nudged: %v", got)
				}
				if test.held {
					if ran := w.work("repository-42"); len(ran) > 0 {
						t.Error("a nudge was heeded though the mark is held")
					}
				}
			})
		})
	}
}

// TestFailures are put off longer each time, and a request in between makes the
// next try sooner.
func TestFailures(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		p := w.register("web", 42, "acme")
		request(w, p)
		w.engine = func(context.Context, syncer.Request) (syncer.Result, error) { panic("a defect") }
		var waits []time.Duration
		for range 11 {
			w.work("repository-42")
			m, _ := w.mark("repository-42")
			waits = append(waits, time.Until(m.DueAt))
			time.Sleep(time.Until(m.DueAt))
		}
		want := []time.Duration{
			time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, 64 * time.Minute,
			128 * time.Minute, 256 * time.Minute, 6 * time.Hour, 6 * time.Hour,
		}
		if !slices.Equal(waits, want) {
			t.Errorf("it waited %v", waits)
		}
		w.work("repository-42")
		request(w, p)
		if m, _ := w.mark("repository-42"); !m.DueAt.Equal(time.Now()) {
			t.Errorf("asked for again, it is due at %s", m.DueAt)
		}
		w.engine = nil
		w.work("repository-42")
		if m, marked := w.mark("repository-42"); marked {
			t.Errorf("the mark is still there: %+v", m)
		}
	})
}

// TestRefusedAsk is taken away: it would be refused again.
func TestRefusedAsk(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		p := w.register("web", 42, "acme")
		w.ok(w.requester().Ask(t.Context(), p, mark.Ask{SyncID: "1", Secrets: []secret.Name{"GONE"}}))
		w.engine = func(context.Context, syncer.Request) (syncer.Result, error) {
			return syncer.Result{}, fault.New(fault.RequestNotFound, "no such secret")
		}
		w.work("repository-42")
		if m, marked := w.mark("repository-42"); marked {
			t.Errorf("the mark is still there: %+v", m)
		}
	})
}

// TestTimeIsUp ends the work before the function's life does.
func TestTimeIsUp(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		p := w.register("web", 42, "acme")
		request(w, p)
		w.topic.take()
		started := time.Now()
		w.engine = func(ctx context.Context, _ syncer.Request) (syncer.Result, error) {
			<-ctx.Done()
			return syncer.Result{}, ctx.Err()
		}
		w.work("repository-42")
		if took := time.Since(started); took != 9*time.Minute-5*time.Second {
			t.Errorf("it worked for %s", took)
		}
		if got := w.topic.take(); len(got) != 1 {
			t.Errorf("nudged: %v", got)
		}
		if m, marked := w.mark("repository-42"); !marked || m.Tries != 0 {
			t.Errorf("the mark: %t, %+v", marked, m)
		}
	})
}

// TestGone takes away the mark of what is not there any more.
func TestGone(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		p := w.register("web", 42, "acme")
		request(w, p)
		_, err := w.store.Commit(t.Context(), docstore.Write{Key: docstore.Key{Collection: "projects", ID: "web"}})
		w.ok(err)
		moved := w.register("moved", 43, "acme")
		_, err = mark.Set(t.Context(), w.store, "repository-44", mark.For(moved, moved.Repository, "test", mark.Change, time.Now()))
		w.ok(err)
		for _, key := range []string{"repository-42", "repository-44"} {
			if ran := w.work(key); len(ran) > 0 {
				t.Errorf("%s: ran %+v", key, ran)
			}
			if m, marked := w.mark(key); marked {
				t.Errorf("%s: the mark is still there: %+v", key, m)
			}
		}
	})
}

// TestParseNudge refuses what names no container.
func TestParseNudge(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "repository-", "repository-0", "repository-1/..", "worker-7", "repository-42 "} {
		_, err := dispatch.ParseNudge(event.Message{Attributes: map[string]string{"container": text}})
		if !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"repository-42", "organisation-9223372036854775807"} {
		n, err := dispatch.ParseNudge(event.Message{Attributes: map[string]string{"container": text, event.Correlation: "c"}})
		if n.Container != text || n.CorrelationID != "c" || err != nil {
			t.Errorf("%q: %+v, %v", text, n, err)
		}
	}
}
