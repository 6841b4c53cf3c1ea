package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// description is a whole one in small: every served path, one schema behind
// another, and things that are not wanted.
func description(t *testing.T) object {
	t.Helper()
	paths := object{"/unwanted": object{"get": object{"operationId": "unwanted"}}}
	for pattern, methods := range served {
		for _, path := range families(pattern) {
			operations := object{"patch": object{"operationId": "unwanted"}}
			for _, method := range methods {
				operations[method] = object{
					"operationId": method + path, "summary": "unwanted",
					"responses": object{"200": object{"description": "unwanted", "content": object{"application/json": object{
						"schema": object{"$ref": "#/components/schemas/outer"}, "examples": object{"x": "unwanted"},
					}}}},
				}
			}
			paths[path] = operations
		}
	}
	raw, err := json.Marshal(object{
		"openapi": "3.0.3", "info": object{"version": "1.2.3", "license": object{"name": "MIT"}}, "paths": paths,
		"components": object{"schemas": object{
			"outer":    object{"type": "object", "properties": object{"description": object{"type": "string", "description": "unwanted"}, "example": object{"$ref": "#/components/schemas/inner"}}},
			"inner":    object{"type": "array", "items": object{"$ref": "#/components/schemas/outer"}},
			"unwanted": object{"type": "string"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var whole object
	if err := json.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	return whole
}

func TestExtract(t *testing.T) {
	t.Parallel()
	trimmed, err := extract(description(t))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(trimmed)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "unwanted") {
		t.Errorf("something unwanted is in %s", raw)
	}
	outer, ok := lookup(trimmed, "components", "schemas", "outer")
	if !ok {
		t.Fatal("a schema is missing")
	}
	if _, ok := lookup(trimmed, "components", "schemas", "inner"); !ok {
		t.Error("a schema behind another is missing")
	}
	properties, _ := outer["properties"].(object)
	if properties["description"] == nil || properties["example"] == nil {
		t.Errorf("properties were taken for annotations: %v", outer)
	}
}

func TestWhatTheDescriptionLacks(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(object){
		"the description has no path /app":         func(w object) { delete(w["paths"].(object), "/app") },
		"/app: the description has no method get":  func(w object) { delete(w["paths"].(object)["/app"].(object), "get") },
		"the reference #/components/schemas/outer": func(w object) { delete(w["components"].(object)["schemas"].(object), "outer") },
	} {
		whole := description(t)
		change(whole)
		if _, err := extract(whole); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("got %v; want %s", err, name)
		}
	}
}

func TestFamilies(t *testing.T) {
	t.Parallel()
	if got := families("/orgs/{org}/FAMILY/secrets"); !slices.Equal(got, []string{"/orgs/{org}/actions/secrets", "/orgs/{org}/codespaces/secrets", "/orgs/{org}/dependabot/secrets"}) {
		t.Errorf("got %v", got)
	}
}
