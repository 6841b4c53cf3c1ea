package githubd_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/embedded/githubd"
)

// FuzzRequests sends anything: there is no panic and no 5xx.
func FuzzRequests(f *testing.F) {
	server, err := githubd.New(githubd.Config{World: acme(), Control: true})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][3]string{
		{"PUT", listPath + "/A", `{"encrypted_value":"AAAA","key_id":"1"}`},
		{"PUT", "/api/v3/orgs/acme/actions/secrets/A", `{"visibility":"selected","selected_repository_ids":["1",2]}`},
		{"GET", listPath + "?per_page=-1&page=99999999999", ""},
		{"PUT", "/repos/acme/payments-api/environments/x%2Fy", `{"reviewers":[{"type":"User","id":1}]}`},
		{"POST", "/_control/faults", `{"effect":"delay"}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://localhost/", strings.NewReader(body))
		if err != nil {
			t.Skip("no method")
		}
		if request.URL, err = request.URL.Parse(path); err != nil || strings.HasPrefix(request.URL.Path, "/_control/faults") || strings.HasPrefix(request.URL.Path, "/_control/settings") {
			t.Skip("no path, or one that makes the server fail on purpose")
		}
		request.Header.Set("Authorization", "Bearer "+aliceToken)
		answer, err := server.Client().Transport.RoundTrip(request)
		if err != nil || answer.StatusCode >= 500 {
			t.Fatalf("%s %s: %v, %v", method, path, answer, err)
		}
	})
}
