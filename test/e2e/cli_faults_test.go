package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/test/program"
)

// start starts the command, to be interrupted.
func (d *desk) start(args ...string) *program.Process {
	d.t.Helper()
	env := d.env
	if d.url != "" {
		env = append(env, "GITHUB_API_URL="+d.url)
	}
	return program.Start(d.t, program.Call{Path: sealpost(d.t), Args: args, Dir: d.dir, Env: env})
}

// silent checks that a text has none of the parts.
func (d *desk) silent(o outcome, parts ...string) {
	d.t.Helper()
	for _, part := range parts {
		if strings.Contains(o.stdout+o.stderr, part) {
			d.t.Errorf("it printed %q:\n%s%s", part, o.stdout, o.stderr)
		}
	}
}

// One state directory is one server's, until that ends, however it does.
func TestOneServerForAStateDirectory(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, dir: t.TempDir()}
	first := d.start("serve", "--addr", "127.0.0.1:0", "--state-dir", "state")
	url := first.Await(t, `Serving at (http://\S+)`)
	d.want(d.runIn(nil, "serve", "--addr", "127.0.0.1:0", "--state-dir", "state"), 2, url, "state already")
	d.want(d.runIn(nil, "token", "--state-dir", "state"), 0)
	first.Signal(t, syscall.SIGKILL)
	first.Wait(t)
	second := d.start("serve", "--addr", "127.0.0.1:0", "--state-dir", "state")
	second.Await(t, `Serving at (http://\S+)`)
	second.Signal(t, os.Interrupt)
	second.Wait(t)
	d.want(d.runIn(nil, "serve", "--addr", "0.0.0.0:9999", "--state-dir", "untouched"), 2, "loopback")
	if _, err := os.Stat(filepath.Join(d.dir, "untouched")); err == nil {
		t.Error("a start that was refused has made its state directory")
	}
}

// A client that never sends its body holds up neither its answer nor the end.
func TestAStalledClientHoldsNothingUp(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, dir: t.TempDir()}
	p := d.start("serve", "--addr", "127.0.0.1:0", "--state-dir", "state")
	address := p.Await(t, `Serving at http://(\S+)`)
	stall := func(token string) net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		d.must(err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "POST /github/secrets/sync HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", address, token)
		d.must(err)
		return conn
	}
	conn := stall("nonsense")
	d.must(conn.SetReadDeadline(time.Now().Add(20 * time.Second))) // it takes a second
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a bad token with half a body: %v, %v", answer, err)
	} else {
		_ = answer.Body.Close()
	}
	token := strings.TrimSpace(d.runIn(nil, "token", "--state-dir", "state").stdout)
	stall(token)
	p.Signal(t, os.Interrupt)
	if code := p.Wait(t); code != 0 || !strings.Contains(p.Stdout.String(), "Stopped.") || p.Stderr.String() != "" {
		t.Errorf("exit code %d:\n%s%s", code, p.Stdout, p.Stderr)
	}
}

// What cannot be started for the state's sake says which file it is.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.want(d.with("sync"), 0, "7 created")
	key := filepath.Join(".sealpost", "fingerprint.key")
	d.must(os.Chmod(filepath.Join(d.dir, key), 0o644))
	d.want(d.with("plan"), 0, "warning", key, "chmod 600")
	for _, content := range []string{"", "short"} {
		d.write(key, content)
		o := d.with("plan")
		d.want(o, 2, key, "damaged")
		d.silent(o, "unchanged")
	}

	d.must(os.Mkdir(filepath.Join(d.dir, "bad"), 0o700))
	database := filepath.Join("bad", "sealpost.db")
	d.write(database, strings.Repeat("\x00\x01 noise", 4000))
	o := d.with("sync", "--state-dir", "bad")
	d.want(o, 1, database+" is damaged", "move it away")
	d.silent(o, "readyz", "Sealpost failed")
	o = d.with("sync", "--state-dir", "bad", "--json")
	var problem httpx.Problem
	d.must(json.Unmarshal([]byte(o.stderr), &problem))
	log, err := os.ReadFile(filepath.Join(d.dir, "bad", "sealpost.log"))
	if d.must(err); problem.CorrelationID == "" || !strings.Contains(string(log), problem.CorrelationID) || !strings.Contains(string(log), "SQLITE_NOTADB") {
		t.Errorf("correlation id %q, log\n%s", problem.CorrelationID, log)
	}
	o = d.runIn(nil, "serve", "--addr", "127.0.0.1:0", "--state-dir", "bad")
	d.want(o, 1, database+" is damaged")
	if log, err := os.ReadFile(filepath.Join(d.dir, "bad", "server.log")); err != nil || !strings.Contains(string(log), "SQLITE_NOTADB") {
		t.Errorf("the server's log has no cause: %v\n%s", err, log)
	}
	d.write("file", "")
	d.want(d.with("sync", "--state-dir", filepath.Join("file", "state")), 2, filepath.Join("file", "state"))
}

