package githubd_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-github/v66/github"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
)

const (
	listPath = "/repos/acme/payments-api/actions/secrets"
	dur1s    = githubd.Duration(time.Second)
	dur80ms  = githubd.Duration(80 * time.Millisecond)
)

// limited starts a server with limits in a bubble.
func limited(t *testing.T, l githubd.Limits) *githubd.Server {
	return newServer(t, githubd.Config{Settings: githubd.Settings{Limits: l}})
}

// list sends n reads and returns how many were admitted before the first refusal.
func list(t *testing.T, s *githubd.Server, n int) (admitted int, refusal *http.Response) {
	t.Helper()
	for i := range n {
		if answer := send(t, s, aliceToken, "GET", listPath, ""); answer.StatusCode != 200 {
			return i, answer
		}
	}
	return n, nil
}

// remove sends n writes, of what is not there, and returns how many were
// admitted before the first refusal.
func remove(t *testing.T, s *githubd.Server, n int) (admitted int, refusal *http.Response) {
	t.Helper()
	for i := range n {
		if answer := send(t, s, aliceToken, "DELETE", listPath+"/NOTHING", ""); answer.StatusCode != 404 {
			return i, answer
		}
	}
	return n, nil
}

func wantRefusal(t *testing.T, answer *http.Response, status int, retryAfter string) {
	t.Helper()
	if answer == nil || answer.StatusCode != status || answer.Header.Get("Retry-After") != retryAfter {
		t.Fatalf("refused with %v; want status %d and Retry-After %q", answer, status, retryAfter)
	}
	err := github.CheckResponse(answer)
	var limit *github.AbuseRateLimitError
	if status == http.StatusForbidden && !errors.As(err, &limit) {
		t.Fatalf("the official client takes the refusal for %T", err)
	}
}

func TestPrimaryLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, githubd.Limits{Primary: 10})
		begin := time.Now()
		first := send(t, s, aliceToken, "GET", listPath, "")
		etag := first.Header.Get("ETag")
		for name, want := range map[string]string{"Limit": "10", "Remaining": "9", "Used": "1", "Resource": "core", "Reset": strconv.FormatInt(begin.Add(time.Hour).Unix(), 10)} {
			if got := first.Header.Get("X-RateLimit-" + name); got != want {
				t.Errorf("X-RateLimit-%s: %q; want %q", name, got, want)
			}
		}
		for range 50 { // neither costs anything
			if answer := send(t, s, aliceToken, "GET", listPath, "", "If-None-Match", etag); answer.StatusCode != 304 || answer.Header.Get("X-RateLimit-Remaining") != "9" {
				t.Fatalf("a 304 was answered %d with %s left", answer.StatusCode, answer.Header.Get("X-RateLimit-Remaining"))
			}
			if answer := send(t, s, aliceToken, "GET", "/rate_limit", ""); answer.StatusCode != 200 {
				t.Fatal(answer.Status)
			}
		}
		admitted, refused := list(t, s, 20)
		if admitted != 9 {
			t.Fatalf("%d more were admitted", admitted)
		}
		var limit *github.RateLimitError
		if !errors.As(github.CheckResponse(refused), &limit) || refused.StatusCode != 403 || refused.Header.Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("refused with %v", refused)
		}
		time.Sleep(time.Until(begin.Add(time.Hour - time.Second)))
		if admitted, _ := list(t, s, 1); admitted != 0 {
			t.Error("admitted before the reset")
		}
		time.Sleep(time.Second)
		if admitted, _ := list(t, s, 20); admitted != 10 {
			t.Errorf("%d were admitted after the reset", admitted)
		}
		if got := s.Counts(); got.Charged != 20 || got.ByStatus[304] != 50 {
			t.Errorf("counted %+v", got)
		}
	})
}

func TestThePenaltyIsForSecondaryLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, githubd.Limits{Primary: 1, Penalty: githubd.Duration(3 * time.Hour)})
		list(t, s, 2)
		time.Sleep(time.Hour)
		if admitted, _ := list(t, s, 1); admitted != 1 {
			t.Error("refused after the reset")
		}
	})
}

func TestNoPrimaryLimit(t *testing.T) {
	t.Parallel()
	s := newServer(t, githubd.Config{})
	answer := send(t, s, aliceToken, "GET", listPath, "")
	if got := answer.Header.Get("X-RateLimit-Limit"); got != "" {
		t.Errorf("a server without limits tells one of %s", got)
	}
	if answer := send(t, s, aliceToken, "GET", "/rate_limit", ""); answer.StatusCode != 404 {
		t.Errorf("/rate_limit: %d", answer.StatusCode)
	}
}

func TestPointsInSlidingWindows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, githubd.Limits{Points: 100})
		remove(t, s, 10) // 50 points
		time.Sleep(30 * time.Second)
		if admitted, refused := list(t, s, 60); admitted != 50 {
			t.Fatalf("%d reads were admitted", admitted)
		} else {
			wantRefusal(t, refused, 403, "30")
		}
		time.Sleep(29 * time.Second)
		if admitted, _ := list(t, s, 1); admitted != 0 {
			t.Error("the window ended early")
		}
		time.Sleep(time.Second)
		if admitted, refused := remove(t, s, 20); admitted != 10 {
			t.Errorf("%d writes were admitted when the first ones left the window", admitted)
		} else {
			wantRefusal(t, refused, 403, "30")
		}
	})
}

