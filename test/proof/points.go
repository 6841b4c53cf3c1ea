package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// points names each moment before and after every external call, such as
// "targets.Put/before#137", and kills its own process at one of them. The zero
// value lets everything pass.
type points struct {
	kill string // empty: nowhere

	mu     sync.Mutex
	counts map[string]int // reached so far, by name without the ordinal
}

// reach is called at a moment. At the one it kills the process as the kernel
// kills it: nothing is closed, flushed or unwound.
func (p *points) reach(name, side string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts == nil {
		p.counts = map[string]int{}
	}
	name += "/" + side
	p.counts[name]++
	if p.kill == point(name, p.counts[name]) {
		self, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = self.Kill()
		}
		if err != nil {
			panic(err)
		}
		select {} // until it arrives
	}
}

func point(name string, ordinal int) string { return fmt.Sprintf("%s#%d", name, ordinal) }

func around[T any](p *points, name string, call func() (T, error)) (T, error) {
	p.reach(name, "before")
	v, err := call()
	p.reach(name, "after")
	return v, err
}

type pointedStore struct {
	p     *points
	store docstore.Store
}

func (s pointedStore) Get(ctx context.Context, key docstore.Key) (docstore.Doc, error) {
	return around(s.p, "store.Get["+key.Collection+"]", func() (docstore.Doc, error) { return s.store.Get(ctx, key) })
}

func (s pointedStore) List(ctx context.Context, q docstore.Query) (docstore.Page, error) {
	return around(s.p, "store.List["+q.Collection+"]", func() (docstore.Page, error) { return s.store.List(ctx, q) })
}

// Commit is named by the collections that it writes: the lease alone, or with
// the ledger.
func (s pointedStore) Commit(ctx context.Context, writes ...docstore.Write) (time.Time, error) {
	name := "store.Commit["
	for i, w := range writes {
		if i > 0 {
			name += "+"
		}
		name += w.Collection
	}
	return around(s.p, name+"]", func() (time.Time, error) { return s.store.Commit(ctx, writes...) })
}

type pointedTargets struct {
	p       *points
	targets syncer.Targets
}

func (t pointedTargets) List(ctx context.Context, c project.Container, scope secret.Scope) (plan.Listing, error) {
	return around(t.p, "targets.List", func() (plan.Listing, error) { return t.targets.List(ctx, c, scope) })
}

func (t pointedTargets) Prepare(ctx context.Context, c project.Container, scope secret.Scope) error {
	_, err := around(t.p, "targets.Prepare", func() (struct{}, error) { return struct{}{}, t.targets.Prepare(ctx, c, scope) })
	return err
}

func (t pointedTargets) Put(ctx context.Context, c project.Container, w syncer.Put) (syncer.Receipt, error) {
	return around(t.p, "targets.Put", func() (syncer.Receipt, error) { return t.targets.Put(ctx, c, w) })
}

func (t pointedTargets) Delete(ctx context.Context, c project.Container, scope secret.Scope, name secret.Name) (syncer.Receipt, error) {
	return around(t.p, "targets.Delete", func() (syncer.Receipt, error) { return t.targets.Delete(ctx, c, scope, name) })
}

func (t pointedTargets) Quota(ctx context.Context, c project.Container) (syncer.Quota, error) {
	return around(t.p, "targets.Quota", func() (syncer.Quota, error) { return t.targets.Quota(ctx, c) })
}

func (t pointedTargets) Reserve(ctx context.Context, c project.Container, requests int) (func(context.Context), error) {
	return around(t.p, "targets.Reserve", func() (func(context.Context), error) { return t.targets.Reserve(ctx, c, requests) })
}

type pointedSources struct {
	p       *points
	sources syncer.Sources
}

func (s pointedSources) Inspect(ctx context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	return around(s.p, "sources.Inspect", func() (map[secret.Source]secret.SourceState, error) { return s.sources.Inspect(ctx, sources) })
}

func (s pointedSources) Value(ctx context.Context, source secret.Source, version secret.Version) (secret.Value, error) {
	return around(s.p, "sources.Value", func() (secret.Value, error) { return s.sources.Value(ctx, source, version) })
}

type pointedSink struct {
	p    *points
	sink audit.Sink
}

func (s pointedSink) Name() string { return s.sink.Name() }

// Record is named by the sink and by what the events are about.
func (s pointedSink) Record(ctx context.Context, events []audit.Event) error {
	name := fmt.Sprintf("audit.Record[%s, %s]", s.sink.Name(), events[0].Operation)
	_, err := around(s.p, name, func() (struct{}, error) { return struct{}{}, s.sink.Record(ctx, events) })
	return err
}
