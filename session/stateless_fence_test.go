package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/session"
)

const protectedPolicy = `{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"1s"},"attributes":{
	"cart":{"ttl":"6h"},"balance":{"rollback":"refuse"},"hint":{"rollback":"drop"},"ticket":{"ttl":"10m","once":true}}}`

// protectedVisitor has a balance of 100 and a cart, on a server that may ask
// seldom.
func protectedVisitor(t testing.TB) (*session.Stateless, *tally, *visitor) {
	t.Helper()
	c := newCluster(t).with(protectedPolicy)
	store := c.tallied()
	st := c.stateless(func(cfg *session.StatelessConfig) { cfg.CheckEvery = time.Minute })
	v := newVisitor(t)
	v.visit(st, func(ctx context.Context, s *session.Session) {
		must(t, s.Set(ctx, "balance", 100))
		must(t, s.Set(ctx, "hint", "h"))
		must(t, s.Set(ctx, "cart", []string{"tea"}))
	})
	if store.asked != 1 { // for its epoch
		t.Errorf("a new session asked the store %d times", store.asked)
	}
	return st, store, v
}

func balance(t testing.TB, st *session.Stateless, v *visitor) (n int) {
	t.Helper()
	v.visit(st, func(_ context.Context, s *session.Session) { must(t, s.Get("balance", &n)) })
	return n
}

// superseded asks with an older set: not let in, and not told to drop anything,
// because the newer set may be on its way to the same client.
func superseded(t testing.TB, st *session.Stateless, v *visitor) {
	t.Helper()
	before := v.one()
	w := v.visit(st, func(context.Context, *session.Session) { t.Error("an older set was let in") })
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || v.one() != before {
		t.Errorf("an older set: %d, %v", w.Code, w.Header())
	}
}

func TestStatelessProtectedChangeIsNotUndone(t *testing.T) {
	for name, change := range map[string]func(ctx context.Context, s *session.Session) error{
		"set, refuse":    func(ctx context.Context, s *session.Session) error { return s.Set(ctx, "balance", 40) },
		"delete, refuse": func(ctx context.Context, s *session.Session) error { return s.Delete(ctx, "balance") },
		"set, drop":      func(ctx context.Context, s *session.Session) error { return s.Set(ctx, "hint", "i") },
		"two of them": func(ctx context.Context, s *session.Session) error {
			return errors.Join(s.Set(ctx, "hint", "i"), s.Set(ctx, "balance", 40))
		},
	} {
		st, store, v := protectedVisitor(t)
		old := v.copy()
		store.asked = 0
		w := v.visit(st, func(ctx context.Context, s *session.Session) { must(t, change(ctx, s)) })
		if w.Code != 200 || store.asked != 2 { // the question of the request, and the change
			t.Errorf("%s: %d, %d operations", name, w.Code, store.asked)
		}
		superseded(t, st, old)
		if w := v.visit(st, func(context.Context, *session.Session) {}); w.Code != 200 {
			t.Errorf("%s: the newer set: %d", name, w.Code)
		}
	}
}

// What is not protected moves no fence: an older set of the same fence passes,
// with all protected attributes as they are.
func TestStatelessOrdinaryChangeMovesNoFence(t *testing.T) {
	st, store, v := protectedVisitor(t)
	old := v.copy()
	store.asked = 0
	v.cart(st, "milk")
	if store.asked != 2 { // when the set came, and before the new one goes
		t.Errorf("%d operations for an ordinary change", store.asked)
	}
	if got, w := old.cart(st, ""); w.Code != 200 || len(got) != 1 || balance(t, st, old) != 100 {
		t.Errorf("%d %v", w.Code, got)
	}
}

