package githubd

import (
	"net/http"
	"strings"
)

// Kind says what a request is for.
type Kind string

// The kinds of request, as [Counts] tells them apart.
const (
	KindList         Kind = "list"         // the secrets of a scope
	KindPublicKey    Kind = "public-key"   // the key to seal to
	KindGet          Kind = "get"          // one secret
	KindPut          Kind = "put"          // one secret
	KindDelete       Kind = "delete"       // one secret
	KindAccess       Kind = "access"       // the repositories that see an organisation's secret
	KindRepository   Kind = "repository"   // a repository, or those of an installation
	KindOrganization Kind = "organization" // an organisation
	KindEnvironment  Kind = "environment"  // a deployment environment, or all of them
	KindApp          Kind = "app"          // an App, or its installation
	KindToken        Kind = "token"        // an installation's token
	KindRateLimit    Kind = "rate-limit"   // the state of the limits
	KindUnknown      Kind = "unknown"      // nothing that is served here
)

// permission is what an endpoint asks of a token: a name and a level of GitHub's.
type permission struct{ name, level string }

func (p permission) String() string { return p.name + "=" + p.level }

// route is one endpoint.
type route struct {
	pattern string // as net/http's ServeMux has it
	kind    Kind
	need    permission
	asApp   bool // for an App with its JWT, and nobody else
	handle  func(*call) *reply
}

// routes registers every endpoint. What is not in it is not found.
func (s *Server) routes(control bool) http.Handler {
	mux := http.NewServeMux()
	add := func(r route) {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, q *http.Request) { s.serve(r, w, q) })
	}
	for _, r := range endpoints() {
		add(r)
	}
	add(route{pattern: "/", kind: KindUnknown, handle: func(*call) *reply { return notFound() }})
	if control {
		mux.Handle("/_control/", s.control())
	}
	return mux
}

// endpoints lists every endpoint that is served, each under its documented path
// and, where GitHub has one, under that with the numeric id: its redirects and
// its Link headers lead there.
func endpoints() []route {
	routes := []route{
		{pattern: "GET /rate_limit", kind: KindRateLimit, handle: (*call).rateLimit},
		{pattern: "GET /app", kind: KindApp, asApp: true, handle: (*call).getApp},
		{pattern: "GET /app/installations/{installation_id}", kind: KindApp, asApp: true, handle: (*call).getInstallation},
		{pattern: "POST /app/installations/{installation_id}/access_tokens", kind: KindToken, asApp: true, handle: (*call).createToken},
		{pattern: "GET /installation/repositories", kind: KindRepository, handle: (*call).listInstallationRepos},
	}
	for _, base := range []string{"/orgs/{org}", "/organizations/{org_id}"} {
		routes = append(routes, orgEndpoints(base)...)
	}
	for _, base := range []string{"/repos/{owner}/{repo}", "/repositories/{repository_id}"} {
		routes = append(routes, repoEndpoints(base)...)
	}
	return routes
}

func orgEndpoints(base string) []route {
	routes := []route{
		{pattern: "GET " + base, kind: KindOrganization, handle: (*call).getOrganization},
		{pattern: "GET " + base + "/installation", kind: KindApp, asApp: true, handle: (*call).findInstallation},
	}
	permissions := map[string]string{
		familyActions:    "organization_secrets",
		familyCodespaces: "organization_codespaces_secrets",
		familyDependabot: "organization_dependabot_secrets",
	}
	for family, name := range permissions {
		read, write := permission{name, "read"}, permission{name, "write"}
		at := base + "/" + family + "/secrets"
		routes = append(routes, secretEndpoints(at, read, write)...)
		routes = append(routes,
			route{pattern: "GET " + at + "/{secret_name}/repositories", kind: KindAccess, need: read, handle: (*call).listSelected},
			route{pattern: "PUT " + at + "/{secret_name}/repositories", kind: KindAccess, need: write, handle: (*call).setSelected},
			route{pattern: "PUT " + at + "/{secret_name}/repositories/{selected_id}", kind: KindAccess, need: write, handle: (*call).addSelected},
			route{pattern: "DELETE " + at + "/{secret_name}/repositories/{selected_id}", kind: KindAccess, need: write, handle: (*call).removeSelected},
		)
	}
	return routes
}

func repoEndpoints(base string) []route {
	read, write := permission{"actions", "read"}, permission{"administration", "write"}
	routes := []route{
		{pattern: "GET " + base, kind: KindRepository, handle: (*call).getRepository},
		{pattern: "GET " + base + "/installation", kind: KindApp, asApp: true, handle: (*call).findInstallation},
		{pattern: "GET " + base + "/environments", kind: KindEnvironment, need: read, handle: (*call).listEnvironments},
		{pattern: "GET " + base + "/environments/{environment_name}", kind: KindEnvironment, need: read, handle: (*call).getEnvironment},
		{pattern: "PUT " + base + "/environments/{environment_name}", kind: KindEnvironment, need: write, handle: (*call).putEnvironment},
		{pattern: "DELETE " + base + "/environments/{environment_name}", kind: KindEnvironment, need: write, handle: (*call).deleteEnvironment},
	}
	for _, scope := range []struct{ at, permission, read string }{
		{"/actions/secrets", "secrets", "read"},
		{"/codespaces/secrets", "codespaces_secrets", "write"}, // even to list them
		{"/dependabot/secrets", "dependabot_secrets", "read"},
		{"/environments/{environment_name}/secrets", "environments", "read"},
	} {
		routes = append(routes, secretEndpoints(base+scope.at,
			permission{scope.permission, scope.read}, permission{scope.permission, "write"})...)
	}
	return routes
}

