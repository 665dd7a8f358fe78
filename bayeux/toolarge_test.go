package bayeux_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sealedblob/sealedblob/bayeux"
)

// nested is JSON n deep.
func nested(n int) jsontext.Value {
	return jsontext.Value(strings.Repeat("[", n) + strings.Repeat("]", n))
}

// withExt has n members of ext; the last one is that deep.
func withExt(n, depth int) *bayeux.Message {
	m := &bayeux.Message{Channel: "/a", Data: jsontext.Value("1")}
	for i := range n - 1 {
		_ = m.SetExt(fmt.Sprint(i), 1)
	}
	_ = m.SetExt("last", nested(depth))
	return m
}

// What one of our clients or nodes could not read, or no queue could hold, is its
// sender's error, and nobody loses a session by it.
func TestErrTooLarge(t *testing.T) {
	const limit = 1000
	ofLength := func(n int) jsontext.Value {
		return jsontext.Value(`"` + strings.Repeat("x", n-len(`{"channel":"/a","data":""}`)) + `"`)
	}
	tests := map[string]struct {
		m  *bayeux.Message
		ok bool
	}{
		"deep":            {&bayeux.Message{Channel: "/a", Data: nested(14)}, true},
		"too deep":        {&bayeux.Message{Channel: "/a", Data: nested(15)}, false},
		"members":         {withExt(64, 13), true},
		"too many":        {withExt(65, 1), false},
		"too deep in ext": {withExt(1, 14), false},
		"long":            {&bayeux.Message{Channel: "/a", Data: ofLength(limit)}, true},
		"too long":        {&bayeux.Message{Channel: "/a", Data: ofLength(limit + 1)}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, policy := range []bayeux.QueuePolicy{bayeux.QueueDisconnect, bayeux.QueueDropOldest, bayeux.QueueRefuse} {
				r := newRig(t, bayeux.Config{MaxQueueBytes: limit, QueueFull: policy})
				p := r.peer().ready()
				p.subscribe("/a")
				sess := r.server.Session(p.id)
				sends := map[string]func() error{
					"PublishMessage": func() error { return r.server.PublishMessage(tt.m) },
					"DeliverMessage": func() error { return sess.DeliverMessage(tt.m) },
				}
				if tt.m.Ext == nil {
					sends["Publish"] = func() error { return r.server.Publish("/a", tt.m.Data) }
					sends["Deliver"] = func() error { return sess.Deliver("/a", tt.m.Data) }
				}
				for name, send := range sends {
					if err := send(); tt.ok && err != nil || !tt.ok && !errors.Is(err, bayeux.ErrTooLarge) {
						t.Errorf("%s = %v", name, err)
					}
					want := 0
					if tt.ok {
						want = 1
					}
					got := find(p.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0}}]`), "/a")
					if len(got) != want || r.server.Session(p.id) == nil {
						t.Errorf("%s: %d messages arrived, want %d", name, len(got), want)
					}
				}
			}
		})
	}
}

// Extensions can't make a message what its receivers can't read.
func TestExtensionMakesTooLarge(t *testing.T) {
	deepen := func(m *bayeux.Message) bool {
		if m.Channel == "/a" || m.Channel == bayeux.MetaSubscribe {
			_ = m.SetExt("deep", nested(14))
		}
		return true
	}
	t.Run("of the server", func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		p := r.peer().ready()
		r.server.AddExtension(tap{out: func(_ *bayeux.ServerSession, m *bayeux.Message) bool { return deepen(m) }})
		if err := r.server.Publish("/a", 1); !errors.Is(err, bayeux.ErrTooLarge) {
			t.Errorf("Publish = %v", err)
		}
		if err := r.server.Session(p.id).Deliver("/a", 1); !errors.Is(err, bayeux.ErrTooLarge) {
			t.Errorf("Deliver = %v", err)
		}
		if got := p.send(`{"channel":"/meta/subscribe","clientId":"$ID","subscription":"/a"}`); len(got) != 0 {
			t.Errorf("a reply that is too deep: %s", got[0].Ext["deep"])
		}
	})
	t.Run("of a session", func(t *testing.T) {
		var counts tally
		r := newRig(t, bayeux.Config{Observer: &counts})
		p, other := r.peer().ready(), r.peer().ready()
		p.subscribe("/a")
		other.subscribe("/a")
		r.server.Session(p.id).AddExtension(tap{out: func(_ *bayeux.ServerSession, m *bayeux.Message) bool { return deepen(m) }})
		if err := r.server.Publish("/a", 1); err != nil {
			t.Errorf("Publish = %v", err)
		}
		if got := find(other.connect(), "/a"); len(got) != 1 || counts.of(bayeux.CountDropped) != 1 {
			t.Errorf("%d messages at the other session, %d dropped", len(got), counts.of(bayeux.CountDropped))
		}
		if got := find(p.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0}}]`), "/a"); len(got) != 0 {
			t.Errorf("%d messages", len(got))
		}
	})
}

// What a client publishes is small beside a queue; a service gets what fits into a body.
func TestMaxPublication(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	served := 0
	r.server.HandleService("/service/x", func(context.Context, *bayeux.ServerSession, *bayeux.Message) { served++ })
	p, victim := r.peer().ready(), r.peer().ready()
	victim.subscribe("/a")
	publish := func(channel string, n int) *bayeux.Message {
		return p.one(`{"channel":"` + channel + `","clientId":"$ID","data":"` + strings.Repeat("x", n-2) + `"}`)
	}
	for range 20 {
		wantError(t, publish("/a", 64<<10+1), "413::message_too_large")
	}
	wantOK(t, publish("/a", 64<<10))
	wantOK(t, publish("/service/x", 400<<10))
	if got := find(victim.connect(), "/a"); len(got) != 1 || served != 1 {
		t.Errorf("%d messages arrived, %d at the service", len(got), served)
	}

	// The channel is in the queue too.
	r = newRig(t, bayeux.Config{MaxQueueBytes: 300})
	p, victim = r.peer().ready(), r.peer().ready()
	victim.subscribe("/a")
	wantError(t, publish("/a", 301), "413::message_too_large")
	wantError(t, publish("/a", 300), "413::message_too_large")
	if r.server.Session(victim.id) == nil {
		t.Error("the receiver lost its session")
	}
}

// What one node accepts all take, whatever their own limits for clients are.
func TestBrokerDepth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(hub)
		a := newRig(t, bayeux.Config{Broker: h, MaxDepth: 64})
		b := newRig(t, bayeux.Config{Broker: h})
		got := make(inbox, 10)
		if err := connected(t, b.net, bayeux.ClientConfig{}).Subscribe(t.Context(), "/a", got.take); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := a.server.Publish("/a", nested(62)); err != nil {
			t.Fatal(err)
		}
		if err := a.server.PublishMessage(withExt(64, 61)); err != nil {
			t.Fatal(err)
		}
		got.want(t, "/a "+string(nested(62)), "/a 1")
	})
}

// A message that this node's queues can't hold, but those of another can, removes nobody.
func TestBrokerMessageTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(hub)
		a, b := newRig(t, bayeux.Config{Broker: h}), newRig(t, bayeux.Config{Broker: h, MaxQueueBytes: 100})
		p := b.peer().ready()
		p.subscribe("/a")
		synctest.Wait()
		for _, data := range []string{strings.Repeat("x", 100), "fits"} {
			if err := a.server.Publish("/a", data); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := find(p.connect(), "/a"); len(got) != 1 || string(got[0].Data) != `"fits"` {
			t.Errorf("%d messages", len(got))
		}
	})
}
