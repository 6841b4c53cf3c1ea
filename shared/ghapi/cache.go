package ghapi

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/syncer"
)

// Bounds of the cache: a repository has four or so lists of a page or two.
const (
	maxEntries = 256
	maxCached  = 4 << 20 // bytes of content
)

// cache keeps answers with their ETags, to ask GitHub only whether they still
// hold: a 304 costs nothing of the hourly quota. ETags vary with the token, so
// a new token empties the cache.
type cache struct {
	mu      sync.Mutex
	token   *token
	entries map[string]*entry // by URL
	order   []string          // oldest first
	size    int
}

type entry struct {
	header  http.Header
	content []byte
}

// lookUp returns what is known of a GET, or nil.
func (c *cache) lookUp(shown *token, req *http.Request) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if req.Method != http.MethodGet || c.token != shown {
		return nil
	}
	return c.entries[req.URL.String()]
}

// keep remembers an answer that has an ETag.
func (c *cache) keep(shown *token, req *http.Request, answer *http.Response, content []byte) {
	if req.Method != http.MethodGet || answer.StatusCode != http.StatusOK || answer.Header.Get("ETag") == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != shown || c.entries == nil {
		c.token, c.entries, c.order, c.size = shown, map[string]*entry{}, nil, 0
	}
	url := req.URL.String()
	if old := c.entries[url]; old != nil {
		c.size -= len(old.content)
	} else {
		c.order = append(c.order, url)
	}
	c.entries[url] = &entry{answer.Header.Clone(), content}
	c.size += len(content)
	for len(c.order) > maxEntries || c.size > maxCached && len(c.order) > 0 {
		c.size -= len(c.entries[c.order[0]].content)
		delete(c.entries, c.order[0])
		c.order = c.order[1:]
	}
}

// complete makes a 304 the answer that it stands for. Its own headers, such as
// the Date, are newer and stay.
func (e *entry) complete(answer *http.Response) {
	for name, values := range e.header {
		if answer.Header.Get(name) == "" {
			answer.Header[name] = values
		}
	}
	answer.StatusCode, answer.Status = http.StatusOK, "200 OK"
	answer.ContentLength = int64(len(e.content))
	answer.Header.Del("Content-Length")
}

// quota is what GitHub last told of an identity's hourly budget.
type quota struct {
	mu   sync.Mutex
	told syncer.Quota
	good time.Time // until when, on our clock; zero if nothing was told
}

// noQuotaLife is how long GitHub is believed to set no quota.
const noQuotaLife = time.Hour

// note reads the quota from an answer's headers. Answers may overtake each
// other: within one hour, the lowest figure is the latest. A good answer that
// tells nothing is from an Enterprise Server without rate limits. Source:
// jupyterhub/binderhub#984.
func (q *quota) note(answer *http.Response, now time.Time) {
	h := answer.Header
	if h.Get("X-Ratelimit-Limit") == "" {
		if _, good := q.current(now); !good && answer.StatusCode < 400 {
			q.set(syncer.Quota{}, now.Add(noQuotaLife))
		}
		return
	}
	limit, limitErr := strconv.Atoi(h.Get("X-Ratelimit-Limit"))
	remaining, remainingErr := strconv.Atoi(h.Get("X-Ratelimit-Remaining"))
	reset, resetErr := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64)
	resource := strings.ToLower(h.Get("X-Ratelimit-Resource"))
	if limitErr != nil || remainingErr != nil || resetErr != nil || resource != "" && resource != "core" {
		return
	}
	told := syncer.Quota{Limit: limit, Remaining: remaining, ResetAt: time.Unix(reset, 0).UTC()}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case told.ResetAt.Before(q.told.ResetAt):
		return
	case told.ResetAt.Equal(q.told.ResetAt):
		told.Remaining = min(told.Remaining, q.told.Remaining)
	}
	q.told, q.good = told, now.Add(told.ResetAt.Sub(dateOf(h, now)))
}

// set takes what was asked for.
func (q *quota) set(told syncer.Quota, good time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.told, q.good = told, good
}

// current returns what was told, and whether it still holds.
func (q *quota) current(now time.Time) (syncer.Quota, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.told, now.Before(q.good)
}
