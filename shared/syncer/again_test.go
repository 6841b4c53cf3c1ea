package syncer_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// Killed twice in a row, before the first kill was made good, the run after
// that still says no false conflict.
func TestKilledTwice(t *testing.T) {
	t.Parallel()
	for first := 60; first < 400; first += 41 {
		for second := 10; second < 400; second += 37 {
			t.Run(fmt.Sprint(first, "-", second), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(t *testing.T) {
					w := newWorld(t, 40)
					for _, at := range []int{first, second} {
						_, _ = w.engine(&killer{at: at}).Sync(t.Context(), syncer.Request{Project: w.project, Actor: "test"})
						time.Sleep(lease.TTL + 10*time.Second)
					}
					if result := w.mustSync(); result.Summary.Conflicts+result.Summary.Failed > 0 {
						t.Errorf("next run: %+v", result.Summary)
					}
					w.checkRight()
				})
			})
		}
	}
}

// Killed, and the next run interrupted before it could write again: what the
// first one wrote stays ours.
func TestKilledThenInterrupted(t *testing.T) {
	t.Parallel()
	for first := 60; first < 400; first += 17 {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 40)
				_, _ = w.engine(&killer{at: first}).Sync(t.Context(), syncer.Request{Project: w.project, Actor: "test"})
				time.Sleep(lease.TTL + 10*time.Second)
				ctx, cancel := context.WithCancel(t.Context())
				w.hub.fault = func(secret.Target) error { cancel(); return nil }
				_, _ = w.engine(new(killer)).Sync(ctx, syncer.Request{Project: w.project, Actor: "test"})
				w.hub.fault = nil
				if result := w.mustSync(); result.Summary.Conflicts+result.Summary.Failed > 0 {
					t.Errorf("next run: %+v", result.Summary)
				}
				w.checkRight()
			})
		})
	}
}

// slow answers each write a second later than the one before.
type slow struct {
	syncer.Targets
	puts *atomic.Int64
}

func (s slow) Put(ctx context.Context, c project.Container, p syncer.Put) (syncer.Receipt, error) {
	time.Sleep(time.Duration(s.puts.Add(1)) * time.Second)
	return s.Targets.Put(ctx, c, p)
}

// Killed in the middle of a batch, after a renewal of the lease has stored what
// was written until then: the audit has the outcomes of that too.
func TestKilledAfterARenewal(t *testing.T) {
	t.Parallel()
	for seconds := range 29 {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 10)
				k := new(killer)
				engine := w.engine(k)
				engine.Targets = slow{engine.Targets, new(atomic.Int64)}
				time.AfterFunc(time.Duration(seconds)*time.Second+500*time.Millisecond, func() {
					k.mu.Lock()
					defer k.mu.Unlock()
					k.dead = true
				})
				if _, err := engine.Sync(t.Context(), syncer.Request{Project: w.project, Actor: "test"}); err == nil {
					t.Fatal("it was not killed")
				}
				time.Sleep(lease.TTL)
				if result := w.mustSync(); result.Summary.Conflicts+result.Summary.Failed > 0 {
					t.Errorf("next run: %+v", result.Summary)
				}
				w.checkRight()
				w.checkAudit()
			})
		})
	}
}
