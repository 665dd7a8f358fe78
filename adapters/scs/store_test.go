package scsstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	scsstore "github.com/sealedblob/sealedblob/adapters/scs"
	"github.com/sealedblob/sealedblob/internal/nodes"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/session"
)

// start runs nodes of an application that knows scs alone.
func start(t *testing.T, count int, set func(*scs.SessionManager)) []*nodes.Node {
	t.Helper()
	rules := nodes.Policy(t, policy.Rule{Name: "scs", TTL: time.Hour})
	return nodes.Start(t, count, session.Config{Policy: rules}, func(m *session.Manager) http.Handler {
		manager := managerOf(t, m.Policy())
		if set != nil {
			set(manager)
		}
		return nodes.Mount(m, manager.LoadAndSave(app(manager)))
	})
}

// managerOf is the program's own, as README.md has it.
func managerOf(t *testing.T, rules *policy.Policy) *scs.SessionManager {
	t.Helper()
	store, err := scsstore.New(rules, "scs")
	if err != nil {
		t.Fatal(err)
	}
	manager := scs.New()
	manager.Store, manager.ErrorFunc = store, scsstore.ErrorFunc
	return manager
}

// app is a program as there are many: it has not heard of sealed sets.
func app(manager *scs.SessionManager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /put", func(_ http.ResponseWriter, r *http.Request) {
		manager.Put(r.Context(), "note", r.FormValue("note"))
		manager.Put(r.Context(), "count", manager.GetInt(r.Context(), "count")+1)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %d", manager.GetString(r.Context(), "note"), manager.GetInt(r.Context(), "count"))
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := manager.RenewToken(r.Context()); err != nil {
			scsstore.ErrorFunc(w, r, err)
		}
	})
	mux.HandleFunc("POST /destroy", func(w http.ResponseWriter, r *http.Request) {
		if err := manager.Destroy(r.Context()); err != nil {
			scsstore.ErrorFunc(w, r, err)
		}
	})
	mux.HandleFunc("POST /logout", func(_ http.ResponseWriter, r *http.Request) {
		if err := session.FromContext(r.Context()).Logout(r.Context()); err != nil {
			panic(err)
		}
		manager.Put(r.Context(), "note", "after the end")
	})
	return mux
}

func post(t *testing.T, v *nodes.Visitor, n *nodes.Node, path, note string) {
	t.Helper()
	if status, body := v.Post(n.URL+path, url.Values{"note": {note}}); status != http.StatusOK {
		t.Fatalf("POST %s: %d %s", path, status, body)
	}
}

func expect(t *testing.T, v *nodes.Visitor, n *nodes.Node, want string) {
	t.Helper()
	if status, body := v.Get(n.URL + "/"); status != http.StatusOK || body != want {
		t.Fatalf("%d %q, want %q", status, body, want)
	}
}

func TestSessionMovesToAnotherNode(t *testing.T) {
	cluster, v := start(t, 2, nil), nodes.NewVisitor(t)
	post(t, v, cluster[0], "/put", "tea")
	v.Move(cluster[0], cluster[1])
	expect(t, v, cluster[1], "tea 1")
	post(t, v, cluster[1], "/put", "milk")
	expect(t, v, cluster[1], "milk 2")
	if status, _ := v.Get(cluster[0].URL + "/"); status != http.StatusServiceUnavailable {
		t.Errorf("the node that it left: %d, want 503 and no empty session", status)
	}
}

func TestRenewToken(t *testing.T) {
	cluster, v := start(t, 1, nil), nodes.NewVisitor(t)
	post(t, v, cluster[0], "/put", "tea")
	before := v.Cookie(cluster[0].URL, "session")
	post(t, v, cluster[0], "/login", "")
	if after := v.Cookie(cluster[0].URL, "session"); after == before || after == "" {
		t.Error("the token is the same")
	}
	expect(t, v, cluster[0], "tea 1")
	v.SetCookie(cluster[0].URL, "session", before)
	expect(t, v, cluster[0], " 0")
}

func TestDestroy(t *testing.T) {
	cluster, v := start(t, 1, nil), nodes.NewVisitor(t)
	post(t, v, cluster[0], "/put", "tea")
	token := v.Cookie(cluster[0].URL, "session")
	post(t, v, cluster[0], "/destroy", "")
	v.SetCookie(cluster[0].URL, "session", token)
	expect(t, v, cluster[0], " 0")
}

