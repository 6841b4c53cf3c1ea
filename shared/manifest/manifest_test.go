package manifest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/exclusion"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/manifest"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// TestSpecification runs the cases of testdata: each is a file case/manifest
// with either case/rendered or case/faults after it.
func TestSpecification(t *testing.T) {
	t.Parallel()
	paths, _ := filepath.Glob("testdata/*.txtar")
	if len(paths) == 0 {
		t.Fatal("no cases found")
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for pair := range slices.Chunk(archive.Files, 2) {
			name, _ := strings.CutSuffix(pair[0].Name, "/manifest")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				got, kind := outcome(manifest.Parse(pair[0].Data))
				if pair[1].Name != name+"/"+kind || got != string(pair[1].Data) {
					t.Errorf("%s:\n%s\nwant %s:\n%s", kind, got, pair[1].Name, pair[1].Data)
				}
			})
		}
	}
}

func outcome(m manifest.Manifest, err error) (text, kind string) {
	if err != nil {
		return fault.Detail(err) + "\n", "faults"
	}
	var b bytes.Buffer
	if err := json.Indent(&b, m.Render(), "", "  "); err != nil {
		return err.Error(), "unreadable"
	}
	return b.String() + "\n", "rendered"
}

const minimal = "project: p1\ngithub: {owner: acme, repo: p1}\n"

func TestFaultsHaveTheCodesOfTheirRules(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]fault.Code{
		"secrets: [{name: A-B}]":              fault.NameInvalid,
		"secrets: [{name: A, scopes: [b]}]":   fault.ScopeInvalid,
		"secrets: [{name: A, from: a b}]":     fault.SourceMissing,
		"source: {gcpProject: X}":             fault.SourceMissing,
		`exclude: ["A-B"]`:                    fault.PatternInvalid,
		`environments: {"a,b": {}}`:           fault.ScopeInvalid,
		"policy: {allowRollbacks: true}":      fault.ManifestInvalid,
		"secrets: [{name: A, from: [1, 2]}]":  fault.ManifestInvalid,
		"secrets: [{name: A}, {name: A}] # 2": fault.ManifestInvalid,
	} {
		m, err := manifest.Parse([]byte(minimal + line))
		if !errors.Is(err, fault.ManifestInvalid) || !errors.Is(err, want) || fault.KindOf(err) != fault.Unprocessable {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
		if faults := fault.LinesOf(err); len(faults.Faults) != 1 || faults.Faults[0].Line != 3 {
			t.Errorf("%s: faults = %v, want one in line 3", line, faults.Faults)
		}
		if !reflect.DeepEqual(m, manifest.Manifest{}) {
			t.Errorf("%s: a manifest came with the faults", line)
		}
	}
}

func TestJSONOnly(t *testing.T) {
	t.Parallel()
	const object = `{"project":"p1","github":{"owner":"acme","repo":"p1"}}`
	if m, err := manifest.ParseJSON([]byte("\ufeff " + object + "\r\n")); err != nil || m.GitHub.Owner != "acme" {
		t.Errorf("an object: %v, %v", m, err)
	}
	for data, want := range map[string]string{
		"":                       "line 1: the manifest is empty",
		" \n":                    "line 1: the manifest is empty",
		minimal:                  "line 1, column 1: this is not JSON from here on",
		object + "\n" + object:   "line 2, column 1: this is not JSON from here on",
		"{\n\"project\": 'p1'":   "line 2, column 12: this is not JSON from here on",
		"{\n\"project\": \"ż\",": "line 2, column 15: this is not JSON from here on",
		"[]":                     "line 1, column 1: this must be an object with keys, not a list",
		"null":                   "line 1, column 1: this is empty and must be an object with keys",
	} {
		if _, err := manifest.ParseJSON([]byte(data)); fault.Detail(err) != want {
			t.Errorf("%q: %q, want %q", data, fault.Detail(err), want)
		}
	}
}

