package session_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

const statelessPolicy = `{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"1s"},"attributes":{
	"cart":{"ttl":"6h","max_bytes":8192},"login":{"ttl":"1m"},"pin":{"ttl":"1m","on_expiry":"refuse"},"ticket":{"ttl":"10m","once":true},"note":{"idle":"10m","max_bytes":64}}}`

func remembersNothing(t testing.TB) (*cluster, *tally) {
	t.Helper()
	c := newCluster(t).with(statelessPolicy)
	return c, c.tallied()
}

func (v *visitor) one() string { return v.cookies[session.StatelessCookieName+"0"] }

func TestStatelessCarriesTheSession(t *testing.T) {
	for _, header := range []bool{false, true} {
		c, _ := remembersNothing(t)
		node := func() *session.Stateless {
			return c.stateless(func(cfg *session.StatelessConfig) { cfg.Header = header })
		}
		v := newVisitor(t)
		w := v.visit(node(), func(ctx context.Context, s *session.Session) {
			if !s.New() {
				t.Error("a visitor with nothing has a session")
			}
		})
		if v.holds() || len(w.Header()["Set-Cookie"]) > 0 {
			t.Errorf("a session without an attribute is carried: %v", w.Header())
		}
		v.visit(node(), func(ctx context.Context, s *session.Session) {
			must(t, s.Set(ctx, "cart", []string{"tea"}))
			must(t, s.Set(ctx, "login", "ada"))
			loggedIn(t, ctx, s, "ada")
		})
		w = v.visit(node(), func(ctx context.Context, s *session.Session) {
			if got, err := get(t, s, "cart"); s.New() || got != "tea" || err != nil || s.Subject() != "ada" {
				t.Errorf("header=%t: new=%t, cart %q, %v, subject %q", header, s.New(), got, err, s.Subject())
			}
		})
		if len(w.Header()["Set-Cookie"]) > 0 || w.Header().Get(session.StatusHeader) != "" {
			t.Errorf("nothing changed, and the client is told: %v", w.Header())
		}
		v.visit(node(), func(ctx context.Context, s *session.Session) { must(t, s.Delete(ctx, "login")) })
		v.visit(node(), func(ctx context.Context, s *session.Session) {
			if _, err := get(t, s, "login"); !errors.Is(err, session.ErrNoAttribute) {
				t.Errorf("a deleted attribute: %v", err)
			}
			if got, _ := get(t, s, "cart"); got != "tea" {
				t.Errorf("the other one: %q", got)
			}
		})
	}
}

