package fault_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/fault"
)

func TestContainedPanicKeepsTheTypeAndThePlaceOnly(t *testing.T) {
	t.Parallel()
	const text = "not for anybody"
	other := text
	for _, value := range []any{text, errors.New(text), struct{ Text string }{text}, []byte(text), &other} {
		err := fault.Contain(func() error { panic(value) })
		if !errors.Is(err, fault.Internal) {
			t.Errorf("%T: got %v, want the kind %s", value, err, fault.Internal)
		}
		var p *fault.Panic
		if !errors.As(err, &p) || p.Type != fmt.Sprintf("%T", value) || !strings.Contains(strings.Join(p.Stack, "\n"), "panic_test.go") {
			t.Errorf("%T: got the cause %+v", value, p)
		}
		if shown := fmt.Sprintf("%v %+v %#v %s", err, err, p, fault.Detail(err)); strings.Contains(shown, text) {
			t.Errorf("%T: the value shows: %s", value, shown)
		}
	}
}

func TestContainReturnsTheError(t *testing.T) {
	t.Parallel()
	want := errors.New("an error")
	if got := fault.Contain(func() error { return want }); got != want { //nolint:errorlint // the same one, not one like it
		t.Errorf("got %v", got)
	}
	if got := fault.Contain(func() error { return nil }); got != nil {
		t.Errorf("got %v", got)
	}
}