func TestWhatIsNoText(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"project: a\x00":           "line 1, column 11: there is a control character here",
		"project: a\n#ż\x1b":       "line 2, column 3: there is a control character here",
		"project: caf\xe9":         "line 1, column 13: there is a byte here that is not UTF-8 text",
		"\xff\xfep\x00":            "line 1, column 1: there is a byte here that is not UTF-8 text",
		"{\"project\": \"a\x01\"}": "line 1, column 15: there is a control character here",
	} {
		if _, err := manifest.Parse([]byte(data)); fault.Detail(err) != want {
			t.Errorf("%q: %q, want %q", data, fault.Detail(err), want)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	largest := minimal + strings.Repeat("#", manifest.MaxBytes-len(minimal))
	if _, err := manifest.Parse([]byte(largest)); err != nil {
		t.Errorf("a manifest of the largest size: %v", err)
	}
	if _, err := manifest.Parse([]byte(largest + "#")); fault.Detail(err) != "line 1: the manifest is larger than 1048576 bytes" {
		t.Errorf("a larger manifest: %v", err)
	}
}

// Each of these would take a reader very long that did work for each pair of
// lines, or made an answer of every fault.
func TestHostileManifestsAreRefusedSoon(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"a: 1\n", "[", "{a: ", "- ", "- &a b\n", "- {a: }\n", "a:\n b:\n  c:\n", "#\n", "'", "? "} {
		hostile := minimal + strings.Repeat(unit, manifest.MaxBytes/8/len(unit))
		_, err := manifest.Parse([]byte(hostile))
		if faults := fault.LinesOf(err); unit != "#\n" && (faults == nil || len(fault.Detail(err)) > 20_000) {
			t.Errorf("%q over and over: %d bytes of faults: %.200v", unit, len(fault.Detail(err)), err)
		}
	}
}

