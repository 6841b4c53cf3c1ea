package telemetry

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Trace is where in a distributed trace the present work belongs.
type Trace struct {
	TraceID string // 32 lower-case hex digits
	SpanID  string // 16 lower-case hex digits, or empty
	Sampled bool
}

type (
	correlationKey struct{}
	traceKey       struct{}
)

// WithCorrelation returns a context whose log lines carry the correlation id.
func WithCorrelation(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, correlationKey{}, id)
}

// Correlation returns the context's correlation id, or "" if it has none.
func Correlation(ctx context.Context) string {
	id, _ := ctx.Value(correlationKey{}).(string)
	return id
}

// WithTrace returns a context whose log lines belong to the trace.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceFrom returns the context's trace, and whether it has one.
func TraceFrom(ctx context.Context) (Trace, bool) {
	t, ok := ctx.Value(traceKey{}).(Trace)
	return t, ok
}

var (
	// traceparent follows W3C Trace Context, section 3.2: a version above 00
	// may be followed by more fields.
	traceparent = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$`)

	// cloudTrace is Google's older form, TRACE_ID/SPAN_ID;o=OPTIONS, where the
	// span is a decimal number and all but the trace id may be missing. Source:
	// cloud.google.com/trace/docs/trace-context.
	cloudTrace = regexp.MustCompile(`^([0-9a-fA-F]{32})(?:/([0-9]{0,20}))?(?:;o=([0-9]*))?$`)
)

// ParseTraceparent reads the value of a traceparent header, and reports
// whether it names a trace.
func ParseTraceparent(header string) (Trace, bool) {
	m := traceparent.FindStringSubmatch(header)
	switch {
	case m == nil, m[1] == "ff", m[1] == "00" && m[5] != "", allZero(m[2]), allZero(m[3]):
		return Trace{}, false
	}
	flags, _ := strconv.ParseUint(m[4], 16, 8) // two hex digits: the pattern says so
	return Trace{TraceID: m[2], SpanID: m[3], Sampled: flags&1 == 1}, true
}

// ParseCloudTrace reads the value of an X-Cloud-Trace-Context header, and
// reports whether it names a trace.
func ParseCloudTrace(header string) (Trace, bool) {
	m := cloudTrace.FindStringSubmatch(header)
	if len(m) == 0 || allZero(m[1]) {
		return Trace{}, false
	}
	t := Trace{TraceID: strings.ToLower(m[1]), Sampled: m[3] == "1"}
	if span, err := strconv.ParseUint(m[2], 10, 64); err == nil && span != 0 {
		t.SpanID = fmt.Sprintf("%016x", span)
	}
	return t, true
}

func allZero(s string) bool { return strings.Trim(s, "0") == "" }
