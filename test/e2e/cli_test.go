package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/test/contract"
	"github.com/sealpost/sealpost/test/program"
)

var command struct {
	sync.Once
	path string
}

func sealpost(t *testing.T) string {
	t.Helper()
	command.Do(func() { command.path = program.Build(t, "scripts/sealpost") })
	if command.path == "" {
		t.Fatal("the command was not built")
	}
	return command.path
}

const deskRepository = "acme/payments"

// desk is where somebody works with the command: a directory of his own, and a
// GitHub that `sealpost emulate github` runs in another process.
type desk struct {
	t   *testing.T
	dir string
	env []string
	url string
	hub *githubd.Remote
	api *contract.Checker // made when it is first needed
}

func newDesk(t *testing.T, flags ...string) *desk {
	t.Helper()
	p := program.Start(t, program.Call{Path: sealpost(t), Args: append([]string{
		"emulate", "github", "--addr", "127.0.0.1:0", "--repo", deskRepository + ":production", "--token", "emulated", "--control",
	}, flags...)})
	url := p.Await(t, `at (http://[0-9.:]+)\. `)
	d := &desk{t: t, dir: t.TempDir(), url: url, hub: githubd.NewRemote(url), env: []string{"GITHUB_TOKEN=emulated", "SEALPOST_PACE=off"}}
	d.write(".env", envFile)
	d.write("sealpost.yaml", deskManifest)
	return d
}

const (
	envFile = "\ufeff# the team's values\r\nexport DATABASE_URL = \"postgres://u:p$1@db\\nsecond \\\"line\\\"\"\r\n" +
		"STRIPE_KEY='sk $literal \\n'\nPEM=\"-----BEGIN X-----\nabc\n-----END X-----\n\"\nPROD_URL=postgres://prod#not-a-comment # a comment\nWORD=schlüssel\n"
	deskManifest = `project: payments-api
github: {owner: acme, repo: payments}
secrets:
  - {name: DATABASE_URL, from: DATABASE_URL}
  - {name: stripe_key, from: STRIPE_KEY, scopes: [actions]}
  - {name: SIGNING_PEM, from: PEM, scopes: [actions]}
  - {name: WORD, from: WORD, scopes: [dependabot]}
environments:
  production:
    secrets: [{name: DATABASE_URL, from: PROD_URL}]
`
)

// wanted is what GitHub must have opened.
var wanted = map[githubd.Target]string{
	{Container: deskRepository, Scope: "actions", Name: "DATABASE_URL"}:                "postgres://u:p$1@db\nsecond \"line\"",
	{Container: deskRepository, Scope: "codespaces", Name: "DATABASE_URL"}:             "postgres://u:p$1@db\nsecond \"line\"",
	{Container: deskRepository, Scope: "dependabot", Name: "DATABASE_URL"}:             "postgres://u:p$1@db\nsecond \"line\"",
	{Container: deskRepository, Scope: "actions", Name: "STRIPE_KEY"}:                  `sk $literal \n`,
	{Container: deskRepository, Scope: "actions", Name: "SIGNING_PEM"}:                 "-----BEGIN X-----\nabc\n-----END X-----\n",
	{Container: deskRepository, Scope: "dependabot", Name: "WORD"}:                     "schlüssel",
	{Container: deskRepository, Scope: "environment:production", Name: "DATABASE_URL"}: "postgres://prod#not-a-comment",
}

