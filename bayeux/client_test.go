package bayeux_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// swap is a handler that can be exchanged: a node that dies, another behind the
// same address.
type swap struct{ h atomic.Pointer[http.Handler] }

func (s *swap) set(h http.Handler) { s.h.Store(&h) }
func (s *swap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*s.h.Load()).ServeHTTP(w, r)
}

// serveMem serves h on a net of its own.
func serveMem(t *testing.T, h http.Handler) *memNet {
	n := newMemNet()
	srv := &http.Server{Handler: h}
	go srv.Serve(n)
	t.Cleanup(func() { srv.Close() })
	return n
}

func newServer(t *testing.T, cfg bayeux.Config) *bayeux.Server {
	if cfg.Logger == nil {
		cfg.Logger = silent
	}
	s, err := bayeux.NewServer(parking(cfg))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
	return s
}

func newClient(t *testing.T, n *memNet, cfg bayeux.ClientConfig) *bayeux.Client {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = silent
	}
	if cfg.HTTPClient == nil {
		tr := n.transport()
		t.Cleanup(tr.CloseIdleConnections)
		cfg.HTTPClient = &http.Client{Transport: tr}
	}
	c, err := bayeux.NewClient("http://bayeux.test/bayeux", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c.Close(ctx)
	})
	return c
}

func connected(t *testing.T, n *memNet, cfg bayeux.ClientConfig) *bayeux.Client {
	t.Helper()
	c := newClient(t, n, cfg)
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// inbox collects what handlers get.
type inbox chan string

func (b inbox) take(m *bayeux.Message) { b <- m.Channel + " " + string(m.Data) }

func (b inbox) want(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-b:
			if got != w {
				t.Errorf("got %q, want %q", got, w)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("nothing came, want %q", w)
		}
	}
}

var transports = map[string][]string{
	"websocket":    {bayeux.WebSocket},
	"long-polling": {bayeux.LongPolling},
}

func eachTransport(t *testing.T, f func(t *testing.T, transports []string)) {
	for name, list := range transports {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, list) }) })
	}
}

func TestClient(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{})
		n := serveMem(t, s)
		got := make(inbox, 100)
		c := newClient(t, n, bayeux.ClientConfig{Transports: transports})
		if err := c.Subscribe(t.Context(), "/early", got.take); err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c.ID() == "" || s.Session(c.ID()) == nil || c.State() != bayeux.StateConnected {
			t.Errorf("id %q, state %v", c.ID(), c.State())
		}
		if err := c.Connect(t.Context()); err == nil {
			t.Error("Connect twice = nil")
		}
		if err := c.Subscribe(t.Context(), "/a/**", got.take); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := c.Publish(t.Context(), "/a/b", i); err != nil {
				t.Fatal(err)
			}
		}
		got.want(t, "/a/b 0", "/a/b 1", "/a/b 2")
		s.Publish("/early", "x")
		got.want(t, `/early "x"`)
		time.Sleep(2 * time.Minute) // several held connects
		s.Publish("/a", 1)          // not below /a
		s.Publish("/a/c", 2)
		got.want(t, "/a/c 2")
		if err := c.Unsubscribe(t.Context(), "/a/**"); err != nil {
			t.Fatal(err)
		}
		s.Publish("/a/c", 3)
		s.Publish("/early", 4)
		got.want(t, "/early 4")

		var no *bayeux.Error
		if err := c.Publish(t.Context(), "/service/none", 1); !errors.As(err, &no) || no.Code() != 403 {
			t.Errorf("Publish without a handler = %v", err)
		}
		for _, ch := range []string{"", "x", "/a/*", "/meta/connect"} {
			if err := c.Publish(t.Context(), ch, 1); !errors.Is(err, bayeux.ErrChannel) {
				t.Errorf("Publish(%q) = %v", ch, err)
			}
		}
		if err := c.Subscribe(t.Context(), "/meta/connect", got.take); !errors.Is(err, bayeux.ErrChannel) {
			t.Errorf("Subscribe(/meta/connect) = %v", err)
		}
		id := c.ID()
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("Close = %v", err)
		}
		if s.Session(id) != nil {
			t.Error("session survives Close")
		}
		if err := c.Publish(t.Context(), "/a", 1); !errors.Is(err, bayeux.ErrClosed) {
			t.Errorf("Publish after Close = %v", err)
		}
		if err := c.Connect(t.Context()); !errors.Is(err, bayeux.ErrClosed) {
			t.Errorf("Connect after Close = %v", err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("second Close = %v", err)
		}
	})
}

