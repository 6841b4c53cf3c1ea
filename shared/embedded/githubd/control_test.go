package githubd_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
)

func TestRemote(t *testing.T) {
	t.Parallel()
	server, base := serve(t, githubd.Config{Control: true})
	remote, x := githubd.NewRemote(base), t.Context()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	ok(remote.Add(x, githubd.World{Repositories: []githubd.Repository{{ID: 7, Owner: "acme", Name: "new"}}}))
	if got := server.RepositoryID("acme/new"); got != 7 {
		t.Errorf("the new repository has the id %d", got)
	}

	want := githubd.Settings{Latency: dur80ms, Limits: githubd.DocumentedLimits()}
	ok(remote.SetSettings(x, want))
	if got, err := remote.Settings(x); err != nil || got != want || server.Settings() != want {
		t.Errorf("settings %+v, %v", got, err)
	}

	target := githubd.Target{Container: "acme/new", Scope: "dependabot", Name: "a"}
	ok(remote.Edit(x, target, "value"))
	digests, err := remote.Digests(x, "acme/new", "dependabot", false)
	ok(err)
	if len(digests) != 1 || digests[0].SHA256 != fmt.Sprintf("%x", sha256.Sum256([]byte("value"))) || digests[0].Bytes != 5 || digests[0].Value != nil {
		t.Errorf("digests %+v", digests)
	}
	digests, err = remote.Digests(x, "acme/new", "dependabot", true)
	ok(err)
	if digests[0].Value == nil || *digests[0].Value != "value" {
		t.Errorf("digests with values %+v", digests)
	}
	ok(remote.Remove(x, target))
	if err := remote.Remove(x, target); !errors.Is(err, fault.NotFound) {
		t.Errorf("a second removal: %v", err)
	}
	before := bodyOf(t, send(t, server, aliceToken, "GET", listPath+"/public-key", ""))
	ok(remote.RotateKey(x, container, "actions"))
	if bodyOf(t, send(t, server, aliceToken, "GET", listPath+"/public-key", "")) == before {
		t.Error("the key is the one before")
	}

	ok(remote.Spend(x, "user:alice", 100, 0))
	ok(remote.AddFault(x, githubd.Fault{Name: "f", Effect: githubd.EffectStatus, Status: 503, Times: 1}))
	if err := remote.AddFault(x, githubd.Fault{Effect: "explode"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("a fault that makes no sense: %v", err)
	}
	ok(remote.ResetCounts(x))
	answer := send(t, server, aliceToken, "GET", listPath, "")
	if answer.StatusCode != 503 || answer.Header.Get("X-RateLimit-Used") != "103" {
		t.Errorf("answered %d with %s used", answer.StatusCode, answer.Header.Get("X-RateLimit-Used"))
	}
	if struck, err := remote.Struck(x); err != nil || struck["f"] != 1 {
		t.Errorf("struck %v, %v", struck, err)
	}
	ok(remote.ClearFaults(x))
	counts, err := remote.Counts(x)
	ok(err)
	if !reflect.DeepEqual(counts, server.Counts()) || counts.Requests != 1 || counts.Faults["f"] != 1 {
		t.Errorf("counts %+v", counts)
	}
	log, err := remote.Requests(x)
	ok(err)
	if len(log) != 1 || log[0].Path != listPath || log[0].Fault != "f" {
		t.Errorf("log %+v", log)
	}
	ok(remote.ExpireTokens(x))

	web := httptest.NewServer(http.NotFoundHandler())
	web.Close()
	if _, err := githubd.NewRemote(web.URL).Counts(x); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a server that is gone: %v", err)
	}
}

func TestControlIsForThisMachineOnly(t *testing.T) {
	t.Parallel()
	server := newServer(t, githubd.Config{Control: true})
	for _, c := range []struct {
		remote, host, origin string
		status               int
	}{
		{"127.0.0.1:5", "localhost:80", "", 200},
		{"[::1]:5", "[::1]:80", "", 200},
		{"192.0.2.7:5", "127.0.0.1:80", "", 403},
		{"127.0.0.1:5", "evil.example", "", 403},
		{"127.0.0.1:5", "localhost:80", "http://evil.example", 403},
	} {
		request := httptest.NewRequest(http.MethodGet, "/_control/counts", nil)
		request.RemoteAddr, request.Host = c.remote, c.host
		if c.origin != "" {
			request.Header.Set("Origin", c.origin)
		}
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, request)
		if answer.Code != c.status {
			t.Errorf("%+v: %d", c, answer.Code)
		}
	}
	off := newServer(t, githubd.Config{})
	if answer := send(t, off, aliceToken, "GET", "/_control/counts", ""); answer.StatusCode != 404 {
		t.Errorf("without Control: %d", answer.StatusCode)
	}
}

