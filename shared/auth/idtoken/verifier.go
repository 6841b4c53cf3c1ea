// Package idtoken verifies the identity token of a request: that a configured
// issuer signed it, for this audience, for this moment. What it finds out, and
// the roles that go with it, is an [auth.Caller].
//
// The rules are narrower than the standard's: one algorithm for each kind of
// issuer, RS256 or ES256; one audience; a key named by its id; a minute of
// leeway; a day of life at most. A token of an issuer that is not configured is
// refused before anything is fetched.
package idtoken

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"regexp"
	"strings"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
)

const (
	leeway        = time.Minute    // for the difference between two machines' clocks
	maxLifetime   = 24 * time.Hour // from iat to exp
	maxTokenBytes = 8 << 10        // Google's and GitHub's have one to three thousand
	maxSubject    = 255            // OpenID Connect Core 1.0, section 2

	// iapHeader carries the token of the Identity-Aware Proxy, which strips the
	// header from what clients send. Source: cloud.google.com/iap/docs/signed-headers-howto.
	iapHeader = "X-Goog-Iap-Jwt-Assertion"
)

// Options configure a [Verifier].
type Options struct {
	Issuers    []auth.Issuer
	Bindings   auth.Bindings // roles of identities from issuers that are not local
	AllowLocal bool          // accept issuers of kind local; never in staging or production
	Clock      clock.Clock
	// Transport fetches the issuers' keys; nil is one that keeps no connection
	// and so leaves no goroutine behind a request.
	Transport http.RoundTripper
}

// Verifier verifies tokens. It is safe for use by several goroutines.
type Verifier struct {
	issuers  map[string]*issuer // by the claim iss
	iap      bool               // one of them is of kind iap
	bindings auth.Bindings
	clock    clock.Clock
}

// issuer is one configured issuer with its keys.
type issuer struct {
	auth.Issuer
	algorithm jose.SignatureAlgorithm
	keys      *keySource
}

// algorithms is what each kind of issuer signs with. A token that says
// something else, "none" and the HMACs included, is not even parsed.
var algorithms = map[auth.IssuerKind]jose.SignatureAlgorithm{
	auth.Google: jose.RS256, auth.GitHub: jose.RS256, auth.IAP: jose.ES256, auth.Local: jose.ES256,
}

var accepted = []jose.SignatureAlgorithm{jose.RS256, jose.ES256}

// New returns a verifier, or a [fault.ConfigInvalid] for issuers that cannot be
// accepted. It fetches nothing.
func New(o Options) (*Verifier, error) {
	if err := auth.CheckIssuers(o.Issuers); err != nil {
		return nil, err
	}
	if auth.HasLocal(o.Issuers) && !o.AllowLocal {
		return nil, fault.New(fault.ConfigInvalid, "an issuer of kind local is accepted in development only")
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	}
	v := &Verifier{issuers: map[string]*issuer{}, bindings: o.Bindings, clock: o.Clock}
	for _, i := range o.Issuers {
		v.issuers[i.URL] = &issuer{Issuer: i, algorithm: algorithms[i.Kind], keys: newKeySource(i, o.Transport, o.Clock)}
		v.iap = v.iap || i.Kind == auth.IAP
	}
	return v, nil
}

// Authenticate returns the caller of a request with these headers. It returns a
// [fault.Unauthenticated] with the code [fault.AuthRequired], [fault.AuthExpired]
// or [fault.AuthInvalid], or a [fault.Unavailable] if the issuer's keys could
// not be fetched. No error repeats any part of the token.
func (v *Verifier) Authenticate(ctx context.Context, header http.Header) (auth.Caller, error) {
	token, viaIAP, err := v.credential(header)
	if err != nil {
		return auth.Caller{}, err
	}
	by, err := v.issuerOf(token)
	if err != nil {
		return auth.Caller{}, err
	}
	if viaIAP != (by.Kind == auth.IAP) {
		return auth.Caller{}, refuse("the token's issuer does not use this header")
	}
	verified, err := by.verify(ctx, token)
	if err != nil {
		return auth.Caller{}, err
	}
	return v.caller(by, verified)
}

// credential returns the one token of a request, and whether it is the proxy's.
// X-Serverless-Authorization is the platform's own and is not looked at.
func (v *Verifier) credential(header http.Header) (token string, viaIAP bool, err error) {
	if assertions := header.Values(iapHeader); v.iap && len(assertions) > 0 {
		token, err = single(assertions)
		return token, true, err
	}
	values := header.Values("Authorization")
	if len(values) == 0 {
		return "", false, fault.New(fault.AuthRequired, "the request has no Authorization header")
	}
	value, err := single(values)
	if err != nil {
		return "", false, err
	}
	scheme, token, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false, refuse("the Authorization header is not of the form Bearer <token>")
	}
	return token, false, nil
}

