package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/syncer"
)

const (
	refusalSecrets = syncer.BatchSize/3 + 10 // × 3 scopes, more than one batch
	// refusalLatency is long beside what it takes to send a batch: whatever was
	// under way at the first refusal had arrived by then.
	refusalLatency = time.Second
)

// inFlight is how many requests of one identity may be in flight: a tenth less
// than GitHub documents.
const inFlight = 90

// refused is one way of refusing, with what is asked of the run.
type refused struct {
	name     string
	mode     pace.Mode
	fault    githubd.Fault  // none if its effect is empty
	limits   githubd.Limits // of the hub
	spend    func(context.Context, *hub, site) error
	spendAt  int           // targets done when somebody else spends; 0: before the run
	deadline time.Duration // on the scaled clock; 0: none
	hold     time.Duration // nothing may start for so long after the first refusal
	none     bool          // the run is refused whole, before the first write
	complete bool          // the first run itself gets everything done

	late, needless, refusals int
	findings
}

func storm(status, retryAfter, times int) githubd.Fault {
	return githubd.Fault{
		Name: "storm", Method: "PUT", Effect: githubd.EffectStatus, Status: status, RateLimit: true,
		RetryAfter: retryAfter, From: 20, Times: times,
	}
}

func ways(l *lab) []*refused {
	everything := func(ctx context.Context, h *hub, s site) error { return h.Spend(ctx, "user:"+s.Login, 1000, 0) }
	all := []*refused{
		{name: "403 with Retry-After", mode: pace.Off, fault: storm(403, 5, 25), hold: 5 * time.Second, complete: true},
		{name: "429 without Retry-After", mode: pace.Fast, fault: storm(429, 0, 25), hold: time.Minute, complete: true},
		{name: "429 for ever, with Retry-After", mode: pace.Off, fault: storm(429, 5, 0), hold: 5 * time.Second, deadline: time.Minute},
		{
			name: "the hourly quota was spent by somebody else", mode: pace.Off, limits: githubd.Limits{Primary: 500},
			spend: func(ctx context.Context, h *hub, s site) error { return h.Spend(ctx, "user:"+s.Login, 400, 0) },
			none:  true,
		},
		{
			name: "the hourly quota is spent meanwhile", mode: pace.Fast, limits: githubd.Limits{Primary: 1000}, spend: everything,
			spendAt: 1, deadline: 45 * time.Second, hold: 30 * time.Minute,
		},
		{
			name: "the points of the minute are spent meanwhile", mode: pace.Fast, limits: githubd.Limits{Points: 900, Concurrent: 100},
			spend:   func(ctx context.Context, h *hub, s site) error { return h.Spend(ctx, "user:"+s.Login, 0, 880) },
			spendAt: 1, complete: true,
		},
	}
	if !l.full {
		return all
	}
	return append(all,
		&refused{name: "403 without Retry-After", mode: pace.Off, fault: storm(403, 0, 25), hold: time.Minute, complete: true},
		&refused{name: "429 with Retry-After", mode: pace.Fast, fault: storm(429, 5, 25), hold: 5 * time.Second, complete: true},
		&refused{name: "403 for ever, with Retry-After", mode: pace.Fast, fault: storm(403, 5, 0), hold: 5 * time.Second, deadline: time.Minute},
		&refused{name: "403 for ever, without Retry-After", mode: pace.Off, fault: storm(403, 0, 0), hold: time.Minute, deadline: 45 * time.Second},
	)
}

// proveRefusals syncs while GitHub refuses, and again when it does not.
func proveRefusals(ctx context.Context, l *lab) (string, error) {
	all := ways(l)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(cellsAtOnce)
	for _, r := range all {
		group.Go(func() error {
			if err := r.run(gctx, l); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			return nil
		})
	}
	err := group.Wait()
	var f findings
	late, refusals, needless := 0, 0, 0
	for _, r := range all {
		f.list = append(f.list, r.list...)
		late = max(late, r.late)
		refusals += r.refusals
		needless += r.needless
	}
	f.addError("run", err)
	return fmt.Sprintf("%d ways, %d requests refused, at most %d began after a refusal, %d needless writes; results exact, %d/%d right in the end",
		len(all), refusals, late, needless, refusalSecrets*3, refusalSecrets*3), f.err()
}

