package githubd_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-github/v66/github"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

func escape(name string) string { return url.PathEscape(name) }

func TestRepositorySecretsInEveryFamily(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	for _, f := range families(server, client) {
		t.Run(f.scope, func(t *testing.T) {
			t.Parallel()
			target := githubd.Target{Container: container, Scope: secret.Scope(f.scope), Name: "DATABASE_URL"}

			wantStatus(t, f.mustWrite(t, "database_url", "one"), nil, 201)
			wantStatus(t, f.mustWrite(t, "DATABASE_URL", "two\n\u00e9"), nil, 204)
			if got, ok := server.Value(target); !ok || got != "two\n\u00e9" {
				t.Fatalf("the server holds %q, %v", got, ok)
			}
			shown, answer, err := f.get(t.Context(), "Database_Url")
			wantStatus(t, answer, err, 200)
			if shown.Name != "DATABASE_URL" || shown.CreatedAt.IsZero() || shown.UpdatedAt.Nanosecond() != 0 {
				t.Errorf("shown as %+v", shown)
			}
			list, answer, err := f.list(t.Context(), nil)
			wantStatus(t, answer, err, 200)
			if list.TotalCount != 1 || len(list.Secrets) != 1 || list.Secrets[0].Name != "DATABASE_URL" {
				t.Errorf("listed as %+v", list)
			}
			answer, err = f.delete(t.Context(), "database_url")
			wantStatus(t, answer, err, 204)
			answer, err = f.delete(t.Context(), "database_url")
			wantStatus(t, answer, err, 404)
			_, answer, err = f.get(t.Context(), "DATABASE_URL")
			wantStatus(t, answer, err, 404)
			if _, ok := server.Value(target); ok {
				t.Error("the value is still there")
			}
		})
	}
}

func TestPutRefusals(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	f := actions(server, client)
	key, _, err := f.key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good := seal(t, key, "GOOD", "value")

	stale := *good
	stale.KeyID = "1"
	garbage := *good
	garbage.EncryptedValue = "bm90IGEgc2VhbGVkIGJveA=="
	notBase64 := *good
	notBase64.EncryptedValue = "plain text!"

	for _, c := range []struct {
		name  string
		write func() error
		words string
	}{
		{"stale key", func() error { _, err := f.put(t.Context(), &stale); return err }, "improperly encrypted secret"},
		{"not a sealed box", func() error { _, err := f.put(t.Context(), &garbage); return err }, "improperly encrypted secret"},
		{"not base64", func() error { _, err := f.put(t.Context(), &notBase64); return err }, "plain text! does not match"},
		{"prefix", func() error { _, err := f.write(t, "github_x", "v"); return err }, "must not start with GITHUB_"},
		{"leading digit", func() error { _, err := f.write(t, "1X", "v"); return err }, "can only contain alphanumeric"},
		{"dash", func() error { _, err := f.write(t, "A-B", "v"); return err }, "can only contain alphanumeric"},
		{"too large", func() error { _, err := f.write(t, "BIG", strings.Repeat("x", 48*1024+1)); return err }, "too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := c.write()
			if err == nil || !strings.Contains(err.Error(), " 422 ") || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v; want a 422 with %q", err, c.words)
			}
		})
	}
	t.Cleanup(func() { // after the parallel ones
		if got := server.Counts().Writes(); got != 0 {
			t.Errorf("%d writes took effect", got)
		}
	})
}

func TestTheLargestValue(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	actions(server, client).mustWrite(t, "BIG", strings.Repeat("x", 48*1024))
}

