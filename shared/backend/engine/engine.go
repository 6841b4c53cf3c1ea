// Package engine opens the engine of syncs for a deployed function, with all
// that it works with: the databases, Secret Manager and GitHub.
package engine

import (
	"context"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/github"
	"github.com/sealpost/sealpost/shared/backend/secretmanager"
	"github.com/sealpost/sealpost/shared/backend/state"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/versionstate"
)

// Open returns the engine. It is opened once for the life of an instance.
func Open(ctx context.Context, b backend.Base) (*syncer.Engine, error) {
	store, err := state.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	recorder, err := state.OpenRecorder(ctx, b)
	if err != nil {
		return nil, err
	}
	secrets, err := secretmanager.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	targets, err := github.Open(ctx, b, store, secrets)
	if err != nil {
		return nil, err
	}
	kept := versionstate.Sources{Store: store, Live: secrets, Clock: b.Kit.Clock}
	return &syncer.Engine{
		Store: store, Audit: recorder, Targets: targets, Sources: secrets,
		SourcesOf:    func(projectID string) syncer.Sources { return kept.Of(projectID) },
		Fingerprints: secretmanager.Fingerprints(secrets, b.Config.FingerprintKey),
		Clock:        b.Kit.Clock, Log: b.Kit.Log, Mode: b.Config.Pace,
	}, nil
}
