package docstore

import "errors"

// Encode turns a struct of a stored form into Fields.
func Encode(v any) (Fields, error) { return nil, errors.New("not written yet") }

// Decode fills a struct from Fields.
func Decode(fields Fields, v any) error { return errors.New("not written yet") }
