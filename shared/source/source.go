// Package source holds the sources of values that need no cloud: the values of
// an env file, which are given once and have no versions.
package source

import (
	"context"
	"maps"

	"github.com/sealpost/sealpost/shared/fault"
	"github.com/sealpost/sealpost/shared/secret"
	"github.com/sealpost/sealpost/shared/syncer"
)

// File is the values of an env file. It implements syncer.Sources; all its
// sources are unversioned, so whoever holds the file consents by using it.
type File struct{ values map[string]secret.Value }

var _ syncer.Sources = File{}

// EnvFile returns the sources of an env file whose values go by these names.
func EnvFile(values map[string]secret.Value) File { return File{values: maps.Clone(values)} }

// Inspect implements syncer.Sources.
func (f File) Inspect(ctx context.Context, sources []secret.Source) (map[secret.Source]secret.SourceState, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap(fault.KindOf(err), "source.Inspect", nil)
	}
	states := make(map[secret.Source]secret.SourceState, len(sources))
	for _, s := range sources {
		_, found := f.find(s)
		states[s] = secret.SourceState{Exists: found, Unversioned: true}
	}
	return states, nil
}

// Value implements syncer.Sources. The only version is 0.
func (f File) Value(ctx context.Context, source secret.Source, version secret.Version) (secret.Value, error) {
	if err := ctx.Err(); err != nil {
		return secret.Value{}, fault.Wrap(fault.KindOf(err), "source.Value "+source.String(), nil)
	}
	value, found := f.find(source)
	if !found || version != 0 {
		return secret.Value{}, fault.New(fault.SourceMissing, "the env file has no %s", source)
	}
	return value, nil
}

// find looks a source up; one with a project is in Secret Manager, not here.
func (f File) find(s secret.Source) (secret.Value, bool) {
	if s.Project != "" {
		return secret.Value{}, false
	}
	value, found := f.values[s.Secret]
	return value, found
}
