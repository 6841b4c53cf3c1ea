// Package ghapi is the way to GitHub: it lists, seals, writes and deletes
// secrets in every scope over GitHub's REST API, and finds the numeric ids of
// repositories and organisations. It is the only importer of go-github.
//
// A [Client] serves one set of credentials. Each identity behind them (the
// token, or each installation of the App) has an [account] with a pace, a
// quota and a cache of its own, since GitHub counts by identity. An account is
// the http.RoundTripper under go-github, and all that is to be said about
// sending one request is in account.go.
//
// What GitHub says in the body of a failed answer is read in one place, by
// which it becomes one of a closed set of reasons, and is dropped there: GitHub
// repeats what it was sent, so its words reach no error and no log. The same
// holds for what net/http says of a broken answer.
package ghapi

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sealpost/sealpost/shared/clock"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// Config is all that a [Client] needs to know.
type Config struct {
	// BaseURL is where the API is: https://api.github.com if empty. For GitHub
	// Enterprise Server its address is enough: https://github.example.com means
	// https://github.example.com/api/v3/. Without TLS, only this machine's own
	// addresses are accepted.
	BaseURL     string
	Credentials Credentials
	Mode        pace.Mode   // pace.Polite if empty
	Clock       clock.Clock // the machine's if nil
	// Budget returns what an identity's pace is drawn from, if other processes
	// work under it too, or nil. It is asked once for each identity. See
	// [Credentials.Identity].
	Budget    func(identity string) pace.Budget
	Workers   int               // processes that share a budget, at the most; 1 if 0
	Transport http.RoundTripper // what carries the requests; nil is a tuned http.Transport
	UserAgent string            // "sealpost" if empty; GitHub refuses requests without any
}

// Credentials are either a token or a GitHub App.
type Credentials struct {
	Token secret.Value // a personal access token, or an installation's
	App   *App
}

// App is a GitHub App. Its installation is looked up for each owner.
type App struct {
	ID         int64
	PrivateKey secret.Value // PEM, PKCS #1 or PKCS #8
}

// Client implements [syncer.Targets] and resolves names to ids. It is safe for
// concurrent use.
type Client struct {
	clock  clock.Clock
	line   line
	config Config

	single *account // serves everything, where the credentials are a token
	app    *account // asks for installations and their tokens, where they are an App

	mu            sync.Mutex
	installations map[int64]*account
	installed     cells[int64] // installation ids, by owner
	keys          cells[sealKey]
}

var _ syncer.Targets = (*Client)(nil)

// New returns a client. It sends nothing. Credentials or an address that
// cannot be used are a [fault.Unprocessable] with [fault.ConfigInvalid].
func New(config Config) (*Client, error) {
	base, err := parseBase(config.BaseURL)
	if err != nil {
		return nil, err
	}
	c := &Client{clock: config.Clock, config: config, installations: map[int64]*account{}}
	if c.clock == nil {
		c.clock = clock.Real()
	}
	if c.config.Mode == "" {
		c.config.Mode = pace.Polite
	}
	c.installed.clock, c.keys.clock = c.clock, c.clock
	c.installed.apart = true
	c.line = line{base: base, transport: config.Transport, clock: c.clock, userAgent: config.UserAgent}
	if c.line.transport == nil {
		c.line.transport = newTransport()
	}
	if c.line.userAgent == "" {
		c.line.userAgent = "sealpost"
	}
	if err := c.identify(config.Credentials); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) identify(credentials Credentials) error {
	hasToken := credentials.Token.Len() > 0
	switch {
	case hasToken == (credentials.App != nil):
		return fault.New(fault.ConfigInvalid, "the credentials for GitHub must be either a token or an App")
	case hasToken:
		c.single = c.shared("", fixedToken(credentials.Token))
		return nil
	}
	signer, err := newAppSigner(*credentials.App, c.clock)
	if err != nil {
		return err
	}
	c.app = newAccount(c.line, c.config.Mode, signer, nil, 1)
	return nil
}

// shared returns the account that serves an owner's containers.
func (c *Client) shared(owner string, t tokens) *account {
	var budget pace.Budget
	if c.config.Budget != nil {
		budget = c.config.Budget(c.config.Credentials.Identity(owner))
	}
	workers := c.config.Workers
	if budget == nil {
		workers = 1
	}
	return newAccount(c.line, c.config.Mode, t, budget, workers)
}

// Close closes the connections that are kept for later requests.
func (c *Client) Close() {
	if t, ok := c.line.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// newTransport keeps a connection for each request that may be in flight, so
// that a batch of writes does not open them anew.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          128,
		MaxIdleConnsPerHost:   128,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

const defaultBase = "https://api.github.com/"

// parseBase returns the API's address with a slash at its end.
func parseBase(text string) (*url.URL, error) {
	if text == "" {
		text = defaultBase
	}
	base, err := url.Parse(text)
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, fault.New(fault.ConfigInvalid, "the address of GitHub's API must look like https://github.example.com") // what was given may hold a password
	}
	host := base.Hostname()
	switch {
	case base.Scheme == "http" && !loopback(host):
		return nil, fault.New(fault.ConfigInvalid, "GitHub at %s must be reached over https: credentials would travel in the clear", host)
	case base.Scheme != "http" && base.Scheme != "https":
		return nil, fault.New(fault.ConfigInvalid, "the address of GitHub's API must begin with https://")
	}
	if host == "github.com" || host == "www.github.com" {
		return url.Parse(defaultBase)
	}
	base.Path = strings.TrimSuffix(base.Path, "/") + "/"
	// Enterprise Server has its API in a path; github.com and ghe.com in a host.
	if base.Path == "/" && !loopback(host) && !strings.HasPrefix(host, "api.") {
		base.Path = "/api/v3/"
	}
	return base, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
