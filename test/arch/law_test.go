package arch

import "github.com/sealpost/sealpost/shared/catalogue"

// layer is a storey of the building. Storeys may import only those that may
// lists for them.
type layer string

const (
	kernel    layer = "kernel"    // error kinds, names, values, time: standard library only
	port      layer = "port"      // the document port, the table of functions
	domain    layer = "domain"    // what Sealpost knows: no HTTP, no cloud SDK
	adapter   layer = "adapter"   // one external system each, never one another
	suite     layer = "suite"     // contract suites and fakes that only tests link
	embedded  layer = "embedded"  // in-process stand-ins for external systems
	config    layer = "config"    // the environment, read once
	transport layer = "transport" // HTTP and pushed messages into calls
	backend   layer = "backend"   // opens the configured implementation of each external system
	function  layer = "function"  // one Cloud Function each
	script    layer = "script"    // commands
	apart     layer = "apart"     // imports nothing of ours, so that it can judge us
	system    layer = "system"    // whole-system tests, benches, proofs
)

// may says what a layer imports besides the standard library.
var may = map[layer][]layer{
	kernel:    {kernel},
	port:      {kernel, port},
	domain:    {kernel, port, domain},
	adapter:   {kernel, port, domain},
	suite:     {kernel, port, domain, suite},
	embedded:  {kernel, port, domain, embedded},
	config:    {kernel, port, domain},
	transport: {kernel, port, domain, config, transport},
	backend:   {kernel, port, domain, config, adapter, embedded, transport, backend},
	function:  {kernel, port, domain, config, transport, backend},
	script:    {kernel, port, domain, config, adapter, embedded, transport, backend, function, script},
	apart:     {},
	system:    {kernel, apart, port, domain, config, adapter, suite, embedded, transport, backend, function, script, system},
}

// noHTTP are the layers that know nothing of the network or of databases.
var noHTTP = []layer{kernel, port, domain, config}

// row places packages in a layer: one by its path, or all below it if the path
// ends in /... .
type row struct {
	path  string
	layer layer
}

// dependency is a third-party module, or a part of one, with the packages
// that may import it outside their tests.
type dependency struct {
	path  string
	users []string
}

// exception allows one package, or all below a path that ends in /... , what a
// rule forbids, for a reason.
type exception struct {
	path string
	why  string
}

// law is what the rules go by.
type law struct {
	// functions is the table of Cloud Functions, each a package of its own.
	functions []catalogue.Function
	// packages is the whole building. A package that no row names is a finding,
	// and so is a row that names no package.
	packages []row
	// dependencies lists every one: an import that no row admits is a finding.
	// What only tests import is not listed.
	dependencies []dependency
	// readEnvironment may call os.Getenv and its like.
	readEnvironment []exception
	// readTime may ask the machine for the time, or wait by it.
	readTime []exception
	// startGoroutines may use the go statement. Elsewhere, work is shared out
	// with an errgroup, which waits for all of it.
	startGoroutines []exception
	// changeGlobals may keep state in variables of the package.
	changeGlobals []exception
	// reveal lists who may call secret.Value.Reveal: what sends a value to its
	// target or its store, and what hides values in text.
	reveal []exception
	// exposeSDK lists exported names of adapters that show a type of an SDK.
	exposeSDK []exception
}

