package arch

import (
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"strings"
)

// checkGlobals finds package-level variables that can change: those without a
// value of their own, and those that some line changes. Tables, compiled
// patterns and errors, set once where they stand, are no state.
func checkGlobals(t *tree) (findings []string) {
	for dir, p := range t.packages {
		if len(p.files) == 0 || excepted(t.law.changeGlobals, dir) {
			continue
		}
		info, scope := t.resolve(p)
		global := func(e ast.Expr) bool {
			object, ok := info.Uses[root(e)].(*types.Var)
			return ok && object.Parent() == scope
		}
		for _, f := range p.files {
			findings = append(findings, t.unset(f)...)
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				for _, e := range changed(n) {
					if global(e) {
						findings = append(findings, t.finding(n, "%s changes the package's variable %s", dir, root(e).Name))
					}
				}
				return true
			})
		}
	}
	return findings
}

// unset finds package-level variables without a value, but for embedded files.
func (t *tree) unset(f *goFile) (findings []string) {
	for _, decl := range f.syntax.Decls {
		block, ok := decl.(*ast.GenDecl)
		if !ok || block.Tok != token.VAR {
			continue
		}
		for _, spec := range block.Specs {
			v, ok := spec.(*ast.ValueSpec)
			if ok && len(v.Values) == 0 && !embeds(block.Doc) && !embeds(v.Doc) {
				findings = append(findings, t.finding(v, "the package's variable %s has no value, so something must change it", v.Names[0].Name))
			}
		}
	}
	return findings
}

func embeds(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, comment := range doc.List {
		if strings.HasPrefix(comment.Text, "//go:embed ") {
			return true
		}
	}
	return false
}

// changed returns what a node writes to, or lets others write to.
func changed(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (f.Name == "delete" || f.Name == "clear" || f.Name == "copy") {
			return n.Args[:1]
		}
	}
	return nil
}

// root returns the variable at the left end of x.y[i].z, or nil.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// resolve finds out which declaration each name of a package stands for. It
// knows nothing of what the package imports, and need not.
func (t *tree) resolve(p *pkg) (*types.Info, *types.Scope) {
	files := make([]*ast.File, 0, len(p.files))
	for _, f := range p.files {
		files = append(files, f.syntax)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	checker := types.Config{
		Importer: emptyImporter{},
		Error:    func(error) {}, // imported names are all unknown to it
	}
	checked, _ := checker.Check(p.dir, t.fset, files, info)
	return info, checked.Scope()
}

type emptyImporter struct{}

func (emptyImporter) Import(imported string) (*types.Package, error) {
	p := types.NewPackage(imported, localName(imported))
	p.MarkComplete()
	return p, nil
}

// checkExposure finds types of an SDK in what an adapter gives out: results of
// exported functions and methods, exported fields, methods of interfaces.
// Constructors may take them.
func checkExposure(t *tree) (findings []string) {
	for dir, p := range t.packages {
		if own, _ := t.law.layerOf(dir); own != adapter {
			continue
		}
		for _, f := range p.files {
			for _, decl := range f.syntax.Decls {
				for name, e := range givenOut(decl) {
					if sdk := f.thirdPartyType(e); sdk != "" && !excepted(t.law.exposeSDK, path.Join(dir, name)) {
						findings = append(findings, t.finding(e, "%s shows a type of %s", name, sdk))
					}
				}
			}
		}
	}
	return findings
}

// givenOut returns the type expressions that callers of a declaration get to
// see, by the declared name.
func givenOut(decl ast.Decl) map[string]ast.Node {
	out := map[string]ast.Node{}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Type.Results != nil && receiverExported(d) {
			out[d.Name.Name] = d.Type.Results
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if s, ok := spec.(*ast.TypeSpec); ok && s.Name.IsExported() {
				addFields(out, s)
			}
		}
	}
	return out
}

func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	name := root(d.Recv.List[0].Type)
	return name != nil && name.IsExported()
}

func addFields(out map[string]ast.Node, s *ast.TypeSpec) {
	var fields *ast.FieldList
	switch body := s.Type.(type) {
	case *ast.StructType:
		fields = body.Fields
	case *ast.InterfaceType:
		fields = body.Methods
	default:
		out[s.Name.Name] = s.Type
		return
	}
	for _, field := range fields.List {
		if len(field.Names) == 0 {
			out[s.Name.Name] = field.Type
		}
		for _, name := range field.Names {
			if name.IsExported() {
				out[s.Name.Name+"."+name.Name] = field.Type
			}
		}
	}
}

// thirdPartyType returns the import path of the first third-party type below a
// node, or "".
func (f *goFile) thirdPartyType(n ast.Node) (found string) {
	ast.Inspect(n, func(n ast.Node) bool {
		if from, _ := f.selected(n); found == "" && thirdParty(from) {
			found = from
		}
		return true
	})
	return found
}
