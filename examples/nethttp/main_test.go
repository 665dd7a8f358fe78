package main

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/examples/cart"
	"github.com/sealedblob/sealedblob/internal/nodes"
	"github.com/sealedblob/sealedblob/session"
)

func TestVisit(t *testing.T) {
	nodes.VisitShop(t, cart.Cart, func(m *session.Manager) http.Handler { return around(m, existing()) })
}

// A server that is stopped lets its sessions go first, and then nobody needs it.
func TestDeploy(t *testing.T) {
	handler := func(m *session.Manager) http.Handler { return around(m, existing()) }
	all := nodes.Start(t, 2, session.Config{Policy: nodes.Policy(t, cart.Cart)}, handler)
	old, next := all[0], all[1]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	old.URL = "http://" + l.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- serve(ctx, l, old.Sessions, handler(old.Sessions)) }()

	v := nodes.NewVisitor(t)
	if status, body := v.Post(old.URL+"/cart", url.Values{"item": {"tea"}}); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	set := v.Set(old)
	hold(t, v, old, "0.1")
	began := time.Now()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if now := old.Sessions.Stats(); now.Sessions != 0 || !now.Draining || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %+v", time.Since(began), now)
	}
	if state := v.Present(next, set); state != session.StateRestored {
		t.Fatalf("the set was answered %q", state)
	}
	if status, body := v.Get(next.URL + "/cart"); status != http.StatusOK || body != `{"cart":["tea"],"subject":""}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
}

// hold says, as the page does after a change, which version it holds.
func hold(t *testing.T, v *nodes.Visitor, n *nodes.Node, version string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", n.URL+session.RestorePath, strings.NewReader(`{"v":1,"gen":"`+version+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.AddCookie(&http.Cookie{Name: session.LoopbackCookieName, Value: v.Cookie(n.URL, session.LoopbackCookieName)})
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("holding %s: %s", version, res.Status)
	}
}
