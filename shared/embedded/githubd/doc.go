// Package githubd is the embedded GitHub: an in-process REST server that
// stands for GitHub in the local server, the tests and the benches.
//
// A [Server] is an http.Handler that serves the part of GitHub's REST API
// which deals with secrets, under / as api.github.com does and under /api/v3/
// as GitHub Enterprise Server does. It holds the private half of every public
// key that it hands out and opens each sealed box that it is given, so that a
// test can compare what arrived with what was meant: see [Server.Value].
//
// It refuses what GitHub refuses, for the same reasons and with the same
// words: stale keys, names, sizes, capacity, permissions, rate limits. What
// GitHub does now and then, it does on request: it fails before or after
// taking effect, hangs, resets connections, lags in its lists, rotates keys,
// and is edited by somebody else. [Fault], [Limits] and [Settings] say how;
// a test in another process says it over [Server]'s control endpoints, through
// a [Remote].
//
// Everything that waits or compares times does so on the clock of the
// [Config], so that the server runs inside a testing/synctest bubble (with
// [Server.Transport], which needs no network) and on a scaled clock.
//
// It is a stand-in on a laptop, not a vault: it keeps values in memory and, if
// it is given a path, in a file that its owner alone can read.
//
// # Where the facts come from
//
//   - Shapes and status codes: GitHub's OpenAPI description, of which
//     testdata/openapi.json is an extract; a test holds every answer against it.
//   - Permissions: github/docs, src/github-apps/data/fpt-2022-11-28/server-to-server-permissions.json.
//   - Names, sizes, capacity: docs.github.com, actions/reference/security/secrets.
//   - Limits: docs.github.com, rest/using-the-rest-api/rate-limits-for-the-rest-api.
//   - Words of the 422s: integrations/terraform-provider-github#2315 and #869,
//     github/rest-api-description#419. GitHub documents no words for a value
//     over 48 KB or a full scope; those here are ours.
package githubd
