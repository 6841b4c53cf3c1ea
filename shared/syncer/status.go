package syncer

import (
	"context"
	"slices"
	"strings"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/lease"
	"github.com/sealpost/sealpost/shared/ledger"
	"github.com/sealpost/sealpost/shared/mark"
	"github.com/sealpost/sealpost/shared/plan"
	"github.com/sealpost/sealpost/shared/project"
	"github.com/sealpost/sealpost/shared/secret"
)

// TargetState says how a target stands, by the ledger and the last run.
type TargetState string

// The states of a target.
const (
	StateSynced   TargetState = "synced"   // written, and as far as is known still right
	StatePending  TargetState = "pending"  // not written yet, or being written
	StateFailed   TargetState = "failed"   // the last run could not write it
	StateConflict TargetState = "conflict" // the last run found somebody else's value
	StateExcluded TargetState = "excluded" // a pattern excludes it
)

// Report is a project's state, in the form of the API's contract.
type Report struct {
	ProjectID  string         `json:"projectId"`
	State      string         `json:"state"` // idle, queued or syncing
	Counts     Counts         `json:"counts"`
	LastSync   *LastSync      `json:"lastSync"`
	NextSyncAt *string        `json:"nextSyncAt"` // when the next waiting request is taken up; null when none waits
	Requests   []Waiting      `json:"requests,omitempty"`
	Secrets    []SecretReport `json:"secrets"`
	Quota      *Limits        `json:"quota,omitempty"`
}

// Waiting is what is asked for in one container and not answered yet. While a
// sync is running, it may be what that one answers.
type Waiting struct {
	Container string   `json:"container"`
	Why       string   `json:"why"`
	Since     string   `json:"since"`
	DueAt     string   `json:"dueAt"`
	SyncIDs   []string `json:"syncIds"` // of those who wait for a sync of their own
}

// Counts counts targets by state.
type Counts struct {
	Synced    int `json:"synced"`
	Pending   int `json:"pending"`
	Failed    int `json:"failed"`
	Conflicts int `json:"conflicts"`
	Excluded  int `json:"excluded"`
}

// LastSync is the latest run that ended.
type LastSync struct {
	SyncID     string `json:"syncId"`
	Status     string `json:"status"`
	FinishedAt string `json:"finishedAt"`
	DurationMs int64  `json:"durationMs"`
}

// SecretReport is one secret's state in each of its scopes.
type SecretReport struct {
	Secret secret.Name   `json:"secret"`
	Scopes []ScopeReport `json:"scopes"`
}

// ScopeReport is one target's state.
type ScopeReport struct {
	Scope         secret.Scope   `json:"scope"`
	State         TargetState    `json:"state"`
	SourceVersion secret.Version `json:"sourceVersion,omitempty"`
	SyncedAt      string         `json:"syncedAt,omitempty"`
	Code          fault.Code     `json:"code,omitempty"`
}

// States of a report.
const (
	StateIdle    = "idle"
	StateQueued  = "queued"
	StateSyncing = "syncing"
)

// StatusOf tells a project's state from the store alone. It asks neither GitHub
// nor Secret Manager: drift shows after the next plan. Errors are those of the
// store.
func StatusOf(ctx context.Context, store docstore.Store, p project.Project) (Report, error) {
	report := Report{ProjectID: p.ID, State: StateIdle, Secrets: []SecretReport{}}
	exclude, err := exclusions(ctx, store, p)
	if err != nil {
		return Report{}, err
	}
	states := map[secret.Target]ScopeReport{}
	for _, c := range p.Containers() {
		if err := containerStatus(ctx, store, c, &report, states); err != nil {
			return Report{}, err
		}
	}
	bySecret := map[secret.Name][]ScopeReport{}
	for _, m := range p.Mappings {
		for _, scope := range m.Scopes {
			s, known := states[secret.Target{Scope: scope, Name: m.Name}]
			if !known {
				s = ScopeReport{Scope: scope, State: StatePending}
			}
			if _, excluded := exclude.Match(m.Name); excluded {
				s = ScopeReport{Scope: scope, State: StateExcluded}
			}
			report.Counts.count(s.State)
			bySecret[m.Name] = append(bySecret[m.Name], s)
		}
	}
	for name, scopes := range bySecret {
		slices.SortFunc(scopes, func(a, b ScopeReport) int { return strings.Compare(string(a.Scope), string(b.Scope)) })
		report.Secrets = append(report.Secrets, SecretReport{Secret: name, Scopes: scopes})
	}
	slices.SortFunc(report.Secrets, func(a, b SecretReport) int { return strings.Compare(string(a.Secret), string(b.Secret)) })
	return report, nil
}