func TestPointsInFixedWindows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, githubd.Limits{Points: 100, FixedWindows: true})
		list(t, s, 1)
		time.Sleep(59 * time.Second)
		if admitted, refused := list(t, s, 100); admitted != 99 {
			t.Fatalf("%d reads were admitted", admitted)
		} else {
			wantRefusal(t, refused, 403, "1")
		}
		time.Sleep(time.Second)
		if admitted, _ := list(t, s, 101); admitted != 100 {
			t.Errorf("%d reads were admitted in the next window", admitted)
		}
	})
}

func TestPointsPerEndpoint(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, githubd.Limits{Points: 10, PointsPerEndpoint: true})
		if admitted, _ := list(t, s, 20); admitted != 10 {
			t.Errorf("%d reads were admitted", admitted)
		}
		if admitted, _ := remove(t, s, 20); admitted != 2 {
			t.Errorf("%d writes were admitted at another endpoint", admitted)
		}
	})
}

func TestLimitsAreForEachIdentity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		world := acme()
		world.Tokens = append(world.Tokens, githubd.Token{Token: "second", Login: "Alice"}, githubd.Token{Token: "bob", Login: "bob"})
		s := newServer(t, githubd.Config{World: world, Settings: githubd.Settings{Limits: githubd.Limits{Points: 10}}})
		list(t, s, 10)
		if answer := send(t, s, "second", "GET", listPath, ""); answer.StatusCode != 403 {
			t.Errorf("the same person's other token: %d", answer.StatusCode)
		}
		if answer := send(t, s, "bob", "GET", listPath, ""); answer.StatusCode != 200 {
			t.Errorf("another person: %d", answer.StatusCode)
		}
	})
}

func TestContentLimits(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]githubd.Limits{
		"a minute": {ContentPerMinute: 3, Status: 429},
		"an hour":  {ContentPerHour: 3, Status: 429},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := limited(t, limits)
				for range 3 {
					if answer := send(t, s, aliceToken, "PUT", listPath+"/A", putBody(t, s, listPath, "v", nil)); answer.StatusCode > 204 {
						t.Fatal(answer.Status)
					}
				}
				want := map[string]string{"a minute": "60", "an hour": "3600"}[name]
				wantRefusal(t, send(t, s, aliceToken, "PUT", listPath+"/A", "{}"), 429, want)
				if admitted, _ := remove(t, s, 5); admitted != 5 {
					t.Error("a DELETE counts as content")
				}
			})
		})
	}
}

func TestUnannouncedLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, githubd.Limits{
			Unannounced: 5, UnannouncedWindow: githubd.Duration(10 * time.Second),
			NoRetryAfter: true, Penalty: githubd.Duration(2 * time.Minute),
		})
		if admitted, refused := remove(t, s, 10); admitted != 5 {
			t.Fatalf("%d writes were admitted", admitted)
		} else {
			wantRefusal(t, refused, 403, "")
		}
		time.Sleep(119 * time.Second)
		if admitted, _ := list(t, s, 1); admitted != 0 {
			t.Error("a read was admitted during the penalty")
		}
		time.Sleep(time.Second)
		if admitted, _ := remove(t, s, 10); admitted != 5 {
			t.Errorf("%d writes were admitted after the penalty", admitted)
		}
		if got := s.Counts().Refused; got["unannounced"] != 2 || got["penalty"] != 1 {
			t.Errorf("refused %v", got)
		}
	})
}

func TestConcurrentLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, githubd.Config{Settings: githubd.Settings{Latency: dur1s, Limits: githubd.Limits{Concurrent: 100}}})
		codes := make(chan int, 150)
		var all sync.WaitGroup
		for range cap(codes) {
			all.Go(func() { codes <- send(t, s, aliceToken, "GET", listPath, "").StatusCode })
		}
		all.Wait()
		close(codes)
		got := map[int]int{}
		for code := range codes {
			got[code]++
		}
		if got[200] != 100 || got[403] != 50 {
			t.Errorf("answered %v", got)
		}
		if peak := s.Counts().PeakInFlight; peak != 100 {
			t.Errorf("peak %d", peak)
		}
		if admitted, _ := list(t, s, 1); admitted != 1 {
			t.Error("nothing was released")
		}
	})
}

func TestLatencyIsExact(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, githubd.Config{Settings: githubd.Settings{Latency: dur80ms}})
		begin := time.Now()
		var all sync.WaitGroup
		for range 300 {
			all.Go(func() { send(t, s, aliceToken, "GET", listPath, "") })
		}
		all.Wait()
		if took := time.Since(begin); took != 80*time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}

func TestWhoGoesAwayChangesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, githubd.Config{})
		f := actions(s, inProcess(t, s, aliceToken))
		key, _, err := f.key(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.SetSettings(githubd.Settings{Latency: dur1s, Limits: githubd.Limits{Concurrent: 1}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := f.put(ctx, seal(t, key, "A", "v")); err == nil {
			t.Error("there was an answer")
		}
		if got := s.Counts().Writes(); got != 0 {
			t.Errorf("%d writes took effect", got)
		}
		if admitted, _ := list(t, s, 1); admitted != 1 {
			t.Error("its place in flight was not released")
		}
	})
}

func TestSpend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := limited(t, githubd.Limits{Primary: 100, Points: 50})
		s.Spend("user:alice", 95, 0)
		if answer := send(t, s, aliceToken, "GET", "/rate_limit", ""); answer.Header.Get("X-RateLimit-Remaining") != "5" {
			t.Errorf("%s left", answer.Header.Get("X-RateLimit-Remaining"))
		}
		s.Spend("user:alice", 0, 48)
		if admitted, refused := list(t, s, 5); admitted != 1 {
			t.Errorf("%d were admitted", admitted)
		} else {
			wantRefusal(t, refused, 403, "60")
		}
	})
}
