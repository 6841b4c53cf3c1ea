package project

import (
	"fmt"

	"github.com/sealpost/sealpost/shared/secret"
)

// ContainerKind says what sort of thing holds targets.
type ContainerKind string

// The kinds of container.
const (
	Repository   ContainerKind = "repository"
	Organisation ContainerKind = "organisation"
)

// Container holds targets and has one owner among the projects. Lease and
// ledger belong to it.
type Container struct {
	Kind  ContainerKind
	Owner string // login of the account: the repository's owner, or the organisation
	Name  string // name of the repository; empty for an organisation
	ID    int64  // GitHub's numeric id of the repository or organisation, which a rename keeps
}

// Key returns the id under which the store keeps what belongs to the container.
func (c Container) Key() string { return fmt.Sprintf("%s-%d", c.Kind, c.ID) }

// String returns owner/name, or the organisation's login.
func (c Container) String() string {
	if c.Kind == Repository {
		return c.Owner + "/" + c.Name
	}
	return c.Owner
}

// Holds reports whether targets of the scope are in a container of this kind.
func (k ContainerKind) Holds(s secret.Scope) bool {
	if _, worker := s.Worker(); worker {
		return false
	}
	return s.Organisation() == (k == Organisation)
}
