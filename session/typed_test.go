package session_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

var (
	cartItems  = policy.Attr[[]string]("cart")
	ticketRow  = policy.Once[string]("ticket")
	undeclared = policy.Attr[int]("admin")
)

// What the typed functions do, and what they return when they do not.
func TestTypedAccess(t *testing.T) {
	c := newCluster(t)
	s, err := c.node().Start()
	must(t, err)
	ctx := session.NewContext(t.Context(), s)
	must(t, session.Set(ctx, cartItems, []string{"tea"}))
	must(t, session.Update(ctx, cartItems, func(items []string) ([]string, error) { return append(items, "milk"), nil }))
	if items, err := session.Get(ctx, cartItems); err != nil || len(items) != 2 || items[1] != "milk" {
		t.Errorf("Get = %v, %v", items, err)
	}
	must(t, session.Set(ctx, ticketRow, "row 7"))
	if row, err := session.Get(ctx, ticketRow); err != nil || row != "row 7" {
		t.Errorf("a look at a right: %q, %v", row, err)
	}
	if row, err := session.Take(ctx, ticketRow, replay.Owner{1}); err != nil || row != "row 7" {
		t.Errorf("Take = %q, %v", row, err)
	}
	if row, err := session.Take(ctx, ticketRow, replay.Owner{1}); !errors.Is(err, session.ErrNoAttribute) || row != "" {
		t.Errorf("Take again = %q, %v", row, err)
	}
	must(t, session.Delete(ctx, cartItems))
	if items, err := session.Get(ctx, cartItems); !errors.Is(err, session.ErrNoAttribute) || items != nil {
		t.Errorf("Get of nothing = %v, %v", items, err)
	}
	if err := session.Set(ctx, undeclared, 1); !errors.Is(err, policy.ErrNotAllowed) {
		t.Errorf("undeclared: %v", err)
	}
	must(t, s.Set(ctx, "cart", "no list"))
	if items, err := session.Get(ctx, cartItems); err == nil || items != nil {
		t.Errorf("a text read as a list: %v, %v", items, err)
	}
	no := errors.New("no")
	for what, err := range map[string]error{
		"Update of another type":  session.Update(ctx, cartItems, func(v []string) ([]string, error) { return v, nil }),
		"Update that is not made": session.Update(ctx, policy.Attr[string]("cart"), func(v string) (string, error) { return "x", no }),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if v, err := get(t, s, "cart"); v != "no list" || err != nil {
		t.Errorf("the value is %q, %v", v, err)
	}
}

func TestNoSessionInContext(t *testing.T) {
	ctx := t.Context()
	_, _, tx := session.TakeTx(ctx, nil, ticketRow, replay.Owner{})
	for what, err := range map[string]error{
		"Get": second(session.Get(ctx, cartItems)), "Set": session.Set(ctx, cartItems, nil), "Delete": session.Delete(ctx, cartItems),
		"Update": session.Update(ctx, cartItems, func(v []string) ([]string, error) { return v, nil }),
		"Take":   second(session.Take(ctx, ticketRow, replay.Owner{})), "TakeTx": tx,
	} {
		if !errors.Is(err, session.ErrNoSession) {
			t.Errorf("%s = %v", what, err)
		}
	}
}

// Misuse that the compiler finds. Each program differs by one word from one that
// compiles.
func TestMisuseDoesNotCompile(t *testing.T) {
	const program = `package main

import (
	"context"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

var (
	cart   = policy.Attr[[]string]("cart")
	ticket = policy.Once[string]("ticket")
)

func main() {
	ctx := context.Background()
	_, _ = session.Take(ctx, ticket, replay.Owner{})
	_ = session.Set(ctx, cart, []string{"tea"})
	_ = session.Update(ctx, cart, func(v []string) ([]string, error) { return v, nil })
}
`
	must(t, os.MkdirAll("testdata", 0o700))
	dir, err := os.MkdirTemp("testdata", "misuse") // within the module, whose packages it imports
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	compile := func(old, with string) string {
		must(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(strings.Replace(program, old, with, 1)), 0o600))
		out, _ := exec.Command("go", "build", "-o", os.DevNull, "./"+dir).CombinedOutput()
		return string(out)
	}
	if out := compile("", ""); out != "" {
		t.Fatalf("the program does not compile: %s", out)
	}
	for what, test := range map[string]struct{ old, with, want string }{
		"taking an ordinary attribute": {"Take(ctx, ticket", "Take(ctx, cart", "does not match inferred type policy.OnceAttribute"},
		"updating a right":             {"Update(ctx, cart", "Update(ctx, ticket", "does not match inferred type policy.Attribute"},
		"setting another type":         {`[]string{"tea"}`, `7`, "cannot use 7"},
		"a mistyped name":              {"Set(ctx, cart", "Set(ctx, card", "undefined: card"},
	} {
		if out := compile(test.old, test.with); !strings.Contains(out, test.want) {
			t.Errorf("%s: the compiler says %q, want %q", what, out, test.want)
		}
	}
}
