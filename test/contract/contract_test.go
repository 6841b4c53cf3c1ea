package contract

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"github.com/sealpost/sealpost/shared/audit"
	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/auth/authtest"
	"github.com/sealpost/sealpost/shared/auth/idtoken"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/shared/manifest"
)

func TestDescriptionHasTheCataloguesRoutes(t *testing.T) {
	t.Parallel()
	var want, got []string
	for _, f := range catalogue.Functions() {
		if f.Exposure == catalogue.Private {
			continue // Pub/Sub describes what it pushes
		}
		for _, r := range f.Routes {
			want = append(want, r.Method+" "+r.Path+" "+string(r.Role))
		}
	}
	for path, item := range New(t).model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			role, ok := operation.Extensions.Get("x-sealpost-role")
			if !ok {
				t.Errorf("%s %s has no x-sealpost-role", method, path)
				continue
			}
			got = append(got, strings.ToUpper(method)+" "+path+" "+role.Value)
			if open := operation.Security != nil && len(operation.Security) == 0; open != (role.Value == string(catalogue.Anyone)) {
				t.Errorf("%s %s: the security does not go with the role %s", method, path, role.Value)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("the description has\n%s\nthe catalogue has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestExamples holds every example to its schema, and the problems among them
// to the registry of codes.
func TestExamples(t *testing.T) {
	t.Parallel()
	c := New(t)
	count := 0
	check := func(where, mediaType string, media *v3.MediaType) {
		if strings.Contains(mediaType, "json") && mediaType != "application/x-ndjson" && media.Examples.Len() == 0 {
			t.Errorf("%s has no example", where)
		}
		for name, example := range media.Examples.FromOldest() {
			var value any
			if err := example.Value.Decode(&value); err != nil {
				t.Errorf("%s, %s: %v", where, name, err)
				continue
			}
			raw, err := json.Marshal(value)
			if err != nil {
				t.Errorf("%s, %s: %v", where, name, err)
			}
			count++
			if ok, faults := c.schemas.ValidateSchemaBytesWithVersion(media.Schema.Schema(), raw, openAPIVersion); !ok {
				t.Errorf("%s, %s: %s", where, name, texts(faults))
			}
			if mediaType == "application/problem+json" {
				checkProblem(t, where, raw)
			}
		}
	}
	for path, item := range c.model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			where := method + " " + path
			if operation.RequestBody != nil {
				for mediaType, media := range operation.RequestBody.Content.FromOldest() {
					check(where, mediaType, media)
				}
			}
			for status, response := range operation.Responses.Codes.FromOldest() {
				for mediaType, media := range response.Content.FromOldest() {
					check(where+" "+status, mediaType, media)
				}
			}
		}
	}
	if count < 50 {
		t.Errorf("%d examples were found, which cannot be all", count)
	}
}

func checkProblem(t *testing.T, where string, raw []byte) {
	t.Helper()
	var p httpx.Problem
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	entry, ok := fault.Lookup(p.Code)
	last := len(p.Remediation) - 1
	if !ok || p.Title != entry.Title || p.Type != "urn:sealpost:error:"+string(p.Code) || p.Status != httpx.Status(fault.New(p.Code, "x")) || p.Remediation[last].Action != entry.Remedy {
		t.Errorf("%s: the example of %s is not what the registry says: %+v", where, p.Code, entry)
	}
}

// TestManifestSchemaAndParserAgree on what a manifest is.
func TestManifestSchemaAndParserAgree(t *testing.T) {
	t.Parallel()
	c := New(t)
	schema, _ := c.model.Components.Schemas.Get("Manifest")
	for text, good := range map[string]bool{
		`{"project":"payments-api","github":{"owner":"acme","repo":"app"}}`:                                                                                                  true,
		`{"project":"payments-api","github":{"owner":"acme","repo":"app"},"policy":{"allowRollback":true},"exclude":["LEGACY_*"]}`:                                           true,
		`{"project":"p","github":{"owner":"acme","repo":"app"},"secrets":[{"name":"a","from":"b","scopes":["org-actions"],"visibility":"selected","repositories":["app"]}]}`: true,
		`{"project":"p","github":{"owner":"acme","repo":"app"},"environments":{"production":{"secrets":[{"name":"A","from":"b"}]}}}`:                                         true,
		`{"project":"p"}`:                                                                                               false,
		`{"github":{"owner":"acme","repo":"app"}}`:                                                                      false,
		`{"project":"P","github":{"owner":"acme","repo":"app"}}`:                                                        false,
		`{"project":"p","github":{"owner":"acme","repo":"app"},"value":"x"}`:                                            false,
		`{"project":"p","github":{"owner":"acme","repo":"app"},"secrets":[{"name":"1A","from":"b"}]}`:                   false,
		`{"project":"p","github":{"owner":"acme","repo":"app"},"secrets":[{"name":"A","from":"b","scopes":["x"]}]}`:     false,
		`{"project":"p","github":{"owner":"acme","repo":"app"},"environments":{"e":{"protection":{"waitMinutes":30}}}}`: false,
	} {
		described, _ := c.schemas.ValidateSchemaBytesWithVersion(schema.Schema(), []byte(text), openAPIVersion)
		_, err := manifest.ParseJSON([]byte(text))
		if described != good || (err == nil) != good {
			t.Errorf("%s\nschema %v, parser %v, want %v", text, described, err, good)
		}
	}
}

func TestDescriptionKnowsEveryOperationOfTheAudit(t *testing.T) {
	t.Parallel()
	schema, _ := New(t).model.Components.Schemas.Get("AuditOperation")
	var described []string
	for _, node := range schema.Schema().Enum {
		described = append(described, node.Value)
	}
	for _, operation := range []audit.Operation{audit.SyncIntent, audit.SyncCompleted, audit.SecretCreate, audit.SecretUpdate, audit.SecretDelete,
		audit.ProjectRegister, audit.ProjectUpdate, audit.ProjectRemove} {
		if !slices.Contains(described, string(operation)) {
			t.Errorf("%s is not described", operation)
		}
	}
}

// TestCheckerFindsWhatIsWrong plants one fault in each exchange.
func TestCheckerFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := New(t)
	status := `{"projectId":"p","state":"idle","counts":{"synced":0,"pending":0,"failed":0,"conflicts":0,"excluded":0},"lastSync":null,"nextSyncAt":null,"secrets":[]}`
	problem := `{"type":"urn:sealpost:error:REQUEST_MALFORMED","title":"t","status":400,"detail":"d","code":"REQUEST_MALFORMED","correlationId":"c","remediation":[{"action":"a"}]}`
	const path, json, problemJSON = "/github/secrets/sync/status?projectId=p", "application/json", "application/problem+json"
	for name, e := range map[string]struct {
		method, path, asked string
		status              int
		contentType, answer string
		wrong               bool
	}{
		"good":                    {"GET", path, "", 200, json, status, false},
		"good problem":            {"GET", path, "", 400, problemJSON, problem, false},
		"any other problem":       {"GET", path, "", 500, problemJSON, problem, false},
		"refused bad request":     {"GET", "/github/secrets/sync/status?limit=x", "", 400, problemJSON, problem, false},
		"unknown route":           {"GET", "/other", "", 403, problemJSON, problem, false},
		"unknown method":          {"DELETE", path, "", 405, problemJSON, problem, false},
		"no content":              {"DELETE", "/projects/p", "", 204, "", "", false},
		"accepted request":        {"POST", "/projects", `{"project":"p","github":{"owner":"a","repo":"b"}}`, 400, problemJSON, problem, false},
		"field missing":           {"GET", path, "", 200, json, strings.Replace(status, `"state":"idle",`, "", 1), true},
		"field too many":          {"GET", path, "", 200, json, strings.Replace(status, `"state"`, `"value":"x","state"`, 1), true},
		"wrong type":              {"GET", path, "", 200, json, strings.Replace(status, `"synced":0`, `"synced":"0"`, 1), true},
		"wrong time":              {"GET", path, "", 200, json, strings.Replace(status, `"nextSyncAt":null`, `"nextSyncAt":"soon"`, 1), true},
		"wrong content type":      {"GET", path, "", 200, "text/html", status, true},
		"no body":                 {"GET", path, "", 200, json, "", true},
		"undescribed status":      {"GET", path, "", 302, json, status, true},
		"problem as JSON":         {"GET", path, "", 400, json, problem, true},
		"problem without code":    {"GET", path, "", 500, problemJSON, strings.Replace(problem, `"code":"REQUEST_MALFORMED",`, "", 1), true},
		"took a bad parameter":    {"GET", "/github/secrets/sync/status?projectId=A_B", "", 200, json, status, true},
		"took no parameter":       {"GET", "/github/secrets/sync/status", "", 200, json, status, true},
		"took a bad body":         {"POST", "/github/secrets/sync", `{"projectId":"p","value":"x"}`, 202, json, status, true},
		"answered another route":  {"GET", "/other", "", 200, json, status, true},
		"refused without problem": {"GET", "/other", "", 403, "text/plain", "no", true},
	} {
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Correlation-Id", "c")
			w.Header().Set("Content-Type", e.contentType)
			w.WriteHeader(e.status)
			_, _ = io.WriteString(w, e.answer)
		})
		r := httptest.NewRequest(e.method, e.path, strings.NewReader(e.asked))
		r.Header.Set("Content-Type", json)
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		findings := c.Findings(r, []byte(e.asked), answer.Result(), answer.Body.Bytes())
		if (len(findings) > 0) != e.wrong {
			t.Errorf("%s: findings = %q, want any: %v", name, findings, e.wrong)
		}
	}
	answer := httptest.NewRecorder()
	_, _ = answer.WriteString(status)
	if len(c.Findings(httptest.NewRequest("GET", path, nil), nil, answer.Result(), answer.Body.Bytes())) == 0 {
		t.Error("an answer without X-Correlation-Id passes")
	}
}

