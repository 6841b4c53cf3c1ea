// Package fault is Sealpost's one vocabulary of failure: a closed set of
// kinds, a registry of codes, and an error type that keeps what a caller may
// read apart from what only the log may read.
//
// A [Kind] says what a program can do about an error and is matched with
// errors.Is. A [Code] says what a person can do about it: it has one kind, one
// title and one remedy, all in the registry of this package, from which the
// reference page is generated. An [Error] carries both, with a public detail
// and a private cause.
//
// Three rules hold everywhere. No message holds a secret's value. No cause
// holds the body of an upstream's answer, since upstreams echo what they were
// sent: an adapter maps the answer to a kind and drops the text. And nobody
// matches an error by its text.
package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind classifies an error by what a program can do about it. A Kind is itself
// an error, so that errors.Is(err, fault.NotFound) reads as it should.
type Kind string

// The kinds, and what each means to a caller.
const (
	Invalid         Kind = "invalid"         // the request is malformed; repeating it is useless
	Unauthenticated Kind = "unauthenticated" // no valid proof of who is calling
	Denied          Kind = "denied"          // the caller, or Sealpost itself, may not do this
	NotFound        Kind = "not found"       // the named thing does not exist
	Exists          Kind = "exists"          // the thing to be created exists already
	Conflict        Kind = "conflict"        // somebody else changed or holds it; read again, then decide
	TooLarge        Kind = "too large"       // a value, a body or a count is over its limit
	Unprocessable   Kind = "unprocessable"   // well formed, but it cannot be carried out as it stands
	Exhausted       Kind = "exhausted"       // a rate or quota is spent; RetryAfter says for how long
	Internal        Kind = "internal"        // a defect of ours
	Upstream        Kind = "upstream"        // a system that we depend on answered with an error of its own
	Unavailable     Kind = "unavailable"     // a system that we depend on did not answer; repeating may help
	Deadline        Kind = "deadline"        // the time allowed ran out
	Canceled        Kind = "canceled"        // the caller went away
)

// Kinds lists every kind once, in the order of their declaration.
func Kinds() []Kind {
	return []Kind{Invalid, Unauthenticated, Denied, NotFound, Exists, Conflict, TooLarge, Unprocessable,
		Exhausted, Internal, Upstream, Unavailable, Deadline, Canceled}
}

// Error returns the kind's name, which makes a Kind usable as a sentinel.
func (k Kind) Error() string { return string(k) }

// Remedy is one step that a person can take: what to do, and where there is
// one, a command that can be pasted.
type Remedy struct {
	Action  string `json:"action"`
	Command string `json:"command,omitempty"`
}

// Error is a failure with a public face and a private cause. Make one with
// [New] where a person will read it, or with [Wrap] where only the kind is
// known. The With methods return a changed copy, so that an Error may be
// shared.
type Error struct {
	kind       Kind
	code       Code
	op         string
	detail     string
	retryAfter time.Duration
	remedies   []Remedy
	cause      error
}

