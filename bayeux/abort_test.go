package bayeux

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// Who publishes does not wait for a client that reads nothing, by TLS neither.
func TestAbortDoesNotWait(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	cfg := web.TLS.Clone()
	cfg.SessionTicketsDisabled = true // nothing but the handshake is written
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		conn := tls.Server(here, cfg)
		go func() { _ = tls.Client(there, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		(&socket{out: &frameWriter{conn: conn}, cancel: cancel}).abort()
		if took := time.Since(start); took != 0 || ctx.Err() == nil {
			t.Errorf("took %v, context %v", took, ctx.Err())
		}
		if _, err := conn.Write([]byte("x")); err == nil {
			t.Error("the connection is open")
		}
	})
}

// What one WebSocket is writing nobody else overtakes, though its session lives elsewhere.
func TestWhatIsBeingWrittenComesFirst(t *testing.T) {
	s := quietServer(t, Config{})
	sess := member(t, s, "/a")
	sess.connected = true
	old := &socket{server: s}
	old.adopt(sess)
	sess.queue.push([]byte("1"))
	taken, _ := sess.take(old, frameBytes)
	sess.queue.push([]byte("2"))
	if left := sess.move(nil); left != old {
		t.Error("the connection that hangs is left alone")
	}
	if early, _ := sess.take(nil, frameBytes); len(early) != 0 {
		t.Errorf("%s goes out while %s may come back", early, taken)
	}
	sess.wrote(old, taken, net.ErrClosed)
	if all, _ := sess.take(nil, frameBytes); string(bytes.Join(all, nil)) != "12" {
		t.Errorf("%s, want 1 and 2", all)
	}
}
