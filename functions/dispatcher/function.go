// Package dispatcher is the Cloud Function dispatcher.
//
// Each minute (* * * * *) Scheduler publishes to the topic dispatch-tick, which
// Pub/Sub pushes to POST /push/dispatcher: what is due and what GitHub's pace
// admits is published to the workers, and some sources are looked at again, in
// case that a notification was lost. The caller is the push subscription's
// service account.
package dispatcher

import (
	"context"
	"errors"
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

const name = "dispatcher"

func init() { functions.HTTP("Dispatcher", backend.Function(name, open)) }

func open(ctx context.Context, b backend.Base) (httpx.Handlers, error) {
	store, err := state.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	publisher, err := events.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	secrets, err := secretmanager.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	accounts := dispatch.Quotas{Store: store, Mode: b.Config.Pace, App: b.Config.UsesApp()}
	sources := versionstate.Sources{Store: store, Live: secrets, Clock: b.Kit.Clock}
	return eventx.Handlers(catalogue.Lookup(name), b.Pushes(name), handle(b.Kit, sources, publisher, accounts)), nil
}

// sweepReads is how many metadata reads of the 600 that Secret Manager allows a
// minute a tick may use. The rest is for syncs and for others.
const sweepReads = 300

// Handler returns the function over the sources, where it publishes, and what
// is left of each account's pace. The options say which pushes it takes.
func Handler(kit httpx.Kit, o eventx.Options, sources versionstate.Sources, publisher event.Publisher, accounts dispatch.Accounts) http.Handler {
	return eventx.Function(catalogue.Lookup(name), kit, o, handle(kit, sources, publisher, accounts))
}

func handle(kit httpx.Kit, sources versionstate.Sources, publisher event.Publisher, accounts dispatch.Accounts) func(context.Context, event.Message) error {
	d := dispatch.Dispatcher{Store: sources.Store, Events: publisher, Accounts: accounts, Clock: kit.Clock, Log: kit.Log}
	requester := dispatch.Requester{Store: sources.Store, Events: publisher, Clock: kit.Clock, Log: kit.Log}
	return func(ctx context.Context, _ event.Message) error {
		report, tickErr := d.Tick(ctx)
		changed, sweepErr := sources.Sweep(ctx, sweepReads, func(ctx context.Context, projectID string) error {
			return requester.Changed(ctx, projectID, "a change that no notification told of", telemetry.Correlation(ctx))
		})
		kit.Log.InfoContext(ctx, "a tick", "due", report.Due, "published", report.Published, "waiting", report.Waiting, "changed", changed)
		return errors.Join(tickErr, sweepErr)
	}
}
