// Package emulator runs Google's emulators for tests.
//
// A test asks for one with [Kind.Host], which starts it once for the test
// binary, unless its variable (FIRESTORE_EMULATOR_HOST, PUBSUB_EMULATOR_HOST)
// names one that runs: `go run ./scripts/emulators -- go test ./...` starts each
// once for all packages. The binary's TestMain calls [Run].
//
// Tests share an emulator and keep apart by a project of their own, [Project]:
// that isolates better than wiping. Where Java or an emulator is not installed a
// test is skipped, and under CI=true it fails.
package emulator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// TallyEnv names a file to which every use of an emulator adds a line, kind and
// test: so a run can tell how many tests had one.
const TallyEnv = "SEALPOST_EMULATOR_TALLY"

// running holds what this test binary has started.
var running struct {
	sync.Mutex
	started map[string]outcome
}

type outcome struct {
	process *Process
	err     error
}

// Host returns the address of an emulator, host:port, and starts it if need be.
func (k Kind) Host(t testing.TB) string {
	t.Helper()
	host := os.Getenv(k.EnvVar)
	if host == "" {
		process, err := k.once()
		var missing Missing
		switch {
		case errors.As(err, &missing) && os.Getenv("CI") != "true":
			t.Skipf("skipped: %v", missing)
		case err != nil:
			t.Fatal(err)
		}
		host = process.Host
	}
	if err := tally(k.Name, t.Name()); err != nil {
		t.Fatal(err)
	}
	return host
}

func (k Kind) once() (*Process, error) {
	running.Lock()
	defer running.Unlock()
	if known, ok := running.started[k.Name]; ok {
		return known.process, known.err
	}
	process, err := Start(context.Background(), k)
	if running.started == nil {
		running.started = map[string]outcome{}
	}
	running.started[k.Name] = outcome{process, err}
	return process, err
}

// Run runs the tests and stops the emulators that they started.
func Run(m *testing.M) {
	defer stopAll()
	m.Run() // the test binary ends with its code: see package testing
}

func stopAll() {
	running.Lock()
	defer running.Unlock()
	for _, known := range running.started {
		if known.process != nil {
			known.process.Stop()
		}
	}
	running.started = nil
}

// Project returns the id of a project that no other test has.
func Project() string { return "test-" + strings.ToLower(rand.Text()[:20]) }

func tally(kind, test string) error {
	path := os.Getenv(TallyEnv)
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "%s\t%s\t%s\n", kind, os.Args[0], test)
	return errors.Join(err, file.Close())
}

// Tally counts the tests that had an emulator, by kind, from such a file.
func Tally(path string) (map[string]int, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	counts, seen := map[string]int{}, map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if kind, _, ok := strings.Cut(line, "\t"); ok && !seen[line] {
			seen[line] = true
			counts[kind]++
		}
	}
	return counts, nil
}
