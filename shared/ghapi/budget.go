package ghapi

import (
	"context"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/project"
	sharedquota "github.com/sealpost/sealpost/shared/quota"
	"github.com/sealpost/sealpost/shared/syncer"
)

// Identity returns under which identity, as GitHub counts, requests about an
// owner's containers are sent. It names the budget that [Config].Budget gives,
// and takes no request.
func (c Credentials) Identity(owner string) string { return sharedquota.Identity(c.App != nil, owner) }

// Quota implements [syncer.Targets]. Where workers share a budget, what runs
// have reserved is taken off.
func (c *Client) Quota(ctx context.Context, container project.Container) (syncer.Quota, error) {
	op := fmt.Sprintf("ghapi: quota for %s", container)
	a, err := c.account(ctx, container.Kind, container.Owner, container.Name)
	if err != nil {
		return syncer.Quota{}, explain(op, container.String(), err)
	}
	left, err := a.quotaLeft(ctx)
	return left, explain(op, "the quota for "+container.String(), err)
}

// quotaLeft tells the quota from what is known here, then from what the workers
// share, and else asks GitHub.
func (a *account) quotaLeft(ctx context.Context) (syncer.Quota, error) {
	told, good := a.quota.current(a.clock.Now())
	if a.budget != nil && (!good || told.Limit > 0) {
		shared, known, err := a.budget.Quota(ctx)
		if err != nil || known {
			return shared, err
		}
	}
	if good {
		return told, nil
	}
	err := a.askQuota(ctx)
	told, _ = a.quota.current(a.clock.Now())
	return told, err
}

// noteQuota passes on what GitHub told of the quota.
func (a *account) noteQuota() {
	if a.budget == nil {
		return
	}
	if told, good := a.quota.current(a.clock.Now()); good && told.Limit > 0 {
		a.budget.Note(told)
	}
}

// Reserve sets requests about a container aside from the hourly quota, for a run
// that has not begun to write: no other run that reserves can count on them. What
// the context's meter counts from now on is taken as sent of them. It returns a
// [fault.Exhausted] with [fault.RateLimitExhausted] and a RetryAfter if fewer
// are left, and else the errors of Quota. Release gives back what was not sent,
// and tells the other workers; what cannot be told lapses by itself.
//
// Without a shared budget it only looks whether there are enough.
func (c *Client) Reserve(ctx context.Context, container project.Container, requests int) (release func(context.Context), err error) {
	op := fmt.Sprintf("ghapi: reserve requests for %s", container)
	a, err := c.account(ctx, container.Kind, container.Owner, container.Name)
	if err != nil {
		return nil, explain(op, container.String(), err)
	}
	left, err := a.quotaLeft(ctx) // so that it is known
	switch {
	case err != nil:
		return nil, explain(op, "the quota for "+container.String(), err)
	case a.budget == nil && left.Limit > 0 && left.Remaining < requests:
		return nil, fault.New(fault.RateLimitExhausted, "the plan needs %d requests and %d of %d are left this hour", requests, left.Remaining, left.Limit).
			WithOp(op).WithRetryAfter(max(left.ResetAt.Sub(c.clock.Now()), time.Second))
	case a.budget == nil || left.Limit == 0:
		return func(context.Context) {}, nil
	}
	meter, before := pace.MeterFrom(ctx), 0
	used := func() int {
		if meter == nil {
			return 0
		}
		return meter.Usage().Charged - before
	}
	before = used()
	giveBack, err := a.budget.Reserve(ctx, requests, used)
	if err != nil {
		return nil, explain(op, container.String(), err)
	}
	return func(ctx context.Context) {
		giveBack()
		_ = a.pacer.Tell(ctx) // else it lapses
	}, nil
}
