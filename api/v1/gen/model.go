package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/api/v1/internal/foreign"
)

// model is what both documents are made from.
type model struct {
	objects []object // Config first, then in the order of their use
}

type object struct {
	name    string // of the Go type
	path    string // where it stands: mcpServers.NAME.timeouts
	doc     string
	fields  []field
	foreign map[string]string
}

type field struct {
	name string // the key
	doc  string
	typ  reflect.Type
	tag  reflect.StructTag
}

func (f field) aliases() []string {
	if alias := f.tag.Get("alias"); alias != "" {
		return strings.Split(alias, ",")
	}
	return nil
}

func readModel(dir string) (*model, error) {
	docs, err := readDocs(dir)
	if err != nil {
		return nil, err
	}
	m := &model{}
	if err := m.add(reflect.TypeFor[v1.Config](), "", docs); err != nil {
		return nil, err
	}
	return m, nil
}

// add appends t and the types that it uses.
func (m *model) add(t reflect.Type, path string, docs map[string]string) error {
	o := object{name: t.Name(), path: path, doc: docs[t.Name()]}
	switch t {
	case reflect.TypeFor[v1.Config]():
		o.foreign = foreign.Config
	case reflect.TypeFor[v1.Server]():
		o.foreign = foreign.Server
	}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		doc := docs[t.Name()+"."+f.Name]
		if name == "" || doc == "" {
			return fmt.Errorf("%s.%s needs a doc comment and a json tag", t.Name(), f.Name)
		}
		if rest, ok := strings.CutPrefix(doc, f.Name+" "); ok {
			doc = name + " " + rest
		}
		o.fields = append(o.fields, field{name: name, doc: doc, typ: f.Type, tag: f.Tag})
	}
	m.objects = append(m.objects, o)
	for _, f := range o.fields {
		if elem, step := element(f.typ); elem.Kind() == reflect.Struct {
			child := strings.TrimPrefix(path+"."+f.name+step, ".")
			if err := m.add(elem, child, docs); err != nil {
				return err
			}
		}
	}
	return nil
}

// element unwraps pointers, lists and maps, and returns what that adds to a
// path.
func element(t reflect.Type) (elem reflect.Type, step string) {
	for {
		switch t.Kind() {
		case reflect.Pointer:
		case reflect.Slice:
			step += "[]"
		case reflect.Map:
			step += ".NAME"
		default:
			return t, step
		}
		t = t.Elem()
	}
}

// sources are the files that hold the types of the configuration.
var sources = []string{"config.go", "process.go", "access.go", "overload.go", "cache.go", "balance.go", "telemetry.go", "log.go"}

// readDocs returns the doc comments of types and their fields.
func readDocs(dir string) (map[string]string, error) {
	docs := map[string]string{}
	for _, source := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, source), nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		addDocs(docs, file)
	}
	return docs, nil
}

func addDocs(docs map[string]string, file *ast.File) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			typ, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			docs[typ.Name.Name] = oneLine(gen.Doc)
			for _, f := range structFields(typ) {
				for _, name := range f.Names {
					docs[typ.Name.Name+"."+name.Name] = oneLine(f.Doc)
				}
			}
		}
	}
}

func structFields(t *ast.TypeSpec) []*ast.Field {
	if s, ok := t.Type.(*ast.StructType); ok {
		return s.Fields.List
	}
	return nil
}

func oneLine(doc *ast.CommentGroup) string {
	return strings.Join(strings.Fields(doc.Text()), " ")
}
