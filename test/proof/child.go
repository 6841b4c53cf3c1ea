package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/syncer"
)

// childCommand makes this program a child: `proof child sync` or `proof child
// serve`, with a job as JSON on its standard input.
const childCommand = "child"

// job is what a child is to do.
type job struct {
	Site site
	Kill string // point at which it kills itself; empty: none
}

// finished is what a child prints that synced and lived.
type finished struct {
	Result syncer.Result
	Code   fault.Code     // of the error, if there was one
	Error  string         // its text
	Points map[string]int // how often each point was reached
}

func runChild(ctx context.Context, kind string, stdin io.Reader, stdout, stderr io.Writer) int {
	var j job
	err := json.NewDecoder(stdin).Decode(&j)
	switch {
	case err != nil:
	case kind == "sync":
		err = childSync(ctx, j, stdout)
	case kind == "serve":
		err = childServe(ctx, j, stdout)
	default:
		err = errors.New("no such child: " + kind)
	}
	if err != nil {
		fmt.Fprintln(stderr, "proof child:", err)
		return 1
	}
	return 0
}

func childSync(ctx context.Context, j job, stdout io.Writer) error {
	p := &points{kill: j.Kill}
	t, err := j.Site.open(clock.Real(), p)
	if err != nil {
		return err
	}
	var f finished
	f.Result, err = t.sync(ctx)
	if err != nil {
		f.Code, f.Error = fault.CodeOf(err), err.Error()
	}
	f.Points = p.counts
	return errors.Join(json.NewEncoder(stdout).Encode(f), t.close())
}

// startChild starts this program as a child.
func (l *lab) startChild(ctx context.Context, kind string, j job) (*process, error) {
	input, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	return start(ctx, j.Site.StateDir, nil, input, l.self, childCommand, kind)
}

// syncInChild runs a child to its end. A child that did not live has no finished.
func (l *lab) syncInChild(ctx context.Context, j job) (*process, finished, error) {
	p, err := l.startChild(ctx, "sync", j)
	if err != nil {
		return nil, finished{}, err
	}
	f, err := p.finished()
	return p, f, err
}

// finished waits for the end of a child that syncs.
func (p *process) finished() (finished, error) {
	stdout, stderr, code, err := p.wait()
	if err != nil || p.endedBy() != 0 {
		return finished{}, err
	}
	var f finished
	if code != 0 {
		return f, fmt.Errorf("the child ended with %d: %s", code, stderr)
	}
	err = json.Unmarshal(stdout, &f)
	return f, err
}
