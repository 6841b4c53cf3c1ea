package githubd_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-github/v66/github"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
)

const (
	appID          = 31
	installationID = 77
)

// appKey is made once: an RSA key takes a while.
var appKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func publicPEM(t *testing.T, key *rsa.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// withApp is the world of acme with an App that is installed for the
// repositories that are named; none is all.
func withApp(t *testing.T, permissions githubd.Permissions, repos ...string) githubd.World {
	t.Helper()
	w := acme()
	w.Apps = []githubd.App{{ID: appID, ClientID: "Iv1.sealpost", Slug: "sealpost", PublicKey: publicPEM(t, &appKey().PublicKey)}}
	w.Installations = []githubd.Installation{{ID: installationID, AppID: appID, Account: "acme", Permissions: permissions, Repositories: repos}}
	return w
}

// sign makes an App's JWT.
func sign(t *testing.T, algorithm jose.SignatureAlgorithm, key any, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func claims(issuer any, issued, expires time.Duration) map[string]any {
	now := time.Now()
	return map[string]any{"iss": issuer, "iat": now.Add(issued).Unix(), "exp": now.Add(expires).Unix()}
}

func appToken(t *testing.T) string {
	return sign(t, jose.RS256, appKey(), claims(appID, -time.Minute, 9*time.Minute))
}

func TestAppJWT(t *testing.T) {
	t.Parallel()
	_, base := serve(t, githubd.Config{World: withApp(t, githubd.Permissions{"secrets": "write"})})
	otherKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := claims(appID, -time.Minute, 9*time.Minute)
	lie := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(sign(t, jose.RS256, appKey(), good), ".")[1]
	digest := sha256.Sum256([]byte(lie))
	signature, err := rsa.SignPKCS1v15(nil, appKey(), crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	unsigned := strings.Split(sign(t, jose.RS256, appKey(), good), ".")
	for _, c := range []struct {
		name   string
		token  string
		status int
	}{
		{"good", sign(t, jose.RS256, appKey(), good), 200},
		{"issuer as text", sign(t, jose.RS256, appKey(), claims("31", 0, time.Minute)), 200},
		{"issuer is the client id", sign(t, jose.RS256, appKey(), claims("Iv1.sealpost", 0, time.Minute)), 200},
		{"just under ten minutes", sign(t, jose.RS256, appKey(), claims(appID, 0, 10*time.Minute-time.Second)), 200},
		{"too long", sign(t, jose.RS256, appKey(), claims(appID, 0, 11*time.Minute)), 401},
		{"expired", sign(t, jose.RS256, appKey(), claims(appID, -time.Hour, -time.Second)), 401},
		{"from the future", sign(t, jose.RS256, appKey(), claims(appID, 2*time.Minute, 9*time.Minute)), 401},
		{"another key", sign(t, jose.RS256, otherKey, good), 401},
		{"another algorithm", sign(t, jose.RS512, appKey(), good), 401},
		{"symmetric", sign(t, jose.HS256, []byte(publicPEM(t, &appKey().PublicKey)), good), 401},
		{"alg none", "eyJhbGciOiJub25lIn0." + unsigned[1] + ".", 401},
		{"a good signature under alg none", lie + "." + base64.RawURLEncoding.EncodeToString(signature), 401},
		{"another app", sign(t, jose.RS256, appKey(), claims(99, 0, time.Minute)), 404},
		{"a user's token", aliceToken, 401},
		{"nothing", "", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			app, answer, err := clientAt(t, base, c.token).Apps.Get(t.Context(), "")
			wantStatus(t, answer, err, c.status)
			if c.status == 200 && (app.GetID() != appID || app.GetSlug() != "sealpost") {
				t.Errorf("got %v", app)
			}
		})
	}
}

// installed starts a server with an App and returns a client with a token of
// its installation.
func installed(t *testing.T, c githubd.Config, o *github.InstallationTokenOptions) (*githubd.Server, *github.Client) {
	t.Helper()
	server, base := serve(t, c)
	token, answer, err := clientAt(t, base, appToken(t)).Apps.CreateInstallationToken(t.Context(), installationID, o)
	wantStatus(t, answer, err, 201)
	if left := time.Until(token.GetExpiresAt().Time); left < 59*time.Minute || left > time.Hour {
		t.Errorf("the token lives for %s", left)
	}
	return server, clientAt(t, base, token.GetToken())
}

func TestInstallationTokens(t *testing.T) {
	t.Parallel()
	world := withApp(t, githubd.Permissions{"secrets": "write", "dependabot_secrets": "read"}, "payments-api")
	server, client := installed(t, githubd.Config{World: world}, nil)

	repos, answer, err := client.Apps.ListRepos(t.Context(), nil)
	wantStatus(t, answer, err, 200)
	if repos.GetTotalCount() != 1 || repos.Repositories[0].GetFullName() != container {
		t.Errorf("the installation reaches %v", repos.Repositories)
	}
	actions(server, client).mustWrite(t, "A", "1")

	_, answer, err = client.Repositories.Get(t.Context(), "acme", "web")
	wantStatus(t, answer, err, 404)
	_, answer, err = client.Repositories.Get(t.Context(), "other", "thing")
	wantStatus(t, answer, err, 404)
	_, answer, err = client.Organizations.Get(t.Context(), "other")
	wantStatus(t, answer, err, 404)

	server.ExpireTokens()
	_, answer, err = client.Repositories.Get(t.Context(), owner, repo)
	wantStatus(t, answer, err, 401)
}

func TestNarrowedInstallationTokens(t *testing.T) {
	t.Parallel()
	world := withApp(t, githubd.Permissions{"secrets": "write"})
	server, client := installed(t, githubd.Config{World: world}, &github.InstallationTokenOptions{
		Repositories: []string{"payments-api"}, Permissions: &github.InstallationPermissions{Secrets: github.String("read")},
	})
	f := actions(server, client)
	_, answer, err := f.list(t.Context(), nil)
	wantStatus(t, answer, err, 200)
	_, err = f.write(t, "A", "1")
	if err == nil || !strings.Contains(err.Error(), "403 Resource not accessible by integration") {
		t.Errorf("a read-only token writes: %v", err)
	}
	_, answer, err = client.Repositories.Get(t.Context(), "acme", "web")
	wantStatus(t, answer, err, 404)
}

func TestTokenRequestsThatAskTooMuch(t *testing.T) {
	t.Parallel()
	_, base := serve(t, githubd.Config{World: withApp(t, githubd.Permissions{"secrets": "read"}, "payments-api")})
	client := clientAt(t, base, appToken(t))
	for name, c := range map[string]struct {
		id      int64
		options github.InstallationTokenOptions
		status  int
	}{
		"unknown installation": {id: 1, status: 404},
		"a higher level":       {id: installationID, options: github.InstallationTokenOptions{Permissions: &github.InstallationPermissions{Secrets: github.String("write")}}, status: 422},
		"another permission":   {id: installationID, options: github.InstallationTokenOptions{Permissions: &github.InstallationPermissions{Actions: github.String("read")}}, status: 422},
		"another repository":   {id: installationID, options: github.InstallationTokenOptions{Repositories: []string{"web"}}, status: 422},
		"no such repository":   {id: installationID, options: github.InstallationTokenOptions{Repositories: []string{"nothing"}}, status: 422},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, answer, err := client.Apps.CreateInstallationToken(t.Context(), c.id, &c.options)
			wantStatus(t, answer, err, c.status)
		})
	}
}

