package ghapi_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/ghapi"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

func TestFailuresAreRetriedWithTheWholeBody(t *testing.T) {
	t.Parallel()
	value := strings.Repeat("0123456789", 4800)
	for _, effect := range []githubd.Effect{githubd.EffectStatus, githubd.EffectReset, githubd.EffectHang} {
		for _, after := range []bool{false, true} {
			for times := 1; times <= 3; times++ {
				t.Run(fmt.Sprintf("%s after=%v times=%d", effect, after, times), func(t *testing.T) {
					t.Parallel()
					bubble(t, func(t *testing.T) {
						l := open(t, githubd.Config{})
						l.fail(t, githubd.Fault{Method: "PUT", Times: times, Effect: effect, After: after, Status: 502})
						start := time.Now()
						receipt, err := l.put(t, "K", value)
						took := time.Since(start)
						if times == 3 {
							wantCode(t, err, fault.GitHubUnavailable)
							if _, there := l.Value(githubd.Target{Container: "acme/payments-api", Scope: secret.Actions, Name: "K"}); there != after {
								t.Errorf("the secret is there: %v", there)
							}
						} else {
							l.must(t, err)
							l.holds(t, "K", value)
							if receipt.Created == after || !receipt.Retried {
								t.Errorf("receipt %+v", receipt)
							}
						}
						if n := l.Counts().ByKind[githubd.KindPut]; n != min(times+1, 3) {
							t.Errorf("%d attempts", n)
						}
						most := 15 * time.Second
						if effect == githubd.EffectHang {
							most += time.Duration(times) * 30 * time.Second
						}
						if took > most {
							t.Errorf("took %s", took)
						}
					})
				})
			}
		}
	}
}

func TestFailuresOfListsAndKeysAreRetriedToo(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{})
		l.fail(t, githubd.Fault{Method: "GET", Times: 2, Effect: githubd.EffectReset})
		_, err := l.put(t, "K", "v")
		l.must(t, err)
		l.fail(t, githubd.Fault{Method: "GET", Times: 2, Effect: githubd.EffectStatus, Status: 503, RetryAfter: 5})
		start := time.Now()
		_, err = l.client.List(t.Context(), payments, secret.Actions)
		l.must(t, err)
		if took := time.Since(start); took < 10*time.Second {
			t.Errorf("took %s, though GitHub asked twice for 5 seconds", took)
		}
	})
}

func TestAFailureIsNotWaitedForPastTheDeadline(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{})
		l.fail(t, githubd.Fault{Effect: githubd.EffectStatus, Status: 503, RetryAfter: 60})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		_, err := l.client.List(ctx, payments, secret.Actions)
		wantCode(t, err, fault.GitHubUnavailable)
		if took := time.Since(start); took > 0 {
			t.Errorf("waited %s in vain", took)
		}
	})
}

func TestTheCallersDeadlineEndsAHangingRead(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{})
		l.fail(t, githubd.Fault{Effect: githubd.EffectHang})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		_, err := l.client.List(ctx, payments, secret.Actions)
		if fault.KindOf(err) != fault.Deadline || time.Since(start) != 10*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

// storm sends 300 writes into refusals and returns the errors.
func storm(ctx context.Context, t *testing.T, l lab) []error {
	t.Helper()
	_, err := l.put(t, "FIRST", "v") // there is a key now
	l.must(t, err)
	l.ResetCounts()
	errs := make([]error, 300)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = l.client.Put(ctx, payments, putOf(fmt.Sprintf("K%d", i%99), "v"))
		})
	}
	wg.Wait()
	return errs
}

