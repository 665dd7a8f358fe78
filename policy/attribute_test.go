package policy_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
)

type item struct{ Name string }

var (
	cart   = policy.Attr[[]item]("cart", policy.TTL(time.Hour), policy.Idle(10*time.Minute), policy.Absolute(2*time.Hour), policy.MaxBytes(4<<10), policy.RollbackRefuse, policy.BindingKey)
	login  = policy.Attr[string]("login", policy.Required(true), policy.OnExpiry(policy.Refuse), policy.StoreDownDrop)
	role   = policy.Attr[int]("role", policy.AuthorityServer)
	ticket = policy.Once[item]("ticket", policy.TTL(10*time.Minute), policy.BurnOnRestore)
)

// Every option sets its member, and the same rules from a file are equal.
func TestAttributesDeclareRules(t *testing.T) {
	session := policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}
	p, err := policy.New(1, session, cart, role, ticket, policy.Rule{Name: "plain"})
	if err != nil {
		t.Fatal(err)
	}
	file := parse(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"plain":{},
		"cart":{"ttl":"1h","idle":"10m","absolute":"2h","max_bytes":4096,"rollback":"refuse","binding":"key"},
		"role":{"authority":"server"},"ticket":{"once":true,"ttl":"10m","burn":"restore"}}}`)
	if p.Version() != file.Version() || fmt.Sprint(p.Rules()) != fmt.Sprint(file.Rules()) {
		t.Errorf("from Go %s %v, from the file %s %v", p.Version(), p.Rules(), file.Version(), file.Rules())
	}
	if cart.Name() != "cart" || ticket.Name() != "ticket" {
		t.Errorf("named %s and %s", cart.Name(), ticket.Name())
	}
	_, err = policy.New(1, session, login, cart, policy.Attr[string]("cart"), policy.Once[int]("right"))
	expect(t, err, "0:0 cart: is declared twice", "0:0 login.store_down: drop contradicts required", "0:0 right.once: needs a ttl")
}

// compiled finds what the go command compiled of this package and what it needs.
func compiled(t *testing.T) importer.Lookup {
	t.Helper()
	list, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for line := range strings.Lines(string(list)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		files[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

// The value's type follows from the attribute, and what is only for rights does
// not compile for anything else.
func TestTypesHold(t *testing.T) {
	const head = `package p
import "github.com/sealedblob/sealedblob/policy"
var cart = policy.Attr[[]string]("cart")
var ticket = policy.Once[int]("ticket")
func set[T any](a policy.Typed[T], v T) {}
func take[T any](a policy.OnceAttribute[T]) (v T) { return v }
type own struct{}
func (own) Name() string { return "" }
`
	files := token.NewFileSet()
	packages := importer.ForCompiler(files, "gc", compiled(t))
	compile := func(body string) error {
		file, err := parser.ParseFile(files, "p.go", head+"func f() {"+body+"}", 0)
		if err != nil {
			t.Fatal(err)
		}
		config := types.Config{Importer: packages}
		_, err = config.Check("p", files, []*ast.File{file}, nil)
		return err
	}
	for body, refused := range map[string]string{
		`set(cart, []string{"tea"}); set(ticket, 7)`: "",
		`var n int = take(ticket); _ = n`:            "",
		`take(cart)`:                                 "Attribute",
		`set(cart, 7)`:                               "string",
		`set(ticket, "seven")`:                       "int",
		`var s string = take(ticket); _ = s`:         "int",
		`var _ policy.Declaration = own{}`:           "declared",
	} {
		err := compile(body)
		if (err == nil) != (refused == "") || err != nil && !strings.Contains(err.Error(), refused) {
			t.Errorf("%s: %v, want an error about %q", body, err, refused)
		}
	}
}
