package gorillastore_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/sessions"

	gorillastore "github.com/sealedblob/sealedblob/adapters/gorilla"
	"github.com/sealedblob/sealedblob/internal/nodes"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/session"
)

func rules(t *testing.T) *policy.Policy {
	return nodes.Policy(t, policy.Rule{Name: "cart", TTL: time.Hour}, policy.Rule{Name: "login", TTL: time.Hour},
		policy.Rule{Name: "ticket", TTL: time.Minute, Once: true})
}

// start runs nodes of an application that knows gorilla's API alone.
func start(t *testing.T, count int) []*nodes.Node {
	t.Helper()
	return nodes.Start(t, count, session.Config{Policy: rules(t)}, func(m *session.Manager) http.Handler {
		return nodes.Mount(m, app(gorillastore.New(m.Policy())))
	})
}

// app is a program as there are many: it has not heard of sealed sets.
func app(store sessions.Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /put", change(store, func(s *sessions.Session, r *http.Request) {
		n, _ := s.Values["count"].(int)
		s.Values["count"], s.Values["note"] = n+1, r.FormValue("note")
	}))
	mux.HandleFunc("POST /flash", change(store, func(s *sessions.Session, r *http.Request) {
		s.AddFlash(r.FormValue("note"))
	}))
	mux.HandleFunc("POST /unflash", change(store, func(s *sessions.Session, r *http.Request) {
		r.Form.Set("answer", fmt.Sprint(s.Flashes()))
	}))
	mux.HandleFunc("POST /delete", change(store, func(s *sessions.Session, _ *http.Request) { s.Options.MaxAge = -1 }))
	mux.HandleFunc("POST /short", change(store, func(s *sessions.Session, _ *http.Request) {
		s.Values["note"], s.Options.MaxAge = "short", 3 // seconds
	}))
	mux.HandleFunc("POST /unregistered", change(store, func(s *sessions.Session, _ *http.Request) {
		s.Values["note"] = struct{ A int }{1}
	}))
	mux.HandleFunc("POST /ended", change(store, func(s *sessions.Session, r *http.Request) {
		if err := session.FromContext(r.Context()).Logout(r.Context()); err != nil {
			panic(err)
		}
		s.Values["note"] = "after the end"
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, r.FormValue("name"))
		if err != nil {
			http.Error(w, err.Error(), session.HTTPStatus(err))
			return
		}
		fmt.Fprintf(w, "%t %v %v", s.IsNew, s.Values["note"], s.Values["count"])
	})
	return mux
}

// change reads the session that the form names, changes and saves it.
func change(store sessions.Store, f func(*sessions.Session, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, err := store.Get(r, r.FormValue("name"))
		if err == nil {
			f(s, r)
			err = s.Save(r, w)
		}
		if err != nil {
			http.Error(w, err.Error(), session.HTTPStatus(err))
			return
		}
		fmt.Fprint(w, r.Form.Get("answer"))
	}
}

func post(t *testing.T, v *nodes.Visitor, n *nodes.Node, path, name, note string) string {
	t.Helper()
	status, body := v.Post(n.URL+path, url.Values{"name": {name}, "note": {note}})
	if status != http.StatusOK {
		t.Fatalf("POST %s: %d %s", path, status, body)
	}
	return body
}

func expect(t *testing.T, v *nodes.Visitor, n *nodes.Node, name, want string) {
	t.Helper()
	if status, body := v.Get(n.URL + "/?name=" + name); status != http.StatusOK || body != want {
		t.Fatalf("%s: %d %q, want %q", name, status, body, want)
	}
}

func TestSessionsMoveToAnotherNode(t *testing.T) {
	cluster, v := start(t, 2), nodes.NewVisitor(t)
	expect(t, v, cluster[0], "cart", "true <nil> <nil>")
	post(t, v, cluster[0], "/put", "cart", "tea")
	post(t, v, cluster[0], "/put", "login", "ada")
	v.Move(cluster[0], cluster[1])
	expect(t, v, cluster[1], "cart", "false tea 1") // an int comes back as an int
	expect(t, v, cluster[1], "login", "false ada 1")
	post(t, v, cluster[1], "/put", "cart", "milk")
	expect(t, v, cluster[1], "cart", "false milk 2")
	if status, _ := v.Get(cluster[0].URL + "/?name=cart"); status != http.StatusServiceUnavailable {
		t.Errorf("the node that it left: %d, want 503 and no empty session", status)
	}
}

func TestFlashes(t *testing.T) {
	cluster, v := start(t, 2), nodes.NewVisitor(t)
	post(t, v, cluster[0], "/flash", "cart", "saved")
	post(t, v, cluster[0], "/flash", "cart", "sent")
	v.Move(cluster[0], cluster[1])
	for _, want := range []string{"[saved sent]", "[]"} {
		if got := post(t, v, cluster[1], "/unflash", "cart", ""); got != want {
			t.Errorf("flashes %s, want %s", got, want)
		}
	}
}