// TestNoRouteTakesABadToken is the matrix of routes and credentials: every
// route of every function, in front of a handler that must not be reached.
func TestNoRouteTakesABadToken(t *testing.T) {
	t.Parallel()
	c := New(t)
	now := clock.Real().Now()
	for _, by := range []auth.Issuer{
		{URL: auth.GoogleURL, Audience: "https://sealpost.acme.example", Kind: auth.Google},
		{URL: "http://127.0.0.1:8080/issuer", Audience: "https://sealpost.acme.example", Kind: auth.Local},
	} {
		provider := authtest.NewProvider(t, by)
		refused := authtest.Refused(t, provider, now)
		verifier, err := idtoken.New(idtoken.Options{
			Issuers: []auth.Issuer{by}, AllowLocal: true, Clock: clock.Real(), Transport: provider,
			Bindings: auth.Bindings{"email:alice@acme.example": {auth.AllProjects: catalogue.Roles()}},
		})
		if err != nil {
			t.Fatal(err)
		}
		good := http.Header{"Authorization": {"Bearer " + provider.Sign(provider.Claims(now, nil))}}
		for _, f := range catalogue.Functions() {
			reached := false
			handlers := httpx.Handlers{}
			for _, route := range f.Routes {
				handlers[route.Method+" "+route.Path] = func(http.ResponseWriter, *http.Request) error { reached = true; return fault.Unprocessable }
			}
			handler := httpx.Function(f, httpx.Kit{Log: slog.New(slog.DiscardHandler), Clock: clock.Real(), Authenticator: verifier}, handlers)
			call := func(method, path string, header http.Header) *httptest.ResponseRecorder {
				reached = false
				r := httptest.NewRequest(method, strings.Replace(path, "{id}", "payments-api", 1), bytes.NewReader([]byte("{}")))
				r.Header = maps.Clone(header)
				r.Header.Set("Content-Type", "application/json")
				answer := httptest.NewRecorder()
				handler.ServeHTTP(answer, r)
				return answer
			}
			for _, route := range f.Routes {
				where := route.Method + " " + route.Path
				if answer := call(route.Method, route.Path, good); !reached || answer.Code != http.StatusUnprocessableEntity {
					t.Errorf("%s with a good token of %s = %d %s", where, by.Kind, answer.Code, answer.Body)
				}
				if route.Role == catalogue.Anyone {
					continue
				}
				for _, bad := range refused {
					answer := call(route.Method, route.Path, bad.Header)
					if reached || answer.Code != http.StatusUnauthorized || !strings.Contains(answer.Body.String(), `"code":"`+string(bad.Code)+`"`) {
						t.Errorf("%s, %s: %d %s, reached %v", where, bad.Name, answer.Code, answer.Body, reached)
					}
					if f.Exposure == catalogue.Private {
						continue // not in the description
					}
					r := httptest.NewRequest(route.Method, strings.Replace(route.Path, "{id}", "payments-api", 1), nil)
					for _, finding := range c.Findings(r, nil, answer.Result(), answer.Body.Bytes()) {
						t.Errorf("%s, %s: %s", where, bad.Name, finding)
					}
				}
			}
			for _, path := range []string{"/", "/metrics", "/projects/a/b", "/github/secrets", "/internal"} {
				if answer := call(http.MethodGet, path, good); reached || answer.Code != http.StatusForbidden {
					t.Errorf("%s: GET %s with a good token = %d, reached %v", f.Name, path, answer.Code, reached)
				}
			}
		}
	}
}

// errorSink is a test that is expected to fail.
type errorSink struct {
	testing.TB
	errors int
}

func (s *errorSink) Errorf(string, ...any) { s.errors++ }

func TestHandlerPassesTheAnswerOnAndReports(t *testing.T) {
	t.Parallel()
	sink := &errorSink{TB: t}
	handler := New(t).Handler(sink, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Correlation-Id", "c")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(body)
	}))
	r := httptest.NewRequest(http.MethodPost, "/github/secrets/sync", strings.NewReader(`{"projectId":"p"}`))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, r)
	if answer.Code != http.StatusAccepted || answer.Body.String() != `{"projectId":"p"}` || answer.Header().Get("X-Correlation-Id") != "c" {
		t.Errorf("answer = %d %v %s", answer.Code, answer.Header(), answer.Body)
	}
	if sink.errors == 0 {
		t.Error("a request's body as an answer was not reported")
	}
}
