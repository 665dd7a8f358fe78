package bayeux_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// parkRig is a real server on a port that notes what it is asked for, and by how
// many connections.
type parkRig struct {
	t        *testing.T
	bayeux   *bayeux.Server
	srv      *httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	hijacked int
}

type markKey struct{}

func newParkRig(t *testing.T, cfg bayeux.Config, secure bool, wrap func(http.Handler) http.Handler) *parkRig {
	cfg.ParkPolls = true
	r := &parkRig{t: t, bayeux: newServer(t, cfg)}
	h := http.Handler(r.bayeux)
	if wrap != nil {
		h = wrap(h)
	}
	r.srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, req)
		r.mu.Unlock()
		h.ServeHTTP(w, req)
	}))
	r.srv.Config.BaseContext = func(l net.Listener) context.Context {
		return context.WithValue(context.Background(), markKey{}, l.Addr().String())
	}
	r.srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateHijacked {
			r.mu.Lock()
			r.hijacked++
			r.mu.Unlock()
		}
	}
	if secure {
		r.srv.StartTLS()
	} else {
		r.srv.Start()
	}
	t.Cleanup(r.srv.Close)
	return r
}

// wantParked waits until n connects have been parked.
func (r *parkRig) wantParked(n int) {
	r.t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		got := r.hijacked
		r.mu.Unlock()
		if got == n {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d connections were taken over, want %d", got, n)
		}
	}
}

// rawPeer is one connection, to which requests are written byte by byte.
type rawPeer struct {
	t      *testing.T
	conn   net.Conn
	in     *bufio.Reader
	cookie string
	id     string
}

func (r *parkRig) raw() *rawPeer {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.srv.Listener.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	if r.srv.TLS != nil {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	r.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	p := &rawPeer{t: r.t, conn: conn, in: bufio.NewReader(conn)}
	p.write(p.post(handshakeMessage))
	h, body := p.read()
	p.cookie, _, _ = strings.Cut(h.Get("Set-Cookie"), ";")
	msgs, err := decodeBatch([]byte(body))
	if err != nil {
		r.t.Fatal(err)
	}
	wantOK(r.t, msgs[0])
	p.id = msgs[0].ClientID
	p.write(p.post(p.message(bayeux.MetaConnect)))
	p.read()
	return p
}

func (p *rawPeer) message(channel string) string {
	return `{"channel":"` + channel + `","clientId":"` + p.id + `","data":"x"}`
}

func (p *rawPeer) post(body string, lines ...string) string {
	head := append(lines, "Host: bayeux.test", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)))
	if p.cookie != "" {
		head = append(head, "Cookie: "+p.cookie)
	}
	return "POST /bayeux HTTP/1.1\r\n" + strings.Join(head, "\r\n") + "\r\n\r\n" + body
}

func (p *rawPeer) write(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.t.Fatal(err)
	}
}

// read returns one response, which has to be 200.
func (p *rawPeer) read() (http.Header, string) {
	p.t.Helper()
	resp, err := http.ReadResponse(p.in, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		p.t.Fatalf("%s, %v", resp.Status, err)
	}
	if resp.Close {
		resp.Header.Set("Connection", "close")
	}
	return resp.Header, string(b)
}

// A parked connect is answered as any other, and its connection goes on.
func TestParkedPoll(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secure], func(t *testing.T) {
			r := newParkRig(t, bayeux.Config{AllowedOrigins: []string{"https://app.test"}}, secure, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					w.Header().Set("X-Middleware", "was here")
					h.ServeHTTP(w, req)
				})
			})
			p := r.raw()
			for i := range 3 {
				p.write(p.post(p.message(bayeux.MetaConnect), "Origin: https://app.test"))
				r.wantParked(i + 1)
				if err := r.bayeux.Session(p.id).Deliver("/news", i); err != nil {
					t.Fatal(err)
				}
				h, body := p.read()
				if !strings.Contains(body, fmt.Sprintf(`{"channel":"/news","data":%d}`, i)) || !strings.Contains(body, `"successful":true`) {
					t.Errorf("body %s", body)
				}
				for name, want := range map[string]string{
					"Content-Type": "application/json;charset=UTF-8", "Cache-Control": "no-store", "X-Middleware": "was here",
					"Access-Control-Allow-Origin": "https://app.test", "Connection": "",
				} {
					if got := h.Get(name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				if at, err := http.ParseTime(h.Get("Date")); err != nil || time.Since(at).Abs() > time.Minute {
					t.Errorf("Date: %q, %v", h.Get("Date"), err)
				}
			}
			p.write(p.post(p.message("/x")))
			p.read()
			r.mu.Lock()
			defer r.mu.Unlock()
			for i, req := range r.requests {
				if req.RemoteAddr != r.requests[0].RemoteAddr || (req.TLS != nil) != secure {
					t.Errorf("request %d came from %s, TLS %v", i, req.RemoteAddr, req.TLS != nil)
				}
				if req.Context().Value(markKey{}) != r.srv.Listener.Addr().String() {
					t.Errorf("request %d: the base context had another listener", i)
				}
			}
		})
	}
}

