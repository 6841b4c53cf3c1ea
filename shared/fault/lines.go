package fault

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// LineFault is one thing wrong in a text that a person wrote: a manifest, an
// env file. It says where and why; it never holds what is written there, which
// may be a secret's value.
type LineFault struct {
	Line    int    `json:"line"`             // counted from 1
	Column  int    `json:"column,omitempty"` // in characters, counted from 1; 0 stands for the whole line
	Path    string `json:"path,omitempty"`   // such as secrets[2].scopes[0]; empty where the text has no structure
	Message string `json:"message"`
	Code    Code   `json:"code,omitempty"` // of the rule that was broken, where it has one
}

// String returns the fault as one sentence.
func (f LineFault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "line %d", f.Line)
	if f.Column > 0 {
		fmt.Fprintf(&b, ", column %d", f.Column)
	}
	if f.Path != "" {
		fmt.Fprintf(&b, " (%s)", f.Path)
	}
	return b.String() + ": " + f.Message
}

// maxLineFaults bounds what one answer lists: a person corrects a few faults
// at a time, and a text of nothing but faults must not make an answer larger
// than itself.
const maxLineFaults = 100

// LineFaults collects every fault of one text, the first hundred in the order
// in which they are added and a count of the rest. As the cause of an [Error]
// it is reached with errors.As, and errors.Is finds the codes of its faults.
type LineFaults struct {
	Faults []LineFault // in the order of the lines
	More   int         // how many more there are
}

// Add records a fault.
func (l *LineFaults) Add(f LineFault) {
	if l.Full() {
		l.More++
		return
	}
	l.Faults = append(l.Faults, f)
}

// Full reports whether further faults are only counted, so that their messages
// need not be made.
func (l *LineFaults) Full() bool { return len(l.Faults) == maxLineFaults }

// Err returns nil if nothing was recorded, and else an error of the code whose
// detail has one line for each fault.
func (l *LineFaults) Err(code Code) error {
	if len(l.Faults) == 0 {
		return nil
	}
	slices.SortStableFunc(l.Faults, func(a, b LineFault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	lines := make([]string, 0, len(l.Faults)+1)
	for _, f := range l.Faults {
		lines = append(lines, f.String())
	}
	if l.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", l.More))
	}
	return New(code, "%s", strings.Join(lines, "\n")).WithCause(l)
}

// LinesOf returns the faults that err carries, or nil if it carries none.
func LinesOf(err error) *LineFaults {
	var l *LineFaults
	errors.As(err, &l)
	return l
}

// Error returns how many faults there are; the detail of the [Error] that
// carries them lists them.
func (l *LineFaults) Error() string {
	if n := len(l.Faults) + l.More; n != 1 {
		return fmt.Sprintf("%d faults", n)
	}
	return "1 fault"
}

// Is reports whether one of the listed faults has the code.
func (l *LineFaults) Is(target error) bool {
	code, ok := target.(Code)
	return ok && slices.ContainsFunc(l.Faults, func(f LineFault) bool { return f.Code == code })
}
