package bayeux_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// asked is how many requests came by net/http.
func (r *parkRig) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

// repeated makes a peer whose connection takes its connects itself, and is between two.
func (r *parkRig) repeated() *rawPeer {
	r.t.Helper()
	p := r.raw()
	for range 2 {
		p.exchange(r)
	}
	return p
}

var news int

// exchange connects, waits for a message, and gets it.
func (p *rawPeer) exchange(r *parkRig) {
	p.t.Helper()
	p.write(p.post(p.message(bayeux.MetaConnect)))
	p.receive(r)
}

// receive gets a message by the connect that was sent.
func (p *rawPeer) receive(r *parkRig) {
	p.t.Helper()
	news++
	time.Sleep(10 * time.Millisecond) // so that most connects are held; it must not matter
	if err := r.bayeux.Session(p.id).Deliver("/news", news); err != nil {
		p.t.Fatal(err)
	}
	if _, body := p.read(); !strings.Contains(body, fmt.Sprintf(`"data":%d}`, news)) || !strings.Contains(body, `"successful":true`) {
		p.t.Fatalf("body %s", body)
	}
}

func repeatRig(t *testing.T, secure bool, wrap func(http.Handler) http.Handler) *parkRig {
	return newParkRig(t, bayeux.Config{RepeatPolls: true, Timeout: 5 * time.Second}, secure, wrap)
}

// A connect that comes as the one before is taken by the connection itself.
func TestRepeatedConnects(t *testing.T) {
	for _, secure := range []bool{false, true} {
		r := repeatRig(t, secure, nil)
		p := r.repeated()
		before := r.asked()
		for range 20 {
			p.exchange(r)
		}
		// A connect of another length is still one.
		connect := strings.TrimSuffix(p.message(bayeux.MetaConnect), "}") + `,"id":"a longer one","ext":{"x":[1,2,3]}}`
		p.write(p.post(connect))
		p.receive(r)
		// One that is answered at once.
		if err := r.bayeux.Session(p.id).Deliver("/news", 0); err != nil {
			t.Fatal(err)
		}
		p.write(p.post(p.message(bayeux.MetaConnect)))
		p.read()
		if n := r.asked() - before; n != 0 {
			t.Errorf("TLS %v: %d of the connects came by net/http", secure, n)
		}
	}
}

// Whatever is not the known connect goes to net/http, whole, and so does what follows
// until it is known.
func TestRequestsThatAreNoRepeatedConnect(t *testing.T) {
	r := repeatRig(t, false, nil)
	p := r.repeated()
	connect, publish := p.message(bayeux.MetaConnect), p.message("/x")
	for name, request := range map[string]string{
		"a publication":       p.post(publish),
		"two messages":        p.post("[" + publish + "," + publish + "]"),
		"more than a connect": p.post("[" + connect + "," + publish + "]"),
		"another header":      p.post(publish, "X-Other: 1"),
		"another path":        strings.Replace(p.post(publish), "/bayeux ", "/bayeux/x ", 1),
		"chunks":              chunked(p.post(publish)),
		"a connect of others": p.post(connect + " "),
	} {
		before := r.asked()
		p.write(request)
		if strings.HasPrefix(name, "a connect") {
			p.receive(r)
			if n := r.asked() - before; n != 0 {
				t.Errorf("%s: came by net/http", name)
			}
			continue
		}
		if _, body := p.read(); !strings.Contains(body, `"successful":true`) {
			t.Errorf("%s: %s", name, body)
		}
		if n := r.asked() - before; n != 1 {
			t.Errorf("%s: %d requests came by net/http, want 1", name, n)
		}
		p.exchange(r)
		p.exchange(r)
		before = r.asked()
		p.exchange(r)
		if n := r.asked() - before; n != 0 {
			t.Errorf("after %s connects still come by net/http", name)
		}
	}
}

