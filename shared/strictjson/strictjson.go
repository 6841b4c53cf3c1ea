// Package strictjson decodes JSON that somebody else wrote, and takes nothing
// that could be read in two ways: no unknown or repeated field, no field in
// another case, no null for a value, no text after the end, no invalid UTF-8,
// and no nesting that nobody needs. encoding/json lets all of these pass.
//
// A fault names the place, like secrets[2].scopes[0], and what is wanted
// there. It never repeats what was found.
package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sealpost/sealpost/shared/fault"
)

const (
	maxDepth  = 32 // of objects and arrays in each other
	maxFaults = 10 // reported at once; more help nobody
)

// Unmarshal fills the struct, map or slice that into points to. A struct's
// field may carry the tag `required:"true"`. The error is a
// [fault.RequestMalformed] that names every fault, at most ten; into is then
// unchanged. What it costs grows with the input's length times its depth.
func Unmarshal(data []byte, into any) error {
	if err := wellFormed(data); err != nil {
		return err
	}
	var c checker
	c.value(data, reflect.TypeOf(into).Elem(), "", 0)
	if len(c.faults) > 0 {
		return fault.New(fault.RequestMalformed, "%s", strings.Join(c.faults, "; "))
	}
	fresh := reflect.New(reflect.TypeOf(into).Elem())
	if err := json.Unmarshal(data, fresh.Interface()); err != nil {
		return fault.New(fault.RequestMalformed, "the JSON does not have the form that is wanted")
	}
	reflect.ValueOf(into).Elem().Set(fresh.Elem())
	return nil
}

// Check holds data to the same rules without a form to fill: it must be one
// JSON object.
func Check(data []byte) error {
	var object map[string]any
	return Unmarshal(data, &object)
}

func wellFormed(data []byte) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return fault.New(fault.RequestMalformed, "there is no JSON: it is empty")
	}
	if !utf8.Valid(data) {
		return fault.New(fault.RequestMalformed, "the JSON is not valid UTF-8")
	}
	var raw json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		if deeper(data) {
			return fault.New(fault.RequestMalformed, "the JSON is nested too deeply")
		}
		return fault.New(fault.RequestMalformed, "the JSON is not well formed%s", at(err))
	}
	if !surrogatesPaired(data) {
		return fault.New(fault.RequestMalformed, "the JSON has half of a surrogate pair in an escape")
	}
	return nil
}

// deeper reports whether a place in the text is nested more than maxDepth deep.
// encoding/json gives up on such a text with an error that does not tell so.
func deeper(data []byte) bool {
	depth, text := 0, false
	for i := 0; i < len(data) && depth <= maxDepth; i++ {
		switch c := data[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	return depth > maxDepth
}

func at(err error) string {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Sprintf(" at byte %d", syntax.Offset)
	}
	return ""
}

// surrogatesPaired reports whether each \uD800 to \uDFFF is half of a pair.
// data is well-formed JSON, where a backslash stands in strings only.
func surrogatesPaired(data []byte) bool {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		first := escaped(data[i:])
		switch {
		case first < 0:
			i++ // a short escape: skip what it escapes
		case !utf16.IsSurrogate(first):
			i += 5
		case utf16.DecodeRune(first, escaped(data[i+6:])) == utf8.RuneError:
			return false
		default:
			i += 11
		}
	}
	return true
}

// escaped returns the code unit of an escape of the form \uXXXX at the start of
// data, or -1 if there is none.
func escaped(data []byte) rune {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(unit)
}

// checker compares a JSON text with a Go type and gathers what does not fit.
type checker struct {
	faults []string
}

func (c *checker) add(path, format string, args ...any) {
	if len(c.faults) == maxFaults {
		return
	}
	if path == "" {
		path = "the JSON"
	}
	c.faults = append(c.faults, path+" "+fmt.Sprintf(format, args...))
}

var (
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	anything        = reflect.TypeFor[any]()
)

