package bayeux_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

const upgradeRequest = "GET /bayeux HTTP/1.1\r\nHost: bayeux.test\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// upgrade asks for a WebSocket with more header lines and what follows them.
func (r *rig) upgrade(more string) int {
	r.t.Helper()
	nc, err := r.net.Dial(r.t.Context(), "tcp", "bayeux.test:80")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	if _, err := nc.Write([]byte(upgradeRequest + more)); err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode
}

// A body would be read as frames, and by a front that counts it otherwise as another
// request.
func TestUpgradeHasNoBody(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	for more, want := range map[string]int{
		"\r\n":                         101,
		"Content-Length: 0\r\n\r\n":    101,
		"Content-Length: 3\r\n\r\nabc": 400,
		"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
	} {
		if got := r.upgrade(more); got != want {
			t.Errorf("%q: status %d, want %d", more, got, want)
		}
	}
}

// An open WebSocket keeps its upgrade's header, for hooks.
func TestUpgradeHeaderIsBounded(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	for name, tt := range map[string]struct {
		more string
		want int
	}{
		"four cookies of a browser":   {"Cookie: a=" + strings.Repeat("x", 16<<10) + "\r\n", 101},
		"a long value":                {"X: " + strings.Repeat("x", 32<<10) + "\r\n", 431},
		"lines without a value":       {strings.Repeat("A:\r\n", 201), 431},
		"names that differ, no value": {manyNames(201), 431},
	} {
		if got := r.upgrade(tt.more + "\r\n"); got != tt.want {
			t.Errorf("%s: status %d, want %d", name, got, tt.want)
		}
	}
}

func manyNames(n int) (lines string) {
	for i := range n {
		lines += fmt.Sprintf("A%d:\r\n", i)
	}
	return lines
}

// Behind a proxy that ends TLS a page that came in the clear is of another origin.
func TestPlainOriginBehindProxy(t *testing.T) {
	for _, secure := range []bool{false, true} {
		r := newRig(t, bayeux.Config{SecureCookie: secure})
		for scheme, want := range map[string]int{"https": 101, "http": map[bool]int{false: 101, true: 403}[secure]} {
			if got := r.upgrade("Origin: " + scheme + "://bayeux.test\r\n\r\n"); got != want {
				t.Errorf("SecureCookie %v, a page of %s: status %d, want %d", secure, scheme, got, want)
			}
		}
	}
}

// A client that does not send its cookie back waits before it shakes hands again, and
// leaves no sessions behind.
func TestCookielessClient(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	p := r.peer()
	p.http.Jar = nil
	m := p.handshake()
	wantOK(t, m)
	reply := p.connect()[0]
	wantError(t, reply, "402::session_unknown")
	if a := reply.Advice; a == nil || a.Reconnect != bayeux.ReconnectHandshake || *a.Interval < 1000 {
		t.Errorf("advice %+v", reply.Advice)
	}
	if r.server.Session(m.ClientID) != nil {
		t.Error("the session is kept")
	}
	// One that is in use is not ended by who knows its clientId alone.
	q := r.peer().ready()
	wantError(t, p.withID(q.id).connect()[0], "402::session_unknown")
	if r.server.Session(q.id) == nil {
		t.Error("a stranger ended a session")
	}
}

// With SameSite=None, as pages of other sites need it, browsers want Secure.
func TestCookieOfOtherSites(t *testing.T) {
	r := newRig(t, bayeux.Config{CookieSameSite: http.SameSiteNoneMode})
	_, h, _, err := r.peer().do(t.Context(), request{body: handshakeMessage})
	if err != nil || !strings.Contains(h.Get("Set-Cookie"), "; Secure") || !strings.Contains(h.Get("Set-Cookie"), "SameSite=None") {
		t.Errorf("cookie %q, %v", h.Get("Set-Cookie"), err)
	}
}

// A WebSocket without a session lives no longer for what is sent on it.
func TestSocketNeedsASession(t *testing.T) {
	r := newRig(t, bayeux.Config{HandshakeTimeout: 300 * time.Millisecond})
	w := r.peer().ws()
	ended := make(chan uint16, 1)
	go func() { ended <- w.closed() }()
	for limit := time.After(15 * time.Second); ; {
		select {
		case <-ended:
			return
		case <-limit:
			t.Fatal("still open after 15 s")
		case <-time.After(50 * time.Millisecond):
			_ = w.conn.WriteString("[]")
		}
	}
}

// What handles a message on a WebSocket that is gone, or whose client is silent, is
// told so by the time that the session lapses.
func TestHandlerEndsWithItsSession(t *testing.T) {
	r := newRig(t, bayeux.Config{Timeout: time.Second, MaxInterval: time.Second, WriteTimeout: time.Second})
	began, ended := make(chan struct{}), make(chan struct{})
	r.server.HandleService("/service/wait", func(ctx context.Context, _ *bayeux.ServerSession, _ *bayeux.Message) {
		close(began)
		<-ctx.Done()
		close(ended)
	})
	w := r.peer().ws().ready()
	w.send(`[{"channel":"/service/wait","clientId":"$ID","data":1}]`)
	<-began
	w.conn.NetConn().Close()
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		t.Fatal("the handler's ctx has not ended")
	}
}

// asking counts the questions to a policy.
type asking struct {
	bayeux.DefaultPolicy
	n *atomic.Int64
}

func (a asking) CanSubscribe(context.Context, *bayeux.ServerSession, string, *bayeux.Message) bool {
	a.n.Add(1)
	return true
}

// A request asks the policy as often as it may subscribe, and once for each channel of a list.
func TestPolicyIsAskedInBounds(t *testing.T) {
	var n atomic.Int64
	r := newRig(t, bayeux.Config{Policy: asking{n: &n}, MaxSubscriptions: 100})
	p := r.peer().ready()
	list := func(n int, name string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"/%s%d"`, name, i))
		}
		return strings.Join(all, ",")
	}
	subscribe := func(list string) string {
		return `{"channel":"/meta/subscribe","clientId":"$ID","subscription":[` + list + `]}`
	}
	wantOK(t, p.one(subscribe(strings.Repeat(`"/a",`, 99)+`"/a"`)))
	if n.Swap(0) != 1 {
		t.Error("one channel, named often, was asked about more than once")
	}
	batch := strings.Repeat(subscribe(list(50, "b"))+",", 20)
	replies := p.send("[" + strings.TrimSuffix(batch, ",") + "]")
	wantOK(t, replies[1])
	wantError(t, replies[2], "403::subscribe_failed")
	if got := n.Load(); got != 100 {
		t.Errorf("%d questions, want 100", got)
	}
	long := `{"channel":"/meta/unsubscribe","clientId":"$ID","subscription":[` + list(101, "c") + `]}`
	wantError(t, p.one(long), "403::subscription_invalid")
}

// A message for a session of many patterns is found about as fast as for one.
func TestManyPatternsFindEachReceiverOnce(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	p := r.peer().ready()
	wantOK(t, p.subscribe("/a/b/c", "/a/b/*", "/a/b/**", "/a/**", "/**"))
	got := p.held()
	r.server.Publish("/a/b/c", 1)
	n := 0
	for _, m := range <-got {
		if m.Channel == "/a/b/c" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("delivered %d times", n)
	}
}
