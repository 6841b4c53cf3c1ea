// Package arch holds the law of imports and the other rules of the tree that
// no compiler checks: which package may import which, who may read the
// environment, the time or a secret's text, what each Cloud Function links.
//
// The law is data, in law_test.go: a new package, dependency or exception is a
// row there, with its reason. A rule reads the sources as syntax only, so that
// it runs in a moment and can be run on a made-up tree: for each rule,
// testdata has a tree that breaks it, with the findings that must come of it.
package arch
