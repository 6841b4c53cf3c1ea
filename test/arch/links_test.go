package arch

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/catalogue"
)

// part is something that a function links only for a reason: an external
// system's adapter or SDK.
type part struct {
	name  string
	paths []string
}

// parts are what the table of links speaks of.
var parts = []part{
	{"firestore", []string{"cloud.google.com/go/firestore/...", modulePath + "/shared/gcp/firedoc"}},
	{"secret manager", []string{"cloud.google.com/go/secretmanager/...", modulePath + "/shared/gcp/gsm"}},
	{"github", []string{"github.com/google/go-github/...", modulePath + "/shared/ghapi"}},
	{"pubsub", []string{"cloud.google.com/go/pubsub/...", modulePath + "/shared/gcp/topic"}},
	{"cloudflare", []string{"github.com/cloudflare/...", modulePath + "/shared/cfapi"}},
	{"sqlite", []string{"modernc.org/...", modulePath + "/shared/docstore/sqlitedoc"}},
	{"embedded stand-ins", []string{modulePath + "/shared/embedded/..."}},
	{"command line", []string{"github.com/spf13/...", "github.com/jedib0t/...", modulePath + "/scripts/..."}},
	{"manifests", []string{"go.yaml.in/...", modulePath + "/shared/manifest"}},
	{"env files", []string{"github.com/compose-spec/...", "github.com/hashicorp/go-envparse", modulePath + "/shared/envfile"}},
	{"tools for tests", []string{
		"testing", "net/http/httptest", "pgregory.net/rapid", "go.uber.org/goleak", "github.com/pb33f/...",
		"golang.org/x/tools/...",
	}},
}

// links says which parts each function links, no more and no fewer: that keeps
// cold starts short, and keeps a function that only reads from being able to
// write. Who speaks to GitHub has the App's key from Secret Manager.
var links = map[string][]string{
	"audit-log":      {"firestore"},
	"dispatcher":     {"firestore", "secret manager", "pubsub"}, // looks again at sources, in turn
	"health":         {"firestore", "secret manager"},
	"projects":       {"firestore", "github", "secret manager", "manifests"},
	"scheduled-sync": {"firestore"}, // marks and publishes nothing: the dispatcher does
	"secret-changed": {"firestore", "secret manager", "pubsub"},
	"sync-secrets":   {"firestore", "github", "secret manager", "pubsub"},
	"sync-status":    {"firestore"}, // the ledger and the quota last told are in the store
	"sync-worker":    {"firestore", "github", "secret manager", "pubsub"},
}

// TestLinks holds what each function links to the table, as the go command
// resolves it for the runtime.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, row := range catalogue.Functions() {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			allowed, ok := links[row.Name]
			if !ok {
				t.Fatalf("no row for %s in the table of links", row.Name)
			}
			dir := filepath.Join(repository, "functions", row.Name)
			if _, err := os.Stat(dir); err != nil {
				t.Logf("%v: nothing is linked yet; TestTree/functions finds it missing once there is any function", err)
				return
			}
			for _, fault := range linkFaults(dependenciesOf(t, dir), allowed) {
				t.Error(fault)
			}
		})
	}
}

// TestLinkFaults shows that a part that the table does not name is found, and
// one that it names for nothing.
func TestLinkFaults(t *testing.T) {
	t.Parallel()
	deps := []string{
		"fmt", "cloud.google.com/go/firestore/apiv1", "github.com/google/go-github/v66/github",
		"modernc.org/sqlite/lib", modulePath + "/shared/embedded/githubd", modulePath + "/shared/plan",
	}
	want := []string{
		"does not link what its row names: pubsub",
		"links github.com/google/go-github/v66/github: github",
		"links " + modulePath + "/shared/embedded/githubd: embedded stand-ins",
		"links modernc.org/sqlite/lib: sqlite",
	}
	if got := sorted(linkFaults(deps, []string{"firestore", "pubsub"})); !slices.Equal(got, want) {
		t.Errorf("faults %q, want %q", got, want)
	}
}

func linkFaults(deps, allowed []string) (faults []string) {
	for _, p := range parts {
		linked := p.among(deps)
		if slices.Contains(allowed, p.name) {
			if len(linked) == 0 {
				faults = append(faults, "does not link what its row names: "+p.name)
			}
			continue
		}
		for _, dep := range linked {
			faults = append(faults, "links "+dep+": "+p.name)
		}
	}
	return faults
}

// among returns the packages that belong to the part.
func (p part) among(deps []string) (linked []string) {
	for _, dep := range deps {
		if slices.ContainsFunc(p.paths, func(pattern string) bool { return covers(pattern, dep) }) {
			linked = append(linked, dep)
		}
	}
	return linked
}

func dependenciesOf(t *testing.T, dir string) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", ".")
	command.Dir = dir
	command.Env = append(command.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("go list -deps in %s: %v\n%s", dir, err, out)
	}
	return strings.Fields(string(out))
}
