package bayeux_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// Few messages can be as much as many: what waits for a busy handler is bounded in
// bytes too.
func TestClientBoundsPendingBytes(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{})
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports, MaxReply: 64 << 10})
		release := make(chan struct{})
		if err := c.Subscribe(t.Context(), "/a", func(*bayeux.Message) { <-release }); err != nil {
			t.Fatal(err)
		}
		publish := func(n int) {
			for range n {
				if err := s.Publish("/a", strings.Repeat("x", 40<<10)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
		}
		publish(1 + 6) // one is with the handler; 240 KiB wait
		if c.State() != bayeux.StateConnected {
			t.Errorf("state %v while little waits", c.State())
		}
		if publish(1); c.State() == bayeux.StateConnected {
			t.Error("too much waits, and the client goes on")
		}
		close(release)
		time.Sleep(time.Minute)
		if c.State() != bayeux.StateConnected {
			t.Errorf("state %v when nothing waits any more", c.State())
		}
	})
}

// A clientId goes with every message.
func TestClientChecksItsID(t *testing.T) {
	for id, good := range map[string]bool{
		"c": true, strings.Repeat("c", 256): true, "Un1q31d3nt1f13r.-_~é": true,
		"": false, strings.Repeat("c", 257): false, "a\nb": false, "a\x00": false, "\x7f": false,
	} {
		for name, list := range transports {
			t.Run(fmt.Sprintf("%s %.10q", name, id), func(t *testing.T) {
				p := &puppet{reply: func(channel, sent string, n int) string {
					if channel == bayeux.MetaHandshake {
						return `[` + ok(channel, sent, fmt.Sprintf(`,"clientId":"%s","supportedConnectionTypes":["long-polling","websocket"]`,
							strings.NewReplacer("\n", `\n`, "\x00", `\u0000`, "\x7f", `\u007f`).Replace(id))) + `]`
					}
					time.Sleep(time.Millisecond)
					return `[` + ok(channel, sent, "") + `]`
				}}
				c := newClient(t, serveMem(t, p), bayeux.ClientConfig{Transports: list})
				if err := c.Connect(t.Context()); (err == nil) != good {
					t.Errorf("Connect = %v", err)
				}
				if good && c.ID() != id || !good && c.ID() != "" {
					t.Errorf("ID = %.300q", c.ID())
				}
			})
		}
	}
}

// What an extension adds counts for the size of a batch.
func TestClientBatchCountsExt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, bayeux.Config{})
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports["long-polling"]})
		if err := c.Batch(t.Context(), func(b *bayeux.Batch) {
			for range 9 {
				m := &bayeux.Message{Channel: "/a", Data: []byte("1")}
				m.SetExt("large", strings.Repeat("x", 100<<10))
				b.PublishMessage(m)
			}
		}); err != nil {
			t.Errorf("Batch = %v", err)
		}
	})
}

// Connects that are answered at once, each with a message: only one that a handler
// waits for is a reason to go on without a pause.
func TestClientSlowsDownWithoutHandlers(t *testing.T) {
	for channel, busy := range map[string]bool{"/wanted": true, "/nobody": false, "/**": false} {
		t.Run(channel, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var connects atomic.Int64
				p := &puppet{reply: func(ch, id string, n int) string {
					if ch == bayeux.MetaHandshake {
						return hello(id)
					}
					if ch == bayeux.MetaConnect {
						connects.Add(1)
						time.Sleep(time.Millisecond)
					}
					return `[{"channel":"` + channel + `","data":1},` + ok(ch, id, "") + `]`
				}}
				c := connected(t, serveMem(t, p), bayeux.ClientConfig{Transports: transports["long-polling"]})
				if err := c.Subscribe(t.Context(), "/wanted", func(*bayeux.Message) {}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if n := connects.Load(); busy != (n > 900) || !busy && n > 15 {
					t.Errorf("%d connects in 1 s", n)
				}
				c.Close(t.Context())
				time.Sleep(time.Second) // the puppet's last connect
			})
		})
	}
}

