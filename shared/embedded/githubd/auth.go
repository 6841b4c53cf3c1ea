package githubd

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
)

// identity is who a request comes from and what it may do. It does not change
// once it is made.
type identity struct {
	key         string // whose rate limits: "user:alice", "installation:7", "app:3"
	token       string // what it showed; ETags vary with it
	permissions Permissions
	expires     time.Time // zero: never
	everything  bool      // reaches every account
	accounts    []string  // lower-case logins that it reaches
	repos       []int64   // ids that it reaches besides

	app          *app          // the caller is an App with its JWT
	installation *Installation // the caller is an App's installation
}

func (i *identity) reachesAccount(login string) bool {
	return i.everything || slices.Contains(i.accounts, strings.ToLower(login))
}

func (i *identity) reachesRepo(r *repo) bool {
	if i.installation != nil {
		return i.reachesAccount(r.Owner) && (len(i.repos) == 0 || slices.Contains(i.repos, r.ID))
	}
	return i.reachesAccount(r.Owner) || slices.Contains(i.repos, r.ID)
}

// permits reports whether the identity has at least the level that is needed.
func (i *identity) permits(need permission) bool {
	if need.name == "" || i.permissions == nil {
		return true
	}
	have := i.permissions[need.name]
	return have == need.level || have == "write" && need.level == "read" || have == "admin"
}

// app is a registered GitHub App.
type app struct {
	App
	key *rsa.PublicKey
}

func (s *Server) addToken(t Token) error {
	if t.Token == "" || t.Login == "" {
		return fault.Wrap(fault.Invalid, "githubd: a token needs its text and a login", nil)
	}
	i := &identity{
		key: "user:" + strings.ToLower(t.Login), token: t.Token, permissions: t.Permissions,
		everything: len(t.Accounts)+len(t.Repositories) == 0, accounts: lower(t.Accounts),
	}
	var err error
	if i.repos, err = s.repoIDs(t.Repositories); err != nil {
		return err
	}
	s.addAccount(0, t.Login, false)
	s.world.tokens[t.Token] = i
	return nil
}

func (s *Server) addApp(a App) error {
	key, err := parsePublicKey(a.PublicKey)
	if err != nil || a.ID == 0 {
		return fault.Wrap(fault.Invalid, fmt.Sprintf("githubd: app %d needs an id and an RSA public key in PEM", a.ID), err)
	}
	s.world.apps[a.ID] = &app{App: a, key: key}
	return nil
}

func (s *Server) addInstallation(i Installation) error {
	op := fmt.Sprintf("githubd: installation %d of app %d in %s", i.ID, i.AppID, i.Account)
	if s.world.apps[i.AppID] == nil || s.world.accounts[strings.ToLower(i.Account)] == nil {
		return fault.Wrap(fault.NotFound, op, nil)
	}
	if i.ID == 0 || i.Permissions == nil {
		return fault.Wrap(fault.Invalid, op+" needs an id and permissions", nil)
	}
	for n, name := range i.Repositories {
		i.Repositories[n] = strings.TrimPrefix(name, i.Account+"/")
	}
	s.world.installations[i.ID] = &i
	_, err := s.installationRepos(&i)
	return err
}

// installationRepos returns the ids of the repositories that an installation
// names; none means all of the account.
func (s *Server) installationRepos(i *Installation) ([]int64, error) {
	names := make([]string, len(i.Repositories))
	for n, name := range i.Repositories {
		names[n] = i.Account + "/" + name
	}
	return s.repoIDs(names)
}

func (s *Server) repoIDs(fullNames []string) ([]int64, error) {
	var ids []int64
	for _, name := range fullNames {
		r := s.world.repoByName(name)
		if r == nil {
			return nil, fault.Wrap(fault.NotFound, "githubd: repository "+name, nil)
		}
		ids = append(ids, r.ID)
	}
	return ids, nil
}

func lower(texts []string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = strings.ToLower(text)
	}
	return out
}

