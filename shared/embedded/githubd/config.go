package githubd

import (
	"time"

	"github.com/sealpost/sealpost/shared/clock"
)

// Config is all that a [Server] is made from. But for the clock it can be read
// from JSON, so that a server in a process of its own is described by a file.
type Config struct {
	// Clock is what everything waits on; nil is the machine's clock.
	Clock clock.Clock `json:"-"`

	Settings

	// World is what exists from the start.
	World World `json:"world"`

	// Control serves the control endpoints under /_control/, to callers on
	// loopback only.
	Control bool `json:"control,omitempty"`

	// StatePath names a file that keeps accounts, repositories, environments,
	// keys and secrets, values included, from one start to the next. Empty
	// keeps nothing. The file is for its owner only (mode 0600).
	StatePath string `json:"statePath,omitempty"`
}

// Settings is how a [Server] behaves. They can be changed while it runs.
type Settings struct {
	// Latency is how long each request takes, refused ones included.
	Latency Duration `json:"latency,omitempty"`

	// ListLag is how long a write takes to show in lists. A read of the secret
	// itself shows it at once.
	ListLag Duration `json:"listLag,omitempty"`

	// Skew is added to the times that writes leave on secrets, so that they
	// differ from the Date of the answer. It may be negative.
	Skew Duration `json:"skew,omitempty"`

	// Limits are the rate limits. The zero value sets none, as GitHub
	// Enterprise Server does by default.
	Limits Limits `json:"limits"`
}

// Limits are the rate limits, each for one identity: a user or an
// installation, whichever of its tokens is used. A limit of 0 is off.
type Limits struct {
	// Primary is the number of requests an hour, in a window that begins with
	// the first of them. A 304 costs none. GitHub: 5,000 or more.
	Primary int `json:"primary,omitempty"`

	// Points is the number of points a minute: a read costs 1, a write 5.
	// GitHub: 900.
	Points int `json:"points,omitempty"`
	// PointsPerEndpoint counts each route apart. GitHub says "for a single
	// endpoint"; the stricter reading, all together, is the default.
	PointsPerEndpoint bool `json:"pointsPerEndpoint,omitempty"`

	// Concurrent is the number of requests in flight. GitHub: 100.
	Concurrent int `json:"concurrent,omitempty"`

	// ContentPerMinute and ContentPerHour bound PUT and POST requests. GitHub:
	// 80 and 500 "content-generating requests", without saying whether a secret
	// is content.
	ContentPerMinute int `json:"contentPerMinute,omitempty"`
	ContentPerHour   int `json:"contentPerHour,omitempty"`

	// Unannounced is a limit of which nothing tells: so many writes within
	// UnannouncedWindow, by default a minute.
	Unannounced       int      `json:"unannounced,omitempty"`
	UnannouncedWindow Duration `json:"unannouncedWindow,omitempty"`

	// FixedWindows makes the windows of the secondary limits begin with the
	// first request in them and end all at once. By default they slide.
	FixedWindows bool `json:"fixedWindows,omitempty"`

	// Penalty refuses everything of an identity for so long after it broke a
	// secondary limit.
	Penalty Duration `json:"penalty,omitempty"`

	// Status is that of the refusals: 403, the default, or 429.
	Status int `json:"status,omitempty"`
	// NoRetryAfter leaves Retry-After out of refusals by secondary limits.
	NoRetryAfter bool `json:"noRetryAfter,omitempty"`
}

// DocumentedLimits are those that GitHub documents for an installation, but
// for content creation, which may or may not include secrets.
func DocumentedLimits() Limits {
	return Limits{Primary: 5000, Points: 900, Concurrent: 100}
}

// Duration is a time.Duration that is written "80ms" in JSON.
type Duration time.Duration

// MarshalText writes the duration as time.Duration.String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(parsed)
	return nil
}

// World is what exists at GitHub.
type World struct {
	Organizations []Organization `json:"organizations,omitempty"`
	Users         []User         `json:"users,omitempty"`
	Repositories  []Repository   `json:"repositories,omitempty"`
	Tokens        []Token        `json:"tokens,omitempty"`
	Apps          []App          `json:"apps,omitempty"`
	Installations []Installation `json:"installations,omitempty"`
}

// Organization is an account that holds repositories and secrets.
type Organization struct {
	ID    int64  `json:"id,omitempty"` // 0: the next free one
	Login string `json:"login"`
}

// User is a person's account.
type User struct {
	ID    int64  `json:"id,omitempty"` // 0: the next free one
	Login string `json:"login"`
}

// Repository belongs to an account. An owner that does not exist is made, as
// an organisation.
type Repository struct {
	ID           int64    `json:"id,omitempty"` // 0: the next free one
	Owner        string   `json:"owner"`
	Name         string   `json:"name"`
	Private      bool     `json:"private,omitempty"`
	Environments []string `json:"environments,omitempty"`
}

// Permissions say what a token may do, by GitHub's names: {"secrets": "write"}.
// Nil permits everything, as a classic token of an owner does.
type Permissions map[string]string

// Token is a personal access token.
type Token struct {
	Token string `json:"token"`
	Login string `json:"login"` // whose it is; rate limits are the person's

	Permissions Permissions `json:"permissions,omitempty"`
	// Accounts and Repositories ("owner/name") are what it can reach; both
	// empty is everything.
	Accounts     []string `json:"accounts,omitempty"`
	Repositories []string `json:"repositories,omitempty"`
}

// App is a GitHub App.
type App struct {
	ID        int64  `json:"id"`
	ClientID  string `json:"clientId,omitempty"` // accepted as the issuer too
	Slug      string `json:"slug"`
	PublicKey string `json:"publicKey"` // PEM: PKIX or PKCS #1
}

// Installation is an App's presence in an account.
type Installation struct {
	ID           int64       `json:"id"`
	AppID        int64       `json:"appId"`
	Account      string      `json:"account"`
	Permissions  Permissions `json:"permissions"`
	Repositories []string    `json:"repositories,omitempty"` // names; empty: all of the account
}
