package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/sealpost/sealpost/shared/fault"
)

// scrubAttrs returns the attributes as they may be written.
func scrubAttrs(attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		value := a.Value.Resolve()
		switch {
		case a.Equal(slog.Attr{}):
			continue // slog's rule: an empty attribute is left out
		case a.Key == "" && value.Kind() == slog.KindGroup:
			out = append(out, scrubAttrs(value.Group())...) // and a group without a name is inlined
		case isSecretKey(a.Key):
			out = append(out, slog.String(a.Key, Redacted))
		default:
			out = append(out, slog.Attr{Key: Redact(a.Key), Value: scrubValue(value)})
		}
	}
	return out
}

func scrubValue(v slog.Value) slog.Value {
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(Redact(v.String()))
	case slog.KindGroup:
		return slog.GroupValue(scrubAttrs(v.Group())...)
	case slog.KindAny:
		return scrubAny(v.Any())
	default: // numbers, booleans, times
		return v
	}
}

// scrubAny turns a value of any type into text, a group, or what JSON makes of
// it. A value that panics while it is rendered is named by its type.
func scrubAny(v any) (out slog.Value) {
	defer func() {
		if recover() != nil {
			out = slog.StringValue(unloggable(v))
		}
	}()
	switch t := v.(type) {
	case nil:
		return slog.AnyValue(nil)
	case error:
		return errorValue(t)
	case []byte:
		return slog.StringValue(Redact(string(t)))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return slog.StringValue(unloggable(v))
	}
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return slog.StringValue(unloggable(v))
	}
	return slog.AnyValue(scrubTree(tree))
}

func unloggable(v any) string { return fmt.Sprintf("[cannot be logged: %T]", v) }

// errorValue renders an error: its text, and for one of ours its kind and code.
func errorValue(err error) slog.Value {
	attrs := []slog.Attr{slog.String("text", Redact(err.Error()))}
	var ours *fault.Error
	if errors.As(err, &ours) {
		attrs = append(attrs, slog.String("kind", string(fault.KindOf(err))), slog.String("code", string(fault.CodeOf(err))))
	}
	return slog.GroupValue(attrs...)
}

func scrubTree(v any) any {
	switch t := v.(type) {
	case string:
		return Redact(t)
	case []any:
		for i := range t {
			t[i] = scrubTree(t[i])
		}
	case map[string]any:
		out := make(map[string]any, len(t))
		for key, field := range t {
			if isSecretKey(key) {
				out[key] = Redacted
				continue
			}
			out[Redact(key)] = scrubTree(field)
		}
		return out
	}
	return v
}
