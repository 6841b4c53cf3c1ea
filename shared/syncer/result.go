package syncer

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/pace"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// Request asks to bring a project's targets level with their sources.
type Request struct {
	Project       project.Project
	SyncID        string         // of the run; made if empty
	Container     string         // key of the only container to be synced; empty means all of the project's
	Marked        bool           // a mark asks for this already: whoever holds the lease answers it
	Secrets       []secret.Name  // only these; empty means all
	Scopes        []secret.Scope // only these; empty means all
	Force         bool           // take over what the ledger did not write
	DryRun        bool           // plan, and write nothing
	Prune         bool           // delete what the ledger wrote and nobody asks for
	MaxDeletions  int            // an explicit yes to that many deletions
	Actor         string
	CorrelationID string
	// Progress, if set, is called after each step of the work, from one
	// goroutine at a time.
	Progress func(Progress)
}

// Progress tells how far a run has come.
type Progress struct {
	Container string
	Phase     Phase
	Done      int // targets written, in PhaseWrite
	Total     int // targets to write, in PhaseWrite
}

// Phase is a part of a run.
type Phase string

// The phases, in their order.
const (
	PhaseObserve Phase = "observe"
	PhaseWrite   Phase = "write"
	PhaseSettle  Phase = "settle"
)

// Status says how a run ended.
type Status string

// The statuses of a run.
const (
	StatusSucceeded Status = "succeeded" // every target is right, and some were written
	StatusUnchanged Status = "unchanged" // every target was right already
	StatusPartial   Status = "partial"   // some targets are not right
	StatusFailed    Status = "failed"    // no target is right
	StatusQueued    Status = "queued"    // not begun: somebody else carries it out
)

// Result is a run's outcome, in the form of the API's contract.
type Result struct {
	SyncID        string   `json:"syncId"`
	ProjectID     string   `json:"projectId"`
	Status        Status   `json:"status"`
	DryRun        bool     `json:"dryRun"`
	Summary       Summary  `json:"summary"`
	Results       []Item   `json:"results"`
	Orphans       []Orphan `json:"orphans,omitempty"`
	Price         *Price   `json:"price,omitempty"`
	Cost          Cost     `json:"cost"`
	Quota         *Limits  `json:"quota,omitempty"`
	Warnings      []string `json:"warnings,omitempty"`
	StartedAt     string   `json:"startedAt"`
	DurationMs    int64    `json:"durationMs"`
	CorrelationID string   `json:"correlationId"`
	// Code is set where a target is not right: theirs if nothing was written and
	// all have the same, else that of a partial failure.
	Code fault.Code `json:"code,omitempty"`

	refusal error
}

// Queued returns the answer to a request that somebody else carries out.
func Queued(req Request, at time.Time) Result {
	return Result{
		SyncID: req.SyncID, ProjectID: req.Project.ID, Status: StatusQueued, Results: []Item{},
		StartedAt: Timestamp(at), CorrelationID: req.CorrelationID,
	}
}

// Refusal returns the reason if no target is right and nothing could be sent to
// any of them. It is the first target's.
func (r Result) Refusal() error { return r.refusal }

// Summary counts the results: planned ones in a dry run, else real ones.
type Summary struct {
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Unchanged int `json:"unchanged"`
	Excluded  int `json:"excluded"`
	Conflicts int `json:"conflicts"`
	Deleted   int `json:"deleted"`
	Failed    int `json:"failed"`
}

// ItemStatus says how one target's action went.
type ItemStatus string

// The statuses of an item.
const (
	ItemPlanned   ItemStatus = "planned"   // a dry run's write
	ItemSucceeded ItemStatus = "succeeded" // the target is right
	ItemSkipped   ItemStatus = "skipped"   // left alone on purpose: excluded or conflict
	ItemFailed    ItemStatus = "failed"    // not written, or refused
	ItemUnknown   ItemStatus = "unknown"   // sent, but no answer came; the next run repeats it
	ItemPending   ItemStatus = "pending"   // not started when the run was stopped, or time or quota ran out
)

// Item is one target's result.
type Item struct {
	Secret        secret.Name    `json:"secret"`
	Scope         secret.Scope   `json:"scope"`
	Action        plan.Kind      `json:"action"`
	Status        ItemStatus     `json:"status"`
	Reason        string         `json:"reason"`
	SourceVersion secret.Version `json:"sourceVersion,omitempty"`
	Code          fault.Code     `json:"code,omitempty"`
	Remediation   []fault.Remedy `json:"remediation,omitempty"`
}

// Target returns the item's target.
func (i Item) Target() secret.Target { return secret.Target{Scope: i.Scope, Name: i.Secret} }

// Orphan is a target that the ledger wrote and nobody asks for any more.
type Orphan struct {
	Secret secret.Name  `json:"secret"`
	Scope  secret.Scope `json:"scope"`
}

// Price is what the writes of a plan are going to cost.
type Price struct {
	Requests   int   `json:"requests"`
	Points     int   `json:"points"`
	DurationMs int64 `json:"durationMs"` // expected, under the pace in force
}

