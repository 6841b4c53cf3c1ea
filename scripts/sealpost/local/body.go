package local

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
)

const (
	// BodyTime is how long a request's body may take to come: 1 MiB at most, from
	// the same machine.
	BodyTime = 30 * time.Second
	// restTime is how long the rest of a body is waited for that the handler has
	// left, before its answer is sent: net/http reads it first.
	restTime = time.Second
)

// BoundBody is the handler with a limit to how long a request's body may take to
// come; what has not come when ctx ends comes no more. In the cloud the platform
// has the whole request before the function sees it. http.Server's ReadTimeout
// alone would not do: an answer that is given before the body has come, such as
// that a token is bad, would wait for it all the same.
func BoundBody(ctx context.Context, handler http.Handler, limit time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			handler.ServeHTTP(w, r)
			return
		}
		b := &boundBody{ReadCloser: r.Body, connection: http.NewResponseController(w)}
		b.within(limit)
		b.release = context.AfterFunc(ctx, func() { b.within(0) })
		defer b.release()
		r = r.WithContext(r.Context()) // a copy: the server looks at its own request's body
		r.Body = b
		handler.ServeHTTP(w, r)
		if !b.ended {
			b.within(min(restTime, limit))
		}
	})
}

// boundBody lets the end of the context pass once the body has ended, since the
// handler is then at work. The limit is taken away by net/http itself.
type boundBody struct {
	io.ReadCloser
	connection *http.ResponseController
	release    func() bool // from the context
	ended      bool
}

func (b *boundBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) && !b.ended {
		b.ended = true
		b.release()
	}
	return n, err
}

// within sets the limit. A connection that knows none is none of net/http's.
func (b *boundBody) within(d time.Duration) {
	_ = b.connection.SetReadDeadline(clock.Real().Now().Add(d))
}
