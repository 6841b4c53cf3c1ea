package ghapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-github/v66/github"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// place is where the secrets of a scope are.
type place struct {
	account *account
	path    string // of the list, without a slash at either end
	about   string // for people: "actions of acme/web"
}

// place finds out who serves a scope of a container, and at which path.
func (c *Client) place(ctx context.Context, container project.Container, scope secret.Scope) (place, error) {
	p := place{about: fmt.Sprintf("%s of %s", scope, container)}
	if !container.Kind.Holds(scope) {
		return place{}, fault.New(fault.ScopeInvalid, "a %s has no scope %s", container.Kind, scope)
	}
	if err := checkNames(container.Kind, container.Owner, container.Name); err != nil {
		return place{}, err
	}
	family := strings.TrimPrefix(string(scope), "org-")
	environment, inEnvironment := scope.Environment()
	switch {
	case inEnvironment && (environment == "." || environment == ".." || container.ID <= 0):
		return place{}, fault.New(fault.TargetNotFound, "there cannot be %s", p.about) // dots would climb up the path
	case inEnvironment:
		// By id, as go-github does: this path is as old as environments, and follows a rename.
		p.path = fmt.Sprintf("repositories/%d/environments/%s/secrets", container.ID, url.PathEscape(environment))
	case container.Kind == project.Organisation:
		p.path = fmt.Sprintf("orgs/%s/%s/secrets", container.Owner, family)
	default:
		p.path = fmt.Sprintf("repos/%s/%s/%s/secrets", container.Owner, container.Name, family)
	}
	var err error
	p.account, err = c.account(ctx, container.Kind, container.Owner, container.Name)
	return p, err
}

const (
	// maxPages is above every capacity that GitHub documents.
	maxPages = 50
	// pagesAtOnce keeps one long list from filling the pace.
	pagesAtOnce = 8
	// listAttempts is how often a list is fetched that somebody changes meanwhile.
	listAttempts = 3
)

// page is one page of a list.
type page struct {
	secrets []*github.Secret
	total   int
	next    int // 0 on the last one
	at      time.Time
}

// List implements [syncer.Targets]. The pages after the first are fetched side
// by side. What is added meanwhile moves others to the next page, where they
// are met again; what is removed moves others to the page before, where they may
// be missed. So a list with fewer secrets than GitHub tells is fetched again.
func (c *Client) List(ctx context.Context, container project.Container, scope secret.Scope) (plan.Listing, error) {
	op := fmt.Sprintf("ghapi: list %s of %s", scope, container)
	p, err := c.place(ctx, container, scope)
	if err != nil {
		return plan.Listing{}, explain(op, p.about, err)
	}
	for range listAttempts {
		pages, err := p.pages(ctx)
		if err != nil {
			return plan.Listing{}, explain(op, p.about, err)
		}
		if listing, whole := listingOf(pages); whole {
			return listing, nil
		}
	}
	return plan.Listing{}, fault.New(fault.GitHubUnavailable, "the list of %s changed each time while it was fetched", p.about).WithOp(op)
}

// listingOf puts pages together, and reports whether none of the secrets that
// GitHub tells is missing.
func listingOf(pages []page) (listing plan.Listing, whole bool) {
	listing.At = pages[0].at
	seen := map[secret.Name]bool{}
	total := 0
	for _, page := range pages {
		if page.at.After(listing.Ended) {
			listing.Ended = page.at
		}
		total = max(total, page.total)
		for _, s := range page.secrets {
			if name := secret.Name(strings.ToUpper(s.Name)); !seen[name] {
				seen[name] = true
				listing.Targets = append(listing.Targets, plan.Listed{
					Name: name, CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(), Visibility: project.Visibility(s.Visibility),
				})
			}
		}
	}
	return listing, len(seen) >= total
}