func TestAfterARefusalNoMoreThanTheRequestsInFlight(t *testing.T) {
	t.Parallel()
	for _, status := range []int{403, 429} {
		for _, retryAfter := range []int{0, 30} {
			t.Run(fmt.Sprintf("%d Retry-After %d", status, retryAfter), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(t *testing.T) {
					l := open(t, githubd.Config{Settings: githubd.Settings{Latency: githubd.Duration(80 * time.Millisecond)}})
					l.fail(t, githubd.Fault{Method: "PUT", From: 21, Times: 150, Effect: githubd.EffectStatus, Status: status, RateLimit: true, RetryAfter: retryAfter})
					for i, err := range storm(t.Context(), t, l) {
						if err != nil {
							t.Fatalf("write %d: %v", i, err)
						}
					}
					stop := time.Duration(max(retryAfter, 0)) * time.Second
					if retryAfter == 0 {
						stop = time.Minute
					}
					var refusedAt time.Time // the answer of the first refusal of an episode
					after := 0
					for _, r := range l.Requests() {
						answered := r.At.Add(time.Duration(r.Took))
						if r.Status == status && answered.Sub(refusedAt) > stop {
							refusedAt, after = answered, 0
						}
						if !refusedAt.IsZero() && r.At.After(refusedAt) && r.At.Before(refusedAt.Add(stop)) {
							t.Fatalf("a request started %s after the refusal", r.At.Sub(refusedAt))
						}
						if !refusedAt.IsZero() && answered.Sub(refusedAt) < stop {
							after++
						}
						if after > 90 {
							t.Fatalf("%d requests were still answered after a refusal", after)
						}
					}
				})
			})
		}
	}
}

func TestAStormThatDoesNotEndIsReportedWithATime(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{})
		l.fail(t, githubd.Fault{Effect: githubd.EffectStatus, Status: 429, RateLimit: true, RetryAfter: 45})
		_, err := l.put(t, "K", "v")
		wait, _ := fault.RetryAfter(err)
		if wantCode(t, err, fault.RateLimitExhausted); wait < 45*time.Second {
			t.Errorf("retry after %s", wait)
		}
		if n := l.Counts().Requests; n != 3 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestARefusalBeyondTheDeadlineIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{Settings: githubd.Settings{Latency: githubd.Duration(80 * time.Millisecond)}})
		l.fail(t, githubd.Fault{Method: "PUT", From: 21, Effect: githubd.EffectStatus, Status: 403, RateLimit: true})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		start := time.Now()
		for i, err := range storm(ctx, t, l) {
			if err == nil {
				continue
			}
			wait, _ := fault.RetryAfter(err)
			if !errors.Is(err, fault.Exhausted) || !errors.Is(err, fault.RateLimitExhausted) || wait < 59*time.Second {
				t.Fatalf("write %d: %v, retry after %s", i, err, wait)
			}
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestTheHourlyQuotaIsWaitedFor(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{Settings: githubd.Settings{Limits: githubd.Limits{Primary: 10}}})
		start := time.Now()
		for i := range 12 {
			_, err := l.put(t, fmt.Sprintf("K%d", i), "v")
			l.must(t, err)
		}
		if took := time.Since(start); took < time.Hour || took > time.Hour+10*time.Second {
			t.Errorf("took %s", took)
		}
		if n := l.Counts().Refused["primary"]; n != 1 {
			t.Errorf("%d refusals", n)
		}
	})
}

func TestThreeHundredWritesUnderGitHubsLimits(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		limits := githubd.DocumentedLimits()
		limits.FixedWindows = true
		l := open(t, githubd.Config{Settings: githubd.Settings{Latency: githubd.Duration(80 * time.Millisecond), Limits: limits}},
			func(c *ghapi.Config) { c.Mode = pace.Fast })
		start := time.Now()
		for _, err := range storm(t.Context(), t, l) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > 66*time.Second || len(l.Counts().Refused) > 0 {
			t.Errorf("took %s, refused %v", took, l.Counts().Refused)
		}
	})
}

