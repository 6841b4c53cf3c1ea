package githubd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// account is a user or an organisation.
type account struct {
	ID           int64     `json:"id"`
	Login        string    `json:"login"`
	Organization bool      `json:"organization"`
	CreatedAt    time.Time `json:"createdAt"`
}

// repo is a repository; its owner is found by id, since accounts may be renamed.
type repo struct {
	ID        int64     `json:"id"`
	Owner     string    `json:"owner"`
	Name      string    `json:"name"`
	Private   bool      `json:"private"`
	CreatedAt time.Time `json:"createdAt"`
	// Former holds the full names that it had before, lower-case.
	Former []string `json:"former,omitempty"`
}

func (r *repo) fullName() string { return r.Owner + "/" + r.Name }

// environment is a deployment environment with its protection.
type environment struct {
	ID         int64       `json:"id"`
	Repository int64       `json:"repository"`
	Name       string      `json:"name"`
	Protection *protection `json:"protection,omitempty"`
	CreatedAt  time.Time   `json:"createdAt"`
	UpdatedAt  time.Time   `json:"updatedAt"`
}

// world is what exists at GitHub. Its maps are keyed in lower case, since
// GitHub's names are case-insensitive. The server's mutex guards it.
type world struct {
	accounts      map[string]*account
	repos         map[int64]*repo
	repoIDs       map[string]int64 // full name, present and former
	environments  map[string]*environment
	vaults        map[string]*vault
	tokens        map[string]*identity // user tokens and installation tokens
	apps          map[int64]*app
	installations map[int64]*Installation
	lastID        int64
	epoch         time.Time // since when the Apps exist
}

func newWorld() *world {
	return &world{
		accounts:      map[string]*account{},
		repos:         map[int64]*repo{},
		repoIDs:       map[string]int64{},
		environments:  map[string]*environment{},
		vaults:        map[string]*vault{},
		tokens:        map[string]*identity{},
		apps:          map[int64]*app{},
		installations: map[int64]*Installation{},
		lastID:        1_000_000, // so that ids do not look like counts
	}
}

// claimID returns the id asked for, or the next free one for 0.
func (w *world) claimID(id int64) int64 {
	if id == 0 {
		id = w.lastID + 1
	}
	w.lastID = max(w.lastID, id)
	return id
}

func (w *world) repoByName(fullName string) *repo {
	return w.repos[w.repoIDs[strings.ToLower(fullName)]]
}

func (w *world) accountByID(id int64) *account {
	for _, a := range w.accounts {
		if a.ID == id {
			return a
		}
	}
	return nil
}

func environmentKey(repositoryID int64, name string) string {
	return fmt.Sprintf("environment/%d/%s", repositoryID, strings.ToLower(name))
}

// Add adds to what exists. Adding what is there already keeps its id, its
// environments and its secrets, so that a server with a state file may be given
// the same world at every start. It returns a [fault.Invalid] for what makes no
// sense and a [fault.NotFound] for what refers to nothing.
func (s *Server) Add(w World) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range w.Organizations {
		if err := s.declareAccount(o.ID, o.Login, true); err != nil {
			return err
		}
	}
	for _, u := range w.Users {
		if err := s.declareAccount(u.ID, u.Login, false); err != nil {
			return err
		}
	}
	for _, r := range w.Repositories {
		if err := s.addRepository(r); err != nil {
			return err
		}
	}
	for _, t := range w.Tokens {
		if err := s.addToken(t); err != nil {
			return err
		}
	}
	for _, a := range w.Apps {
		if err := s.addApp(a); err != nil {
			return err
		}
	}
	for _, i := range w.Installations {
		if err := s.addInstallation(i); err != nil {
			return err
		}
	}
	return s.stateErr
}

// declareAccount adds an account that is asked for by name, kind and perhaps id.
func (s *Server) declareAccount(id int64, login string, organization bool) error {
	known, other := s.world.accounts[strings.ToLower(login)], s.world.accountByID(id)
	if login == "" || known == nil && other != nil || known != nil && known.Organization != organization {
		return fault.Wrap(fault.Invalid, fmt.Sprintf("githubd: account %q with the id %d", login, id), nil)
	}
	s.addAccount(id, login, organization)
	return nil
}

