// Package github opens GitHub for a deployed function.
package github

import (
	"context"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/secretmanager"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/ghapi"
)

// Open returns a client of GitHub under the configured credentials: a token, or
// an App whose private key is read from Secret Manager.
func Open(ctx context.Context, b backend.Base, secrets *gsm.Client) (*ghapi.Client, error) {
	config := ghapi.Config{BaseURL: b.Config.GitHubAPI, Mode: b.Config.Pace, Clock: b.Kit.Clock}
	config.Credentials.Token = b.Config.GitHubToken
	if b.Config.UsesApp() {
		key, _, err := secretmanager.Read(ctx, secrets, b.Config.GitHubAppPrivateKey)
		if err != nil {
			return nil, fault.Annotate("read the App's private key", err)
		}
		config.Credentials.App = &ghapi.App{ID: b.Config.GitHubAppID, PrivateKey: key}
	}
	return ghapi.New(config)
}
