package syncer_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

const repositoryID = 4711

var repository = project.Container{Kind: project.Repository, Owner: "acme", Name: "payments", ID: repositoryID}

// twoBatches is how many secrets, each of three targets, take more than one batch.
const twoBatches = syncer.BatchSize/3 + 10

// hub is a model of GitHub at the height of the port: names, whole seconds,
// and no way to read a value but the test's own.
type hub struct {
	clock clock.Clock

	mu     sync.Mutex
	copies map[secret.Target]copied
	puts   map[secret.Target]int
	lists  int
	fault  func(secret.Target) error // asked before a write; nil lets it pass
	quota  func()                    // called when the quota is asked for; may be nil
}

type copied struct {
	value     secret.Value
	createdAt time.Time
	updatedAt time.Time
}

func newHub(c clock.Clock) *hub {
	return &hub{clock: c, copies: map[secret.Target]copied{}, puts: map[secret.Target]int{}}
}

func (h *hub) now() time.Time { return h.clock.Now().Truncate(time.Second) }

func (h *hub) List(_ context.Context, _ project.Container, scope secret.Scope) (plan.Listing, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lists++
	listing := plan.Listing{At: h.now(), Ended: h.now()}
	for t, c := range h.copies {
		if t.Scope == scope {
			listing.Targets = append(listing.Targets, plan.Listed{Name: t.Name, CreatedAt: c.createdAt, UpdatedAt: c.updatedAt})
		}
	}
	return listing, nil
}

func (h *hub) Put(ctx context.Context, _ project.Container, p syncer.Put) (syncer.Receipt, error) {
	if guard := pace.GuardFrom(ctx); guard != nil {
		if _, err := guard(); err != nil {
			return syncer.Receipt{}, syncer.NotSent(err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := secret.Target{Scope: p.Scope, Name: p.Name}
	if h.fault != nil {
		if err := h.fault(t); err != nil {
			return syncer.Receipt{}, err
		}
	}
	return h.set(t, p.Value), nil
}

// set writes a target; h.mu is held.
func (h *hub) set(t secret.Target, v secret.Value) syncer.Receipt {
	before, there := h.copies[t]
	if !there {
		before.createdAt = h.now()
	}
	h.copies[t] = copied{value: v, createdAt: before.createdAt, updatedAt: h.now()}
	h.puts[t]++
	return syncer.Receipt{Created: !there, At: h.now()}
}

func (h *hub) Delete(_ context.Context, _ project.Container, scope secret.Scope, name secret.Name) (syncer.Receipt, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.copies, secret.Target{Scope: scope, Name: name})
	return syncer.Receipt{At: h.now()}, nil
}

func (h *hub) Prepare(context.Context, project.Container, secret.Scope) error { return nil }

func (h *hub) Quota(context.Context, project.Container) (syncer.Quota, error) {
	if h.quota != nil {
		h.quota()
	}
	return syncer.Quota{}, nil
}

func (h *hub) Reserve(ctx context.Context, c project.Container, _ int) (func(context.Context), error) {
	_, err := h.Quota(ctx, c)
	return func(context.Context) {}, err
}

// edit changes a target behind Sealpost's back.
func (h *hub) edit(t secret.Target, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.set(t, secret.NewValue(text))
	h.puts[t]--
}

func (h *hub) writes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, puts := range h.puts {
		n += puts
	}
	return n
}

// vault is a model of Secret Manager: versions that count.
type vault struct {
	mu       sync.Mutex
	versions map[secret.Source][]secret.Value
	states   map[secret.Source]secret.SourceState
	reads    int
}

func (v *vault) add(source secret.Source, text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.versions[source] = append(v.versions[source], secret.NewValue(text))
	state := v.states[source]
	state.Exists, state.Repositories = true, []int64{repositoryID}
	number := secret.Version(len(v.versions[source]))
	state.Versions = append([]secret.SourceVersion{{Number: number, State: secret.Enabled}}, state.Versions...)
	v.states[source] = state
}

func (v *vault) Inspect(_ context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	states := map[secret.Source]secret.SourceState{}
	for _, s := range sources {
		states[s] = v.states[s]
	}
	return states, nil
}

func (v *vault) Value(_ context.Context, source secret.Source, version secret.Version) (secret.Value, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.reads++
	versions := v.versions[source]
	if version < 1 || int(version) > len(versions) {
		return secret.Value{}, fault.New(fault.SourceMissing, "no version %d", version)
	}
	return versions[version-1], nil
}

// world is everything that outlives a process.
type world struct {
	t       testing.TB
	clock   clock.Clock
	docs    *sqlitedoc.Store
	hub     *hub
	vault   *vault
	project project.Project
	key     secret.FingerprintKey
	events  *events
}

// events is an audit sink that keeps what it was given.
type events struct {
	mu   sync.Mutex
	list []audit.Event
	err  error

	refuse func([]audit.Event) error // asked before a record, if set
}

func (*events) Name() string { return "memory" }

func (e *events) Record(_ context.Context, list []audit.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.err
	if e.refuse != nil {
		err = e.refuse(list)
	}
	if err == nil {
		e.list = append(e.list, list...)
	}
	return err
}

func (e *events) of(operation audit.Operation) []audit.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	var found []audit.Event
	for _, event := range e.list {
		if event.Operation == operation {
			found = append(found, event)
		}
	}
	return found
}

