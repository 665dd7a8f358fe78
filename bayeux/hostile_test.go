package bayeux_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lxzan/gws"

	"github.com/sealedblob/sealedblob/bayeux"
)

type netConn = net.Conn

// puppet is a server whose replies a test makes up: reply gets one request
// message and its count, and returns the text of the whole answer.
type puppet struct {
	gws.BuiltinEventHandler
	reply func(channel, id string, n int) string
	n     atomic.Int64
}

func (p *puppet) answer(body []byte) string {
	var msgs []struct{ Channel, ID string }
	json.Unmarshal(body, &msgs)
	if len(msgs) == 0 {
		return "[]"
	}
	return p.reply(msgs[0].Channel, msgs[0].ID, int(p.n.Add(1)))
}

func (p *puppet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		conn, err := gws.NewUpgrader(p, &gws.ServerOption{Logger: discard{}}).Upgrade(w, r)
		if err == nil {
			go conn.ReadLoop()
		}
		return
	}
	body, _ := io.ReadAll(r.Body)
	io.WriteString(w, p.answer(body))
}

func (p *puppet) OnMessage(conn *gws.Conn, m *gws.Message) {
	conn.WriteString(p.answer(m.Bytes()))
}

func ok(channel, id, extra string) string {
	return fmt.Sprintf(`{"channel":%q,"id":%q,"successful":true%s}`, channel, id, extra)
}

func hello(id string) string {
	return `[` + ok(bayeux.MetaHandshake, id, `,"version":"1.0","clientId":"c1","supportedConnectionTypes":["long-polling","websocket"],"advice":{"reconnect":"retry","interval":0,"timeout":30000}`) + `]`
}

// Whatever a server answers, the client neither panics nor hangs nor spins.
func TestClientSurvivesHostileServers(t *testing.T) {
	always := func(s string) func(string, string, int) string {
		return func(string, string, int) string { return s }
	}
	// after a good handshake
	then := func(f func(channel, id string, n int) string) func(string, string, int) string {
		return func(channel, id string, n int) string {
			if channel == bayeux.MetaHandshake {
				return hello(id)
			}
			return f(channel, id, n)
		}
	}
	// after a good first connect as well
	later := func(f func(channel, id string, n int) string) func(string, string, int) string {
		return then(func(channel, id string, n int) string {
			if n == 2 {
				return `[` + ok(channel, id, "") + `]`
			}
			return f(channel, id, n)
		})
	}
	tests := map[string]func(channel, id string, n int) string{
		"empty":              always(""),
		"empty array":        always("[]"),
		"null":               always("null"),
		"array of null":      always("[null]"),
		"number":             always("1"),
		"html":               always("<html>"),
		"unfinished":         always(`[{"channel":"/meta/handshake"`),
		"deep":               always(strings.Repeat("[", 100_000)),
		"large":              always("[" + strings.Repeat(" ", 1<<20) + "]"),
		"wrong types":        always(`[{"channel":1,"successful":"yes"}]`),
		"no successful":      always(`[{"channel":"/meta/handshake"}]`),
		"no clientId":        always(`[{"channel":"/meta/handshake","successful":true}]`),
		"other id":           always(`[{"channel":"/meta/handshake","id":"zzz","successful":true,"clientId":"x"}]`),
		"no types":           always(`[{"channel":"/meta/handshake","successful":true,"clientId":"x"}]`),
		"foreign types":      always(`[{"channel":"/meta/handshake","successful":true,"clientId":"x","supportedConnectionTypes":["x"]}]`),
		"strange advice":     always(`[{"channel":"/meta/handshake","successful":false,"advice":{"reconnect":"dance","interval":-5}}]`),
		"endless handshakes": always(`[{"channel":"/meta/handshake","successful":false,"advice":{"reconnect":"handshake","interval":0}}]`),
		"advice is null":     always(`[{"channel":"/meta/handshake","successful":false,"advice":null,"error":null}]`),
		"huge interval": then(func(c, id string, _ int) string {
			return `[` + ok(c, id, `,"advice":{"interval":9e15,"timeout":9e15}`) + `]`
		}),
		"connect garbage": later(always("x")),
		"connect nothing": later(always("[]")),
		"events without a reply": later(always(
			`[{"channel":"/a","data":1},{"channel":"/a"},{"channel":"","data":1},{"channel":"/meta/x","data":1},{"data":1}]`)),
		"connect fails": later(func(c, id string, _ int) string {
			return `[{"channel":"/meta/connect","id":"` + id + `","successful":false}]`
		}),
		"connect without success": later(func(c, id string, _ int) string { return `[{"channel":"/meta/connect","id":"` + id + `"}]` }),
		"endless 402": then(func(c, id string, _ int) string {
			return `[{"channel":"/meta/connect","id":"` + id + `","successful":false,"error":"402::session_unknown","advice":{"reconnect":"handshake","interval":0}}]`
		}),
		"402 after each connect": later(func(c, id string, n int) string {
			if n%3 == 2 {
				return `[` + ok(c, id, "") + `]`
			}
			return `[{"channel":"/meta/connect","id":"` + id + `","successful":false,"error":"402::session_unknown","advice":{"reconnect":"handshake","interval":0}}]`
		}),
		"quick connects":     later(func(c, id string, _ int) string { return `[` + ok(c, id, "") + `]` }),
		"stop":               later(func(c, id string, _ int) string { return `[` + ok(c, id, `,"advice":{"reconnect":"none"}`) + `]` }),
		"replies twice":      later(func(c, id string, _ int) string { return `[` + ok(c, id, "") + `,` + ok(c, id, "") + `]` }),
		"wildcard delivery":  later(always(`[{"channel":"/**","data":1},{"channel":"/a/*","data":1}]`)),
		"long error":         always(`[{"channel":"/meta/handshake","successful":false,"error":"` + strings.Repeat("x", 60_000) + `"}]`),
		"disconnect message": later(always(`[{"channel":"/meta/disconnect","successful":true}]`)),
	}
	for name, reply := range tests {
		for transport, list := range transports {
			t.Run(name+" "+transport, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := &puppet{reply: reply}
					n := serveMem(t, p)
					c := newClient(t, n, bayeux.ClientConfig{Transports: list, MaxReply: 64 << 10})
					if err := c.Subscribe(t.Context(), "/**", func(*bayeux.Message) {}); err != nil {
						t.Error(err)
					}
					c.Unsubscribe(t.Context(), "/**")
					start := time.Now()
					err := c.Connect(t.Context())
					if d := time.Since(start); d > 2*time.Minute {
						t.Errorf("Connect took %v", d)
					}
					if err != nil && len(err.Error()) > 1024 {
						t.Errorf("error of %d bytes", len(err.Error()))
					}
					before := p.n.Load()
					time.Sleep(10 * time.Minute)
					// 10 minutes at the longest backoff are 20 tries; the way there
					// some more. Two requests belong to one try.
					if spins := p.n.Load() - before; spins > 120 {
						t.Errorf("%d requests in 10 minutes", spins)
					}
					start = time.Now()
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					c.Publish(ctx, "/a", 1)
					c.Close(ctx)
					if d := time.Since(start); d > 45*time.Second {
						t.Errorf("Publish and Close took %v", d)
					}
				})
			})
		}
	}
}

