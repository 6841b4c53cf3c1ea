package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
)

// lab is what all rows share: the command as it is built from this checkout,
// and a directory that goes when the bench ends.
type lab struct {
	root     string // of the checkout
	dir      string
	sealpost string // path of the command
	scale    float64
	serial   int
}

// limitScale is how many seconds pass in one for both sides of the rows that
// work under limits by the minute. At 10 a request's own cost, of a
// millisecond, counts as 10; that is still little beside a round trip of 80.
const limitScale = 10

func newLab(ctx context.Context, unscaled bool) (*lab, error) {
	l := &lab{scale: limitScale}
	if unscaled {
		l.scale = 1
	}
	root, err := goCommand(ctx, ".", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	l.root = strings.TrimSpace(root)
	if l.dir, err = os.MkdirTemp("", "sealpost-bench-"); err != nil {
		return nil, err
	}
	l.sealpost = filepath.Join(l.dir, "sealpost")
	if _, err := goCommand(ctx, l.root, "build", "-o", l.sealpost, "./scripts/sealpost"); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) close() error { return os.RemoveAll(l.dir) }

// directory makes a new one.
func (l *lab) directory() (string, error) {
	l.serial++
	dir := filepath.Join(l.dir, fmt.Sprintf("work-%d", l.serial))
	return dir, os.Mkdir(dir, 0o700)
}

// goCommand runs the go command in a directory and returns what it prints.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	return goCommandIn(ctx, dir, nil, args...)
}

// goCommandIn runs it with something more in its environment.
func goCommandIn(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir, command.Env = dir, append(command.Environ(), env...)
	out, err := command.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}

// hub is an embedded GitHub in a process of its own.
type hub struct {
	*githubd.Remote
	process *process
	url     string
}

// Names of what the hub has.
const (
	hubToken = "bench-token"
	owner    = "acme"
	repo     = "bench"
	latency  = "80ms"
)

// startHub starts a hub with nothing in it but the repository.
func (l *lab) startHub(ctx context.Context, more ...string) (*hub, error) {
	args := append([]string{
		"emulate", "github", "--control", "--addr", "127.0.0.1:0", "--latency", latency,
		"--token", hubToken, "--repo", owner + "/" + repo,
	}, more...)
	p, err := startProcess(ctx, l.dir, nil, l.sealpost, args...)
	if err != nil {
		return nil, err
	}
	line, err := p.firstLine(ctx)
	_, address, found := strings.Cut(line, "http://")
	if err != nil || !found {
		return nil, errors.Join(fmt.Errorf("the embedded GitHub did not say where it is: %q", line), err, p.stop())
	}
	address, _, _ = strings.Cut(address, " ")
	url := "http://" + strings.TrimSuffix(address, ".")
	return &hub{githubd.NewRemote(url), p, url}, nil
}
