package fault_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
)

var codeForm = regexp.MustCompile(`^(REQUEST|AUTH|GITHUB_SECRETS|GITHUB_ENV|OMNI)_[A-Z]+(_[A-Z]+)*$`)

// TestRegistry holds that each code has one meaning, whole.
func TestRegistry(t *testing.T) {
	t.Parallel()
	kinds := fault.Kinds()
	codes, titles := map[fault.Code]bool{}, map[string]bool{}
	for _, e := range fault.Registry() {
		switch {
		case codes[e.Code]:
			t.Errorf("%s stands twice", e.Code)
		case titles[e.Title]:
			t.Errorf("%s has a title of another code: %s", e.Code, e.Title)
		case !codeForm.MatchString(string(e.Code)):
			t.Errorf("%s is not of the form of a code", e.Code)
		case !slices.Contains(kinds, e.Kind):
			t.Errorf("%s has the kind %q, which does not exist", e.Code, e.Kind)
		case e.Title == "" || strings.HasSuffix(e.Title, "."):
			t.Errorf("%s has the title %q", e.Code, e.Title)
		case !strings.HasSuffix(e.Remedy, "."):
			t.Errorf("%s has the remedy %q", e.Code, e.Remedy)
		}
		codes[e.Code], titles[e.Title] = true, true
		if got, ok := fault.Lookup(e.Code); !ok || got != e {
			t.Errorf("Lookup(%s) gives %+v, %t", e.Code, got, ok)
		}
		if err := fault.New(e.Code, "x"); fault.KindOf(err) != e.Kind || !errors.Is(err, e.Kind) || !errors.Is(err, e.Code) {
			t.Errorf("an error of %s is of the kind %s", e.Code, fault.KindOf(err))
		}
	}
	if _, ok := fault.Lookup("NO_SUCH_CODE"); ok {
		t.Error("a code that is not registered was found")
	}
	fault.Registry()[0].Title = "changed"
	if fault.Registry()[0].Title == "changed" {
		t.Error("a caller can change the registry")
	}
}

// TestKinds holds that each kind has a general code of the same kind, so that
// every failure that a caller sees has a code.
func TestKinds(t *testing.T) {
	t.Parallel()
	seen := map[fault.Kind]bool{}
	for _, kind := range fault.Kinds() {
		if seen[kind] || kind == "" {
			t.Errorf("the kind %q stands twice, or is empty", kind)
		}
		seen[kind] = true
		code := fault.CodeOf(fault.Wrap(kind, "op", nil))
		entry, ok := fault.Lookup(code)
		if !ok {
			t.Errorf("the general code of %s, %s, is not registered", kind, code)
		}
		if same := entry.Kind == kind || kind == fault.Exists && entry.Kind == fault.Conflict; !same {
			t.Errorf("the general code of %s, %s, is of the kind %s", kind, code, entry.Kind)
		}
		if kind != fault.Internal && code == fault.InternalError {
			t.Errorf("%s has no general code", kind)
		}
	}
}

func TestUnregisteredCodePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("an error with a code that is not registered was made")
		}
	}()
	_ = fault.New("NO_SUCH_CODE", "x")
}

// what is a failure's public face.
type what struct {
	kind    fault.Kind
	code    fault.Code
	detail  string
	retry   time.Duration
	actions int
}

func describe(err error) what {
	retry, _ := fault.RetryAfter(err)
	return what{fault.KindOf(err), fault.CodeOf(err), fault.Detail(err), retry, len(fault.Remedies(err))}
}

