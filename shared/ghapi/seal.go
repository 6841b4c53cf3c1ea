package ghapi

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/google/go-github/v66/github"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/nacl/box"
	"golang.org/x/crypto/salsa20/salsa"

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
//
// It makes what [box.SealAnonymous] makes, libsodium's crypto_box_seal, with two
// multiplications on the curve where that one takes three, and they are nearly
// all that sealing costs. And it refuses a key of low order, under which anybody
// could open the box.
func (k *sealKey) seal(v secret.Value) (string, error) {
	recipient, err := ecdh.X25519().NewPublicKey(k.bytes[:])
	if err != nil {
		return "", err
	}
	ephemeral, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	agreed, err := ephemeral.ECDH(recipient)
	if err != nil {
		return "", err
	}
	var shared [32]byte
	salsa.HSalsa20(&shared, new([16]byte), (*[32]byte)(agreed), &salsa.Sigma)

	public := ephemeral.PublicKey().Bytes()
	hash, err := blake2b.New(24, nil)
	if err != nil {
		return "", err
	}
	hash.Write(public)
	hash.Write(k.bytes[:])
	nonce := [24]byte(hash.Sum(nil))
	sealed := box.SealAfterPrecomputation(public, []byte(v.Reveal()), &nonce, &shared)
	return base64.StdEncoding.EncodeToString(sealed), nil
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
