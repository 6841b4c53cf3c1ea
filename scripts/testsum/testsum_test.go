package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

const (
	laptop = false
	ci     = true
)

// TestRun runs real tests: each case is a module in testdata.
func TestRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		module  string
		ci      bool
		failed  bool
		closing string
		want    []string // in the output
	}{
		{"passing", laptop, false, "3 passed, 0 failed, 0 skipped", nil},
		{"skipping", laptop, false, "1 passed, 0 failed, 2 skipped", []string{
			"skipped example.com/skipping TestEmulated: no Java on this machine\n",
			"skipped example.com/skipping TestSilent: no reason given\n",
		}},
		{"skipping", ci, true, "1 passed, 2 failed, 2 skipped", []string{"CI may not skip example.com/skipping TestEmulated\n"}},
		{"terraform", ci, false, "1 passed, 0 failed, 1 skipped", []string{"needs the Terraform providers"}},
		{"failing", laptop, true, "1 passed, 2 failed, 0 skipped", []string{"got 1, want 2"}},
		{"panicking", laptop, true, "1 passed, 1 failed, 0 skipped", []string{"panic: oh no"}},
		{"exiting", laptop, true, "0 passed, 1 failed, 0 skipped", []string{"written before the end"}},
		{"unbuilt", laptop, true, "0 passed, 1 failed, 0 skipped", []string{"undefined: missing"}},
	} {
		t.Run(c.module, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), module(t, c.module), []string{"-vet=off", "./..."}, c.ci, &stdout, &stderr)
			if errors.Is(err, errFailed) != c.failed || (err != nil) != c.failed {
				t.Errorf("error %v, want one: %v", err, c.failed)
			}
			lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
			if last := lines[len(lines)-1]; last != c.closing {
				t.Errorf("closing line %q, want %q", last, c.closing)
			}
			for _, want := range c.want {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("the output lacks %q", want)
				}
			}
			if strings.Contains(stdout.String(), "quiet") {
				t.Error("the output shows what a passed test logged")
			}
			if t.Failed() {
				t.Logf("stdout:\n%s\nstderr:\n%s", &stdout, &stderr)
			}
		})
	}
}

// module lays a case out in a directory of its own.
func module(t *testing.T, name string) string {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := txtar.FS(archive)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	if _, err := summarise(strings.NewReader(`{"Action":"pass"} nonsense`), &bytes.Buffer{}); err == nil {
		t.Error("nonsense was read without an error")
	}
}
