// Command bench measures Sealpost against computed limits.
//
//	go run ./test/bench [--row NAME] [--slow] [--real] [--json]
//
// Each row is one piece of work, most of them at the embedded GitHub, which runs
// in a process of its own on loopback and takes 80 ms for each request; values
// have 1 KB. The
// limits of the times come from package floor, which knows no code of Sealpost.
// It exits with 1 if a row misses a limit, and with 2 for wrong usage.
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

	"github.com/sealpost/sealpost/shared/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `Measure Sealpost against computed limits, at an embedded GitHub that takes 80 ms
for each request.

  go run ./test/bench [--row NAME] [--slow] [--real] [--json]

Examples:
  go run ./test/bench                                   every row but the slow ones
  go run ./test/bench --slow                            those too: a quarter of an hour
  go run ./test/bench --row first-sync --json           one row, as JSON
  go run ./test/bench --row first-sync-limited --real   a minute of limits takes a minute

It exits with 1 if a row misses a limit, or if the machine lacks what a row needs
and CI=true; with 2 for wrong usage.

Rows:
%s
Flags:
`

// options are what the command line says.
type options struct {
	rows     []row
	unscaled bool
	asJSON   bool
}

// run measures and reports, and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	measured, err := measure(ctx, o, stderr)
	if err == nil && o.asJSON {
		err = writeJSON(stdout, measured)
	} else if err == nil {
		err = writeTable(stdout, measured)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	ci, _ := config.Environ("CI")
	return exitCode(measured, ci == "true")
}

func parse(args []string, stdout, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	name := flags.String("row", "", "measure this `row` only")
	flags.BoolVar(&o.unscaled, "real", false, "let limits by the minute take their time: some seven minutes")
	slow := flags.Bool("slow", false, "measure the slow rows, too")
	flags.BoolVar(&o.asJSON, "json", false, "print JSON instead of a table")
	flags.Usage = func() {
		if !slices.ContainsFunc(args, func(a string) bool { return a == "-h" || strings.TrimLeft(a, "-") == "help" }) {
			return // the fault was told
		}
		flags.SetOutput(stdout)
		fmt.Fprintf(stdout, usage, rowList())
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.rows = slices.DeleteFunc(rows(), func(r row) bool {
		if *name == "" {
			return r.slow && !*slow
		}
		return r.name != *name
	})
	if flags.NArg() > 0 || len(o.rows) == 0 {
		fmt.Fprintf(stderr, "bench: there is no such row; the rows are\n%s", rowList())
		return o, errors.New("usage")
	}
	return o, nil
}

func rowList() string {
	var b strings.Builder
	for _, r := range rows() {
		title := r.title
		if r.slow {
			title += " (slow)"
		}
		fmt.Fprintf(&b, "  %-22s %s\n", r.name, title)
	}
	return b.String()
}

// measure measures the rows one after the other.
func measure(ctx context.Context, o options, progress io.Writer) (all []measurement, err error) {
	l, err := newLab(ctx, o.unscaled)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	for _, r := range o.rows {
		fmt.Fprintf(progress, "%s…\n", r.name)
		m, err := r.take(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("row %s: %w", r.name, err)
		}
		all = append(all, m)
	}
	return all, nil
}
