// Command generate writes the files that are made from tables in the code:
// .env.example and the pages of the settings and of the error codes. It runs
// at the top of the checkout.
package main

import (
	"log"
	"os"

	"github.com/sealpost/sealpost/shared/config"
	"github.com/sealpost/sealpost/shared/httpx"
)

func main() {
	for path, text := range map[string]string{
		".env.example":              config.EnvExample(),
		"shared/config/settings.md": config.Markdown(),
		"shared/httpx/errors.md":    httpx.ErrorReference(),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
