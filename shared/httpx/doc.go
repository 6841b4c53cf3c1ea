// Package httpx is how a function meets HTTP: handlers return errors, and one
// adapter does the rest for all of them.
//
// [Function] builds a function's handler from its row in the catalogue. For
// each request the adapter settles the correlation id and the trace, routes by
// the row, verifies the caller and the role that the route asks for, limits
// the body and the time, contains panics, turns an error into problem+json by
// one table from kind to status, and writes one line to the log.
//
// A role is held for a project, and which project a request is about is known
// only to its handler. The handler therefore gets a project's id from a caller
// only through [Authorize], which decides; and a response of success that was
// written without a decision never leaves the process.
//
// A POST that changes something does its work in [Once], so that a caller who
// gives it an Idempotency-Key may send it again without its being carried out
// again.
package httpx
