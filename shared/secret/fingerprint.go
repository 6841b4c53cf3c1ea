package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"

	"github.com/sealpost/sealpost/shared/fault"
)

// Fingerprint identifies a value without showing it: HMAC-SHA-256 under a key
// that the store does not have. A bare hash of a short value can be guessed.
type Fingerprint struct {
	KeyID string // which key; another key id means unknown, never different
	MAC   string // base64url, unpadded
}

// Compare is the outcome of comparing two fingerprints.
type Compare int

// What two fingerprints tell.
const (
	Unknown Compare = iota // made under different keys, or one is missing
	Same
	Different
)

// Compare tells, in constant time, whether two fingerprints stand for the same value.
func (f Fingerprint) Compare(other Fingerprint) Compare {
	if f.KeyID == "" || f.KeyID != other.KeyID {
		return Unknown
	}
	if subtle.ConstantTimeCompare([]byte(f.MAC), []byte(other.MAC)) == 1 {
		return Same
	}
	return Different
}

// fingerprintKeyBytes is the key's size: that of the hash.
const fingerprintKeyBytes = sha256.Size

// FingerprintKey makes fingerprints. Like a value, it cannot be printed.
type FingerprintKey struct {
	id  string
	key Value
}

// NewFingerprintKey takes the key's id and at least 32 bytes.
func NewFingerprintKey(id string, key Value) (FingerprintKey, error) {
	if id == "" || key.Len() < fingerprintKeyBytes {
		return FingerprintKey{}, fault.New(fault.ConfigInvalid, "a fingerprint key needs an id and at least %d bytes", fingerprintKeyBytes)
	}
	return FingerprintKey{id: id, key: key}, nil
}

// ID returns the key's id.
func (k FingerprintKey) ID() string { return k.id }

// Fingerprint returns the value's fingerprint. Equal values have equal
// fingerprints whatever their names, so that reuse of a value can be found.
func (k FingerprintKey) Fingerprint(v Value) Fingerprint {
	mac := hmac.New(sha256.New, []byte(k.key.plain()))
	_, _ = mac.Write([]byte(v.plain()))
	return Fingerprint{KeyID: k.id, MAC: base64.RawURLEncoding.EncodeToString(mac.Sum(nil))}
}
