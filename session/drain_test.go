package session_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// answering is a browser that says at once what it holds.
type answering struct {
	browser
	of *session.Session
}

func (p *answering) Push(push session.Push) {
	p.browser.Push(push)
	go p.acknowledge()
}

func (p *answering) Renewed(s *session.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of = s
}

func (p *answering) acknowledge() {
	p.mu.Lock()
	held, of := p.version, p.of
	p.mu.Unlock()
	_ = of.Acknowledge(context.Background(), p, held) // that it moved says Detached
}

// open attaches a browser that answers.
func open(t *testing.T, s *session.Session) *answering {
	t.Helper()
	p := &answering{of: s}
	must(t, s.Attach(p))
	p.acknowledge()
	return p
}

// drained runs Drain for at most limit.
func drained(m *session.Manager, limit time.Duration) <-chan session.Drained {
	done := make(chan session.Drained, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		done <- m.Drain(ctx)
	}()
	return done
}

func TestDrainLeavesTheNewestSetWithTheClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.node()
		s, err := m.Start()
		must(t, err)
		p := open(t, s)
		must(t, s.Set(t.Context(), "cart", []string{"tea"}))
		must(t, s.Save(t.Context()))
		synctest.Wait()
		older := p.set(s.Holder())
		must(t, s.Set(t.Context(), "cart", []string{"tea", "pot"})) // sealed by nobody yet
		out := <-drained(m, time.Minute)
		synctest.Wait()
		if out.Sessions != 1 || len(out.Unacknowledged) != 0 || !p.detached || s.Err() == nil {
			t.Errorf("%+v, sent away %t, session %v", out, p.detached, s.Err())
		}
		if _, err := c.node().Restore(t.Context(), older); !errors.Is(err, session.ErrSuperseded) {
			t.Errorf("the set before the last: %v; the store was not told what is acknowledged", err)
		}
		r, err := c.node().Restore(t.Context(), p.set(s.Holder()))
		must(t, err)
		if got, err := get(t, r.Session, "cart"); err != nil || got != "pot" {
			t.Errorf("restored cart ends with %q, %v", got, err)
		}
	})
}

// What a request under way answers is with the client before it is sent away.
func TestDrainWaitsForRequestsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.node()
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "cart", []string{"tea"}))
		must(t, s.Save(t.Context()))
		p := open(t, s)
		slow := make(chan struct{})
		h := m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-slow
			must(t, session.FromContext(r.Context()).Set(r.Context(), "cart", []string{"late"}))
		}))
		first := later(h, request("GET", "/", cookieOf(t, s.Holder())))
		synctest.Wait()
		end := drained(m, time.Minute)
		time.Sleep(10 * time.Second)
		if synctest.Wait(); p.detached {
			t.Fatal("sent away in the middle of a request")
		}
		close(slow)
		out := <-end
		synctest.Wait()
		if w := <-first; w.Code != 200 {
			t.Errorf("the request under way: %d", w.Code)
		}
		r, err := c.node().Restore(t.Context(), p.set(s.Holder()))
		must(t, err)
		if got, err := get(t, r.Session, "cart"); err != nil || got != "late" || out.Sessions != 1 {
			t.Errorf("restored cart ends with %q, %v; %+v", got, err, out)
		}
	})
}

// A request that comes while a session is about to leave must not change it
// behind its client's back, and must not be told to restore what is not the
// newest set yet.
func TestDrainHoldsNewRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.waiting(session.Early{})
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "cart", []string{"tea"}))
		must(t, s.Save(t.Context()))
		open(t, s)
		slow, entered := make(chan struct{}), 0
		h := m.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			entered++
			<-slow
		}))
		first := later(h, request("GET", "/", cookieOf(t, s.Holder())))
		synctest.Wait()
		end := drained(m, time.Minute)
		synctest.Wait()
		tired := <-later(h, request("GET", "/", cookieOf(t, s.Holder()))) // after 2 s
		if tired.Code != 503 || tired.Header().Get(session.StatusHeader) != "" || tired.Header().Get("Retry-After") != "1" {
			t.Errorf("a request that waited in vain: %d %v, want a plain 503", tired.Code, tired.Header())
		}
		second := later(h, request("GET", "/", cookieOf(t, s.Holder())))
		synctest.Wait()
		if answered(second) || entered != 1 {
			t.Errorf("answered %t, %d requests let in", answered(second), entered)
		}
		close(slow)
		<-first
		<-end
		if w := <-second; w.Code != 503 || w.Header().Get(session.StatusHeader) != session.StatusRequired || w.Header().Get("Connection") != "close" {
			t.Errorf("%d %v, want to be sent elsewhere with the set", w.Code, w.Header())
		}
	})
}

