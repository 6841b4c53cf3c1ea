package httpx

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/telemetry"
)

// statusClientClosed is nginx's number for a caller who went away. Nobody reads
// it but the log.
const statusClientClosed = 499

// statuses is the one table from an error's kind to its status.
var statuses = map[fault.Kind]int{
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Denied:          http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Exists:          http.StatusConflict,
	fault.Conflict:        http.StatusConflict,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.Unprocessable:   http.StatusUnprocessableEntity,
	fault.Exhausted:       http.StatusTooManyRequests,
	fault.Internal:        http.StatusInternalServerError,
	fault.Upstream:        http.StatusBadGateway,
	fault.Unavailable:     http.StatusServiceUnavailable,
	fault.Deadline:        http.StatusGatewayTimeout,
	fault.Canceled:        statusClientClosed,
}

// narrower are the codes for which HTTP has a status of their own within their kind.
var narrower = map[fault.Code]int{
	fault.RequestMethod:    http.StatusMethodNotAllowed,
	fault.RequestMediaType: http.StatusUnsupportedMediaType,
}

// Status returns the status of an error's answer.
func Status(err error) int { return statusOf(fault.CodeOf(err), fault.KindOf(err)) }

func statusOf(code fault.Code, kind fault.Kind) int {
	if status, ok := narrower[code]; ok {
		return status
	}
	if status, ok := statuses[kind]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// Problem is the body of an answer that is an error, by RFC 9457.
type Problem struct {
	Type          string         `json:"type"` // urn:sealpost:error:<code>
	Title         string         `json:"title"`
	Status        int            `json:"status"`
	Detail        string         `json:"detail"`
	Code          fault.Code     `json:"code"`
	CorrelationID string         `json:"correlationId"`
	RetryAfter    int            `json:"retryAfter,omitempty"` // seconds
	Remediation   []fault.Remedy `json:"remediation"`
}

const problemType = "application/problem+json"

// ProblemOf renders what of an error is public. Its texts are ours, and pass
// the redaction all the same.
func ProblemOf(err error, correlationID string) Problem {
	code := fault.CodeOf(err)
	entry, _ := fault.Lookup(code)
	p := Problem{
		Type: "urn:sealpost:error:" + string(code), Title: entry.Title, Status: Status(err),
		Detail: telemetry.Redact(fault.Detail(err)), Code: code, CorrelationID: correlationID,
	}
	if wait, ok := fault.RetryAfter(err); ok {
		p.RetryAfter = int(math.Ceil(wait.Seconds()))
	}
	for _, step := range fault.Remedies(err) {
		p.Remediation = append(p.Remediation, fault.Remedy{Action: telemetry.Redact(step.Action), Command: telemetry.Redact(step.Command)})
	}
	return p
}

// writeProblem answers with the problem and takes back what headers the
// handler had set for its own answer.
func writeProblem(w http.ResponseWriter, p Problem) {
	header := w.Header()
	for name := range header {
		if !kept[name] {
			header.Del(name)
		}
	}
	header.Set("Content-Type", problemType)
	if p.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	if p.Status == http.StatusUnauthorized { // RFC 6750, section 3
		challenge := `Bearer realm="sealpost"`
		if p.Code != fault.AuthRequired {
			challenge += `, error="invalid_token"`
		}
		header.Set("WWW-Authenticate", challenge)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(p.body())
}

func (p Problem) body() []byte {
	body, _ := json.Marshal(p) // strings and numbers
	return append(body, '\n')
}

// kept are the headers of a failed answer that the adapter itself has set.
var kept = map[string]bool{correlationHeader: true, "Allow": true, "Cache-Control": true, "X-Content-Type-Options": true, "Content-Security-Policy": true, "Referrer-Policy": true}

// ErrorReference returns the reference page of all codes, in Markdown.
func ErrorReference() string {
	var page strings.Builder
	page.WriteString("<!-- Made by `go run ./scripts/generate`. Do not edit. -->\n# Error codes\n\n" +
		"An answer that is an error is `application/problem+json` (RFC 9457). Its `code` is one of these; its `type` is `urn:sealpost:error:` and the code.\n\n" +
		"| code | status | what happened | what to do |\n| --- | --- | --- | --- |\n")
	for _, entry := range fault.Registry() {
		row := []string{"`" + string(entry.Code) + "`", strconv.Itoa(statusOf(entry.Code, entry.Kind)), entry.Title, entry.Remedy}
		for i := range row {
			row[i] = cell.Replace(row[i])
		}
		page.WriteString("| " + strings.Join(row, " | ") + " |\n")
	}
	return page.String()
}

var cell = strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ")