// What the store is asked: nothing without one, one question a request with one
// and another before a change goes out, and nothing in between when it may be
// asked less often.
func TestStatelessLoadOnTheStore(t *testing.T) {
	c, store := remembersNothing(t)
	none := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{}}}`)
	none.store = &tally{Store: replay.None{}}
	seldom := func(cfg *session.StatelessConfig) { cfg.CheckEvery = time.Minute }
	for name, try := range map[string]struct {
		st    *session.Stateless
		store *tally
		want  int
	}{
		"each request": {c.stateless(nil), store, 20},
		"seldom":       {c.stateless(seldom), store, 0},
	} {
		v := newVisitor(t)
		v.cart(try.st, "tea")
		try.store.asked = 0
		for range 10 {
			if _, w := v.cart(try.st, "tea"); w.Code != 200 {
				t.Fatalf("%s: %d", name, w.Code)
			}
		}
		if try.store.asked != try.want {
			t.Errorf("%s: %d operations in ten requests, want %d", name, try.store.asked, try.want)
		}
	}
	none.store = replay.None{} // a program without one asks nobody
	v := newVisitor(t)
	st := none.stateless(nil)
	v.cart(st, "tea")
	if got, w := v.cart(st, ""); w.Code != 200 || len(got) != 1 {
		t.Errorf("without a store: %d, %v", w.Code, got)
	}
}

// A set that is not exactly what this server made for this carrier is refused,
// the handler is not called, and the client is told to drop it.
func TestStatelessRefusesWhatItDidNotMake(t *testing.T) {
	c, _ := remembersNothing(t)
	st := c.stateless(nil)
	v := newVisitor(t)
	v.visit(st, func(ctx context.Context, s *session.Session) {
		must(t, s.Set(ctx, "cart", []string{"tea"}))
		must(t, s.Set(ctx, "note", "n"))
	})
	old := v.one()
	v.cart(st, "milk")
	good := v.one()
	parts := func(cookie string) []string { return strings.Split(strings.TrimPrefix(cookie, "1."), "~") }
	join := func(p ...string) string { return "1." + strings.Join(p, "~") }
	was, is := parts(old), parts(good)
	other := func(change func(*session.StatelessConfig)) string {
		v := newVisitor(t)
		v.cart(c.stateless(change), "tea")
		return v.one()
	}
	inHeader := newVisitor(t)
	inHeader.cart(c.stateless(func(cfg *session.StatelessConfig) { cfg.Header = true }), "tea")
	stateful, b := shoppingSet(t, c)
	for name, cookie := range map[string]string{
		"empty":                      "",
		"no count":                   good[2:],
		"count 0":                    "0." + good[2:],
		"count 2, one there":         "2." + good[2:],
		"not a count":                "x." + good[2:],
		"one attribute missing":      join(is[0], is[1]),
		"both missing":               join(is[0]),
		"the manifest missing":       join(is[1], is[2]),
		"in another order":           join(is[0], is[2], is[1]),
		"twice":                      join(is[0], is[1], is[1], is[2]),
		"exchanged":                  join(is[0], is[1][:12]+is[2][12:], is[2][:12]+is[1][12:]),
		"an older manifest":          join(was[0], is[1], is[2]),
		"older attributes":           join(is[0], was[1], was[2]),
		"something behind":           good + "~",
		"cut":                        good[:len(good)-1],
		"of another app":             other(func(cfg *session.StatelessConfig) { cfg.App = "other" }),
		"of a tenant":                other(func(cfg *session.StatelessConfig) { cfg.Tenant = "acme" }),
		"of a header":                "1." + inHeader.text,
		"of a session with a memory": "1." + stateful,
	} {
		refusedStateless(t, st, name, map[string]string{session.StatelessCookieName + "0": cookie})
	}
	for range 100 {
		i := 2 + rand.IntN(len(good)-2)
		refusedStateless(t, st, fmt.Sprint("changed at ", i), map[string]string{session.StatelessCookieName + "0": good[:i] + flipped(good[i:i+1]) + good[i+1:]})
	}
	refusedStateless(t, st, "a part too many", map[string]string{session.StatelessCookieName + "0": good, session.StatelessCookieName + "1": "x"})
	refusedStateless(t, st, "the first part missing", map[string]string{session.StatelessCookieName + "1": good})
	_ = b
	if got, w := v.cart(st, ""); w.Code != 200 || !slices.Equal(got, []string{"tea", "milk"}) {
		t.Errorf("the good one: %d, %v", w.Code, got)
	}
}

// shoppingSet is the set of a session with a memory, in the form of a cookie.
func shoppingSet(t testing.TB, c *cluster) (string, *browser) {
	t.Helper()
	_, b := shopping(t, c.node())
	slots := slices.Sorted(maps.Keys(b.blobs))
	text := b.manifest
	for _, slot := range slots {
		text += "~" + slot + b.blobs[slot]
	}
	return text, b
}

func refusedStateless(t testing.TB, st *session.Stateless, name string, cookies map[string]string) {
	t.Helper()
	v := newVisitor(t)
	v.cookies = cookies
	w := v.visit(st, func(context.Context, *session.Session) { t.Errorf("%s: the handler was called", name) })
	if w.Code != http.StatusUnauthorized || strings.TrimSpace(w.Body.String()) != "rejected" || v.holds() {
		t.Errorf("%s: %d %s, the client keeps %v", name, w.Code, w.Body, v.cookies)
	}
}

// A stateless set brings no session to life on a node with a memory.
func TestStatelessSetDoesNotRestore(t *testing.T) {
	c, _ := remembersNothing(t)
	v := newVisitor(t)
	v.cart(c.stateless(nil), "tea")
	items := strings.Split(v.one()[2:], "~")
	m, _, err := c.ring.NewOpener(shopScope, time.Now()).Manifest(items[0])
	must(t, err)
	node := c.node()
	s, err := node.Start()
	must(t, err)
	h := s.Holder()
	h.Session = m.Session
	_, err = node.Restore(t.Context(), session.Presented{Holder: h, Attempt: owner(), Manifest: items[0], Blobs: map[string]string{items[1][:12]: items[1][12:]}})
	if !errors.Is(err, policy.ErrBinding) {
		t.Errorf("restored: %v", err)
	}
}

func TestStatelessCookieTwice(t *testing.T) {
	c, _ := remembersNothing(t)
	st := c.stateless(nil)
	v := newVisitor(t)
	v.cart(st, "tea")
	r := v.request()
	r.AddCookie(&http.Cookie{Name: session.StatelessCookieName + "0", Value: v.one()})
	if w := v.send(st, r, func(http.ResponseWriter, *http.Request) { t.Error("called") }); w.Code != 401 {
		t.Errorf("twice: %d", w.Code)
	}
	v.cart(st, "tea")
	v.cookies[session.StatelessCookieName+"9"] = "no part of any set"
	v.cookies["sealed-set-0"] = "from plain HTTP"
	if got, w := v.cart(st, ""); w.Code != 200 || len(got) != 1 {
		t.Errorf("with foreign cookies: %d, %v", w.Code, got)
	}
}

func TestStatelessHeaderTwice(t *testing.T) {
	c, _ := remembersNothing(t)
	st := c.stateless(func(cfg *session.StatelessConfig) { cfg.Header = true })
	v := newVisitor(t)
	v.cart(st, "tea")
	r := v.request()
	r.Header.Add(session.StatusHeader, session.StatusNone)
	w := v.send(st, r, func(http.ResponseWriter, *http.Request) { t.Error("called") })
	if w.Code != 401 || w.Header().Get(session.StatusHeader) != session.StatusNone {
		t.Errorf("twice: %d %v", w.Code, w.Header())
	}
}

func TestStatelessOverSeveralCookies(t *testing.T) {
	c, _ := remembersNothing(t)
	st := c.stateless(nil)
	v := newVisitor(t)
	big := strings.Repeat("x", 3000)
	v.cart(st, big)
	if len(v.cookies) != 2 {
		t.Fatalf("%d cookies", len(v.cookies))
	}
	if got, w := v.cart(st, ""); w.Code != 200 || got[0] != big {
		t.Errorf("read back: %d", w.Code)
	}
	part := v.copy()
	delete(part.cookies, session.StatelessCookieName+"1")
	if _, w := part.cart(st, ""); w.Code != 401 {
		t.Errorf("half of it: %d", w.Code)
	}
	part = v.copy()
	a, b := session.StatelessCookieName+"0", session.StatelessCookieName+"1"
	part.cookies[a], part.cookies[b] = "2."+part.cookies[b], strings.TrimPrefix(part.cookies[a], "2.")
	if _, w := part.cart(st, ""); w.Code != 401 {
		t.Errorf("exchanged: %d", w.Code)
	}
	v.visit(st, func(ctx context.Context, s *session.Session) { must(t, s.Set(ctx, "cart", []string{"tea"})) })
	if len(v.cookies) != 1 {
		t.Errorf("the smaller set has %d cookies", len(v.cookies))
	}
	if got, w := v.cart(st, ""); w.Code != 200 || len(got) != 1 {
		t.Errorf("the smaller set: %d, %v", w.Code, got)
	}
}

// Set tells when the set would not fit, early by little and late never.
func TestStatelessLimit(t *testing.T) {
	c, _ := remembersNothing(t)
	for _, limit := range []int{1800, 2500, session.DefaultMaxText, session.MaxMaxText} {
		st := c.stateless(func(cfg *session.StatelessConfig) { cfg.MaxText = limit })
		largest := 0
		for n := 0; n < 8000; n += 61 {
			v := newVisitor(t)
			refused := false
			w := v.visit(st, func(ctx context.Context, s *session.Session) {
				must(t, s.Set(ctx, "note", "n"))
				s = loggedIn(t, ctx, s, `"`+strings.Repeat("s", 40))
				err := s.Set(ctx, "cart", []string{strings.Repeat("x", n)})
				refused = err != nil
				if refused && !errors.Is(err, session.ErrTooLarge) {
					t.Error(err)
				}
			})
			total := 0
			for _, value := range v.cookies {
				total += len(value)
			}
			if w.Code != 200 || total > limit+2 || total == 0 {
				t.Fatalf("limit %d, %d bytes: %d, a set of %d characters", limit, n, w.Code, total)
			}
			if !refused {
				largest = max(largest, total)
			}
		}
		if limit < 12_000 && largest < limit*7/8-160 { // Padmé's buckets are an eighth
			t.Errorf("limit %d: nothing over %d characters was let in", limit, largest)
		}
	}
}

