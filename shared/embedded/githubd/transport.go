package githubd

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"syscall"
)

// Transport returns a way to the server that needs no network: requests to any
// host reach it. It runs a request in the caller's goroutine, so that a
// testing/synctest bubble sees all that it waits for.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

// Client returns an HTTP client that talks to the server through
// [Server.Transport].
func (s *Server) Client() *http.Client { return &http.Client{Transport: s.Transport()} }

type transport struct{ server *Server }

// RoundTrip answers a request. A connection that the server resets is
// syscall.ECONNRESET; a caller who goes away gets its context's error.
func (t transport) RoundTrip(out *http.Request) (*http.Response, error) {
	in := out.Clone(out.Context())
	in.RequestURI = out.URL.RequestURI()
	in.Host = out.Host
	if in.Host == "" {
		in.Host = out.URL.Host
	}
	in.RemoteAddr = "127.0.0.1:0"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer func() { _ = in.Body.Close() }() // a RoundTripper closes the body; there is nothing to tell

	answer := &recorder{header: http.Header{}}
	aborted := answer.serve(t.server, in)
	switch {
	case out.Context().Err() != nil:
		return nil, out.Context().Err()
	case aborted:
		return nil, syscall.ECONNRESET
	}
	return answer.response(out), nil
}

// recorder is a ResponseWriter that keeps the answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

// serve lets the handler answer and reports whether it broke the connection.
func (r *recorder) serve(h http.Handler, in *http.Request) (aborted bool) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			aborted = true
		default:
			panic(p)
		}
	}()
	h.ServeHTTP(r, in)
	return false
}

func (r *recorder) response(out *http.Request) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(r.status) + " " + http.StatusText(r.status), StatusCode: r.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header, Body: io.NopCloser(&r.body), ContentLength: int64(r.body.Len()), Request: out,
	}
}
