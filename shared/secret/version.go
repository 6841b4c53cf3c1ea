package secret

// Version is the number of a source's version, counted from 1. 0 means that
// there is none, or that the source does not count (an env file).
type Version int64

// VersionState is the state of a version in Secret Manager.
type VersionState string

// The states of a version.
const (
	Enabled   VersionState = "enabled"
	Disabled  VersionState = "disabled"
	Destroyed VersionState = "destroyed"
)

// SourceVersion is one version of a source.
type SourceVersion struct {
	Number Version
	State  VersionState
}

// SourceState is what is known of a source without its values.
type SourceState struct {
	Exists       bool
	Denied       bool            // Sealpost may not look at it, whether it exists or not
	Unversioned  bool            // an env file: there is one value and no number
	Repositories []int64         // numeric ids of the repositories that the source admits
	Versions     []SourceVersion // newest first; at least the newest 20 there are

	// How changes become known. A plan depends on neither.
	Notified      bool   // the source's own service tells Sealpost of each change
	ProjectNumber string // of the Google Cloud project, by which notifications name it; empty if not known
}
