package provisioning_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/manifest"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/provisioning"
)

// directory knows the repositories and organisations by their order here.
type directory struct {
	mu    sync.Mutex
	asked int
}

var repositories = []string{"acme/payments", "acme/web", "acme/api"}

func (d *directory) Repository(_ context.Context, owner, name string) (project.Container, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	for i, known := range repositories {
		if strings.EqualFold(known, owner+"/"+name) {
			owner, name, _ := strings.Cut(known, "/")
			return project.Container{Kind: project.Repository, Owner: owner, Name: name, ID: int64(100 + i)}, nil
		}
	}
	return project.Container{}, fault.New(fault.TargetNotFound, "no repository")
}

func (d *directory) Organisation(_ context.Context, login string) (project.Container, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	return project.Container{Kind: project.Organisation, Owner: login, ID: 7}, nil
}

func (d *directory) RepositoryIDs(ctx context.Context, owner string, names []string) ([]int64, error) {
	var ids []int64
	for _, name := range names {
		c, err := d.Repository(ctx, owner, name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, c.ID)
	}
	return ids, nil
}

type sink struct {
	mu     sync.Mutex
	events []audit.Event
	err    error
}

func (*sink) Name() string { return "memory" }

func (s *sink) Record(_ context.Context, events []audit.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.events = append(s.events, events...)
	}
	return s.err
}

type bench struct {
	*provisioning.Registrar
	directory *directory
	sink      *sink
}

func open(t *testing.T) bench {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	b := bench{directory: new(directory), sink: new(sink)}
	recorder := audit.NewRecorder(slog.New(slog.NewTextHandler(io.Discard, nil)), b.sink)
	b.Registrar = &provisioning.Registrar{Store: store, Audit: recorder, Directory: b.directory, Clock: clock.Real()}
	return b
}

const (
	plain        = `{name: A, from: a}`
	organisation = `{name: ORG, from: org, scopes: [org-actions], visibility: selected, repositories: [web, api]}`
)