// The words of the command line, where the API's would mislead.
func TestRemediesAreForTheCommandLine(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	o := d.run("status")
	d.want(o, 2, "payments-api", "Sync first")
	d.silent(o, "registered projects")
	if _, err := os.Stat(filepath.Join(d.dir, ".sealpost")); err == nil {
		t.Error("status made the state directory")
	}

	d.write(".env", strings.ReplaceAll(strings.ReplaceAll(envFile, "WORD", "WURD"), "PROD_URL=postgres://prod#not-a-comment", "PROD_URL="))
	o = d.with("plan")
	d.want(o, 4, "env file has no WORD", "Add it to the env file")
	d.silent(o, "Secret Manager")
	o = d.with("sync")
	d.want(o, 3, "Give it a value in the env file")
	d.silent(o, "Add a version")

	d.write("sealpost.yaml", strings.Replace(deskManifest, "payments-api", "renamed", 1))
	o = d.with("sync")
	d.want(o, 1, "payments-api", "--state-dir")
	d.silent(o, "Unregister")

	d.write("sealpost.yaml", "project: payments-api\ngithub: {owner: acme, repo: payments}\n")
	o = d.with("sync", "--prune", "--state-dir", ".sealpost")
	d.want(o, 1, "--max-deletions 5")
	d.silent(o, "sealpost sync --prune")
	d.want(d.with("plan"), 0, "names no secrets")
	prune := d.with("sync", "--prune", "--json")
	if !strings.Contains(prune.stdout, `"code": "GITHUB_SECRETS_DELETION_BUDGET_EXCEEDED"`) || strings.Contains(prune.stdout, "PARTIAL_FAILURE") {
		t.Errorf("a budget that was exceeded: %s", prune.stdout)
	}
}

// An outage is no drift.
func TestAPlanThatCannotSeeFails(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.want(d.with("sync"), 0, "7 created")
	o := d.with("plan", "--github-url", "http://127.0.0.1:9")
	d.want(o, 1, "error ", "GitHub is not available", "7 not seen")
	d.silent(o, "invalid", "No write is needed")
}

// Who finds another sync under way is told when to come back.
func TestASyncUnderWaySaysWhenItEnds(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.start("sync", "--env-file", ".env", "--pace", "polite")
	d.awaitWrite()
	o := d.with("sync")
	d.want(o, 1, "another run holds the lease")
	d.silent(o, "takes up this request")
	if !regexp.MustCompile(`Run it again in \d+s\.`).MatchString(o.stderr) {
		t.Errorf("it does not say when to come back: %s", o.stderr)
	}
	p.Signal(t, os.Interrupt)
	p.Wait(t)
}

func (d *desk) awaitWrite() {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); d.writes() == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			d.t.Fatal("nothing was written")
		}
	}
}

// Nobody writes to the pipe.
func TestWaitingForAnEnvFileEndsWithAnInterrupt(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.must(syscall.Mkfifo(filepath.Join(d.dir, "pipe"), 0o600))
	p := d.start("sync", "--env-file", "pipe")
	log := filepath.Join(d.dir, ".sealpost", "fingerprint.key") // made just before
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(log); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the command does not begin")
		}
	}
	p.Signal(t, os.Interrupt)
	if code := p.Wait(t); code != 130 || !strings.Contains(p.Stderr.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, p.Stderr)
	}
}

// The demo's project belongs to its user from the second start on.
func TestTheDemoKeepsWhatWasChanged(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, dir: t.TempDir()}
	serve := func() (*program.Process, string) {
		p := d.start("serve", "--demo", "--addr", "127.0.0.1:0", "--state-dir", "state")
		p.Await(t, `The project payments-demo (is|was) registered`)
		return p, ""
	}
	p, _ := serve()
	p.Signal(t, os.Interrupt)
	if code := p.Wait(t); code != 130 || !strings.Contains(p.Stdout.String(), "Interrupted") {
		t.Errorf("exit code %d after an interrupt in the demo:\n%s%s", code, p.Stdout, p.Stderr)
	}
	p, _ = serve()
	p.Await(t, `Serving at (http://\S+)`)
	d.write("sealpost.yaml", "project: payments-demo\ngithub: {owner: acme, repo: payments}\nsource: {gcpProject: acme-secrets-demo}\nsecrets: [{name: MINE, from: payments-redis-url, scopes: [actions]}]\n")
	d.want(d.runIn(nil, "apply", "--state-dir", "state"), 0)
	p.Signal(t, os.Interrupt)
	p.Wait(t)
	p, _ = serve()
	p.Await(t, `Serving at (http://\S+)`)
	if out := p.Stdout.String(); !strings.Contains(out, "MINE") || strings.Contains(out, "created, ") {
		t.Errorf("the next start says\n%s", out)
	}
}

func TestAServerOfSomebodyElse(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, dir: t.TempDir()}
	d.write("sealpost.yaml", deskManifest)
	for status, code := range map[int]int{http.StatusUnauthorized: 6, http.StatusForbidden: 6, http.StatusTeapot: 1} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
		}))
		d.want(d.runIn([]string{"SEALPOST_TOKEN=x"}, "apply", "--server", server.URL), code, fmt.Sprint(status))
		server.Close()
	}
	d.want(d.runIn(nil, "--version"), 0, "sealpost ")
}
