package event

import "github.com/sealpost/sealpost/shared/fault"

// What Pub/Sub takes of attributes.
// Source: cloud.google.com/pubsub/quotas, "Resource limits".
const (
	maxAttributes     = 100
	maxAttributeName  = 256  // bytes
	maxAttributeValue = 1024 // bytes
)

// Check returns nil for a message that can be published, else a
// [fault.Internal]: who publishes knows what it writes, so a message that
// cannot be is a defect of ours. Every Publisher checks all of its messages
// before it sends any.
func (m Message) Check() error {
	size := len(m.Data)
	for name, value := range m.Attributes {
		size += len(name) + len(value)
		if name == "" || len(name) > maxAttributeName || len(value) > maxAttributeValue {
			return fault.Wrap(fault.Internal, "event.Check: an attribute without a name, or longer than Pub/Sub takes", nil)
		}
	}
	switch {
	case size == 0:
		return fault.Wrap(fault.Internal, "event.Check: a message has data or an attribute", nil)
	case len(m.Attributes) > maxAttributes:
		return fault.Wrap(fault.Internal, "event.Check: more attributes than Pub/Sub takes", nil)
	case size > MaxBytes:
		return fault.Wrap(fault.Internal, "event.Check: larger than a message may be", nil)
	}
	return nil
}
