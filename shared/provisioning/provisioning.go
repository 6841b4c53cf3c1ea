// Package provisioning makes a registered project of a manifest: it resolves
// the names at GitHub to ids, claims the containers for the project, and stores
// both in one commit, so that two projects never own the same container.
package provisioning

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/manifest"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/versionstate"
)

// Directory finds the numeric ids of what a manifest names. Besides the errors
// of syncer.Targets, a name that GitHub does not know is a
// [fault.Unprocessable] with [fault.TargetNotFound].
type Directory interface {
	Repository(ctx context.Context, owner, name string) (project.Container, error)
	Organisation(ctx context.Context, login string) (project.Container, error)
	// RepositoryIDs returns the ids in the order of the names.
	RepositoryIDs(ctx context.Context, owner string, names []string) ([]int64, error)
}

// Registrar registers, changes and unregisters projects.
type Registrar struct {
	Store     docstore.Store
	Audit     *audit.Recorder
	Directory Directory
	Clock     clock.Clock
}

// Caller is who asks, for the audit.
type Caller struct {
	Actor         string
	CorrelationID string
}

// Register stores a new project. It returns a [fault.Exists] with
// [fault.ProjectExists] if the id is taken, a [fault.Conflict] with
// [fault.ContainerOwned] if another project owns the repository or the
// organisation, and the errors of [Directory], the store and the audit.
func (r *Registrar) Register(ctx context.Context, m manifest.Manifest, by Caller) (project.Project, error) {
	p, err := r.Resolve(ctx, m, nil)
	if err != nil {
		return project.Project{}, err
	}
	return r.store(ctx, p, audit.ProjectRegister, by)
}

// Replace makes the stored project what the manifest says. A manifest that
// changes nothing writes nothing. It returns a [fault.NotFound] with
// [fault.ProjectNotFound], a [fault.Conflict] if the project was changed
// meanwhile, and otherwise the errors of [Registrar.Register].
func (r *Registrar) Replace(ctx context.Context, m manifest.Manifest, by Caller) (p project.Project, changed bool, err error) {
	old, err := project.Get(ctx, r.Store, m.Project)
	if err != nil {
		return project.Project{}, false, err
	}
	if bytes.Equal(old.Manifest, m.Render()) {
		return old, false, nil
	}
	if p, err = r.Resolve(ctx, m, &old); err != nil {
		return project.Project{}, false, err
	}
	p, err = r.store(ctx, p.Replaces(old), audit.ProjectUpdate, by)
	return p, err == nil, err
}

// Apply registers the project, or replaces it if it is registered. Of several
// at once with the same manifest, one stores it and the others find it stored.
func (r *Registrar) Apply(ctx context.Context, m manifest.Manifest, by Caller) (project.Project, bool, error) {
	p, changed, err := r.apply(ctx, m, by)
	if code := fault.CodeOf(err); code == fault.ProjectExists || code == fault.RequestConflict {
		return r.apply(ctx, m, by) // another was faster: what it stored may be all that is asked for
	}
	return p, changed, err
}

func (r *Registrar) apply(ctx context.Context, m manifest.Manifest, by Caller) (p project.Project, changed bool, err error) {
	p, changed, err = r.Replace(ctx, m, by)
	if !errors.Is(err, fault.ProjectNotFound) {
		return p, changed, err
	}
	p, err = r.Register(ctx, m, by)
	return p, err == nil, err
}

// Remove unregisters the project and gives its containers up. The ledgers stay:
// they are the proof of what Sealpost wrote, and no target is touched.
func (r *Registrar) Remove(ctx context.Context, id string, by Caller) error {
	p, err := project.Get(ctx, r.Store, id)
	if err != nil {
		return err
	}
	writes, err := r.giveUp(ctx, id, p.Containers())
	if err != nil {
		return err
	}
	return r.commit(ctx, p, audit.ProjectRemove, by, append(writes, p.Delete()))
}

// Resolve returns the project that the manifest describes, without storing it.
// What the stored project old, if there is one, resolved already is not asked
// again.
func (r *Registrar) Resolve(ctx context.Context, m manifest.Manifest, old *project.Project) (project.Project, error) {
	now := r.Clock.Now()
	p := project.Project{ID: m.Project, AllowRollback: m.Policy.AllowRollback, Manifest: m.Render(), CreatedAt: now, UpdatedAt: now}
	for _, pattern := range m.Exclude {
		p.Exclude = append(p.Exclude, string(pattern))
	}
	var err error
	if old != nil && strings.EqualFold(old.Repository.String(), m.GitHub.Owner+"/"+m.GitHub.Repo) {
		p.Repository = old.Repository
	} else if p.Repository, err = r.Directory.Repository(ctx, m.GitHub.Owner, m.GitHub.Repo); err != nil {
		return project.Project{}, err
	}
	for _, mapping := range m.Mappings() {
		resolved := project.Mapping{Name: mapping.Name, Source: mapping.Source, Scopes: mapping.Scopes}
		if mapping.Access != nil {
			resolved.Access = &project.Access{Visibility: mapping.Access.Visibility}
			resolved.Access.Repositories, err = r.Directory.RepositoryIDs(ctx, m.GitHub.Owner, mapping.Access.Repositories)
			if err != nil {
				return project.Project{}, err
			}
		}
		p.Mappings = append(p.Mappings, resolved)
	}
	if NeedsOrganisation(m) {
		organisation, err := r.organisation(ctx, m.GitHub.Owner, old)
		if err != nil {
			return project.Project{}, err
		}
		p.Organisation = &organisation
	}
	return p, nil
}

