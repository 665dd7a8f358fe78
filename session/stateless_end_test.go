package session_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// When what a request brings is over: time, logouts, and what ends logins.

// What is past its time is over, and nothing else is taken for that.
func TestStatelessEnds(t *testing.T) {
	for name, try := range map[string]struct {
		set  func(ctx context.Context, s *session.Session) error
		wait time.Duration
		want int // of carts
	}{
		"in use":                {nil, 25 * time.Minute, 2},
		"idle":                  {nil, 31 * time.Minute, 0},
		"an attribute's refuse": {func(ctx context.Context, s *session.Session) error { return s.Set(ctx, "pin", 1) }, 2 * time.Minute, 0},
		"an attribute's end":    {func(ctx context.Context, s *session.Session) error { return s.Set(ctx, "login", 1) }, 2 * time.Minute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := remembersNothing(t)
				st := c.stateless(nil)
				v := newVisitor(t)
				v.visit(st, func(ctx context.Context, s *session.Session) {
					must(t, s.Set(ctx, "cart", []string{"tea", "milk"}))
					if try.set != nil {
						must(t, try.set(ctx, s))
					}
				})
				time.Sleep(try.wait)
				got, w := v.cart(st, "")
				if w.Code != 200 || len(got) != try.want || v.holds() != (try.want > 0) {
					t.Errorf("%d, cart %v, the client holds something: %t", w.Code, got, v.holds())
				}
			})
		})
	}
}

// Use keeps a session alive, and rewrites it only now and then.
func TestStatelessIdleIsMovedInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := remembersNothing(t)
		st := c.stateless(nil)
		v := newVisitor(t)
		v.cart(st, "tea")
		rewritten := 0
		for range 5 * 60 {
			time.Sleep(time.Minute)
			got, w := v.cart(st, "")
			if len(got) != 1 {
				t.Fatalf("lost: %d", w.Code)
			}
			if len(w.Header()["Set-Cookie"]) > 0 {
				rewritten++
			}
		}
		if rewritten < 35 || rewritten > 40 { // every 8 of 300 minutes
			t.Errorf("rewritten %d times in 300 requests", rewritten)
		}
		time.Sleep(61 * time.Minute) // over the cart's 6 hours
		if got, _ := v.cart(st, ""); got != nil {
			t.Errorf("after its time: %v", got)
		}
	})
}