func (d *desk) write(name, content string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// outcome is how a command line went.
type outcome struct {
	stdout, stderr string
	code           int
}

// run runs the command. What it prints into a pipe has no colours.
func (d *desk) run(args ...string) outcome {
	d.t.Helper()
	return d.runIn(append(d.env, "GITHUB_API_URL="+d.url), args...)
}

func (d *desk) runIn(env []string, args ...string) outcome {
	d.t.Helper()
	var o outcome
	o.stdout, o.stderr, o.code = program.Run(d.t, program.Call{Path: sealpost(d.t), Args: args, Env: env, Dir: d.dir})
	if strings.Contains(o.stdout+o.stderr, "\x1b") {
		d.t.Errorf("%q printed colours into a pipe: %q", args, o.stdout+o.stderr)
	}
	return o
}

// with runs the command on the desk's env file.
func (d *desk) with(command string, args ...string) outcome {
	d.t.Helper()
	return d.run(append([]string{command, "--env-file", ".env"}, args...)...)
}

// want checks the exit code and that each part was printed.
func (d *desk) want(o outcome, code int, parts ...string) {
	d.t.Helper()
	if o.code != code {
		d.t.Errorf("exit code %d, want %d:\n%s%s", o.code, code, o.stdout, o.stderr)
	}
	for _, part := range parts {
		if !strings.Contains(o.stdout+o.stderr, part) {
			d.t.Errorf("it did not print %q:\n%s%s", part, o.stdout, o.stderr)
		}
	}
}

func (d *desk) writes() int {
	d.t.Helper()
	counts, err := d.hub.Counts(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return counts.Writes()
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// value returns what GitHub has at a target.
func (d *desk) value(target githubd.Target) (string, bool) {
	d.t.Helper()
	all, err := d.hub.Digests(d.t.Context(), target.Container, target.Scope, true)
	d.must(err)
	for _, digest := range all {
		if digest.Name == target.Name {
			return *digest.Value, true
		}
	}
	return "", false
}

func (d *desk) result(o outcome) (r syncer.Result) {
	d.t.Helper()
	d.conforms("SyncResult", o)
	d.must(json.Unmarshal([]byte(o.stdout), &r))
	return r
}

// conforms holds what --json printed to the API's schema.
func (d *desk) conforms(schema string, o outcome) {
	d.t.Helper()
	if d.api == nil {
		d.api = contract.New(d.t)
	}
	for _, finding := range d.api.SchemaFindings(schema, []byte(o.stdout)) {
		d.t.Errorf("%s: %s\n%s%s", schema, finding, o.stdout, o.stderr)
	}
}

func TestPlanSyncStatus(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.want(d.with("plan"), 0, "7 to create", "Price: ", "requests", "points", "environment:production")
	if n := d.writes(); n != 0 {
		t.Errorf("the plan made %d writes", n)
	}
	d.want(d.run("status"), 2, "payments-api")

	d.want(d.with("sync"), 0, "7 created")
	for target, value := range wanted {
		if got, ok := d.value(target); !ok || got != value {
			t.Errorf("%v: GitHub opened %q (%t), want %q", target, got, ok, value)
		}
	}
	d.want(d.with("sync"), 0, "7 unchanged")
	d.want(d.with("plan"), 0, "7 unchanged", "No write is needed")
	if n := d.writes(); n != 7 {
		t.Errorf("%d writes after the second sync, want 7", n)
	}
	d.want(d.run("status"), 0, "payments-api is ", "7 synced")

	d.write(".env", strings.Replace(envFile, "schlüssel", "other", 1))
	d.want(d.with("plan"), 0, "1 to update", "6 unchanged")
	d.want(d.with("sync"), 0, "1 updated", "6 unchanged")
	if n := d.writes(); n != 8 {
		t.Errorf("%d writes after one value was changed, want 8", n)
	}
}

func TestJSONHasTheFormOfTheAPI(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	planned := d.result(d.with("plan", "--json"))
	if !planned.DryRun || planned.Summary.Created != 7 || planned.Price == nil {
		t.Errorf("plan: %+v", planned)
	}
	synced := d.result(d.with("sync", "--json"))
	if synced.Status != syncer.StatusSucceeded || synced.Summary.Created != 7 || synced.Cost.Requests == 0 {
		t.Errorf("sync: %+v", synced)
	}
	if again := d.result(d.with("sync", "--json")); again.Status != syncer.StatusUnchanged || again.Summary.Unchanged != 7 {
		t.Errorf("second sync: %+v", again)
	}
	status := d.run("status", "--json")
	d.want(status, 0, `"synced": 7`)
	d.conforms("SyncStatus", status)

	d.must(d.hub.AddFault(t.Context(), githubd.Fault{Method: "PUT", Effect: githubd.EffectStatus, Status: 422}))
	d.write(".env", strings.Replace(envFile, "schlüssel", "other", 1))
	partial := d.with("sync", "--json")
	if r := d.result(partial); partial.code != 3 || r.Status != syncer.StatusPartial || r.Summary.Failed != 1 {
		t.Errorf("partial sync: exit code %d: %+v", partial.code, r)
	}
	failed := d.run("status", "--json")
	d.want(failed, 4, `"failed": 1`)
	d.conforms("SyncStatus", failed)
}

// TestExitCodes has one case for each code that a command can end with, but for
// 0 and 130, which have tests of their own.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, c := range []struct {
		name    string
		prepare func(d *desk)
		args    []string
		code    int
		prints  string
	}{
		{"1 every write fails", func(d *desk) {
			d.must(d.hub.AddFault(ctx, githubd.Fault{Method: "PUT", Effect: githubd.EffectStatus, Status: 400}))
		}, []string{"sync"}, 1, "7 failed"},
		{"1 GitHub is down", func(d *desk) {
			d.must(d.hub.AddFault(ctx, githubd.Fault{Effect: githubd.EffectStatus, Status: 500}))
		}, []string{"plan"}, 1, "GitHub"},
		{"2 unknown secret", nil, []string{"sync", "--secret", "NO_SUCH"}, 2, "no secret"},
		{"2 scope of no mapping", nil, []string{"sync", "--scope", "org-actions"}, 2, "maps nothing to org-actions"},
		{"2 repository that is not there", func(d *desk) {
			d.write("sealpost.yaml", strings.Replace(deskManifest, "repo: payments", "repo: nowhere", 1))
		}, []string{"plan"}, 2, "acme/nowhere"},
		{"2 value that is missing", func(d *desk) {
			d.write(".env", strings.ReplaceAll(envFile, "WORD", "WURD"))
			d.write("sealpost.yaml", "project: p\ngithub: {owner: acme, repo: payments}\nsecrets: [{name: WORD, from: WORD}]\n")
		}, []string{"sync"}, 2, "WORD"},
		{"3 some writes fail", func(d *desk) {
			d.must(d.hub.AddFault(ctx, githubd.Fault{Method: "PUT", Path: "STRIPE_KEY", Effect: githubd.EffectStatus, Status: 422}))
		}, []string{"sync"}, 3, "1 failed"},
		{"4 plan with a conflict", func(d *desk) {
			d.must(d.hub.Edit(ctx, githubd.Target{Container: deskRepository, Scope: "actions", Name: "STRIPE_KEY"}, "foreign"))
		}, []string{"plan"}, 4, "1 in conflict"},
		{"5 quota too small for the writes", func(d *desk) {
			d.must(d.hub.SetSettings(ctx, githubd.Settings{Limits: githubd.Limits{Primary: 100}}))
			d.must(d.hub.Spend(ctx, "user:emulated", 88, 0))
		}, []string{"sync"}, 5, "quota"},
		{"5 quota too small to look", func(d *desk) {
			d.must(d.hub.SetSettings(ctx, githubd.Settings{Limits: githubd.Limits{Primary: 100}}))
			d.must(d.hub.Spend(ctx, "user:emulated", 97, 0))
		}, []string{"plan"}, 5, "quota is spent until"},
		{"6 wrong token", func(d *desk) { d.env[0] = "GITHUB_TOKEN=another" }, []string{"sync"}, 6, "credentials"},
		{"6 writes not permitted", func(d *desk) {
			d.must(d.hub.Add(ctx, githubd.World{Tokens: []githubd.Token{{Token: "reader", Login: "emulated", Permissions: githubd.Permissions{
				"metadata": "read", "secrets": "read", "codespaces_secrets": "read", "dependabot_secrets": "read", "environments": "read",
			}}}}))
			d.env[0] = "GITHUB_TOKEN=reader"
		}, []string{"sync"}, 6, "ermission"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			if c.prepare != nil {
				c.prepare(d)
			}
			d.want(d.with(c.args[0], c.args[1:]...), c.code, c.prints)
		})
	}
}