func TestClientShakesHandsAgain(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		a, b := newServer(t, bayeux.Config{}), newServer(t, bayeux.Config{})
		front := new(swap)
		front.set(a)
		got := make(inbox, 100)
		var states []bayeux.ClientState
		var mu sync.Mutex
		c := newClient(t, serveMem(t, front), bayeux.ClientConfig{Transports: transports})
		c.OnState(func(s bayeux.ClientState) { mu.Lock(); states = append(states, s); mu.Unlock() })
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.Subscribe(t.Context(), "/a", got.take); err != nil {
			t.Fatal(err)
		}
		first := c.ID()
		front.set(b) // another node answers now
		a.Shutdown(t.Context())
		synctest.Wait()
		if err := c.Publish(t.Context(), "/a", 1); err != nil {
			t.Errorf("Publish over the failover = %v", err)
		}
		got.want(t, "/a 1")
		if c.ID() == first || b.Session(c.ID()) == nil {
			t.Errorf("clientId %q, was %q", c.ID(), first)
		}
		if err := b.Publish("/a", 2); err != nil {
			t.Fatal(err)
		}
		got.want(t, "/a 2")
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		want := []bayeux.ClientState{bayeux.StateHandshaking, bayeux.StateConnected, bayeux.StateBroken, bayeux.StateHandshaking, bayeux.StateConnected}
		if !slices.Equal(slices.Compact(states), want) {
			t.Errorf("states %v, want %v", states, want)
		}
	})
}

// The node is gone without a word, its replacement does not know the session:
// a publish that was refused as unknown is sent again.
func TestClientPublishesAgainAfter402(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newServer(t, bayeux.Config{}), newServer(t, bayeux.Config{})
		front := new(swap)
		front.set(a)
		c := connected(t, serveMem(t, front), bayeux.ClientConfig{Transports: transports["long-polling"]})
		time.Sleep(25 * time.Second)
		front.set(b) // the held connect stays with the old node for 5 s more
		start := time.Now()
		if err := c.Publish(t.Context(), "/a", 1); err != nil {
			t.Errorf("Publish = %v", err)
		}
		if d := time.Since(start); d < 4*time.Second || d > 6*time.Second {
			t.Errorf("Publish took %v", d)
		}
	})
}

func TestClientReconnectsToTheSameSession(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{MaxInterval: time.Minute})
		n := newMemNet()
		srv := &http.Server{Handler: s}
		go srv.Serve(n)
		var mu sync.Mutex
		var conns []interface{ Close() error }
		down := false
		tr := n.transport()
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, addr string) (c netConn, err error) {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return nil, errors.New("network is down")
			}
			if c, err = dial(ctx, network, addr); err == nil {
				conns = append(conns, c)
			}
			return c, err
		}
		t.Cleanup(func() { srv.Close(); tr.CloseIdleConnections() })
		got := make(inbox, 10)
		c := connected(t, n, bayeux.ClientConfig{Transports: transports, HTTPClient: &http.Client{Transport: tr}})
		if err := c.Subscribe(t.Context(), "/a", got.take); err != nil {
			t.Fatal(err)
		}
		id := c.ID()
		time.Sleep(time.Second)
		mu.Lock()
		down = true
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		synctest.Wait()
		s.Publish("/a", "meanwhile")
		time.Sleep(10 * time.Second)
		if c.State() != bayeux.StateBroken {
			t.Errorf("state %v", c.State())
		}
		mu.Lock()
		down = false
		mu.Unlock()
		got.want(t, `/a "meanwhile"`)
		if c.ID() != id {
			t.Error("a new session, though the old one was still there")
		}
	})
}

