package sqlitedoc

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Documents are kept as JSON, so that SQLite's JSON functions can filter and
// order by their fields, and a person can read them with any SQLite shell.
// What JSON lacks is written as an object with one of these names; a field's
// own name that begins with $ gets another.
const (
	timeName  = "$time"  // microseconds since 1970
	bytesName = "$bytes" // base64
)

func appendMap(out []byte, members map[string]any) []byte {
	out = append(out, '{')
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		stored := name
		if strings.HasPrefix(name, "$") {
			stored = "$" + name
		}
		out = append(appendText(out, stored), ':')
		out = appendValue(out, members[name])
	}
	return append(out, '}')
}

// appendValue takes the types of docstore.Fields; the store has checked them.
func appendValue(out []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(out, v)
	case int64:
		return strconv.AppendInt(out, v, 10)
	case float64:
		return appendFloat(out, v)
	case string:
		return appendText(out, v)
	case []byte:
		out = append(out, `{"`+bytesName+`":"`...)
		return append(base64.StdEncoding.AppendEncode(out, v), `"}`...)
	case time.Time:
		out = append(out, `{"`+timeName+`":`...)
		return append(strconv.AppendInt(out, v.UnixMicro(), 10), '}')
	case map[string]any:
		return appendMap(out, v)
	case []any:
		out = append(out, '[')
		for i, element := range v {
			if i > 0 {
				out = append(out, ',')
			}
			out = appendValue(out, element)
		}
		return append(out, ']')
	}
	return append(out, "null"...)
}

// appendFloat always writes a point or an exponent: a number without is an integer.
func appendFloat(out []byte, v float64) []byte {
	text := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return append(out, text...)
}

func appendText(out []byte, text string) []byte {
	plain := func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' }
	if strings.ContainsFunc(text, plain) {
		quoted, err := json.Marshal(text)
		if err != nil {
			panic("sqlitedoc: text always marshals")
		}
		return append(out, quoted...)
	}
	out = append(out, '"')
	out = append(out, text...)
	return append(out, '"')
}

func parseMap(text string) (map[string]any, error) {
	value, err := parseValue(text)
	if err != nil {
		return nil, err
	}
	members, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("stored as %T, want a map", value)
	}
	return members, nil
}

func parseValue(text string) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var raw any
	if err := decoder.Decode(&raw); err != nil {
		return nil, fmt.Errorf("stored as something else than JSON")
	}
	return restore(raw)
}

// restore turns what encoding/json gives into the types of docstore.Fields.
func restore(raw any) (any, error) {
	switch raw := raw.(type) {
	case json.Number:
		return restoreNumber(raw.String())
	case []any:
		for i, element := range raw {
			var err error
			if raw[i], err = restore(element); err != nil {
				return nil, err
			}
		}
		return raw, nil
	case map[string]any:
		return restoreMap(raw)
	}
	return raw, nil
}

func restoreNumber(text string) (any, error) {
	if strings.ContainsAny(text, ".eE") {
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("stored as a number out of range")
		}
		return number, nil
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("stored as a number out of range")
	}
	return number, nil
}

func restoreMap(raw map[string]any) (any, error) {
	if micros, ok := raw[timeName].(json.Number); ok {
		number, err := micros.Int64()
		if err != nil {
			return nil, fmt.Errorf("stored as a time out of range")
		}
		return time.UnixMicro(number).UTC(), nil
	}
	if text, ok := raw[bytesName].(string); ok {
		content, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("stored as something else than base64")
		}
		return content, nil
	}
	members := make(map[string]any, len(raw))
	for stored, element := range raw {
		value, err := restore(element)
		if err != nil {
			return nil, err
		}
		members[strings.TrimPrefix(stored, "$")] = value
	}
	return members, nil
}