func TestFindInstallation(t *testing.T) {
	t.Parallel()
	_, base := serve(t, githubd.Config{World: withApp(t, githubd.Permissions{"secrets": "read"}, "payments-api")})
	client := clientAt(t, base, appToken(t))

	found, answer, err := client.Apps.FindRepositoryInstallation(t.Context(), owner, repo)
	wantStatus(t, answer, err, 200)
	if found.GetID() != installationID || found.GetAppID() != appID || found.GetPermissions().GetSecrets() != "read" || found.GetRepositorySelection() != "selected" {
		t.Errorf("found %v", found)
	}
	found, answer, err = client.Apps.FindOrganizationInstallation(t.Context(), "acme")
	wantStatus(t, answer, err, 200)
	if found.GetAccount().GetLogin() != "acme" {
		t.Errorf("found %v", found)
	}
	_, answer, err = client.Apps.FindRepositoryInstallation(t.Context(), "acme", "web")
	wantStatus(t, answer, err, 404)
	_, answer, err = client.Apps.FindOrganizationInstallation(t.Context(), "other")
	wantStatus(t, answer, err, 404)
	_, answer, err = client.Apps.GetInstallation(t.Context(), installationID)
	wantStatus(t, answer, err, 200)
}

func TestMissingPermissions(t *testing.T) {
	t.Parallel()
	// The least that each endpoint asks for, by server-to-server-permissions.json.
	for _, c := range []struct {
		method, path, need string
	}{
		{"GET", "/repos/acme/payments-api/actions/secrets", "secrets=read"},
		{"GET", "/repos/acme/payments-api/actions/secrets/public-key", "secrets=read"},
		{"PUT", "/repos/acme/payments-api/actions/secrets/A", "secrets=write"},
		{"DELETE", "/repos/acme/payments-api/actions/secrets/A", "secrets=write"},
		{"GET", "/repos/acme/payments-api/codespaces/secrets", "codespaces_secrets=write"},
		{"GET", "/repos/acme/payments-api/codespaces/secrets/public-key", "codespaces_secrets=write"},
		{"GET", "/repos/acme/payments-api/dependabot/secrets", "dependabot_secrets=read"},
		{"PUT", "/repos/acme/payments-api/dependabot/secrets/A", "dependabot_secrets=write"},
		{"GET", "/repos/acme/payments-api/environments/production/secrets", "environments=read"},
		{"PUT", "/repos/acme/payments-api/environments/production/secrets/A", "environments=write"},
		{"GET", "/repos/acme/payments-api/environments", "actions=read"},
		{"PUT", "/repos/acme/payments-api/environments/new", "administration=write"},
		{"GET", "/orgs/acme/actions/secrets", "organization_secrets=read"},
		{"PUT", "/orgs/acme/actions/secrets/A", "organization_secrets=write"},
		{"GET", "/orgs/acme/codespaces/secrets", "organization_codespaces_secrets=read"},
		{"DELETE", "/orgs/acme/dependabot/secrets/A", "organization_dependabot_secrets=write"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			t.Parallel()
			name, level, _ := strings.Cut(c.need, "=")
			too := githubd.Permissions{"metadata": "read"}
			if level == "write" {
				too[name] = "read"
			}
			world := acme()
			world.Tokens = append(world.Tokens, githubd.Token{Token: "ghp_less", Login: "bob", Permissions: too})
			server := newServer(t, githubd.Config{World: world})
			answer := send(t, server, "ghp_less", c.method, c.path, "")
			if answer.StatusCode != http.StatusForbidden {
				t.Errorf("status %d with %v", answer.StatusCode, too)
			}
			if got := answer.Header.Get("X-Accepted-GitHub-Permissions"); got != c.need {
				t.Errorf("accepted permissions %q; want %q", got, c.need)
			}
			enough := githubd.World{Tokens: []githubd.Token{{Token: "ghp_enough", Login: "bob", Permissions: githubd.Permissions{name: level}}}}
			if err := server.Add(enough); err != nil {
				t.Fatal(err)
			}
			if answer := send(t, server, "ghp_enough", c.method, c.path, ""); answer.StatusCode == http.StatusForbidden {
				t.Errorf("refused with %s", c.need)
			}
		})
	}
}

