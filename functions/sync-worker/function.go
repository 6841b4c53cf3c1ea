// Package syncworker is the Cloud Function sync-worker.
//
// Pub/Sub pushes the topic sync-requests to POST /push/sync-worker. Each message
// names a container; what is asked for there is in the store, as its mark. The
// caller is the push subscription's service account.
package syncworker

import (
	"context"
	"net/http"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/backend/engine"
	"github.com/sealpost/sealpost/shared/backend/events"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/dispatch"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/eventx"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/syncer"
)

const name = "sync-worker"

func init() { functions.HTTP("SyncWorker", backend.Function(name, open)) }

func open(ctx context.Context, b backend.Base) (httpx.Handlers, error) {
	e, err := engine.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	publisher, err := events.Open(ctx, b)
	if err != nil {
		return nil, err
	}
	return eventx.Handlers(catalogue.Lookup(name), b.Pushes(name), handle(e, publisher)), nil
}

// Handler returns the function over an engine and where it publishes nudges to
// itself. The options say which pushes it takes.
func Handler(kit httpx.Kit, o eventx.Options, e *syncer.Engine, publisher event.Publisher) http.Handler {
	return eventx.Function(catalogue.Lookup(name), kit, o, handle(e, publisher))
}

func handle(e *syncer.Engine, publisher event.Publisher) func(context.Context, event.Message) error {
	worker := dispatch.Worker{
		Store: e.Store, Events: publisher, Engine: e, Clock: e.Clock, Log: e.Log,
		Time: time.Duration(catalogue.Lookup(name).TimeoutSec) * time.Second,
	}
	return func(ctx context.Context, m event.Message) error {
		nudge, err := dispatch.ParseNudge(m)
		if err != nil {
			return err
		}
		return worker.Do(ctx, nudge)
	}
}
