package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A line that a killed process left unfinished stays as it is, and the next one
// is a line of its own.
func TestLogEndsATornLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, want string }{
		"new":   {"", ""},
		"whole": {"{\"a\":1}\n", "{\"a\":1}\n"},
		"torn":  {"{\"a\":1}\n{\"b\":", "{\"a\":1}\n{\"b\":\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "log")
			if c.before != "" {
				if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			log, closeLog, err := openLog(path, slog.LevelWarn)
			if err != nil {
				t.Fatal(err)
			}
			log.Info("too quiet")
			log.Warn("next")
			if err := closeLog(); err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rest, found := strings.CutPrefix(string(content), c.want)
			if !found || !strings.HasPrefix(rest, "{") || strings.Count(rest, "\n") != 1 || !strings.Contains(rest, "next") {
				t.Errorf("got %q, want %q and one line", content, c.want)
			}
		})
	}
}