// Of two requests at once that spend from one balance one wins; the other learns
// of it before it acts.
func TestStatelessProtectedChangesAtOnce(t *testing.T) {
	st, _, v := protectedVisitor(t)
	other := v.copy()
	var lost error
	v.visit(st, func(ctx context.Context, s *session.Session) {
		w := other.visit(st, func(otherCtx context.Context, o *session.Session) {
			must(t, s.Set(ctx, "balance", 40))
			lost = o.Set(otherCtx, "balance", 70)
			var n int
			if err := o.Get("balance", &n); !errors.Is(err, session.ErrMoved) {
				t.Errorf("the loser reads %d, %v", n, err)
			}
		})
		if w.Code != 200 || len(w.Header()["Set-Cookie"]) > 0 { // what its handler made of it
			t.Errorf("the loser's response: %d, %v", w.Code, w.Header())
		}
	})
	if !errors.Is(lost, session.ErrMoved) {
		t.Errorf("the loser was told %v", lost)
	}
	if n := balance(t, st, v); n != 40 {
		t.Errorf("the winner has %d", n)
	}
	superseded(t, st, other)
}

func TestStatelessProtectedChangeAndABrokenStore(t *testing.T) {
	st, store, v := protectedVisitor(t)
	var err error
	v.visit(st, func(ctx context.Context, s *session.Session) {
		store.broken = errors.New("the cable")
		err = s.Set(ctx, "balance", 40)
		if !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("Set = %v", err)
		}
		store.broken = nil
		must(t, s.Set(ctx, "balance", 30)) // the repetition may win what the first try did
	})
	if n := balance(t, st, v); n != 30 {
		t.Errorf("balance %d", n)
	}
}

// An older request's answer that comes last must not put its set over the newer one.
func TestStatelessOlderResponseComesLast(t *testing.T) {
	st, _, v := protectedVisitor(t)
	other := v.copy()
	w := v.visit(st, func(ctx context.Context, s *session.Session) {
		other.visit(st, func(ctx context.Context, s *session.Session) { must(t, s.Set(ctx, "balance", 40)) })
		must(t, s.Set(ctx, "cart", []string{"milk"}))
	})
	if w.Code != 503 || len(w.Header()["Set-Cookie"]) > 0 {
		t.Errorf("the older response: %d, %v", w.Code, w.Header())
	}
	if n := balance(t, st, other); n != 40 {
		t.Errorf("balance %d", n)
	}
}

// Nor a set go out of which nobody could tell.
func TestStatelessStoreDownBeforeTheResponse(t *testing.T) {
	st, store, v := protectedVisitor(t)
	before := v.one()
	w := v.visit(st, func(ctx context.Context, s *session.Session) {
		must(t, s.Set(ctx, "cart", []string{"milk"}))
		store.broken = errors.New("the cable")
	})
	if w.Code != 503 || v.one() != before {
		t.Errorf("%d, %v", w.Code, w.Header())
	}
}

// A protected change is known to the store when its handler panics: the client
// gets the set with it from whoever recovers.
func TestStatelessPanicAfterAProtectedChange(t *testing.T) {
	st, _, v := protectedVisitor(t)
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
			w.WriteHeader(500)
		}()
		st.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			must(t, session.FromContext(r.Context()).Set(r.Context(), "balance", 40))
			panic("a mistake")
		})).ServeHTTP(w, v.request())
	}()
	v.keep(w)
	if n := balance(t, st, v); w.Code != 500 || n != 40 {
		t.Errorf("%d, balance %d", w.Code, n)
	}
}

// A right of an older fence can't be spent either.
func TestStatelessTakeUnderAnOlderFence(t *testing.T) {
	st, _, v := protectedVisitor(t)
	v.visit(st, func(ctx context.Context, s *session.Session) { must(t, s.Set(ctx, "ticket", "row 7")) })
	other := v.copy()
	other.visit(st, func(ctx context.Context, s *session.Session) {
		v.visit(st, func(ctx context.Context, s *session.Session) { must(t, s.Set(ctx, "balance", 40)) })
		var seat string
		if err := s.Take(ctx, "ticket", owner(), &seat); !errors.Is(err, session.ErrMoved) {
			t.Errorf("Take = %v", err)
		}
	})
	v.visit(st, func(ctx context.Context, s *session.Session) {
		var seat string
		if err := s.Take(ctx, "ticket", owner(), &seat); err != nil || seat != "row 7" {
			t.Errorf("under the newest fence: %q, %v", seat, err)
		}
	})
}

