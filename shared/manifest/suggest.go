package manifest

import (
	"fmt"
	"strings"
)

// didYouMean returns a question about the known word that is nearest to what
// was written, or nothing if none is near. It repeats the known word only.
func didYouMean(written string, known []string) string {
	best, bestDistance := "", 3
	for _, k := range known {
		if d := distance(written, k); d < bestDistance && 2*d < len(k) {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

var squasher = strings.NewReplacer("_", "", "-", "", " ", "")

// squash drops what people write differently.
func squash(s string) string { return strings.ToLower(squasher.Replace(s)) }

// distance is how many letters must be put in, left out, changed or swapped
// with their neighbour to make b of a, but for case, hyphens and underscores.
// Texts whose lengths differ by more than is near are not compared.
func distance(a, b string) int {
	if len(a) > maxWord || len(b) > maxWord {
		return maxWord
	}
	a, b = squash(a), squash(b)
	var before, row, next []int // the last three rows of the table
	for j := range len(b) + 1 {
		row = append(row, j)
	}
	for i := range len(a) {
		next = []int{i + 1}
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			d := min(row[j+1]+1, next[j]+1, row[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			next = append(next, d)
		}
		before, row = row, next
	}
	return row[len(b)]
}
