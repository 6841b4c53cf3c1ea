// Package eventx turns a message that Pub/Sub pushes into a call.
//
// A message-driven function is an HTTP function behind a push subscription: one
// route, POST [Path], for the role internal. Package httpx does for it what it
// does for every function: it verifies the token that the subscription sends,
// bounds body and time, contains panics and renders errors. This package reads
// the body, checks that the subscription is the function's own, and calls.
//
// What comes back is Pub/Sub's: 204 acknowledges, every other answer here makes
// it deliver the message again, by the subscription's retry policy, until the
// attempts are used up and the message goes to the dead letters. That holds for
// a garbled or oversized message too: it is refused each time and ends where
// somebody can look at it, and delays no other.
// Sources: cloud.google.com/pubsub/docs/push (body, and 102, 200, 201, 202 and
// 204 as the answers that acknowledge), .../docs/handling-failures.
//
// # The log
//
// Each message has one line, under the correlation id of whoever published it:
// [LineDone], [LineFailed] or, on its last attempt, [LineDead], which is
// critical, and what an alert is built on. The line of the request itself, which
// is httpx's, has a correlation id of its own. It is the only one about a body
// that does not tell its subscription, or a caller who may not push: that was no
// message of the function's.
//
// Pub/Sub counts attempts only for a subscription with a dead-letter topic, and
// keeps to the maximum as well as it can, no better. A message has one line
// LineDead as long as it does.
package eventx

import (
	"context"
	"log/slog"
	"net/http"
	"regexp"
	"slices"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/event"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// The messages of the log's lines.
const (
	LineDone   = "message done"
	LineFailed = "message failed"                     // warning: Pub/Sub delivers it again
	LineDead   = "a message goes to the dead letters" // critical: it was the last attempt
)

// DefaultMaxAttempts is Pub/Sub's own default.
// Source: google.pubsub.v1, DeadLetterPolicy.max_delivery_attempts.
const DefaultMaxAttempts = 5

// Options say which messages a function takes.
type Options struct {
	// Subscriptions are the full names of the function's own subscriptions,
	// projects/P/subscriptions/S. A message from any other is refused.
	Subscriptions []string
	// Callers are the addresses of the service accounts that may push, in lower
	// case. If there are none, the role decides alone.
	Callers []string
	// MaxAttempts is how often the subscription delivers a message; 0 stands for
	// DefaultMaxAttempts.
	MaxAttempts int
	// Log gets the lines of the messages. It must be there.
	Log *slog.Logger
}

// Path is the path to which messages for a function are pushed.
func Path(function string) string { return "/push/" + function }

// Function returns the handler of a message-driven function: that of
// [httpx.Function] over [Handlers], with the kit's log if the options have none.
func Function(row catalogue.Function, kit httpx.Kit, o Options, handle func(context.Context, event.Message) error) http.Handler {
	if o.Log == nil {
		o.Log = kit.Log
	}
	return httpx.Function(row, kit, Handlers(row, o, handle))
}

// Handlers returns the handler of the row's route for messages. The handle
// function's context ends with the function's time and carries the correlation
// id that the message has. If it returns nil, the message is done; with an
// error or a panic Pub/Sub delivers it again. It must take a message that is
// repeated, late or out of order.
//
// It panics if the row has no route for messages, or one for another role, or if
// there is no log: that is a defect of ours, seen at the first start.
func Handlers(row catalogue.Function, o Options, handle func(context.Context, event.Message) error) httpx.Handlers {
	route := catalogue.Route{Method: http.MethodPost, Path: Path(row.Name), Role: catalogue.Internal}
	if !slices.Contains(row.Routes, route) {
		panic("eventx: function " + row.Name + " has no route for messages")
	}
	if o.Log == nil {
		panic("eventx: function " + row.Name + " has no log for its messages")
	}
	if o.MaxAttempts == 0 {
		o.MaxAttempts = DefaultMaxAttempts
	}
	r := receiver{Options: o, handle: handle}
	return httpx.Handlers{route.Method + " " + route.Path: r.serve}
}

type receiver struct {
	Options
	handle func(context.Context, event.Message) error
}

func (c receiver) serve(w http.ResponseWriter, r *http.Request) error {
	if err := c.admit(r.Context()); err != nil {
		return err
	}
	body, err := httpx.ReadJSON(r)
	if err != nil {
		return err
	}
	m, err := parse(body)
	if !slices.Contains(c.Subscriptions, m.Subscription) {
		return foreign(err)
	}
	ctx := withCorrelation(r.Context(), m.Attributes[event.Correlation])
	if err == nil {
		err = fault.Contain(func() error { return c.handle(ctx, m) })
	}
	c.log(ctx, m, err)
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// admit decides on the caller: a message is about whatever it names, so its
// carrier needs the role for all projects.
func (c receiver) admit(ctx context.Context) error {
	if _, err := httpx.Authorize(ctx, httpx.Ref(auth.AllProjects)); err != nil {
		return err
	}
	if len(c.Callers) > 0 && !slices.Contains(c.Callers, httpx.Caller(ctx).Identity.Email) {
		return fault.New(fault.AuthDenied, "this function takes messages from its own subscription's service account only")
	}
	return nil
}

// foreign is the error for a body that does not come from the function's own
// subscription. One that could not be read has its own error.
func foreign(unreadable error) error {
	if unreadable != nil {
		return unreadable
	}
	return fault.New(fault.AuthDenied, "the message comes from a subscription that is not this function's")
}

// correlationID is what httpx takes from a caller.
var correlationID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func withCorrelation(ctx context.Context, id string) context.Context {
	if !correlationID.MatchString(id) || telemetry.Redact(id) != id {
		return ctx
	}
	return telemetry.WithCorrelation(ctx, id)
}

// log writes the one line of a message.
func (c receiver) log(ctx context.Context, m event.Message, err error) {
	attrs := []slog.Attr{
		slog.String("messageId", m.ID), slog.String("subscription", m.Subscription), slog.Int("attempt", m.Attempt),
	}
	switch {
	case err == nil:
		c.Log.LogAttrs(ctx, slog.LevelInfo, LineDone, attrs...)
	case m.Attempt < c.MaxAttempts:
		c.Log.LogAttrs(ctx, slog.LevelWarn, LineFailed, append(attrs, slog.Any("error", err))...)
	default:
		c.Log.LogAttrs(ctx, telemetry.LevelCritical, LineDead, append(attrs, slog.Any("error", err))...)
	}
}