// Each visitor has a session of ours and a token of scs's; both must fit.
func TestForeignToken(t *testing.T) {
	cluster := start(t, 1, nil)
	ada, eve := nodes.NewVisitor(t), nodes.NewVisitor(t)
	post(t, ada, cluster[0], "/put", "tea")
	post(t, eve, cluster[0], "/put", "gin")
	eve.SetCookie(cluster[0].URL, "session", ada.Cookie(cluster[0].URL, "session"))
	expect(t, eve, cluster[0], " 0")
	expect(t, ada, cluster[0], "tea 1")
}

func TestIdleTimeoutAndLifetime(t *testing.T) {
	for name, set := range map[string]func(*scs.SessionManager){
		"idle":     func(m *scs.SessionManager) { m.IdleTimeout = 3 * time.Second },
		"lifetime": func(m *scs.SessionManager) { m.Lifetime = 3 * time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, v := start(t, 1, set), nodes.NewVisitor(t)
			post(t, v, cluster[0], "/put", "tea")
			expect(t, v, cluster[0], "tea 1")
			token := v.Cookie(cluster[0].URL, "session")
			time.Sleep(3100 * time.Millisecond)
			v.SetCookie(cluster[0].URL, "session", token) // the jar may have forgotten it
			expect(t, v, cluster[0], " 0")
		})
	}
}

// A session that ended in the middle of a request takes nothing more.
func TestEndedSessionRefuses(t *testing.T) {
	cluster, v := start(t, 1, nil), nodes.NewVisitor(t)
	post(t, v, cluster[0], "/put", "tea")
	status, body := v.Post(cluster[0].URL+"/logout", nil)
	if status != http.StatusUnauthorized || strings.TrimSpace(body) != http.StatusText(status) {
		t.Errorf("%d %q, want 401 and its text", status, body)
	}
	expect(t, v, cluster[0], " 0")
}

func TestEndedSessionIsNotEmpty(t *testing.T) {
	cluster := start(t, 1, nil)
	ours, err := cluster[0].Sessions.Start()
	if err != nil {
		t.Fatal(err)
	}
	store, err := scsstore.New(cluster[0].Sessions.Policy(), "scs")
	if err != nil {
		t.Fatal(err)
	}
	ctx := session.NewContext(t.Context(), ours)
	if err := ours.Logout(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.FindCtx(ctx, "token"); !errors.Is(err, session.ErrEnded) {
		t.Errorf("Find: %v, want ErrEnded", err)
	}
	if err := store.DeleteCtx(ctx, "token"); !errors.Is(err, session.ErrEnded) {
		t.Errorf("Delete: %v, want ErrEnded", err)
	}
}

func TestErrorFunc(t *testing.T) {
	w := httptest.NewRecorder()
	scsstore.ErrorFunc(w, nil, fmt.Errorf("%w: the store of host 7 is away", session.ErrUnavailable))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "host") {
		t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
	}
}

func TestTooLarge(t *testing.T) {
	cluster, v := start(t, 1, nil), nodes.NewVisitor(t)
	status, _ := v.Post(cluster[0].URL+"/put", url.Values{"note": {strings.Repeat("x", policy.DefaultMaxBytes)}})
	if status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d, want 413", status)
	}
}

func TestWithoutASession(t *testing.T) {
	store, err := scsstore.New(nodes.Policy(t, policy.Rule{Name: "scs", TTL: time.Hour}), "scs")
	if err != nil {
		t.Fatal(err)
	}
	_, _, find := store.Find("token")
	_, _, findCtx := store.FindCtx(context.Background(), "token")
	for name, err := range map[string]error{
		"Find": find, "FindCtx": findCtx,
		"Commit":    store.Commit("token", nil, time.Now().Add(time.Hour)),
		"CommitCtx": store.CommitCtx(context.Background(), "token", nil, time.Now().Add(time.Hour)),
		"Delete":    store.Delete("token"),
		"DeleteCtx": store.DeleteCtx(context.Background(), "token"),
	} {
		if !errors.Is(err, session.ErrNoSession) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAttributeMustFit(t *testing.T) {
	rules := nodes.Policy(t, policy.Rule{Name: "ticket", TTL: time.Minute, Once: true})
	for _, name := range []string{"ticket", "unknown"} {
		if _, err := scsstore.New(rules, name); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// Who has not shown the token can't destroy what was committed under it.
func TestDestroyWithoutTheToken(t *testing.T) {
	cluster, v := start(t, 1, nil), nodes.NewVisitor(t)
	post(t, v, cluster[0], "/put", "tea")
	token := v.Cookie(cluster[0].URL, "session")
	v.SetCookie(cluster[0].URL, "session", "another")
	post(t, v, cluster[0], "/destroy", "")
	v.SetCookie(cluster[0].URL, "session", token)
	expect(t, v, cluster[0], "tea 1")
}
