package githubd_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-github/v66/github"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
)

// openapi is an extract of GitHub's own description: see scripts/octokit.
//
//go:embed testdata/openapi.json
var openapi []byte

// everywhere are the statuses that GitHub documents for the whole API rather
// than for each operation.
var everywhere = []int{304, 401, 403, 404, 422, 429}

// send sends a request to the server without a network.
func send(t testing.TB, s *githubd.Server, token, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://github.test"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return do(t, s.Client(), request)
}

func do(t testing.TB, client *http.Client, request *http.Request) *http.Response {
	t.Helper()
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(raw))
	return answer
}

func bodyOf(t testing.TB, answer *http.Response) string {
	t.Helper()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body = io.NopCloser(bytes.NewReader(raw))
	return string(raw)
}

func decodeBody(t testing.TB, answer *http.Response, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(bodyOf(t, answer)), into); err != nil {
		t.Fatalf("%v in %s", err, bodyOf(t, answer))
	}
}

// putBody seals a value to the present key at a path of secrets, with more
// fields where there are some.
func putBody(t testing.TB, s *githubd.Server, at, value string, more map[string]any) string {
	t.Helper()
	key := &github.PublicKey{}
	decodeBody(t, send(t, s, aliceToken, "GET", at+"/public-key", ""), key)
	sealed := seal(t, key, "", value)
	body := map[string]any{"encrypted_value": sealed.EncryptedValue, "key_id": sealed.KeyID}
	maps.Copy(body, more)
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestConformance holds every answer against GitHub's description: its status
// is one of the operation's, or one of the whole API's, and its body is valid.
// Every success that is described must come up.
func TestConformance(t *testing.T) {
	t.Parallel()
	server := newServer(t, githubd.Config{
		World:    withApp(t, githubd.Permissions{"secrets": "write", "environments": "write"}),
		Settings: githubd.Settings{Limits: githubd.DocumentedLimits()},
	})
	jwt := appToken(t)
	var installation struct{ Token string }
	decodeBody(t, send(t, server, jwt, "POST", fmt.Sprintf("/app/installations/%d/access_tokens", installationID), ""), &installation)
	missing := installation.Token // has few permissions
	repoID, webID := server.RepositoryID(container), server.RepositoryID("acme/web")

	type step struct {
		token, method, path, body string
		status                    int
	}
	steps := []step{
		{aliceToken, "GET", "/rate_limit", "", 200},
		{jwt, "GET", "/app", "", 200},
		{aliceToken, "GET", "/app", "", 401},
		{jwt, "GET", fmt.Sprintf("/app/installations/%d", installationID), "", 200},
		{jwt, "GET", "/app/installations/1", "", 404},
		{jwt, "POST", fmt.Sprintf("/app/installations/%d/access_tokens", installationID), "", 201},
		{jwt, "POST", fmt.Sprintf("/app/installations/%d/access_tokens", installationID), `{"repositories":["web"],"permissions":{"secrets":"read"}}`, 201},
		{jwt, "POST", fmt.Sprintf("/app/installations/%d/access_tokens", installationID), `{"permissions":{"actions":"write"}}`, 422},
		{jwt, "POST", "/app/installations/1/access_tokens", "", 404},
		{"wrong", "POST", fmt.Sprintf("/app/installations/%d/access_tokens", installationID), "", 401},
		{missing, "GET", "/installation/repositories", "", 200},
		{aliceToken, "GET", "/installation/repositories", "", 403},
		{aliceToken, "GET", "/orgs/acme", "", 200},
		{aliceToken, "GET", "/orgs/none", "", 404},
		{jwt, "GET", "/orgs/acme/installation", "", 200},
		{jwt, "GET", "/orgs/other/installation", "", 404},
		{aliceToken, "GET", "/repos/acme/payments-api", "", 200},
		{aliceToken, "GET", "/repos/acme/none", "", 404},
		{jwt, "GET", "/repos/acme/web/installation", "", 200},
		{aliceToken, "GET", "/repos/acme/payments-api/environments", "", 200},
		{aliceToken, "PUT", "/repos/acme/payments-api/environments/blue", "", 200},
		{aliceToken, "PUT", "/repos/acme/payments-api/environments/blue", fmt.Sprintf(
			`{"wait_timer":30,"prevent_self_review":true,"reviewers":[{"type":"User","id":%d}],"deployment_branch_policy":{"protected_branches":true,"custom_branch_policies":false}}`,
			server.AccountID("bob")), 200},
		{aliceToken, "PUT", "/repos/acme/payments-api/environments/blue", `{"wait_timer":43201}`, 422},
		{missing, "PUT", "/repos/acme/payments-api/environments/blue", "", 403},
		{aliceToken, "GET", "/repos/acme/payments-api/environments/blue", "", 200},
		{aliceToken, "DELETE", "/repos/acme/payments-api/environments/blue", "", 204},
		{aliceToken, "GET", "/repos/acme/payments-api/environments/blue", "", 404},
	}
	for _, at := range []string{
		"/repos/acme/payments-api/actions/secrets", "/repos/acme/payments-api/codespaces/secrets",
		"/repos/acme/payments-api/dependabot/secrets", "/repos/acme/payments-api/environments/production/secrets",
	} {
		steps = append(steps, []step{
			{aliceToken, "GET", at + "/public-key", "", 200},
			{aliceToken, "PUT", at + "/NAME", putBody(t, server, at, "one", nil), 201},
			{aliceToken, "PUT", at + "/NAME", putBody(t, server, at, "two", nil), 204},
			{aliceToken, "PUT", at + "/NAME", `{"encrypted_value":"AAAA","key_id":"0"}`, 422},
			{aliceToken, "PUT", at + "/NAME", `{"encrypted_value":"AAAA"}`, 422},
			{aliceToken, "PUT", at + "/NAME", `{"encrypted_value":1}`, 422},
			{aliceToken, "PUT", at + "/1NAME", putBody(t, server, at, "one", nil), 422},
			{aliceToken, "GET", at + "/NAME", "", 200},
			{aliceToken, "GET", at, "", 200},
			{"wrong", "GET", at, "", 401},
			{aliceToken, "DELETE", at + "/NAME", "", 204},
			{aliceToken, "DELETE", at + "/NAME", "", 404},
		}...)
	}
	for _, family := range []string{"actions", "codespaces", "dependabot"} {
		at := "/orgs/acme/" + family + "/secrets"
		selected := map[string]any{"visibility": "selected", "selected_repository_ids": []int64{repoID}}
		steps = append(steps, []step{
			{aliceToken, "GET", at + "/public-key", "", 200},
			{aliceToken, "PUT", at + "/NAME", putBody(t, server, at, "one", selected), 201},
			{aliceToken, "GET", at + "/NAME", "", 200},
			{aliceToken, "GET", at, "", 200},
			{aliceToken, "GET", at + "/NAME/repositories", "", 200},
			{aliceToken, "PUT", at + "/NAME/repositories", fmt.Sprintf(`{"selected_repository_ids":[%d]}`, webID), 204},
			{aliceToken, "PUT", at + "/NAME/repositories", `{}`, 422},
			{aliceToken, "PUT", fmt.Sprintf("%s/NAME/repositories/%d", at, repoID), "", 204},
			{aliceToken, "DELETE", fmt.Sprintf("%s/NAME/repositories/%d", at, repoID), "", 204},
			{aliceToken, "PUT", at + "/NAME", putBody(t, server, at, "two", map[string]any{"visibility": "all"}), 204},
			{aliceToken, "PUT", at + "/NAME", putBody(t, server, at, "two", map[string]any{"visibility": "some"}), 422},
			{aliceToken, "PUT", at + "/NAME", putBody(t, server, at, "two", nil), 422},
			{aliceToken, "GET", at, "", 200},
			{aliceToken, "PUT", fmt.Sprintf("%s/NAME/repositories/%d", at, repoID), "", 409},
			{missing, "GET", at, "", 403},
			{aliceToken, "DELETE", at + "/NAME", "", 204},
		}...)
	}

	check := conformance(t)
	for _, c := range steps {
		answer := send(t, server, c.token, c.method, c.path, c.body)
		if answer.StatusCode != c.status {
			t.Errorf("%s %s: status %d, %s; want %d", c.method, c.path, answer.StatusCode, bodyOf(t, answer), c.status)
		}
		check.answer(t, answer)
	}
	check.complete(t)
}

// checker holds answers against the description and remembers them.
type checker struct {
	validator  validator.Validator
	operations map[string]map[string]struct {
		OperationID string                     `json:"operationId"`
		Responses   map[string]json.RawMessage `json:"responses"`
	}
	seen map[string]bool // "METHOD path status" with the path as described
}

func conformance(t *testing.T) *checker {
	t.Helper()
	document, err := libopenapi.NewDocument(openapi)
	if err != nil {
		t.Fatal(err)
	}
	v, faults := validator.NewValidator(document, config.WithFormatAssertions())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	c := &checker{validator: v, seen: map[string]bool{}}
	var parsed struct{ Paths json.RawMessage }
	if err := json.Unmarshal(openapi, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(parsed.Paths, &c.operations); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *checker) answer(t *testing.T, answer *http.Response) {
	t.Helper()
	method, path := answer.Request.Method, answer.Request.URL.Path
	described := c.describedPath(path)
	if described == "" {
		t.Fatalf("%s %s is not described", method, path)
	}
	status := fmt.Sprint(answer.StatusCode)
	c.seen[method+" "+described+" "+status] = true
	if _, own := c.operations[described][strings.ToLower(method)].Responses[status]; !own {
		c.general(t, answer)
		return
	}
	body := bodyOf(t, answer)
	if ok, faults := c.validator.ValidateHttpResponse(answer.Request, answer); !ok {
		for _, f := range faults {
			t.Errorf("%s %s %s: %s: %s", method, path, status, f.Message, f.Reason)
			for _, schema := range f.SchemaValidationErrors {
				t.Errorf("  %s at %s", schema.Reason, schema.FieldPath)
			}
		}
		t.Log(body)
	}
}

// general holds an answer that is not the operation's own against GitHub's
// schema for errors: an object of texts.
func (c *checker) general(t *testing.T, answer *http.Response) {
	t.Helper()
	if !slices.Contains(everywhere, answer.StatusCode) {
		t.Errorf("%s %s: no status %d is described", answer.Request.Method, answer.Request.URL.Path, answer.StatusCode)
	}
	var basic map[string]string
	decodeBody(t, answer, &basic)
	for field := range basic {
		if !slices.Contains([]string{"message", "documentation_url", "url", "status"}, field) {
			t.Errorf("an error has the field %q", field)
		}
	}
	if basic["message"] == "" || basic["documentation_url"] == "" {
		t.Errorf("the error %v says nothing", basic)
	}
}

// describedPath returns the description's path for a request's: the one with
// the most literal segments that match.
func (c *checker) describedPath(path string) string {
	best, most := "", -1
	got := strings.Split(path, "/")
	for candidate := range c.operations {
		want := strings.Split(candidate, "/")
		if len(want) != len(got) {
			continue
		}
		literals := 0
		for i := range want {
			switch {
			case want[i] == got[i]:
				literals++
			case !strings.HasPrefix(want[i], "{"):
				literals = -len(want)
			}
		}
		if literals > most {
			best, most = candidate, literals
		}
	}
	return best
}

// complete fails for every described success that did not come up, and for
// every endpoint of the server that the description does not have.
func (c *checker) complete(t *testing.T) {
	t.Helper()
	described := map[string]bool{}
	for path, operations := range c.operations {
		for method, operation := range operations {
			method = strings.ToUpper(method)
			described[method+" "+path] = true
			for status := range operation.Responses {
				if key := method + " " + path + " " + status; strings.HasPrefix(status, "2") && !c.seen[key] {
					t.Errorf("%s (%s) did not come up", key, operation.OperationID)
				}
			}
		}
	}
	served := githubd.DocumentedEndpoints()
	for _, endpoint := range served {
		if !described[endpoint] {
			t.Errorf("%s is served but not in testdata/openapi.json", endpoint)
		}
		delete(described, endpoint)
	}
	for endpoint := range described {
		t.Errorf("%s is in testdata/openapi.json but not served", endpoint)
	}
}
