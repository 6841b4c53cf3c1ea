package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sealpost/sealpost/shared/fault"
)

// reader turns nodes into the manifest's types and collects what is wrong on
// the way. Its methods return the zero value for what is wrong.
type reader struct {
	faults fault.LineFaults

	hasSource    bool               // the manifest names a source
	environments map[string]mention // by folded name
	targets      map[target]int     // the line that claims each
}

// at records a fault by its position. The arguments must be words of this
// package or numbers: nothing that stands in the manifest.
func (r *reader) at(line, column int, format string, args ...any) {
	r.faults.Add(fault.LineFault{Line: line, Column: column, Message: fmt.Sprintf(format, args...)})
}

// fault records what is wrong with a node. The rule for the arguments is that
// of at.
func (r *reader) fault(n *node, code fault.Code, format string, args ...any) {
	f := fault.LineFault{Line: n.line, Column: n.column, Code: code}
	if !r.faults.Full() {
		f.Path, f.Message = n.path(), fmt.Sprintf(format, args...)
	}
	r.faults.Add(f)
}

// is reports whether a node is of the kind, and records a fault if it is not.
func (r *reader) is(n *node, want kind) bool {
	switch {
	case n.kind == want:
		return true
	case n.kind == broken:
	case n.kind == null:
		r.fault(n, "", "this is empty and must be %s", want)
	case want == text && (n.kind == number || n.kind == boolean):
		r.fault(n, "", "this must be text, not %s; put it in quotes", n.kind)
	default:
		r.fault(n, "", "this must be %s, not %s", want, n.kind)
	}
	return false
}

// field is one key that an object may have.
type field struct {
	name     string
	required bool
	read     func(*node)
}

func required(name string, read func(*node)) field { return field{name, true, read} }
func optional(name string, read func(*node)) field { return field{name, false, read} }

// object reads the known keys of an object.
func (r *reader) object(n *node, fields ...field) {
	if !r.is(n, object) {
		return
	}
	seen := map[string]int{}
	for i, key := range n.keys {
		f, known := lookup(fields, key.scalar)
		switch first, twice := seen[f.name]; {
		case key.kind == broken:
		case !known:
			r.unknown(key, fields)
		case twice:
			r.fault(key, "", "the key %q stands here already, on line %d", f.name, first)
		default:
			seen[f.name] = key.line
			f.read(n.values[i])
		}
	}
	for _, f := range fields {
		if f.required && seen[f.name] == 0 {
			r.fault(n, "", "the key %q is missing", f.name)
		}
	}
}

func lookup(fields []field, name string) (field, bool) {
	for _, f := range fields {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// valueKeys are what people call a value, squashed.
var valueKeys = []string{"value", "values", "secretvalue", "plaintext", "plainvalue", "literal", "password", "encryptedvalue"}

// unknown records a key that nobody knows.
func (r *reader) unknown(key *node, fields []field) {
	switch {
	case r.faults.Full():
		r.fault(key, "", "")
		return
	case slices.Contains(valueKeys, squash(key.scalar)):
		r.fault(key, "", "a manifest never holds a value: keep it in Secret Manager or in an env file; "+
			"if it was real, replace it, since this file and its history have shown it")
		return
	}
	message := "there is no such key here"
	if isWord(key.scalar) {
		message = fmt.Sprintf("there is no key %q here", key.scalar)
	}
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		names = append(names, f.name)
	}
	r.fault(key, "", "%s", message+didYouMean(key.scalar, names))
}

// each reads an object whose keys are names.
func (r *reader) each(n *node, read func(key, value *node)) {
	if !r.is(n, object) {
		return
	}
	seen := map[string]int{}
	for i, key := range n.keys {
		first, twice := seen[key.scalar]
		switch {
		case !r.is(key, text):
		case twice:
			r.fault(key, "", "this name stands here already, on line %d", first)
		default:
			seen[key.scalar] = key.line
			read(key, n.values[i])
		}
	}
}

// items reads a list.
func (r *reader) items(n *node, read func(*node)) {
	if !r.is(n, list) {
		return
	}
	for _, item := range n.values {
		read(item)
	}
}

// distinct reads a list of texts of which none may stand twice.
func distinct[T comparable](r *reader, n *node, read func(*node) (T, bool)) []T {
	var all []T
	first := map[T]int{}
	r.items(n, func(item *node) {
		value, ok := read(item)
		line, twice := first[value]
		switch {
		case !ok:
		case twice:
			r.fault(item, "", "this stands in the list already, on line %d", line)
		default:
			first[value] = item.line
			all = append(all, value)
		}
	})
	return all
}

// rule is a check of a text, with what to say of one that fails it. What the
// check itself says is not repeated: it may quote the text.
type rule[T any] struct {
	parse   func(string) (T, error)
	code    fault.Code
	message string
	words   []string // that the text may have been meant for
}

// checked reads a text by a rule, and reports whether it passed.
func checked[T any](r *reader, n *node, rule rule[T]) (T, bool) {
	var zero T
	if !r.is(n, text) {
		return zero, false
	}
	value, err := rule.parse(n.scalar)
	if err != nil {
		r.fault(n, rule.code, "%s", rule.message+didYouMean(n.scalar, rule.words))
		return zero, false
	}
	return value, true
}

// value is checked without the report.
func value[T any](r *reader, n *node, rule rule[T]) T {
	v, _ := checked(r, n, rule)
	return v
}

func (r *reader) boolean(n *node) bool {
	return r.is(n, boolean) && strings.EqualFold(n.scalar, "true")
}

// integer reads a whole number from 0 to most, in decimal digits.
func (r *reader) integer(n *node, most int) int {
	if !r.is(n, number) {
		return 0
	}
	i, err := strconv.Atoi(n.scalar)
	if err != nil || i < 0 || i > most || strconv.Itoa(i) != n.scalar { // 010 is 8 in old YAML
		r.fault(n, "", "this must be a whole number from 0 to %d", most)
		return 0
	}
	return i
}
