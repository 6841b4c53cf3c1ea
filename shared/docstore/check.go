package docstore

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sealpost/sealpost/shared/fault"
)

// Limits of Firestore that a store checks itself, so that both implementations
// refuse the same. Source: firebase.google.com/docs/firestore/quotas.
const (
	maxIDBytes   = 1000 // ours: Firestore takes 1,500
	maxNameBytes = 1500 // a field's name
	maxDepth     = 20   // of maps and arrays
)

// Patterns of names. Collections and paths are written in our code and need no
// more than this, and neither store has to quote them.
var (
	reserved       = regexp.MustCompile(`^__.*__$`)
	collectionName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,99}$`)
	simplePath     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)
)

// The range of times that Firestore keeps.
var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	maxTime = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
)

// Check returns a [fault.Invalid] if the key breaks the rules of [Key].
func (k Key) Check() error {
	if err := checkCollection(k.Collection); err != nil {
		return err
	}
	id := k.ID
	switch {
	case id == "" || len(id) > maxIDBytes:
		return invalid("an id of collection %s has %d bytes; 1 to %d are allowed", k.Collection, len(id), maxIDBytes)
	case !utf8.ValidString(id), strings.Contains(id, "/"), id == ".", id == "..", reserved.MatchString(id):
		return invalid("%q is not an id for collection %s", id, k.Collection)
	}
	return nil
}

// CheckWrites is what every Commit checks first. It returns a [fault.Invalid]
// for writes outside the rules of this package, and a [fault.TooLarge] for too
// many of them or for documents over their limit. Messages name documents and
// fields, never values.
func CheckWrites(writes []Write) error {
	if len(writes) == 0 {
		return invalid("a commit of no writes")
	}
	if len(writes) > MaxCommitWrites {
		return fault.New(fault.RequestTooLarge, "a commit of %d writes; %d are allowed", len(writes), MaxCommitWrites)
	}
	seen := make(map[Key]bool, len(writes))
	total := 0
	for _, w := range writes {
		if err := w.check(); err != nil {
			return err
		}
		if seen[w.Key] {
			return invalid("document %s stands twice in one commit", w.Key)
		}
		seen[w.Key] = true
		size := w.Size()
		if size > MaxDocumentBytes {
			return fault.New(fault.RequestTooLarge, "document %s has %d bytes; %d are allowed", w.Key, size, MaxDocumentBytes)
		}
		total += size
	}
	if total > MaxCommitBytes {
		return fault.New(fault.RequestTooLarge, "a commit of %d bytes; %d are allowed", total, MaxCommitBytes)
	}
	return nil
}

func (w Write) check() error {
	if err := w.Key.Check(); err != nil {
		return err
	}
	if w.Fields == nil && !w.ExpireAt.IsZero() {
		return invalid("the deletion of %s has an expiry", w.Key)
	}
	if t, ok := w.If.UpdateTime(); ok && t.IsZero() {
		return invalid("the write of %s is conditioned on no update time", w.Key)
	}
	if w.Fields == nil && w.If.Absent() {
		return invalid("the deletion of %s demands that it is absent", w.Key)
	}
	if !w.ExpireAt.IsZero() && !storableTime(w.ExpireAt) {
		return invalid("the expiry of %s is not a time in whole microseconds", w.Key)
	}
	for _, name := range []string{ExpireField, NonceField} {
		if _, ok := w.Fields[name]; ok {
			return invalid("document %s has a field %s, which is the store's", w.Key, name)
		}
	}
	if err := checkMembers(w.Fields, 1); err != nil {
		return invalid("document %s: %s", w.Key, err)
	}
	return nil
}

// Check returns a [fault.Invalid] if the query breaks the rules of [Query]. It
// leaves the cursor to the store, which made it.
func (q Query) Check() error {
	if err := checkCollection(q.Collection); err != nil {
		return err
	}
	if q.Limit < 1 || q.Limit > MaxListLimit {
		return invalid("a listing of %s is limited to %d; 1 to %d are allowed", q.Collection, q.Limit, MaxListLimit)
	}
	ranged, contained := "", ""
	for _, filter := range q.Where {
		if err := filter.check(); err != nil {
			return invalid("a listing of %s: %s", q.Collection, err)
		}
		if filter.Op == Equal {
			continue
		}
		if filter.Op == Contains {
			if contained != "" {
				return invalid("a listing of %s looks into two arrays, %s and %s", q.Collection, contained, filter.Path)
			}
			contained = filter.Path
			continue
		}
		if ranged != "" && ranged != filter.Path {
			return invalid("a listing of %s compares the order of two fields, %s and %s", q.Collection, ranged, filter.Path)
		}
		ranged = filter.Path
	}
	if contained != "" && (ranged != "" || q.OrderBy != nil) {
		return invalid("a listing of %s looks into the array %s and is not by id", q.Collection, contained)
	}
	if q.OrderBy != nil {
		if err := checkPath(q.OrderBy.Path); err != nil {
			return invalid("a listing of %s: %s", q.Collection, err)
		}
	}
	if ranged != "" && (q.OrderBy == nil || q.OrderBy.Path != ranged) {
		return invalid("a listing of %s compares the order of %s but is not ordered by it", q.Collection, ranged)
	}
	return nil
}

func (f Filter) check() error {
	if err := checkPath(f.Path); err != nil {
		return err
	}
	switch f.Op {
	case Equal, Less, LessOrEqual, Greater, GreaterOrEqual:
	case Contains:
		if _, text := f.Value.(string); !text {
			return fmt.Errorf("filter %s looks for a %T in an array; only text can be looked for", f.Path, f.Value)
		}
	default:
		return fmt.Errorf("filter %s has no such operator %q", f.Path, f.Op)
	}
	switch value := f.Value.(type) {
	case int64, bool:
	case string:
		if !utf8.ValidString(value) {
			return fmt.Errorf("filter %s compares with text that is not UTF-8", f.Path)
		}
	case time.Time:
		if !storableTime(value) {
			return fmt.Errorf("filter %s compares with a time that is not in whole microseconds", f.Path)
		}
	default:
		return fmt.Errorf("filter %s compares with a %T", f.Path, f.Value)
	}
	return nil
}

func checkCollection(name string) error {
	if !collectionName.MatchString(name) {
		return invalid("%q is not the name of a collection", name)
	}
	return nil
}

func checkPath(path string) error {
	if len(path) > maxNameBytes || !simplePath.MatchString(path) {
		return fmt.Errorf("%q is not the path of a field", path)
	}
	for name := range strings.SplitSeq(path, ".") {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes || !utf8.ValidString(name) || reserved.MatchString(name) {
		return fmt.Errorf("%q is not the name of a field", name)
	}
	return nil
}

func checkMembers(members map[string]any, depth int) error {
	for name, value := range members {
		if err := checkName(name); err != nil {
			return err
		}
		if err := checkValue(value, depth); err != nil {
			return fmt.Errorf("field %q: %w", name, err)
		}
	}
	return nil
}

func checkValue(v any, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	switch v := v.(type) {
	case nil, bool, int64, []byte:
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("not a finite number")
		}
	case string:
		if !utf8.ValidString(v) {
			return fmt.Errorf("text that is not UTF-8")
		}
	case time.Time:
		if !storableTime(v) {
			return fmt.Errorf("not a time in whole microseconds")
		}
	case map[string]any:
		return checkMembers(v, depth+1)
	case []any:
		for _, element := range v {
			if _, array := element.([]any); array {
				return fmt.Errorf("an array in an array")
			}
			if err := checkValue(element, depth+1); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("type %T cannot be stored", v)
	}
	return nil
}

func storableTime(t time.Time) bool {
	return t.Nanosecond()%int(time.Microsecond) == 0 && !t.Before(minTime) && !t.After(maxTime)
}

// Size returns the bytes that the document takes by Firestore's formula, with
// room for the field that firedoc adds.
// Source: firebase.google.com/docs/firestore/storage-size.
func (w Write) Size() int {
	const perName, perDocument, ours = 16, 32, 32
	size := perName + len(w.Collection) + 1 + len(w.ID) + 1 + perDocument + ours + membersSize(w.Fields)
	if !w.ExpireAt.IsZero() {
		size += len(ExpireField) + 1 + valueSize(w.ExpireAt)
	}
	return size
}

func membersSize(members map[string]any) int {
	size := 0
	for name, value := range members {
		size += len(name) + 1 + valueSize(value)
	}
	return size
}

func valueSize(v any) int {
	switch v := v.(type) {
	case string:
		return len(v) + 1
	case []byte:
		return len(v)
	case int64, float64, time.Time:
		return 8
	case map[string]any:
		return membersSize(v)
	case []any:
		size := 0
		for _, element := range v {
			size += valueSize(element)
		}
		return size
	}
	return 1 // nil and bool
}

func invalid(format string, args ...any) error {
	return fault.New(fault.RequestMalformed, format, args...)
}
