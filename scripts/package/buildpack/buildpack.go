// Package buildpack says what Google's Go buildpack makes of a function's zip.
//
// Source: github.com/GoogleCloudPlatform/buildpacks, cmd/go/functions_framework/lib:
// lib.go and template_declarative.go.
package buildpack

import "fmt"

// MainDir is the directory below the zip's root where the program's source is
// put.
const MainDir = "functions.local/app"

// Main returns the source of the program, in MainDir/main.go, for the module
// whose root package is the function.
func Main(module string) []byte {
	return fmt.Appendf(nil, `package main

import (
	"log"
	"os"

	_ %q

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
)

func main() {
	log.Fatal(funcframework.Start(os.Getenv("PORT")))
}
`, module)
}
