package bayeux_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lxzan/gws"

	"github.com/sealedblob/sealedblob/bayeux"
)

// memNet is a listener on net.Pipe: servers and clients meet inside a synctest
// bubble, and without a port.
type memNet struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemNet() *memNet {
	return &memNet{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (n *memNet) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *memNet) Close() error   { n.once.Do(func() { close(n.closed) }); return nil }
func (n *memNet) Addr() net.Addr { return &net.UnixAddr{Name: "mem", Net: "mem"} }

func (n *memNet) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case n.conns <- server:
		return client, nil
	case <-n.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *memNet) transport() *http.Transport { return &http.Transport{DialContext: n.Dial} }

// rig is a server with its net and a way to make peers.
type rig struct {
	t      *testing.T
	server *bayeux.Server
	http   *http.Server
	net    *memNet
}

// These run all tests with Config.ParkPolls, or RepeatPolls.
var (
	parkPolls   = flag.Bool("park", false, "hold connects as Config.ParkPolls does")
	repeatPolls = flag.Bool("repeat", false, "take connects as Config.RepeatPolls does")
)

func parking(cfg bayeux.Config) bayeux.Config {
	cfg.RepeatPolls = cfg.RepeatPolls || *repeatPolls
	cfg.ParkPolls = cfg.ParkPolls || *parkPolls || *repeatPolls
	return cfg
}

var silent = slog.New(slog.DiscardHandler)

func newRig(t *testing.T, cfg bayeux.Config) *rig {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = silent
	}
	s, err := bayeux.NewServer(parking(cfg))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, server: s, net: newMemNet()}
	// The server's own deadlines are shorter than a held connect.
	r.http = &http.Server{Handler: s, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go r.http.Serve(r.net)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		r.http.Close()
	})
	return r
}

// peer is a bare HTTP client with a cookie jar: a browser, as the server sees it.
type peer struct {
	t    *testing.T
	http *http.Client
	url  string
	id   string
}

func (r *rig) peer() *peer {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	tr := r.net.transport()
	r.t.Cleanup(tr.CloseIdleConnections)
	return &peer{t: r.t, http: &http.Client{Transport: tr, Jar: jar}, url: "http://bayeux.test/bayeux"}
}

// withID speaks for another's clientId.
func (p *peer) withID(id string) *peer {
	q := *p
	q.id = id
	return &q
}

type request struct {
	body, contentType string
	header            http.Header
	method            string
}

func (p *peer) do(ctx context.Context, req request) (int, http.Header, []*bayeux.Message, error) {
	if req.method == "" {
		req.method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, req.method, p.url, strings.NewReader(req.body))
	if err != nil {
		return 0, nil, nil, err
	}
	for k, v := range req.header {
		r.Header[k] = v
	}
	if req.contentType == "" {
		req.contentType = "application/json;charset=UTF-8"
	}
	r.Header.Set("Content-Type", req.contentType)
	resp, err := p.http.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, nil, err
	}
	if resp.StatusCode != 200 {
		return resp.StatusCode, resp.Header, nil, nil
	}
	msgs, err := decodeBatch(b)
	return 200, resp.Header, msgs, err
}

func decodeBatch(b []byte) ([]*bayeux.Message, error) {
	var raws []json.RawMessage
	if bytes.HasPrefix(b, []byte("{")) {
		raws = []json.RawMessage{b}
	} else if err := json.Unmarshal(b, &raws); err != nil {
		return nil, err
	}
	msgs := make([]*bayeux.Message, len(raws))
	for i, raw := range raws {
		msgs[i] = new(bayeux.Message)
		if err := msgs[i].UnmarshalJSON(raw); err != nil {
			return nil, err
		}
	}
	return msgs, nil
}

// send posts a batch, with $ID replaced by the peer's clientId.
func (p *peer) send(batch string) []*bayeux.Message {
	p.t.Helper()
	status, _, msgs, err := p.do(context.Background(), request{body: strings.ReplaceAll(batch, "$ID", p.id)})
	if err != nil {
		p.t.Fatalf("POST %.200s: %v", batch, err)
	}
	if status != 200 {
		p.t.Fatalf("POST %.200s: status %d", batch, status)
	}
	return msgs
}

// one posts one message and returns its reply.
func (p *peer) one(msg string) *bayeux.Message {
	p.t.Helper()
	msgs := p.send(msg)
	if len(msgs) == 0 {
		p.t.Fatalf("POST %.200s: no reply", msg)
	}
	return msgs[len(msgs)-1]
}

const handshakeMessage = `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling","websocket"],"id":"h"}`

func (p *peer) handshake() *bayeux.Message {
	p.t.Helper()
	r := p.one(handshakeMessage)
	wantOK(p.t, r)
	p.id = r.ClientID
	return r
}

// connect makes a connect that the server may hold.
func (p *peer) connect() []*bayeux.Message {
	p.t.Helper()
	return p.send(`[{"channel":"/meta/connect","clientId":"$ID","connectionType":"long-polling","id":"c"}]`)
}

// ready shakes hands and makes the first connect.
func (p *peer) ready() *peer {
	p.t.Helper()
	p.handshake()
	p.connect()
	return p
}

func (p *peer) subscribe(channels ...string) *bayeux.Message {
	p.t.Helper()
	list, _ := json.Marshal(channels)
	return p.one(`{"channel":"/meta/subscribe","clientId":"$ID","id":"s","subscription":` + string(list) + `}`)
}

