package session_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/session"
)

// A negative limit would let nobody in, or ask the store with no time to answer.
func TestNegativeLimitsAreRefused(t *testing.T) {
	c := newCluster(t)
	for name, change := range map[string]func(*session.Config){
		"MaxSessions":  func(cfg *session.Config) { cfg.MaxSessions = -1 },
		"StoreTimeout": func(cfg *session.Config) { cfg.StoreTimeout = -time.Second },
		"Lapse":        func(cfg *session.Config) { cfg.Lapse = -time.Second },
	} {
		cfg := session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop"}
		change(&cfg)
		if _, err := session.New(t.Context(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Two programs on one host see each other's cookies and must not refuse them.
func TestTwoProgramsOnOneHost(t *testing.T) {
	c := newCluster(t)
	node := func(app, suffix string) http.Handler {
		m, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: app, CookieSuffix: suffix})
		must(t, err)
		return m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			must(t, session.FromContext(r.Context()).Set(r.Context(), "cart", []string{app}))
		}))
	}
	visit := func(h http.Handler, with ...*http.Cookie) []*http.Cookie {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, request("POST", "/", with...))
		if w.Code != 200 {
			t.Errorf("%d with %v", w.Code, with)
		}
		return w.Result().Cookies()
	}
	shop, wiki := node("shop", ""), node("wiki", "wiki")
	jar := visit(shop)
	jar = append(jar, visit(wiki, jar...)...)
	visit(shop, jar...)
	visit(wiki, jar...)
	if jar[0].Name == jar[1].Name {
		t.Errorf("both are %s", jar[0].Name)
	}
	v := newVisitor(t)
	one, two := c.stateless(nil), c.stateless(func(cfg *session.StatelessConfig) { cfg.App, cfg.CookieSuffix = "wiki", "wiki" })
	for range 2 {
		for _, st := range []*session.Stateless{one, two} {
			if w := v.visit(st, func(ctx context.Context, s *session.Session) { must(t, s.Set(ctx, "cart", []string{"x"})) }); w.Code != 200 {
				t.Errorf("stateless: %d", w.Code)
			}
		}
	}
	if len(v.cookies) != 2 {
		t.Errorf("%d cookies", len(v.cookies))
	}
	for _, bad := range []string{"Wiki", "a=b", "a-b", "abcdefghijklmnopqrstuvwxyz0123456"} {
		if _, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop", CookieSuffix: bad}); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}
