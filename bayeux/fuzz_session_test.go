package bayeux_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lxzan/gws"

	"github.com/sealedblob/sealedblob/bayeux"
)

// visitor is a client that says anything: batches over HTTP and over a WebSocket, of
// one browser.
type visitor struct {
	gws.BuiltinEventHandler
	t     *testing.T
	http  *http.Client
	dial  func(context.Context, string, string) (netConn, error)
	posts sync.WaitGroup

	mu    sync.Mutex
	id    string
	asked map[string]bool // patterns it ever subscribed to
	batch []string
	conn  *gws.Conn
}

const (
	fuzzQueueBytes = 32 << 10
	// What one message of a request is answered with at most, but for the channels it
	// subscribes to itself.
	fuzzReplyBytes = 512
)

var fuzzURL = &url.URL{Scheme: "http", Host: "bayeux.test", Path: "/"}

// observed is an Observer.
type observed func(bayeux.Event)

func (f observed) Observe(e bayeux.Event) { f(e) }

// fuzzChannels are what visitors publish on, each with the patterns that cover it.
var fuzzChannels = map[string][]string{
	"/a": {"/a", "/*", "/**"}, "/a/b": {"/a/b", "/a/*", "/a/**", "/**"}, "/a/b/c": {"/a/b/c", "/a/b/*", "/a/b/**", "/a/**", "/**"}, "/own": {"/own", "/*", "/**"},
}

var fuzzSaid = []string{"/a", "/a/b", "/a/b/c", "/own", "/*", "/**", "/a/*", "/a/**", "/service/x", "/meta/connect", "/x//y", "/a/"}

// say puts a message into the next batch.
func (v *visitor) say(kind, arg byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	head := `"clientId":"` + v.id + `","id":"` + fmt.Sprint(len(v.batch)) + `"`
	channel := fuzzSaid[int(arg)%len(fuzzSaid)]
	switch kind {
	case 0:
		v.batch = append(v.batch, `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling","websocket"],"ext":{"ack":`+fmt.Sprint(arg&1 == 0)+`}}`)
	case 1, 2:
		advice := ""
		if kind == 1 {
			advice = `,"advice":{"timeout":0}`
		}
		for range 1 + arg>>4 {
			v.batch = append(v.batch, fmt.Sprintf(`{"channel":"/meta/connect","connectionType":"long-polling",%s,"ext":{"ack":%d}%s}`, head, int(arg&15)-1, advice))
		}
	case 3:
		v.asked[channel] = true
		v.batch = append(v.batch, fmt.Sprintf(`{"channel":"/meta/subscribe",%s,"subscription":[%q,%q]}`, head, channel, channel))
	case 4:
		v.batch = append(v.batch, fmt.Sprintf(`{"channel":"/meta/unsubscribe",%s,"subscription":%q}`, head, channel))
	case 5, 6:
		size := int(arg)
		if kind == 6 {
			size *= 64
		}
		v.batch = append(v.batch, fmt.Sprintf(`{"channel":%q,%s,"data":%q}`, channel, head, strings.Repeat("x", size)))
	case 7:
		v.batch = append(v.batch, fmt.Sprintf(`{"channel":"/meta/disconnect",%s}`, head))
	case 8:
		v.batch = append(v.batch, []string{`{}`, `{"channel":"/meta/nothing"}`, `{"channel":7}`, `7`, `{"channel":"/a","data":{"x":1,"x":1}}`}[arg%5])
	}
}

// expects notes that messages may come on channel, and returns the clientId.
func (v *visitor) expects(channel string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked[channel] = true
	return v.id
}

