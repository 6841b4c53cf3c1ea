// Package engine opens the engine of syncs for a deployed function, with all
// that it works with: the databases, Secret Manager and GitHub.
package engine

import (
	"context"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/github"
	"github.com/sealpost/sealpost/shared/backend/secretmanager"
	"github.com/sealpost/sealpost/shared/backend/state"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/syncer"
	"github.com/sealpost/sealpost/shared/versionstate"
)

// Parts are what the engine works with, and so does whoever changes projects.
type Parts struct {
	Store   docstore.Store
	Audit   *audit.Recorder
	Secrets *gsm.Client
	GitHub  *ghapi.Client
}

// OpenParts opens them, once for the life of an instance.
func OpenParts(ctx context.Context, b backend.Base) (p Parts, err error) {
	if p.Store, err = state.Open(ctx, b); err != nil {
		return Parts{}, err
	}
	if p.Audit, err = state.OpenRecorder(ctx, b); err != nil {
		return Parts{}, err
	}
	if p.Secrets, err = secretmanager.Open(ctx, b); err != nil {
		return Parts{}, err
	}
	p.GitHub, err = github.Open(ctx, b, p.Store, p.Secrets)
	return p, err
}

// Open returns the engine over them.
func Open(ctx context.Context, b backend.Base) (*syncer.Engine, error) {
	p, err := OpenParts(ctx, b)
	if err != nil {
		return nil, err
	}
	kept := versionstate.Sources{Store: p.Store, Live: p.Secrets, Clock: b.Kit.Clock}
	return &syncer.Engine{
		Store: p.Store, Audit: p.Audit, Targets: p.GitHub, Sources: p.Secrets,
		SourcesOf:    func(projectID string) syncer.Sources { return kept.Of(projectID) },
		Fingerprints: secretmanager.Fingerprints(p.Secrets, b.Config.FingerprintKey),
		Clock:        b.Kit.Clock, Log: b.Kit.Log, Mode: b.Config.Pace,
	}, nil
}