// Who copied the set before a session was deleted comes back with it: only a rule against
// rollback, or the end of the session beneath, keeps him out. README.md says so.
func TestDeleteAndACopiedSet(t *testing.T) {
	for _, c := range []struct {
		rollback policy.Rollback
		end      string
		want     string
	}{
		{policy.RollbackAllow, "/delete", "200 false tea 1"},
		{policy.RollbackDrop, "/delete", "200 true <nil> <nil>"},
		{policy.RollbackAllow, "/ended", "503"},
	} {
		config := session.Config{Policy: nodes.Policy(t, policy.Rule{Name: "cart", TTL: time.Hour, Rollback: c.rollback})}
		cluster, v := nodes.Start(t, 2, config, func(m *session.Manager) http.Handler {
			return nodes.Mount(m, app(gorillastore.New(m.Policy())))
		}), nodes.NewVisitor(t)
		post(t, v, cluster[0], "/put", "cart", "tea")
		thief := v.Copy(cluster[0].URL)
		set := v.Set(cluster[0])
		v.Post(cluster[0].URL+c.end, url.Values{"name": {"cart"}})
		state := thief.Present(cluster[1], set)
		status, body := thief.Get(cluster[1].URL + "/?name=cart")
		if got := fmt.Sprint(status, " ", body); !strings.HasPrefix(got, c.want) {
			t.Errorf("rollback %v, after %s: the set is %s, then %q, want %q", c.rollback, c.end, state, got, c.want)
		}
	}
}

func TestDeleteLeavesTheOthers(t *testing.T) {
	cluster, v := start(t, 1), nodes.NewVisitor(t)
	post(t, v, cluster[0], "/put", "cart", "tea")
	post(t, v, cluster[0], "/put", "login", "ada")
	post(t, v, cluster[0], "/delete", "login", "")
	expect(t, v, cluster[0], "login", "true <nil> <nil>")
	expect(t, v, cluster[0], "cart", "false tea 1")
}

func TestMaxAge(t *testing.T) {
	cluster, v := start(t, 1), nodes.NewVisitor(t)
	post(t, v, cluster[0], "/short", "cart", "")
	expect(t, v, cluster[0], "cart", "false short <nil>")
	time.Sleep(3100 * time.Millisecond)
	expect(t, v, cluster[0], "cart", "true <nil> <nil>")
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		path, session, note string
		want                int
	}{
		"undeclared":          {"/put", "unknown", "", http.StatusUnauthorized},
		"once-only":           {"/put", "ticket", "", http.StatusUnauthorized},
		"too large":           {"/put", "cart", strings.Repeat("x", policy.DefaultMaxBytes), http.StatusRequestEntityTooLarge},
		"not encodable":       {"/unregistered", "cart", "", http.StatusServiceUnavailable},
		"ended in the middle": {"/ended", "cart", "", http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, v := start(t, 1), nodes.NewVisitor(t)
			post(t, v, cluster[0], "/put", "login", "ada")
			status, body := v.Post(cluster[0].URL+c.path, url.Values{"name": {c.session}, "note": {c.note}})
			if status != c.want || len(body) > 200 {
				t.Errorf("%d %q, want %d and few words", status, body, c.want)
			}
		})
	}
}

func TestReadingAnUndeclaredName(t *testing.T) {
	cluster := start(t, 1)
	for _, name := range []string{"unknown", "ticket"} {
		if status, _ := nodes.NewVisitor(t).Get(cluster[0].URL + "/?name=" + name); status != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", name, status)
		}
	}
}

func TestWithoutASession(t *testing.T) {
	store, r := gorillastore.New(rules(t)), httptest.NewRequest(http.MethodGet, "/", nil)
	s, err := store.Get(r, "cart")
	if !errors.Is(err, session.ErrNoSession) || s == nil || !s.IsNew {
		t.Fatalf("%v, %v", s, err)
	}
	if err := s.Save(r, httptest.NewRecorder()); !errors.Is(err, session.ErrNoSession) {
		t.Errorf("saving: %v", err)
	}
}

// A program that ignores the error of Get must not save over what it did not see.
func TestUnreadSessionIsNotReplaced(t *testing.T) {
	store := gorillastore.New(rules(t))
	cluster := nodes.Start(t, 1, session.Config{Policy: rules(t)}, func(m *session.Manager) http.Handler {
		return nodes.Mount(m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ours := session.FromContext(r.Context())
			if err := ours.Set(r.Context(), "cart", "of another program"); err != nil {
				t.Error(err)
			}
			s, err := store.Get(r, "cart")
			if err == nil || s == nil || !s.IsNew {
				t.Errorf("Get: %v, %v", s, err)
			}
			if err := s.Save(r, w); !errors.Is(err, gorillastore.ErrUnread) {
				t.Errorf("Save: %v, want ErrUnread", err)
			}
			s.Options.MaxAge = -1
			if err := s.Save(r, w); err != nil {
				t.Errorf("deleting: %v", err)
			}
			if s, err = store.New(r, "cart"); err != nil || !s.IsNew {
				t.Errorf("after that: %v, %v", s, err)
			}
			w.WriteHeader(http.StatusNoContent)
		}))
	})
	if status, _ := nodes.NewVisitor(t).Get(cluster[0].URL + "/"); status != http.StatusNoContent {
		t.Error(status)
	}
}
