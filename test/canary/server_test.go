package canary

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/telemetry"
)

const source = "acme-birds-prod"

// inChild runs a test's scenario in a process of its own, with every library
// told to log all that it can, and scans what that process prints.
func inChild(t *testing.T, scenario func(*testing.T)) {
	t.Helper()
	const child = "SEALPOST_CANARY_CHILD"
	if os.Getenv(child) == t.Name() {
		log.SetOutput(os.Stderr)
		scenario(t)
		return
	}
	dump := t.TempDir()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), child+"="+t.Name(), dumpTo+"="+dump, "GOOGLE_SDK_GO_LOGGING_LEVEL=debug",
		"GOOGLE_SDK_GO_EXPERIMENTAL_LOGGING=true", "GRPC_GO_LOG_SEVERITY_LEVEL=info", "GRPC_GO_LOG_VERBOSITY_LEVEL=99")
	var d drain
	command.Stdout, command.Stderr = d.writer("stdout"), d.writer("stderr")
	if err := command.Run(); err != nil {
		t.Fatalf("the child: %v\n%s", err, d.all())
	}
	d.directory(t, dump)
	d.check(t, "stdout", "answers", "log", "sealpost.db")
}

// aviary is a local server whose GitHub is a parrot.
type aviary struct {
	*local.Server
	drain
	t      *testing.T
	parrot *parrot
	dir    string
	token  string
}

