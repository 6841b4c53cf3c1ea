// Package secret holds the words for what Sealpost moves: names, scopes,
// sources, fingerprints and, above all, values that cannot be printed.
//
// A [Value] redacts itself however it is formatted, logged or marshalled. One
// method, [Value.Reveal], gives the text, and a test of the tree lists who may
// call it: the adapters that send it, and nobody else.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// MaxValueBytes is the largest value that GitHub takes, 48 KB. Secret Manager
// allows 64 KiB, so a value is checked before it is written.
// Source: docs.github.com, actions/reference/security/secrets.
const MaxValueBytes = 48 * 1024

// redacted is what every rendering of a value shows.
const redacted = "[REDACTED]"

// Value is a secret's value. Its zero value is the empty value. Values are not
// comparable with ==, since that would not take constant time: compare
// fingerprints.
//
// The text stands behind a pointer, because fmt does not ask the methods of a
// value in an unexported field, nor those of one under the verb %p: it walks
// the fields, and of a pointer it shows the address.
type Value struct {
	_    [0]func()
	text *string
}

// NewValue wraps text, which must not be used by the caller any more.
func NewValue(text string) Value { return Value{text: &text} }

// Reveal returns the text itself. Only the adapters that send a value to its
// target or its store may call it.
func (v Value) Reveal() string { return v.plain() }

func (v Value) plain() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// Len returns the length in bytes.
func (v Value) Len() int { return len(v.plain()) }

// String returns a placeholder.
func (Value) String() string { return redacted }

// GoString returns a placeholder.
func (Value) GoString() string { return redacted }

// Format writes a placeholder for every verb.
func (Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue returns a placeholder.
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns a placeholder.
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText returns a placeholder.
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }
