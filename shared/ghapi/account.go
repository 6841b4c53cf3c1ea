package ghapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-github/v66/github"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/pace"
)

// line is what all identities share: where GitHub is and what carries requests
// there.
type line struct {
	base      *url.URL
	transport http.RoundTripper
	clock     clock.Clock
	userAgent string
}

// account sends the requests of one identity. From the outside in, a request
// goes through these stages, each for its reason at its place:
//
//  1. redirects, by net/http: each hop is a request of its own to GitHub;
//  2. retries: each attempt must wait for its own turn;
//  3. the pace: it wants to know of each request that reaches GitHub, and of
//     each refusal, before anybody else starts;
//  4. the guard of writes: asked when nothing is waited for any more;
//  5. the token: taken after the wait, which may be longer than its life;
//  6. the cache: a 304 goes over the wire like any other answer, and ETags vary
//     with the token;
//  7. the wire: it counts, sets a time limit, reads the whole answer, and turns
//     failed answers into a [failure], so that nothing further out, go-github
//     included, ever sees the body of one.
type account struct {
	line
	pacer  *pace.Pacer
	budget pace.Budget // nil: the identity is this process's alone
	tokens tokens
	cache  cache
	quota  quota

	web *http.Client
	api *github.Client
}

func newAccount(l line, mode pace.Mode, t tokens, budget pace.Budget, workers int) *account {
	a := &account{line: l, pacer: pace.NewShared(mode, l.clock, budget, workers), budget: budget, tokens: t}
	a.web = &http.Client{Transport: a, CheckRedirect: checkRedirect}
	a.api = github.NewClient(a.web)
	a.api.BaseURL, a.api.UserAgent = l.base, l.userAgent
	return a
}

const (
	// attempts is how often a request is sent at the most, for each of the two
	// reasons to send it again: GitHub failed, or GitHub refused.
	attempts = 3
	// Waits between attempts are drawn from 0 to a bound that doubles ("full jitter").
	firstBackOff   = 500 * time.Millisecond
	longestBackOff = 8 * time.Second
	// requestTime ends a request that hangs. GitHub ends its own at 10 seconds.
	requestTime = 30 * time.Second
	// maxAnswer bounds what is read of an answer. A page of a hundred secrets
	// takes some 30 KB.
	maxAnswer    = 4 << 20
	maxRedirects = 3
)

// retriedHeader marks, on answers within this package, that an earlier attempt
// may have taken effect.
const retriedHeader = "X-Sealpost-Retried"

// checkRedirect follows GitHub's redirects of renamed repositories and nothing
// else: net/http would turn a write into a read after some of them.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects || req.Method != via[0].Method {
		return &failure{reason: redirected}
	}
	return nil
}

// checkHost keeps the credentials and the body of each attempt, and so of each
// redirect, from any other host.
func (a *account) checkHost(u *url.URL) error {
	if u.Scheme != a.base.Scheme || u.Host != a.base.Host {
		return &failure{reason: redirected}
	}
	return nil
}

// RoundTrip sends a request, again if need be. It implements
// http.RoundTripper for go-github and net/http's redirects.
func (a *account) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	var failures, refusals int
	var last *failure // of an attempt that may have taken effect
	var refused *token
	for {
		sent, answer, err := a.attempt(req, body, refused)
		var f *failure
		switch {
		case err == nil:
			answer.Header.Del(retriedHeader)
			if last != nil {
				answer.Header.Set(retriedHeader, "true")
			}
			return answer, nil
		case !errors.As(err, &f):
			if last != nil { // what stopped this attempt does not undo an earlier one
				return nil, last
			}
			return nil, err
		case f.reason == unauthorised && refused == nil:
			refused = sent // it may have been revoked; the next attempt asks for another
			if another, err := a.tokens(req.Context(), sent); err != nil || another == nil {
				return nil, f
			}
			continue
		case f.reason == rateLimited:
			if refusals++; refusals == attempts {
				return nil, f
			}
			continue // the pacer makes it wait
		case !f.transient():
			return nil, f
		}
		last = f
		if failures++; failures == attempts || !a.backOff(req.Context(), failures, f.retryAfter) {
			return nil, f
		}
	}
}

// readBody reads a request's body, so that each attempt can send it whole.
func readBody(req *http.Request) ([]byte, error) {
	if req.Body == nil {
		return nil, nil
	}
	body, err := io.ReadAll(req.Body)
	if closeErr := req.Body.Close(); err == nil {
		err = closeErr
	}
	return body, err
}

// backOff waits before the next attempt. It reports false if there is no time
// for that: the context would end first.
func (a *account) backOff(ctx context.Context, failures int, atLeast time.Duration) bool {
	bound := min(firstBackOff<<failures, longestBackOff)
	wait := max(time.Duration(rand.Int64N(int64(bound))), atLeast)
	if deadline, ok := ctx.Deadline(); ok && clock.Until(a.clock, deadline) <= wait {
		return false
	}
	return a.clock.Sleep(ctx, wait) == nil
}

