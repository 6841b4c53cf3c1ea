// Package authtest is an identity provider for tests, in the test's own
// process, and the collection of tokens that no route may accept.
package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealpost/sealpost/shared/auth"
)

// iapKeys is where the verifier looks for the keys of IAP.
const iapKeys = "https://www.gstatic.com/iap/verify/public_key-jwk"

// Provider is an issuer that signs what it is told to, and the transport over
// which a verifier fetches its keys.
type Provider struct {
	Issuer auth.Issuer

	mu        sync.Mutex
	signing   crypto.Signer
	kid       string
	rotations int
	served    []jose.JSONWebKey
	answer    func(*http.Request) (*http.Response, error) // instead of its own, if set
	fetched   []string
}

// NewProvider returns an issuer with a key of the algorithm that its kind uses.
func NewProvider(t testing.TB, issuer auth.Issuer) *Provider {
	t.Helper()
	p := &Provider{Issuer: issuer}
	p.Rotate(t)
	return p
}

// Rotate gives the issuer a new key, the only one that it serves from now on.
func (p *Provider) Rotate(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signing = signer(t, p.Issuer.Kind, p.rotations)
	p.rotations++
	p.kid = fmt.Sprintf("key-%d", p.rotations)
	p.served = []jose.JSONWebKey{{Key: p.signing.Public(), KeyID: p.kid, Use: "sig"}}
}

// Serve replaces the keys that the issuer serves.
func (p *Provider) Serve(keys ...jose.JSONWebKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.served = keys
}

// Answer replaces the issuer's answers; nil gives it its own again.
func (p *Provider) Answer(with func(*http.Request) (*http.Response, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = with
}

// Fetched returns the addresses that were asked for so far.
func (p *Provider) Fetched() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.fetched...)
}

// RoundTrip answers as the issuer does.
func (p *Provider) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	address := r.URL.String()
	p.fetched = append(p.fetched, address)
	if p.answer != nil {
		return p.answer(r)
	}
	switch address {
	case p.Issuer.URL + "/.well-known/openid-configuration":
		return Respond(http.StatusOK, map[string]string{"issuer": p.Issuer.URL, "jwks_uri": p.Issuer.URL + "/keys"}), nil
	case p.Issuer.URL + "/keys", iapKeys:
		return Respond(http.StatusOK, jose.JSONWebKeySet{Keys: p.served}), nil
	}
	return Respond(http.StatusNotFound, "no such page"), nil
}

// Respond returns an answer with the JSON of v.
func Respond(status int, v any) *http.Response {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // tests marshal what can be marshalled
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body)))}
}

// Claims returns the claims of a good token at a moment, changed by others;
// a nil takes a claim away.
func (p *Provider) Claims(now time.Time, changed map[string]any) map[string]any {
	claims := map[string]any{
		"iss": p.Issuer.URL, "aud": p.Issuer.Audience, "sub": "alice",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"email": "Alice@acme.example", "email_verified": true,
	}
	if p.Issuer.Kind == auth.Local {
		claims["roles"] = map[string]any{"*": []string{"viewer", "syncer", "operator", "breakglass", "internal"}}
	}
	maps.Copy(claims, changed)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// Sign returns a token that the issuer signed.
func (p *Provider) Sign(claims map[string]any) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return sign(map[string]any{"alg": algorithm(p.Issuer.Kind), "kid": p.kid, "typ": "JWT"}, claims, p.signing)
}

func algorithm(kind auth.IssuerKind) string {
	if kind == auth.IAP || kind == auth.Local {
		return "ES256"
	}
	return "RS256"
}

// rsaKeys are made once for all providers of a test binary, since each takes a
// good part of a second: the n-th key of every provider is the same, and the
// last one is never a provider's.
var rsaKeys = [...]func() crypto.Signer{sync.OnceValue(newRSA), sync.OnceValue(newRSA), sync.OnceValue(newRSA), sync.OnceValue(newRSA)}

func newRSA() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // the size is one that it makes
	}
	return key
}

// signer returns the n-th key of a provider of the kind, or for n < 0 one that
// is no provider's.
func signer(t testing.TB, kind auth.IssuerKind, n int) crypto.Signer {
	t.Helper()
	if algorithm(kind) == "RS256" {
		if n < 0 {
			return rsaKeys[len(rsaKeys)-1]()
		}
		return rsaKeys[n%(len(rsaKeys)-1)]()
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a token by hand, so that its header can say anything.
func sign(header, claims map[string]any, key crypto.Signer) string {
	text := part(header) + "." + part(claims)
	digest := crypto.SHA256.New()
	_, _ = digest.Write([]byte(text))
	var signature []byte
	var err error
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, k, digest.Sum(nil))
		err = signErr
		if err == nil { // RFC 7518, section 3.4: the two numbers side by side
			signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	default:
		signature, err = key.Sign(rand.Reader, digest.Sum(nil), crypto.SHA256)
	}
	if err != nil {
		panic(err) // a key that was just made signs
	}
	return text + "." + encode(signature)
}

func part(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // tests marshal what can be marshalled
	}
	return encode(text)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