func parse(t *testing.T, id, repo, secrets string) manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse([]byte(fmt.Sprintf("project: %s\ngithub: {owner: acme, repo: %s}\nsource: {gcpProject: acme-secrets}\nsecrets: [%s]\n", id, repo, secrets)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var by = provisioning.Caller{Actor: "alice", CorrelationID: "c-1"}

func (b bench) owner(t *testing.T, c project.Container) string {
	t.Helper()
	l, err := ledger.Load(t.Context(), b.Store, c)
	if err != nil {
		t.Fatal(err)
	}
	return l.Owner
}

func TestRegisterResolvesAndClaims(t *testing.T) {
	t.Parallel()
	b := open(t)
	p, err := b.Register(t.Context(), parse(t, "one", "payments", plain+","+organisation), by)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := project.Get(t.Context(), b.Store, "one")
	if err != nil {
		t.Fatal(err)
	}
	if stored.Repository.ID != 100 || stored.Organisation == nil || stored.Organisation.ID != 7 {
		t.Errorf("stored %+v", stored)
	}
	if got := stored.Mappings[1].Access.String(); got != "selected:101,102" {
		t.Errorf("access %s", got)
	}
	for _, c := range p.Containers() {
		if owner := b.owner(t, c); owner != "one" {
			t.Errorf("%s belongs to %q", c, owner)
		}
	}
	if _, err := b.Register(t.Context(), parse(t, "one", "payments", plain), by); !errors.Is(err, fault.ProjectExists) {
		t.Errorf("registered twice: %v", err)
	}
	if len(b.sink.events) < 2 || b.sink.events[0].Result != audit.Intended || b.sink.events[1].Result != audit.Succeeded || b.sink.events[0].Actor != "alice" {
		t.Errorf("events %+v", b.sink.events)
	}
}

func TestContainerHasOneOwner(t *testing.T) {
	t.Parallel()
	b := open(t)
	if _, err := b.Register(t.Context(), parse(t, "one", "payments", organisation), by); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]manifest.Manifest{
		"the repository":   parse(t, "two", "payments", plain),
		"the organisation": parse(t, "two", "web", organisation),
	} {
		if _, err := b.Register(t.Context(), m, by); !errors.Is(err, fault.ContainerOwned) {
			t.Errorf("%s was claimed twice: %v", name, err)
		}
	}
	if _, err := project.Get(t.Context(), b.Store, "two"); !errors.Is(err, fault.ProjectNotFound) {
		t.Errorf("the refused project is stored: %v", err)
	}
}

func TestRaceForAContainer(t *testing.T) {
	t.Parallel()
	b := open(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 20 {
		m := parse(t, fmt.Sprintf("p-%d", i), "payments", plain)
		group.Go(func() {
			_, err := b.Register(t.Context(), m, by)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if kind := fault.KindOf(err); kind != fault.Conflict && kind != fault.Exists {
				t.Errorf("lost with %v", err)
			}
		})
	}
	group.Wait()
	if won != 1 {
		t.Errorf("%d projects own the repository", won)
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	b := open(t)
	if _, _, err := b.Replace(t.Context(), parse(t, "one", "payments", plain), by); !errors.Is(err, fault.ProjectNotFound) {
		t.Errorf("replaced nothing: %v", err)
	}
	first, changed, err := b.Apply(t.Context(), parse(t, "one", "payments", organisation), by)
	if err != nil || !changed {
		t.Fatalf("applied: %v, %v", changed, err)
	}
	asked, events := b.directory.asked, len(b.sink.events)
	if _, changed, err = b.Apply(t.Context(), parse(t, "one", "payments", organisation), by); err != nil || changed {
		t.Errorf("applied again: %v, %v", changed, err)
	}
	if b.directory.asked != asked || len(b.sink.events) != events {
		t.Error("an unchanged manifest asked GitHub or left events")
	}
	second, changed, err := b.Apply(t.Context(), parse(t, "one", "web", plain), by)
	if err != nil || !changed || !second.CreatedAt.Equal(first.CreatedAt.Truncate(time.Microsecond)) {
		t.Fatalf("changed: %v, %v", changed, err)
	}
	for _, c := range first.Containers() {
		if owner := b.owner(t, c); owner != "" {
			t.Errorf("%s still belongs to %q", c, owner)
		}
	}
	if owner := b.owner(t, second.Repository); owner != "one" {
		t.Errorf("%s belongs to %q", second.Repository, owner)
	}
}

func TestRemoveGivesUpAndKeepsTheLedger(t *testing.T) {
	t.Parallel()
	b := open(t)
	p, err := b.Register(t.Context(), parse(t, "one", "payments", plain), by)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(t.Context(), "one", by); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Load(t.Context(), b.Store, p.Repository)
	if err != nil || !l.Exists() || l.Owner != "" {
		t.Errorf("ledger %+v, %v", l, err)
	}
	if err := b.Remove(t.Context(), "one", by); !errors.Is(err, fault.ProjectNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := b.Register(t.Context(), parse(t, "two", "payments", plain), by); err != nil {
		t.Errorf("the repository cannot be registered again: %v", err)
	}
}

func TestNoAuditNoChange(t *testing.T) {
	t.Parallel()
	b := open(t)
	b.sink.err = fault.Wrap(fault.Unavailable, "sink", nil)
	if _, err := b.Register(t.Context(), parse(t, "one", "payments", plain), by); !errors.Is(err, fault.AuditUnavailable) {
		t.Errorf("error %v", err)
	}
	if _, err := project.Get(t.Context(), b.Store, "one"); !errors.Is(err, fault.ProjectNotFound) {
		t.Errorf("the project is stored: %v", err)
	}
}

func TestUnknownRepository(t *testing.T) {
	t.Parallel()
	b := open(t)
	if _, err := b.Register(t.Context(), parse(t, "one", "nowhere", plain), by); !errors.Is(err, fault.TargetNotFound) {
		t.Errorf("error %v", err)
	}
}
