package authtest

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/fault"
)

// Case is a request's headers that no route may accept, with the code that
// tells why.
type Case struct {
	Name   string
	Header http.Header
	Code   fault.Code
}

// Refused returns every kind of bad credential for an issuer whose tokens come
// in the Authorization header, at a moment.
func Refused(t testing.TB, p *Provider, now time.Time) []Case {
	t.Helper()
	stranger := signer(t, p.Issuer.Kind, -1)
	public := p.signing.Public()
	good := p.Sign(p.Claims(now, nil))
	parts := strings.Split(good, ".")
	head := func(changed map[string]any) map[string]any {
		header := map[string]any{"alg": algorithm(p.Issuer.Kind), "kid": p.kid}
		for k, v := range changed {
			header[k] = v
		}
		return header
	}
	claims := func(name string, value any) string { return p.Sign(p.Claims(now, map[string]any{name: value})) }
	invalid := map[string]string{
		"forged":                     sign(head(nil), p.Claims(now, nil), stranger),
		"signature taken away":       parts[0] + "." + parts[1] + ".",
		"signature cut":              parts[0] + "." + parts[1] + "." + parts[2][:20],
		"signature of another token": parts[0] + "." + part(p.Claims(now, map[string]any{"sub": "root"})) + "." + parts[2],
		"alg none":                   part(map[string]any{"alg": "none"}) + "." + parts[1] + ".",
		"alg None with a signature":  part(head(map[string]any{"alg": "None"})) + "." + parts[1] + "." + parts[2],
		"HMAC with the public key":   hmacSigned(t, head(map[string]any{"alg": "HS256"}), p.Claims(now, nil), public),
		"RS256 header on an HMAC":    hmacSigned(t, head(nil), p.Claims(now, nil), public),
		"the other good algorithm":   otherAlgorithm(t, p, now),
		"unknown key":                sign(head(map[string]any{"kid": "unheard-of"}), p.Claims(now, nil), stranger),
		"no key id":                  sign(map[string]any{"alg": algorithm(p.Issuer.Kind)}, p.Claims(now, nil), p.signing),
		"brings its own key":         sign(head(map[string]any{"jwk": jose.JSONWebKey{Key: stranger.Public(), KeyID: p.kid}}), p.Claims(now, nil), stranger),
		"critical extension":         sign(head(map[string]any{"crit": []string{"b64"}, "b64": false}), p.Claims(now, nil), p.signing),
		"wrong audience":             claims("aud", "https://other.example"),
		"no audience":                claims("aud", nil),
		"a second audience":          claims("aud", []string{p.Issuer.Audience, "https://other.example"}),
		"audience with more behind":  claims("aud", p.Issuer.Audience+"/"),
		"wrong issuer":               claims("iss", "https://issuer.evil.example"),
		"issuer with a slash":        claims("iss", p.Issuer.URL+"/"),
		"no issuer":                  claims("iss", nil),
		"no subject":                 claims("sub", nil),
		"long subject":               claims("sub", strings.Repeat("a", 256)),
		"no expiry":                  claims("exp", nil),
		"expiry is text":             claims("exp", "tomorrow"),
		"no issue time":              claims("iat", nil),
		"valid for a year":           claims("exp", now.Add(365*24*time.Hour).Unix()),
		"claims are null":            sign(head(nil), nil, p.signing),
		"empty":                      "",
		"one part":                   "abc",
		"two parts":                  "abc.def",
		"five parts, encrypted":      "a.b.c.d.e",
		"not base64":                 "!!!.???.***",
		"JSON serialisation":         `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"too long":                   good + strings.Repeat("A", 9<<10),
		"two in one":                 good + "," + good,
		"a space within":             good + " " + good,
		"line break":                 good + "\n",
	}
	expired := map[string]string{
		"expired":          p.Sign(p.Claims(now, map[string]any{"iat": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(-2 * time.Minute).Unix()})),
		"not yet valid":    claims("nbf", now.Add(2*time.Minute).Unix()),
		"issued in future": claims("iat", now.Add(2*time.Minute).Unix()),
	}
	cases := []Case{
		{"missing", http.Header{}, fault.AuthRequired},
		{"only the platform's header", http.Header{"X-Serverless-Authorization": {"Bearer " + good}}, fault.AuthRequired},
		{"only the proxy's header", http.Header{"X-Goog-Iap-Jwt-Assertion": {good}}, fault.AuthRequired},
		{"two headers", http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}, fault.AuthInvalid},
		{"no scheme", http.Header{"Authorization": {good}}, fault.AuthInvalid},
		{"another scheme", http.Header{"Authorization": {"Basic " + good}}, fault.AuthInvalid},
		{"scheme only", http.Header{"Authorization": {"Bearer"}}, fault.AuthInvalid},
	}
	for name, token := range invalid {
		cases = append(cases, Case{name, http.Header{"Authorization": {"Bearer " + token}}, fault.AuthInvalid})
	}
	for name, token := range expired {
		cases = append(cases, Case{name, http.Header{"Authorization": {"Bearer " + token}}, fault.AuthExpired})
	}
	return cases
}

// hmacSigned is the old attack: the public key, which everybody has, as the
// key of an HMAC.
func hmacSigned(t testing.TB, header, claims map[string]any, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	text := part(header) + "." + part(claims)
	mac := hmac.New(sha256.New, der)
	_, _ = mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

// otherAlgorithm is signed with an algorithm that is accepted, but not from
// this issuer, by a key that claims this one's id.
func otherAlgorithm(t testing.TB, p *Provider, now time.Time) string {
	t.Helper()
	other := auth.Local
	if algorithm(p.Issuer.Kind) == algorithm(other) {
		other = auth.Google
	}
	return sign(map[string]any{"alg": algorithm(other), "kid": p.kid}, p.Claims(now, nil), signer(t, other, -1))
}
