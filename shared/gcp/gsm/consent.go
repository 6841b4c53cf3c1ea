package gsm

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// RepositoriesAnnotation is the annotation in which a source's owner names the
// repositories that may have its value: their numeric ids, separated by commas
// or white space. Names are not taken, since they can change hands.
const RepositoriesAnnotation = "sealpost-repositories"

// FormatRepositories returns the annotation's text for these ids.
func FormatRepositories(ids []int64) string {
	texts := make([]string, 0, len(ids))
	for _, id := range ids {
		texts = append(texts, strconv.FormatInt(id, 10))
	}
	return strings.Join(texts, ",")
}

// parseRepositories returns the ids in the annotation, each once. What is not
// plainly an id admits nobody: no sign, no leading zero, no other notation.
func parseRepositories(text string) []int64 {
	var ids []int64
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		id, err := strconv.ParseInt(field, 10, 64)
		if err == nil && id > 0 && strconv.FormatInt(id, 10) == field && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}
