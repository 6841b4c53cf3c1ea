package manifest

import (
	"fmt"
	"regexp"
	"strings"
)

// kind is what a node is, in the words of a fault.
type kind string

const (
	object  kind = "an object with keys"
	list    kind = "a list"
	text    kind = "text"
	number  kind = "a number"
	boolean kind = "true or false"
	null    kind = "empty"
	broken  kind = "" // has its fault already
)

// node is one piece of a manifest, the same for YAML and JSON.
type node struct {
	kind         kind
	scalar       string // as written, without quotes
	line, column int    // counted from 1; columns in characters
	keys         []*node
	values       []*node // an object's values, or a list's items
	parent       *node
	index        int // among the parent's values; of a key: isKey
}

const isKey = -1

// addKey and addValue put a node under another. An object gets its keys and
// values in turn.
func (n *node) addKey(key *node) {
	key.parent, key.index = n, isKey
	n.keys = append(n.keys, key)
}

func (n *node) addValue(value *node) {
	value.parent, value.index = n, len(n.values)
	n.values = append(n.values, value)
}

// find returns the value of a key, or nil.
func (n *node) find(key string) *node {
	for i, k := range n.keys {
		if k.scalar == key {
			return n.values[i]
		}
	}
	return nil
}

// path returns where the node is, such as secrets[2].scopes[0]; of a key, where
// its object is. A key that does not look like a word is shown as ?.
func (n *node) path() string {
	if n.parent == nil {
		return ""
	}
	up := n.parent.path()
	switch {
	case n.index == isKey:
		return up
	case n.parent.kind == list:
		return fmt.Sprintf("%s[%d]", up, n.index)
	}
	word := "?"
	if key := n.parent.keys[n.index].scalar; isWord(key) {
		word = key
	}
	return strings.TrimPrefix(up+"."+word, ".")
}

// maxWord is longer than any key that somebody means.
const maxWord = 40

var word = regexp.MustCompile(`^[A-Za-z]+([_-][A-Za-z]+)*([_-]?[0-9]{1,3})?$`)

// isWord reports whether a key may be repeated in a fault: words joined by
// hyphens or underscores, with a short number behind. Tokens and keys to an API
// mix letters and digits, and addresses have other signs.
func isWord(key string) bool { return len(key) <= maxWord && word.MatchString(key) }
