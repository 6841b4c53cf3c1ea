//go:build race

package versionstate_test

// manyProjects is fewer here: under the race detector the store takes thirty
// times as long.
const manyProjects = 70
