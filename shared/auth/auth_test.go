package auth_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealpost/sealpost/shared/auth"
	"github.com/sealpost/sealpost/shared/catalogue"
	"github.com/sealpost/sealpost/shared/fault"
)

func TestRequire(t *testing.T) {
	t.Parallel()
	caller := auth.NewCaller(auth.Identity{}, auth.Grants{"payments": {catalogue.Operator}, "web": {catalogue.Viewer}, "empty": nil})
	root := auth.NewCaller(auth.Identity{}, auth.Grants{"*": {catalogue.Syncer}})
	for _, c := range []struct {
		who     auth.Caller
		role    catalogue.Role
		project string
		ok      bool
	}{
		{caller, catalogue.Operator, "payments", true},
		{caller, catalogue.Viewer, "payments", true},
		{caller, catalogue.BreakGlass, "payments", false},
		{caller, catalogue.Internal, "payments", false},
		{caller, catalogue.Viewer, "web", true},
		{caller, catalogue.Syncer, "web", false},
		{caller, catalogue.Viewer, "empty", false},
		{caller, catalogue.Viewer, "unheard-of", false},
		{caller, catalogue.Viewer, "", false},
		{caller, catalogue.Viewer, "*", false},
		{root, catalogue.Viewer, "anything", true},
		{root, catalogue.Syncer, "*", true},
		{root, catalogue.Operator, "anything", false},
		{auth.Caller{}, catalogue.Viewer, "payments", false},
		{auth.Caller{}, catalogue.Viewer, "*", false},
	} {
		err := c.who.Require(c.role, c.project)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, fault.AuthDenied) {
			t.Errorf("Require(%s, %q) = %v, want ok %v", c.role, c.project, err, c.ok)
		}
	}
	if caller.RequireSomewhere(catalogue.Operator) != nil || !errors.Is(caller.RequireSomewhere(catalogue.Internal), fault.AuthDenied) {
		t.Error("RequireSomewhere is wrong")
	}
	if got := caller.Projects(catalogue.Viewer); !slices.Equal(got, []string{"payments", "web"}) {
		t.Errorf("Projects = %v", got)
	}
	if got := root.Projects(catalogue.Viewer); !slices.Equal(got, []string{"*"}) {
		t.Errorf("Projects = %v", got)
	}
}

func TestCallerKeepsItsOwnGrants(t *testing.T) {
	t.Parallel()
	grants := auth.Grants{"p": {catalogue.Viewer}}
	caller := auth.NewCaller(auth.Identity{}, grants)
	grants["p"][0], grants["q"] = catalogue.Operator, []catalogue.Role{catalogue.Operator}
	if caller.Require(catalogue.Operator, "p") == nil || caller.Require(catalogue.Operator, "q") == nil {
		t.Error("a change from outside gave the caller a role")
	}
}

func TestActor(t *testing.T) {
	t.Parallel()
	for want, i := range map[string]auth.Identity{
		"alice@acme.example": {Kind: auth.Google, Subject: "117", Email: "alice@acme.example"},
		"local:alice":        {Kind: auth.Local, Subject: "alice"},
	} {
		if got := i.Actor(); got != want {
			t.Errorf("Actor = %q, want %q", got, want)
		}
	}
}

