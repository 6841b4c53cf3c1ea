package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// maxTyped is the longest value in bytes that is taken from a terminal: Linux
// cuts a typed line at 4,095 bytes and macOS at 1,024, without a word.
// Source: termios(3), "Canonical and noncanonical mode"; MAX_CANON of macOS.
const maxTyped = 1000

// readValue reads a secret's value: from the file as it is, from a terminal
// without showing it, or from what is piped in, less the line ends at its end,
// which is how gh secret set takes it. It is never an argument: those stand in
// the list of processes and in the shell's history.
func readValue(cmd *cobra.Command, name, file string) (secret.Value, error) {
	value, err := valueFrom(cmd, name, file)
	switch {
	case err != nil:
		return secret.Value{}, err
	case len(value) == 0:
		return secret.Value{}, fault.New(fault.ValueEmpty, "the value for %s is empty", name)
	case len(value) > secret.MaxValueBytes:
		return secret.Value{}, fault.New(fault.ValueTooLarge, "the value for %s is larger than the %d bytes that GitHub takes", name, secret.MaxValueBytes)
	}
	return secret.NewValue(string(value)), nil
}

func valueFrom(cmd *cobra.Command, name, file string) ([]byte, error) {
	if file != "" {
		return readFile(cmd.Context(), file, "file with the value")
	}
	in := cmd.InOrStdin()
	if terminal, ok := in.(*os.File); ok && term.IsTerminal(int(terminal.Fd())) {
		return typed(cmd.Context(), terminal, cmd.ErrOrStderr(), name)
	}
	const enough = 2 * secret.MaxValueBytes // what is longer is too large whatever its end
	value, err := io.ReadAll(io.LimitReader(in, enough))
	if err != nil {
		return nil, fault.New(fault.UsageInvalid, "the value cannot be read from the standard input").WithCause(err)
	}
	return bytes.TrimRight(value, "\r\n"), nil
}

// typed asks for a value on a terminal, which shows none of it, not even after
// an interrupt.
func typed(ctx context.Context, terminal *os.File, out io.Writer, name string) ([]byte, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fault.New(fault.UsageInvalid, "the terminal cannot be asked for the value").WithCause(err)
	}
	_, _ = fmt.Fprintf(out, "Value for %s, one line, not shown: ", name)
	var value []byte
	done := make(chan error, 1)
	go func() {
		var err error
		value, err = term.ReadPassword(fd)
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done(): // what is being read dies with the command
		_ = term.Restore(fd, before)
		err = ctx.Err()
	}
	_, _ = fmt.Fprintln(out)
	switch {
	case ctx.Err() != nil:
		return nil, fault.Wrap(fault.Canceled, "read the value", ctx.Err())
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, fault.New(fault.UsageInvalid, "the value cannot be read from the terminal").WithCause(err)
	case len(value) > maxTyped:
		return nil, fault.New(fault.UsageInvalid, "a terminal may cut a line of more than %d bytes: pipe the value in, or take --file", maxTyped)
	}
	return value, nil
}