func TestClientFallsBackToPolling(t *testing.T) {
	refuse := func(f func(w http.ResponseWriter, r *http.Request)) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Upgrade") != "" {
					f(w, r)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	hijack := func(reply string, hold time.Duration) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			nc, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				defer nc.Close()
				nc.SetWriteDeadline(time.Now().Add(time.Second))
				nc.Write([]byte(reply))
				time.Sleep(hold)
			}
		}
	}
	tests := map[string]func(w http.ResponseWriter, r *http.Request){
		"403":      func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) },
		"200":      func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("hello")) },
		"garbage":  hijack("SSH-2.0-x\r\n\r\n", 0),
		"silence":  hijack("", 15*time.Second),
		"bad 101":  hijack("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n", time.Second),
		"endless":  hijack("HTTP/1.1 101 Switching Protocols\r\nX: "+strings.Repeat("x", 1<<20), time.Second),
		"hangs up": hijack("", 0),
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, bayeux.Config{})
				got := make(inbox, 1)
				c := connected(t, serveMem(t, refuse(f)(s)), bayeux.ClientConfig{})
				if err := c.Subscribe(t.Context(), "/a", got.take); err != nil {
					t.Fatal(err)
				}
				s.Publish("/a", 1)
				got.want(t, "/a 1")
				time.Sleep(15 * time.Second)
			})
		})
	}
}

func TestClientBatch(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{})
		n := serveMem(t, s)
		// Not counted are the connects: each that a publication wakes is followed by another.
		var sent atomic.Int64
		cfg := bayeux.ClientConfig{Transports: transports}
		if transports[0] == bayeux.LongPolling {
			tr := n.transport()
			t.Cleanup(tr.CloseIdleConnections)
			cfg.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				if !holds(t, r, bayeux.MetaConnect) {
					sent.Add(1)
				}
				return tr.RoundTrip(r)
			})}
		}
		c := connected(t, n, cfg)
		before := sent.Load()
		got := make(inbox, 2000)
		err := c.Batch(t.Context(), func(b *bayeux.Batch) {
			b.Subscribe("/a", got.take)
			for i := range 3 {
				b.Publish("/a", i)
			}
			b.Publish("/service/refused", 1)
			b.Publish("no channel", 1)
			b.Publish("/a", 3)
			b.Unsubscribe("/a")
			b.Publish("/a", 4)
		})
		var no *bayeux.Error
		if !errors.As(err, &no) || no.Code() != 403 || !errors.Is(err, bayeux.ErrChannel) {
			t.Errorf("Batch = %v", err)
		}
		synctest.Wait()
		// The handlers were dropped when the batch was made.
		if len(got) > 0 {
			t.Errorf("got %s", <-got)
		}
		if n := sent.Load() - before; transports[0] == bayeux.LongPolling && n != 1 {
			t.Errorf("the batch went in %d requests", n)
		}
	})
}

// holds reports whether the client's request has a message on the channel.
func holds(t *testing.T, r *http.Request, channel string) bool {
	body, err := r.GetBody()
	if err != nil {
		t.Error(err)
		return false
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Error(err)
	}
	return bytes.Contains(text, []byte(`"`+channel+`"`))
}

func TestClientBatchInOrder(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{MaxPublication: 512 << 10})
		var largest atomic.Int64
		n := serveMem(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			largest.Store(max(largest.Load(), r.ContentLength))
			s.ServeHTTP(w, r)
		}))
		c := connected(t, n, bayeux.ClientConfig{Transports: transports})
		got := make(inbox, 2000)
		const count = 700 // more than one request takes
		if err := c.Batch(t.Context(), func(b *bayeux.Batch) {
			b.Subscribe("/a", got.take)
			for i := range count {
				b.Publish("/a", i)
			}
		}); err != nil {
			t.Fatal(err)
		}
		for i := range count {
			got.want(t, fmt.Sprintf("/a %d", i))
		}
		// Together they are more than the server takes at once.
		big := strings.Repeat("x", 100<<10)
		tooBig := strings.Repeat("x", 400<<10) // for a batch, not for the server
		if err := c.Batch(t.Context(), func(b *bayeux.Batch) {
			b.Unsubscribe("/a")
			for range 9 {
				b.Publish("/big", big)
			}
			b.Publish("/big", tooBig)
			b.Publish("/big", tooBig)
		}); err != nil {
			t.Error(err)
		}
		if transports[0] == bayeux.LongPolling && largest.Load() > 512<<10 {
			t.Errorf("a request of %d bytes", largest.Load())
		}
	})
}

