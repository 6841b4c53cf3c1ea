package githubd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// shownSecret is a secret as GitHub shows it: without its value.
type shownSecret struct {
	Name         string `json:"name"`
	CreatedAt    string `json:"created_at"`
	UpdatedAt    string `json:"updated_at"`
	Visibility   string `json:"visibility,omitempty"`
	Repositories string `json:"selected_repositories_url,omitempty"`
}

func (c *call) show(r record) shownSecret {
	shown := shownSecret{Name: r.Name, CreatedAt: timestamp(r.CreatedAt), UpdatedAt: timestamp(r.UpdatedAt), Visibility: r.Visibility}
	if r.Visibility == visibleToSelected {
		shown.Repositories = c.url(fmt.Sprintf("/orgs/%s/%s/secrets/%s/repositories", c.account.Login, c.vault.family, r.Name))
	}
	return shown
}

func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func idText(id int64) string { return strconv.FormatInt(id, 10) }

type secretList struct {
	TotalCount int           `json:"total_count"`
	Secrets    []shownSecret `json:"secrets"`
}

func (c *call) listSecrets() *reply {
	records := c.vault.listed(c.now, timeOf(c.s.settings.ListLag))
	page, headers := paged(c, records)
	list := secretList{TotalCount: len(records), Secrets: make([]shownSecret, len(page))}
	for i, r := range page {
		list.Secrets[i] = c.show(r)
	}
	return &reply{status: http.StatusOK, body: list, headers: headers}
}

// paged returns the page that the query asks for, and the Link header with the
// way to the others. GitHub lists 30 a page if it is not told, 100 at the most.
func paged[T any](c *call, all []T) ([]T, http.Header) {
	query := c.r.URL.Query()
	size := min(positive(query.Get("per_page"), 30), 100)
	number := positive(query.Get("page"), 1)
	last := max(1, (len(all)+size-1)/size)

	from := min((number-1)*size, len(all))
	page := all[from:min(from+size, len(all))]
	var links []string
	link := func(rel string, n int) {
		query.Set("page", strconv.Itoa(n))
		links = append(links, fmt.Sprintf("<%s?%s>; rel=%q", c.url(c.r.URL.EscapedPath()), query.Encode(), rel))
	}
	if number > 1 {
		link("prev", min(number-1, last))
	}
	if number < last {
		link("next", number+1)
		link("last", last)
	}
	if number > 1 {
		link("first", 1)
	}
	headers := http.Header{}
	if len(links) > 0 {
		headers.Set("Link", strings.Join(links, ", "))
	}
	return page, headers
}

func positive(text string, otherwise int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1_000_000 {
		return otherwise
	}
	return n
}

func (c *call) publicKey() *reply {
	key := c.vault.key
	return &reply{status: http.StatusOK, body: map[string]string{
		"key_id": key.ID, "key": base64.StdEncoding.EncodeToString(key.Public[:]),
	}}
}

func (c *call) getSecret() *reply {
	r, ok := c.vault.secrets[c.secretName()]
	if !ok {
		return notFound()
	}
	return &reply{status: http.StatusOK, body: c.show(r)}
}

func (c *call) secretName() string { return strings.ToUpper(c.r.PathValue("secret_name")) }

func (c *call) deleteSecret() *reply {
	name := c.secretName()
	if _, ok := c.vault.secrets[name]; !ok {
		return notFound()
	}
	c.s.write(c.vault, name, nil)
	return &reply{status: http.StatusNoContent, effect: effectDeleted}
}

// putBody is the body of a PUT of a secret. Absent and null are alike.
type putBody struct {
	EncryptedValue *string        `json:"encrypted_value"`
	KeyID          *string        `json:"key_id"`
	Visibility     *string        `json:"visibility"`
	Selected       *repositoryIDs `json:"selected_repository_ids"`
}

