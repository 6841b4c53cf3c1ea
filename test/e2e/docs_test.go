package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/test/program"
)

// The README gives a reason for each module that go.mod requires directly, and
// for no other.
func TestEachDependencyHasAReason(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(program.Root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	var required, explained []string
	for _, line := range regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(read("go.mod"), -1) {
		required = append(required, line[1])
	}
	_, table, _ := strings.Cut(read("README.md"), "\n## Dependencies\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, row := range regexp.MustCompile(`(?m)^\| (\S+\.\S.*) \| (.+) \|$`).FindAllStringSubmatch(table, -1) {
		explained = append(explained, strings.Split(row[1], ", ")...)
	}
	slices.Sort(required)
	slices.Sort(explained)
	if len(required) < 10 || !slices.Equal(required, explained) {
		t.Errorf("go.mod requires\n%s\nand the README explains\n%s", strings.Join(required, "\n"), strings.Join(explained, "\n"))
	}
}