func TestDeepManifestsAreToldSo(t *testing.T) {
	t.Parallel()
	const deep = 10_001 // what encoding/json and the YAML reader do not take
	for _, data := range []string{
		`{"project":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + "}",
		"project:\n" + strings.Repeat("- ", deep) + "x",
		"project: " + strings.Repeat("[", 20) + strings.Repeat("]", 20),
	} {
		if _, err := manifest.Parse([]byte(data)); !strings.Contains(fault.Detail(err), "nested more than 12 deep") {
			t.Errorf("%.30q…: %q", data, fault.Detail(err))
		}
	}
}

func TestMappings(t *testing.T) {
	t.Parallel()
	m, err := manifest.Parse([]byte(minimal + `
source: {gcpProject: acme-secrets}
secrets:
  - {name: A, from: a}
  - {name: B, from: b, scopes: [org-actions, actions], visibility: selected, repositories: [p2]}
environments:
  prod: {secrets: [{name: A, from: a-prod}]}
  dev: {secrets: [{name: A, from: a-dev}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	from := func(id string) secret.Source { return secret.Source{Project: "acme-secrets", Secret: id} }
	want := []manifest.Mapping{
		{Name: "A", Source: from("a"), Scopes: []secret.Scope{"actions", "codespaces", "dependabot"}},
		{Name: "B", Source: from("b"), Scopes: []secret.Scope{"org-actions", "actions"},
			Access: &manifest.Access{Visibility: project.VisibleToSelected, Repositories: []string{"p2"}}},
		{Name: "A", Source: from("a-dev"), Scopes: []secret.Scope{"environment:dev"}},
		{Name: "A", Source: from("a-prod"), Scopes: []secret.Scope{"environment:prod"}},
	}
	if got := m.Mappings(); !reflect.DeepEqual(got, want) {
		t.Errorf("mappings = %+v, want %+v", got, want)
	}
	m.Source = nil
	if got := m.Mappings()[0].Source; got != (secret.Source{Secret: "a"}) {
		t.Errorf("source in an env file = %v, want a", got)
	}
}

// manifests draws valid manifests. Each mapping has a name of its own, so that
// no target is claimed twice.
func manifests(t *rapid.T) manifest.Manifest {
	number := 0
	name := func(label string) secret.Name {
		number++
		return secret.Name(fmt.Sprintf("%s_%d", rapid.StringMatching(`[A-Z_][A-Z0-9_]{0,8}`).
			Filter(func(s string) bool { return !strings.HasPrefix(s, "GITHUB") }).Draw(t, label), number))
	}
	word := rapid.StringMatching(`[a-z][a-z0-9-]{0,8}[a-z0-9]`)
	id := rapid.StringMatching(`[A-Za-z0-9_-]{1,12}`)
	environment := rapid.OneOf(word, rapid.SampledFrom([]string{"prod eu", "日本", "🚀", "a/b", "<x>", "true", "1", "null", "a: b", "#a", "*a"}))

	m := manifest.Manifest{
		Project: word.Draw(t, "project"),
		GitHub:  manifest.GitHub{Owner: word.Draw(t, "owner"), Repo: rapid.StringMatching(`\.?[A-Za-z0-9_-]{1,9}`).Draw(t, "repo")},
		Policy:  manifest.Policy{AllowRollback: rapid.Bool().Draw(t, "allowRollback")},
	}
	if rapid.Bool().Draw(t, "source") {
		m.Source = &manifest.Source{GCPProject: rapid.StringMatching(`[a-z][a-z0-9-]{4,9}[a-z0-9]`).Draw(t, "gcpProject")}
	}
	for range rapid.IntRange(0, 4).Draw(t, "secrets") {
		s := manifest.Secret{Name: name("name"), From: id.Draw(t, "from")}
		s.Scopes = rapid.SliceOfNDistinct(rapid.SampledFrom([]secret.Scope{
			"actions", "codespaces", "dependabot", "org-actions", "org-dependabot", "environment:prod eu",
		}), 1, 6, rapid.ID).Draw(t, "scopes")
		if slices.ContainsFunc(s.Scopes, secret.Scope.Organisation) {
			s.Visibility = rapid.SampledFrom([]project.Visibility{"all", "private", "selected"}).Draw(t, "visibility")
		}
		if s.Visibility == "selected" {
			s.Repositories = rapid.SliceOfNDistinct(id, 0, 3, rapid.ID).Draw(t, "repositories")
		}
		m.Secrets = append(m.Secrets, s)
	}
	for _, p := range rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Z0-9_?]{1,5}\*?`), 0, 3, rapid.ID).Draw(t, "exclude") {
		m.Exclude = append(m.Exclude, exclusion.Pattern(p))
	}
	for _, e := range rapid.SliceOfNDistinct(environment, 0, 3, rapid.ID).Draw(t, "environments") {
		if m.Environments == nil {
			m.Environments = map[string]manifest.Environment{}
		}
		var body manifest.Environment
		for range rapid.IntRange(0, 2).Draw(t, "secrets there") {
			body.Secrets = append(body.Secrets, manifest.EnvironmentSecret{Name: name("name there"), From: id.Draw(t, "from there")})
		}
		m.Environments[e] = body
	}
	return m
}

func TestWhatIsRenderedIsRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := manifests(t)
		rendered := want.Render()
		var tree any
		if err := json.Unmarshal(rendered, &tree); err != nil {
			t.Fatal(err)
		}
		asYAML, err := yaml.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{rendered, asYAML} {
			got, err := manifest.Parse(data)
			if err != nil || !reflect.DeepEqual(got, want) || !bytes.Equal(got.Render(), rendered) {
				t.Fatalf("from\n%s\nread %+v and %v\nwant %+v", data, got, err, want)
			}
		}
	})
}

// canary stands for a secret wherever one might be put.
const canary = "c4n4ry"

// leaky draws a tree of the manifest's own keys, of others and of names that are
// secrets, with secrets for values.
func leaky(depth int) *rapid.Generator[any] {
	value := rapid.Custom(func(t *rapid.T) any {
		return rapid.SampledFrom([]any{canary, canary + " 1", canary + "\n2", "*" + canary, "GITHUB_" + canary, "environment:" + canary + ",",
			"team:" + canary + "!", 7, true, nil, "A", "actions", "selected"}).Draw(t, "value")
	})
	if depth == 0 {
		return value
	}
	key := rapid.SampledFrom([]string{"project", "github", "owner", "repo", "source", "gcpProject", "secrets", "name", "from", "scopes",
		"visibility", "repositories", "exclude", "policy", "allowRollback", "environments", "linkedResources", "neonBranchId", "protection",
		"reviewers", "waitMinutes", "branches", "value", "dev", canary, canary + " key", canary + ",", "p" + canary})
	inner := rapid.Deferred(func() *rapid.Generator[any] { return leaky(depth - 1) })
	return rapid.OneOf(value,
		rapid.Custom(func(t *rapid.T) any { return rapid.SliceOfN(inner, 0, 3).Draw(t, "list") }),
		rapid.Custom(func(t *rapid.T) any { return rapid.MapOfN(key, inner, 0, 4).Draw(t, "object") }))
}

func TestNoFaultShowsAValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tree := map[string]any{}
		for _, key := range []string{"project", "github", "source", "secrets", "exclude", "policy", "environments", canary} {
			tree[key] = leaky(3).Draw(t, key)
		}
		asJSON, _ := json.Marshal(tree)
		asYAML, _ := yaml.Marshal(tree)
		at := rapid.IntRange(0, len(asYAML)).Draw(t, "at")
		sign := rapid.SampledFrom([]string{"*", "&", "!", "[", "{", `"`, "'", "\t", ": ", "- ", "%", "\\", "\n", "<<: *"}).Draw(t, "sign")
		spoilt := slices.Concat(asYAML[:at], []byte(sign), asYAML[at:])
		for _, data := range [][]byte{asJSON, asYAML, spoilt} {
			_, err := manifest.Parse(data)
			if err == nil {
				t.Fatalf("no fault in\n%s", data)
			}
			shown := fmt.Sprintf("%v %s %+v", err, fault.Detail(err), fault.LinesOf(err))
			if strings.Contains(shown, canary) {
				t.Fatalf("a value shows in %s\nfrom\n%s", shown, data)
			}
		}
	})
}

