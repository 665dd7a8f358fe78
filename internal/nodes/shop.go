package nodes

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/session"
)

// VisitShop plays a visit to the application that examples/nethttp and the
// examples with web frameworks all are: a cart, a login, a move to another node,
// a logout.
func VisitShop(t *testing.T, cart policy.Declaration, app func(*session.Manager) http.Handler) {
	cluster := Start(t, 2, session.Config{Policy: Policy(t, cart)}, app)
	a, b, v := cluster[0], cluster[1], NewVisitor(t)
	post := func(n *Node, path string, form url.Values, want int) {
		t.Helper()
		if status, body := v.Post(n.URL+path, form); status != want {
			t.Fatalf("POST %s: %d %s, want %d", path, status, body, want)
		}
	}
	sees := func(n *Node, want string) {
		t.Helper()
		if status, body := v.Get(n.URL + "/cart"); status != http.StatusOK || strings.TrimSpace(body) != want {
			t.Fatalf("the cart: %d %s, want %s", status, body, want)
		}
	}
	if status, body := v.Get(a.URL + "/"); status != http.StatusOK || !strings.Contains(body, "/sealedblob/index.js") {
		t.Errorf("the page: %d %s", status, body)
	}
	if status, body := v.Get(a.URL + "/sealedblob/index.js"); status != http.StatusOK || !strings.Contains(body, "SealedHTTP") {
		t.Errorf("the client's modules: %d %.100s", status, body)
	}
	sees(a, `{"cart":[],"subject":""}`)
	if cookie := v.Cookie(a.URL, session.LoopbackCookieName); cookie != "" {
		t.Error("a visitor who did nothing got a session")
	}
	post(a, "/cart", url.Values{"item": {"tea"}}, http.StatusOK)
	before := v.Cookie(a.URL, session.LoopbackCookieName)
	post(a, "/login", url.Values{"name": {"ada"}, "password": {"milk"}}, http.StatusForbidden)
	sees(a, `{"cart":["tea"],"subject":""}`)
	post(a, "/login", url.Values{"name": {"ada"}, "password": {"tea"}}, http.StatusOK)
	if after := v.Cookie(a.URL, session.LoopbackCookieName); after == "" || strings.Split(after, ".")[0] == strings.Split(before, ".")[0] {
		t.Error("the session has the id from before the login")
	}
	if status, _ := v.Get(b.URL + "/cart"); status != http.StatusServiceUnavailable {
		t.Errorf("a node without the session: %d, want 503", status)
	}
	v.Move(a, b)
	sees(b, `{"cart":["tea"],"subject":"ada"}`)
	post(b, "/cart", url.Values{"item": {"milk"}}, http.StatusOK)
	post(b, "/cart", url.Values{"item": {strings.Repeat("x", policy.DefaultMaxBytes)}}, http.StatusRequestEntityTooLarge)
	sees(b, `{"cart":["tea","milk"],"subject":"ada"}`)
	set := v.Set(b)
	cookie := v.Cookie(b.URL, session.LoopbackCookieName)
	post(b, "/logout", nil, http.StatusOK)
	sees(b, `{"cart":[],"subject":""}`)
	v.SetCookie(a.URL, session.LoopbackCookieName, cookie)
	if state := v.Present(a, set); state != session.StateRefused {
		t.Errorf("after the logout the set was answered %q", state)
	}
	if status := fromElsewhere(t, a.URL+"/cart"); status != http.StatusForbidden {
		t.Errorf("a POST of another site: %d, want 403", status)
	}
}

// fromElsewhere posts as a browser does for a page of another site.
func fromElsewhere(t *testing.T, url string) (status int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}