// A message for a handler does not make the next handshake come at once.
func TestClientSlowsDownHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var handshakes atomic.Int64
		var connects int
		p := &puppet{reply: func(channel, id string, n int) string {
			if channel == bayeux.MetaHandshake {
				connects = 0
				handshakes.Add(1)
				return hello(id)
			}
			if channel == bayeux.MetaConnect {
				connects++
			}
			if connects == 2 {
				return `[{"channel":"/wanted","data":1},` + ok(channel, id, `,"advice":{"reconnect":"handshake"}`) + `]`
			}
			return `[` + ok(channel, id, "") + `]`
		}}
		c := newClient(t, serveMem(t, p), bayeux.ClientConfig{Transports: transports["long-polling"]})
		c.Subscribe(t.Context(), "/wanted", func(*bayeux.Message) {})
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if n := handshakes.Load(); n < 20 || n > 60 {
			t.Errorf("%d handshakes in 10 minutes", n)
		}
		c.Close(t.Context())
	})
}

// A server tells all its clients to shake hands again: they do not come at once.
func TestClientsDoNotComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, told = 20, 20 * time.Second
		var mu sync.Mutex
		came := make(map[time.Duration]bool)
		start := time.Now()
		for range clients {
			handshakes := 0
			p := &puppet{reply: func(channel, id string, n int) string {
				if channel == bayeux.MetaHandshake {
					if handshakes++; handshakes == 2 {
						mu.Lock()
						came[time.Since(start)] = true
						mu.Unlock()
					}
					return hello(id)
				}
				if n == 3 {
					time.Sleep(time.Until(start.Add(told)))
					return `[` + ok(channel, id, `,"advice":{"reconnect":"handshake","interval":0}`) + `]`
				}
				if n > 5 {
					time.Sleep(20 * time.Second)
				}
				return `[` + ok(channel, id, "") + `]`
			}}
			c := connected(t, serveMem(t, p), bayeux.ClientConfig{Transports: transports["long-polling"]})
			time.AfterFunc(told+10*time.Second, func() { c.Close(t.Context()) })
		}
		time.Sleep(4 * told) // the puppets' last connects end too
		mu.Lock()
		defer mu.Unlock()
		if len(came) < clients-2 {
			t.Errorf("%d clients came at %d times", clients, len(came))
		}
		for d := range came {
			if d < told || d > told+time.Second/2 {
				t.Errorf("one came after %v", d)
			}
		}
	})
}

// Deliveries that the client can't take are left out. What comes with them arrives,
// is acknowledged, and the connection lives on.
func TestClientSkipsDeliveries(t *testing.T) {
	members := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`"m%d":1`, i)
		}
		return strings.Join(list, ",")
	}
	for name, poison := range map[string]string{
		"depth":          `{"channel":"/a","data":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`,
		"one level":      `{"channel":"/a","data":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`,
		"members":        `{"channel":"/a","data":1,` + members(70) + `}`,
		"ext":            `{"channel":"/a","data":1,"ext":{` + members(70) + `}}`,
		"two of a name":  `{"channel":"/a","data":{"x":1,"x":2}}`,
		"half a letter":  `{"channel":"/a","data":"\ud83d"}`,
		"another case":   `{"channel":"/a","Data":1}`,
		"another shape":  `{"data":1,"ext":7,"channel":"/a"}`,
		"channel behind": `{"data":"\udead","channel":"/a"}`,
	} {
		for transport, list := range transports {
			t.Run(name+" "+transport, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log bytes.Buffer // the handler of slog has the lock
					var acked, states []string
					var mu sync.Mutex
					ext := clientTap{func(dir string, m *bayeux.Message) bool {
						if dir == "out" && m.Channel == bayeux.MetaConnect {
							mu.Lock()
							acked = append(acked, string(m.Ext["ack"]))
							mu.Unlock()
						}
						return true
					}}
					p := &puppet{reply: func(channel, id string, n int) string {
						switch {
						case channel == bayeux.MetaHandshake:
							return strings.TrimSuffix(hello(id), "}]") + `,"ext":{"ack":true}}]`
						case n == 4:
							return `[{"channel":"/a","data":"before"},` + poison + `,` + poison + `,{"channel":"/a","data":"after"},` + ok(channel, id, `,"ext":{"ack":7}`) + `]`
						case n > 4:
							time.Sleep(time.Minute)
						}
						return `[` + ok(channel, id, "") + `]`
					}}
					got := make(inbox, 10)
					c := newClient(t, serveMem(t, p), bayeux.ClientConfig{Transports: list, Acknowledge: true, Extensions: []bayeux.ClientExtension{ext},
						Logger: slog.New(slog.NewTextHandler(&log, nil))})
					c.OnState(func(s bayeux.ClientState) { mu.Lock(); states = append(states, s.String()); mu.Unlock() })
					c.Subscribe(t.Context(), "/a", got.take)
					if err := c.Connect(t.Context()); err != nil {
						t.Fatal(err)
					}
					got.want(t, `/a "before"`, `/a "after"`)
					time.Sleep(10 * time.Second)
					mu.Lock()
					if s := fmt.Sprint(states, acked); s != "[handshaking connected] [0 0 7]" {
						t.Errorf("states and acknowledged: %s", s)
					}
					mu.Unlock()
					if n := strings.Count(log.String(), "delivery skipped"); n != 1 {
						t.Errorf("%d lines of log: %s", n, log.String())
					}
					c.Close(t.Context())
					time.Sleep(time.Minute) // the puppet's last connect
				})
			})
		}
	}
}

