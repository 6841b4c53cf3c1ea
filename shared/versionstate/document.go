package versionstate

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// A document has room for 1,000 sources with long names, and for many more with
// usual ones.
const (
	// maxRepositories is how many of a source's repositories are kept. A source
	// that admits more is read live each time.
	maxRepositories = 100
	// maxBytes keeps a document below the store's limit. Sources beyond it are
	// not kept, so they are read live each time, and no notification finds them.
	maxBytes = 900 << 10
)

// document is what is known of one project's sources. It is never changed in
// place.
type document struct {
	projectID  string
	entries    map[secret.Source]entry
	sweptAt    time.Time // its place in the sweep: since then, all sources were read, or tried in vain
	updateTime time.Time // zero: it is not in the store
	readTime   time.Time
}

// entry is what is known of one source.
type entry struct {
	state  secret.SourceState // with the repositories sorted, and at most maxRepositories
	more   int                // repositories that are left out
	seenAt time.Time
	untold bool // it changed, and nobody was told
}

func newEntry(state secret.SourceState, at time.Time) entry {
	state.Versions = slices.Clone(state.Versions)
	ids := slices.Compact(slices.Sorted(slices.Values(state.Repositories)))
	state.Repositories = ids[:min(len(ids), maxRepositories)]
	return entry{state: state, more: len(ids) - len(state.Repositories), seenAt: at}
}

// trusted reports whether the state needs no live look at that time. One that
// was seen later than that is of a clock that is wrong. What was missing or
// denied is looked at each time: somebody may be mending it.
func (e entry) trusted(now time.Time) bool {
	limit := UnnotifiedAge
	if e.state.Notified {
		limit = MaxAge
	}
	age := now.Sub(e.seenAt)
	return e.state.Exists && e.more == 0 && age >= 0 && age < limit
}

// same reports whether a plan would be the same with both: existence, consent,
// versions and their states. How changes become known is no part of it.
func (e entry) same(o entry) bool {
	return e.state.Exists == o.state.Exists && e.state.Denied == o.state.Denied && e.more == o.more &&
		slices.Equal(e.state.Repositories, o.state.Repositories) && slices.Equal(e.state.Versions, o.state.Versions)
}

func (d document) exists() bool { return !d.updateTime.IsZero() }

// with returns the document with what was seen, except where somebody looked
// later. A source that was known and has changed is noted as untold.
func (d document) with(seen map[secret.Source]entry) document {
	before := d.entries
	d.entries = maps.Clone(before)
	if d.entries == nil {
		d.entries = map[secret.Source]entry{}
	}
	for source, e := range seen {
		old, known := before[source]
		if known {
			if old.seenAt.After(e.seenAt) && !old.seenAt.After(d.readTime) {
				continue
			}
			e.untold = old.untold || !old.same(e)
			if e.state.ProjectNumber == "" { // it is gone, and may come back
				e.state.ProjectNumber = old.state.ProjectNumber
			}
		}
		d.entries[source] = e
	}
	return d.placed()
}

// again returns the document with what was seen of the sources that are in it.
func (d document) again(seen map[secret.Source]entry) document {
	known := map[secret.Source]entry{}
	for source := range d.entries {
		if e, ok := seen[source]; ok {
			known[source] = e
		}
	}
	return d.with(known)
}

// without returns the document with a source that was never looked at. It keeps
// the state, so that what it changed into is told.
func (d document) without(source secret.Source) document {
	d.entries = maps.Clone(d.entries)
	if e, known := d.entries[source]; known {
		e.seenAt = time.Time{}
		d.entries[source] = e
	}
	return d.placed()
}

// told returns the document with nothing left to tell.
func (d document) told() document {
	d.entries = maps.Clone(d.entries)
	for source, e := range d.entries {
		e.untold = false
		d.entries[source] = e
	}
	return d
}

// placed gives the document its place in the sweep by the source that nobody
// has looked at for the longest.
func (d document) placed() document {
	first := true
	for _, e := range d.entries {
		if first || e.seenAt.Before(d.sweptAt) {
			d.sweptAt, first = e.seenAt, false
		}
	}
	return d
}

// untold reports whether anything changed that nobody was told.
func (d document) untold() bool {
	for _, e := range d.entries {
		if e.untold {
			return true
		}
	}
	return false
}

// oldestFirst returns the sources by when they were looked at.
func (d document) oldestFirst() []secret.Source {
	return slices.SortedFunc(maps.Keys(d.entries), func(a, b secret.Source) int {
		if order := d.entries[a].seenAt.Compare(d.entries[b].seenAt); order != 0 {
			return order
		}
		return strings.Compare(a.String(), b.String())
	})
}

// names returns the names that notifications may use for a source: with the
// project's id, and with its number, where that is known of this source or of
// another in the project.
func (d document) names(source secret.Source, numbers map[string]string) []string {
	names := []string{Ref(source).String()}
	if number := numbers[source.Project]; number != "" {
		names = append(names, Ref{Project: number, Secret: source.Secret}.String())
	}
	return names
}

// numbers returns the numbers of the Google Cloud projects, by their ids.
func (d document) numbers() map[string]string {
	numbers := map[string]string{}
	for source, e := range d.entries {
		if e.state.ProjectNumber != "" {
			numbers[source.Project] = e.state.ProjectNumber
		}
	}
	return numbers
}

// named returns the sources that go by that name.
func (d document) named(ref Ref) []secret.Source {
	var sources []secret.Source
	numbers := d.numbers()
	for source := range d.entries {
		if slices.Contains(d.names(source, numbers), ref.String()) {
			sources = append(sources, source)
		}
	}
	return sources
}