func TestTokensOfPeople(t *testing.T) {
	t.Parallel()
	world := acme()
	world.Tokens = []githubd.Token{
		{Token: "one-repo", Login: "bob", Repositories: []string{container}},
		{Token: "one-account", Login: "bob", Accounts: []string{"Acme"}},
	}
	server := newServer(t, githubd.Config{World: world})
	for _, c := range []struct {
		authorization, path string
		status              int
	}{
		{"Bearer one-repo", "/repos/acme/payments-api", 200},
		{"token one-repo", "/repos/ACME/Payments-API", 200},
		{"Basic Ym9iOm9uZS1yZXBv", "/repos/acme/payments-api", 200}, // bob:one-repo
		{"Bearer one-repo", "/repos/acme/web", 404},
		{"Bearer one-repo", "/orgs/acme", 404},
		{"Bearer one-account", "/repos/acme/web", 200},
		{"Bearer one-account", "/orgs/acme", 200},
		{"Bearer one-account", "/repos/other/thing", 404},
		{"Bearer unknown", "/repos/acme/payments-api", 401},
		{"", "/repos/acme/payments-api", 401},
		{"Bearer one-account", "/nothing/here", 404},
		{"Bearer one-account", "/repos/acme/payments-api/environments/none/secrets", 404},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://github.test"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.authorization != "" {
			request.Header.Set("Authorization", c.authorization)
		}
		if answer := do(t, server.Client(), request); answer.StatusCode != c.status {
			t.Errorf("%q %s: status %d; want %d", c.authorization, c.path, answer.StatusCode, c.status)
		}
	}
}
