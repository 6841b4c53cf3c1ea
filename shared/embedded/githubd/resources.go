package githubd

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// object is a JSON object.
type object map[string]any

// rate is the state of the primary limit.
type rate struct {
	Limit     int   `json:"limit"`
	Remaining int   `json:"remaining"`
	Reset     int64 `json:"reset"` // seconds since 1970
	Used      int   `json:"used"`
}

func (u *usage) rate(now time.Time, limit int) rate {
	u.primary.wait(now, 0, limit, time.Hour, true) // moves on to the present window
	return rate{Limit: limit, Remaining: max(0, limit-u.primary.used), Reset: ceilUnix(u.primary.end), Used: u.primary.used}
}

// ceilUnix rounds up, so that who waits for the reset does not come early.
func ceilUnix(t time.Time) int64 {
	return t.Add(time.Second - time.Nanosecond).Unix()
}

// rateLimit answers 404 where limits are off, as GitHub Enterprise Server does.
func (c *call) rateLimit() *reply {
	limit := c.s.settings.Limits.Primary
	if limit == 0 {
		return failure(http.StatusNotFound, "Rate limiting is not enabled.")
	}
	core := c.s.usage(c.who.key).rate(c.now, limit)
	search := rate{Limit: 30, Remaining: 30, Reset: c.now.Add(time.Minute).Unix()}
	return &reply{status: http.StatusOK, body: object{"resources": object{"core": core, "search": search}, "rate": core}}
}

// nodeID imitates the opaque ids of GraphQL.
func nodeID(kind string, id int64) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "0%d:%s%d", len(kind), kind, id))
}

// links returns addresses below base, by the name of their field.
func (c *call) links(base string, tails map[string]string) object {
	out := object{}
	for field, tail := range tails {
		out[field] = c.url(base + tail)
	}
	return out
}

// accountTails are the addresses of an account's JSON below its own.
var accountTails = map[string]string{
	"url": "", "followers_url": "/followers", "following_url": "/following{/other_user}", "gists_url": "/gists{/gist_id}",
	"starred_url": "/starred{/owner}{/repo}", "subscriptions_url": "/subscriptions", "organizations_url": "/orgs",
	"repos_url": "/repos", "events_url": "/events{/privacy}", "received_events_url": "/received_events",
}

// simpleUser is an account as it stands within other things.
func (c *call) simpleUser(a *account) object {
	out := c.links("/users/"+a.Login, accountTails)
	kind := "User"
	if a.Organization {
		kind = "Organization"
	}
	out["login"], out["id"], out["node_id"] = a.Login, a.ID, nodeID(kind, a.ID)
	out["avatar_url"], out["gravatar_id"] = c.url(fmt.Sprintf("/avatars/u/%d", a.ID)), ""
	out["html_url"], out["type"], out["site_admin"] = c.url("/"+a.Login), kind, false
	return out
}

func (c *call) getOrganization() *reply {
	a := c.account
	out := c.links("/orgs/"+a.Login, map[string]string{
		"url": "", "repos_url": "/repos", "events_url": "/events", "hooks_url": "/hooks", "issues_url": "/issues",
		"members_url": "/members{/member}", "public_members_url": "/public_members{/member}",
	})
	out["login"], out["id"], out["node_id"] = a.Login, a.ID, nodeID("Organization", a.ID)
	out["avatar_url"], out["html_url"] = c.url(fmt.Sprintf("/avatars/u/%d", a.ID)), c.url("/"+a.Login)
	out["description"], out["archived_at"], out["type"] = nil, nil, "Organization"
	out["has_organization_projects"], out["has_repository_projects"] = true, true
	out["public_repos"], out["public_gists"], out["followers"], out["following"] = 0, 0, 0, 0
	out["created_at"], out["updated_at"] = timestamp(a.CreatedAt), timestamp(a.CreatedAt)
	return &reply{status: http.StatusOK, body: out}
}

// repoTails are the addresses of a repository's JSON below its own.
var repoTails = map[string]string{
	"url": "", "archive_url": "/{archive_format}{/ref}", "assignees_url": "/assignees{/user}", "blobs_url": "/git/blobs{/sha}",
	"branches_url": "/branches{/branch}", "collaborators_url": "/collaborators{/collaborator}", "comments_url": "/comments{/number}",
	"commits_url": "/commits{/sha}", "compare_url": "/compare/{base}...{head}", "contents_url": "/contents/{+path}",
	"contributors_url": "/contributors", "deployments_url": "/deployments", "downloads_url": "/downloads", "events_url": "/events",
	"forks_url": "/forks", "git_commits_url": "/git/commits{/sha}", "git_refs_url": "/git/refs{/sha}", "git_tags_url": "/git/tags{/sha}",
	"hooks_url": "/hooks", "issue_comment_url": "/issues/comments{/number}", "issue_events_url": "/issues/events{/number}",
	"issues_url": "/issues{/number}", "keys_url": "/keys{/key_id}", "labels_url": "/labels{/name}", "languages_url": "/languages",
	"merges_url": "/merges", "milestones_url": "/milestones{/number}", "notifications_url": "/notifications{?since,all,participating}",
	"pulls_url": "/pulls{/number}", "releases_url": "/releases{/id}", "stargazers_url": "/stargazers", "statuses_url": "/statuses/{sha}",
	"subscribers_url": "/subscribers", "subscription_url": "/subscription", "tags_url": "/tags", "teams_url": "/teams",
	"trees_url": "/git/trees{/sha}",
}

