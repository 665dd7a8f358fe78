package bayeux_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// tap is an extension made of functions.
type tap struct {
	in   func(from *bayeux.ServerSession, m *bayeux.Message) bool
	out  func(to *bayeux.ServerSession, m *bayeux.Message) bool
	hook func(ctx context.Context, h *bayeux.Handshake)
}

func (e tap) Incoming(_ context.Context, from *bayeux.ServerSession, m *bayeux.Message) bool {
	return e.in == nil || e.in(from, m)
}

func (e tap) Outgoing(to *bayeux.ServerSession, m *bayeux.Message) bool {
	return e.out == nil || e.out(to, m)
}

func (e tap) Handshake(ctx context.Context, h *bayeux.Handshake) {
	if e.hook != nil {
		e.hook(ctx, h)
	}
}

func TestExtensionOrder(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	var mu sync.Mutex
	var log []string
	add := func(s string) bool {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, s)
		return true
	}
	for _, name := range []string{"1", "2"} {
		r.server.AddExtension(tap{
			in: func(from *bayeux.ServerSession, m *bayeux.Message) bool {
				if (from == nil) != (m.Channel == bayeux.MetaHandshake) {
					t.Errorf("from = %v on %s", from, m.Channel)
				}
				return add("in" + name + " " + m.Channel)
			},
			out: func(to *bayeux.ServerSession, m *bayeux.Message) bool {
				if broadcast := m.Successful == nil; (to == nil) != broadcast {
					t.Errorf("to = %v on %s", to, m.Channel)
				}
				return add("out" + name + " " + m.Channel)
			},
			hook: func(_ context.Context, h *bayeux.Handshake) { add("hook" + name) },
		})
	}
	p := r.peer()
	p.handshake()
	want := []string{"in1 /meta/handshake", "in2 /meta/handshake", "hook1", "hook2", "out2 /meta/handshake", "out1 /meta/handshake"}
	if !slices.Equal(log, want) {
		t.Errorf("handshake: %q, want %q", log, want)
	}
	p.connect()
	p.subscribe("/a")
	log = nil
	p.send(`{"channel":"/a","clientId":"$ID","data":1}`)
	want = []string{"in1 /a", "in2 /a", "out2 /a", "out1 /a", "out2 /a", "out1 /a"}
	if !slices.Equal(log, want) {
		t.Errorf("publish: %q, want %q", log, want)
	}
	log = nil
	r.peer().withID("nobody").connect()
	if len(log) != 0 {
		t.Errorf("an unknown client's message reached %q", log)
	}
}

func TestExtensionVetoAndChange(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	r.server.AddExtension(tap{
		in: func(_ *bayeux.ServerSession, m *bayeux.Message) bool {
			switch m.Channel {
			case "/veto":
				return false
			case "/panic":
				panic("extension")
			case "/move":
				m.Channel = "/moved"
			case bayeux.MetaHandshake:
				return m.Ext["veto"] == nil
			}
			return true
		},
		out: func(to *bayeux.ServerSession, m *bayeux.Message) bool {
			if m.Channel == "/moved" && to == nil {
				m.SetExt("for", "all")
			}
			return m.Channel != "/hidden" || m.Successful != nil
		},
	})
	p, q := r.peer().ready(), r.peer().ready()
	for _, x := range []*peer{p, q} {
		wantOK(t, x.subscribe("/**"))
	}
	m := p.one(`{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"veto":1}}`)
	wantError(t, m, "404::message_deleted")
	wantError(t, p.one(`{"channel":"/veto","clientId":"$ID","data":1,"id":"4"}`), "404::message_deleted")
	wantError(t, p.one(`{"channel":"/panic","clientId":"$ID","data":1}`), "404::message_deleted")
	wantOK(t, p.one(`{"channel":"/hidden","clientId":"$ID","data":1}`))
	if m := p.one(`{"channel":"/move","clientId":"$ID","data":1}`); m.Channel != "/move" {
		t.Errorf("reply on %s, want it where the message came", m.Channel)
	}
	msgs := q.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0}}]`)
	if len(msgs) != 2 || msgs[0].Channel != "/moved" {
		t.Fatalf("got %d messages", len(msgs))
	}
	var to string
	if _, err := msgs[0].DecodeExt("for", &to); err != nil || to != "all" {
		t.Errorf("ext %q, %v", to, err)
	}
}

// A connect that is held keeps little of its request, and an extension sees that much.
func TestHeldConnectKeepsLittle(t *testing.T) {
	for size, want := range map[int]bool{16 << 10: true, 16<<10 + 1: false} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, bayeux.Config{})
			var asked *bayeux.Message
			r.server.AddExtension(tap{out: func(_ *bayeux.ServerSession, m *bayeux.Message) bool {
				if m.Channel == bayeux.MetaConnect {
					asked = m.Request()
				}
				return true
			}})
			p := r.peer().ready()
			ext := strings.Repeat("x", size-len(`x""`))
			p.send(`[{"channel":"/meta/connect","clientId":"$ID","id":"held","connectionType":"` + ext + `","subscription":["/a"],"data":1,"ext":{"x":"` + ext + `"}}]`)
			if asked.Channel != bayeux.MetaConnect || asked.ClientID != p.id || string(asked.ID) != `"held"` || asked.Received().IsZero() || (asked.Ext["x"] != nil) != want {
				t.Errorf("ext of %d bytes: %.300v", size, asked)
			}
			if asked.Subscription != nil || asked.Data != nil || asked.ConnectionType != "" {
				t.Errorf("keeps %.300v", asked)
			}
		})
	}
}

// What an extension makes of a channel is checked as what a client sends.
func TestExtensionThatMakesNoChannel(t *testing.T) {
	for _, name := range []string{"", "news", "/", "/a//b", "/a/*"} {
		r := newRig(t, bayeux.Config{LazyChannels: []string{"/lazy"}})
		r.server.AddExtension(tap{
			in: func(_ *bayeux.ServerSession, m *bayeux.Message) bool {
				if m.Channel == "/in" {
					m.Channel = name
				}
				return true
			},
			out: func(_ *bayeux.ServerSession, m *bayeux.Message) bool {
				if m.Channel == "/out" && m.Successful == nil {
					m.Channel = name
				}
				return true
			},
		})
		p := r.peer().ready()
		wantOK(t, p.subscribe("/**", "/in", "/out"))
		wantError(t, p.one(`{"channel":"/in","clientId":"$ID","data":1}`), "405::channel_invalid")
		wantError(t, p.one(`{"channel":"/out","clientId":"$ID","data":1}`), "405::channel_invalid")
		if err := r.server.Publish("/out", 1); !errors.Is(err, bayeux.ErrChannel) {
			t.Errorf("%q: Publish = %v", name, err)
		}
		if err := r.server.Session(p.id).Deliver("/out", 1); !errors.Is(err, bayeux.ErrChannel) {
			t.Errorf("%q: Deliver = %v", name, err)
		}
		if msgs := p.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0}}]`); len(msgs) != 1 {
			t.Errorf("%q: %d messages", name, len(msgs)-1)
		}
	}
}

