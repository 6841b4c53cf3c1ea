package queries

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/shared/docstore"
)

// Words of the format.
const (
	ascending  = "ASCENDING"
	descending = "DESCENDING"
	contains   = "CONTAINS"
	collection = "COLLECTION" // queries are of one collection, never of a group
	everyField = "*"
)

// File is an index configuration file.
type File struct {
	Indexes        []Index         `json:"indexes"`
	FieldOverrides []FieldOverride `json:"fieldOverrides"`
}

// Index is a composite index.
type Index struct {
	CollectionGroup string       `json:"collectionGroup"`
	QueryScope      string       `json:"queryScope"`
	Fields          []IndexField `json:"fields"`
}

// IndexField is one field of a composite index, either in an order or as an
// array.
type IndexField struct {
	FieldPath   string `json:"fieldPath"`
	Order       string `json:"order,omitempty"`
	ArrayConfig string `json:"arrayConfig,omitempty"`
}

// FieldOverride says which indexes of its own a field has, instead of the
// default ones.
type FieldOverride struct {
	CollectionGroup string       `json:"collectionGroup"`
	FieldPath       string       `json:"fieldPath"`
	TTL             bool         `json:"ttl,omitempty"` // documents expire at the field's time
	Indexes         []FieldIndex `json:"indexes"`
}

// FieldIndex is an index of one field.
type FieldIndex struct {
	QueryScope  string `json:"queryScope"`
	Order       string `json:"order,omitempty"`
	ArrayConfig string `json:"arrayConfig,omitempty"`
}

// Use is what is asked of one database.
type Use struct {
	Shapes      []docstore.Shape
	Collections []string // that it has
	Expiring    []string // those of them with documents that expire
}

// Configure returns what the database needs: a composite index for each query
// that needs one, and for each collection the fields that are indexed by
// themselves. The same use, in whatever order, gives the same file.
func Configure(use Use) File {
	file := File{Indexes: []Index{}, FieldOverrides: []FieldOverride{}}
	single := map[string]map[string][]FieldIndex{} // by collection and path
	add := func(name, path string, indexes ...FieldIndex) {
		if single[name] == nil {
			single[name] = map[string][]FieldIndex{everyField: nil}
		}
		single[name][path] = append(single[name][path], indexes...)
	}
	for _, name := range use.Collections {
		add(name, everyField)
	}
	for _, name := range use.Expiring {
		add(name, docstore.ExpireField)
	}
	for _, shape := range use.Shapes {
		add(shape.Collection, everyField)
		fields := fieldsOf(shape)
		if needsComposite(shape) {
			file.Indexes = append(file.Indexes, Index{CollectionGroup: shape.Collection, QueryScope: collection, Fields: fields})
			continue
		}
		for _, f := range fields {
			add(shape.Collection, f.FieldPath, FieldIndex{QueryScope: collection, Order: f.Order, ArrayConfig: f.ArrayConfig})
		}
	}
	for name, fields := range single {
		for path, indexes := range fields {
			slices.SortFunc(indexes, func(a, b FieldIndex) int {
				return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.ArrayConfig, b.ArrayConfig))
			})
			file.FieldOverrides = append(file.FieldOverrides, FieldOverride{
				CollectionGroup: name, FieldPath: path, Indexes: append([]FieldIndex{}, slices.Compact(indexes)...),
				TTL: path == docstore.ExpireField && slices.Contains(use.Expiring, name),
			})
		}
	}
	slices.SortFunc(file.Indexes, func(a, b Index) int {
		return cmp.Or(cmp.Compare(a.CollectionGroup, b.CollectionGroup), slices.CompareFunc(a.Fields, b.Fields, compareFields))
	})
	file.Indexes = slices.CompactFunc(file.Indexes, func(a, b Index) bool {
		return a.CollectionGroup == b.CollectionGroup && slices.Equal(a.Fields, b.Fields)
	})
	slices.SortFunc(file.FieldOverrides, func(a, b FieldOverride) int {
		return cmp.Or(cmp.Compare(a.CollectionGroup, b.CollectionGroup), cmp.Compare(a.FieldPath, b.FieldPath))
	})
	return file
}

// fieldsOf returns the fields that a query needs in an index: those of its
// equality filters, then the array, then the ordered one.
func fieldsOf(shape docstore.Shape) []IndexField {
	order := orderOf(shape)
	var fields []IndexField
	for _, path := range equalities(shape) {
		fields = append(fields, IndexField{FieldPath: path, Order: ascending})
	}
	if shape.Contains != "" {
		fields = append(fields, IndexField{FieldPath: shape.Contains, ArrayConfig: contains})
	}
	if order != "" {
		direction := ascending
		if shape.Descending {
			direction = descending
		}
		fields = append(fields, IndexField{FieldPath: order, Order: direction})
	}
	return fields
}

func needsComposite(shape docstore.Shape) bool {
	beyondEquality := shape.Contains != "" || orderOf(shape) != ""
	return beyondEquality && len(fieldsOf(shape)) > 1
}

// equalities returns the paths of the equality filters. A field that is ordered
// as well stands there for both.
func equalities(shape docstore.Shape) []string {
	if shape.Equal == "" {
		return nil
	}
	order := orderOf(shape)
	return slices.DeleteFunc(strings.Split(shape.Equal, ","), func(path string) bool { return path == order })
}

// orderOf is the field that the results come in the order of; empty: by id. A
// range is an order: see docstore.Query.
func orderOf(shape docstore.Shape) string { return cmp.Or(shape.OrderBy, shape.Range) }

func compareFields(a, b IndexField) int {
	return cmp.Or(cmp.Compare(a.FieldPath, b.FieldPath), cmp.Compare(a.Order, b.Order), cmp.Compare(a.ArrayConfig, b.ArrayConfig))
}

// JSON returns the text of the file.
func (f File) JSON() []byte {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		panic(err) // strings and bools
	}
	return append(text, '\n')
}
