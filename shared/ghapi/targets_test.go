package ghapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

func TestEveryScopeIsWrittenListedAndDeleted(t *testing.T) {
	t.Parallel()
	scopes := []secret.Scope{
		secret.Actions, secret.Codespaces, secret.Dependabot,
		secret.EnvironmentScope("production"), secret.EnvironmentScope("eu/stage 1"),
		secret.OrgActions, secret.OrgCodespaces, secret.OrgDependabot,
	}
	for _, scope := range scopes {
		t.Run(string(scope), func(t *testing.T) {
			t.Parallel()
			server := newServer(t, githubd.Config{})
			client := overLoopback(t, server)
			container, put := payments, syncer.Put{Scope: scope, Name: "DATABASE_URL", Value: secret.NewValue("line 1\nline 2 \u00e9")}
			if scope.Organisation() {
				container, put.Access = acme, &project.Access{Visibility: project.VisibleToSelected, Repositories: []int64{1002, 1001}}
			}
			begin := time.Now().Add(-2 * time.Second)

			receipt, err := client.Put(t.Context(), container, put)
			if err != nil || !receipt.Created || receipt.Retried || receipt.At.Before(begin) {
				t.Fatalf("first put: %+v, %v", receipt, err)
			}
			stored, err := server.Stored(container.String(), scope)
			if err != nil || len(stored) != 1 || stored[0].Name != "DATABASE_URL" || stored[0].Value != "line 1\nline 2 \u00e9" {
				t.Fatalf("GitHub does not hold what was put: %d secrets, %v", len(stored), err)
			}
			if scope.Organisation() && (stored[0].Visibility != "selected" || !slices.Equal(stored[0].Repositories, []int64{1001, 1002})) {
				t.Errorf("access: %s %v", stored[0].Visibility, stored[0].Repositories)
			}

			listing, err := client.List(t.Context(), container, scope)
			if err != nil || len(listing.Targets) != 1 || listing.Targets[0].Name != "DATABASE_URL" || listing.At.Before(begin) {
				t.Fatalf("list: %+v, %v", listing, err)
			}
			if got := listing.Targets[0]; !got.UpdatedAt.Equal(stored[0].UpdatedAt) || !got.CreatedAt.Equal(stored[0].CreatedAt) || string(got.Visibility) != stored[0].Visibility {
				t.Errorf("listed %+v", got)
			}

			if receipt, err := client.Put(t.Context(), container, put); err != nil || receipt.Created {
				t.Errorf("second put: %+v, %v", receipt, err)
			}
			for range 2 { // what is not there is as good as deleted
				if receipt, err := client.Delete(t.Context(), container, scope, "DATABASE_URL"); err != nil || receipt.At.Before(begin) {
					t.Errorf("delete: %+v, %v", receipt, err)
				}
			}
			if listing, err := client.List(t.Context(), container, scope); err != nil || len(listing.Targets) != 0 {
				t.Errorf("after the deletion: %+v, %v", listing, err)
			}
		})
	}
}

func TestAccessIsAlwaysWrittenWhole(t *testing.T) {
	t.Parallel()
	l := open(t, githubd.Config{})
	for _, access := range []project.Access{
		{Visibility: project.VisibleToSelected, Repositories: []int64{1001}},
		{Visibility: project.VisibleToSelected}, // nobody: the list is sent, though empty
		{Visibility: project.VisibleToPrivate},
		{Visibility: project.VisibleToAll, Repositories: []int64{1001}}, // no list goes with it
		{Visibility: project.VisibleToSelected, Repositories: []int64{1001, 1002}},
	} {
		_, err := l.client.Put(t.Context(), acme, syncer.Put{Scope: secret.OrgActions, Name: "K", Value: secret.NewValue("v"), Access: &access})
		l.must(t, err)
		stored, err := l.Stored("acme", secret.OrgActions)
		l.must(t, err)
		want := access.Repositories
		if access.Visibility != project.VisibleToSelected {
			want = nil
		}
		if stored[0].Visibility != string(access.Visibility) || !slices.Equal(stored[0].Repositories, want) {
			t.Errorf("wrote %v, GitHub has %s %v", access, stored[0].Visibility, stored[0].Repositories)
		}
	}
	_, err := l.client.Put(t.Context(), acme, syncer.Put{Scope: secret.OrgActions, Name: "K", Value: secret.NewValue("v")})
	if !errors.Is(err, fault.Internal) {
		t.Errorf("without access: %v", err)
	}
}

