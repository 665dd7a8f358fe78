package session_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/session"
)

// handler sets the cart from ?cart= and writes it.
func handler(w http.ResponseWriter, r *http.Request) {
	s := session.FromContext(r.Context())
	if v := r.URL.Query().Get("cart"); v != "" {
		if err := s.Set(r.Context(), "cart", v); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	if r.URL.Query().Has("logout") {
		if err := s.Logout(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	var cart string
	err := s.Get("cart", &cart)
	_ = json.NewEncoder(w).Encode([]any{cart, err == nil})
}

func do(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestMiddlewareKeepsASession(t *testing.T) {
	c := newCluster(t)
	h := c.node().Middleware(http.HandlerFunc(handler))
	if cookies := do(h, request("GET", "/")).Cookies(); len(cookies) != 0 {
		t.Errorf("a visitor who set nothing got %v", cookies)
	}
	first := do(h, request("GET", "/?cart=tea"))
	cookies := first.Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteLaxMode || cookies[0].Secure || cookies[0].Path != "/" || cookies[0].Name != session.LoopbackCookieName {
		t.Fatalf("cookies %v", cookies)
	}
	if first.Header.Get("Cache-Control") != "no-store" || first.Header.Get("Vary") != "Cookie" {
		t.Errorf("headers %v", first.Header)
	}
	again := do(h, request("GET", "/", cookies...))
	body := make([]byte, 20)
	n, _ := again.Body.Read(body)
	if string(body[:n]) != "[\"tea\",true]\n" || len(again.Cookies()) != 0 {
		t.Errorf("second request: %s, cookies %v", body[:n], again.Cookies())
	}
}

func TestCookieIsSecureOffLoopback(t *testing.T) {
	c := newCluster(t)
	h := c.node().Middleware(http.HandlerFunc(handler))
	for name, change := range map[string]func(*http.Request){
		"a public host":    func(r *http.Request) { r.Host = "shop.example" },
		"a foreign peer":   func(r *http.Request) { r.RemoteAddr = "192.0.2.1:4711" },
		"a proxy":          func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") },
		"a silent proxy":   func(r *http.Request) { r.Header.Set("Origin", "https://shop.example") },
		"a referring page": func(r *http.Request) { r.Header.Set("Referer", "https://shop.example/cart") },
	} {
		r := request("GET", "/?cart=tea")
		change(r)
		cookies := do(h, r).Cookies()
		if len(cookies) != 1 || !cookies[0].Secure || cookies[0].Name != session.CookieName {
			t.Errorf("%s: cookies %v", name, cookies)
		}
	}
}

func TestSessionElsewhereIsNeverAnEmptyOne(t *testing.T) {
	c := newCluster(t)
	h := c.node().Middleware(http.HandlerFunc(handler))
	cookies := do(h, request("GET", "/?cart=tea")).Cookies()
	other := c.node().Middleware(http.HandlerFunc(handler))
	res := do(other, request("GET", "/", cookies...))
	if res.StatusCode != 503 || res.Header.Get(session.StatusHeader) != session.StatusRequired || res.Header.Get("Retry-After") == "" || len(res.Cookies()) != 0 {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	r := request("GET", "/?cart=new", cookies...)
	r.Header.Set(session.StatusHeader, session.StatusNone)
	res = do(other, r)
	if res.StatusCode != 200 || len(res.Cookies()) != 1 || res.Cookies()[0].Value == cookies[0].Value {
		t.Errorf("a client without blobs: %d %v", res.StatusCode, res.Cookies())
	}
}

func TestCookieFollowsTheFence(t *testing.T) {
	c := newCluster(t)
	node1, node2 := c.node(), c.node()
	s, b := shopping(t, node1)
	r, err := node2.Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	h2 := node2.Middleware(http.HandlerFunc(handler))
	old := request("GET", "/")
	old.AddCookie(cookieOf(t, s.Holder()))
	cookies := do(h2, old).Cookies()
	if len(cookies) != 1 || !strings.HasSuffix(cookies[0].Value, ".1") {
		t.Fatalf("cookies %v, want one with fence 1", cookies)
	}
	// The hint tells the old node that its copy is dead.
	h1 := node1.Middleware(http.HandlerFunc(handler))
	if res := do(h1, request("GET", "/", cookies...)); res.StatusCode != 503 {
		t.Errorf("the old node answered %d", res.StatusCode)
	}
	_ = r
}

// cookieOf goes through the middleware, the only place that writes cookies.
func cookieOf(t *testing.T, h session.Holder) *http.Cookie {
	t.Helper()
	return &http.Cookie{Name: session.LoopbackCookieName, Value: session.CookieValueForTest(h)}
}

func TestBadCookies(t *testing.T) {
	c := newCluster(t)
	h := c.node().Middleware(http.HandlerFunc(handler))
	good := do(h, request("GET", "/?cart=tea")).Cookies()[0].Value
	id, rest, _ := strings.Cut(good, ".")
	for name, value := range map[string]string{
		"empty": "", "short": "a.b.0", "no fence": id + "." + strings.TrimSuffix(rest, ".0"), "fence": id + "." + strings.TrimSuffix(rest, "0") + "-1",
		"leading zero": id + "." + strings.TrimSuffix(rest, "0") + "00", "long": good + strings.Repeat("0", 100),
	} {
		res := do(h, request("GET", "/?cart=x", &http.Cookie{Name: session.LoopbackCookieName, Value: value}))
		if res.StatusCode != 200 || len(res.Cookies()) != 1 {
			t.Errorf("%s: %d %v; want a new session", name, res.StatusCode, res.Cookies())
		}
	}
	// The right session with a wrong secret is not this visitor's session.
	forged := id + ".AAAAAAAAAAAAAAAAAAAAAA.0"
	if res := do(h, request("GET", "/", &http.Cookie{Name: session.LoopbackCookieName, Value: forged})); res.StatusCode != 503 {
		t.Errorf("a guessed secret: %d", res.StatusCode)
	}
	twice := []*http.Cookie{{Name: session.LoopbackCookieName, Value: good}, {Name: session.LoopbackCookieName, Value: forged}}
	if res := do(h, request("GET", "/?cart=x", twice...)); res.StatusCode != 503 || len(res.Cookies()) != 0 {
		t.Errorf("two cookies of one name: %d %v; want no session at all", res.StatusCode, res.Cookies())
	}
}

func TestLogoutDeletesTheCookie(t *testing.T) {
	c := newCluster(t)
	h := c.node().Middleware(http.HandlerFunc(handler))
	cookies := do(h, request("GET", "/?cart=tea")).Cookies()
	out := do(h, request("GET", "/?logout=1", cookies...)).Cookies()
	if len(out) != 1 || out[0].MaxAge >= 0 {
		t.Errorf("cookies %v", out)
	}
	if res := do(h, request("GET", "/", cookies...)); res.StatusCode != 200 || len(res.Cookies()) != 1 || res.Cookies()[0].MaxAge >= 0 {
		t.Errorf("the old cookie after logout: %d, %v; want a new visitor", res.StatusCode, res.Cookies())
	}
}

func TestResponseWriter(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	late := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("Flush: %v", err)
		}
		if err := session.FromContext(r.Context()).Set(r.Context(), "cart", 1); !errors.Is(err, session.ErrTooLate) {
			t.Errorf("Set after the header was sent = %v, want ErrTooLate", err)
		}
		if u, ok := w.(interface{ Unwrap() http.ResponseWriter }); !ok || u.Unwrap() == nil {
			t.Error("no Unwrap")
		}
	}))
	do(late, request("GET", "/"))
	flushed := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		must(t, session.FromContext(r.Context()).Set(r.Context(), "cart", 1))
		must(t, http.NewResponseController(w).Flush())
	}))
	if res := do(flushed, request("GET", "/")); len(res.Cookies()) != 1 {
		t.Error("Flush lost the cookie")
	}
	silent := m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		must(t, session.FromContext(r.Context()).Set(r.Context(), "cart", 1))
	}))
	if res := do(silent, request("GET", "/")); len(res.Cookies()) != 1 {
		t.Error("a handler that writes nothing lost the cookie")
	}
}

