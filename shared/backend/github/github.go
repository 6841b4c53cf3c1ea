// Package github opens GitHub for a deployed function.
package github

import (
	"context"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/secretmanager"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/quota"
)

// Open returns a client of GitHub under the configured credentials: a token, or
// an App whose private key is read from Secret Manager. Its pace is shared with
// all other instances, in the store.
func Open(ctx context.Context, b backend.Base, store docstore.Store, secrets *gsm.Client) (*ghapi.Client, error) {
	config := ghapi.Config{
		BaseURL: b.Config.GitHubAPI, Mode: b.Config.Pace, Clock: b.Kit.Clock, Workers: workers(),
		Budget: func(identity string) pace.Budget { return quota.New(store, b.Kit.Clock, identity) },
	}
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

// workers is how many instances may send requests to GitHub at once.
func workers() int {
	n := 0
	for _, f := range catalogue.Functions() {
		n += f.MaxInstances
	}
	return n
}
