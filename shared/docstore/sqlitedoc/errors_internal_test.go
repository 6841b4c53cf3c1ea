package sqlitedoc

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/fault"
)

// The tests may run as one whom no mode keeps out, so the error is made.
func TestAFileOfSomebodyElseIsToldSo(t *testing.T) {
	t.Parallel()
	err := unusable("state/store.db", &fs.PathError{Op: "open", Path: "state/store.db", Err: fs.ErrPermission})
	if !errors.Is(err, fault.ConfigInvalid) || fault.Detail(err) != "permission denied on state/store.db" {
		t.Errorf("got %v", err)
	}
	for _, step := range fault.Remedies(err) {
		if strings.Contains(step.Action, "readyz") {
			t.Errorf("a remedy for a server: %s", step.Action)
		}
	}
}