func TestConfigAsJSON(t *testing.T) {
	t.Parallel()
	text := `{
		"latency": "80ms", "listLag": "1s", "skew": "-2s", "control": true, "statePath": "x.jsonl",
		"limits": {"primary": 5000, "points": 900, "concurrent": 100, "penalty": "1m0s", "status": 429},
		"world": {
			"organizations": [{"id": 5, "login": "acme"}],
			"repositories": [{"id": 9, "owner": "acme", "name": "web", "environments": ["dev"]}],
			"tokens": [{"token": "t", "login": "alice", "permissions": {"secrets": "write"}}]
		}
	}`
	var got githubd.Config
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := githubd.Config{
		Settings: githubd.Settings{
			Latency: dur80ms, ListLag: dur1s, Skew: -2 * dur1s,
			Limits: githubd.Limits{Primary: 5000, Points: 900, Concurrent: 100, Penalty: 60 * dur1s, Status: 429},
		},
		Control: true, StatePath: "x.jsonl",
		World: githubd.World{
			Organizations: []githubd.Organization{{ID: 5, Login: "acme"}},
			Repositories:  []githubd.Repository{{ID: 9, Owner: "acme", Name: "web", Environments: []string{"dev"}}},
			Tokens:        []githubd.Token{{Token: "t", Login: "alice", Permissions: githubd.Permissions{"secrets": "write"}}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v", got)
	}
	if err := json.Unmarshal([]byte(`{"latency": "soon"}`), &got); err == nil {
		t.Error("a duration that is none was taken")
	}
}

func TestStateSurvives(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state", "github.jsonl")
	open := func() *githubd.Server {
		t.Helper()
		server, err := githubd.New(githubd.Config{World: acme(), StatePath: path})
		if err != nil {
			t.Fatal(err)
		}
		return server
	}
	production := "/repos/acme/payments-api/environments/production/secrets"
	staging := "/repos/acme/payments-api/environments/eu%2Fstaging/secrets"
	first := open()
	id := first.RepositoryID(container)
	body := putBody(t, first, listPath, "one\n\u00e9\x00", nil)
	for path, body := range map[string]string{
		listPath + "/A":                              body,
		listPath + "/GONE":                           body,
		production + "/D":                            putBody(t, first, production, "four", nil),
		staging + "/B":                               putBody(t, first, staging, "two", nil),
		"/orgs/acme/actions/secrets/C":               putBody(t, first, "/orgs/acme/actions/secrets", "three", map[string]any{"visibility": "selected", "selected_repository_ids": []int64{id}}),
		"/repos/acme/payments-api/environments/blue": "",
	} {
		if answer := send(t, first, aliceToken, "PUT", path, body); answer.StatusCode > 204 {
			t.Fatalf("%s: %s", path, answer.Status)
		}
	}
	if answer := send(t, first, aliceToken, "DELETE", listPath+"/GONE", ""); answer.StatusCode != 204 {
		t.Fatal(answer.Status)
	}
	if answer := send(t, first, aliceToken, "DELETE", "/repos/acme/payments-api/environments/production", ""); answer.StatusCode != 204 {
		t.Fatal(answer.Status) // the next start makes it anew, empty
	}
	if err := first.RenameRepository("acme/web", "site"); err != nil {
		t.Fatal(err)
	}
	// The first is not closed: it was killed, in the middle of a line.
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"k":"secret/repository/1`); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}

	for range 2 { // the second time from a file that was written anew
		second := open()
		for target, want := range map[githubd.Target]string{
			{Container: container, Scope: "actions", Name: "A"}:                "one\n\u00e9\x00",
			{Container: container, Scope: "environment:eu/staging", Name: "B"}: "two",
			{Container: "acme", Scope: "org-actions", Name: "C"}:               "three",
		} {
			if got, _ := second.Value(target); got != want {
				t.Errorf("%s: %q; want %q", target, got, want)
			}
		}
		if _, ok := second.Value(githubd.Target{Container: container, Scope: "actions", Name: "GONE"}); ok {
			t.Error("a deleted secret came back")
		}
		if _, ok := second.Value(githubd.Target{Container: container, Scope: "environment:production", Name: "D"}); ok {
			t.Error("a deleted environment's secret came back")
		}
		if second.RepositoryID(container) != id || second.RepositoryID("acme/site") != first.RepositoryID("acme/site") || second.RepositoryID("acme/web") != second.RepositoryID("acme/site") {
			t.Error("the repositories have other ids")
		}
		if answer := send(t, second, aliceToken, "GET", "/repos/acme/payments-api/environments/blue", ""); answer.StatusCode != 200 {
			t.Errorf("the environment: %s", answer.Status)
		}
		if answer := send(t, second, aliceToken, "PUT", listPath+"/A", body); answer.StatusCode != 204 {
			t.Errorf("a value sealed to the key of before: %s", answer.Status)
		}
		if body := bodyOf(t, send(t, second, aliceToken, "GET", "/orgs/acme/actions/secrets/C/repositories", "")); !strings.Contains(body, container) {
			t.Errorf("selected repositories: %s", body)
		}
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}

func TestStateFilesThatAreNone(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"not JSON":      "secret stuff\n",
		"unknown key":   `{"k":"what/ever","v":{}}` + "\n",
		"a wrong value": `{"k":"repository/1","v":"secret stuff"}` + "\n",
	} {
		path := filepath.Join(t.TempDir(), "state.jsonl")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := githubd.New(githubd.Config{StatePath: path})
		if !errors.Is(err, fault.Invalid) || strings.Contains(err.Error(), "secret stuff") {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func TestStateThatCannotBeKept(t *testing.T) {
	t.Parallel()
	server, err := githubd.New(githubd.Config{World: acme(), StatePath: filepath.Join(t.TempDir(), "state.jsonl")})
	if err != nil {
		t.Fatal(err)
	}
	body := putBody(t, server, listPath, "v", nil)
	githubd.BreakState(t, server)
	if answer := send(t, server, aliceToken, "PUT", listPath+"/A", body); answer.StatusCode != 500 {
		t.Errorf("a write that is not kept: %s", answer.Status)
	}
	if err := server.Close(); !errors.Is(err, fault.Internal) {
		t.Errorf("Close: %v", err)
	}
}

func TestWorldsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		world githubd.World
		kind  fault.Kind
	}{
		"a repository without a name":    {githubd.World{Repositories: []githubd.Repository{{Owner: "a"}}}, fault.Invalid},
		"two repositories with one id":   {githubd.World{Repositories: []githubd.Repository{{ID: 1, Owner: "a", Name: "b"}, {ID: 1, Owner: "a", Name: "c"}}}, fault.Invalid},
		"two accounts with one id":       {githubd.World{Organizations: []githubd.Organization{{ID: 1, Login: "a"}}, Users: []githubd.User{{ID: 1, Login: "b"}}}, fault.Invalid},
		"a person who is an account":     {githubd.World{Organizations: []githubd.Organization{{Login: "a"}}, Users: []githubd.User{{Login: "A"}}}, fault.Invalid},
		"a token without a login":        {githubd.World{Tokens: []githubd.Token{{Token: "t"}}}, fault.Invalid},
		"a token for no repository":      {githubd.World{Tokens: []githubd.Token{{Token: "t", Login: "a", Repositories: []string{"a/b"}}}}, fault.NotFound},
		"an App without a key":           {githubd.World{Apps: []githubd.App{{ID: 1, PublicKey: "none"}}}, fault.Invalid},
		"an installation without an App": {githubd.World{Installations: []githubd.Installation{{ID: 1, AppID: 2}}}, fault.NotFound},
	} {
		if _, err := githubd.New(githubd.Config{World: c.world}); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// BenchmarkPut is one write with a value of 1 KB over loopback: the server must
// not be what a bench measures.
func BenchmarkPut(b *testing.B) {
	server, err := githubd.New(githubd.Config{World: acme(), Settings: githubd.Settings{Limits: githubd.Limits{Concurrent: 1 << 20}}})
	if err != nil {
		b.Fatal(err)
	}
	web := httptest.NewServer(server)
	defer web.Close()
	body := putBody(b, server, listPath, strings.Repeat("x", 1024), nil)
	client := web.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 100
	b.SetParallelism(50)
	begin := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			request, err := http.NewRequestWithContext(b.Context(), http.MethodPut, web.URL+listPath+"/A", strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			request.Header.Set("Authorization", "Bearer "+aliceToken)
			answer, err := client.Do(request)
			if err != nil || answer.StatusCode > 204 {
				b.Errorf("%v, %v", answer, err)
				return
			}
			_ = answer.Body.Close()
		}
	})
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "requests/s")
}