func TestPages(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	for i := range 100 {
		target := githubd.Target{Container: container, Scope: "actions", Name: fmt.Sprintf("S%03d", i)}
		if err := server.Edit(target, "v"); err != nil {
			t.Fatal(err)
		}
	}
	f := actions(server, client)
	for _, c := range []struct {
		size, page       int
		count            int
		first            string
		next, prev, last int
	}{
		{0, 0, 30, "S000", 2, 0, 4},
		{40, 3, 20, "S080", 0, 2, 0},
		{40, 2, 40, "S040", 3, 1, 3},
		{100, 1, 100, "S000", 0, 0, 0},
		{500, 1, 100, "S000", 0, 0, 0},
		{30, 9, 0, "", 0, 4, 0},
	} {
		list, answer, err := f.list(t.Context(), &github.ListOptions{PerPage: c.size, Page: c.page})
		wantStatus(t, answer, err, 200)
		if len(list.Secrets) != c.count || list.TotalCount != 100 || c.count > 0 && list.Secrets[0].Name != c.first {
			t.Errorf("%+v: %d of %d listed", c, len(list.Secrets), list.TotalCount)
		}
		if answer.NextPage != c.next || answer.PrevPage != c.prev || answer.LastPage != c.last {
			t.Errorf("%+v: next %d, previous %d, last %d", c, answer.NextPage, answer.PrevPage, answer.LastPage)
		}
	}
	// The links lead to where they say.
	answer := send(t, server, aliceToken, "GET", "/api/v3"+listPath+"?per_page=60", "")
	link, _, _ := strings.Cut(strings.TrimPrefix(answer.Header.Get("Link"), "<"), ">")
	next, err := url.Parse(link)
	if err != nil || next.Path != "/api/v3"+listPath {
		t.Fatalf("the next page is at %q", link)
	}
	if body := bodyOf(t, send(t, server, aliceToken, "GET", next.RequestURI(), "")); !strings.Contains(body, "S099") {
		t.Errorf("the next page is %s", body)
	}
}

func TestETags(t *testing.T) {
	t.Parallel()
	world := acme()
	world.Tokens = append(world.Tokens, githubd.Token{Token: "other", Login: "alice"})
	server := newServer(t, githubd.Config{World: world})
	target := githubd.Target{Container: container, Scope: "actions", Name: "A"}
	if err := server.Edit(target, "v"); err != nil {
		t.Fatal(err)
	}
	first := send(t, server, aliceToken, "GET", listPath, "")
	etag := first.Header.Get("ETag")
	status := func(token, path, match string) int {
		answer := send(t, server, token, "GET", path, "", "If-None-Match", match)
		if answer.StatusCode == 304 && bodyOf(t, answer) != "" {
			t.Error("a 304 has a body")
		}
		return answer.StatusCode
	}
	for _, c := range []struct {
		name, token, path, match string
		want                     int
	}{
		{"the same", aliceToken, listPath, etag, 304},
		{"strong", aliceToken, listPath, strings.TrimPrefix(etag, "W/"), 304},
		{"one of some", aliceToken, listPath, `"x", ` + etag, 304},
		{"another", aliceToken, listPath, `W/"x"`, 200},
		{"another token", "other", listPath, etag, 200},
		{"another scope", aliceToken, "/repos/acme/payments-api/dependabot/secrets", etag, 200},
	} {
		if got := status(c.token, c.path, c.match); got != c.want {
			t.Errorf("%s: %d; want %d", c.name, got, c.want)
		}
	}
	if err := server.Remove(target); err != nil {
		t.Fatal(err)
	}
	if got := status(aliceToken, listPath, etag); got != 200 {
		t.Errorf("after a change: %d", got)
	}
	if etag == "" || !strings.HasPrefix(etag, "W/") {
		t.Errorf("ETag %q", etag)
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, githubd.Config{})
		time.Sleep(1500 * time.Millisecond)
		answer := send(t, server, aliceToken, "GET", listPath, "")
		if got := answer.Header.Get("Date"); got != time.Now().UTC().Format(http.TimeFormat) {
			t.Errorf("Date %q", got)
		}
		if answer.Header.Get("X-GitHub-Request-Id") == "" || answer.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("headers %v", answer.Header)
		}
	})
}

func TestTimesOfSecrets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, githubd.Config{Settings: githubd.Settings{Skew: githubd.Duration(-3 * time.Second)}})
		f := actions(server, inProcess(t, server, aliceToken))
		begin := time.Now()
		time.Sleep(700 * time.Millisecond)
		f.mustWrite(t, "A", "1")
		time.Sleep(time.Minute)
		f.mustWrite(t, "A", "2")
		shown, _, err := f.get(t.Context(), "A")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := shown.CreatedAt.Time, begin.Add(-3*time.Second); !got.Equal(want) {
			t.Errorf("created at %s; want %s", got, want)
		}
		if got, want := shown.UpdatedAt.Time, begin.Add(57*time.Second); !got.Equal(want) {
			t.Errorf("updated at %s; want %s", got, want)
		}
	})
}

func TestListsThatLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, githubd.Config{Settings: githubd.Settings{ListLag: githubd.Duration(time.Second)}})
		f := actions(server, inProcess(t, server, aliceToken))
		names := func() string {
			list, _, err := f.list(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, s := range list.Secrets {
				names = append(names, fmt.Sprintf("%s@%d", s.Name, s.UpdatedAt.Unix()-s.CreatedAt.Unix()))
			}
			return strings.Join(names, " ")
		}
		want := func(want string) {
			t.Helper()
			if got := names(); got != want {
				t.Errorf("listed %q; want %q", got, want)
			}
		}
		f.mustWrite(t, "A", "1") // at 0
		want("")
		time.Sleep(600 * time.Millisecond)
		f.mustWrite(t, "B", "1") // at 0.6
		time.Sleep(400 * time.Millisecond)
		want("A@0")
		time.Sleep(600 * time.Millisecond)
		want("A@0 B@0")
		f.mustWrite(t, "A", "2") // at 1.6, a second later than it was created
		if _, err := f.delete(t.Context(), "B"); err != nil {
			t.Fatal(err)
		}
		want("A@0 B@0")
		if _, answer, err := f.get(t.Context(), "B"); err == nil {
			t.Errorf("a read of the secret itself lags: %v", answer.Status)
		}
		time.Sleep(time.Second)
		want("A@1")
		f.mustWrite(t, "A", "3") // two writes within the lag: both are yet to show
		time.Sleep(500 * time.Millisecond)
		f.mustWrite(t, "A", "4")
		want("A@1")
		time.Sleep(500 * time.Millisecond)
		want("A@2")
	})
}

func TestRotatedKeys(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	f := actions(server, client)
	key, _, err := f.key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.RotateKey(container, "actions"); err != nil {
		t.Fatal(err)
	}
	answer, err := f.put(t.Context(), seal(t, key, "A", "v"))
	wantStatus(t, answer, err, 422)
	wantStatus(t, f.mustWrite(t, "A", "v"), nil, 201)
}

func TestCapacity(t *testing.T) {
	t.Parallel()
	for scope, capacity := range map[secret.Scope]int{"actions": 100, "environment:production": 100, "org-actions": 1000, "org-codespaces": 100} {
		t.Run(string(scope), func(t *testing.T) {
			t.Parallel()
			server := newServer(t, githubd.Config{})
			place, at := container, "/repos/acme/payments-api/actions/secrets"
			if scope.Organisation() {
				place, at = "acme", "/orgs/acme/"+strings.TrimPrefix(string(scope), "org-")+"/secrets"
			}
			if name, ok := scope.Environment(); ok {
				at = "/repos/acme/payments-api/environments/" + name + "/secrets"
			}
			for i := range capacity {
				if err := server.Edit(githubd.Target{Container: place, Scope: scope, Name: fmt.Sprintf("S%d", i)}, "v"); err != nil {
					t.Fatal(err)
				}
			}
			body := putBody(t, server, at, "w", map[string]any{"visibility": "all"})
			if answer := send(t, server, aliceToken, "PUT", at+"/ONE_MORE", body); answer.StatusCode != 422 {
				t.Errorf("one more: %d", answer.StatusCode)
			}
			if answer := send(t, server, aliceToken, "PUT", at+"/S0", body); answer.StatusCode != 204 {
				t.Errorf("one that is there: %d", answer.StatusCode)
			}
		})
	}
}

func TestCountsOfWrites(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	f := actions(server, client)
	f.mustWrite(t, "A", "1")
	f.mustWrite(t, "A", "2")
	f.mustWrite(t, "A", "2")
	if _, err := f.delete(t.Context(), "A"); err != nil {
		t.Fatal(err)
	}
	got := server.Counts()
	if got.Created != 1 || got.Updated != 1 || got.Rewritten != 1 || got.Deleted != 1 || got.Writes() != 4 {
		t.Errorf("counted %+v", got)
	}
	if got.ByKind[githubd.KindPut] != 3 || got.ByKind[githubd.KindPublicKey] != 3 || got.ByMethod["DELETE"] != 1 || got.ByStatus[204] != 3 || got.Requests != 7 || got.Points != 4*5+3 {
		t.Errorf("counted %+v", got)
	}
	log := server.Requests()
	if len(log) != 7 || log[6].Method != "DELETE" || log[6].Path != listPath+"/A" || log[6].Identity != "user:alice" || log[6].Status != 204 {
		t.Errorf("logged %+v", log)
	}
	server.ResetCounts()
	if got := server.Counts(); got.Requests != 0 || len(server.Requests()) != 0 {
		t.Errorf("after the reset: %+v", got)
	}
}

