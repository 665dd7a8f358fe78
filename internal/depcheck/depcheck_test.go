// Package depcheck holds the import rules of the house (docs/design.md) as a test.
package depcheck

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sealedblob/sealedblob"

// rule is what a package may import, directly. Patterns ending in /... cover
// everything below. The standard library is always allowed.
type rule struct {
	ours, third []string
}

var (
	age     = "filippo.io/age/..."
	edwards = "filippo.io/edwards25519"
	jose    = "github.com/go-jose/go-jose/v4/..."
	xcrypto = "golang.org/x/crypto/..."
	xsys    = "golang.org/x/sys/unix"
	jsonv2  = "github.com/go-json-experiment/json/..."
	redis   = "github.com/redis/rueidis"
	rueidis = "github.com/redis/rueidis"
	cobra   = "github.com/spf13/cobra"
	pgx     = "github.com/jackc/pgx/v5/..."
	xterm   = "golang.org/x/term"
)

var rules = map[string]rule{
	"seal":                  {third: []string{age, edwards, jose, xcrypto}},
	"policy":                {third: []string{jsonv2}},
	"replay":                {},
	"replay/replaytest":     {ours: []string{"replay"}},
	"replay/filestore":      {ours: []string{"replay"}, third: []string{xsys}},
	"replay/internal/group": {ours: []string{"replay"}},
	"replay/pgstore":        {ours: []string{"replay", "replay/internal/group"}, third: []string{pgx}},
	"replay/redisstore":     {ours: []string{"replay", "replay/internal/group"}, third: []string{rueidis}},
	"session":               {ours: []string{"seal", "policy", "replay"}},
	"bayeux":                {third: []string{jsonv2}},
	"bayeux/ext":            {ours: []string{"bayeux"}, third: []string{jsonv2}},
	"bayeux/redisbroker":    {third: []string{redis}},
	"bayeux/sessionext":     {ours: []string{"seal", "bayeux", "session"}},
	"client":                {},
	"cmd/blobctl": {
		ours:  []string{"seal", "policy", "replay", "replay/filestore", "replay/redisstore", "replay/pgstore", "session", "internal/shop", "internal/demo"},
		third: []string{cobra, xterm},
	},
	"internal/shop":       {ours: []string{"seal", "policy", "replay", "session", "bayeux", "bayeux/sessionext", "client"}},
	"internal/demo":       {ours: []string{"seal", "session", "bayeux", "bayeux/sessionext", "internal/shop"}},
	"internal/testkit":    {ours: []string{"seal", "policy"}},
	"internal/nodes":      {ours: []string{"policy", "replay", "session", "internal/testkit"}},
	"internal/services":   {},
	"internal/racing":     {ours: []string{"replay"}},
	"internal/faultproxy": {},
	"internal/depcheck":   {},
	"internal/readme":     {},
	"fuzz":                {},
	"model":               {}, // all tests
	"vectors":             {},
	"vectors/gen":         {ours: []string{"seal"}, third: []string{age, jose}}, // its own sealing; seal only makes the ring
	"test/peers":          {ours: []string{"bayeux", "bayeux/ext"}},
	"test/proxies":        {ours: []string{"bayeux", "bayeux/sessionext", "policy", "replay", "seal", "session"}},
	"test/soak":           {ours: []string{"bayeux"}},
	"examples/...":        {ours: []string{"seal", "policy", "replay", "replay/filestore", "session", "bayeux", "bayeux/sessionext", "client", "examples/cart"}},
}

// nested are the modules of their own, but for bench, where peers are the point.
var nested = map[string]rule{
	"adapters/scs":        {ours: []string{"policy", "session"}, third: []string{"github.com/alexedwards/scs/v2"}},
	"adapters/gorilla":    {ours: []string{"policy", "session"}, third: []string{"github.com/gorilla/sessions"}},
	"adapters/otel":       {ours: []string{"session"}, third: []string{"go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/metric"}},
	"adapters/prometheus": {ours: []string{"session"}, third: []string{"github.com/prometheus/client_golang/prometheus"}},
	"examples/web": {
		ours:  []string{"seal", "policy", "replay/filestore", "session", "client", "examples/cart"},
		third: []string{"github.com/go-chi/chi/v5", "github.com/labstack/echo/v4"},
	},
}

type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestImports(t *testing.T) {
	pkgs := list(t)
	if len(pkgs) < 10 {
		t.Fatalf("go list found %d packages; the check would be empty", len(pkgs))
	}
	for _, p := range pkgs {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		r, ok := find(name)
		if !ok {
			t.Errorf("%s has no import rule; add one here and say why in docs/design.md", name)
			continue
		}
		for _, violation := range violations(r, p.Imports) {
			t.Errorf("%s imports %s, which its rule does not allow", name, violation)
		}
	}
}

// Their sources are read and not listed by go, which would need their peers.
func TestImportsOfNestedModules(t *testing.T) {
	mods, err := filepath.Glob("../../*/*/go.mod")
	if err != nil || len(mods) != len(nested) {
		t.Errorf("%d nested modules with a rule, there are %v, %v", len(nested), mods, err)
	}
	for folder, r := range nested {
		imports, err := sourceImports(filepath.Join("../..", folder))
		if err != nil || len(imports) == 0 {
			t.Errorf("%s: %d imports, %v", folder, len(imports), err)
		}
		for _, violation := range violations(r, imports) {
			t.Errorf("%s imports %s, which its rule does not allow", folder, violation)
		}
	}
}

// sourceImports lists what the files below a folder import, but for tests.
func sourceImports(folder string) (out []string, err error) {
	err = filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			out = append(out, strings.Trim(i.Path.Value, `"`))
		}
		return nil
	})
	return out, err
}

func find(name string) (rule, bool) {
	for pattern, r := range rules {
		if match(pattern, name) {
			return r, true
		}
	}
	return rule{}, false
}

func violations(r rule, imports []string) (out []string) {
	for _, path := range imports {
		if ours, ok := strings.CutPrefix(path, module+"/"); ok {
			if !slices.ContainsFunc(r.ours, func(p string) bool { return match(p, ours) }) {
				out = append(out, path)
			}
			continue
		}
		first, _, _ := strings.Cut(path, "/")
		if strings.Contains(first, ".") && !slices.ContainsFunc(r.third, func(p string) bool { return match(p, path) }) {
			out = append(out, path)
		}
	}
	return out
}

func match(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == prefix || strings.HasPrefix(path, prefix+"/")
	}
	return pattern == path
}

// The check itself must be able to fail.
func TestViolationsAreFound(t *testing.T) {
	got := violations(rules["policy"], []string{"time", jsonv2[:len(jsonv2)-4], module + "/seal", "github.com/spf13/cobra", "golang.org/x/crypto/hkdf"})
	want := []string{module + "/seal", "github.com/spf13/cobra", "golang.org/x/crypto/hkdf"}
	if !slices.Equal(got, want) {
		t.Errorf("violations = %v, want %v", got, want)
	}
}
