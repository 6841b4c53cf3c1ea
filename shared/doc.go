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
// # How a sync is asked for
//
// By a person, and answered at once; or by a mark in the store (package mark),
// which says that a container is to be looked at, and which stands until a run
// has answered it. Messages (package event) are nudges that carry nothing.
// Package dispatch is the protocol between those who set marks, the dispatcher
// that publishes those that are due and that the pace admits, and the workers.
// Package versionstate keeps the states of sources, fed by Secret Manager's
// notifications and corrected by a sweep, so that an idle sync asks nothing of
// it. What one installation may ask of GitHub is shared by all instances:
// package pace admits requests, and package quota keeps the budget that its
// pacers draw from.
//
// # Layers
//
// The kernel knows nothing but the standard library: fault (kinds, codes,
// remedies), secret (names, scopes, values that cannot be printed, fingerprints)
// and clock. The domain (project, manifest, envfile, exclusion, plan, ledger,
// lease, mark, audit, pace, quota, versionstate, provisioning, syncer, dispatch,
// idempotency, source) knows the kernel and two narrow ports: docstore, which all
// state goes through, and event; it knows no HTTP and no SDK. It declares the
// ports that it needs: syncer.Targets and syncer.Sources, provisioning.Directory,
// audit.Sink.
//
// Adapters implement the ports, each the only importer of its SDK: ghapi
// (GitHub), gcp/gsm (Secret Manager), gcp/firedoc (Firestore), gcp/topic
// (Pub/Sub) and docstore/sqlitedoc. Stand-ins for the systems behind them are in
// embedded: a GitHub that opens every sealed box, a Secret Manager that the real
// client talks to, a broker that pushes as Pub/Sub does, a scheduler, an issuer
// of tokens. Each port has a suite that all its implementations pass
// (docstore/docstoretest, source/sourcetest, event/eventtest).
//
// The transport is httpx (handlers that return errors, one adapter for all),
// eventx (pushed messages into calls), auth (who is calling, and with which
// roles), telemetry (the log, redacted) and strictjson. The table of the
// functions is package catalogue: routes, roles, packaging and the API's
// description are made from it or checked against it.
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
