// Package event is the port for messages between functions.
//
// A message is a nudge: whatever it is about is in the store, and who gets a
// message looks there. So a message may be lost, late, repeated or out of
// order, and may say no more than where to look.
package event

import (
	"context"
	"time"
)

// The topics. What each function listens to is a column of the catalogue.
const (
	// SyncTick is when Scheduler asks for everything to be reconciled.
	SyncTick = "sync-tick"
	// DispatchTick is when Scheduler asks for what is due to be published.
	DispatchTick = "dispatch-tick"
	// SyncRequests names containers that are to be synced.
	SyncRequests = "sync-requests"
	// SecretEvents is where Secret Manager tells of new versions.
	SecretEvents = "secret-events"
)

// MaxBytes is how large a message may be, attributes included: far below what
// Pub/Sub takes, and far above what a nudge needs.
const MaxBytes = 64 << 10

// Message is one message. What is published has only Attributes and Data; the
// rest is what the broker tells with a delivery.
type Message struct {
	Attributes map[string]string
	Data       []byte

	ID           string // the broker's, the same at each delivery
	PublishedAt  time.Time
	Subscription string // full resource name
	Attempt      int    // deliveries so far, this one included; 0 if the broker does not count
}

// Correlation is the attribute that carries the correlation id of the request
// that led to the message.
const Correlation = "correlationId"

// Publisher puts messages on topics.
type Publisher interface {
	// Publish returns when the broker has all of the messages: nothing is left
	// to be sent after it. A message that [Message.Check] refuses is a
	// [fault.Internal] before any is sent. Any other error, of kind [fault.Unavailable],
	// [fault.Canceled], [fault.Deadline], [fault.Denied] or
	// [fault.NotFound] for a topic that is not there, means that any of them
	// may have been published or not.
	Publish(ctx context.Context, topic string, messages ...Message) error
}