var (
	quotedWord = regexp.MustCompile(`"([^"]*)"`)
	plainWord  = regexp.MustCompile(`^[A-Za-z]+([_-][A-Za-z]+)*([_-]?[0-9]{1,3})?$`)
	plainPath  = regexp.MustCompile(`^[A-Za-z0-9_?.\[\]-]*$`)
)

func FuzzParse(f *testing.F) {
	archives, _ := filepath.Glob("testdata/*.txtar")
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.HasSuffix(file.Name, "/manifest") {
				f.Add(file.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := manifest.Parse(data)
		if err == nil {
			again, err := manifest.ParseJSON(m.Render())
			if err != nil || !reflect.DeepEqual(again, m) {
				t.Errorf("rendered and read again: %+v, %v; want %+v", again, err, m)
			}
			return
		}
		if !errors.Is(err, fault.ManifestInvalid) || fault.LinesOf(err) == nil {
			t.Fatalf("not a manifest's fault: %v", err)
		}
		for _, listed := range fault.LinesOf(err).Faults {
			if listed.Line < 1 || !plainPath.MatchString(listed.Path) {
				t.Errorf("line %d, path %q", listed.Line, listed.Path)
			}
			for _, word := range quotedWord.FindAllStringSubmatch(listed.Message, -1) {
				if !plainWord.MatchString(word[1]) {
					t.Errorf("a fault shows %q", word[1])
				}
			}
		}
	})
}
