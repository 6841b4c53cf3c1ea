package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
)

// process is a child. Its output goes to files, so that it never waits for
// somebody to read.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr *os.File
	done           chan struct{} // closed when it has ended
	err            error         // how it ended; read after done
}

// stopTime is how long a child may take to stop before it is killed.
const stopTime = 10 * time.Second

// start starts a program in a directory with nothing in its environment but env.
func start(ctx context.Context, dir string, env []string, input []byte, name string, args ...string) (*process, error) {
	stdout, err := os.CreateTemp(dir, "stdout-*")
	if err != nil {
		return nil, err
	}
	stderr, err := os.CreateTemp(dir, "stderr-*")
	if err != nil {
		return nil, errors.Join(err, stdout.Close())
	}
	p := &process{cmd: exec.CommandContext(ctx, name, args...), stdout: stdout, stderr: stderr, done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, append([]string{"HOME=" + dir}, env...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = bytes.NewReader(input), stdout, stderr
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, stdout.Close(), stderr.Close())
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// wait waits for the end and returns what was printed and the exit code: -1 for
// a process that a signal ended.
func (p *process) wait() (stdout, stderr []byte, code int, err error) {
	<-p.done
	stdout, outErr := os.ReadFile(p.stdout.Name())
	stderr, errErr := os.ReadFile(p.stderr.Name())
	err = errors.Join(outErr, errErr, p.stdout.Close(), p.stderr.Close())
	if exit := new(exec.ExitError); p.err != nil && !errors.As(p.err, &exit) {
		err = errors.Join(err, p.err)
	}
	return stdout, stderr, p.cmd.ProcessState.ExitCode(), err
}

// endedBy returns the signal that ended the process, or 0.
func (p *process) endedBy() syscall.Signal {
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal()
	}
	return 0
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// firstLine waits for a whole line.
func (p *process) firstLine(ctx context.Context) (string, error) {
	for {
		over := p.ended()
		text, err := os.ReadFile(p.stdout.Name())
		if err != nil {
			return "", err
		}
		if line, _, whole := strings.Cut(string(text), "\n"); whole {
			return line, nil
		}
		if over {
			said, _ := os.ReadFile(p.stderr.Name())
			return "", fmt.Errorf("%s ended without a word: %w: %s", p.cmd.Path, p.err, said)
		}
		if err := clock.Real().Sleep(ctx, 5*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// stop ends it by its id, and kills it if that takes long.
func (p *process) stop() error {
	if !p.ended() {
		_ = p.signal(syscall.SIGTERM) // it may end by itself at this moment
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		_ = p.signal(syscall.SIGKILL)
		<-p.done
	}
	return errors.Join(p.stdout.Close(), p.stderr.Close())
}

// within reports whether it ends in that time.
func (p *process) within(d time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
		return false
	}
}