// NeedsOrganisation reports whether a mapping goes to an organisation's scope,
// for which the project needs a grant of its own.
func NeedsOrganisation(m manifest.Manifest) bool {
	return slices.ContainsFunc(m.Mappings(), func(m manifest.Mapping) bool { return m.Access != nil })
}

func (r *Registrar) organisation(ctx context.Context, login string, old *project.Project) (project.Container, error) {
	if old != nil && old.Organisation != nil && strings.EqualFold(old.Organisation.Owner, login) {
		return *old.Organisation, nil
	}
	return r.Directory.Organisation(ctx, login)
}

// store claims the project's containers, gives up those that it had and does
// not need any more, and stores it, in one commit.
func (r *Registrar) store(ctx context.Context, p project.Project, operation audit.Operation, by Caller) (project.Project, error) {
	write, err := p.Write()
	if err != nil {
		return project.Project{}, err
	}
	writes := []docstore.Write{write}
	for _, c := range p.Containers() {
		l, err := ledger.Load(ctx, r.Store, c)
		switch {
		case err != nil:
			return project.Project{}, err
		case l.Owner == p.ID:
			continue
		case l.Owner != "":
			return project.Project{}, fault.New(fault.ContainerOwned, "%s belongs to the project %s", c, l.Owner)
		}
		l.Owner = p.ID
		claim, err := l.Write()
		if err != nil {
			return project.Project{}, err
		}
		writes = append(writes, claim)
	}
	released, err := r.released(ctx, p)
	if err != nil {
		return project.Project{}, err
	}
	if err := r.commit(ctx, p, operation, by, append(writes, released...)); err != nil {
		if errors.Is(err, fault.Exists) {
			err = fault.New(fault.ProjectExists, "the project %s is registered already", p.ID).WithCause(err)
		}
		return project.Project{}, err
	}
	return p, nil
}

// released returns the writes that give up the containers that the stored
// project owns and p does not name.
func (r *Registrar) released(ctx context.Context, p project.Project) ([]docstore.Write, error) {
	old, err := project.Get(ctx, r.Store, p.ID)
	if errors.Is(err, fault.ProjectNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	unneeded := slices.DeleteFunc(old.Containers(), func(c project.Container) bool {
		return slices.ContainsFunc(p.Containers(), func(kept project.Container) bool { return kept.Key() == c.Key() })
	})
	return r.giveUp(ctx, p.ID, unneeded)
}

// giveUp returns the writes by which the project owns the containers no more.
func (r *Registrar) giveUp(ctx context.Context, id string, containers []project.Container) ([]docstore.Write, error) {
	var writes []docstore.Write
	for _, c := range containers {
		l, err := ledger.Load(ctx, r.Store, c)
		if err != nil {
			return nil, err
		}
		if l.Owner != id {
			continue
		}
		l.Owner = ""
		write, err := l.Write()
		if err != nil {
			return nil, err
		}
		writes = append(writes, write)
	}
	return writes, nil
}

// commit records the event, then stores: a change that cannot be recorded is
// not made. What is known of the project's sources goes: they may be others now.
func (r *Registrar) commit(ctx context.Context, p project.Project, operation audit.Operation, by Caller, writes []docstore.Write) error {
	now := r.Clock.Now()
	event := audit.Event{
		ID: audit.NewID(now), At: now, Operation: operation, Result: audit.Intended, Actor: by.Actor,
		ProjectID: p.ID, Container: p.Repository.Key(), CorrelationID: by.CorrelationID,
	}
	if _, err := r.Audit.Record(ctx, event); err != nil {
		return err
	}
	_, err := r.Store.Commit(ctx, append(writes, versionstate.Forgetting(p.ID))...)
	done := r.Clock.Now()
	event.ID, event.At, event.DurationMs = audit.NewID(done), done, done.Sub(now).Milliseconds()
	event.Result = audit.Succeeded
	if err != nil {
		event.Result, event.Code = audit.Failed, fault.CodeOf(err)
	}
	_, recordErr := r.Audit.Record(context.WithoutCancel(ctx), event)
	return errors.Join(err, recordErr)
}
