package gsm

import (
	"context"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// FingerprintKey returns the key that fingerprints are made with: the newest
// enabled version of the secret, byte for byte as it is stored, with the id
// <secret>@<version>. Its bytes are not decoded: 32 random bytes are a key, and
// so is their base64 text. To change the key, add a version; fingerprints made
// under another key are unknown, never drift.
//
// It returns a [fault.ConfigInvalid] for a key of less than 32 bytes, and the
// errors of Value.
func (c *Client) FingerprintKey(ctx context.Context, source secret.Source) (secret.FingerprintKey, error) {
	const op = "gsm.FingerprintKey"
	versions, err := c.versions(ctx, source)
	if err != nil {
		return secret.FingerprintKey{}, failure(ctx, op, source.String(), err)
	}
	newest := slices.IndexFunc(versions, func(v syncer.SourceVersion) bool { return v.State == syncer.Enabled })
	if newest < 0 {
		return secret.FingerprintKey{}, fault.New(fault.SourceMissing, "%s has no enabled version", source).WithOp(op)
	}
	version := versions[newest].Number
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
