// Package shared is the tour of Sealpost's architecture; it has no code of its
// own. What stands below it is everything that the functions share.
//
// # The way of a secret
//
// A manifest (package manifest) says which secret goes from which source to
// which scopes. Package provisioning makes a project of it: it resolves names
// at GitHub to ids and claims the containers (a repository, an organisation),
// each of which has one owner. Package syncer brings a project's targets level
// with their sources: it takes the container's lease (package lease), reads the
// ledger (package ledger), which is the only proof of what Sealpost wrote, lists
// the targets, inspects the sources, and asks package plan, a pure function,
// what is to be done. Then it records the intent (package audit), notes in the
// ledger what it is about to write, writes, lists again and settles. The
// protocol, and what holds when it is killed anywhere, is in the documentation
// of package syncer.
//
// # Layers
//
// The kernel knows nothing but the standard library: fault (kinds, codes,
// remedies), secret (names, scopes, values that cannot be printed, fingerprints)
// and clock. The domain (project, manifest, envfile, exclusion, plan, ledger,
// lease, mark, audit, pace, provisioning, syncer, source) knows the kernel and
// docstore, the narrow port that all state goes through; it knows no HTTP and no
// SDK. It declares the ports that it needs: syncer.Targets and syncer.Sources,
// provisioning.Directory, audit.Sink.
//
// Adapters implement the ports, each the only importer of its SDK: ghapi
// (GitHub), gcp/gsm (Secret Manager), gcp/firedoc (Firestore) and
// docstore/sqlitedoc. Stand-ins for the systems behind them are in embedded: a
// GitHub that opens every sealed box, a Secret Manager that the real client
// talks to, an issuer of tokens. Each port has a suite that all its
// implementations pass (docstore/docstoretest, source/sourcetest).
//
// The transport is httpx (handlers that return errors, one adapter for all),
// auth (who is calling, and with which roles), telemetry (the log, redacted) and
// strictjson. The table of the functions is package catalogue: routes, roles,
// packaging and the API's description are made from it or checked against it.
// Package config reads the environment; the packages below backend open what a
// deployed function works with. The local server, in scripts/sealpost/local,
// opens the embedded counterparts instead and serves the same handlers.
//
// # Laws
//
// Who may import what is a table in test/arch, held by a test, as are: one
// package doc each, the environment read in config only, the time asked in clock
// only, and who may reveal a value.
package shared
