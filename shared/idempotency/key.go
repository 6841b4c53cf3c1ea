package idempotency

import (
	"strings"

	"github.com/sealpost/sealpost/shared/fault"
)

// MaxKeyBytes is the longest key.
const MaxKeyBytes = 255

// ParseKey returns the key that a header field's value holds: 1 to
// [MaxKeyBytes] printable ASCII characters. The draft (section 2.1) wants a
// string of RFC 8941, section 3.3.3, like "8e03978e-40d5-43e8", in quotes and with
// \" and \\ as its only escapes; it defines no parameters, and none are taken.
// Since most clients send the key as it is, a bare 8e03978e-40d5-43e8 is the same
// key. A bare one has no space, quote, backslash, comma or semicolon in it: they
// would be signs of a list, of parameters or of a broken string. Anything else is
// a [fault.IdempotencyKeyInvalid], which does not repeat the value.
func ParseKey(field string) (string, error) {
	key, quoted := field, strings.HasPrefix(field, `"`)
	if quoted {
		var ok bool
		if key, ok = unquote(field); !ok {
			return "", invalid("its string does not end where the header ends, or has a faulty escape")
		}
	}
	switch {
	case key == "":
		return "", invalid("it is empty")
	case len(key) > MaxKeyBytes:
		return "", invalid("it has more than 255 characters")
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", invalid("it has a character that is not printable ASCII")
	case !quoted && strings.ContainsAny(key, ` "\,;`):
		return "", invalid("without quotes it cannot have a space, a quote, a backslash, a comma or a semicolon")
	}
	return key, nil
}

// unquote returns what stands between the quotes, which must be all there is.
func unquote(field string) (string, bool) {
	var key strings.Builder
	for i := 1; i < len(field); i++ {
		switch c := field[i]; {
		case c == '"':
			return key.String(), i == len(field)-1
		case c == '\\' && i+1 < len(field) && (field[i+1] == '"' || field[i+1] == '\\'):
			i++
			key.WriteByte(field[i])
		case c == '\\':
			return "", false
		default:
			key.WriteByte(c)
		}
	}
	return "", false
}

func invalid(why string) error {
	return fault.New(fault.IdempotencyKeyInvalid, "the Idempotency-Key cannot be used: %s", why)
}
