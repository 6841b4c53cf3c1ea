package fault

import (
	"fmt"
	"path"
	"runtime"
)

// Panic is the cause of an error that [Contain] returns. The panic's value may
// hold anything, a secret too: of it, only the type is kept.
type Panic struct {
	Type  string   // of the panic's value
	Stack []string // the functions and lines that it passed through, without arguments
}

// Error returns the type of the panic's value.
func (p *Panic) Error() string { return "panic with a " + p.Type }

// Contain calls f and returns its error, or one of kind [Internal] with a
// [Panic] as its cause if f panics. Whatever runs in a goroutine of its own goes
// through it: a panic there ends the process, which prints the panic's value.
func Contain(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = Wrap(Internal, "contained", &Panic{Type: fmt.Sprintf("%T", value), Stack: panicked()})
		}
	}()
	return f()
}

// panicked returns the stack below the panic that is being recovered from.
func panicked() []string {
	counters := make([]uintptr, 64)
	frames := runtime.CallersFrames(counters[:runtime.Callers(0, counters)])
	var lines []string
	for below := false; ; {
		frame, more := frames.Next()
		if below {
			lines = append(lines, fmt.Sprintf("%s %s:%d", frame.Function, path.Base(frame.File), frame.Line))
		}
		below = below || frame.Function == "runtime.gopanic"
		if !more {
			return lines
		}
	}
}
