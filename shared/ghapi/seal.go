package ghapi

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/google/go-github/v66/github"
	"golang.org/x/crypto/nacl/box"

	"github.com/sealpost/sealpost/shared/secret"
)

// keyLife is how long a public key is used before it is asked for again.
const keyLife = 5 * time.Minute

const keyBytes = 32

// sealKey is the public key of one scope of a container.
type sealKey struct {
	id    string
	bytes [keyBytes]byte
}

// seal returns the sealed box as GitHub takes it. Source: docs.github.com,
// rest/guides/encrypting-secrets-for-the-rest-api.
func (k *sealKey) seal(v secret.Value) (string, error) {
	sealed, err := box.SealAnonymous(nil, []byte(v.Reveal()), &k.bytes, rand.Reader)
	return base64.StdEncoding.EncodeToString(sealed), err
}

// key returns the key of the place, but not the unwanted one.
func (c *Client) key(ctx context.Context, p place, unwanted *sealKey) (*sealKey, error) {
	return c.keys.at(p.path).get(ctx, unwanted, func(ctx context.Context) (*sealKey, time.Time, error) {
		var answer github.PublicKey
		if _, err := p.account.get(ctx, p.path+"/public-key", &answer); err != nil {
			return nil, time.Time{}, err
		}
		raw, err := base64.StdEncoding.DecodeString(answer.GetKey())
		if err != nil || len(raw) != keyBytes || answer.GetKeyID() == "" {
			return nil, time.Time{}, &failure{reason: garbled}
		}
		return &sealKey{answer.GetKeyID(), [keyBytes]byte(raw)}, c.clock.Now().Add(keyLife), nil
	})
}
