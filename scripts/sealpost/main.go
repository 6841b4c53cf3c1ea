// Command sealpost is the operator's tool and the local server.
//
// It plans and syncs a manifest's secrets from one machine with no cloud
// account (plan, sync, status), and runs the whole system in one process on
// loopback (serve). The exit codes are part of its contract: see [exitCode].
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/shared/fault"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code. The first interrupt
// ends the work in good order; a second one ends the process.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.As(err, new(outcome)) {
		newScreen(stderr, plain(root)).failure(err)
	}
	return exitCode(ctx, err)
}

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // bad usage or input
	exitPartial     = 3
	exitFindings    = 4 // findings or drift
	exitQuota       = 5 // refused by quota
	exitDenied      = 6 // not permitted
	exitInterrupted = 130
)

// outcome is an exit code for work whose result has been printed already.
type outcome int

func (outcome) Error() string { return "" }

// exitCode maps how a command ended to its exit code.
func exitCode(ctx context.Context, err error) int {
	var o outcome
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &o):
		return int(o)
	}
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Unprocessable, fault.TooLarge, fault.NotFound:
		return exitUsage
	case fault.Exhausted:
		return exitQuota
	case fault.Denied, fault.Unauthenticated:
		return exitDenied
	case fault.Canceled:
		return exitInterrupted
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sealpost",
		Short: "Keep every copy of a team's secrets level with the one in Secret Manager",
		Long: `Sealpost keeps secrets in one place and every copy level with it: GitHub
Actions, Codespaces, Dependabot, environment and organisation secrets. It shows
a plan before it writes, and never touches what it did not write.

Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 partial, 4 findings or
drift, 5 refused by quota, 6 not permitted, 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().Bool("no-color", false, "print without colours (as NO_COLOR does)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fault.New(fault.UsageInvalid, "%s", err).WithRemedy("See what the command takes.", cmd.CommandPath()+" --help")
	})
	root.AddCommand(planCommand(), syncCommand(), statusCommand(), applyCommand(), serveCommand(), tokenCommand(), emulateCommand())
	return root
}