// Advice on other messages, and stale advice, must not stall the client.
func TestClientIgnoresAdviceOfOtherMessages(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		got := make(inbox, 1)
		connects := 0
		p := &puppet{}
		p.reply = func(channel, id string, n int) string {
			switch channel {
			case bayeux.MetaHandshake:
				return hello(id)
			case bayeux.MetaConnect:
				if connects++; connects > 1 {
					time.Sleep(30 * time.Second)
				}
				extra := ""
				if connects == 4 {
					extra = `,{"channel":"/a","data":4}`
				}
				return `[` + ok(channel, id, "") + extra + `]`
			}
			return `[` + ok(channel, id, `,"advice":{"reconnect":"handshake","interval":60000}`) + `]`
		}
		c := newClient(t, serveMem(t, p), bayeux.ClientConfig{Transports: transports})
		c.Subscribe(t.Context(), "/a", got.take)
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if transports[0] == bayeux.LongPolling { // the puppet answers a WebSocket one at a time
			if err := c.Publish(t.Context(), "/b", 1); err != nil {
				t.Error(err)
			}
		}
		got.want(t, "/a 4")
		if c.ID() != "c1" || c.State() != bayeux.StateConnected {
			t.Errorf("id %q, state %v", c.ID(), c.State())
		}
		c.Close(t.Context())
		time.Sleep(time.Minute) // the puppet's last connect
	})
}

// The last message of a reply counts too, and order holds.
func TestClientDeliversWholeReplies(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		got := make(inbox, 10)
		p := &puppet{}
		p.reply = func(channel, id string, n int) string {
			switch {
			case channel == bayeux.MetaHandshake:
				return hello(id)
			case n == 3:
				return `[{"channel":"/a","data":1},` + ok(channel, id, "") + `,{"channel":"/a","data":2},{"channel":"/a","data":3}]`
			}
			time.Sleep(time.Second)
			return `[` + ok(channel, id, "") + `]`
		}
		c := newClient(t, serveMem(t, p), bayeux.ClientConfig{Transports: transports})
		c.Subscribe(t.Context(), "/a", got.take)
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		got.want(t, "/a 1", "/a 2", "/a 3")
		c.Close(t.Context())
		time.Sleep(time.Minute) // the puppet's last connect
	})
}

func TestClientGivesUpWhenHandlersFallBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, bayeux.Config{})
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{MaxPending: 10})
		var handled atomic.Int64
		c.Subscribe(t.Context(), "/a", func(*bayeux.Message) { time.Sleep(time.Second); handled.Add(1) })
		for range 50 {
			s.Publish("/a", 1)
		}
		time.Sleep(time.Minute)
		if n := handled.Load(); n < 10 || n > 12 {
			t.Errorf("%d handled, want the bound", n)
		}
		if c.State() != bayeux.StateConnected {
			t.Errorf("state %v", c.State())
		}
		s.Publish("/a", 1)
		time.Sleep(2 * time.Second)
		if n := handled.Load(); n < 11 {
			t.Error("dead afterwards")
		}
	})
}