func (c *call) minimalRepository(r *repo) object {
	owner := c.s.world.accounts[strings.ToLower(r.Owner)]
	out := c.links("/repos/"+r.fullName(), repoTails)
	out["id"], out["node_id"] = r.ID, nodeID("Repository", r.ID)
	out["name"], out["full_name"], out["owner"], out["private"] = r.Name, r.fullName(), c.simpleUser(owner), r.Private
	out["html_url"], out["description"], out["fork"] = c.url("/"+r.fullName()), nil, false
	return out
}

func (c *call) repository(r *repo) object {
	out := c.minimalRepository(r)
	page := c.url("/" + r.fullName())
	out["clone_url"], out["ssh_url"], out["svn_url"] = page+".git", "git@"+c.r.Host+":"+r.fullName()+".git", page
	out["git_url"], out["mirror_url"], out["homepage"], out["language"] = "git://"+c.r.Host+"/"+r.fullName()+".git", nil, nil, nil
	for _, count := range []string{
		"forks", "forks_count", "stargazers_count", "watchers", "watchers_count", "size",
		"open_issues", "open_issues_count", "subscribers_count", "network_count",
	} {
		out[count] = 0
	}
	for _, feature := range []string{"has_issues", "has_projects", "has_wiki", "has_downloads"} {
		out[feature] = true
	}
	for _, feature := range []string{"has_pages", "has_discussions", "archived", "disabled"} {
		out[feature] = false
	}
	visibility := "public"
	if r.Private {
		visibility = "private"
	}
	out["default_branch"], out["visibility"], out["license"] = "main", visibility, nil
	for _, at := range []string{"created_at", "updated_at", "pushed_at"} {
		out[at] = timestamp(r.CreatedAt)
	}
	out["permissions"] = object{"admin": true, "maintain": true, "push": true, "triage": true, "pull": true}
	return out
}

func (c *call) getRepository() *reply {
	return &reply{status: http.StatusOK, body: c.repository(c.repo)}
}

func (c *call) listInstallationRepos() *reply {
	if c.who.installation == nil {
		return failure(http.StatusForbidden, "You must authenticate with an installation access token in order to list repositories for an installation.")
	}
	var reached []*repo
	for _, r := range c.s.world.repos {
		if c.who.reachesRepo(r) {
			reached = append(reached, r)
		}
	}
	slices.SortFunc(reached, func(a, b *repo) int { return int(a.ID - b.ID) })
	page, headers := paged(c, reached)
	repos := make([]object, len(page))
	for i, r := range page {
		repos[i] = c.repository(r)
	}
	return &reply{status: http.StatusOK, headers: headers, body: object{
		"total_count": len(reached), "repositories": repos, "repository_selection": c.who.installation.selection(),
	}}
}

func (i *Installation) selection() string {
	if len(i.Repositories) > 0 {
		return "selected"
	}
	return "all"
}

func (c *call) getApp() *reply {
	a := c.who.app
	return &reply{status: http.StatusOK, body: object{
		"id": a.ID, "slug": a.Slug, "client_id": a.ClientID, "node_id": nodeID("Integration", a.ID), "name": a.Slug, "description": nil,
		"owner":        c.simpleUser(&account{ID: a.ID, Login: a.Slug, Organization: true}),
		"external_url": c.url("/apps/" + a.Slug), "html_url": c.url("/apps/" + a.Slug),
		"created_at": timestamp(c.s.world.epoch), "updated_at": timestamp(c.s.world.epoch),
		"permissions": object{"metadata": "read"}, "events": []string{},
	}}
}

// findInstallation answers which of the App's installations serves the
// repository or the organisation of the path.
func (c *call) findInstallation() *reply {
	for _, i := range c.s.world.installations {
		repos, err := c.s.installationRepos(i)
		if err != nil || i.AppID != c.who.app.ID || !strings.EqualFold(i.Account, c.account.Login) {
			continue
		}
		if c.repo == nil || len(repos) == 0 || slices.Contains(repos, c.repo.ID) {
			return &reply{status: http.StatusOK, body: c.installation(i)}
		}
	}
	return notFound()
}