func TestAListHasAllPagesInOrderAndCostsNothingTheSecondTime(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{Settings: githubd.Settings{Latency: githubd.Duration(80 * time.Millisecond), Limits: githubd.DocumentedLimits()}})
		for i := range 250 {
			l.must(t, l.Edit(githubd.Target{Container: "acme", Scope: secret.OrgActions, Name: fmt.Sprintf("K%03d", i)}, "v"))
		}
		meter := new(pace.Meter)
		ctx := pace.WithMeter(t.Context(), meter)
		start := time.Now()
		first, err := l.client.List(ctx, acme, secret.OrgActions)
		l.must(t, err)
		if took := time.Since(start); took != 160*time.Millisecond {
			t.Errorf("three pages took %s: the second and third were not fetched side by side", took)
		}
		for i := range 250 {
			if want := secret.Name(fmt.Sprintf("K%03d", i)); len(first.Targets) != 250 || first.Targets[i].Name != want {
				t.Fatalf("%d secrets; number %d is not %s", len(first.Targets), i, want)
			}
		}
		if got := meter.Usage(); got != (pace.Usage{Requests: 3, Charged: 3, Points: 3}) {
			t.Errorf("first list: %+v", got)
		}

		time.Sleep(time.Minute)
		second, err := l.client.List(ctx, acme, secret.OrgActions)
		l.must(t, err)
		if len(second.Targets) != 250 || second.At.Sub(first.At) < time.Minute {
			t.Errorf("second list: %d secrets as of %s, first as of %s", len(second.Targets), second.At, first.At)
		}
		if got := meter.Usage(); got != (pace.Usage{Requests: 6, Charged: 3, Points: 6}) {
			t.Errorf("both lists: %+v", got)
		}
		if counts := l.Counts(); counts.ByStatus[304] != 3 || counts.Charged != 3 || counts.Requests != 6 {
			t.Errorf("GitHub counted %+v", counts)
		}

		// A change is seen, on its page.
		l.must(t, l.Edit(githubd.Target{Container: "acme", Scope: secret.OrgActions, Name: "K249"}, "other"))
		third, err := l.client.List(ctx, acme, secret.OrgActions)
		l.must(t, err)
		if !third.Targets[249].UpdatedAt.After(second.Targets[249].UpdatedAt) {
			t.Error("the change was not seen")
		}
	})
}

func TestAHundredWritesAskForOneKey(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{Settings: githubd.Settings{Latency: githubd.Duration(80 * time.Millisecond)}})
		writeAll := func() {
			var wg sync.WaitGroup
			for i := range 99 {
				wg.Go(func() {
					if _, err := l.put(t, fmt.Sprintf("K%d", i), "v"); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		writeAll()
		time.Sleep(4 * time.Minute)
		writeAll()
		if n := l.Counts().ByKind[githubd.KindPublicKey]; n != 1 {
			t.Errorf("%d keys within five minutes", n)
		}
		time.Sleep(2 * time.Minute)
		writeAll()
		if n := l.Counts().ByKind[githubd.KindPublicKey]; n != 2 {
			t.Errorf("%d keys within seven minutes", n)
		}
	})
}

func TestARotatedKeyIsFetchedOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{Settings: githubd.Settings{Latency: githubd.Duration(80 * time.Millisecond)}})
		_, err := l.put(t, "K", "old")
		l.must(t, err)
		l.must(t, l.RotateKey("acme/payments-api", secret.Actions))
		l.ResetCounts()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				if _, err := l.put(t, fmt.Sprintf("K%d", i), fmt.Sprintf("value %d", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i := range 50 {
			l.holds(t, fmt.Sprintf("K%d", i), fmt.Sprintf("value %d", i))
		}
		counts := l.Counts()
		if counts.ByKind[githubd.KindPublicKey] != 1 || counts.ByKind[githubd.KindPut] != 100 {
			t.Errorf("%d keys and %d puts for 50 values sealed to an old key", counts.ByKind[githubd.KindPublicKey], counts.ByKind[githubd.KindPut])
		}
	})
}

