package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/syncer"
)

const (
	interruptSecrets = 100 // × 3 scopes
	interruptLatency = 300 * time.Millisecond
	exitInterrupted  = 130
	// atOnce is how long the second interrupt may take to end the process.
	atOnce = 500 * time.Millisecond
)

// interrupted is one command that gets a SIGINT.
type interrupted struct {
	mode        pace.Mode
	after       time.Duration
	done, total int
	findings
}

// proveInterrupt sends SIGINT to commands in the middle of their work.
func proveInterrupt(ctx context.Context, l *lab) (_ string, err error) {
	h, err := l.startHub(ctx, 1, interruptLatency)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, h.process.stop()) }()
	trials := []*interrupted{
		{mode: pace.Off, after: 1300 * time.Millisecond},
		{mode: pace.Polite, after: 3 * time.Second},
	}
	for i := range l.pick(10, 1) {
		trials = append(trials, &interrupted{mode: pace.Off, after: 900*time.Millisecond + time.Duration(i)*100*time.Millisecond})
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(cellsAtOnce)
	for _, t := range trials {
		group.Go(func() error { return t.run(gctx, l, h) })
	}
	var f findings
	f.addError("run", group.Wait())
	middle := 0
	for _, t := range trials {
		f.list = append(f.list, t.list...)
		if t.done > 0 && t.done < t.total {
			middle++
		}
	}
	if middle == 0 {
		f.add("no interrupt came in the middle of the work")
	}
	ended, err := interruptTwice(ctx, l, h, &f)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d interrupts, %d half-way: exit code 130, results exact, the next run completes; a second interrupt ended it in %d ms",
		len(trials), middle, ended.Milliseconds()), f.err()
}

func (t *interrupted) run(ctx context.Context, l *lab, h *hub) error {
	s, err := h.site(ctx, interruptSecrets)
	if err != nil {
		return err
	}
	s.Mode = t.mode
	if err := s.writeFiles(); err != nil {
		return err
	}
	p, err := l.command(ctx, s, "sync", "--json")
	if err != nil {
		return err
	}
	if err := errors.Join(sleep(ctx, t.after), p.signal(syscall.SIGINT)); err != nil {
		return err
	}
	stdout, stderr, code, err := p.wait()
	if err != nil {
		return err
	}
	if code != exitInterrupted {
		t.add("%s after %s: exit code %d: %s", t.mode, t.after, code, stderr)
	}
	if len(stdout) > 0 {
		result, err := resultOf(stdout)
		if err != nil {
			return fmt.Errorf("%w: %s", err, stdout)
		}
		h.checkExact(ctx, s, result, &t.findings)
		t.done, t.total = result.Summary.Created, s.targets()
	}
	held, err := h.held(ctx, s)
	if err != nil {
		return err
	}
	if t.done != len(held) {
		t.add("%s after %s: %d are said to be done and GitHub has %d", t.mode, t.after, t.done, len(held))
	}
	return t.again(ctx, l, h, s)
}

// again runs the command to its end.
func (t *interrupted) again(ctx context.Context, l *lab, h *hub, s site) error {
	s.Mode = pace.Off
	p, err := l.command(ctx, s, "sync", "--json")
	if err != nil {
		return err
	}
	stdout, stderr, code, err := p.wait()
	if err != nil {
		return err
	}
	result, err := resultOf(stdout)
	want := syncer.StatusSucceeded
	if t.done == s.targets() {
		want = syncer.StatusUnchanged // the interrupt came too late to leave anything
	}
	if err != nil || code != 0 || result.Status != want || result.Summary.Created != s.targets()-t.done {
		t.add("%s after %s: the next run ended with %d and %s, and created %d: %s", t.mode, t.after, code, result.Status, result.Summary.Created, stderr)
	}
	h.checkRight(ctx, s, &t.findings)
	return nil
}

// interruptTwice interrupts a command whose requests hang, and once more.
func interruptTwice(ctx context.Context, l *lab, h *hub, f *findings) (time.Duration, error) {
	s, err := h.site(ctx, 5)
	if err != nil {
		return 0, err
	}
	hang := githubd.Fault{Method: "PUT", Path: "^" + s.path(), Effect: githubd.EffectHang}
	if err := errors.Join(s.writeFiles(), h.AddFault(ctx, hang)); err != nil {
		return 0, err
	}
	p, err := l.command(ctx, s, "sync")
	if err != nil {
		return 0, err
	}
	if err := errors.Join(sleep(ctx, 2*time.Second), p.signal(syscall.SIGINT)); err != nil {
		return 0, err
	}
	if p.within(time.Second) {
		f.add("the first interrupt ended the command, though requests were under way")
		return 0, nil
	}
	started := now()
	if err := p.signal(syscall.SIGINT); err != nil {
		return 0, err
	}
	if !p.within(atOnce) {
		f.add("%s after the second interrupt the command still runs", atOnce)
		return 0, p.stop()
	}
	took := now().Sub(started)
	_, _, _, err = p.wait()
	if p.endedBy() != syscall.SIGINT {
		f.add("the second interrupt did not end the command by its signal")
	}
	return took, err
}
