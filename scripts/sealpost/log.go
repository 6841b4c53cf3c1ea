package main

import (
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// openLog opens a log in a file, which the returned function closes.
func openLog(path string, level slog.Level) (*slog.Logger, func() error, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, fault.New(fault.ConfigInvalid, "the log %s cannot be written", path).WithCause(err)
	}
	if err := endLine(file); err != nil {
		return nil, nil, fault.New(fault.ConfigInvalid, "the log %s cannot be written", path).WithCause(errors.Join(err, file.Close()))
	}
	return telemetry.NewLogger(file, telemetry.Options{Level: level}), file.Close, nil
}

// endLine ends the last line if a process was killed while it wrote it, so that
// the next one is a line of its own.
func endLine(file *os.File) error {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := file.ReadAt(last, size-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err = file.Write([]byte("\n"))
	return err
}
