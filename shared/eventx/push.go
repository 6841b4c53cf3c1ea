package eventx

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
)

// parse reads the body of a push, which is one well-formed JSON object. The
// error is a [fault.RequestMalformed] that names the field, or a
// [fault.RequestTooLarge]. The attempt and the subscription are in the message
// with an error too, if the body tells them.
//
// Fields that it does not know pass, since Pub/Sub may add some, and it does:
// it sends messageId and publishTime in two spellings. Names are compared with
// their case, which encoding/json does not do by itself.
func parse(body []byte) (event.Message, error) {
	var m event.Message
	top, err := object(body, "the body")
	if err != nil {
		return m, err
	}
	attempt, attemptErr := integer(top["deliveryAttempt"], "deliveryAttempt")
	m.Attempt = attempt
	if m.Subscription, err = text(top["subscription"], "subscription"); err != nil {
		return m, err
	}
	if attemptErr != nil {
		return m, attemptErr
	}
	message, err := object(top["message"], "message")
	if err != nil {
		return m, err
	}
	return fill(m, message)
}

// fill adds what the message itself tells.
func fill(m event.Message, fields map[string]json.RawMessage) (event.Message, error) {
	var err error
	if m.ID, err = text(either(fields, "messageId", "message_id"), "message.messageId"); err != nil {
		return m, err
	}
	if m.PublishedAt, err = instant(either(fields, "publishTime", "publish_time"), "message.publishTime"); err != nil {
		return m, err
	}
	if m.Attributes, err = texts(fields["attributes"], "message.attributes"); err != nil {
		return m, err
	}
	encoded, err := text(fields["data"], "message.data")
	if err != nil {
		return m, err
	}
	if m.Data, err = decode(encoded); err != nil {
		return m, err
	}
	size := len(m.Data)
	for name, value := range m.Attributes {
		size += len(name) + len(value)
	}
	if size > event.MaxBytes {
		return m, fault.New(fault.RequestTooLarge, "the message is larger than %d bytes", event.MaxBytes)
	}
	return m, nil
}

func either(fields map[string]json.RawMessage, first, second string) json.RawMessage {
	if value, ok := fields[first]; ok {
		return value
	}
	return fields[second]
}

func malformed(place, want string) error {
	return fault.New(fault.RequestMalformed, "%s is not %s", place, want)
}

// absent reports whether a field is not there, or null, which means the same
// in the JSON of protocol buffers.
func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func object(raw json.RawMessage, place string) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if absent(raw) || json.Unmarshal(raw, &fields) != nil {
		return nil, malformed(place, "a JSON object")
	}
	return fields, nil
}

func text(raw json.RawMessage, place string) (string, error) {
	var s string
	if !absent(raw) && json.Unmarshal(raw, &s) != nil {
		return "", malformed(place, "a string")
	}
	return s, nil
}

func texts(raw json.RawMessage, place string) (map[string]string, error) {
	var values map[string]json.RawMessage
	if absent(raw) {
		return nil, nil
	}
	if json.Unmarshal(raw, &values) != nil {
		return nil, malformed(place, "a JSON object")
	}
	all := make(map[string]string, len(values))
	for name, value := range values {
		s, err := text(value, place)
		if err != nil || absent(value) {
			return nil, malformed(place, "all strings")
		}
		all[name] = s
	}
	return all, nil
}

func integer(raw json.RawMessage, place string) (int, error) {
	var n int32
	if !absent(raw) && json.Unmarshal(raw, &n) != nil || n < 0 {
		return 0, malformed(place, fmt.Sprintf("a number from 0 to %d", math.MaxInt32))
	}
	return int(n), nil
}

func instant(raw json.RawMessage, place string) (time.Time, error) {
	s, err := text(raw, place)
	if err != nil || s == "" {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, malformed(place, "an RFC 3339 time")
	}
	return at.UTC(), nil
}

// decode takes both alphabets of base64, with padding or without, as the JSON
// of protocol buffers does. Source: protobuf.dev/programming-guides/json.
func decode(s string) ([]byte, error) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(s)
	encoding := base64.RawStdEncoding
	if strings.HasSuffix(s, "=") {
		encoding = base64.StdEncoding
	}
	data, err := encoding.DecodeString(s)
	if err != nil {
		return nil, malformed("message.data", "in base64")
	}
	return data, nil
}