// sealpost is the law of this repository.
var sealpost = law{
	functions: catalogue.Functions(),

	packages: []row{
		{"shared", kernel},
		{"shared/fault", kernel},
		{"shared/secret", kernel},
		{"shared/clock", kernel},

		{"shared/catalogue", port},
		{"shared/docstore", port},
		{"shared/event", port},

		{"shared/audit", domain},
		{"shared/auth", domain},
		{"shared/dispatch", domain},
		{"shared/envfile", domain},
		{"shared/exclusion", domain},
		{"shared/idempotency", domain},
		{"shared/lease", domain},
		{"shared/ledger", domain},
		{"shared/manifest", domain},
		{"shared/mark", domain},
		{"shared/pace", domain},
		{"shared/plan", domain},
		{"shared/project", domain},
		{"shared/provisioning", domain},
		{"shared/quota", domain},
		{"shared/source", domain},
		{"shared/strictjson", domain},
		{"shared/syncer", domain},
		{"shared/versionstate", domain},

		{"shared/docstore/sqlitedoc", adapter},
		{"shared/gcp/firedoc", adapter},
		{"shared/gcp/gsm", adapter},
		{"shared/gcp/topic", adapter},
		{"shared/ghapi", adapter},

		{"shared/auth/authtest", suite},
		{"shared/docstore/docstoretest", suite},
		{"shared/event/eventtest", suite},
		{"shared/source/sourcetest", suite},

		{"shared/embedded/broker", embedded},
		{"shared/embedded/githubd", embedded},
		{"shared/embedded/issuer", embedded},
		{"shared/embedded/scheduler", embedded},
		{"shared/embedded/secretmanagerd", embedded},

		{"shared/config", config},

		{"shared/auth/idtoken", transport},
		{"shared/eventx", transport},
		{"shared/httpx", transport},
		{"shared/telemetry", transport},

		// One package for each external system: a function links only those that
		// it opens.
		{"shared/backend", backend},
		{"shared/backend/engine", backend},
		{"shared/backend/events", backend},
		{"shared/backend/github", backend},
		{"shared/backend/secretmanager", backend},
		{"shared/backend/state", backend},

		{"functions/...", function}, // checked one by one against the catalogue
		{"scripts/...", script},
		{"scripts/emulators", system},
		{"scripts/generate", system}, // asks every query of the product
		{"test/...", system},
		{"test/bench/floor", apart}, // the computed limits that the product is held to
	},

	dependencies: []dependency{
		{"cloud.google.com/go/firestore", []string{"shared/gcp/firedoc"}},
		{"cloud.google.com/go/pubsub", []string{"shared/gcp/topic", "test/fleet"}},
		{"cloud.google.com/go/secretmanager", []string{"shared/gcp/gsm", "shared/embedded/secretmanagerd"}},
		{"github.com/GoogleCloudPlatform/functions-framework-go/functions", []string{"functions/..."}},
		{"github.com/compose-spec/compose-go/v2/dotenv", []string{"shared/envfile"}},
		{"github.com/coreos/go-oidc/v3", []string{"shared/auth/idtoken"}},
		{"github.com/go-jose/go-jose/v4", []string{"shared/auth/authtest", "shared/auth/idtoken", "shared/embedded/issuer"}},
		{"github.com/google/go-github/v66", []string{"shared/ghapi"}},
		{"github.com/hashicorp/go-envparse", []string{"shared/envfile"}},
		{"github.com/hashicorp/go-retryablehttp", []string{"shared/ghapi"}},
		{"github.com/jedib0t/go-pretty/v6", []string{"scripts/sealpost/..."}},
		{"github.com/pb33f/libopenapi", []string{"test/contract"}},
		{"github.com/pb33f/libopenapi-validator", []string{"test/contract"}},
		{"github.com/spf13/cobra", []string{"scripts/sealpost/..."}},
		{"github.com/spf13/pflag", []string{"scripts/sealpost/..."}}, // the errors of cobra's flags
		{"go.yaml.in/yaml/v3", []string{"shared/manifest"}},
		{"golang.org/x/crypto/nacl/box", []string{"shared/ghapi", "shared/embedded/githubd"}},
		{"golang.org/x/oauth2", []string{"shared/ghapi", "shared/gcp/..."}},
		{"golang.org/x/sync", []string{"shared/...", "scripts/...", "test/..."}},
		{"golang.org/x/term", []string{"scripts/sealpost/..."}},
		{"google.golang.org/api", []string{"shared/gcp/...", "shared/embedded/secretmanagerd", "test/fleet"}},
		{"google.golang.org/genproto", []string{"shared/gcp/...", "shared/embedded/secretmanagerd"}},
		{"google.golang.org/grpc", []string{"shared/gcp/...", "shared/embedded/secretmanagerd", "test/fleet"}},
		{"google.golang.org/protobuf", []string{"shared/gcp/...", "shared/embedded/secretmanagerd", "test/fleet"}},
		{"modernc.org/sqlite", []string{"shared/docstore/sqlitedoc"}},
		{"go.uber.org/goleak", []string{"shared/docstore/docstoretest"}},
		{"pgregory.net/rapid", []string{"shared/docstore/docstoretest"}},
	},

	readEnvironment: []exception{
		{"shared/config", "the one place that reads the settings"},
		{"scripts/emulators", "passes its own environment on to the command that it runs"},
		{"test/emulator", "asks whether this is CI and which emulators run, which are no settings of the product"},
		{"test/program", "hands PATH on to the programs that it runs"},
		{"scripts/testsum", "asks whether this is CI, which is no setting of the product"},
	},

	readTime: []exception{
		{"shared/clock", "the one place that asks what time it is"},
		{"test/emulator", "waits for child processes, which no other clock moves"},
		{"test/program", "waits for child processes, which no other clock moves"},
	},

	startGoroutines: []exception{
		{"shared/syncer", "renews the lease while a run holds it; the run waits for its end"},
		{"shared/embedded/...", "servers that live as long as the process, on a laptop"},
		{"scripts/...", "commands, which live as long as their work"},
		{"test/...", "child processes and crowds, which a test waits for"},
	},

	changeGlobals: []exception{
		{"test/emulator", "a test binary starts each emulator once, for all its tests"},
		{"test/fleet", "a test binary makes the functions' zips once, for all its tests"},
	},

	reveal: []exception{
		{"shared/secret", "declares it"},
		{"shared/embedded/secretmanagerd", "is a store of values, in the process"},
		{"shared/ghapi", "seals a value for GitHub, and signs with the App's key"},
		{"shared/gcp/gsm", "stores a value in Secret Manager"},
		{"shared/source/sourcetest", "compares the values that it gave with those that it gets back"},
	},

	exposeSDK: []exception{},
}

// top is what lies at the top of the repository, besides dot files and what
// the Makefile makes.
var top = []string{
	"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "go.mod", "go.sum",
	"functions", "scripts", "shared", "terraform", "test",
}

// made are the directories that the Makefile makes.
var made = []string{"dist"}