// The stored form. States is exempt from indexing: Firestore allows a document
// 40,000 index entries. Source: firebase.google.com/docs/firestore/quotas.
type (
	storedDocument struct {
		Sources []string      `doc:"sources"` // every name of every source, for notifications to be found by
		States  []storedState `doc:"states"`
		SweptAt time.Time     `doc:"sweptAt"`
	}
	storedState struct {
		Project      string    `doc:"project"`
		Secret       string    `doc:"secret"`
		Number       string    `doc:"number,omitempty"`
		Exists       bool      `doc:"exists,omitempty"`
		Denied       bool      `doc:"denied,omitempty"`
		Notified     bool      `doc:"notified,omitempty"`
		Repositories []int64   `doc:"repositories,omitempty"`
		More         int       `doc:"more,omitempty"`
		Versions     string    `doc:"versions,omitempty"` // see formatVersions
		SeenAt       time.Time `doc:"seenAt"`
		Untold       bool      `doc:"untold,omitempty"`
	}
)

const (
	sourcesField = "sources"
	sweptAtField = "sweptAt"
)

var collection = docstore.Collection[storedDocument]{Name: "source_versions", Version: 1}

// write returns the write that stores the document as it was read. What does
// not fit is left out, the last names first.
func (d document) write() (docstore.Write, error) {
	condition := docstore.IfAbsent()
	if d.exists() {
		condition = docstore.IfUnchanged(d.updateTime)
	}
	sources := slices.SortedFunc(maps.Keys(d.entries), func(a, b secret.Source) int { return strings.Compare(a.String(), b.String()) })
	for {
		write, err := collection.Put(d.projectID, d.stored(sources), condition)
		if err != nil || write.Size() <= maxBytes || len(sources) == 0 {
			return write, err
		}
		sources = sources[:len(sources)*9/10]
	}
}

func (d document) stored(sources []secret.Source) storedDocument {
	stored := storedDocument{SweptAt: d.sweptAt}
	numbers := d.numbers()
	for _, source := range sources {
		e := d.entries[source]
		stored.Sources = append(stored.Sources, d.names(source, numbers)...)
		stored.States = append(stored.States, storedState{
			Project: source.Project, Secret: source.Secret, Number: e.state.ProjectNumber,
			Exists: e.state.Exists, Denied: e.state.Denied, Notified: e.state.Notified,
			Repositories: e.state.Repositories, More: e.more, Versions: formatVersions(e.state.Versions),
			SeenAt: e.seenAt, Untold: e.untold,
		})
	}
	return stored
}

func fromRecord(record docstore.Record[storedDocument]) (document, error) {
	d := document{
		projectID: record.ID, sweptAt: record.Value.SweptAt, updateTime: record.UpdateTime, readTime: record.ReadTime,
		entries: make(map[secret.Source]entry, len(record.Value.States)),
	}
	for _, s := range record.Value.States {
		versions, err := parseVersions(s.Versions)
		if err != nil {
			return document{}, fault.Wrap(fault.Internal, "read "+collection.Name+"/"+record.ID, err)
		}
		d.entries[secret.Source{Project: s.Project, Secret: s.Secret}] = entry{
			state: secret.SourceState{
				Exists: s.Exists, Denied: s.Denied, Repositories: s.Repositories, Versions: versions,
				Notified: s.Notified, ProjectNumber: s.Number,
			},
			more: s.More, seenAt: s.SeenAt, untold: s.Untold,
		}
	}
	return d, nil
}

// letters stand for the states of versions.
var letters = map[secret.VersionState]byte{secret.Enabled: 'e', secret.Disabled: 'd', secret.Destroyed: 'x'}

// formatVersions writes versions in their order as text, runs of one state that
// count down together: versions 7 to 5 enabled and 4 destroyed are "7-5e 4x".
// All are kept that the service's adapter gives, so that a plan is the same from
// the store as from live.
func formatVersions(versions []secret.SourceVersion) string {
	var out []byte
	for i := 0; i < len(versions); {
		first, end := versions[i], i+1
		for end < len(versions) && versions[end].State == first.State && versions[end].Number == versions[end-1].Number-1 {
			end++
		}
		if i > 0 {
			out = append(out, ' ')
		}
		out = strconv.AppendInt(out, int64(first.Number), 10)
		if end-i > 1 {
			out = strconv.AppendInt(append(out, '-'), int64(versions[end-1].Number), 10)
		}
		letter, known := letters[first.State]
		if !known {
			letter = letters[secret.Disabled] // as whoever cannot read its value sees it
		}
		out = append(out, letter)
		i = end
	}
	return string(out)
}

// maxVersions bounds what a damaged document can make of a few bytes.
const maxVersions = 1000

func parseVersions(text string) ([]secret.SourceVersion, error) {
	var versions []secret.SourceVersion
	for run := range strings.FieldsSeq(text) {
		state, ok := stateOf(run[len(run)-1])
		high, low, ranged := strings.Cut(run[:len(run)-1], "-")
		if !ranged {
			low = high
		}
		from, err := strconv.ParseInt(high, 10, 64)
		to, toErr := strconv.ParseInt(low, 10, 64)
		if !ok || err != nil || toErr != nil || to < 1 || from < to || from-to >= int64(maxVersions-len(versions)) {
			return nil, fmt.Errorf("its versions are in no form that was ever written")
		}
		for number := from; number >= to; number-- {
			versions = append(versions, secret.SourceVersion{Number: secret.Version(number), State: state})
		}
	}
	return versions, nil
}

func stateOf(letter byte) (secret.VersionState, bool) {
	for state, l := range letters {
		if l == letter {
			return state, true
		}
	}
	return "", false
}
