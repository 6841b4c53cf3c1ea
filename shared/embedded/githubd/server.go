package githubd

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
)

// Server is an embedded GitHub. Make one with [New]; it is safe for use by many
// goroutines, and so are its methods.
type Server struct {
	clock   clock.Clock
	handler http.Handler

	mu       sync.Mutex
	settings Settings
	world    *world
	usages   map[string]*usage
	plans    []*plan
	hook     Hook
	tally    tally
	state    *stateFile // nil: nothing is kept
	stateErr error      // the first failure to keep something
}

// New starts a server: it reads the state file, if there is one, and adds the
// world of the configuration to it.
func New(c Config) (*Server, error) {
	if c.Clock == nil {
		c.Clock = clock.Real()
	}
	s := &Server{clock: c.Clock, settings: c.Settings, world: newWorld(), usages: map[string]*usage{}, tally: newTally()}
	s.world.epoch = s.now()
	s.handler = s.routes(c.Control)
	if c.StatePath != "" {
		state, err := openState(c.StatePath, s.world)
		if err != nil {
			return nil, err
		}
		s.state = state
	}
	if err := s.Add(c.World); err != nil {
		_ = s.Close() // the reason to give up is the world's
		return nil, err
	}
	return s, nil
}

// Close closes the state file. It returns the first failure to keep something
// in it, if there was one.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		return nil
	}
	if err := s.state.close(); err != nil && s.stateErr == nil {
		s.stateErr = err
	}
	s.state = nil
	return s.stateErr
}

func (s *Server) now() time.Time { return s.clock.Now().UTC() }

// Settings returns how the server behaves at present.
func (s *Server) Settings() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

// SetSettings changes how the server behaves. What was used of the limits
// stays used.
func (s *Server) SetSettings(settings Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = settings
}

// Stage is a moment of a request at which the hook is called.
type Stage string

// The stages.
const (
	StageArrived Stage = "arrived" // admitted, before it takes effect
	StageDone    Stage = "done"    // it has taken effect, before it is answered
)

// Hook is called for every admitted request at each stage; it may block.
type Hook func(stage Stage, r Request)

// SetHook sets the hook; nil removes it.
func (s *Server) SetHook(h Hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hook = h
}

// enterprisePrefix is where GitHub Enterprise Server serves the API.
const enterprisePrefix = "/api/v3"

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, enterprisePrefix+"/") {
		http.StripPrefix(enterprisePrefix, s.handler).ServeHTTP(w, r)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// call is one request on its way through the server.
type call struct {
	s     *Server
	r     *http.Request
	route route
	body  []byte
	who   *identity
	fault *Fault
	log   Request

	admittedAt time.Time // zero if it was refused
	now        time.Time // when it takes effect

	account *account // of the path's organisation or owner
	repo    *repo
	vault   *vault
	ahead   opened // of a write
}

// maxBody is more than any request needs: a value of 48 KB takes 65 KB sealed
// and in base64.
const maxBody = 1 << 20

// serve takes one request through authentication, limits, latency, faults and
// its effect, and answers it.
func (s *Server) serve(route route, w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, r: r, route: route, log: s.arrived(r.Method, r.URL.Path, route.kind)}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	c.body = body
	answer := failure(http.StatusRequestEntityTooLarge, "Request body is too large")
	if err == nil {
		answer = c.admitted(r.Context())
	}
	s.finish(c, answer)
	c.write(w, answer)
}

// admitted authenticates the caller, counts the request against its limits and
// holds its place in flight until it is answered.
func (c *call) admitted(ctx context.Context) *reply {
	who, denied := c.s.authenticate(c.r, c.route.asApp)
	if denied != nil {
		return c.late(ctx, denied)
	}
	c.who, c.log.Identity = who, who.key
	if refused := c.s.admit(c); refused != nil {
		return c.late(ctx, refused)
	}
	defer c.s.release(c)
	return c.late(ctx, nil)
}

// late lets the latency pass, then returns the refusal, or else the answer.
func (c *call) late(ctx context.Context, refused *reply) *reply {
	latency := timeOf(c.s.Settings().Latency)
	end := c.s.now().Add(latency)
	err := c.s.clock.Sleep(ctx, latency/2)
	if err == nil && refused == nil {
		c.openAhead()
	}
	if err == nil {
		err = c.s.clock.Sleep(ctx, end.Sub(c.s.now()))
	}
	switch {
	case err != nil: // the caller went away before anything happened
		return &reply{reset: true}
	case refused != nil:
		return refused
	}
	return c.answer(ctx)
}

