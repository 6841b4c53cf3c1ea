package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sealpost/sealpost/shared/catalogue"
)

// rule is one law: it returns a finding for each breach.
type rule struct {
	name  string
	check func(*tree) []string
}

// rules is every one. Each has a tree that breaks it in testdata.
var rules = []rule{
	{"layers", checkLayers},
	{"dependencies", checkDependencies},
	{"environment", checkEnvironment},
	{"time", checkTime},
	{"goroutines", checkGoroutines},
	{"reveal", checkReveal},
	{"globals", checkGlobals},
	{"exposure", checkExposure},
	{"docs", checkDocs},
	{"markers", checkMarkers},
	{"top", checkTop},
	{"functions", checkFunctions},
}

// finding says where something is and what is wrong there.
func (t *tree) finding(at ast.Node, format string, args ...any) string {
	position := t.fset.Position(at.Pos())
	return fmt.Sprintf("%s:%d: ", position.Filename, position.Line) + fmt.Sprintf(format, args...)
}

// checkLayers holds every package to its row: known, and importing only what
// its layer may.
func checkLayers(t *tree) (findings []string) {
	for dir, p := range t.packages {
		own, ok := t.law.layerOf(dir)
		if !ok {
			findings = append(findings, fmt.Sprintf("%s: no row in the table of packages", dir))
			continue
		}
		for _, f := range p.files {
			for _, spec := range f.syntax.Imports {
				if fault := t.layerFault(dir, own, importPath(spec)); fault != "" {
					findings = append(findings, t.finding(spec, "%s", fault))
				}
			}
		}
	}
	return append(findings, checkNet(t)...)
}

// pureNet is what package net has that only looks at text.
var pureNet = []string{"SplitHostPort", "JoinHostPort", "ParseIP", "ParseCIDR", "IP", "IPNet"}

// checkNet finds uses of package net that reach out, in the layers in noHTTP.
func checkNet(t *tree) (findings []string) {
	t.code(func(p *pkg, f *goFile, n ast.Node) {
		own, _ := t.law.layerOf(p.dir)
		from, name := f.selected(n)
		if from == "net" && slices.Contains(noHTTP, own) && !slices.Contains(pureNet, name) {
			findings = append(findings, t.finding(n, "the %s layer may not use net.%s", own, name))
		}
	})
	return findings
}

func importPath(spec *ast.ImportSpec) string { return strings.Trim(spec.Path.Value, "`\"") }

// network are the standard packages that the layers in noHTTP do without.
var network = []string{"net/http/...", "database/sql/...", "os/exec", "net/rpc/...", "net/smtp"}

func (t *tree) layerFault(dir string, own layer, imported string) string {
	if slices.Contains([]string{"unsafe", "C", "plugin"}, imported) {
		return "nobody imports " + imported
	}
	if slices.Contains(noHTTP, own) && slices.ContainsFunc(network, func(n string) bool { return covers(n, imported) }) {
		return fmt.Sprintf("the %s layer may not import %s", own, imported)
	}
	target, ours := strings.CutPrefix(imported, modulePath+"/")
	if !ours {
		return ""
	}
	its, ok := t.law.layerOf(target)
	switch {
	case !ok:
		return "" // said where that package stands
	case !slices.Contains(may[own], its):
		return fmt.Sprintf("the %s layer may not import %s, which is %s", own, target, its)
	case its == function && !covers("scripts/sealpost/...", dir) && !covers("test/...", dir):
		return fmt.Sprintf("only the local server imports functions; %s imports %s", dir, target)
	}
	return ""
}

// checkDependencies holds every third-party import to the table.
func checkDependencies(t *tree) (findings []string) {
	for dir, p := range t.packages {
		for _, f := range p.files {
			for _, spec := range f.syntax.Imports {
				if imported := importPath(spec); thirdParty(imported) && !t.law.admitted(imported, dir) {
					findings = append(findings, t.finding(spec, "%s may not import %s", dir, imported))
				}
			}
		}
	}
	return findings
}

// thirdParty reports whether a path is neither ours nor the standard library's.
func thirdParty(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return strings.Contains(first, ".") && !covers(modulePath+"/...", imported)
}

// admitted goes by the most particular row that names the import.
func (l law) admitted(imported, dir string) bool {
	var best dependency
	for _, d := range l.dependencies {
		if covers(d.path+"/...", imported) && len(d.path) > len(best.path) {
			best = d
		}
	}
	return slices.ContainsFunc(best.users, func(user string) bool { return covers(user, dir) })
}

// checkSelectors forbids names of one standard package outside the exceptions.
func checkSelectors(t *tree, imported string, names []string, except []exception) (findings []string) {
	t.code(func(p *pkg, f *goFile, n ast.Node) {
		from, name := f.selected(n)
		if from == imported && slices.Contains(names, name) && !excepted(except, p.dir) {
			findings = append(findings, t.finding(n, "%s may not use %s.%s", p.dir, imported, name))
		}
	})
	return findings
}

func checkEnvironment(t *tree) []string {
	names := []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Clearenv"}
	return append(checkSelectors(t, "os", names, t.law.readEnvironment),
		checkSelectors(t, "syscall", names, t.law.readEnvironment)...)
}

