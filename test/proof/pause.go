package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// pauseLatency makes a sync of three hundred values last for seconds, so that it
// is stopped half-way.
const pauseLatency = 400 * time.Millisecond

// pausing is one lease-holder that is stopped.
type pausing struct {
	mode    pace.Mode
	after   time.Duration // from its start
	started int           // requests before it was stopped
	findings
}

// provePause stops lease-holders with SIGSTOP, lets another process take over,
// and lets them go on.
func provePause(ctx context.Context, l *lab) (string, error) {
	h, err := l.startHub(ctx, 1, pauseLatency)
	if err != nil {
		return "", err
	}
	trials := []*pausing{
		{mode: pace.Off, after: 1600 * time.Millisecond},
		{mode: pace.Polite, after: 3300 * time.Millisecond},
	}
	for i := range l.pick(10, 0) {
		trials = append(trials, &pausing{mode: pace.Off, after: 300*time.Millisecond + time.Duration(i)*220*time.Millisecond})
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, p := range trials {
		group.Go(func() error { return p.run(gctx, l, h) })
	}
	err = errors.Join(group.Wait(), h.process.stop())
	var f findings
	least, most := -1, 0
	for _, p := range trials {
		f.list = append(f.list, p.list...)
		most = max(most, p.started)
		if least < 0 || p.started < least {
			least = p.started
		}
	}
	f.addError("run", err)
	return fmt.Sprintf("%d holders stopped after %d to %d of their requests, passed over after the lease: 0 requests after SIGCONT", len(trials), least, most), f.err()
}

func (p *pausing) run(ctx context.Context, l *lab, h *hub) error {
	s, err := h.site(ctx, killSecrets)
	if err != nil {
		return err
	}
	s.Mode = p.mode
	holder, err := l.startChild(ctx, "sync", job{Site: s})
	if err != nil {
		return err
	}
	other := s
	other.Mode = pace.Off
	other.Login += "-other"
	other.Token += "-other"
	if err := h.Add(ctx, githubd.World{Users: []githubd.User{{Login: other.Login}}, Tokens: []githubd.Token{{Token: other.Token, Login: other.Login}}}); err != nil {
		return err
	}
	if err := errors.Join(sleep(ctx, p.after), holder.signal(syscall.SIGSTOP), sleep(ctx, leaseOver)); err != nil {
		return err
	}
	_, f, err := l.syncInChild(ctx, job{Site: other})
	if err != nil {
		return err
	}
	if sum := f.Result.Summary; f.Error != "" || sum.Conflicts+sum.Failed > 0 {
		p.add("%s after %s: who took over had %d conflicts and %d failures: %s", p.mode, p.after, sum.Conflicts, sum.Failed, f.Error)
	}
	woken := now()
	if err := holder.signal(syscall.SIGCONT); err != nil {
		return err
	}
	left, err := holder.finished()
	if err != nil {
		return err
	}
	return p.check(ctx, h, s, left, woken)
}

// check looks at what the holder did after it was woken, and what is left.
func (p *pausing) check(ctx context.Context, h *hub, s site, left finished, woken time.Time) error {
	log, err := h.Requests(ctx)
	if err != nil {
		return err
	}
	for _, r := range log {
		switch {
		case r.Identity != "user:"+s.Login:
		case r.At.After(woken):
			p.add("%s after %s: %s %s began %s after SIGCONT", p.mode, p.after, r.Method, r.Path, r.At.Sub(woken))
		default:
			p.started++
		}
	}
	if p.started == 0 {
		p.add("%s after %s: the holder was stopped before it did anything", p.mode, p.after)
	}
	if left.Code != fault.LeaseLost {
		p.add("%s after %s: the holder ended with %q, not %s: %s", p.mode, p.after, left.Code, fault.LeaseLost, left.Error)
	}
	h.checkRight(ctx, s, &p.findings)
	held, err := h.held(ctx, s)
	if err != nil {
		return err
	}
	p.claims(s, left.Result, held)
	result, err := s.syncOnce(ctx, clock.Real())
	if err != nil || result.Status != syncer.StatusUnchanged {
		p.add("%s after %s: a third run ended %s, %w", p.mode, p.after, result.Status, err)
	}
	return nil
}

// claims checks that the holder does not say of any target that it is done
// which GitHub lacks.
func (p *pausing) claims(s site, result syncer.Result, held map[secret.Target]string) {
	for _, item := range result.Results {
		if _, there := held[item.Target()]; item.Status == syncer.ItemSucceeded && !there {
			p.add("%s: %s is said to be done and is not at GitHub", s.Repo, item.Target())
		}
	}
}
