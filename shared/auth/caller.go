package auth

import (
	"maps"
	"slices"

	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/fault"
)

// AllProjects stands for every project, those to come included.
const AllProjects = "*"

// Identity is who a verified token is about.
type Identity struct {
	Kind         IssuerKind
	Issuer       string // URL of the issuer that vouches for it
	Subject      string // the issuer's own name for it, never empty
	Email        string // lower-case; only if the issuer has verified it
	RepositoryID string // GitHub Actions only: the numeric id of the workflow's repository
}

// Actor is the identity as the audit names it: the address where there is one,
// else the kind of the issuer and the subject.
func (i Identity) Actor() string {
	if i.Email != "" {
		return i.Email
	}
	return string(i.Kind) + ":" + i.Subject
}

// Grants are the roles that somebody holds, by project id or [AllProjects].
type Grants map[string][]catalogue.Role

// Caller is an identity with its grants. The zero value holds no role.
type Caller struct {
	Identity Identity
	grants   Grants
}

// NewCaller returns a caller who holds a copy of the grants.
func NewCaller(identity Identity, grants Grants) Caller {
	held := make(Grants, len(grants))
	for project, roles := range grants {
		held[project] = slices.Clone(roles)
	}
	return Caller{Identity: identity, grants: held}
}

// Require returns nil if the caller holds the role, or one that includes it,
// for the project; for [AllProjects] it must hold it for all of them. Else it
// returns a [fault.AuthDenied], the same whether the project exists or not.
func (c Caller) Require(role catalogue.Role, project string) error {
	if grantsInclude(c.grants[AllProjects], role) || grantsInclude(c.grants[project], role) {
		return nil
	}
	if project == AllProjects {
		return fault.New(fault.AuthDenied, "this needs the role %s for all projects", role)
	}
	return fault.New(fault.AuthDenied, "this needs the role %s for the project %q", role, project)
}

// RequireSomewhere returns nil if the caller holds the role, or one that
// includes it, for at least one project, else a [fault.AuthDenied].
func (c Caller) RequireSomewhere(role catalogue.Role) error {
	for _, held := range c.grants {
		if grantsInclude(held, role) {
			return nil
		}
	}
	return fault.New(fault.AuthDenied, "this needs the role %s", role)
}

// Projects returns the ids for which the caller holds the role, sorted;
// [AllProjects] stands alone if it holds it for all.
func (c Caller) Projects(role catalogue.Role) []string {
	if grantsInclude(c.grants[AllProjects], role) {
		return []string{AllProjects}
	}
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(c.grants)) {
		if grantsInclude(c.grants[id], role) {
			ids = append(ids, id)
		}
	}
	return ids
}

func grantsInclude(held []catalogue.Role, wanted catalogue.Role) bool {
	return slices.ContainsFunc(held, func(r catalogue.Role) bool { return r.Includes(wanted) })
}
