package bayeux_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// Handlers and listeners may end their goroutine, as t.FailNow does: the others, and
// they themselves, are called on.
func TestClientHandlersThatExit(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{})
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports})
		var exits, calls, states atomic.Int64
		exit := func(*bayeux.Message) { exits.Add(1); runtime.Goexit() }
		for _, f := range []func(*bayeux.Message){exit, exit, func(*bayeux.Message) { calls.Add(1) }} {
			if err := c.Subscribe(t.Context(), "/a", f); err != nil {
				t.Fatal(err)
			}
		}
		c.OnState(func(bayeux.ClientState) { states.Add(1); runtime.Goexit() })
		for range 3 {
			s.Publish("/a", 1)
			synctest.Wait()
		}
		s.Session(c.ID()).Dismiss()
		time.Sleep(time.Minute)
		s.Publish("/a", 1)
		synctest.Wait()
		if exits.Load() != 8 || calls.Load() != 4 || c.State() != bayeux.StateConnected {
			t.Errorf("%d exits, %d calls, state %v", exits.Load(), calls.Load(), c.State())
		}
		c.Close(t.Context())
		synctest.Wait()
		if n := states.Load(); n < 3 { // handshaking, connected, closed, and maybe broken
			t.Errorf("%d changes of state", n)
		}
	})
}

// An extension that ends the goroutine it runs on ends the connection: a WebSocket
// comes again, and what makes the connects says that it is over.
func TestClientExtensionThatExits(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{})
		var exited atomic.Bool
		ext := clientTap{func(dir string, m *bayeux.Message) bool {
			if m.Channel == "/a" && exited.CompareAndSwap(false, true) {
				runtime.Goexit()
			}
			return true
		}}
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports, Extensions: []bayeux.ClientExtension{ext}})
		synctest.Wait()
		id := c.ID()
		s.Session(id).Deliver("/a", 1)
		time.Sleep(2 * time.Second)
		err := c.Publish(t.Context(), "/b", 1)
		if transports[0] == bayeux.WebSocket && (err != nil || c.ID() != id) {
			t.Errorf("Publish = %v, session %s after %s", err, c.ID(), id)
		}
		if transports[0] == bayeux.LongPolling && (!errors.Is(err, bayeux.ErrClosed) || c.State() != bayeux.StateClosed) {
			t.Errorf("Publish = %v, state %v", err, c.State())
		}
	})
}

// exiting is a connection of the program's own dialer that ends who writes to it.
type exiting struct {
	net.Conn
	armed *atomic.Bool
}

func (c exiting) Write(b []byte) (int, error) {
	if c.armed.CompareAndSwap(true, false) {
		runtime.Goexit()
	}
	return c.Conn.Write(b)
}

func TestClientWriteThatExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := serveMem(t, newServer(t, bayeux.Config{}))
		var armed atomic.Bool
		tr := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := n.Dial(ctx, network, addr)
			return exiting{nc, &armed}, err
		}}
		c := connected(t, n, bayeux.ClientConfig{Transports: transports["websocket"], HTTPClient: &http.Client{Transport: tr}})
		synctest.Wait()
		armed.Store(true)
		start := time.Now()
		if err := c.Publish(t.Context(), "/a", 1); err == nil || time.Since(start) > time.Second {
			t.Errorf("Publish = %v after %v", err, time.Since(start))
		}
		if err := c.Publish(t.Context(), "/a", 1); err != nil {
			t.Errorf("the next Publish = %v", err)
		}
	})
}
