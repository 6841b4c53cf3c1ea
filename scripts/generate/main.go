// Command generate writes the files that are made from the code: .env.example
// and the pages of the settings and of the error codes from tables, and the
// indexes of the databases from the queries. It runs at the top of the checkout.
package main

import (
	"context"
	"log"
	"maps"
	"os"
	"path/filepath"

	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/shared/httpx"
	"github.com/sealpost/sealpost/test/queries"
)

func main() {
	files := map[string][]byte{
		".env.example":              []byte(config.EnvExample()),
		"shared/config/settings.md": []byte(config.Markdown()),
		"shared/httpx/errors.md":    []byte(httpx.ErrorReference()),
	}
	indexes, err := queries.Files(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	maps.Copy(files, indexes)
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
