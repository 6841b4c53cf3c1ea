// Command emulators runs a command, usually go test, with the Firestore and
// Pub/Sub emulators at its side:
//
//	go run ./scripts/emulators [-at-least n] -- go test ./...
//
// It starts both, names them to the command in FIRESTORE_EMULATOR_HOST and
// PUBSUB_EMULATOR_HOST, stops them when the command has ended, says how many
// tests had one, and passes the command's exit code on. A variable that is set
// already is left as it is. What the machine lacks is named, and the command
// runs without; under CI=true that is a failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/sealpost/sealpost/test/emulator"
)

// Exit codes of our own; the command's are passed on.
const (
	failed   = 1
	badUsage = 2
)

func main() {
	atLeast := flag.Int("at-least", 0, "fail if fewer tests had an emulator, unless an emulator is missing")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: emulators [-at-least n] -- command [argument]...")
		os.Exit(badUsage)
	}
	code, err := run(*atLeast, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "emulators:", err)
	}
	os.Exit(code)
}

func run(atLeast int, command []string) (code int, err error) {
	// From here on a signal does not end this process: the command gets it, and
	// what was started is stopped.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	dir, err := os.MkdirTemp("", "emulators-")
	if err != nil {
		return failed, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tally := filepath.Join(dir, "tally")

	started, err := startAll(ctx, cancel, signals)
	defer started.stop()
	if err != nil {
		return failed, err
	}
	code, err = runCommand(command, append(os.Environ(), append(started.env, emulator.TallyEnv+"="+tally)...), signals)
	if err != nil {
		return failed, err
	}
	return report(tally, code, atLeast, started.missing)
}

// emulators are those that were started, and what the command is told of them.
type emulators struct {
	processes []*emulator.Process
	env       []string
	missing   bool
}

func (e *emulators) stop() {
	for _, process := range e.processes {
		process.Stop()
	}
}

// startAll starts the emulators side by side, and gives up at a signal.
func startAll(ctx context.Context, cancel context.CancelFunc, signals <-chan os.Signal) (*emulators, error) {
	type result struct {
		kind    emulator.Kind
		process *emulator.Process
		err     error
	}
	results := make(chan result)
	waiting := 0
	for _, kind := range []emulator.Kind{emulator.Firestore, emulator.PubSub} {
		if os.Getenv(kind.EnvVar) != "" {
			continue
		}
		waiting++
		go func() {
			process, err := emulator.Start(ctx, kind)
			results <- result{kind, process, err}
		}()
	}
	started := &emulators{}
	var faults []error
	for waiting > 0 {
		select {
		case r := <-results:
			waiting--
			faults = append(faults, started.take(r.kind, r.process, r.err))
		case s := <-signals:
			faults = append(faults, fmt.Errorf("%v while starting", s))
			cancel()
		}
	}
	return started, errors.Join(faults...)
}

func (e *emulators) take(kind emulator.Kind, process *emulator.Process, err error) error {
	var missing emulator.Missing
	switch {
	case errors.As(err, &missing) && os.Getenv("CI") != "true":
		fmt.Fprintf(os.Stderr, "emulators: tests on %s will be skipped: %v\n", kind.Name, missing)
		e.missing = true
		return nil
	case err != nil:
		return err
	}
	e.processes = append(e.processes, process)
	e.env = append(e.env, kind.EnvVar+"="+process.Host)
	return nil
}

// runCommand runs the command and returns its exit code, or 128 and the signal
// that ended it, as shells do. Signals are passed on; one from the terminal
// reaches the command twice, which go test takes as one.
func runCommand(command, env []string, signals <-chan os.Signal) (int, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return failed, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s)
		case err := <-done:
			return exitCode(cmd, err)
		}
	}
}

func exitCode(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return failed, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// report prints how many tests had an emulator and holds that against what was asked.
func report(tally string, code, atLeast int, missing bool) (int, error) {
	counts, err := emulator.Tally(tally)
	if err != nil {
		return failed, err
	}
	total := 0
	for _, kind := range []emulator.Kind{emulator.Firestore, emulator.PubSub} {
		total += counts[kind.Name]
		fmt.Fprintf(os.Stderr, "emulators: %d tests ran on %s\n", counts[kind.Name], kind.Name)
	}
	if code == 0 && total < atLeast && !missing {
		return failed, fmt.Errorf("%d tests had an emulator; at least %d must", total, atLeast)
	}
	return code, nil
}