func TestWhatIsRefusedForGoodIsSentOnce(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		do   func(*testing.T, lab) error
		puts int
		code fault.Code
	}{
		{"too large", func(t *testing.T, l lab) error { _, err := l.put(t, "K", strings.Repeat("x", 48*1024+1)); return err }, 0, fault.ValueTooLarge},
		{"no such repository", func(t *testing.T, l lab) error {
			c := payments
			c.Name = "nothing"
			_, err := l.client.Put(t.Context(), c, putOf("K", "v"))
			return err
		}, 0, fault.TargetNotFound},
		{"no such environment", func(t *testing.T, l lab) error {
			_, err := l.client.List(t.Context(), payments, secret.EnvironmentScope("nowhere"))
			return err
		}, 0, fault.TargetNotFound},
		{"an environment that climbs", func(t *testing.T, l lab) error {
			_, err := l.client.List(t.Context(), payments, secret.EnvironmentScope(".."))
			return err
		}, 0, fault.TargetNotFound},
		{"an owner that climbs", func(t *testing.T, l lab) error {
			_, err := l.client.Repository(t.Context(), "acme", "..")
			return err
		}, 0, fault.TargetNotFound},
		{"the wrong container", func(t *testing.T, l lab) error {
			_, err := l.client.List(t.Context(), payments, secret.OrgActions)
			return err
		}, 0, fault.ScopeInvalid},
		{"full", func(t *testing.T, l lab) error {
			for i := range 100 {
				l.must(t, l.Edit(githubd.Target{Container: "acme/payments-api", Scope: secret.Actions, Name: fmt.Sprintf("K%d", i)}, "v"))
			}
			_, err := l.put(t, "ONE_MORE", "v")
			return err
		}, 1, fault.CapacityExceeded},
		{"a name that GitHub refuses", func(t *testing.T, l lab) error { _, err := l.put(t, "GITHUB_X", "v"); return err }, 1, fault.TargetRejected},
		{"a foreign repository", func(t *testing.T, l lab) error {
			_, err := l.client.Put(t.Context(), acme, syncer.Put{
				Scope: secret.OrgActions, Name: "K", Value: secret.NewValue("v"),
				Access: &project.Access{Visibility: project.VisibleToSelected, Repositories: []int64{5}},
			})
			return err
		}, 1, fault.TargetRejected},
		{"no permission", func(t *testing.T, l lab) error {
			l.fail(t, githubd.Fault{Method: "PUT", Effect: githubd.EffectStatus, Status: 403})
			_, err := l.put(t, "K", "v")
			return err
		}, 1, fault.PermissionMissing},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := open(t, githubd.Config{})
			wantCode(t, c.do(t, l), c.code)
			if n := l.Counts().ByKind[githubd.KindPut]; n != c.puts {
				t.Errorf("%d puts were sent, want %d", n, c.puts)
			}
		})
	}
}

func TestAMissingPermissionIsNamed(t *testing.T) {
	t.Parallel()
	l := open(t, githubd.Config{}, func(c *ghapi.Config) { c.Credentials.Token = secret.NewValue("ghp_reader") })
	_, err := l.put(t, "K", "v")
	wantCode(t, err, fault.PermissionMissing)
	if !strings.Contains(fault.Detail(err), "secrets=write") {
		t.Errorf("the detail names no permission: %s", fault.Detail(err))
	}
}

