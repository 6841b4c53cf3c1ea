package ghapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/syncer"
)

// reason is why a request failed: a closed set, so that no words of GitHub's
// need to be kept.
type reason string

const (
	rateLimited  reason = "a rate limit was reached"
	unauthorised reason = "the credentials were not accepted"
	forbidden    reason = "a permission is missing"
	singleSignOn reason = "the credentials are not authorised for the organisation's single sign-on"
	archived     reason = "the repository is archived"
	notFound     reason = "there is no such thing"
	unopenable   reason = "the sealed value could not be opened"
	full         reason = "there is no room for more secrets"
	tooLarge     reason = "the value is too large"
	rejected     reason = "the request was rejected"
	broken       reason = "GitHub failed"
	unreachable  reason = "the connection failed"
	timedOut     reason = "the answer did not come in time"
	untrusted    reason = "the server's certificate is not trusted"
	garbled      reason = "the answer could not be read"
	redirected   reason = "the answer led elsewhere"
)

// failure is an answer that is no success, or the lack of one.
type failure struct {
	reason      reason
	status      int           // 0 where there was no answer
	at          time.Time     // GitHub's clock: the Date of the answer
	retryAfter  time.Duration // 0 where GitHub did not say
	untilReset  time.Duration // 0 unless the hourly quota is spent
	permissions string        // that were missing, as GitHub names them
}

func (f *failure) Error() string {
	if f.status == 0 {
		return string(f.reason)
	}
	return fmt.Sprintf("%s (status %d)", f.reason, f.status)
}

// transient reports whether sending the request again may help.
func (f *failure) transient() bool {
	return f.reason == broken && f.status != http.StatusNotImplemented || f.reason == unreachable || f.reason == timedOut
}

// failureOf returns what is wrong with an answer, or nil. This is the only
// place that reads the body of a failed answer.
func failureOf(answer *http.Response, content []byte, now time.Time) *failure {
	status := answer.StatusCode
	if status < 400 && status != http.StatusNotModified {
		return nil // redirects are net/http's business
	}
	f := &failure{status: status, at: dateOf(answer.Header, now), retryAfter: retryAfterOf(answer.Header)}
	said := readProblem(content)
	switch {
	case status == http.StatusNotModified: // though nothing was known
		f.reason = garbled
	case status == http.StatusTooManyRequests, status == http.StatusForbidden && said.refusal(answer.Header):
		f.reason, f.untilReset = rateLimited, untilReset(answer.Header, f.at)
	case status == http.StatusUnauthorized:
		f.reason = unauthorised
	case status == http.StatusForbidden && answer.Header.Get("X-Github-Sso") != "":
		f.reason = singleSignOn
	case status == http.StatusForbidden && said.has("archived"):
		f.reason = archived
	case status == http.StatusForbidden:
		f.reason, f.permissions = forbidden, permissionsOf(answer.Header)
	case status == http.StatusNotFound, status == http.StatusGone:
		f.reason = notFound
	case status == http.StatusUnprocessableEntity:
		f.reason = said.whyUnprocessable()
	case status >= 500, status == http.StatusRequestTimeout:
		f.reason = broken
	default:
		f.reason = rejected
	}
	return f
}

// problem is the body of GitHub's refusals.
type problem struct {
	Message string `json:"message"`
	Docs    string `json:"documentation_url"`
}

func readProblem(content []byte) problem {
	var p problem
	if json.Unmarshal(content, &p) != nil {
		return problem{}
	}
	return p
}

func (p problem) has(words ...string) bool {
	message := strings.ToLower(p.Message)
	for _, w := range words {
		if strings.Contains(message, w) {
			return true
		}
	}
	return false
}

// refusal tells a 403 because of a rate limit from one because of a permission.
// Source: docs.github.com, rest/using-the-rest-api/troubleshooting-the-rest-api.
// A missing permission can be noticed with the last request of the quota, so a
// quota that is spent decides only where the message says nothing else.
func (p problem) refusal(h http.Header) bool {
	switch {
	case p.has("rate limit", "abuse detection"), strings.Contains(p.Docs, "rate-limit"):
		return true
	case p.has("not accessible", "must have", "permission", "archived", "organization"):
		return false
	}
	return h.Get("Retry-After") != "" || h.Get("X-Ratelimit-Remaining") == "0"
}

// whyUnprocessable sorts the 422s by the few messages that are known; GitHub
// documents none of them. Source: integrations/terraform-provider-github#2315.
func (p problem) whyUnprocessable() reason {
	switch {
	case p.has("improperly encrypted", "decrypt"):
		return unopenable
	case p.has("too large", "too long"):
		return tooLarge
	case p.has("maximum number", "too many secrets", "limit of", "reached the limit"):
		return full
	}
	return rejected
}