func TestAnAppsTokenIsRenewedInTimeAndOnlyThen(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{World: withApp(world()), Settings: githubd.Settings{Latency: githubd.Duration(80 * time.Millisecond)}}, asApp)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if _, err := l.put(t, fmt.Sprintf("K%d", i), "v"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		tokens := func() int { return l.Counts().ByKind[githubd.KindToken] }
		if tokens() != 1 || l.Counts().ByKind[githubd.KindApp] != 1 {
			t.Fatalf("%d tokens and %d look-ups for twenty writes", tokens(), l.Counts().ByKind[githubd.KindApp])
		}
		for range 25 {
			time.Sleep(7 * time.Minute)
			_, err := l.client.List(t.Context(), payments, secret.Actions)
			l.must(t, err)
		}
		if n := tokens(); n != 4 {
			t.Errorf("%d tokens in three hours", n)
		}
		if n := l.Counts().ByStatus[401]; n != 0 {
			t.Errorf("%d requests with a token that had ended", n)
		}

		l.ExpireTokens() // somebody revoked them
		_, err := l.put(t, "K", "v")
		l.must(t, err)
		if n := tokens(); n != 5 || l.Counts().ByStatus[401] == 0 {
			t.Errorf("%d tokens, %d refused", n, l.Counts().ByStatus[401])
		}
		_, err = l.client.List(t.Context(), acme, secret.OrgActions)
		l.must(t, err)
		if n := tokens(); n != 5 {
			t.Errorf("the organisation, of the same installation, took another token")
		}
		_, err = l.client.List(t.Context(), acme, secret.OrgActions)
		l.must(t, err)
		if last := l.Requests()[len(l.Requests())-1]; last.Status != 304 {
			t.Errorf("the new token's ETag was not kept: %d", last.Status)
		}
	})
}

func TestAppsThatCannotWork(t *testing.T) {
	t.Parallel()
	l := open(t, githubd.Config{World: withApp(world())}, asApp)
	stranger := project.Container{Kind: project.Organisation, Owner: "stranger", ID: 5}
	_, err := l.client.List(t.Context(), stranger, secret.OrgActions)
	wantCode(t, err, fault.TargetNotFound)
	unknown := open(t, githubd.Config{}, asApp) // GitHub does not know the App
	_, err = unknown.client.List(t.Context(), payments, secret.Actions)
	wantCode(t, err, fault.TargetNotFound)
	if !strings.Contains(fault.Detail(err), "installation") {
		t.Errorf("the detail does not speak of the installation: %s", fault.Detail(err))
	}
	for name, credentials := range map[string]ghapi.Credentials{
		"none":     {},
		"both":     {Token: secret.NewValue("t"), App: &ghapi.App{ID: 1, PrivateKey: privatePEM()}},
		"no key":   {App: &ghapi.App{ID: 1, PrivateKey: secret.NewValue("CANARY")}},
		"bad key":  {App: &ghapi.App{ID: 1, PrivateKey: secret.NewValue("-----BEGIN PRIVATE KEY-----\nQ0FOQVJZ\n-----END PRIVATE KEY-----\n")}},
		"bad id":   {App: &ghapi.App{PrivateKey: privatePEM()}},
		"no token": {Token: secret.NewValue("")},
	} {
		_, err := ghapi.New(ghapi.Config{Credentials: credentials})
		if !errors.Is(err, fault.ConfigInvalid) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		silent(t, err, "CANARY", "Q0FOQVJZ")
	}
}