// A tab that is mute keeps the drain waiting, but nobody from his session.
func TestDrainWithAMuteClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.node()
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "cart", []string{"tea"}))
		must(t, s.Save(t.Context()))
		p := open(t, s)
		mute := &browser{deaf: true}
		must(t, s.Attach(mute))
		h := m.Middleware(http.HandlerFunc(handler))
		end := drained(m, 20*time.Second)
		for range 9 {
			time.Sleep(2 * time.Second)
			if w := <-later(h, request("GET", "/?cart=x", cookieOf(t, s.Holder()))); w.Code != 200 {
				t.Errorf("a request meanwhile: %d", w.Code)
			}
		}
		began := time.Now()
		out := <-end
		synctest.Wait()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("ended %v after the last request, want the rest of its time", took)
		}
		if out.Sessions != 0 || len(out.Unacknowledged) != 1 || out.Unacknowledged[0].Session != s.ID() || out.Unacknowledged[0].Clients != 2 || out.Unacknowledged[0].Newest != *p.version {
			t.Errorf("%+v", out)
		}
		if !mute.detached || !p.detached {
			t.Error("not sent away at the end")
		}
	})
}

func TestNothingBeginsWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.waiting(session.Early{})
		s, b := shopping(t, c.node())
		here, err := m.Start()
		must(t, err)
		must(t, here.Set(t.Context(), "cart", 1))
		end := drained(m, 10*time.Second)
		synctest.Wait()
		if _, err := m.Start(); !errors.Is(err, session.ErrUnavailable) {
			t.Errorf("Start: %v", err)
		}
		if _, err := m.Restore(t.Context(), b.set(s.Holder())); session.Outward(err) != session.ErrUnavailable {
			t.Errorf("Restore: %v", err)
		}
		for name, r := range map[string]*http.Request{"a visitor": request("POST", "/"), "one whose session is elsewhere": request("POST", "/", cookieOf(t, s.Holder()))} {
			if _, reply := m.Present(t.Context(), r, session.WireRequest{V: 1}); reply.State != session.StateRetry {
				t.Errorf("%s is answered %q", name, reply.State)
			}
		}
		if found, reply := m.Present(t.Context(), request("POST", "/", cookieOf(t, here.Holder())), session.WireRequest{V: 1}); found != here || reply.State != session.StateNone {
			t.Errorf("who comes back to his session is answered %q", reply.State)
		}
		res, a := bring(t, m.RestoreHandler(), wire(b.set(s.Holder())), cookieOf(t, s.Holder()))
		if res.StatusCode != 503 || a.State != session.StateRetry {
			t.Errorf("over HTTP: %d %+v", res.StatusCode, a)
		}
		began := time.Now()
		early := do(m.Middleware(http.HandlerFunc(handler)), request("GET", "/", cookieOf(t, s.Holder())))
		if time.Since(began) != 0 || early.StatusCode != 503 || early.Header.Get("Connection") != "close" || early.Header.Get(session.StatusHeader) != session.StatusRequired {
			t.Errorf("a request: %d %v", early.StatusCode, early.Header)
		}
		if out := <-end; len(out.Unacknowledged) != 1 || out.Unacknowledged[0].Clients != 0 {
			t.Errorf("a session whose client never came: %+v", out)
		}
		if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); err != nil {
			t.Errorf("the refused restore fenced the session: %v", err)
		}
	})
}

// A session that nobody is connected to is waited for while it is in use.
func TestDrainWithoutClients(t *testing.T) {
	for name, test := range map[string]struct {
		before func(*testing.T, *session.Session)
		takes  time.Duration // at least, and a round more at most
		lost   int
	}{
		"never seen": {func(t *testing.T, s *session.Session) {}, 30 * time.Second, 1},
		"out of use": {func(*testing.T, *session.Session) { time.Sleep(time.Minute) }, 0, 1},
		"left with the newest set": {func(t *testing.T, s *session.Session) {
			p := open(t, s)
			synctest.Wait()
			s.Detach(p)
		}, 0, 0},
		"a client that comes back": {func(t *testing.T, s *session.Session) {
			go func() {
				time.Sleep(5 * time.Second)
				open(t, s)
			}()
		}, 5 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newCluster(t).node()
				time.Sleep(pastEpoch)
				s, err := m.Start()
				must(t, err)
				must(t, s.Set(t.Context(), "cart", 1))
				must(t, s.Save(t.Context()))
				test.before(t, s)
				began := time.Now()
				out := <-drained(m, time.Hour)
				if took := time.Since(began); took < test.takes || took > test.takes+time.Second || len(out.Unacknowledged) != test.lost || out.Sessions != 1-test.lost {
					t.Errorf("%+v after %v, want %d lost after %v", out, took, test.lost, test.takes)
				}
			})
		})
	}
}