func (c *call) putSecret() *reply {
	var body putBody
	if r := c.decode(&body); r != nil {
		return r
	}
	name, r := checkName(c.r.PathValue("secret_name"))
	if r != nil {
		return r
	}
	old, exists := c.vault.secrets[name]
	written := old
	written.Name = name
	if r := c.openValue(body, exists, &written.Value); r != nil {
		return r
	}
	if c.vault.org != nil {
		if r := c.setAccess(body, &written); r != nil {
			return r
		}
	}
	if !exists && c.vault.capacity > 0 && len(c.vault.secrets) >= c.vault.capacity {
		return failure(http.StatusUnprocessableEntity, fmt.Sprintf("You have reached the limit of %d secrets.", c.vault.capacity))
	}
	written.UpdatedAt = c.now.Add(timeOf(c.s.settings.Skew)).Truncate(time.Second)
	if !exists {
		written.CreatedAt = written.UpdatedAt
	}
	c.s.write(c.vault, name, &written)
	return putReply(exists, exists && written.Value == old.Value)
}

func putReply(exists, same bool) *reply {
	switch {
	case !exists:
		return &reply{status: http.StatusCreated, body: struct{}{}, effect: effectCreated}
	case same:
		return &reply{status: http.StatusNoContent, effect: effectRewritten}
	}
	return &reply{status: http.StatusNoContent, effect: effectUpdated}
}

