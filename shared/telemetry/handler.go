package telemetry

import (
	"context"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
)

// Levels between and above those of slog, as Cloud Logging has them.
const (
	LevelNotice   = slog.LevelInfo + 2
	LevelCritical = slog.LevelError + 4
)

// The fields that Cloud Logging takes out of a JSON line. Source:
// cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields.
const (
	fieldSeverity = "severity"
	fieldMessage  = "message"
	fieldTime     = "time"
	fieldTrace    = "logging.googleapis.com/trace"
	fieldSpan     = "logging.googleapis.com/spanId"
	fieldSampled  = "logging.googleapis.com/trace_sampled"
	fieldLabels   = "logging.googleapis.com/labels"
	fieldSource   = "logging.googleapis.com/sourceLocation"
)

// Options say how a log is written.
type Options struct {
	Level    slog.Leveler // least level that is written; nil for Info
	Project  string       // Google Cloud project that traces belong to; empty writes bare trace ids
	Function string       // name of the function, for the label "function"; empty for none
	Source   bool         // add the source location of each line
}

// NewLogger returns a logger that writes redacted JSON lines to w, one write a
// line. It is safe for use by several goroutines.
func NewLogger(w io.Writer, o Options) *slog.Logger {
	if o.Level == nil {
		o.Level = slog.LevelInfo
	}
	lines := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: o.Level, ReplaceAttr: rename})
	return slog.New(&handler{lines: lines, options: o})
}

// rename gives slog's own fields the names of Cloud Logging. Attributes never
// carry those names at the top: see handler.Handle.
func rename(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.LevelKey:
		level, _ := a.Value.Any().(slog.Level)
		return slog.String(fieldSeverity, severity(level))
	case slog.MessageKey:
		a.Key = fieldMessage
	}
	return a
}

func severity(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "DEBUG"
	case l < LevelNotice:
		return "INFO"
	case l < slog.LevelWarn:
		return "NOTICE"
	case l < slog.LevelError:
		return "WARNING"
	case l < LevelCritical:
		return "ERROR"
	}
	return "CRITICAL"
}

// handler keeps groups and attributes itself instead of handing them on, so
// that what comes from the context stays at the top of the line.
type handler struct {
	lines   slog.Handler
	options Options
	scopes  []scope // outermost first
}

// scope is one WithGroup, or one WithAttrs if it has no name.
type scope struct {
	group string
	attrs []slog.Attr
}

func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.lines.Enabled(ctx, l) }

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	return h.with(scope{attrs: scrubAttrs(attrs)})
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.with(scope{group: Redact(name)})
}

func (h *handler) with(s scope) slog.Handler {
	c := *h
	c.scopes = append(slices.Clip(c.scopes), s)
	return &c
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	line := slog.NewRecord(r.Time, r.Level, Redact(r.Message), 0)
	line.AddAttrs(h.contextAttrs(ctx)...)
	if h.options.Source && r.PC != 0 {
		line.AddAttrs(sourceLocation(r.PC))
	}
	for _, a := range h.attrs(r) {
		line.AddAttrs(keepOffReserved(a))
	}
	return h.lines.Handle(ctx, line)
}

// attrs returns the record's attributes inside the groups that are open, with
// those of the logger before them.
func (h *handler) attrs(r slog.Record) []slog.Attr {
	var attrs []slog.Attr
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, scrubAttrs([]slog.Attr{a})...)
		return true
	})
	for _, s := range slices.Backward(h.scopes) {
		switch {
		case s.group == "":
			attrs = append(slices.Clip(s.attrs), attrs...)
		case len(attrs) > 0:
			attrs = []slog.Attr{{Key: s.group, Value: slog.GroupValue(attrs...)}}
		}
	}
	return attrs
}

// keepOffReserved renames an attribute that would stand in the line twice.
func keepOffReserved(a slog.Attr) slog.Attr {
	switch a.Key {
	case slog.LevelKey, slog.MessageKey, fieldSeverity, fieldMessage, fieldTime,
		fieldTrace, fieldSpan, fieldSampled, fieldLabels, fieldSource:
		a.Key += "_"
	}
	return a
}

func (h *handler) contextAttrs(ctx context.Context) []slog.Attr {
	var attrs, labels []slog.Attr
	if t, ok := TraceFrom(ctx); ok {
		attrs = append(attrs, field(fieldTrace, slog.StringValue(h.traceName(t.TraceID))), field(fieldSampled, slog.BoolValue(t.Sampled)))
		if t.SpanID != "" {
			attrs = append(attrs, field(fieldSpan, slog.StringValue(t.SpanID)))
		}
	}
	if id := Correlation(ctx); id != "" {
		labels = append(labels, slog.String("correlationId", id))
	}
	if h.options.Function != "" {
		labels = append(labels, slog.String("function", h.options.Function))
	}
	if len(labels) > 0 {
		attrs = append(attrs, field(fieldLabels, slog.GroupValue(labels...)))
	}
	return attrs
}

func (h *handler) traceName(id string) string {
	if h.options.Project == "" {
		return id
	}
	return "projects/" + h.options.Project + "/traces/" + id
}

func sourceLocation(pc uintptr) slog.Attr {
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	return field(fieldSource, slog.GroupValue(
		slog.String("file", frame.File),
		slog.String("line", strconv.Itoa(frame.Line)), // an int64, which JSON carries as text
		slog.String("function", frame.Function)))
}

// field is an attribute whose name is Cloud Logging's and not in our style.
func field(name string, value slog.Value) slog.Attr { return slog.Attr{Key: name, Value: value} }
