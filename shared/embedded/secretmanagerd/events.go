package secretmanagerd

import (
	"time"

	pb "cloud.google.com/go/secretmanager/apiv1/secretmanagerpb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// EventType says what happened.
type EventType string

// The types of the events that the server makes, as the real service names
// them. Source: cloud.google.com/secret-manager/docs/event-notifications.
const (
	SecretCreated    EventType = "SECRET_CREATE"
	SecretUpdated    EventType = "SECRET_UPDATE"
	SecretDeleted    EventType = "SECRET_DELETE"
	VersionAdded     EventType = "SECRET_VERSION_ADD"
	VersionEnabled   EventType = "SECRET_VERSION_ENABLE"
	VersionDisabled  EventType = "SECRET_VERSION_DISABLE"
	VersionDestroyed EventType = "SECRET_VERSION_DESTROY"
	TopicConfigured  EventType = "TOPIC_CONFIGURED" // a test message with no attribute but its type, and no data
)

// Event is one notification, as the real service publishes it to each topic of
// the secret. It is made whether or not the secret has topics.
type Event struct {
	Type   EventType
	Topics []string // projects/P/topics/T, those of the secret; may be empty
	// Attributes of the message: eventType, dataFormat, secretId, timestamp
	// and, for a version's event, versionId. Both ids are whole resource names.
	Attributes map[string]string
	// Data of the message: the secret or the version as JSON, without any value.
	Data []byte
}

// announce adds an event about a secret, or about one of its versions.
func (tx *transaction) announce(t EventType, record *secretRecord, version *pb.SecretVersion) {
	event := Event{Type: t, Attributes: map[string]string{
		"eventType":  string(t),
		"dataFormat": "JSON_API_V1",
		"secretId":   record.meta.GetName(),
		"timestamp":  tx.now.Format(time.RFC3339Nano),
	}}
	event.Topics = topicNames(record)
	var resource proto.Message = record.meta
	if version != nil {
		event.Attributes["versionId"] = version.GetName()
		resource = version
	}
	event.Data, _ = protojson.Marshal(resource) // our own messages can be marshalled
	tx.events = append(tx.events, event)
}

// tryTopics adds the message by which the real service tries the topics that a
// secret was just given.
func (tx *transaction) tryTopics(record *secretRecord) {
	if topics := topicNames(record); len(topics) > 0 {
		tx.events = append(tx.events, Event{Type: TopicConfigured, Topics: topics, Attributes: map[string]string{"eventType": string(TopicConfigured)}})
	}
}

func topicNames(record *secretRecord) []string {
	var names []string
	for _, topic := range record.meta.GetTopics() {
		names = append(names, topic.GetName())
	}
	return names
}
