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
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

const (
	// faultScale is how many seconds pass in one, at the hub and at the client. A
	// lease then lasts five real seconds, which a busy machine does not stall for.
	faultScale   = 4
	faultSecrets = 20 // × 3 scopes
	faultLatency = 100 * time.Millisecond
	cellsAtOnce  = 4
)

// grace is how long after its deadline a sync may return: writes that were sent
// are awaited for as long as the lease lasts, and then stored.
const grace = lease.TTL + 5*time.Second

// kindOfFault is one way in which GitHub fails.
type kindOfFault struct {
	name  string
	fault githubd.Fault
}

var kindsOfFault = [...]kindOfFault{
	{"500", githubd.Fault{Effect: githubd.EffectStatus, Status: 500}},
	{"500 after effect", githubd.Fault{Effect: githubd.EffectStatus, Status: 500, After: true}},
	{"502", githubd.Fault{Effect: githubd.EffectStatus, Status: 502}},
	{"reset before effect", githubd.Fault{Effect: githubd.EffectReset}},
	{"reset after effect", githubd.Fault{Effect: githubd.EffectReset, After: true}},
	{"hang", githubd.Fault{Effect: githubd.EffectHang}},
	{"hang after effect", githubd.Fault{Effect: githubd.EffectHang, After: true}},
}

// cell is one field of the matrix: how GitHub fails, how often, and where.
type cell struct {
	kind    kindOfFault
	percent int
	oneOnly bool // only the writes of one scope; else every request
	seed    uint64

	deadline time.Duration // of the first run, on the scaled clock; 0: none
	struck   int
	needless int
	findings
}

// faultDeadline leaves a run 45 seconds for its work, more than a request that
// hangs is waited for, and the last 30 for the end.
const faultDeadline = 75 * time.Second

// failing is the scope that fails where only one does.
const failing = secret.Dependabot

func (c *cell) String() string {
	where := "everywhere"
	if c.oneOnly {
		where = "writes of " + string(failing)
	}
	return fmt.Sprintf("%s, %d %%, %s", c.kind.name, c.percent, where)
}

// cells is the matrix; a small run has each kind of fault, each at one share
// and one place.
func cells(l *lab) []*cell {
	shares := []int{2, 30, 100}
	var all []*cell
	for i, kind := range kindsOfFault {
		for j, percent := range shares {
			for k, oneOnly := range []bool{true, false} {
				if !l.full && (i+j)%len(shares) != 1 || !l.full && (i+k)%2 == 1 {
					continue
				}
				all = append(all, &cell{kind: kind, percent: percent, oneOnly: oneOnly, seed: l.seed + uint64(len(all)), deadline: faultDeadline})
			}
		}
	}
	return all
}

// proveFaults syncs while GitHub fails, and again when it is well.
func proveFaults(ctx context.Context, l *lab) (string, error) {
	all := cells(l)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(cellsAtOnce)
	for _, c := range all {
		group.Go(func() error {
			if err := c.run(gctx, l); err != nil {
				return fmt.Errorf("%s: %w", c, err)
			}
			return nil
		})
	}
	err := group.Wait()
	var f findings
	struck, needless := 0, 0
	for _, c := range all {
		f.list = append(f.list, c.list...)
		struck += c.struck
		needless += c.needless
	}
	f.addError("run", err)
	return fmt.Sprintf("%d cells, %d requests struck, %d needless writes; results exact, deadlines kept, %d/%d right after the next run",
		len(all), struck, needless, faultSecrets*3, faultSecrets*3), f.err()
}

func (c *cell) run(ctx context.Context, l *lab) (err error) {
	h, err := l.startHub(ctx, faultScale, faultLatency)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.process.stop()) }()
	s, err := h.site(ctx, faultSecrets)
	if err != nil {
		return err
	}
	f := c.kind.fault
	f.Seed, f.Path = c.seed, "^"+s.path()
	if c.oneOnly {
		f.Method, f.Path = "PUT", "^"+s.path()+string(failing)+"/secrets/"
	}
	if c.percent < 100 {
		f.Probability = float64(c.percent) / 100
	}
	if err := h.AddFault(ctx, f); err != nil {
		return err
	}
	clk := clock.Scaled(faultScale)
	result, err := c.limited(ctx, s, clk)
	if err != nil && len(result.Results) == 0 && result.SyncID == "" {
		return err
	}
	h.checkExact(ctx, s, result, &c.findings)
	c.checkOthers(result)
	if err := c.checkUnknown(ctx, h, s, result); err != nil {
		return err
	}
	return c.recover(ctx, h, s, clk)
}

// limited is the first run, which must return by its deadline.
func (c *cell) limited(ctx context.Context, s site, clk clock.Clock) (syncer.Result, error) {
	limited, cancel := clock.WithTimeout(ctx, clk, c.deadline)
	defer cancel()
	started := clk.Now()
	result, err := s.syncOnce(limited, clk)
	if took := clk.Now().Sub(started); took > c.deadline+grace {
		c.add("%s: with %s it returned after %s", c, c.deadline, took)
	}
	if err != nil {
		c.expect(err)
	}
	return result, err
}

// expect admits the errors by which a run may end early here.
func (c *cell) expect(err error) {
	kinds := []fault.Kind{fault.Deadline, fault.Exhausted, fault.Unavailable}
	if !slices.Contains(kinds, fault.KindOf(err)) {
		c.add("%s: the first run ended with %w", c, err)
	}
}

// checkOthers finds targets outside the failing scope that are not done.
func (c *cell) checkOthers(result syncer.Result) {
	for _, item := range result.Results {
		if c.oneOnly && item.Scope != failing && item.Status != syncer.ItemSucceeded {
			c.add("%s: %s is %s: %s", c, item.Target(), item.Status, item.Reason)
		}
	}
}

// checkUnknown holds the targets without an answer against what the fault does.
func (c *cell) checkUnknown(ctx context.Context, h *hub, s site, result syncer.Result) error {
	held, err := h.held(ctx, s)
	if err != nil {
		return err
	}
	for _, item := range result.Results {
		if _, there := held[item.Target()]; item.Status == syncer.ItemUnknown && there != c.kind.fault.After {
			c.add("%s: %s has no answer, and at GitHub: %t", c, item.Target(), there)
		}
	}
	return nil
}

// recover runs once more, with GitHub well, and counts what was needless.
func (c *cell) recover(ctx context.Context, h *hub, s site, clk clock.Clock) error {
	if err := h.ClearFaults(ctx); err != nil {
		return err
	}
	result, err := s.syncOnce(ctx, clk)
	if err != nil || result.Summary.Conflicts+result.Summary.Failed > 0 {
		c.add("%s: the next run had %d conflicts and %d failures: %w", c, result.Summary.Conflicts, result.Summary.Failed, err)
	}
	h.checkRight(ctx, s, &c.findings)
	counts, err := h.Counts(ctx)
	if err != nil {
		return err
	}
	for _, n := range counts.Faults {
		c.struck += n
	}
	if c.needless = counts.Writes() - s.targets(); c.needless > c.struck {
		c.add("%s: %d needless writes for %d faults", c, c.needless, c.struck)
	}
	if c.struck == 0 && c.percent > 2 {
		c.add("%s: nothing was struck", c)
	}
	return nil
}
