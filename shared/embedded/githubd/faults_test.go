package githubd_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-github/v66/github"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
)

var writtenTarget = githubd.Target{Container: container, Scope: "actions", Name: "A"}

// struck adds a fault, writes a secret through it and reports what came of it.
func struck(t *testing.T, s *githubd.Server, f family, with githubd.Fault) (answer *github.Response, tookEffect bool, err error) {
	t.Helper()
	key, _, err := f.key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sealed := seal(t, key, "A", "v")
	if err := s.AddFault(with); err != nil {
		t.Fatal(err)
	}
	answer, err = f.put(t.Context(), sealed)
	_, tookEffect = s.Value(writtenTarget)
	return answer, tookEffect, err
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault githubd.Fault
		check func(*testing.T, *github.Response, error)
	}{
		{"500", githubd.Fault{Effect: githubd.EffectStatus}, func(t *testing.T, a *github.Response, err error) { wantStatus(t, a, err, 500) }},
		{"502", githubd.Fault{Effect: githubd.EffectStatus, Status: 502}, func(t *testing.T, a *github.Response, err error) { wantStatus(t, a, err, 502) }},
		{"403 of a limit", githubd.Fault{Effect: githubd.EffectStatus, Status: 403, RateLimit: true, RetryAfter: 7}, func(t *testing.T, a *github.Response, err error) {
			var limit *github.AbuseRateLimitError
			if !errors.As(err, &limit) || limit.GetRetryAfter() != 7*time.Second {
				t.Errorf("got %v", err)
			}
		}},
		{"429 without Retry-After", githubd.Fault{Effect: githubd.EffectStatus, Status: 429, RateLimit: true}, func(t *testing.T, a *github.Response, err error) {
			wantStatus(t, a, err, 429)
			if got := a.Header.Get("Retry-After"); got != "" || !strings.Contains(err.Error(), "secondary rate limit") {
				t.Errorf("Retry-After %q, %v", got, err)
			}
		}},
		{"reset", githubd.Fault{Effect: githubd.EffectReset}, func(t *testing.T, _ *github.Response, err error) {
			if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("got %v", err)
			}
		}},
		{"echo", githubd.Fault{Effect: githubd.EffectEcho, Status: 422}, func(t *testing.T, a *github.Response, err error) {
			wantStatus(t, a, err, 422)
			if !strings.Contains(err.Error(), "encrypted_value") || !strings.Contains(err.Error(), aliceToken) {
				t.Errorf("nothing is echoed in %v", err)
			}
		}},
	} {
		for _, after := range []bool{false, true} {
			t.Run(c.name+map[bool]string{false: " before", true: " after"}[after], func(t *testing.T) {
				t.Parallel()
				s, client := start(t, githubd.Config{})
				with := c.fault
				with.Method, with.Path, with.After, with.Times = "PUT", `/actions/secrets/A$`, after, 1
				answer, tookEffect, err := struck(t, s, actions(s, client), with)
				c.check(t, answer, err)
				if tookEffect != after {
					t.Errorf("took effect: %v", tookEffect)
				}
				if got := s.Counts().Writes(); (got == 1) != after {
					t.Errorf("%d writes counted", got)
				}
				if answer := send(t, s, aliceToken, "PUT", listPath+"/A", putBody(t, s, listPath, "v", nil)); answer.StatusCode > 204 {
					t.Errorf("the next one was struck too: %s", answer.Status)
				}
			})
		}
	}
}

func TestMalformedBodies(t *testing.T) {
	t.Parallel()
	s, client := start(t, githubd.Config{})
	if err := s.AddFault(githubd.Fault{Path: "/secrets$", Effect: githubd.EffectMalformed}); err != nil {
		t.Fatal(err)
	}
	_, answer, err := actions(s, client).list(t.Context(), nil)
	if answer == nil || answer.StatusCode != 200 || err == nil {
		t.Errorf("got %v, %v", answer, err)
	}
}

func TestHangsAndDelays(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t, githubd.Config{})
			f := actions(s, inProcess(t, s, aliceToken))

			begin := time.Now()
			_, tookEffect, err := struck(t, s, f, githubd.Fault{Method: "PUT", Effect: githubd.EffectDelay, Delay: dur1s, After: after})
			if err != nil || !tookEffect || time.Since(begin) != time.Second {
				t.Errorf("a delay: %v, took effect %v, %s", err, tookEffect, time.Since(begin))
			}
			s.ClearFaults()
			if err := s.Remove(writtenTarget); err != nil {
				t.Fatal(err)
			}

			key, _, err := f.key(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.AddFault(githubd.Fault{Method: "PUT", Effect: githubd.EffectHang, After: after}); err != nil {
				t.Fatal(err)
			}
			begin = time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err = f.put(ctx, seal(t, key, "A", "v"))
			_, tookEffect = s.Value(writtenTarget)
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute || tookEffect != after {
				t.Errorf("a hang: %v after %s, took effect %v", err, time.Since(begin), tookEffect)
			}
		})
	}
}

func TestWhoGoesAwayDuringADelayChangesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, githubd.Config{})
		f := actions(s, inProcess(t, s, aliceToken))
		key, _, err := f.key(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AddFault(githubd.Fault{Method: "PUT", Effect: githubd.EffectDelay, Delay: 60 * dur1s}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = f.put(ctx, seal(t, key, "A", "v"))
		if _, there := s.Value(writtenTarget); there || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, took effect %v", err, there)
		}
	})
}

func TestResetsWithoutANetwork(t *testing.T) {
	t.Parallel()
	s := newServer(t, githubd.Config{})
	if err := s.AddFault(githubd.Fault{Effect: githubd.EffectReset}); err != nil {
		t.Fatal(err)
	}
	_, _, err := actions(s, inProcess(t, s, aliceToken)).list(t.Context(), nil)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
}

func TestWhichRequestsAreStruck(t *testing.T) {
	t.Parallel()
	statuses := func(s *githubd.Server, n int) (out string) {
		for range n {
			if send(t, s, aliceToken, "GET", listPath, "").StatusCode == 200 {
				out += "."
			} else {
				out += "x"
			}
		}
		return out
	}
	for _, c := range []struct {
		name  string
		fault githubd.Fault
		want  string
	}{
		{"all", githubd.Fault{}, "xxxxxxxx"},
		{"another method", githubd.Fault{Method: "PUT"}, "........"},
		{"another path", githubd.Fault{Path: "/codespaces/"}, "........"},
		{"the third", githubd.Fault{From: 3, Times: 1}, "..x....."},
		{"from the third", githubd.Fault{From: 3}, "..xxxxxx"},
		{"the first two", githubd.Fault{Times: 2}, "xx......"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, githubd.Config{})
			c.fault.Effect, c.fault.Name = githubd.EffectStatus, "it"
			if err := s.AddFault(c.fault); err != nil {
				t.Fatal(err)
			}
			if got := statuses(s, 8); got != c.want {
				t.Errorf("struck %s; want %s", got, c.want)
			}
			if got := strings.Count(c.want, "x"); s.Struck()["it"] != got || s.Counts().Faults["it"] != got {
				t.Errorf("struck %v, counted %v; want %d", s.Struck(), s.Counts().Faults, got)
			}
		})
	}
	t.Run("some", func(t *testing.T) {
		t.Parallel()
		run := func(seed uint64) string {
			s := newServer(t, githubd.Config{})
			if err := s.AddFault(githubd.Fault{Probability: 0.3, Seed: seed, Effect: githubd.EffectStatus}); err != nil {
				t.Fatal(err)
			}
			return statuses(s, 200)
		}
		first := run(1)
		if n := strings.Count(first, "x"); n < 40 || n > 80 {
			t.Errorf("%d of 200 were struck at 0.3", n)
		}
		if run(1) != first || run(2) == first {
			t.Error("the seed does not decide")
		}
	})
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	s := newServer(t, githubd.Config{})
	for name, f := range map[string]githubd.Fault{
		"no effect":   {},
		"effect":      {Effect: "explode"},
		"status":      {Effect: githubd.EffectStatus, Status: 42},
		"no delay":    {Effect: githubd.EffectDelay},
		"probability": {Effect: githubd.EffectReset, Probability: 2},
		"path":        {Effect: githubd.EffectReset, Path: "("},
	} {
		if err := s.AddFault(f); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHook(t *testing.T) {
	t.Parallel()
	s := newServer(t, githubd.Config{})
	var seen []string
	s.SetHook(func(stage githubd.Stage, r githubd.Request) {
		_, there := s.Value(writtenTarget)
		seen = append(seen, string(stage)+" "+r.Method+" "+r.Path+map[bool]string{true: " there"}[there])
	})
	body := putBody(t, s, listPath, "v", nil)
	seen = nil
	send(t, s, aliceToken, http.MethodPut, listPath+"/A", body)
	want := "arrived PUT " + listPath + "/A,done PUT " + listPath + "/A there"
	if got := strings.Join(seen, ","); got != want {
		t.Errorf("the hook saw %s; want %s", got, want)
	}
}
