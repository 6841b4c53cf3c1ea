package ghapi_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/docstore/sqlitedoc"
	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/quota"
	"github.com/sealpost/sealpost/shared/secret"
)

// crew is workers of one identity: clients in processes of their own.
type crew struct {
	*githubd.Server
	store   docstore.Store
	clients []*ghapi.Client
}

func hire(t *testing.T, n int, settings githubd.Settings, change ...func(*ghapi.Config)) crew {
	t.Helper()
	store, err := sqlitedoc.Open(":memory:", clock.Real())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	c := crew{Server: newServer(t, githubd.Config{World: withApp(world()), Settings: settings}), store: store}
	for range n {
		config := ghapi.Config{
			BaseURL: "https://github.test", Transport: c.Transport(), Mode: pace.Fast, Workers: n,
			Credentials: ghapi.Credentials{Token: secret.NewValue(aliceToken)},
			Budget:      func(identity string) pace.Budget { return quota.New(store, clock.Real(), identity) },
		}
		for _, f := range change {
			f(&config)
		}
		c.clients = append(c.clients, newClient(t, config))
	}
	return c
}

func documented() githubd.Settings { return githubd.Settings{Limits: githubd.DocumentedLimits()} }

// TestWorkersTogetherAreNeverRefused lets three clients write as fast as they
// may to a GitHub that enforces its limits.
func TestWorkersTogetherAreNeverRefused(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := hire(t, 3, documented())
		start := time.Now()
		var wg sync.WaitGroup
		for i, client := range c.clients {
			for j := range 95 {
				wg.Go(func() {
					put := putOf(fmt.Sprintf("K_%d", j), "v")
					put.Scope = []secret.Scope{secret.Actions, secret.Codespaces, secret.Dependabot}[i]
					if _, err := client.Put(t.Context(), payments, put); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		counts, took := c.Counts(), time.Since(start)
		if len(counts.Refused) > 0 {
			t.Errorf("requests were refused: %v", counts.Refused)
		}
		if took > time.Minute+5*time.Second { // 1,428 points
			t.Errorf("it took %s", took)
		}
	})
}

func TestARefusalOfOneWorkerStopsTheOthers(t *testing.T) {
	t.Parallel()
	for name, app := range map[string]bool{"token": false, "App": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				var change []func(*ghapi.Config)
				if app {
					change = append(change, asApp)
				}
				c := hire(t, 2, documented(), change...)
				l := lab{c.Server, c.clients[0]}
				l.fail(t, githubd.Fault{Method: "PUT", Times: 1, Effect: githubd.EffectStatus, Status: 429})
				start := time.Now()
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = l.put(t, "K", "v") })
				time.Sleep(10 * time.Second)
				identity := ghapi.Credentials{}.Identity("Acme")
				if app {
					identity = ghapi.Credentials{App: &ghapi.App{}}.Identity("Acme")
				}
				state, err := quota.Read(t.Context(), c.store, identity)
				if err != nil || state.StoppedUntil.Sub(start) < time.Minute {
					t.Errorf("%s is stopped until %s: %v", identity, state.StoppedUntil, err)
				}
				_, err = c.clients[1].Repository(t.Context(), "acme", "web")
				if err != nil || time.Since(start) < time.Minute {
					t.Errorf("the other worker went on after %s: %v", time.Since(start), err)
				}
				wg.Wait()
			})
		})
	}
}

func TestRunsDoNotBelieveInTheSameRemainder(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		settings := documented()
		settings.Limits.Primary = 100
		c := hire(t, 2, settings)
		ctx := pace.WithMeter(t.Context(), new(pace.Meter))
		release, err := c.clients[0].Reserve(ctx, payments, 60)
		if err != nil {
			t.Fatal(err)
		}
		other := func(requests int) (func(context.Context), error) {
			return c.clients[1].Reserve(t.Context(), payments, requests)
		}
		_, err = other(60)
		wait, _ := fault.RetryAfter(err)
		if !errors.Is(err, fault.Exhausted) || !errors.Is(err, fault.RateLimitExhausted) || wait <= 0 || wait > time.Minute {
			t.Errorf("the second run: %v, retry after %s", err, wait)
		}
		_, err = other(101)
		if wait, _ := fault.RetryAfter(err); !errors.Is(err, fault.RateLimitExhausted) || wait < 30*time.Minute {
			t.Errorf("a run that the quota never covers: %v, retry after %s", err, wait)
		}
		if left, err := c.clients[1].Quota(t.Context(), payments); err != nil || left.Limit != 100 || left.Remaining > 40 || left.Remaining < 38 {
			t.Errorf("left for the second: %+v, %v", left, err)
		}
		for i := range 20 {
			if _, err := c.clients[0].Put(ctx, payments, putOf(fmt.Sprintf("K_%d", i), "v")); err != nil {
				t.Fatal(err)
			}
		}
		release(ctx)
		left, err := c.clients[1].Quota(t.Context(), payments)
		if err != nil || left.Remaining > 80 || left.Remaining < 75 { // 20 writes and a key
			t.Errorf("after the first gave back what it did not use: %+v, %v", left, err)
		}
		again, err := other(60)
		if err != nil {
			t.Fatalf("the second run then: %v", err)
		}
		again(t.Context())
	})
}

func TestReserveWithoutABudgetLooksOnly(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		settings := documented()
		settings.Limits.Primary = 100
		l := open(t, githubd.Config{Settings: settings})
		for range 2 {
			release, err := l.client.Reserve(t.Context(), payments, 90)
			l.must(t, err)
			release(t.Context())
		}
		_, err := l.client.Reserve(t.Context(), payments, 101)
		if wait, _ := fault.RetryAfter(err); !errors.Is(err, fault.RateLimitExhausted) || wait < 30*time.Minute {
			t.Errorf("got %v, retry after %s", err, wait)
		}
		unlimited := open(t, githubd.Config{})
		_, err = unlimited.client.Reserve(t.Context(), payments, 1_000_000)
		l.must(t, err)
	})
}

func TestWithoutTheSharedStoreNothingIsSent(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		c := hire(t, 1, documented(), func(config *ghapi.Config) {
			config.Budget = func(identity string) pace.Budget { return quota.New(gone{}, clock.Real(), identity) }
		})
		_, err := c.clients[0].Put(t.Context(), payments, putOf("K", "v"))
		wantCode(t, err, fault.Unreachable)
		_, err = c.clients[0].Quota(t.Context(), payments)
		wantCode(t, err, fault.Unreachable)
		_, err = c.clients[0].Reserve(t.Context(), payments, 1)
		wantCode(t, err, fault.Unreachable)
		if n := c.Counts().Requests; n > 0 {
			t.Errorf("%d requests were sent", n)
		}
	})
}

// gone is a store that cannot be reached.
type gone struct{ docstore.Store }

func (gone) Get(context.Context, docstore.Key) (docstore.Doc, error) {
	return docstore.Doc{}, fault.Wrap(fault.Unavailable, "store", nil)
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	token, app := ghapi.Credentials{Token: secret.NewValue("t")}, ghapi.Credentials{App: &ghapi.App{}}
	if got := token.Identity("Acme"); got != "token" {
		t.Errorf("a token's: %s", got)
	}
	if got := app.Identity("Acme"); got != "owner-acme" {
		t.Errorf("an installation's: %s", got)
	}
}
