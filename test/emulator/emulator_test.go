package emulator_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealpost/sealpost/test/emulator"
)

func TestMain(m *testing.M) { emulator.Run(m) }

func ok(host string) bool {
	response, err := http.Get("http://" + host + "/")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func TestOneEmulatorForAllTests(t *testing.T) {
	t.Parallel()
	for _, kind := range []emulator.Kind{emulator.Firestore, emulator.PubSub} {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			host := kind.Host(t)
			if !ok(host) {
				t.Errorf("%s does not answer", host)
			}
			if again := kind.Host(t); again != host {
				t.Errorf("a second call gave %s, the first %s", again, host)
			}
		})
	}
}

func TestStartAndStop(t *testing.T) {
	t.Parallel()
	process, err := emulator.Start(t.Context(), emulator.PubSub)
	var missing emulator.Missing
	if errors.As(err, &missing) && os.Getenv("CI") != "true" {
		t.Skipf("skipped: %v", missing)
	}
	if err != nil {
		t.Fatal(err)
	}
	answered := ok(process.Host)
	process.Stop()
	if !answered || ok(process.Host) {
		t.Errorf("it answered while it ran: %t; and after it was stopped: %t", answered, ok(process.Host))
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	process, err := emulator.Start(ctx, emulator.PubSub)
	var missing emulator.Missing
	if errors.As(err, &missing) && os.Getenv("CI") != "true" {
		t.Skipf("skipped: %v", missing)
	}
	if process != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v and error %v, want one that the deadline has passed", process, err)
	}
}

func TestMachineWithoutJava(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("JAVA_HOME", "")
	_, err := emulator.Start(t.Context(), emulator.Firestore)
	var missing emulator.Missing
	if !errors.As(err, &missing) || missing.What != "java is not installed" {
		t.Errorf("got error %v, want one that names java", err)
	}
}

func TestProjectsDiffer(t *testing.T) {
	t.Parallel()
	if a, b := emulator.Project(), emulator.Project(); a == b || len(a) > 30 {
		t.Errorf("got %q and %q", a, b)
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tally")
	if counts, err := emulator.Tally(path); err != nil || len(counts) != 0 {
		t.Errorf("no file: got %v (%v), want nothing", counts, err)
	}
	text := "Firestore\ta.test\tTestA\nFirestore\ta.test\tTestA\nFirestore\tb.test\tTestA\nPub/Sub\ta.test\tTestA\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	counts, err := emulator.Tally(path)
	if err != nil || counts["Firestore"] != 2 || counts["Pub/Sub"] != 1 {
		t.Errorf("got %v (%v), want two tests on Firestore and one on Pub/Sub", counts, err)
	}
}