func TestAnAppThatIsRefusedForGoodIsReported(t *testing.T) {
	t.Parallel()
	t.Run("its tokens", func(t *testing.T) {
		t.Parallel()
		l := open(t, githubd.Config{World: withApp(world())}, asApp)
		l.fail(t, githubd.Fault{Method: "GET", Path: "/secrets$", Effect: githubd.EffectStatus, Status: 401})
		_, err := l.client.List(t.Context(), payments, secret.Actions)
		wantCode(t, err, fault.CredentialsRejected)
		if n := l.Counts().ByKind[githubd.KindList]; n != 2 {
			t.Errorf("%d lists", n)
		}
	})
	t.Run("its key", func(t *testing.T) {
		t.Parallel()
		other, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(other)
		if err != nil {
			t.Fatal(err)
		}
		key := secret.NewValue(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
		l := open(t, githubd.Config{World: withApp(world())}, func(c *ghapi.Config) {
			c.Credentials = ghapi.Credentials{App: &ghapi.App{ID: appID, PrivateKey: key}}
		})
		_, err = l.client.List(t.Context(), payments, secret.Actions)
		wantCode(t, err, fault.CredentialsRejected)
	})
}

func TestARefusedTokenIsReportedOnce(t *testing.T) {
	t.Parallel()
	l := open(t, githubd.Config{}, func(c *ghapi.Config) { c.Credentials.Token = secret.NewValue("ghp_wrongCANARY") })
	_, err := l.put(t, "K", "v")
	wantCode(t, err, fault.CredentialsRejected)
	silent(t, err, "CANARY")
	if n := l.Counts().Requests; n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestRenamedRepositoriesAreFollowed(t *testing.T) {
	t.Parallel()
	server := newServer(t, githubd.Config{})
	client := overLoopback(t, server)
	if err := server.RenameRepository("acme/payments-api", "payments"); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Repository(t.Context(), "acme", "payments-api"); err != nil || got.Name != "payments" || got.ID != 1001 {
		t.Errorf("found %+v, %v", got, err)
	}
	if _, err := client.Put(t.Context(), payments, putOf("K", "v")); err != nil {
		t.Errorf("put: %v", err)
	}
	if got, ok := server.Value(githubd.Target{Container: "acme/payments", Scope: secret.Actions, Name: "K"}); !ok || got != "v" {
		t.Errorf("GitHub holds another value, or none (%v)", ok)
	}
}

func TestNothingFollowsARedirectToAnotherHost(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	t.Cleanup(elsewhere.Close)
	github := newServer(t, githubd.Config{})
	for _, status := range []int{301, 302, 303, 307, 308} {
		client := overLoopback(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/public-key") {
				github.ServeHTTP(w, r)
				return
			}
			http.Redirect(w, r, elsewhere.URL+"/CANARY", status)
		}))
		_, listErr := client.List(t.Context(), payments, secret.Actions)
		_, putErr := client.Put(t.Context(), payments, putOf("K", "v"))
		_, deleteErr := client.Delete(t.Context(), payments, secret.Actions, "K")
		for _, err := range []error{listErr, putErr, deleteErr} {
			wantCode(t, err, fault.TargetRejected)
			silent(t, err, "CANARY")
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests reached another host", n)
	}
}

func TestAPutIsNeverTurnedIntoAGet(t *testing.T) {
	t.Parallel()
	github := newServer(t, githubd.Config{})
	client := overLoopback(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			http.Redirect(w, r, "/repos/acme/web", http.StatusMovedPermanently) // which a GET would find
			return
		}
		github.ServeHTTP(w, r)
	}))
	_, err := client.Put(t.Context(), payments, putOf("K", "v"))
	wantCode(t, err, fault.TargetRejected)
}

func TestNothingOfWhatGitHubEchoesGetsOut(t *testing.T) {
	t.Parallel()
	const value = "CANARY-value-of-the-secret"
	for _, status := range []int{400, 401, 403, 404, 409, 410, 418, 422, 429, 500, 501, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				l := open(t, githubd.Config{})
				l.fail(t, githubd.Fault{Method: "PUT", Effect: githubd.EffectEcho, Status: status})
				_, err := l.put(t, "K", value)
				if err == nil {
					t.Fatal("no error")
				}
				silent(t, err, "CANARY", aliceToken, base64.StdEncoding.EncodeToString([]byte(aliceToken)), "encrypted_value", "not a permitted body")
			})
		})
	}
	t.Run("malformed", func(t *testing.T) {
		t.Parallel()
		l := open(t, githubd.Config{})
		l.fail(t, githubd.Fault{Method: "GET", Effect: githubd.EffectMalformed})
		_, err := l.client.List(t.Context(), payments, secret.Actions)
		wantCode(t, err, fault.GitHubUnavailable)
		silent(t, err, "CUT_O")
	})
}

