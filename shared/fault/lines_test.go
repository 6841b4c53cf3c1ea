package fault_test

import (
	"errors"
	"testing"

	"github.com/sealpost/sealpost/shared/fault"
)

func TestNoLineFaultIsNoError(t *testing.T) {
	t.Parallel()
	var faults fault.LineFaults
	if err := faults.Err(fault.ManifestInvalid); err != nil {
		t.Errorf("Err without a fault = %v, want nil", err)
	}
	if got := fault.LinesOf(errors.New("another error")); got != nil {
		t.Errorf("LinesOf(another error) = %v, want nil", got)
	}
}

func TestLineFaultsAreListedInTheOrderOfTheLines(t *testing.T) {
	t.Parallel()
	var faults fault.LineFaults
	faults.Add(fault.LineFault{Line: 7, Message: "late"})
	faults.Add(fault.LineFault{Line: 2, Column: 9, Path: "secrets[0].name", Message: "early", Code: fault.NameInvalid})
	faults.Add(fault.LineFault{Line: 2, Column: 3, Message: "earlier"})
	err := fault.Annotate("read the file", faults.Err(fault.ManifestInvalid))

	want := "line 2, column 3: earlier\nline 2, column 9 (secrets[0].name): early\nline 7: late"
	if got := fault.Detail(err); got != want {
		t.Errorf("detail:\n%s\nwant:\n%s", got, want)
	}
	if fault.KindOf(err) != fault.Unprocessable || fault.CodeOf(err) != fault.ManifestInvalid {
		t.Errorf("kind and code = %s, %s", fault.KindOf(err), fault.CodeOf(err))
	}
	if !errors.Is(err, fault.NameInvalid) || errors.Is(err, fault.ScopeInvalid) {
		t.Error("errors.Is must find the code of a listed fault, and no other")
	}
	if listed := fault.LinesOf(err); listed == nil || listed.Faults[2].Line != 7 {
		t.Errorf("LinesOf = %v", listed)
	}
}

func TestLineFaultsBeyondTheHundredthAreCounted(t *testing.T) {
	t.Parallel()
	var faults fault.LineFaults
	for line := range 250 {
		faults.Add(fault.LineFault{Line: line + 1, Message: "wrong"})
	}
	listed := fault.LinesOf(faults.Err(fault.EnvFileInvalid))
	if len(listed.Faults) != 100 || listed.More != 150 {
		t.Errorf("listed %d and %d more, want 100 and 150", len(listed.Faults), listed.More)
	}
	if got := listed.Error(); got != "250 faults" {
		t.Errorf("Error() = %q", got)
	}
}