func TestIDsAreFound(t *testing.T) {
	t.Parallel()
	l := open(t, githubd.Config{})
	if got, err := l.client.Repository(t.Context(), "ACME", "Payments-API"); err != nil || got != payments {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := l.client.Organisation(t.Context(), "acme"); err != nil || got != acme {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := l.client.RepositoryIDs(t.Context(), "acme", []string{"web", "payments-api"}); err != nil || !slices.Equal(got, []int64{1002, 1001}) {
		t.Errorf("got %v, %v", got, err)
	}
	_, err := l.client.Organisation(t.Context(), "nobody")
	wantCode(t, err, fault.TargetNotFound)
	_, err = l.client.RepositoryIDs(t.Context(), "acme", []string{"web", "nothing"})
	wantCode(t, err, fault.TargetNotFound)
}

func TestAPreparedScopeHasItsKey(t *testing.T) {
	t.Parallel()
	l := open(t, githubd.Config{})
	l.must(t, l.client.Prepare(t.Context(), payments, secret.Actions))
	if n := l.Counts().ByKind[githubd.KindPublicKey]; n != 1 {
		t.Errorf("%d keys were asked for, want 1", n)
	}
	_, err := l.put(t, "K", "v")
	l.must(t, err)
	if n := l.Counts().ByKind[githubd.KindPublicKey]; n != 1 {
		t.Errorf("%d keys were asked for after a put, want no other", n)
	}
	wantCode(t, l.client.Prepare(t.Context(), payments, "environment:none"), fault.TargetNotFound)
}

func TestTheQuotaIsThatOfTheLastAnswer(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{Settings: githubd.Settings{Limits: githubd.DocumentedLimits()}})
		asked, err := l.client.Quota(t.Context(), payments)
		l.must(t, err)
		if asked.Limit != 5000 || asked.Remaining < 4999 || l.Counts().ByKind[githubd.KindRateLimit] != 1 {
			t.Errorf("asked: %+v", asked)
		}
		for range 7 {
			_, err := l.client.Repository(t.Context(), "acme", "web")
			l.must(t, err)
			_, err = l.put(t, "K", "v")
			l.must(t, err)
		}
		told, err := l.client.Quota(t.Context(), payments)
		l.must(t, err)
		// Seven writes, a key, and one read that was answered by a 200.
		if told.Remaining != 5000-9 || told.ResetAt.Before(time.Now()) || l.Counts().ByKind[githubd.KindRateLimit] != 1 {
			t.Errorf("told: %+v after %d questions", told, l.Counts().ByKind[githubd.KindRateLimit])
		}
		time.Sleep(time.Hour + time.Second) // what was told is over
		again, err := l.client.Quota(t.Context(), payments)
		l.must(t, err)
		if again.Remaining < 4999 {
			t.Errorf("in the next hour: %+v", again)
		}
	})
}