func newWorld(t testing.TB, secrets int) *world {
	t.Helper()
	c := clock.Real()
	docs, err := sqlitedoc.Open(":memory:", c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = docs.Close() })
	key, err := secret.NewFingerprintKey("test@1", secret.NewValue(string(make([]byte, 32))))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, clock: c, docs: docs, hub: newHub(c), key: key, events: new(events),
		vault:   &vault{versions: map[secret.Source][]secret.Value{}, states: map[secret.Source]secret.SourceState{}},
		project: project.Project{ID: "payments", Repository: repository},
	}
	for i := range secrets {
		m := project.Mapping{
			Name:   secret.Name(fmt.Sprintf("SECRET_%03d", i)),
			Source: secret.Source{Project: "acme-secrets", Secret: fmt.Sprintf("secret-%03d", i)},
			Scopes: secret.DefaultScopes(),
		}
		w.project.Mappings = append(w.project.Mappings, m)
		w.vault.add(m.Source, fmt.Sprintf("value %d", i))
	}
	return w
}

// engine is a fresh process over the world; wrap may put something between.
func (w *world) engine(k *killer) *syncer.Engine {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &syncer.Engine{
		Store: killableStore{k, w.docs}, Targets: killableTargets{k, w.hub}, Sources: killableSources{k, w.vault},
		Audit:        audit.NewRecorder(log, killableSink{k, w.events}),
		Fingerprints: func(context.Context) (secret.FingerprintKey, error) { return w.key, nil },
		Clock:        w.clock, Log: log, Mode: pace.Off,
	}
}

func (w *world) sync(change ...func(*syncer.Request)) (syncer.Result, error) {
	req := syncer.Request{Project: w.project, Actor: "test"}
	for _, f := range change {
		f(&req)
	}
	return w.engine(new(killer)).Sync(context.Background(), req)
}

func (w *world) mustSync(change ...func(*syncer.Request)) syncer.Result {
	w.t.Helper()
	result, err := w.sync(change...)
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

// checkRight fails unless every target holds its source's newest value.
func (w *world) checkRight() {
	w.t.Helper()
	for _, m := range w.project.Mappings {
		versions := w.vault.versions[m.Source]
		want := versions[len(versions)-1]
		for _, scope := range m.Scopes {
			t := secret.Target{Scope: scope, Name: m.Name}
			if got, there := w.hub.copies[t]; !there || got.value.Reveal() != want.Reveal() {
				w.t.Errorf("%s does not hold its newest value", t)
			}
		}
	}
}

// checkAudit fails if a write at GitHub has no intent before it.
func (w *world) checkAudit() {
	w.t.Helper()
	intended := map[string]int{}
	for _, e := range w.events.of(audit.SyncIntent) {
		for _, t := range e.Targets {
			intended[t]++
		}
	}
	for t, puts := range w.hub.puts {
		if intended[t.String()] < puts {
			w.t.Errorf("%s was written %d times and intended %d times", t, puts, intended[t.String()])
		}
	}
	outcomes := map[string]bool{}
	for _, e := range slices.Concat(w.events.of(audit.SecretCreate), w.events.of(audit.SecretUpdate)) {
		if e.Result == audit.Succeeded {
			outcomes[secret.Target{Scope: e.Scope, Name: e.Secret}.String()] = true
		}
	}
	for t := range w.hub.puts {
		if !outcomes[t.String()] {
			w.t.Errorf("the audit has no outcome of %s", t)
		}
	}
}

// killer ends a process at its n-th point, each external call having one
// before and one after it. A dead process does nothing any more.
type killer struct {
	mu     sync.Mutex
	at     int // 0: never
	points int
	dead   bool
	resume time.Time // until then the process stands still
	pause  int       // the point at which it is paused past the end of its lease; 0: never
}

var errKilled = fault.Wrap(fault.Unavailable, "killed", nil)

func (k *killer) point() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.points++
	if k.points == k.at {
		k.dead = true
	}
	if k.points == k.pause {
		k.resume = time.Now().Add(lease.TTL + time.Second)
	}
	if k.dead {
		return errKilled
	}
	return nil
}

