// Package secretmanager opens Secret Manager for a deployed function, and
// reads from it what Sealpost itself needs: the key for fingerprints and the
// private key of the GitHub App.
package secretmanager

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/secret"
)

// Open returns a client of Secret Manager.
func Open(ctx context.Context, b backend.Base) (*gsm.Client, error) {
	return gsm.Open(ctx, gsm.Config{
		Endpoint: b.Config.SecretManagerEndpoint, Insecure: b.Config.SecretManagerEndpoint != "", Clock: b.Kit.Clock,
	})
}

// Fingerprints returns a function that reads the fingerprint key when it is
// first asked, and keeps it for the life of the instance. The key is what is
// stored, byte for byte, at least 32 of them; its id names secret and version,
// so that fingerprints under another key are unknown and never drift.
func Fingerprints(client *gsm.Client, ref config.Reference) func(context.Context) (secret.FingerprintKey, error) {
	var mu sync.Mutex
	var key *secret.FingerprintKey
	return func(ctx context.Context) (secret.FingerprintKey, error) {
		mu.Lock()
		defer mu.Unlock()
		if key != nil {
			return *key, nil
		}
		value, version, err := Read(ctx, client, ref)
		if err != nil {
			return secret.FingerprintKey{}, fault.Annotate("read the fingerprint key", err)
		}
		k, err := secret.NewFingerprintKey(version, value)
		if err != nil {
			return secret.FingerprintKey{}, err
		}
		key = &k
		return k, nil
	}
}

// Read returns what a reference of the configuration stands for, and a name for
// that version of it. A file is read only where the configuration allows one.
func Read(ctx context.Context, client *gsm.Client, ref config.Reference) (secret.Value, string, error) {
	if ref.File != "" {
		content, err := os.ReadFile(ref.File)
		if err != nil {
			return secret.Value{}, "", fault.New(fault.ConfigInvalid, "a file that the configuration names cannot be read").WithCause(err)
		}
		return secret.NewValue(string(content)), "file", nil
	}
	source, version, err := parse(ref.Resource)
	if err != nil {
		return secret.Value{}, "", err
	}
	if version == 0 {
		if version, err = client.Newest(ctx, source); err != nil {
			return secret.Value{}, "", err
		}
	}
	value, err := client.Value(ctx, source, version)
	return value, source.Secret + "@" + strconv.FormatInt(int64(version), 10), err
}

// parse takes projects/P/secrets/S/versions/V apart; version 0 stands for latest.
func parse(resource string) (secret.Source, secret.Version, error) {
	parts := strings.Split(resource, "/")
	if len(parts) != 6 {
		return secret.Source{}, 0, fault.New(fault.ConfigInvalid, "a reference to Secret Manager is not of the form projects/P/secrets/S/versions/V")
	}
	source := secret.Source{Project: parts[1], Secret: parts[3]}
	if parts[5] == "latest" {
		return source, 0, nil
	}
	number, err := strconv.ParseInt(parts[5], 10, 64)
	if err != nil {
		return secret.Source{}, 0, fault.New(fault.ConfigInvalid, "the version in a reference to Secret Manager is not a number")
	}
	return source, secret.Version(number), nil
}