// TestWrongUse is everything that a command refuses with code 2 and a sentence,
// before it asks anybody.
func TestWrongUse(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.write("with-source.yaml", strings.Replace(deskManifest, "secrets:\n", "source: {gcpProject: acme-prod}\nsecrets:\n", 1))
	d.must(os.Mkdir(filepath.Join(d.dir, "folder"), 0o700))
	here := append(slices.Clone(d.env), "GITHUB_API_URL="+d.url)
	for _, c := range []struct {
		name   string
		env    []string
		args   string
		prints string
	}{
		{"unknown command", here, "synk", "did you mean sealpost sync?"},
		{"unknown flag", here, "plan --no-such", "--no-such"},
		{"a word too many", here, "plan sealpost.yaml", "flags only"},
		{"flag without a value", here, "plan --env-file", "--env-file"},
		{"number that is none", here, "sync --max-deletions many", "--max-deletions"},
		{"deletions without prune", here, "sync --env-file .env --max-deletions 3", "--prune"},
		{"negative deletions", here, "sync --env-file .env --prune --max-deletions=-1", "--max-deletions"},
		{"unknown pace", here, "sync --env-file .env --pace brisk", "--pace is none of"},
		{"unknown scope", here, "sync --env-file .env --scope action", "scope"},
		{"bad secret name", here, "sync --env-file .env --secret 1ST", "name"},
		{"bad URL", here, "sync --env-file .env --github-url ftp://x", "--github-url is not"},
		{"no credentials", nil, "plan --env-file .env", "gh auth token"},
		{"token and App", append(slices.Clone(here), "GITHUB_APP_ID=1", "GITHUB_APP_PRIVATE_KEY=file:x"), "plan --env-file .env", "GITHUB_APP_ID"},
		{"App without a key", []string{"GITHUB_APP_ID=1"}, "plan --env-file .env", "GITHUB_APP_PRIVATE_KEY"},
		{"App's key is not there", []string{"GITHUB_APP_ID=1", "GITHUB_APP_PRIVATE_KEY=file:no-such.pem"}, "plan --env-file .env", "no-such.pem"},
		{"bad log level", append(slices.Clone(here), "LOG_LEVEL=loud"), "plan --env-file .env", "LOG_LEVEL"},
		{"no manifest", here, "plan -f no-such.yaml --env-file .env", "there is no manifest at no-such.yaml"},
		{"manifest is a directory", here, "plan -f folder --env-file .env", "folder"},
		{"no env file", here, "sync --env-file no-such.env", "there is no env file at no-such.env"},
		{"env file not named", here, "sync", "--env-file"},
		{"env file and source", here, "sync -f with-source.yaml --env-file .env", "--env-file"},
		{"status of nothing", here, "status -f no-such.yaml", "no-such.yaml"},
		{"empty secret", here, "sync --env-file .env --secret=", "--secret is empty"},
		{"empty scope", here, "sync --env-file .env --scope=", "--scope is empty"},
		{"env file without end", here, "sync --env-file /dev/zero", "larger than 4 MiB"},
		{"manifest without end", here, "plan -f /dev/zero --env-file .env", "larger than 4 MiB"},
		{"help on nothing", here, "help nope", "no such command"},
		{"stand-in without a token", here, "emulate github --token=", "--token is empty"},
		{"clock that runs backwards", here, "emulate github --clock-scale=-1", "--clock-scale"},
		{"no server", here, "apply --state-dir nothing", "sealpost serve"},
		{"no server for a token", here, "token --state-dir nothing", "sealpost serve"},
		{"server without TLS", here, "apply --server http://sealpost.example", "https"},
		{"bad repository", here, "emulate github --repo acme", "owner/name"},
		{"address that others reach", here, "serve --addr 0.0.0.0:0 --state-dir state", "loopback"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			here := *d
			here.t = t
			o := here.runIn(c.env, strings.Fields(c.args)...)
			if here.want(o, 2, c.prints); o.stdout != "" || !strings.HasPrefix(o.stderr, "error ") {
				t.Errorf("stdout %q, stderr %q", o.stdout, o.stderr)
			}
		})
	}
	t.Cleanup(func() {
		if counts, err := d.hub.Counts(t.Context()); err == nil && counts.Requests > 0 {
			t.Errorf("GitHub was asked %d times", counts.Requests)
		}
	})
}

