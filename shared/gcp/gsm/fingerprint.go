package gsm

import (
	"context"
	"fmt"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// Newest returns the number of the newest enabled version, or a
// [fault.SourceMissing] if there is none. Other errors are those of Value.
func (c *Client) Newest(ctx context.Context, source secret.Source) (secret.Version, error) {
	const op = "gsm.Newest"
	versions, err := c.versions(ctx, source)
	if err != nil {
		return 0, failure(ctx, op, source.String(), err)
	}
	for _, v := range versions {
		if v.State == secret.Enabled {
			return v.Number, nil
		}
	}
	return 0, fault.New(fault.SourceMissing, "%s has no enabled version", source).WithOp(op)
}

// FingerprintKey returns the key that fingerprints are made with: the newest
// enabled version of the secret, byte for byte as it is stored, with the id
// <secret>@<version>. Its bytes are not decoded: 32 random bytes are a key, and
// so is their base64 text. To change the key, add a version; fingerprints made
// under another key are unknown, never drift.
//
// It returns a [fault.ConfigInvalid] for a key of less than 32 bytes, and the
// errors of Newest and Value.
func (c *Client) FingerprintKey(ctx context.Context, source secret.Source) (secret.FingerprintKey, error) {
	const op = "gsm.FingerprintKey"
	version, err := c.Newest(ctx, source)
	if err != nil {
		return secret.FingerprintKey{}, fault.Annotate(op, err)
	}
	value, err := c.Value(ctx, source, version)
	if err != nil {
		return secret.FingerprintKey{}, fault.Annotate(op, err)
	}
	key, err := secret.NewFingerprintKey(fmt.Sprintf("%s@%d", source.Secret, version), value)
	if err != nil {
		return secret.FingerprintKey{}, fault.Annotate(op+" "+source.String(), err)
	}
	return key, nil
}
