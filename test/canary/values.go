package canary

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/sealpost/sealpost/shared/secret"
)

// Canary is a made-up secret.
type Canary struct {
	Name string // as a secret's name
	Text string
}

// ID is the canary's name in Secret Manager.
func (c Canary) ID() string { return strings.ToLower(strings.ReplaceAll(c.Name, "_", "-")) }

// count is how many canaries there are; every tenth is of the same kind.
const (
	count    = 200
	every    = 10
	weakKind = 7
)

// Canaries returns the same 200 made-up secrets in every process: tokens and
// keys of high entropy, passwords of none, JSON, several lines, Unicode, what
// shells and parsers stumble over, short ones, and some of 48 KB, the most that
// GitHub takes.
func Canaries() []Canary {
	random := rand.New(rand.NewChaCha8([32]byte{'c', 'a', 'n', 'a', 'r', 'y'}))
	all := make([]Canary, count)
	for i := range all {
		all[i] = Canary{Name: fmt.Sprintf("CANARY_%03d", i), Text: kinds[i%every](random, i)}
	}
	return all
}

const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	punctuation  = `!"#$%&'()*+,-./:;<=>?@[\]^_{|}~` + "`"
	scripts      = "αβγδεζηθικλμνξοπρστυφχψω секрет данные 秘密の値は誰にも見せない 비밀값 🔑🗝🔐🐤 éàüñßøåç"
)

var kinds = [every]func(*rand.Rand, int) string{
	func(r *rand.Rand, _ int) string { return "cnry_" + pick(r, alphanumeric, 36) },
	func(r *rand.Rand, _ int) string { return hex.EncodeToString(noise(r, 32)) },
	func(r *rand.Rand, _ int) string { return base64.StdEncoding.EncodeToString(noise(r, 47)) },
	object,
	pem,
	func(r *rand.Rand, _ int) string { return pick(r, scripts, 24) },
	func(r *rand.Rand, i int) string {
		return fmt.Sprintf("pgsql://svc%d:%s%%2F%s@db-%s.canary.example:6432/app?sslmode=%s", i, pick(r, alphanumeric, 14), pick(r, alphanumeric, 6), pick(r, alphanumeric, 5), pick(r, alphanumeric, 7))
	},
	weak,
	func(r *rand.Rand, _ int) string {
		return `$` + pick(r, alphanumeric, 5) + ` "` + pick(r, punctuation+alphanumeric, 40) + `" \` + pick(r, punctuation, 12) + "\t'" + pick(r, punctuation, 9) + `' #` + pick(r, alphanumeric, 6)
	},
	long,
}

// pick returns n characters of the alphabet.
func pick(r *rand.Rand, alphabet string, n int) string {
	letters := []rune(alphabet)
	text := make([]rune, n)
	for i := range text {
		text[i] = letters[r.IntN(len(letters))]
	}
	return strings.TrimSpace(string(text))
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func object(r *rand.Rand, i int) string {
	text, err := json.MarshalIndent(map[string]any{
		"canaryUser": fmt.Sprintf("svc-%d-%s", i, pick(r, alphanumeric, 8)), "canaryPass": pick(r, punctuation+alphanumeric, 30),
		"canaryList": []any{pick(r, scripts, 12), r.Uint64(), map[string]string{"canaryHost": pick(r, alphanumeric, 12) + "\n<&>"}},
	}, "", "\t")
	if err != nil {
		panic(err) // texts and numbers
	}
	return string(text)
}

func pem(r *rand.Rand, _ int) string {
	lines := []string{"=====BEGIN CANARY BLOB====="}
	for range 4 {
		lines = append(lines, base64.StdEncoding.EncodeToString(noise(r, 48)))
	}
	return strings.Join(append(lines, "=====END CANARY BLOB=====", ""), "\n")
}

// weak are passwords as they should not be, some of them short.
func weak(r *rand.Rand, i int) string {
	switch i / every % 4 {
	case 0:
		return strings.Repeat(string(rune('a'+i/every)), 16+i%7)
	case 1:
		return fmt.Sprintf("canary%03dcanary%03d", i, i)
	case 2:
		return fmt.Sprintf("correct canary %d battery staple", i)
	}
	return pick(r, alphanumeric, 8+i/every%4)
}

// long makes a few values of the most that GitHub takes, the others of some
// kilobytes. A long one repeats itself, so that it has few fragments to look for.
func long(r *rand.Rand, i int) string {
	block := pick(r, alphanumeric+punctuation+scripts+"\n\r\t", 900)
	if i%50 != 9 {
		return block
	}
	text := strings.Repeat(block, secret.MaxValueBytes/len(block))
	return text + strings.Repeat(".", secret.MaxValueBytes-len(text))
}
