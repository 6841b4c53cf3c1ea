package docstore_test

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/secret"
)

type colour string

type inner struct {
	Version secret.Version `doc:"version"`
	At      time.Time      `doc:"at,omitempty"`
	Note    string         `doc:"note,omitempty"`
}

type outer struct {
	Name    string            `doc:"name"`
	Colour  colour            `doc:"colour"`
	On      bool              `doc:"on"`
	Small   int8              `doc:"small"`
	Count   int               `doc:"count"`
	Port    uint16            `doc:"port"`
	Ratio   float64           `doc:"ratio"`
	Half    float32           `doc:"half,omitempty"`
	Bytes   []byte            `doc:"bytes"`
	At      time.Time         `doc:"at"`
	Inner   inner             `doc:"inner"`
	Pointer *inner            `doc:"pointer"`
	Limit   *int              `doc:"limit,omitempty"`
	Names   []string          `doc:"names"`
	Inners  []inner           `doc:"inners"`
	Blobs   [][]byte          `doc:"blobs"`
	Colours map[colour]inner  `doc:"colours"`
	Labels  map[string]string `doc:"labels"`
	Lists   map[string][]int  `doc:"lists"`
	Scratch string            `doc:"-"`
}

func micros() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMicro(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t, "micros")).UTC()
	})
}

func inners() *rapid.Generator[inner] {
	return rapid.Custom(func(t *rapid.T) inner {
		return inner{
			Version: secret.Version(rapid.Int64().Draw(t, "version")),
			At:      micros().Draw(t, "at"),
			Note:    rapid.String().Draw(t, "note"),
		}
	})
}

// nilOr draws nil or what the generator draws, so that nil and empty are told apart.
func nilOr[T any](t *rapid.T, g *rapid.Generator[T], label string) (zero T) {
	if rapid.Bool().Draw(t, label+" is nil") {
		return zero
	}
	return g.Draw(t, label)
}

func outers() *rapid.Generator[outer] {
	return rapid.Custom(func(t *rapid.T) outer {
		colours := rapid.Map(rapid.String(), func(s string) colour { return colour(s) })
		return outer{
			Name:    rapid.String().Draw(t, "name"),
			Colour:  colours.Draw(t, "colour"),
			On:      rapid.Bool().Draw(t, "on"),
			Small:   rapid.Int8().Draw(t, "small"),
			Count:   rapid.Int().Draw(t, "count"),
			Port:    rapid.Uint16().Draw(t, "port"),
			Ratio:   rapid.Float64().Draw(t, "ratio"),
			Half:    rapid.Float32().Draw(t, "half"),
			Bytes:   nilOr(t, rapid.SliceOf(rapid.Byte()), "bytes"),
			At:      micros().Draw(t, "time"),
			Inner:   inners().Draw(t, "inner"),
			Pointer: nilOr(t, rapid.Ptr(inners(), false), "pointer"),
			Limit:   nilOr(t, rapid.Ptr(rapid.Int(), false), "limit"),
			Names:   nilOr(t, rapid.SliceOf(rapid.String()), "names"),
			Inners:  nilOr(t, rapid.SliceOf(inners()), "inners"),
			Blobs:   nilOr(t, rapid.SliceOf(rapid.SliceOf(rapid.Byte())), "blobs"),
			Colours: nilOr(t, rapid.MapOf(colours, inners()), "colours"),
			Labels:  nilOr(t, rapid.MapOf(rapid.String(), rapid.String()), "labels"),
			Lists:   nilOr(t, rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.Int())), "lists"),
		}
	})
}

func TestEncodeThenDecodeGivesTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := outers().Draw(t, "value")
		fields, err := docstore.Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		var got outer
		if err := docstore.Decode(fields, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func TestEncodedForm(t *testing.T) {
	t.Parallel()
	berlin := time.FixedZone("", 2*60*60)
	five := 5
	value := outer{
		Name: "a", Colour: "red", On: true, Small: -1, Count: 2, Port: 443, Ratio: 0.5, Bytes: []byte{1},
		At:      time.Date(2026, 1, 2, 3, 4, 5, 6789, berlin),
		Inner:   inner{Version: 7},
		Limit:   &five,
		Names:   []string{},
		Inners:  []inner{{Note: "n"}},
		Colours: map[colour]inner{"blue": {Version: 1}},
		Scratch: "never stored",
	}
	want := docstore.Fields{
		"name": "a", "colour": "red", "on": true, "small": int64(-1), "count": int64(2), "port": int64(443),
		"ratio": 0.5, "bytes": []byte{1}, "at": time.Date(2026, 1, 2, 1, 4, 5, 6000, time.UTC),
		"inner": map[string]any{"version": int64(7)}, "pointer": nil, "limit": int64(5),
		"names": []any{}, "inners": []any{map[string]any{"version": int64(0), "note": "n"}}, "blobs": nil,
		"colours": map[string]any{"blue": map[string]any{"version": int64(1)}}, "labels": nil, "lists": nil,
	}
	for _, v := range []any{value, &value} {
		got, err := docstore.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("Encode(%T)\n got %#v\nwant %#v", v, got, want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ value, says any }{
		"no struct":           {"text", "want a struct"},
		"a nil pointer":       {(*inner)(nil), "want a struct"},
		"a field without tag": {struct{ Name string }{}, "field Name has no doc tag"},
		"an unexported field": {struct {
			name string `doc:"name"`
		}{}, "not exported"},
		"an empty name": {struct {
			Name string `doc:",omitempty"`
		}{}, "faulty doc tag"},
		"an unknown option": {struct {
			Name string `doc:"n,omitzero"`
		}{}, "faulty doc tag"},
		"a name twice": {struct {
			A, B string `doc:"n"`
		}{}, `two fields are named "n"`},
		"a slice of slices": {struct {
			A [][]string `doc:"a"`
		}{}, "an array holds no array"},
		"a map by number": {struct {
			A map[int]string `doc:"a"`
		}{}, "keys are not strings"},
		"a pointer to a slice": {struct {
			A *[]string `doc:"a"`
		}{}, "cannot be stored"},
		"an interface": {struct {
			A any `doc:"a"`
		}{A: 1}, "cannot be stored"},
		"a huge number": {struct {
			A uint64 `doc:"a"`
		}{math.MaxUint64}, "a: the number does not fit"},
		"a secret's value": {struct {
			A secret.Value `doc:"a"`
		}{secret.NewValue("hunter2")}, "no field with a doc tag"},
		"deep down": {struct {
			A map[string]struct {
				B []any `doc:"b"`
			} `doc:"a"`
		}{map[string]struct {
			B []any `doc:"b"`
		}{"k": {[]any{1}}}}, "a.*.b[0]: type interface {}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := docstore.Encode(test.value)
			if err == nil || !strings.Contains(err.Error(), test.says.(string)) {
				t.Fatalf("got error %v, want one that says %q", err, test.says)
			}
		})
	}
}

func TestDecodeRefusesWrongTypesAndNeverShowsValues(t *testing.T) {
	t.Parallel()
	const canary = "hunter2"
	for field, value := range map[string]any{
		"name": []byte(canary), "on": canary, "small": int64(1000), "count": 1.5, "port": int64(-1), "ratio": canary,
		"bytes": canary, "at": canary, "inner": canary, "pointer": canary, "limit": canary, "names": canary,
		"inners": []any{canary}, "blobs": []any{canary}, "colours": map[string]any{canary: canary},
		"labels": canary, "lists": map[string]any{canary: []any{canary}}, "colour": nil,
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			var got outer
			err := docstore.Decode(docstore.Fields{field: value}, &got)
			if err == nil || !strings.Contains(err.Error(), field) {
				t.Fatalf("got error %v, want one that names %s", err, field)
			}
			if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "1000") {
				t.Errorf("the error shows the value: %v", err)
			}
		})
	}
}

func TestDecodeIgnoresUnknownFieldsAndKeepsWhatIsMissing(t *testing.T) {
	t.Parallel()
	got := inner{Version: 3, Note: "kept"}
	if err := docstore.Decode(docstore.Fields{"version": int64(4), "newer": "field"}, &got); err != nil {
		t.Fatal(err)
	}
	if want := (inner{Version: 4, Note: "kept"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDecodeNeedsAPointerToAStruct(t *testing.T) {
	t.Parallel()
	for _, target := range []any{nil, inner{}, (*inner)(nil), new(string)} {
		if err := docstore.Decode(docstore.Fields{}, target); err == nil {
			t.Errorf("Decode into %T succeeded", target)
		}
	}
}

func TestDecodedValueSharesNothingWithFields(t *testing.T) {
	t.Parallel()
	blob := []byte("abc")
	var got struct {
		Blob []byte `doc:"blob"`
	}
	if err := docstore.Decode(docstore.Fields{"blob": blob}, &got); err != nil {
		t.Fatal(err)
	}
	got.Blob[0] = 'X'
	if string(blob) != "abc" {
		t.Error("a change of the struct reached the fields")
	}
}
