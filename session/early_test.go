package session_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/session"
)

// waiting makes a node on which early requests wait as by default, or as early says.
func (c *cluster) waiting(early session.Early) *session.Manager {
	c.t.Helper()
	m, err := session.New(context.Background(), session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop", Early: early})
	must(c.t, err)
	return m
}

// later starts a request and returns its response when there is one.
func later(h http.Handler, r *http.Request) <-chan *httptest.ResponseRecorder {
	done := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		done <- w
	}()
	return done
}

func answered(done <-chan *httptest.ResponseRecorder) bool { return len(done) > 0 }

// count writes how many attributes the session has.
func count(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprint(w, len(session.FromContext(r.Context()).Attributes()))
}

func TestEarlyRequestWaitsForTheRestore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		m := c.waiting(session.Early{})
		h := m.Middleware(http.HandlerFunc(count))
		done := later(h, request("GET", "/", cookieOf(t, s.Holder())))
		time.Sleep(time.Second)
		if synctest.Wait(); answered(done) {
			t.Fatal("answered before the session was there")
		}
		_, err := m.Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		if synctest.Wait(); !answered(done) {
			t.Fatal("the restore did not wake it")
		}
		if w := <-done; w.Code != 200 || w.Body.String() != "3" {
			t.Errorf("%d %s, want the 3 attributes that were restored", w.Code, w.Body)
		}
	})
}

func TestEarlyRequestWaitsNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s, _ := shopping(t, c.node())
		h := c.waiting(session.Early{}).Middleware(http.HandlerFunc(handler))
		began := time.Now()
		w := <-later(h, request("GET", "/", cookieOf(t, s.Holder())))
		if waited := time.Since(began); waited != 2*time.Second {
			t.Errorf("waited %v, want the default of 2s", waited)
		}
		if w.Code != 503 || w.Header().Get(session.StatusHeader) != session.StatusRequired || w.Header().Get("Retry-After") != "1" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	})
}

// Who has nothing to wait for does not wait.
func TestRequestsThatDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s, _ := shopping(t, c.node())
		m := c.waiting(session.Early{})
		h := m.Middleware(http.HandlerFunc(handler))
		began := time.Now()
		anew := request("GET", "/", cookieOf(t, s.Holder()))
		anew.Header.Set(session.StatusHeader, session.StatusNone)
		if w := <-later(h, anew); w.Code != 200 {
			t.Errorf("a client that starts anew: %d", w.Code)
		}
		if w := <-later(h, request("GET", "/")); w.Code != 200 {
			t.Errorf("a visitor: %d", w.Code)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := later(h, request("GET", "/", cookieOf(t, s.Holder())).WithContext(ctx))
		synctest.Wait()
		cancel()
		<-gone
		tried := later(h, request("GET", "/", cookieOf(t, s.Holder())))
		synctest.Wait()
		if _, reply := m.Present(t.Context(), request("POST", "/", cookieOf(t, s.Holder())), session.WireRequest{V: 1}); reply.State != session.StateNone {
			t.Errorf("a handshake with nothing: %s", reply.State)
		}
		if w := <-tried; w.Code != 503 {
			t.Errorf("a client that says it has nothing: %d", w.Code)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("they waited %v", waited)
		}
	})
}

func TestParkedRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		first, b := shopping(t, c.node())
		second, _ := shopping(t, c.node())
		m := c.waiting(session.Early{Parked: 5, ParkedPerSession: 3})
		h := m.Middleware(http.HandlerFunc(handler))
		park := func(s *session.Session) <-chan *httptest.ResponseRecorder {
			done := later(h, request("GET", "/", cookieOf(t, s.Holder())))
			synctest.Wait()
			return done
		}
		for i, test := range []struct {
			of    *session.Session
			waits bool
		}{{first, true}, {first, true}, {first, true}, {first, false}, {second, true}, {second, true}, {second, false}} {
			if done := park(test.of); answered(done) == test.waits {
				t.Errorf("request %d waits %t, want %t", i, !test.waits, test.waits)
			}
		}
		_, err := m.Restore(t.Context(), b.set(first.Holder()))
		must(t, err)
		synctest.Wait()
		if done := park(second); answered(done) {
			t.Error("the places of those who were served are still taken")
		}
		time.Sleep(pastEpoch)
		if synctest.Wait(); m.WaitersForTest() != 0 {
			t.Errorf("%d holders are still remembered", m.WaitersForTest())
		}
	})
}

// A stranger who knows the session's id takes no place of its holder's.
func TestGuessedCookieTakesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s, _ := shopping(t, c.node())
		h := c.waiting(session.Early{ParkedPerSession: 1}).Middleware(http.HandlerFunc(handler))
		forged := &http.Cookie{Name: session.LoopbackCookieName, Value: s.ID().String() + ".AAAAAAAAAAAAAAAAAAAAAQ.0"}
		later(h, request("GET", "/", forged))
		synctest.Wait()
		own := later(h, request("GET", "/", cookieOf(t, s.Holder())))
		if synctest.Wait(); answered(own) {
			t.Error("the holder's request found its place taken")
		}
		time.Sleep(pastEpoch)
	})
}

// The application tells a visitor without a session from one whose session is
// not here yet.
func TestNoSessionIsNotNotHereYet(t *testing.T) {
	c := newCluster(t)
	s, _ := shopping(t, c.node())
	m := c.waiting(session.Early{Wait: -1, NotHere: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if session.FromContext(r.Context()) != nil {
			t.Error("a session was given to the page of those who wait")
		}
		_, _ = io.WriteString(w, "not here yet")
	})})
	h := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		was := s.New()
		must(t, s.Set(t.Context(), "cart", 1))
		if !was || s.New() {
			t.Errorf("New is %t before and %t after the first Set", was, s.New())
		}
		_, _ = io.WriteString(w, "new visitor")
	}))
	for want, r := range map[string]*http.Request{"new visitor": request("GET", "/"), "not here yet": request("GET", "/", cookieOf(t, s.Holder()))} {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Body.String() != want {
			t.Errorf("%q, want %q", w.Body, want)
		}
		if want == "not here yet" && (len(w.Result().Cookies()) != 0 || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get(session.StatusHeader) != session.StatusRequired) {
			t.Errorf("headers %v", w.Header())
		}
	}
}