// A file that cannot be read is told of with every fault at once, by its lines,
// and with nothing that stands in them.
func TestBadFilesAreToldByTheirLines(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for name, c := range map[string]struct {
		file, text string
		lines      []int
	}{
		"env file": {".env", "GOOD=1\nhunter2 hunter2\nOPEN='hunter2\n", []int{2, 3}},
		"env file, names": {
			".env", "A=hunter2\nA=hunter2\n=hunter2\n2 hunter2=x\nB=\"hunter2\" hunter2\n", []int{2, 3, 4, 5},
		},
		"manifest": {
			"sealpost.yaml",
			"project: hunter2!\ngithub: {owner: acme}\nsecrets:\n  - {name: 1hunter2, from: A}\n  - {name: B, from: A, scopes: [hunter2]}\n  - {name: C, from: A, value: hunter2}\n",
			[]int{1, 2, 4, 5, 6},
		},
		"manifest, not YAML": {"sealpost.yaml", "project: x\nsecrets: [hunter2\n", []int{2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := *d
			own.t, own.dir = t, t.TempDir()
			own.write(".env", envFile)
			own.write("sealpost.yaml", deskManifest)
			own.write(c.file, c.text)
			o := own.with("sync")
			own.want(o, 2)
			for _, line := range c.lines {
				if !regexp.MustCompile(fmt.Sprintf(`line %d\b`, line)).MatchString(o.stderr) {
					t.Errorf("line %d is not told of:\n%s", line, o.stderr)
				}
			}
			if strings.Contains(o.stdout+o.stderr, "hunter2") {
				t.Errorf("it repeats what stands there:\n%s", o.stderr)
			}
		})
	}
}

