package githubd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"

	"github.com/sealpost/sealpost/shared/fault"
)

// Effect is what a fault does to a request.
type Effect string

// The effects.
const (
	// EffectStatus answers with the fault's status and GitHub's words for it.
	EffectStatus Effect = "status"
	// EffectReset closes the connection without an answer.
	EffectReset Effect = "reset"
	// EffectHang does not answer until the caller goes away.
	EffectHang Effect = "hang"
	// EffectDelay waits for the fault's delay and goes on as usual.
	EffectDelay Effect = "delay"
	// EffectMalformed answers with the right status and a body that is not JSON.
	EffectMalformed Effect = "malformed"
	// EffectEcho answers with the fault's status and a message that repeats the
	// request's body and credentials, to find out who passes such things on.
	EffectEcho Effect = "echo"
)

// Fault says which requests fail, and how. A request has at most one fault:
// the first that strikes.
type Fault struct {
	Name string `json:"name,omitempty"` // for [Server.Struck]; default "fault-N"

	// Method and Path choose the requests. An empty Method is any; Path is a
	// regular expression that is looked for in the path, without /api/v3.
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`

	// From is the first matching request that may be struck, counted from 1.
	From int `json:"from,omitempty"`
	// Times is how many are struck at the most; 0 is no end.
	Times int `json:"times,omitempty"`
	// Probability strikes some of them only, drawn from Seed; 0 is all.
	Probability float64 `json:"probability,omitempty"`
	Seed        uint64  `json:"seed,omitempty"`

	Effect Effect `json:"effect"`
	// After lets the request take effect first. EffectMalformed always does.
	After bool `json:"after,omitempty"`

	Status     int      `json:"status,omitempty"`     // of EffectStatus and EffectEcho; default 500
	Delay      Duration `json:"delay,omitempty"`      // of EffectDelay
	RetryAfter int      `json:"retryAfter,omitempty"` // seconds; a 403 or 429 without any says nothing of when
	// RateLimit words a 403 or 429 as a refusal by a secondary rate limit
	// rather than as a missing permission.
	RateLimit bool `json:"rateLimit,omitempty"`
}

// check returns a [fault.Invalid] for a fault that makes no sense.
func (f Fault) check() error {
	bad := func(why string) error { return fault.Wrap(fault.Invalid, "githubd: a fault "+why, nil) }
	switch f.Effect {
	case EffectStatus, EffectEcho:
		if f.Status != 0 && (f.Status < 300 || f.Status > 599) {
			return bad(fmt.Sprintf("cannot have the status %d", f.Status))
		}
	case EffectDelay:
		if f.Delay <= 0 {
			return bad("needs a delay")
		}
	case EffectReset, EffectHang, EffectMalformed:
	default:
		return bad(fmt.Sprintf("has the unknown effect %q", f.Effect))
	}
	if f.Probability < 0 || f.Probability > 1 || f.From < 0 || f.Times < 0 {
		return bad("has a number out of its range")
	}
	return nil
}

// plan is a fault at work. The server's mutex guards it.
type plan struct {
	Fault
	path    *regexp.Regexp
	random  *rand.Rand
	matched int
	struck  int
}

// AddFault makes requests fail from now on. It returns a [fault.Invalid] for a
// fault that makes no sense.
func (s *Server) AddFault(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	path, err := regexp.Compile(f.Path)
	if err != nil {
		return fault.Wrap(fault.Invalid, "githubd: a fault's path", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Name == "" {
		f.Name = fmt.Sprintf("fault-%d", len(s.plans)+1)
	}
	if f.Status == 0 {
		f.Status = http.StatusInternalServerError
	}
	f.After = f.After || f.Effect == EffectMalformed // there must be an answer to spoil
	s.plans = append(s.plans, &plan{Fault: f, path: path, random: rand.New(rand.NewPCG(f.Seed, f.Seed))})
	return nil
}

// ClearFaults ends every fault. What they struck is still in [Server.Counts].
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plans = nil
}

// Struck returns how many requests each present fault struck, by name.
func (s *Server) Struck() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	struck := map[string]int{}
	for _, p := range s.plans {
		struck[p.Name] += p.struck
	}
	return struck
}

// strike returns the fault of a request, if any. Every plan counts the requests
// that match it, whether or not an earlier plan struck.
func (s *Server) strike(method, path string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	var hit *plan
	for _, p := range s.plans {
		if p.wants(method, path) && hit == nil {
			hit = p
		}
	}
	if hit == nil {
		return nil
	}
	hit.struck++
	return &hit.Fault
}

func (p *plan) wants(method, path string) bool {
	if p.Method != "" && !strings.EqualFold(p.Method, method) || !p.path.MatchString(path) {
		return false
	}
	p.matched++
	if p.matched < p.From || p.Times > 0 && p.struck >= p.Times {
		return false
	}
	return p.Probability == 0 || p.random.Float64() < p.Probability
}

// apply carries out a fault on a call whose reply is known, or nil if the fault
// comes before it takes effect. It returns what to answer, nil to go on.
func (f *Fault) apply(ctx context.Context, c *call, known *reply) *reply {
	switch f.Effect {
	case EffectReset:
		return &reply{reset: true}
	case EffectHang:
		<-ctx.Done()
		return &reply{reset: true}
	case EffectDelay:
		_ = c.s.clock.Sleep(ctx, timeOf(f.Delay)) // the caller's going away is seen later
		return known
	case EffectMalformed:
		broken := *known
		broken.raw = []byte(`{"total_count": 1, "secrets": [{"name": "CUT_O`)
		return &broken
	case EffectEcho:
		return failure(f.Status, fmt.Sprintf("Invalid request.\n\n%s is not a permitted body for %q.", c.body, c.r.Header.Get("Authorization")))
	}
	return f.statusReply()
}

func (f *Fault) statusReply() *reply {
	r := failure(f.Status, faultWords(f.Status))
	if f.RateLimit {
		r = secondaryFailure(f.Status)
	}
	if f.RetryAfter > 0 {
		r.header().Set("Retry-After", fmt.Sprint(f.RetryAfter))
	}
	return r
}

func faultWords(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "Bad credentials"
	case http.StatusForbidden:
		return "Resource not accessible by integration"
	case http.StatusInternalServerError, http.StatusBadGateway:
		return "Server Error"
	case http.StatusServiceUnavailable:
		return "No server is currently available to service your request. Sorry about that. Please try resubmitting your request and contact us if the problem persists."
	}
	return http.StatusText(status)
}
