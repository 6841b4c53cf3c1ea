package auth

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/strictjson"
)

// Bindings give roles to members. A member is `email:<address>` for an
// identity of Google or IAP, or `repository:<numeric id>` for a workflow run of
// that GitHub repository, whatever its branch: ids are not given twice, names are.
type Bindings map[string]Grants

const (
	emailMember      = "email:"
	repositoryMember = "repository:"
)

var (
	address   = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)
	numericID = regexp.MustCompile(`^[1-9][0-9]{0,18}$`)
)

// ParseBindings reads a JSON object, member → project id or "*" → list of
// roles. The error is a [fault.ConfigInvalid] with every fault in it, which
// names members by their place in alphabetical order: no value of a setting is
// repeated.
func ParseBindings(text string) (Bindings, error) {
	var raw Bindings
	if err := strictjson.Unmarshal([]byte(text), &raw); err != nil {
		return nil, fault.New(fault.ConfigInvalid, "want a JSON object, member → project id or * → list of roles: %s", fault.Detail(err))
	}
	var faults faultList
	bindings := make(Bindings, len(raw))
	for i, member := range slices.Sorted(maps.Keys(raw)) {
		key := canonicalMember(member)
		if key == "" {
			faults.add("member %d is neither email:<address> nor repository:<numeric id>", i+1)
		}
		if _, twice := bindings[key]; twice && key != "" {
			faults.add("member %d is there twice", i+1)
		}
		for _, text := range raw[member].faults() {
			faults.add("member %d %s", i+1, text)
		}
		bindings[key] = raw[member]
	}
	return bindings, faults.err()
}

func canonicalMember(member string) string {
	if email, ok := strings.CutPrefix(member, emailMember); ok && address.MatchString(email) {
		return strings.ToLower(member)
	}
	if id, ok := strings.CutPrefix(member, repositoryMember); ok && numericID.MatchString(id) {
		return member
	}
	return ""
}

// IsProjectID reports whether a text can be the id of a project.
func IsProjectID(text string) bool { return project.CheckID(text) == nil }

// CheckGrants returns a [fault.Invalid] if a project id or a role in the grants
// is none.
func CheckGrants(g Grants) error {
	if faults := g.faults(); len(faults) > 0 {
		return fault.Wrap(fault.Invalid, "check grants", fmt.Errorf("%s", strings.Join(faults, "; ")))
	}
	return nil
}

func (g Grants) faults() []string {
	var faults []string
	for _, id := range slices.Sorted(maps.Keys(g)) {
		if id != AllProjects && !IsProjectID(id) {
			faults = append(faults, "has a key that is neither * nor the id of a project")
		}
		for _, role := range g[id] {
			if !slices.Contains(catalogue.Roles(), role) {
				faults = append(faults, fmt.Sprintf("has something else than the roles %v", catalogue.Roles()))
			}
		}
	}
	return faults
}

// For returns what the bindings give to an identity.
func (b Bindings) For(i Identity) Grants {
	switch i.Kind {
	case Google, IAP:
		if i.Email != "" {
			return b[emailMember+strings.ToLower(i.Email)]
		}
	case GitHub:
		if i.RepositoryID != "" {
			return b[repositoryMember+i.RepositoryID]
		}
	case Local: // its tokens carry their roles
	}
	return nil
}

// faultList gathers the faults of a setting, to be reported at once.
type faultList []string

func (l *faultList) add(format string, args ...any) { *l = append(*l, fmt.Sprintf(format, args...)) }

func (l *faultList) err() error {
	if len(*l) == 0 {
		return nil
	}
	return fault.New(fault.ConfigInvalid, "%s", strings.Join(*l, "; "))
}
