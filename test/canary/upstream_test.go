package canary

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/secret"
)

const (
	gitHubToken = "ghx_CanaryTokenForGitHub0123456789abcdef" // no shape that the redaction knows
	repository  = "acme/birds"
	perScope    = 100 // GitHub takes no more
)

// parrot is a GitHub that says in every part of its answers what it was sent
// and what it opened, in several forms.
type parrot struct {
	URL string
	hub *githubd.Server

	texts map[string]string // by name
	mood  atomic.Pointer[mood]
	said  atomic.Int64
}

// mood says which requests get a talkative answer, and of which kind.
type mood struct {
	name   string
	method string
	path   string // a part of it
	status int
	header http.Header // besides
	junk   bool        // a body that is not JSON
	times  int64       // how often; 0 is always
	rotate bool        // the keys were changed before
}

func startParrot(t *testing.T) *parrot {
	t.Helper()
	hub, err := githubd.New(githubd.Config{Clock: clock.Real(), World: githubd.World{
		Users:        []githubd.User{{Login: "bot"}},
		Tokens:       []githubd.Token{{Token: gitHubToken, Login: "bot"}},
		Repositories: []githubd.Repository{{ID: 7001, Owner: "acme", Name: "birds", Environments: []string{"aviary"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := &parrot{hub: hub, texts: map[string]string{}}
	for _, c := range Canaries() {
		p.texts[c.Name] = c.Text
	}
	server := httptest.NewServer(p)
	t.Cleanup(func() {
		server.Close()
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	p.URL = server.URL
	return p
}

// talk changes the mood; nil is silence.
func (p *parrot) talk(t *testing.T, m *mood) {
	t.Helper()
	for _, scope := range []secret.Scope{scopeOf(0), scopeOf(count - 1)} {
		if m != nil && m.rotate {
			if err := p.hub.RotateKey(repository, scope); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.mood.Store(m)
	p.said.Store(0)
}

func (p *parrot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := p.mood.Load()
	if m == nil || m.method != "" && m.method != r.Method || !strings.Contains(r.URL.Path, m.path) {
		p.hub.ServeHTTP(w, r)
		return
	}
	if said := p.said.Add(1); m.times > 0 && said > m.times {
		p.hub.ServeHTTP(w, r)
		return
	}
	if m.status == 0 { // a connection that breaks in the middle of the talk
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, p.speech(r))
		panic(http.ErrAbortHandler)
	}
	speech := p.speech(r)
	short := url.QueryEscape(speech[:min(len(speech), 300)])
	for _, name := range []string{"X-Github-Request-Id", "X-Accepted-Github-Permissions", "X-Github-Sso", "Location", "X-Ratelimit-Remaining", "X-Ratelimit-Resource", "Etag", "Link", "Warning", "Www-Authenticate", "Deprecation"} {
		w.Header().Set(name, short)
	}
	for name, values := range m.header {
		w.Header()[name] = values
	}
	if m.junk {
		w.WriteHeader(m.status)
		_, _ = io.WriteString(w, speech)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(m.status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"message": speech, "documentation_url": base64.StdEncoding.EncodeToString([]byte(speech)), "status": speech,
		"errors": []any{map[string]string{"resource": speech, "field": "encrypted_value", "code": "invalid", "message": speech}, speech},
	})
}

// speech is the credentials, the body and what was in the sealed box.
func (p *parrot) speech(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	value := p.texts[path.Base(r.URL.Path)]
	if value == "" {
		value = p.texts["CANARY_000"]
	}
	return value + " " + r.Header.Get("Authorization") + " " + string(body)
}

// received wants every canary to have arrived, once in each scope.
func (p *parrot) received(t *testing.T) {
	t.Helper()
	for i, c := range Canaries() {
		value, ok := p.hub.Value(githubd.Target{Container: repository, Scope: scopeOf(i), Name: c.Name})
		if !ok || value != c.Text {
			t.Errorf("%s did not arrive in %s as it is", c.Name, scopeOf(i))
		}
	}
}

// scopeOf spreads the canaries over two scopes.
func scopeOf(i int) secret.Scope {
	if i < perScope {
		return secret.Actions
	}
	return secret.EnvironmentScope("aviary")
}

// moods are the ways in which GitHub fails.
func moods() []*mood {
	var all []*mood
	for _, status := range []int{400, 401, 403, 404, 409, 413, 418, 422, 451, 500, 502, 503, 301, 204, 299} {
		all = append(all, &mood{name: http.StatusText(status), method: http.MethodPut, status: status})
	}
	return append(all,
		&mood{name: "not JSON", method: http.MethodPut, status: http.StatusUnprocessableEntity, junk: true},
		&mood{name: "broken answer", method: http.MethodPut},
		&mood{name: "key", path: "/public-key", status: http.StatusOK, rotate: true},
		&mood{name: "key refused", path: "/public-key", status: http.StatusForbidden, rotate: true},
		&mood{name: "key is junk", path: "/public-key", status: http.StatusOK, junk: true, rotate: true},
		&mood{name: "list", method: http.MethodGet, path: "/secrets", status: http.StatusUnprocessableEntity},
		&mood{name: "list is junk", method: http.MethodGet, path: "/secrets", status: http.StatusOK, junk: true},
		&mood{name: "everything", status: http.StatusInternalServerError},
	)
}

// refusals are the ways in which GitHub refuses to be asked so often. They make
// an account slow for long.
func refusals() []*mood {
	return []*mood{
		{name: "rate limit", method: http.MethodPut, status: http.StatusForbidden, header: http.Header{"Retry-After": {"1"}}, times: 1},
		{name: "too many", method: http.MethodPut, status: http.StatusTooManyRequests, header: http.Header{"Retry-After": {"1"}}, times: 1},
	}
}

// dotenv writes the canaries down as people write env files.
func dotenv(canaries []Canary) []byte {
	var b bytes.Buffer
	escapes := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\r", `\r`, "\t", `\t`)
	for _, c := range canaries {
		b.WriteString(c.Name + `="` + escapes.Replace(c.Text) + "\"\n")
	}
	return b.Bytes()
}