// checkName returns the name as it is stored, or GitHub's refusal.
func checkName(text string) (string, *reply) {
	name := strings.ToUpper(text)
	if strings.HasPrefix(name, "GITHUB_") {
		return "", failure(http.StatusUnprocessableEntity, "Secret names must not start with GITHUB_.")
	}
	valid := name != "" && (name[0] < '0' || name[0] > '9')
	for _, c := range []byte(name) {
		valid = valid && (c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z')
	}
	if !valid {
		return "", failure(http.StatusUnprocessableEntity, "Secret names can only contain alphanumeric characters ([a-z], [A-Z], [0-9]) or underscores (_). Spaces are not allowed. Must start with a letter ([a-z], [A-Z]) or underscores (_).")
	}
	return name, nil
}

// opened is a sealed value and what was in it.
type opened struct {
	keyID, sealed string
	value         string
	ok            bool
}

// openAhead opens the sealed value of a write half-way through its latency,
// which is meant to be all that a request takes. On a small machine opening many
// at once takes longer than the rest of a request; and when they have just
// arrived, whoever sends them is still busy sealing others.
func (c *call) openAhead() {
	var body putBody
	if c.route.kind != KindPut || json.Unmarshal(c.body, &body) != nil || body.KeyID == nil || body.EncryptedValue == nil {
		return // the refusal comes in its time
	}
	c.s.mu.Lock()
	refused := c.resolve()
	if refused != nil {
		c.s.mu.Unlock()
		return
	}
	key := c.vault.key
	c.s.mu.Unlock()
	c.ahead = opened{keyID: key.ID, sealed: *body.EncryptedValue}
	c.ahead.value, c.ahead.ok = key.open(*body.KeyID, *body.EncryptedValue)
}

// open returns what was sealed, unless the key is another than the present one.
func (c *call) open(keyID, sealed string) (value string, ok bool) {
	if c.ahead.keyID == c.vault.key.ID && keyID == c.ahead.keyID && sealed == c.ahead.sealed {
		return c.ahead.value, c.ahead.ok
	}
	return c.vault.key.open(keyID, sealed)
}

// openValue opens the sealed value. An organisation's secret that exists may be
// given another visibility without a value.
func (c *call) openValue(body putBody, exists bool, into *string) *reply {
	if c.vault.org != nil && exists && body.EncryptedValue == nil && body.KeyID == nil {
		return nil
	}
	switch {
	case body.EncryptedValue == nil:
		return invalidRequest(`"encrypted_value" wasn't supplied.`)
	case body.KeyID == nil:
		return invalidRequest(`"key_id" wasn't supplied.`)
	case !isBase64(*body.EncryptedValue):
		return invalidRequest(*body.EncryptedValue + " does not match /" + base64Text + "/.") // GitHub echoes it
	}
	value, ok := c.open(*body.KeyID, *body.EncryptedValue)
	switch {
	case !ok:
		return failure(http.StatusUnprocessableEntity, "Bad request - validation failed due to an improperly encrypted secret")
	case len(value) > secret.MaxValueBytes:
		return failure(http.StatusUnprocessableEntity, "Secret value is too large.")
	}
	*into = value
	return nil
}

// base64Text is how GitHub's OpenAPI description has sealed values.
const base64Text = `^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$`

func isBase64(text string) bool {
	_, err := base64.StdEncoding.Strict().DecodeString(text)
	return err == nil && text != "" && !strings.ContainsAny(text, "\r\n")
}

// The visibilities of an organisation's secret.
const (
	visibleToAll      = "all"
	visibleToPrivate  = "private"
	visibleToSelected = "selected"
)

// setAccess replaces who sees the secret by what the body says: what it leaves
// out is cleared.
func (c *call) setAccess(body putBody, into *record) *reply {
	switch {
	case body.Visibility == nil:
		return invalidRequest(`"visibility" wasn't supplied.`)
	case !slices.Contains([]string{visibleToAll, visibleToPrivate, visibleToSelected}, *body.Visibility):
		return invalidRequest(*body.Visibility + ` is not a member of ["all", "private", "selected"].`)
	case *body.Visibility != visibleToSelected && body.Selected != nil && len(*body.Selected) > 0:
		return failure(http.StatusUnprocessableEntity, "You can only provide a list of repository ids when the visibility is set to selected")
	}
	into.Visibility, into.Repositories = *body.Visibility, nil
	if body.Selected == nil {
		return nil
	}
	return c.selectRepos(*body.Selected, into)
}

// selectRepos sets the repositories that see a secret, all of the organisation.
func (c *call) selectRepos(ids []int64, into *record) *reply {
	for _, id := range ids {
		if r := c.s.world.repos[id]; r == nil || !strings.EqualFold(r.Owner, c.account.Login) {
			return failure(http.StatusUnprocessableEntity, fmt.Sprintf("Repository %d does not belong to the organization.", id))
		}
	}
	into.Repositories = slices.Clone(ids)
	slices.Sort(into.Repositories)
	into.Repositories = slices.Compact(into.Repositories)
	return nil
}

// repositoryIDs are numbers, or texts of numbers: GitHub takes either.
type repositoryIDs []int64

func (ids *repositoryIDs) UnmarshalJSON(raw []byte) error {
	var numbers []json.Number
	if err := json.Unmarshal(bytes.TrimSpace(raw), &numbers); err != nil {
		return err
	}
	*ids = make(repositoryIDs, len(numbers))
	for i, n := range numbers {
		id, err := n.Int64()
		if err != nil {
			return &json.UnmarshalTypeError{Value: "number", Field: "selected_repository_ids"}
		}
		(*ids)[i] = id
	}
	return nil
}

// selected returns the secret of the path, which must have a list of
// repositories.
func (c *call) selected() (record, *reply) {
	r, ok := c.vault.secrets[c.secretName()]
	switch {
	case !ok:
		return record{}, notFound()
	case r.Visibility != visibleToSelected:
		return record{}, failure(http.StatusConflict, "Visibility type must be 'selected'")
	}
	return r, nil
}

func (c *call) listSelected() *reply {
	r, ok := c.vault.secrets[c.secretName()]
	if !ok {
		return notFound()
	}
	page, headers := paged(c, r.Repositories)
	repos := make([]object, len(page))
	for i, id := range page {
		repos[i] = c.minimalRepository(c.s.world.repos[id])
	}
	return &reply{status: http.StatusOK, headers: headers, body: object{"total_count": len(r.Repositories), "repositories": repos}}
}

func (c *call) setSelected() *reply {
	var body struct {
		Selected *repositoryIDs `json:"selected_repository_ids"`
	}
	if r := c.decode(&body); r != nil {
		return r
	}
	if body.Selected == nil {
		return invalidRequest(`"selected_repository_ids" wasn't supplied.`)
	}
	return c.changeSelected(func([]int64) []int64 { return *body.Selected })
}

func (c *call) addSelected() *reply {
	return c.changeSelected(func(ids []int64) []int64 {
		return append(slices.Clone(ids), parseID(c.r.PathValue("selected_id")))
	})
}

func (c *call) removeSelected() *reply {
	return c.changeSelected(func(ids []int64) []int64 {
		gone := parseID(c.r.PathValue("selected_id"))
		return slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { return id == gone })
	})
}