func TestNothingOfABrokenAnswerGetsOut(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"no HTTP":            "CANARY CANARY CANARY\r\n\r\n",
		"a broken header":    "HTTP/1.1 200 OK\r\nCANARY\r\n\r\n",
		"a broken length":    "HTTP/1.1 200 OK\r\nContent-Length: CANARY\r\n\r\n",
		"cut short":          "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\": 1, \"CANARY",
		"the wrong type":     "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"id\": \"CANARY\"}",
		"a bad time":         "HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n{\"id\": 1, \"created_at\": \"CANARYCA\"}",
		"no id":              "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"a bad redirect":     "HTTP/1.1 301 Moved\r\nLocation: http://%zzCANARY\r\nContent-Length: 0\r\n\r\n",
		"no redirect":        "HTTP/1.1 304 CANARY\r\n\r\n",
		"permissions":        "HTTP/1.1 403 Forbidden\r\nX-Accepted-GitHub-Permissions: <CANARY>\r\nContent-Length: 0\r\n\r\n",
		"an endless header":  "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("CANARY", 1<<18) + "\r\n\r\n",
		"an oversize answer": "HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + strings.Repeat("CANARY ", 5000000/7+1),
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, ghapi.Config{
				BaseURL: rawServer(t, answer), Mode: pace.Off, Credentials: ghapi.Credentials{Token: secret.NewValue(aliceToken)},
			})
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond) // spares the retries
			defer cancel()
			_, err := client.Repository(ctx, "acme", "web")
			if err == nil {
				t.Fatal("no error")
			}
			silent(t, err, "CANARY", "zz", aliceToken)
		})
	}
}

// rawServer answers each connection with the same bytes.
func rawServer(t *testing.T, answer string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { _ = conn.Close() }()
				_, _ = conn.Read(make([]byte, 8192))
				_, _ = io.WriteString(conn, answer)
			})
		}
	})
	return "http://" + listener.Addr().String()
}

