package githubd

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/nacl/box"

	"github.com/sealpost/sealpost/shared/secret"
)

// The families of secrets that a repository or an organisation has.
const (
	familyActions    = "actions"
	familyCodespaces = "codespaces"
	familyDependabot = "dependabot"
)

// vault holds the secrets of one scope, with the key that they are sealed to.
type vault struct {
	id       string
	org      *account // nil for a repository's
	family   string
	capacity int // 0: no limit
	secrets  map[string]record
	key      sealKey
	changes  []change // for lists that lag
}

// record is one secret as it is held.
type record struct {
	Name         string    `json:"name"`
	Value        string    `json:"value"`
	CreatedAt    time.Time `json:"createdAt"`
	UpdatedAt    time.Time `json:"updatedAt"`
	Visibility   string    `json:"visibility,omitempty"`   // organisations only
	Repositories []int64   `json:"repositories,omitempty"` // with visibility "selected"
}

// change is what a secret was before a write: nil if it was not there.
type change struct {
	at     time.Time
	name   string
	before *record
}

// sealKey is a key pair for sealed boxes.
type sealKey struct {
	ID      string   `json:"id"`
	Public  [32]byte `json:"public"`
	Private [32]byte `json:"private"`
}

func newSealKey() sealKey {
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		panic("githubd: " + err.Error()) // crypto/rand does not fail
	}
	// GitHub's key ids are decimal numbers of 18 digits or so, as texts.
	number, err := rand.Int(rand.Reader, big.NewInt(900_000_000_000_000_000))
	if err != nil {
		panic("githubd: " + err.Error())
	}
	return sealKey{ID: fmt.Sprint(number.Int64() + 100_000_000_000_000_000), Public: *public, Private: *private}
}

// open returns what was sealed to the key, if the key is the one that is named.
func (k sealKey) open(keyID, sealed string) (value string, ok bool) {
	if subtle.ConstantTimeCompare([]byte(keyID), []byte(k.ID)) != 1 {
		return "", false
	}
	ciphertext, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return "", false
	}
	plaintext, ok := box.OpenAnonymous(nil, ciphertext, &k.Public, &k.Private)
	return string(plaintext), ok
}

func environmentVaultID(repositoryID int64, name string) string {
	return fmt.Sprintf("repository/%d/environment/%s", repositoryID, strings.ToLower(name))
}

func (s *Server) repoVault(r *repo, family string) *vault {
	return s.vault(fmt.Sprintf("repository/%d/%s", r.ID, family), vault{
		family: family, capacity: secret.Scope(family).Capacity(),
	})
}

func (s *Server) environmentVault(env *environment) *vault {
	return s.vault(environmentVaultID(env.Repository, env.Name), vault{
		family: familyActions, capacity: secret.EnvironmentScope(env.Name).Capacity(),
	})
}

func (s *Server) orgVault(a *account, family string) *vault {
	return s.vault(fmt.Sprintf("organization/%d/%s", a.ID, family), vault{
		org: a, family: family, capacity: secret.Scope("org-" + family).Capacity(),
	})
}

// vault returns the one with the id, making it, and its key, at first use.
func (s *Server) vault(id string, fresh vault) *vault {
	v := s.world.stored(id)
	v.org, v.family, v.capacity = fresh.org, fresh.family, fresh.capacity
	if v.key.ID == "" {
		v.key = newSealKey()
		s.keep(v.sealKey(), v.key)
	}
	return v
}

func (v *vault) sealKey() string              { return "key/" + v.id }
func (v *vault) secretKey(name string) string { return "secret/" + v.id + "/" + name }

// write stores a secret, nil removing it, and remembers what was there for
// lists that lag.
func (s *Server) write(v *vault, name string, r *record) {
	lag := time.Duration(s.settings.ListLag)
	if lag > 0 {
		before := change{at: s.now(), name: name}
		if old, ok := v.secrets[name]; ok {
			before.before = &old
		}
		v.changes = append(v.changes, before)
	}
	if r == nil {
		delete(v.secrets, name)
		s.keep(v.secretKey(name), nil)
		return
	}
	v.secrets[name] = *r
	s.keep(v.secretKey(name), r)
}

// listed returns the secrets in the order of their names, as they were the lag
// ago, and forgets the changes that no list will look behind any more.
func (v *vault) listed(now time.Time, lag time.Duration) []record {
	v.changes = slices.DeleteFunc(v.changes, func(c change) bool { return !c.at.After(now.Add(-lag)) })
	if len(v.changes) == 0 {
		return sorted(v.secrets)
	}
	shown := maps.Clone(v.secrets)
	for _, c := range slices.Backward(v.changes) {
		if c.before == nil {
			delete(shown, c.name)
		} else {
			shown[c.name] = *c.before
		}
	}
	return sorted(shown)
}

func sorted(secrets map[string]record) []record {
	records := make([]record, 0, len(secrets))
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		records = append(records, secrets[name])
	}
	return records
}
