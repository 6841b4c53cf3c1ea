package sqlitedoc

import (
	"strings"
	"time"

	"github.com/sealpost/sealpost/shared/docstore"
	"github.com/sealpost/sealpost/shared/fault"
)

// statement is SQL text with its arguments, put together piece by piece.
type statement struct {
	text strings.Builder
	args []any
}

func (s *statement) add(text string, args ...any) {
	s.text.WriteString(text)
	s.args = append(s.args, args...)
}

// jsonPath returns a field's path in SQLite's notation. Paths hold letters,
// digits, underscores and dots only.
func jsonPath(path string) string {
	return `$."` + strings.ReplaceAll(path, ".", `"."`) + `"`
}

// timePath is where a time has its number. No other value has this path.
func timePath(path string) string { return jsonPath(path) + `."` + timeName + `"` }

// listing returns the statement for a page of the query and one document more,
// which tells whether there is a next page. Its columns are those of scanRow.
//
// The order is by type, by value and by id. A value is compared within its
// type only; nil, which has none, counts as 0.
func listing(q docstore.Query) (*statement, error) {
	s := &statement{}
	s.add("WITH matched AS (SELECT id, fields, update_time, ")
	if q.OrderBy != nil {
		field, moment := jsonPath(q.OrderBy.Path), timePath(q.OrderBy.Path)
		s.add(`CASE json_type(fields, ?) WHEN 'null' THEN 0 WHEN 'false' THEN 1 WHEN 'true' THEN 1
			WHEN 'integer' THEN 2 WHEN 'real' THEN 2 WHEN 'text' THEN 4 WHEN 'array' THEN 5
			WHEN 'object' THEN CASE WHEN json_type(fields, ?) IS NULL THEN 6 ELSE 3 END END AS rank,
			coalesce(json_extract(fields, ?), json_extract(fields, ?), 0) AS value`, field, moment, moment, field)
	} else {
		s.add("0 AS rank, 0 AS value")
	}
	s.add(" FROM documents WHERE collection = ?", q.Collection)
	for _, filter := range q.Where {
		s.addFilter(filter)
	}
	s.add(") SELECT id, fields, update_time, (SELECT last FROM clock), rank, value FROM matched WHERE rank IS NOT NULL")
	if err := s.addCursor(q); err != nil {
		return nil, err
	}
	switch {
	case q.OrderBy == nil:
		s.add(" ORDER BY id")
	case q.OrderBy.Descending:
		s.add(" ORDER BY rank DESC, value DESC, id DESC")
	default:
		s.add(" ORDER BY rank, value, id")
	}
	s.add(" LIMIT ?", q.Limit+1)
	return s, nil
}

// addFilter compares a field, or an array's elements, with a value of the same type.
func (s *statement) addFilter(f docstore.Filter) {
	path, op := jsonPath(f.Path), string(f.Op)
	if f.Op == docstore.Contains {
		s.add(" AND json_type(fields, ?) = 'array' AND EXISTS (SELECT 1 FROM json_each(fields, ?) WHERE atom = ?)", path, path, f.Value)
		return
	}
	switch value := f.Value.(type) {
	case time.Time:
		s.add(" AND json_extract(fields, ?) "+op+" ?", timePath(f.Path), value.UnixMicro())
	case bool:
		s.add(" AND json_type(fields, ?) IN ('true', 'false') AND json_extract(fields, ?) "+op+" ?", path, path, value)
	case int64:
		s.add(" AND json_type(fields, ?) IN ('integer', 'real') AND json_extract(fields, ?) "+op+" ?", path, path, value)
	case string:
		s.add(" AND json_type(fields, ?) = 'text' AND json_extract(fields, ?) "+op+" ?", path, path, value)
	}
}

func (s *statement) addCursor(q docstore.Query) error {
	if q.Cursor == "" {
		return nil
	}
	id, text, err := q.DecodeCursor()
	if err != nil {
		return err
	}
	if q.OrderBy == nil {
		s.add(" AND id > ?", id)
		return nil
	}
	place, ok := parsePlace(text)
	if !ok {
		return fault.New(fault.RequestMalformed, "a listing of %s: the cursor is not one", q.Collection)
	}
	op := " > "
	if q.OrderBy.Descending {
		op = " < "
	}
	s.add(" AND (rank, value, id)"+op+"(?, ?, ?)", place[0], place[1], id)
	return nil
}

// parsePlace reads what cursorValue wrote, or tells that somebody else wrote it.
func parsePlace(text []byte) ([]any, bool) {
	value, err := parseValue(string(text))
	place, ok := value.([]any)
	if err != nil || !ok || len(place) != 2 {
		return nil, false
	}
	for _, part := range place {
		switch part.(type) {
		case int64, float64, string:
		default:
			return nil, false
		}
	}
	return place, true
}

// cursorValue is the place of a document in the query's order: its type and value.
func cursorValue(q docstore.Query, rank int64, value any) []byte {
	if q.OrderBy == nil {
		return nil
	}
	return appendValue(nil, []any{rank, value})
}
