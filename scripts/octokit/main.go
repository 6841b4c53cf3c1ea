// Command octokit writes the part of GitHub's OpenAPI description that the
// embedded GitHub serves, for the test that holds its answers against it.
//
//	npm install --prefix DIR @octokit/openapi
//	go run ./scripts/octokit DIR/node_modules/@octokit/openapi/generated/api.github.com.json >shared/embedded/githubd/testdata/openapi.json
//
// It keeps the responses of the operations below and the schemas that these
// refer to, and drops what a validator does not need: descriptions and examples.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// served lists the paths of the embedded GitHub, with the methods that it
// serves there.
var served = map[string][]string{
	"/rate_limit":                          {"get"},
	"/app":                                 {"get"},
	"/app/installations/{installation_id}": {"get"},
	"/app/installations/{installation_id}/access_tokens":                          {"post"},
	"/installation/repositories":                                                  {"get"},
	"/orgs/{org}":                                                                 {"get"},
	"/orgs/{org}/installation":                                                    {"get"},
	"/orgs/{org}/FAMILY/secrets":                                                  {"get"},
	"/orgs/{org}/FAMILY/secrets/public-key":                                       {"get"},
	"/orgs/{org}/FAMILY/secrets/{secret_name}":                                    {"get", "put", "delete"},
	"/orgs/{org}/FAMILY/secrets/{secret_name}/repositories":                       {"get", "put"},
	"/orgs/{org}/FAMILY/secrets/{secret_name}/repositories/{repository_id}":       {"put", "delete"},
	"/repos/{owner}/{repo}":                                                       {"get"},
	"/repos/{owner}/{repo}/installation":                                          {"get"},
	"/repos/{owner}/{repo}/FAMILY/secrets":                                        {"get"},
	"/repos/{owner}/{repo}/FAMILY/secrets/public-key":                             {"get"},
	"/repos/{owner}/{repo}/FAMILY/secrets/{secret_name}":                          {"get", "put", "delete"},
	"/repos/{owner}/{repo}/environments":                                          {"get"},
	"/repos/{owner}/{repo}/environments/{environment_name}":                       {"get", "put", "delete"},
	"/repos/{owner}/{repo}/environments/{environment_name}/secrets":               {"get"},
	"/repos/{owner}/{repo}/environments/{environment_name}/secrets/public-key":    {"get"},
	"/repos/{owner}/{repo}/environments/{environment_name}/secrets/{secret_name}": {"get", "put", "delete"},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: octokit PATH-TO-api.github.com.json >openapi.json")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "octokit:", err)
		os.Exit(1)
	}
}

type object = map[string]any

func run(path string, out io.Writer) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var whole object
	if err := json.Unmarshal(raw, &whole); err != nil {
		return err
	}
	trimmed, err := extract(whole)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	return encoder.Encode(trimmed)
}

// extract returns a description with the served operations only.
func extract(whole object) (object, error) {
	paths := object{}
	for pattern, methods := range served {
		for _, path := range families(pattern) {
			operations, ok := lookup(whole, "paths", path)
			if !ok {
				return nil, fmt.Errorf("the description has no path %s", path)
			}
			kept, err := operationsOf(operations, methods)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			paths[path] = kept
		}
	}
	components, err := reachable(whole, paths)
	if err != nil {
		return nil, err
	}
	info, _ := whole["info"].(object)
	return object{
		"openapi":    whole["openapi"],
		"info":       object{"title": "GitHub's OpenAPI description, in part", "version": info["version"], "license": info["license"]},
		"paths":      paths,
		"components": components,
	}, nil
}

func families(pattern string) []string {
	if !strings.Contains(pattern, "FAMILY") {
		return []string{pattern}
	}
	var paths []string
	for _, family := range []string{"actions", "codespaces", "dependabot"} {
		paths = append(paths, strings.ReplaceAll(pattern, "FAMILY", family))
	}
	return paths
}

func operationsOf(operations object, methods []string) (object, error) {
	kept := object{}
	for _, method := range methods {
		operation, ok := operations[method].(object)
		if !ok {
			return nil, fmt.Errorf("the description has no method %s", method)
		}
		kept[method] = strip(object{"operationId": operation["operationId"], "responses": operation["responses"]})
	}
	return kept, nil
}

// dropped are the keys of no use to a validator. A response must keep its
// description, so that is emptied instead.
var dropped = []string{"example", "examples", "externalDocs", "x-github-breaking-changes", "headers", "links"}

// strip returns a copy without what is dropped. A key of a "properties" object
// is a name, whatever it looks like.
func strip(node any) any {
	switch n := node.(type) {
	case []any:
		out := make([]any, len(n))
		for i, item := range n {
			out[i] = strip(item)
		}
		return out
	case object:
		out := object{}
		for key, value := range n {
			switch {
			case key == "properties":
				out[key] = stripEach(value)
			case key == "description":
				if _, isResponse := n["content"]; isResponse || len(n) == 1 {
					out[key] = ""
				}
			case !slices.Contains(dropped, key):
				out[key] = strip(value)
			}
		}
		return out
	}
	return node
}

func stripEach(node any) any {
	properties, _ := node.(object)
	out := object{}
	for name, schema := range properties {
		out[name] = strip(schema)
	}
	return out
}

// reachable returns the components that the paths refer to, directly or not.
func reachable(whole, paths object) (object, error) {
	components := object{}
	pending := references(paths)
	for len(pending) > 0 {
		reference := pending[0]
		pending = pending[1:]
		parts := strings.Split(strings.TrimPrefix(reference, "#/components/"), "/")
		if len(parts) != 2 {
			return nil, fmt.Errorf("the reference %s leads elsewhere", reference)
		}
		kind, name := parts[0], parts[1]
		if _, known := lookup(components, kind, name); known {
			continue
		}
		component, ok := lookup(whole, "components", kind, name)
		if !ok {
			return nil, fmt.Errorf("the reference %s leads nowhere", reference)
		}
		stripped := strip(component)
		if components[kind] == nil {
			components[kind] = object{}
		}
		components[kind].(object)[name] = stripped
		pending = append(pending, references(stripped)...)
	}
	return components, nil
}

func references(node any) []string {
	var found []string
	switch n := node.(type) {
	case []any:
		for _, item := range n {
			found = append(found, references(item)...)
		}
	case object:
		for key, value := range n {
			if text, ok := value.(string); ok && key == "$ref" {
				found = append(found, text)
				continue
			}
			found = append(found, references(value)...)
		}
	}
	return found
}

func lookup(node object, keys ...string) (object, bool) {
	for _, key := range keys {
		next, ok := node[key].(object)
		if !ok {
			return nil, false
		}
		node = next
	}
	return node, true
}
