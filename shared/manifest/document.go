package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxDepth is how deeply objects and lists may be nested: a manifest needs 6.
const maxDepth = 12

// document checks that the data is text and reads it into a tree. It returns
// nil if there is none to go on with, and then a fault says why.
func (r *reader) document(data []byte, read func(*reader, []byte) *node) *node {
	if len(data) > MaxBytes {
		r.at(1, 0, "the manifest is larger than %d bytes", MaxBytes)
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !r.plainText(data) {
		return nil
	}
	return read(r, data)
}

// plainText reports whether the data is UTF-8 without control characters, and
// else where it is not: YAML and JSON allow no others, but their readers do
// not say where they are.
func (r *reader) plainText(data []byte) bool {
	p := position{line: 1, column: 1}
	for rest := data; len(rest) > 0; {
		c, size := utf8.DecodeRune(rest)
		switch {
		case c == utf8.RuneError && size == 1:
			r.at(p.line, p.column, "there is a byte here that is not UTF-8 text")
			return false
		case unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t':
			r.at(p.line, p.column, "there is a control character here")
			return false
		}
		p.advance(rest[:size])
		rest = rest[size:]
	}
	return true
}

// position follows a text.
type position struct{ line, column int }

func (p *position) advance(passed []byte) {
	for _, c := range passed {
		switch {
		case c == '\n':
			p.line++
			p.column = 1
		case utf8.RuneStart(c):
			p.column++
		}
	}
}

// readAny reads JSON as JSON, since YAML's readers do not take all of it
// (surrogate pairs), and everything else as YAML.
func readAny(r *reader, data []byte) *node {
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) > 0 && first[0] == '{' && json.Valid(data) {
		return readJSON(r, data)
	}
	return readYAML(r, data)
}

// readJSON reads one JSON value.
func readJSON(r *reader, data []byte) *node {
	j := jsonReader{reader: r, data: data, decoder: json.NewDecoder(bytes.NewReader(data)), position: position{1, 1}}
	j.decoder.UseNumber()
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(data, new(json.RawMessage)); {
	case len(bytes.TrimSpace(data)) == 0:
		r.at(1, 0, "the manifest is empty")
		return nil
	case errors.As(err, &syntax):
		j.advance(data[:max(0, min(int(syntax.Offset), len(data))-1)])
		r.at(j.line, j.column, "this is not JSON from here on")
		return nil
	}
	return j.value(0)
}

// jsonReader makes nodes of tokens. The data is known to be one whole JSON
// value, so that no token can fail.
type jsonReader struct {
	*reader
	position
	data    []byte
	passed  int // up to where position has followed the data
	decoder *json.Decoder
}

func (j *jsonReader) value(depth int) *node {
	token := j.token()
	n := &node{line: j.line, column: j.column}
	switch t := token.(type) {
	case json.Delim:
		j.container(n, t, depth)
	case string:
		n.kind, n.scalar = text, t
	case json.Number:
		n.kind, n.scalar = number, t.String()
	case bool:
		n.kind, n.scalar = boolean, strconv.FormatBool(t)
	case nil:
		n.kind = null
	}
	return n
}

// token takes the next token; the position is then where it starts.
func (j *jsonReader) token() json.Token {
	start := int(j.decoder.InputOffset())
	for start < len(j.data) && bytes.IndexByte([]byte(" \t\r\n,:"), j.data[start]) >= 0 {
		start++
	}
	j.advance(j.data[j.passed:start])
	j.passed = start
	token, _ := j.decoder.Token()
	return token
}

// container reads an object or a list up to its end.
func (j *jsonReader) container(n *node, open json.Delim, depth int) {
	if depth == maxDepth {
		j.tooDeep(n)
		j.skip()
		return
	}
	n.kind = list
	if open == '{' {
		n.kind = object
	}
	for j.decoder.More() {
		if n.kind == object {
			n.addKey(j.value(depth))
		}
		n.addValue(j.value(depth + 1))
	}
	j.token()
}

// skip passes over what is left of a container.
func (j *jsonReader) skip() {
	for open := 1; open > 0; {
		switch j.token() {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'):
			open--
		}
	}
}

var tooDeeply = fmt.Sprintf("this is nested more than %d deep", maxDepth)

func (r *reader) tooDeep(n *node) {
	r.at(n.line, n.column, "%s", tooDeeply)
}

// readYAML reads one YAML document.
func readYAML(r *reader, data []byte) *node {
	first, second, err := decodeYAML(data)
	switch {
	case err != nil:
		line, message := explain(err, data)
		r.at(line, 0, "%s", message)
		return nil
	case first == nil || len(first.Content) == 0 || first.Content[0].Tag == "!!null":
		r.at(1, 0, "the manifest is empty")
		return nil
	case second != nil:
		r.at(second.Line, 0, "a second document starts here; a manifest is one")
	}
	return r.yaml(first.Content[0], 0)
}

