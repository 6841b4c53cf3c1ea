// Package eventtest is the contract suite of event.Publisher. Every
// implementation passes it: what a function relies on when it publishes is
// here.
package eventtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
)

// Topic is the topic that a harness makes.
const Topic = "sync-requests"

// Bench is one publisher, with the one topic that there is and a look at what
// arrives from it.
type Bench struct {
	Publisher event.Publisher
	// Arrived waits until at least so many messages have arrived since the
	// bench was opened, and returns all that have, with the broker's part of
	// them. It fails the test where they do not come.
	Arrived func(t *testing.T, least int) []event.Message
}

// Run runs the suite. Open returns a bench that no other test has.
func Run(t *testing.T, open func(t *testing.T) Bench) {
	for name, test := range map[string]func(*testing.T, Bench){
		"what is published arrives":           whatIsPublishedArrives,
		"more than one request holds arrive":  manyArrive,
		"the largest message arrives":         largestArrives,
		"no message is no call":               noMessageIsNoCall,
		"a topic that is not there":           missingTopic,
		"a defect publishes nothing":          defectPublishesNothing,
		"the messages belong to their author": messagesBelongToTheirAuthor,
		"an ended context publishes nothing":  endedContext,
		"many may publish at once":            manyMayPublish,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func whatIsPublishedArrives(t *testing.T, b Bench) {
	t.Helper()
	began := clock.Real().Now()
	sent := event.Message{Data: []byte("\x00\xff{}"), Attributes: map[string]string{event.Correlation: "req-1", "empty": ""}}
	check(t, b.Publisher.Publish(t.Context(), Topic, sent))
	got := b.Arrived(t, 1)[0]
	if !bytes.Equal(got.Data, sent.Data) || !maps.Equal(got.Attributes, sent.Attributes) || got.ID == "" ||
		got.PublishedAt.Sub(began).Abs() > time.Minute {
		t.Errorf("arrived: %+v", got)
	}
}

func manyArrive(t *testing.T, b Bench) {
	t.Helper()
	const count = 1001 // Pub/Sub takes 1,000 in a request
	var messages []event.Message
	for i := range count {
		messages = append(messages, event.Message{Data: fmt.Append(nil, i)})
	}
	check(t, b.Publisher.Publish(t.Context(), Topic, messages...))
	if got := distinct(b.Arrived(t, count)); len(got) != count {
		t.Errorf("%d different messages arrived, want %d", len(got), count)
	}
}

func distinct(messages []event.Message) []string {
	var all []string
	for _, m := range messages {
		all = append(all, string(m.Data))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func largestArrives(t *testing.T, b Bench) {
	t.Helper()
	data := bytes.Repeat([]byte{'x'}, event.MaxBytes-2)
	check(t, b.Publisher.Publish(t.Context(), Topic, event.Message{Data: data, Attributes: map[string]string{"a": "b"}}))
	if got := b.Arrived(t, 1)[0]; len(got.Data) != len(data) {
		t.Errorf("%d bytes arrived", len(got.Data))
	}
}

func noMessageIsNoCall(t *testing.T, b Bench) {
	t.Helper()
	check(t, b.Publisher.Publish(t.Context(), "no-such-topic"))
}

func missingTopic(t *testing.T, b Bench) {
	t.Helper()
	if err := b.Publisher.Publish(t.Context(), "no-such-topic", event.Message{Data: []byte("x")}); !errors.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
}

func defectPublishesNothing(t *testing.T, b Bench) {
	t.Helper()
	tooMany := map[string]string{}
	for i := range 101 {
		tooMany[fmt.Sprint(i)] = ""
	}
	good := event.Message{Data: []byte("good")}
	for name, bad := range map[string]event.Message{
		"empty":               {},
		"too large":           {Data: make([]byte, event.MaxBytes+1)},
		"an unnamed value":    {Attributes: map[string]string{"": "x"}},
		"a name too long":     {Attributes: map[string]string{strings.Repeat("x", 257): "x"}},
		"a value too long":    {Attributes: map[string]string{"x": strings.Repeat("x", 1025)}},
		"too many attributes": {Attributes: tooMany},
	} {
		if err := b.Publisher.Publish(t.Context(), Topic, good, bad); !errors.Is(err, fault.Internal) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	check(t, b.Publisher.Publish(t.Context(), Topic, event.Message{Data: []byte("last")}))
	if got := distinct(b.Arrived(t, 1)); !slices.Equal(got, []string{"last"}) {
		t.Errorf("arrived: %q", got)
	}
}

func messagesBelongToTheirAuthor(t *testing.T, b Bench) {
	t.Helper()
	m := event.Message{Data: []byte("before"), Attributes: map[string]string{"k": "before"}}
	check(t, b.Publisher.Publish(t.Context(), Topic, m))
	copy(m.Data, "after!")
	m.Attributes["k"] = "after"
	if got := b.Arrived(t, 1)[0]; string(got.Data) != "before" || got.Attributes["k"] != "before" {
		t.Errorf("arrived: %+v", got)
	}
}

func endedContext(t *testing.T, b Bench) {
	t.Helper()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	m := event.Message{Data: []byte("never")}
	if err := b.Publisher.Publish(canceled, Topic, m); !errors.Is(err, fault.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
	if err := b.Publisher.Publish(expired, Topic, m); !errors.Is(err, fault.Deadline) {
		t.Errorf("expired: got %v", err)
	}
	check(t, b.Publisher.Publish(t.Context(), Topic, event.Message{Data: []byte("last")}))
	if got := distinct(b.Arrived(t, 1)); !slices.Equal(got, []string{"last"}) {
		t.Errorf("arrived: %q", got)
	}
}

func manyMayPublish(t *testing.T, b Bench) {
	t.Helper()
	const authors, each = 8, 5
	var all sync.WaitGroup
	for a := range authors {
		all.Go(func() {
			for i := range each {
				if err := b.Publisher.Publish(t.Context(), Topic, event.Message{Data: fmt.Append(nil, a, "/", i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := distinct(b.Arrived(t, authors*each)); len(got) != authors*each {
		t.Errorf("%d different messages arrived", len(got))
	}
}
