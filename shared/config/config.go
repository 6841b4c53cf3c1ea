package config

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/secret"
)

// Environment says how much is at stake.
type Environment string

// The environments.
const (
	Dev     Environment = "dev"
	Staging Environment = "staging"
	Prod    Environment = "prod"
)

// Config is what the environment says to one reader. What that reader does not
// read is zero.
type Config struct {
	Environment Environment
	LogLevel    slog.Level

	GCPProject            string
	StateDatabase         string // Firestore database id
	AuditDatabase         string // Firestore database id
	FirestoreEmulator     string // host:port, or empty for Firestore itself
	PubSubEmulator        string // host:port, or empty for Pub/Sub itself
	SecretManagerEndpoint string // host:port on loopback without TLS, or empty for Secret Manager itself
	AuditRetentionDays    int
	FingerprintKey        Reference

	GitHubAPI           string // base URL without a slash at its end
	GitHubAppID         int64  // 0 if no App is configured
	GitHubAppPrivateKey Reference
	GitHubToken         secret.Value // empty if none is configured
	Pace                pace.Mode

	Issuers  []auth.Issuer // each with its audience
	Bindings auth.Bindings

	audience string // default of the issuers
}

// UsesApp reports whether GitHub is to be asked as an App.
func (c Config) UsesApp() bool { return c.GitHubAppID != 0 }

// UsesToken reports whether GitHub is to be asked with a token.
func (c Config) UsesToken() bool { return c.GitHubToken.Len() > 0 }

// Reference says where a secret that Sealpost itself needs is kept. At most
// one of its fields is set.
type Reference struct {
	Resource string // projects/<id>/secrets/<name>/versions/<number or latest> in Secret Manager
	File     string // path of a file, outside staging and production only
}

// IsZero reports whether nothing is referred to.
func (r Reference) IsZero() bool { return r == Reference{} }

// Environ is the process's environment. Nothing else reads it.
func Environ(name string) (string, bool) { return os.LookupEnv(name) }

// Load reads the settings of one reader, which is a function's name or [CLI].
// A variable that is set to nothing counts as not set. The error is a
// [fault.ConfigInvalid] whose detail names every variable at fault.
func Load(reader string, lookup func(string) (string, bool)) (Config, error) {
	l := loader{reader: reader, lookup: lookup}
	for _, s := range settings {
		if s.readBy(reader) {
			l.read(s)
		}
	}
	l.checkTogether()
	if len(l.faults) > 0 {
		return Config{}, fault.New(fault.ConfigInvalid, "%s", strings.Join(l.faults, "; "))
	}
	return l.config, nil
}

// loader fills a config and gathers faults.
type loader struct {
	reader string
	lookup func(string) (string, bool)
	config Config
	faults []string
}

func (l *loader) read(s Setting) {
	text, ok := l.lookup(s.Name)
	text = strings.TrimSpace(text)
	if !ok || text == "" {
		text = s.Default
	}
	switch {
	case text != "":
		if err := s.set(&l.config, text); err != nil {
			l.faults = append(l.faults, s.Name+" "+err.Error())
		}
	case s.Required:
		l.faults = append(l.faults, s.Name+" is not set")
	}
}