// permissionNames is what permissions look like: "secrets=write", sets of them
// separated by commas, alternatives by semicolons. Source: github.blog,
// changelog/2023-08-10-x-accepted-github-permissions-header-for-fine-grained-permission-actors.
// Classic tokens have scopes instead: "repo, admin:org".
var permissionNames = regexp.MustCompile(`^[a-z_=:,; ]{1,200}$`)

func permissionsOf(h http.Header) string {
	for _, name := range []string{"X-Accepted-Github-Permissions", "X-Accepted-Oauth-Scopes"} {
		if text := strings.TrimSpace(h.Get(name)); permissionNames.MatchString(text) {
			return text
		}
	}
	return ""
}

// retryAfterOf reads Retry-After, which GitHub gives in seconds.
func retryAfterOf(h http.Header) time.Duration {
	seconds, err := strconv.ParseInt(strings.TrimSpace(h.Get("Retry-After")), 10, 32)
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// untilReset returns how long it was at the answer's own Date until the hourly
// quota is there again, or 0 if it is not spent. Our clock may differ.
func untilReset(h http.Header, at time.Time) time.Duration {
	reset, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64)
	if err != nil || h.Get("X-Ratelimit-Remaining") != "0" {
		return 0
	}
	return max(time.Unix(reset, 0).Sub(at), 0) + time.Second // both are in whole seconds
}

// dateOf returns GitHub's clock at an answer, or ours where it does not tell.
func dateOf(h http.Header, now time.Time) time.Time {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		return at.UTC()
	}
	return now.UTC().Truncate(time.Second)
}

// explain turns what went wrong into an error for the operation, such as
// `ghapi: put KEY to actions of acme/web`. About names what was asked for.
func explain(op, about string, err error) error {
	var f *failure
	var known *fault.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known): // first: a failure may be the cause of one
		return fault.Annotate(op, known)
	case errors.As(err, &f):
		return f.fault(about).WithOp(op).WithCause(f)
	case errors.Is(err, context.Canceled):
		return fault.Annotate(op, context.Canceled)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Annotate(op, context.DeadlineExceeded)
	}
	// net/http and go-github quote what they could not read.
	return explain(op, about, &failure{reason: garbled})
}

// explainWrite explains what went wrong with a write. A request that was sent
// ends in an answer or in a [failure]: any other error stopped it before.
func explainWrite(op, about string, err error) error {
	var f *failure
	if errors.As(err, &f) {
		return explain(op, about, err)
	}
	return syncer.NotSent(explain(op, about, err))
}

// apart explains what went wrong with a request that another one waits for. It
// hides the failure, which is none of the other's: that one was not sent.
func apart(op, about string, err error) error {
	var f *failure
	if errors.As(err, &f) {
		return f.fault(about).WithOp(op).WithCause(errors.New(f.Error()))
	}
	return explain(op, about, err)
}

// fault gives a failure its code.
func (f *failure) fault(about string) *fault.Error {
	switch f.reason {
	case rateLimited:
		// A minute is GitHub's advice where it does not say.
		wait := cmp.Or(f.retryAfter, f.untilReset, time.Minute)
		return fault.New(fault.RateLimitExhausted, "GitHub went on refusing requests about %s", about).WithRetryAfter(wait)
	case unauthorised:
		return fault.New(fault.CredentialsRejected, "GitHub does not accept the credentials for %s", about)
	case forbidden:
		return fault.New(fault.PermissionMissing, "for %s the credentials lack %s", about, f.lacking())
	case singleSignOn:
		return fault.New(fault.PermissionMissing, "for %s %s", about, f.reason).
			WithRemedy("Authorise the token for the organisation's single sign-on in its settings on GitHub.", "")
	case archived:
		return fault.New(fault.TargetRejected, "GitHub refused %s: the repository is archived and so read-only", about)
	case notFound:
		return fault.New(fault.TargetNotFound, "GitHub does not know %s, or the credentials may not see it", about)
	case unopenable:
		return fault.New(fault.EncryptionFailed, "GitHub could not open what was sealed for %s, under a fresh key either", about)
	case full:
		return fault.New(fault.CapacityExceeded, "GitHub takes no more secrets for %s", about)
	case tooLarge:
		return fault.New(fault.ValueTooLarge, "GitHub found the value too large for %s", about)
	case rejected, redirected:
		return fault.New(fault.TargetRejected, "GitHub refused %s: %s", about, f.Error())
	case broken, unreachable, timedOut, untrusted, garbled:
	}
	return fault.New(fault.GitHubUnavailable, "GitHub is not available for %s: %s", about, f.Error())
}

func (f *failure) lacking() string {
	if f.permissions == "" {
		return "a permission that GitHub does not name"
	}
	return "the permission " + f.permissions
}
