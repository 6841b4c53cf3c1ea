package exclusion_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/exclusion"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// TestSpecification runs the cases of testdata: each file holds the patterns of
// one project, one a line, and for each name the pattern that excludes it, or -.
func TestSpecification(t *testing.T) {
	t.Parallel()
	paths, _ := filepath.Glob("testdata/*.txtar")
	if len(paths) == 0 {
		t.Fatal("no cases found")
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil || len(archive.Files) != 2 {
			t.Fatalf("%s: %v, %d files", path, err, len(archive.Files))
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			patterns, err := exclusion.ParseAll(strings.Fields(string(archive.Files[0].Data)))
			if err != nil {
				t.Fatal(err)
			}
			matcher := exclusion.Compile(patterns)
			for line := range strings.Lines(string(archive.Files[1].Data)) {
				words := strings.Fields(line)
				pattern, excluded := matcher.Match(secret.Name(words[0]))
				if pattern == "" {
					pattern = "-"
				}
				if pattern != words[1] || excluded != (words[1] != "-") {
					t.Errorf("%s: excluded by %s (%t), want %s", words[0], pattern, excluded, words[1])
				}
			}
		})
	}
}

func TestTheListsApplyTogether(t *testing.T) {
	t.Parallel()
	global, _ := exclusion.ParseAll([]string{"ORG_*"})
	own, _ := exclusion.ParseAll([]string{"LEGACY_*", "ORG_KEY", "*TOKEN"})
	matcher := exclusion.Compile(global, own)
	for name, want := range map[secret.Name]string{
		"ORG_KEY": "ORG_*", "LEGACY_KEY": "LEGACY_*", "GITHUB_TOKEN": "GITHUB_TOKEN", "NPM_TOKEN": "*TOKEN", "OTHER": "",
	} {
		if got, excluded := matcher.Match(name); got != want || excluded != (want != "") {
			t.Errorf("%s is excluded by %q (%t), want %q", name, got, excluded, want)
		}
	}
	if _, excluded := (exclusion.Matcher{}).Match("CI"); !excluded {
		t.Error("the zero Matcher lets CI through")
	}
}

func TestTheBuiltInListCannotBeChanged(t *testing.T) {
	t.Parallel()
	clear(exclusion.BuiltIn())
	if pattern, _ := exclusion.Compile().Match("RUNNER_OS"); pattern != "RUNNER_*" {
		t.Errorf("RUNNER_OS is excluded by %q, want RUNNER_*", pattern)
	}
}

func TestPatternsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "A-B", "A B", "ŻÓŁW", "ſ", "[A-Z]", "A{1}", `\*`, "A\n", "A\x00", strings.Repeat("A", 201)} {
		_, err := exclusion.ParseAll([]string{"OK", s})
		if !errors.Is(err, fault.PatternInvalid) {
			t.Errorf("%q: %v, want %s", s, err, fault.PatternInvalid)
		}
	}
}

// A pattern that makes a backtracking matcher try every way to share out the
// name would not return in the life of this test.
func TestManyStarsTakeNoLonger(t *testing.T) {
	t.Parallel()
	pattern, err := exclusion.Parse(strings.Repeat("A*", 99) + "B")
	if err != nil {
		t.Fatal(err)
	}
	if pattern.Matches(secret.Name(strings.Repeat("A", 200))) {
		t.Error("a name without a B matches a pattern that ends in B")
	}
}

// matches is the definition of a glob, word for word.
func matches(pattern, name string) bool {
	switch {
	case pattern == "":
		return name == ""
	case pattern[0] == '*':
		return matches(pattern[1:], name) || name != "" && matches(pattern, name[1:])
	}
	return name != "" && (pattern[0] == '?' || pattern[0] == name[0]) && matches(pattern[1:], name[1:])
}

func TestMatchesAsTheDefinitionSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[AB*?]{1,10}`).Draw(t, "pattern")
		name := rapid.StringMatching(`[AB]{0,12}`).Draw(t, "name")
		parsed, err := exclusion.Parse(pattern)
		if got := parsed.Matches(secret.Name(name)); err != nil || got != matches(pattern, name) {
			t.Fatalf("%s matches %s: %t and %v, want %t", pattern, name, got, err, !got)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range [][2]string{{"GITHUB_*", "GITHUB_TOKEN"}, {"a?c**", "ABC"}, {"*A*B?", "AABBC"}, {"ß", "SS"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		pattern, err := exclusion.Parse(text)
		if err != nil {
			detail := fault.Detail(err)
			if detail != "an exclusion pattern has 1 to 200 characters" &&
				detail != "an exclusion pattern has a character other than A-Z, 0-9, _, * and ?" {
				t.Errorf("a fault in words of its own: %s", detail)
			}
			return
		}
		again, err := exclusion.Parse(string(pattern))
		if again != pattern || err != nil {
			t.Errorf("%q is read again as %q, %v", pattern, again, err)
		}
		if got := pattern.Matches(secret.Name(name)); len(text)+len(name) < 24 && got != matches(strings.ToUpper(text), name) {
			t.Errorf("%q matches %q: %t, want %t", text, name, got, !got)
		}
	})
}
