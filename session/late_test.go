package session_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/session"
)

// asks makes a request and wants its status; called says that the handler must see
// a session: "", "old" or "new".
func (v *visitor) asks(st *session.Stateless, what string, code int, called string) {
	v.t.Helper()
	got := ""
	w := v.visit(st, func(_ context.Context, s *session.Session) {
		if got = "old"; s.New() {
			got = "new"
		}
	})
	if w.Code != code || got != called {
		v.t.Errorf("%s: %d, the handler saw %q; want %d, %q", what, w.Code, got, code, called)
	}
}

// lost makes a protected change whose answer never arrives.
func (v *visitor) lost(st *session.Stateless, do func(context.Context, *session.Session)) {
	v.t.Helper()
	v.copy().visit(st, do)
}

func pays(t *testing.T) func(context.Context, *session.Session) {
	return func(ctx context.Context, s *session.Session) { must(t, s.Set(ctx, "balance", 1)) }
}

// A client whose newest set was lost is not locked out until the idle end.
func TestStatelessLostSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, v := newCluster(t).with(protectedPolicy).stateless(nil), newVisitor(t)
		time.Sleep(pastEpoch)
		v.cart(st, "tea")
		v.lost(st, pays(t))
		v.asks(st, "it may be on its way", 503, "")
		mark := v.cookies[lateCookie]
		time.Sleep(9 * time.Second)
		v.asks(st, "still", 503, "")
		if mark == "" || v.cookies[lateCookie] != mark || !v.holds() {
			t.Errorf("the mark was %q and is %q", mark, v.cookies[lateCookie])
		}
		time.Sleep(time.Second)
		v.asks(st, "it was lost", 401, "")
		if len(v.cookies) > 0 {
			t.Errorf("told to drop all, it holds %v", v.cookies)
		}
		v.asks(st, "then", 200, "new")
	})
}

// The mark is of one set, and its time is past: nothing else counts.
func TestStatelessMarkIsOfOneSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, v := newCluster(t).with(protectedPolicy).stateless(nil), newVisitor(t)
		time.Sleep(pastEpoch)
		v.cart(st, "tea")
		other := v.copy()
		v.visit(st, pays(t)) // the newer set is here
		other.asks(st, "an older set", 503, "")
		v.cookies[lateCookie] = other.cookies[lateCookie]
		time.Sleep(20 * time.Second)
		v.asks(st, "the newer set", 200, "old")
		v.lost(st, pays(t))
		v.asks(st, "the next that is lost", 503, "")
		first := v.cookies[lateCookie]
		if first == other.cookies[lateCookie] {
			t.Error("it has the mark of another set")
		}
		for _, wrong := range []string{first[:12] + "." + strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10), first[:12], first[:12] + ".x", ".", "1"} {
			v.cookies[lateCookie] = wrong
			v.asks(st, "with the mark "+wrong, 503, "")
			if v.cookies[lateCookie] != first {
				t.Errorf("after the mark %s it is %s, want %s", wrong, v.cookies[lateCookie], first)
			}
		}
	})
}

// A request beside a login or a renewal makes no session that would take its
// cookies, and does not drop them. When their answer was lost there is a new session.
func TestStatelessRequestBesideARenewal(t *testing.T) {
	for name, do := range map[string]func(*testing.T, context.Context, *session.Session){
		"a login":   func(t *testing.T, ctx context.Context, s *session.Session) { loggedIn(t, ctx, s, "ada") },
		"a renewal": func(t *testing.T, ctx context.Context, s *session.Session) { _, err := s.Renew(ctx); must(t, err) },
		"a logout":  func(t *testing.T, ctx context.Context, s *session.Session) { must(t, s.Logout(ctx)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := remembersNothing(t)
				st, v := c.stateless(nil), newVisitor(t)
				time.Sleep(pastEpoch)
				v.visit(st, func(ctx context.Context, s *session.Session) {
					must(t, s.Set(ctx, "cart", []string{"tea"}))
					if name == "a renewal" {
						loggedIn(t, ctx, s, "ada")
					}
				})
				v.lost(st, func(ctx context.Context, s *session.Session) { do(t, ctx, s) })
				v.asks(st, "beside it", 503, "")
				if !v.holds() {
					t.Error("its cookies were dropped")
				}
				time.Sleep(10 * time.Second)
				v.asks(st, "when it was lost", 200, "new")
				if len(v.cookies) > 0 {
					t.Errorf("it still holds %v", v.cookies)
				}
			})
		})
	}
}

// A client with a header has no cookie to remember by. It is told, and decides.
func TestStatelessLostHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newCluster(t).with(protectedPolicy).stateless(func(cfg *session.StatelessConfig) { cfg.Header = true })
		v := newVisitor(t)
		time.Sleep(pastEpoch)
		v.cart(st, "tea")
		other := v.copy()
		v.lost(st, pays(t))
		for range 3 {
			v.asks(st, "superseded", 503, "")
			time.Sleep(10 * time.Second)
		}
		if !v.holds() || len(v.cookies) > 0 {
			t.Errorf("holds %v, %q", v.cookies, v.text)
		}
		other.text = session.StatusNone
		other.asks(st, "who begins anew", 200, "new")
		v = newVisitor(t)
		v.cart(st, "tea")
		v.lost(st, func(ctx context.Context, s *session.Session) { loggedIn(t, ctx, s, "ada") })
		v.asks(st, "beside a login", 200, "new")
		if !v.holds() {
			t.Error("it was told to drop what it holds")
		}
	})
}

// "Sealed-Session: none" gives up what is lost, and not the cookies of a newer set that
// may be on its way: a response that drops them may arrive last.
func TestStatelessGivesUpNothingThatIsOnItsWay(t *testing.T) {
	for name, do := range map[string]func(context.Context, *session.Session){
		"a login":            func(ctx context.Context, s *session.Session) { loggedIn(t, ctx, s, "ada") },
		"a protected change": pays(t),
	} {
		synctest.Test(t, func(t *testing.T) {
			st, v := newCluster(t).with(protectedPolicy).stateless(nil), newVisitor(t)
			time.Sleep(pastEpoch)
			v.cart(st, "tea")
			v.lost(st, do)
			anew := func() (code int, began bool) {
				r := v.request()
				r.Header.Set(session.StatusHeader, session.StatusNone)
				w := v.send(st, r, func(_ http.ResponseWriter, r *http.Request) { began = session.FromContext(r.Context()).New() })
				return w.Code, began
			}
			if code, began := anew(); code != 503 || began || !v.holds() {
				t.Errorf("beside %s: %d, begins anew %t, holds %t", name, code, began, v.holds())
			}
			time.Sleep(10 * time.Second)
			if code, began := anew(); code != 200 || !began || len(v.cookies) > 0 {
				t.Errorf("when the answer of %s was lost: %d, begins anew %t, holds %v", name, code, began, v.cookies)
			}
			v.cart(st, "tea")
			if code, began := anew(); code != 200 || !began || len(v.cookies) > 0 {
				t.Errorf("with a good set: %d, begins anew %t, holds %v", code, began, v.cookies)
			}
		})
	}
}
