package emulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"time"
)

const (
	startTimeout = 60 * time.Second // a loaded machine takes its time; 2 s is usual
	stopTimeout  = 5 * time.Second  // then it is killed
	startTries   = 3                // the free port may be taken before the emulator has it
)

// Process is a running emulator.
type Process struct {
	Host string // host:port on loopback
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed when it has ended
	end  chan struct{} // closed to let the thread go that started it
}

// Missing is the error of Start where the machine lacks what it takes.
type Missing struct{ What string }

// Error names what is missing.
func (m Missing) Error() string { return m.What }

// Start runs an emulator on a free port of loopback and returns when it
// answers. It dies with this process (on Linux however that ends, elsewhere
// only by Stop). It returns a [Missing] where Java or the emulator is not
// installed.
func Start(ctx context.Context, kind Kind) (*Process, error) {
	command, err := kind.command()
	if err != nil {
		return nil, Missing{err.Error()}
	}
	for range startTries {
		var process *Process
		if process, err = launch(command); err != nil {
			return nil, err
		}
		if err = process.awaitAnswer(ctx); err == nil {
			return process, nil
		}
		process.Stop()
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("start the %s emulator: %w", kind.Name, err)
}

func launch(command []string) (*Process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp("", "emulator-*.log")
	if err != nil {
		return nil, err
	}
	// No pipes: a test binary waits for whoever holds its output.
	cmd := exec.Command(command[0], append(command[1:], "--host=127.0.0.1", fmt.Sprintf("--port=%d", port))...)
	cmd.Stdout, cmd.Stderr = log, log
	dieWithParent(cmd)
	p := &Process{
		Host: fmt.Sprintf("127.0.0.1:%d", port), cmd: cmd, log: log,
		done: make(chan struct{}), end: make(chan struct{}),
	}
	started := make(chan error)
	go func() {
		// The kernel ties the child to the thread that starts it, not to the
		// process: that thread must last as long. See prctl(2), PR_SET_PDEATHSIG.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- cmd.Start()
		<-p.end
	}()
	if err := <-started; err != nil {
		close(p.end)
		return nil, errors.Join(err, log.Close(), os.Remove(log.Name()))
	}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// awaitAnswer asks until there is an answer: both emulators say Ok at their root.
func (p *Process) awaitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if answers(ctx, p.Host) {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended: %s", p.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("it did not answer: %w: %s", ctx.Err(), p.lastWords())
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func answers(ctx context.Context, host string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// lastWords is the end of what it printed.
func (p *Process) lastWords() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// PID returns its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends it, and kills it if that takes long. It returns when it has ended.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	close(p.end)
	_ = p.log.Close()
	_ = os.Remove(p.log.Name())
}
