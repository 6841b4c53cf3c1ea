// Package envfile reads env files as people write them, and loses nothing of a
// value on the way.
//
// The form is the part that shells and the common dotenv tools agree on:
//
//	# a comment, and blank lines
//	NAME=value             # unquoted: trimmed; a comment starts at a # after a space
//	export NAME = value    # with export, with spaces around the =
//	NAME='as it is'        # single quotes: literal, to the next single quote
//	NAME="a\nb"            # double quotes: \n \r \t \" \\ and \$ are escapes,
//	                       # any other backslash stands for itself
//	NAME="-----BEGIN KEY-----
//	MIIB...
//	-----END KEY-----"     # either quotes may hold line ends
//
// A $ is a character like any other: nothing is expanded, since a password
// with a $ in it must arrive whole. \$ in double quotes is $, because that is
// what a shell makes of it and nobody writes it for another reason. Windows
// line ends are read as line ends, in quotes too; a byte order mark at the start
// is skipped. A name given twice is a fault: one of the two is not meant.
//
// No fault holds anything of the text, only numbers of lines: what cannot be
// read may be half of a secret.
//
// This is a parser of our own since each of those that are kept well fails
// something that a file of secrets needs, as seen by running them on the cases of
// this package's tests:
//   - github.com/compose-spec/compose-go/v2/dotenv v2.16.2 expands variables and
//     blanks unset ones ("pa$word" becomes "pa"); a lookup function can undo that, but
//     not that it takes \' for an escape in single quotes, prints the line that it
//     cannot read, takes text after a closing quote for a value of the empty
//     name, lets a second value of a name win, and stops at the first fault;
//   - github.com/joho/godotenv v1.5.1 does all of that too (it expands upper-case
//     variables), drops the backslash of unknown escapes, refuses a byte order
//     mark and gives no line numbers;
//   - github.com/subosito/gotenv v1.6.0 expands, takes \' for an escape in single
//     quotes and a # inside a word for a comment, prints the line that it cannot
//     read, lets a second value win and gives no line numbers;
//   - github.com/hashicorp/go-envparse v0.1.0, which neither expands nor prints
//     the line, reads no value of several lines, refuses unknown escapes and a byte
//     order mark, takes a # inside a word for a comment, lets a second value win and
//     stops at the first fault.
package envfile

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
)

// Entry is one assignment.
type Entry struct {
	Name  string       // as written: letters, digits, and . _ -
	Value secret.Value // may be empty
	Line  int          // where the name stands, counted from 1
}

// Parse returns the assignments in the order of the file. If anything is
// wrong, it returns none of them and a [fault.EnvFileInvalid] that carries a
// [fault.LineFaults] with every fault; a value over [secret.MaxValueBytes] has
// the code [fault.ValueTooLarge] there.
func Parse(data []byte) ([]Entry, error) {
	p := parser{line: 1, seen: map[string]int{}}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		p.fault(1, "", "the file is UTF-16 text; save it as UTF-8")
	} else {
		p.file(unixLines(data))
	}
	if err := p.faults.Err(fault.EnvFileInvalid); err != nil {
		return nil, err
	}
	return p.entries, nil
}

// unixLines drops a byte order mark and makes every line end a single \n.
func unixLines(data []byte) string {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	return strings.TrimSuffix(text, "\r") // a last line that lost its \n
}

type parser struct {
	text    string
	pos     int // in text: the start of the next line
	line    int // the number of that line
	entries []Entry
	seen    map[string]int // the line of each name
	faults  fault.LineFaults
}

func (p *parser) file(text string) {
	p.text = text
	for p.pos < len(p.text) {
		p.statement()
	}
}

// statement reads a comment, a blank line or an assignment, and whatever
// further lines its value takes.
func (p *parser) statement() {
	number, start := p.line, p.pos
	line := p.nextLine()
	if blank(line) {
		return
	}
	name, value, problem := p.assignment(line, start)
	if problem == "" {
		p.keep(Entry{Name: name, Value: secret.NewValue(value), Line: number})
		return
	}
	p.fault(number, "", problem)
}