func TestAnswersThatOvertakeEachOtherDoNotRaiseTheQuota(t *testing.T) {
	t.Parallel()
	remaining := []string{"95", "90", "94"}
	client := newClient(t, ghapi.Config{
		BaseURL: "https://github.test", Mode: pace.Off, Credentials: ghapi.Credentials{Token: secret.NewValue("t")},
		Transport: carrier(func(*http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.Header().Set("X-RateLimit-Limit", "100")
			w.Header().Set("X-RateLimit-Remaining", remaining[0])
			w.Header().Set("X-RateLimit-Reset", fmt.Sprint(time.Now().Add(time.Hour).Truncate(time.Hour).Add(time.Hour).Unix()))
			remaining = remaining[1:]
			_, _ = w.WriteString(`{"id": 1}`)
			return w.Result(), nil
		}),
	})
	for range 3 {
		if _, err := client.Organisation(t.Context(), "acme"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := client.Quota(t.Context(), acme); err != nil || got.Limit != 100 || got.Remaining != 90 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestNoQuotaIsZero(t *testing.T) {
	t.Parallel()
	l := open(t, githubd.Config{})
	for range 2 {
		got, err := l.client.Quota(t.Context(), payments)
		if err != nil || got.Limit != 0 {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if asked := l.Counts().ByKind[githubd.KindRateLimit]; asked != 1 {
		t.Errorf("asked %d times, want 1", asked)
	}
}

func TestAnAnswerWithoutAQuotaSaysThatThereIsNone(t *testing.T) {
	t.Parallel()
	l := open(t, githubd.Config{})
	_, err := l.client.List(t.Context(), payments, secret.Actions)
	l.must(t, err)
	got, err := l.client.Quota(t.Context(), payments)
	if asked := l.Counts().ByKind[githubd.KindRateLimit]; err != nil || got.Limit != 0 || asked != 0 {
		t.Errorf("got %+v, %v after %d questions", got, err, asked)
	}
}

func TestTheMeterCountsWhatGitHubCounts(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{Settings: githubd.Settings{Limits: githubd.DocumentedLimits()}})
		l.fail(t, githubd.Fault{Method: "PUT", Times: 2, Effect: githubd.EffectStatus, Status: 502})
		meter := new(pace.Meter)
		ctx := pace.WithMeter(t.Context(), meter)
		for range 3 {
			_, err := l.client.List(ctx, payments, secret.Actions)
			l.must(t, err)
		}
		_, err := l.client.Put(ctx, payments, putOf("K", "v"))
		l.must(t, err)
		_, err = l.client.Quota(context.WithoutCancel(ctx), payments)
		l.must(t, err)
		counts := l.Counts()
		if got, want := meter.Usage(), (pace.Usage{Requests: counts.Requests, Charged: counts.Charged, Points: counts.Points}); got != want {
			t.Errorf("metered %+v, GitHub counted %+v", got, want)
		}
	})
}

func TestAddressesThatAreAccepted(t *testing.T) {
	t.Parallel()
	for base, ok := range map[string]bool{
		"": true, "https://github.example.com": true, "https://api.octo.ghe.com/": true, "http://127.0.0.1:8080": true,
		"http://localhost:1": true, "http://[::1]:1": true, "https://github.example.com/api/v3": true,
		"http://github.example.com": false, "http://127.0.0.1.example.com": false, "ftp://github.example.com": false,
		"github.example.com": false, "https://u:hunter2@github.example.com": false, "https://github.example.com?x=1": false, ":": false,
	} {
		_, err := ghapi.New(ghapi.Config{BaseURL: base, Credentials: ghapi.Credentials{Token: secret.NewValue("t")}})
		if (err == nil) != ok || err != nil && !errors.Is(err, fault.ConfigInvalid) {
			t.Errorf("%q: %v", base, err)
		}
		if err != nil {
			silent(t, err, "hunter2")
		}
	}
}

// changing lists secrets while somebody removes the first one between one page
// and the next, so often.
type changing struct {
	removals int
	names    []string
	asked    int
}

func (c *changing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.asked++
	page, _ := strconv.Atoi(r.URL.Query().Get("page"))
	from := min((page-1)*plan.PageSize, len(c.names))
	secrets := []map[string]string{}
	for _, name := range c.names[from:min(from+plan.PageSize, len(c.names))] {
		secrets = append(secrets, map[string]string{"name": name, "updated_at": "2026-01-01T00:00:00Z"})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"total_count": len(c.names), "secrets": secrets})
	if page == 1 && c.removals > 0 {
		c.removals--
		c.names = c.names[1:]
	}
}

func TestASecretThatMovesToAnEarlierPageIsNotMissed(t *testing.T) {
	t.Parallel()
	for removals, asked := range map[int]int{0: 2, 1: 4, 2: 6, 3: 6} {
		hub := &changing{removals: removals}
		for i := range 150 {
			hub.names = append(hub.names, fmt.Sprintf("K%03d", i))
		}
		listing, err := overLoopback(t, hub).List(t.Context(), payments, secret.Actions)
		if hub.asked != asked {
			t.Errorf("%d removals: %d pages were asked for", removals, hub.asked)
		}
		if removals == 3 {
			wantCode(t, err, fault.GitHubUnavailable)
			continue
		}
		if err != nil || len(listing.Targets) != 150-removals {
			t.Errorf("%d removals: %d secrets, %v", removals, len(listing.Targets), err)
		}
	}
}

func TestAListTellsWhenItBeganAndEnded(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{Settings: githubd.Settings{Latency: githubd.Duration(10 * time.Second)}})
		for i := range 150 {
			l.must(t, l.Edit(githubd.Target{Container: "acme", Scope: secret.OrgActions, Name: fmt.Sprintf("K%03d", i)}, "v"))
		}
		listing, err := l.client.List(t.Context(), acme, secret.OrgActions)
		l.must(t, err)
		if took := listing.Ended.Sub(listing.At); took != 10*time.Second {
			t.Errorf("from %s to %s", listing.At, listing.Ended)
		}
	})
}

