package e2e

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/test/program"
)

// serveDemo starts the server with the demo in the desk's directory state, and
// returns it when it serves.
func serveDemo(t *testing.T) (d *desk, p *program.Process) {
	t.Helper()
	d = &desk{t: t, dir: t.TempDir()}
	p = program.Start(t, program.Call{Path: sealpost(t), Args: []string{"serve", "--demo", "--addr", "127.0.0.1:0", "--state-dir", "state"}, Dir: d.dir})
	d.url = p.Await(t, `Serving at (http://\S+)`)
	p.Await(t, `Ctrl-C (stops)`)
	return d, p
}

// pipe runs the command with the text as its standard input.
func (d *desk) pipe(text string, args ...string) outcome {
	d.t.Helper()
	var o outcome
	o.stdout, o.stderr, o.code = program.Run(d.t, program.Call{
		Path: "/bin/sh", Args: append([]string{"-c", `printf %s "$TEXT" | "$0" "$@"`, sealpost(d.t)}, args...),
		Env: []string{"TEXT=" + text}, Dir: d.dir,
	})
	return o
}

// listed is what secrets list tells of one secret.
type listed struct {
	Secret  string              `json:"secret"`
	Version secret.Version      `json:"version"`
	State   secret.VersionState `json:"state"`
	UsedBy  []string            `json:"usedBy"`
}

