package arch

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/sealpost/sealpost/shared/catalogue"
)

// repository is where the checkout is, seen from this package.
const repository = "../.."

// sample is the law that the made-up trees break.
var sample = law{
	functions: []catalogue.Function{
		{Name: "health", EntryPoint: "Health", Routes: []catalogue.Route{{Method: "GET", Path: "/healthz"}}},
		{Name: "projects", EntryPoint: "Projects", Routes: []catalogue.Route{
			{Method: "GET", Path: "/projects/{id}"}, {Method: "POST", Path: "/projects"},
		}},
		{Name: "scheduled-sync", EntryPoint: "ScheduledSync", Topic: "sync-tick", Schedule: "0 */6 * * *"},
		{Name: "sync-status", EntryPoint: "SyncStatus"},
	},
	packages: []row{
		{"shared/fault", kernel},
		{"shared/clock", kernel},
		{"shared/docstore", port},
		{"shared/project", domain},
		{"shared/gcp/firedoc", adapter},
		{"shared/gcp/gsm", adapter},
		{"shared/ghapi", adapter},
		{"shared/backend", backend},
		{"functions/...", function},
		{"scripts/...", script},
	},
	dependencies: []dependency{
		{"cloud.google.com/go/secretmanager", []string{"shared/gcp/gsm"}},
		{"cloud.google.com/go/firestore", []string{"shared/gcp/firedoc"}},
		{"github.com/GoogleCloudPlatform/functions-framework-go/functions", []string{"functions/..."}},
		{"github.com/google/go-github/v66", []string{"shared/ghapi"}},
	},
	readEnvironment: []exception{{"shared/config", "the one place"}},
	readTime:        []exception{{"shared/clock", "the one place"}},
	startGoroutines: []exception{{"shared/embedded/...", "servers"}},
	reveal:          []exception{{"shared/ghapi", "sends values"}},
}

// TestTree holds the checkout itself to every rule.
func TestTree(t *testing.T) {
	t.Parallel()
	checkout, err := readTree(os.DirFS(repository), sealpost)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			for _, finding := range sorted(rule.check(checkout)) {
				t.Error(finding)
			}
		})
	}
	t.Run("rows", func(t *testing.T) {
		t.Parallel()
		for _, stale := range staleRows(checkout) {
			t.Errorf("%s: a row of the law names no package", stale)
		}
	})
}

// TestRulesBite runs each rule on a tree that breaks it. The comment of the
// archive lists the findings that must come of it, one a line.
func TestRulesBite(t *testing.T) {
	t.Parallel()
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(filepath.Join("testdata", rule.name+".txtar"))
			if err != nil {
				t.Fatal(err)
			}
			files, err := txtar.FS(archive)
			if err != nil {
				t.Fatal(err)
			}
			broken, err := readTree(files, sample)
			if err != nil {
				t.Fatal(err)
			}
			want := wanted(string(archive.Comment))
			if len(want) == 0 {
				t.Fatal("the case wants no finding, so it shows nothing")
			}
			if got := sorted(rule.check(broken)); !slices.Equal(got, want) {
				t.Errorf("findings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestCases finds cases that no rule runs.
func TestCases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(rules) {
		t.Errorf("%d cases for %d rules", len(files), len(rules))
	}
}

// TestStaleRows shows that a row without a package is found.
func TestStaleRows(t *testing.T) {
	t.Parallel()
	tree := &tree{law: sample, packages: map[string]*pkg{"shared/fault": {}}}
	if stale := staleRows(tree); slices.Contains(stale, "shared/fault") || !slices.Contains(stale, "shared/clock") {
		t.Errorf("stale rows of a tree with shared/fault alone: %q", stale)
	}
}

// staleRows returns the rows by which a package is known, but for those of
// whole directories, that name none.
func staleRows(t *tree) (stale []string) {
	for _, row := range t.law.packages {
		if path.Base(row.path) != "..." && t.packages[row.path] == nil {
			stale = append(stale, row.path)
		}
	}
	return stale
}

func wanted(comment string) (findings []string) {
	for _, line := range strings.Split(comment, "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			findings = append(findings, line)
		}
	}
	return sorted(findings)
}

func sorted(findings []string) []string {
	slices.Sort(findings)
	return findings
}