// TestFace is what a caller is told of errors of every make.
func TestFace(t *testing.T) {
	t.Parallel()
	private := errors.New("postgres://user:hunter2@host")
	conflict := fault.New(fault.SecretConflict, "DB_URL in actions").WithRetryAfter(time.Minute).WithRemedy("Look.", "sealpost plan")
	notFound := fault.Wrap(fault.NotFound, "get x", private)
	title := func(c fault.Code) string { e, _ := fault.Lookup(c); return e.Title }
	tests := []struct {
		name string
		err  error
		want what
	}{
		{"a code", conflict, what{fault.Conflict, fault.SecretConflict, "DB_URL in actions", time.Minute, 2}},
		{"a code with a cause", conflict.WithCause(notFound), what{fault.Conflict, fault.SecretConflict, "DB_URL in actions", time.Minute, 2}},
		{"annotated", fault.Annotate("sync", conflict), what{fault.Conflict, fault.SecretConflict, "DB_URL in actions", time.Minute, 2}},
		{"wrapped by fmt", fmt.Errorf("sync: %w", conflict), what{fault.Conflict, fault.SecretConflict, "DB_URL in actions", time.Minute, 2}},
		{"annotated twice", fault.Annotate("a", fmt.Errorf("b: %w", fault.Annotate("c", conflict))), what{fault.Conflict, fault.SecretConflict, "DB_URL in actions", time.Minute, 2}},
		{"a kind", notFound, what{fault.NotFound, fault.RequestNotFound, title(fault.RequestNotFound), 0, 1}},
		{"a kind by itself", fmt.Errorf("x: %w", fault.Exhausted), what{fault.Exhausted, fault.RequestThrottled, title(fault.RequestThrottled), 0, 1}},
		{"a kind over a code", fault.Wrap(fault.Unavailable, "list", conflict), what{fault.Unavailable, fault.SecretConflict, "DB_URL in actions", time.Minute, 2}},
		{"a code over a code", fault.New(fault.PartialFailure, "").WithCause(conflict), what{fault.Upstream, fault.PartialFailure, "DB_URL in actions", time.Minute, 2}},
		{"a stranger", private, what{fault.Internal, fault.InternalError, title(fault.InternalError), 0, 1}},
		{"an annotated stranger", fault.Annotate("get", private), what{fault.Internal, fault.InternalError, title(fault.InternalError), 0, 1}},
		{"canceled", fmt.Errorf("x: %w", context.Canceled), what{fault.Canceled, fault.RequestCanceled, title(fault.RequestCanceled), 0, 1}},
		{"out of time", fault.Annotate("x", context.DeadlineExceeded), what{fault.Deadline, fault.RequestTimeout, title(fault.RequestTimeout), 0, 1}},
		{"joined: the first counts", errors.Join(conflict, notFound), what{fault.Conflict, fault.SecretConflict, "DB_URL in actions", time.Minute, 2}},
	}
	for _, test := range tests {
		if got := describe(test.err); got != test.want {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
		if !errors.Is(test.err, test.want.kind) && test.want.kind != fault.Internal && test.want.kind != fault.Canceled {
			t.Errorf("%s: errors.Is does not find the kind %s", test.name, test.want.kind)
		}
		face := fault.Detail(test.err)
		for _, r := range fault.Remedies(test.err) {
			face += r.Action + r.Command
		}
		if strings.Contains(face, "hunter2") {
			t.Errorf("%s: a cause shows: %s", test.name, face)
		}
	}
	if kind := fault.KindOf(nil); kind != "" {
		t.Errorf("no error is of the kind %q", kind)
	}
	if steps := fault.Remedies(nil); steps != nil {
		t.Errorf("no error has the remedies %v", steps)
	}
	if _, ok := fault.RetryAfter(notFound); ok {
		t.Error("an error that says nothing of it has a RetryAfter")
	}
	if err := fault.Annotate("x", nil); err != nil {
		t.Errorf("Annotate made %v of no error", err)
	}
}

// TestIs holds what shines through a wrapped cause: its code and the errors of
// strangers, not its kind.
func TestIs(t *testing.T) {
	t.Parallel()
	stranger := errors.New("stranger")
	exists := fault.Wrap(fault.Exists, "create", stranger)
	taken := fault.New(fault.SyncInProgress, "held").WithCause(exists)
	lost := fault.Wrap(fault.Unavailable, "renew", fmt.Errorf("again: %w", taken))
	tests := []struct {
		name   string
		err    error
		target error
		want   bool
	}{
		{"its own kind", taken, fault.Conflict, true},
		{"the kind of its cause", taken, fault.Exists, false},
		{"its own code", taken, fault.SyncInProgress, true},
		{"the code of its cause", lost, fault.SyncInProgress, true},
		{"another code", lost, fault.LeaseLost, false},
		{"a kind two causes down", lost, fault.Exists, false},
		{"a stranger at the bottom", lost, stranger, true},
		{"the kind of an annotated error", fault.Annotate("x", taken), fault.Conflict, true},
		{"a kind by itself as the cause", fault.Wrap(fault.Internal, "x", fault.NotFound), fault.NotFound, false},
		{"a canceled context", fault.Wrap(fault.Unavailable, "x", context.Canceled), context.Canceled, true},
	}
	for _, test := range tests {
		if got := errors.Is(test.err, test.target); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
	var lines *fault.LineFaults
	faults := new(fault.LineFaults)
	faults.Add(fault.LineFault{Line: 1, Message: "x"})
	if !errors.As(fault.Annotate("x", faults.Err(fault.ManifestInvalid)), &lines) || len(lines.Faults) != 1 {
		t.Error("errors.As does not find a cause of another type")
	}
}

// TestText is what the log reads.
func TestText(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection reset")
	for want, err := range map[string]error{
		"put DB_URL: refused [GITHUB_SECRETS_TARGET_REJECTED]": fault.New(fault.TargetRejected, "refused").WithOp("put DB_URL"),
		"refused [GITHUB_SECRETS_TARGET_REJECTED]":             fault.New(fault.TargetRejected, "%s", "refused"),
		"get x: not found":                  fault.Wrap(fault.NotFound, "get x", nil),
		"get x: connection reset":           fault.Wrap(fault.Unavailable, "get x", cause),
		"sync: get x: connection reset":     fault.Annotate("sync", fault.Wrap(fault.Unavailable, "get x", cause)),
		"refused [AUTH_ROLE_MISSING]: deep": fault.New(fault.AuthDenied, "refused").WithCause(errors.New("deep")),
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestWith holds that an error can be shared: the With methods change a copy.
func TestWith(t *testing.T) {
	t.Parallel()
	shared := fault.New(fault.SecretConflict, "x").WithRemedy("one", "")
	_ = shared.WithCause(errors.New("cause"))
	_ = shared.WithOp("op")
	_ = shared.WithRetryAfter(time.Minute)
	first, second := shared.WithRemedy("two", ""), shared.WithRemedy("three", "")
	if got := describe(shared); got.retry != 0 || got.actions != 2 || shared.Unwrap() != nil || shared.Error() != "x [GITHUB_SECRETS_CONFLICT]" {
		t.Errorf("the shared error was changed: %+v, %v", got, shared)
	}
	if a, b := fault.Remedies(first)[1].Action, fault.Remedies(second)[1].Action; a != "two" || b != "three" {
		t.Errorf("two copies share their remedies: %s, %s", a, b)
	}
}
