package secret_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

func TestParseName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("A", 200)
	for _, test := range []struct {
		in, want string // empty: refused
	}{
		{"DATABASE_URL", "DATABASE_URL"},
		{"database_url", "DATABASE_URL"},
		{"Mixed_Case_1", "MIXED_CASE_1"},
		{"_", "_"},
		{"__X__", "__X__"},
		{"A1", "A1"},
		{"GITHUB", "GITHUB"},
		{"MY_GITHUB_TOKEN", "MY_GITHUB_TOKEN"},
		{long, long},
		{long + "A", ""},
		{"", ""},
		{"1A", ""},
		{"GITHUB_TOKEN", ""},
		{"github_x", ""},
		{"A-B", ""},
		{"A B", ""},
		{" A", ""},
		{"A\n", ""},
		{"A\x00", ""},
		{"ÄB", ""},
		{"\u017fECRET", ""}, // a long s, of which upper case is S
		{"API_\u0131D", ""}, // a dotless i
		{"\u212aEY", ""},    // a Kelvin sign
		{"\xff", ""},
	} {
		got, err := secret.ParseName(test.in)
		if string(got) != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q: got %q, %v; want %q", test.in, got, err, test.want)
		}
		if err != nil && !errors.Is(err, fault.NameInvalid) {
			t.Errorf("%q: got %v, want %s", test.in, err, fault.NameInvalid)
		}
	}
}

func TestParseScope(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in           string
		ok           bool
		environment  string
		worker       string
		organisation bool
		capacity     int
	}{
		{in: "actions", ok: true, capacity: 100},
		{in: "codespaces", ok: true, capacity: 100},
		{in: "dependabot", ok: true},
		{in: "org-actions", ok: true, organisation: true, capacity: 1000},
		{in: "org-codespaces", ok: true, organisation: true, capacity: 100},
		{in: "org-dependabot", ok: true, organisation: true},
		{in: "environment:production", ok: true, environment: "production", capacity: 100},
		{in: "environment:org-actions", ok: true, environment: "org-actions", capacity: 100},
		{in: "environment:Prod EU/1", ok: true, environment: "Prod EU/1", capacity: 100},
		{in: "environment:プロダクション", ok: true, environment: "プロダクション", capacity: 100},
		{in: "environment:" + strings.Repeat("ü", 255), ok: true, environment: strings.Repeat("ü", 255), capacity: 100},
		{in: "cloudflare:my-worker", ok: true, worker: "my-worker"},
		{in: ""}, {in: "Actions"}, {in: "actions "}, {in: "org-pages"}, {in: "environment"}, {in: "environment:"},
		{in: "environment: x"}, {in: "environment:x "}, {in: "environment:" + strings.Repeat("ü", 256)},
		{in: "environment:a\nb"}, {in: "environment:a\x7f"}, {in: "environment:a\u2028b"}, {in: "environment:a\u202eb"}, {in: "environment:\xff"},
		{in: "environment:a'b"}, {in: "environment:a,b"}, {in: "environment:a`b"},
		{in: "cloudflare:"}, {in: "cloudflare:My"}, {in: "cloudflare:a/b"}, {in: "cloudflare:-a"}, {in: "cloudflare:" + strings.Repeat("a", 64)},
	} {
		got, err := secret.ParseScope(test.in)
		if !test.ok {
			if got != "" || !errors.Is(err, fault.ScopeInvalid) {
				t.Errorf("%q: got %q, %v; want %s", test.in, got, err, fault.ScopeInvalid)
			}
			continue
		}
		if err != nil || string(got) != test.in {
			t.Errorf("%q: got %q, %v", test.in, got, err)
		}
		environment, isEnvironment := got.Environment()
		worker, isWorker := got.Worker()
		if isEnvironment != (test.environment != "") || isEnvironment && environment != test.environment {
			t.Errorf("%q is of the environment %q, %t", test.in, environment, isEnvironment)
		}
		if isWorker != (test.worker != "") || isWorker && worker != test.worker {
			t.Errorf("%q is of the worker %q, %t", test.in, worker, isWorker)
		}
		if got.Organisation() != test.organisation || got.Capacity() != test.capacity {
			t.Errorf("%q: an organisation's %t, capacity %d", test.in, got.Organisation(), got.Capacity())
		}
	}
	for _, scope := range secret.DefaultScopes() {
		if _, err := secret.ParseScope(string(scope)); err != nil {
			t.Error(err)
		}
	}
	if scope := secret.EnvironmentScope("dev"); scope != "environment:dev" {
		t.Errorf("got %q", scope)
	}
}

