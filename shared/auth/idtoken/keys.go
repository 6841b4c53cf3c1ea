package idtoken

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
)

const (
	fetchTimeout  = 5 * time.Second
	maxKeysBytes  = 256 << 10
	freshFor      = time.Hour        // then keys are fetched again, so that a withdrawn one goes
	usableFor     = 24 * time.Hour   // while the issuer does not answer
	fetchInterval = 10 * time.Second // at least, so that made-up key ids do not become requests
	minRSABits    = 2048

	// iapKeysURL is where IAP, which has no discovery document, has its keys.
	// Source: cloud.google.com/iap/docs/signed-headers-howto.
	iapKeysURL = "https://www.gstatic.com/iap/verify/public_key-jwk"
)

// keySource holds an issuer's public keys and fetches them when they are
// needed, in the goroutine that needs them.
type keySource struct {
	issuer auth.Issuer
	client *http.Client
	clock  clock.Clock
	ring   atomic.Pointer[keyRing]
	turn   chan struct{} // held by the one who may fetch
}

// keyRing is what the last fetches gave; it is never changed.
type keyRing struct {
	keys      map[string]jose.JSONWebKey
	fetchedAt time.Time // of the keys
	triedAt   time.Time // the last fetch, also if it failed
	err       error     // of the last fetch
}

func newKeySource(i auth.Issuer, transport http.RoundTripper, c clock.Clock) *keySource {
	s := &keySource{issuer: i, clock: c, turn: make(chan struct{}, 1), client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	s.ring.Store(&keyRing{})
	return s
}

// key returns the key with the id. It returns a [fault.AuthInvalid] if the
// issuer has none, and a [fault.Unavailable] if it did not answer.
func (s *keySource) key(ctx context.Context, id string) (jose.JSONWebKey, error) {
	if key, ok := s.fresh(id); ok {
		return key, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return jose.JSONWebKey{}, s.unavailable(ctx.Err())
	}
	if key, ok := s.fresh(id); ok { // fetched by the one before us
		return key, nil
	}
	if s.clock.Now().Sub(s.ring.Load().triedAt) >= fetchInterval {
		s.ring.Store(s.refetched(ctx))
	}
	ring := s.ring.Load()
	key, ok := ring.keys[id]
	switch {
	case ok && s.clock.Now().Sub(ring.fetchedAt) < usableFor:
		return key, nil
	case ring.err != nil:
		return jose.JSONWebKey{}, s.unavailable(ring.err)
	}
	return jose.JSONWebKey{}, refuse("it is signed with a key that its issuer does not have")
}

func (s *keySource) fresh(id string) (jose.JSONWebKey, bool) {
	ring := s.ring.Load()
	key, ok := ring.keys[id]
	return key, ok && s.clock.Now().Sub(ring.fetchedAt) < freshFor
}

// refetched returns a new ring, or the old keys if the fetch fails. A caller
// who goes away counts as a failure, but not against the next one.
func (s *keySource) refetched(ctx context.Context) *keyRing {
	now, old := s.clock.Now(), *s.ring.Load()
	keys, err := s.fetch(ctx)
	if err == nil {
		return &keyRing{keys: keys, fetchedAt: now, triedAt: now}
	}
	old.err = err
	if ctx.Err() == nil {
		old.triedAt = now
	}
	return &old
}

func (s *keySource) unavailable(cause error) error {
	return fault.New(fault.Unreachable, "the keys of the token's issuer could not be fetched").
		WithOp("fetch keys of " + s.issuer.URL).WithCause(cause).WithRetryAfter(fetchInterval)
}

func (s *keySource) fetch(ctx context.Context) (map[string]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	address, err := s.address(ctx)
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	if err := s.get(ctx, address, &set); err != nil {
		return nil, err
	}
	keys := make(map[string]jose.JSONWebKey, len(set.Keys))
	for _, key := range set.Keys {
		if key.KeyID != "" && suits(key, algorithms[s.issuer.Kind]) {
			keys[key.KeyID] = key
		}
	}
	return keys, nil
}

// address returns where the keys are, by the issuer's discovery document.
// Source: OpenID Connect Discovery 1.0, section 4.
func (s *keySource) address(ctx context.Context) (string, error) {
	if s.issuer.Kind == auth.IAP {
		return iapKeysURL, nil
	}
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := s.get(ctx, strings.TrimSuffix(s.issuer.URL, "/")+"/.well-known/openid-configuration", &document); err != nil {
		return "", err
	}
	if document.Issuer != s.issuer.URL || !auth.SafeURL(document.Keys, s.issuer.Kind == auth.Local) {
		return "", errors.New("the discovery document is of another issuer, or names an unsafe address")
	}
	return document.Keys, nil
}

func (s *keySource) get(ctx context.Context, address string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was read as far as it is wanted
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeysBytes+1))
	if err != nil {
		return err
	}
	if len(body) > maxKeysBytes {
		return fmt.Errorf("more than %d bytes", maxKeysBytes)
	}
	return json.Unmarshal(body, into)
}

// suits reports whether a key may verify signatures of the algorithm.
func suits(key jose.JSONWebKey, algorithm jose.SignatureAlgorithm) bool {
	if !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" || key.Algorithm != "" && key.Algorithm != string(algorithm) {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return algorithm == jose.RS256 && public.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey:
		return algorithm == jose.ES256 && public.Curve == elliptic.P256()
	}
	return false
}

// signatureCheck is go-oidc's KeySet for one token. It keeps the error, of
// which go-oidc passes on no more than the text.
type signatureCheck struct {
	source    *keySource
	algorithm jose.SignatureAlgorithm
	err       error
}

// VerifySignature returns the payload of a token whose signature is right.
func (c *signatureCheck) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := c.verify(ctx, token)
	c.err = err
	return payload, err
}

func (c *signatureCheck) verify(ctx context.Context, token string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{c.algorithm})
	if err != nil {
		return nil, refuse("it is not signed with the algorithm of its issuer")
	}
	key, err := c.source.key(ctx, signed.Signatures[0].Header.KeyID)
	if err != nil {
		return nil, err
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return nil, refuse("its signature is wrong")
	}
	return payload, nil
}