func checkTime(t *tree) []string {
	names := []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
	return checkSelectors(t, "time", names, t.law.readTime)
}

func checkGoroutines(t *tree) (findings []string) {
	t.code(func(p *pkg, _ *goFile, n ast.Node) {
		if _, ok := n.(*ast.GoStmt); ok && !excepted(t.law.startGoroutines, p.dir) {
			findings = append(findings, t.finding(n, "%s may not start a goroutine that nothing waits for", p.dir))
		}
	})
	return findings
}

// checkReveal goes by the method's name: nothing else is called so.
func checkReveal(t *tree) (findings []string) {
	t.code(func(p *pkg, _ *goFile, n ast.Node) {
		selector, ok := n.(*ast.SelectorExpr)
		if ok && selector.Sel.Name == "Reveal" && !excepted(t.law.reveal, p.dir) {
			findings = append(findings, t.finding(n, "%s may not reveal a secret's value", p.dir))
		}
	})
	return findings
}

// checkDocs wants one package doc a package, in the form that go doc shows.
func checkDocs(t *tree) (findings []string) {
	for dir, p := range t.packages {
		files := p.files
		if len(files) == 0 {
			files = p.tests
		}
		var docs []string
		for _, f := range files {
			if f.syntax.Doc != nil {
				docs = append(docs, f.syntax.Doc.Text())
			}
		}
		name := files[0].syntax.Name.Name
		want := "Package " + name + " "
		if name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		switch {
		case len(docs) != 1:
			findings = append(findings, fmt.Sprintf("%s: %d package docs, not 1", dir, len(docs)))
		case !strings.HasPrefix(docs[0], want):
			findings = append(findings, fmt.Sprintf("%s: the package doc does not start with %q", dir, want))
		}
	}
	return findings
}

// marker is a note to oneself. Its text is put together, so that this file
// holds none.
var marker = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

// checkMarkers finds notes to oneself, and with them the context that is one.
func checkMarkers(t *tree) (findings []string) {
	for _, file := range t.files {
		for i, line := range strings.Split(file.text, "\n") {
			if found := marker.FindString(line); found != "" {
				findings = append(findings, fmt.Sprintf("%s:%d: %s", file.path, i+1, found))
			}
		}
	}
	return findings
}

func checkTop(t *tree) (findings []string) {
	for _, name := range t.entries {
		if name[0] != '.' && !slices.Contains(top, name) && !slices.Contains(made, name) {
			findings = append(findings, name+": nothing of this name belongs at the top")
		}
	}
	return findings
}

// checkFunctions holds the directories under functions/ to the table, once there
// are any.
func checkFunctions(t *tree) (findings []string) {
	var dirs []string
	for dir := range t.packages {
		if covers("functions/...", dir) {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil
	}
	for _, row := range t.law.functions {
		dir := "functions/" + row.Name
		p := t.packages[dir]
		if p == nil {
			findings = append(findings, dir+": in the catalogue, but there is no such package")
			continue
		}
		dirs = slices.DeleteFunc(dirs, func(d string) bool { return d == dir })
		findings = append(findings, functionFaults(p, row)...)
	}
	for _, dir := range dirs {
		findings = append(findings, dir+": not in the catalogue")
	}
	return findings
}

// functionFaults checks one function's package against its row.
func functionFaults(p *pkg, row catalogue.Function) (faults []string) {
	var doc string
	var registered []string
	for _, f := range p.files {
		doc += f.syntax.Doc.Text()
		registered = append(registered, registrations(f)...)
	}
	for _, route := range row.Routes {
		if !strings.Contains(doc, route.Method) || !strings.Contains(doc, route.Path) {
			faults = append(faults, fmt.Sprintf("%s: the package doc does not name its route %s %s", p.dir, route.Method, route.Path))
		}
	}
	for _, trigger := range []string{row.Topic, row.Schedule} {
		if !strings.Contains(doc, trigger) {
			faults = append(faults, fmt.Sprintf("%s: the package doc does not name its trigger %s", p.dir, trigger))
		}
	}
	if !slices.Equal(registered, []string{row.EntryPoint}) {
		faults = append(faults, fmt.Sprintf("%s: init registers %q with the Functions Framework, not %q alone", p.dir, registered, row.EntryPoint))
	}
	return faults
}

// registrations returns the names that the init functions of a file register,
// as literals, since Google's buildpack and people find them so.
func registrations(f *goFile) (names []string) {
	const framework = "github.com/GoogleCloudPlatform/functions-framework-go/functions"
	for _, decl := range f.syntax.Decls {
		function, ok := decl.(*ast.FuncDecl)
		if !ok || function.Name.Name != "init" || function.Recv != nil {
			continue
		}
		ast.Inspect(function, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			if from, _ := f.selected(call.Fun); from == framework {
				names = append(names, literal(call.Args[0]))
			}
			return true
		})
	}
	return names
}

func literal(e ast.Expr) string {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		if text, err := strconv.Unquote(lit.Value); err == nil {
			return text
		}
	}
	return "(no literal)"
}
