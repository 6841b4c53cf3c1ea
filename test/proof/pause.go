package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
// is stopped half-way, and while it waits for answers: a process that stands
// still in a commit would hold the lock of the one file that is the store here.
const pauseLatency = 400 * time.Millisecond

// pausing is one lease-holder that is stopped.
type pausing struct {
	mode   pace.Mode
	after  int // requests that GitHub has got from it
	before int // requests before it was woken
	findings
}

// provePause stops lease-holders with SIGSTOP, lets another process take over,
// and lets them go on.
func provePause(ctx context.Context, l *lab) (string, error) {
	h, err := l.startHub(ctx, 1, pauseLatency)
	if err != nil {
		return "", err
	}
	trials := []*pausing{{mode: pace.Off, after: 60}, {mode: pace.Polite, after: 9}, {mode: pace.Off, after: 2}}
	for i := range l.pick(12, 0) {
		trials = append(trials, &pausing{mode: pace.Off, after: 8 + 24*i})
	}
	group, gctx := errgroup.WithContext(ctx)
	for _, p := range trials {
		group.Go(func() error { return p.run(gctx, l, h) })
	}
	err = errors.Join(group.Wait(), h.process.stop())
	var f findings
	least, most := trials[0].before, 0
	for _, p := range trials {
		f.list = append(f.list, p.list...)
		least, most = min(least, p.before), max(most, p.before)
	}
	f.addError("run", err)
	return fmt.Sprintf("%d holders stopped after %d to %d of their requests, passed over after the lease: 0 requests after SIGCONT", len(trials), least, most), f.err()
}

// String says which trial it is.
func (p *pausing) String() string {
	return fmt.Sprintf("pace %s, stopped after %d requests", p.mode, p.after)
}

// stopHalfWay stops the holder a moment after GitHub has answered so many of its
// requests, while it waits for the next ones.
func (p *pausing) stopHalfWay(ctx context.Context, h *hub, s site, holder *process) error {
	for {
		log, err := h.Requests(ctx)
		if err != nil {
			return err
		}
		answered := 0
		for _, r := range log {
			if r.Identity == "user:"+s.Login {
				answered++
			}
		}
		if answered >= p.after {
			return errors.Join(sleep(ctx, pauseLatency/2), holder.signal(syscall.SIGSTOP))
		}
		if holder.ended() {
			return fmt.Errorf("%s: it ended before it was stopped", p)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// errInCommit says that the holder was stopped in a commit, and so with the lock
// of the file that is the store here: nobody can do anything until it goes on.
var errInCommit = errors.New("the holder was stopped in a commit")

// stopTries is how often a holder is stopped anew that was in a commit.
const stopTries = 5

func (p *pausing) run(ctx context.Context, l *lab, h *hub) error {
	for try := 1; ; try++ {
		s, err := h.site(ctx, killSecrets)
		if err == nil {
			err = p.once(ctx, l, h, s)
		}
		if !errors.Is(err, errInCommit) || try == stopTries {
			return err
		}
	}
}

// once stops one holder, lets another process take over, and wakes the holder.
func (p *pausing) once(ctx context.Context, l *lab, h *hub, s site) error {
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
	if err := errors.Join(p.stopHalfWay(ctx, h, s, holder), sleep(ctx, leaseOver)); err != nil {
		return err
	}
	_, f, err := l.syncInChild(ctx, job{Site: other})
	woken := now()
	if wakeErr := holder.signal(syscall.SIGCONT); wakeErr != nil {
		return errors.Join(err, wakeErr)
	}
	left, holderErr := holder.finished()
	if locked := "SQLITE_BUSY"; strings.Contains(fmt.Sprint(err, f.Error), locked) {
		return errors.Join(errInCommit, holderErr)
	}
	if err := errors.Join(err, holderErr); err != nil {
		return err
	}
	if sum := f.Result.Summary; f.Error != "" || sum.Conflicts+sum.Failed > 0 {
		p.add("%s: who took over had %d conflicts and %d failures: %s", p, sum.Conflicts, sum.Failed, f.Error)
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
			p.add("%s: %s %s began %s after SIGCONT", p, r.Method, r.Path, r.At.Sub(woken))
		default:
			p.before++
		}
	}
	if left.Code != fault.LeaseLost {
		p.add("%s: the holder ended with %q, not %s: %s", p, left.Code, fault.LeaseLost, left.Error)
	}
	h.checkRight(ctx, s, &p.findings)
	held, err := h.held(ctx, s)
	if err != nil {
		return err
	}
	p.claims(s, left.Result, held)
	result, err := s.syncOnce(ctx, clock.Real())
	if err != nil || result.Status != syncer.StatusUnchanged {
		p.add("%s: a third run ended %s, %w", p, result.Status, err)
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