func (p place) pages(ctx context.Context) ([]page, error) {
	first, err := p.page(ctx, 1)
	if err != nil {
		return nil, err
	}
	pages := make([]page, min(maxPages, max(1, (first.total+plan.PageSize-1)/plan.PageSize)))
	pages[0] = first
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(pagesAtOnce)
	for i := 1; i < len(pages); i++ {
		group.Go(func() (err error) {
			return fault.Contain(func() error { pages[i], err = p.page(groupCtx, i+1); return err })
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	// There may have become more since the first page told how many there are.
	for next := pages[len(pages)-1].next; next > 0 && len(pages) < maxPages; next = pages[len(pages)-1].next {
		more, err := p.page(ctx, next)
		if err != nil {
			return nil, err
		}
		pages = append(pages, more)
	}
	return pages, nil
}

func (p place) page(ctx context.Context, number int) (page, error) {
	var secrets github.Secrets
	said, err := p.account.get(ctx, fmt.Sprintf("%s?per_page=%d&page=%d", p.path, plan.PageSize, number), &secrets)
	if err != nil {
		return page{}, err
	}
	result := page{secrets: secrets.Secrets, total: secrets.TotalCount, at: said.at}
	if strings.Contains(said.header.Get("Link"), `rel="next"`) {
		result.next = number + 1
	}
	return result, nil
}

// putBody is a secret on its way. go-github leaves an empty list of
// repositories out, and GitHub takes what is left out as it pleases.
type putBody struct {
	EncryptedValue string   `json:"encrypted_value"`
	KeyID          string   `json:"key_id"`
	Visibility     string   `json:"visibility,omitempty"`
	Repositories   *[]int64 `json:"selected_repository_ids,omitempty"`
}

// Prepare implements [syncer.Targets].
func (c *Client) Prepare(ctx context.Context, container project.Container, scope secret.Scope) error {
	op := fmt.Sprintf("ghapi: prepare to write %s of %s", scope, container)
	p, err := c.place(ctx, container, scope)
	if err == nil {
		_, err = c.key(ctx, p, nil)
	}
	return explain(op, p.about, err)
}

// Put implements [syncer.Targets]. A value that GitHub cannot open is sealed
// once more to a key that is fetched anew.
func (c *Client) Put(ctx context.Context, container project.Container, w syncer.Put) (syncer.Receipt, error) {
	op := fmt.Sprintf("ghapi: put %s to %s of %s", w.Name, w.Scope, container)
	if w.Value.Len() > secret.MaxValueBytes {
		return syncer.Receipt{}, syncer.NotSent(fault.New(fault.ValueTooLarge, "the value of %s has %d bytes; GitHub takes %d", w.Name, w.Value.Len(), secret.MaxValueBytes).WithOp(op))
	}
	p, err := c.place(ctx, container, w.Scope)
	if err != nil {
		return syncer.Receipt{}, syncer.NotSent(explain(op, p.about, err))
	}
	body, err := newPutBody(w)
	if err != nil {
		return syncer.Receipt{}, syncer.NotSent(explain(op, p.about, err))
	}
	key, err := c.key(ctx, p, nil)
	if err != nil {
		return syncer.Receipt{}, syncer.NotSent(explain(op, p.about, err))
	}
	receipt, err := p.put(ctx, w, key, body)
	var f *failure
	if !errors.As(err, &f) || f.status != http.StatusUnprocessableEntity || f.reason != unopenable && f.reason != rejected {
		return receipt, explainWrite(op, p.about, err)
	}
	fresh, keyErr := c.key(ctx, p, key)
	if keyErr != nil || fresh.id == key.id {
		return syncer.Receipt{}, explain(op, p.about, err) // the key was not what was wrong, as far as can be told
	}
	receipt, err = p.put(ctx, w, fresh, body)
	return receipt, explainWrite(op, p.about, err)
}

// newPutBody returns all but the sealed value. An organisation's secret always
// carries who sees it, whole.
func newPutBody(w syncer.Put) (putBody, error) {
	if !w.Scope.Organisation() {
		return putBody{}, nil
	}
	if w.Access == nil {
		return putBody{}, fault.Wrap(fault.Internal, "ghapi: an organisation's secret without access", nil)
	}
	body := putBody{Visibility: string(w.Access.Visibility)}
	if w.Access.Visibility == project.VisibleToSelected { // GitHub takes a list with no other visibility
		ids := append([]int64{}, w.Access.Repositories...)
		body.Repositories = &ids
	}
	return body, nil
}

func (p place) put(ctx context.Context, w syncer.Put, key *sealKey, body putBody) (syncer.Receipt, error) {
	sealed, err := key.seal(w.Value)
	if err != nil {
		return syncer.Receipt{}, fault.Wrap(fault.Internal, "ghapi: seal", nil)
	}
	body.EncryptedValue, body.KeyID = sealed, key.id
	said, err := p.account.do(ctx, http.MethodPut, p.path+"/"+string(w.Name), body)
	if err != nil {
		return syncer.Receipt{}, err
	}
	return said.receipt(http.StatusCreated, http.StatusNoContent)
}

// Delete implements [syncer.Targets].
func (c *Client) Delete(ctx context.Context, container project.Container, scope secret.Scope, name secret.Name) (syncer.Receipt, error) {
	op := fmt.Sprintf("ghapi: delete %s from %s of %s", name, scope, container)
	p, err := c.place(ctx, container, scope)
	if err != nil {
		return syncer.Receipt{}, syncer.NotSent(explain(op, p.about, err))
	}
	said, err := p.account.do(ctx, http.MethodDelete, p.path+"/"+string(name), nil)
	var f *failure
	if errors.As(err, &f) && f.reason == notFound {
		return syncer.Receipt{At: f.at}, nil
	}
	if err != nil {
		return syncer.Receipt{}, explainWrite(op, p.about, err)
	}
	receipt, err := said.receipt(http.StatusNoContent)
	return receipt, explain(op, p.about, err)
}

// receipt reads the answer to a write, which must have one of the statuses.
func (said answer) receipt(statuses ...int) (syncer.Receipt, error) {
	if !slices.Contains(statuses, said.status) {
		return syncer.Receipt{}, &failure{reason: garbled, status: said.status}
	}
	return syncer.Receipt{
		Created: said.status == http.StatusCreated,
		Retried: said.header.Get(retriedHeader) != "",
		At:      said.at,
	}, nil
}

// askQuota asks GitHub. Enterprise Server without rate limits answers 404.
// Source: docs.github.com, enterprise-server, rest/rate-limit/rate-limit.
func (a *account) askQuota(ctx context.Context) error {
	var limits struct {
		Resources struct {
			Core github.Rate `json:"core"`
		} `json:"resources"`
	}
	said, err := a.get(ctx, "rate_limit", &limits)
	now := a.clock.Now()
	var f *failure
	switch core := limits.Resources.Core; {
	case errors.As(err, &f) && f.reason == notFound:
		a.quota.set(syncer.Quota{}, now.Add(noQuotaLife))
		return nil
	case err != nil:
		return err
	default:
		told := syncer.Quota{Limit: core.Limit, Remaining: core.Remaining, ResetAt: core.Reset.UTC()}
		a.quota.set(told, now.Add(told.ResetAt.Sub(said.at)))
		a.noteQuota()
		return nil
	}
}

// answer is a successful answer.
type answer struct {
	status  int
	header  http.Header
	content []byte
	at      time.Time // GitHub's clock: its Date
}

// get sends a GET and decodes its answer.
func (a *account) get(ctx context.Context, path string, into any) (answer, error) {
	said, err := a.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return answer{}, err
	}
	if said.status != http.StatusOK || json.Unmarshal(said.content, into) != nil {
		return answer{}, &failure{reason: garbled, status: said.status}
	}
	return said, nil
}

// do sends a request of go-github's making. It does not go through go-github's
// own Do, which returns the context's error when that has ended, and so hides
// what became of a write.
func (a *account) do(ctx context.Context, method, path string, body any) (answer, error) {
	req, err := a.api.NewRequest(method, path, body)
	if err != nil {
		return answer{}, fault.Wrap(fault.Internal, "ghapi: "+method, nil)
	}
	response, err := a.web.Do(req.WithContext(ctx))
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }() // it is in memory
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		return answer{}, &failure{reason: redirected, status: response.StatusCode}
	}
	return answer{response.StatusCode, response.Header, content, dateOf(response.Header, a.clock.Now())}, nil
}