// A batch that the server did not know is sent again whole, and in order.
func TestClientSendsABatchAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newServer(t, bayeux.Config{}), newServer(t, bayeux.Config{})
		front := new(swap)
		front.set(a)
		got := make(inbox, 10)
		c := connected(t, serveMem(t, front), bayeux.ClientConfig{Transports: transports["long-polling"]})
		time.Sleep(25 * time.Second)
		front.set(b)
		if err := c.Batch(t.Context(), func(b *bayeux.Batch) {
			b.Subscribe("/a", got.take)
			b.Publish("/a", 1)
			b.Publish("/service/none", 2)
			b.Publish("/a", 3)
		}); err == nil {
			t.Error("Batch = nil")
		}
		got.want(t, "/a 1", "/a 3")
	})
}

func TestHandlersMayUseTheClient(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{})
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports})
		got := make(inbox, 10)
		err := c.Subscribe(t.Context(), "/ping", func(m *bayeux.Message) {
			if string(m.Data) == "1" {
				if err := c.Subscribe(t.Context(), "/pong", got.take); err != nil {
					t.Error(err)
				}
			}
			if err := c.Publish(t.Context(), "/pong", m.Data); err != nil {
				t.Error(err)
			}
			if string(m.Data) == "2" {
				panic("handler")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i <= 3; i++ {
			s.Publish("/ping", i)
		}
		got.want(t, "/pong 1", "/pong 2", "/pong 3")
		c.Subscribe(t.Context(), "/bye", func(*bayeux.Message) { c.Close(t.Context()); got <- "closed" })
		s.Publish("/bye", 1)
		got.want(t, "closed")
	})
}

// recorder is a client extension.
type recorder struct {
	mu   sync.Mutex
	log  []string
	name string
	veto string
	out  func(m *bayeux.Message)
}

func (r *recorder) note(dir string, m *bayeux.Message) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, r.name+dir+" "+m.Channel)
	return r.veto != dir+" "+m.Channel
}

func (r *recorder) Incoming(m *bayeux.Message) bool { return r.note("in", m) }
func (r *recorder) Outgoing(m *bayeux.Message) bool {
	if r.out != nil {
		r.out(m)
	}
	return r.note("out", m)
}

func TestClientExtensions(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{})
		s.AddExtension(tap{hook: func(_ context.Context, h *bayeux.Handshake) {
			var v string
			if _, err := h.Request.DecodeExt("sealed", &v); err != nil || v != "blob" {
				t.Errorf("ext %q, %v", v, err)
			}
			h.Session.Deliver("/service/sealed", 1)
		}})
		ext := &recorder{veto: "out /veto", out: func(m *bayeux.Message) {
			if m.Channel == bayeux.MetaHandshake {
				m.SetExt("sealed", "blob")
			}
			if m.Channel == "/panic" {
				panic("extension")
			}
		}}
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports, Extensions: []bayeux.ClientExtension{ext}})
		synctest.Wait()
		ext.mu.Lock()
		want := []string{"out /meta/handshake", "in /meta/handshake", "out /meta/connect", "in /service/sealed", "in /meta/connect", "out /meta/connect"}
		if !slices.Equal(ext.log, want) {
			t.Errorf("%q, want %q", ext.log, want)
		}
		ext.mu.Unlock()
		got := make(inbox, 10)
		if err := c.Subscribe(t.Context(), "/**", got.take); err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(t.Context(), "/veto", 1); err == nil {
			t.Error("Publish of a deleted message = nil")
		}
		if err := c.Publish(t.Context(), "/panic", 1); err == nil {
			t.Error("Publish of a message an extension failed on = nil")
		}
		if err := c.Batch(t.Context(), func(b *bayeux.Batch) {
			b.Publish("/veto", 1)
			b.Publish("/ok", 1)
		}); err == nil {
			t.Error("Batch with a deleted message = nil")
		}
		got.want(t, "/ok 1")
	})
}