// A login gives the session another ID; whoever has a copy from before is out.
func TestStatelessLoginRenewsTheSession(t *testing.T) {
	for _, c := range []*cluster{newCluster(t).with(statelessPolicy), newCluster(t).with(protectedPolicy)} {
		st := c.stateless(nil)
		v := newVisitor(t)
		v.cart(st, "tea")
		planted := v.copy()
		v.visit(st, func(ctx context.Context, s *session.Session) {
			was := s.ID()
			n := loggedIn(t, ctx, s, "ada")
			if n.ID() == was || session.FromContext(ctx) != n {
				t.Error("the same session goes on")
			}
			if _, err := get(t, s, "cart"); !errors.Is(err, session.ErrMoved) {
				t.Errorf("the old one reads: %v", err)
			}
			must(t, n.Set(ctx, "cart", []string{"tea", "milk"}))
			if _, lives := st.Manager().Live(n.Holder()); lives {
				t.Error("it stays in memory")
			}
		})
		v.visit(st, func(_ context.Context, s *session.Session) {
			if got, err := get(t, s, "cart"); s.Subject() != "ada" || got != "milk" {
				t.Errorf("after the login: subject %q, cart %q, %v", s.Subject(), got, err)
			}
		})
		planted.visit(st, func(_ context.Context, s *session.Session) {
			if s.Subject() != "" || !s.New() {
				t.Errorf("a copy from before: subject %q", s.Subject())
			}
		})
	}
}

// A set that is past its time and wrong besides is not merely over.
func TestStatelessOverAndWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := remembersNothing(t)
		v := newVisitor(t)
		v.cart(c.stateless(nil), "tea")
		time.Sleep(time.Hour)
		stricter := c.with(strings.Replace(statelessPolicy, `"cart":{"ttl":"6h","max_bytes":8192},`, "", 1)).stateless(nil)
		if w := v.visit(stricter, func(context.Context, *session.Session) { t.Error("called") }); w.Code != 401 || v.holds() {
			t.Errorf("%d", w.Code)
		}
	})
}

// After a login the new ID begins at fence 0, wherever the old one was.
func TestStatelessProtectedChangeAfterALogin(t *testing.T) {
	st, _, v := protectedVisitor(t)
	v.visit(st, func(ctx context.Context, s *session.Session) { must(t, s.Set(ctx, "balance", 40)) })
	v.visit(st, func(ctx context.Context, s *session.Session) {
		must(t, loggedIn(t, ctx, s, "ada").Set(ctx, "balance", 30))
	})
	old := v.copy()
	v.visit(st, func(ctx context.Context, s *session.Session) { must(t, s.Set(ctx, "balance", 20)) })
	superseded(t, st, old)
	if n := balance(t, st, v); n != 20 {
		t.Errorf("balance %d", n)
	}
}

// A change that waits for the store while the response begins is too late; the
// client gets a set of the newer fence all the same.
func TestStatelessChangeAcrossTheHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, store, v := protectedVisitor(t)
		v.send(st, v.request(), func(w http.ResponseWriter, r *http.Request) {
			begun := make(chan struct{})
			store.during = func() {
				go func() { w.WriteHeader(200); close(begun) }()
				synctest.Wait() // until it waits for the change
			}
			if err := session.FromContext(r.Context()).Set(r.Context(), "balance", 40); !errors.Is(err, session.ErrTooLate) {
				t.Errorf("Set = %v", err)
			}
			<-begun
		})
		store.during = nil
		if n := balance(t, st, v); n != 100 {
			t.Errorf("balance %d", n)
		}
	})
}

func TestStatelessHijack(t *testing.T) {
	c, _ := remembersNothing(t)
	server := httptest.NewServer(c.stateless(nil).Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if err := session.FromContext(r.Context()).Set(r.Context(), "cart", 1); !errors.Is(err, session.ErrTooLate) {
			t.Errorf("Set = %v", err)
		}
		_, _ = conn.Write([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
	})))
	defer server.Close()
	res, err := http.Get(server.URL)
	must(t, err)
	res.Body.Close()
	if res.StatusCode != 204 {
		t.Errorf("%d", res.StatusCode)
	}
}