// held makes a connect on another goroutine.
func (p *peer) held() <-chan []*bayeux.Message {
	done := make(chan []*bayeux.Message, 1)
	go func() {
		defer close(done)
		_, _, msgs, err := p.do(context.Background(), request{
			body: `[{"channel":"/meta/connect","clientId":"` + p.id + `","connectionType":"long-polling","id":"held"}]`})
		if err == nil {
			done <- msgs
		}
	}()
	return done
}

func wantOK(t *testing.T, m *bayeux.Message) {
	t.Helper()
	if m.Successful == nil || !*m.Successful {
		b, _ := m.MarshalJSON()
		t.Fatalf("reply %s, want success", b)
	}
}

func wantError(t *testing.T, m *bayeux.Message, text string) {
	t.Helper()
	if m.Successful == nil || *m.Successful || m.Error != text {
		b, _ := m.MarshalJSON()
		t.Errorf("reply %s, want error %q", b, text)
	}
}

// find returns the messages on a channel.
func find(msgs []*bayeux.Message, channel string) (found []*bayeux.Message) {
	for _, m := range msgs {
		if m.Channel == channel {
			found = append(found, m)
		}
	}
	return found
}

// wsPeer is a bare WebSocket client.
type wsPeer struct {
	gws.BuiltinEventHandler
	t      *testing.T
	conn   *gws.Conn
	frames chan []*bayeux.Message
	gone   chan error
	id     string
	rest   []*bayeux.Message

	stall   chan struct{} // a token here stops the reader until release
	release chan struct{}
}

func (p *peer) dialWS(header http.Header) (*wsPeer, *http.Response, error) {
	nc, err := p.http.Transport.(*http.Transport).DialContext(context.Background(), "tcp", "bayeux.test:80")
	if err != nil {
		return nil, nil, err
	}
	w := &wsPeer{t: p.t, frames: make(chan []*bayeux.Message, 4096), gone: make(chan error, 1),
		stall: make(chan struct{}, 1), release: make(chan struct{})}
	req, _ := http.NewRequest("GET", p.url, nil)
	if header == nil {
		header = http.Header{}
	}
	for _, c := range p.http.Jar.Cookies(req.URL) {
		header.Add("Cookie", c.Name+"="+c.Value)
	}
	conn, resp, err := gws.NewClientFromConn(w, &gws.ClientOption{
		Addr: "ws" + strings.TrimPrefix(p.url, "http"), RequestHeader: header, Logger: discard{},
	}, nc)
	if err != nil {
		nc.Close()
		return nil, resp, err
	}
	p.http.Jar.SetCookies(req.URL, resp.Cookies())
	w.conn = conn
	go conn.ReadLoop()
	p.t.Cleanup(func() { nc.Close() })
	return w, resp, nil
}

type discard struct{}

func (discard) Error(...any) {}

func (p *peer) ws() *wsPeer {
	p.t.Helper()
	w, _, err := p.dialWS(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return w
}

func (w *wsPeer) OnMessage(_ *gws.Conn, m *gws.Message) {
	select {
	case <-w.stall:
		<-w.release
	default:
	}
	msgs, err := decodeBatch(m.Bytes())
	if err != nil {
		w.t.Errorf("frame %.200s: %v", m.Bytes(), err)
	}
	w.frames <- msgs
}

func (w *wsPeer) OnClose(_ *gws.Conn, err error) { w.gone <- err }

func (w *wsPeer) send(batch string) {
	w.t.Helper()
	if err := w.conn.WriteString(strings.ReplaceAll(batch, "$ID", w.id)); err != nil {
		w.t.Fatalf("write: %v", err)
	}
}

// next waits for a message on channel, and returns it with all that came before.
func (w *wsPeer) next(channel string) (*bayeux.Message, []*bayeux.Message) {
	w.t.Helper()
	var before []*bayeux.Message
	for {
		select {
		case msgs := <-w.frames:
			for i, m := range msgs {
				if m.Channel == channel {
					return m, append(before, msgs[:i]...)
				}
			}
			before = append(before, msgs...)
		case err := <-w.gone:
			if len(w.frames) > 0 {
				w.gone <- err
				continue
			}
			w.t.Fatalf("websocket closed while waiting for %s: %v", channel, err)
		case <-time.After(time.Minute):
			w.t.Fatalf("no message on %s", channel)
		}
	}
}

func (w *wsPeer) ready() *wsPeer {
	w.t.Helper()
	w.send(handshakeMessage)
	r, _ := w.next(bayeux.MetaHandshake)
	wantOK(w.t, r)
	w.id = r.ClientID
	w.connect()
	r, _ = w.next(bayeux.MetaConnect)
	wantOK(w.t, r)
	return w
}

func (w *wsPeer) connect() {
	w.t.Helper()
	w.send(`[{"channel":"/meta/connect","clientId":"$ID","connectionType":"websocket","id":"c"}]`)
}

// closed waits for the end of the connection and returns its close code, or 0.
func (w *wsPeer) closed() uint16 {
	w.t.Helper()
	select {
	case err := <-w.gone:
		if ce, ok := errors.AsType[*gws.CloseError](err); ok {
			return ce.Code
		}
		return 0
	case <-time.After(30 * time.Second):
		w.t.Fatal("websocket not closed")
		return 0
	}
}