// A refused subscription leaves nothing behind: the next one asks again.
func TestClientSubscribesAgainAfterARefusal(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		var allow atomic.Bool
		s := newServer(t, bayeux.Config{Policy: lateSubscribers{allow: &allow}})
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports})
		got := make(inbox, 10)
		var no *bayeux.Error
		if err := c.Subscribe(t.Context(), "/a", got.take); !errors.As(err, &no) || no.Code() != 403 {
			t.Fatalf("Subscribe = %v", err)
		}
		allow.Store(true)
		if err := c.Subscribe(t.Context(), "/a", got.take); err != nil {
			t.Fatal(err)
		}
		s.Publish("/a", 1)
		got.want(t, "/a 1")
		synctest.Wait()
		if len(got) > 0 {
			t.Errorf("got %s too", <-got)
		}
	})
}

// The connection dies between the choice of it and its use: nothing was sent, so
// it is sent over the next one.
func TestClientSendsOverTheNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, bayeux.Config{})
		n := serveMem(t, s)
		var last atomic.Pointer[netConn]
		tr := n.transport()
		tr.DialContext = func(ctx context.Context, network, addr string) (netConn, error) {
			c, err := n.Dial(ctx, network, addr)
			last.Store(&c)
			return c, err
		}
		t.Cleanup(tr.CloseIdleConnections)
		tries := 0
		cut := clientTap{func(dir string, m *bayeux.Message) bool {
			if dir == "out" && m.Channel == "/a" {
				if tries++; tries == 1 {
					(*last.Load()).Close()
					time.Sleep(time.Millisecond)
				}
			}
			return true
		}}
		c := connected(t, n, bayeux.ClientConfig{Transports: transports["websocket"], HTTPClient: &http.Client{Transport: tr}, Extensions: []bayeux.ClientExtension{cut}})
		synctest.Wait()
		if err := c.Publish(t.Context(), "/a", 1); err != nil || tries != 2 {
			t.Errorf("Publish = %v after %d tries", err, tries)
		}
	})
}

// Of two that subscribe to one channel each gets the server's answer, and a
// refusal of one leaves the other's handler alone.
func TestClientSubscribesTwice(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		var allow atomic.Bool
		allow.Store(true)
		s := newServer(t, bayeux.Config{Policy: lateSubscribers{allow: &allow}})
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports})
		first, second, third := make(inbox, 10), make(inbox, 10), make(inbox, 10)
		if err := c.Subscribe(t.Context(), "/a", first.take); err != nil {
			t.Fatal(err)
		}
		if err := c.Subscribe(t.Context(), "/a", second.take); err != nil {
			t.Fatal(err)
		}
		allow.Store(false)
		if err := c.Subscribe(t.Context(), "/a", third.take); err == nil {
			t.Error("Subscribe = nil")
		}
		s.Publish("/a", 1)
		first.want(t, "/a 1")
		second.want(t, "/a 1")
		synctest.Wait()
		if n := len(first) + len(second) + len(third); n > 0 {
			t.Errorf("%d messages too many", n)
		}
	})
}

type lateSubscribers struct {
	bayeux.DefaultPolicy
	allow *atomic.Bool
}

func (p lateSubscribers) CanSubscribe(context.Context, *bayeux.ServerSession, string, *bayeux.Message) bool {
	return p.allow.Load()
}

func TestClientExtensionOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var log []string
		ext := func(name string) bayeux.ClientExtension {
			return clientTap{func(dir string, m *bayeux.Message) bool {
				mu.Lock()
				defer mu.Unlock()
				log = append(log, dir+name)
				return true
			}}
		}
		c := connected(t, serveMem(t, newServer(t, bayeux.Config{})), bayeux.ClientConfig{Extensions: []bayeux.ClientExtension{ext("1"), ext("2")}})
		synctest.Wait()
		log = nil
		c.Publish(t.Context(), "/a", 1)
		if want := []string{"out2", "out1", "in1", "in2"}; !slices.Equal(log, want) {
			t.Errorf("%q, want %q", log, want)
		}
	})
}

type clientTap struct {
	f func(dir string, m *bayeux.Message) bool
}

func (c clientTap) Incoming(m *bayeux.Message) bool { return c.f("in", m) }
func (c clientTap) Outgoing(m *bayeux.Message) bool { return c.f("out", m) }

func TestClientRefusedHandshake(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{})
		allow := false
		s.AddExtension(tap{hook: func(_ context.Context, h *bayeux.Handshake) {
			if !allow {
				h.Refuse("403::not_you", bayeux.Advice{})
			}
		}})
		c := newClient(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports})
		var no *bayeux.Error
		err := c.Connect(t.Context())
		if !errors.As(err, &no) || no.Text != "403::not_you" || no.Advice.Reconnect != bayeux.ReconnectNone || c.State() != bayeux.StateIdle {
			t.Fatalf("Connect = %v, state %v", err, c.State())
		}
		if err := c.Publish(t.Context(), "/a", 1); !errors.Is(err, bayeux.ErrNotConnected) {
			t.Errorf("Publish = %v", err)
		}
		allow = true
		if err := c.Connect(t.Context()); err != nil {
			t.Errorf("Connect again = %v", err)
		}
		// Told to stop later, it stops for good.
		synctest.Wait()
		s.Session(c.ID()).Disconnect()
		time.Sleep(time.Minute)
		if c.State() != bayeux.StateClosed {
			t.Errorf("state %v", c.State())
		}
		if err := c.Publish(t.Context(), "/a", 1); !errors.Is(err, bayeux.ErrClosed) {
			t.Errorf("Publish = %v", err)
		}
	})
}

func TestClientWithoutAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet()
		n.Close()
		c := newClient(t, n, bayeux.ClientConfig{})
		if err := c.Connect(t.Context()); err == nil || c.State() != bayeux.StateIdle {
			t.Errorf("Connect = %v, state %v", err, c.State())
		}
		// A server that never answers, a caller without patience.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c = newClient(t, newMemNet(), bayeux.ClientConfig{})
		start := time.Now()
		if err := c.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Connect = %v after %v", err, time.Since(start))
		}
		// And one with.
		c = newClient(t, newMemNet(), bayeux.ClientConfig{})
		start = time.Now()
		if err := c.Connect(context.Background()); err == nil || time.Since(start) > time.Minute {
			t.Errorf("Connect = %v after %v", err, time.Since(start))
		}
	})
}

func TestClientBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, bayeux.Config{})
		var tries []time.Duration
		var start time.Time
		front := new(swap)
		front.set(s)
		c := connected(t, serveMem(t, front), bayeux.ClientConfig{Transports: transports["long-polling"], Backoff: time.Second, MaxBackoff: 16 * time.Second})
		synctest.Wait()
		start = time.Now()
		front.set(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tries = append(tries, time.Since(start))
			start = time.Now()
			w.WriteHeader(502)
		}))
		time.Sleep(10 * time.Minute)
		front.set(s)
		time.Sleep(time.Minute)
		if c.State() != bayeux.StateConnected {
			t.Errorf("state %v", c.State())
		}
		if len(tries) < 30 || len(tries) > 90 {
			t.Errorf("%d tries in 10 minutes", len(tries))
		}
		for i, d := range tries[1:] {
			lo := min(500*time.Millisecond<<min(i, 10), 8*time.Second)
			if d < lo || d > 2*lo {
				t.Errorf("wait %d is %v, want %v to %v", i, d, lo, 2*lo)
			}
		}
	})
}