// startAviary starts it with every canary in its Secret Manager. Its clock runs
// fast, so that waits for a second chance are short.
func startAviary(t *testing.T) *aviary {
	t.Helper()
	a := &aviary{t: t, parrot: startParrot(t), dir: t.TempDir()}
	var err error
	a.Server, err = local.Start(t.Context(), local.Options{
		StateDir: a.dir, Address: "127.0.0.1:0", Clock: clock.Scaled(10),
		Log: telemetry.NewLogger(a.writer("log"), telemetry.Options{Level: slog.LevelDebug}),
		GitHub: ghapi.Config{
			BaseURL: a.parrot.URL, Mode: pace.Off, Credentials: ghapi.Credentials{Token: secret.NewValue(gitHubToken)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, a.Secrets)
	a.Engine.Sources = connect(t, a.Secrets)
	if a.token, err = a.Token("alice", auth.Grants{auth.AllProjects: {catalogue.Operator}}, 12*time.Hour); err != nil {
		t.Fatal(err)
	}
	return a
}

// close stops the server and looks at everything that came out.
func (a *aviary) close(wanted ...string) {
	a.t.Helper()
	if err := a.Close(); err != nil {
		a.t.Error(err)
	}
	a.directory(a.t, a.dir)
	a.check(a.t, append(wanted, "answers", "log", "sealpost.db")...)
}

func (a *aviary) call(method, path, body string, header ...string) int {
	a.t.Helper()
	request, err := http.NewRequestWithContext(a.t.Context(), method, a.URL+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	status, _ := a.exchange(a.t, request)
	return status
}

func (a *aviary) want(status int, got int) {
	a.t.Helper()
	if got != status {
		a.t.Errorf("status %d, want %d", got, status)
	}
}

// manifest maps every canary, as the API takes it.
func manifest() map[string]any {
	var secrets, inAviary []any
	for i, c := range Canaries() {
		if i < perScope {
			secrets = append(secrets, map[string]any{"name": c.Name, "from": c.ID(), "scopes": []string{string(scopeOf(i))}})
		} else {
			inAviary = append(inAviary, map[string]any{"name": c.Name, "from": c.ID()})
		}
	}
	return map[string]any{
		"project": "birds", "github": map[string]any{"owner": "acme", "repo": "birds"}, "source": map[string]any{"gcpProject": source},
		"secrets": secrets, "environments": map[string]any{"aviary": map[string]any{"secrets": inAviary}},
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const syncPath = "/github/secrets/sync"

func TestServerShowsNoValue(t *testing.T) {
	t.Parallel()
	inChild(t, func(t *testing.T) {
		a := startAviary(t)
		a.want(http.StatusCreated, a.call("POST", "/projects", asJSON(t, manifest())))
		a.want(http.StatusOK, a.call("GET", "/projects/birds", ""))
		a.want(http.StatusOK, a.call("POST", syncPath, `{"projectId":"birds","dryRun":true}`))
		a.want(http.StatusOK, a.call("POST", syncPath, `{"projectId":"birds"}`))
		a.parrot.received(t)
		a.want(http.StatusOK, a.call("POST", syncPath, `{"projectId":"birds"}`))
		a.want(http.StatusOK, a.call("GET", syncPath+"/status?projectId=birds", ""))
		for _, format := range []string{"json", "csv", "ndjson"} {
			a.want(http.StatusOK, a.call("GET", "/github/audit?limit=500&format="+format, ""))
		}
		a.want(http.StatusOK, a.call("GET", "/readyz", ""))
		a.close()
	})
}

func TestServerShowsNothingOfWhatGitHubSays(t *testing.T) {
	t.Parallel()
	inChild(t, func(t *testing.T) {
		a := startAviary(t)
		a.parrot.talk(t, &mood{path: "/repos/", status: http.StatusNotFound})
		a.call("POST", "/projects", asJSON(t, manifest()))
		a.parrot.talk(t, nil)
		a.want(http.StatusCreated, a.call("POST", "/projects", asJSON(t, manifest())))
		a.parrot.talk(t, &mood{method: http.MethodPut, status: http.StatusUnprocessableEntity})
		a.want(http.StatusOK, a.call("POST", syncPath, `{"projectId":"birds"}`))
		if said := a.parrot.said.Load(); said < count {
			t.Errorf("GitHub talked of %d canaries, not of %d", said, count)
		}
		a.sync(moods())
		a.parrot.talk(t, nil)
		a.want(http.StatusOK, a.call("GET", syncPath+"/status?projectId=birds", ""))
		a.want(http.StatusOK, a.call("GET", "/github/audit?limit=500&format=csv", ""))
		a.close()
	})
}

func TestServerShowsNothingOfWhatGitHubRefuses(t *testing.T) {
	t.Parallel()
	inChild(t, func(t *testing.T) {
		a := startAviary(t)
		a.want(http.StatusCreated, a.call("POST", "/projects", asJSON(t, manifest())))
		a.sync(refusals())
		a.close()
	})
}

// sync syncs a few canaries under each mood.
func (a *aviary) sync(moods []*mood) {
	a.t.Helper()
	var names []string
	for _, c := range Canaries() {
		names = append(names, c.Name)
	}
	for i, m := range moods {
		a.parrot.talk(a.t, m)
		some := names[i*8%count:][:8]
		if m.times > 0 {
			some = some[:m.times]
		}
		a.call("POST", syncPath, asJSON(a.t, map[string]any{"projectId": "birds", "force": true, "secrets": some}))
		if a.parrot.said.Load() == 0 {
			a.t.Errorf("%s: GitHub was not asked", m.name)
		}
	}
}

func TestServerShowsNothingOfWhatSecretManagerSays(t *testing.T) {
	t.Parallel()
	inChild(t, func(t *testing.T) {
		a := startAviary(t)
		a.want(http.StatusCreated, a.call("POST", "/projects", asJSON(t, manifest())))
		for _, method := range []string{"AccessSecretVersion", "GetSecret", "ListSecretVersions"} {
			for i, c := range Canaries() {
				a.Secrets.Plant(secretmanagerd.Fault{
					Method: method, Resource: c.ID(), Echo: true, Code: codes.Code(1 + i%16),
					Message: c.Text[:min(len(c.Text), 2000)] + " " + url.QueryEscape(c.Text[:min(len(c.Text), 200)]),
				})
			}
			a.call("POST", syncPath, `{"projectId":"birds"}`)
			if a.Secrets.Calls(method) == 0 {
				t.Errorf("%s was not called", method)
			}
			a.Secrets.ClearFaults()
		}
		for i, c := range Canaries() { // values that nobody can write
			if i%every == 0 {
				large := c.Text + strings.Repeat("x", secret.MaxValueBytes)
				if _, err := a.Secrets.AddVersion(source, c.ID(), secret.NewValue(large)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := a.Broker.Idle(t.Context()); err != nil { // the versions are synced by themselves, too
			t.Fatal(err)
		}
		a.want(http.StatusOK, a.call("POST", syncPath, `{"projectId":"birds"}`))
		a.want(http.StatusOK, a.call("GET", "/github/audit?limit=500", ""))
		a.close()
	})
}

// TestServerShowsNothingOfBadRequests puts canaries where no value belongs.
func TestServerShowsNothingOfBadRequests(t *testing.T) {
	t.Parallel()
	inChild(t, func(t *testing.T) {
		a := startAviary(t)
		a.want(http.StatusCreated, a.call("POST", "/projects", asJSON(t, manifest())))
		for i, c := range Canaries() {
			if len(c.Text) > 16<<10 && i >= every { // one of that size is enough
				continue
			}
			for _, body := range misplaced(c.Text, i) {
				a.refused(a.call("POST", "/projects", asJSON(t, body)))
			}
			for _, body := range []map[string]any{
				{"projectId": c.Text + "!"}, // what has the form of an id is one
				{"projectId": "birds", "secrets": []string{c.Text + "!"}},
				{"projectId": "birds", "scopes": []string{c.Text, "environment:" + c.Text}},
				{"projectId": "birds", "force": c.Text},
				{"projectId": "birds", c.Text + "!": "x"}, // a plain word is repeated, to be helpful
			} {
				a.refused(a.call("POST", syncPath, asJSON(t, body)))
			}
			quoted := asJSON(t, c.Text)
			a.refused(a.call("POST", syncPath, `{"projectId":"birds","dryRun":`+quoted[:len(quoted)-1]))
			a.refused(a.call("POST", syncPath, c.Text))
			if query := url.QueryEscape(c.Text); len(query) < 16<<10 {
				a.refused(a.call("GET", syncPath+"/status?projectId="+query+"!", ""))
				a.refused(a.call("GET", syncPath+"/status?projectId=birds&"+query+"=1", ""))
				a.refused(a.call("GET", "/github/audit?from="+query, ""))
				a.refused(a.call("GET", "/github/audit?cursor="+query, ""))
				a.refused(a.call("GET", "/github/audit?format="+query, ""))
				a.refused(a.call("GET", "/projects/birds", "", "Authorization", "Bearer "+query))
			}
		}
		a.close()
	})
}

func (a *aviary) refused(status int) {
	a.t.Helper()
	if status < 400 || status >= 500 {
		a.t.Errorf("status %d, want a 4xx", status)
	}
}

// misplaced are manifests with a value where none belongs.
func misplaced(text string, i int) []any {
	var all []any
	with := func(change func(m map[string]any)) {
		m := map[string]any{
			"project": fmt.Sprintf("p-%d", i), "github": map[string]any{"owner": "acme", "repo": "birds"}, "source": map[string]any{"gcpProject": source},
			"secrets": []any{map[string]any{"name": "A", "from": "canary-000"}},
		}
		change(m)
		all = append(all, m)
	}
	inSecret := func(key string, value any) {
		with(func(m map[string]any) { m["secrets"].([]any)[0].(map[string]any)[key] = value })
	}
	bad := text + "!" // not by chance a good name
	with(func(m map[string]any) { m["project"] = bad })
	with(func(m map[string]any) { m["github"] = map[string]any{"owner": bad, "repo": bad} })
	with(func(m map[string]any) { m["github"] = bad })
	with(func(m map[string]any) { m["source"] = map[string]any{"gcpProject": bad} })
	with(func(m map[string]any) { m["exclude"] = []string{bad} })
	with(func(m map[string]any) { m["environments"] = map[string]any{text + "`": map[string]any{}} })
	with(func(m map[string]any) {
		m["environments"] = map[string]any{"aviary": map[string]any{"protection": map[string]any{"reviewers": []string{bad}}, "linkedResources": map[string]any{"other": text}}}
	})
	inSecret("name", bad)
	inSecret("from", bad)
	inSecret("scopes", []string{text})
	inSecret("value", text)
	inSecret("scopes", text)
	inSecret("visibility", text)
	if i%every != weakKind { // a plain word in the place of a key is repeated, to be helpful
		with(func(m map[string]any) { m[text] = text })
		inSecret(text, text)
	}
	return all
}

// TestPanicsShowNoValue has every port panic with a value.
func TestPanicsShowNoValue(t *testing.T) {
	t.Parallel()
	inChild(t, func(t *testing.T) {
		a := startAviary(t)
		a.want(http.StatusCreated, a.call("POST", "/projects", asJSON(t, manifest())))
		engine := *a.Engine
		for i, raise := range ports {
			for j, value := range panics(Canaries()[i].Text) {
				*a.Engine = engine
				raise(a.Engine, value)
				status := a.call("POST", syncPath, `{"projectId":"birds"}`)
				switch status {
				case http.StatusOK: // it tells of each target
				case http.StatusConflict: // a panic before left the lease, which runs out by itself
				case http.StatusInternalServerError:
				default:
					t.Errorf("port %d, value %d: status %d", i, j, status)
				}
			}
		}
		*a.Engine = engine
		a.close()
	})
}

// panics are values of a panic that hold a text.
func panics(text string) []any {
	return []any{text, errors.New(text), fmt.Errorf("wrapped: %w", errors.New(text)), struct{ Text string }{text}, &text, []byte(text), secret.NewValue(text), stringer(text)}
}

type stringer string

func (s stringer) String() string { return string(s) }

// ports make one method of the engine's ports panic.
var ports = []func(*syncer.Engine, any){
	func(e *syncer.Engine, v any) { e.Targets = panicking{e.Targets, "List", v} },
	func(e *syncer.Engine, v any) { e.Targets = panicking{e.Targets, "Put", v} },
	func(e *syncer.Engine, v any) { e.Targets = panicking{e.Targets, "Quota", v} },
	func(e *syncer.Engine, v any) { e.Sources = panickingSources{e.Sources, "Inspect", v} },
	func(e *syncer.Engine, v any) { e.Sources = panickingSources{e.Sources, "Value", v} },
	func(e *syncer.Engine, v any) {
		e.Fingerprints = func(context.Context) (secret.FingerprintKey, error) { panic(v) }
	},
	func(e *syncer.Engine, v any) { e.Store = panickingStore{e.Store, v} },
}

type panicking struct {
	syncer.Targets
	method string
	value  any
}

func (p panicking) List(ctx context.Context, c project.Container, scope secret.Scope) (plan.Listing, error) {
	if p.method == "List" {
		panic(p.value)
	}
	return p.Targets.List(ctx, c, scope)
}

func (p panicking) Put(ctx context.Context, c project.Container, put syncer.Put) (syncer.Receipt, error) {
	if p.method == "Put" {
		panic(p.value)
	}
	return p.Targets.Put(ctx, c, put)
}

func (p panicking) Quota(ctx context.Context, c project.Container) (syncer.Quota, error) {
	if p.method == "Quota" {
		panic(p.value)
	}
	return p.Targets.Quota(ctx, c)
}

type panickingSources struct {
	syncer.Sources
	method string
	value  any
}

func (p panickingSources) Inspect(ctx context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	if p.method == "Inspect" {
		panic(p.value)
	}
	return p.Sources.Inspect(ctx, sources)
}

func (p panickingSources) Value(ctx context.Context, s secret.Source, version secret.Version) (secret.Value, error) {
	if p.method == "Value" {
		panic(p.value)
	}
	return p.Sources.Value(ctx, s, version)
}

type panickingStore struct {
	docstore.Store
	value any
}

func (p panickingStore) Commit(context.Context, ...docstore.Write) (time.Time, error) { panic(p.value) }
