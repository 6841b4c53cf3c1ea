// Command testsum runs `go test -json` with the arguments that it is given,
// prints the output of what failed and the reason of what was skipped, and
// closes with the line
//
//	N passed, N failed, N skipped
//
// in which a test counts once and so does each subtest. It exits with 1 if
// anything failed. Where CI is true, a skipped test is a failure, unless what it
// lacks are Terraform's providers.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, ".", os.Args[1:], os.Getenv("CI") == "true", os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	if !errors.Is(err, errFailed) {
		fmt.Fprintln(os.Stderr, "testsum:", err)
	}
	os.Exit(1)
}

// errFailed says that what failed has been printed.
var errFailed = errors.New("tests failed")

func run(ctx context.Context, dir string, args []string, ci bool, stdout, stderr io.Writer) error {
	command := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	command.Dir = dir
	command.Stderr = stderr
	// An interrupt lets the tests clean up after themselves.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	events, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	summary, readErr := summarise(events, stdout)
	exitErr := command.Wait()
	var faults []string
	if ci {
		faults = summary.forbiddenSkips()
	}
	switch {
	case readErr != nil:
		faults = append(faults, "read what go test says: "+readErr.Error())
	case exitErr != nil && summary.failed == 0:
		faults = append(faults, "go test: "+exitErr.Error())
	}
	summary.close(stdout, faults)
	if summary.failed > 0 || len(faults) > 0 {
		return errFailed
	}
	return nil
}

// close prints what was skipped, what else is wrong, and the closing line.
func (s *summary) close(w io.Writer, faults []string) {
	for _, skip := range s.skips {
		fmt.Fprintf(w, "skipped %s %s: %s\n", skip.Package, skip.Test, skip.reason)
	}
	for _, fault := range faults {
		fmt.Fprintln(w, "FAIL", fault)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed+len(faults), len(s.skips))
}
