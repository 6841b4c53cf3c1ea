package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// canary is a value that must not show, and holder has it in every place that
// a program may keep one.
const canary = "canary-Value-5e1f0c77"

type holder struct {
	Exported   secret.Value
	unexported secret.Value
	pointer    *secret.Value
	list       []secret.Value
	table      map[string]secret.Value
	boxed      any
	key        secret.FingerprintKey
	inner      struct{ value secret.Value }
}

func newHolder(t *testing.T) holder {
	t.Helper()
	v := secret.NewValue(canary)
	key, err := secret.NewFingerprintKey("k1", secret.NewValue(canary+canary))
	if err != nil {
		t.Fatal(err)
	}
	return holder{
		Exported: v, unexported: v, pointer: &v, list: []secret.Value{v}, table: map[string]secret.Value{"a": v}, boxed: v, key: key,
		inner: struct{ value secret.Value }{v},
	}
}

// wantHidden looks for the value as it is, as fmt's %x and %q write it, and as
// a list of bytes.
func wantHidden(t *testing.T, how, text string) {
	t.Helper()
	for _, form := range []string{canary, "canary-V", hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary))), "99 97 110 97 114 121"} {
		if strings.Contains(text, form) {
			t.Errorf("%s shows the value: %s", how, text)
		}
	}
}

func TestValueInFmt(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	things := map[string]any{
		"a value": h.Exported, "a pointer": h.pointer, "a list": h.list, "a table": h.table, "a struct": h, "a pointer to a struct": &h,
		"a key": h.key, "a pointer to a key": &h.key, "a list of structs": []holder{h}, "a boxed value": []any{h.boxed},
	}
	flags := []string{"", "+", "#", "-", " ", "0", "10", ".5", "+#", "[1]"}
	for name, thing := range things {
		for verb := range 128 {
			if verb == '%' {
				continue
			}
			for _, flag := range flags {
				format := "%" + flag + string(rune(verb))
				wantHidden(t, fmt.Sprintf("%s under %q", name, format), fmt.Sprintf(format, thing))
			}
		}
		for _, format := range []string{"too many", "%*d", "%[3]d", "%!", "%"} { // what fmt says of a mistake
			wantHidden(t, fmt.Sprintf("%s under %q", name, format), fmt.Sprintf(format, thing, thing))
		}
		wantHidden(t, name+" printed", fmt.Sprint(thing)+fmt.Sprintln(thing))
	}
	for _, text := range []string{fmt.Sprint(h.Exported), fmt.Sprintf("%#v", h.Exported), h.Exported.String(), h.Exported.GoString(), h.Exported.LogValue().String()} {
		if text != "[REDACTED]" {
			t.Errorf("got %q, want a placeholder", text)
		}
	}
}

func TestValueInLogs(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		logger := slog.New(handler).With("with", h.Exported, "key", h.key)
		logger.Info("values", "value", h.Exported, "pointer", h.pointer, "struct", h, "struct pointer", &h, "list", h.list, "table", h.table,
			"any", slog.AnyValue(h.Exported), slog.Group("group", "value", h.Exported))
		logger.Error("an error", "error", fault.Wrap(fault.Internal, "put", fmt.Errorf("value %v of %+v", h.Exported, h)))
	}
	wantHidden(t, "slog", log.String())
	if got := strings.Count(log.String(), "[REDACTED]"); got < 10 {
		t.Errorf("only %d placeholders: %s", got, log.String())
	}
}

