package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/shared/pace"
)

// CLI is the reader that is no function: the command sealpost, which is also
// the local server.
const CLI = "sealpost"

// Setting is one environment variable.
type Setting struct {
	Name     string
	Type     string   // what its text is, for people
	Default  string   // taken where it is not set; empty for none
	Required bool     // a reader does not start without it
	Secret   bool     // its text is itself a secret
	Readers  []string // names of functions, and CLI
	Doc      string
	Example  string // what .env.example sets it to; empty leaves it out there

	set func(c *Config, text string) error
}

func (s Setting) readBy(reader string) bool { return slices.Contains(s.Readers, reader) }

// Names that are spoken of in more than one place.
const (
	firestoreEmulator     = "FIRESTORE_EMULATOR_HOST"
	pubSubEmulator        = "PUBSUB_EMULATOR_HOST"
	secretManagerEndpoint = "SECRET_MANAGER_ENDPOINT"
	gitHubAPI             = "GITHUB_API_URL"
	gitHubAppID           = "GITHUB_APP_ID"
	gitHubAppPrivateKey   = "GITHUB_APP_PRIVATE_KEY"
	gitHubToken           = "GITHUB_TOKEN"
	fingerprintKey        = "SEALPOST_FINGERPRINT_KEY"
	audience              = "SEALPOST_AUDIENCE"
	issuers               = "SEALPOST_ISSUERS"
)

var (
	functions     = append([]string{"health"}, authenticated...)
	authenticated = []string{
		"audit-log", "dispatcher", "projects", "scheduled-sync", "secret-changed", "sync-secrets", "sync-status", "sync-worker",
	}
	// syncers open the engine.
	syncers       = []string{"sync-secrets", "sync-worker"}
	gitHubUsers   = append([]string{"projects", CLI}, syncers...)
	publishers    = append([]string{"dispatcher", "secret-changed"}, syncers...)
	secretReaders = append([]string{"dispatcher", "health", "projects", "secret-changed"}, syncers...)
	auditors      = append([]string{"projects"}, syncers...) // record events
)

const referenceType = "projects/ID/secrets/NAME/versions/N, or file:PATH in dev"