// What a client sends while its connect is held is neither lost nor taken apart,
// and ends the wait.
func TestParkedPollAndEarlyRequests(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for name, pause := range map[string]time.Duration{"at once": 0, "later": 50 * time.Millisecond} {
			t.Run(map[bool]string{false: "plain ", true: "TLS "}[secure]+name, func(t *testing.T) {
				r := newParkRig(t, bayeux.Config{}, secure, nil)
				p := r.raw()
				for range 3 {
					connect, publish := p.post(p.message(bayeux.MetaConnect)), p.post(p.message("/x"))
					if pause == 0 {
						p.write(connect + publish + publish + connect + publish)
					} else {
						p.write(connect)
						time.Sleep(pause)
						p.write(publish + publish + connect)
						time.Sleep(pause)
						p.write(publish)
					}
					for _, want := range []string{bayeux.MetaConnect, "/x", "/x", bayeux.MetaConnect, "/x"} {
						if _, body := p.read(); !strings.Contains(body, `"`+want+`"`) || !strings.Contains(body, `"successful":true`) {
							t.Errorf("got %s, want %s", body, want)
						}
					}
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				for i, req := range r.requests {
					if (req.TLS != nil) != secure {
						t.Errorf("request %d: TLS %v", i, req.TLS != nil)
					}
				}
			})
		}
	}
}

func TestParkedCallbackPoll(t *testing.T) {
	r := newParkRig(t, bayeux.Config{CallbackPolling: true}, false, nil)
	p := r.raw()
	p.write("GET /bayeux?jsonp=f&message=" + escape(p.message(bayeux.MetaConnect)) + " HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nCookie: " + p.cookie + "\r\n\r\n")
	r.wantParked(1)
	r.bayeux.Session(p.id).Deliver("/news", 1)
	h, body := p.read()
	if !strings.HasPrefix(body, "/**/f([") || !strings.HasPrefix(h.Get("Content-Type"), "text/javascript") || h.Get("Content-Disposition") == "" {
		t.Errorf("%v: %s", h, body)
	}
}

// Where a connection cannot be taken over and given back, a connect is held as
// ever.
func TestPollsThatAreNotParked(t *testing.T) {
	set := func(name, value string) func(http.Handler) http.Handler {
		return func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.Header.Get("X-Now") != "" {
					w.Header().Set(name, value)
				}
				h.ServeHTTP(w, req)
			})
		}
	}
	hide := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			h.ServeHTTP(struct{ http.ResponseWriter }{w}, req)
		})
	}
	plain := func(p *rawPeer) string { return p.post(p.message(bayeux.MetaConnect), "X-Now: yes") }
	for _, tt := range []struct {
		name    string
		wrap    func(http.Handler) http.Handler
		request func(p *rawPeer) string
	}{
		{"a writer that hides the connection", hide, plain},
		{"a response that is to be encoded", set("Content-Encoding", "x"), plain},
		{"a response that is to be the last", set("Connection", "close"), plain},
		{"the client's last request", nil, func(p *rawPeer) string { return p.post(p.message(bayeux.MetaConnect), "Connection: close") }},
		{"HTTP/1.0", nil, func(p *rawPeer) string {
			return strings.Replace(p.post(p.message(bayeux.MetaConnect), "Connection: keep-alive"), "HTTP/1.1", "HTTP/1.0", 1)
		}},
		{"a GET with a body", nil, func(p *rawPeer) string {
			return "GET /bayeux?message=" + escape(p.message(bayeux.MetaConnect)) + " HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 3\r\nCookie: " + p.cookie + "\r\n\r\nxyz"
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			polls := newGauges()
			r := newParkRig(t, bayeux.Config{CallbackPolling: true, Observer: polls}, false, tt.wrap)
			p := r.raw()
			p.write(tt.request(p))
			polls.want(t, 1)
			r.bayeux.Session(p.id).Deliver("/news", 1)
			if _, body := p.read(); !strings.Contains(body, "/news") {
				t.Errorf("got %s", body)
			}
			r.wantParked(0)
		})
	}
}

