package session_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/session"
)

// A bug in the application's function costs its request, and locks nobody out.
func TestUpdateThatPanics(t *testing.T) {
	c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"role":{"rollback":"refuse"},"cart":{}}}`)
	for _, name := range []string{"role", "cart"} {
		for what, fail := range map[string]func(){"panic": func() { panic("a bug") }, "Goexit": runtime.Goexit} {
			m := c.node()
			s, err := m.Start()
			must(t, err)
			must(t, s.Set(t.Context(), name, "before"))
			must(t, s.Save(t.Context()))
			over := make(chan any)
			go func() {
				defer func() { over <- recover() }()
				_ = session.Update(session.NewContext(t.Context(), s), policy.Attr[string](name), func(string) (string, error) {
					fail()
					return "after", nil
				})
			}()
			<-over
			free := make(chan error, 1)
			go func() {
				_ = m.EndLogins(t.Context(), "somebody else") // looks at every session
				free <- s.Set(t.Context(), name, "later")
			}()
			select {
			case err := <-free:
				must(t, err)
			case <-time.After(10 * time.Second):
				t.Fatalf("%s: the session is locked after a %s", name, what)
			}
		}
	}
}

// A handler that panics after it began a session or renewed it locks nobody out: the
// answer of whoever recovers has the cookie, and what was changed is sealed.
func TestHandlerThatPanics(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	h := m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		if r.URL.Path == "/login" {
			s = loggedIn(t, r.Context(), s, "ada")
		}
		must(t, s.Set(r.Context(), "cart", "tea"))
		panic("a mistake")
	}))
	recovered := func(path string, cookies ...*http.Cookie) []*http.Cookie {
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
				w.WriteHeader(http.StatusInternalServerError)
			}()
			h.ServeHTTP(w, request("POST", path, cookies...))
		}()
		return w.Result().Cookies()
	}
	lives := func(what, subject string, cookies []*http.Cookie) {
		t.Helper()
		holder, _ := m.Holder(request("GET", "/", cookies...))
		if s, live := m.Live(holder); !live || s.Subject() != subject || s.Version().Gen == 0 {
			t.Fatalf("after %s: live %t with the cookies %v, or of another, or not sealed", what, live, cookies)
		}
	}
	began := recovered("/cart")
	lives("the beginning", "", began)
	lives("a login", "ada", recovered("/login", began...))
}