// The server's extensions come before the session's, in both directions; and
// only the session's see each receiver's own copy.
func TestSessionExtensions(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	var mu sync.Mutex
	var log []string
	named := func(name string) tap {
		note := func(way string, m *bayeux.Message) bool {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, name+way+m.Channel)
			return m.Channel+" " != "/veto/"+name+way
		}
		return tap{
			in: func(_ *bayeux.ServerSession, m *bayeux.Message) bool { return note("-in ", m) },
			out: func(to *bayeux.ServerSession, m *bayeux.Message) bool {
				if to != nil && m.Successful == nil {
					m.SetExt("for", to.ID())
				}
				return note("-out ", m)
			},
			hook: func(_ context.Context, h *bayeux.Handshake) {
				if name != "s" {
					t.Error("a session extension got a handshake")
				}
			},
		}
	}
	server := named("s")
	server.hook = func(_ context.Context, h *bayeux.Handshake) {
		h.Session.AddExtension(named("1"))
		h.Session.AddExtension(named("2"))
	}
	r.server.AddExtension(server)
	p, q := r.peer().ready(), r.peer().ready()
	p.subscribe("/**")
	q.subscribe("/**")
	tests := []struct {
		channel string
		ok      bool
		want    []string
	}{
		{"/a", true, []string{"s-in ", "1-in ", "2-in ", "s-out ", "2-out ", "1-out ", "2-out ", "1-out ", "s-out ", "2-out ", "1-out "}},
		{"/veto/s-in", false, []string{"s-in ", "s-out ", "2-out ", "1-out "}},
		{"/veto/1-in", false, []string{"s-in ", "1-in ", "s-out ", "2-out ", "1-out "}},
	}
	for _, tt := range tests {
		log = nil
		if m := p.one(`{"channel":"` + tt.channel + `","clientId":"$ID","data":1}`); *m.Successful != tt.ok {
			t.Errorf("%s: successful %v", tt.channel, *m.Successful)
		}
		for i := range tt.want {
			tt.want[i] += tt.channel
		}
		if !slices.Equal(log, tt.want) {
			t.Errorf("%s: %q, want %q", tt.channel, log, tt.want)
		}
	}
	for _, x := range []*peer{p, q} {
		m := find(x.connect(), "/a")[0]
		var id string
		if _, err := m.DecodeExt("for", &id); err != nil || id != x.id {
			t.Errorf("ext is another session's: %q, want %q, %v", id, x.id, err)
		}
	}
}

