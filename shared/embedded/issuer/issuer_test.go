package issuer_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/issuer"
	"github.com/sealpost/sealpost/shared/fault"
)

const issuerURL = "http://127.0.0.1:8080/issuer"

func get(t *testing.T, h http.Handler, path string, into any) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("GET %s = %d %s", path, w.Code, w.Header().Get("Content-Type"))
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatal(err)
	}
}

func TestServesWhatVerifiesItsTokens(t *testing.T) {
	t.Parallel()
	i, err := issuer.New(issuerURL+"/", "", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	get(t, i.Handler(), "/issuer/.well-known/openid-configuration", &document)
	if document.Issuer != issuerURL || document.Keys != issuerURL+"/.well-known/jwks.json" {
		t.Errorf("discovery = %+v", document)
	}
	var keys jose.JSONWebKeySet
	get(t, i.Handler(), "/issuer/.well-known/jwks.json", &keys)
	if len(keys.Keys) != 1 || !keys.Keys[0].IsPublic() {
		t.Fatalf("keys = %+v", keys)
	}

	token, err := i.Mint("alice", "sealpost", auth.Grants{"*": {catalogue.Operator}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := signed.Verify(keys.Key(signed.Signatures[0].Header.KeyID)[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"iss":"` + issuerURL + `"`, `"sub":"alice"`, `"aud":"sealpost"`, `"roles":{"*":["operator"]}`} {
		if !strings.Contains(string(payload), part) {
			t.Errorf("claims %s lack %s", payload, part)
		}
	}
}

func TestMintRefusesNonsense(t *testing.T) {
	t.Parallel()
	i, err := issuer.New(issuerURL, "", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		roles    auth.Grants
		lifetime time.Duration
	}{
		"no such role":    {auth.Grants{"*": {"king"}}, time.Hour},
		"no such project": {auth.Grants{"a b": {catalogue.Viewer}}, time.Hour},
		"too long":        {nil, 25 * time.Hour},
		"no time at all":  {nil, 0},
	} {
		if token, err := i.Mint("alice", "sealpost", c.roles, c.lifetime); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: Mint = %q, %v", name, token, err)
		}
	}
}

func kid(t *testing.T, i *issuer.Issuer) string {
	t.Helper()
	var keys jose.JSONWebKeySet
	get(t, i.Handler(), "/issuer/.well-known/jwks.json", &keys)
	return keys.Keys[0].KeyID
}

func TestKeySurvivesARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key.pem")
	first, err := issuer.New(issuerURL, path, clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode = %v, %v", info.Mode(), err)
	}
	second, err := issuer.New(issuerURL, path, clock.Real())
	if err != nil || kid(t, first) != kid(t, second) {
		t.Errorf("the second start has another key: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("files left behind: %v, %v", entries, err)
	}
}

func TestProcessesThatStartAtOnceShareOneKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key.pem")
	kids := make([]string, 8)
	var all sync.WaitGroup
	for n := range kids {
		all.Go(func() {
			i, err := issuer.New(issuerURL, path, clock.Real())
			if err != nil {
				t.Error(err)
				return
			}
			kids[n] = kid(t, i)
		})
	}
	all.Wait()
	for _, k := range kids {
		if k != kids[0] {
			t.Fatalf("keys = %v", kids)
		}
	}
}

func TestRefusesABadKeyFile(t *testing.T) {
	t.Parallel()
	const text = "canary-that-nobody-may-see"
	for name, mode := range map[string]os.FileMode{"not a key": 0o600, "open to others": 0o644} {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		_, err := issuer.New(issuerURL, path, clock.Real())
		if fault.CodeOf(err) != fault.ConfigInvalid || strings.Contains(err.Error(), text) {
			t.Errorf("%s: New = %v", name, err)
		}
	}
	if _, err := issuer.New(issuerURL, filepath.Join(t.TempDir(), "no", "dir", "key.pem"), clock.Real()); err == nil {
		t.Error("New made a key in a directory that does not exist")
	}
}
