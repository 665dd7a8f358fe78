package sessionext_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// holder is what the visitor's cookie proves to a node.
func (v *visitor) holder(m *session.Manager) session.Holder {
	v.w.t.Helper()
	at, err := url.Parse(v.w.server.URL)
	must(v.w.t, err)
	r, err := http.NewRequest("GET", v.w.server.URL, nil)
	must(v.w.t, err)
	for _, c := range v.http.Jar.Cookies(at) {
		r.AddCookie(c)
	}
	r.RemoteAddr = at.Host
	h, ok := m.Holder(r)
	if !ok {
		v.w.t.Fatal("the visitor holds no session")
	}
	return h
}

// A good set does not make good what is wrong with the handshake around it, and
// the refusal leaves the set as it was.
func TestGoodSetInABadHandshake(t *testing.T) {
	w := newWorld(t)
	v := w.visitor(bayeux.LongPolling).connect()
	held := v.blobs(1)
	must(t, v.client.Close(t.Context()))
	w.move(nil)
	v.http.CloseIdleConnections()
	ext := func(change func(map[string]any)) string {
		m := map[string]any{"v": 1, "attempt": "AAAAAAAAAAAAAAAAAAAAAQ", "manifest": held.Manifest, "blobs": held.Blobs}
		if change != nil {
			change(m)
		}
		text, err := json.Marshal(m)
		must(t, err)
		return string(text)
	}
	for name, change := range map[string]func(map[string]any){
		"another protocol":        func(m map[string]any) { m["v"] = 2 },
		"no protocol":             func(m map[string]any) { delete(m, "v") },
		"a version":               func(m map[string]any) { m["gen"] = "0.1" },
		"no attempt":              func(m map[string]any) { delete(m, "attempt") },
		"a short attempt":         func(m map[string]any) { m["attempt"] = "AAAAAAAAAAAAAAAAAAAA" },
		"a long attempt":          func(m map[string]any) { m["attempt"] = "AAAAAAAAAAAAAAAAAAAAAAAA" },
		"an attempt, spare bits":  func(m map[string]any) { m["attempt"] = "AAAAAAAAAAAAAAAAAAAAAB" },
		"an attempt, line breaks": func(m map[string]any) { m["attempt"] = "AAAAAAAAAAAAAAAAAAAA\nAQ" },
		"an unknown member":       func(m map[string]any) { m["x"] = 1 },
		"no manifest":             func(m map[string]any) { delete(m, "manifest") },
		"no blobs":                func(m map[string]any) { delete(m, "blobs") },
	} {
		if reply := handshake(t, v, ext(change)); reply.State != sessionext.StateRefused || reply.Gen != "" || len(reply.Dropped) != 0 {
			t.Errorf("%s: %+v, want refused and nothing else", name, reply)
		}
	}
	stranger := w.visitor(bayeux.LongPolling)
	if reply := handshake(t, stranger, ext(nil)); reply.State != sessionext.StateRefused || reply.Gen == held.Manifest {
		t.Errorf("another visitor: %+v, want refused", reply)
	}
	stranger.http.Jar = nil
	if reply := handshake(t, stranger, ext(nil)); reply.State != sessionext.StateRefused || reply.Gen != "" {
		t.Errorf("without a cookie: %+v, want refused", reply)
	}
	if reply := handshake(t, v, ext(nil)); reply.State != sessionext.StateRestored || reply.Gen != "1.1" {
		t.Errorf("after all that the good one: %+v", reply)
	}
	// Bad blobs of a session that lives here: refused, but the client is attached.
	if reply := handshake(t, v, ext(func(m map[string]any) { m["manifest"] = "x" })); reply.State != sessionext.StateRefused || reply.Gen != "1.1" {
		t.Errorf("bad blobs of a living session: %+v, want refused at 1.1", reply)
	}
	if reply := handshake(t, v, ext(nil)); reply.State != sessionext.StateNone || reply.Gen != "1.1" {
		t.Errorf("the set of a session that lives here: %+v, want none at 1.1", reply)
	}
	if reply := handshake(t, v, `{"v":1}`); reply.State != sessionext.StateNone || reply.Gen != "1.1" {
		t.Errorf("no blobs of a living session: %+v, want none at 1.1", reply)
	}
}

// A node that lets a session go sends its clients to shake hands again.
func TestLetGoClientShakesHandsAgain(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			v := w.visitor(transport).connect()
			v.blobs(1)
			m := w.current.Load().manager
			h := v.holder(m)
			h.Fence++ // what the cookie would say after a restore elsewhere
			if _, live := m.Live(h); live {
				t.Fatal("the session was not let go")
			}
			v.wait("restore", state(sessionext.StateRestored))
		})
	}
}