func TestOrganizationSecrets(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	payments, web := server.RepositoryID(container), server.RepositoryID("acme/web")
	ids := func(ids ...int64) string { return fmt.Sprint(ids) }
	type org struct {
		family   string
		key      func() (*github.PublicKey, *github.Response, error)
		put      func(*github.EncryptedSecret) (*github.Response, error)
		get      func(string) (*github.Secret, *github.Response, error)
		list     func() (*github.Secrets, *github.Response, error)
		delete   func(string) (*github.Response, error)
		selected func(string) (*github.SelectedReposList, *github.Response, error)
		set      func(string, ...int64) (*github.Response, error)
		add      func(string, int64) (*github.Response, error)
		remove   func(string, int64) (*github.Response, error)
	}
	x := t.Context()
	byID := func(id int64) *github.Repository { return &github.Repository{ID: &id} }
	for _, o := range []org{
		{
			"actions",
			func() (*github.PublicKey, *github.Response, error) { return client.Actions.GetOrgPublicKey(x, "acme") },
			func(e *github.EncryptedSecret) (*github.Response, error) {
				return client.Actions.CreateOrUpdateOrgSecret(x, "acme", e)
			},
			func(n string) (*github.Secret, *github.Response, error) {
				return client.Actions.GetOrgSecret(x, "acme", n)
			},
			func() (*github.Secrets, *github.Response, error) {
				return client.Actions.ListOrgSecrets(x, "acme", nil)
			},
			func(n string) (*github.Response, error) { return client.Actions.DeleteOrgSecret(x, "acme", n) },
			func(n string) (*github.SelectedReposList, *github.Response, error) {
				return client.Actions.ListSelectedReposForOrgSecret(x, "acme", n, nil)
			},
			func(n string, i ...int64) (*github.Response, error) {
				return client.Actions.SetSelectedReposForOrgSecret(x, "acme", n, i)
			},
			func(n string, i int64) (*github.Response, error) {
				return client.Actions.AddSelectedRepoToOrgSecret(x, "acme", n, byID(i))
			},
			func(n string, i int64) (*github.Response, error) {
				return client.Actions.RemoveSelectedRepoFromOrgSecret(x, "acme", n, byID(i))
			},
		},
		{
			"codespaces",
			func() (*github.PublicKey, *github.Response, error) {
				return client.Codespaces.GetOrgPublicKey(x, "acme")
			},
			func(e *github.EncryptedSecret) (*github.Response, error) {
				return client.Codespaces.CreateOrUpdateOrgSecret(x, "acme", e)
			},
			func(n string) (*github.Secret, *github.Response, error) {
				return client.Codespaces.GetOrgSecret(x, "acme", n)
			},
			func() (*github.Secrets, *github.Response, error) {
				return client.Codespaces.ListOrgSecrets(x, "acme", nil)
			},
			func(n string) (*github.Response, error) { return client.Codespaces.DeleteOrgSecret(x, "acme", n) },
			func(n string) (*github.SelectedReposList, *github.Response, error) {
				return client.Codespaces.ListSelectedReposForOrgSecret(x, "acme", n, nil)
			},
			func(n string, i ...int64) (*github.Response, error) {
				return client.Codespaces.SetSelectedReposForOrgSecret(x, "acme", n, i)
			},
			func(n string, i int64) (*github.Response, error) {
				return client.Codespaces.AddSelectedRepoToOrgSecret(x, "acme", n, byID(i))
			},
			func(n string, i int64) (*github.Response, error) {
				return client.Codespaces.RemoveSelectedRepoFromOrgSecret(x, "acme", n, byID(i))
			},
		},
		{
			"dependabot",
			func() (*github.PublicKey, *github.Response, error) {
				return client.Dependabot.GetOrgPublicKey(x, "acme")
			},
			func(e *github.EncryptedSecret) (*github.Response, error) {
				d := forDependabot(e)
				d.SelectedRepositoryIDs = github.DependabotSecretsSelectedRepoIDs(e.SelectedRepositoryIDs)
				return client.Dependabot.CreateOrUpdateOrgSecret(x, "acme", d)
			},
			func(n string) (*github.Secret, *github.Response, error) {
				return client.Dependabot.GetOrgSecret(x, "acme", n)
			},
			func() (*github.Secrets, *github.Response, error) {
				return client.Dependabot.ListOrgSecrets(x, "acme", nil)
			},
			func(n string) (*github.Response, error) { return client.Dependabot.DeleteOrgSecret(x, "acme", n) },
			func(n string) (*github.SelectedReposList, *github.Response, error) {
				return client.Dependabot.ListSelectedReposForOrgSecret(x, "acme", n, nil)
			},
			func(n string, i ...int64) (*github.Response, error) {
				return client.Dependabot.SetSelectedReposForOrgSecret(x, "acme", n, i)
			},
			func(n string, i int64) (*github.Response, error) {
				return client.Dependabot.AddSelectedRepoToOrgSecret(x, "acme", n, byID(i))
			},
			func(n string, i int64) (*github.Response, error) {
				return client.Dependabot.RemoveSelectedRepoFromOrgSecret(x, "acme", n, byID(i))
			},
		},
	} {
		t.Run(o.family, func(t *testing.T) {
			t.Parallel()
			write := func(name, visibility string, repos ...int64) (*github.Response, error) {
				key, _, err := o.key()
				if err != nil {
					t.Fatal(err)
				}
				e := seal(t, key, name, "value of "+visibility)
				e.Visibility, e.SelectedRepositoryIDs = visibility, repos
				return o.put(e)
			}
			selected := func(want string) {
				t.Helper()
				list, answer, err := o.selected("A")
				wantStatus(t, answer, err, 200)
				var got []int64
				for _, r := range list.Repositories {
					got = append(got, r.GetID())
				}
				if fmt.Sprint(got) != want || list.GetTotalCount() != len(got) {
					t.Errorf("selected %v of %d; want %s", got, list.GetTotalCount(), want)
				}
			}
			answer, err := write("A", "selected", web, payments)
			wantStatus(t, answer, err, 201)
			selected(ids(payments, web))
			shown, answer, err := o.get("A")
			wantStatus(t, answer, err, 200)
			if shown.Visibility != "selected" || !strings.HasSuffix(shown.SelectedRepositoriesURL, "/orgs/acme/"+o.family+"/secrets/A/repositories") {
				t.Errorf("shown as %+v", shown)
			}

			answer, err = write("A", "selected") // what is left out is cleared
			wantStatus(t, answer, err, 204)
			selected(ids())
			answer, err = o.set("A", web)
			wantStatus(t, answer, err, 204)
			answer, err = o.add("A", payments)
			wantStatus(t, answer, err, 204)
			selected(ids(payments, web))
			answer, err = o.remove("A", web)
			wantStatus(t, answer, err, 204)
			selected(ids(payments))

			answer, err = write("A", "private")
			wantStatus(t, answer, err, 204)
			answer, err = o.add("A", payments)
			wantStatus(t, answer, err, 409)
			answer, err = write("A", "private", payments)
			wantStatus(t, answer, err, 422)
			answer, err = write("A", "selected", 42)
			wantStatus(t, answer, err, 422)
			answer, err = write("A", "selected", server.RepositoryID("other/thing"))
			wantStatus(t, answer, err, 422)
			answer, err = write("A", "")
			wantStatus(t, answer, err, 422)

			list, answer, err := o.list()
			wantStatus(t, answer, err, 200)
			if list.TotalCount != 1 || list.Secrets[0].Visibility != "private" {
				t.Errorf("listed %+v", list)
			}
			target := githubd.Target{Container: "acme", Scope: secret.Scope("org-" + o.family), Name: "A"}
			if got, _ := server.Value(target); got != "value of private" {
				t.Errorf("the server holds %q", got)
			}
			at := "/orgs/acme/" + o.family + "/secrets/A"
			if answer := send(t, server, aliceToken, "PUT", at, `{"visibility":"all"}`); answer.StatusCode != 204 {
				t.Errorf("visibility without a value: %d", answer.StatusCode)
			}
			if got, _ := server.Value(target); got != "value of private" {
				t.Errorf("the server holds %q after a change of visibility", got)
			}
			answer, err = o.delete("A")
			wantStatus(t, answer, err, 204)
		})
	}
}