// ownInstallation returns the App's own installation with the id of the path.
func (c *call) ownInstallation() *Installation {
	i := c.s.world.installations[parseID(c.r.PathValue("installation_id"))]
	if i == nil || i.AppID != c.who.app.ID {
		return nil
	}
	return i
}

func (c *call) getInstallation() *reply {
	i := c.ownInstallation()
	if i == nil {
		return notFound()
	}
	return &reply{status: http.StatusOK, body: c.installation(i)}
}

func (c *call) installation(i *Installation) object {
	a := c.s.world.accounts[strings.ToLower(i.Account)]
	kind := "User"
	if a.Organization {
		kind = "Organization"
	}
	return object{
		"id": i.ID, "app_id": i.AppID, "app_slug": c.who.app.Slug, "account": c.simpleUser(a),
		"target_id": a.ID, "target_type": kind, "repository_selection": i.selection(),
		"permissions": i.granted(), "events": []string{}, "single_file_name": nil,
		"access_tokens_url": c.url(fmt.Sprintf("/app/installations/%d/access_tokens", i.ID)),
		"repositories_url":  c.url("/installation/repositories"),
		"html_url":          c.url(fmt.Sprintf("/organizations/%s/settings/installations/%d", i.Account, i.ID)),
		"created_at":        timestamp(c.s.world.epoch), "updated_at": timestamp(c.s.world.epoch),
		"suspended_by": nil, "suspended_at": nil,
	}
}

// granted are the installation's permissions. Every App may read metadata.
func (i *Installation) granted() Permissions {
	all := Permissions{"metadata": "read"}
	for name, level := range i.Permissions {
		all[name] = level
	}
	return all
}

// createToken gives out a token for an installation, with fewer permissions
// and repositories if the body says so.
func (c *call) createToken() *reply {
	var body struct {
		Repositories  []string    `json:"repositories"`
		RepositoryIDs []int64     `json:"repository_ids"`
		Permissions   Permissions `json:"permissions"`
	}
	if len(c.body) > 0 {
		if r := c.decode(&body); r != nil {
			return r
		}
	}
	i := c.ownInstallation()
	if i == nil {
		return notFound()
	}
	permissions, r := i.narrowed(body.Permissions)
	if r != nil {
		return r
	}
	repos, r := c.narrowedRepos(i, body.Repositories, body.RepositoryIDs)
	if r != nil {
		return r
	}
	token := c.s.mint(i, permissions, repos)
	answer := object{"token": token.token, "expires_at": timestamp(token.expires), "permissions": permissions, "repository_selection": "all"}
	if len(repos) > 0 {
		shown := make([]object, len(repos))
		for n, id := range repos {
			shown[n] = c.repository(c.s.world.repos[id])
		}
		answer["repository_selection"], answer["repositories"] = "selected", shown
	}
	return &reply{status: http.StatusCreated, body: answer}
}

