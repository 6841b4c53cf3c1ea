// Package issuer is the identity provider of the server on a laptop: it has a
// key of its own, serves it as OpenID Connect has it, and mints tokens with the
// roles that whoever runs the server wants.
//
// The verifier accepts it in development only.
package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
)

const (
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/.well-known/jwks.json"

	pemType     = "PRIVATE KEY"
	maxLifetime = 24 * time.Hour // what the verifier accepts
)

// Issuer mints tokens and serves the key that verifies them.
type Issuer struct {
	url    string
	clock  clock.Clock
	public jose.JSONWebKey
	signer jose.Signer
}

// New returns an issuer with the URL, under which [Issuer.Handler] must be
// reachable. With a key file its key survives a restart: the file is made with
// mode 0600 if it is not there, and refused with a [fault.ConfigInvalid] if it
// is not a P-256 key or others may read it. Without one the key is new.
func New(url, keyFile string, c clock.Clock) (*Issuer, error) {
	key, err := loadOrCreate(keyFile)
	if err != nil {
		return nil, fault.Annotate("load the local issuer's key", err)
	}
	public := jose.JSONWebKey{Key: key.Public(), Algorithm: string(jose.ES256), Use: "sig"}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "name the local issuer's key", err)
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "make the local issuer's signer", err)
	}
	return &Issuer{url: strings.TrimSuffix(url, "/"), clock: c, public: public, signer: signer}, nil
}

// URL is the issuer's URL, as in its tokens.
func (i *Issuer) URL() string { return i.url }

// Handler serves the discovery document and the public key, at the paths below
// the issuer's URL.
func (i *Issuer) Handler() http.Handler {
	base := ""
	if u, err := url.Parse(i.url); err == nil {
		base = u.Path
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+base+discoveryPath, func(w http.ResponseWriter, _ *http.Request) {
		serve(w, map[string]any{
			"issuer": i.url, "jwks_uri": i.url + keysPath, "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{string(jose.ES256)},
		})
	})
	mux.HandleFunc("GET "+base+keysPath, func(w http.ResponseWriter, _ *http.Request) {
		serve(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.public}})
	})
	return mux
}

func serve(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that went away is no fault of the issuer
}

// Mint returns a token about the subject, for one audience, that holds the
// roles for a time of at most a day. Another lifetime is a [fault.UsageInvalid].
func (i *Issuer) Mint(subject, audience string, roles auth.Grants, lifetime time.Duration) (string, error) {
	if err := auth.CheckGrants(roles); err != nil {
		return "", err
	}
	if lifetime <= 0 || lifetime > maxLifetime {
		return "", fault.New(fault.UsageInvalid, "a token lives for at most %v, not for %v", maxLifetime, lifetime)
	}
	now := i.clock.Now()
	payload, err := json.Marshal(map[string]any{
		"iss": i.url, "sub": subject, "aud": audience, "roles": roles,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(lifetime).Unix(),
	})
	if err != nil {
		return "", fault.Wrap(fault.Internal, "mint a token", err)
	}
	signed, err := i.signer.Sign(payload)
	if err != nil {
		return "", fault.Wrap(fault.Internal, "mint a token", err)
	}
	return signed.CompactSerialize()
}

func loadOrCreate(path string) (*ecdsa.PrivateKey, error) {
	if path == "" {
		return newKey()
	}
	key, err := load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return create(path)
	}
	return key, err
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "make the local issuer's key", err)
	}
	return key, nil
}

// load never wraps what the file holds, nor an error that might quote it.
func load(path string) (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fault.New(fault.ConfigInvalid, "others than its owner may read or change the key file %s: make its mode 0600", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil && block.Type == pemType {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if key, ok := parsed.(*ecdsa.PrivateKey); err == nil && ok && key.Curve == elliptic.P256() {
			return key, nil
		}
	}
	return nil, fault.New(fault.ConfigInvalid, "the key file %s does not hold a P-256 private key in PKCS #8; delete it to get a new one", path)
}

// create writes a new key where no file is. Of two processes that start at
// once, the second takes up the first one's key.
func create(path string) (*ecdsa.PrivateKey, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "encode the local issuer's key", err)
	}
	// Written aside and linked into place, so that nobody reads half a file.
	aside, err := os.CreateTemp(filepath.Dir(path), ".issuer-key-*") // made with mode 0600
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(aside.Name()) }()
	written := pem.Encode(aside, &pem.Block{Type: pemType, Bytes: der})
	if err := errors.Join(written, aside.Close()); err != nil {
		return nil, err
	}
	switch err := os.Link(aside.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return load(path)
	case err != nil:
		return nil, err
	}
	return key, nil
}
