package bayeux_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sealedblob/sealedblob/bayeux"
)

// hub is a broker in memory that can break: what a real one does is tested at a
// real one, in redisbroker.
type hub struct {
	mu    sync.Mutex
	nodes map[chan []byte]bool
	fail  error
	hang  bool
}

func (h *hub) Publish(ctx context.Context, messages [][]byte) error {
	h.mu.Lock()
	if h.hang {
		h.mu.Unlock()
		<-ctx.Done()
		return ctx.Err()
	}
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	for node := range h.nodes {
		for _, m := range messages {
			node <- slices.Clone(m)
		}
	}
	return nil
}

func (h *hub) Receive(ctx context.Context, f func([]byte)) error {
	h.mu.Lock()
	if h.fail != nil {
		defer h.mu.Unlock()
		return h.fail
	}
	inbox := make(chan []byte, 10_000)
	if h.nodes == nil {
		h.nodes = map[chan []byte]bool{}
	}
	h.nodes[inbox] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.nodes, inbox)
		h.mu.Unlock()
	}()
	for {
		select {
		case m := <-inbox:
			f(m)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tally is an Observer that adds up.
type tally struct {
	mu  sync.Mutex
	sum map[bayeux.EventKind]int
}

func (c *tally) Observe(e bayeux.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sum == nil {
		c.sum = map[bayeux.EventKind]int{}
	}
	c.sum[e.Kind] += e.N
}

func (c *tally) of(kind bayeux.EventKind) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum[kind]
}

func TestBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(hub)
		a, b, c := newRig(t, bayeux.Config{Broker: h}), newRig(t, bayeux.Config{Broker: h}), newRig(t, bayeux.Config{Broker: h})
		a.server.AddExtension(tap{out: func(to *bayeux.ServerSession, m *bayeux.Message) bool {
			if to == nil {
				m.SetExt("seen", "a")
			}
			return to != nil || m.Channel != "/vetoed"
		}})
		b.server.AddExtension(tap{out: func(to *bayeux.ServerSession, m *bayeux.Message) bool {
			if to == nil {
				t.Errorf("another node's broadcast passes the extensions again: %s", m.Channel)
			}
			return true
		}})
		atA, atB, atC := a.peer().ready(), b.peer().ready(), c.peer().ready()
		for _, p := range []*peer{atA, atB, atC} {
			wantOK(t, p.subscribe("/x", "/*", "/**"))
		}
		synctest.Wait()
		wantOK(t, atA.one(`{"channel":"/x","clientId":"$ID","data":{"n":1},"id":"9","ext":{"secret":1}}`))
		wantOK(t, atA.one(`{"channel":"/vetoed","clientId":"$ID","data":1}`))
		if err := a.server.Publish("/x/y", 2); err != nil {
			t.Fatal(err)
		}
		a.server.Session(atA.id).Deliver("/private", 1)
		synctest.Wait()
		for name, p := range map[string]*peer{"a": atA, "b": atB, "c": atC} {
			var got []string
			for _, m := range p.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0}}]`) {
				if m.Channel != bayeux.MetaConnect {
					raw, _ := m.MarshalJSON()
					got = append(got, string(raw))
				}
			}
			want := []string{`{"channel":"/x","data":{"n":1},"ext":{"seen":"a"}}`, `{"channel":"/x/y","data":2,"ext":{"seen":"a"}}`}
			if name == "a" {
				want = append(want, `{"channel":"/private","data":1}`)
			}
			if !slices.Equal(got, want) {
				t.Errorf("node %s got %s, want %s", name, got, want)
			}
		}
	})
}

// A lazy message is lazy on the other nodes too.
func TestBrokerLazy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(hub)
		a, b := newRig(t, bayeux.Config{Broker: h}), newRig(t, bayeux.Config{Broker: h, MaxLazyTimeout: 3 * time.Second})
		p := b.peer().ready()
		p.subscribe("/a")
		held := p.held()
		synctest.Wait()
		start := time.Now()
		a.server.PublishMessage(lazy("/a"))
		if msgs := <-held; len(msgs) != 2 || time.Since(start) != 3*time.Second {
			t.Errorf("%d messages after %v", len(msgs), time.Since(start))
		}
	})
}

func TestBrokerOutage(t *testing.T) {
	for name, broken := range map[string]*hub{"refuses": {fail: errors.New("down")}, "hangs": {hang: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var counts tally
				a := newRig(t, bayeux.Config{Broker: broken, Observer: &counts, MaxQueue: 10_000})
				p := a.peer().ready()
				p.subscribe("/a")
				start := time.Now()
				const n = 5000
				for range n {
					if err := a.server.Publish("/a", 1); err != nil {
						t.Fatal(err)
					}
				}
				if got := find(p.connect(), "/a"); len(got) != n || time.Since(start) != 0 {
					t.Errorf("%d of %d local deliveries after %v", len(got), n, time.Since(start))
				}
				time.Sleep(20 * time.Minute)
				if got := counts.of(bayeux.CountBroker); got != n {
					t.Errorf("%d counted as not gone to other nodes, want %d", got, n)
				}
				// It comes back.
				b := newRig(t, bayeux.Config{Broker: broken})
				q := b.peer().ready()
				q.subscribe("/a")
				broken.mu.Lock()
				broken.fail, broken.hang = nil, false
				broken.mu.Unlock()
				time.Sleep(2 * time.Second)
				a.server.Publish("/a", 2)
				synctest.Wait()
				if got := find(q.connect(), "/a"); len(got) != 1 || string(got[0].Data) != "2" {
					t.Errorf("after the outage: %d deliveries", len(got))
				}
			})
		})
	}
}

func TestBrokerMessagesAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(hub)
		a := newRig(t, bayeux.Config{Broker: h})
		p := a.peer().ready()
		p.subscribe("/**")
		a.server.HandleService("/service/x", func(context.Context, *bayeux.ServerSession, *bayeux.Message) { t.Error("service called") })
		synctest.Wait()
		other := "bayeux1 " + strings.Repeat("a", 26)
		bad := []string{
			"", "x", "bayeux1 ", other[:20], other, other + "{", other + "[]", other + `{"channel":"/a"}`,
			other + `{"channel":"/a/*","data":1}`, other + `{"channel":"a","data":1}`, other + `{"channel":"/meta/connect","data":1}`,
			other + `{"channel":"/service/x","data":1}`, other + `{"channel":"/a","data":1,"data":2}`,
			other + `[{"channel":"/a","data":1},{"channel":"/b","data":1}]`,
			other + `{"channel":"/a","data":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
			"bayeux2 " + strings.Repeat("a", 26) + `{"channel":"/a","data":1}`,
		}
		for _, m := range bad {
			h.Publish(t.Context(), [][]byte{[]byte(m)})
		}
		h.Publish(t.Context(), [][]byte{[]byte(other + `{"channel":"/good","data":1,"clientId":"c","id":"1","successful":true,"advice":{"reconnect":"none"},"ext":{"e":1},"timestamp":"t"}`)})
		synctest.Wait()
		msgs := p.connect()
		if len(msgs) != 2 {
			t.Fatalf("%d messages, want one and the reply", len(msgs))
		}
		if raw, _ := msgs[0].MarshalJSON(); string(raw) != `{"channel":"/good","data":1,"ext":{"e":1},"timestamp":"t"}` {
			t.Errorf("delivery %s", raw)
		}
	})
}

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c tally
		r := newRig(t, bayeux.Config{Observer: &c, MaxQueue: 3, QueueFull: bayeux.QueueDropOldest})
		p := r.peer().ready()
		w := r.peer().ws().ready()
		p.subscribe("/a")
		held := p.held()
		synctest.Wait()
		check := func(when string, want map[bayeux.EventKind]int) {
			t.Helper()
			synctest.Wait()
			for kind, n := range want {
				if got := c.of(kind); got != n {
					t.Errorf("%s: %s is %d, want %d", when, kind, got, n)
				}
			}
		}
		check("connected", map[bayeux.EventKind]int{bayeux.GaugeSessions: 2, bayeux.GaugeSockets: 1, bayeux.GaugePolls: 1,
			bayeux.CountReceived: 6, bayeux.CountRefused: 0, bayeux.CountDenied: 0, bayeux.CountBad: 0, bayeux.CountPublished: 0})
		r.server.Publish("/a", 1)
		<-held
		check("published", map[bayeux.EventKind]int{bayeux.GaugePolls: 0, bayeux.CountPublished: 1, bayeux.CountDelivered: 1})
		p.subscribe("/meta/x")
		p.one(`{"channel":"/meta/handshake","version":"2.0"}`)
		p.do(t.Context(), request{body: "{"})
		p.do(t.Context(), request{body: "[" + strings.Repeat("{},", 1000) + "{}]"})
		check("refused", map[bayeux.EventKind]int{bayeux.CountRefused: 1, bayeux.CountDenied: 1, bayeux.CountBad: 2})
		for range 5 {
			r.server.Session(p.id).DeliverMessage(&bayeux.Message{Channel: "/q", Data: jsontext.Value("1"), Lazy: true})
		}
		check("overflow", map[bayeux.EventKind]int{bayeux.CountDelivered: 6, bayeux.CountDropped: 2})
		w.conn.NetConn().Close()
		time.Sleep(time.Minute)
		check("gone", map[bayeux.EventKind]int{bayeux.GaugeSessions: 0, bayeux.GaugeSockets: 0, bayeux.GaugePolls: 0, bayeux.CountExpired: 2})
	})
}
