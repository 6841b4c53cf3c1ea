package e2e

import (
	"slices"
	"strings"
	"testing"
)

// The log beside the ledger keeps to LOG_LEVEL.
func TestLogLevel(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for level, want := range map[string]bool{"": true, "warn": true, "error": false} {
		dir := "state" + level
		env := append(slices.Clone(d.env), "GITHUB_API_URL="+d.url, "LOG_LEVEL="+level)
		d.want(d.runIn(env, "sync", "--env-file", ".env", "--secret", "NO_SUCH", "--state-dir", dir), 2, "NO_SUCH")
		if log := d.read(dir + "/sealpost.log"); strings.Contains(log, `"WARNING"`) != want {
			t.Errorf("LOG_LEVEL=%s: the log is %q", level, log)
		}
	}
}

// What to do about wrong use is said once, in a form that can be pasted.
func TestRemedyIsSaidOnce(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, dir: t.TempDir()}
	o := d.runIn(nil, "plan", "--no-such")
	d.want(o, 2, sealpost(t)+" plan --help")
	if strings.Count(o.stderr, "--help") != 2 || strings.Count(o.stderr, "→") != 1 {
		t.Errorf("it prints\n%s", o.stderr)
	}
}
