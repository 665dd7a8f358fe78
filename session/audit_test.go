package session_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/session"
)

func TestAuditLine(t *testing.T) {
	var out bytes.Buffer
	audit := session.NewAudit(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for want, e := range map[string]session.Event{
		`"level":"WARN","msg":"sealed session event","event":"restore","result":"refused","reason":"superseded","session":"q83vAA","microseconds":412}`: {
			Kind: session.KindRestore, Result: session.ResultRefused, Reason: session.ReasonSuperseded, Session: "q83vAA", Duration: 412 * time.Microsecond},
		`"level":"WARN","msg":"sealed session event","event":"dropped","result":"dropped","reason":"expired","session":"q83vAA","attribute":"login"}`: {
			Kind: session.KindDropped, Result: session.ResultDropped, Reason: session.ReasonExpired, Session: "q83vAA", Attribute: "login"},
		`"level":"INFO","msg":"sealed session event","event":"drain","result":"granted","sessions":7}`: {
			Kind: session.KindDrain, Result: session.ResultGranted, Count: 7},
		`"level":"ERROR","msg":"sealed session event","event":"drain","result":"unacknowledged","sessions":1}`: {
			Kind: session.KindDrain, Result: session.ResultUnacknowledged, Count: 1},
		`"level":"DEBUG","msg":"sealed session event","event":"store","result":"granted","operation":"restore","microseconds":3}`: {
			Kind: session.KindStore, Result: session.ResultGranted, Operation: "restore", Duration: 3 * time.Microsecond},
		`"level":"ERROR","msg":"sealed session event","event":"store","result":"unavailable","reason":"other","operation":"restore","microseconds":3}`: {
			Kind: session.KindStore, Result: session.ResultUnavailable, Reason: session.ReasonOther, Operation: "restore", Duration: 3 * time.Microsecond},
	} {
		out.Reset()
		audit.Observe(t.Context(), e)
		if got := strings.TrimSpace(out.String()); !strings.HasSuffix(got, want) || strings.Count(got, "\n") != 0 {
			t.Errorf("%s\nwant …%s", got, want)
		}
	}
}

// Whatever a client sends and an application stores, a line holds short words alone.
func TestAuditTellsNothing(t *testing.T) {
	const value, subject = "the value in the cart", "ada@example.org"
	var out bytes.Buffer
	c := newCluster(t)
	m := c.observed(session.NewAudit(slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))), session.Early{Wait: -1})
	s, err := m.Start()
	must(t, err)
	must(t, s.Set(t.Context(), "cart", value))
	must(t, s.Set(t.Context(), "ticket", value))
	s = login(t, s, subject)
	must(t, s.Save(t.Context()))
	b := connected(t, s)
	set, cookie := b.set(s.Holder()), session.CookieValueForTest(s.Holder())
	huge := strings.Repeat("<huge>", 1000)
	_ = s.Take(t.Context(), huge, owner(), new(any))
	must(t, s.Take(t.Context(), "ticket", owner(), new(any)))
	for _, manifest := range []string{huge, set.Manifest[:len(set.Manifest)-4] + "AAAA", set.Manifest} {
		p := wire(set)
		p.Manifest = manifest
		c.node().Present(t.Context(), request("POST", "/", cookieOf(t, s.Holder())), p)
		m.Present(t.Context(), request("POST", "/", cookieOf(t, s.Holder())), p)
	}
	m.Present(t.Context(), request("POST", "/"+huge, cookieOf(t, s.Holder())), session.WireRequest{V: 1, Attempt: huge, Manifest: huge, Blobs: map[string]string{huge: huge}})
	must(t, m.EndLogins(t.Context(), subject))

	secrets := []string{value, subject, "<huge>", s.ID().String(), cookie, set.Manifest}
	for slot, envelope := range set.Blobs {
		secrets = append(secrets, slot, envelope)
	}
	lines := bufio.NewScanner(&out)
	n := 0
	for ; lines.Scan(); n++ {
		line := lines.Text()
		for _, secret := range secrets {
			if strings.Contains(line, secret) {
				t.Errorf("a line tells %.20q: %.300s", secret, line)
			}
		}
		if len(line) > 300 {
			t.Errorf("a line of %d bytes: %.300s", len(line), line)
		}
		checkMembers(t, line)
	}
	if n < 10 {
		t.Errorf("%d lines; the check would be empty", n)
	}
}

// checkMembers compares a line's members with the documented ones.
func checkMembers(t *testing.T, line string) {
	t.Helper()
	var members map[string]any
	must(t, json.Unmarshal([]byte(line), &members))
	document, err := os.ReadFile("../docs/audit.md")
	must(t, err)
	for name := range members {
		if name != "time" && name != "level" && name != "msg" && !strings.Contains(string(document), "| `"+name+"` |") {
			t.Errorf("docs/audit.md does not have the member %s", name)
		}
	}
}

// The document names every kind, result and reason that there is.
func TestAuditDocumentIsComplete(t *testing.T) {
	document, err := os.ReadFile("../docs/audit.md")
	must(t, err)
	file, err := parser.ParseFile(token.NewFileSet(), "observe.go", nil, 0)
	must(t, err)
	words := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		word, err := strconv.Unquote(literal.Value)
		must(t, err)
		if words++; !strings.Contains(string(document), "`"+word+"`") {
			t.Errorf("docs/audit.md does not have %s, %s", spec.Names[0], word)
		}
		return true
	})
	if words < 40 {
		t.Errorf("%d words were found", words)
	}
}