// Each command's help has examples, of flags that it takes.
func TestHelpHasExamples(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, dir: t.TempDir()}
	var visit func(path []string)
	seen := 0
	visit = func(path []string) {
		o := d.runIn(nil, append(slices.Clone(path), "--help")...)
		d.want(o, 0)
		_, listed, _ := strings.Cut(o.stdout, "Available Commands:\n")
		listed, _, _ = strings.Cut(listed, "\n\n")
		subcommands := regexp.MustCompile(`(?m)^  ([a-z]+) `).FindAllStringSubmatch(listed, -1)
		for _, found := range subcommands {
			if found[1] != "help" {
				visit(append(slices.Clone(path), found[1]))
			}
		}
		if len(subcommands) > 0 {
			return
		}
		seen++
		_, examples, ok := strings.Cut(o.stdout, "Examples:\n")
		examples, flags, _ := strings.Cut(examples, "\n\n")
		name := "sealpost " + strings.Join(path, " ")
		if !ok || !strings.Contains(examples, name) {
			t.Errorf("%s --help has no examples of it:\n%s", name, o.stdout)
		}
		for line := range strings.Lines(examples) {
			_, ours, isOurs := strings.Cut(line, name)
			for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(ours, -1) {
				if isOurs && !regexp.MustCompile(flag+`\b`).MatchString(flags) {
					t.Errorf("%s has no flag %s: %s", name, flag, line)
				}
			}
		}
	}
	visit(nil)
	if seen < 6 {
		t.Errorf("only %d commands were found", seen)
	}
	d.want(d.runIn(nil), 0, "Exit codes:", "130 interrupted")
}

func TestColoursOnATerminalOnly(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("script"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("script(1) is not installed, which makes a terminal")
		}
		t.Skip("script(1) is not installed, which makes a terminal")
	}
	d := newDesk(t)
	onTerminal := func(env []string, args string) string {
		t.Helper()
		stdout, stderr, code := program.Run(t, program.Call{
			Path: "/bin/sh", Args: []string{"-c", `exec script -qec "$0" /dev/null`, sealpost(t) + " " + args}, Dir: d.dir,
			Env: append(slices.Clone(d.env), append(env, "GITHUB_API_URL="+d.url, "TERM=xterm-256color", "SHELL=/bin/sh")...),
		})
		if code != 0 || !strings.Contains(stdout, "7 to create") {
			t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
		}
		return stdout
	}
	const plan = "plan --env-file .env"
	if out := onTerminal(nil, plan); !strings.Contains(out, "\x1b[") {
		t.Errorf("no colours on a terminal: %q", out)
	}
	for name, out := range map[string]string{"NO_COLOR": onTerminal([]string{"NO_COLOR=1"}, plan), "--no-color": onTerminal(nil, plan+" --no-color")} {
		if strings.Contains(out, "\x1b[3") || strings.Contains(out, "\x1b[9") {
			t.Errorf("colours with %s: %q", name, out)
		}
	}
}

