// Package secretchanged is the Cloud Function secret-changed.
//
// Secret Manager publishes what happens to a secret to the topic secret-events,
// which Pub/Sub pushes to POST /push/secret-changed. A notification only says
// "look again": the source is read anew, and if its state has changed, every
// project that uses it is marked and its workers are nudged. The caller is the
// push subscription's service account.
package secretchanged

import (
	"context"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/events"
	"github.com/sealpost/sealpost/shared/backend/secretmanager"
	"github.com/sealpost/sealpost/shared/backend/state"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/dispatch"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/eventx"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/telemetry"
	"github.com/sealpost/sealpost/shared/versionstate"
)

const name = "secret-changed"

func init() { functions.HTTP("SecretChanged", backend.Function(name, open)) }

func open(ctx context.Context, b backend.Base) (httpx.Handlers, error) {
	store, err := state.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	secrets, err := secretmanager.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	publisher, err := events.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	sources := versionstate.Sources{Store: store, Live: secrets, Clock: b.Kit.Clock}
	return eventx.Handlers(catalogue.Lookup(name), b.Pushes(name), handle(b.Kit, sources, publisher)), nil
}

// Handler returns the function over the sources and where it publishes nudges.
// The options say which pushes it takes.
func Handler(kit httpx.Kit, o eventx.Options, sources versionstate.Sources, publisher event.Publisher) http.Handler {
	return eventx.Function(catalogue.Lookup(name), kit, o, handle(kit, sources, publisher))
}

func handle(kit httpx.Kit, sources versionstate.Sources, publisher event.Publisher) func(context.Context, event.Message) error {
	requester := dispatch.Requester{Store: sources.Store, Events: publisher, Clock: kit.Clock, Log: kit.Log}
	return func(ctx context.Context, m event.Message) error {
		ref, kind, err := versionstate.ParseNotification(m.Attributes)
		if err != nil || ref == (versionstate.Ref{}) {
			return err
		}
		told, err := sources.Changed(ctx, ref, func(ctx context.Context, projectID string) error {
			return requester.Changed(ctx, projectID, kind+" of "+ref.String(), telemetry.Correlation(ctx))
		})
		kit.Log.InfoContext(ctx, "a secret was looked at again", "secret", ref.String(), "event", kind, "projects", told)
		return err
	}
}
