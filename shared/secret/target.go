package secret

import (
	"cmp"
	"strings"
)

// Target is one copy's place within a container: a scope and a name.
type Target struct {
	Scope Scope
	Name  Name
}

// String returns scope/name.
func (t Target) String() string { return string(t.Scope) + "/" + string(t.Name) }

// Compare orders targets by name, then by scope, so that the copies of one
// secret stand together.
func (t Target) Compare(o Target) int {
	return cmp.Or(strings.Compare(string(t.Name), string(o.Name)), strings.Compare(string(t.Scope), string(o.Scope)))
}
