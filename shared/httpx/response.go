package httpx

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
)

// WriteJSON answers with the JSON of v. It writes nothing if v has none, and
// returns the error for the adapter to render.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fault.Wrap(fault.Internal, "render the answer", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(body, '\n'))
	return err
}

// response watches what a handler writes, and lets no success pass before the
// gate says so.
type response struct {
	under   http.ResponseWriter
	gate    func() error // nil once there is nothing to wait for
	blocked error        // what the gate said, if it said no
	status  int          // 0 as long as nothing was written
	bytes   int64
}

func (w *response) Header() http.Header { return w.under.Header() }

func (w *response) WriteHeader(status int) {
	if w.status != 0 || w.blocked != nil {
		return
	}
	if status < 400 && w.gate != nil {
		if w.blocked = w.gate(); w.blocked != nil {
			return
		}
	}
	if status >= 200 {
		w.status = status
	}
	w.under.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.blocked != nil {
		return 0, w.blocked
	}
	n, err := w.under.Write(b)
	w.bytes += int64(n)
	return n, err
}

// FlushError sends what was written so far; http.ResponseController calls it.
func (w *response) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if w.blocked != nil {
		return w.blocked
	}
	return http.NewResponseController(w.under).Flush()
}

// sever ends the connection under an answer that cannot be completed, so that
// the caller does not take the part for the whole. A deadline in the past does
// it without the panic that net/http has for this, which the Functions
// Framework would print.
func (w *response) sever() error {
	return http.NewResponseController(w.under).SetWriteDeadline(time.Unix(1, 0))
}