func single(values []string) (string, error) {
	switch {
	case len(values) > 1:
		return "", refuse("the request has more than one token")
	case len(values[0]) > maxTokenBytes:
		return "", refuse("the token is too long")
	}
	return values[0], nil
}

// compact is the only form that is taken. go-jose would also take white space
// and other serialisations, so that one token had many spellings.
var compact = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$`)

// issuerOf reads, unverified, who is said to have signed the token.
func (v *Verifier) issuerOf(token string) (*issuer, error) {
	signed, err := jose.ParseSignedCompact(token, accepted)
	if err != nil || !compact.MatchString(token) {
		return nil, refuse("it is not a JWT signed with RS256 or ES256")
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &claims) != nil {
		return nil, refuse("its claims are not a JSON object")
	}
	by, ok := v.issuers[claims.Issuer]
	if !ok {
		return nil, refuse("its issuer is not one of those configured")
	}
	return by, nil
}

// verify checks the signature and the issuer, by go-oidc. The checks of
// audience and time are ours, in [Verifier.caller], since they are narrower.
func (i *issuer) verify(ctx context.Context, token string) (*gooidc.IDToken, error) {
	keys := &signatureCheck{source: i.keys, algorithm: i.algorithm}
	verified, err := gooidc.NewVerifier(i.URL, keys, &gooidc.Config{
		SupportedSigningAlgs: []string{string(i.algorithm)},
		SkipClientIDCheck:    true,
		SkipExpiryCheck:      true,
	}).Verify(ctx, token)
	switch {
	case keys.err != nil: // go-oidc keeps its text only
		return nil, keys.err
	case err != nil:
		return nil, refuse("it is not an identity token of its issuer")
	}
	return verified, nil
}

// claims are those that this package reads besides go-oidc's. Times are
// NumericDates: seconds, perhaps with a fraction.
type claims struct {
	Expiry        *float64    `json:"exp"`
	NotBefore     *float64    `json:"nbf"`
	IssuedAt      *float64    `json:"iat"`
	Email         string      `json:"email"`
	EmailVerified bool        `json:"email_verified"`
	External      any         `json:"gcip"`          // IAP: an identity of Identity Platform, not of Google
	RepositoryID  string      `json:"repository_id"` // GitHub Actions
	Roles         auth.Grants `json:"roles"`         // local only
}

// caller checks what go-oidc did not, and turns claims into an identity.
func (v *Verifier) caller(by *issuer, token *gooidc.IDToken) (auth.Caller, error) {
	var c claims
	if token.Claims(&c) != nil {
		return auth.Caller{}, refuse("a claim has the wrong type")
	}
	if len(token.Audience) != 1 || token.Audience[0] != by.Audience {
		return auth.Caller{}, refuse("its audience is not this service")
	}
	if token.Subject == "" || len(token.Subject) > maxSubject {
		return auth.Caller{}, refuse("its subject is missing or too long")
	}
	if err := v.checkTimes(c); err != nil {
		return auth.Caller{}, err
	}
	identity := auth.Identity{Kind: by.Kind, Issuer: by.URL, Subject: token.Subject}
	switch {
	case by.Kind == auth.Google && c.EmailVerified, by.Kind == auth.IAP && c.External == nil:
		identity.Email = strings.ToLower(c.Email)
	case by.Kind == auth.GitHub:
		identity.RepositoryID = c.RepositoryID
	case by.Kind == auth.Local:
		if auth.CheckGrants(c.Roles) != nil {
			return auth.Caller{}, refuse("its claim roles holds something else than roles by project")
		}
		return auth.NewCaller(identity, c.Roles), nil
	}
	return auth.NewCaller(identity, v.bindings.For(identity)), nil
}

func (v *Verifier) checkTimes(c claims) error {
	if c.Expiry == nil || c.IssuedAt == nil {
		return refuse("its claim exp or iat is missing")
	}
	now := float64(v.clock.Now().UnixMilli()) / 1000
	switch {
	case now >= *c.Expiry+leeway.Seconds():
		return fault.New(fault.AuthExpired, "the token is expired")
	case now < *c.IssuedAt-leeway.Seconds(), c.NotBefore != nil && now < *c.NotBefore-leeway.Seconds():
		return fault.New(fault.AuthExpired, "the token is not valid yet")
	case math.Abs(*c.Expiry-*c.IssuedAt) > maxLifetime.Seconds():
		return refuse("it is valid for longer than a day")
	}
	return nil
}

func refuse(reason string) error {
	return fault.New(fault.AuthInvalid, "the token was not accepted: %s", reason)
}
