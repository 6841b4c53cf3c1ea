package local_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/scripts/sealpost/local"
)

const soon = 100 * time.Millisecond

// reading answers whether the body came to its end.
func reading(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
}

// refusing answers without a look at the body.
func refusing(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }

// half sends half of a body and returns the answer's status.
func half(t *testing.T, address string) int {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 100\r\n\r\nhalf", address); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

func TestABodyThatDoesNotCome(t *testing.T) {
	t.Parallel()
	over, end := context.WithCancel(t.Context())
	end()
	for name, c := range map[string]struct {
		ctx     context.Context
		handler http.HandlerFunc
		limit   time.Duration
		status  int
	}{
		"is not waited for":                {t.Context(), reading, soon, http.StatusBadRequest},
		"holds up no refusal":              {t.Context(), refusing, time.Hour, http.StatusUnauthorized},
		"is given up when the server ends": {over, reading, time.Hour, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(local.BoundBody(c.ctx, c.handler, c.limit))
			defer server.Close()
			if status := half(t, strings.TrimPrefix(server.URL, "http://")); status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
		})
	}
}

// The limit is the body's and not the handler's, on a connection's every
// request, and the server's end does not break off a handler that is at work.
func TestABodyThatComes(t *testing.T) {
	t.Parallel()
	ending, end := context.WithCancel(t.Context())
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/last" {
			end()
		}
		select {
		case <-r.Context().Done():
			w.WriteHeader(http.StatusTeapot)
		case <-time.After(3 * soon):
		}
	})
	server := httptest.NewServer(local.BoundBody(ending, handler, soon))
	defer server.Close()
	for _, path := range []string{"/first", "/last"} {
		answer, err := server.Client().Post(server.URL+path, "text/plain", strings.NewReader("whole"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", path, answer.StatusCode)
		}
	}
}