// answer gives the request its effect, with its fault before or after.
func (c *call) answer(ctx context.Context) *reply {
	c.s.stage(StageArrived, c)
	if c.fault = c.s.strike(c.r.Method, c.r.URL.Path); c.fault != nil {
		c.log.Fault = c.fault.Name
	}
	if c.fault != nil && !c.fault.After {
		if r := c.fault.apply(ctx, c, nil); r != nil {
			return r
		}
	}
	if ctx.Err() != nil {
		return &reply{reset: true}
	}
	c.now = c.s.now()
	r := c.effect()
	c.s.stage(StageDone, c)
	if c.fault != nil && c.fault.After {
		return c.fault.apply(ctx, c, r)
	}
	return r
}

// effect resolves what the request is about, checks that the caller may, and
// does it.
func (c *call) effect() *reply {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if r := c.resolve(); r != nil {
		return r
	}
	r := c.route.handle(c)
	c.s.tally.took(r.effect)
	if c.s.stateErr != nil {
		return failure(http.StatusInternalServerError, "Server Error")
	}
	return r
}

func (s *Server) stage(stage Stage, c *call) {
	s.mu.Lock()
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		hook(stage, c.log)
	}
}

// admit returns the refusal of a request that breaks a limit.
func (s *Server) admit(c *call) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := s.usage(c.who.key).admit(s.now(), s.settings.Limits, c.demand())
	if refused == nil {
		c.admittedAt = s.now()
		s.tally.admitted(s.usage(c.who.key).inFlight)
		return nil
	}
	c.log.Refused = refused.reason
	status := s.settings.Limits.Status
	if status == 0 {
		status = http.StatusForbidden
	}
	if refused.reason == refusedPrimary {
		return primaryFailure(status, c.who)
	}
	r := secondaryFailure(status)
	if !s.settings.Limits.NoRetryAfter {
		r.header().Set("Retry-After", strconv.Itoa(ceilSeconds(refused.wait)))
	}
	return r
}

func (c *call) demand() demand {
	return demand{
		endpoint: c.route.pattern, charged: c.route.kind != KindRateLimit,
		write: c.writes(), content: c.r.Method == http.MethodPut || c.r.Method == http.MethodPost,
	}
}

// writes reports whether the request costs the points of a write.
func (c *call) writes() bool {
	return c.r.Method != http.MethodGet && c.r.Method != http.MethodHead && c.r.Method != http.MethodOptions
}

func (s *Server) release(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.usage(c.who.key).release()
}

func (s *Server) usage(key string) *usage {
	u := s.usages[key]
	if u == nil {
		u = newUsage()
		s.usages[key] = u
	}
	return u
}

// Spend uses up some of an identity's limits, as somebody else with the same
// credentials would. The identity is "user:<login>" or "installation:<id>".
func (s *Server) Spend(identity string, requests, points int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, l, now := s.usage(identity), s.settings.Limits, s.now()
	u.primary.wait(now, 0, l.Primary, time.Hour, true)
	u.primary.take(now, requests, l.Primary, true)
	w := u.pointsWindow(l, demand{})
	w.wait(now, 0, l.Points, time.Minute, l.FixedWindows)
	w.take(now, points, l.Points, l.FixedWindows)
}

// finish settles what depends on the answer: the price of a 304, the log.
func (s *Server) finish(c *call, r *reply) {
	c.condition(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.who != nil {
		u := s.usage(c.who.key)
		if r.status == http.StatusNotModified {
			u.primary.giveBack(c.admittedAt)
		}
		s.rateHeaders(r, u)
	}
	c.log.Status = r.status
	c.log.Took = Duration(s.now().Sub(c.log.At))
	s.tally.add(c.log, c.demand(), !c.admittedAt.IsZero())
}

// rateHeaders tell the state of the primary limit, and nothing where there is
// none, as GitHub Enterprise Server does.
func (s *Server) rateHeaders(r *reply, u *usage) {
	limit := s.settings.Limits.Primary
	if limit == 0 {
		return
	}
	rate := u.rate(s.now(), limit)
	h := r.header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(rate.Limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(rate.Remaining))
	h.Set("X-RateLimit-Used", strconv.Itoa(rate.Used))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(rate.Reset, 10))
	h.Set("X-RateLimit-Resource", "core")
}

// reply is what is answered.
type reply struct {
	status  int
	body    any    // as JSON; nil is no body
	raw     []byte // instead of body
	headers http.Header
	reset   bool // no answer at all

	effect writeEffect // for the counts
}

