package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
)

// process is a child of the bench. Its output goes to a file, so that it never
// waits for somebody to read.
type process struct {
	cmd    *exec.Cmd
	output *os.File
	done   chan struct{} // closed when it has ended
	err    error         // how it ended; read after done
}

// stopTime is how long a child may take to stop before it is killed.
const stopTime = 10 * time.Second

// startProcess starts a program with both its outputs in one file. It is killed
// if the context ends. With env nil it has the environment of the bench.
func startProcess(ctx context.Context, dir string, env []string, name string, args ...string) (*process, error) {
	output, err := os.CreateTemp(dir, "output-*")
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, name, args...), output: output, done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, env, output, output
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, output.Close())
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// text is what it has printed so far.
func (p *process) text() string {
	text, err := os.ReadFile(p.output.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// ended reports whether it has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// firstLine waits for a whole line.
func (p *process) firstLine(ctx context.Context) (string, error) {
	for {
		over := p.ended()
		if line, _, whole := strings.Cut(p.text(), "\n"); whole {
			return line, nil
		}
		if over {
			return "", fmt.Errorf("%s ended without a word: %w", p.cmd.Path, p.err)
		}
		if err := clock.Real().Sleep(ctx, 5*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// stop ends it by its id, and kills it if that takes long.
func (p *process) stop() error {
	if !p.ended() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may end by itself at this moment
	}
	patience, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	select {
	case <-p.done:
	case <-patience.Done():
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	return p.output.Close()
}

// errNoPeak says that the system does not tell a process's peak of memory. What
// wait4 reports will not do: on Linux it begins with the size of the parent,
// since fork and exec keep it.
var errNoPeak = errors.New("/proc/PID/status has no VmHWM")

// peak returns the most memory that the process has had resident so far, in
// bytes. A process that has ended has none.
func (p *process) peak() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, errNoPeak
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "VmHWM:" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, errNoPeak
}

// peakUntilEnd watches the process until it ends and returns its peak. The
// system keeps the peak, so only what is added in the last two milliseconds can
// be missed.
func (p *process) peakUntilEnd(ctx context.Context) (int64, error) {
	var most int64
	for !p.ended() {
		if now, err := p.peak(); err == nil {
			most = max(most, now)
		}
		if err := clock.Real().Sleep(ctx, 2*time.Millisecond); err != nil {
			return 0, err
		}
	}
	if most == 0 {
		return 0, errNoPeak
	}
	return most, nil
}
