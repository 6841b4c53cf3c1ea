package docstore_test

import (
	"encoding/base64"
	"errors"
	"testing"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

// Cursors come back from outside: whatever comes is a place of this query or refused.
func FuzzDecodeCursor(f *testing.F) {
	query := docstore.Query{Collection: "things", OrderBy: &docstore.Order{Path: "at"}, Limit: 1}
	f.Add(query.EncodeCursor("a", []byte("[2,1.5]")))
	f.Add(query.EncodeCursor("a", []byte(`[{"x":1},[]]`)))
	f.Add(query.EncodeCursor("a", []byte(`[null,true]`)))
	f.Add(query.EncodeCursor("a", nil))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"q":"","i":"a/b","v":""}`)))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		query.Cursor = text
		id, value, err := query.DecodeCursor()
		if err != nil {
			return
		}
		if (docstore.Key{Collection: "things", ID: id}).Check() != nil {
			t.Errorf("%q is not an id", id)
		}
		again := query
		again.Cursor = query.EncodeCursor(id, value)
		if id2, value2, err := again.DecodeCursor(); err != nil || id2 != id || string(value2) != string(value) {
			t.Errorf("%q and %q came back as %q and %q (%v)", id, value, id2, value2, err)
		}
		if _, err := memory(t).List(t.Context(), query); err != nil && !errors.Is(err, fault.Invalid) {
			t.Errorf("a cursor made the listing fail: %v", err)
		}
	})
}
