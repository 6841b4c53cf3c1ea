package fault

// Code names a failure for people, pipelines and documentation. A Code is
// itself an error, so that errors.Is(err, fault.SyncInProgress) reads as it
// should. Codes are part of the contract: they are added, never renamed.
type Code string

// Error returns the code's text, which makes a Code usable as a sentinel.
func (c Code) Error() string { return string(c) }

// Entry is what the registry knows of a code. The HTTP status follows from the
// kind, in one table in httpx.
type Entry struct {
	Code   Code
	Kind   Kind
	Title  string // what happened, in a few words
	Remedy string // what to do about it, in general
}

// Codes of what is asked of Sealpost.
const (
	RequestMalformed   Code = "REQUEST_MALFORMED"
	RequestTooLarge    Code = "REQUEST_TOO_LARGE"
	RequestNotFound    Code = "REQUEST_NOT_FOUND"
	RequestMethod      Code = "REQUEST_METHOD_NOT_ALLOWED"
	RequestMediaType   Code = "REQUEST_MEDIA_TYPE_UNSUPPORTED"
	RequestConflict    Code = "REQUEST_CONFLICT"
	RequestUnprocessed Code = "REQUEST_UNPROCESSABLE"
	RequestThrottled   Code = "REQUEST_THROTTLED"
	RequestTimeout     Code = "REQUEST_TIMEOUT"
	RequestCanceled    Code = "REQUEST_CANCELED"
	ProjectNotFound    Code = "REQUEST_PROJECT_NOT_FOUND"
	ProjectExists      Code = "REQUEST_PROJECT_EXISTS"
	ManifestInvalid    Code = "REQUEST_MANIFEST_INVALID"
	EnvFileInvalid     Code = "REQUEST_ENV_FILE_INVALID"
	ConfigInvalid      Code = "REQUEST_CONFIGURATION_INVALID"
	UsageInvalid       Code = "REQUEST_USAGE_INVALID"
	InternalError      Code = "REQUEST_INTERNAL_ERROR"
	UpstreamFailed     Code = "REQUEST_UPSTREAM_FAILED"
	Unreachable        Code = "REQUEST_DEPENDENCY_UNAVAILABLE"
	AuditUnavailable   Code = "REQUEST_AUDIT_UNAVAILABLE"
	SchemaTooNew       Code = "REQUEST_STORED_SCHEMA_TOO_NEW"
	StateDamaged       Code = "REQUEST_STATE_DAMAGED"

	IdempotencyKeyInvalid Code = "REQUEST_IDEMPOTENCY_KEY_INVALID"
	IdempotencyKeyReused  Code = "REQUEST_IDEMPOTENCY_KEY_REUSED"
	RequestInFlight       Code = "REQUEST_IN_FLIGHT"
	AnswerNotKept         Code = "REQUEST_ANSWER_NOT_KEPT"
)

// Codes of who is asking.
const (
	AuthRequired Code = "AUTH_TOKEN_REQUIRED"
	AuthInvalid  Code = "AUTH_TOKEN_INVALID"
	AuthExpired  Code = "AUTH_TOKEN_EXPIRED"
	AuthDenied   Code = "AUTH_ROLE_MISSING"
	AuthUnrouted Code = "AUTH_ROUTE_UNKNOWN"
)

// Codes of syncing secrets.
const (
	RateLimitExhausted  Code = "GITHUB_SECRETS_RATE_LIMIT_EXHAUSTED"
	EncryptionFailed    Code = "GITHUB_SECRETS_ENCRYPTION_FAILED"
	PartialFailure      Code = "GITHUB_SECRETS_PARTIAL_FAILURE"
	SecretConflict      Code = "GITHUB_SECRETS_CONFLICT"
	SyncInProgress      Code = "GITHUB_SECRETS_SYNC_IN_PROGRESS"
	LeaseLost           Code = "GITHUB_SECRETS_LEASE_LOST"
	QueueFull           Code = "GITHUB_SECRETS_QUEUE_FULL"
	ValueTooLarge       Code = "GITHUB_SECRETS_VALUE_TOO_LARGE"
	ValueEmpty          Code = "GITHUB_SECRETS_VALUE_EMPTY"
	NameInvalid         Code = "GITHUB_SECRETS_NAME_INVALID"
	ScopeInvalid        Code = "GITHUB_SECRETS_SCOPE_INVALID"
	PatternInvalid      Code = "GITHUB_SECRETS_PATTERN_INVALID"
	CapacityExceeded    Code = "GITHUB_SECRETS_CAPACITY_EXCEEDED"
	PermissionMissing   Code = "GITHUB_SECRETS_PERMISSION_MISSING"
	CredentialsRejected Code = "GITHUB_SECRETS_CREDENTIALS_REJECTED"
	TargetNotFound      Code = "GITHUB_SECRETS_TARGET_NOT_FOUND"
	TargetRejected      Code = "GITHUB_SECRETS_TARGET_REJECTED"
	GitHubUnavailable   Code = "GITHUB_SECRETS_GITHUB_UNAVAILABLE"
	SourceNotPermitted  Code = "GITHUB_SECRETS_SOURCE_NOT_PERMITTED"
	SourceMissing       Code = "GITHUB_SECRETS_SOURCE_MISSING"
	SourceDisabled      Code = "GITHUB_SECRETS_SOURCE_DISABLED"
	SourceDestroyed     Code = "GITHUB_SECRETS_SOURCE_DESTROYED"
	SourceUnavailable   Code = "GITHUB_SECRETS_SOURCE_UNAVAILABLE"
	ContainerOwned      Code = "GITHUB_SECRETS_CONTAINER_OWNED"
	OrgGrantMissing     Code = "GITHUB_SECRETS_ORG_GRANT_MISSING"
	DeletionBudget      Code = "GITHUB_SECRETS_DELETION_BUDGET_EXCEEDED"
	DowngradeRefused    Code = "GITHUB_SECRETS_DOWNGRADE_REFUSED"
)

