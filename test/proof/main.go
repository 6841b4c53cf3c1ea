// Command proof breaks Sealpost on purpose and checks what is left.
//
//	go run ./test/proof [--size full|ci] [--proof NAME] [--seed N]
//
// Each proof runs the real client against an embedded GitHub in a process of
// its own, on loopback, and kills, pauses or interrupts processes of its own by
// their ids. It prints a line with its figures, and what it found wrong below.
// It exits with 1 if a proof failed, and with 2 for wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// proof is one thing that must hold. Run returns its figures, and what it found
// wrong as its error.
type proof struct {
	name  string
	title string
	run   func(context.Context, *lab) (string, error)
}

// proofs is every one, in groups whose members run side by side: the first
// waits most of its time for leases to end.
func proofs() [][]proof {
	return [][]proof{
		{
			{"crowd", "50 simultaneous syncs: one writer, the others refused in under a second", proveCrowd},
		},
		{
			{"kill", "SIGKILL at named points around every external call", proveKill},
			{"pause", "a lease-holder stopped past its end starts no new request", provePause},
		},
		{
			{"faults", "GitHub fails", proveFaults},
			{"refusals", "GitHub refuses: storms of 403 and 429, foreign use of the budget", proveRefusals},
		},
		{
			{"downgrade", "a late older version is never written", proveNoDowngrade},
			{"audit", "both audit sinks failing stop all writes, one does not", proveAudit},
			{"interrupt", "Ctrl-C says what is done and what is not", proveInterrupt},
		},
	}
}

// run is the command; a child is this program again.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 2 && args[0] == childCommand {
		return runChild(ctx, args[1], stdin, stdout, stderr)
	}
	flags := flag.NewFlagSet("proof", flag.ContinueOnError)
	flags.SetOutput(stderr)
	size := flags.String("size", "full", "full or ci: how much is tried")
	only := flags.String("proof", "", "only the proof of this `name`")
	seed := flags.Uint64("seed", 1, "what is drawn at random is drawn from this")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	groups := selected(*only)
	if *size != "full" && *size != "ci" || flags.NArg() > 0 || len(groups) == 0 {
		fmt.Fprintln(stderr, "proof: the size is full or ci, and the proofs are", strings.Join(names(), ", "))
		return 2
	}
	l, err := newLab(ctx, *size == "full", *seed)
	if err != nil {
		fmt.Fprintln(stderr, "proof:", err)
		return 1
	}
	failed := 0
	for _, group := range groups {
		failed += runGroup(ctx, l, group, stdout)
	}
	if err := l.close(); err != nil {
		fmt.Fprintln(stderr, "proof:", err)
		return 1
	}
	return min(failed, 1)
}

func names() []string {
	var all []string
	for _, p := range slices.Concat(proofs()...) {
		all = append(all, p.name)
	}
	return all
}

func selected(only string) [][]proof {
	if only == "" {
		return proofs()
	}
	for _, p := range slices.Concat(proofs()...) {
		if p.name == only {
			return [][]proof{{p}}
		}
	}
	return nil
}

// runGroup runs proofs side by side, prints each as it ends, and returns how
// many failed.
func runGroup(ctx context.Context, l *lab, group []proof, stdout io.Writer) int {
	reports := make(chan report)
	for _, p := range group {
		go func() { reports <- p.report(ctx, l) }()
	}
	failed := 0
	for range group {
		r := <-reports
		fmt.Fprintln(stdout, r)
		if r.err != nil {
			failed++
		}
	}
	return failed
}

// report is how a proof went.
type report struct {
	proof   proof
	figures string
	err     error
	took    time.Duration
}

func (p proof) report(ctx context.Context, l *lab) report {
	started := now()
	figures, err := p.run(ctx, l)
	return report{p, figures, err, now().Sub(started)}
}

func (r report) String() string {
	verdict, text := "ok", r.figures
	if r.err != nil { // then the figures claim too much
		verdict, text = "FAILED", "\n    "+strings.ReplaceAll(r.err.Error(), "\n", "\n    ")
	}
	return fmt.Sprintf("%-10s %-6s %5.1f s  %s: %s", r.proof.name, verdict, r.took.Seconds(), r.proof.title, text)
}

// mostFindings bounds what a proof tells: one cause shows many times.
const mostFindings = 20

// findings collects what is wrong. It is for one goroutine.
type findings struct {
	list []error
	more int
}

func (f *findings) add(format string, args ...any) {
	if len(f.list) == mostFindings {
		f.more++
		return
	}
	f.list = append(f.list, fmt.Errorf(format, args...))
}

// addError adds err if there is one, with what was being done.
func (f *findings) addError(what string, err error) {
	if err != nil {
		f.add("%s: %w", what, err)
	}
}

func (f *findings) err() error {
	if f.more > 0 {
		return errors.Join(append(f.list, fmt.Errorf("and %d more", f.more))...)
	}
	return errors.Join(f.list...)
}
