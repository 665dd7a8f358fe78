package bayeux_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// hung is a WebSocket whose network hangs while message 1 is written to it.
func (r *rig) hung(p *peer) (*wsPeer, *bayeux.ServerSession) {
	w := p.ws().ready()
	r.t.Cleanup(func() { close(w.release) })
	w.connect()
	synctest.Wait()
	w.stall <- struct{}{}
	sess := r.server.Session(w.id)
	sess.Deliver("/x", 0) // read; its reader stops
	synctest.Wait()
	sess.Deliver("/x", "1"+strings.Repeat("x", 20_000))
	synctest.Wait()
	return w, sess
}

// numbers are the first characters of what was delivered on /x.
func numbers(msgs []*bayeux.Message) (s string) {
	for _, m := range find(msgs, "/x") {
		s += strings.TrimPrefix(string(m.Data), `"`)[:1]
	}
	return s
}

// What hung on one connection is not overtaken by what goes over the next, and does not
// wait for the first to fail by itself.
func TestOrderAfterASwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer()
		w, sess := r.hung(p)
		time.Sleep(time.Second)
		start := time.Now()
		again := p.ws()
		again.id = w.id
		again.connect()
		synctest.Wait()
		sess.Deliver("/x", 2)
		sess.Deliver("/x", 3)
		var got []*bayeux.Message
		for range 3 {
			m, _ := again.frameNext("/x")
			got = append(got, m)
		}
		if order, took := numbers(got), time.Since(start); order != "123" || took != 0 {
			t.Errorf("%s after %v, want 123 at once", order, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer()
		w, sess := r.hung(p)
		time.Sleep(time.Second)
		start := time.Now()
		p = p.withID(w.id)
		first := p.connect()
		sess.Deliver("/x", 2)
		sess.Deliver("/x", 3)
		order := numbers(first)
		for len(order) < 3 && time.Since(start) == 0 {
			order += numbers(p.connect())
		}
		if took := time.Since(start); order != "123" || took != 0 {
			t.Errorf("by HTTP %s after %v, want 123 at once", order, took)
		}
	})
}
