package session_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/session"
)

// A person whose session is elsewhere gets a page, and everybody else the bare 503.
func TestNotHerePage(t *testing.T) {
	c := newCluster(t)
	s, _ := shopping(t, c.node())
	page := session.NotHerePage{Modules: `/"><b>/`, Store: "it's"}
	for name, m := range map[string]*session.Manager{"default": c.waiting(session.Early{Wait: -1}), "with modules": c.waiting(session.Early{Wait: -1, NotHere: page})} {
		h := m.Middleware(page) // never reached
		for _, test := range []struct {
			method, accept string
			html           bool
		}{
			{"GET", "text/html,application/xhtml+xml,*/*;q=0.8", true},
			{"GET", "application/json", false},
			{"GET", "*/*", false}, // a script's
			{"POST", "text/html", false},
			{"HEAD", "text/html", false},
		} {
			r, w := request(test.method, "/", cookieOf(t, s.Holder())), httptest.NewRecorder()
			r.Header.Set("Accept", test.accept)
			h.ServeHTTP(w, r)
			if html := strings.HasPrefix(w.Header().Get("Content-Type"), "text/html"); html != test.html {
				t.Errorf("%s: %s, Accept: %s: a page %t", name, test.method, test.accept, html)
			}
			if w.Code != 503 || w.Header().Get(session.StatusHeader) != session.StatusRequired || w.Header().Get("Retry-After") != "1" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v", name, w.Code, w.Header())
			}
			if test.html {
				checkPage(t, name, w)
			}
		}
	}
}

// checkPage holds the page against its own policy: the one script in it may run.
func checkPage(t *testing.T, name string, w *httptest.ResponseRecorder) {
	t.Helper()
	_, script, ok := strings.Cut(w.Body.String(), "<script ")
	data, script, _ := strings.Cut(script, ">")
	script, rest, closed := strings.Cut(script, "</script>")
	sum := sha256.Sum256([]byte(script))
	if csp := w.Header().Get("Content-Security-Policy"); !ok || !closed || strings.Contains(rest, "<script") || !strings.Contains(csp, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("%s: the script is not the policy's: %s", name, csp)
	}
	want := `data-modules="" data-store="default"`
	if name == "with modules" {
		want = `data-modules="/&#34;&gt;&lt;b&gt;/" data-store="it&#39;s"`
	}
	if data != want {
		t.Errorf("%s: %s, want %s", name, data, want)
	}
}