// What no Set can foresee is refused when the set is sealed.
func TestStatelessSubjectOverTheLimit(t *testing.T) {
	c, _ := remembersNothing(t)
	st := c.stateless(func(cfg *session.StatelessConfig) { cfg.MaxText = 2000 })
	v := newVisitor(t)
	v.cart(st, "tea")
	before := v.one()
	w := v.visit(st, func(ctx context.Context, s *session.Session) {
		for n := 1000; s.Set(ctx, "cart", []string{strings.Repeat("x", n)}) != nil; n -= 10 {
		}
		loggedIn(t, ctx, s, strings.Repeat("s", 256))
	})
	if w.Code != http.StatusRequestEntityTooLarge || v.one() != before {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A set that is over this server's limit is refused unread.
func TestStatelessOverAnotherLimit(t *testing.T) {
	c, _ := remembersNothing(t)
	for _, header := range []bool{false, true} {
		of := func(limit int) *session.Stateless {
			return c.stateless(func(cfg *session.StatelessConfig) { cfg.Header, cfg.MaxText = header, limit })
		}
		v := newVisitor(t)
		v.cart(of(0), strings.Repeat("x", 1000))
		if w := v.visit(of(1500), func(context.Context, *session.Session) { t.Error("called") }); w.Code != 401 || v.holds() {
			t.Errorf("header=%t: %d", header, w.Code)
		}
	}
}

// Where the store may be asked seldom, it is asked once each time.
func TestStatelessAsksSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, store := remembersNothing(t)
		st := c.stateless(func(cfg *session.StatelessConfig) { cfg.CheckEvery = time.Minute })
		v := newVisitor(t)
		v.cart(st, "tea")
		store.asked = 0
		for range 100 {
			time.Sleep(3 * time.Second)
			if got, _ := v.cart(st, ""); len(got) != 1 {
				t.Fatal("lost")
			}
		}
		if store.asked < 4 || store.asked > 5 {
			t.Errorf("asked %d times in five minutes", store.asked)
		}
	})
}