// A session that is used lives on where there is no store, and is sealed anew in
// steps alone.
func TestStatelessIdleWithoutAStore(t *testing.T) {
	for _, every := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"1s"},"attributes":{"cart":{"ttl":"6h"}}}`)
			c.store = replay.None{}
			st, v, sealed := c.stateless(func(cfg *session.StatelessConfig) { cfg.CheckEvery = every }), newVisitor(t), 0
			v.cart(st, "tea")
			const visits, pause = 40, 3 * time.Minute
			for i := range visits {
				time.Sleep(pause)
				got, w := v.cart(st, "")
				if len(got) != 1 || w.Code != 200 {
					t.Fatalf("after %v: %v, %d", time.Duration(i+1)*pause, got, w.Code)
				}
				if len(w.Header()["Set-Cookie"]) > 0 {
					sealed++
				}
			}
			if most := visits/2 + 1; sealed > most {
				t.Errorf("sealed %d times in %d visits, want at most %d", sealed, visits, most)
			}
			time.Sleep(31 * time.Minute)
			if got, _ := v.cart(st, ""); len(got) > 0 {
				t.Errorf("after the idle time: %v", got)
			}
		})
	}
}

func TestStatelessLogout(t *testing.T) {
	for name, every := range map[string]time.Duration{"at once": 0, "within a minute": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := remembersNothing(t)
				time.Sleep(pastEpoch)
				st := c.stateless(func(cfg *session.StatelessConfig) { cfg.CheckEvery = every })
				v := newVisitor(t)
				v.cart(st, "tea")
				thief := v.copy()
				v.visit(st, func(ctx context.Context, s *session.Session) { must(t, s.Logout(ctx)) })
				if v.holds() {
					t.Errorf("after the logout the client holds %v", v.cookies)
				}
				start, last := time.Now(), time.Duration(-1) // when the copy was good for the last time
				for range 20 {
					got, w := thief.cart(st, "stolen")                                                // a change does not put the question off
					if w.Code != 200 && (w.Code != 503 || time.Since(start) > every+20*time.Second) { // it may have been a renewal
						t.Fatalf("copy after %v: %d", time.Since(start), w.Code)
					}
					if slices.Contains(got, "tea") {
						last = time.Since(start)
					}
					time.Sleep(5 * time.Second)
				}
				if last > every || every == 0 && last >= 0 || last < every-10*time.Second {
					t.Errorf("a copy lived on for %v", last)
				}
			})
		})
	}
}

// A logout that another request's login overtook says so, and takes the login's set from
// nobody; one that another logout overtook has nothing left to do.
func TestStatelessLogoutOvertaken(t *testing.T) {
	for what, test := range map[string]struct {
		overtakes func(context.Context, *session.Session)
		want      error
	}{
		"by a login":  {func(ctx context.Context, s *session.Session) { loggedIn(t, ctx, s, "ada") }, session.ErrMoved},
		"by a logout": {func(ctx context.Context, s *session.Session) { must(t, s.Logout(ctx)) }, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := remembersNothing(t)
			st := c.stateless(nil)
			v := newVisitor(t)
			v.cart(st, "tea")
			late := v.copy() // the same browser
			late.visit(st, func(ctx context.Context, s *session.Session) {
				v.visit(st, test.overtakes)
				if err := s.Logout(ctx); !errors.Is(err, test.want) {
					t.Errorf("%s: Logout = %v", what, err)
				}
			})
			if late.holds() != (test.want != nil) {
				t.Errorf("%s: the cookies are dropped: %t", what, !late.holds())
			}
			v.visit(st, func(_ context.Context, s *session.Session) {
				if loggedIn := s.Subject() == "ada"; loggedIn != (test.want != nil) {
					t.Errorf("%s: afterwards it is %q", what, s.Subject())
				}
			})
		})
	}
}

func TestStatelessStoreDown(t *testing.T) {
	c, store := remembersNothing(t)
	st := c.stateless(nil)
	v := newVisitor(t)
	v.cart(st, "tea")
	before := v.one()
	store.broken = errors.New("the cable")
	w := v.visit(st, func(context.Context, *session.Session) { t.Error("called") })
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || v.one() != before {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	r := v.request()
	r.Header.Set(session.StatusHeader, session.StatusNone)
	w = v.send(st, r, func(_ http.ResponseWriter, r *http.Request) {
		if !session.FromContext(r.Context()).New() {
			t.Error("not anew")
		}
	})
	if w.Code != 200 || v.holds() {
		t.Errorf("anew: %d, holds %v", w.Code, v.cookies)
	}
}

// A store that lost its memory can't know of logouts: older sets are refused.
func TestStatelessStoreLostItsMemory(t *testing.T) {
	for _, subject := range []string{"", "ada"} {
		synctest.Test(t, func(t *testing.T) {
			c, store := remembersNothing(t)
			st := c.stateless(nil)
			time.Sleep(10 * time.Second)
			v := newVisitor(t)
			v.visit(st, func(ctx context.Context, s *session.Session) {
				must(t, s.Set(ctx, "cart", []string{"tea"}))
				if subject != "" {
					loggedIn(t, ctx, s, subject)
				}
			})
			time.Sleep(10 * time.Second)
			store.Store = replay.NewMemory(replay.MemoryConfig{})
			w := v.visit(st, func(context.Context, *session.Session) { t.Error("called") })
			if w.Code != 401 || v.holds() {
				t.Errorf("subject %q: %d, holds %v", subject, w.Code, v.cookies)
			}
		})
	}
}

// Other requests of the browser are under way while one logs in. Their answers,
// which come last, must not take the login away.
func TestStatelessLoginAndOtherRequests(t *testing.T) {
	begin := func(t *testing.T) (*session.Stateless, *visitor) {
		c, _ := remembersNothing(t)
		st, v := c.stateless(nil), newVisitor(t)
		time.Sleep(pastEpoch)
		v.cart(st, "tea")
		return st, v
	}
	login := func(st *session.Stateless, v *visitor) {
		v.visit(st, func(ctx context.Context, s *session.Session) { loggedIn(t, ctx, s, "ada") })
	}
	synctest.Test(t, func(t *testing.T) {
		st, v := begin(t)
		late := v.copy()
		login(st, v)
		w := late.visit(st, func(context.Context, *session.Session) { t.Error("called, as a new visitor who may write") })
		if told := w.Result().Cookies(); w.Code != 503 || len(told) != 1 || told[0].Name != lateCookie {
			t.Errorf("a request that came after the login: %d, %v", w.Code, w.Header())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		st, v := begin(t)
		w := v.visit(st, func(ctx context.Context, s *session.Session) {
			login(st, v.copy())
			must(t, s.Set(ctx, "cart", []string{"milk"}))
		})
		if w.Code != 503 || len(w.Header()["Set-Cookie"]) > 0 {
			t.Errorf("a change under way during the login: %d, %v", w.Code, w.Header())
		}
	})
}

func TestStatelessLoginsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := remembersNothing(t)
		st := c.stateless(nil)
		time.Sleep(10 * time.Second)
		v := newVisitor(t)
		v.visit(st, func(ctx context.Context, s *session.Session) {
			must(t, s.Set(ctx, "cart", []string{"tea"}))
			loggedIn(t, ctx, s, "ada")
		})
		time.Sleep(time.Second)
		subject := replay.NewID("4:shop", "subject", []byte("ada"))
		must(t, c.store.RevokeSubject(t.Context(), subject, time.Now(), time.Now().Add(24*time.Hour)))
		if got, w := v.cart(st, ""); w.Code != 200 || got != nil || v.holds() {
			t.Errorf("after the login was revoked: %d %v", w.Code, got)
		}
	})
}

// A login right after an end of logins is dated ahead. A session of it that was logged out
// stays so when the store forgets that and begins anew before the date.
func TestStatelessLoginDatedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := remembersNothing(t)
		st := c.stateless(nil)
		time.Sleep(pastEpoch)
		ada, now := replay.NewID("4:shop", "subject", []byte("ada")), time.Now()
		must(t, c.store.RevokeSubject(t.Context(), ada, now.Add(30*time.Second), now.Add(24*time.Hour)))
		v := newVisitor(t)
		v.visit(st, func(ctx context.Context, s *session.Session) {
			must(t, s.Set(ctx, "cart", []string{"tea"}))
			loggedIn(t, ctx, s, "ada")
		})
		copied := v.copy()
		if got, _ := copied.copy().cart(st, ""); !slices.Equal(got, []string{"tea"}) {
			t.Errorf("before the logout: %v", got)
		}
		v.visit(st, func(ctx context.Context, s *session.Session) { must(t, s.Logout(ctx)) })
		c.store = replay.NewMemory(replay.MemoryConfig{})
		st = c.stateless(nil)
		time.Sleep(pastEpoch)
		if got, w := copied.cart(st, ""); got != nil || w.Code != 401 || copied.holds() {
			t.Errorf("after the store began anew: %d, %v", w.Code, got)
		}
	})
}