func parsePublicKey(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fault.Wrap(fault.Invalid, "githubd: no PEM block", nil)
	}
	if key, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "githubd: the PEM block is no public key", nil)
	}
	rsaKey, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fault.Wrap(fault.Invalid, "githubd: the public key is not RSA's", nil)
	}
	return rsaKey, nil
}

// credential returns what the request shows: `Bearer X` and `token X` are the
// same to GitHub, and a Basic password is a token too.
func credential(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "bearer") || strings.EqualFold(scheme, "token") {
		return strings.TrimSpace(text)
	}
	return ""
}

// authenticate returns who sent the request, or the 401 for it.
func (s *Server) authenticate(r *http.Request, asApp bool) (*identity, *reply) {
	text := credential(r)
	if text == "" {
		return nil, failure(http.StatusUnauthorized, "Requires authentication")
	}
	if asApp {
		return s.authenticateApp(text)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.world.tokens[text]
	if i == nil || !i.expires.IsZero() && !s.now().Before(i.expires) {
		return nil, failure(http.StatusUnauthorized, "Bad credentials")
	}
	return i, nil
}

// maxJWTLife is how far ahead of GitHub's clock an App's JWT may end.
// Source: docs.github.com, apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app.
const maxJWTLife = 10 * time.Minute

type jwtClaims struct {
	Issuer  json.RawMessage `json:"iss"` // the App's id, as a number or a text, or its client id
	Issued  *float64        `json:"iat"`
	Expires *float64        `json:"exp"`
}

// authenticateApp checks an App's JWT. The words of the refusals are GitHub's,
// as reported in public; it documents none.
func (s *Server) authenticateApp(token string) (*identity, *reply) {
	undecodable := failure(http.StatusUnauthorized, "A JSON web token could not be decoded")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, undecodable
	}
	var header struct {
		Alg string `json:"alg"`
	}
	var claims jwtClaims
	if !decodePart(parts[0], &header) || header.Alg != "RS256" || !decodePart(parts[1], &claims) {
		return nil, undecodable
	}
	a := s.appOf(claims.Issuer)
	if a == nil {
		return nil, failure(http.StatusNotFound, "Integration not found")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err != nil || rsa.VerifyPKCS1v15(a.key, crypto.SHA256, digest[:], signature) != nil {
		return nil, undecodable
	}
	if words := claims.fault(s.now()); words != "" {
		return nil, failure(http.StatusUnauthorized, words)
	}
	return &identity{key: fmt.Sprintf("app:%d", a.ID), token: token, app: a}, nil
}

// fault returns what is wrong with the token's times, or nothing.
func (c jwtClaims) fault(now time.Time) string {
	seconds := float64(now.UnixNano()) / float64(time.Second)
	switch {
	case c.Expires == nil || *c.Expires <= seconds:
		return "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"
	case *c.Expires > seconds+maxJWTLife.Seconds():
		return "'Expiration time' claim ('exp') is too far in the future"
	case c.Issued == nil || *c.Issued > seconds:
		return "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
	}
	return ""
}

func decodePart(part string, into any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(raw, into) == nil
}

func (s *Server) appOf(issuer json.RawMessage) *app {
	text := strings.Trim(string(issuer), `"`)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.world.apps[parseID(text)]; a != nil {
		return a
	}
	for _, a := range s.world.apps {
		if a.ClientID != "" && a.ClientID == text {
			return a
		}
	}
	return nil
}

// tokenLife is how long an installation's token lives.
const tokenLife = time.Hour

// mint makes a token for an installation with no more than it has itself.
func (s *Server) mint(i *Installation, permissions Permissions, repos []int64) *identity {
	t := &identity{
		key: fmt.Sprintf("installation:%d", i.ID), token: "ghs_" + rand.Text() + rand.Text()[:10],
		permissions: permissions, expires: s.now().Add(tokenLife).Truncate(time.Second),
		accounts: []string{strings.ToLower(i.Account)}, repos: repos, installation: i,
	}
	s.world.tokens[t.token] = t
	return t
}

// ExpireTokens makes every installation token that was given out worthless, as
// a revoked or an outlived one is.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text, i := range s.world.tokens {
		if i.installation != nil {
			delete(s.world.tokens, text)
		}
	}
}
