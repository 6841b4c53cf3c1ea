package ghapi_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	aliceToken = "ghp_aliceCANARYtoken"
	appID      = 4711
)

var (
	payments = project.Container{Kind: project.Repository, Owner: "acme", Name: "payments-api", ID: 1001}
	acme     = project.Container{Kind: project.Organisation, Owner: "acme", ID: 77}
)

// appKey is made once: it takes a while.
var appKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func privatePEM() secret.Value {
	der := x509.MarshalPKCS1PrivateKey(appKey())
	return secret.NewValue(string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})))
}

func world() githubd.World {
	return githubd.World{
		Organizations: []githubd.Organization{{ID: 77, Login: "acme"}},
		Repositories: []githubd.Repository{
			{ID: 1001, Owner: "acme", Name: "payments-api", Private: true, Environments: []string{"production", "eu/stage 1"}},
			{ID: 1002, Owner: "acme", Name: "web"},
		},
		Tokens: []githubd.Token{
			{Token: aliceToken, Login: "alice"},
			{Token: "ghp_reader", Login: "reader", Accounts: []string{"acme"}, Permissions: githubd.Permissions{"secrets": "read", "metadata": "read"}},
		},
	}
}

func withApp(w githubd.World) githubd.World {
	der := x509.MarshalPKCS1PublicKey(&appKey().PublicKey)
	w.Apps = []githubd.App{{ID: appID, Slug: "sealpost", PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: der}))}}
	w.Installations = []githubd.Installation{{ID: 9, AppID: appID, Account: "acme", Permissions: githubd.Permissions{
		"secrets": "write", "organization_secrets": "write", "metadata": "read",
	}}}
	return w
}

// lab is a GitHub and a client of it.
type lab struct {
	*githubd.Server
	client *ghapi.Client
}

// open makes a lab without a network, for a bubble or outside of one.
func open(t *testing.T, config githubd.Config, change ...func(*ghapi.Config)) lab {
	t.Helper()
	server := newServer(t, config)
	c := ghapi.Config{
		BaseURL: "https://github.test", Transport: server.Transport(), Mode: pace.Off,
		Credentials: ghapi.Credentials{Token: secret.NewValue(aliceToken)},
	}
	for _, f := range change {
		f(&c)
	}
	return lab{server, newClient(t, c)}
}

func newServer(t *testing.T, config githubd.Config) *githubd.Server {
	t.Helper()
	if config.World.Organizations == nil {
		config.World = world()
	}
	server, err := githubd.New(config)
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

func newClient(t *testing.T, c ghapi.Config) *ghapi.Client {
	t.Helper()
	client, err := ghapi.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// overLoopback makes a client of a handler on this machine's network.
func overLoopback(t *testing.T, h http.Handler, change ...func(*ghapi.Config)) *ghapi.Client {
	t.Helper()
	web := httptest.NewServer(h)
	t.Cleanup(web.Close)
	c := ghapi.Config{BaseURL: web.URL, Mode: pace.Off, Credentials: ghapi.Credentials{Token: secret.NewValue(aliceToken)}}
	for _, f := range change {
		f(&c)
	}
	return newClient(t, c)
}

func asApp(c *ghapi.Config) {
	c.Credentials = ghapi.Credentials{App: &ghapi.App{ID: appID, PrivateKey: privatePEM()}}
}

func (l lab) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put writes a value to the Actions scope of the repository.
func (l lab) put(t *testing.T, name, value string) (syncer.Receipt, error) {
	t.Helper()
	return l.client.Put(t.Context(), payments, putOf(name, value))
}

func putOf(name, value string) syncer.Put {
	return syncer.Put{Scope: secret.Actions, Name: secret.Name(name), Value: secret.NewValue(value)}
}

// holds checks the value that GitHub opened.
func (l lab) holds(t *testing.T, name, want string) {
	t.Helper()
	if got, ok := l.Value(githubd.Target{Container: "acme/payments-api", Scope: secret.Actions, Name: name}); !ok || got != want {
		t.Errorf("%s: GitHub holds another value than was written, or none (%v)", name, ok)
	}
}

func (l lab) fail(t *testing.T, faults ...githubd.Fault) {
	t.Helper()
	for _, f := range faults {
		if err := l.AddFault(f); err != nil {
			t.Fatal(err)
		}
	}
}

func wantCode(t *testing.T, err error, want fault.Code) {
	t.Helper()
	if err == nil || fault.CodeOf(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// silent checks that an error holds none of the texts, however it is printed.
func silent(t *testing.T, err error, canaries ...string) {
	t.Helper()
	texts := []string{err.Error(), fault.Detail(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), fmt.Sprint(fault.Remedies(err))}
	for _, text := range texts {
		for _, canary := range canaries {
			if strings.Contains(text, canary) {
				t.Errorf("an error repeats what it must not: %q in %q", canary, text)
			}
		}
	}
}

// bubble runs f where time stands still while anybody works.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
