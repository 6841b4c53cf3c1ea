// Package scheduledsync is the Cloud Function scheduled-sync.
//
// Every six hours (0 */6 * * *) Scheduler publishes to the topic sync-tick, which
// Pub/Sub pushes to POST /push/scheduled-sync: every project is marked, so that
// what was changed at GitHub is seen, and what no message told of. The caller is
// the push subscription's service account.
package scheduledsync

import (
	"context"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/state"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/dispatch"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/eventx"
	"github.com/sealpost/sealpost/shared/httpx"
)

const name = "scheduled-sync"

func init() { functions.HTTP("ScheduledSync", backend.Function(name, open)) }

func open(ctx context.Context, b backend.Base) (httpx.Handlers, error) {
	store, err := state.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	return eventx.Handlers(catalogue.Lookup(name), b.Pushes(name), handle(b.Kit, store)), nil
}

// Handler returns the function over a store. The options say which pushes it
// takes.
func Handler(kit httpx.Kit, o eventx.Options, store docstore.Store) http.Handler {
	return eventx.Function(catalogue.Lookup(name), kit, o, handle(kit, store))
}

func handle(kit httpx.Kit, store docstore.Store) func(context.Context, event.Message) error {
	requester := dispatch.Requester{Store: store, Clock: kit.Clock, Log: kit.Log}
	return func(ctx context.Context, _ event.Message) error {
		marked, err := requester.RequestAll(ctx, "the sync of every six hours")
		kit.Log.InfoContext(ctx, "projects were marked", "projects", marked)
		return err
	}
}
