package telemetry

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

// Redacted stands where a credential stood.
const Redacted = "[REDACTED]"

// rule replaces what its pattern finds. The patterns prefer to hide too much:
// a log line that lost a word is a nuisance, one that kept a key is an incident.
// Whatever a pattern finds holds one of the marks, without regard to case. Most
// text holds none and is passed over: looking for a few bytes takes a hundredth
// of what matching does.
type rule struct {
	pattern *regexp.Regexp
	with    string
	marks   []string // in lower case
}

func (r rule) marked(lower string) bool {
	return slices.ContainsFunc(r.marks, func(mark string) bool { return strings.Contains(lower, mark) })
}

// rules stand in an order that matters: a rule for a whole header or URL comes
// after those for the tokens in it, so that it sees placeholders, not parts.
var rules = []rule{
	// PEM, also when it is cut off before its end line.
	whole(`-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)`, "-----begin "),
	// JWS and JWE in compact form; an unsigned one ends in a dot.
	whole(`eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){0,3}`, "eyj"),
	// GitHub. Source: github.blog, "Behind GitHub's new authentication token
	// formats". Longer alphabets than documented, since formats grow.
	whole(`gh[pousr]_[A-Za-z0-9_.-]{16,}`, "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
	whole(`github_pat_[A-Za-z0-9_]{16,}`, "github_pat_"),
	// Google: API keys, OAuth access tokens, refresh tokens, client secrets.
	whole(`AIza[A-Za-z0-9_-]{30,}`, "aiza"),
	whole(`ya29\.[A-Za-z0-9_.-]{16,}`, "ya29."),
	whole(`1//0[A-Za-z0-9_-]{20,}`, "1//0"),
	whole(`GOCSPX-[A-Za-z0-9_-]{16,}`, "gocspx-"),
	// AWS access key ids; their secret keys have no shape and are caught by name below.
	whole(`\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b`, "akia", "asia", "abia", "acca"),
	// GitLab, npm, Slack, Stripe, SendGrid, and the sk- keys of several vendors.
	whole(`\bglpat-[A-Za-z0-9_-]{16,}`, "glpat-"),
	whole(`\bnpm_[A-Za-z0-9]{30,}`, "npm_"),
	whole(`\bxox[abeprs]-[A-Za-z0-9-]{10,}`, "xox"),
	whole(`\b(?:sk|rk|whsec)_(?:(?:live|test)_)?[A-Za-z0-9]{16,}`, "sk_", "rk_", "whsec_"),
	whole(`\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}`, "sg."),
	whole(`\bsk-[A-Za-z0-9_-]{20,}`, "sk-"),
	// scheme://user:password@host and scheme://token@host, also percent-encoded.
	// A password may hold a slash or an @ that its owner did not encode.
	{regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s"'<>/@:]*:[^\s"'<>]+|[^\s"'<>/@]+)@`), "${1}" + Redacted + "@", []string{"://"}},
	{regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*%3A%2F%2F)[^\s"'<>]+%40`), "${1}" + Redacted + "%40", []string{"%40"}},
	// user:password@tcp(host:port)/name, as Go's MySQL driver has it.
	{regexp.MustCompile(`[^\s:/@"']+:[^\s"']+@(tcp6?|unix)\(`), Redacted + "@${1}(", []string{"@"}},
	// Authorization headers and Bearer tokens of any shape.
	{regexp.MustCompile(`(?i)(authorization["']?\s*[:=]\s*)(?:\[REDACTED\]|\[?["']?(?:(?:bearer|basic|token|digest)\s+)?[^\s"'\],;]+\]?)`), "${1}" + Redacted, []string{"authorization"}},
	{regexp.MustCompile(`(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{16,}`), "${1}" + Redacted, []string{"bearer"}},
	// password=…, "apiKey": "…" and their like.
	{regexp.MustCompile(`(?i)((?:password|passwd|pwd|passphrase|client_?secret|api[_-]?key|access[_-]?token|refresh[_-]?token|auth[_-]?token|private[_-]?key|secret[_-]?(?:access[_-]?)?key|account_?key|shared_?access_?key)(?:["']?\s*=\s*|["']\s*:\s*))(?:\[REDACTED\]|"[^"]*"|'[^']*'|[^\s"'&,;]+)`), "${1}" + Redacted, []string{"=", `"`, "'"}},
}

func whole(pattern string, marks ...string) rule {
	return rule{regexp.MustCompile(pattern), Redacted, marks}
}

var (
	base64Run = regexp.MustCompile(`[A-Za-z0-9+/_-]{24,}={0,2}`)
	hexRun    = regexp.MustCompile(`(?:[0-9a-fA-F]{2}){16,}`)
)

// Redact returns text with everything that looks like a credential replaced by
// [Redacted], also where it stands in base64 or hex.
func Redact(text string) string {
	text = redactPlain(text)
	if !hasLongRun(text) {
		return text
	}
	text = hexRun.ReplaceAllStringFunc(text, hideIf(hex.DecodeString))
	return base64Run.ReplaceAllStringFunc(text, hideIf(decodeBase64))
}

// longRun is the fewest characters that hexRun and base64Run find.
const longRun = 24

// hasLongRun reports whether so many characters of base64, and so perhaps of
// hex, stand side by side.
func hasLongRun(text string) bool {
	run := 0
	for i := 0; i < len(text) && run < longRun; i++ {
		c := text[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("+/_-", c) >= 0 {
			run++
		} else {
			run = 0
		}
	}
	return run == longRun
}

func redactPlain(text string) string {
	lower := strings.ToLower(text)
	for _, r := range rules {
		if !r.marked(lower) {
			continue
		}
		text = r.pattern.ReplaceAllString(text, r.with)
		lower = strings.ToLower(text)
	}
	return text
}

// hideIf returns a replacement that hides a run whose decoded form holds a
// credential.
func hideIf(decode func(string) ([]byte, error)) func(string) string {
	return func(run string) string {
		decoded, err := decode(run)
		if err != nil || redactPlain(string(decoded)) == string(decoded) {
			return run
		}
		return Redacted
	}
}

// decodeBase64 takes both alphabets, and drops the digits at the end that do
// not fill a byte: the run may have been cut.
func decodeBase64(run string) ([]byte, error) {
	run = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(run, "="))
	if len(run)%4 == 1 {
		run = run[:len(run)-1]
	}
	return base64.RawStdEncoding.DecodeString(run)
}

// secretKeys are names of attributes and fields whose value is never written,
// whatever it looks like. They are compared without case, hyphens and underscores.
var secretKeys = map[string]bool{
	"authorization": true, "proxyauthorization": true, "xserverlessauthorization": true, "xgoogiapjwtassertion": true,
	"cookie": true, "setcookie": true, "password": true, "passwd": true, "passphrase": true, "token": true,
	"accesstoken": true, "refreshtoken": true, "idtoken": true, "apikey": true, "privatekey": true,
	"clientsecret": true, "secretkey": true, "secretaccesskey": true, "secretvalue": true, "plaintext": true,
}

var keyNormaliser = strings.NewReplacer("-", "", "_", "")

func isSecretKey(key string) bool { return secretKeys[strings.ToLower(keyNormaliser.Replace(key))] }
