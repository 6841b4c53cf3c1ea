package idempotency_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/idempotency"
)

func TestParseKey(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", idempotency.MaxKeyBytes)
	for field, want := range map[string]string{
		`"8e03978e-40d5-43e8-bc93-6894a57f9324"`: "8e03978e-40d5-43e8-bc93-6894a57f9324",
		`8e03978e-40d5-43e8-bc93-6894a57f9324`:   "8e03978e-40d5-43e8-bc93-6894a57f9324",
		`"a b,c;d"`:                              "a b,c;d",
		`"say \"hi\" \\o/"`:                      `say "hi" \o/`,
		`" "`:                                    " ",
		`a/b+c=:~!#[]{}`:                         `a/b+c=:~!#[]{}`,
		`0`:                                      "0",
		long:                                     long,
		`"` + long + `"`:                         long,
		`"` + strings.Repeat(`\\`, idempotency.MaxKeyBytes) + `"`: strings.Repeat(`\`, idempotency.MaxKeyBytes),
	} {
		if got, err := idempotency.ParseKey(field); err != nil || got != want {
			t.Errorf("%s: got %q (%v), want %q", field, got, err, want)
		}
	}
	for _, field := range []string{
		``, `""`, `"`, `"a`, `a"`, `"a"b`, `"a";p=1`, `"a", "b"`, `"a" `, `"\a"`, `"a\"`, `"\`, `a b`, `a,b`, `a;b`, `a\b`,
		"ä", `"ä"`, "a\tb", "\"a\tb\"", "\"\x7f\"", "a\x00b", "\xff", `"` + "\xff" + `"`, long + "k", `"` + long + `k"`,
	} {
		got, err := idempotency.ParseKey(field)
		if got != "" || !errors.Is(err, fault.IdempotencyKeyInvalid) || !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: got %q (%v)", field, got, err)
		}
	}
	if _, err := idempotency.ParseKey("canary,canary"); strings.Contains(err.Error(), "canary") {
		t.Errorf("the key is in the error: %v", err)
	}
}

// FuzzParseKey holds that a key has one meaning: written as the draft wants it,
// it is the same key.
func FuzzParseKey(f *testing.F) {
	for _, seed := range []string{`"a"`, `a`, `"\""`, `"\\"`, `"`, `\`, `a,b`, "ä", ``} {
		f.Add(seed)
	}
	escape := strings.NewReplacer(`"`, `\"`, `\`, `\\`)
	f.Fuzz(func(t *testing.T, field string) {
		key, err := idempotency.ParseKey(field)
		if err != nil {
			if key != "" || !errors.Is(err, fault.IdempotencyKeyInvalid) {
				t.Errorf("%q: %q, %v", field, key, err)
			}
			return
		}
		if len(key) < 1 || len(key) > idempotency.MaxKeyBytes {
			t.Errorf("%q: %q", field, key)
		}
		written := `"` + escape.Replace(key) + `"`
		if again, err := idempotency.ParseKey(written); err != nil || again != key {
			t.Errorf("%q is %q, which written as %s is %q (%v)", field, key, written, again, err)
		}
		if strings.HasPrefix(field, `"`) && written != field {
			t.Errorf("%q is %q, and so is %q", field, key, written)
		}
	})
}