func TestStatelessTooLate(t *testing.T) {
	c, _ := remembersNothing(t)
	st := c.stateless(nil)
	v := newVisitor(t)
	var kept *session.Session
	w := v.send(st, v.request(), func(w http.ResponseWriter, r *http.Request) {
		kept = session.FromContext(r.Context())
		must(t, kept.Set(r.Context(), "cart", []string{"tea"}))
		w.(http.Flusher).Flush()
		if err := kept.Set(r.Context(), "cart", []string{"milk"}); !errors.Is(err, session.ErrTooLate) {
			t.Errorf("Set after the header: %v", err)
		}
		if err := kept.Delete(r.Context(), "cart"); !errors.Is(err, session.ErrTooLate) {
			t.Errorf("Delete after the header: %v", err)
		}
		if _, err := kept.Login(r.Context(), "ada", trusted); !errors.Is(err, session.ErrTooLate) {
			t.Errorf("Login after the header: %v", err)
		}
		if got, err := get(t, kept, "cart"); got != "tea" || err != nil {
			t.Errorf("Get after the header: %q, %v", got, err)
		}
		fmt.Fprint(w, "body")
	})
	if w.Body.String() != "body" {
		t.Errorf("body %q", w.Body)
	}
	if _, err := get(t, kept, "cart"); !errors.Is(err, session.ErrTooLate) {
		t.Errorf("after the request: %v", err)
	}
	if got, _ := v.cart(st, ""); !slices.Equal(got, []string{"tea"}) {
		t.Errorf("carried: %v", got)
	}
}

