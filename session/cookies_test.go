package session_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// A Secure cookie under the __Host- name, unless everything about the request
// is plainly local.
func TestCookieNameAndSecure(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	for name, test := range map[string]struct {
		change func(*http.Request)
		secure bool
	}{
		"loopback":              {func(*http.Request) {}, false},
		"localhost":             {func(r *http.Request) { r.Host = "localhost:8080" }, false},
		"IPv6":                  {func(r *http.Request) { r.Host, r.RemoteAddr = "[::1]:80", "[::1]:4711" }, false},
		"a local page":          {func(r *http.Request) { r.Header.Set("Origin", "http://localhost:8080") }, false},
		"TLS":                   {func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, true},
		"a name like localhost": {func(r *http.Request) { r.Host = "localhost.example" }, true},
		"a private address":     {func(r *http.Request) { r.Host = "10.0.0.1" }, true},
		"a private peer":        {func(r *http.Request) { r.RemoteAddr = "10.0.0.1:99" }, true},
		"no host":               {func(r *http.Request) { r.Host = "" }, true},
		"no peer":               {func(r *http.Request) { r.RemoteAddr = "" }, true},
		"a foreign page":        {func(r *http.Request) { r.Header.Set("Origin", "https://shop.example") }, true},
		"a page of no origin":   {func(r *http.Request) { r.Header.Set("Origin", "null") }, true},
		"a foreign referer":     {func(r *http.Request) { r.Header.Set("Referer", "https://shop.example/") }, true},
		"Forwarded":             {func(r *http.Request) { r.Header.Set("Forwarded", "for=192.0.2.1") }, true},
		"Via":                   {func(r *http.Request) { r.Header.Set("Via", "1.1 proxy") }, true},
		"X-Forwarded-Proto":     {func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }, true},
		"X-Forwarded-Host":      {func(r *http.Request) { r.Header.Set("X-Forwarded-Host", "shop.example") }, true},
		"X-Real-IP":             {func(r *http.Request) { r.Header.Set("X-Real-IP", "192.0.2.1") }, true},
	} {
		r := request("GET", "/?cart=tea")
		test.change(r)
		cookies := do(m.Middleware(http.HandlerFunc(handler)), r).Cookies()
		want := map[bool]string{true: session.CookieName, false: session.LoopbackCookieName}[test.secure]
		if len(cookies) != 1 || cookies[0].Secure != test.secure || cookies[0].Name != want || !cookies[0].HttpOnly || cookies[0].Path != "/" || cookies[0].Domain != "" {
			t.Errorf("%s: cookies %v; want %s, Secure %t", name, cookies, want, test.secure)
		}
	}
	always, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop", SecureCookie: true})
	must(t, err)
	if cookies := do(always.Middleware(http.HandlerFunc(handler)), request("GET", "/?cart=tea")).Cookies(); len(cookies) != 1 || !cookies[0].Secure {
		t.Errorf("SecureCookie on loopback: %v", cookies)
	}
}

// One form of the cookie is read; anything else holds nothing.
func TestHolderOfARequest(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, _ := shopping(t, m)
	good := session.CookieValueForTest(s.Holder())
	parts := strings.Split(good, ".")
	read := func(name, value string, change func(*http.Request)) (session.Holder, bool) {
		r := request("GET", "/")
		r.Header.Set("Cookie", name+"="+value)
		if change != nil {
			change(r)
		}
		return m.Holder(r)
	}
	public := func(r *http.Request) { r.Host = "shop.example" }
	for _, name := range []string{session.LoopbackCookieName, session.CookieName} {
		if h, ok := read(name, good, nil); !ok || h != s.Holder() {
			t.Errorf("%s on loopback: %v, %t", name, h, ok)
		}
	}
	if h, ok := read(session.CookieName, good, public); !ok || h != s.Holder() {
		t.Errorf("the Secure cookie off loopback: %v, %t", h, ok)
	}
	if h, ok := read(session.LoopbackCookieName, good, public); ok {
		t.Errorf("the other cookie off loopback holds %v", h)
	}
	for name, value := range map[string]string{
		"empty": "", "one part": parts[0], "two parts": parts[0] + "." + parts[1], "four parts": good + ".0",
		"a short id": parts[0][1:] + "." + parts[1] + ".0", "an id of another spelling": parts[0][:21] + "B." + parts[1] + ".0",
		"a short secret": parts[0] + "." + parts[1][1:] + ".0", "no secret": parts[0] + "..0",
		"no fence": parts[0] + "." + parts[1] + ".", "a negative fence": parts[0] + "." + parts[1] + ".-1", "a signed fence": parts[0] + "." + parts[1] + ".+1",
		"a huge fence": parts[0] + "." + parts[1] + ".9007199254740992", "a long fence": parts[0] + "." + parts[1] + "." + strings.Repeat("0", 100),
	} {
		if h, ok := read(session.CookieName, value, nil); ok || h != (session.Holder{}) {
			t.Errorf("%s: holds %v", name, h)
		}
	}
	for name, header := range map[string]string{
		"the same name twice":  session.CookieName + "=" + good + "; " + session.CookieName + "=" + good,
		"and with another one": session.CookieName + "=" + good + "; " + session.CookieName + "=x",
		"a planted first one":  session.CookieName + "=x; " + session.CookieName + "=" + good,
	} {
		r := request("GET", "/")
		r.Header.Set("Cookie", header)
		if h, ok := m.Holder(r); ok {
			t.Errorf("%s: holds %v", name, h)
		}
	}
}

// A holder that is printed shows its id alone.
func TestHolderDoesNotPrintItsSecret(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	h := s.Holder()
	secret := strings.Split(session.CookieValueForTest(h), ".")[1]
	raw, err := seal.ParseID(secret)
	must(t, err)
	for _, out := range []string{fmt.Sprint(h), fmt.Sprintf("%v %+v %s %q", h, h, h, h), fmt.Sprintf("%v %+v", b.set(h), b.set(h))} {
		for _, form := range []string{secret, fmt.Sprintf("%x", raw), fmt.Sprint([16]byte(raw))} {
			if strings.Contains(out, form) {
				t.Errorf("printed with its secret: %s", out)
			}
		}
		if !strings.Contains(out, s.ID().String()) {
			t.Errorf("printed without its id: %s", out)
		}
	}
}

// What says where a session is, or sets its cookie, is kept by no cache.
func TestAnswersAreNotCached(t *testing.T) {
	c := newCluster(t)
	h := c.node().Middleware(http.HandlerFunc(handler))
	first := do(h, request("GET", "/?cart=tea"))
	elsewhere := do(c.node().Middleware(http.HandlerFunc(handler)), request("GET", "/", first.Cookies()...))
	for name, res := range map[string]*http.Response{"a new cookie": first, "elsewhere": elsewhere, "logout": do(h, request("GET", "/?logout=1", first.Cookies()...))} {
		if got := res.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, got)
		}
	}
}