func TestRenamedRepositories(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	id := server.RepositoryID(container)
	if err := server.RenameRepository(container, "billing"); err != nil {
		t.Fatal(err)
	}
	found, answer, err := client.Repositories.Get(t.Context(), owner, repo) // follows the redirect
	wantStatus(t, answer, err, 200)
	if found.GetFullName() != "acme/billing" || found.GetID() != id {
		t.Errorf("found %s, %d", found.GetFullName(), found.GetID())
	}
	wantStatus(t, actions(server, client).mustWrite(t, "A", "v"), nil, 201) // and so does a PUT
	if _, ok := server.Value(githubd.Target{Container: "acme/billing", Scope: "actions", Name: "A"}); !ok {
		t.Error("the write went elsewhere")
	}
	found, answer, err = client.Repositories.GetByID(t.Context(), id)
	wantStatus(t, answer, err, 200)
	if found.GetName() != "billing" {
		t.Errorf("found %s", found.GetName())
	}
}

func TestBadBodies(t *testing.T) {
	t.Parallel()
	server := newServer(t, githubd.Config{})
	for body, want := range map[string]int{
		"":                         400,
		"{":                        400,
		`{"encrypted_value": 1}`:   422,
		`[]`:                       422,
		`null`:                     422,
		`{"key_id": "1"}`:          422,
		strings.Repeat(" ", 2<<20): 413,
	} {
		if answer := send(t, server, aliceToken, "PUT", listPath+"/A", body); answer.StatusCode != want {
			t.Errorf("%.30q: %d; want %d", body, answer.StatusCode, want)
		}
	}
}

