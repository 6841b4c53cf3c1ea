// Package docstore is the narrow document port that all state goes through:
// read one, list some, and commit writes together, each with a precondition.
//
// There are no read-write transactions. A read returns the document's update
// time; a commit that names it fails if the document has changed since, and
// then nothing of the commit is written. This is a transaction by comparison:
// a crowd that races for one document has one winner, and the losers fail at
// once instead of waiting in line.
//
// Two implementations stand behind [Store]: firedoc over Firestore, and
// sqlitedoc in one file. The package docstoretest is the suite that both pass.
package docstore

import (
	"context"
	"time"
)

// Limits that both implementations hold, so that what passes over SQLite
// passes over Firestore.
const (
	MaxDocumentBytes = 1 << 20 // Firestore: 1 MiB a document
	MaxCommitWrites  = 500     // ours: Firestore dropped its limit of 500 writes
	MaxCommitBytes   = 3 << 20 // ours, all documents of a commit; Firestore takes 10 MiB a request, its emulator 4 MiB
	MaxListLimit     = 1000    // ours
)

// Key names a document.
type Key struct {
	Collection string // lower-case letters, digits and underscores, a letter first
	ID         string // 1 to 1,000 bytes, no slash, not "." or "..", not "__…__"
}

// String returns collection/id.
func (k Key) String() string { return k.Collection + "/" + k.ID }

// Fields is a document's content. A value is nil, bool, int64, float64 (finite),
// string (UTF-8), []byte, time.Time (whole microseconds; read back in UTC),
// []any or map[string]any of such values, nested at most 20 deep; an array
// holds no array. A name is 1 to 1,500 bytes and not "__…__". Empty maps,
// arrays and byte strings are told from nil. A store copies what it takes and
// what it gives.
type Fields map[string]any

// Doc is a document as it was read. Both times are the store's clock, not the
// machine's, so that machines with clocks apart agree on what has expired.
type Doc struct {
	Key
	Fields     Fields
	UpdateTime time.Time // when it was last written; changes with every write
	ReadTime   time.Time // when this read saw it
}

// Precondition limits a write to what the writer has seen.
type Precondition struct {
	kind preconditionKind
	time time.Time
}

type preconditionKind int

const (
	anyState preconditionKind = iota
	absent
	unchanged
)

// Always writes whatever is there.
func Always() Precondition { return Precondition{} }

// IfAbsent writes only if the document does not exist: a create.
func IfAbsent() Precondition { return Precondition{kind: absent} }

// IfUnchanged writes only if the document's update time is still t, which a
// read or a commit gave.
func IfUnchanged(t time.Time) Precondition { return Precondition{kind: unchanged, time: t} }

// Absent reports whether the document must not exist.
func (p Precondition) Absent() bool { return p.kind == absent }

// UpdateTime returns the update time that the document must have, and whether
// it must have one.
func (p Precondition) UpdateTime() (time.Time, bool) { return p.time, p.kind == unchanged }

// Write replaces a whole document, or deletes it if Fields is nil.
type Write struct {
	Key
	Fields Fields
	If     Precondition
	// ExpireAt, if set, is when the store may delete the document by itself,
	// some time later. Expiry is therefore checked on read by whoever reads.
	ExpireAt time.Time
}

// Top-level fields that are the store's: no Write may have them among its
// Fields, and no Doc shows them.
const (
	ExpireField = "expireAt" // Write.ExpireAt, where Firestore's TTL policies look for it; filters may name it
	NonceField  = "_nonce"   // what makes every write a change, in Firestore; see firedoc
)

// Store keeps documents. Every method returns an error of kind
// [fault.Canceled] or [fault.Deadline] if its context ends first,
// [fault.Unavailable] if the store cannot be reached, and [fault.Invalid] for
// keys, fields or queries outside the rules of this package.
type Store interface {
	// Get reads one document. It returns a [fault.NotFound] if there is none.
	Get(ctx context.Context, key Key) (Doc, error)

	// List reads the documents that match, in the query's order, one page.
	List(ctx context.Context, query Query) (Page, error)

	// Commit makes all the writes, or none, and returns the update time that
	// they gave, the same for all. A document stands in at most one of them.
	// It returns a [fault.Exists] if a document that must be absent is there,
	// and a [fault.Conflict] if one that must be unchanged was changed or is
	// gone, or if a commit with preconditions met another at the same moment.
	// Where both happen, it returns either. A [fault.TooLarge] means that
	// a document or the commit is over its limit. Deleting what is not there
	// succeeds under [Always]. A put of the content that is there already is a
	// write like any other and moves the update time.
	//
	// A commit that ends in Unavailable, Canceled or Deadline may have taken
	// effect or not. Where the store repeated it, a Conflict or an Exists may
	// rarely be the echo of its own first attempt. Who must know reads again.
	Commit(ctx context.Context, writes ...Write) (time.Time, error)
}

// Op compares a field with a value.
type Op string

// The operators of a filter.
const (
	Equal          Op = "=="
	Less           Op = "<"
	LessOrEqual    Op = "<="
	Greater        Op = ">"
	GreaterOrEqual Op = ">="
	Contains       Op = "contains" // the field is an array, and the value, a text, one of its elements
)

// Filter keeps documents whose field compares so with the value. The path is
// dotted for nested maps; only names of letters, digits and underscores can be
// asked for. A document without the field does not match. Values of different types never
// match, where int64 and float64 are one type. Text is ordered by its bytes.
//
// A query has at most one filter Contains, and then no others but Equal:
// Firestore has no index over two arrays.
type Filter struct {
	Path  string
	Op    Op
	Value any // string, int64, bool or time.Time; string only with Contains
}

// Order sorts by a field; ties go by id in the same direction. A document
// without the field is left out. The field should hold one type only, and none
// but nil, bool, number, time or text: how others are ordered is not said,
// though each document still comes once.
type Order struct {
	Path       string
	Descending bool
}

// Query selects documents of one collection.
type Query struct {
	Collection string
	Where      []Filter
	OrderBy    *Order // nil: by id. With filters that compare order, which are on one field, by that field. With Contains, by id.
	Limit      int    // 1 to MaxListLimit
	Cursor     string // Page.Next of the page before; empty for the first
}

// Page is one page of a listing.
type Page struct {
	Docs []Doc
	Next string // cursor of the next page, for the same query only; empty when this is the last
}