// flush sends the batch, over HTTP or a WebSocket.
func (v *visitor) flush(socket bool) {
	v.mu.Lock()
	body := "[" + strings.Join(v.batch, ",") + "]"
	budget := fuzzQueueBytes + 2*len(body) + fuzzReplyBytes*(1+len(v.batch))
	v.batch = nil
	conn := v.conn
	v.mu.Unlock()
	if socket && conn == nil {
		conn = v.open()
	}
	if socket {
		if conn != nil {
			conn.WriteString(body)
		}
		return
	}
	v.posts.Go(func() {
		resp, err := v.http.Post("http://bayeux.test/", "application/json", strings.NewReader(body))
		if err != nil {
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode == http.StatusOK {
			v.read(b, budget)
		}
	})
}

func (v *visitor) open() *gws.Conn {
	nc, err := v.dial(context.Background(), "tcp", "")
	if err != nil {
		return nil
	}
	header := http.Header{}
	for _, ck := range v.http.Jar.Cookies(fuzzURL) {
		header.Add("Cookie", ck.Name+"="+ck.Value)
	}
	conn, _, err := gws.NewClientFromConn(v, &gws.ClientOption{Addr: "ws://bayeux.test/", RequestHeader: header, Logger: discard{}, ReadMaxPayloadSize: 1 << 30}, nc)
	if err != nil {
		nc.Close()
		return nil
	}
	v.mu.Lock()
	v.conn = conn
	v.mu.Unlock()
	go conn.ReadLoop()
	return conn
}

func (v *visitor) hangUp() {
	v.mu.Lock()
	conn := v.conn
	v.conn = nil
	v.mu.Unlock()
	if conn != nil {
		conn.NetConn().Close()
	}
}

func (v *visitor) OnMessage(_ *gws.Conn, m *gws.Message) { v.read(m.Bytes(), 128<<10) }

func (v *visitor) OnClose(conn *gws.Conn, _ error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conn == conn {
		v.conn = nil
	}
}

// read checks what came: it is Bayeux, no more than the budget, and holds nothing that
// was not asked for.
func (v *visitor) read(b []byte, budget int) {
	if len(b) > budget {
		v.t.Errorf("%d bytes came, at most %d were expected", len(b), budget)
	}
	var msgs []struct {
		Channel    string
		ClientID   string `json:"clientId"`
		Successful *bool
	}
	if err := json.Unmarshal(b, &msgs); err != nil {
		v.t.Errorf("%.300q: %v", b, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range msgs {
		if m.Channel == bayeux.MetaHandshake && m.ClientID != "" {
			v.id = m.ClientID
		}
		if m.Successful != nil {
			continue
		}
		wanted := false
		for _, p := range fuzzChannels[m.Channel] {
			wanted = wanted || v.asked[p] || v.asked[p+"/"]
		}
		if !wanted {
			v.t.Errorf("a delivery on %q, which it did not subscribe to", m.Channel)
		}
	}
}

// FuzzBayeuxSession: whatever clients say in the course of time, in batches over HTTP
// and WebSockets, each response is bounded and brings what its client subscribed to,
// nothing panics, and nothing is left of clients that are gone.
func FuzzBayeuxSession(f *testing.F) {
	begin := "\x00\x00\x10\x00\x01\x00\x10\x00" // a handshake, a connect
	for _, s := range []string{
		"", begin, begin + "\x03\x05\x05\x60\x12\x00\x02\x00\x10\x00\x05\x20\x11\x00", begin + "\x03\x05\x10\x00\x06\xfc\x06\xfc\x10\x00\x01\xf0\x10\x00\x01\xf3\x10\x00",
		"\x00\x00\x11\x00\x02\x00\x11\x00\x03\x01\x06\x11\x11\x00\x13\x00\x02\x10\x11\x00\x07\x00\x11\x00", begin + "\x40\x00\x50\x00\x41\x00\x50\x00\x43\x05\x50\x00\x06\x80\x12\x03\x42\xf1\x51\x00\x14\x00",
		begin + "\x08\x00\x08\x01\x10\x00\x08\x02\x11\x00\x08\x04\x10\x00" + strings.Repeat("\x00\x01", 20) + "\x10\x00", begin + "\x07\x00\x10\x00", begin + "\x02\x00\x10\x00\x03\x08\x07\x00\x10\x00", begin + "\x15\x20\x02\x00\x10\x00\x15\xfc\x15\xfc\x16\x03\x15\xfc",
		"\x00\x01\x11\x00\x02\x00\x11\x00\x03\x05\x11\x00\x15\xfc\x15\xfc\x15\xfc\x15\xfc\x17\x00\x02\x00\x10\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 400 {
			return
		}
		synctest.Test(t, func(t *testing.T) { runVisitors(t, in) })
	})
}

// runVisitors takes two bytes for each step: who does what, and how.
func runVisitors(t *testing.T, in []byte) {
	var gauges sync.Map // of *atomic.Int64
	r := newRig(t, bayeux.Config{Acknowledge: true, Timeout: time.Second, MaxInterval: 2 * time.Second, MaxQueueBytes: fuzzQueueBytes, MaxQueue: 50,
		MaxBody: 64 << 10, MaxBatch: 100, MaxSubscriptions: 5, MaxSessionsPerBrowser: 8, Logger: slog.New(noPanics{t: t}),
		Observer: observed(func(e bayeux.Event) {
			n, _ := gauges.LoadOrStore(e.Kind, new(atomic.Int64))
			n.(*atomic.Int64).Add(int64(e.N))
		})})
	var visitors [2]*visitor
	for i := range visitors {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		tr := r.net.transport()
		defer tr.CloseIdleConnections()
		visitors[i] = &visitor{t: t, http: &http.Client{Transport: tr, Jar: jar}, dial: r.net.Dial, asked: make(map[string]bool)}
	}
	for ; len(in) >= 2; in = in[2:] {
		v, arg := visitors[in[0]>>6&1], in[1]
		switch kind := in[0] & 0x1f; kind {
		case 0x10, 0x11:
			v.flush(kind == 0x11)
		case 0x12:
			time.Sleep(time.Duration(arg) * 10 * time.Millisecond)
		case 0x13:
			v.hangUp()
		case 0x14:
			r.server.Publish("/a/b", strings.Repeat("y", int(arg)*100))
		case 0x15:
			if s := r.server.Session(v.expects("/own")); s != nil {
				s.Deliver("/own", strings.Repeat("z", int(arg)*50))
			}
		case 0x16:
			if s := r.server.Session(v.expects("")); s != nil {
				[]func(){s.Disconnect, s.Dismiss, s.Reopen, s.EndConnect}[arg%4]()
			}
		default:
			v.say(kind, arg)
			continue
		}
		synctest.Wait()
	}
	for _, v := range visitors {
		v.hangUp()
		v.posts.Wait()
	}
	time.Sleep(10 * time.Second)
	for _, kind := range []bayeux.EventKind{bayeux.GaugeSessions, bayeux.GaugeSockets, bayeux.GaugePolls} {
		if n, ok := gauges.Load(kind); ok && n.(*atomic.Int64).Load() != 0 {
			t.Errorf("%d %s are left", n.(*atomic.Int64).Load(), kind)
		}
	}
}