func (r *refused) run(ctx context.Context, l *lab) (err error) {
	h, err := l.startHub(ctx, faultScale, refusalLatency)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.process.stop()) }()
	s, err := h.site(ctx, refusalSecrets)
	if err != nil {
		return err
	}
	s.Mode = r.mode
	settings := githubd.Settings{Latency: githubd.Duration(refusalLatency), Limits: r.limits}
	if err := h.SetSettings(ctx, settings); err != nil {
		return err
	}
	if r.fault.Effect != "" {
		if err := h.AddFault(ctx, r.fault); err != nil {
			return err
		}
	}
	clk := clock.Scaled(faultScale)
	result, err := r.first(ctx, h, s, clk)
	if err != nil && result.SyncID == "" {
		return err
	}
	h.checkExact(ctx, s, result, &r.findings)
	if r.complete && (err != nil || result.Status != syncer.StatusSucceeded) {
		r.add("%s: the run ended %s, %w", r.name, result.Status, err)
	}
	log, err := h.Requests(ctx)
	if err != nil {
		return err
	}
	r.checkLog(s, log)
	settings.Limits = githubd.Limits{}
	if err := errors.Join(h.ClearFaults(ctx), h.SetSettings(ctx, settings)); err != nil {
		return err
	}
	return r.again(ctx, h, s, clk)
}

// first is the run that is refused.
func (r *refused) first(ctx context.Context, h *hub, s site, clk clock.Clock) (syncer.Result, error) {
	if r.deadline > 0 {
		limited, cancel := clock.WithTimeout(ctx, clk, r.deadline)
		defer cancel()
		ctx = limited
	}
	t, err := s.open(clk, new(points))
	if err != nil {
		return syncer.Result{}, err
	}
	if r.spend != nil && r.spendAt == 0 {
		if err := r.spend(ctx, h, s); err != nil {
			return syncer.Result{}, errors.Join(err, t.close())
		}
	}
	spent := false
	started := clk.Now()
	result, err := t.sync(ctx, func(req *syncer.Request) {
		req.Progress = func(p syncer.Progress) {
			if r.spend != nil && r.spendAt > 0 && p.Done >= r.spendAt && !spent {
				spent = true
				r.addError(r.name+": spend", r.spend(context.WithoutCancel(ctx), h, s))
			}
		}
	})
	if took := clk.Now().Sub(started); r.deadline > 0 && took > r.deadline+grace {
		r.add("%s: with %s it returned after %s", r.name, r.deadline, took)
	}
	wait, told := fault.RetryAfter(err)
	if r.none && (!errors.Is(err, fault.RateLimitExhausted) || !told || wait <= 0) {
		r.add("%s: refused with %v, to be tried again after %s", r.name, err, wait)
	}
	if err != nil && !slices.Contains([]fault.Kind{fault.Deadline, fault.Exhausted}, fault.KindOf(err)) {
		r.add("%s: the run ended with %w", r.name, err)
	}
	return result, errors.Join(err, t.close())
}

// checkLog counts what began after the first refusal was answered and before
// the time that it asked for was over.
func (r *refused) checkLog(s site, log []githubd.Request) {
	var first time.Time
	for _, q := range log {
		if q.Refused == "" && q.Fault == "" {
			continue
		}
		r.refusals++
		if at := answered(q); first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if r.none {
		if n := len(s.writes(log)); n > 0 || r.refusals > 0 {
			r.add("%s: %d writes and %d refusals, though the quota was known", r.name, n, r.refusals)
		}
		return
	}
	if first.IsZero() {
		r.add("%s: nothing was refused", r.name)
		return
	}
	underWay := 0
	begun := map[string]bool{} // paths asked for by then
	for _, q := range log {
		if !q.At.After(first) {
			begun[q.Method+q.Path] = true
			if answered(q).After(first) {
				underWay++
			}
		}
	}
	for _, q := range log {
		if q.At.After(first) && q.At.Before(first.Add(r.hold*9/10)) {
			r.late++
			if begun[q.Method+q.Path] {
				r.add("%s: %s %s began again %s after the first refusal", r.name, q.Method, q.Path, q.At.Sub(first))
			}
		}
	}
	if r.late > inFlight-underWay {
		r.add("%s: %d requests began after the first refusal, with %d under way", r.name, r.late, underWay)
	}
}

func answered(q githubd.Request) time.Time { return q.At.Add(time.Duration(q.Took)) }

// again is the next run, by a process that knows nothing of the refusals.
func (r *refused) again(ctx context.Context, h *hub, s site, clk clock.Clock) error {
	s.Mode = pace.Off
	result, err := s.syncOnce(ctx, clk)
	if err != nil || result.Summary.Conflicts+result.Summary.Failed > 0 {
		r.add("%s: the next run had %d conflicts and %d failures: %w", r.name, result.Summary.Conflicts, result.Summary.Failed, err)
	}
	h.checkRight(ctx, s, &r.findings)
	counts, err := h.Counts(ctx)
	if err != nil {
		return err
	}
	if r.needless = counts.Writes() - s.targets(); r.needless > 0 {
		r.add("%s: %d needless writes, though a refused write has no effect", r.name, r.needless)
	}
	return nil
}
