package ghapi

import (
	"context"
	"fmt"
	"regexp"

	"github.com/google/go-github/v66/github"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/project"
)

// What names may look like, wide enough for enterprise accounts. Nothing else
// is put into a path.
var (
	login          = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)
	repositoryName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)
)

func checkNames(kind project.ContainerKind, owner, name string) error {
	switch {
	case !login.MatchString(owner):
		return fault.New(fault.TargetNotFound, "%q cannot be the name of an account at GitHub", owner)
	case kind == project.Repository && (!repositoryName.MatchString(name) || name == "." || name == ".."):
		return fault.New(fault.TargetNotFound, "%q cannot be the name of a repository at GitHub", name)
	}
	return nil
}

// Repository returns the repository with its numeric id, under its present
// name if it was renamed. Its errors are those of [syncer.Targets].
func (c *Client) Repository(ctx context.Context, owner, name string) (project.Container, error) {
	var found github.Repository
	err := c.resolve(ctx, project.Repository, owner, name, fmt.Sprintf("repos/%s/%s", owner, name), &found)
	if err != nil {
		return project.Container{}, err
	}
	return project.Container{Kind: project.Repository, Owner: found.GetOwner().GetLogin(), Name: found.GetName(), ID: found.GetID()}, nil
}

// Organisation returns the organisation with its numeric id. Its errors are
// those of [syncer.Targets].
func (c *Client) Organisation(ctx context.Context, login string) (project.Container, error) {
	var found github.Organization
	err := c.resolve(ctx, project.Organisation, login, "", "orgs/"+login, &found)
	if err != nil {
		return project.Container{}, err
	}
	return project.Container{Kind: project.Organisation, Owner: found.GetLogin(), ID: found.GetID()}, nil
}

// RepositoryIDs returns the numeric ids of an owner's repositories, in the
// order of the names. It asks for one after the other.
func (c *Client) RepositoryIDs(ctx context.Context, owner string, names []string) ([]int64, error) {
	ids := make([]int64, 0, len(names))
	for _, name := range names {
		repository, err := c.Repository(ctx, owner, name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, repository.ID)
	}
	return ids, nil
}

func (c *Client) resolve(ctx context.Context, kind project.ContainerKind, owner, name, path string, into interface{ GetID() int64 }) error {
	about := fmt.Sprintf("the %s %s", kind, project.Container{Kind: kind, Owner: owner, Name: name})
	op := "ghapi: find " + about
	if err := checkNames(kind, owner, name); err != nil {
		return fault.Annotate(op, err)
	}
	a, err := c.account(ctx, kind, owner, name)
	if err != nil {
		return explain(op, about, err)
	}
	if _, err := a.get(ctx, path, into); err != nil {
		return explain(op, about, err)
	}
	if into.GetID() <= 0 {
		return explain(op, about, &failure{reason: garbled})
	}
	return nil
}
