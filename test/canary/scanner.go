// Package canary sends made-up secrets through every path of the system, the
// good ones and the bad ones, and looks for them wherever text comes out: logs,
// stdout, stderr, answers, stored documents.
//
// A [Scanner] knows each secret in every form in which it might come out, and
// finds any twelve bytes of any of them. Before it is believed, a test plants a
// leak in each form in each kind of place, and wants it found.
package canary

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// window is the length of the fragments that are looked for. A form that is
// shorter is looked for as a whole.
const window = 12

// fragment is a window's bytes, with zeros behind if it is shorter.
type fragment [window]byte

// Scanner finds fragments of known texts. Once filled it may be used by
// several goroutines.
type Scanner struct {
	names   []string
	windows map[fragment]int32           // to the index in names
	short   map[int]map[fragment]int32   // by length
	filter  [1 << filterBits / 64]uint64 // bits of the windows that exist, to look few up
}

const filterBits = 24

// repeats is where a long canary has repeated itself more often than base64 has
// ways to break it up: beyond it, there is nothing new to look for.
const repeats = 8 << 10

// NewScanner returns a scanner for the canaries.
func NewScanner(canaries []Canary) *Scanner {
	s := &Scanner{windows: map[fragment]int32{}, short: map[int]map[fragment]int32{}}
	for _, c := range canaries {
		for _, f := range Forms(c.Text[:min(len(c.Text), repeats)]) {
			s.add(c.Name+" as "+f.Name, f.Text)
		}
	}
	return s
}

// shortest is the length below which a text is too common to be looked for.
const shortest = 8

func (s *Scanner) add(name, text string) {
	if len(text) < shortest {
		return
	}
	s.names = append(s.names, name)
	id := int32(len(s.names) - 1)
	if len(text) < window {
		var f fragment
		copy(f[:], text)
		if s.short[len(text)] == nil {
			s.short[len(text)] = map[fragment]int32{}
		}
		s.short[len(text)][f] = id
		return
	}
	for i := range len(text) - window + 1 {
		f := fragment([]byte(text[i : i+window]))
		if _, known := s.windows[f]; !known {
			s.windows[f] = id
			bit := slot(f[:])
			s.filter[bit/64] |= 1 << (bit % 64)
		}
	}
}

// slot hashes the first eight bytes of b (Fibonacci hashing).
func slot(b []byte) uint64 {
	return binary.LittleEndian.Uint64(b) * 0x9E3779B97F4A7C15 >> (64 - filterBits)
}

// Leak is a place where a canary shows.
type Leak struct {
	What  string // the canary and the form
	At    int    // offset
	Where string // what stands around it
}

// String tells it in a line.
func (l Leak) String() string { return fmt.Sprintf("%s at byte %d: …%s…", l.What, l.At, l.Where) }

// mostLeaks of one text are told.
const mostLeaks = 5

// Scan returns the first few leaks in data.
func (s *Scanner) Scan(data []byte) []Leak {
	var leaks []Leak
	for i := 0; i+window <= len(data) && len(leaks) < mostLeaks; i++ {
		bit := slot(data[i:])
		if s.filter[bit/64]&(1<<(bit%64)) == 0 {
			continue
		}
		if id, found := s.windows[fragment(data[i:i+window])]; found {
			leaks = append(leaks, s.leak(data, i, id))
			i += 8 * window // the rest of the same one
		}
	}
	for length, texts := range s.short {
		for i := 0; i+length <= len(data) && len(leaks) < mostLeaks; i++ {
			var f fragment
			copy(f[:], data[i:i+length])
			if id, found := texts[f]; found {
				leaks = append(leaks, s.leak(data, i, id))
			}
		}
	}
	return leaks
}

func (s *Scanner) leak(data []byte, at int, id int32) Leak {
	around := data[max(0, at-60):min(len(data), at+40)]
	return Leak{What: s.names[id], At: at, Where: strconv.Quote(string(around))}
}

// Form is a text in one of the ways in which it may come out.
type Form struct{ Name, Text string }

// Forms returns the text in every form, and each form that has something to
// escape once more as a JSON string, as a log has it.
func Forms(text string) []Form {
	forms := []Form{
		{"raw", text},
		{"JSON", inner(jsonString(text))},
		{"JSON without HTML escapes", inner(plainJSON(text))},
		{"JSON in ASCII", asciiJSON(text)},
		{"a Go string", inner(strconv.Quote(text))},
		{"a Go string in ASCII", inner(strconv.QuoteToASCII(text))},
		{"CSV", strings.ReplaceAll(text, `"`, `""`)},
		{"URL query", url.QueryEscape(text)},
		{"URL path", url.PathEscape(text)},
		{"hex", hex.EncodeToString([]byte(text))},
		{"upper-case hex", strings.ToUpper(hex.EncodeToString([]byte(text)))},
	}
	for shift := range 3 {
		forms = append(forms, Form{fmt.Sprintf("base64 after %d bytes", shift), shifted(base64.RawStdEncoding, text, shift)},
			Form{fmt.Sprintf("URL base64 after %d bytes", shift), shifted(base64.RawURLEncoding, text, shift)})
	}
	var again []Form
	for _, f := range forms {
		if f.Name == "raw" {
			continue
		}
		for name, escape := range map[string]func(string) string{againIn + "JSON": jsonString, againIn + "plain JSON": plainJSON} {
			if escaped := inner(escape(f.Text)); escaped != f.Text {
				again = append(again, Form{f.Name + name, escaped})
			}
		}
	}
	return append(forms, again...)
}

// againIn stands in the names of forms that were escaped twice.
const againIn = ", and that in "

func inner(quoted string) string { return quoted[1 : len(quoted)-1] }

func jsonString(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string
	}
	return string(quoted)
}

func plainJSON(text string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		panic(err) // a string
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// asciiJSON escapes what is not ASCII, as other languages' encoders do.
func asciiJSON(text string) string {
	var b strings.Builder
	for _, r := range inner(plainJSON(text)) {
		switch {
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// shifted is the text's part of the base64 of something that has shift bytes,
// of three, before it: what depends on the text alone.
func shifted(encoding *base64.Encoding, text string, shift int) string {
	encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + text))
	return encoded[(shift*8+5)/6 : (shift+len(text))*8/6]
}