// value checks one value against a type.
func (c *checker) value(raw []byte, t reflect.Type, path string, depth int) {
	raw = bytes.TrimSpace(raw)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if depth > maxDepth {
		c.add(path, "is nested too deeply")
		return
	}
	if t.Kind() == reflect.Interface {
		c.anything(raw, path, depth)
		return
	}
	if raw[0] == 'n' {
		c.add(path, "is null; leave it out instead")
		return
	}
	if p := reflect.PointerTo(t); p.Implements(unmarshaler) || p.Implements(textUnmarshaler) {
		c.anything(raw, path, depth)
		c.leaf(raw, t, path, "is not of the form that is wanted")
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		c.structure(raw, t, path, depth)
	case reflect.Map:
		c.mapping(raw, t, path, depth)
	case reflect.Slice, reflect.Array:
		c.list(raw, t, path, depth)
	case reflect.String:
		c.leaf(raw, t, path, "is not a string")
	case reflect.Bool:
		c.leaf(raw, t, path, "is not true or false")
	case reflect.Float32, reflect.Float64:
		c.leaf(raw, t, path, "is not a number, or is out of range")
	default:
		c.leaf(raw, t, path, "is not a whole number, or is out of range")
	}
}

// anything checks what no type constrains: repeated fields and depth.
func (c *checker) anything(raw []byte, path string, depth int) {
	switch raw[0] {
	case '{':
		c.members(raw, path, depth, nil, anything)
	case '[':
		c.elements(raw, anything, path, depth)
	}
}

func (c *checker) leaf(raw []byte, t reflect.Type, path, complaint string) {
	if json.Unmarshal(raw, reflect.New(t).Interface()) != nil {
		c.add(path, "%s", complaint)
	}
}

func (c *checker) structure(raw []byte, t reflect.Type, path string, depth int) {
	if raw[0] != '{' {
		c.add(path, "is not an object")
		return
	}
	known := fieldsOf(t)
	seen := c.members(raw, path, depth, known, nil)
	for _, f := range reflect.VisibleFields(t) {
		if name := nameOf(f); f.Tag.Get("required") == "true" && !seen[name] {
			c.add(join(path, name), "is missing")
		}
	}
}

func (c *checker) mapping(raw []byte, t reflect.Type, path string, depth int) {
	if raw[0] != '{' {
		c.add(path, "is not an object")
		return
	}
	c.members(raw, path, depth, nil, t.Elem())
}

func (c *checker) list(raw []byte, t reflect.Type, path string, depth int) {
	if t.Elem().Kind() == reflect.Uint8 { // encoding/json: bytes are base64 text
		c.leaf(raw, t, path, "is not base64 text")
		return
	}
	if raw[0] != '[' {
		c.add(path, "is not a list")
		return
	}
	c.elements(raw, t.Elem(), path, depth)
}

// members checks the fields of an object one by one and returns their names. A
// name that is not among the known ones is at fault, unless there is a type for
// any other.
func (c *checker) members(raw []byte, path string, depth int, known map[string]reflect.StructField, other reflect.Type) map[string]bool {
	seen := map[string]bool{}
	decoder := opened(raw)
	for decoder.More() {
		token, _ := decoder.Token() // the text is well formed: see wellFormed
		name, _ := token.(string)
		var field json.RawMessage
		_ = decoder.Decode(&field)
		t, where := other, join(path, shown(name))
		if f, ours := known[name]; ours {
			t, where = f.Type, join(path, name)
		}
		switch {
		case seen[name]:
			c.add(where, "is there twice")
		case t == nil:
			c.add(where, "is not a known field")
		default:
			c.value(field, t, where, depth+1)
		}
		seen[name] = true
	}
	return seen
}

func (c *checker) elements(raw []byte, t reflect.Type, path string, depth int) {
	decoder := opened(raw)
	for i := 0; decoder.More(); i++ {
		var element json.RawMessage
		_ = decoder.Decode(&element)
		c.value(element, t, fmt.Sprintf("%s[%d]", path, i), depth+1)
	}
}

// opened returns a decoder that stands after the first bracket.
func opened(raw []byte) *json.Decoder {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	_, _ = decoder.Token()
	return decoder
}

// fieldsOf returns a struct's fields by their JSON names.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for _, f := range reflect.VisibleFields(t) {
		if name := nameOf(f); name != "" {
			fields[name] = f
		}
	}
	return fields
}

// nameOf returns a field's name in JSON, or "" if it has none there.
func nameOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch {
	case !f.IsExported(), name == "-", f.Anonymous && name == "":
		return ""
	case name == "":
		return f.Name
	}
	return name
}

// word is what the name of a field may well be, and a value hardly: a few
// letters.
var word = regexp.MustCompile(`^[A-Za-z_$][A-Za-z_$-]{0,10}$`)

// shown is a name that is none of ours, as faults repeat it. What is no plain
// word was perhaps meant as a value.
func shown(name string) string {
	if !word.MatchString(name) {
		return "(unnamed)"
	}
	return name
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