func (s *Server) addAccount(id int64, login string, organization bool) *account {
	key := strings.ToLower(login)
	if a := s.world.accounts[key]; a != nil {
		return a
	}
	a := &account{ID: s.world.claimID(id), Login: login, Organization: organization, CreatedAt: s.now().Truncate(time.Second)}
	s.world.accounts[key] = a
	s.keep("account/"+key, a)
	return a
}

func (s *Server) addRepository(r Repository) error {
	known := s.world.repoByName(r.Owner + "/" + r.Name)
	taken := known == nil && s.world.repos[r.ID] != nil
	if taken || r.Owner == "" || r.Name == "" || strings.Contains(r.Owner+r.Name, "/") {
		return fault.Wrap(fault.Invalid, fmt.Sprintf("githubd: repository %q/%q with the id %d", r.Owner, r.Name, r.ID), nil)
	}
	owner := s.addAccount(0, r.Owner, true)
	if known == nil {
		known = &repo{ID: s.world.claimID(r.ID), Owner: owner.Login, Name: r.Name, Private: r.Private, CreatedAt: s.now().Truncate(time.Second)}
		s.world.indexRepo(known)
		s.keepRepo(known)
	}
	for _, name := range r.Environments {
		s.addEnvironment(known, name)
	}
	return nil
}

func (w *world) indexRepo(r *repo) {
	w.repos[r.ID] = r
	for _, name := range append(slices.Clone(r.Former), r.fullName()) {
		w.repoIDs[strings.ToLower(name)] = r.ID
	}
}

func (s *Server) addEnvironment(r *repo, name string) (env *environment, created bool) {
	key := environmentKey(r.ID, name)
	if env := s.world.environments[key]; env != nil {
		return env, false
	}
	now := s.now().Truncate(time.Second)
	env = &environment{ID: s.world.claimID(0), Repository: r.ID, Name: name, CreatedAt: now, UpdatedAt: now}
	s.world.environments[key] = env
	s.keep(key, env)
	return env, true
}

// deleteEnvironment takes the environment's secrets with it, as GitHub does.
func (s *Server) deleteEnvironment(env *environment) {
	key := environmentKey(env.Repository, env.Name)
	delete(s.world.environments, key)
	s.keep(key, nil)
	id := environmentVaultID(env.Repository, env.Name)
	if v := s.world.vaults[id]; v != nil {
		for name := range v.secrets {
			s.keep(v.secretKey(name), nil)
		}
		s.keep(v.sealKey(), nil)
		delete(s.world.vaults, id)
	}
}

// RenameRepository gives a repository another name in the same account. It
// keeps its id; requests to its old name are redirected to it.
func (s *Server) RenameRepository(fullName, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.world.repoByName(fullName)
	if r == nil {
		return fault.Wrap(fault.NotFound, "githubd: repository "+fullName, nil)
	}
	r.Former = append(r.Former, strings.ToLower(r.fullName()))
	r.Name = name
	s.world.indexRepo(r)
	s.keepRepo(r)
	return s.stateErr
}

// RepositoryID returns the numeric id of "owner/name", or 0.
func (s *Server) RepositoryID(fullName string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.world.repoIDs[strings.ToLower(fullName)]
}

// AccountID returns the numeric id of a user or an organisation, or 0.
func (s *Server) AccountID(login string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.world.accounts[strings.ToLower(login)]; a != nil {
		return a.ID
	}
	return 0
}

// vaultOf finds where the secrets of a scope are. The container is
// "owner/name" for a repository's scopes and a login for an organisation's.
func (s *Server) vaultOf(container string, scope secret.Scope) (*vault, error) {
	missing := fault.Wrap(fault.NotFound, fmt.Sprintf("githubd: scope %s of %s", scope, container), nil)
	if family, ok := strings.CutPrefix(string(scope), "org-"); ok {
		a := s.world.accounts[strings.ToLower(container)]
		if a == nil || !a.Organization || !knownFamily(family) {
			return nil, missing
		}
		return s.orgVault(a, family), nil
	}
	r := s.world.repoByName(container)
	if r == nil {
		return nil, missing
	}
	if name, ok := scope.Environment(); ok {
		env := s.world.environments[environmentKey(r.ID, name)]
		if env == nil {
			return nil, missing
		}
		return s.environmentVault(env), nil
	}
	if !knownFamily(string(scope)) {
		return nil, missing
	}
	return s.repoVault(r, string(scope)), nil
}

func knownFamily(family string) bool {
	return family == familyActions || family == familyCodespaces || family == familyDependabot
}

func parseID(text string) int64 {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return id
}