func TestValueMarshalled(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	marshallers := map[string]func(any) ([]byte, error){
		"JSON": json.Marshal,
		"XML":  xml.Marshal,
		"YAML": yaml.Marshal,
		"gob": func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := gob.NewEncoder(&b).Encode(v)
			return b.Bytes(), err
		},
		"template": func(v any) ([]byte, error) {
			var b bytes.Buffer
			err := template.Must(template.New("").Parse(`{{.}} {{printf "%s %v %x" . . .}}`)).Execute(&b, v)
			return b.Bytes(), err
		},
	}
	for name, marshal := range marshallers {
		for _, thing := range []any{h.Exported, h.pointer, struct{ Value secret.Value }{h.Exported}, h, h.list, h.key} {
			b, err := marshal(thing)
			wantHidden(t, fmt.Sprintf("%s of %T", name, thing), fmt.Sprintf("%s %v", b, err))
		}
	}
	if b, err := json.Marshal(h.Exported); err != nil || string(b) != `"[REDACTED]"` {
		t.Errorf("JSON: %s, %v", b, err)
	}
}

func TestValueInPanicsAndErrors(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	defer func() {
		wantHidden(t, "a panic", fmt.Sprint(recover()))
	}()
	err := fault.New(fault.ValueTooLarge, "%v", h.Exported).WithCause(errors.Join(fmt.Errorf("%+v", h), fmt.Errorf("%s", h.Exported)))
	wantHidden(t, "an error", err.Error()+fault.Detail(err)+fmt.Sprintf("%+v %#v", err, err))
	panic(h)
}

func TestReveal(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a", "line\nline", strings.Repeat("ü", secret.MaxValueBytes)} {
		v := secret.NewValue(text)
		if v.Reveal() != text || v.Len() != len(text) {
			t.Errorf("a value of %d bytes reveals %d, and says %d", len(text), len(v.Reveal()), v.Len())
		}
	}
	if zero := (secret.Value{}); zero.Reveal() != "" || zero.Len() != 0 {
		t.Error("the zero value is not the empty value")
	}
}

// TestFingerprint tells equal values from others, under one key only.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	key := func(id, text string) secret.FingerprintKey {
		k, err := secret.NewFingerprintKey(id, secret.NewValue(text))
		if err != nil {
			t.Fatal(err)
		}
		if k.ID() != id {
			t.Errorf("the key %s has the id %s", id, k.ID())
		}
		return k
	}
	one, two := key("k1", strings.Repeat("a", 32)), key("k2", strings.Repeat("a", 32))
	a, b := secret.NewValue("a"), secret.NewValue("b")
	tests := []struct {
		name string
		x, y secret.Fingerprint
		want secret.Compare
	}{
		{"equal values", one.Fingerprint(a), one.Fingerprint(secret.NewValue("a")), secret.Same},
		{"other values", one.Fingerprint(a), one.Fingerprint(b), secret.Different},
		{"empty values", one.Fingerprint(secret.Value{}), one.Fingerprint(secret.NewValue("")), secret.Same},
		{"another key id", one.Fingerprint(a), two.Fingerprint(a), secret.Unknown},
		{"none", secret.Fingerprint{}, secret.Fingerprint{}, secret.Unknown},
		{"one only", one.Fingerprint(a), secret.Fingerprint{}, secret.Unknown},
	}
	for _, test := range tests {
		if got := test.x.Compare(test.y); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
		if got := test.y.Compare(test.x); got != test.want {
			t.Errorf("%s, the other way: got %d, want %d", test.name, got, test.want)
		}
	}
	// HMAC-SHA-256 under 32 times 0x61 of "a", by openssl: stored fingerprints
	// must stay what they are.
	if got, want := one.Fingerprint(a).MAC, "8yV0xNCDMJXUFwn-xRmxWqGdkwvPnQYDloSBpARq06Q"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if other := key("k1", strings.Repeat("b", 32)).Fingerprint(a); other.MAC == one.Fingerprint(a).MAC {
		t.Error("the key makes no difference")
	}
	for _, bad := range []struct{ id, text string }{{"", strings.Repeat("a", 32)}, {"k1", strings.Repeat("a", 31)}, {"k1", ""}} {
		if _, err := secret.NewFingerprintKey(bad.id, secret.NewValue(bad.text)); !errors.Is(err, fault.ConfigInvalid) {
			t.Errorf("a key with id %q and %d bytes: got %v", bad.id, len(bad.text), err)
		}
	}
}
