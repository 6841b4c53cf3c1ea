package githubd_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-github/v66/github"
	"golang.org/x/crypto/nacl/box"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
)

const (
	aliceToken = "ghp_alice"
	container  = "acme/payments-api"
)

// acme is the world of most tests: one organisation, two repositories.
func acme() githubd.World {
	return githubd.World{
		Organizations: []githubd.Organization{{Login: "acme"}, {Login: "other"}},
		Users:         []githubd.User{{Login: "bob"}},
		Repositories: []githubd.Repository{
			{Owner: "acme", Name: "payments-api", Private: true, Environments: []string{"production", "eu/staging"}},
			{Owner: "acme", Name: "web"},
			{Owner: "other", Name: "thing"},
		},
		Tokens: []githubd.Token{{Token: aliceToken, Login: "alice"}},
	}
}

// start starts a server on loopback and returns the official client for it.
func start(t *testing.T, c githubd.Config) (*githubd.Server, *github.Client) {
	t.Helper()
	server, base := serve(t, c)
	return server, clientAt(t, base, aliceToken)
}

func serve(t *testing.T, c githubd.Config) (*githubd.Server, string) {
	t.Helper()
	server := newServer(t, c)
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	return server, web.URL
}

func newServer(t *testing.T, c githubd.Config) *githubd.Server {
	t.Helper()
	if c.World.Organizations == nil {
		c.World = acme()
	}
	server, err := githubd.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func clientAt(t *testing.T, base, token string) *github.Client {
	t.Helper()
	return enterprise(t, &http.Client{Transport: http.DefaultTransport}, base, token)
}

// inProcess returns a client that needs no network, for synctest's bubbles.
func inProcess(t *testing.T, s *githubd.Server, token string) *github.Client {
	t.Helper()
	return enterprise(t, s.Client(), "http://github.test", token)
}

func enterprise(t *testing.T, web *http.Client, base, token string) *github.Client {
	t.Helper()
	client, err := github.NewClient(web).WithAuthToken(token).WithEnterpriseURLs(base, base)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// family is one family of secrets of a repository through the official client.
type family struct {
	scope  string
	key    func(context.Context) (*github.PublicKey, *github.Response, error)
	list   func(context.Context, *github.ListOptions) (*github.Secrets, *github.Response, error)
	get    func(context.Context, string) (*github.Secret, *github.Response, error)
	put    func(context.Context, *github.EncryptedSecret) (*github.Response, error)
	delete func(context.Context, string) (*github.Response, error)
}

const owner, repo = "acme", "payments-api"

func families(s *githubd.Server, c *github.Client) []family {
	id := int(s.RepositoryID(container))
	environment := func(name string) family {
		return family{
			scope: "environment:" + name,
			key: func(x context.Context) (*github.PublicKey, *github.Response, error) {
				return c.Actions.GetEnvPublicKey(x, id, escape(name))
			},
			list: func(x context.Context, o *github.ListOptions) (*github.Secrets, *github.Response, error) {
				return c.Actions.ListEnvSecrets(x, id, escape(name), o)
			},
			get: func(x context.Context, n string) (*github.Secret, *github.Response, error) {
				return c.Actions.GetEnvSecret(x, id, escape(name), n)
			},
			put: func(x context.Context, e *github.EncryptedSecret) (*github.Response, error) {
				return c.Actions.CreateOrUpdateEnvSecret(x, id, escape(name), e)
			},
			delete: func(x context.Context, n string) (*github.Response, error) {
				return c.Actions.DeleteEnvSecret(x, id, escape(name), n)
			},
		}
	}
	return []family{
		{
			scope: "actions",
			key: func(x context.Context) (*github.PublicKey, *github.Response, error) {
				return c.Actions.GetRepoPublicKey(x, owner, repo)
			},
			list: func(x context.Context, o *github.ListOptions) (*github.Secrets, *github.Response, error) {
				return c.Actions.ListRepoSecrets(x, owner, repo, o)
			},
			get: func(x context.Context, n string) (*github.Secret, *github.Response, error) {
				return c.Actions.GetRepoSecret(x, owner, repo, n)
			},
			put: func(x context.Context, e *github.EncryptedSecret) (*github.Response, error) {
				return c.Actions.CreateOrUpdateRepoSecret(x, owner, repo, e)
			},
			delete: func(x context.Context, n string) (*github.Response, error) {
				return c.Actions.DeleteRepoSecret(x, owner, repo, n)
			},
		},
		{
			scope: "codespaces",
			key: func(x context.Context) (*github.PublicKey, *github.Response, error) {
				return c.Codespaces.GetRepoPublicKey(x, owner, repo)
			},
			list: func(x context.Context, o *github.ListOptions) (*github.Secrets, *github.Response, error) {
				return c.Codespaces.ListRepoSecrets(x, owner, repo, o)
			},
			get: func(x context.Context, n string) (*github.Secret, *github.Response, error) {
				return c.Codespaces.GetRepoSecret(x, owner, repo, n)
			},
			put: func(x context.Context, e *github.EncryptedSecret) (*github.Response, error) {
				return c.Codespaces.CreateOrUpdateRepoSecret(x, owner, repo, e)
			},
			delete: func(x context.Context, n string) (*github.Response, error) {
				return c.Codespaces.DeleteRepoSecret(x, owner, repo, n)
			},
		},
		{
			scope: "dependabot",
			key: func(x context.Context) (*github.PublicKey, *github.Response, error) {
				return c.Dependabot.GetRepoPublicKey(x, owner, repo)
			},
			list: func(x context.Context, o *github.ListOptions) (*github.Secrets, *github.Response, error) {
				return c.Dependabot.ListRepoSecrets(x, owner, repo, o)
			},
			get: func(x context.Context, n string) (*github.Secret, *github.Response, error) {
				return c.Dependabot.GetRepoSecret(x, owner, repo, n)
			},
			put: func(x context.Context, e *github.EncryptedSecret) (*github.Response, error) {
				return c.Dependabot.CreateOrUpdateRepoSecret(x, owner, repo, forDependabot(e))
			},
			delete: func(x context.Context, n string) (*github.Response, error) {
				return c.Dependabot.DeleteRepoSecret(x, owner, repo, n)
			},
		},
		environment("production"),
		environment("eu/staging"),
	}
}

func actions(s *githubd.Server, c *github.Client) family { return families(s, c)[0] }

func forDependabot(e *github.EncryptedSecret) *github.DependabotEncryptedSecret {
	return &github.DependabotEncryptedSecret{Name: e.Name, KeyID: e.KeyID, EncryptedValue: e.EncryptedValue, Visibility: e.Visibility}
}

// seal makes a sealed box for the key.
func seal(t testing.TB, key *github.PublicKey, name, value string) *github.EncryptedSecret {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key.GetKey())
	if err != nil || len(raw) != 32 {
		t.Fatalf("public key %q: %v", key.GetKey(), err)
	}
	sealed, err := box.SealAnonymous(nil, []byte(value), (*[32]byte)(raw), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &github.EncryptedSecret{Name: name, KeyID: key.GetKeyID(), EncryptedValue: base64.StdEncoding.EncodeToString(sealed)}
}

// put seals a value to the present key and writes it.
func (f family) write(t *testing.T, name, value string) (*github.Response, error) {
	t.Helper()
	key, _, err := f.key(t.Context())
	if err != nil {
		return nil, err
	}
	return f.put(t.Context(), seal(t, key, name, value))
}

func (f family) mustWrite(t *testing.T, name, value string) *github.Response {
	t.Helper()
	answer, err := f.write(t, name, value)
	if err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return answer
}

func wantStatus(t *testing.T, answer *github.Response, err error, want int) {
	t.Helper()
	if answer == nil || answer.StatusCode != want {
		t.Fatalf("got %s, %v; want status %d", statusOf(answer), err, want)
	}
	if want < 300 && err != nil {
		t.Fatalf("status %d came with the error %v", want, err)
	}
}

func statusOf(answer *github.Response) string {
	if answer == nil {
		return "no answer"
	}
	return fmt.Sprint(answer.StatusCode)
}