// keep records an entry, if its name is new and its value can be written.
func (p *parser) keep(e Entry) {
	first, twice := p.seen[e.Name]
	switch {
	case twice:
		p.fault(e.Line, "", fmt.Sprintf("the name has a value already, from line %d", first))
	case e.Value.Len() > secret.MaxValueBytes:
		p.fault(e.Line, fault.ValueTooLarge, fmt.Sprintf("the value is longer than %d bytes, the most that GitHub takes", secret.MaxValueBytes))
	default:
		p.entries = append(p.entries, e)
	}
	if !twice {
		p.seen[e.Name] = e.Line
	}
}

func (p *parser) fault(line int, code fault.Code, message string) {
	p.faults.Add(fault.LineFault{Line: line, Code: code, Message: message})
}

// nextLine takes one line, without its end.
func (p *parser) nextLine() string {
	line, _, _ := strings.Cut(p.text[p.pos:], "\n")
	p.pos += len(line) + 1
	p.line++
	return line
}

// assignment splits a line, which starts at start, at its first = and reads
// the value, which may take further lines. If anything is wrong, it returns
// what.
func (p *parser) assignment(line string, start int) (name, value, problem string) {
	if problem := unreadable(line); problem != "" {
		return "", "", problem
	}
	left, right, found := strings.Cut(line, "=")
	if !found {
		return "", "", "there is no = in this line; a value of several lines needs quotes"
	}
	name = withoutExport(trim(left))
	if !validName(name) {
		return "", "", "what stands before the = is not a name: it takes letters, digits, . _ and -"
	}
	if value := strings.TrimLeft(right, space); value != "" && (value[0] == '"' || value[0] == '\'') {
		value, problem = p.quoted(start + len(line) - len(value))
		return name, value, problem
	}
	return name, unquoted(right), ""
}

// unreadable returns what is wrong with the characters of a text, if anything is.
func unreadable(text string) string {
	switch {
	case strings.IndexByte(text, 0) >= 0:
		return "there is a NUL byte in this line, or in the value that starts here"
	case !utf8.ValidString(text):
		return "this line, or the value that starts here, is not UTF-8 text"
	}
	return ""
}

// space is what may stand around names and values. Other Unicode spaces are
// part of a value.
const space = " \t"

func trim(s string) string { return strings.Trim(s, space) }

func blank(line string) bool {
	line = trim(line)
	return line == "" || line[0] == '#'
}

// withoutExport drops a leading export, unless export is the name itself.
func withoutExport(name string) string {
	if rest, ok := strings.CutPrefix(name, "export"); ok && rest != "" && strings.ContainsRune(space, rune(rest[0])) {
		return trim(rest)
	}
	return name
}

// validName is wider than GitHub's rule, since an env file serves others too,
// but refuses most lines of a key that lost its quotes: base64 has + and /.
func validName(name string) bool {
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r) {
			return false
		}
	}
	return name != ""
}

// unquoted trims a value and drops a comment: a # after a space.
func unquoted(text string) string {
	for i := 1; i < len(text); i++ {
		if text[i] == '#' && strings.IndexByte(space, text[i-1]) >= 0 {
			text = text[:i]
		}
	}
	return trim(text)
}

// quoted reads the value whose opening quote is at open, in the line that was
// taken last, and goes on after the line in which it closes. A value that
// never closes takes its own line only, so that those below are looked at too.
func (p *parser) quoted(open int) (value, problem string) {
	end := closingQuote(p.text, open)
	if end < 0 {
		return "", "the quote that opens here is never closed"
	}
	value = p.text[open+1 : end]
	p.line += strings.Count(value, "\n") - 1
	p.pos = end + 1
	if !blankAfterQuote(p.nextLine()) {
		return "", fmt.Sprintf("there is text after the quote that closes this value, in line %d", p.line-1)
	}
	if p.text[open] == '"' {
		value = unescape(value)
	}
	return value, unreadable(value)
}

// closingQuote returns where the quote at open is closed, or -1.
func closingQuote(text string, open int) int {
	for i := open + 1; i < len(text); i++ {
		switch {
		case text[i] == text[open]:
			return i
		case text[i] == '\\' && text[open] == '"':
			i++
		}
	}
	return -1
}

// blankAfterQuote reports whether nothing but a comment follows a quote.
func blankAfterQuote(text string) bool {
	return trim(text) == "" || strings.IndexByte(space, text[0]) >= 0 && blank(text)
}

var escapes = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n", `\r`, "\r", `\t`, "\t", `\$`, `$`)

func unescape(s string) string { return escapes.Replace(s) }
