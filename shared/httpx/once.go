package httpx

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"net/http"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/idempotency"
	"github.com/sealpost/sealpost/shared/telemetry"
)

const (
	keyHeader      = "Idempotency-Key"
	replayedHeader = "Idempotent-Replayed" // the draft names none; this is the usual one

	// settleTime is what it may take to keep an answer, after the request's
	// time is up or its caller is gone. It is part of answerTime.
	settleTime = answerTime / 2
)

// Once calls work, which is a [Handler], and answers with what it wrote; but if
// the request has an Idempotency-Key with which the same caller sent the same
// body to the same path for the same project, it answers as it did then, and
// adds the header Idempotent-Replayed: true. Without a key it calls work and
// does no more.
//
// The handler calls it once it has read the body, by [DecodeJSON] or [ReadJSON],
// and has made every decision on the caller, so that who has lost a role gets no
// answer from the time when he had it. What is refused before that is not kept.
//
// Of what work answers, status, Content-Type, Location and body are kept for
// [idempotency.Life], errors too. Not kept is what a repeat may change: a 429, a
// 5xx, a panic, what broke off since the caller was gone, and any answer that
// says when to repeat the request. The key is then free at once or, if the
// process was killed, when the request's time would have been up. Work's answer
// is held back until it is kept. If it cannot be kept, the caller gets it all the
// same and the log a warning: a repeat is then refused as that of a request under
// way until its time is up, and after that carried out.
//
// Errors are work's, those of [idempotency.Keys.Begin], and
// [fault.IdempotencyKeyInvalid] for a header that stands there twice or breaks
// the rules of [idempotency.ParseKey].
func Once(keys idempotency.Keys, w http.ResponseWriter, r *http.Request, project string, work Handler) error {
	key, given, err := idempotencyKey(r.Header)
	if err != nil {
		return err
	}
	if !given {
		return work(w, r)
	}
	ctx, x := r.Context(), exchangeOf(r.Context())
	if err := x.requireDecision(); err != nil {
		return err
	}
	deadline, _ := ctx.Deadline() // set in ServeHTTP
	claim, before, err := keys.Begin(ctx, idempotency.Request{
		Caller: x.caller.Identity.Issuer + " " + x.caller.Identity.Subject, Route: r.Method + " " + r.URL.Path,
		Project: project, Key: key, Body: x.body, CorrelationID: telemetry.Correlation(ctx),
	}, clock.Until(keys.Clock, deadline)+answerTime)
	if err != nil {
		return err
	}
	if before != nil {
		x.replayOf = before.CorrelationID
		return replay(w, *before)
	}
	held := &heldAnswer{header: http.Header{}}
	err = fault.Contain(func() error { return work(held, r) })
	x.unkept = settle(ctx, claim, held, err)
	if err != nil {
		return err
	}
	return held.release(w)
}

// idempotencyKey returns the request's key, and whether it has one.
func idempotencyKey(header http.Header) (key string, given bool, err error) {
	fields := header.Values(keyHeader)
	switch len(fields) {
	case 0:
		return "", false, nil
	case 1:
		key, err = idempotency.ParseKey(fields[0])
		return key, true, err
	}
	return "", true, fault.New(fault.IdempotencyKeyInvalid, "the request has %d headers Idempotency-Key", len(fields))
}

// settle keeps the answer, or gives the key back where a repeat may go better.
func settle(ctx context.Context, claim *idempotency.Claim, held *heldAnswer, err error) error {
	answer := held.answer()
	again := held.header.Get("Retry-After") != ""
	if err != nil {
		p := ProblemOf(err, telemetry.Correlation(ctx))
		answer = idempotency.Answer{Status: p.Status, ContentType: problemType, Body: p.body()}
		again = p.RetryAfter > 0
	}
	switch s := answer.Status; {
	case s >= 500, s == http.StatusTooManyRequests, s == statusClientClosed:
		again = true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	if again {
		return claim.Release(ctx)
	}
	return claim.Keep(ctx, answer)
}

func replay(w http.ResponseWriter, a idempotency.Answer) error {
	header := w.Header()
	header.Set(replayedHeader, "true")
	for name, value := range map[string]string{"Content-Type": a.ContentType, "Location": a.Location} {
		if value != "" {
			header.Set(name, value)
		}
	}
	w.WriteHeader(a.Status)
	return writeBody(w, a.Body)
}

// writeBody writes nothing for nothing: a 204 takes no write, not even an empty one.
func writeBody(w http.ResponseWriter, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	_, err := w.Write(body)
	return err
}

// heldAnswer is an answer that was not sent yet.
type heldAnswer struct {
	header http.Header
	status int // 0 as long as nothing was written
	body   bytes.Buffer
}

func (h *heldAnswer) Header() http.Header { return h.header }

func (h *heldAnswer) WriteHeader(status int) {
	if h.status == 0 && status >= 200 {
		h.status = status
	}
}

func (h *heldAnswer) Write(b []byte) (int, error) {
	h.WriteHeader(http.StatusOK)
	return h.body.Write(b)
}

func (h *heldAnswer) answer() idempotency.Answer {
	return idempotency.Answer{
		Status: cmp.Or(h.status, http.StatusOK), ContentType: h.header.Get("Content-Type"), Location: h.header.Get("Location"), Body: h.body.Bytes(),
	}
}

// release sends the answer.
func (h *heldAnswer) release(w http.ResponseWriter) error {
	maps.Copy(w.Header(), h.header)
	w.WriteHeader(cmp.Or(h.status, http.StatusOK))
	return writeBody(w, h.body.Bytes())
}
