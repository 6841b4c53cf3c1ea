// Package e2e runs the whole system as its users meet it: the local server over
// HTTP, the command line, and the deployed functions as processes of their own.
// It has tests only.
package e2e