// A response whose changes can't be sealed is replaced; the older set stays.
func TestStatelessResponseIsReplaced(t *testing.T) {
	c, _ := remembersNothing(t)
	keys := &faultyKeys{Source: c.ring}
	st := c.stateless(func(cfg *session.StatelessConfig) { cfg.Keys = keys })
	v := newVisitor(t)
	v.cart(st, "tea")
	before := v.one()
	w := v.send(st, v.request(), func(w http.ResponseWriter, r *http.Request) {
		must(t, session.FromContext(r.Context()).Set(r.Context(), "cart", []string{"milk"}))
		keys.err = errors.New("the key service is away")
		w.Header().Set("Content-Length", "4")
		w.WriteHeader(201)
		if _, err := w.Write([]byte("done")); err == nil {
			t.Error("the handler's words were sent")
		}
	})
	if w.Code != 503 || strings.Contains(w.Body.String(), "done") || w.Header().Get("Content-Length") != "" || v.one() != before {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if _, w := v.cart(st, ""); w.Code != 503 || w.Header().Get("Retry-After") == "" || v.one() != before {
		t.Errorf("while the keys are away: %d", w.Code)
	}
	keys.err = nil
	if got, w := v.cart(st, ""); w.Code != 200 || !slices.Equal(got, []string{"tea"}) {
		t.Errorf("afterwards: %d %v", w.Code, got)
	}
}

type faultyKeys struct {
	seal.Source
	err error
}

func (f *faultyKeys) Ring(ctx context.Context) (*seal.Ring, error) {
	if f.err != nil {
		return nil, f.err
	}
	return f.Source.Ring(ctx)
}

func TestStatelessTakeIsOnce(t *testing.T) {
	c, _ := remembersNothing(t)
	st := c.stateless(func(cfg *session.StatelessConfig) { cfg.CheckEvery = time.Minute })
	v := newVisitor(t)
	v.visit(st, func(ctx context.Context, s *session.Session) { must(t, s.Set(ctx, "ticket", "row 7")) })
	thief := v.copy()
	take := func(v *visitor, owner replay.Owner) (seat string, err error) {
		v.visit(st, func(ctx context.Context, s *session.Session) { err = s.Take(ctx, "ticket", owner, &seat) })
		return seat, err
	}
	mine := owner()
	cut := v.copy() // its response is lost
	if seat, err := take(cut, mine); seat != "row 7" || err != nil {
		t.Fatalf("Take = %q, %v", seat, err)
	}
	if seat, err := take(v, mine); seat != "row 7" || err != nil {
		t.Errorf("the repetition: %q, %v", seat, err)
	}
	if _, err := take(v, mine); !errors.Is(err, session.ErrNoAttribute) {
		t.Errorf("from the newer set: %v", err)
	}
	for range 3 {
		if _, err := take(thief.copy(), owner()); !errors.Is(err, replay.ErrReplayed) {
			t.Errorf("from the older set: %v", err)
		}
	}
}

// Two requests at once begin with the same set; the later response wins whole.
func TestStatelessLastWriterWins(t *testing.T) {
	c, _ := remembersNothing(t)
	st := c.stateless(nil)
	v := newVisitor(t)
	v.cart(st, "tea")
	other := v.copy()
	v.cart(st, "milk")
	other.cart(st, "salt")
	maps.Copy(v.cookies, other.cookies)
	if got, _ := v.cart(st, ""); !slices.Equal(got, []string{"tea", "salt"}) {
		t.Errorf("%v", got)
	}
}

// Under a new primary key a set is sealed anew at its next request.
func TestStatelessFollowsTheRing(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	first, err := seal.InitRing(dir, seal.A256GCM, now)
	must(t, err)
	second, err := seal.UnsafeRotateRing(t.Context(), dir, seal.A256CBCHS512, now, now)
	must(t, err)
	c := newCluster(t).with(statelessPolicy)
	c.ring = first
	v := newVisitor(t)
	v.cart(c.stateless(nil), "tea")
	c.ring = second
	st := c.stateless(nil)
	if _, w := v.cart(st, ""); len(w.Header()["Set-Cookie"]) != 1 {
		t.Errorf("not sealed anew: %v", w.Header())
	}
	if got, w := v.cart(st, ""); len(got) != 1 || len(w.Header()["Set-Cookie"]) != 0 {
		t.Errorf("under the new key: %v, %v", got, w.Header())
	}
}

func TestStatelessOnLoopback(t *testing.T) {
	c, _ := remembersNothing(t)
	st := c.stateless(nil)
	w := httptest.NewRecorder()
	h := st.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		must(t, session.FromContext(r.Context()).Set(r.Context(), "cart", []string{"tea"}))
	}))
	h.ServeHTTP(w, request("GET", "/"))
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Name != session.LoopbackStatelessCookieName+"0" || cookies[0].Secure {
		t.Fatalf("%v", cookies)
	}
	w = httptest.NewRecorder()
	st.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if session.FromContext(r.Context()).New() {
			t.Error("not read back")
		}
	})).ServeHTTP(w, request("GET", "/", cookies...))
}

