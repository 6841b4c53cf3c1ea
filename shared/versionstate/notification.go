package versionstate

import (
	"regexp"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// Ref names a secret as a notification does. Secret Manager puts the project's
// number there, where manifests have its id.
type Ref struct {
	Project string // number or id
	Secret  string
}

// String returns project/secret.
func (r Ref) String() string { return r.Project + "/" + r.Secret }

// changes are the types of events after which a source may be in another state.
// There are more: SECRET_ROTATE says that something is due, TOPIC_CONFIGURED
// tries a topic. Source: cloud.google.com/secret-manager/docs/event-notifications.
var changes = map[string]bool{
	"SECRET_CREATE":                    true,
	"SECRET_UPDATE":                    true, // also of the annotation in which the owner consents
	"SECRET_DELETE":                    true,
	"SECRET_VERSION_ADD":               true,
	"SECRET_VERSION_ENABLE":            true,
	"SECRET_VERSION_DISABLE":           true,
	"SECRET_VERSION_DESTROY":           true,
	"SECRET_VERSION_DESTROY_SCHEDULED": true, // it is disabled until then
}

var (
	secretName    = regexp.MustCompile(`^projects/([^/]+)/secrets/([^/]+)$`)
	regionalName  = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/secrets/[^/]+$`)
	projectNumber = regexp.MustCompile(`^[0-9]{1,19}$`)
)

// ParseNotification reads the attributes of a message from Secret Manager: which
// secret to look at again, and the type of the event. The Ref is zero where there
// is nothing to look at: after events of a type that changes no state or that is
// not known, and for regional secrets, which are nobody's source. The rest of
// the message is not looked at, since the secret is read again anyway.
//
// It returns a [fault.RequestMalformed] for attributes without a type, or with
// that of a change and without the name of a secret.
func ParseNotification(attributes map[string]string) (ref Ref, event string, err error) {
	event = attributes["eventType"]
	if event == "" {
		return Ref{}, "", fault.New(fault.RequestMalformed, "the notification has no eventType")
	}
	name := attributes["secretId"]
	if !changes[event] || regionalName.MatchString(name) {
		return Ref{}, event, nil
	}
	parts := secretName.FindStringSubmatch(name)
	if parts == nil {
		return Ref{}, event, malformed()
	}
	// An id's rules hold for the secret with any project's.
	ref = Ref{Project: parts[1], Secret: parts[2]}
	checked := ref.Project
	if projectNumber.MatchString(checked) {
		checked = "by-number"
	}
	if _, err := secret.ParseSource(checked, ref.Secret); err != nil {
		return Ref{}, event, malformed()
	}
	return ref, event, nil
}

func malformed() error {
	return fault.New(fault.RequestMalformed, "the notification's secretId is not the name of a secret, projects/P/secrets/S")
}