func (l *loader) add(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

func (l *loader) has(name string) bool {
	text, ok := l.lookup(name)
	return ok && strings.TrimSpace(text) != ""
}

// checkTogether finds the faults that no variable has by itself.
func (l *loader) checkTogether() {
	if slices.Contains(gitHubUsers, l.reader) {
		l.checkCredentials()
	}
	if env := l.config.Environment; env == Staging || env == Prod {
		l.checkProduction()
	}
}

// checkCredentials finds none, half or two of what GitHub can be asked with.
// The command may do without: it then has its own GitHub to ask.
func (l *loader) checkCredentials() {
	app, key, token := l.has(gitHubAppID), l.has(gitHubAppPrivateKey), l.has(gitHubToken)
	switch {
	case token && (app || key):
		l.add("%s and %s exclude each other", gitHubToken, gitHubAppID)
	case app != key:
		l.add("%s and %s go together", gitHubAppID, gitHubAppPrivateKey)
	case !token && !app && l.reader != CLI:
		l.add("neither %s with %s nor %s is set", gitHubAppID, gitHubAppPrivateKey, gitHubToken)
	}
}

// checkProduction refuses what is safe on a laptop only.
func (l *loader) checkProduction() {
	c, env := l.config, l.config.Environment
	if auth.HasLocal(c.Issuers) {
		l.add("%s has an issuer of kind local, which %s refuses", issuers, env)
	}
	if c.FirestoreEmulator != "" {
		l.add("%s is set, which %s refuses", firestoreEmulator, env)
	}
	if c.PubSubEmulator != "" {
		l.add("%s is set, which %s refuses", pubSubEmulator, env)
	}
	if c.SecretManagerEndpoint != "" {
		l.add("%s is set, which %s refuses", secretManagerEndpoint, env)
	}
	if c.GitHubAppPrivateKey.File != "" {
		l.add("%s is a file, which %s refuses", gitHubAppPrivateKey, env)
	}
	if c.FingerprintKey.File != "" {
		l.add("%s is a file, which %s refuses", fingerprintKey, env)
	}
	if strings.HasPrefix(c.GitHubAPI, "http:") {
		l.add("%s is not https, which %s refuses", gitHubAPI, env)
	}
}

// complaint is what is wrong with a variable: it follows its name, and never
// holds its value.
type complaint string

func (c complaint) Error() string { return string(c) }

var (
	gcpProject = regexp.MustCompile(`^[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	database   = regexp.MustCompile(`^(\(default\)|[a-z][a-z0-9-]{2,61}[a-z0-9])$`) // cloud.google.com/firestore/docs/manage-databases
	resource   = regexp.MustCompile(`^projects/[a-z0-9-]{1,30}/secrets/[A-Za-z0-9_-]{1,255}/versions/([1-9][0-9]*|latest)$`)
	hostPort   = regexp.MustCompile(`^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$`)
	header     = regexp.MustCompile(`^[\x21-\x7e]+$`)
)

func matching(pattern *regexp.Regexp, into func(*Config) *string, wanted complaint) func(*Config, string) error {
	return func(c *Config, text string) error {
		if !pattern.MatchString(text) {
			return wanted
		}
		*into(c) = text
		return nil
	}
}

func oneOf[T ~string](into func(*Config) *T, choices ...T) func(*Config, string) error {
	return func(c *Config, text string) error {
		if !slices.Contains(choices, T(text)) {
			return complaint(fmt.Sprintf("is none of %v", choices))
		}
		*into(c) = T(text)
		return nil
	}
}

func wholeNumber[T int | int64](into func(*Config) *T, least, most T) func(*Config, string) error {
	return func(c *Config, text string) error {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < int64(least) || n > int64(most) {
			return complaint(fmt.Sprintf("is not a whole number from %d to %d", least, most))
		}
		*into(c) = T(n)
		return nil
	}
}

func reference(into func(*Config) *Reference) func(*Config, string) error {
	return func(c *Config, text string) error {
		path, isFile := strings.CutPrefix(text, "file:")
		switch {
		case isFile && path != "":
			*into(c) = Reference{File: path}
		case resource.MatchString(text):
			*into(c) = Reference{Resource: text}
		default:
			return complaint("is neither projects/<id>/secrets/<name>/versions/<number or latest> nor file:<path>")
		}
		return nil
	}
}

func setLogLevel(c *Config, text string) error {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[text]
	if !ok {
		return complaint("is none of [debug info warn error]")
	}
	c.LogLevel = level
	return nil
}

func setGitHubAPI(c *Config, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return complaint("is not a URL of the form https://host[/path]")
	}
	c.GitHubAPI = strings.TrimRight(text, "/")
	return nil
}

func setGitHubToken(c *Config, text string) error {
	if !header.MatchString(text) {
		return complaint("has a character that no token has")
	}
	c.GitHubToken = secret.NewValue(text)
	return nil
}

func setSecretManagerEndpoint(c *Config, text string) error {
	if !auth.IsLoopbackAddress(text) {
		return complaint("is not host:port on this machine; there is no TLS and no credential on it")
	}
	c.SecretManagerEndpoint = text
	return nil
}

func setIssuers(c *Config, text string) error {
	list, err := auth.ParseIssuers(text, c.audience)
	if err != nil {
		return complaint("is at fault: " + fault.Detail(err))
	}
	c.Issuers = list
	return nil
}

func setBindings(c *Config, text string) error {
	bindings, err := auth.ParseBindings(text)
	if err != nil {
		return complaint("is at fault: " + fault.Detail(err))
	}
	c.Bindings = bindings
	return nil
}
