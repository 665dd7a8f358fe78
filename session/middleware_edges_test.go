package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// patient is a keyring that must be fetched: it asks whether anybody waits.
type patient struct{ ring *seal.Ring }

func (p patient) Ring(ctx context.Context) (*seal.Ring, error) { return p.ring, ctx.Err() }

// A request whose client went away is sealed and pushed all the same.
func TestSealedThoughTheClientWentAway(t *testing.T) {
	c := newCluster(t)
	m, err := session.New(t.Context(), session.Config{Keys: patient{c.ring}, Policy: c.policy, Store: c.store, App: "shop"})
	must(t, err)
	s, b := shopping(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	do(m.Middleware(http.HandlerFunc(handler)), request("GET", "/?cart=late", cookieOf(t, s.Holder())).WithContext(ctx))
	if last := b.pushes[len(b.pushes)-1]; last.Version.Gen != 2 {
		t.Errorf("the newest push is %v, want generation 2", last.Version)
	}
}

// After a hijack no cookie can be sent, after an informational answer it can.
func TestWhenACookieCanBeSent(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	for name, test := range map[string]struct {
		before func(http.ResponseWriter)
		want   error
	}{
		"nothing":     {func(http.ResponseWriter) {}, nil},
		"early hints": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) }, nil},
		"a status":    {func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }, session.ErrTooLate},
		"a body":      {func(w http.ResponseWriter) { _, _ = w.Write([]byte("x")) }, session.ErrTooLate},
		"a hijack": {func(w http.ResponseWriter) {
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				conn.Close()
			}
		}, session.ErrTooLate},
	} {
		got := make(chan error, 1)
		server := httptest.NewServer(m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			test.before(w)
			got <- session.FromContext(r.Context()).Set(r.Context(), "cart", 1)
		})))
		res, err := http.Get(server.URL)
		if err == nil {
			res.Body.Close()
			if n := len(res.Cookies()); (n == 1) != (test.want == nil) {
				t.Errorf("%s: %d cookies", name, n)
			}
		}
		if err := <-got; !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: Set = %v, want %v", name, err, test.want)
		}
		server.Close()
	}
}

// The binding is SPEC §10's, computed here without the package.
func TestBindingIsAHashOfTheSecret(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	m, _, err := c.ring.NewOpener(shopScope, time.Now()).Manifest(b.manifest)
	must(t, err)
	secret, err := seal.ParseID(strings.Split(session.CookieValueForTest(s.Holder()), ".")[1])
	must(t, err)
	sum := sha256.Sum256([]byte("sealed-blob/v1/cookie\x00" + string(secret[:])))
	if want := "cookie:" + base64.RawURLEncoding.EncodeToString(sum[:]); m.Binding != want {
		t.Errorf("binding %s, want %s", m.Binding, want)
	}
}

// A tab that still holds the set from before a restore tells nothing about
// where the session lives: it must not make its node let go of it.
func TestTabWithTheSetOfAnOlderFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		m := c.node()
		r, err := m.Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		connected(t, r.Session)
		tab := &browser{deaf: true}
		must(t, r.Session.Attach(tab))
		must(t, r.Session.Acknowledge(t.Context(), tab, &session.Version{Fence: 0, Gen: 1}))
		runFor(t, m, 2500*time.Millisecond)
		if _, live := m.Live(r.Session.Holder()); !live || tab.detached {
			t.Errorf("live %t, the tab was sent away %t", live, tab.detached)
		}
	})
}

// A response whose session was renewed while it was made does not write the old
// cookie over the new one.
func TestLateResponseKeepsTheNewCookie(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	m := c.node()
	brought := cookieOf(t, s.Holder())
	r, err := m.Restore(t.Context(), b.set(s.Holder())) // over Bayeux: the cookie has the older fence
	must(t, err)
	slow := do(m.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		login(t, r.Session, "ada") // by another request
	})), request("GET", "/", brought))
	if cookies := slow.Cookies(); len(cookies) != 0 {
		t.Errorf("the late response says %v", cookies)
	}
}

// A response whose session was logged out while it was made does not delete the
// cookie: the browser may have a new session by then.
func TestLateResponseDeletesNoCookie(t *testing.T) {
	for what, end := range map[string]func(*session.Manager, *session.Session) error{
		"Logout":    func(_ *session.Manager, s *session.Session) error { return s.Logout(t.Context()) },
		"EndLogins": func(m *session.Manager, _ *session.Session) error { return m.EndLogins(t.Context(), "ada") },
	} {
		c := newCluster(t)
		m := c.node()
		s, _ := shopping(t, m)
		s = login(t, s, "ada")
		slow := do(m.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			must(t, end(m, s)) // by another request
		})), request("GET", "/", cookieOf(t, s.Holder())))
		if cookies := slow.Cookies(); len(cookies) != 0 {
			t.Errorf("%s: the late response says %v", what, cookies)
		}
	}
}

// The request that ends all logins of its own user loses its cookie.
func TestEndLoginsDeletesTheCallersCookie(t *testing.T) {
	m := newCluster(t).node()
	s, _ := shopping(t, m)
	s = login(t, s, "ada")
	out := do(m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		must(t, m.EndLogins(r.Context(), "ada"))
	})), request("GET", "/", cookieOf(t, s.Holder()))).Cookies()
	if len(out) != 1 || out[0].MaxAge >= 0 {
		t.Errorf("cookies %v", out)
	}
}

// A cookie of a session that is over, or that its client gave up, does not stay:
// it would be answered with 503 as soon as this node has forgotten the session.
func TestCookieOfAnEndedSessionIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newCluster(t).node()
		h := m.Middleware(http.HandlerFunc(handler))
		brought := do(h, request("GET", "/?cart=tea")).Cookies()
		time.Sleep(31 * time.Minute)
		if out := do(h, request("GET", "/", brought...)).Cookies(); len(out) != 1 || out[0].MaxAge >= 0 {
			t.Errorf("after the idle end: %v", out)
		}
		if out := do(h, request("GET", "/", brought...)).Cookies(); len(out) != 1 || out[0].MaxAge >= 0 {
			t.Errorf("again after the idle end: %v", out)
		}
		h = newCluster(t).node().Middleware(http.HandlerFunc(handler))
		gone := request("GET", "/", brought...) // nobody knows it here
		if res := do(h, gone); res.StatusCode != http.StatusServiceUnavailable || len(res.Cookies()) != 0 {
			t.Errorf("of a session that may be elsewhere: %d, %v", res.StatusCode, res.Cookies())
		}
		gone.Header.Set(session.StatusHeader, session.StatusNone)
		if out := do(h, gone).Cookies(); len(out) != 1 || out[0].MaxAge >= 0 {
			t.Errorf("given up: %v", out)
		}
		begins := request("GET", "/?cart=milk", brought...)
		begins.Header.Set(session.StatusHeader, session.StatusNone)
		if out := do(h, begins).Cookies(); len(out) != 1 || out[0].MaxAge <= 0 {
			t.Errorf("given up, and another begun: %v", out)
		}
	})
}
