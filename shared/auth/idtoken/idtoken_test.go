package idtoken_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/auth/authtest"
	"github.com/sealpost/sealpost/shared/auth/idtoken"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/issuer"
	"github.com/sealpost/sealpost/shared/fault"
)

// TestMain finds a goroutine that a verification leaves behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const audience = "https://sealpost.acme.example"

var (
	google = auth.Issuer{URL: auth.GoogleURL, Audience: audience, Kind: auth.Google}
	github = auth.Issuer{URL: "https://token.actions.githubusercontent.com", Audience: audience, Kind: auth.GitHub}
	iap    = auth.Issuer{URL: auth.IAPURL, Audience: "/projects/1/global/backendServices/2", Kind: auth.IAP}
	local  = auth.Issuer{URL: "http://127.0.0.1:8080/issuer", Audience: audience, Kind: auth.Local}

	bindings = auth.Bindings{
		"email:alice@acme.example": {"payments": {catalogue.Operator}},
		"repository:123":           {"payments": {catalogue.Syncer}},
	}
)

func verifier(t *testing.T, p *authtest.Provider) *idtoken.Verifier {
	t.Helper()
	v, err := idtoken.New(idtoken.Options{Issuers: []auth.Issuer{p.Issuer}, Bindings: bindings, AllowLocal: true, Clock: clock.Real(), Transport: p})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func now() time.Time { return clock.Real().Now() }

func TestAcceptsEachKind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		issuer  auth.Issuer
		changed map[string]any
		want    auth.Identity
		role    catalogue.Role
	}{
		"google":               {google, nil, auth.Identity{Email: "alice@acme.example"}, catalogue.Operator},
		"unverified address":   {google, map[string]any{"email_verified": false}, auth.Identity{}, ""},
		"somebody else":        {google, map[string]any{"email": "bob@acme.example"}, auth.Identity{Email: "bob@acme.example"}, ""},
		"roles from Google":    {google, map[string]any{"email": nil, "roles": map[string]any{"*": []string{"operator"}}}, auth.Identity{}, ""},
		"github":               {github, map[string]any{"repository_id": "123", "email": nil}, auth.Identity{RepositoryID: "123"}, catalogue.Syncer},
		"address from GitHub":  {github, nil, auth.Identity{}, ""},
		"iap":                  {iap, map[string]any{"email_verified": nil}, auth.Identity{Email: "alice@acme.example"}, catalogue.Operator},
		"iap, not from Google": {iap, map[string]any{"gcip": map[string]any{"sub": "x"}}, auth.Identity{}, ""},
		"local":                {local, map[string]any{"roles": map[string]any{"payments": []string{"breakglass"}}}, auth.Identity{}, catalogue.BreakGlass},
		"local without roles":  {local, map[string]any{"roles": nil}, auth.Identity{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := authtest.NewProvider(t, c.issuer)
			header := bearer(p.Sign(p.Claims(now(), c.changed)))
			if c.issuer.Kind == auth.IAP {
				header = http.Header{"X-Goog-Iap-Jwt-Assertion": {p.Sign(p.Claims(now(), c.changed))}, "Authorization": {"Bearer of-the-client"}}
			}
			caller, err := verifier(t, p).Authenticate(t.Context(), header)
			if err != nil {
				t.Fatal(err)
			}
			c.want.Kind, c.want.Issuer, c.want.Subject = c.issuer.Kind, c.issuer.URL, "alice"
			if caller.Identity != c.want {
				t.Errorf("identity = %+v, want %+v", caller.Identity, c.want)
			}
			for _, role := range catalogue.Roles() {
				if got, want := caller.Require(role, "payments") == nil, c.role != "" && c.role.Includes(role); got != want {
					t.Errorf("%s: %v, want %v", role, got, want)
				}
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for _, by := range []auth.Issuer{google, local} {
		p := authtest.NewProvider(t, by)
		v := verifier(t, p)
		for _, c := range authtest.Refused(t, p, now()) {
			_, err := v.Authenticate(t.Context(), c.Header)
			if fault.CodeOf(err) != c.Code || !errors.Is(err, fault.Unauthenticated) {
				t.Errorf("%s: %s = %v, want %s", by.Kind, c.Name, err, c.Code)
				continue
			}
			for _, value := range c.Header.Values("Authorization") {
				if token, ok := strings.CutPrefix(value, "Bearer "); ok && len(token) > 40 && strings.Contains(err.Error(), token[:40]) {
					t.Errorf("%s: the error repeats the token: %v", c.Name, err)
				}
			}
		}
		if _, err := v.Authenticate(t.Context(), bearer(p.Sign(p.Claims(now(), nil)))); err != nil {
			t.Errorf("%s: a good token after all those: %v", by.Kind, err)
		}
	}
}

func TestLeewayIsAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // a bubble's clock starts at a whole second
		p := authtest.NewProvider(t, local)
		v := verifier(t, p)
		for _, c := range []struct {
			claim string
			off   time.Duration
			ok    bool
		}{
			{"exp", -59 * time.Second, true}, {"exp", -60 * time.Second, false},
			{"nbf", 60 * time.Second, true}, {"nbf", 61 * time.Second, false},
			{"iat", 60 * time.Second, true}, {"iat", 61 * time.Second, false},
		} {
			changed := map[string]any{c.claim: now().Add(c.off).Unix()}
			_, err := v.Authenticate(t.Context(), bearer(p.Sign(p.Claims(now(), changed))))
			if (err == nil) != c.ok || err != nil && !errors.Is(err, fault.AuthExpired) {
				t.Errorf("%s %v: %v, want ok %v", c.claim, c.off, err, c.ok)
			}
		}
	})
}

