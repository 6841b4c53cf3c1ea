// Package program builds and runs programs of the checkout as processes, for
// tests that want to meet them as users do.
package program

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Root returns the directory of the checkout that the test runs in.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working directory")
		}
	}
}

// Build builds a command of the checkout, such as scripts/sealpost, and returns
// its path. The binary stays in the user's cache, one for each package of
// tests, since the go command links only what has changed.
func Build(t testing.TB, command string) string {
	t.Helper()
	root := Root(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(cache, "sealpost-test", filepath.Base(dir), filepath.Base(command))
	Go(t, root, "build", "-o", binary, "./"+command)
	return binary
}

// Go runs the go command in a directory, without the network, and returns what
// it prints.
func Go(t testing.TB, dir string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Dir = dir
	command.Env = append(command.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOPROXY=off")
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Call is a command line with all that is around it.
type Call struct {
	Path string
	Args []string
	Env  []string // the whole environment, but for PATH and HOME
	Dir  string
}

// Process is a running program. It is killed when its test ends.
type Process struct {
	Stdout, Stderr *Output

	command *exec.Cmd
	ended   chan struct{}
}

// Start runs a program.
func Start(t testing.TB, call Call) *Process {
	t.Helper()
	ctx, kill := context.WithCancel(context.Background())
	p := &Process{Stdout: newOutput(), Stderr: newOutput(), command: exec.CommandContext(ctx, call.Path, call.Args...), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = p.Stdout, p.Stderr
	p.command.Dir = call.Dir
	p.command.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, call.Env...)
	if err := p.command.Start(); err != nil {
		kill()
		t.Fatal(err)
	}
	go func() {
		_ = p.command.Wait() // the exit code is in its state
		close(p.ended)
	}()
	t.Cleanup(func() {
		kill()
		<-p.ended
	})
	return p
}

// patience is how long a program may take for anything, on a loaded machine.
const patience = 60 * time.Second

// Run runs a program to its end and returns its exit code.
func Run(t testing.TB, call Call) (stdout, stderr string, code int) {
	t.Helper()
	p := Start(t, call)
	code = p.Wait(t)
	return p.Stdout.String(), p.Stderr.String(), code
}

// Wait returns the exit code when the program has ended.
func (p *Process) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%s does not end; it printed\n%s%s", p.command.Path, p.Stdout, p.Stderr)
	}
	return p.command.ProcessState.ExitCode()
}

// Signal sends a signal.
func (p *Process) Signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := p.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// Await returns what the pattern's first group finds in the program's stdout,
// as soon as it is there.
func (p *Process) Await(t testing.TB, pattern string) string {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	limit := time.After(patience)
	for {
		text, more := p.Stdout.next()
		if found := wanted.FindStringSubmatch(text); found != nil {
			return found[len(found)-1]
		}
		select {
		case <-more:
		case <-p.ended:
			if found := wanted.FindStringSubmatch(p.Stdout.String()); found != nil {
				return found[len(found)-1]
			}
			t.Fatalf("%s ended with code %d before it printed %s:\n%s%s", p.command.Path, p.command.ProcessState.ExitCode(), pattern, p.Stdout, p.Stderr)
		case <-limit:
			t.Fatalf("%s does not print %s:\n%s%s", p.command.Path, pattern, p.Stdout, p.Stderr)
		}
	}
}

// Output is what a program prints, as far as it has come.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed at the next write
}

func newOutput() *Output { return &Output{more: make(chan struct{})} }

// Write takes what the program prints.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.text.Write(b)
}

// String returns all so far.
func (o *Output) String() string {
	text, _ := o.next()
	return text
}

func (o *Output) next() (text string, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.more
}
