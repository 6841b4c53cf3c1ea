package githubd_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
)

// TestOddRequests sends anything that HTTP can carry: there is no panic, no
// 5xx, and nothing that is not an answer.
func TestOddRequests(t *testing.T) {
	t.Parallel()
	server := newServer(t, githubd.Config{Control: true, World: withApp(t, githubd.Permissions{"secrets": "write"})})
	transport, jwt := server.Transport(), appToken(t)
	segment := rapid.OneOf(
		rapid.SampledFrom([]string{
			"repos", "repositories", "orgs", "organizations", "acme", "payments-api", "actions", "codespaces", "dependabot", "secrets",
			"public-key", "environments", "production", "eu/staging", "A", "installation", "app", "installations", "77", "access_tokens",
			"api", "v3", "_control", "world", "secrets", "rotate-key", "spend", "1000001", "-1", "99999999999999999999", "",
		}),
		rapid.String(),
	)
	body := rapid.OneOf(
		rapid.SampledFrom([]string{
			"", "null", "[]", "{}", "{", `{"encrypted_value":"AAAA","key_id":"1"}`, `{"encrypted_value":[],"key_id":{}}`,
			`{"visibility":"selected","selected_repository_ids":["1",2,1e99]}`, `{"selected_repository_ids":[null,"x"]}`,
			`{"wait_timer":-1,"reviewers":[{"type":"User"},null]}`, `{"permissions":{"":""},"repository_ids":[0]}`,
			`{"identity":"user:alice","requests":-5,"points":9999999}`, `{"container":"acme","scope":"org-x","name":"\u0000","value":""}`,
		}),
		rapid.String(),
	)
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(segment, 0, 9).Draw(t, "path")
		for i, part := range parts {
			parts[i] = url.PathEscape(part)
		}
		method := rapid.SampledFrom([]string{"GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"}).Draw(t, "method")
		query := url.Values{"page": {rapid.String().Draw(t, "page")}, "per_page": {rapid.String().Draw(t, "per_page")}}
		request, err := http.NewRequestWithContext(t.Context(), method,
			"http://localhost/"+strings.Join(parts, "/")+"?"+query.Encode(), strings.NewReader(body.Draw(t, "body")))
		if err != nil {
			t.Skip("no request")
		}
		request.Header.Set("Authorization", rapid.SampledFrom([]string{"Bearer " + aliceToken, "Bearer " + jwt, "Bearer a.b.c", "Basic x", ""}).Draw(t, "authorization"))
		answer, err := transport.RoundTrip(request)
		if err != nil || answer.StatusCode >= 500 || answer.StatusCode < 200 {
			t.Fatalf("%s %s: %v, %v", method, request.URL, answer, err)
		}
	})
}