func TestLocalRolesAreChecked(t *testing.T) {
	t.Parallel()
	p := authtest.NewProvider(t, local)
	for name, roles := range map[string]any{"no role": map[string]any{"*": []string{"king"}}, "no project": map[string]any{"a b": []string{"viewer"}}, "no map": "operator"} {
		if _, err := verifier(t, p).Authenticate(t.Context(), bearer(p.Sign(p.Claims(now(), map[string]any{"roles": roles})))); !errors.Is(err, fault.AuthInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProxysTokenComesInItsHeaderOnly(t *testing.T) {
	t.Parallel()
	p := authtest.NewProvider(t, iap)
	token := p.Sign(p.Claims(now(), nil))
	for name, header := range map[string]http.Header{
		"as a bearer": bearer(token),
		"two of them": {"X-Goog-Iap-Jwt-Assertion": {token, token}},
		"too long":    {"X-Goog-Iap-Jwt-Assertion": {token + strings.Repeat("A", 9<<10)}},
	} {
		if _, err := verifier(t, p).Authenticate(t.Context(), header); !errors.Is(err, fault.AuthInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownIssuersAreNotAsked(t *testing.T) {
	t.Parallel()
	known, evil := authtest.NewProvider(t, google), authtest.NewProvider(t, auth.Issuer{URL: "https://evil.example", Audience: audience, Kind: auth.Google})
	if _, err := verifier(t, known).Authenticate(t.Context(), bearer(evil.Sign(evil.Claims(now(), nil)))); !errors.Is(err, fault.AuthInvalid) {
		t.Errorf("Authenticate = %v", err)
	}
	if asked := known.Fetched(); len(asked) > 0 {
		t.Errorf("asked for %v", asked)
	}
}

func TestLocalIssuersNeedLeave(t *testing.T) {
	t.Parallel()
	if _, err := idtoken.New(idtoken.Options{Issuers: []auth.Issuer{google, local}, Clock: clock.Real()}); fault.CodeOf(err) != fault.ConfigInvalid {
		t.Errorf("New = %v", err)
	}
	if _, err := idtoken.New(idtoken.Options{Clock: clock.Real()}); fault.CodeOf(err) != fault.ConfigInvalid {
		t.Errorf("New without issuers = %v", err)
	}
}

func TestKeysAreFetchedOnceAndAgainWhenTheyRotate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := authtest.NewProvider(t, google)
		v := verifier(t, p)
		try := func() error {
			_, err := v.Authenticate(t.Context(), bearer(p.Sign(p.Claims(now(), nil))))
			return err
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := try(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := len(p.Fetched()); n != 2 {
			t.Fatalf("20 requests at once fetched %d documents, want the discovery and the keys", n)
		}

		p.Rotate(t)
		if err := try(); !errors.Is(err, fault.AuthInvalid) {
			t.Fatalf("within the least interval: %v", err)
		}
		time.Sleep(10 * time.Second)
		if err := try(); err != nil {
			t.Fatalf("after a rotation: %v", err)
		}

		old := p.Sign(p.Claims(now(), map[string]any{"exp": now().Add(3 * time.Hour).Unix()}))
		p.Rotate(t)
		time.Sleep(time.Hour)
		if _, err := v.Authenticate(t.Context(), bearer(old)); !errors.Is(err, fault.AuthInvalid) {
			t.Errorf("an hour after its key was withdrawn: %v", err)
		}
	})
}

func TestUnknownKeysDoNotBecomeRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, stranger := authtest.NewProvider(t, google), authtest.NewProvider(t, google)
		stranger.Rotate(t)
		v := verifier(t, p)
		for range 60 {
			if _, err := v.Authenticate(t.Context(), bearer(stranger.Sign(stranger.Claims(now(), nil)))); !errors.Is(err, fault.AuthInvalid) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := len(p.Fetched()); n > 2*6 {
			t.Errorf("60 tokens in a minute fetched %d documents", n)
		}
	})
}

func TestIssuerThatFails(t *testing.T) {
	t.Parallel()
	hang := func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }
	status := func(code int) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return authtest.Respond(code, "canary"), nil }
	}
	body := func(text string) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}, nil
		}
	}
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"hangs": hang,
		"reset": func(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset") },
		"500":   status(500),
		"404":   status(404),
		"redirects": func(*http.Request) (*http.Response, error) {
			r := authtest.Respond(302, "")
			r.Header.Set("Location", "https://evil.example")
			return r, nil
		},
		"no JSON":            body("<html>canary</html>"),
		"too much":           body(`{"issuer":"` + strings.Repeat("a", 300<<10) + `"}`),
		"another's document": body(`{"issuer":"https://evil.example","jwks_uri":"https://evil.example/keys"}`),
		"unsafe address":     body(`{"issuer":"https://accounts.google.com","jwks_uri":"http://accounts.google.com/keys"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := authtest.NewProvider(t, google)
				v := verifier(t, p)
				try := func() error {
					_, err := v.Authenticate(t.Context(), bearer(p.Sign(p.Claims(now(), nil))))
					return err
				}
				p.Answer(answer)
				start := now()
				err := try()
				if !errors.Is(err, fault.Unavailable) || strings.Contains(err.Error(), "canary") {
					t.Fatalf("Authenticate = %v", err)
				}
				if took := now().Sub(start); took > 5*time.Second {
					t.Errorf("took %v", took)
				}
				asked := len(p.Fetched())
				if err := try(); !errors.Is(err, fault.Unavailable) || len(p.Fetched()) != asked {
					t.Errorf("asked again at once: %v", err)
				}
				if slices.ContainsFunc(p.Fetched(), func(a string) bool { return strings.Contains(a, "evil") }) {
					t.Errorf("asked %v", p.Fetched())
				}

				p.Answer(nil)
				time.Sleep(10 * time.Second)
				if err := try(); err != nil {
					t.Fatalf("after it recovered: %v", err)
				}
				p.Answer(answer)
				time.Sleep(2 * time.Hour)
				if err := try(); err != nil {
					t.Errorf("keys of two hours ago, while it fails again: %v", err)
				}
				time.Sleep(24 * time.Hour)
				if err := try(); !errors.Is(err, fault.Unavailable) {
					t.Errorf("keys of a day ago: %v", err)
				}
			})
		})
	}
}

func TestCallerWhoGoesAwayHarmsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := authtest.NewProvider(t, google)
		v := verifier(t, p)
		token := p.Sign(p.Claims(now(), nil))
		p.Answer(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Authenticate(ctx, bearer(token)); !errors.Is(err, fault.Unavailable) {
			t.Errorf("Authenticate = %v", err)
		}
		p.Answer(nil)
		if _, err := v.Authenticate(t.Context(), bearer(token)); err != nil {
			t.Errorf("the next caller: %v", err)
		}
	})
}

func TestWeakAndForeignKeysAreNotUsed(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]jose.JSONWebKey{
		"1,024 bits":        {Key: weak.Public(), KeyID: "key-1"},
		"of another kind":   {Key: curve.Public(), KeyID: "key-1"},
		"symmetric":         {Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "key-1"},
		"for encryption":    {Key: strong.Public(), KeyID: "key-1", Use: "enc"},
		"for RS512":         {Key: strong.Public(), KeyID: "key-1", Algorithm: "RS512"},
		"without an id":     {Key: strong.Public()},
		"a private key too": {Key: strong, KeyID: "key-1"},
	} {
		p := authtest.NewProvider(t, google)
		p.Serve(key)
		_, err := verifier(t, p).Authenticate(t.Context(), bearer(p.Sign(p.Claims(now(), nil))))
		if !errors.Is(err, fault.AuthInvalid) || !strings.Contains(err.Error(), "a key that its issuer does not have") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOverTheNetwork runs the local issuer behind a real server with the
// verifier's own transport.
func TestOverTheNetwork(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	idp, err := issuer.New(server.URL+"/issuer", "", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/issuer/", idp.Handler())
	v, err := idtoken.New(idtoken.Options{
		Issuers:    []auth.Issuer{{URL: idp.URL(), Audience: audience, Kind: auth.Local}},
		AllowLocal: true, Clock: clock.Real(),
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := idp.Mint("alice", audience, auth.Grants{"payments": {catalogue.Syncer}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	caller, err := v.Authenticate(t.Context(), bearer(token))
	if err != nil || caller.Identity.Actor() != "local:alice" || caller.Require(catalogue.Syncer, "payments") != nil || caller.Require(catalogue.Syncer, "web") == nil {
		t.Errorf("Authenticate = %+v, %v", caller, err)
	}
}

func FuzzAuthenticate(f *testing.F) {
	p := authtest.NewProvider(f, local)
	v, err := idtoken.New(idtoken.Options{Issuers: []auth.Issuer{local}, AllowLocal: true, Clock: clock.Real(), Transport: p})
	if err != nil {
		f.Fatal(err)
	}
	good := p.Sign(p.Claims(now(), nil))
	f.Add(good)
	for _, c := range authtest.Refused(f, p, now()) {
		f.Add(strings.TrimPrefix(c.Header.Get("Authorization"), "Bearer "))
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := v.Authenticate(t.Context(), bearer(token)); err == nil {
			// base64url has unused bits at the end, so that one signature has several spellings
			if i := strings.LastIndex(good, "."); !strings.HasPrefix(token, good[:i+1]) {
				t.Errorf("accepted %q", token)
			}
		} else if !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("another kind of error: %v", err)
		}
	})
}
