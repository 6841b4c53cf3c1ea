package dispatch

import (
	"context"
	"regexp"

	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
)

// Nudge says whose mark to look at.
type Nudge struct {
	Container     string // key of the container
	CorrelationID string // of the request that led to it; may be empty
}

// containerAttribute carries Nudge.Container. A nudge has no data: what there is
// to say fits into attributes, which people see in every console.
const containerAttribute = "container"

var containerKey = regexp.MustCompile(`^(repository|organisation)-[1-9][0-9]{0,18}$`)

func (n Nudge) message() event.Message {
	return event.Message{Attributes: map[string]string{containerAttribute: n.Container, event.Correlation: n.CorrelationID}}
}

// ParseNudge reads a message of [event.SyncRequests]. What cannot be one is a
// [fault.Invalid] with [fault.RequestMalformed].
func ParseNudge(m event.Message) (Nudge, error) {
	n := Nudge{Container: m.Attributes[containerAttribute], CorrelationID: m.Attributes[event.Correlation]}
	if !containerKey.MatchString(n.Container) {
		return Nudge{}, fault.New(fault.RequestMalformed, "the message names no container")
	}
	return n, nil
}

// publish publishes the nudges.
func publish(ctx context.Context, events event.Publisher, nudges []Nudge) error {
	if len(nudges) == 0 {
		return nil
	}
	messages := make([]event.Message, 0, len(nudges))
	for _, n := range nudges {
		messages = append(messages, n.message())
	}
	return events.Publish(ctx, event.SyncRequests, messages...)
}
