package main

import (
	"archive/zip"
	"bytes"
	"context"
	"maps"
	"slices"
	"time"
)

// zipFunction returns the zip of one function of the checkout at root.
func zipFunction(ctx context.Context, root, name string) ([]byte, error) {
	staged, err := stage(ctx, root, name)
	if err != nil {
		return nil, err
	}
	return staged.zip()
}

// epoch is every file's time: the earliest that a zip can hold.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// zip packs the sources so that equal sources make equal bytes: sorted, with
// one time and one mode. The files are stored, not compressed: what deflate
// makes of them may differ from one Go release to the next, and some hundred
// kilobytes of text are nothing to an upload.
func (s sources) zip() ([]byte, error) {
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(s)) {
		header := &zip.FileHeader{Name: name, Method: zip.Store, Modified: epoch}
		header.SetMode(0o644)
		file, err := archive.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := file.Write(s[name]); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