// A session that goes between the restore and the answer has no client: who brought the
// set must not believe that it has one, nor give the attempt up.
func TestSessionLeavesDuringTheHandshake(t *testing.T) {
	for name, result := range map[string]session.Result{"restored": session.ResultGranted, "joined": session.ResultJoined} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			v := w.visitor(bayeux.LongPolling).connect()
			held := v.blobs(1)
			must(t, v.client.Close(t.Context()))
			left := false
			w.observe = func(e session.Event) {
				if e.Kind != session.KindRestore || e.Result != result || left {
					return
				}
				left = true
				m := w.current.Load().manager
				s, _ := m.Live(v.holder(m))
				h := s.Holder()
				h.Fence++
				m.Live(h) // what the cookie would say after a restore elsewhere
			}
			w.move(nil)
			v.http.CloseIdleConnections()
			text, err := json.Marshal(map[string]any{"v": 1, "attempt": "AAAAAAAAAAAAAAAAAAAAAQ", "manifest": held.Manifest, "blobs": held.Blobs})
			must(t, err)
			if name == "joined" {
				handshake(t, v, string(text))
			}
			reply, wait := advised(t, v, string(text))
			if !left || reply.State != sessionext.StateRetry || reply.Gen != "" || wait < 500 {
				t.Errorf("the session left %t: %+v, to wait %d ms", left, reply, wait)
			}
			if reply := handshake(t, v, string(text)); reply.State != sessionext.StateRestored {
				t.Errorf("the same again: %+v", reply)
			}
		})
	}
}

// The client is told which of its slots were left out.
func TestDroppedSlotsAreNamed(t *testing.T) {
	w := newWorld(t)
	v := w.visitor(bayeux.LongPolling)
	v.do("/set?name=ticket&value=row7")
	held := v.connect().blobs(2)
	must(t, v.client.Close(t.Context()))
	slot, alone := "", session.Verifier{Keys: w.ring, Policy: w.policy, Scope: seal.Scope{App: "shop"}, Store: w.store}
	for at, envelope := range held.Blobs {
		if _, _, err := alone.Take(t.Context(), envelope, seal.ID{}, time.Now().Add(time.Second), replay.Owner{1}); err == nil {
			slot = at
		}
	}
	w.move(nil)
	v.http.CloseIdleConnections()
	text, err := json.Marshal(map[string]any{"v": 1, "attempt": "AAAAAAAAAAAAAAAAAAAAAQ", "manifest": held.Manifest, "blobs": held.Blobs})
	must(t, err)
	if reply := handshake(t, v, string(text)); reply.State != sessionext.StateRestored || !slices.Equal(reply.Dropped, []string{slot}) {
		t.Errorf("%+v; want restored without %s of %v", reply, slot, slices.Collect(maps.Keys(held.Blobs)))
	}
}

// The extension looks at connects of its clients, and stops what a client
// publishes on the push channel, whoever else might listen there.
func TestIncoming(t *testing.T) {
	w := newWorld(t)
	e := sessionext.New(w.current.Load().manager, nil)
	for channel, want := range map[string]bool{
		sessionext.Channel: false, sessionext.Channel + "/x": true, "/chat": true, bayeux.MetaConnect: true, bayeux.MetaHandshake: true,
	} {
		if got := e.Incoming(t.Context(), nil, &bayeux.Message{Channel: channel}); got != want {
			t.Errorf("a message on %s passes: %t", channel, got)
		}
	}
}

// meddler changes what a client says that it holds.
type meddler struct{ change func(m map[string]any) }

func (*meddler) Incoming(*bayeux.Message) bool { return true }
func (x *meddler) Outgoing(m *bayeux.Message) bool {
	var said map[string]any
	if present, err := m.DecodeExt(sessionext.ExtName, &said); present && err == nil && m.Channel == bayeux.MetaConnect {
		x.change(said)
		return m.SetExt(sessionext.ExtName, said) == nil
	}
	return true
}

// What is not said in the form of version 1 acknowledges nothing.
func TestBadAcknowledgementsCountForNothing(t *testing.T) {
	for name, change := range map[string]func(m map[string]any){
		"another protocol":    func(m map[string]any) { m["v"] = 2 },
		"an unknown member":   func(m map[string]any) { m["x"] = 1 },
		"a number as version": func(m map[string]any) { m["gen"] = 1 },
		"another spelling":    func(m map[string]any) { m["gen"] = "0" + m["gen"].(string) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			on := make(chan struct{})
			v := w.visitor(bayeux.LongPolling, &meddler{func(m map[string]any) {
				select {
				case <-on:
					if _, ok := m["gen"].(string); ok {
						change(m)
					}
				default:
				}
			}}).connect()
			old := v.blobs(1)
			close(on)
			v.do("/set?name=cart&value=paid")
			v.wait("the push", func(h sessionext.Held, _ sessionext.Reply) bool { return old.Version.Less(h.Version) })
			time.Sleep(1500 * time.Millisecond) // the manager flushes each second
			v.keeper.Put(old)
			w.move(nil)
			v.wait("restore", state(sessionext.StateRestored))
		})
	}
}