func TestEnvironments(t *testing.T) {
	t.Parallel()
	server, client := start(t, githubd.Config{})
	reviewer := server.AccountID("bob")
	env, answer, err := client.Repositories.CreateUpdateEnvironment(t.Context(), owner, repo, "blue", &github.CreateUpdateEnvironment{
		WaitTimer: github.Int(30), CanAdminsBypass: github.Bool(true), Reviewers: []*github.EnvReviewers{{Type: github.String("User"), ID: &reviewer}},
		DeploymentBranchPolicy: &github.BranchPolicy{ProtectedBranches: github.Bool(true), CustomBranchPolicies: github.Bool(false)},
	})
	wantStatus(t, answer, err, 200)
	if env.GetName() != "blue" || len(env.ProtectionRules) != 3 || env.ProtectionRules[0].GetWaitTimer() != 30 || !env.DeploymentBranchPolicy.GetProtectedBranches() {
		t.Errorf("made %+v", env)
	}
	all, answer, err := client.Repositories.ListEnvironments(t.Context(), owner, repo, nil)
	wantStatus(t, answer, err, 200)
	if all.GetTotalCount() != 3 {
		t.Errorf("there are %d", all.GetTotalCount())
	}
	target := githubd.Target{Container: container, Scope: "environment:blue", Name: "A"}
	if err := server.Edit(target, "v"); err != nil {
		t.Fatal(err)
	}
	answer, err = client.Repositories.DeleteEnvironment(t.Context(), owner, repo, "blue")
	wantStatus(t, answer, err, 204)
	if err := server.Add(githubd.World{Repositories: []githubd.Repository{{Owner: owner, Name: repo, Environments: []string{"blue"}}}}); err != nil {
		t.Fatal(err)
	}
	if _, ok := server.Value(target); ok {
		t.Error("an environment's secrets outlived it")
	}
}

func TestEditsByOthers(t *testing.T) {
	t.Parallel()
	server := newServer(t, githubd.Config{})
	if err := server.Edit(githubd.Target{Container: "acme/none", Scope: "actions", Name: "A"}, "v"); !errors.Is(err, fault.NotFound) {
		t.Errorf("no such repository: %v", err)
	}
	if err := server.Edit(githubd.Target{Container: container, Scope: "environment:none", Name: "A"}, "v"); !errors.Is(err, fault.NotFound) {
		t.Errorf("no such environment: %v", err)
	}
	if err := server.Edit(githubd.Target{Container: container, Scope: "cloudflare:w", Name: "A"}, "v"); !errors.Is(err, fault.NotFound) {
		t.Errorf("no such scope: %v", err)
	}
	if err := server.Edit(githubd.Target{Container: container, Scope: "actions", Name: "GITHUB_A"}, "v"); !errors.Is(err, fault.Invalid) {
		t.Errorf("no such name: %v", err)
	}
	if err := server.Remove(githubd.Target{Container: container, Scope: "actions", Name: "A"}); !errors.Is(err, fault.NotFound) {
		t.Errorf("no such secret: %v", err)
	}
	if err := server.RotateKey("none", "org-actions"); !errors.Is(err, fault.NotFound) {
		t.Errorf("no such organisation: %v", err)
	}
}