func TestGitHubEnterpriseAddress(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, address := range []string{d.url, d.url + "/", d.url + "/api/v3", d.url + "/api/v3/"} {
		d.want(d.runIn(d.env, "plan", "--env-file", ".env", "--github-url", address), 0, "7 to create")
	}
	elsewhere := append(slices.Clone(d.env), "GITHUB_API_URL=http://127.0.0.1:9")
	d.want(d.runIn(elsewhere, "sync", "--env-file", ".env", "--github-url", d.url), 0, "7 created")
}

func TestGitHubApp(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	d.must(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	d.must(err)
	d.must(d.hub.Add(t.Context(), githubd.World{
		Apps: []githubd.App{{ID: 42, Slug: "sealpost", PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))}},
		Installations: []githubd.Installation{{ID: 7, AppID: 42, Account: "acme", Permissions: githubd.Permissions{
			"metadata": "read", "secrets": "write", "codespaces_secrets": "write", "dependabot_secrets": "write", "environments": "write",
		}}},
	}))
	d.write("app.pem", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	d.env = []string{"GITHUB_APP_ID=42", "GITHUB_APP_PRIVATE_KEY=file:app.pem", "SEALPOST_PACE=off"}
	d.want(d.with("sync"), 0, "7 created")
	requests, err := d.hub.Requests(t.Context())
	d.must(err)
	for _, r := range requests {
		if r.Method == "PUT" && r.Identity != "installation:7" {
			t.Errorf("%s %s was sent as %s", r.Method, r.Path, r.Identity)
		}
	}
	d.write("app.pem", "not a key")
	d.want(d.with("sync"), 2, "key")
}

// Two state directories are two ledgers.
func TestTwoStateDirectoriesAreInConflict(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.want(d.with("sync", "--state-dir", "mine"), 0, "7 created")
	d.want(d.with("plan", "--state-dir", "theirs"), 4, "7 in conflict")
	before := d.writes()
	if o := d.with("sync", "--state-dir", "theirs"); o.code == 0 || d.writes() != before {
		t.Errorf("exit code %d, %d writes over what another ledger wrote", o.code, d.writes()-before)
	}
	d.want(d.with("sync", "--state-dir", "theirs", "--force"), 0, "7 ")
	d.want(d.with("sync", "--state-dir", "theirs"), 0, "7 unchanged")
}

func TestSelection(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.want(d.with("sync", "--secret", "database_url", "--scope", "actions", "--scope", "environment:production"), 0, "2 created")
	d.want(d.with("sync", "--secret", "DATABASE_URL,WORD", "--scope", "dependabot"), 0, "2 created")
	if n := d.writes(); n != 4 {
		t.Errorf("%d writes, want 4", n)
	}
	d.want(d.with("sync"), 0, "3 created", "4 unchanged")
}

func TestPruneHasABudget(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	manifest := func(n int) string {
		text := "project: payments-api\ngithub: {owner: acme, repo: payments}\nsecrets:\n"
		for i := range n {
			text += fmt.Sprintf("  - {name: S%d, from: WORD, scopes: [actions]}\n", i)
		}
		return text
	}
	d.write("sealpost.yaml", manifest(10))
	d.want(d.with("sync"), 0, "10 created")
	d.write("sealpost.yaml", manifest(9))
	d.want(d.with("sync"), 0, "9 unchanged", "orphan", "S9", "--prune")
	d.want(d.with("plan", "--prune"), 0, "1 to delete")
	d.want(d.with("sync", "--prune"), 0, "1 deleted")
	d.write("sealpost.yaml", manifest(3))
	before := d.writes()
	if o := d.with("sync", "--prune"); o.code == 0 || d.writes() != before || !strings.Contains(o.stdout+o.stderr, "--max-deletions 6") {
		t.Errorf("exit code %d, %d writes beyond the budget:\n%s%s", o.code, d.writes()-before, o.stdout, o.stderr)
	}
	d.want(d.with("sync", "--prune", "--max-deletions", "6"), 0, "6 deleted")
	left, err := d.hub.Digests(t.Context(), deskRepository, secret.Actions, false)
	if d.must(err); len(left) != 3 {
		t.Errorf("%d secrets are left, want 3", len(left))
	}
}