func (c *call) changeSelected(change func([]int64) []int64) *reply {
	r, refused := c.selected()
	if refused != nil {
		return refused
	}
	if refused := c.selectRepos(change(r.Repositories), &r); refused != nil {
		return refused
	}
	c.s.write(c.vault, r.Name, &r)
	return &reply{status: http.StatusNoContent}
}

// Target is one secret in one scope, as the methods that look behind the scenes
// name it. Container is "owner/name" for a repository's scopes and a login for
// an organisation's.
type Target struct {
	Container string       `json:"container"`
	Scope     secret.Scope `json:"scope"`
	Name      string       `json:"name,omitempty"`
}

func (t Target) String() string { return fmt.Sprintf("%s %s %s", t.Container, t.Scope, t.Name) }

// Stored is a secret as the server holds it, its value included.
type Stored struct {
	Name         string    `json:"name"`
	Value        string    `json:"value"`
	CreatedAt    time.Time `json:"createdAt"`
	UpdatedAt    time.Time `json:"updatedAt"`
	Visibility   string    `json:"visibility,omitempty"`
	Repositories []int64   `json:"repositories,omitempty"`
}

// Value returns what the target's sealed box held, and whether it is there.
func (s *Server) Value(t Target) (string, bool) {
	all, err := s.Stored(t.Container, t.Scope)
	if err != nil {
		return "", false
	}
	for _, r := range all {
		if strings.EqualFold(r.Name, t.Name) {
			return r.Value, true
		}
	}
	return "", false
}

// Stored returns every secret of a scope in the order of their names, as it is
// now, whatever lists still show. It returns a [fault.NotFound] if there is no
// such scope.
func (s *Server) Stored(container string, scope secret.Scope) ([]Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.vaultOf(container, scope)
	if err != nil {
		return nil, err
	}
	var all []Stored
	for _, r := range sorted(v.secrets) {
		all = append(all, Stored(r))
	}
	return all, nil
}

// Edit writes a secret as somebody else would, in the browser: with the time of
// now, and without a request. A new secret of an organisation is visible to
// all; one that exists keeps its visibility. It returns a [fault.NotFound] if
// there is no such scope and a [fault.Invalid] for a name or a value that
// GitHub does not take.
func (s *Server) Edit(t Target, value string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.vaultOf(t.Container, t.Scope)
	if err != nil {
		return err
	}
	name, refused := checkName(t.Name)
	if refused != nil || len(value) > secret.MaxValueBytes {
		return fault.Wrap(fault.Invalid, "githubd: edit "+t.String(), nil)
	}
	r, exists := v.secrets[name]
	r.Name, r.Value, r.UpdatedAt = name, value, s.now().Truncate(time.Second)
	if !exists {
		r.CreatedAt = r.UpdatedAt
		if v.org != nil {
			r.Visibility = visibleToAll
		}
	}
	s.write(v, name, &r)
	return s.stateErr
}

// Remove deletes a secret as somebody else would, in the browser. It returns a
// [fault.NotFound] if it is not there.
func (s *Server) Remove(t Target) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.vaultOf(t.Container, t.Scope)
	if err != nil {
		return err
	}
	name := strings.ToUpper(t.Name)
	if _, ok := v.secrets[name]; !ok {
		return fault.Wrap(fault.NotFound, "githubd: remove "+t.String(), nil)
	}
	s.write(v, name, nil)
	return s.stateErr
}

// RotateKey replaces the key of a scope: values sealed to the one before are
// refused from now on. It returns a [fault.NotFound] if there is no such scope.
func (s *Server) RotateKey(container string, scope secret.Scope) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.vaultOf(container, scope)
	if err != nil {
		return err
	}
	v.key = newSealKey()
	s.keep(v.sealKey(), v.key)
	return s.stateErr
}