// errUnreadable stands for a panic of the YAML reader.
var errUnreadable = errors.New("yaml: unreadable")

// decodeYAML returns the first document and, if there is one, the second. The
// reader panics on what its authors did not foresee, which a request must
// survive.
func decodeYAML(data []byte) (first, second *yaml.Node, err error) {
	defer func() {
		if recover() != nil {
			first, second, err = nil, nil, errUnreadable
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var documents [2]*yaml.Node
	for i := range documents {
		n := new(yaml.Node)
		switch err := decoder.Decode(n); {
		case errors.Is(err, io.EOF):
			return documents[0], nil, nil
		case err != nil:
			return nil, nil, err
		}
		documents[i] = n
	}
	return documents[0], documents[1], nil
}

// What the YAML reader says: most with a line, an alias to nothing without.
var (
	yamlAlias = regexp.MustCompile(`^yaml: unknown anchor '(.*)' referenced`)
	yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
)

// Messages of the YAML reader that say more than that something is wrong. It
// repeats some of the text in others, so these alone are told.
var yamlProblems = map[string]string{
	"found a tab character that violates indentation":              "there is a tab in the indentation; use spaces",
	"found a tab character where an indentation space is expected": "there is a tab in the indentation; use spaces",
	"found character that cannot start any token":                  "there is a tab or a sign here that starts nothing; put text in quotes, and use spaces to indent",
	"mapping values are not allowed in this context":               "there is a colon where none can be; check the indentation, and put text in quotes",
	"block sequence entries are not allowed in this context":       "there is a list item where none can be; check the indentation",
	"could not find expected ':'":                                  "there is a key without a colon at or near this line",
	"found unexpected end of stream":                               "a quote that opens here is never closed",
	"exceeded max depth of 10000":                                  tooDeeply,
	"found unknown escape character":                               "there is an unknown escape between double quotes; use single quotes for text with backslashes",
}

// Messages of the YAML reader's second stage, whose line is counted from 0 and
// is that of the block around the trouble, where there is one.
var yamlBlocks = map[string]string{
	"did not find expected key":           "the block that starts at or near this line has a line that is no key, or is indented otherwise than the rest",
	"did not find expected '-' indicator": "the list that starts at or near this line has a line that is no item, or is indented otherwise than the rest",
	"did not find expected ',' or ']'":    "the list in brackets that opens at or near this line is not closed, or lacks a comma",
	"did not find expected ',' or '}'":    "the object in braces that opens at or near this line is not closed, or lacks a comma",
}

const noAnchors = "a manifest has no anchors (&) and no aliases (*); put text that starts with one in quotes"

// explain says in our words what the YAML reader says in its.
func explain(err error, data []byte) (line int, message string) {
	if match := yamlAlias.FindStringSubmatch(err.Error()); match != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+match[1]))
		return 1 + bytes.Count(before, []byte("\n")), noAnchors
	}
	match := yamlError.FindStringSubmatch(err.Error())
	if match == nil {
		return 1, "this is not YAML"
	}
	line, _ = strconv.Atoi(match[1])
	if message, ok := yamlProblems[match[2]]; ok {
		return max(line, 1), message
	}
	if message, ok := yamlBlocks[match[2]]; ok {
		return line + 1, message
	}
	return max(line, 1), "this is not YAML at or near this line"
}

// yaml makes a node of the YAML reader's.
func (r *reader) yaml(y *yaml.Node, depth int) *node {
	n := &node{line: y.Line, column: y.Column}
	if problem := reuse(y); problem != "" {
		r.at(n.line, n.column, "%s", problem)
		return n
	}
	if y.Kind == yaml.ScalarNode {
		n.kind, n.scalar = scalarKind(y), y.Value
		return n
	}
	if depth == maxDepth {
		r.tooDeep(n)
		return n
	}
	n.kind = list
	if y.Kind == yaml.MappingNode {
		n.kind = object
	}
	for i, child := range y.Content {
		if n.kind == object && i%2 == 0 {
			n.addKey(r.yaml(child, depth))
		} else {
			n.addValue(r.yaml(child, depth+1))
		}
	}
	return n
}

// reuse returns what is wrong with a node that makes use of what a manifest
// does without.
func reuse(y *yaml.Node) string {
	switch {
	case y.Kind == yaml.AliasNode, y.Anchor != "":
		return noAnchors
	case y.Tag == "!!merge":
		return "a manifest has no merges (<<)"
	case y.Style&yaml.TaggedStyle != 0:
		return "a manifest has no tags (!); put text that starts with one in quotes"
	}
	return ""
}

func scalarKind(y *yaml.Node) kind {
	switch y.Tag {
	case "!!int", "!!float":
		return number
	case "!!bool":
		return boolean
	case "!!null":
		return null
	}
	return text
}