// A restore that the node took on before is brought to its end, and leaves again.
func TestDrainWaitsForARestoreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		s, b := shopping(t, c.node())
		slow := make(chan struct{})
		c.store = &spy{Store: c.store, restore: func(context.Context) (replay.Restored, error, bool) {
			<-slow
			return replay.Restored{}, nil, false
		}}
		m := c.node()
		done := make(chan *session.Session, 1)
		go func() {
			r, err := m.Restore(context.Background(), b.set(s.Holder()))
			if err != nil {
				t.Error(err)
				close(done)
				return
			}
			open(t, r.Session)
			done <- r.Session
		}()
		synctest.Wait()
		end := drained(m, time.Minute)
		time.Sleep(time.Second)
		if len(end) > 0 {
			t.Fatal("ended in the middle of a restore")
		}
		close(slow)
		restored := <-done
		if out := <-end; restored == nil || out.Sessions != 1 || len(out.Unacknowledged) != 0 || restored.Err() == nil {
			t.Errorf("%+v", out)
		}
	})
}

// A client without Bayeux that said it holds the newest set needs no other.
func TestDrainOfAClientOverHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newCluster(t).node()
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "cart", 1))
		bring(t, m.RestoreHandler(), session.WireRequest{V: 1}, cookieOf(t, s.Holder()))
		bring(t, m.RestoreHandler(), session.WireRequest{V: 1, Gen: "0.1"}, cookieOf(t, s.Holder()))
		began := time.Now()
		if out := <-drained(m, time.Minute); out.Sessions != 1 || time.Since(began) > time.Second {
			t.Errorf("%+v after %v", out, time.Since(began))
		}
	})
}

// What can't be sealed or stored now is not let go as if it were.
func TestDrainWaitsForKeysAndStore(t *testing.T) {
	for name, test := range map[string]struct {
		away   time.Duration // of keys and store, at first
		behind int
	}{"they come back": {5 * time.Second, 0}, "they stay away": {time.Hour, 1}} {
		for what, node := range map[string]func(*cluster, func() error) *session.Manager{
			"keys": func(c *cluster, away func() error) *session.Manager {
				m, err := session.New(context.Background(), session.Config{Keys: fetched{c.ring, away}, Policy: c.policy, Store: c.store, App: "shop"})
				must(c.t, err)
				return m
			},
			"store": func(c *cluster, away func() error) *session.Manager {
				c.store = deafStore{c.store, away}
				return c.node()
			},
		} {
			t.Run(what+": "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var until time.Time
					c := newCluster(t)
					m := node(c, func() error {
						if time.Now().Before(until) {
							return errors.New("away")
						}
						return nil
					})
					s, err := m.Start()
					must(t, err)
					must(t, s.Set(t.Context(), "cart", []string{"tea"}))
					must(t, s.Save(t.Context()))
					p := open(t, s)
					runFor(t, m, 1500*time.Millisecond)
					older := p.set(s.Holder())
					until = time.Now().Add(test.away)
					must(t, s.Set(t.Context(), "cart", []string{"pot"}))
					began := time.Now()
					out := <-drained(m, 20*time.Second)
					synctest.Wait()
					if took := time.Since(began); took < min(test.away, 20*time.Second) || took > min(test.away, 20*time.Second)+time.Second {
						t.Errorf("took %v", took)
					}
					if what == "keys" && len(out.Unacknowledged) != test.behind || out.Sessions+len(out.Unacknowledged) != 1 {
						t.Errorf("%+v", out)
					}
					if test.behind == 0 {
						if _, err := c.node().Restore(t.Context(), older); !errors.Is(err, session.ErrSuperseded) {
							t.Errorf("the set before the last: %v", err)
						}
					}
				})
			})
		}
	}
}

