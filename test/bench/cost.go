package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/dispatch"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/event"
)

// Names of the figures of costs.
const (
	millionWrites = "1 M changed target writes"
	millionFirst  = "1 M target writes of first syncs"
	millionChecks = "1 M unchanged checks"
)

// billed are the projects of the row cost: each account is an installation, so
// that nobody waits for another's pace, as in a system that is not busy. They have
// fewer sources than Secret Manager lets be looked at in a minute.
var billed = crowd{
	projects: 10, secrets: 20, sharing: 1, owners: 10, app: true, synced: true, scale: 1, limits: githubd.DocumentedLimits(),
}

// usual is the size of the deployment over which the ticks of each minute and
// the jobs of Scheduler are shared out: projects of the same size, checked every
// six hours.
const (
	usualProjects = 1000
	checksADay    = 4
	million       = 1_000_000
	month         = 30 * 24 * time.Hour
)

// bill is what some work used of what is paid for.
type bill struct {
	documents docstore.Counts
	accesses  int
	calls     map[string]int     // requests to functions, each for one message
	seconds   map[string]float64 // their time, as billed
}

// bill returns what was used since the last one.
func (f *fleet) bill() bill {
	b := bill{
		documents: f.store.Reset(), accesses: f.values.Calls("AccessSecretVersion"), calls: map[string]int{}, seconds: map[string]float64{},
	}
	f.values.ResetCalls()
	for name, c := range f.calls {
		b.calls[name] = int(c.count.Swap(0))
		b.seconds[name] = time.Duration(c.billed.Swap(0)).Seconds()
	}
	return b
}

// billedTime is how long a request is billed that took so long, if its instance
// had no other at the same time.
func billedTime(took time.Duration) time.Duration {
	return time.Duration(math.Ceil(took.Seconds()/prices.billingInterval) * prices.billingInterval * float64(time.Second))
}

// dollars adds up the list prices.
func (b bill) dollars() float64 {
	sum := prices.read.of(float64(b.documents.Reads)) + prices.write.of(float64(b.documents.Writes)) +
		prices.remove.of(float64(b.documents.Deletes)) + prices.access.of(float64(b.accesses))
	for name, n := range b.calls {
		row := catalogue.Lookup(name)
		sum += prices.message.of(2*prices.minMessage*float64(n)) + prices.invocation.of(float64(n)) +
			prices.cpu.of(b.seconds[name]*cpuOf[row.MemoryMiB]) + prices.memory.of(b.seconds[name]*float64(row.MemoryMiB)/1024)
	}
	return sum
}

func (b bill) text() string {
	return fmt.Sprintf("documents read %d, written %d, deleted %d; values read %d; requests to functions %v, %.1f s of the worker's",
		b.documents.Reads, b.documents.Writes, b.documents.Deletes, b.accesses, b.calls, b.seconds["sync-worker"])
}

// cost measures what is paid for first syncs, and then, where nothing was
// written first, for changes and checks.
func cost(ctx context.Context, l *lab) (trial, error) {
	first, err := firstBill(ctx, l)
	if err != nil {
		return trial{}, err
	}
	t, err := changeBill(ctx, l)
	if err != nil {
		return t, err
	}
	t.figures[millionFirst] = first.dollars() * million / float64(billed.targets())
	t.notes = append(t.notes, fmt.Sprintf("%d first writes: %s", billed.targets(), first.text()))
	return t, nil
}

// firstBill returns what the first syncs of the projects used.
func firstBill(ctx context.Context, l *lab) (b bill, err error) {
	fresh := billed
	fresh.synced = false
	f, err := l.newFleet(ctx, fresh)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	f.bill()
	if err := f.work(ctx); err != nil {
		return b, err
	}
	b = f.bill()
	counts, err := f.hub.Counts(ctx)
	if err == nil && counts.Writes() != f.targets() {
		err = fmt.Errorf("%d targets were written, not %d", counts.Writes(), f.targets())
	}
	return b, err
}

// changeBill measures what is paid for a tick that finds nothing, a check of
// every project, a new version of every source, and one of a single source each.
func changeBill(ctx context.Context, l *lab) (t trial, err error) {
	f, err := l.newFleet(ctx, billed)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	f.bill()
	if err := f.tick(ctx); err != nil {
		return t, err
	}
	idle := f.bill()
	if err := f.work(ctx); err != nil {
		return t, err
	}
	checks := f.bill()
	writes, err := f.change(ctx, f.secrets)
	if err != nil {
		return t, err
	}
	single, err := f.change(ctx, 1)
	if err != nil {
		return t, err
	}
	counts, err := f.hub.Counts(ctx)
	if err != nil {
		return t, err
	}
	if want := f.targets() + f.projects*len(repositoryScopes); counts.Writes() != want {
		return t, fmt.Errorf("%d targets were written, not %d", counts.Writes(), want)
	}
	days := million / float64(usualProjects*f.secrets*len(repositoryScopes)*checksADay)
	standing := days * (idle.dollars()*float64(24*time.Hour/dispatch.Tick) + 2*prices.job.dollars/(month.Hours()/24))
	t.figures = figures{
		millionWrites: writes.dollars() * million / float64(f.targets()),
		millionChecks: checks.dollars()*million/float64(f.targets()) + standing,
	}
	t.notes = []string{
		fmt.Sprintf("%d checks: %s", f.targets(), checks.text()),
		fmt.Sprintf("to these $%.2f are added for %.1f days of ticks and jobs, in which %d such projects have 1 M checks", standing, days, usualProjects),
		fmt.Sprintf("%d writes, all sources of a project at once: %s", f.targets(), writes.text()),
		fmt.Sprintf("where one source of a project changes at a time, 1 M writes are $%.2f: %s",
			single.dollars()*million/float64(f.projects*len(repositoryScopes)), single.text()),
	}
	return t, nil
}

// tick is a tick of the dispatcher.
func (f *fleet) tick(ctx context.Context) error {
	if err := f.broker.Publish(ctx, event.DispatchTick, scheduled); err != nil {
		return err
	}
	return f.broker.Idle(ctx)
}

// change gives so many sources of each project a new version, and returns what
// the sync of these used.
func (f *fleet) change(ctx context.Context, sources int) (bill, error) {
	for i := range f.projects {
		for j := range sources {
			if err := f.newVersion(i, j); err != nil {
				return bill{}, err
			}
		}
	}
	for {
		if err := f.broker.Idle(ctx); err != nil {
			return bill{}, err
		}
		left, err := f.marks(ctx)
		if err != nil || len(left) == 0 {
			return f.bill(), err
		}
		if wait := left[0].DueAt.Sub(f.clock.Now()); wait > 0 {
			if err := f.clock.Sleep(ctx, wait); err != nil {
				return bill{}, err
			}
		}
		if err := f.tick(ctx); err != nil { // as Scheduler does within a minute
			return bill{}, err
		}
	}
}
