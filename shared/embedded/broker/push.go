package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
)

// envelope is the body of a push. Pub/Sub sends two of the fields in two
// spellings. Source: cloud.google.com/pubsub/docs/push.
type envelope struct {
	Message struct {
		Data          []byte            `json:"data,omitempty"` // in base64, by encoding/json
		Attributes    map[string]string `json:"attributes,omitempty"`
		ID            string            `json:"messageId"`
		AlsoID        string            `json:"message_id"`
		PublishedAt   string            `json:"publishTime"`
		AlsoPublished string            `json:"publish_time"`
	} `json:"message"`
	Subscription string `json:"subscription"`
	Attempt      int    `json:"deliveryAttempt,omitempty"`
}

// request is the POST of one attempt.
func (s *subscription) request(ctx context.Context, d delivery) (*http.Request, error) {
	var e envelope
	e.Message.Data, e.Message.Attributes = d.message.Data, d.message.Attributes
	e.Message.ID, e.Message.AlsoID = d.message.ID, d.message.ID
	e.Message.PublishedAt = d.message.PublishedAt.Format("2006-01-02T15:04:05.999Z07:00")
	e.Message.AlsoPublished = e.Message.PublishedAt
	e.Subscription = s.broker.FullName(s.Name)
	if s.DeadLetter != "" {
		e.Attempt = d.attempts
	}
	body, err := json.Marshal(e)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "render the push", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "make the push", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "CloudPubSub-Google")
	if s.Token != nil {
		token, err := s.Token(ctx)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request, nil
}

// inProcess hands requests to a handler. A handler that does not end with its
// request's context is left behind, as a server on the network would be.
type inProcess struct {
	handler http.Handler
	running *sync.WaitGroup
}

// RoundTrip answers a request.
func (t inProcess) RoundTrip(out *http.Request) (*http.Response, error) {
	in := out.Clone(out.Context())
	in.RequestURI, in.Host, in.RemoteAddr = out.URL.RequestURI(), out.URL.Host, "127.0.0.1:0"
	answers := make(chan *http.Response, 1)
	t.running.Go(func() {
		answer := &recorder{header: http.Header{}}
		if err := fault.Contain(func() error { t.handler.ServeHTTP(answer, in); return nil }); err != nil {
			answer.status = http.StatusInternalServerError
		}
		answer.WriteHeader(http.StatusOK)
		answers <- &http.Response{
			StatusCode: answer.status, Header: answer.header, Request: out, Body: http.NoBody,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}
	})
	select {
	case answer := <-answers:
		return answer, nil
	case <-out.Context().Done():
		return nil, out.Context().Err()
	}
}

// recorder is a ResponseWriter that keeps the status.
type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return io.Discard.Write(p)
}

// SetWriteDeadline takes the deadline in the past by which httpx severs a
// connection: the answer is then none.
func (r *recorder) SetWriteDeadline(time.Time) error {
	r.status = http.StatusInternalServerError
	return nil
}