// fetched is a keyring that is there unless away says otherwise.
type fetched struct {
	ring *seal.Ring
	away func() error
}

func (a fetched) Ring(context.Context) (*seal.Ring, error) { return a.ring, a.away() }

// deafStore takes no acknowledgements while away says so.
type deafStore struct {
	replay.Store
	away func() error
}

func (d deafStore) Acknowledge(ctx context.Context, held ...replay.Place) ([]replay.Verdict, error) {
	if err := d.away(); err != nil {
		return nil, err
	}
	return d.Store.Acknowledge(ctx, held...)
}

// meanwhile is a store in which a protected change begins, and is slow, while
// acknowledgements are stored.
type meanwhile struct {
	replay.Store
	begin   func()
	entered chan struct{}
	slow    <-chan time.Time
}

func (m *meanwhile) Protect(ctx context.Context, at replay.Place) (replay.Verdict, error) {
	verdict, err := m.Store.Protect(ctx, at)
	close(m.entered)
	<-m.slow
	return verdict, err
}

func (m *meanwhile) Acknowledge(ctx context.Context, held ...replay.Place) ([]replay.Verdict, error) {
	if m.begin != nil {
		m.begin()
		m.begin = nil
		<-m.entered
	}
	return m.Store.Acknowledge(ctx, held...)
}

// A protected change that the store knows of, made by nobody's request, leaves
// with the session: without it no set would restore any more.
func TestDrainWaitsForAProtectedChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.policy = testkit.Policy(t, `{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{},"balance":{"rollback":"refuse"}}}`)
		store := &meanwhile{Store: c.store, entered: make(chan struct{}), slow: time.After(2 * time.Second)}
		c.store = store
		m := c.node()
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "cart", 1))
		p := open(t, s)
		done := make(chan error, 1)
		store.begin = func() { go func() { done <- s.Set(context.Background(), "balance", 1) }() }
		out := <-drained(m, time.Minute)
		synctest.Wait()
		must(t, <-done)
		if _, err := c.node().Restore(t.Context(), p.set(s.Holder())); err != nil || out.Sessions != 1 {
			t.Errorf("%+v; %v", out, err)
		}
	})
}

// A store that is full notes no floors, today or ever: nobody waits for that.
func TestDrainWithAFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.store = replay.NewMemory(replay.MemoryConfig{MaxSessions: 1}) // which acknowledgements leave alone
		m := c.waiting(session.Early{})
		s, b := shopping(t, m)
		must(t, s.Acknowledge(t.Context(), b, b.version))
		began := time.Now()
		out := <-drained(m, time.Minute)
		if took := time.Since(began); took > time.Second || out.Sessions != 1 || len(out.Unacknowledged) != 0 {
			t.Errorf("after %v: %+v", took, out)
		}
		if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); err != nil {
			t.Errorf("its set: %v", err)
		}
	})
}

// Who says that he has nothing to restore from gives up no session that is only moving:
// nothing could begin here in its place, and his cookie would be gone.
func TestDrainKeepsTheCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.waiting(session.Early{})
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "cart", []string{"tea"}))
		must(t, s.Save(t.Context()))
		p := open(t, s)
		slow := make(chan struct{})
		h := m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if !session.FromContext(r.Context()).New() {
				<-slow
			}
		}))
		first := later(h, request("GET", "/", cookieOf(t, s.Holder())))
		synctest.Wait()
		end := drained(m, time.Minute)
		synctest.Wait() // every client has answered: the session leaves with its last request
		anew := func(what, status string, cookies ...*http.Cookie) {
			t.Helper()
			r := request("GET", "/", cookies...)
			r.Header.Set(session.StatusHeader, session.StatusNone)
			w := <-later(h, r)
			if w.Code != 503 || w.Header().Get(session.StatusHeader) != status || len(w.Result().Cookies()) > 0 {
				t.Errorf("%s: %d %v, want 503 and no cookie touched", what, w.Code, w.Header())
			}
		}
		anew("while it leaves", "", cookieOf(t, s.Holder()))
		close(slow)
		<-first
		<-end
		anew("when it has left", session.StatusRequired, cookieOf(t, s.Holder()))
		anew("two cookies", session.StatusRequired, cookieOf(t, s.Holder()), cookieOf(t, s.Holder()))
		if _, err := c.node().Restore(t.Context(), p.set(s.Holder())); err != nil {
			t.Errorf("with the cookie that he kept: %v", err)
		}
	})
}
