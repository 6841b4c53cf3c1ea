package canary

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/test/program"
)

// shell is a place where somebody uses the command.
type shell struct {
	drain
	t      *testing.T
	binary string
	dir    string
	env    []string
}

func openShell(t *testing.T, parrot *parrot) *shell {
	t.Helper()
	return &shell{
		t: t, binary: program.Build(t, "scripts/sealpost"), dir: t.TempDir(),
		env: []string{"GITHUB_TOKEN=" + gitHubToken, "GITHUB_API_URL=" + parrot.URL, "SEALPOST_PACE=off", "LOG_LEVEL=debug"},
	}
}

// run runs the command and keeps what it prints.
func (s *shell) run(args ...string) int {
	s.t.Helper()
	stdout, stderr, code := program.Run(s.t, program.Call{Path: s.binary, Args: args, Env: s.env, Dir: s.dir})
	s.add("stdout", []byte(stdout))
	s.add("stderr", []byte(stderr))
	return code
}

func (s *shell) want(code, got int) {
	s.t.Helper()
	if got != code {
		s.t.Errorf("exit code %d, want %d: %s", got, code, s.all())
	}
}

func (s *shell) write(name string, content []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// close looks at everything but the env files and manifests, which are the
// user's own.
func (s *shell) close(wanted ...string) {
	s.t.Helper()
	if state := filepath.Join(s.dir, ".sealpost"); exists(state) {
		s.directory(s.t, state)
	}
	s.check(s.t, wanted...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

const cliManifest = `project: birds
github: {owner: acme, repo: birds}
`

// cliSecrets maps every canary to the env file's value of its name.
func cliSecrets() []byte {
	b := []byte(cliManifest + "secrets:\n")
	for i, c := range Canaries()[:perScope] {
		b = fmt.Appendf(b, "  - {name: %s, from: %s, scopes: [%q]}\n", c.Name, c.Name, scopeOf(i))
	}
	b = append(b, "environments:\n  aviary:\n    secrets:\n"...)
	for _, c := range Canaries()[perScope:] {
		b = fmt.Appendf(b, "      - {name: %s, from: %s}\n", c.Name, c.Name)
	}
	return b
}

func TestCommandShowsNoValue(t *testing.T) {
	t.Parallel()
	parrot := startParrot(t)
	s := openShell(t, parrot)
	s.write("sealpost.yaml", cliSecrets())
	s.write(".env", dotenv(Canaries()))
	s.want(0, s.run("plan", "--env-file", ".env"))
	s.want(0, s.run("plan", "--env-file", ".env", "--json"))
	parrot.talk(t, &mood{method: http.MethodPut, status: http.StatusUnprocessableEntity})
	s.want(1, s.run("sync", "--env-file", ".env"))
	s.want(1, s.run("sync", "--env-file", ".env", "--json"))
	s.want(4, s.run("status"))
	parrot.talk(t, &mood{method: http.MethodGet, status: http.StatusForbidden})
	s.want(6, s.run("sync", "--env-file", ".env"))
	parrot.talk(t, nil)
	s.want(0, s.run("sync", "--env-file", ".env", "--json"))
	parrot.received(t)
	s.want(0, s.run("sync", "--env-file", ".env"))
	s.want(0, s.run("status"))
	s.want(0, s.run("status", "--json"))
	s.close("stdout", "stderr", "sealpost.log", "sealpost.db")
}

// TestCommandShowsNothingOfBadFiles gives it env files and manifests that hold
// canaries where none belongs.
func TestCommandShowsNothingOfBadFiles(t *testing.T) {
	t.Parallel()
	s := openShell(t, startParrot(t))
	s.write("sealpost.yaml", cliSecrets())
	for name, content := range badEnvFiles() {
		s.write("bad.env", content)
		if code := s.run("sync", "--env-file", "bad.env"); code != 2 {
			t.Errorf("env file, %s: exit code %d, want 2", name, code)
		}
	}
	s.write(".env", dotenv(Canaries()))
	for name, content := range badManifests() {
		s.write("bad.yaml", content)
		if code := s.run("sync", "-f", "bad.yaml", "--env-file", ".env"); code != 2 {
			t.Errorf("manifest, %s: exit code %d, want 2", name, code)
		}
	}
	for _, c := range Canaries()[:every-1] {
		for _, flag := range []string{"--secret", "--scope", "--pace", "--max-deletions"} {
			s.want(2, s.run("sync", "--env-file", ".env", flag, c.Text+"!"))
		}
		s.want(2, s.run("plan", c.Text))
		s.want(2, s.run(c.Text))
	}
	s.close("stderr")
}

func badEnvFiles() map[string][]byte {
	files := map[string][]byte{}
	each := func(name string, line func(Canary) string) {
		var b strings.Builder
		for _, c := range Canaries() {
			b.WriteString(line(c) + "\n")
		}
		files[name] = []byte(b.String())
	}
	first := func(text string) string { line, _, _ := strings.Cut(text, "\n"); return line }
	each("no name", func(c Canary) string { return "=" + c.Text })
	each("a value alone", func(c Canary) string { return "!" + c.Text })
	each("a value as a name", func(c Canary) string { return first(c.Text) + "!=x" })
	each("quotes left open", func(c Canary) string { return c.Name + `="` + strings.ReplaceAll(first(c.Text), `"`, "") })
	each("text after the quotes", func(c Canary) string { return c.Name + `="x" ` + first(c.Text) })
	each("twice", func(c Canary) string {
		return fmt.Sprintf("%s='%s'\n%s='%s'", c.Name, strings.ReplaceAll(c.Text, "'", ""), c.Name, strings.ReplaceAll(c.Text, "'", ""))
	})
	each("too large", func(c Canary) string {
		return fmt.Sprintf("%s='%s%s'", c.Name, strings.ReplaceAll(c.Text, "'", ""), strings.Repeat("x", secret.MaxValueBytes))
	})
	each("a byte that is no text", func(c Canary) string { return c.Name + "='" + strings.ReplaceAll(c.Text, "'", "") + "\xff'" })
	each("export of a value", func(c Canary) string { return "export " + first(c.Text) })
	return files
}

func badManifests() map[string][]byte {
	files := map[string][]byte{}
	inSecrets := func(name string, item func(c Canary, quoted string) string) {
		b := []byte(cliManifest + "secrets:\n")
		for _, c := range Canaries() {
			b = append(b, "  - {"+item(c, inner(asciiQuoted(c.Text)))+"}\n"...)
		}
		files[name] = b
	}
	inSecrets("name", func(_ Canary, q string) string { return `name: "` + q + `!", from: A` })
	inSecrets("from", func(c Canary, q string) string { return `name: ` + c.Name + `, from: "` + q + `!"` })
	inSecrets("scope", func(c Canary, q string) string {
		return `name: ` + c.Name + `, from: A, scopes: ["` + q + `", "environment:` + q + `"]`
	})
	inSecrets("value", func(c Canary, q string) string { return `name: ` + c.Name + `, from: A, value: "` + q + `"` })
	inSecrets("value with another name", func(c Canary, q string) string { return `name: ` + c.Name + `, from: A, secret: "` + q + `"` })
	inSecrets("scopes as text", func(c Canary, q string) string { return `name: ` + c.Name + `, from: A, scopes: "` + q + `"` })
	inSecrets("key", func(_ Canary, q string) string { return `"` + q + `!": x` })
	inSecrets("text in place of a mapping", func(_ Canary, q string) string { return `"` + q + `!"` })
	for _, c := range Canaries()[:every-1] {
		q := asciiQuoted(c.Text + "!")
		files["project "+c.Name] = []byte("project: " + q + "\ngithub: {owner: " + q + ", repo: " + q + "}\nsource: {gcpProject: " + q + "}\nexclude: [" + q + "]\nsecrets: [{name: A, from: B}]\n")
		files["not YAML "+c.Name] = []byte(cliManifest + "secrets:\n  - name: [" + c.Text + "\n}")
		files["tag, anchor "+c.Name] = []byte(cliManifest + "secrets: !!" + q + " &" + q + " *" + q + "\n")
	}
	return files
}

// asciiQuoted is a JSON string, which YAML reads as one.
func asciiQuoted(text string) string { return `"` + asciiJSON(text) + `"` }
