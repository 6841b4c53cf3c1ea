package eventx

import (
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
)

const subscription = "projects/acme/subscriptions/worker"

// TestParse is what is read of bodies, and what is refused.
func TestParse(t *testing.T) {
	t.Parallel()
	at := time.Date(2021, 5, 24, 17, 8, 3, 509e6, time.UTC)
	whole := event.Message{
		ID: "2451898607221267", PublishedAt: at, Subscription: subscription, Attempt: 3,
		Data: []byte("hi>?"), Attributes: map[string]string{"k": "v", "": ""},
	}
	bare := event.Message{ID: "1", Subscription: subscription}
	for name, test := range map[string]struct {
		body string
		want event.Message
		err  string // detail; none if empty
	}{
		"as Pub/Sub sends it": {
			body: `{"message":{"data":"aGk+Pw==","attributes":{"k":"v","":""},"messageId":"2451898607221267","message_id":"2451898607221267",
				"publishTime":"2021-05-24T17:08:03.509Z","publish_time":"2021-05-24T17:08:03.509Z"},"subscription":"` + subscription + `","deliveryAttempt":3}`,
			want: whole,
		},
		"other spellings, another zone, unknown fields": {
			body: `{"message":{"data":"aGk-Pw","attributes":{"k":"v","":""},"message_id":"2451898607221267","orderingKey":"k","new":[{}],
				"publish_time":"2021-05-24T19:08:03.509+02:00"},"subscription":"` + subscription + `","deliveryAttempt":3,"deliveryAttempts":true}`,
			want: whole,
		},
		"next to nothing": {body: `{"message":{"messageId":"1"},"subscription":"` + subscription + `"}`, want: bare},
		"nulls": {
			body: `{"message":{"messageId":"1","data":null,"attributes":null,"publishTime":null},"subscription":"` + subscription + `","deliveryAttempt":null}`,
			want: bare,
		},
		"another case is another name": {
			body: `{"message":{"messageId":"1","DATA":1,"Attributes":2},"subscription":"` + subscription + `","DeliveryAttempt":"x"}`,
			want: bare,
		},
		"no message":                {body: `{}`, err: "message is not a JSON object"},
		"null for a message":        {body: `{"message":null}`, err: "message is not a JSON object"},
		"a list for a message":      {body: `{"message":[]}`, err: "message is not a JSON object"},
		"a number for the source":   {body: `{"message":{},"subscription":1}`, err: "subscription is not a string"},
		"text for the attempt":      {body: `{"message":{},"deliveryAttempt":"1"}`, err: "deliveryAttempt is not a number from 0 to 2147483647"},
		"an attempt below zero":     {body: `{"message":{},"deliveryAttempt":-1}`, err: "deliveryAttempt is not a number from 0 to 2147483647"},
		"a fraction of an attempt":  {body: `{"message":{},"deliveryAttempt":1.5}`, err: "deliveryAttempt is not a number from 0 to 2147483647"},
		"far too many attempts":     {body: `{"message":{},"deliveryAttempt":1e99}`, err: "deliveryAttempt is not a number from 0 to 2147483647"},
		"a number for the id":       {body: `{"message":{"messageId":1}}`, err: "message.messageId is not a string"},
		"no time":                   {body: `{"message":{"publishTime":"now"}}`, err: "message.publishTime is not an RFC 3339 time"},
		"a list of attributes":      {body: `{"message":{"attributes":["a"]}}`, err: "message.attributes is not a JSON object"},
		"a number for an attribute": {body: `{"message":{"attributes":{"a":1}}}`, err: "message.attributes is not all strings"},
		"null for an attribute":     {body: `{"message":{"attributes":{"a":null}}}`, err: "message.attributes is not all strings"},
		"a list of data":            {body: `{"message":{"data":[]}}`, err: "message.data is not a string"},
		"no base64":                 {body: `{"message":{"data":"a"}}`, err: "message.data is not in base64"},
		"padding in the middle":     {body: `{"message":{"data":"aGk=aGk="}}`, err: "message.data is not in base64"},
		"other characters":          {body: `{"message":{"data":"aG k"}}`, err: "message.data is not in base64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parse([]byte(test.body))
			if test.err != "" {
				if !errors.Is(err, fault.RequestMalformed) || fault.Detail(err) != test.err {
					t.Errorf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || !same(got, test.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func same(a, b event.Message) bool {
	return a.ID == b.ID && a.PublishedAt.Equal(b.PublishedAt) && a.PublishedAt.Location() == time.UTC && a.Subscription == b.Subscription &&
		a.Attempt == b.Attempt && string(a.Data) == string(b.Data) && maps.Equal(a.Attributes, b.Attributes)
}

// TestParseTellsWhoseFaultItIs holds that a body that cannot be read says which
// subscription it came by, and on which attempt.
func TestParseTellsWhoseFaultItIs(t *testing.T) {
	t.Parallel()
	m, err := parse([]byte(`{"message":{"data":"?"},"subscription":"` + subscription + `","deliveryAttempt":5}`))
	if err == nil || m.Attempt != 5 || m.Subscription != subscription {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestParseLimitsTheSize(t *testing.T) {
	t.Parallel()
	body := func(data, attribute int) []byte {
		return []byte(`{"message":{"attributes":{"a":"` + strings.Repeat("x", attribute-1) + `"},"data":"` +
			base64.StdEncoding.EncodeToString(make([]byte, data)) + `"}}`)
	}
	if _, err := parse(body(event.MaxBytes-10, 10)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	for _, body := range [][]byte{body(event.MaxBytes-9, 10), body(event.MaxBytes, 1), body(1, event.MaxBytes)} {
		if _, err := parse(body); !errors.Is(err, fault.RequestTooLarge) {
			t.Errorf("over the limit: %v", err)
		}
	}
}

// FuzzParse holds that whatever stands in a body, it is read or refused, within
// the limits, and an error repeats nothing of it.
func FuzzParse(f *testing.F) {
	f.Add(`{"message":{"data":"aGk=","attributes":{"k":"v"},"messageId":"1","publishTime":"2021-05-24T17:08:03.509Z"},"subscription":"s","deliveryAttempt":1}`)
	f.Add(`{"message":{"data":"canary-7f3a"},"subscription":"s"}`)
	f.Add(`{"message":{"attributes":{"canary-7f3a":{}}},"deliveryAttempt":2147483648}`)
	f.Add("[]")
	f.Add("")
	f.Fuzz(func(t *testing.T, body string) {
		m, err := parse([]byte(body))
		switch {
		case err != nil && fault.KindOf(err) != fault.Invalid && fault.KindOf(err) != fault.TooLarge:
			t.Errorf("%q: %v", body, err)
		case err != nil && strings.Contains(err.Error(), "canary-7f3a"):
			t.Errorf("%q is repeated in %v", body, err)
		case m.Attempt < 0, err == nil && len(m.Data) > event.MaxBytes:
			t.Errorf("%q: %+v", body, m)
		}
	})
}
