package ghapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
)

// Whatever GitHub answers, an error says only what this package has words for.
func FuzzAnswers(f *testing.F) {
	f.Add(403, `{"message": "You have exceeded a secondary rate limit."}`, "60", "0", "4102444800", "secrets=write")
	f.Add(422, `{"message": "Invalid request.\n\nCANARY is too large"}`, "", "", "", "")
	f.Add(429, `[`, "-1", "x", "99999999999999999999", "<script>")
	f.Add(304, ``, "9999999999", "0", "-5", "a")
	f.Fuzz(func(t *testing.T, status int, body, retryAfter, remaining, reset, permissions string) {
		h := http.Header{
			"Retry-After": {retryAfter}, "X-Ratelimit-Remaining": {remaining}, "X-Ratelimit-Reset": {reset},
			"X-Accepted-Github-Permissions": {permissions}, "Date": {"Mon, 02 Jan 2006 15:04:05 GMT"},
		}
		now := time.Unix(1136214245, 0)
		failed := failureOf(&http.Response{StatusCode: status, Header: h}, []byte(body), now)
		if (failed == nil) != (status < 400 && status != 304) {
			t.Fatalf("status %d: %v", status, failed)
		}
		if failed == nil {
			return
		}
		err := explain("op", "about", failed)
		if fault.KindOf(err) == fault.Internal || !errors.Is(err, failed) {
			t.Fatalf("%v", err)
		}
		if wait, _ := fault.RetryAfter(err); wait < 0 {
			t.Fatalf("retry after %s", wait)
		}
		shown := err.Error() + fault.Detail(err)
		own := fmt.Sprint(failed.reason, status, failed.permissions)
		for word := range strings.FieldsSeq(body) {
			if len(word) > 30 && !strings.Contains(own, word) && strings.Contains(shown, word) {
				t.Fatalf("%q is in %q", word, shown)
			}
		}
		if failed.permissions != "" && !permissionNames.MatchString(failed.permissions) {
			t.Fatalf("permissions %q", failed.permissions)
		}
	})
}
