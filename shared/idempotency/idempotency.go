// Package idempotency lets a request that was sent twice be carried out once.
//
// A caller gives a request a key of its own choice. The first request with the
// key takes it, is carried out, and leaves its answer with the key; each
// further one gets that answer. The rules are those of the IETF's draft
// draft-ietf-httpapi-idempotency-key-header-07, sections 2.6 and 2.7: while the
// first is under way, a second is refused with a conflict, and the key with
// another body is refused as unprocessable.
//
// A key is one document. Who wants it creates the document, or writes it on
// condition that it is as it was read, so that of a crowd one wins and the
// others are refused at once. Times are compared by the store's clock, which
// gives both the time of a write and the time of a read.
//
// A document costs its first request 1 read and 2 writes (or 1 write and 1
// delete, if there is no answer to keep), a repeat 1 read, and a refusal 1 read.
//
// The store never holds the key, the caller or the request's body. The
// document's id is a hash of all that a key belongs to. The body is told from
// another by HMAC-SHA-256, under a key that is another hash of the same: so the
// caller's own key, which nobody else has, keeps those who read the store from
// trying out bodies, and equal bodies under two keys do not show as equal. A
// random salt beside the code would do the second only, and a key of Sealpost's
// is not for every function to have.
package idempotency

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

const (
	// Life is how long an answer is kept.
	Life = 24 * time.Hour
	// MaxAnswerBytes is the longest body that is kept, compressed: some
	// thousands of results of a sync, where Firestore takes 1 MiB a document.
	MaxAnswerBytes = 256 << 10
	// pollAfter is how long a repeat is told to wait, at the most, for the
	// request that is under way. Asking again costs one read.
	pollAfter = 5 * time.Second
)

// Keys are the keys in one store.
type Keys struct {
	Store docstore.Store
	Clock clock.Clock // for the time at which the store may drop a document, and for no decision
}

// Request is what a key belongs to, and what tells it from another request.
type Request struct {
	Caller        string // names exactly one caller
	Route         string // method and path
	Project       string // that the request is about
	Key           string // see [ParseKey]
	Body          []byte // byte for byte as it was sent
	CorrelationID string
}

// Answer is what a request was answered with.
type Answer struct {
	Status      int
	ContentType string // empty if there is no body
	Location    string // empty if there is none
	Body        []byte
	// CorrelationID is that of the request which was carried out. In what is
	// to be kept, it is filled in.
	CorrelationID string
}

// Claim is a key that was taken, until the request's answer is known. It must
// be ended with Keep or Release, or ends by itself.
type Claim struct {
	keys       Keys
	id         string
	stored     storedKey
	updateTime time.Time
}

// Begin takes the key for the request, for as long as the request may live, and
// returns the claim; or it returns the answer that the key has. Otherwise it
// returns a [fault.IdempotencyKeyReused] if the key was used with another body,
// a [fault.RequestInFlight] that says when to ask again if a request with the
// key is under way, a [fault.AnswerNotKept] if the answer was too large to be
// kept, or an error of docstore.Store. With an error, the request must not be
// carried out. If the store did not say whether the key was taken, it is free
// again after the request's life.
func (k Keys) Begin(ctx context.Context, r Request, life time.Duration) (*Claim, *Answer, error) {
	c := &Claim{keys: k, id: hex.EncodeToString(r.derive("id")), stored: storedKey{
		BodyMAC: r.bodyMAC(), CorrelationID: r.CorrelationID, InFlightMs: max(life.Milliseconds(), 1),
	}}
	condition := docstore.IfAbsent()
	record, err := collection.Get(ctx, k.Store, c.id)
	switch {
	case errors.Is(err, fault.NotFound):
	case err != nil:
		return nil, nil, fault.Annotate("idempotency.Begin", err)
	default:
		if left := record.Value.life() - record.ReadTime.Sub(record.UpdateTime); left > 0 {
			answer, err := record.Value.meet(c.stored, left)
			return nil, answer, err
		}
		condition = docstore.IfUnchanged(record.UpdateTime)
	}
	if err := c.write(ctx, condition); err != nil {
		if errors.Is(err, fault.Conflict) || errors.Is(err, fault.Exists) {
			return nil, nil, inFlight(pollAfter)
		}
		return nil, nil, fault.Annotate("idempotency.Begin", err)
	}
	return c, nil, nil
}