func TestParseSource(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		project, id, want string // empty: refused
	}{
		{"acme-secrets-prod", "payments-database-url", "acme-secrets-prod/payments-database-url"},
		{"acme-1", strings.Repeat("a", 255), "acme-1/" + strings.Repeat("a", 255)},
		{"", "DATABASE_URL", "DATABASE_URL"},
		{"acme", "a", ""}, // too short
		{"Acme-secrets", "a", ""},
		{"acme-secrets-", "a", ""},
		{"1acme-secrets", "a", ""},
		{strings.Repeat("a", 31), "a", ""},
		{"acme-secrets\n", "a", ""},
		{"acme/../other", "a", ""},
		{"acme-secrets", "", ""},
		{"acme-secrets", "a/b", ""},
		{"acme-secrets", "a b", ""},
		{"acme-secrets", "a\n", ""},
		{"acme-secrets", strings.Repeat("a", 256), ""},
		{"", "", ""},
	} {
		got, err := secret.ParseSource(test.project, test.id)
		if (err == nil) != (test.want != "") || err == nil && got.String() != test.want {
			t.Errorf("%q, %q: got %q, %v; want %q", test.project, test.id, got, err, test.want)
		}
		if err != nil && (!errors.Is(err, fault.SourceMissing) || got != secret.Source{}) {
			t.Errorf("%q, %q: got %+v, %v", test.project, test.id, got, err)
		}
	}
}

func TestTargetOrder(t *testing.T) {
	t.Parallel()
	targets := []secret.Target{{Scope: "actions", Name: "A"}, {Scope: "dependabot", Name: "A"}, {Scope: "actions", Name: "B"}}
	for i, a := range targets {
		for j, b := range targets {
			if got := a.Compare(b); got != sign(i-j) {
				t.Errorf("%s and %s: got %d", a, b, got)
			}
		}
	}
	if got := targets[0].String(); got != "actions/A" {
		t.Errorf("got %q", got)
	}
}

func sign(n int) int { return max(-1, min(1, n)) }

var validName = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)

// FuzzParseName holds that what is accepted is a name by GitHub's rules, that
// parsing it again changes nothing, and that only letters' case was changed.
func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"DATABASE_URL", "lower", "1A", "GITHUB_X", "\u017fx", "a\xff", "__x__", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := secret.ParseName(s)
		if err != nil {
			if name != "" || !errors.Is(err, fault.NameInvalid) {
				t.Errorf("%q: got %q, %v", s, name, err)
			}
			return
		}
		if !validName.MatchString(string(name)) || strings.HasPrefix(string(name), "GITHUB_") || len(name) > 200 || len(name) != len(s) {
			t.Errorf("%q: got %q", s, name)
		}
		if again, err := secret.ParseName(string(name)); again != name || err != nil {
			t.Errorf("%q: got %q, and then %q, %v", s, name, again, err)
		}
	})
}

// FuzzParseScope holds that what is accepted stays as it is, is printable
// UTF-8, and is of one sort only.
func FuzzParseScope(f *testing.F) {
	for _, seed := range []string{"actions", "environment:dev", "environment:org-x", "cloudflare:w", "environment:\xff", "environment:a\u0085", "org-actions"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		scope, err := secret.ParseScope(s)
		if err != nil {
			if scope != "" || !errors.Is(err, fault.ScopeInvalid) {
				t.Errorf("%q: got %q, %v", s, scope, err)
			}
			return
		}
		if string(scope) != s || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
			t.Errorf("%q: got %q", s, scope)
		}
		sorts := 0
		if name, ok := scope.Environment(); ok {
			sorts++
			if secret.EnvironmentScope(name) != scope {
				t.Errorf("%q is not the scope of its environment %q", s, name)
			}
		}
		if _, ok := scope.Worker(); ok {
			sorts++
		}
		if scope.Organisation() {
			sorts++
		}
		if sorts > 1 {
			t.Errorf("%q is of %d sorts", s, sorts)
		}
	})
}

// FuzzParseSource holds that what is accepted can stand in a resource name.
func FuzzParseSource(f *testing.F) {
	f.Add("acme-secrets", "db")
	f.Add("", "DB_URL")
	f.Add("a/b", "../x")
	f.Fuzz(func(t *testing.T, project, id string) {
		source, err := secret.ParseSource(project, id)
		if err != nil {
			if source != (secret.Source{}) || !errors.Is(err, fault.SourceMissing) {
				t.Errorf("%q, %q: got %+v, %v", project, id, source, err)
			}
			return
		}
		if source.Project != project || source.Secret != id || strings.ContainsAny(project+id, "/.\\ \n\x00%") || id == "" {
			t.Errorf("%q, %q: got %+v", project, id, source)
		}
	})
}
