package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/strictjson"
)

type base struct {
	Inherited string `json:"inherited"`
}

type entry struct {
	Name   string   `json:"name" required:"true"`
	Scopes []string `json:"scopes"`
}

type request struct {
	base
	ProjectID string            `json:"projectId" required:"true"`
	Force     bool              `json:"force,omitempty"`
	Limit     int8              `json:"limit"`
	Ratio     float32           `json:"ratio"`
	At        time.Time         `json:"at"`
	Raw       []byte            `json:"raw"`
	Entries   []entry           `json:"entries"`
	Labels    map[string]string `json:"labels"`
	Next      *entry            `json:"next"`
	Free      any               `json:"free"`
	Hidden    string            `json:"-"`
	private   string            //nolint:unused // it is there to be refused by its name
}

func TestAccepts(t *testing.T) {
	t.Parallel()
	text := ` {"projectId":"p","inherited":"i","force":true,"limit":-128,"ratio":1.5,"at":"2026-01-02T03:04:05Z","raw":"aGk=",
		"entries":[{"name":"A","scopes":["actions"]},{"name":"\ud83d\ude00\\ud800"}],"labels":{"a.b":"c","":"d"},"next":{"name":"B"},"free":{"a":[null,1,{"b":null}]}} `
	var got, want request
	if err := strictjson.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                {"", "there is no JSON: it is empty"},
		"white space":            {" \n", "there is no JSON: it is empty"},
		"cut off":                {`{"projectId":"p"`, "the JSON is not well formed at byte 16"},
		"trailing text":          {`{"projectId":"p"} x`, "the JSON is not well formed at byte 19"},
		"two values":             {`{"projectId":"p"}{}`, "the JSON is not well formed at byte 18"},
		"trailing comma":         {`{"projectId":"p",}`, "the JSON is not well formed at byte 18"},
		"comment":                {`{"projectId":"p"} // x`, "the JSON is not well formed at byte 19"},
		"byte order mark":        {"\ufeff{}", "the JSON is not well formed at byte 1"},
		"invalid UTF-8":          {"{\"projectId\":\"\xff\"}", "the JSON is not valid UTF-8"},
		"lone high surrogate":    {`{"projectId":"\ud800"}`, "the JSON has half of a surrogate pair in an escape"},
		"lone low surrogate":     {`{"projectId":"\udc00x"}`, "the JSON has half of a surrogate pair in an escape"},
		"half pair at the end":   {`{"projectId":"\ud83dx"}`, "the JSON has half of a surrogate pair in an escape"},
		"not an object":          {`[]`, "the JSON is not an object"},
		"null":                   {`null`, "the JSON is null; leave it out instead"},
		"unknown":                {`{"projectId":"p","dryrun":true}`, "dryrun is not a known field"},
		"other case":             {`{"projectId":"p","Force":true}`, "Force is not a known field"},
		"hidden":                 {`{"projectId":"p","Hidden":"x"}`, "Hidden is not a known field"},
		"private":                {`{"projectId":"p","private":"x"}`, "private is not a known field"},
		"repeated":               {`{"projectId":"p","projectId":"q"}`, "projectId is there twice"},
		"repeated by escape":     {`{"projectId":"p","project\u0049d":"q"}`, "projectId is there twice"},
		"repeated in free":       {`{"projectId":"p","free":[{"a":1,"a":2}]}`, "free[0].a is there twice"},
		"repeated in a map":      {`{"projectId":"p","labels":{"k":"1","k":"2"}}`, "labels.k is there twice"},
		"missing":                {`{}`, "projectId is missing"},
		"missing inside":         {`{"projectId":"p","entries":[{"name":"A"},{}]}`, "entries[1].name is missing"},
		"null field":             {`{"projectId":null}`, "projectId is null; leave it out instead"},
		"number for text":        {`{"projectId":7}`, "projectId is not a string"},
		"text for bool":          {`{"projectId":"p","force":"true"}`, "force is not true or false"},
		"text for list":          {`{"projectId":"p","entries":"x"}`, "entries is not a list"},
		"list for object":        {`{"projectId":"p","next":[]}`, "next is not an object"},
		"list for map":           {`{"projectId":"p","labels":[]}`, "labels is not an object"},
		"text for number":        {`{"projectId":"p","limit":"7"}`, "limit is not a whole number, or is out of range"},
		"fraction":               {`{"projectId":"p","limit":1.5}`, "limit is not a whole number, or is out of range"},
		"overflow":               {`{"projectId":"p","limit":128}`, "limit is not a whole number, or is out of range"},
		"float overflow":         {`{"projectId":"p","ratio":1e99}`, "ratio is not a number, or is out of range"},
		"bad time":               {`{"projectId":"p","at":"yesterday"}`, "at is not of the form that is wanted"},
		"bad base64":             {`{"projectId":"p","raw":"!"}`, "raw is not base64 text"},
		"wrong element":          {`{"projectId":"p","entries":[{"name":"A","scopes":["a",2]}]}`, "entries[0].scopes[1] is not a string"},
		"several":                {`{"force":1,"x":2}`, "force is not true or false; x is not a known field; projectId is missing"},
		"a value as a name":      {`{"projectId":"p","correct horse":1}`, "(unnamed) is not a known field"},
		"deep, free":             {`{"projectId":"p","free":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "free" + strings.Repeat("[0]", 32) + " is nested too deeply"},
		"deep, to break a stack": {strings.Repeat("[", 200_000), "the JSON is nested too deeply"},
		"deeper than is read":    {`{"projectId":"p","free":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + `}`, "the JSON is nested too deeply"},
		"not deep, in a text":    {`{"projectId":"` + strings.Repeat(`[\"`, 40) + `"`, "the JSON is not well formed at byte 135"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			into := request{ProjectID: "before"}
			err := strictjson.Unmarshal([]byte(c.text), &into)
			if !errors.Is(err, fault.RequestMalformed) {
				t.Fatalf("Unmarshal = %v, want %s", err, fault.RequestMalformed)
			}
			if got := fault.Detail(err); !strings.HasPrefix(got, c.want) || name != "deep, to break a stack" && got != c.want {
				t.Errorf("detail = %q, want %q", got, c.want)
			}
			if into.ProjectID != "before" {
				t.Errorf("into was changed: %+v", into)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{`{"a":{"b":[1]}}`: true, `{}`: true, `[]`: false, `{"a":1,"a":2}`: false, `"x"`: false, `null`: false} {
		if err := strictjson.Check([]byte(text)); (err == nil) != ok {
			t.Errorf("Check(%s) = %v", text, err)
		}
	}
}

func TestNoFaultRepeatsAValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := "canary" + rapid.StringMatching(`[ -~é]{8,40}`).Draw(t, "value")
		quoted, _ := json.Marshal(value)
		text := strings.ReplaceAll(rapid.SampledFrom([]string{`{"force":V}`, `{"entries":V}`, `{"at":V}`, `{"limit":V}`, `V`, `{"free":[V}`, `{"raw":V}`,
			`{"entries":[{"scopes":[{"V":V}]}]}`, `{"x y":V}`}).Draw(t, "form"), "V", string(quoted))
		var into request
		err := strictjson.Unmarshal([]byte(text), &into)
		if err == nil || strings.Contains(err.Error(), value) || strings.Contains(err.Error(), string(quoted[1:len(quoted)-1])) {
			t.Fatalf("Unmarshal(%s) = %v", text, err)
		}
	})
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{`{"projectId":"p"}`, `{"projectId":"p","entries":[{"name":"A","scopes":["x"]}],"free":{"a":[null]}}`, `{`, `null`, `{"a":"\ud800"}`, "\xff", `{"projectId":"p","projectId":"p"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var strict, lax request
		if err := strictjson.Unmarshal(data, &strict); err != nil {
			if !errors.Is(err, fault.RequestMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		// What passes, the standard decoder reads in the same way.
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&lax); err != nil || !reflect.DeepEqual(strict, lax) {
			t.Fatalf("encoding/json reads %+v, %v; not %+v", lax, err, strict)
		}
	})
}
