package ext_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/ext"
)

// client is connected to the server of b, with some extensions.
func (b *browser) client(extensions ...bayeux.ClientExtension) *bayeux.Client {
	b.t.Helper()
	c, err := bayeux.NewClient(b.url, bayeux.ClientConfig{Extensions: extensions})
	if err != nil {
		b.t.Fatal(err)
	}
	if err := c.Connect(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// clocks is a server's extension that notes the time that clients write.
type clocks struct {
	mu   sync.Mutex
	seen []string
}

func (c *clocks) Incoming(_ context.Context, _ *bayeux.ServerSession, m *bayeux.Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, m.Timestamp)
	return true
}

func (*clocks) Outgoing(*bayeux.ServerSession, *bayeux.Message) bool { return true }

func TestClientTimestamp(t *testing.T) {
	var seen clocks
	b := newBrowser(t, &seen)
	seen.seen = nil
	before := time.Now().UTC().Truncate(10 * time.Millisecond)
	c := b.client(ext.ClientTimestamp{})
	if err := c.Publish(t.Context(), "/a", 1); err != nil {
		t.Fatal(err)
	}
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if len(seen.seen) < 3 {
		t.Errorf("%d messages, want handshake, connect and publication", len(seen.seen))
	}
	for _, text := range seen.seen {
		if at, err := time.Parse("2006-01-02T15:04:05.00", text); err != nil || at.Before(before) || time.Since(at) > time.Minute {
			t.Errorf("timestamp %q, %v", text, err)
		}
	}
}

// fast is a server whose clock is ahead.
type fast struct{ ms int64 }

func (fast) Incoming(context.Context, *bayeux.ServerSession, *bayeux.Message) bool { return true }

func (f fast) Outgoing(_ *bayeux.ServerSession, m *bayeux.Message) bool {
	var r struct{ TC, TS, P, A int64 }
	if json.Unmarshal(m.Ext["timesync"], &r) == nil {
		_ = m.SetExt("timesync", map[string]int64{"tc": r.TC, "ts": r.TS + f.ms, "p": r.P, "a": r.A})
	}
	return true
}

func TestClientTimeSync(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"the same clock": 0, "a clock ahead": time.Hour, "a clock behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			b := newBrowser(t, fast{ahead.Milliseconds()}, ext.TimeSync{}) // outgoing in the reverse order
			var clock ext.ClientTimeSync
			if _, known := clock.Offset(); known || clock.Lag() != 0 {
				t.Error("known before any answer")
			}
			b.client(&clock)
			offset, known := clock.Offset()
			if off := offset - ahead; !known || off > 5*time.Second || off < -5*time.Second {
				t.Errorf("Offset = %v, %v, want about %v", offset, known, ahead)
			}
			if lag := clock.Lag(); lag < 0 || lag > 5*time.Second {
				t.Errorf("Lag = %v", lag)
			}
		})
	}
}

// What a server says of its clock is bounded, and what makes no sense is no answer.
func TestClientTimeSyncOfAHostileServer(t *testing.T) {
	now := time.Now().UnixMilli()
	for name, answer := range map[string]map[string]any{
		"not numbers":   {"tc": "1", "ts": now, "p": 0, "a": 0},
		"another shape": {"tc": now, "ts": now, "p": 0, "a": 0, "more": 1},
		"from later":    {"tc": now + 3_600_000, "ts": now, "p": 0, "a": 0},
		"took longer":   {"tc": now, "ts": now, "p": 3_600_000, "a": 0},
		"took less":     {"tc": now, "ts": now, "p": -1, "a": 0},
		"a far clock":   {"tc": now, "ts": int64(1) << 52, "p": 0, "a": 0},
		"long ago":      {"tc": now, "ts": -int64(1) << 52, "p": 0, "a": 0},
		"a long way":    {"tc": -int64(1) << 52, "ts": -int64(1)<<51 + now/2, "p": 0, "a": 0},
		"a lost clock":  {"tc": now, "ts": -int64(1) << 63, "p": 0, "a": 0},
		"from far back": {"tc": -int64(1) << 52, "ts": now, "p": 0, "a": 0},
		"overflow":      {"tc": -int64(1) << 63, "ts": now, "p": 0, "a": 0},
	} {
		t.Run(name, func(t *testing.T) {
			var clock ext.ClientTimeSync
			m := &bayeux.Message{Channel: bayeux.MetaConnect}
			if err := m.SetExt("timesync", answer); err != nil {
				t.Fatal(err)
			}
			if !clock.Incoming(m) {
				t.Error("the message is lost")
			}
			if offset, known := clock.Offset(); known || offset != 0 || clock.Lag() != 0 {
				t.Errorf("Offset = %v, %v, Lag = %v", offset, known, clock.Lag())
			}
		})
	}
	var clock ext.ClientTimeSync
	for range 30 {
		for _, way := range []int64{-1, 1} {
			m := &bayeux.Message{Channel: bayeux.MetaConnect}
			_ = m.SetExt("timesync", map[string]int64{"tc": now, "ts": now + way*90*365*24*3_600_000, "p": 0, "a": 0})
			clock.Incoming(m)
		}
	}
	if offset, known := clock.Offset(); !known || offset.Abs() > time.Minute {
		t.Errorf("the mean of two clocks a lifetime away is %v, %v", offset, known)
	}
	for range 10 {
		m := &bayeux.Message{Channel: bayeux.MetaConnect}
		now := time.Now().UnixMilli()
		_ = m.SetExt("timesync", map[string]int64{"tc": now, "ts": now + 3_600_000, "p": 0, "a": 0})
		clock.Incoming(m)
	}
	if offset, _ := clock.Offset(); (offset - time.Hour).Abs() > time.Minute {
		t.Errorf("after ten newer answers the offset is %v", offset)
	}
}

// It is told on meta channels alone, and asked for there.
func TestClientTimeSyncIsOfMetaChannels(t *testing.T) {
	var clock ext.ClientTimeSync
	m := &bayeux.Message{Channel: "/a"}
	if !clock.Outgoing(m) || m.Ext != nil {
		t.Errorf("asked with %s", m.Ext)
	}
	_ = m.SetExt("timesync", map[string]int64{"tc": time.Now().UnixMilli(), "ts": 1, "p": 0, "a": 0})
	clock.Incoming(m)
	if _, known := clock.Offset(); known {
		t.Error("a publication tells the time")
	}
}

func TestBinaryBetweenClients(t *testing.T) {
	b := newBrowser(t, ext.Binary{})
	sender, receiver := b.client(), b.client()
	got := make(chan ext.BinaryData, 1)
	err := receiver.Subscribe(t.Context(), "/a", func(m *bayeux.Message) {
		d, binary, err := ext.ReadBinary(m)
		if !binary || err != nil {
			t.Errorf("ReadBinary: %v, %v", binary, err)
		}
		got <- d
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ext.NewBinary("/a", ext.BinaryData{Data: []byte{0, 1, 255}, Last: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := sender.PublishMessage(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-got:
		if string(d.Data) != "\x00\x01\xff" || !d.Last {
			t.Errorf("got %+v", d)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing came")
	}
	for name, bad := range map[string]*bayeux.Message{
		"a meta channel": {Channel: "/meta/connect", Data: []byte("1")},
		"not JSON":       {Channel: "/a", Data: []byte("{")},
		"no data":        {Channel: "/a"},
		"bad ext":        {Channel: "/a", Data: []byte("1"), Ext: map[string]jsontext.Value{"x": jsontext.Value("{")}},
	} {
		if err := sender.PublishMessage(t.Context(), bad); err == nil {
			t.Errorf("%s was published", name)
		}
	}
}
