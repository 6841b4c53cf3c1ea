package queries

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// sources is what the product's source says of its documents.
type sources struct {
	queries     []query
	collections map[string][]string // declared in each directory
	expiring    map[string]bool     // directories that set a time at which a document expires
}

// query is a place where a docstore.Query is made.
type query struct {
	file        string // in the checkout
	line        int
	first, last int // lines of the function that it is in; 0 where it is in none
}

func (q query) String() string { return q.file + ":" + strconv.Itoa(q.line) }

// reached reports whether a listing came out of the query's function.
func (q query) reached(callers map[Place]bool) bool {
	for caller := range callers {
		if strings.HasSuffix(caller.File, "/"+q.file) && q.first <= caller.Line && caller.Line <= q.last {
			return true
		}
	}
	return false
}

// storePath is the port's, and what is below it are its implementations.
const storePath = "shared/docstore"

// readSources reads the product: all code but the port, the tests and what only
// tests link.
func readSources(fsys fs.FS) (sources, error) {
	s := sources{collections: map[string][]string{}, expiring: map[string]bool{}}
	for _, top := range []string{"functions", "scripts", "shared"} {
		err := fs.WalkDir(fsys, top, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (name == storePath || entry.Name() == "testdata"):
				return fs.SkipDir
			case entry.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			text, err := fs.ReadFile(fsys, name)
			if err != nil {
				return err
			}
			return s.read(name, text)
		})
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *sources) read(name string, text []byte) error {
	positions := token.NewFileSet()
	file, err := parser.ParseFile(positions, name, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	port := localName(file)
	if port == "" {
		return nil
	}
	line := func(p token.Pos) int { return positions.Position(p).Line }
	dir := path.Dir(name)
	for _, declaration := range file.Decls {
		var first, last int
		if function, ok := declaration.(*ast.FuncDecl); ok {
			first, last = line(function.Pos()), line(function.End())
		}
		ast.Inspect(declaration, func(n ast.Node) bool {
			if made(n, port) {
				s.queries = append(s.queries, query{name, line(n.Pos()), first, last})
			}
			if collection := declared(n, port); collection != "" {
				s.collections[dir] = append(s.collections[dir], collection)
			}
			s.expiring[dir] = s.expiring[dir] || expires(n)
			return true
		})
	}
	return nil
}

// localName is what the file calls the port; empty if it does not import it.
func localName(file *ast.File) string {
	for _, spec := range file.Imports {
		if spec.Path.Value != strconv.Quote("github.com/sealpost/sealpost/"+storePath) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(storePath)
	}
	return ""
}

// made reports whether the node makes a query: a literal of one or of several, a
// variable without a value, or a call of new.
func made(n ast.Node, port string) bool {
	switch n := n.(type) {
	case *ast.CompositeLit:
		return n.Type != nil && mentions(n.Type, port, "Query")
	case *ast.ValueSpec:
		return n.Type != nil && len(n.Values) == 0 && mentions(n.Type, port, "Query")
	case *ast.CallExpr:
		called, ok := n.Fun.(*ast.Ident)
		return ok && called.Name == "new" && len(n.Args) == 1 && mentions(n.Args[0], port, "Query")
	}
	return false
}

// mentions reports whether a type is the port's of that name, or is made of it.
func mentions(typ ast.Node, port, name string) bool {
	found := false
	ast.Inspect(typ, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == name {
			x, ok := s.X.(*ast.Ident)
			found = found || ok && x.Name == port
		}
		return !found
	})
	return found
}

// declared returns the name of the collection that a literal declares.
func declared(n ast.Node, port string) string {
	literal, ok := n.(*ast.CompositeLit)
	if !ok || literal.Type == nil || !mentions(literal.Type, port, "Collection") {
		return ""
	}
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok || fmt.Sprint(pair.Key) != "Name" {
			continue
		}
		if text, ok := pair.Value.(*ast.BasicLit); ok {
			name, _ := strconv.Unquote(text.Value) // the parser has read it
			return name
		}
	}
	return "a collection whose name is not a literal"
}

// expires reports whether the node sets a field called ExpireAt.
func expires(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AssignStmt:
		return slices.ContainsFunc(n.Lhs, func(e ast.Expr) bool {
			s, ok := e.(*ast.SelectorExpr)
			return ok && s.Sel.Name == "ExpireAt"
		})
	case *ast.KeyValueExpr:
		return fmt.Sprint(n.Key) == "ExpireAt"
	}
	return false
}
