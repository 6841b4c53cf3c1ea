package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// modulePath is what the imports of our own packages start with.
const modulePath = "github.com/sealpost/sealpost"

// tree is a checkout, as far as the rules look at it.
type tree struct {
	entries  []string        // names at the top
	files    []textFile      // what people write, whatever the language
	packages map[string]*pkg // by directory
	fset     *token.FileSet
	law      law
}

type textFile struct{ path, text string }

// pkg is one directory of Go files.
type pkg struct {
	dir   string
	files []*goFile // without the tests
	tests []*goFile
}

type goFile struct {
	path    string
	syntax  *ast.File
	imports map[string]string // path by the name that the file uses
}

// readTree reads the files of a checkout that a rule may look at, to be held
// to the law.
func readTree(fsys fs.FS, law law) (*tree, error) {
	t := &tree{fset: token.NewFileSet(), packages: map[string]*pkg{}, law: law}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		t.entries = append(t.entries, entry.Name())
	}
	err = fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir():
			return t.read(fsys, name)
		case ignored(name):
			return fs.SkipDir
		}
		return nil
	})
	return t, err
}

// ignored reports whether a directory is none of the go command's, or made.
func ignored(dir string) bool {
	base := path.Base(dir)
	return dir != "." && (base == "testdata" || slices.Contains(made, dir) || base[0] == '.' || base[0] == '_')
}

func (t *tree) read(fsys fs.FS, name string) error {
	isGo := path.Ext(name) == ".go"
	if !isGo && path.Ext(name) != ".tf" && name != "Makefile" {
		return nil
	}
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	t.files = append(t.files, textFile{name, string(text)})
	if !isGo {
		return nil
	}
	syntax, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.add(&goFile{path: name, syntax: syntax, imports: importsOf(syntax)})
	return nil
}

func (t *tree) add(f *goFile) {
	dir := path.Dir(f.path)
	if t.packages[dir] == nil {
		t.packages[dir] = &pkg{dir: dir}
	}
	p := t.packages[dir]
	if strings.HasSuffix(f.path, "_test.go") {
		p.tests = append(p.tests, f)
	} else {
		p.files = append(p.files, f)
	}
}

// code calls visit with every node of every file that is not a test.
func (t *tree) code(visit func(p *pkg, f *goFile, n ast.Node)) {
	for _, p := range t.packages {
		for _, f := range p.files {
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				if n != nil {
					visit(p, f, n)
				}
				return true
			})
		}
	}
}

// versionSegment is a path element that gives a package no name: v66, apiv1.
var versionSegment = regexp.MustCompile(`^(api)?v[0-9]+(beta[0-9]+)?$`)

func importsOf(file *ast.File) map[string]string {
	imports := map[string]string{}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic(err) // the parser has read it as a string
		}
		name := localName(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "_" || name == "." {
			name += imported // keeps it apart from the others
		}
		imports[name] = imported
	}
	return imports
}

// localName guesses the name of an imported package from its path.
func localName(imported string) string {
	base := path.Base(imported)
	if versionSegment.MatchString(base) && imported != base {
		base = path.Base(path.Dir(imported))
	}
	return strings.TrimSuffix(strings.TrimPrefix(base, "go-"), ".v3")
}

// selected returns the path and the name that a selector on an imported
// package stands for: "time", "Now".
func (f *goFile) selected(n ast.Node) (imported, name string) {
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	x, ok := selector.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return f.imports[x.Name], selector.Sel.Name
}

// covers reports whether a path of the law, which may end in /... , stands for
// the directory or import path.
func covers(pattern, name string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == below || strings.HasPrefix(name, below+"/")
	}
	return name == pattern
}

func excepted(list []exception, dir string) bool {
	return slices.ContainsFunc(list, func(e exception) bool { return covers(e.path, dir) })
}

// layerOf finds the package's row; the longest path wins.
func (l law) layerOf(dir string) (layer, bool) {
	var best row
	for _, r := range l.packages {
		if covers(r.path, dir) && len(r.path) > len(best.path) {
			best = r
		}
	}
	return best.layer, best.path != ""
}
