package bayeux_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// Close just when a new handshake was taken. A server widens that moment with what
// takes long to decode.
func TestCloseDuringRehandshake(t *testing.T) {
	slow := `,"ext":{"ack":{"enabled":true,"batch":1` + strings.Repeat(" ", 1<<17) + `}}}]`
	for range 10 {
		var handshakes atomic.Int64
		p := &puppet{reply: func(channel, id string, n int) string {
			switch {
			case channel == bayeux.MetaHandshake && handshakes.Add(1) > 1:
				return strings.Replace(strings.TrimSuffix(hello(id), "}]"), "c1", "c2", 1) + slow
			case channel == bayeux.MetaHandshake:
				return hello(id)
			case n > 3: // handshake, subscription, connect
				return `[` + ok(channel, id, `,"advice":{"reconnect":"handshake"}`) + `]`
			}
			return `[` + ok(channel, id, "") + `]`
		}}
		ended := make(chan struct{})
		var c *bayeux.Client
		ext := clientTap{func(dir string, m *bayeux.Message) bool {
			if dir == "in" && m.Channel == bayeux.MetaHandshake && handshakes.Load() == 2 {
				go func() {
					defer close(ended)
					for c.ID() != "c2" {
						runtime.Gosched()
					}
					c.Close(t.Context())
				}()
			}
			return true
		}}
		c = newClient(t, serveMem(t, p), bayeux.ClientConfig{Transports: transports["long-polling"], Backoff: time.Millisecond,
			Extensions: []bayeux.ClientExtension{ext}, Logger: slog.New(noPanics{t: t})})
		c.Subscribe(t.Context(), "/a", func(*bayeux.Message) {})
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-ended
	}
}

// A server ends the held connect before it answers the good-bye: that is no reason to
// call the connection broken, nor to shake hands anew.
func TestCloseIsNoFailure(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		byRequest := transports[0] == bayeux.LongPolling
		var handshakes atomic.Int64
		var held string
		bye := make(chan struct{})
		unknown := func(id string) string {
			return `[{"channel":"/meta/connect","id":"` + id + `","successful":false,"error":"402::unknown","advice":{"reconnect":"handshake","interval":0}}]`
		}
		p := &puppet{reply: func(channel, id string, n int) string {
			switch {
			case channel == bayeux.MetaHandshake:
				handshakes.Add(1)
				return hello(id)
			case channel == bayeux.MetaDisconnect && byRequest:
				close(bye)
				time.Sleep(5 * time.Second)
			case channel == bayeux.MetaDisconnect:
				return unknown(held) // and no more
			case n == 3 && byRequest:
				<-bye
				return unknown(id)
			case n == 3:
				held = id
				return `[]`
			}
			return `[` + ok(channel, id, "") + `]`
		}}
		c := connected(t, serveMem(t, p), bayeux.ClientConfig{Transports: transports})
		synctest.Wait()
		var heard []bayeux.ClientState
		c.OnState(func(s bayeux.ClientState) { heard = append(heard, s) })
		if err := c.Close(t.Context()); byRequest && err != nil {
			t.Errorf("Close = %v", err)
		}
		synctest.Wait()
		if n := handshakes.Load(); n != 1 || !slices.Equal(heard, []bayeux.ClientState{bayeux.StateClosed}) {
			t.Errorf("%d handshakes, states %v", n, heard)
		}
	})
}

// Of what waits for its handler when Close is called nothing is handed over, and
// the listeners hear of the end.
func TestNoHandlerAfterClose(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{})
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports})
		var calls atomic.Int64
		var last atomic.Int64
		release := make(chan struct{})
		c.OnState(func(s bayeux.ClientState) { last.Store(int64(s)) })
		for range 2 {
			if err := c.Subscribe(t.Context(), "/a", func(*bayeux.Message) { calls.Add(1); <-release }); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 10 {
			s.Publish("/a", i)
		}
		synctest.Wait()
		if err := c.Close(t.Context()); err != nil {
			t.Errorf("Close = %v", err)
		}
		close(release)
		synctest.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls, want the one that ran", n)
		}
		if got := bayeux.ClientState(last.Load()); got != bayeux.StateClosed {
			t.Errorf("the last state is %v", got)
		}
	})
}

// A server that reads no more holds up nobody for longer than they want to wait.
func TestClientContextsWhileAWriteBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		dial := frameServer(func(conn net.Conn) {
			conn.Read(make([]byte, 4096)) // the second connect
			<-gone
		}, socketHello, `[{"channel":"/meta/connect","successful":true}]`)
		c, err := bayeux.NewClient("http://bayeux.test/", bayeux.ClientConfig{Transports: transports["websocket"], Logger: silent,
			HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		short := func(f func(ctx context.Context) error) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			start := time.Now()
			if err := f(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 200*time.Millisecond {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
		for range 3 {
			short(func(ctx context.Context) error { return c.Publish(ctx, "/a", 1) })
		}
		if c.State() != bayeux.StateConnected {
			t.Error("an impatient caller has ended the connection")
		}
		short(c.Close)
		close(gone)
	})
}

// A server that reads again gets what was begun, whole, though nobody waits for it.
func TestClientWritesToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rest := make(chan string, 1)
		dial := frameServer(func(conn net.Conn) {
			conn.Read(make([]byte, 4096)) // the second connect
			time.Sleep(time.Second)
			b := make([]byte, 64)
			n, _ := io.ReadAtLeast(conn, b, 2)
			for n < 2+4+int(b[1]&0x7f) {
				m, err := conn.Read(b[n:])
				if err != nil {
					break
				}
				n += m
			}
			for i := range b[6:n] {
				b[6+i] ^= b[2+i%4]
			}
			rest <- string(b[6:n])
		}, socketHello, `[{"channel":"/meta/connect","successful":true}]`)
		c, err := bayeux.NewClient("http://bayeux.test/", bayeux.ClientConfig{Transports: transports["websocket"], Logger: silent,
			HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		c.Publish(ctx, "/a", 1)
		if got := <-rest; !strings.HasSuffix(got, `"data":1}]`) {
			t.Errorf("got %q", got)
		}
		c.Close(t.Context())
	})
}

// A RoundTripper that panics ends its client, and nothing else.
func TestClientSurvivesARoundTripper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := serveMem(t, newServer(t, bayeux.Config{}))
		tr := n.transport()
		t.Cleanup(tr.CloseIdleConnections)
		var requests atomic.Int64
		trip := roundTripper(func(r *http.Request) (*http.Response, error) {
			if requests.Add(1) > 2 {
				panic("round tripper")
			}
			return tr.RoundTrip(r)
		})
		c := connected(t, n, bayeux.ClientConfig{Transports: transports["long-polling"], HTTPClient: &http.Client{Transport: trip}})
		synctest.Wait()
		if c.State() != bayeux.StateClosed {
			t.Errorf("state %v", c.State())
		}
		if err := c.Publish(t.Context(), "/a", 1); !errors.Is(err, bayeux.ErrClosed) {
			t.Errorf("Publish = %v", err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
