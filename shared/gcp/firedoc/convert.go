package firedoc

import (
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

// documentID is Firestore's name for a document's own name in a query.
const documentID = "__name__"

func (s *Store) name(key docstore.Key) string {
	return s.database + "/documents/" + key.Collection + "/" + key.ID
}

// keyOf is the inverse of name; ids hold no slash.
func keyOf(name string) docstore.Key {
	rest, id := cutLast(name)
	_, collection := cutLast(rest)
	return docstore.Key{Collection: collection, ID: id}
}

func cutLast(path string) (before, after string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

func (s *Store) toWrite(w docstore.Write, nonce []byte) *firestorepb.Write {
	out := &firestorepb.Write{}
	if w.Fields == nil {
		out.Operation = &firestorepb.Write_Delete{Delete: s.name(w.Key)}
	} else {
		fields := toMap(w.Fields)
		fields[docstore.NonceField] = toValue(nonce)
		if !w.ExpireAt.IsZero() {
			fields[docstore.ExpireField] = toValue(w.ExpireAt)
		}
		out.Operation = &firestorepb.Write_Update{Update: &firestorepb.Document{Name: s.name(w.Key), Fields: fields}}
	}
	if at, ok := w.If.UpdateTime(); ok {
		out.CurrentDocument = &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_UpdateTime{UpdateTime: timestamppb.New(at)}}
	} else if w.If.Absent() {
		out.CurrentDocument = &firestorepb.Precondition{ConditionType: &firestorepb.Precondition_Exists{Exists: false}}
	}
	return out
}

func toMap(members map[string]any) map[string]*firestorepb.Value {
	out := make(map[string]*firestorepb.Value, len(members))
	for name, value := range members {
		out[name] = toValue(value)
	}
	return out
}

// toValue takes the types of docstore.Fields; the store has checked them.
func toValue(v any) *firestorepb.Value {
	switch v := v.(type) {
	case bool:
		return &firestorepb.Value{ValueType: &firestorepb.Value_BooleanValue{BooleanValue: v}}
	case int64:
		return &firestorepb.Value{ValueType: &firestorepb.Value_IntegerValue{IntegerValue: v}}
	case float64:
		return &firestorepb.Value{ValueType: &firestorepb.Value_DoubleValue{DoubleValue: v}}
	case string:
		return &firestorepb.Value{ValueType: &firestorepb.Value_StringValue{StringValue: v}}
	case []byte:
		return &firestorepb.Value{ValueType: &firestorepb.Value_BytesValue{BytesValue: v}}
	case time.Time:
		return &firestorepb.Value{ValueType: &firestorepb.Value_TimestampValue{TimestampValue: timestamppb.New(v)}}
	case map[string]any:
		return &firestorepb.Value{ValueType: &firestorepb.Value_MapValue{MapValue: &firestorepb.MapValue{Fields: toMap(v)}}}
	case []any:
		values := make([]*firestorepb.Value, 0, len(v))
		for _, element := range v {
			values = append(values, toValue(element))
		}
		return &firestorepb.Value{ValueType: &firestorepb.Value_ArrayValue{ArrayValue: &firestorepb.ArrayValue{Values: values}}}
	}
	return &firestorepb.Value{ValueType: &firestorepb.Value_NullValue{NullValue: structpb.NullValue_NULL_VALUE}}
}

func fromDocument(document *firestorepb.Document, read *timestamppb.Timestamp) (docstore.Doc, error) {
	fields, err := fromMap(document.GetFields())
	if err != nil {
		return docstore.Doc{}, fmt.Errorf("%s: %w", keyOf(document.GetName()), err)
	}
	delete(fields, docstore.ExpireField)
	delete(fields, docstore.NonceField)
	return docstore.Doc{
		Key:        keyOf(document.GetName()),
		Fields:     fields,
		UpdateTime: document.GetUpdateTime().AsTime(),
		ReadTime:   read.AsTime(),
	}, nil
}

func fromMap(members map[string]*firestorepb.Value) (map[string]any, error) {
	out := make(map[string]any, len(members))
	for name, value := range members {
		var err error
		if out[name], err = fromValue(value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func fromValue(v *firestorepb.Value) (any, error) {
	switch v := v.GetValueType().(type) {
	case *firestorepb.Value_NullValue:
		return nil, nil
	case *firestorepb.Value_BooleanValue:
		return v.BooleanValue, nil
	case *firestorepb.Value_IntegerValue:
		return v.IntegerValue, nil
	case *firestorepb.Value_DoubleValue:
		return v.DoubleValue, nil
	case *firestorepb.Value_StringValue:
		return v.StringValue, nil
	case *firestorepb.Value_BytesValue:
		return append([]byte{}, v.BytesValue...), nil
	case *firestorepb.Value_TimestampValue:
		return v.TimestampValue.AsTime(), nil
	case *firestorepb.Value_MapValue:
		return fromMap(v.MapValue.GetFields())
	case *firestorepb.Value_ArrayValue:
		values := make([]any, 0, len(v.ArrayValue.GetValues()))
		for _, element := range v.ArrayValue.GetValues() {
			value, err := fromValue(element)
			if err != nil {
				return nil, err
			}
			values = append(values, value)
		}
		return values, nil
	}
	return nil, fmt.Errorf("a value of type %T, which Sealpost never writes", v.GetValueType())
}

// structured returns the query for a page and one document more.
func (s *Store) structured(q docstore.Query) (*firestorepb.StructuredQuery, error) {
	out := &firestorepb.StructuredQuery{
		From:  []*firestorepb.StructuredQuery_CollectionSelector{{CollectionId: q.Collection}},
		Limit: wrapperspb.Int32(int32(q.Limit) + 1),
	}
	if len(q.Where) > 0 {
		out.Where = all(q.Where)
	}
	direction := firestorepb.StructuredQuery_ASCENDING
	if q.OrderBy != nil {
		if q.OrderBy.Descending {
			direction = firestorepb.StructuredQuery_DESCENDING
		}
		out.OrderBy = append(out.OrderBy, &firestorepb.StructuredQuery_Order{Field: field(q.OrderBy.Path), Direction: direction})
	}
	out.OrderBy = append(out.OrderBy, &firestorepb.StructuredQuery_Order{Field: field(documentID), Direction: direction})
	if q.Cursor == "" {
		return out, nil
	}
	var err error
	out.StartAt, err = s.startAfter(q)
	return out, err
}

func field(path string) *firestorepb.StructuredQuery_FieldReference {
	return &firestorepb.StructuredQuery_FieldReference{FieldPath: path}
}

var operators = map[docstore.Op]firestorepb.StructuredQuery_FieldFilter_Operator{
	docstore.Equal:          firestorepb.StructuredQuery_FieldFilter_EQUAL,
	docstore.Less:           firestorepb.StructuredQuery_FieldFilter_LESS_THAN,
	docstore.LessOrEqual:    firestorepb.StructuredQuery_FieldFilter_LESS_THAN_OR_EQUAL,
	docstore.Greater:        firestorepb.StructuredQuery_FieldFilter_GREATER_THAN,
	docstore.GreaterOrEqual: firestorepb.StructuredQuery_FieldFilter_GREATER_THAN_OR_EQUAL,
	docstore.Contains:       firestorepb.StructuredQuery_FieldFilter_ARRAY_CONTAINS,
}

// all is the filter that every one of the filters passes.
func all(filters []docstore.Filter) *firestorepb.StructuredQuery_Filter {
	composite := &firestorepb.StructuredQuery_CompositeFilter{Op: firestorepb.StructuredQuery_CompositeFilter_AND}
	for _, f := range filters {
		composite.Filters = append(composite.Filters, &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_FieldFilter{
			FieldFilter: &firestorepb.StructuredQuery_FieldFilter{Field: field(f.Path), Op: operators[f.Op], Value: toValue(f.Value)},
		}})
	}
	return &firestorepb.StructuredQuery_Filter{FilterType: &firestorepb.StructuredQuery_Filter_CompositeFilter{CompositeFilter: composite}}
}

// startAfter is the place just after the document that the cursor names.
func (s *Store) startAfter(q docstore.Query) (*firestorepb.Cursor, error) {
	id, place, err := q.DecodeCursor()
	if err != nil {
		return nil, err
	}
	out := &firestorepb.Cursor{Before: false}
	if q.OrderBy != nil {
		value := &firestorepb.Value{}
		err := proto.Unmarshal(place, value)
		if _, foreign := fromValue(value); err != nil || foreign != nil {
			return nil, fault.New(fault.RequestMalformed, "a listing of %s: the cursor is not one", q.Collection)
		}
		out.Values = append(out.Values, value)
	}
	name := s.name(docstore.Key{Collection: q.Collection, ID: id})
	out.Values = append(out.Values, &firestorepb.Value{ValueType: &firestorepb.Value_ReferenceValue{ReferenceValue: name}})
	return out, nil
}

// cursorValue is the value of the field that the query is ordered by.
func cursorValue(q docstore.Query, document *firestorepb.Document) ([]byte, error) {
	if q.OrderBy == nil {
		return nil, nil
	}
	members, names := document.GetFields(), strings.Split(q.OrderBy.Path, ".")
	for _, name := range names[:len(names)-1] {
		members = members[name].GetMapValue().GetFields()
	}
	place, err := proto.Marshal(members[names[len(names)-1]])
	if err != nil {
		return nil, fmt.Errorf("%s: its place in the order cannot be told", keyOf(document.GetName()))
	}
	return place, nil
}