func (r *reply) header() http.Header {
	if r.headers == nil {
		r.headers = http.Header{}
	}
	return r.headers
}

// problem is the body of a refusal.
type problem struct {
	Message string `json:"message"`
	Docs    string `json:"documentation_url"`
	Status  string `json:"status"`
}

const docsURL = "https://docs.github.com/rest"

func failure(status int, message string) *reply {
	return &reply{status: status, body: problem{message, docsURL, strconv.Itoa(status)}}
}

func notFound() *reply { return failure(http.StatusNotFound, "Not Found") }

func primaryFailure(status int, who *identity) *reply {
	kind, id, _ := strings.Cut(who.key, ":")
	return &reply{status: status, body: problem{
		Message: fmt.Sprintf("API rate limit exceeded for %s ID %s.", kind, id),
		Docs:    docsURL + "/overview/rate-limits-for-the-rest-api",
		Status:  strconv.Itoa(status),
	}}
}

func secondaryFailure(status int) *reply {
	return &reply{status: status, body: problem{
		Message: "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
		Docs:    docsURL + "/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits",
		Status:  strconv.Itoa(status),
	}}
}

// condition gives a good answer to a GET its ETag, and answers 304 if the
// caller has it already. The ETag varies with the token as well as the content.
func (c *call) condition(r *reply) {
	if r.reset {
		return
	}
	if r.raw == nil && r.body != nil {
		r.raw = encode(r.body)
	}
	if r.status != http.StatusOK || c.r.Method != http.MethodGet || c.who == nil {
		return
	}
	hash := sha256.New()
	_, _ = io.WriteString(hash, c.who.token+"\n") // a hash's Write does not fail
	_, _ = hash.Write(r.raw)
	tag := `W/"` + fmt.Sprintf("%x", hash.Sum(nil)) + `"`
	h := r.header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, max-age=60, s-maxage=60")
	h.Set("Vary", "Accept, Authorization, Cookie, X-GitHub-OTP")
	if matches(c.r.Header.Get("If-None-Match"), tag) {
		r.status, r.raw = http.StatusNotModified, nil
	}
}

// matches compares weakly, as RFC 9110 asks for If-None-Match.
func matches(header, tag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

func encode(body any) []byte {
	raw, err := json.Marshal(body)
	if err != nil {
		panic("githubd: " + err.Error()) // bodies are plain data
	}
	return raw
}

// write sends the answer.
func (c *call) write(w http.ResponseWriter, r *reply) {
	if r.reset {
		reset(w)
	}
	h := w.Header()
	for name, values := range r.headers {
		h[name] = values
	}
	h.Set("Date", c.s.now().Format(http.TimeFormat))
	h.Set("X-GitHub-Request-Id", c.log.ID)
	h.Set("X-GitHub-Media-Type", "github.v3; format=json")
	if c.who != nil && c.who.permissions != nil && c.route.need.name != "" {
		h.Set("X-Accepted-GitHub-Permissions", c.route.need.String())
	}
	if len(r.raw) > 0 {
		h.Set("Content-Type", "application/json; charset=utf-8")
		h.Set("Content-Length", strconv.Itoa(len(r.raw)))
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.raw) // the caller may be gone
}

// reset closes the connection so that the caller sees it reset, and does not
// return.
func reset(w http.ResponseWriter) {
	if hijacker, ok := w.(http.Hijacker); ok {
		if conn, _, err := hijacker.Hijack(); err == nil {
			if tcp, ok := conn.(interface{ SetLinger(int) error }); ok {
				_ = tcp.SetLinger(0) // closes with RST rather than FIN
			}
			_ = conn.Close() // there is nobody to tell
		}
	}
	panic(http.ErrAbortHandler)
}

func ceilSeconds(d time.Duration) int {
	return int(max(1, (d+time.Second-1)/time.Second))
}

func timeOf(d Duration) time.Duration { return time.Duration(d) }

// decode reads the request's JSON object.
func (c *call) decode(into any) *reply {
	var wrongType *json.UnmarshalTypeError
	err := json.Unmarshal(c.body, into)
	switch {
	case errors.As(err, &wrongType):
		return invalidRequest(fmt.Sprintf("For 'properties/%s', %s is not of the right type.", wrongType.Field, wrongType.Value))
	case err != nil:
		return failure(http.StatusBadRequest, "Problems parsing JSON")
	}
	return nil
}

func invalidRequest(why string) *reply {
	return failure(http.StatusUnprocessableEntity, "Invalid request.\n\n"+why)
}