func TestBindings(t *testing.T) {
	t.Parallel()
	bindings, err := auth.ParseBindings(`{"email:Alice@ACME.example":{"payments":["operator"]},"repository:123":{"*":["viewer","syncer"]}}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who     auth.Identity
		granted bool
	}{
		{auth.Identity{Kind: auth.Google, Email: "alice@acme.example"}, true},
		{auth.Identity{Kind: auth.IAP, Email: "Alice@acme.example"}, true},
		{auth.Identity{Kind: auth.Google, Email: "bob@acme.example"}, false},
		{auth.Identity{Kind: auth.Google, Subject: "alice@acme.example"}, false},
		{auth.Identity{Kind: auth.GitHub, Email: "alice@acme.example"}, false},
		{auth.Identity{Kind: auth.GitHub, RepositoryID: "123"}, true},
		{auth.Identity{Kind: auth.Google, RepositoryID: "123"}, false},
		{auth.Identity{Kind: auth.Local, Email: "alice@acme.example", RepositoryID: "123"}, false},
	} {
		if got := bindings.For(c.who); (len(got) > 0) != c.granted {
			t.Errorf("For(%+v) = %v, want any: %v", c.who, got, c.granted)
		}
	}
}

func TestBadBindings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                                    "want a JSON object, member → project id or * → list of roles: there is no JSON: it is empty",
		`[]`:                                  "want a JSON object, member → project id or * → list of roles: the JSON is not an object",
		`{"alice@acme.example":{}}`:           "member 1 is neither email:<address> nor repository:<numeric id>",
		`{"email:canary":{}}`:                 "member 1 is neither email:<address> nor repository:<numeric id>",
		`{"repository:acme/app":{}}`:          "member 1 is neither email:<address> nor repository:<numeric id>",
		`{"email:a@b.c":{},"email:A@b.c":{}}`: "member 2 is there twice",
		`{"email:a@b.c":{"canary 1":["canary2"]}}`: "member 1 has a key that is neither * nor the id of a project; " +
			"member 1 has something else than the roles [viewer syncer operator breakglass internal]",
		`{"email:a@b.c":{"*":["anyone"]}}`: "member 1 has something else than the roles [viewer syncer operator breakglass internal]",
		`{"email:a@b.c":{"*":"viewer"}}`:   "want a JSON object, member → project id or * → list of roles: (unnamed).(unnamed) is not a list",
	} {
		_, err := auth.ParseBindings(text)
		if fault.CodeOf(err) != fault.ConfigInvalid || fault.Detail(err) != want || strings.Contains(err.Error(), "canary") {
			t.Errorf("ParseBindings(%s) = %v\nwant %s", text, err, want)
		}
	}
}

func TestIssuers(t *testing.T) {
	t.Parallel()
	issuers, err := auth.ParseIssuers(`[
		{"issuer":"https://accounts.google.com","kind":"google"},
		{"issuer":"https://token.actions.githubusercontent.com","audience":"other","kind":"github"},
		{"issuer":"https://cloud.google.com/iap","kind":"iap"},
		{"issuer":"http://127.0.0.1:8080/issuer","kind":"local"}]`, "https://sealpost.acme.example")
	if err != nil {
		t.Fatal(err)
	}
	if issuers[0].Audience != "https://sealpost.acme.example" || issuers[1].Audience != "other" {
		t.Errorf("audiences = %+v", issuers)
	}
	if !auth.HasLocal(issuers) || auth.HasLocal(issuers[:3]) {
		t.Error("HasLocal is wrong")
	}
}

func TestBadIssuers(t *testing.T) {
	t.Parallel()
	const notSafe = "has a URL that is not https://host[/path]; only a local one may be http on loopback"
	for text, want := range map[string]string{
		``:   `want a JSON list of {"issuer", "audience", "kind"}: there is no JSON: it is empty`,
		`[]`: "want 1 to 16 issuers",
		`[{"issuer":"https://x.example","audience":"a","kind":"github","secret":"canary"}]`:                              `want a JSON list of {"issuer", "audience", "kind"}: [0].secret is not a known field`,
		`[{"issuer":"https://x.example","kind":"github"}]`:                                                               "issuer 1 has no audience",
		`[{"issuer":"https://x.example","audience":"a","kind":"canary"}]`:                                                "issuer 1 has no kind of google, github, iap or local",
		`[{"issuer":"https://accounts.google.com.evil.example","audience":"a","kind":"google"}]`:                         "issuer 1 is of kind google, whose URL is https://accounts.google.com",
		`[{"issuer":"https://x.example","audience":"a","kind":"iap"}]`:                                                   "issuer 1 is of kind iap, whose URL is https://cloud.google.com/iap",
		`[{"issuer":"http://x.example","audience":"a","kind":"github"}]`:                                                 "issuer 1 " + notSafe,
		`[{"issuer":"http://127.0.0.1","audience":"a","kind":"github"}]`:                                                 "issuer 1 " + notSafe,
		`[{"issuer":"http://x.example","audience":"a","kind":"local"}]`:                                                  "issuer 1 " + notSafe,
		`[{"issuer":"http://127.0.0.1.x.example","audience":"a","kind":"local"}]`:                                        "issuer 1 " + notSafe,
		`[{"issuer":"https://u:canary@x.example","audience":"a","kind":"github"}]`:                                       "issuer 1 " + notSafe,
		`[{"issuer":"https://x.example?q=1","audience":"a","kind":"github"}]`:                                            "issuer 1 " + notSafe,
		`[{"issuer":"https://x.example#","audience":"a","kind":"github"}]`:                                               "issuer 1 " + notSafe,
		`[{"issuer":"","audience":"a","kind":"github"}]`:                                                                 "issuer 1 " + notSafe,
		`[{"issuer":"https://x.example","audience":"a","kind":"github"},{"issuer":"https://x.example","kind":"github"}]`: "issuer 2 has no audience; issuer 2 is in the list twice",
	} {
		_, err := auth.ParseIssuers(text, "")
		if fault.CodeOf(err) != fault.ConfigInvalid || fault.Detail(err) != want || strings.Contains(err.Error(), "canary") {
			t.Errorf("ParseIssuers(%s) = %v\nwant %s", text, err, want)
		}
	}
}

func TestLoopbackAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:1": true, "[::1]:80": true, "127.9.9.9:1": true,
		"0.0.0.0:80": false, "127.0.0.1": false, "127.0.0.1:": false, "db.internal:80": false, "": false, "localhost.evil.example:1": false,
	} {
		if got := auth.IsLoopbackAddress(address); got != want {
			t.Errorf("IsLoopbackAddress(%q) = %v", address, got)
		}
	}
}
