// Package project keeps the registered projects: which GitHub repository,
// which mappings from source to scopes, which exclusions, and who may do what.
//
// It also settles who owns a container, so that two projects can never write
// the same targets.
package project
