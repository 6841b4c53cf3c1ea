// Command package makes dist/<function>.zip for each Cloud Function, in the
// form that Google's Go buildpack builds, and the same to the byte wherever and
// whenever it is made from the same sources.
//
//	go run ./scripts/package [-root .] [-out dist] [-json] [function …]
//
// With no names it packages every function of the catalogue. It prints each
// zip's name, size and SHA-256, and writes the same as packages.json beside the
// zips. It exits with 1 if a zip cannot be made and with 2 for wrong usage.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"

	"github.com/sealpost/sealpost/shared/catalogue"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// manifestName is the file beside the zips that lists them.
const manifestName = "packages.json"

// Package is one zip, as the manifest lists it.
type Package struct {
	Name       string `json:"name"`
	EntryPoint string `json:"entryPoint"`
	File       string `json:"file"` // in the same directory
	Bytes      int    `json:"bytes"`
	SHA256     string `json:"sha256"` // in hex
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("package", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", ".", "`directory` of the checkout")
	out := flags.String("out", "dist", "`directory` for the zips")
	asJSON := flags.Bool("json", false, "print the manifest instead of a table")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	functions, err := choose(flags.Args())
	if err != nil {
		fmt.Fprintln(stderr, "package:", err)
		return 2
	}
	packages, err := packageAll(ctx, *root, *out, functions)
	if err == nil {
		err = report(stdout, packages, *asJSON)
	}
	if err != nil {
		fmt.Fprintln(stderr, "package:", err)
		return 1
	}
	return 0
}

// choose returns the named functions, or all of them.
func choose(names []string) ([]catalogue.Function, error) {
	all := catalogue.Functions()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []catalogue.Function
	for _, name := range names {
		i := slices.IndexFunc(all, func(f catalogue.Function) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("the catalogue has no function %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// packageAll writes a zip for each function, and the manifest. It writes
// nothing unless every zip could be made.
func packageAll(ctx context.Context, root, out string, functions []catalogue.Function) ([]Package, error) {
	files := map[string][]byte{}
	var packages []Package
	for _, f := range functions {
		zipped, err := zipFunction(ctx, root, f.Name)
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", f.Name, err)
		}
		sum := sha256.Sum256(zipped)
		p := Package{Name: f.Name, EntryPoint: f.EntryPoint, File: f.Name + ".zip", Bytes: len(zipped), SHA256: hex.EncodeToString(sum[:])}
		files[p.File] = zipped
		packages = append(packages, p)
	}
	manifest, err := json.MarshalIndent(packages, "", "  ")
	if err != nil {
		return nil, err
	}
	files[manifestName] = append(manifest, '\n')
	return packages, writeAll(out, files)
}

func writeAll(out string, files map[string][]byte) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var errs []error
	for name, content := range files {
		errs = append(errs, os.WriteFile(filepath.Join(out, name), content, 0o644))
	}
	return errors.Join(errs...)
}

func report(w io.Writer, packages []Package, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(packages)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range packages {
		fmt.Fprintf(table, "%s\t%d bytes\t%s\n", p.File, p.Bytes, p.SHA256)
	}
	return table.Flush()
}