// What an error says of whether anything was sent is what the syncer keeps, or
// forgets, of a write.
func TestWhatWasNotSentIsMarked(t *testing.T) {
	t.Parallel()
	status := func(method, path string, status int) githubd.Fault {
		return githubd.Fault{Method: method, Path: path, Effect: githubd.EffectStatus, Status: status}
	}
	limited := status("PUT", "", 429)
	limited.RateLimit, limited.RetryAfter = true, 60
	once := limited
	once.Times = 1
	reset := githubd.Fault{Method: "PUT", Effect: githubd.EffectReset, After: true, Times: 1}
	within := func(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, d) }
	}
	gone := func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx, cancel
	}
	cases := []struct {
		name   string
		app    bool
		fault  []githubd.Fault
		ctx    func(context.Context) (context.Context, context.CancelFunc)
		guard  error
		code   fault.Code
		unsent bool
	}{
		{name: "no key", fault: []githubd.Fault{status("GET", "public-key", 500)}, code: fault.GitHubUnavailable, unsent: true},
		{name: "no right to the key", fault: []githubd.Fault{status("GET", "public-key", 403)}, code: fault.PermissionMissing, unsent: true},
		{name: "no installation", app: true, fault: []githubd.Fault{status("GET", "installation$", 404)}, code: fault.TargetNotFound, unsent: true},
		{name: "no token", app: true, fault: []githubd.Fault{status("POST", "access_tokens", 502)}, code: fault.GitHubUnavailable, unsent: true},
		{name: "nobody waits", ctx: gone, code: fault.RequestCanceled, unsent: true},
		{name: "the guard", guard: fault.New(fault.LeaseLost, "lost"), code: fault.LeaseLost, unsent: true},
		{name: "the guard's deadline", guard: context.DeadlineExceeded, code: fault.RequestTimeout, unsent: true},
		{name: "refused once, and then no time", fault: []githubd.Fault{once}, ctx: within(30 * time.Second), code: fault.RateLimitExhausted, unsent: true},
		{name: "refused for ever", fault: []githubd.Fault{limited}, code: fault.RateLimitExhausted},
		{name: "refused for good", fault: []githubd.Fault{status("PUT", "", 403)}, code: fault.PermissionMissing},
		{name: "no answer", fault: []githubd.Fault{status("PUT", "", 502)}, code: fault.GitHubUnavailable},
		{name: "no answer, and then refused and no time", fault: []githubd.Fault{reset, limited}, ctx: within(30 * time.Second), code: fault.GitHubUnavailable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				config, change := githubd.Config{}, func(*ghapi.Config) {}
				if c.app {
					config.World, change = withApp(world()), asApp
				}
				l := open(t, config, change)
				l.fail(t, c.fault...)
				ctx := pace.WithGuard(t.Context(), func() (time.Duration, error) { return time.Hour, c.guard })
				if c.ctx != nil {
					limited, cancel := c.ctx(ctx)
					defer cancel()
					ctx = limited
				}
				_, err := l.client.Put(ctx, payments, putOf("K", "v"))
				if wantCode(t, err, c.code); syncer.Unsent(err) != c.unsent {
					t.Errorf("marked as not sent: %v", syncer.Unsent(err))
				}
				if _, err = l.client.Delete(ctx, payments, secret.Actions, "K"); c.guard != nil && !syncer.Unsent(err) {
					t.Errorf("delete: %v is not marked as not sent", err)
				}
			})
		})
	}
}

// That one of an owner's repositories is not the App's says nothing about the
// others, which may be asked for at the same time.
func TestARepositoryThatIsNotTheAppsDoesNotFailAnother(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{World: withApp(world()), Settings: githubd.Settings{Latency: githubd.Duration(time.Second)}}, asApp)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := l.client.List(t.Context(), project.Container{Kind: project.Repository, Owner: "acme", Name: "unknown", ID: 9}, secret.Actions)
			wantCode(t, err, fault.TargetNotFound)
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := l.client.List(t.Context(), payments, secret.Actions); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	})
}

// A token that cannot be renewed keeps a write from being sent, though its key
// is there.
func TestAWriteWithoutATokenIsNotSent(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{World: withApp(world())}, asApp)
		time.Sleep(time.Second)
		_, err := l.put(t, "K", "v")
		l.must(t, err)
		time.Sleep(54 * time.Minute)
		_, err = l.put(t, "K", "v") // fetches the key anew
		l.must(t, err)
		l.fail(t, githubd.Fault{Method: "POST", Path: "access_tokens", Effect: githubd.EffectStatus, Status: 502})
		l.ResetCounts()
		time.Sleep(2 * time.Minute)
		_, err = l.put(t, "K", "w")
		if wantCode(t, err, fault.GitHubUnavailable); !syncer.Unsent(err) || l.Counts().ByKind[githubd.KindPut] > 0 {
			t.Errorf("%+v: marked as not sent: %v", l.Counts().ByKind, syncer.Unsent(err))
		}
	})
}
