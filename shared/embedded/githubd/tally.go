package githubd

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Request is one line of the log. It has no value, no token and no body.
type Request struct {
	ID       string    `json:"id"` // as in X-GitHub-Request-Id
	At       time.Time `json:"at"` // when it arrived
	Method   string    `json:"method"`
	Path     string    `json:"path"` // without /api/v3 and the query
	Kind     Kind      `json:"kind"`
	Identity string    `json:"identity,omitempty"` // "user:alice", "installation:7", "app:3"
	Status   int       `json:"status,omitempty"`   // 0: no answer
	Refused  string    `json:"refused,omitempty"`  // the limit that it broke
	Fault    string    `json:"fault,omitempty"`    // the fault that struck it
	Took     Duration  `json:"took,omitempty"`
}

// Counts is what the server has been asked since the last reset.
type Counts struct {
	Requests int            `json:"requests"`
	ByMethod map[string]int `json:"byMethod"`
	ByKind   map[Kind]int   `json:"byKind"`
	ByStatus map[int]int    `json:"byStatus"` // 0: no answer
	Refused  map[string]int `json:"refused"`  // by limit
	Faults   map[string]int `json:"faults"`   // struck, by name of the fault
	Points   int            `json:"points"`   // of all requests that were admitted

	// Charged counts the requests of the primary quota: all that were admitted
	// but the 304s and the questions after the limits.
	Charged int `json:"charged"`

	// Writes that took effect, whatever was answered. Rewritten are those that
	// left the value as it was.
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Rewritten int `json:"rewritten"`
	Deleted   int `json:"deleted"`

	// PeakInFlight is the highest number of requests in flight of one identity.
	PeakInFlight int `json:"peakInFlight"`
}

// Writes returns the number of secrets created, updated, rewritten and deleted.
func (c Counts) Writes() int { return c.Created + c.Updated + c.Rewritten + c.Deleted }

// writeEffect is what a request did to a secret.
type writeEffect int

const (
	effectNone writeEffect = iota
	effectCreated
	effectUpdated
	effectRewritten
	effectDeleted
)

// maxLog bounds the log; the oldest lines go first.
const maxLog = 50_000

// tally counts and logs. The server's mutex guards it.
type tally struct {
	counts   Counts
	requests []Request
	serial   int
}

func newTally() tally { return tally{counts: newCounts()} }

func newCounts() Counts {
	return Counts{
		ByMethod: map[string]int{}, ByKind: map[Kind]int{}, ByStatus: map[int]int{},
		Refused: map[string]int{}, Faults: map[string]int{},
	}
}

// arrived begins the log line of a request.
func (s *Server) arrived(method, path string, kind Kind) Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.serial++
	return Request{ID: fmt.Sprintf("5EA1:%08X", s.tally.serial), At: s.now(), Method: method, Path: path, Kind: kind}
}

func (t *tally) admitted(inFlight int) {
	t.counts.PeakInFlight = max(t.counts.PeakInFlight, inFlight)
}

// took counts a write at the moment at which it takes effect.
func (t *tally) took(e writeEffect) {
	switch e {
	case effectCreated:
		t.counts.Created++
	case effectUpdated:
		t.counts.Updated++
	case effectRewritten:
		t.counts.Rewritten++
	case effectDeleted:
		t.counts.Deleted++
	}
}

// add counts and logs a request that is being answered.
func (t *tally) add(r Request, d demand, admitted bool) {
	c := &t.counts
	c.Requests++
	c.ByMethod[r.Method]++
	c.ByKind[r.Kind]++
	c.ByStatus[r.Status]++
	if r.Refused != "" {
		c.Refused[r.Refused]++
	}
	if r.Fault != "" {
		c.Faults[r.Fault]++
	}
	if admitted {
		c.Points += d.points()
		c.Charged += cost(d.charged && r.Status != 304, 1)
	}
	if len(t.requests) >= maxLog {
		t.requests = slices.Delete(t.requests, 0, maxLog/10)
	}
	t.requests = append(t.requests, r)
}

// Counts returns what was asked since the last reset. A request is counted
// when it is answered, a write when it takes effect.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.tally.counts
	c.ByMethod, c.ByKind, c.ByStatus = maps.Clone(c.ByMethod), maps.Clone(c.ByKind), maps.Clone(c.ByStatus)
	c.Refused, c.Faults = maps.Clone(c.Refused), maps.Clone(c.Faults)
	return c
}

// ResetCounts begins the counts and the log anew.
func (s *Server) ResetCounts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally.counts, s.tally.requests = newCounts(), nil
}

// Requests returns the log since the last reset, in the order of the answers.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tally.requests)
}