// New returns an error with a registered code and a detail for the caller to
// read. The detail names things, never values. An unregistered code panics:
// codes are constants of this package, so that is a defect of ours.
func New(code Code, format string, args ...any) *Error {
	entry, ok := Lookup(code)
	if !ok {
		panic(fmt.Sprintf("fault: code %q is not registered", code))
	}
	return &Error{kind: entry.Kind, code: code, detail: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of the given kind for an operation that failed, such
// as `gsm.Value acme/db-url@7`. It carries no public detail: a caller sees the
// kind only. The cause may be nil.
func Wrap(kind Kind, op string, cause error) *Error {
	return &Error{kind: kind, op: op, cause: cause}
}

// Annotate prefixes err with the operation that it failed in and keeps its
// kind, its code and all that is public. It returns nil for a nil err.
func Annotate(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{kind: KindOf(err), op: op, cause: err}
}

// WithCause returns a copy that keeps cause for the log.
func (e *Error) WithCause(cause error) *Error { c := *e; c.cause = cause; return &c }

// WithOp returns a copy that names the operation for the log.
func (e *Error) WithOp(op string) *Error { c := *e; c.op = op; return &c }

// WithRetryAfter returns a copy that tells the caller to wait at least d.
func (e *Error) WithRetryAfter(d time.Duration) *Error { c := *e; c.retryAfter = d; return &c }

// WithRemedy returns a copy with one more step for a person to take, which
// comes before the code's general remedy.
func (e *Error) WithRemedy(action, command string) *Error {
	c := *e
	c.remedies = append(slices.Clip(c.remedies), Remedy{Action: action, Command: command})
	return &c
}

// Error returns the text for the log: operation, public detail, code, cause.
func (e *Error) Error() string {
	var parts []string
	if e.op != "" {
		parts = append(parts, e.op)
	}
	switch {
	case e.detail != "":
		parts = append(parts, e.detail)
	case e.cause == nil:
		parts = append(parts, string(e.kind))
	}
	text := strings.Join(parts, ": ")
	if e.code != "" {
		text += " [" + string(e.code) + "]"
	}
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	return text
}

// Unwrap returns the private cause, without its kinds.
func (e *Error) Unwrap() error {
	if e.cause == nil {
		return nil
	}
	return kindless{e.cause}
}

// Is reports whether target is this error's kind or code. The kind of a cause
// does not shine through: an adapter that decides that a missing document is a
// conflict means it. Its code does.
func (e *Error) Is(target error) bool {
	switch t := target.(type) {
	case Kind:
		return e.kind == t
	case Code:
		return e.code == t
	}
	return false
}

// kindless is a cause that errors.Is and errors.As look through for everything
// but a Kind. It has no Unwrap, which would lead them past it.
type kindless struct{ error }

func (c kindless) Is(target error) bool {
	_, kind := target.(Kind)
	return !kind && errors.Is(c.error, target)
}

func (c kindless) As(target any) bool {
	_, kind := target.(*Kind)
	return !kind && errors.As(c.error, target)
}

// KindOf returns the kind of the outermost Error in err's chain. Errors of the
// context package have their kinds; anything else is [Internal]. KindOf(nil)
// is the empty kind.
func KindOf(err error) Kind {
	var e *Error
	var k Kind
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.kind
	case errors.As(err, &k):
		return k
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	}
	return Internal
}

// CodeOf returns the outermost code in err's chain. Where there is none, it is
// the general code of err's kind, so that every failure that a caller sees has
// a code.
func CodeOf(err error) Code {
	if e := outermost(err, func(e *Error) bool { return e.code != "" }); e != nil {
		return e.code
	}
	return general(KindOf(err))
}

// Detail returns the outermost public detail in err's chain, or the title of
// its code where nothing more was said. It never returns a cause's text.
func Detail(err error) string {
	if e := outermost(err, func(e *Error) bool { return e.detail != "" }); e != nil {
		return e.detail
	}
	entry, _ := Lookup(CodeOf(err))
	return entry.Title
}

// RetryAfter returns how long a caller should wait, and whether the error says.
func RetryAfter(err error) (time.Duration, bool) {
	e := outermost(err, func(e *Error) bool { return e.retryAfter > 0 })
	if e == nil {
		return 0, false
	}
	return e.retryAfter, true
}

// Remedies returns what a person can do about err: its own steps first, then
// the general remedy of its code. It is never empty for a non-nil error.
func Remedies(err error) []Remedy {
	if err == nil {
		return nil
	}
	var steps []Remedy
	if e := outermost(err, func(e *Error) bool { return len(e.remedies) > 0 }); e != nil {
		steps = append(steps, e.remedies...)
	}
	entry, _ := Lookup(CodeOf(err))
	return append(steps, Remedy{Action: entry.Remedy})
}

// outermost returns the first *Error in err's chain that has what is wanted.
// It follows single wrapping only: a joined error's parts are reported one by
// one by whoever joined them.
func outermost(err error, has func(*Error) bool) *Error {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return nil
		}
		if has(e) {
			return e
		}
		err = e.cause
	}
	return nil
}
