package docstore

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
)

// Encode turns a struct of a stored form into Fields. Each exported field of
// the struct must say how it is stored:
//
//	Name string `doc:"name"`             // under this name
//	Note string `doc:"note,omitempty"`   // left out where zero or empty
//	Temp string `doc:"-"`                // never stored
//
// It takes bools, strings, integers, floats, []byte, time.Time (stored in UTC,
// truncated to microseconds), structs, pointers to all of these, slices, and
// maps with string keys; strings and numbers also of named types. A nil
// pointer, slice or map is stored as nil and read back as nil.
//
// What it does not know is an error and never stored half: a field without a
// tag, two fields of one name, a slice of slices, an integer over the range of
// int64, a struct with no stored field (such as a secret's value, which is not
// to be stored).
func Encode(v any) (Fields, error) {
	value := reflect.ValueOf(v)
	for value.Kind() == reflect.Pointer && !value.IsNil() {
		value = value.Elem()
	}
	if value.Kind() != reflect.Struct {
		return nil, fmt.Errorf("encode %T: want a struct", v)
	}
	fields, err := codec{}.encodeStruct(value, "")
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return fields, nil
}

// Decode fills the struct that v points to from Fields, by the same tags.
// Fields that the struct does not know are ignored, and those that are missing
// leave the struct as it was. A value of the wrong type, or a number that does
// not fit, is an error that names the field and the types, never the value.
func Decode(fields Fields, v any) error {
	pointer := reflect.ValueOf(v)
	if pointer.Kind() != reflect.Pointer || pointer.IsNil() || pointer.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("decode %T: want a pointer to a struct", v)
	}
	if err := (codec{}).decodeStruct(fields, pointer.Elem(), ""); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

var timeType = reflect.TypeFor[time.Time]()

// storedField is a struct's field as its tag describes it.
type storedField struct {
	index     int
	name      string
	omitEmpty bool
}

// codec remembers the stored fields of the struct types that one call meets,
// since a ledger holds thousands of the same.
type codec map[reflect.Type][]storedField

func (c codec) fields(t reflect.Type) ([]storedField, error) {
	if known, ok := c[t]; ok {
		return known, nil
	}
	var stored []storedField
	names := map[string]bool{}
	for i := range t.NumField() {
		field, ok, err := parseTag(t.Field(i))
		if err != nil {
			return nil, fmt.Errorf("type %s: %w", t, err)
		}
		if !ok {
			continue
		}
		if names[field.name] {
			return nil, fmt.Errorf("type %s: two fields are named %q", t, field.name)
		}
		names[field.name] = true
		field.index = i
		stored = append(stored, field)
	}
	if len(stored) == 0 {
		return nil, fmt.Errorf("type %s has no field with a doc tag", t)
	}
	c[t] = stored
	return stored, nil
}

// parseTag reports how a field is stored, and whether it is.
func parseTag(f reflect.StructField) (storedField, bool, error) {
	tag, tagged := f.Tag.Lookup("doc")
	name, option, _ := strings.Cut(tag, ",")
	switch {
	case name == "-" && option == "", !tagged && !f.IsExported():
		return storedField{}, false, nil
	case !tagged:
		return storedField{}, false, fmt.Errorf("field %s has no doc tag", f.Name)
	case !f.IsExported():
		return storedField{}, false, fmt.Errorf("field %s has a doc tag but is not exported", f.Name)
	case name == "", option != "" && option != "omitempty":
		return storedField{}, false, fmt.Errorf("field %s has a faulty doc tag", f.Name)
	}
	return storedField{name: name, omitEmpty: option == "omitempty"}, true, nil
}

