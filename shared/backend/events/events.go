// Package events opens Pub/Sub's topics for a deployed function.
package events

import (
	"context"

	"github.com/sealpost/sealpost/shared/backend"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/gcp/topic"
)

// Open returns what publishes on the topics of Sealpost's own project.
func Open(ctx context.Context, b backend.Base) (event.Publisher, error) {
	return topic.Open(ctx, topic.Config{Project: b.Config.GCPProject, EmulatorHost: b.Config.PubSubEmulator}, b.Kit.Clock)
}
