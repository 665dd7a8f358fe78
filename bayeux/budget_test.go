package bayeux

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

// allocated is what f allocates, in MiB; the least of three runs.
func allocated(f func()) uint64 {
	least := uint64(1 << 40)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least >> 20
}

// connects is a batch with one connect of each.
func connects(sessions ...*ServerSession) string {
	parts := make([]string, len(sessions))
	for i, sess := range sessions {
		parts[i] = fmt.Sprintf(`{"channel":"/meta/connect","clientId":%q}`, sess.id)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// unacknowledged has a queue that holds no more, and a thousand connects of it.
func unacknowledged(t *testing.T, s *Server, browser string) (*ServerSession, string) {
	t.Helper()
	sess, ok := s.admit(browser)
	if !ok {
		t.Fatal("not admitted")
	}
	sess.connected, sess.ack = true, new(acknowledgement)
	for range 2 {
		if err := sess.Deliver("/a", strings.Repeat("x", 500<<10)); err != nil {
			t.Fatal(err)
		}
	}
	list := make([]*ServerSession, 1000)
	for i := range list {
		list[i] = sess
	}
	return sess, connects(list...)
}

// No batch of connects fetches more than one queue, once: not those of many sessions,
// and not that of one which waits for an acknowledgement. No request takes 64 MiB.
func TestBatchOfConnectsIsCheap(t *testing.T) {
	browser := randomID()
	post := func(s *Server, body string) int {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.AddCookie(&http.Cookie{Name: browserCookie, Value: browser})
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Body.Len()
	}
	check := func(t *testing.T, size int, mib uint64) {
		t.Helper()
		if mib > 16 || size < 1000<<10 || size > 1200<<10 {
			t.Errorf("a reply of %d KiB, %d MiB allocated, want one queue", size>>10, mib)
		}
	}
	t.Run("many sessions", func(t *testing.T) {
		s := quietServer(t, Config{})
		size := 0
		mib := allocated(func() {
			sessions := make([]*ServerSession, 100)
			for i := range sessions {
				sessions[i], _ = s.admit(browser)
				sessions[i].connected = true
				s.registry.add(sessions[i], []string{"/x"}, 1)
			}
			for range 2 {
				_ = s.Publish("/x", strings.Repeat("x", 500<<10))
			}
			size = post(s, connects(sessions...))
			for _, sess := range sessions {
				sess.Disconnect()
			}
		})
		check(t, size, mib)
	})
	t.Run("acknowledgement", func(t *testing.T) {
		s := quietServer(t, Config{Acknowledge: true})
		_, batch := unacknowledged(t, s, browser)
		size := 0
		mib := allocated(func() { size = post(s, batch) })
		check(t, size, mib)
	})
	t.Run("acknowledgement by WebSocket", func(t *testing.T) {
		s := quietServer(t, Config{Acknowledge: true})
		sess, batch := unacknowledged(t, s, browser)
		size := 0
		mib := allocated(func() {
			x := &exchange{server: s, ctx: t.Context(), socket: &socket{server: s}, browser: owner{id: browser}}
			sess.socket = x.socket
			msgs, err := parseMessages([]byte(batch), defaultMaxDepth, defaultMaxBatch)
			if err != nil {
				t.Fatal(err)
			}
			x.run(msgs)
			size = sizeOf(x.replies)
		})
		check(t, size, mib)
	})
}

// What goes with one connect of a batch is not acknowledged by the word of another.
func TestAcknowledgeInABatch(t *testing.T) {
	s := quietServer(t, Config{Acknowledge: true})
	x := &exchange{server: s, ctx: t.Context()}
	var sessions []*ServerSession
	for range 2 {
		sess, _ := s.admit("browser")
		sess.connected, sess.ack = true, new(acknowledgement)
		x.browser = owner{id: "browser"}
		_ = sess.Deliver("/a", 1)
		sessions = append(sessions, sess)
	}
	lost := sessions[1].sendUnacknowledged(new(Message)) // a reply that does not arrive
	msgs, _ := parseMessages([]byte(connects(sessions...)), 4, 2)
	x.req = httptest.NewRequest(http.MethodPost, "/", nil)
	x.run(msgs)
	replies, err := parseMessages(joinBatch(x.replies), 8, 10)
	if err != nil || len(lost) != 1 || len(replies) != 3 {
		t.Fatalf("%d replies, %v, want a message and two", len(replies), err)
	}
	if got := string(replies[1].Ext[extAck]); got != "1" {
		t.Errorf("the reply that takes along has the number %q, want 1", got)
	}
	if got, numbered := replies[2].Ext[extAck]; numbered {
		t.Errorf("the reply that takes nothing along has the number %s", got)
	}
	_ = replies[2].SetExt(extAck, 0)
	sessions[1].acknowledge(replies[2])
	if n := len(sessions[1].queue.messages); n != 1 {
		t.Errorf("%d messages wait, want the one that is not acknowledged", n)
	}
}

// A WebSocket that does not read holds one small buffer, however much waits for it and
// however long one message is.
func TestSocketThatDoesNotRead(t *testing.T) {
	tests := map[string][][]byte{
		"many messages": nil,
		"long message":  {[]byte(`{"channel":"/a","data":"` + strings.Repeat("x", 900<<10) + `"}`)},
	}
	for range 30 {
		tests["many messages"] = append(tests["many messages"], []byte(`{"channel":"/a","data":"`+strings.Repeat("x", 30<<10)+`"}`))
	}
	for name, messages := range tests {
		t.Run(name, func(t *testing.T) {
			const n = 50
			s := quietServer(t, Config{})
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for range n {
				here, there := net.Pipe()
				defer there.Close()
				sock := &socket{server: s, out: &frameWriter{conn: here, timeout: time.Minute}}
				sess := member(t, s, "/a")
				sess.connected = true
				sock.adopt(sess)
				for _, m := range messages {
					sess.queue.push(m)
				}
				sock.kick()
				var one [1]byte
				if _, err := there.Read(one[:]); err != nil { // the frame has begun
					t.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n >> 10; each > 100 {
				t.Errorf("%d KiB for each", each)
			}
		})
	}
}