// Keep leaves the answer with the key. It returns a [fault.Conflict] if the
// claim had ended and another request took the key, or an error of
// docstore.Store; the answer holds all the same.
func (c *Claim) Keep(ctx context.Context, a Answer) error {
	c.stored.InFlightMs = 0
	c.stored.Status, c.stored.ContentType, c.stored.Location = int64(a.Status), a.ContentType, a.Location
	body, err := compress(a.Body)
	if err != nil {
		return fault.Wrap(fault.Internal, "compress an answer", err)
	}
	if len(body) <= MaxAnswerBytes {
		c.stored.Body = body
	} else {
		c.stored.TooLarge = true
	}
	return fault.Annotate("idempotency.Keep", c.write(ctx, docstore.IfUnchanged(c.updateTime)))
}

// Release gives the key back, so that a repeat is carried out. Errors are those
// of Keep.
func (c *Claim) Release(ctx context.Context) error {
	_, err := c.keys.Store.Commit(ctx, collection.Delete(c.id, docstore.IfUnchanged(c.updateTime)))
	return fault.Annotate("idempotency.Release", err)
}

func (c *Claim) write(ctx context.Context, condition docstore.Precondition) error {
	write, err := collection.Put(c.id, c.stored, condition)
	if err != nil {
		return err
	}
	write.ExpireAt = c.keys.Clock.Now().Add(Life).Truncate(time.Microsecond) // as the store keeps times
	at, err := c.keys.Store.Commit(ctx, write)
	if err != nil {
		return err
	}
	c.updateTime = at
	return nil
}

// bodyMAC tells the body from another one under the same key.
func (r Request) bodyMAC() []byte {
	mac := hmac.New(sha256.New, r.derive("body"))
	mac.Write(r.Body)
	return mac.Sum(nil)
}

// derive returns a hash of all that the key belongs to, for one purpose: from
// that of one purpose, nobody gets that of another. Each part comes after its
// length, so that no two requests run together into one.
func (r Request) derive(purpose string) []byte {
	hash := sha256.New()
	for _, part := range []string{purpose, r.Caller, r.Route, r.Project, r.Key} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		hash.Write(length[:])
		hash.Write([]byte(part))
	}
	return hash.Sum(nil)
}

// storedKey is the stored form.
type storedKey struct {
	BodyMAC       []byte `doc:"bodyMac"`
	CorrelationID string `doc:"correlationId"`
	InFlightMs    int64  `doc:"inFlightMs,omitempty"` // how long the request lives from the update time on; 0: answered
	Status        int64  `doc:"status,omitempty"`
	ContentType   string `doc:"contentType,omitempty"`
	Location      string `doc:"location,omitempty"`
	Body          []byte `doc:"body,omitempty"` // compressed
	TooLarge      bool   `doc:"tooLarge,omitempty"`
}

var collection = docstore.Collection[storedKey]{Name: "idempotency_keys", Version: 1}

// life is how long the document counts, from its update time on.
func (s storedKey) life() time.Duration {
	if s.InFlightMs > 0 {
		return time.Duration(s.InFlightMs) * time.Millisecond
	}
	return Life
}

// meet answers another request with the key.
func (s storedKey) meet(other storedKey, left time.Duration) (*Answer, error) {
	switch {
	case !hmac.Equal(s.BodyMAC, other.BodyMAC):
		return nil, fault.New(fault.IdempotencyKeyReused, "the Idempotency-Key was used before, with another body")
	case s.InFlightMs > 0:
		return nil, inFlight(left)
	case s.TooLarge:
		return nil, fault.New(fault.AnswerNotKept, "the request was carried out with status %d; its answer was too large to be kept", s.Status)
	}
	body, err := expand(s.Body)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "expand a kept answer", err)
	}
	return &Answer{Status: int(s.Status), ContentType: s.ContentType, Location: s.Location, Body: body, CorrelationID: s.CorrelationID}, nil
}

func inFlight(left time.Duration) error {
	return fault.New(fault.RequestInFlight, "a request with this Idempotency-Key is under way").
		WithRetryAfter(min(max(left, time.Second), pollAfter))
}