// GitHub's words by themselves decide between a rate limit, a permission and more.
func TestAnswersByTheirHeadersAndWords(t *testing.T) {
	t.Parallel()
	type headers = map[string]string
	cases := []struct {
		name    string
		status  int
		headers headers
		message string
		code    fault.Code
		detail  string
	}{
		{"primary", 403, headers{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4102444800"}, "API rate limit exceeded for user ID 1.", fault.RateLimitExhausted, ""},
		{"secondary", 403, nil, "You have exceeded a secondary rate limit.", fault.RateLimitExhausted, ""},
		{"Retry-After says it", 403, headers{"Retry-After": "60"}, "", fault.RateLimitExhausted, ""},
		{"429", 429, nil, "", fault.RateLimitExhausted, ""},
		{"permission with the last request", 403, headers{"X-RateLimit-Remaining": "0", "X-Accepted-GitHub-Permissions": "secrets=write"}, "Resource not accessible by integration", fault.PermissionMissing, "secrets=write"},
		{"alternatives", 403, headers{"X-Accepted-GitHub-Permissions": "organization_secrets=write; organization_administration=write"}, "Resource not accessible by personal access token", fault.PermissionMissing, "organization_secrets=write; organization_administration=write"},
		{"scopes of a classic token", 403, headers{"X-Accepted-OAuth-Scopes": "admin:org"}, "Must have admin rights to Repository.", fault.PermissionMissing, "admin:org"},
		{"odd permissions", 403, headers{"X-Accepted-GitHub-Permissions": "Give the password 123"}, "", fault.PermissionMissing, "does not name"},
		{"single sign-on", 403, headers{"X-GitHub-SSO": "required; url=https://github.com/orgs/acme/sso?x=CANARY"}, "Resource protected by organization SAML enforcement.", fault.PermissionMissing, "single sign-on"},
		{"archived", 403, nil, "Repository was archived so is read-only.", fault.TargetRejected, "archived"},
		{"unauthorised", 401, nil, "Bad credentials", fault.CredentialsRejected, ""},
		{"gone", 410, nil, "", fault.TargetNotFound, ""},
		{"sealed badly", 422, nil, "Bad request - validation failed due to an improperly encrypted secret", fault.EncryptionFailed, ""},
		{"full", 422, nil, "You have reached the limit of 100 secrets.", fault.CapacityExceeded, ""},
		{"other 422", 422, nil, "Invalid request.", fault.TargetRejected, ""},
		{"not implemented", 501, nil, "", fault.GitHubUnavailable, ""},
		{"a success of another kind", 202, nil, "", fault.GitHubUnavailable, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			github := newServer(t, githubd.Config{})
			bubble(t, func(t *testing.T) {
				client := newClient(t, ghapi.Config{
					BaseURL: "https://github.test", Mode: pace.Off, Credentials: ghapi.Credentials{Token: secret.NewValue(aliceToken)},
					Transport: carrier(func(r *http.Request) (*http.Response, error) {
						if r.Method == http.MethodGet {
							return github.Transport().RoundTrip(r)
						}
						w := httptest.NewRecorder()
						for name, value := range c.headers {
							w.Header().Set(name, value)
						}
						w.WriteHeader(c.status)
						_, _ = fmt.Fprintf(w, `{"message": %q}`, c.message+" CANARY")
						return w.Result(), nil
					}),
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := client.Put(ctx, payments, putOf("K", "v"))
				wantCode(t, err, c.code)
				if !strings.Contains(fault.Detail(err), c.detail) {
					t.Errorf("the detail does not say %q: %s", c.detail, fault.Detail(err))
				}
				silent(t, err, "CANARY", "password")
				if _, says := fault.RetryAfter(err); says != (c.code == fault.RateLimitExhausted) {
					t.Errorf("says when to retry: %v", says)
				}
			})
		})
	}
}

type carrier func(*http.Request) (*http.Response, error)

func (c carrier) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

func TestTheGuardIsAskedRightBeforeAWriteIsSent(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{}, func(c *ghapi.Config) { c.Mode = pace.Polite })
		lost := fault.New(fault.LeaseLost, "the lease is lost")
		start := time.Now()
		ctx := pace.WithGuard(t.Context(), func() (time.Duration, error) {
			if time.Since(start) > 3500*time.Millisecond {
				return 0, lost
			}
			return time.Minute, nil
		})
		var wg sync.WaitGroup
		var sent, given atomic.Int32
		for i := range 20 {
			wg.Go(func() {
				switch _, err := l.client.Put(ctx, payments, putOf(fmt.Sprintf("K%d", i), "v")); {
				case err == nil:
					sent.Add(1)
				case errors.Is(err, fault.LeaseLost):
					given.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if sent.Load() != 4 || given.Load() != 16 || l.Counts().ByKind[githubd.KindPut] != 4 {
			t.Errorf("%d sent and %d given up; GitHub got %d", sent.Load(), given.Load(), l.Counts().ByKind[githubd.KindPut])
		}
	})
}

// The lease ends after the guard's first answer, while the connection is made.
func TestTheGuardIsAskedOnceMoreWhenTheConnectionIsThere(t *testing.T) {
	t.Parallel()
	server := newServer(t, githubd.Config{})
	network := httptest.NewServer(server)
	t.Cleanup(network.Close)
	var lost atomic.Bool
	connections := 0 // one after the other
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, kind, address string) (net.Conn, error) {
		connections++
		lost.Store(connections == 2) // the key's, then the write's
		return new(net.Dialer).DialContext(ctx, kind, address)
	}}
	client := newClient(t, ghapi.Config{
		BaseURL: network.URL, Transport: transport, Mode: pace.Off, Credentials: ghapi.Credentials{Token: secret.NewValue(aliceToken)},
	})
	ctx := pace.WithGuard(t.Context(), func() (time.Duration, error) {
		if lost.Load() {
			return 0, fault.New(fault.LeaseLost, "the lease is lost")
		}
		return time.Minute, nil
	})
	if _, err := client.Put(ctx, payments, putOf("K", "v")); !errors.Is(err, fault.LeaseLost) {
		t.Errorf("got %v, want %v", err, fault.LeaseLost)
	}
	// The head of the request may have left; without its body it has no effect.
	if n := server.Counts().Writes(); n != 0 || connections != 2 {
		t.Errorf("%d writes over %d connections", n, connections)
	}
}

func TestAWriteEndsBeforeTheRightToWriteDoes(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{})
		_, err := l.put(t, "K", "v")
		l.must(t, err)
		l.fail(t, githubd.Fault{Method: "PUT", Effect: githubd.EffectHang})
		lease := time.Now().Add(12 * time.Second)
		ctx := pace.WithGuard(t.Context(), func() (time.Duration, error) {
			if left := time.Until(lease); left > 0 {
				return left, nil
			}
			return 0, fault.New(fault.LeaseLost, "the lease is lost")
		})
		_, err = l.client.Put(ctx, payments, putOf("K", "w"))
		// It was sent, so that the loss of the lease is not what there is to tell.
		wantCode(t, err, fault.GitHubUnavailable)
		if over := time.Since(lease); over > 9*time.Second {
			t.Errorf("ended %s after the lease", over)
		}
		if n := l.Counts().ByKind[githubd.KindPut]; n != 2 {
			t.Errorf("%d puts", n)
		}
	})
}

