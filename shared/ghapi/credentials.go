package ghapi

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"time"

	"github.com/google/go-github/v66/github"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// token is what a request shows. Tokens are told apart by their addresses.
type token struct{ text secret.Value }

// tokens gives the token for the next request: not the refused one, if there
// is another to be had, or else nil.
type tokens func(ctx context.Context, refused *token) (*token, error)

// fixedToken is a token that there is no other for.
func fixedToken(text secret.Value) tokens {
	only := &token{text}
	return func(_ context.Context, refused *token) (*token, error) {
		if refused != nil {
			return nil, nil
		}
		return only, nil
	}
}

// An App's JWT may live ten minutes and must not be made in the future of
// GitHub's clock. Source: docs.github.com,
// apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app.
const (
	jwtBackdate = time.Minute
	jwtLifetime = 9 * time.Minute
)

// newAppSigner returns JWTs that an App identifies itself with.
func newAppSigner(app App, c clock.Clock) (tokens, error) {
	key, err := parsePrivateKey(app.PrivateKey)
	if err != nil {
		return nil, err
	}
	if app.ID <= 0 {
		return nil, fault.New(fault.ConfigInvalid, "the GitHub App's id is not a positive number")
	}
	return func(_ context.Context, refused *token) (*token, error) {
		if refused != nil {
			return nil, nil
		}
		text, err := signJWT(key, app.ID, c.Now())
		if err != nil {
			return nil, fault.Wrap(fault.Internal, "ghapi: sign the App's JWT", err)
		}
		return &token{secret.NewValue(text)}, nil
	}, nil
}

func parsePrivateKey(text secret.Value) (*rsa.PrivateKey, error) {
	invalid := fault.New(fault.ConfigInvalid, "the GitHub App's private key is not an RSA key in PEM")
	block, _ := pem.Decode([]byte(text.Reveal()))
	if block == nil {
		return nil, invalid
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, invalid
	}
	return key, nil
}

func signJWT(key *rsa.PrivateKey, appID int64, now time.Time) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT"})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]int64{
		"iat": now.Add(-jwtBackdate).Unix(), "exp": now.Add(jwtLifetime).Unix(), "iss": appID,
	})
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// account returns the identity that serves an owner's containers. Name is the
// repository's, or empty for an organisation.
func (c *Client) account(ctx context.Context, kind project.ContainerKind, owner, name string) (*account, error) {
	if c.single != nil {
		return c.single, nil
	}
	// GitHub is asked about the repository: where it is the App's, that settles it
	// for the owner; where it is not, that says nothing about another.
	id, err := c.installed.at(strings.ToLower(owner)).get(ctx, nil, func(ctx context.Context) (*int64, time.Time, error) {
		id, err := c.findInstallation(ctx, kind, owner, name)
		return &id, c.clock.Now().Add(installationLife), err
	})
	if err != nil {
		return nil, err
	}
	return c.installation(*id, owner), nil
}

// installationLife is how long an installation is believed to be the present
// one: an App that is removed and installed again has another id.
const installationLife = 10 * time.Minute

func (c *Client) findInstallation(ctx context.Context, kind project.ContainerKind, owner, name string) (int64, error) {
	path := "orgs/" + owner + "/installation"
	if kind == project.Repository {
		path = "repos/" + owner + "/" + name + "/installation"
	}
	var found github.Installation
	if _, err := c.app.get(ctx, path, &found); err != nil {
		return 0, explain("ghapi: find the App's installation for "+owner, "the App's installation for "+owner, err)
	}
	if found.SuspendedAt != nil {
		return 0, fault.New(fault.CredentialsRejected, "the App's installation for %s is suspended", owner)
	}
	return found.GetID(), nil
}

func (c *Client) installation(id int64, owner string) *account {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.installations[id] == nil {
		c.installations[id] = c.shared(owner, c.installationTokens(id))
	}
	return c.installations[id]
}

// renewEarly is how long before its end an installation's token is replaced: a
// request may wait for retries, and clocks differ.
const renewEarly = 5 * time.Minute

// installationTokens keeps an installation's token and renews it in time.
func (c *Client) installationTokens(id int64) tokens {
	kept := &cell[token]{clock: c.clock}
	return func(ctx context.Context, refused *token) (*token, error) {
		return kept.get(ctx, refused, func(ctx context.Context) (*token, time.Time, error) {
			return c.createToken(ctx, id)
		})
	}
}

// createToken asks for an installation's token. It lives an hour; it is not
// kept longer than a quarter of its life before its end.
func (c *Client) createToken(ctx context.Context, id int64) (*token, time.Time, error) {
	asked := c.clock.Now()
	made, response, err := c.app.api.Apps.CreateInstallationToken(unguarded(ctx), id, nil)
	if err != nil {
		return nil, time.Time{}, apart("ghapi: create an installation's token", "the App's installation", err)
	}
	if made.GetToken() == "" {
		return nil, time.Time{}, fault.New(fault.GitHubUnavailable, "GitHub's answer held no token")
	}
	// What counts is GitHub's clock on both sides.
	life := made.GetExpiresAt().Sub(dateOf(response.Header, asked))
	return &token{secret.NewValue(made.GetToken())}, asked.Add(life - min(renewEarly, life/4)), nil
}
