package project

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// Project is a registered unit: one GitHub repository and what is to be copied
// to it and to its organisation.
type Project struct {
	ID            string
	Repository    Container
	Organisation  *Container // set if a mapping goes to an organisation's scope
	Mappings      []Mapping
	Exclude       []string // patterns, besides the global ones
	AllowRollback bool
	Manifest      []byte // the registered manifest as canonical JSON
	CreatedAt     time.Time
	UpdatedAt     time.Time

	updateTime time.Time
}

// Mapping says where one secret's value comes from and where it goes.
type Mapping struct {
	Name   secret.Name
	Source secret.Source
	Scopes []secret.Scope
	Access *Access // set if a scope is an organisation's
}

// Containers returns the containers that the project owns.
func (p Project) Containers() []Container {
	containers := []Container{p.Repository}
	if p.Organisation != nil {
		containers = append(containers, *p.Organisation)
	}
	return containers
}

// Scopes returns every scope that a mapping goes to, sorted.
func (p Project) Scopes() []secret.Scope {
	var scopes []secret.Scope
	for _, m := range p.Mappings {
		scopes = append(scopes, m.Scopes...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

var idPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckID returns a [fault.ManifestInvalid] for a text that cannot be a
// project's id: lower-case letters, digits and inner hyphens, at most 63.
func CheckID(id string) error {
	if !idPattern.MatchString(id) {
		return fault.New(fault.ManifestInvalid, "a project's id has 1 to 63 lower-case letters, digits and inner hyphens")
	}
	return nil
}

// Get reads a project, or returns a [fault.NotFound] with
// [fault.ProjectNotFound].
func Get(ctx context.Context, store docstore.Store, id string) (Project, error) {
	if !idPattern.MatchString(id) {
		return Project{}, notFound(id)
	}
	record, err := collection.Get(ctx, store, id)
	if errors.Is(err, fault.NotFound) {
		return Project{}, notFound(id)
	}
	if err != nil {
		return Project{}, fault.Annotate("project.Get "+id, err)
	}
	p := record.Value.project()
	p.updateTime = record.UpdateTime
	return p, nil
}

func notFound(id string) error {
	if len(id) > 63 {
		id = id[:63] + "…"
	}
	return fault.New(fault.ProjectNotFound, "there is no project %q", id)
}

// List reads one page of projects by id and the cursor of the next.
func List(ctx context.Context, store docstore.Store, limit int, cursor string) ([]Project, string, error) {
	records, next, err := collection.List(ctx, store, docstore.Query{Limit: limit, Cursor: cursor})
	if err != nil {
		return nil, "", fault.Annotate("project.List", err)
	}
	projects := make([]Project, 0, len(records))
	for _, r := range records {
		p := r.Value.project()
		p.updateTime = r.UpdateTime
		projects = append(projects, p)
	}
	return projects, next, nil
}

// Write returns the write that stores the project: a create for one that was
// not read, else on condition that it is as it was read.
func (p Project) Write() (docstore.Write, error) {
	return collection.Put(p.ID, storeProject(p), p.condition())
}

// Delete returns the write that removes the project as it was read.
func (p Project) Delete() docstore.Write { return collection.Delete(p.ID, p.condition()) }

// Replaces returns p as the successor of the stored project old.
func (p Project) Replaces(old Project) Project {
	p.CreatedAt, p.updateTime = old.CreatedAt, old.updateTime
	return p
}

func (p Project) condition() docstore.Precondition {
	if p.updateTime.IsZero() {
		return docstore.IfAbsent()
	}
	return docstore.IfUnchanged(p.updateTime)
}

type (
	storedProject struct {
		ID            string           `doc:"id"`
		Repository    storedContainer  `doc:"repository"`
		Organisation  *storedContainer `doc:"organisation,omitempty"`
		Mappings      []storedMapping  `doc:"secret_mappings"`
		Exclude       []string         `doc:"exclude,omitempty"`
		AllowRollback bool             `doc:"allowRollback,omitempty"`
		Manifest      string           `doc:"manifest"`
		CreatedAt     time.Time        `doc:"createdAt"`
		UpdatedAt     time.Time        `doc:"updatedAt"`
	}
	storedContainer struct {
		Kind  string `doc:"kind"`
		Owner string `doc:"owner"`
		Name  string `doc:"name,omitempty"`
		ID    int64  `doc:"id"`
	}
	storedMapping struct {
		Name         string   `doc:"name"`
		Project      string   `doc:"project,omitempty"`
		Secret       string   `doc:"secret"`
		Scopes       []string `doc:"scopes"`
		Visibility   string   `doc:"visibility,omitempty"`
		Repositories []int64  `doc:"repositories,omitempty"`
	}
)

var collection = docstore.Collection[storedProject]{Name: "projects", Version: 1}

func storeContainer(c Container) storedContainer {
	return storedContainer{Kind: string(c.Kind), Owner: c.Owner, Name: c.Name, ID: c.ID}
}

func (s storedContainer) container() Container {
	return Container{Kind: ContainerKind(s.Kind), Owner: s.Owner, Name: s.Name, ID: s.ID}
}

func storeProject(p Project) storedProject {
	s := storedProject{
		ID: p.ID, Repository: storeContainer(p.Repository), Exclude: p.Exclude, AllowRollback: p.AllowRollback,
		Manifest: string(p.Manifest), CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
	if p.Organisation != nil {
		organisation := storeContainer(*p.Organisation)
		s.Organisation = &organisation
	}
	for _, m := range p.Mappings {
		stored := storedMapping{Name: string(m.Name), Project: m.Source.Project, Secret: m.Source.Secret}
		for _, scope := range m.Scopes {
			stored.Scopes = append(stored.Scopes, string(scope))
		}
		if m.Access != nil {
			stored.Visibility, stored.Repositories = string(m.Access.Visibility), m.Access.Repositories
		}
		s.Mappings = append(s.Mappings, stored)
	}
	return s
}

func (s storedProject) project() Project {
	p := Project{
		ID: s.ID, Repository: s.Repository.container(), Exclude: s.Exclude, AllowRollback: s.AllowRollback,
		Manifest: []byte(s.Manifest), CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	}
	if s.Organisation != nil {
		organisation := s.Organisation.container()
		p.Organisation = &organisation
	}
	for _, stored := range s.Mappings {
		m := Mapping{Name: secret.Name(stored.Name), Source: secret.Source{Project: stored.Project, Secret: stored.Secret}}
		for _, scope := range stored.Scopes {
			m.Scopes = append(m.Scopes, secret.Scope(scope))
		}
		if stored.Visibility != "" {
			m.Access = &Access{Visibility: Visibility(stored.Visibility), Repositories: stored.Repositories}
		}
		p.Mappings = append(p.Mappings, m)
	}
	return p
}
