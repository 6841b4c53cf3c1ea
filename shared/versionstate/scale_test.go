//go:build !race

package versionstate_test

// manyProjects is how many projects the sweep is tried with.
const manyProjects = 500