// wait stands still for as long as the process is paused.
func (k *killer) wait() {
	k.mu.Lock()
	resume := k.resume
	k.mu.Unlock()
	time.Sleep(time.Until(resume))
}

func around[T any](k *killer, call func() (T, error)) (T, error) {
	var zero T
	if err := k.point(); err != nil {
		return zero, err
	}
	k.wait()
	v, err := call()
	if killed := k.point(); killed != nil {
		return zero, killed
	}
	return v, err
}

type killableStore struct {
	k *killer
	s docstore.Store
}

func (s killableStore) Get(ctx context.Context, key docstore.Key) (docstore.Doc, error) {
	return around(s.k, func() (docstore.Doc, error) { return s.s.Get(ctx, key) })
}

func (s killableStore) List(ctx context.Context, q docstore.Query) (docstore.Page, error) {
	return around(s.k, func() (docstore.Page, error) { return s.s.List(ctx, q) })
}

func (s killableStore) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	return around(s.k, func() (time.Time, error) { return s.s.Commit(ctx, writes...) })
}

type killableTargets struct {
	k *killer
	h *hub
}

func (t killableTargets) List(ctx context.Context, c project.Container, s secret.Scope) (plan.Listing, error) {
	return around(t.k, func() (plan.Listing, error) { return t.h.List(ctx, c, s) })
}

func (t killableTargets) Put(ctx context.Context, c project.Container, p syncer.Put) (syncer.Receipt, error) {
	return around(t.k, func() (syncer.Receipt, error) { return t.h.Put(ctx, c, p) })
}

func (t killableTargets) Delete(ctx context.Context, c project.Container, s secret.Scope, n secret.Name) (syncer.Receipt, error) {
	return around(t.k, func() (syncer.Receipt, error) { return t.h.Delete(ctx, c, s, n) })
}

func (t killableTargets) Prepare(ctx context.Context, c project.Container, s secret.Scope) error {
	return t.h.Prepare(ctx, c, s)
}

func (t killableTargets) Quota(ctx context.Context, c project.Container) (syncer.Quota, error) {
	return t.h.Quota(ctx, c)
}

func (t killableTargets) Reserve(ctx context.Context, c project.Container, n int) (func(context.Context), error) {
	return t.h.Reserve(ctx, c, n)
}

type killableSources struct {
	k *killer
	v *vault
}

func (s killableSources) Inspect(ctx context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	return around(s.k, func() (map[secret.Source]secret.SourceState, error) { return s.v.Inspect(ctx, sources) })
}

func (s killableSources) Value(ctx context.Context, source secret.Source, version secret.Version) (secret.Value, error) {
	return around(s.k, func() (secret.Value, error) { return s.v.Value(ctx, source, version) })
}

type killableSink struct {
	k *killer
	e *events
}

func (s killableSink) Name() string { return s.e.Name() }

func (s killableSink) Record(ctx context.Context, list []audit.Event) error {
	_, err := around(s.k, func() (struct{}, error) { return struct{}{}, s.e.Record(ctx, list) })
	return err
}

// meddled is GitHub with calls that go another way than usual. Each function,
// if set, is asked in place of the call and may make it.
type meddled struct {
	syncer.Targets
	list  func(next func() (plan.Listing, error)) (plan.Listing, error)
	put   func(t secret.Target, next func() (syncer.Receipt, error)) (syncer.Receipt, error)
	quota func(context.Context) (syncer.Quota, error)
}

func (m meddled) List(ctx context.Context, c project.Container, s secret.Scope) (plan.Listing, error) {
	next := func() (plan.Listing, error) { return m.Targets.List(ctx, c, s) }
	if m.list == nil {
		return next()
	}
	return m.list(next)
}

func (m meddled) Put(ctx context.Context, c project.Container, p syncer.Put) (syncer.Receipt, error) {
	next := func() (syncer.Receipt, error) { return m.Targets.Put(ctx, c, p) }
	if m.put == nil {
		return next()
	}
	return m.put(secret.Target{Scope: p.Scope, Name: p.Name}, next)
}

func (m meddled) Quota(ctx context.Context, c project.Container) (syncer.Quota, error) {
	if m.quota == nil {
		return m.Targets.Quota(ctx, c)
	}
	return m.quota(ctx)
}