// chunked sends the body of a request in one chunk.
func chunked(request string) string {
	head, body, _ := strings.Cut(request, "\r\n\r\n")
	head = strings.Replace(head, fmt.Sprintf("Content-Length: %d", len(body)), "Transfer-Encoding: chunked", 1)
	return fmt.Sprintf("%s\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(body), body)
}

// A request that comes in pieces, or with the next one, is neither lost nor misread.
func TestRepeatedConnectsInPieces(t *testing.T) {
	r := repeatRig(t, false, nil)
	p := r.repeated()
	connect, publish := p.post(p.message(bayeux.MetaConnect)), p.post(p.message("/x"))
	for _, cut := range []int{1, 20, len(connect) - len(p.message(bayeux.MetaConnect)), len(connect) - 1} {
		p.write(connect[:cut])
		time.Sleep(20 * time.Millisecond)
		p.write(connect[cut:])
		p.receive(r)
		p.exchange(r)
		p.exchange(r)
	}
	p.write(connect + publish)
	for _, want := range []string{bayeux.MetaConnect, "/x"} {
		if _, body := p.read(); !strings.Contains(body, `"`+want+`"`) {
			t.Errorf("got %s, want %s", body, want)
		}
	}
	p.exchange(r)
	p.exchange(r)
	p.write(connect)
	time.Sleep(20 * time.Millisecond)
	p.write(connect) // ends the first
	p.read()
	p.receive(r)
}

// Middleware that sets headers sees each request, also where we set the same.
func TestConnectsOfMiddlewareAreNotRepeated(t *testing.T) {
	for _, name := range []string{"X-Seen", "Vary"} {
		r := repeatRig(t, false, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				w.Header().Add(name, "Cookie")
				h.ServeHTTP(w, req)
			})
		})
		p := r.raw()
		before := r.asked()
		for range 5 {
			p.exchange(r)
		}
		if n := r.asked() - before; n != 5 {
			t.Errorf("%s: middleware saw %d of 5 requests", name, n)
		}
	}
}

// The head of another browser is not the known one, however alike.
func TestRepeatedConnectOfAnotherBrowser(t *testing.T) {
	r := repeatRig(t, false, nil)
	p, other := r.repeated(), r.raw()
	if len(p.cookie) != len(other.cookie) || p.cookie == other.cookie {
		t.Fatalf("cookies %q and %q", p.cookie, other.cookie)
	}
	p.cookie = other.cookie
	p.write(p.post(p.message(bayeux.MetaConnect)))
	if _, body := p.read(); !strings.Contains(body, "402") {
		t.Errorf("another browser's cookie: %s", body)
	}
}

// A session that is gone, or another's, is refused as ever.
func TestRepeatedConnectOfAnotherSession(t *testing.T) {
	r := repeatRig(t, false, nil)
	p, other := r.repeated(), r.raw()
	p.write(p.post(strings.Replace(p.message(bayeux.MetaConnect), p.id, other.id, 1)))
	if _, body := p.read(); !strings.Contains(body, "402") {
		t.Errorf("another's session: %s", body)
	}
	r.bayeux.Session(p.id).Disconnect()
	before := r.asked()
	p.write(p.post(p.message(bayeux.MetaConnect)))
	if _, body := p.read(); !strings.Contains(body, "402") || r.asked() != before {
		t.Errorf("no session: %s", body)
	}
}

// Shutdown ends the wait for a next connect, and that of one that is held.
func TestRepeatedConnectsAtShutdown(t *testing.T) {
	polls := newGauges()
	r := newParkRig(t, bayeux.Config{RepeatPolls: true, Timeout: 5 * time.Second, Observer: polls}, false, nil)
	between, held := r.repeated(), r.repeated()
	for len(polls.changes) > 0 { // those that began to be held before they were answered
		<-polls.changes
	}
	held.write(held.post(held.message(bayeux.MetaConnect)))
	for <-polls.changes != 1 { // an earlier one ended
	}
	start := time.Now()
	if err := r.bayeux.Shutdown(t.Context()); err != nil || time.Since(start) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	if h, body := held.read(); h.Get("Connection") != "close" || !strings.Contains(body, "402") {
		t.Errorf("held: %v %s", h, body)
	}
	for _, p := range []*rawPeer{between, held} {
		if n, err := p.in.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Error("a connection is open after the end")
		}
	}
}

// A client that does not connect again in the life of its session leaves its connection
// to net/http.
func TestRepeatedConnectThatDoesNotCome(t *testing.T) {
	const hold, gap = time.Second, 100 * time.Millisecond // enough for exchanges on a busy machine
	r := newParkRig(t, bayeux.Config{RepeatPolls: true, Timeout: hold, MaxInterval: hold, MultiSessionInterval: gap}, false, nil)
	p := r.repeated()
	before := r.asked()
	for tries := 0; r.asked() == before && tries < 3; tries++ { // the wait may end late
		time.Sleep(2*hold + 5*gap)
		p.write(p.post(p.message(bayeux.MetaConnect)))
		if _, body := p.read(); !strings.Contains(body, "402") {
			t.Error(body)
		}
	}
	if n := r.asked() - before; n != 1 {
		t.Errorf("%d by net/http", n)
	}
}

