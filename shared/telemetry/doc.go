// Package telemetry writes Sealpost's log: JSON lines in the field names that
// Cloud Logging understands, with the request's correlation id and trace on
// every line, and no credential on any.
//
// The last point is a second line of defence. Values are of type secret.Value
// and cannot be printed, and adapters drop what upstreams say. What slips
// through all the same, in a message, an attribute, an error's text or a
// marshalled struct, meets [Redact] before it is written.
package telemetry
