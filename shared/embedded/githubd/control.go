package githubd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// The control endpoints. What each takes and gives is what the methods of
// [Remote] take and give, as JSON.
const (
	controlRequests = "/_control/requests"
	controlCounts   = "/_control/counts"
	controlSettings = "/_control/settings"
	controlFaults   = "/_control/faults"
	controlWorld    = "/_control/world"
	controlSecrets  = "/_control/secrets"
	controlRotate   = "/_control/rotate-key"
	controlSpend    = "/_control/spend"
	controlExpire   = "/_control/expire-tokens"
)

// Digest is a secret as the control endpoint tells it: its value only if asked.
type Digest struct {
	Name         string    `json:"name"`
	SHA256       string    `json:"sha256"` // of the value, hexadecimal
	Bytes        int       `json:"bytes"`
	Value        *string   `json:"value,omitempty"`
	CreatedAt    time.Time `json:"createdAt"`
	UpdatedAt    time.Time `json:"updatedAt"`
	Visibility   string    `json:"visibility,omitempty"`
	Repositories []int64   `json:"repositories,omitempty"`
}

// edit is the body of an out-of-band edit.
type edit struct {
	Target
	Value string `json:"value"`
}

// spending is the body of a use of limits by somebody else.
type spending struct {
	Identity string `json:"identity"`
	Requests int    `json:"requests,omitempty"`
	Points   int    `json:"points,omitempty"`
}

// control serves the control endpoints.
func (s *Server) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+controlRequests, answering(func(*http.Request) (any, error) { return s.Requests(), nil }))
	mux.HandleFunc("GET "+controlCounts, answering(func(*http.Request) (any, error) { return s.Counts(), nil }))
	mux.HandleFunc("DELETE "+controlCounts, answering(func(*http.Request) (any, error) { s.ResetCounts(); return nil, nil }))
	mux.HandleFunc("GET "+controlSettings, answering(func(*http.Request) (any, error) { return s.Settings(), nil }))
	mux.HandleFunc("PUT "+controlSettings, taking(func(v Settings) error { s.SetSettings(v); return nil }))
	mux.HandleFunc("GET "+controlFaults, answering(func(*http.Request) (any, error) { return s.Struck(), nil }))
	mux.HandleFunc("POST "+controlFaults, taking(s.AddFault))
	mux.HandleFunc("DELETE "+controlFaults, answering(func(*http.Request) (any, error) { s.ClearFaults(); return nil, nil }))
	mux.HandleFunc("POST "+controlWorld, taking(s.Add))
	mux.HandleFunc("GET "+controlSecrets, answering(s.digests))
	mux.HandleFunc("PUT "+controlSecrets, taking(func(e edit) error { return s.Edit(e.Target, e.Value) }))
	mux.HandleFunc("DELETE "+controlSecrets, taking(s.Remove))
	mux.HandleFunc("POST "+controlRotate, taking(func(t Target) error { return s.RotateKey(t.Container, t.Scope) }))
	mux.HandleFunc("POST "+controlSpend, taking(func(v spending) error { s.Spend(v.Identity, v.Requests, v.Points); return nil }))
	mux.HandleFunc("POST "+controlExpire, answering(func(*http.Request) (any, error) { s.ExpireTokens(); return nil, nil }))
	return loopbackOnly(mux)
}

// loopbackOnly keeps out other machines, and web pages in a browser on this
// one: they send an Origin, or reach it by a name of their own.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback(r.RemoteAddr) || !loopback(r.Host) || r.Header.Get("Origin") != "" {
			http.Error(w, "the control endpoints are for this machine only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *Server) digests(r *http.Request) (any, error) {
	query := r.URL.Query()
	all, err := s.Stored(query.Get("container"), secret.Scope(query.Get("scope")))
	if err != nil {
		return nil, err
	}
	digests := make([]Digest, len(all))
	for i, held := range all {
		hash := sha256.Sum256([]byte(held.Value))
		digests[i] = Digest{
			Name: held.Name, SHA256: hex.EncodeToString(hash[:]), Bytes: len(held.Value),
			CreatedAt: held.CreatedAt, UpdatedAt: held.UpdatedAt, Visibility: held.Visibility, Repositories: held.Repositories,
		}
		if query.Get("values") == "true" {
			digests[i].Value = &held.Value
		}
	}
	return digests, nil
}

// answering makes a handler of a function that gives something.
func answering(give func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := give(r)
		if err != nil {
			controlError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(encode(answer)) // the caller may be gone
	}
}

// taking makes a handler of a function that takes a JSON body.
func taking[T any](take func(T) error) http.HandlerFunc {
	return answering(func(r *http.Request) (any, error) {
		var body T
		decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&body); err != nil {
			return nil, fault.Wrap(fault.Invalid, "githubd: body of "+r.Method+" "+r.URL.Path, err)
		}
		return nil, take(body)
	})
}

func controlError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch fault.KindOf(err) {
	case fault.Invalid:
		status = http.StatusBadRequest
	case fault.NotFound:
		status = http.StatusNotFound
	}
	http.Error(w, err.Error(), status)
}