func (i *Installation) narrowed(wanted Permissions) (Permissions, *reply) {
	granted := i.granted()
	if len(wanted) == 0 {
		return granted, nil
	}
	holder := &identity{permissions: granted}
	narrowed := Permissions{"metadata": "read"}
	for name, level := range wanted {
		if !holder.permits(permission{name, level}) {
			return nil, failure(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
		}
		narrowed[name] = level
	}
	return narrowed, nil
}

func (c *call) narrowedRepos(i *Installation, names []string, ids []int64) ([]int64, *reply) {
	reached, err := c.s.installationRepos(i)
	refused := failure(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
	if err != nil {
		return nil, refused
	}
	for _, name := range names {
		r := c.s.world.repoByName(i.Account + "/" + name)
		if r == nil {
			return nil, refused
		}
		ids = append(ids, r.ID)
	}
	if len(ids) == 0 {
		return reached, nil
	}
	holder := &identity{installation: i, accounts: lower([]string{i.Account}), repos: reached}
	for _, id := range ids {
		if r := c.s.world.repos[id]; r == nil || !holder.reachesRepo(r) {
			return nil, refused
		}
	}
	return ids, nil
}

// protection is what a PUT of an environment carries. What it leaves out is
// cleared.
type protection struct {
	WaitTimer         int           `json:"wait_timer"`
	PreventSelfReview bool          `json:"prevent_self_review"`
	Reviewers         []reviewer    `json:"reviewers"`
	BranchPolicy      *branchPolicy `json:"deployment_branch_policy"`
}

type reviewer struct {
	Type string `json:"type"` // "User"; teams are not served
	ID   int64  `json:"id"`
}

type branchPolicy struct {
	Protected bool `json:"protected_branches"`
	Custom    bool `json:"custom_branch_policies"`
}

// Source of the bounds: docs.github.com, rest/deployments/environments.
const (
	maxWaitTimer = 43_200 // minutes
	maxReviewers = 6
)

// checkProtection returns GitHub's refusal of a protection that it does not take.
func (c *call) checkProtection(p *protection) *reply {
	unprocessable := func(message string) *reply { return failure(http.StatusUnprocessableEntity, message) }
	switch {
	case p.WaitTimer < 0 || p.WaitTimer > maxWaitTimer:
		return unprocessable("Validation Failed: wait_timer must be between 0 and 43200 minutes")
	case len(p.Reviewers) > maxReviewers:
		return unprocessable("Validation Failed: an environment has at most 6 reviewers")
	case p.BranchPolicy != nil && p.BranchPolicy.Protected == p.BranchPolicy.Custom:
		return unprocessable("Validation Failed: protected_branches and custom_branch_policies cannot have the same value")
	}
	for _, r := range p.Reviewers {
		if a := c.s.world.accountByID(r.ID); r.Type != "User" || a == nil || a.Organization {
			return unprocessable(fmt.Sprintf("Validation Failed: %s %d is not a valid reviewer", r.Type, r.ID))
		}
	}
	return nil
}

func (c *call) putEnvironment() *reply {
	name := c.r.PathValue("environment_name")
	body := &protection{}
	if len(c.body) > 0 && string(c.body) != "null" {
		if r := c.decode(body); r != nil {
			return r
		}
	}
	if r := c.checkProtection(body); r != nil {
		return r
	}
	env, _ := c.s.addEnvironment(c.repo, name)
	env.Protection, env.UpdatedAt = body, c.now.Truncate(time.Second)
	c.s.keep(environmentKey(c.repo.ID, name), env)
	return &reply{status: http.StatusOK, body: c.environment(env)}
}

func (c *call) findEnvironment() *environment {
	return c.s.world.environments[environmentKey(c.repo.ID, c.r.PathValue("environment_name"))]
}

func (c *call) getEnvironment() *reply {
	env := c.findEnvironment()
	if env == nil {
		return notFound()
	}
	return &reply{status: http.StatusOK, body: c.environment(env)}
}

func (c *call) deleteEnvironment() *reply {
	env := c.findEnvironment()
	if env == nil {
		return notFound()
	}
	c.s.deleteEnvironment(env)
	return &reply{status: http.StatusNoContent}
}

func (c *call) listEnvironments() *reply {
	var all []*environment
	for _, env := range c.s.world.environments {
		if env.Repository == c.repo.ID {
			all = append(all, env)
		}
	}
	slices.SortFunc(all, func(a, b *environment) int { return strings.Compare(a.Name, b.Name) })
	page, headers := paged(c, all)
	shown := make([]object, len(page))
	for i, env := range page {
		shown[i] = c.environment(env)
	}
	return &reply{status: http.StatusOK, headers: headers, body: object{"total_count": len(all), "environments": shown}}
}

func (c *call) environment(env *environment) object {
	p := env.Protection
	if p == nil {
		p = &protection{}
	}
	out := object{
		"id": env.ID, "node_id": nodeID("Environment", env.ID), "name": env.Name,
		"url":        c.url("/repos/" + c.repo.fullName() + "/environments/" + url.PathEscape(env.Name)),
		"html_url":   c.url("/" + c.repo.fullName() + "/deployments/activity_log?environments_filter=" + url.PathEscape(env.Name)),
		"created_at": timestamp(env.CreatedAt), "updated_at": timestamp(env.UpdatedAt),
		"protection_rules": c.protectionRules(env.ID, p), "deployment_branch_policy": nil,
	}
	if p.BranchPolicy != nil {
		out["deployment_branch_policy"] = p.BranchPolicy
	}
	return out
}

func (c *call) protectionRules(id int64, p *protection) []object {
	rules := []object{}
	add := func(kind string, fields object) {
		rule := object{"id": id*10 + int64(len(rules)), "node_id": nodeID("Gate", id*10+int64(len(rules))), "type": kind}
		for name, value := range fields {
			rule[name] = value
		}
		rules = append(rules, rule)
	}
	if p.WaitTimer > 0 {
		add("wait_timer", object{"wait_timer": p.WaitTimer})
	}
	if len(p.Reviewers) > 0 {
		reviewers := make([]object, len(p.Reviewers))
		for i, r := range p.Reviewers {
			reviewers[i] = object{"type": r.Type, "reviewer": c.simpleUser(c.s.world.accountByID(r.ID))}
		}
		add("required_reviewers", object{"reviewers": reviewers, "prevent_self_review": p.PreventSelfReview})
	}
	if p.BranchPolicy != nil {
		add("branch_policy", nil)
	}
	return rules
}
