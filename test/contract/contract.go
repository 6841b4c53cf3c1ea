// Package contract holds handlers to shared/openapi.yaml: it checks what they
// answer, and that requests which they accept are those that the description
// allows.
//
// A handler's test wraps it in [Checker.Handler] and goes on as before.
package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/errors"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	"github.com/pb33f/libopenapi/datamodel/high/base"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// openAPIVersion is the description's, as the validator wants it.
const openAPIVersion = 3.1

// Checker compares requests and answers with the description. It is safe for
// use by several goroutines.
type Checker struct {
	model     *v3.Document
	validator validator.Validator
	schemas   schema_validation.SchemaValidator
	problem   *base.Schema
}

// New reads the description of the checkout that the test runs in. It takes a
// good part of a second, so that a test makes one and shares it.
func New(t testing.TB) *Checker {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(t), "shared", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

func parse(t testing.TB, text []byte) *Checker {
	t.Helper()
	document, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	options := []config.Option{config.WithFormatAssertions(), config.WithoutSecurityValidation(), config.WithRejectUndeclaredRequestBody()}
	v, faults := validator.NewValidator(document, options...)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if ok, faults := v.ValidateDocument(); !ok {
		t.Fatalf("openapi.yaml is not OpenAPI: %s", texts(faults))
	}
	c := &Checker{model: &model.Model, validator: v, schemas: schema_validation.NewSchemaValidator(options...)}
	problem, ok := model.Model.Components.Schemas.Get("Problem")
	if !ok {
		t.Fatal("openapi.yaml has no schema Problem")
	}
	c.problem = problem.Schema()
	return c
}

// root returns the directory of go.mod at or above the working directory.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working directory")
		}
	}
}

// Handler returns next under check: each exchange that does not keep to the
// description is an error of the test. The answer reaches the caller whole, at
// once; a handler that is to be seen streaming is not to be wrapped.
func (c *Checker) Handler(t testing.TB, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read the body of %s %s: %v", r.Method, r.URL.Path, err)
		}
		request := r.Clone(r.Context())
		request.Body = io.NopCloser(bytes.NewReader(asked))
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, request)

		for _, finding := range c.Findings(r, asked, answer.Result(), answer.Body.Bytes()) {
			t.Errorf("%s %s = %d: %s", r.Method, r.URL, answer.Code, finding)
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // a caller that goes away is the test's own affair
	})
}

// Findings tells what of an exchange is not as the description has it. The
// request is looked at only if it was accepted: a handler may be stricter than
// the description, but not laxer.
func (c *Checker) Findings(r *http.Request, asked []byte, answer *http.Response, answered []byte) []string {
	request := r.Clone(r.Context())
	request.Body = io.NopCloser(bytes.NewReader(asked))
	request.ContentLength = int64(len(asked))
	if request.Method == http.MethodHead {
		request.Method = http.MethodGet
	}
	response := *answer
	response.Body = io.NopCloser(bytes.NewReader(answered))

	var findings []string
	if answer.Header.Get("X-Correlation-Id") == "" {
		findings = append(findings, "the answer has no X-Correlation-Id")
	}
	if !c.describes(request) {
		return append(findings, c.refusal(answer, answered)...)
	}
	if answer.StatusCode < 400 {
		if ok, faults := c.validator.ValidateHttpRequestSync(request); !ok {
			findings = append(findings, prefixed("it was accepted: ", faults)...)
		}
	}
	if r.Method == http.MethodHead {
		return findings
	}
	if len(answered) == 0 && answer.StatusCode != http.StatusNoContent {
		return append(findings, "the answer has no body")
	}
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "application/x-ndjson") {
		return findings // the validator takes a body for one document
	}
	if ok, faults := c.validator.ValidateHttpResponse(request, &response); !ok {
		findings = append(findings, prefixed("", faults)...)
	}
	return findings
}

// SchemaFindings tells what of a JSON text is not as the description's schema of
// that name has it: for what does not come over HTTP, but has the same form.
func (c *Checker) SchemaFindings(name string, text []byte) []string {
	schema, ok := c.model.Components.Schemas.Get(name)
	if !ok {
		return []string{"the description has no schema " + name}
	}
	if ok, faults := c.schemas.ValidateSchemaBytesWithVersion(schema.Schema(), text, openAPIVersion); !ok {
		return prefixed("", faults)
	}
	return nil
}

// describes reports whether the description has the request's route.
func (c *Checker) describes(r *http.Request) bool {
	pattern, methods := c.mux()
	probe := &http.Request{Method: http.MethodGet, URL: r.URL, Host: r.Host}
	_, path := pattern.Handler(probe)
	return slices.Contains(methods[path], r.Method)
}

// mux finds a path of the description; net/http has the same syntax for it.
func (c *Checker) mux() (*http.ServeMux, map[string][]string) {
	mux, methods := http.NewServeMux(), map[string][]string{}
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		mux.Handle(path, http.NotFoundHandler())
		for method := range item.GetOperations().FromOldest() {
			methods[path] = append(methods[path], strings.ToUpper(method))
		}
	}
	return mux, methods
}

// refusal checks the answer to what the description does not have.
func (c *Checker) refusal(answer *http.Response, answered []byte) []string {
	var findings []string
	if answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusMethodNotAllowed {
		findings = append(findings, "a route that the description does not have is refused with 403 or 405")
	}
	if answer.Header.Get("Content-Type") != "application/problem+json" {
		findings = append(findings, "the refusal is not a problem")
	}
	if ok, faults := c.schemas.ValidateSchemaBytesWithVersion(c.problem, answered, openAPIVersion); !ok {
		findings = append(findings, prefixed("", faults)...)
	}
	return findings
}

func prefixed(prefix string, faults []*errors.ValidationError) []string {
	var lines []string
	for _, f := range faults {
		line := prefix + f.Message + ": " + f.Reason
		for _, detail := range f.SchemaValidationErrors {
			line += fmt.Sprintf("; %s: %s", detail.FieldPath, detail.Reason)
		}
		lines = append(lines, line)
	}
	return lines
}

func texts(faults []*errors.ValidationError) string {
	text, _ := json.Marshal(prefixed("", faults)) // strings
	return string(text)
}