func TestLimits(t *testing.T) {
	c := newCluster(t)
	s, _ := shopping(t, c.node())
	if err := s.Set(t.Context(), "note", strings.Repeat("x", 62)); err != nil {
		t.Errorf("64 bytes: %v", err)
	}
	if err := s.Set(t.Context(), "note", strings.Repeat("x", 63)); !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("65 bytes: %v", err)
	}
	if err := s.Set(t.Context(), "admin", true); !errors.Is(err, policy.ErrNotAllowed) {
		t.Errorf("an undeclared name: %v", err)
	}
	if err := s.Get("admin", new(any)); !errors.Is(err, session.ErrNoAttribute) {
		t.Errorf("Get of an undeclared name: %v", err)
	}
}

// The largest value that a policy can allow still fits into an envelope.
func TestLargestValueSeals(t *testing.T) {
	c := newCluster(t)
	c.policy = testkit.Policy(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"big":{"max_bytes":11264,"ttl":"1h","absolute":"2h"}}}`)
	s, err := c.node().Start()
	must(t, err)
	must(t, s.Set(t.Context(), "big", strings.Repeat("x", policy.MaxValueBytes-2)))
	must(t, s.Save(t.Context()))
}

func TestDeltasAndResends(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	must(t, s.Set(t.Context(), "cart", []string{"a"}))
	must(t, s.Save(t.Context()))
	last := b.pushes[len(b.pushes)-1]
	if !last.Delta || len(last.Set) != 1 || last.Base.Gen+1 != last.Version.Gen {
		t.Errorf("one dirty attribute pushed as %+v", last)
	}
	pushes := len(b.pushes)
	must(t, s.Save(t.Context()))
	if len(b.pushes) != pushes {
		t.Error("a clean session was pushed")
	}
	s.Delete(t.Context(), "login")
	must(t, s.Save(t.Context()))
	if last := b.pushes[len(b.pushes)-1]; len(last.Del) != 1 || len(b.blobs) != 2 {
		t.Errorf("a deletion pushed as %+v", last)
	}
	b.deaf = true
	must(t, s.Set(t.Context(), "cart", []string{"b"}))
	must(t, s.Save(t.Context()))
	b.deaf = false
	must(t, s.Set(t.Context(), "note", "n"))
	must(t, s.Save(t.Context())) // a delta on a set that the browser does not hold
	must(t, s.Acknowledge(t.Context(), b, b.version))
	if r, err := c.node().Restore(t.Context(), b.set(s.Holder())); err != nil || len(r.Session.Attributes()) != 3 {
		t.Errorf("after a lost push: %v", err)
	}
}

func TestIdleAndLapse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.node()
		s, b := shopping(t, m)
		for range 10 { // the connect loop keeps it alive, and the browser's set fresh
			time.Sleep(10 * time.Minute)
			must(t, s.Acknowledge(t.Context(), b, b.version))
		}
		if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); err != nil {
			t.Errorf("after 100 minutes with a connected client: %v", err)
		}
		s2, b2 := shopping(t, m)
		must(t, s2.Acknowledge(t.Context(), b2, b2.version))
		s2.Detach(b2)
		runFor(t, m, 29*time.Second)
		if _, live := m.Live(s2.Holder()); !live {
			t.Error("let go too early")
		}
		runFor(t, m, 3*time.Second)
		if _, live := m.Live(s2.Holder()); live {
			t.Error("a session whose client left is still in memory")
		}
		s3, b3 := shopping(t, m)
		b3.deaf = true
		must(t, s3.Set(t.Context(), "cart", 1))
		must(t, s3.Save(t.Context()))
		s3.Detach(b3)
		runFor(t, m, time.Minute)
		if _, live := m.Live(s3.Holder()); !live {
			t.Error("the only copy of the newest set was let go")
		}
	})
}

func TestFullNodeRefuses(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	m, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop", MaxSessions: 1})
	must(t, err)
	if _, err := m.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Start(); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("a second session: %v", err)
	}
	set := b.set(s.Holder())
	if _, err := m.Restore(t.Context(), set); session.Outward(err) != session.ErrUnavailable {
		t.Errorf("Restore on a full node: %v", err)
	}
	if _, err := c.node().Restore(t.Context(), set); err != nil {
		t.Errorf("the refused restore fenced the session: %v", err)
	}
}
