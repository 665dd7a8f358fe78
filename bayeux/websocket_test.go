package bayeux_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lxzan/gws"

	"github.com/sealedblob/sealedblob/bayeux"
)

func TestWebSocketPushesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		w := r.peer().ws().ready()
		w.send(`{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/a","id":1}`)
		m, _ := w.next(bayeux.MetaSubscribe)
		wantOK(t, m)
		w.connect()
		synctest.Wait()
		start := time.Now()
		for i := range 100 {
			if err := r.server.Publish("/a", i); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 100 {
			m, _ := w.frameNext("/a")
			if string(m.Data) != fmt.Sprint(i) || m.ClientID != "" || m.Successful != nil {
				t.Fatalf("message %d is %+v", i, m)
			}
		}
		if time.Since(start) != 0 {
			t.Errorf("pushed after %v", time.Since(start))
		}
		m, _ = w.next(bayeux.MetaConnect) // held all the time
		wantOK(t, m)
		if got := time.Since(start); got != 30*time.Second {
			t.Errorf("connect answered after %v", got)
		}
	})
}

// frameNext is next, but keeps the rest of the frame for later.
func (w *wsPeer) frameNext(channel string) (*bayeux.Message, bool) {
	w.t.Helper()
	for len(w.rest) > 0 {
		m := w.rest[0]
		w.rest = w.rest[1:]
		if m.Channel == channel {
			return m, true
		}
	}
	select {
	case w.rest = <-w.frames:
		return w.frameNext(channel)
	case <-time.After(time.Minute):
		w.t.Fatalf("no message on %s", channel)
		return nil, false
	}
}

func TestWebSocketConnectRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		w := r.peer().ws().ready()
		w.connect()
		synctest.Wait()
		w.send(`[{"channel":"/meta/connect","clientId":"$ID","id":"second"}]`)
		m, _ := w.next(bayeux.MetaConnect)
		wantError(t, m, "409::connect_replaced")
		start := time.Now()
		m, _ = w.next(bayeux.MetaConnect)
		wantOK(t, m)
		if string(m.ID) != `"second"` || time.Since(start) != 30*time.Second || m.Advice == nil || m.Advice.Reconnect != bayeux.ReconnectRetry {
			t.Errorf("second connect: id %s after %v, advice %+v", m.ID, time.Since(start), m.Advice)
		}
		w.connect()
		synctest.Wait()
		w.send(`{"channel":"/meta/disconnect","clientId":"$ID","id":"d"}`)
		m, _ = w.next(bayeux.MetaConnect)
		if m.Advice == nil || m.Advice.Reconnect != bayeux.ReconnectNone {
			t.Errorf("advice %+v", m.Advice)
		}
		// The connection may be used for another handshake.
		w.ready()
	})
}

func TestWebSocketResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer()
		w := p.ws().ready()
		w.connect()
		synctest.Wait()
		w.conn.NetConn().Close()
		synctest.Wait()
		sess := r.server.Session(w.id)
		if sess == nil {
			t.Fatal("session gone with its connection")
		}
		sess.Deliver("/x", 1)

		thief := r.peer().ws()
		thief.id = w.id
		thief.connect()
		m, _ := thief.next(bayeux.MetaConnect)
		wantError(t, m, "402::session_unknown")

		again := p.ws()
		again.id = w.id
		again.connect()
		if m, _ := again.next("/x"); string(m.Data) != "1" {
			t.Errorf("data %s", m.Data)
		}
		// To polling, with the same cookie, and what follows goes there.
		p.id = w.id
		p.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0}}]`)
		sess.Deliver("/y", 2)
		if got := channelsOf(p); len(got) != 1 || got[0] != "/y" {
			t.Errorf("polling got %q", got)
		}
		again.conn.NetConn().Close()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if r.server.Session(w.id) != nil {
			t.Error("session did not lapse")
		}
	})
}

func TestWebSocketLapse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		w := r.peer().ws().ready()
		removed := make(chan bool, 1)
		r.server.Session(w.id).OnRemove(func(expired bool) { removed <- expired })
		w.connect()
		time.Sleep(25 * time.Second)
		w.conn.NetConn().Close()
		time.Sleep(9 * time.Second)
		if len(removed) != 0 {
			t.Error("lapsed too early")
		}
		time.Sleep(2 * time.Second)
		if !<-removed {
			t.Error("OnRemove(false)")
		}
	})
}

func TestWebSocketUpgradeReply(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	p := r.peer()
	_, resp, err := p.dialWS(nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Cache-Control") != "no-store" || !strings.Contains(resp.Header.Get("Set-Cookie"), "BAYEUX_SOCKET=") {
		t.Errorf("headers %v", resp.Header)
	}
	if _, resp, err = p.dialWS(nil); err != nil || resp.Header.Get("Set-Cookie") != "" {
		t.Errorf("a second cookie: %v, %v", resp, err)
	}
	key := []string{"AAAAAAAAAAAAAAAAAAAAAA=="}
	for name, h := range map[string]http.Header{
		"version":    {"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"8"}, "Sec-Websocket-Key": key},
		"short key":  {"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAA"}},
		"key":        {"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"}},
		"connection": {"Upgrade": {"websocket"}, "Connection": {"close"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": key},
	} {
		status, _, _, err := p.do(t.Context(), request{method: "GET", header: h})
		if err != nil || status != 400 {
			t.Errorf("bad %s: status %d, %v", name, status, err)
		}
	}
}

func TestWebSocketMisbehaviour(t *testing.T) {
	frame := func(op gws.Opcode, s string) func(w *wsPeer) {
		return func(w *wsPeer) { w.conn.WriteMessage(op, []byte(s)) }
	}
	tests := []struct {
		name string
		do   func(w *wsPeer)
		code uint16 // 0: the close frame may be lost on a peer that still writes
	}{
		{"malformed", frame(gws.OpcodeText, `{`), 1008},
		{"duplicate member", frame(gws.OpcodeText, `{"channel":"/a","channel":"/b"}`), 1008},
		{"case variant", frame(gws.OpcodeText, `{"ClientId":"a"}`), 1008},
		{"too deep", frame(gws.OpcodeText, strings.Repeat("[", 17)), 1008},
		{"batch too large", frame(gws.OpcodeText, "["+strings.Repeat("{},", 10)+"{}]"), 1008},
		{"binary", frame(gws.OpcodeBinary, `[]`), 1003},
		{"too large", frame(gws.OpcodeText, strings.Repeat(" ", 4097)), 0},
		{"ping flood", func(w *wsPeer) {
			for range 80 {
				if w.conn.WritePing([]byte("x")) != nil {
					return
				}
			}
		}, 0},
		{"silence", func(*wsPeer) {}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, bayeux.Config{MaxBody: 4096, MaxBatch: 10})
				w := r.peer().ws()
				start := time.Now()
				go tt.do(w)
				if code := w.closed(); code != tt.code && tt.code != 0 {
					t.Errorf("close code %d, want %d", code, tt.code)
				}
				want := time.Duration(0)
				if tt.name == "silence" {
					want = 10 * time.Second
				}
				if d := time.Since(start); d != want {
					t.Errorf("closed after %v, want %v", d, want)
				}
				r.peer().ws().ready() // nobody else noticed
			})
		})
	}
}

func TestWebSocketFloodOfFragments(t *testing.T) {
	r := newRig(t, bayeux.Config{MaxBody: 4096})
	w := r.peer().ws()
	err := w.conn.WriteFile(gws.OpcodeText, strings.NewReader(strings.Repeat(" ", 1<<20)))
	if code := w.closed(); code != 1009 && err == nil {
		t.Errorf("close code %d, %v", code, err)
	}
}

func TestSlowConsumerIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{MaxQueue: 50, WriteTimeout: 5 * time.Second})
		slow := r.peer().ws().ready()
		fast := r.peer().ready()
		fast.subscribe("/a")
		sess := r.server.Session(slow.id)
		slow.stall <- struct{}{} // its reader stops at the next frame
		start := time.Now()
		var err error
		for range 200 {
			if err = sess.Deliver("/a", strings.Repeat("x", 100)); err != nil {
				break
			}
			synctest.Wait()
		}
		if !errors.Is(err, bayeux.ErrQueueFull) || time.Since(start) != 0 {
			t.Errorf("Deliver = %v after %v, want ErrQueueFull without waiting", err, time.Since(start))
		}
		if r.server.Session(slow.id) != nil {
			t.Error("session still there")
		}
		r.server.Publish("/a", 1)
		if got := channelsOf(fast); len(got) != 1 {
			t.Errorf("others got %q", got)
		}
		close(slow.release)
	})
}

func TestWriteTimeoutEndsAStalledSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{WriteTimeout: 5 * time.Second})
		slow := r.peer().ws().ready()
		sess := r.server.Session(slow.id)
		removed := make(chan bool, 1)
		sess.OnRemove(func(expired bool) { removed <- expired })
		slow.stall <- struct{}{}
		sess.Deliver("/a", 1)
		synctest.Wait()
		sess.Deliver("/a", 2)
		time.Sleep(6 * time.Second)
		close(slow.release)
		slow.closed()
		time.Sleep(11 * time.Second)
		if !<-removed {
			t.Error("OnRemove(false)")
		}
	})
}

func TestHookContextOverWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{HandshakeTimeout: 4 * time.Second})
		r.server.AddExtension(tap{hook: func(ctx context.Context, h *bayeux.Handshake) {
			start := time.Now()
			<-ctx.Done()
			if d := time.Since(start); d != 4*time.Second {
				t.Errorf("ctx ended after %v", d)
			}
		}})
		w := r.peer().ws()
		w.send(handshakeMessage)
		m, _ := w.next(bayeux.MetaHandshake)
		wantOK(t, m)
	})
}

// What does not fit into one frame comes in several, in order and before the replies
// that are later than it.
func TestFramesAreBounded(t *testing.T) {
	for _, acknowledge := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { framesAreBounded(t, acknowledge) })
	}
}

func framesAreBounded(t *testing.T, acknowledge bool) {
	r := newRig(t, bayeux.Config{Acknowledge: true})
	w := r.peer().ws()
	w.send(fmt.Sprintf(`[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"],"ext":{"ack":%v}}]`, acknowledge))
	m, _ := w.next(bayeux.MetaHandshake)
	w.id = m.ClientID
	w.connect()
	w.next(bayeux.MetaConnect)
	w.connect() // held
	synctest.Wait()
	sess := r.server.Session(w.id)
	const n = 40
	sess.Batch(func() {
		for i := range n {
			if err := sess.Deliver("/a", strings.Repeat("x", 10_000+i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := sess.Deliver("/a", strings.Repeat("x", 200_000)); err != nil {
			t.Fatal(err)
		}
	})
	sess.EndConnect()
	got, replied := 0, false
	for !replied {
		frame := <-w.frames
		size := 0
		for _, m := range frame {
			if m.Channel == bayeux.MetaConnect {
				replied = true
				continue
			}
			want := 10_002 + got
			if got == n {
				want = 200_002
			}
			if len(m.Data) != want || replied {
				t.Errorf("message %d has %d bytes, want %d; after the reply: %v", got, len(m.Data), want, replied)
			}
			size += len(m.Data)
			got++
		}
		if size > 64<<10 && len(frame) > 1 {
			t.Errorf("a frame with %d messages of %d bytes", len(frame), size)
		}
	}
	if got != n+1 {
		t.Errorf("acknowledge %v: %d messages before the reply, want %d", acknowledge, got, n+1)
	}
}