func secretEndpoints(at string, read, write permission) []route {
	return []route{
		{pattern: "GET " + at, kind: KindList, need: read, handle: (*call).listSecrets},
		{pattern: "GET " + at + "/public-key", kind: KindPublicKey, need: read, handle: (*call).publicKey},
		{pattern: "GET " + at + "/{secret_name}", kind: KindGet, need: read, handle: (*call).getSecret},
		{pattern: "PUT " + at + "/{secret_name}", kind: KindPut, need: write, handle: (*call).putSecret},
		{pattern: "DELETE " + at + "/{secret_name}", kind: KindDelete, need: write, handle: (*call).deleteSecret},
	}
}

// resolve finds what the path names and checks that the caller reaches it and
// is permitted to do this. What a caller cannot reach does not exist for it.
func (c *call) resolve() *reply {
	path := c.route.pattern
	switch {
	case strings.Contains(path, "{owner}"), strings.Contains(path, "{repository_id}"):
		if r := c.resolveRepo(); r != nil {
			return r
		}
	case strings.Contains(path, "{org}"), strings.Contains(path, "{org_id}"):
		if r := c.resolveOrg(); r != nil {
			return r
		}
	}
	if !c.who.permits(c.route.need) {
		return forbidden(c.who)
	}
	return c.resolveVault()
}

func forbidden(who *identity) *reply {
	if who.installation == nil {
		return failure(http.StatusForbidden, "Resource not accessible by personal access token")
	}
	return failure(http.StatusForbidden, "Resource not accessible by integration")
}

func (c *call) resolveRepo() *reply {
	fullName := c.r.PathValue("owner") + "/" + c.r.PathValue("repo")
	w := c.s.world
	c.repo = w.repoByName(fullName)
	if id := c.r.PathValue("repository_id"); id != "" {
		c.repo = w.repos[parseID(id)]
	}
	if c.repo == nil || !c.route.asApp && !c.who.reachesRepo(c.repo) {
		return notFound()
	}
	c.account = w.accounts[strings.ToLower(c.repo.Owner)]
	if c.r.PathValue("owner") != "" && !strings.EqualFold(fullName, c.repo.fullName()) {
		return c.moved()
	}
	return nil
}

// moved redirects from a repository's former name to its id, as GitHub does.
func (c *call) moved() *reply {
	status, message := http.StatusMovedPermanently, "Moved Permanently"
	if c.writes() {
		status, message = http.StatusTemporaryRedirect, "Temporary Redirect"
	}
	rest := strings.SplitN(c.r.URL.EscapedPath(), "/", 5)[4:]
	at := c.url(strings.Join(append([]string{"/repositories", idText(c.repo.ID)}, rest...), "/"))
	if query := c.r.URL.RawQuery; query != "" {
		at += "?" + query
	}
	r := &reply{status: status, body: map[string]string{"message": message, "url": at, "documentation_url": docsURL}}
	r.header().Set("Location", at)
	return r
}

func (c *call) resolveOrg() *reply {
	c.account = c.s.world.accounts[strings.ToLower(c.r.PathValue("org"))]
	if id := c.r.PathValue("org_id"); id != "" {
		c.account = c.s.world.accountByID(parseID(id))
	}
	if c.account == nil || !c.account.Organization || !c.route.asApp && !c.who.reachesAccount(c.account.Login) {
		return notFound()
	}
	return nil
}

// resolveVault finds the secrets that the path is about, if it is about any.
func (c *call) resolveVault() *reply {
	path := c.route.pattern
	if !strings.Contains(path, "/secrets") {
		return nil
	}
	switch {
	case strings.Contains(path, "/environments/"):
		env := c.s.world.environments[environmentKey(c.repo.ID, c.r.PathValue("environment_name"))]
		if env == nil {
			return notFound()
		}
		c.vault = c.s.environmentVault(env)
	case c.repo != nil:
		c.vault = c.s.repoVault(c.repo, familyIn(path))
	default:
		c.vault = c.s.orgVault(c.account, familyIn(path))
	}
	return nil
}

func familyIn(path string) string {
	for _, family := range []string{familyCodespaces, familyDependabot} {
		if strings.Contains(path, "/"+family+"/") {
			return family
		}
	}
	return familyActions
}

// url returns an address under the one by which the caller reached the server.
func (c *call) url(path string) string {
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	prefix := ""
	if strings.HasPrefix(c.r.RequestURI, enterprisePrefix+"/") {
		prefix = enterprisePrefix
	}
	return scheme + "://" + c.r.Host + prefix + path
}
