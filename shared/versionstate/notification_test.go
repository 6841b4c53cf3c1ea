package versionstate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/versionstate"
)

func TestParseNotification(t *testing.T) {
	t.Parallel()
	const name = "projects/827585297303/secrets/db-url"
	byNumber := versionstate.Ref{Project: "827585297303", Secret: "db-url"}
	nothing := versionstate.Ref{}
	for _, test := range []struct {
		event, name string
		want        versionstate.Ref
		err         error
	}{
		{"SECRET_VERSION_ADD", name, byNumber, nil},
		{"SECRET_VERSION_ENABLE", name, byNumber, nil},
		{"SECRET_VERSION_DISABLE", name, byNumber, nil},
		{"SECRET_VERSION_DESTROY", name, byNumber, nil},
		{"SECRET_VERSION_DESTROY_SCHEDULED", name, byNumber, nil},
		{"SECRET_CREATE", name, byNumber, nil},
		{"SECRET_UPDATE", name, byNumber, nil},
		{"SECRET_DELETE", name, byNumber, nil},
		{"SECRET_UPDATE", "projects/acme-secrets-prod/secrets/db_URL-1", versionstate.Ref{Project: "acme-secrets-prod", Secret: "db_URL-1"}, nil},
		{"SECRET_ROTATE", name, nothing, nil},
		{"TOPIC_CONFIGURED", "", nothing, nil},
		{"SECRET_FROM_THE_FUTURE", "anything", nothing, nil},
		{"SECRET_UPDATE", "projects/827585297303/locations/europe-west1/secrets/db-url", nothing, nil},
		{"", name, nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", "", nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", "db-url", nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", "projects/827585297303/secrets/", nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", "projects//secrets/db-url", nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", name + "/versions/1", nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", name + "\n", nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", " " + name, nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", "//secretmanager.googleapis.com/" + name, nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", "projects/Acme/secrets/db-url", nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", "projects/8275852973031234567890/secrets/db-url", nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", "projects/1/secrets/db url", nothing, fault.RequestMalformed},
		{"SECRET_UPDATE", "projects/1/secrets/" + strings.Repeat("x", 256), nothing, fault.RequestMalformed},
	} {
		attributes := map[string]string{"eventType": test.event, "secretId": test.name, "dataFormat": "JSON_API_V1"}
		ref, event, err := versionstate.ParseNotification(attributes)
		if ref != test.want || event != test.event || !errors.Is(err, test.err) {
			t.Errorf("%s %.60q: got %v, %q and %v; want %v and %v", test.event, test.name, ref, event, err, test.want, test.err)
		}
		if err != nil && test.name != "" && strings.Contains(err.Error(), test.name) {
			t.Errorf("the error repeats what came from outside: %v", err)
		}
	}
	if _, _, err := versionstate.ParseNotification(nil); !errors.Is(err, fault.RequestMalformed) {
		t.Errorf("without attributes: %v", err)
	}
}

// Whatever comes, it is refused, or nothing to look at, or the name of a secret
// that could be.
func FuzzParseNotification(f *testing.F) {
	f.Add("SECRET_VERSION_ADD", "projects/827585297303/secrets/db-url")
	f.Add("TOPIC_CONFIGURED", "")
	f.Add("SECRET_UPDATE", "projects/acme-prod/secrets/a/versions/1")
	f.Add("SECRET_UPDATE", "projects/1/locations/x/secrets/a")
	f.Add("SECRET_UPDATE", "projects/../secrets/..\x00")
	f.Fuzz(func(t *testing.T, event, name string) {
		ref, _, err := versionstate.ParseNotification(map[string]string{"eventType": event, "secretId": name})
		if ref == (versionstate.Ref{}) {
			return
		}
		if err != nil || name != "projects/"+ref.Project+"/secrets/"+ref.Secret {
			t.Errorf("%q %q: got %v and %v", event, name, ref, err)
		}
		project := ref.Project
		if strings.Trim(project, "0123456789") == "" {
			project = "a-project"
		}
		if _, err := secret.ParseSource(project, ref.Secret); err != nil || ref.Project == "" {
			t.Errorf("%q names no secret that could be: %v", name, err)
		}
	})
}