// Cost is what the run cost at GitHub.
type Cost struct {
	Requests int `json:"requests"`
	Charged  int `json:"charged"`
	Points   int `json:"points"`
}

// Limits is the hourly quota, as GitHub told it last.
type Limits struct {
	Limit     int    `json:"limit"`
	Remaining int    `json:"remaining"`
	ResetAt   string `json:"resetAt"`
}

func cost(u pace.Usage) Cost { return Cost(u) }

// limits returns nil where GitHub sets no quota.
func limits(q Quota) *Limits {
	if q.Limit == 0 {
		return nil
	}
	return &Limits{Limit: q.Limit, Remaining: q.Remaining, ResetAt: Timestamp(q.ResetAt)}
}

// Timestamp renders a time as the contract has it: RFC 3339 in UTC.
func Timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// summarise counts the items and says how the run ended.
func summarise(items []Item) (Summary, Status) {
	var s Summary
	var right, wrote int
	for _, item := range items {
		switch {
		case item.Action == plan.Excluded:
			s.Excluded++
		case item.Action == plan.Conflict:
			s.Conflicts++
		case item.Status != ItemSucceeded && item.Status != ItemPlanned:
			s.Failed++
		case item.Action == plan.Unchanged:
			s.Unchanged++
			right++
		default:
			right++
			wrote++
			switch item.Action {
			case plan.Create:
				s.Created++
			case plan.Update:
				s.Updated++
			case plan.Delete:
				s.Deleted++
			}
		}
	}
	switch wrong := s.Conflicts + s.Failed; {
	case wrong > 0 && right == 0:
		return s, StatusFailed
	case wrong > 0:
		return s, StatusPartial
	case wrote > 0:
		return s, StatusSucceeded
	}
	return s, StatusUnchanged
}

// item is an action's result before anything was done about it.
func item(a plan.Action, dryRun bool) Item {
	i := Item{Secret: a.Name, Scope: a.Scope, Action: a.Kind, Reason: a.Reason, SourceVersion: a.Content.Version}
	switch a.Kind {
	case plan.Unchanged:
		i.Status = ItemSucceeded
	case plan.Excluded:
		i.Status = ItemSkipped
	case plan.Conflict:
		i.Status = ItemSkipped
		i.Code, i.Remediation = fault.CodeOf(a.Err), fault.Remedies(a.Err)
	case plan.Invalid:
		i.failed(a.Err)
	default:
		i.Status = ItemPending
		if dryRun {
			i.Status = ItemPlanned
		}
	}
	return i
}

// failed makes the item one that failed with err.
func (i *Item) failed(err error) {
	i.Status, i.Reason = ItemFailed, fault.Detail(err)
	i.Code, i.Remediation = fault.CodeOf(err), fault.Remedies(err)
}

// notSent makes the item one of which nothing was sent because of err. It is
// pending if nothing was wrong with it but that time, quota or the right to write
// had run out.
func (i *Item) notSent(err error) {
	kind := fault.KindOf(err)
	if kind == fault.Canceled || kind == fault.Deadline {
		i.Status, i.Reason = ItemPending, "not started: the run was stopped"
		return
	}
	i.failed(err)
	if kind == fault.Exhausted || errors.Is(err, fault.LeaseLost) {
		i.Status, i.Reason = ItemPending, "not started: "+i.Reason
	}
}

// Wrote reports whether the run wrote any target.
func (r Result) Wrote() bool {
	s := r.Summary
	return !r.DryRun && s.Created+s.Updated+s.Deleted > 0
}

// telling returns the one code that says why nothing was written, where there
// is but one, and else that some targets failed.
func (r Result) telling() fault.Code {
	var only fault.Code
	for _, i := range r.Results {
		switch {
		case i.Code == "" || i.Action == plan.Excluded:
		case r.Wrote() || only != "" && only != i.Code:
			return fault.PartialFailure
		default:
			only = i.Code
		}
	}
	return cmp.Or(only, fault.PartialFailure)
}

// Unfinished reports whether a later run may do more: a target was not started,
// was sent without an answer, or failed for a reason that passes.
func (r Result) Unfinished() bool { return slices.ContainsFunc(r.Results, Item.unfinished) }

func (i Item) unfinished() bool {
	entry, _ := fault.Lookup(i.Code)
	switch entry.Kind {
	case fault.Exhausted, fault.Unavailable, fault.Deadline, fault.Canceled:
		return true
	}
	return i.Status == ItemPending || i.Status == ItemUnknown
}

// Starved reports whether time or quota ran out for a target.
func (r Result) Starved() bool {
	return slices.ContainsFunc(r.Results, func(i Item) bool { return i.Status == ItemPending || i.Code == fault.RateLimitExhausted })
}

// UntilReset returns how long it is until the hourly quota is there again, or 0
// if it is not spent.
func (r Result) UntilReset(now time.Time) time.Duration {
	if r.Quota == nil || r.Quota.Remaining > 0 {
		return 0
	}
	reset, err := time.Parse(time.RFC3339, r.Quota.ResetAt)
	if err != nil {
		return 0
	}
	return max(reset.Sub(now), 0)
}