// containerStatus adds what one container's ledger and last run tell.
func containerStatus(ctx context.Context, store docstore.Store, c project.Container, report *Report, states map[secret.Target]ScopeReport) error {
	l, err := ledger.Load(ctx, store, c)
	if err != nil {
		return err
	}
	last, held, err := lease.Last(ctx, store, c.Key())
	if err != nil {
		return err
	}
	if err := waiting(ctx, store, c, report); err != nil {
		return err
	}
	if held {
		report.State = StateSyncing
	}
	if last.SyncID != "" && (report.LastSync == nil || Timestamp(last.FinishedAt) > report.LastSync.FinishedAt) {
		report.LastSync = &LastSync{SyncID: last.SyncID, Status: last.Status, FinishedAt: Timestamp(last.FinishedAt), DurationMs: last.DurationMs}
		report.Quota = limits(Quota{Limit: int(last.Quota.Limit), Remaining: int(last.Quota.Remaining), ResetAt: last.Quota.ResetAt})
	}
	for t, entry := range l.Entries {
		s := ScopeReport{Scope: t.Scope, State: StateSynced}
		if entry.Pending != nil {
			s.State = StatePending
		}
		if w := entry.Written; w != nil {
			s.SourceVersion, s.SyncedAt = w.Version, Timestamp(w.SyncedAt)
		}
		states[t] = s
	}
	for _, problem := range last.Problems {
		t := secret.Target{Scope: secret.Scope(problem.Scope), Name: secret.Name(problem.Name)}
		s := states[t]
		s.Scope, s.State, s.Code = t.Scope, StateFailed, fault.Code(problem.Code)
		if s.Code == fault.SecretConflict {
			s.State = StateConflict
		}
		states[t] = s
	}
	return nil
}

// waiting adds what the container's mark asks for.
func waiting(ctx context.Context, store docstore.Store, c project.Container, report *Report) error {
	m, marked, err := mark.Get(ctx, store, c.Key())
	if err != nil || !marked || m.ProjectID != report.ProjectID {
		return err
	}
	w := Waiting{Container: c.String(), Why: m.Why, Since: Timestamp(m.Since), DueAt: Timestamp(m.DueAt), SyncIDs: []string{}}
	for _, ask := range m.Asks {
		w.SyncIDs = append(w.SyncIDs, ask.SyncID)
	}
	report.Requests = append(report.Requests, w)
	if report.NextSyncAt == nil || w.DueAt < *report.NextSyncAt {
		report.NextSyncAt = &w.DueAt
	}
	if report.State == StateIdle {
		report.State = StateQueued
	}
	return nil
}

func (c *Counts) count(s TargetState) {
	switch s {
	case StateSynced:
		c.Synced++
	case StatePending:
		c.Pending++
	case StateFailed:
		c.Failed++
	case StateConflict:
		c.Conflicts++
	case StateExcluded:
		c.Excluded++
	}
}

// problems are the targets that a run left not right. Of targets that it was
// not asked about, what the run before it left still holds.
func problems(before []lease.Problem, items []Item) []lease.Problem {
	seen := map[lease.Problem]bool{}
	for _, item := range items {
		seen[lease.Problem{Scope: string(item.Scope), Name: string(item.Secret)}] = true
	}
	problems := slices.DeleteFunc(slices.Clone(before), func(p lease.Problem) bool {
		return seen[lease.Problem{Scope: p.Scope, Name: p.Name}]
	})
	for _, item := range items {
		if item.Code != "" && (item.Action == plan.Conflict || item.Status == ItemFailed || item.Status == ItemUnknown) {
			problems = append(problems, lease.Problem{Scope: string(item.Scope), Name: string(item.Secret), Code: string(item.Code)})
		}
	}
	slices.SortFunc(problems, func(a, b lease.Problem) int {
		return strings.Compare(a.Name+"\x00"+a.Scope, b.Name+"\x00"+b.Scope)
	})
	return problems
}
