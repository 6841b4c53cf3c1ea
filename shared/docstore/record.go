package docstore

import (
	"context"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
)

// schemaField holds the version of a record's stored form.
const schemaField = "schemaVersion"

// Collection keeps records of type T in one collection of a store, in a stored
// form with a version. T is a struct of the stored form, apart from any type
// of the API; its fields carry `doc` tags (see [Encode]).
//
// The rule for older forms: Upgrades[v] takes the fields of version v to
// version v+1, and a record is upgraded as it is read and written back only
// when it is changed anyway. A record of a newer version is refused with
// [fault.SchemaTooNew]: an old binary never rewrites what it does not
// understand.
type Collection[T any] struct {
	Name     string
	Version  int // of T; counted from 1
	Upgrades map[int]func(Fields) (Fields, error)
}

// Record is a stored value with what a later write needs.
type Record[T any] struct {
	Value      T
	ID         string
	UpdateTime time.Time
	ReadTime   time.Time
}

// Get reads one record. Errors are those of Store.Get.
func (c Collection[T]) Get(ctx context.Context, s Store, id string) (Record[T], error) {
	doc, err := s.Get(ctx, Key{Collection: c.Name, ID: id})
	if err != nil {
		return Record[T]{}, err
	}
	return c.read(doc)
}

// List reads one page of records; query.Collection is filled in. Errors are
// those of Store.List.
func (c Collection[T]) List(ctx context.Context, s Store, query Query) ([]Record[T], string, error) {
	query.Collection = c.Name
	page, err := s.List(ctx, query)
	if err != nil {
		return nil, "", err
	}
	records := make([]Record[T], 0, len(page.Docs))
	for _, doc := range page.Docs {
		record, err := c.read(doc)
		if err != nil {
			return nil, "", err
		}
		records = append(records, record)
	}
	return records, page.Next, nil
}

// Put returns the write that replaces the record, for Store.Commit.
func (c Collection[T]) Put(id string, value T, condition Precondition) (Write, error) {
	fields, err := Encode(value)
	if err != nil {
		return Write{}, fault.Wrap(fault.Internal, "encode "+c.Name+"/"+id, err)
	}
	fields[schemaField] = int64(c.Version)
	return Write{Key: Key{Collection: c.Name, ID: id}, Fields: fields, If: condition}, nil
}

// Delete returns the write that deletes the record, for Store.Commit.
func (c Collection[T]) Delete(id string, condition Precondition) Write {
	return Write{Key: Key{Collection: c.Name, ID: id}, If: condition}
}

func (c Collection[T]) read(doc Doc) (Record[T], error) {
	record := Record[T]{ID: doc.ID, UpdateTime: doc.UpdateTime, ReadTime: doc.ReadTime}
	fields, err := c.upgrade(doc)
	if err != nil {
		return record, err
	}
	delete(fields, schemaField)
	if err := Decode(fields, &record.Value); err != nil {
		return record, fault.Wrap(fault.Internal, "decode "+doc.Key.String(), err)
	}
	return record, nil
}

func (c Collection[T]) upgrade(doc Doc) (Fields, error) {
	version, ok := doc.Fields[schemaField].(int64)
	if !ok {
		return nil, fault.Wrap(fault.Internal, "read "+doc.Key.String(), fmt.Errorf("no %s", schemaField))
	}
	if version > int64(c.Version) {
		return nil, fault.New(fault.SchemaTooNew, "%s has schema version %d; this binary knows %d", doc.Key, version, c.Version)
	}
	fields := doc.Fields
	for v := int(version); v < c.Version; v++ {
		step, ok := c.Upgrades[v]
		if !ok {
			return nil, fault.Wrap(fault.Internal, "read "+doc.Key.String(), fmt.Errorf("no upgrade from schema version %d", v))
		}
		var err error
		if fields, err = step(fields); err != nil {
			return nil, fault.Wrap(fault.Internal, "upgrade "+doc.Key.String(), err)
		}
	}
	return fields, nil
}