func TestHandshakeHook(t *testing.T) {
	type sealed struct {
		State string `json:"state"`
	}
	var last *bayeux.ServerSession
	var second bool
	r := newRig(t, bayeux.Config{HandshakeTimeout: 50 * time.Millisecond})
	r.server.AddExtension(tap{hook: func(ctx context.Context, h *bayeux.Handshake) {
		last = h.Session
		if r.server.Session(h.Session.ID()) != h.Session || h.Reply.ClientID != h.Session.ID() {
			t.Error("the session does not exist yet")
		}
		if h.HTTP == nil || h.HTTP.Header.Get("X-Test") != "yes" {
			t.Error("no HTTP request")
		}
		h.Reply.SetExt("sealed", sealed{"seen"})
		var mode string
		h.Request.DecodeExt("mode", &mode)
		switch mode {
		case "refuse":
			h.Refuse("403::not_you", bayeux.Advice{})
		case "later":
			h.Refuse("", bayeux.Advice{Reconnect: bayeux.ReconnectHandshake, Interval: new(int64(700))})
		case "panic":
			panic("hook")
		case "slow":
			<-ctx.Done()
			h.Refuse("503::too_slow", bayeux.Advice{})
		case "deliver":
			h.Session.Deliver("/service/sealed", 1)
		}
	}})
	r.server.AddExtension(tap{hook: func(context.Context, *bayeux.Handshake) { second = true }})
	tests := []struct {
		mode, err, reconnect string
		ext                  bool
	}{
		{"ok", "", bayeux.ReconnectRetry, true},
		{"deliver", "", bayeux.ReconnectRetry, true},
		{"refuse", "403::not_you", bayeux.ReconnectNone, true},
		{"later", "403::handshake_denied", bayeux.ReconnectHandshake, true},
		{"panic", "403::handshake_denied", bayeux.ReconnectNone, true},
		{"slow", "503::too_slow", bayeux.ReconnectNone, true},
	}
	header := http.Header{"X-Test": {"yes"}}
	for _, tt := range tests {
		msg := `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling","websocket"],"id":"5","ext":{"mode":"` + tt.mode + `"}}]`
		check := func(t *testing.T, m *bayeux.Message) {
			if tt.err == "" {
				wantOK(t, m)
			} else {
				wantError(t, m, tt.err)
			}
			if m.Advice == nil || m.Advice.Reconnect != tt.reconnect || string(m.ID) != `"5"` {
				t.Errorf("reply %+v, want advice %s", m, tt.reconnect)
			}
			var s sealed
			if present, err := m.DecodeExt("sealed", &s); present != tt.ext || err != nil || s.State != "seen" {
				t.Errorf("ext %v %v %v", present, s, err)
			}
			if alive := r.server.Session(last.ID()) != nil; alive != (tt.err == "") || second != alive || (m.ClientID != "") != alive {
				t.Errorf("session alive %v, second hook %v, clientId %q", alive, second, m.ClientID)
			}
		}
		t.Run(tt.mode, func(t *testing.T) {
			second = false
			p := r.peer()
			_, _, msgs, err := p.do(t.Context(), request{body: msg, header: header})
			if err != nil || len(msgs) != 1 {
				t.Fatalf("%d messages, %v", len(msgs), err)
			}
			check(t, msgs[0])
			if tt.mode == "deliver" {
				p.id = msgs[0].ClientID
				if got := find(p.connect(), "/service/sealed"); len(got) != 1 {
					t.Errorf("the first connect brought %d deliveries, want 1", len(got))
				}
			}
		})
		t.Run(tt.mode+" websocket", func(t *testing.T) {
			second = false
			w, _, err := r.peer().dialWS(header)
			if err != nil {
				t.Fatal(err)
			}
			w.send(msg)
			m, before := w.next(bayeux.MetaHandshake)
			if len(before) != 0 {
				t.Errorf("%d messages before the handshake's reply", len(before))
			}
			check(t, m)
			if tt.mode == "deliver" {
				w.id = m.ClientID
				w.connect()
				w.next("/service/sealed")
			}
		})
	}
}

// Hooks may take longer than the http.Server's own timeouts.
func TestSlowHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		r.server.AddExtension(tap{hook: func(ctx context.Context, h *bayeux.Handshake) {
			select {
			case <-ctx.Done():
				t.Error("ctx ended early")
			case <-time.After(8 * time.Second):
			}
		}})
		r.peer().ready()
	})
}

func TestOneHandshakePerRequest(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	hooks := 0
	r.server.AddExtension(tap{hook: func(context.Context, *bayeux.Handshake) { hooks++ }})
	p := r.peer()
	msgs := p.send("[" + handshakeMessage + "," + handshakeMessage + "]")
	wantOK(t, msgs[0])
	wantError(t, msgs[1], "403::handshake_denied")
	if hooks != 1 {
		t.Errorf("%d hooks ran, want 1", hooks)
	}
	p.withID(msgs[0].ClientID).connect()
}

func TestRefusedSessionIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{MaxSessions: 1})
		removed := 0
		r.server.AddExtension(tap{hook: func(_ context.Context, h *bayeux.Handshake) {
			h.Session.OnRemove(func(expired bool) { removed++ })
			h.Refuse("", bayeux.Advice{})
		}})
		p := r.peer()
		for range 3 {
			wantError(t, p.one(handshakeMessage), "403::handshake_denied")
		}
		if removed != 3 {
			t.Errorf("OnRemove ran %d times, want 3", removed)
		}
	})
}