func (c codec) encodeStruct(v reflect.Value, path string) (map[string]any, error) {
	stored, err := c.fields(v.Type())
	if err != nil {
		return nil, at(path, err)
	}
	out := make(map[string]any, len(stored))
	for _, field := range stored {
		value := v.Field(field.index)
		if field.omitEmpty && isEmpty(value) {
			continue
		}
		if out[field.name], err = c.encode(value, join(path, field.name)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c codec) encode(v reflect.Value, path string) (any, error) {
	switch t := v.Type(); {
	case t == timeType:
		return canonicalTime(v.Interface().(time.Time)), nil
	case isBytes(t):
		if v.IsNil() {
			return nil, nil
		}
		return append([]byte{}, v.Bytes()...), nil
	}
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.String:
		return v.String(), nil
	case reflect.Float32, reflect.Float64:
		return v.Float(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > math.MaxInt64 {
			return nil, at(path, errors.New("the number does not fit in an int64"))
		}
		return int64(v.Uint()), nil
	case reflect.Struct:
		return c.encodeStruct(v, path)
	case reflect.Pointer:
		return c.encodePointer(v, path)
	case reflect.Slice:
		return c.encodeSlice(v, path)
	case reflect.Map:
		return c.encodeMap(v, path)
	}
	return nil, at(path, fmt.Errorf("type %s cannot be stored", v.Type()))
}

func (c codec) encodePointer(v reflect.Value, path string) (any, error) {
	if err := checkPointer(v.Type(), path); err != nil || v.IsNil() {
		return nil, err
	}
	return c.encode(v.Elem(), path)
}

func (c codec) encodeSlice(v reflect.Value, path string) (any, error) {
	if err := checkSlice(v.Type(), path); err != nil || v.IsNil() {
		return nil, err
	}
	out := make([]any, v.Len())
	for i := range out {
		var err error
		if out[i], err = c.encode(v.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c codec) encodeMap(v reflect.Value, path string) (any, error) {
	if err := checkMap(v.Type(), path); err != nil || v.IsNil() {
		return nil, err
	}
	out := make(map[string]any, v.Len())
	for entries := v.MapRange(); entries.Next(); {
		var err error
		if out[entries.Key().String()], err = c.encode(entries.Value(), join(path, "*")); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c codec) decodeStruct(fields map[string]any, v reflect.Value, path string) error {
	stored, err := c.fields(v.Type())
	if err != nil {
		return at(path, err)
	}
	for _, field := range stored {
		value, ok := fields[field.name]
		if !ok {
			continue
		}
		if err := c.decode(value, v.Field(field.index), join(path, field.name)); err != nil {
			return err
		}
	}
	return nil
}

// decode sets target, which is settable, to the stored value.
func (c codec) decode(stored any, target reflect.Value, path string) error {
	t := target.Type()
	if stored == nil {
		if !isNilable(t) {
			return mistyped(path, stored, t)
		}
		target.SetZero()
		return nil
	}
	switch {
	case t == timeType:
		return decodeScalar(stored, path, t, func(x time.Time) { target.Set(reflect.ValueOf(canonicalTime(x))) })
	case isBytes(t):
		return decodeScalar(stored, path, t, func(x []byte) { target.SetBytes(append([]byte{}, x...)) })
	}
	switch target.Kind() {
	case reflect.Bool:
		return decodeScalar(stored, path, t, target.SetBool)
	case reflect.String:
		return decodeScalar(stored, path, t, target.SetString)
	case reflect.Float32, reflect.Float64:
		return decodeScalar(stored, path, t, target.SetFloat)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return decodeInteger(stored, target, path)
	case reflect.Struct:
		fields, ok := asMap(stored)
		if !ok {
			return mistyped(path, stored, t)
		}
		return c.decodeStruct(fields, target, path)
	case reflect.Pointer:
		return c.decodePointer(stored, target, path)
	case reflect.Slice:
		return c.decodeSlice(stored, target, path)
	case reflect.Map:
		return c.decodeMap(stored, target, path)
	}
	return at(path, fmt.Errorf("type %s cannot be stored", t))
}

// decodeScalar sets a value whose stored type is exactly T.
func decodeScalar[T any](stored any, path string, t reflect.Type, set func(T)) error {
	value, ok := stored.(T)
	if !ok {
		return mistyped(path, stored, t)
	}
	set(value)
	return nil
}

func decodeInteger(stored any, target reflect.Value, path string) error {
	number, ok := stored.(int64)
	if !ok {
		return mistyped(path, stored, target.Type())
	}
	if target.CanInt() && !target.OverflowInt(number) {
		target.SetInt(number)
		return nil
	}
	if target.CanUint() && number >= 0 && !target.OverflowUint(uint64(number)) {
		target.SetUint(uint64(number))
		return nil
	}
	return at(path, fmt.Errorf("the number does not fit in type %s", target.Type()))
}

func (c codec) decodePointer(stored any, target reflect.Value, path string) error {
	if err := checkPointer(target.Type(), path); err != nil {
		return err
	}
	fresh := reflect.New(target.Type().Elem())
	if err := c.decode(stored, fresh.Elem(), path); err != nil {
		return err
	}
	target.Set(fresh)
	return nil
}

func (c codec) decodeSlice(stored any, target reflect.Value, path string) error {
	if err := checkSlice(target.Type(), path); err != nil {
		return err
	}
	values, ok := stored.([]any)
	if !ok {
		return mistyped(path, stored, target.Type())
	}
	fresh := reflect.MakeSlice(target.Type(), len(values), len(values))
	for i, value := range values {
		if err := c.decode(value, fresh.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	target.Set(fresh)
	return nil
}

func (c codec) decodeMap(stored any, target reflect.Value, path string) error {
	if err := checkMap(target.Type(), path); err != nil {
		return err
	}
	values, ok := asMap(stored)
	if !ok {
		return mistyped(path, stored, target.Type())
	}
	t := target.Type()
	fresh := reflect.MakeMapWithSize(t, len(values))
	for key, value := range values {
		element := reflect.New(t.Elem()).Elem()
		if err := c.decode(value, element, join(path, "*")); err != nil {
			return err
		}
		fresh.SetMapIndex(reflect.ValueOf(key).Convert(t.Key()), element)
	}
	target.Set(fresh)
	return nil
}

// checkPointer refuses pointers to what can be nil itself: which of the two was
// nil would be lost.
func checkPointer(t reflect.Type, path string) error {
	if isNilable(t.Elem()) {
		return at(path, fmt.Errorf("type %s cannot be stored", t))
	}
	return nil
}

// checkSlice refuses slices of slices, since an array holds no array.
func checkSlice(t reflect.Type, path string) error {
	if element := t.Elem(); element.Kind() == reflect.Slice && !isBytes(element) {
		return at(path, fmt.Errorf("type %s cannot be stored: an array holds no array", t))
	}
	return nil
}

func checkMap(t reflect.Type, path string) error {
	if t.Key().Kind() != reflect.String {
		return at(path, fmt.Errorf("type %s cannot be stored: its keys are not strings", t))
	}
	return nil
}

func isNilable(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map
}

func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

func isEmpty(v reflect.Value) bool {
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		return v.Len() == 0
	}
	if v.Type() == timeType {
		return v.Interface().(time.Time).IsZero()
	}
	return v.IsZero()
}

func asMap(stored any) (map[string]any, bool) {
	if fields, ok := stored.(Fields); ok {
		return fields, true
	}
	fields, ok := stored.(map[string]any)
	return fields, ok
}

// canonicalTime is the form in which times are stored.
func canonicalTime(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func at(path string, err error) error {
	if path == "" {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

func mistyped(path string, stored any, want reflect.Type) error {
	return at(path, fmt.Errorf("stored as %T, want %s", stored, want))
}
