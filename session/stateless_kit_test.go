package session_test

import (
	"context"
	"crypto/tls"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// lateCookie remembers a set that was brought in vain.
const lateCookie = "__Host-sealed-late"

// tally is a store that counts what it is asked.
type tally struct {
	replay.Store
	asked  int
	broken error
	during func() // a Restore
}

func (c *tally) Acknowledge(ctx context.Context, held ...replay.Place) ([]replay.Verdict, error) {
	c.asked++
	if c.broken != nil {
		return nil, c.broken
	}
	return c.Store.Acknowledge(ctx, held...)
}

func (c *tally) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	c.asked++
	if c.during != nil {
		c.during()
	}
	if c.broken != nil { // what is written is not answered
		_, _ = c.Store.Restore(ctx, r)
		return replay.Restored{}, c.broken
	}
	return c.Store.Restore(ctx, r)
}

func (c *tally) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	c.asked++
	return c.Store.Take(ctx, by, owner, right)
}

func (c *tally) Spent(ctx context.Context, ids ...replay.ID) ([]bool, error) {
	c.asked++
	return c.Store.Spent(ctx, ids...)
}

func (c *tally) Epoch(ctx context.Context) (time.Time, error) {
	c.asked++
	return c.Store.Epoch(ctx)
}

func (c *cluster) tallied() *tally {
	s := &tally{Store: c.store}
	c.store = s
	return s
}

// stateless makes a node that remembers nothing.
func (c *cluster) stateless(change func(*session.StatelessConfig)) *session.Stateless {
	c.t.Helper()
	cfg := session.StatelessConfig{Config: session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop"}}
	if change != nil {
		change(&cfg)
	}
	st, err := session.NewStateless(context.Background(), cfg)
	must(c.t, err)
	return st
}

// visitor keeps the cookies, or the header's text, as a client would.
type visitor struct {
	t       testing.TB
	cookies map[string]string
	text    string // of the header
}

func newVisitor(t testing.TB) *visitor { return &visitor{t: t, cookies: map[string]string{}} }

// copy is the same client, or a thief's copy of it.
func (v *visitor) copy() *visitor {
	return &visitor{v.t, maps.Clone(v.cookies), v.text}
}

func (v *visitor) request() *http.Request {
	r := httptest.NewRequest("POST", "https://shop.example/", nil)
	r.TLS = &tls.ConnectionState{}
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	if v.text != "" {
		r.Header.Set(session.StatusHeader, v.text)
	}
	return r
}

// visit makes one request, whose handler does f, and keeps what it is told.
func (v *visitor) visit(st *session.Stateless, f func(ctx context.Context, s *session.Session)) *httptest.ResponseRecorder {
	v.t.Helper()
	return v.send(st, v.request(), func(_ http.ResponseWriter, r *http.Request) { f(r.Context(), session.FromContext(r.Context())) })
}

func (v *visitor) send(st *session.Stateless, r *http.Request, f http.HandlerFunc) *httptest.ResponseRecorder {
	v.t.Helper()
	w := httptest.NewRecorder()
	st.Middleware(f).ServeHTTP(w, r)
	v.keep(w)
	return w
}

func (v *visitor) keep(w *httptest.ResponseRecorder) {
	v.t.Helper()
	told := w.Header()["Set-Cookie"]
	if _, header := w.Header()[session.StatusHeader]; (len(told) > 0 || header) && (w.Header().Get("Cache-Control") != "no-store" || len(w.Header()["Vary"]) == 0) {
		v.t.Errorf("a set that caches may keep: %v", w.Header())
	}
	for i, c := range w.Result().Cookies() {
		if len(told[i]) >= 4096 {
			v.t.Errorf("a cookie of %d bytes", len(told[i]))
		}
		if !strings.HasPrefix(c.Name, session.StatelessCookieName) && c.Name != lateCookie || c.Path != "/" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" || c.MaxAge == 0 {
			v.t.Errorf("cookie %s has the attributes %+v", c.Name, c)
		}
		if c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		} else {
			v.cookies[c.Name] = c.Value
		}
	}
	switch text := w.Header().Get(session.StatusHeader); text {
	case "":
	case session.StatusNone:
		v.text = ""
	default:
		v.text = text
	}
}

func (v *visitor) holds() bool {
	return v.cookies[session.StatelessCookieName+"0"] != "" || v.text != ""
}

// cart reads and lengthens the cart, and gives what it was.
func (v *visitor) cart(st *session.Stateless, item string) (before []string, w *httptest.ResponseRecorder) {
	v.t.Helper()
	w = v.visit(st, func(ctx context.Context, s *session.Session) {
		_ = s.Get("cart", &before)
		if item != "" {
			must(v.t, s.Set(ctx, "cart", append(before, item)))
		}
	})
	return before, w
}

// loggedIn logs in with the request's context, so that the response carries the
// renewed session.
func loggedIn(t testing.TB, ctx context.Context, s *session.Session, subject string) *session.Session {
	t.Helper()
	s, err := s.Login(ctx, subject, trusted)
	must(t, err)
	return s
}
