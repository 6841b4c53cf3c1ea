// Package catalogue is the one table of Sealpost's Cloud Functions, as data.
//
// What the local server routes, who may call what, which zips are packaged,
// which paths the OpenAPI description has and what Terraform deploys all come
// from this table or are checked against it. Adding a function means adding a
// directory under functions/ and a row here.
package catalogue

import (
	"slices"

	"github.com/sealpost/sealpost/shared/event"
)

// Exposure says who can reach a function over the network.
type Exposure string

// The exposures.
const (
	// Private functions are reached by Scheduler and push subscriptions: IAM
	// admits their service accounts only, and the code checks which.
	Private Exposure = "private"
	// Edge functions are reached through the load balancer only; IAM admits
	// everybody and the code verifies the caller's token.
	Edge Exposure = "edge"
)

// Role is what a caller may do, for one project or app.
type Role string

// The roles. A role includes those listed for it in [Role.Includes].
const (
	Viewer     Role = "viewer"     // read states, plans and the audit
	Syncer     Role = "syncer"     // also sync
	Operator   Role = "operator"   // also register, change and unregister projects
	BreakGlass Role = "breakglass" // override a managed app's credentials
	Internal   Role = "internal"   // Sealpost's own schedulers and subscriptions
	// Anyone is the role of routes that ask for no token: liveness and
	// readiness, which say nothing of any project.
	Anyone Role = "anyone"
)

// Includes reports whether holding r is enough where wanted is asked for.
func (r Role) Includes(wanted Role) bool {
	switch {
	case wanted == Anyone || r == wanted:
		return true
	case wanted == Viewer:
		return r == Syncer || r == Operator
	case wanted == Syncer:
		return r == Operator
	}
	return false
}

// Roles lists the roles that a caller can be given.
func Roles() []Role { return []Role{Viewer, Syncer, Operator, BreakGlass, Internal} }

// Route is one method and path of a function, with the role that it asks for.
type Route struct {
	Method string
	Path   string // in the syntax of net/http's patterns: /projects/{id}
	Role   Role
}

// Function is one row: one Cloud Function.
type Function struct {
	Name       string // directory under functions/, and the deployed name
	EntryPoint string // name registered with the Functions Framework
	Exposure   Exposure
	Routes     []Route
	Topic      string // Pub/Sub topic that pushes to it; empty if none
	Schedule   string // cron line of the Scheduler job, in UTC; empty if none
	MemoryMiB  int
	TimeoutSec int

	// MaxInstances bounds the instances of a function that asks GitHub: those of
	// all such functions share what may be in flight. 0 for no bound.
	MaxInstances int
}

var functions = []Function{
	{
		Name: "audit-log", EntryPoint: "AuditLog", Exposure: Edge, MemoryMiB: 128, TimeoutSec: 30,
		Routes: []Route{{"GET", "/github/audit", Viewer}},
	},
	{
		Name: "dispatcher", EntryPoint: "Dispatcher", Exposure: Private, MemoryMiB: 128, TimeoutSec: 60,
		Routes: push("dispatcher"), Topic: event.DispatchTick, Schedule: "* * * * *",
	},
	{
		Name: "health", EntryPoint: "Health", Exposure: Edge, MemoryMiB: 128, TimeoutSec: 10,
		Routes: []Route{{"GET", "/healthz", Anyone}, {"GET", "/readyz", Anyone}},
	},
	{
		Name: "projects", EntryPoint: "Projects", Exposure: Edge, MemoryMiB: 128, TimeoutSec: 60, MaxInstances: 1,
		Routes: []Route{
			{"POST", "/projects", Operator},
			{"GET", "/projects/{id}", Viewer},
			{"PUT", "/projects/{id}", Operator},
			{"DELETE", "/projects/{id}", Operator},
		},
	},
	{
		Name: "scheduled-sync", EntryPoint: "ScheduledSync", Exposure: Private, MemoryMiB: 128, TimeoutSec: 300,
		Routes: push("scheduled-sync"), Topic: event.SyncTick, Schedule: "0 */6 * * *",
	},
	{
		Name: "secret-changed", EntryPoint: "SecretChanged", Exposure: Private, MemoryMiB: 128, TimeoutSec: 60,
		Routes: push("secret-changed"), Topic: event.SecretEvents,
	},
	{
		Name: "sync-secrets", EntryPoint: "SyncSecrets", Exposure: Edge, MemoryMiB: 256, TimeoutSec: 540, MaxInstances: 2,
		Routes: []Route{{"POST", "/github/secrets/sync", Syncer}},
	},
	{
		Name: "sync-status", EntryPoint: "SyncStatus", Exposure: Edge, MemoryMiB: 128, TimeoutSec: 30,
		Routes: []Route{{"GET", "/github/secrets/sync/status", Viewer}},
	},
	{
		Name: "sync-worker", EntryPoint: "SyncWorker", Exposure: Private, MemoryMiB: 128, TimeoutSec: 540, MaxInstances: 3,
		Routes: push("sync-worker"), Topic: event.SyncRequests,
	},
}

// push returns the route of a function that a subscription pushes to.
func push(name string) []Route { return []Route{{"POST", "/push/" + name, Internal}} }

// Functions returns every row, sorted by name.
func Functions() []Function { return slices.Clone(functions) }

// Lookup returns the row of one function. An unknown name panics: names are
// written in the function packages, so that is a defect of ours.
func Lookup(name string) Function {
	for _, f := range functions {
		if f.Name == name {
			return f
		}
	}
	panic("catalogue: no function " + name)
}
