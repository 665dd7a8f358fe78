package bayeux_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// responses reads all that comes within a while.
func (p *rawPeer) responses() (n int, bodies string) {
	p.t.Helper()
	defer p.conn.SetReadDeadline(time.Time{})
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		resp, err := http.ReadResponse(p.in, nil)
		if err != nil {
			return n, bodies
		}
		b, _ := io.ReadAll(resp.Body)
		n, bodies = n+1, bodies+string(b)
	}
}

// What a handler in front keeps back of a body is not the next request.
func TestBodyThatWasCutIsNoRequest(t *testing.T) {
	var admin atomic.Int32
	r := newParkRig(t, bayeux.Config{Timeout: 100 * time.Millisecond}, false, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path == "/admin" {
				admin.Add(1)
				return
			}
			req.Body = io.NopCloser(io.LimitReader(req.Body, 512))
			h.ServeHTTP(w, req)
		})
	})
	p := r.raw()
	m := p.message(bayeux.MetaConnect)
	p.write(p.post(m + strings.Repeat(" ", 512-len(m)) + "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"))
	if n, bodies := p.responses(); n != 1 || admin.Load() != 0 {
		t.Errorf("%d responses, /admin was asked %d times: %s", n, admin.Load(), bodies)
	}
}

// A head that net/http reads otherwise than we do is not learned.
func TestHeadsThatAreNotLearned(t *testing.T) {
	cfg := bayeux.Config{RepeatPolls: true, Timeout: 100 * time.Millisecond}
	for name, around := range map[string]func(b string) string{
		"lines without a return": func(b string) string { return "GET /other HTTP/1.1\nHost: x\n\n" + b },
		"a length and chunks": func(b string) string {
			return fmt.Sprintf("GET /other HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n0\r\n\r\n%s", len(b)+5, b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newParkRig(t, cfg, false, nil)
			p := r.repeated()
			two := around(p.post(p.message(bayeux.MetaConnect)))
			for range 2 {
				p.write(two)
				if n, bodies := p.responses(); n != 2 {
					t.Fatalf("%d responses to two requests: %s", n, bodies)
				}
			}
		})
	}
	t.Run("another's identity", func(t *testing.T) {
		r := newParkRig(t, cfg, false, nil)
		p := r.repeated()
		connect := p.message(bayeux.MetaConnect)
		whole := p.post(connect)
		other := func(n int) string {
			return fmt.Sprintf("POST /other HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n", n)
		}
		p.write(other(len(whole)+5) + "0\r\n\r\n" + whole)
		p.responses()
		_, _ = io.WriteString(p.conn, other(len(connect))+connect)
		if _, bodies := p.responses(); strings.Contains(bodies, `"successful":true`) {
			t.Errorf("answered as the owner: %s", bodies)
		}
	})
	t.Run("two lengths", func(t *testing.T) {
		r := newParkRig(t, cfg, false, nil)
		p := r.repeated()
		connect := p.message(bayeux.MetaConnect)
		request := func(first, second int, body string) string {
			return fmt.Sprintf("POST /bayeux HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nContent-Length: %d\nContent-Length: %d\r\n\r\n%s", p.cookie, first, second, body)
		}
		for range 2 {
			p.write(request(len(connect), len(connect), connect))
			p.responses()
		}
		p.write(request(len(connect)+1, len(connect), connect+" "))
		if _, bodies := p.responses(); strings.Contains(bodies, `"successful":true`) {
			t.Errorf("answered: %s", bodies)
		}
	})
}

// waiting holds up connects of a certain type until their context ends.
type waiting struct{ entered, left chan struct{} }

func (w waiting) Incoming(ctx context.Context, _ *bayeux.ServerSession, m *bayeux.Message) bool {
	if m.Channel == bayeux.MetaConnect && m.ConnectionType == "wait" {
		w.entered <- struct{}{}
		<-ctx.Done()
		w.left <- struct{}{}
	}
	return true
}

func (waiting) Outgoing(*bayeux.ServerSession, *bayeux.Message) bool { return true }

// What handles a repeated connect has a context that ends, though nobody watches the
// client meanwhile.
func TestRepeatedConnectsHaveAContext(t *testing.T) {
	w := waiting{make(chan struct{}, 1), make(chan struct{}, 1)}
	r := newParkRig(t, bayeux.Config{RepeatPolls: true, Timeout: 2 * time.Second}, false, nil)
	r.bayeux.AddExtension(w)
	p := r.repeated()
	p.write(p.post(strings.Replace(p.message(bayeux.MetaConnect), `"data":"x"`, `"connectionType":"wait"`, 1)))
	<-w.entered
	p.conn.Close()
	select {
	case <-w.left:
	case <-time.After(15 * time.Second):
		t.Error("the context has not ended")
	}
}

// Connections come back to the listener they came from: a BaseContext may tell an
// internal one from the public one.
func TestParkedConnectionsKeepTheirListener(t *testing.T) {
	s := newServer(t, bayeux.Config{ParkPolls: true, Timeout: 100 * time.Millisecond})
	type which struct{}
	mux := http.NewServeMux()
	mux.Handle("/bayeux", s)
	mux.HandleFunc("/who", func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprint(w, req.Context().Value(which{}))
	})
	web := &http.Server{Handler: mux, BaseContext: func(l net.Listener) context.Context {
		return context.WithValue(context.Background(), which{}, l.Addr().String())
	}}
	defer web.Close()
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go web.Serve(l)
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		p := &rawPeer{t: t, conn: conn, in: bufio.NewReader(conn)}
		p.write(p.post(handshakeMessage))
		h, body := p.read()
		p.cookie, _, _ = strings.Cut(h.Get("Set-Cookie"), ";")
		msgs, err := decodeBatch([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		p.id = msgs[0].ClientID
		for range 2 { // the second is held, and parked
			p.write(p.post(p.message(bayeux.MetaConnect)))
			p.read()
		}
		p.write("GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, got := p.read(); got != l.Addr().String() {
			t.Errorf("a connection to %s came back to %s", l.Addr(), got)
		}
	}
}

// faulty panics where a client can make us log.
type faulty struct{ slog.Handler }

func (faulty) Enabled(context.Context, slog.Level) bool { return true }

func (faulty) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "another browser") {
		panic("a log handler's fault")
	}
	return nil
}

// A panic on a parked connection ends that connection alone, as with net/http.
func TestPanicOnAParkedConnection(t *testing.T) {
	r := newParkRig(t, bayeux.Config{RepeatPolls: true, Logger: slog.New(faulty{slog.DiscardHandler})}, false, nil)
	p, other := r.repeated(), r.raw()
	p.id = other.id
	p.write(p.post(p.message(bayeux.MetaConnect)))
	if n, bodies := p.responses(); n != 0 {
		t.Errorf("%d responses: %s", n, bodies)
	}
}