func TestAWriteThatWasSentIsAwaited(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{})
		_, err := l.put(t, "K", "v")
		l.must(t, err)
		l.fail(t, githubd.Fault{Method: "PUT", Effect: githubd.EffectDelay, Delay: githubd.Duration(5 * time.Second)})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := l.client.Put(ctx, payments, putOf("K", "w")); err != nil {
				t.Errorf("sent, and then: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		l.holds(t, "K", "w")

		l.ClearFaults()
		l.ResetCounts()
		_, err = l.client.Put(ctx, payments, putOf("K", "x"))
		if fault.KindOf(err) != fault.Canceled || l.Counts().Requests != 0 {
			t.Errorf("%d requests for one who is gone: %v", l.Counts().Requests, err)
		}

		// Cancelled between attempts: the first may have taken effect.
		l.fail(t, githubd.Fault{Method: "PUT", Effect: githubd.EffectReset, After: true})
		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = l.client.Put(ctx, payments, putOf("K", "y"))
		wantCode(t, err, fault.GitHubUnavailable)
	})
}

func TestOneCallersEndDoesNotFailTheOthers(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		l := open(t, githubd.Config{Settings: githubd.Settings{Latency: githubd.Duration(time.Second)}})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { // fetches the key for all
			if _, err := l.client.Put(ctx, payments, putOf("K0", "v")); fault.KindOf(err) != fault.Canceled {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait()
		for i := range 5 {
			wg.Go(func() {
				if _, err := l.put(t, fmt.Sprintf("K%d", i+1), "v"); err != nil {
					t.Errorf("another: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		wg.Wait()
	})
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	server := newServer(t, githubd.Config{})
	var opened atomic.Int32
	web := httptest.NewUnstartedServer(server)
	web.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	web.Start()
	t.Cleanup(web.Close)
	client := newClient(t, ghapi.Config{BaseURL: web.URL, Mode: pace.Off, Credentials: ghapi.Credentials{Token: secret.NewValue(aliceToken)}})
	for range 20 { // failures are read to their end too
		_, err := client.Repository(t.Context(), "acme", "nothing")
		wantCode(t, err, fault.TargetNotFound)
		if _, err := client.Repository(t.Context(), "acme", "web"); err != nil {
			t.Fatal(err)
		}
	}
	// One is enough; a busy machine may be late in giving it back.
	if n := opened.Load(); n > 10 {
		t.Errorf("%d connections for forty requests in a row", n)
	}
}
