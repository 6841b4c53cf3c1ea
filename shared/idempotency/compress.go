package idempotency

import (
	"bytes"
	"compress/gzip"
	"io"
)

// compress returns nothing for nothing.
func compress(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func expand(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