// A reply that can't be read, or what could be one, is not left out: somebody
// waits for it.
func TestClientSkipsNoReplies(t *testing.T) {
	deep := strings.Repeat("[", 70) + strings.Repeat("]", 70)
	for _, poison := range []string{
		`{"channel":"/meta/connect","successful":true,"data":` + deep + `}`,
		`{"channel":"/a","successful":true,"data":` + deep + `}`,
		`{"data":` + deep + `}`,
		`{"channel":"/a","channel":"/meta/connect","data":` + deep + `}`,
		`{"channel":"/meta/connect","channel":"/a","data":` + deep + `}`,
		`{"channel":"\u002fmeta/connect","data":` + deep + `}`,
		`{"channel":7,"data":` + deep + `}`,
		`[{"channel":"/a","data":1}]`,
		`{"channel":"/a","data":tru}`,
	} {
		for name, list := range transports {
			t.Run(name+" "+poison[:20], func(t *testing.T) {
				p := &puppet{reply: func(channel, id string, n int) string {
					if channel == bayeux.MetaHandshake {
						return hello(id)
					}
					return `[` + poison + `,` + ok(channel, id, "") + `]`
				}}
				c := newClient(t, serveMem(t, p), bayeux.ClientConfig{Transports: list, RequestTimeout: 2 * time.Second})
				if err := c.Connect(t.Context()); err == nil {
					t.Error("connected")
				}
			})
		}
	}
}

// A message longer than MaxReply would be sent again until it is acknowledged, which
// it can't be: the session is given up.
func TestClientGivesUpWhatItCannotRead(t *testing.T) {
	eachTransport(t, func(t *testing.T, transports []string) {
		s := newServer(t, bayeux.Config{Acknowledge: true, MaxInterval: time.Hour})
		got := make(inbox, 10)
		c := connected(t, serveMem(t, s), bayeux.ClientConfig{Transports: transports, Acknowledge: true, MaxReply: 16 << 10})
		if err := c.Subscribe(t.Context(), "/a", got.take); err != nil {
			t.Fatal(err)
		}
		s.Publish("/a", strings.Repeat("x", 20<<10))
		time.Sleep(time.Minute)
		s.Publish("/a", "next")
		got.want(t, `/a "next"`)
	})
}

// A redirect is not followed; the error says where it leads, without the query.
func TestClientNamesTheLocation(t *testing.T) {
	for name, list := range transports {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(name, status), func(t *testing.T) {
				n := serveMem(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, "/bayeux/?secret=1", status)
				}))
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				err := newClient(t, n, bayeux.ClientConfig{Transports: list}).Connect(ctx)
				if err == nil || !strings.Contains(err.Error(), fmt.Sprintf(`status %d, Location "http://bayeux.test/bayeux/"`, status)) ||
					strings.Contains(err.Error(), "secret") || len(err.Error()) > 200 {
					t.Errorf("Connect = %v", err)
				}
			})
		}
	}
}
