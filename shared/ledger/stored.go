package ledger

import (
	"slices"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// The stored form. Names of fields are short and what repeats is stored once,
// since an organisation's ledger has a thousand entries and a document's limit
// is 1 MiB. The collection is exempt from indexing.
type (
	storedLedger struct {
		Container string                   `doc:"container"`
		Owner     string                   `doc:"owner,omitempty"`
		Keys      []string                 `doc:"keys,omitempty"`     // ids of fingerprint keys
		Projects  []string                 `doc:"projects,omitempty"` // ids of source projects
		Accesses  []string                 `doc:"accesses,omitempty"` // canonical forms of project.Access
		Scopes    map[string][]storedEntry `doc:"scopes,omitempty"`   // by name; not a map, since __X__ names a secret but no field
	}
	storedEntry struct {
		Name    string         `doc:"n"`
		Written *storedWritten `doc:"w,omitempty"`
		Pending *storedPending `doc:"p,omitempty"`
	}
	storedContent struct {
		Project int64  `doc:"g,omitempty"` // index into Projects
		Secret  string `doc:"s"`
		Version int64  `doc:"v,omitempty"`
		Key     int64  `doc:"k,omitempty"` // index into Keys
		MAC     string `doc:"m,omitempty"`
		Access  int64  `doc:"a,omitempty"` // index into Accesses
	}
	storedWritten struct {
		Content   storedContent `doc:"c"`
		PutAt     time.Time     `doc:"at"`
		UpdatedAt time.Time     `doc:"u,omitempty"`
		Replaced  time.Time     `doc:"r,omitempty"`
		SyncedAt  time.Time     `doc:"y"`
	}
	storedPending struct {
		Content storedContent `doc:"c"`
		Fence   int64         `doc:"f"`
		From    time.Time     `doc:"b"`
		Until   time.Time     `doc:"e"`
		Forced  bool          `doc:"o,omitempty"`
	}
)

var collection = docstore.Collection[storedLedger]{Name: "sync_ledgers", Version: 1}

func store(l *Ledger) storedLedger {
	s := storedLedger{Container: l.Container.String(), Owner: l.Owner, Scopes: map[string][]storedEntry{}}
	content := func(c Content) storedContent {
		return storedContent{
			Project: intern(&s.Projects, c.Source.Project), Secret: c.Source.Secret, Version: int64(c.Version),
			Key: intern(&s.Keys, c.Fingerprint.KeyID), MAC: c.Fingerprint.MAC,
			Access: intern(&s.Accesses, c.Access),
		}
	}
	for _, target := range sortedTargets(l.Entries) {
		entry := l.Entries[target]
		stored := storedEntry{Name: string(target.Name)}
		if w := entry.Written; w != nil {
			stored.Written = &storedWritten{Content: content(w.Content), PutAt: w.PutAt, UpdatedAt: w.UpdatedAt, Replaced: w.Replaced, SyncedAt: w.SyncedAt}
		}
		if p := entry.Pending; p != nil {
			stored.Pending = &storedPending{Content: content(p.Content), Fence: p.Fence, From: p.From, Until: p.Until, Forced: p.Forced}
		}
		scope := string(target.Scope)
		s.Scopes[scope] = append(s.Scopes[scope], stored)
	}
	return s
}

func (s storedLedger) ledger() (*Ledger, error) {
	l := &Ledger{Owner: s.Owner, Entries: map[secret.Target]Entry{}}
	for scope, entries := range s.Scopes {
		for _, stored := range entries {
			target := secret.Target{Scope: secret.Scope(scope), Name: secret.Name(stored.Name)}
			entry, err := s.entry(stored)
			if err != nil {
				return nil, fault.Annotate("entry "+target.String(), err)
			}
			l.Entries[target] = entry
		}
	}
	return l, nil
}

func (s storedLedger) entry(stored storedEntry) (Entry, error) {
	var entry Entry
	if w := stored.Written; w != nil {
		content, err := s.content(w.Content)
		if err != nil {
			return Entry{}, err
		}
		entry.Written = &Written{Content: content, PutAt: w.PutAt, UpdatedAt: w.UpdatedAt, Replaced: w.Replaced, SyncedAt: w.SyncedAt}
	}
	if p := stored.Pending; p != nil {
		content, err := s.content(p.Content)
		if err != nil {
			return Entry{}, err
		}
		entry.Pending = &Pending{Content: content, Fence: p.Fence, From: p.From, Until: p.Until, Forced: p.Forced}
	}
	return entry, nil
}

func (s storedLedger) content(c storedContent) (Content, error) {
	project, ok1 := lookup(s.Projects, c.Project)
	key, ok2 := lookup(s.Keys, c.Key)
	access, ok3 := lookup(s.Accesses, c.Access)
	if !ok1 || !ok2 || !ok3 {
		return Content{}, fault.Wrap(fault.Internal, "an index is outside its table", nil)
	}
	return Content{
		Source: secret.Source{Project: project, Secret: c.Secret}, Version: secret.Version(c.Version),
		Fingerprint: secret.Fingerprint{KeyID: key, MAC: c.MAC}, Access: access,
	}, nil
}

// intern returns the text's index in the table, counted from 1, adding it if
// need be. The empty text has index 0.
func intern(table *[]string, text string) int64 {
	if text == "" {
		return 0
	}
	i := slices.Index(*table, text)
	if i < 0 {
		i = len(*table)
		*table = append(*table, text)
	}
	return int64(i) + 1
}

func lookup(table []string, index int64) (string, bool) {
	switch {
	case index == 0:
		return "", true
	case index < 0 || index > int64(len(table)):
		return "", false
	}
	return table[index-1], true
}

func sortedTargets(entries map[secret.Target]Entry) []secret.Target {
	targets := make([]secret.Target, 0, len(entries))
	for t := range entries {
		targets = append(targets, t)
	}
	slices.SortFunc(targets, secret.Target.Compare)
	return targets
}
