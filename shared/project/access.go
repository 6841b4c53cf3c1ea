package project

import (
	"fmt"
	"slices"
	"strings"
)

// Visibility says which repositories of an organisation see one of its secrets.
type Visibility string

// The visibilities that GitHub knows.
const (
	VisibleToAll      Visibility = "all"
	VisibleToPrivate  Visibility = "private"
	VisibleToSelected Visibility = "selected"
)

// Access is who sees an organisation's secret. It is always written whole:
// GitHub clears what an update leaves out.
type Access struct {
	Visibility   Visibility
	Repositories []int64 // numeric ids, with VisibleToSelected only; may be empty
}

// String returns a canonical form, equal for equal access.
func (a Access) String() string {
	if a.Visibility != VisibleToSelected {
		return string(a.Visibility)
	}
	ids := slices.Clone(a.Repositories)
	slices.Sort(ids)
	texts := make([]string, 0, len(ids))
	for _, id := range slices.Compact(ids) {
		texts = append(texts, fmt.Sprint(id))
	}
	return string(a.Visibility) + ":" + strings.Join(texts, ",")
}
