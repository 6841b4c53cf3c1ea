package auth

import (
	"net"
	"net/netip"
	"net/url"
	"slices"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/strictjson"
)

// IssuerKind says what sort of issuer vouches for an identity, and so which of
// its claims mean something.
type IssuerKind string

// The kinds of issuer.
const (
	// Google issues tokens to people and service accounts; the verified address counts.
	Google IssuerKind = "google"
	// GitHub issues tokens to workflow runs; the repository's numeric id counts.
	GitHub IssuerKind = "github"
	// IAP is the Identity-Aware Proxy in front of the load balancer; it sends
	// its own header and has verified the address.
	IAP IssuerKind = "iap"
	// Local is the issuer of the server on a laptop. Its tokens carry their
	// roles, so it is never accepted in staging or production.
	Local IssuerKind = "local"
)

// IssuerKinds lists every kind.
func IssuerKinds() []IssuerKind { return []IssuerKind{Google, GitHub, IAP, Local} }

// The fixed issuers of Google. Sources: accounts.google.com/.well-known/openid-configuration
// and cloud.google.com/iap/docs/signed-headers-howto.
const (
	GoogleURL = "https://accounts.google.com"
	IAPURL    = "https://cloud.google.com/iap"
)

// Issuer is one issuer whose tokens are accepted.
type Issuer struct {
	URL      string     `json:"issuer"`   // as in the claim iss, compared byte by byte
	Audience string     `json:"audience"` // the only audience that is accepted from it
	Kind     IssuerKind `json:"kind"`
}

// maxIssuers bounds what one setting can hold.
const maxIssuers = 16

// ParseIssuers reads a JSON list of issuers. An issuer without an audience gets
// the default one. The error is a [fault.ConfigInvalid] that names each fault
// by the issuer's place in the list, counted from 1.
func ParseIssuers(text, defaultAudience string) ([]Issuer, error) {
	var issuers []Issuer
	if err := strictjson.Unmarshal([]byte(text), &issuers); err != nil {
		return nil, fault.New(fault.ConfigInvalid, `want a JSON list of {"issuer", "audience", "kind"}: %s`, fault.Detail(err))
	}
	for i := range issuers {
		if issuers[i].Audience == "" {
			issuers[i].Audience = defaultAudience
		}
	}
	return issuers, CheckIssuers(issuers)
}

// CheckIssuers returns a [fault.ConfigInvalid] with every fault of the list, or
// nil.
func CheckIssuers(issuers []Issuer) error {
	var faults faultList
	if len(issuers) == 0 || len(issuers) > maxIssuers {
		faults.add("want 1 to %d issuers", maxIssuers)
	}
	seen := map[string]bool{}
	for i, issuer := range issuers {
		for _, text := range issuer.faults() {
			faults.add("issuer %d %s", i+1, text)
		}
		if seen[issuer.URL] {
			faults.add("issuer %d is in the list twice", i+1)
		}
		seen[issuer.URL] = true
	}
	return faults.err()
}

func (i Issuer) faults() []string {
	var faults []string
	if !slices.Contains(IssuerKinds(), i.Kind) {
		faults = append(faults, "has no kind of google, github, iap or local")
	}
	if i.Audience == "" {
		faults = append(faults, "has no audience")
	}
	switch {
	case i.Kind == Google && i.URL != GoogleURL:
		faults = append(faults, "is of kind google, whose URL is "+GoogleURL)
	case i.Kind == IAP && i.URL != IAPURL:
		faults = append(faults, "is of kind iap, whose URL is "+IAPURL)
	case !SafeURL(i.URL, i.Kind == Local):
		faults = append(faults, "has a URL that is not https://host[/path]; only a local one may be http on loopback")
	}
	return faults
}

// SafeURL reports whether keys may be fetched from a URL: https without user,
// query or fragment; plain http is safe on this machine only, where allowed.
func SafeURL(text string, loopback bool) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || text[len(text)-1] == '#' {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopback && isLoopback(u.Hostname())
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// IsLoopbackAddress reports whether host:port is on this machine.
func IsLoopbackAddress(address string) bool {
	host, port, err := net.SplitHostPort(address)
	return err == nil && port != "" && isLoopback(host)
}

// HasLocal reports whether any issuer is of kind [Local].
func HasLocal(issuers []Issuer) bool {
	return slices.ContainsFunc(issuers, func(i Issuer) bool { return i.Kind == Local })
}
