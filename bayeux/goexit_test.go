package bayeux_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// Code that is not the server's may end its goroutine, as t.Fatal does in a handler of a
// test. What the goroutine had is given back all the same.

func TestHandlerEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts tally
		r := newRig(t, bayeux.Config{Observer: &counts})
		r.server.HandleService("/service/exit", func(context.Context, *bayeux.ServerSession, *bayeux.Message) {
			runtime.Goexit()
		})
		w := r.peer().ws().ready()
		w.send(`{"channel":"/service/exit","clientId":"$ID","data":1}`)
		if code := w.closed(); code != 1011 {
			t.Errorf("close code %d, want 1011", code)
		}
		synctest.Wait()
		if n := counts.of(bayeux.GaugeSockets); n != 0 {
			t.Errorf("%d WebSockets are open", n)
		}
	})
}

// exitAtConnect is an extension that ends the goroutine of a held connect's reply.
var exitAtConnect = tap{out: func(_ *bayeux.ServerSession, m *bayeux.Message) bool {
	if string(m.ID) == `"held"` {
		runtime.Goexit()
	}
	return true
}}

func TestParkedConnectEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{ParkPolls: true})
		r.server.AddExtension(exitAtConnect)
		p := r.peer().ready()
		held := p.held()
		synctest.Wait()
		r.server.Session(p.id).EndConnect()
		select {
		case msgs := <-held:
			if len(msgs) > 0 {
				t.Error("an answer")
			}
		case <-time.After(time.Minute):
			t.Error("the connection is still open")
		}
	})
}

func TestConnectThatEndsItsGoroutineKeepsNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts tally
		r := newRig(t, bayeux.Config{Observer: &counts})
		r.server.AddExtension(exitAtConnect)
		w := r.peer().ws().ready()
		w.send(`{"channel":"/meta/connect","clientId":"$ID","id":"held"}`)
		time.Sleep(time.Minute)
		if n := counts.of(bayeux.GaugeSessions); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

func TestOnRemoveEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{MaxQueue: 1}) // its Shutdown waits for the removals
		called := make(chan int, 4)
		for i := range 2 {
			p := r.peer().ready()
			sess := r.server.Session(p.id)
			for j := range 2 {
				sess.OnRemove(func(bool) {
					called <- 2*i + j
					runtime.Goexit()
				})
			}
			_ = sess.Deliver("/a", 1)
			_ = sess.Deliver("/a", 2)
		}
		synctest.Wait()
		if len(called) != 4 {
			t.Errorf("%d of 4 functions were called", len(called))
		}
	})
}