// settings is the table. The audience stands before the issuers, which take it
// as their default.
var settings = []Setting{
	{
		Name: "SEALPOST_ENV", Type: "dev, staging or prod", Required: true, Readers: functions, Example: "dev",
		Doc: "How much is at stake. Staging and production refuse the local issuer, emulators, key files and a GitHub without TLS.",
		set: oneOf(func(c *Config) *Environment { return &c.Environment }, Dev, Staging, Prod),
	},
	{
		Name: "LOG_LEVEL", Type: "debug, info, warn or error", Default: "info", Readers: append([]string{CLI}, functions...),
		Doc: "The least level that is logged.",
		set: setLogLevel,
	},
	{
		Name: "GCP_PROJECT_ID", Type: "project id", Required: true, Readers: functions, Example: "acme-sealpost-dev",
		Doc: "The Google Cloud project that Sealpost runs in: of its databases, and of the traces in its log.",
		set: matching(gcpProject, func(c *Config) *string { return &c.GCPProject }, "is not the id of a Google Cloud project"),
	},
	{
		Name: "FIRESTORE_DATABASE_STATE", Type: "database id", Default: "sealpost-state", Readers: slices.DeleteFunc(slices.Clone(functions), func(name string) bool { return name == "audit-log" }),
		Doc: "The database of projects, ledgers, marks and leases. It is apart from the audit's, since Firestore's IAM ends at the database.",
		set: matching(database, func(c *Config) *string { return &c.StateDatabase }, "is not the id of a Firestore database"),
	},
	{
		Name: "FIRESTORE_DATABASE_AUDIT", Type: "database id", Default: "sealpost-audit", Readers: append([]string{"audit-log", "health"}, auditors...),
		Doc: "The database of audit events.",
		set: matching(database, func(c *Config) *string { return &c.AuditDatabase }, "is not the id of a Firestore database"),
	},
	{
		Name: firestoreEmulator, Type: "host:port", Readers: functions,
		Doc: "An emulator to use in place of Firestore. Refused in staging and production.",
		set: matching(hostPort, func(c *Config) *string { return &c.FirestoreEmulator }, "is not host:port"),
	},
	{
		Name: pubSubEmulator, Type: "host:port", Readers: publishers,
		Doc: "An emulator to use in place of Pub/Sub. Refused in staging and production.",
		set: matching(hostPort, func(c *Config) *string { return &c.PubSubEmulator }, "is not host:port"),
	},
	{
		Name: secretManagerEndpoint, Type: "host:port on loopback", Readers: secretReaders,
		Doc: "A stand-in for Secret Manager on this machine, without TLS. Refused in staging and production.",
		set: setSecretManagerEndpoint,
	},
	{
		Name: gitHubAPI, Type: "URL", Default: "https://api.github.com", Readers: gitHubUsers,
		Doc: "GitHub's REST API; for GitHub Enterprise Server https://HOST/api/v3.",
		set: setGitHubAPI,
	},
	{
		Name: gitHubAppID, Type: "number", Readers: append([]string{"dispatcher"}, gitHubUsers...), Example: "123456",
		Doc: "The GitHub App that Sealpost acts as. It goes together with " + gitHubAppPrivateKey + "; the other way is " + gitHubToken + ".",
		set: wholeNumber(func(c *Config) *int64 { return &c.GitHubAppID }, 1, 1<<53),
	},
	{
		Name: gitHubAppPrivateKey, Type: referenceType, Readers: gitHubUsers, Example: "projects/acme-sealpost-dev/secrets/github-app-key/versions/latest",
		Doc: "Where the App's private key is, in PEM.",
		set: reference(func(c *Config) *Reference { return &c.GitHubAppPrivateKey }),
	},
	{
		Name: gitHubToken, Type: "token", Secret: true, Readers: gitHubUsers,
		Doc: "A token to use in place of an App.",
		set: setGitHubToken,
	},
	{
		Name: "SEALPOST_PACE", Type: "polite, fast or off", Default: string(pace.Polite), Readers: append([]string{"dispatcher", CLI}, syncers...),
		Doc: "How fast GitHub may be asked: a write a second, near its documented limit, or without limit for GitHub Enterprise Server.",
		set: oneOf(func(c *Config) *pace.Mode { return &c.Pace }, pace.Polite, pace.Fast, pace.Off),
	},
	{
		Name: audience, Type: "text", Readers: authenticated, Example: "https://sealpost.acme.example",
		Doc: "The audience that tokens must be for, where " + issuers + " gives an issuer none of its own.",
		set: matching(header, func(c *Config) *string { return &c.audience }, "has a space or a control character"),
	},
	{
		Name: issuers, Type: "JSON", Required: true, Readers: authenticated, Example: `[{"issuer":"https://accounts.google.com","kind":"google"}]`,
		Doc: `Who may vouch for callers: a list of {"issuer", "audience", "kind"}, where kind is google, github, iap, or local in dev.`,
		set: setIssuers,
	},
	{
		Name: "SEALPOST_ROLE_BINDINGS", Type: "JSON", Readers: authenticated, Example: `{"email:alice@acme.example":{"*":["operator"]},"repository:123456":{"payments-api":["syncer"]}}`,
		Doc: "Who may do what: member → project id or * → roles. A member is email:ADDRESS, or repository:ID for workflow runs of that GitHub repository; roles are viewer, syncer, operator, breakglass, internal.",
		set: setBindings,
	},
	{
		Name: fingerprintKey, Type: referenceType, Required: true, Readers: syncers, Example: "projects/acme-sealpost-dev/secrets/sealpost-fingerprint-key/versions/1",
		Doc: "Where the key is under which the ledger keeps fingerprints of values, of at least 32 bytes. Another key makes every fingerprint unknown.",
		set: reference(func(c *Config) *Reference { return &c.FingerprintKey }),
	},
	{
		Name: "SEALPOST_AUDIT_RETENTION_DAYS", Type: "number of days", Default: "400", Readers: auditors,
		Doc: "How long an audit event is kept, from 1 to 3,650 days.",
		set: wholeNumber(func(c *Config) *int { return &c.AuditRetentionDays }, 1, 3650),
	},
}

// Settings returns the table, in the order of the documentation.
func Settings() []Setting { return slices.Clone(settings) }

const madeBy = "Made by `go run ./scripts/generate` from the table in shared/config. Do not edit."

// EnvExample returns the text of .env.example.
func EnvExample() string {
	var b strings.Builder
	b.WriteString("# " + madeBy + "\n# What is commented out shows the default, or is not needed.\n")
	for _, s := range settings {
		fmt.Fprintf(&b, "\n# %s\n# %s. %s. Read by %s.\n", s.Doc, s.Type, s.presence(), strings.Join(s.Readers, ", "))
		if s.Example != "" {
			fmt.Fprintf(&b, "%s=%s\n", s.Name, quoted(s.Example))
			continue
		}
		fmt.Fprintf(&b, "# %s=%s\n", s.Name, s.Default)
	}
	return b.String()
}

// quoted puts JSON in single quotes, which env files take literally.
func quoted(text string) string {
	if strings.ContainsAny(text, `"{[ `) {
		return "'" + text + "'"
	}
	return text
}

func (s Setting) presence() string {
	switch {
	case s.Required:
		return "Required"
	case s.Default != "":
		return "Default " + s.Default
	}
	return "Optional"
}

// Markdown returns the table as a page.
func Markdown() string {
	var b strings.Builder
	b.WriteString("<!-- " + madeBy + " -->\n# Configuration\n\n| variable | value | default | read by | what it is |\n| --- | --- | --- | --- | --- |\n")
	for _, s := range settings {
		name, value := "`"+s.Name+"`", strings.ToLower(s.presence())
		if s.Secret {
			name += " (secret)"
		}
		if s.Default != "" {
			value = "`" + s.Default + "`"
		}
		cells := []string{name, s.Type, value, strings.Join(s.Readers, ", "), s.Doc}
		for i := range cells {
			cells[i] = strings.NewReplacer("|", `\|`, "*", `\*`).Replace(cells[i])
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	return b.String()
}