// An interrupt in the middle says what is done and what is not, and the next
// sync goes on from there.
func TestInterruptedSync(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	text := "project: payments-api\ngithub: {owner: acme, repo: payments}\nsecrets:\n"
	const secrets = 60
	for i := range secrets {
		text += fmt.Sprintf("  - {name: S%d, from: WORD, scopes: [actions]}\n", i)
	}
	d.write("sealpost.yaml", text)
	// Polite: a write a second, so that the interrupt comes in the middle.
	p := program.Start(t, program.Call{Path: sealpost(t), Args: []string{"sync", "--env-file", ".env", "--pace", "polite"}, Dir: d.dir, Env: append(d.env, "GITHUB_API_URL="+d.url)})
	d.awaitWrite()
	p.Signal(t, os.Interrupt)
	if code := p.Wait(t); code != 130 {
		t.Errorf("exit code %d, want 130:\n%s%s", code, p.Stdout, p.Stderr)
	}
	done := d.writes()
	wanted := fmt.Sprintf("interrupted: %d written, %d not started; run it again to go on", done, secrets-done)
	if out := p.Stdout.String() + p.Stderr.String(); !strings.Contains(out, fmt.Sprintf("%d created", done)) || !strings.Contains(out, wanted) || strings.Contains(out, "failed") {
		t.Errorf("%d were written, but it says\n%s", done, out)
	}
	d.want(d.with("sync"), 0, fmt.Sprintf("%d created", secrets-done))
	if n := d.writes(); done == secrets || n != secrets {
		t.Errorf("%d writes before the interrupt and %d after the next sync, want %d in all", done, n, secrets)
	}
}

// The demo finds its data again, answers, and stops in good order.
func TestServeDemoTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := &desk{t: t, dir: dir}
	serve := func(address string) (*program.Process, string) {
		t.Helper()
		p := program.Start(t, program.Call{Path: sealpost(t), Args: []string{"serve", "--demo", "--addr", address, "--state-dir", "state"}, Dir: dir})
		url := p.Await(t, `Serving at (http://\S+)`)
		return p, url
	}
	stop := func(p *program.Process) {
		t.Helper()
		p.Signal(t, os.Interrupt)
		if code := p.Wait(t); code != 0 || !strings.Contains(p.Stdout.String(), "Stopped.") {
			t.Errorf("exit code %d:\n%s%s", code, p.Stdout, p.Stderr)
		}
		if strings.Contains(p.Stdout.String()+p.Stderr.String(), "\x1b") {
			t.Errorf("colours in a pipe")
		}
	}
	p, url := serve("127.0.0.1:0")
	if out := p.Stdout.String(); !strings.Contains(out, "was registered") || !strings.Contains(out, "created") {
		t.Errorf("the first start says\n%s", out)
	}
	address := strings.TrimPrefix(url, "http://")
	d.want(d.runIn(nil, "serve", "--addr", address, "--state-dir", "other"), 2, address, "--addr 127.0.0.1:0")
	token := d.runIn(nil, "token", "--state-dir", "state", "--role", "viewer", "--project", "payments-demo")
	d.want(token, 0)
	c := &cloud{t: t}
	header := map[string][]string{"Authorization": {"Bearer " + strings.TrimSpace(token.stdout)}}
	c.want(c.callWith(url, header, "GET", "/github/secrets/sync/status?projectId=payments-demo", ""), 200, `"state":"synced"`)
	c.want(c.callWith(url, header, "POST", "/github/secrets/sync", `{"projectId":"payments-demo"}`), 403)
	d.want(d.runIn(nil, "token", "--state-dir", "state", "--role", "king"), 2, "role")
	d.write("sealpost.yaml", "project: mine\ngithub: {owner: acme, repo: payments}\nsource: {gcpProject: acme-prod}\nsecrets: [{name: A, from: a}]\n")
	d.want(d.runIn(nil, "apply", "--state-dir", "state"), 1, "payments-demo")
	stop(p)

	p, _ = serve("127.0.0.1:0")
	if out := p.Stdout.String(); !strings.Contains(out, "is registered") || !strings.Contains(out, "unchanged") || strings.Contains(out, " created") {
		t.Errorf("the second start says\n%s", out)
	}
	p.Signal(t, syscall.SIGTERM)
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d after TERM", code)
	}
	d.want(d.runIn(nil, "token", "--state-dir", "state"), 2, "no server runs")
}
