package httpx

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/strictjson"
)

// MaxBodyBytes is the largest body that any route takes.
const MaxBodyBytes = 1 << 20

// DecodeJSON reads the body into the struct that into points to, by the rules
// of [strictjson.Unmarshal]. It returns a [fault.RequestMalformed] that names
// each field at fault, a [fault.RequestMediaType] or a [fault.RequestTooLarge].
// No error repeats anything of the body but the names of fields.
func DecodeJSON(r *http.Request, into any) error {
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	return strictjson.Unmarshal(body, into)
}

// ReadJSON returns the body, for a parser of its own: one JSON object, by the
// rules of [strictjson.Check]. Errors are those of [DecodeJSON].
func ReadJSON(r *http.Request) ([]byte, error) {
	body, err := readJSON(r)
	if err != nil {
		return nil, err
	}
	return body, strictjson.Check(body)
}

func readJSON(r *http.Request) ([]byte, error) {
	if err := checkContentType(r.Header); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, bodyTooLarge()
	case r.Context().Err() != nil:
		return nil, fault.Wrap(fault.KindOf(r.Context().Err()), "read the body", nil)
	case err != nil:
		return nil, fault.New(fault.RequestMalformed, "the body could not be read to its end")
	}
	if x := exchangeOf(r.Context()); x != nil {
		x.body = body
	}
	return body, nil
}

func bodyTooLarge() error {
	return fault.New(fault.RequestTooLarge, "the body is larger than %d bytes", MaxBodyBytes)
}

func checkContentType(header http.Header) error {
	media, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
	charset, named := parameters["charset"]
	switch {
	case err != nil, media != "application/json", len(header.Values("Content-Type")) > 1:
		return fault.New(fault.RequestMediaType, "the body must have the Content-Type application/json")
	case named && !strings.EqualFold(charset, "utf-8"):
		return fault.New(fault.RequestMediaType, "the body must be in UTF-8")
	case header.Get("Content-Encoding") != "" && !strings.EqualFold(header.Get("Content-Encoding"), "identity"):
		return fault.New(fault.RequestMediaType, "the body must not be compressed")
	}
	return nil
}

// Query is a request's parameters, each at most once.
type Query struct{ values map[string]string }

// ParseQuery returns the parameters. It returns a [fault.RequestMalformed] for
// one that is not among the known names or stands there twice, and for text
// that is not UTF-8 or has control characters.
func ParseQuery(r *http.Request, known ...string) (Query, error) {
	parsed, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Query{}, fault.New(fault.RequestMalformed, "the query is not well formed")
	}
	q := Query{values: make(map[string]string, len(parsed))}
	for name, values := range parsed {
		switch {
		case !slices.Contains(known, name):
			return Query{}, fault.New(fault.RequestMalformed, "the query has a parameter other than %s", strings.Join(known, ", "))
		case len(values) > 1:
			return Query{}, fault.New(fault.RequestMalformed, "the parameter %s is there twice", name)
		case !utf8.ValidString(values[0]) || strings.ContainsFunc(values[0], unicode.IsControl):
			return Query{}, fault.New(fault.RequestMalformed, "the parameter %s has a character that it cannot have", name)
		}
		q.values[name] = values[0]
	}
	return q, nil
}

// Text returns a parameter's text, or "" if it is not there.
func (q Query) Text(name string) string { return q.values[name] }

// Project returns the project that a parameter names, and whether it is there.
func (q Query) Project(name string) (ProjectRef, bool, error) {
	text, ok := q.values[name]
	if !ok {
		return ProjectRef{}, false, nil
	}
	var ref ProjectRef
	if ref.UnmarshalText([]byte(text)) != nil {
		return ProjectRef{}, true, fault.New(fault.RequestMalformed, "the parameter %s is not the id of a project", name)
	}
	return ref, true, nil
}

// Int returns a parameter's number from least to most, or the default if it is
// not there.
func (q Query) Int(name string, least, most, fallback int) (int, error) {
	text, ok := q.values[name]
	if !ok {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fault.New(fault.RequestMalformed, "the parameter %s is not a number from %d to %d", name, least, most)
	}
	return n, nil
}

// Time returns a parameter's RFC 3339 time in UTC, or the zero time if it is
// not there.
func (q Query) Time(name string) (time.Time, error) {
	text, ok := q.values[name]
	if !ok {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fault.New(fault.RequestMalformed, "the parameter %s is not an RFC 3339 time, like 2026-01-02T15:04:05Z", name)
	}
	return at.UTC(), nil
}

// OneOf returns a parameter's text if it is among the choices, or the first
// choice if it is not there.
func (q Query) OneOf(name string, choices ...string) (string, error) {
	text, ok := q.values[name]
	switch {
	case !ok:
		return choices[0], nil
	case !slices.Contains(choices, text):
		return "", fault.New(fault.RequestMalformed, "the parameter %s is none of %s", name, strings.TrimPrefix(strings.Join(choices, ", "), ", "))
	}
	return text, nil
}
