package gsm_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/codes"

	"github.com/sealpost/sealpost/shared/embedded/secretmanagerd"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/gcp/gsm"
	"github.com/sealpost/sealpost/shared/secret"
)

const canary = "canary-7f3a9d\n1c \"quoted\" \u00e9 end"

// leaks returns the forms of the canary that are in text.
func leaks(text string) []string {
	quoted, _ := json.Marshal(canary)
	var found []string
	for name, form := range map[string]string{
		"raw": canary, "fragment": canary[:12], "base64": base64.StdEncoding.EncodeToString([]byte(canary)),
		"json": string(quoted), "url": url.QueryEscape(canary), "hex": hex.EncodeToString([]byte(canary)),
	} {
		if strings.Contains(text, form) {
			found = append(found, name)
		}
	}
	return found
}

func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	for name, form := range map[string]string{
		"raw": canary, "fragment": canary[:12], "base64": base64.StdEncoding.EncodeToString([]byte(canary)), "hex": hex.EncodeToString([]byte(canary)),
	} {
		if len(leaks("before "+form+" after")) == 0 {
			t.Errorf("a leak in the form %s is not found", name)
		}
	}
	if found := leaks("nothing here"); len(found) > 0 {
		t.Errorf("found %v in a text without the canary", found)
	}
}

// rendered is an error in every way that it can get into a log or a response.
func rendered(err error) string {
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Error("failed", "err", err)
	text := fmt.Sprintf("%v %+v %#v %q %s", err, err, err, fault.Detail(err), log.String())
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		text += fmt.Sprintf("\n%v %+v %#v", cause, cause, cause)
	}
	return text
}

// A service that quotes what it was sent, or the value it keeps, in its errors
// does not make it appear in ours.
func TestEchoedInputDoesNotLeak(t *testing.T) {
	t.Parallel()
	for method, call := range calls {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, c := startWithSecrets(t)
				for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
					s.ClearFaults()
					s.Plant(secretmanagerd.Fault{Method: method, Code: code, Echo: true, Message: "cannot take " + canary})
					err := call(t.Context(), c)
					if method == "AddSecretVersion" {
						_, err = c.AddVersion(t.Context(), source("db-url"), secret.NewValue(canary))
					}
					absorbed := code == codes.NotFound && (method == "GetSecret" || method == "ListSecretVersions")
					if err == nil && !absorbed {
						t.Fatalf("%s: the fault did not strike", code)
					}
					if err != nil {
						if found := leaks(rendered(err)); len(found) > 0 {
							t.Errorf("%s: the error shows the canary as %v", code, found)
						}
					}
				}
			})
		})
	}
}

const debugChild = "SEALPOST_TEST_READ_A_VALUE"

// The client library logs whole answers where the environment asks for debug
// messages. A child process under that environment reads a value.
func TestDebugLoggingShowsNoValue(t *testing.T) {
	t.Parallel()
	if os.Getenv(debugChild) != "" {
		s, c := start(t, secretmanagerd.Config{}, gsm.Config{})
		check(t, c.Create(t.Context(), source("db-url"), nil))
		_, err := c.AddVersion(t.Context(), source("db-url"), secret.NewValue(canary))
		check(t, err)
		value, err := c.Value(t.Context(), source("db-url"), 1)
		if err != nil || value.Reveal() != canary || s.Calls("AccessSecretVersion") != 1 {
			t.Fatal("the value was not read")
		}
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDebugLoggingShowsNoValue$", "-test.v")
	child.Env = append(os.Environ(), debugChild+"=1", "GOOGLE_SDK_GO_LOGGING_LEVEL=debug",
		"GOOGLE_SDK_GO_EXPERIMENTAL_LOGGING=true", "GRPC_GO_LOG_SEVERITY_LEVEL=info", "GRPC_GO_LOG_VERBOSITY_LEVEL=99")
	output, err := child.CombinedOutput()
	if err != nil || !bytes.Contains(output, []byte("--- PASS")) {
		t.Fatalf("the child failed: %v\n%s", err, output)
	}
	if found := leaks(string(output)); len(found) > 0 {
		t.Errorf("the output shows the value as %v", found)
	}
}

// What an unusable credentials file holds is not quoted.
func TestUnusableCredentialsAreNotQuoted(t *testing.T) { //nolint:paralleltest // it sets the environment
	for name, text := range map[string]string{
		"not JSON":              `{"type": "service_account", "private_key": ` + canary,
		"an unknown type":       `{"type": "` + canary[:12] + `"}`,
		"a bad key":             `{"type": "service_account", "client_email": "a@example.com", "private_key": "` + canary[:12] + `"}`,
		"quoted by the library": `{"type": "gdch_service_account", "format_version": "` + canary[:12] + `"}`,
		"a wrong field":         `{"type": "service_account", "private_key": {"` + canary[:12] + `": 1}}`,
	} {
		path := filepath.Join(t.TempDir(), "credentials.json")
		check(t, os.WriteFile(path, []byte(text), 0o600))
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
		c, err := gsm.Open(t.Context(), gsm.Config{})
		if c != nil {
			check(t, c.Close())
		}
		if !errors.Is(err, fault.ConfigInvalid) {
			t.Errorf("%s: got %v, want %s", name, err, fault.ConfigInvalid)
			continue
		}
		if found := leaks(rendered(err)); len(found) > 0 {
			t.Errorf("%s: the error shows the file as %v", name, found)
		}
	}
}