// attempt sends a request once, when its turn has come. It returns the token
// that was shown.
func (a *account) attempt(req *http.Request, body []byte, refused *token) (*token, *http.Response, error) {
	if err := a.checkHost(req.URL); err != nil {
		return nil, nil, err
	}
	ctx := req.Context()
	grant, err := a.pacer.Acquire(ctx, costOf(req.Method))
	if err != nil {
		return nil, nil, err
	}
	defer grant.Done()
	shown, err := a.tokens(ctx, refused)
	if err != nil {
		return nil, nil, err
	}
	if shown == nil {
		return nil, nil, &failure{reason: unauthorised}
	}
	allowed, err := timeAllowed(ctx, req.Method)
	if err != nil {
		return nil, nil, err
	}
	if req.Method != http.MethodGet {
		// A write that has been sent cannot be recalled: its answer is worth waiting for.
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := clock.WithTimeout(ctx, a.clock, allowed)
	defer cancel()
	answer, err := a.send(ctx, req, body, shown)
	if err != nil && ctx.Err() != nil && req.Method == http.MethodGet && req.Context().Err() != nil {
		return shown, nil, req.Context().Err() // the caller's time is up, not GitHub's
	}
	var f *failure
	if errors.As(err, &f) && f.reason == rateLimited {
		var reset time.Time
		if f.untilReset > 0 {
			reset = a.clock.Now().Add(f.untilReset)
		}
		grant.Refused(f.retryAfter, reset)
		_ = a.pacer.Tell(context.WithoutCancel(req.Context())) // or else with its next draw
	}
	return shown, answer, err
}

func costOf(method string) pace.Cost {
	if method == http.MethodGet {
		return pace.Read
	}
	return pace.Write
}

// timeAllowed asks the guard of a write for how long it may last.
func timeAllowed(ctx context.Context, method string) (time.Duration, error) {
	guard := pace.GuardFrom(ctx)
	if method == http.MethodGet || guard == nil {
		return requestTime, nil
	}
	left, err := guard()
	return min(left, requestTime), err
}

// unguarded returns a context for requests that change no target.
func unguarded(ctx context.Context) context.Context { return pace.WithGuard(ctx, nil) }

// send shows the token and what is known already, and completes a 304.
func (a *account) send(ctx context.Context, req *http.Request, body []byte, shown *token) (*http.Response, error) {
	out := req.Clone(ctx)
	if body != nil {
		setBody(out, body)
	}
	out.Header.Set("Authorization", "Bearer "+shown.text.Reveal())
	known := a.cache.lookUp(shown, out)
	if known != nil {
		out.Header.Set("If-None-Match", known.header.Get("ETag"))
	}
	answer, content, err := a.exchange(out)
	if err != nil {
		return nil, err
	}
	a.quota.note(answer, a.clock.Now())
	a.noteQuota()
	if answer.StatusCode == http.StatusNotModified && known != nil {
		content = known.content
		known.complete(answer)
	}
	if f := failureOf(answer, content, a.clock.Now()); f != nil {
		return nil, f
	}
	a.cache.keep(shown, out, answer, content)
	for _, name := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"} {
		answer.Header.Del(name) // go-github would refuse requests by them, with a clock of its own
	}
	answer.Body = io.NopCloser(bytes.NewReader(content))
	return answer, nil
}

// setBody gives the request its body, of which nothing is read if the guard
// refuses by then. The transport reads it when a connection is there, right
// before it writes the first byte: however long a process stood still between
// the guard's first answer and that moment, nothing is sent too late.
func setBody(out *http.Request, body []byte) {
	guard := pace.GuardFrom(out.Context())
	out.GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(&guardedBody{guard, bytes.NewReader(body)}), nil
	}
	out.Body, _ = out.GetBody() // it never fails
}

type guardedBody struct {
	guard   pace.Guard // nil: there is none, or it was asked
	content io.Reader
}

func (b *guardedBody) Read(p []byte) (int, error) {
	if b.guard != nil {
		if _, err := b.guard(); err != nil {
			return 0, &refusedByGuard{err}
		}
		b.guard = nil // what has begun goes on to its end
	}
	return b.content.Read(p)
}

// refusedByGuard is the guard's error on its way through the transport.
type refusedByGuard struct{ error }

func (r *refusedByGuard) Unwrap() error { return r.error }

// exchange sends one request over the wire and reads its answer to the end, so
// that the connection can be used again. It counts the request.
func (a *account) exchange(out *http.Request) (*http.Response, []byte, error) {
	usage := pace.Usage{Requests: 1, Charged: 1, Points: int(costOf(out.Method))}
	meter := pace.MeterFrom(out.Context())
	defer func() { meter.Add(usage) }()
	if strings.HasSuffix(out.URL.Path, "/rate_limit") {
		usage.Charged = 0 // as GitHub documents
	}
	answer, err := a.transport.RoundTrip(out)
	if refused := new(refusedByGuard); errors.As(err, &refused) {
		return nil, nil, refused.error // nothing was sent
	}
	if err != nil {
		return nil, nil, wireFailure(out.Context(), err)
	}
	content, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if closeErr := answer.Body.Close(); err == nil && closeErr != nil {
		err = closeErr
	}
	if err != nil {
		return nil, nil, wireFailure(out.Context(), err)
	}
	if len(content) > maxAnswer {
		return nil, nil, &failure{reason: garbled}
	}
	if answer.StatusCode == http.StatusNotModified {
		usage.Charged = 0
	}
	return answer, content, nil
}

// wireFailure says why there is no answer. The error's own words are dropped:
// net/http quotes what it could not parse.
func wireFailure(ctx context.Context, err error) error {
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return &failure{reason: untrusted}
	case ctx.Err() != nil:
		return &failure{reason: timedOut}
	}
	return &failure{reason: unreachable}
}
