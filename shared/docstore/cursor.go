package docstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// cursor is the place after a page's last document. It is bound to its query,
// so that one cannot be continued with another.
type cursor struct {
	Query string `json:"q"`
	ID    string `json:"i"`
	Value []byte `json:"v,omitempty"` // of the field that the query is ordered by, as the store wrote it
}

// EncodeCursor returns the text of the place after the document with that id,
// whose value in the query's order the store gives in a form of its own. It is
// for implementations of [Store].
func (q Query) EncodeCursor(id string, value []byte) string {
	text, err := json.Marshal(cursor{Query: q.digest(), ID: id, Value: value})
	if err != nil {
		panic("docstore: text and bytes always marshal")
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// DecodeCursor returns what EncodeCursor was given, or a [fault.Invalid] for a
// text that it did not make for this query.
func (q Query) DecodeCursor() (id string, value []byte, err error) {
	text, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	if err != nil {
		return "", nil, invalid("a listing of %s: the cursor is not one", q.Collection)
	}
	var c cursor
	if err := json.Unmarshal(text, &c); err != nil {
		return "", nil, invalid("a listing of %s: the cursor is not one", q.Collection)
	}
	if c.Query != q.digest() || (Key{Collection: q.Collection, ID: c.ID}).Check() != nil {
		return "", nil, invalid("a listing of %s: the cursor belongs to another query", q.Collection)
	}
	return c.ID, c.Value, nil
}

// digest identifies what the query selects and how it is ordered. The limit is
// left out: pages may differ in size.
func (q Query) digest() string {
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%q", q.Collection)
	for _, filter := range q.Where {
		_, _ = fmt.Fprintf(hash, "|%q %s %T %q", filter.Path, filter.Op, filter.Value, fmt.Sprint(filter.Value))
	}
	if q.OrderBy != nil {
		_, _ = fmt.Fprintf(hash, "|%q %t", q.OrderBy.Path, q.OrderBy.Descending)
	}
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:12])
}