func TestStatelessConfiguration(t *testing.T) {
	c, _ := remembersNothing(t)
	with := func(rule string) func(*session.StatelessConfig) {
		return func(cfg *session.StatelessConfig) {
			p, err := policy.Parse([]byte(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"x":{` + rule + `}}}`))
			must(t, err)
			cfg.Policy = p
		}
	}
	for name, change := range map[string]func(*session.StatelessConfig){
		"kept on the server":      with(`"authority":"server"`),
		"burnt by a restore":      with(`"ttl":"1m","once":true,"burn":"restore"`),
		"bound to a key":          with(`"binding":"key"`),
		"too large":               func(cfg *session.StatelessConfig) { cfg.MaxText = session.MaxMaxText + 1 },
		"negative":                func(cfg *session.StatelessConfig) { cfg.MaxText = -1 },
		"asks too seldom":         func(cfg *session.StatelessConfig) { cfg.CheckEvery = 7*time.Minute + 31*time.Second },
		"asks never":              func(cfg *session.StatelessConfig) { cfg.CheckEvery = -1 },
		"a right without a store": func(cfg *session.StatelessConfig) { cfg.Store = replay.None{} },
	} {
		cfg := session.StatelessConfig{Config: session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop"}}
		change(&cfg)
		if st, err := session.NewStateless(t.Context(), cfg); err == nil || st != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Keys are shared by the sessions of a node for a while, and no longer than the
// limits allow.
func TestStatelessSalts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := remembersNothing(t)
		time.Sleep(pastEpoch)
		st := c.stateless(nil)
		salt := func() string {
			v := newVisitor(t)
			v.cart(st, "tea")
			e, err := seal.InspectUnverified(strings.Split(v.one()[2:], "~")[0])
			must(t, err)
			return e.Salt
		}
		first := salt()
		time.Sleep(9 * time.Minute)
		if salt() != first {
			t.Error("another salt within ten minutes")
		}
		time.Sleep(time.Minute + time.Second)
		if salt() == first {
			t.Error("the same salt after ten minutes")
		}
	})
}