func escape(s string) string {
	return strings.NewReplacer(`"`, "%22", "{", "%7B", "}", "%7D").Replace(s)
}

// A client that is gone frees its connect, whether it says so or not.
func TestParkedPollOfALostClient(t *testing.T) {
	for name, leave := range map[string]func(net.Conn){
		"closed": func(c net.Conn) { c.Close() },
		"reset":  func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			polls := newGauges()
			r := newParkRig(t, bayeux.Config{Observer: polls, LazyChannels: []string{"/lazy"}, MaxLazyTimeout: time.Minute}, false, nil)
			p := r.raw()
			p.write(p.post(p.message(bayeux.MetaConnect)))
			polls.want(t, 1)
			r.wantParked(1)
			// What waits, and what comes, is there when the client comes back.
			r.bayeux.Session(p.id).Deliver("/lazy", 1)
			leave(p.conn)
			polls.want(t, -1)
			again := r.raw()
			again.id, again.cookie = p.id, p.cookie
			r.bayeux.Session(p.id).Deliver("/news", 1)
			again.write(again.post(again.message(bayeux.MetaConnect)))
			if _, body := again.read(); !strings.Contains(body, "/news") || !strings.Contains(body, "/lazy") {
				t.Errorf("got %s", body)
			}
		})
	}
}

// A connect may end while its connection is taken over.
func TestPollThatEndsWhileItIsParked(t *testing.T) {
	polls := newGauges()
	polls.hold = make(chan struct{})
	r := newParkRig(t, bayeux.Config{Observer: polls}, false, nil)
	p := r.raw()
	p.write(p.post(p.message(bayeux.MetaConnect)))
	polls.want(t, 1) // it is held, and parking waits for the observer
	r.wantParked(0)
	r.bayeux.Session(p.id).Deliver("/news", 1)
	close(polls.hold)
	polls.want(t, -1)
	if _, body := p.read(); !strings.Contains(body, "/news") {
		t.Errorf("got %s", body)
	}
	r.wantParked(1)
}

// gauges hears of held connects alone.
type gauges struct {
	changes chan int
	hold    chan struct{} // makes the server wait until it is closed, if not nil
}

func newGauges() *gauges { return &gauges{changes: make(chan int, 100)} }

func (g *gauges) Observe(e bayeux.Event) {
	if e.Kind == bayeux.GaugePolls {
		g.changes <- e.N
		if g.hold != nil {
			<-g.hold
		}
	}
}

func (g *gauges) want(t *testing.T, n int) {
	t.Helper()
	select {
	case got := <-g.changes:
		if got != n {
			t.Errorf("held connects changed by %d, want %d", got, n)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("nothing was observed")
	}
}

// Shutdown answers parked connects, and waits until that is done.
func TestParkedPollsAtShutdown(t *testing.T) {
	for _, webFirst := range []bool{false, true} {
		t.Run(map[bool]string{false: "Server.Shutdown", true: "http.Server.Shutdown first"}[webFirst], func(t *testing.T) {
			r := newParkRig(t, bayeux.Config{}, false, nil)
			var peers []*rawPeer
			for range 5 {
				p := r.raw()
				p.write(p.post(p.message(bayeux.MetaConnect)))
				peers = append(peers, p)
			}
			r.wantParked(5)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if webFirst {
				if err := r.srv.Config.Shutdown(ctx); err != nil {
					t.Fatal(err)
				}
				p := peers[0]
				peers = peers[1:]
				r.bayeux.Session(p.id).Deliver("/news", 1)
				if h, body := p.read(); !strings.Contains(body, "/news") || h.Get("Connection") != "close" {
					t.Errorf("%v: %s", h, body)
				}
			}
			if err := r.bayeux.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
			for _, p := range peers {
				h, body := p.read()
				if !strings.Contains(body, "402::session_unknown") || h.Get("Connection") != "close" {
					t.Errorf("%v: %s", h, body)
				}
				if _, err := p.in.ReadByte(); err != io.EOF {
					t.Errorf("after that: %v, want EOF", err)
				}
			}
		})
	}
}

// A client that does not read its answer holds nothing up for longer than
// WriteTimeout.
func TestParkedPollOfASlowReader(t *testing.T) {
	r := newParkRig(t, bayeux.Config{WriteTimeout: 100 * time.Millisecond, MaxQueueBytes: 64 << 20}, false, nil)
	p := r.raw()
	p.write(p.post(p.message(bayeux.MetaConnect)))
	r.wantParked(1)
	if err := r.bayeux.Session(p.id).Deliver("/news", strings.Repeat("x", 32<<20)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := r.bayeux.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
