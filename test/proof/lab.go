package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/pace"
)

// lab is what all proofs share: the command as it is built from this checkout,
// this program itself, and a directory that goes when the proofs end.
type lab struct {
	full     bool
	seed     uint64
	dir      string
	sealpost string // path of the command
	self     string // path of this program
	serial   atomic.Int64
}

func newLab(ctx context.Context, full bool, seed uint64) (*lab, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	root, err := goCommand(ctx, ".", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	l := &lab{full: full, seed: seed, self: self}
	if l.dir, err = os.MkdirTemp("", "sealpost-proof-"); err != nil {
		return nil, err
	}
	l.sealpost = filepath.Join(l.dir, "sealpost")
	if _, err := goCommand(ctx, strings.TrimSpace(root), "build", "-o", l.sealpost, "./scripts/sealpost"); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) close() error { return os.RemoveAll(l.dir) }

// pick is full's value in a full run, else the smaller one.
func (l *lab) pick(full, ci int) int {
	if l.full {
		return full
	}
	return ci
}

// random draws from the seed, the same in every run.
func (l *lab) random() *rand.Rand { return rand.New(rand.NewPCG(l.seed, l.seed)) }

// directory makes a new one.
func (l *lab) directory() (string, error) {
	dir := filepath.Join(l.dir, fmt.Sprintf("work-%d", l.serial.Add(1)))
	return dir, os.Mkdir(dir, 0o700)
}

// goCommand runs the go command in a directory and returns what it prints.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	out, err := command.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}

// hub is an embedded GitHub in a process of its own.
type hub struct {
	*githubd.Remote
	lab     *lab
	process *process
	url     string
	scale   float64 // of its clock
}

const owner = "acme"

// startHub starts an empty hub on whose clock scale seconds pass in one.
func (l *lab) startHub(ctx context.Context, scale float64, latency time.Duration) (*hub, error) {
	p, err := start(ctx, l.dir, nil, nil, l.sealpost, "emulate", "github", "--control", "--addr", "127.0.0.1:0",
		"--clock-scale", fmt.Sprint(scale), "--latency", latency.String(), "--token", "token-of-nobody", "--repo", owner+"/nothing")
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
	return &hub{githubd.NewRemote(url), l, p, url, scale}, nil
}

// site adds a repository with a token and a rate limit of its own, and returns
// where to sync it from: a fresh state directory.
func (h *hub) site(ctx context.Context, secrets int) (site, error) {
	dir, err := h.lab.directory()
	if err != nil {
		return site{}, err
	}
	id := h.lab.serial.Add(1)
	s := site{
		Hub: h.url, Token: fmt.Sprintf("token-%d", id), Login: fmt.Sprintf("user-%d", id), Repo: fmt.Sprintf("repo-%d", id),
		ID: 1000 + id, StateDir: dir, Secrets: secrets, Mode: pace.Off,
	}
	return s, h.Add(ctx, githubd.World{
		Users:        []githubd.User{{Login: s.Login}},
		Repositories: []githubd.Repository{{ID: s.ID, Owner: owner, Name: s.Repo}},
		Tokens:       []githubd.Token{{Token: s.Token, Login: s.Login}},
	})
}

// sleep waits on the machine's clock.
func sleep(ctx context.Context, d time.Duration) error { return clock.Real().Sleep(ctx, d) }

func now() time.Time { return clock.Real().Now() }
