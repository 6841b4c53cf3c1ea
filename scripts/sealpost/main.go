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
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
	ctx, session := newSession(ctx)
	defer func() { _ = session.close() }() // each line was written when it was made

	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !errors.As(err, new(outcome)) {
		report(ctx, stderr, cmd, err)
	}
	return exitCode(ctx, err)
}

// report prints a failure: for people, or as the API's problem with --json.
func report(ctx context.Context, stderr io.Writer, cmd *cobra.Command, err error) {
	problem := sessionOf(ctx).problem(ctx, cmd, err)
	if asJSON, flagErr := cmd.Flags().GetBool("json"); flagErr == nil && asJSON {
		_ = printJSON(stderr, problem) // where stderr is gone, nobody can be told
		return
	}
	newScreen(stderr, plain(cmd)).failure(problem)
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
		Args:          noArguments,
		Version:       version(),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.DisplayName}} {{.Version}}\n")
	root.SetHelpCommand(helpCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().Bool("no-color", false, "print without colours (as NO_COLOR does)")
	root.SetFlagErrorFunc(flagFault)
	root.AddCommand(planCommand(), syncCommand(), statusCommand(), applyCommand(), serveCommand(), secretsCommand(), tokenCommand(), emulateCommand())
	return root
}

// version is the module's version and, where the go command noted it, the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	text := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && !strings.Contains(text, s.Value[:min(12, len(s.Value))]) {
			text += " (" + s.Value[:min(12, len(s.Value))] + ")"
		}
	}
	return text
}

// helpCommand is the library's, but for a command that there is not.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || found == nil || len(rest) > 0 {
				return noArguments(cmd.Root(), args)
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// flagWord is what the name of a flag looks like.
var flagWord = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+){0,3}$`)

// flagFault says what is wrong with a flag. What was given as its value, or in
// the place of a name, may be a secret and is not repeated.
func flagFault(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &invalid):
		return usage(cmd, "the value of --%s is not of the type %s", invalid.GetFlag().Name, invalid.GetFlag().Value.Type())
	case errors.As(err, &missing):
		return usage(cmd, "--%s needs a value", missing.GetFlag().Name)
	case errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) <= 24 && flagWord.MatchString(unknown.GetSpecifiedName()):
		return usage(cmd, "there is no flag --%s", unknown.GetSpecifiedName())
	}
	return usage(cmd, "there is no such flag")
}

// usage is a fault of the command line.
func usage(cmd *cobra.Command, format string, args ...any) error {
	entry, _ := fault.Lookup(fault.UsageInvalid)
	return fault.New(fault.UsageInvalid, format, args...).WithRemedy(entry.Remedy, cmd.CommandPath()+" --help")
}

// noArguments refuses words that no command takes. It does not repeat them.
func noArguments(cmd *cobra.Command, args []string) error {
	switch command := near(cmd, args); {
	case len(args) == 0:
		return nil
	case command != "":
		return usage(cmd, "there is no such command; did you mean %s %s?", cmd.CommandPath(), command)
	case cmd.HasAvailableSubCommands():
		return usage(cmd, "there is no such command")
	}
	return usage(cmd, "%s takes flags only, and was given something else", cmd.CommandPath())
}

// near returns the command that the first word is nearest to, if any is near.
func near(cmd *cobra.Command, args []string) string {
	if len(args) == 0 {
		return ""
	}
	cmd.SuggestionsMinimumDistance = 2 // letters; the library sets it for its own suggestions only
	if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
		return names[0]
	}
	return ""
}