func (d *desk) listed(name string) listed {
	d.t.Helper()
	o := d.runIn(nil, "secrets", "list", "--state-dir", "state", "--json")
	var list struct {
		GCPProject string   `json:"gcpProject"`
		Secrets    []listed `json:"secrets"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &list); err != nil || o.code != 0 || list.GCPProject != "acme-secrets-demo" {
		d.t.Fatalf("exit code %d, %v: %s%s", o.code, err, o.stdout, o.stderr)
	}
	for _, l := range list.Secrets {
		if l.Secret == name {
			return l
		}
	}
	return listed{}
}

// A version that is put into the running server from another terminal reaches
// every scope by itself, and the server says so.
func TestSecretsSetReachesEveryScope(t *testing.T) {
	t.Parallel()
	const value, source = "postgres://hunter2@db", "payments-database-url"
	d, p := serveDemo(t)
	set := d.pipe(value+"\r\n\n", "secrets", "set", source, "--state-dir", "state")
	d.want(set, 0, source+" has version 2 now", "payments-demo takes DATABASE_URL from it")
	p.Await(t, source+` has version (2)\n`)
	p.Await(t, `payments-demo: DATABASE_URL version 2 synced to (actions, codespaces, dependabot) in [0-9.]+m?s\n`)
	token := d.runIn(nil, "token", "--state-dir", "state")
	status := (&cloud{t: t}).callWith(d.url, map[string][]string{"Authorization": {"Bearer " + strings.TrimSpace(token.stdout)}},
		"GET", "/github/secrets/sync/status?projectId=payments-demo", "")
	var report syncer.Report
	d.must(json.Unmarshal(status.body, &report))
	for _, s := range report.Secrets {
		for _, scope := range s.Scopes {
			want := secret.Version(1)
			if _, environment := scope.Scope.Environment(); s.Secret == "DATABASE_URL" && !environment {
				want = 2
			}
			if scope.State == syncer.StateSynced && scope.SourceVersion != want {
				t.Errorf("%s in %s has version %d, want %d", s.Secret, scope.Scope, scope.SourceVersion, want)
			}
		}
	}
	for _, text := range []string{set.stdout, set.stderr, p.Stdout.String(), p.Stderr.String(), d.read("state/server.log"), string(status.body)} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the value shows in %s", text)
		}
	}
	// What is kept is the value without its line ends, for its owner only.
	if kept := d.read("state/secret-manager.json"); !strings.Contains(kept, `"cG9zdGdyZXM6Ly9odW50ZXIyQGRi"`) {
		t.Error("the value is not kept as it was given")
	}
	if info, err := os.Stat(filepath.Join(d.dir, "state", "secret-manager.sock")); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	p.Signal(t, os.Interrupt)
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d:\n%s%s", code, p.Stdout, p.Stderr)
	}
	d.want(d.pipe(value, "secrets", "set", source, "--state-dir", "state"), 2, "no server runs", "make run")
}

func (d *desk) read(name string) string {
	d.t.Helper()
	content, err := os.ReadFile(filepath.Join(d.dir, name))
	d.must(err)
	return string(content)
}

// A secret's life by the command: made, looked at, and each state of a version.
// A value that was set stays when the demo starts again.
func TestSecretsFromFirstToLastVersion(t *testing.T) {
	t.Parallel()
	d, p := serveDemo(t)
	at := []string{"--state-dir", "state"}
	d.write("key.pem", "line one\nline two\n")
	made := d.runIn(nil, slices.Concat([]string{"secrets", "set", "payments-signing-key", "--file", "key.pem", "--json"}, at)...)
	d.want(made, 0, `"gcpProject": "acme-secrets-demo"`, `"secret": "payments-signing-key"`, `"version": 1`, `"created": true`, `"usedBy": []`)
	kept := d.read("state/secret-manager.json")
	if !strings.Contains(kept, `"bGluZSBvbmUKbGluZSB0d28K"`) || strings.Count(kept, `"sealpost-repositories":"733001"`) < 2 {
		t.Error("the file's content, or the new secret's consent for the demo's repository, is not kept")
	}
	d.want(d.pipe("second", slices.Concat([]string{"secrets", "set", "payments-signing-key", "--project", "payments-demo"}, at)...), 0,
		"has version 2 now", "No mapping of payments-demo takes its value from it yet")
	for _, c := range []struct {
		do    string
		code  int
		say   string
		state secret.VersionState
	}{
		{"disable 2", 0, "Version 2 of payments-signing-key is disabled", secret.Disabled},
		{"enable 2", 0, "Version 2 of payments-signing-key is enabled", secret.Enabled},
		{"destroy 2", 0, "Version 2 of payments-signing-key is destroyed", secret.Destroyed},
		{"enable 2", 2, "is destroyed", secret.Destroyed},
		{"disable 3", 2, "no version 3", secret.Destroyed},
		{"disable latest", 2, "number of a version", secret.Destroyed},
	} {
		verb, version, _ := strings.Cut(c.do, " ")
		d.want(d.runIn(nil, slices.Concat([]string{"secrets", verb, "payments-signing-key", version}, at)...), c.code, c.say)
		if got := d.listed("payments-signing-key"); got.Version != 2 || got.State != c.state {
			t.Errorf("after %s: %+v", c.do, got)
		}
	}
	d.want(d.pipe("my own", slices.Concat([]string{"secrets", "set", "payments-redis-url"}, at)...), 0, "has version 2 now")
	if got := d.listed("payments-redis-url"); !slices.Equal(got.UsedBy, []string{"REDIS_URL"}) {
		t.Errorf("used by %v", got.UsedBy)
	}
	table := d.runIn(nil, slices.Concat([]string{"secrets", "list"}, at)...)
	d.want(table, 0, "acme-secrets-demo", "payments-redis-url", "REDIS_URL", "destroyed")
	if strings.Contains(table.stdout+made.stdout, "my own") || strings.Contains(table.stdout+made.stdout, "line one") {
		t.Errorf("a value shows:\n%s%s", table.stdout, made.stdout)
	}

	p.Signal(t, os.Kill)
	p.Wait(t)
	d.want(d.runIn(nil, slices.Concat([]string{"secrets", "list"}, at)...), 2, "no server runs")
	again := program.Start(t, program.Call{Path: sealpost(t), Args: []string{"serve", "--demo", "--addr", "127.0.0.1:0", "--state-dir", "state"}, Dir: d.dir})
	again.Await(t, `Ctrl-C (stops)`)
	if got := d.listed("payments-redis-url"); got.Version != 2 {
		t.Errorf("after the next start: %+v", got)
	}
}

// TestSecretsWrongUse is what the commands refuse, with a sentence that repeats
// nothing that may be a value.
func TestSecretsWrongUse(t *testing.T) {
	t.Parallel()
	d, _ := serveDemo(t)
	set := func(args ...string) []string { return append([]string{"secrets", "set"}, args...) }
	for _, c := range []struct {
		name, text string
		args       []string
		prints     string
	}{
		{"a value as an argument", "", set("payments-redis-url", "hunter2"), "never an argument"},
		{"no name", "hunter2", set(), "NAME"},
		{"a name that is none", "x", set("hunter2!"), "NAME must be"},
		{"a name at GitHub", "hunter2", set("database_url"), "its value comes from payments-database-url, payments-database-url-production"},
		{"nothing", "", set("payments-redis-url"), "is empty"},
		{"line ends only", "\r\n\n", set("payments-redis-url"), "is empty"},
		{"more than 48 KB", strings.Repeat("hunter2 ", 6145), set("payments-redis-url"), "49152 bytes"},
		{"far more", strings.Repeat("hunter2 ", 14000), set("payments-redis-url"), "49152 bytes"},
		{"no such file", "", set("payments-redis-url", "--file", "no-such"), "no-such"},
		{"a directory", "", set("payments-redis-url", "--file", "state"), "state"},
		{"no such project", "hunter2", set("payments-redis-url", "--project", "web"), "web"},
		{"no such command", "", []string{"secrets", "get"}, "no such command"},
		{"no version", "", []string{"secrets", "disable", "payments-redis-url"}, "NAME VERSION"},
		{"version 0", "", []string{"secrets", "enable", "payments-redis-url", "0"}, "number of a version"},
		{"a word too many", "", []string{"secrets", "list", "hunter2"}, "flags only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			here := *d
			here.t = t
			args := c.args
			if len(args) > 1 && args[1] != "get" {
				args = append(args, "--state-dir", "state")
			}
			o := here.pipe(c.text, args...)
			if here.want(o, 2, c.prints); o.stdout != "" || !strings.HasPrefix(o.stderr, "error ") || strings.Contains(o.stderr, "hunter2") {
				t.Errorf("stdout %q, stderr %q", o.stdout, o.stderr)
			}
		})
	}
	t.Run("48 KB", func(t *testing.T) {
		t.Parallel()
		here := *d
		here.t = t
		here.want(here.pipe(strings.Repeat("v", secret.MaxValueBytes), set("payments-sentry-dsn", "--state-dir", "state")...), 0, "has version 2 now")
	})
}

// On a terminal the value is asked for and does not show, and after an interrupt
// the terminal shows again what is typed.
func TestSecretsSetAsksOnATerminal(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"script", "stty"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(tool + "(1) is not installed, which makes a terminal")
			}
			t.Skip(tool + "(1) is not installed, which makes a terminal")
		}
	}
	d, _ := serveDemo(t)
	const line = `trap : INT; tty; "$SEALPOST" secrets set payments-redis-url --state-dir state; echo ended with $?; stty -a; echo over`
	// ask runs the command on a terminal and types when that shows nothing.
	ask := func(typed string) string {
		t.Helper()
		keys := filepath.Join(t.TempDir(), "keys")
		d.must(syscall.Mkfifo(keys, 0o600))
		keyboard, err := os.OpenFile(keys, os.O_RDWR, 0) // so that neither end waits for the other
		d.must(err)
		defer keyboard.Close()
		p := program.Start(t, program.Call{
			Path: "/bin/sh", Args: []string{"-c", `exec script -qec "$0" /dev/null <"$1"`, line, keys}, Dir: d.dir,
			Env: []string{"SEALPOST=" + sealpost(t), "SHELL=/bin/sh", "TERM=xterm"},
		})
		terminal := p.Await(t, `(/dev/\S+)`)
		p.Await(t, `not (shown): `)
		await(t, "a terminal that shows nothing", func() bool {
			state, err := exec.CommandContext(t.Context(), "stty", "-F", terminal, "-a").Output()
			return err == nil && strings.Contains(string(state), "-echo ")
		})
		_, err = keyboard.WriteString(typed)
		d.must(err)
		p.Await(t, `(over)`)
		return p.Stdout.String()
	}
	out := ask("hunter2 \n")
	if !strings.Contains(out, "has version 2 now") || !strings.Contains(out, "ended with 0") || strings.Contains(out, "hunter2") {
		t.Errorf("it shows %q", out)
	}
	if kept := d.read("state/secret-manager.json"); !strings.Contains(kept, `"aHVudGVyMiA="`) {
		t.Error("what was typed is not kept as it was")
	}
	out = ask("hunter2\x03")
	if !strings.Contains(out, "ended with 130") || strings.Contains(out, "-echo ") || strings.Contains(out, "hunter2") {
		t.Errorf("an interrupt: %q", out)
	}
	if got := d.listed("payments-redis-url"); got.Version != 2 {
		t.Errorf("after an interrupt: %+v", got)
	}
}