type nameKey struct{}

// names is an extension that notes whose a message was, by the middleware and by the request.
type names struct{ seen chan [2]any }

func (n names) Incoming(ctx context.Context, from *bayeux.ServerSession, _ *bayeux.Message) bool {
	if from != nil {
		n.seen <- [2]any{ctx.Value(nameKey{}), bayeux.HTTPRequest(ctx).Header.Get("Authorization")}
	}
	return true
}

func (names) Outgoing(*bayeux.ServerSession, *bayeux.Message) bool { return true }

// A proxy brings requests of several clients by one connection: each is handled in its own
// name, also where nothing but a header of the application's tells them apart.
func TestRepeatedConnectsOfSeveralClients(t *testing.T) {
	n := names{make(chan [2]any, 10)}
	r := newParkRig(t, bayeux.Config{RepeatPolls: true, InsecureTrustClientID: true}, false, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			h.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), nameKey{}, req.Header.Get("Authorization"))))
		})
	})
	a, b := r.raw(), r.raw()
	b.conn, b.in = a.conn, a.in // the proxy's
	a.cookie, b.cookie = "", ""
	r.bayeux.AddExtension(n)
	before := r.asked()
	for i, p := range []*rawPeer{a, a, a, a, b, b, b, b, a, b, a, a, a, b, b, b} {
		name := map[*rawPeer]string{a: "anna", b: "bert"}[p]
		p.write(p.post(p.message(bayeux.MetaConnect), "Authorization: "+name))
		p.receive(r)
		if got := <-n.seen; got != [2]any{name, name} {
			t.Errorf("connect %d of %s was handled as of %v", i, name, got)
		}
	}
	if n := r.asked() - before; n == 16 {
		t.Error("no connect was repeated")
	}
}

// A connection that a proxy shares among its clients must not take a part of one's body
// for the next request: what looks like a length in another header is none, however the
// bytes before it are written.
func TestLengthOfAnotherHeader(t *testing.T) {
	r := repeatRig(t, false, nil)
	p := r.raw()
	short := p.message(bayeux.MetaConnect)
	const hidden = "POST /hidden HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	whole := len(short) + len(hidden)
	// Mapped to lower case as runes these five bytes become fifteen: ten more, which is how
	// far one length is from the other.
	head := func(other int) string {
		return fmt.Sprintf("POST /bayeux HTTP/1.1\r\nHost: x\r\nCookie: %s\r\nX-A: \xff\xff\xff\xff\xff\r\nContent-Length: %d\r\nX-B: %d\r\n\r\n",
			p.cookie, whole, other)
	}
	for range 2 {
		p.write(head(whole) + short + strings.Repeat(" ", whole-len(short)))
		p.receive(r)
	}
	p.write(head(len(short)) + short)
	time.Sleep(50 * time.Millisecond)
	p.write(hidden)
	resp, err := http.ReadResponse(p.in, nil)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("%v, %v; want 400", resp, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, req := range r.requests {
		if req.URL.Path == "/hidden" {
			t.Error("a part of a body was taken for a request")
		}
	}
}

// Who waits for a silent client holds nothing of what was written to it.
func TestRepeatedConnectKeepsNoMessage(t *testing.T) {
	r := repeatRig(t, false, nil)
	peers := make([]*rawPeer, 100)
	for i := range peers {
		peers[i] = r.repeated()
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC() // twice: a pool keeps what it has for one more
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for _, p := range peers {
		p.write(p.post(p.message(bayeux.MetaConnect)))
	}
	for _, p := range peers {
		if err := r.bayeux.Session(p.id).Deliver("/news", strings.Repeat("x", 60<<10)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range peers {
		p.read()
	}
	if grown := (heap() - before) >> 10; grown > 16*int64(len(peers)) {
		t.Errorf("%d KiB for %d clients that wait", grown, len(peers))
	}
	runtime.KeepAlive(peers)
}
