package mark

import (
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/secret"
)

type (
	storedMark struct {
		ID        string      `doc:"id"`
		ProjectID string      `doc:"projectId"`
		Owner     string      `doc:"owner"`
		Why       string      `doc:"why"`
		Since     time.Time   `doc:"since"`
		Urgency   int64       `doc:"urgency"`
		Points    int64       `doc:"points"`
		DueAt     time.Time   `doc:"dueAt"`
		Held      bool        `doc:"held,omitempty"`
		Tries     int64       `doc:"tries,omitempty"`
		Plain     bool        `doc:"plain,omitempty"`
		Asks      []storedAsk `doc:"asks,omitempty"`
	}
	storedAsk struct {
		SyncID        string   `doc:"syncId"`
		Actor         string   `doc:"actor"`
		CorrelationID string   `doc:"correlationId,omitempty"`
		Secrets       []string `doc:"secrets,omitempty"`
		Scopes        []string `doc:"scopes,omitempty"`
		Force         bool     `doc:"force,omitempty"`
		Prune         bool     `doc:"prune,omitempty"`
		MaxDeletions  int64    `doc:"maxDeletions,omitempty"`
	}
)

var collection = docstore.Collection[storedMark]{
	Name: "sync_marks", Version: 2,
	Upgrades: map[int]func(docstore.Fields) (docstore.Fields, error){1: upgrade1},
}

// upgrade1 makes a plain request, due at once, of a mark that only said why and
// since when.
func upgrade1(fields docstore.Fields) (docstore.Fields, error) {
	fields["id"], fields["owner"], fields["plain"] = "1", "", true
	fields["urgency"], fields["points"], fields["dueAt"] = int64(Change), int64(0), fields["since"]
	return fields, nil
}

func stored(m Mark) storedMark {
	s := storedMark{
		ID: m.id, ProjectID: m.ProjectID, Owner: m.Owner, Why: m.Why, Since: m.Since, Urgency: int64(m.Urgency),
		Points: int64(m.Points), DueAt: m.DueAt, Held: m.Held, Tries: int64(m.Tries), Plain: m.Plain,
	}
	for _, a := range m.Asks {
		s.Asks = append(s.Asks, storedAsk{
			SyncID: a.SyncID, Actor: a.Actor, CorrelationID: a.CorrelationID, Secrets: texts(a.Secrets), Scopes: texts(a.Scopes),
			Force: a.Force, Prune: a.Prune, MaxDeletions: int64(a.MaxDeletions),
		})
	}
	return s
}

func (s storedMark) mark(updateTime time.Time) Mark {
	m := Mark{
		ProjectID: s.ProjectID, Owner: s.Owner, Why: s.Why, Since: s.Since, Urgency: Urgency(s.Urgency), Points: int(s.Points),
		DueAt: s.DueAt, Held: s.Held, Tries: int(s.Tries), Plain: s.Plain, id: s.ID, updateTime: updateTime,
	}
	for _, a := range s.Asks {
		m.Asks = append(m.Asks, Ask{
			SyncID: a.SyncID, Actor: a.Actor, CorrelationID: a.CorrelationID, Secrets: of[secret.Name](a.Secrets), Scopes: of[secret.Scope](a.Scopes),
			Force: a.Force, Prune: a.Prune, MaxDeletions: int(a.MaxDeletions),
		})
	}
	return m
}

func texts[T ~string](from []T) []string {
	var out []string
	for _, t := range from {
		out = append(out, string(t))
	}
	return out
}

func of[T ~string](from []string) []T {
	var out []T
	for _, t := range from {
		out = append(out, T(t))
	}
	return out
}