// registry is the one place where a code gets its meaning.
var registry = []Entry{
	{RequestMalformed, Invalid, "The request is not well formed", "Correct the request as the detail says; the contract is in openapi.yaml."},
	{RequestTooLarge, TooLarge, "The request is too large", "Send less than 1 MiB in one request."},
	{RequestNotFound, NotFound, "There is no such thing", "Check the name or the id."},
	{RequestMethod, Invalid, "This route does not take that method", "Use the method that openapi.yaml gives for the route."},
	{RequestMediaType, Invalid, "The body is not of a type that this route takes", "Send JSON as Content-Type: application/json, neither compressed nor in another charset than UTF-8."},
	{RequestConflict, Conflict, "The thing was changed meanwhile", "Read it again and repeat the request."},
	{RequestUnprocessed, Unprocessable, "The request cannot be carried out as it stands", "Correct what the detail names and repeat the request."},
	{RequestThrottled, Exhausted, "Too many requests", "Wait as long as retryAfter says, then repeat the request."},
	{RequestTimeout, Deadline, "The request took longer than it may", "Repeat the request: it goes on from where it stopped."},
	{RequestCanceled, Canceled, "The caller went away before the answer", "Repeat the request: it goes on from where it stopped."},
	{ProjectNotFound, NotFound, "No such project", "Check the project's id, or register the project from its manifest with sealpost apply."},
	{ProjectExists, Exists, "The project is registered already", "Change it with PUT /projects/{id}, or with sealpost apply."},
	{ManifestInvalid, Unprocessable, "The manifest has faults", "Correct the lines that the detail names; nothing was changed."},
	{EnvFileInvalid, Unprocessable, "The env file has faults", "Correct the lines that the detail names; nothing was changed."},
	{ConfigInvalid, Unprocessable, "The configuration has faults", "Correct what the detail names; .env.example documents each variable."},
	{UsageInvalid, Invalid, "The command was not understood", "Run the command with --help."},
	{InternalError, Internal, "Sealpost failed", "Report the correlation id: the log has the cause under it."},
	{UpstreamFailed, Upstream, "A system that Sealpost depends on answered with an error", "Repeat the request later; the log has more under the correlation id."},
	{Unreachable, Unavailable, "A system that Sealpost depends on did not answer", "Repeat the request later; GET /readyz shows the state of each dependency."},
	{AuditUnavailable, Unavailable, "The audit could not be recorded, so nothing was written", "Restore the audit store or the log; Sealpost never writes what it cannot record."},
	{SchemaTooNew, Internal, "A document was written by a newer version of Sealpost", "Deploy a version at least as new as the one that wrote the document."},
	{StateDamaged, Internal, "What is stored is damaged", "Restore it from a copy, or move it away to start anew: what was written before then shows as conflicts."},
	{IdempotencyKeyInvalid, Invalid, "The Idempotency-Key cannot be used", "Send one Idempotency-Key of 1 to 255 printable ASCII characters, such as a UUID in double quotes."},
	{IdempotencyKeyReused, Unprocessable, "The Idempotency-Key belongs to another request", "Make a new key for each new request; a repeat has the same body, byte for byte."},
	{RequestInFlight, Conflict, "A request with this Idempotency-Key is under way", "Wait as long as retryAfter says, then repeat the request: it gets the other's answer."},
	{AnswerNotKept, Conflict, "The request was carried out, but its answer could not be kept", "Read the state with a GET; under a new key the request is carried out again."},

	{AuthRequired, Unauthenticated, "A token is needed", "Send an identity token as a Bearer token in the Authorization header."},
	{AuthInvalid, Unauthenticated, "The token was not accepted", "Ask for a new token from a configured issuer, for this audience."},
	{AuthExpired, Unauthenticated, "The token is expired or not valid yet", "Ask for a new token; check the clock of the machine that made it."},
	{AuthDenied, Denied, "The caller lacks the role that this needs", "Ask an operator of the project for the role that the detail names."},
	{AuthUnrouted, Denied, "There is no such route", "Use one of the routes in openapi.yaml."},

	{RateLimitExhausted, Exhausted, "GitHub's rate limit is spent", "Wait as long as retryAfter says; nothing was written beyond what the result lists."},
	{EncryptionFailed, Upstream, "GitHub could not open the sealed value", "Repeat the sync: the public key was changed while it ran."},
	{PartialFailure, Upstream, "Some targets could not be written", "Repeat the sync: it goes on with the targets that failed; each has its reason in the results."},
	{SecretConflict, Conflict, "A target exists that Sealpost did not write", "Compare it, then take it over with force, or exclude it."},
	{SyncInProgress, Conflict, "Another sync of this repository or organisation is running", "Wait for it: before it ends it plans again and takes up this request."},
	{LeaseLost, Conflict, "The sync lost its right to write and stopped", "Repeat the sync: it goes on from the ledger."},
	{QueueFull, Exhausted, "Too many requests wait for this repository or organisation", "Wait until some are done: the status tells how many there are."},
	{ValueTooLarge, TooLarge, "The value is over GitHub's limit of 48 KB", "Store a shorter value, or encrypt a file in the repository and keep its passphrase as the secret."},
	{ValueEmpty, Unprocessable, "The value is empty", "Add a version with a value; GitHub does not keep empty secrets usefully."},
	{NameInvalid, Unprocessable, "The name breaks GitHub's rules", "Use letters, digits and underscores; no digit first, and not GITHUB_ at the start."},
	{ScopeInvalid, Unprocessable, "There is no such scope", "Use actions, codespaces, dependabot, environment:<name>, org-actions, org-codespaces or org-dependabot."},
	{PatternInvalid, Unprocessable, "The exclusion pattern is not valid", "Use letters, digits and underscores, with * for any run of characters and ? for one."},
	{CapacityExceeded, Unprocessable, "The target cannot hold that many secrets", "Remove secrets from the target, or share some of them as organisation secrets."},
	{PermissionMissing, Denied, "The GitHub App or token lacks a permission", "Grant the permission that the detail names and accept it in the installation."},
	{CredentialsRejected, Denied, "GitHub does not accept the credentials", "Renew GITHUB_TOKEN, or check the App's id and private key."},
	{TargetNotFound, Unprocessable, "GitHub does not know the repository, organisation or environment", "Check the name in the manifest, and that the App is installed there."},
	{TargetRejected, Unprocessable, "GitHub refused the write", "Check the target in GitHub; the detail says which rule applies where it is known."},
	{GitHubUnavailable, Unavailable, "GitHub did not answer as it should", "Repeat the sync: it goes on with the targets that failed."},
	{SourceNotPermitted, Denied, "The source does not admit this repository", "Let an owner of the source add the repository's numeric id to its annotation sealpost-repositories."},
	{SourceMissing, Unprocessable, "The source does not exist or has no version", "Create the secret in Secret Manager and add a version, or correct the manifest."},
	{SourceDisabled, Unprocessable, "The newest version of the source is disabled", "Enable it, add a new version, or allow rollback."},
	{SourceDestroyed, Unprocessable, "The newest version of the source is destroyed", "Add a new version, or allow rollback."},
	{SourceUnavailable, Unavailable, "Secret Manager did not answer as it should", "Repeat the sync later."},
	{ContainerOwned, Conflict, "Another project owns this repository, organisation or worker", "Unregister the other project with DELETE /projects/{id}, or move the mappings there."},
	{OrgGrantMissing, Denied, "The project may not write organisation secrets", "Let an operator grant the organisation to the project."},
	{DeletionBudget, Conflict, "The sync would delete more than it may unasked", "Look at the plan; if it is right, allow that many deletions with maxDeletions."},
	{DowngradeRefused, Conflict, "The source's version is lower than the one that was written", "Add a new version with the old value, or allow rollback after disabling the newer version."},
}

// generals names the code that stands for a kind where nothing better is known.
var generals = map[Kind]Code{
	Invalid: RequestMalformed, Unauthenticated: AuthInvalid, Denied: AuthDenied, NotFound: RequestNotFound,
	Exists: RequestConflict, Conflict: RequestConflict, TooLarge: RequestTooLarge, Unprocessable: RequestUnprocessed,
	Exhausted: RequestThrottled, Internal: InternalError, Upstream: UpstreamFailed, Unavailable: Unreachable,
	Deadline: RequestTimeout, Canceled: RequestCanceled,
}

var byCode = func() map[Code]Entry {
	m := make(map[Code]Entry, len(registry))
	for _, e := range registry {
		m[e.Code] = e
	}
	return m
}()

// Registry returns every code with its meaning, in the order of the reference page.
func Registry() []Entry { return append([]Entry(nil), registry...) }

// Lookup returns what the registry knows of a code.
func Lookup(c Code) (Entry, bool) { e, ok := byCode[c]; return e, ok }

func general(k Kind) Code {
	if c, ok := generals[k]; ok {
		return c
	}
	return InternalError
}
