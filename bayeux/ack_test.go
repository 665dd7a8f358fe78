package bayeux_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

const ackHandshake = `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling","websocket"],"ext":{"ack":true}}]`

// acked makes a connect that acknowledges batch, and returns the data that came
// and the number of the reply.
func acked(t *testing.T, send func(string) []*bayeux.Message, batch int64) (data []string, number int64) {
	t.Helper()
	msgs := send(fmt.Sprintf(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0},"ext":{"ack":%d}}]`, batch))
	for _, m := range msgs {
		if m.Channel != bayeux.MetaConnect {
			data = append(data, string(m.Data))
			continue
		}
		wantOK(t, m)
		if _, err := m.DecodeExt("ack", &number); err != nil || number == 0 {
			t.Fatalf("connect reply without a number: %s, %v", m.Ext["ack"], err)
		}
	}
	return data, number
}

// both runs f with a peer of each transport whose client acknowledges. send posts a
// batch with one connect and returns what came until its reply.
func both(t *testing.T, cfg bayeux.Config, f func(t *testing.T, r *rig, sess *bayeux.ServerSession, send func(string) []*bayeux.Message)) {
	cfg.Acknowledge = true
	t.Run("long-polling", func(t *testing.T) {
		r := newRig(t, cfg)
		p := r.peer()
		m := p.one(ackHandshake)
		if string(m.Ext["ack"]) != "true" {
			t.Fatalf("handshake reply's ext.ack: %s", m.Ext["ack"])
		}
		p.id = m.ClientID
		f(t, r, r.server.Session(p.id), p.send)
	})
	t.Run("websocket", func(t *testing.T) {
		r := newRig(t, cfg)
		w := r.peer().ws()
		w.send(ackHandshake)
		m, _ := w.next(bayeux.MetaHandshake)
		if string(m.Ext["ack"]) != "true" {
			t.Fatalf("handshake reply's ext.ack: %s", m.Ext["ack"])
		}
		w.id = m.ClientID
		f(t, r, r.server.Session(w.id), func(batch string) []*bayeux.Message {
			w.send(batch)
			m, before := w.next(bayeux.MetaConnect)
			return append(before, m)
		})
	})
}

func TestAcknowledge(t *testing.T) {
	both(t, bayeux.Config{}, func(t *testing.T, r *rig, sess *bayeux.ServerSession, send func(string) []*bayeux.Message) {
		deliver := func(n int) {
			t.Helper()
			if err := sess.Deliver("/x", n); err != nil {
				t.Fatal(err)
			}
		}
		check := func(batch int64, want ...string) int64 {
			t.Helper()
			got, number := acked(t, send, batch)
			if !slices.Equal(got, want) {
				t.Errorf("connect with ack %d brought %q, want %q", batch, got, want)
			}
			return number
		}
		first := check(0)
		deliver(1)
		deliver(2)
		second := check(first, "1", "2")
		check(first, "1", "2") // the reply was lost
		deliver(3)
		fourth := check(second, "3")
		deliver(4)
		fifth := check(second, "3", "4") // the reply that brought 3 was lost
		check(fourth, "4")
		check(fourth, "4")
		if last := check(fifth); last <= fifth {
			t.Errorf("number %d after %d", last, fifth)
		}
		deliver(5)
		check(1000, "5") // never sent: it was not acknowledged by a number to come
		check(1000)
		deliver(6)
		check(-1, "6")
		send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0},"ext":{"ack":"x"}}]`)
		check(0, "6")
	})
}

// Nothing else takes messages along, and a connect waits for none that are known
// to be lost.
func TestAcknowledgedMessagesComeWithConnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{Acknowledge: true})
		w := r.peer().ws()
		w.send(ackHandshake)
		m, _ := w.next(bayeux.MetaHandshake)
		w.id = m.ClientID
		w.connect()
		w.next(bayeux.MetaConnect)
		sess := r.server.Session(w.id)
		sess.Deliver("/x", 1)
		w.send(`{"channel":"/y","clientId":"$ID","data":1}`)
		if _, before := w.next("/y"); len(before) != 0 {
			t.Errorf("a publication's reply brought %d messages", len(before))
		}
		connect := `[{"channel":"/meta/connect","clientId":"$ID","ext":{"ack":1}}]`
		start := time.Now()
		for range 2 {
			w.send(connect) // unacknowledged: at once, twice
			if _, before := w.next(bayeux.MetaConnect); len(before) != 1 || time.Since(start) != 0 {
				t.Errorf("%d messages after %v, want 1 at once", len(before), time.Since(start))
			}
		}
		w.send(strings.Replace(connect, ":1}", ":3}", 1))
		synctest.Wait()
		time.Sleep(2 * time.Second)
		sess.Deliver("/x", 2)
		if _, before := w.next(bayeux.MetaConnect); len(before) != 1 || time.Since(start) != 2*time.Second {
			t.Errorf("%d messages after %v, want 1 after 2s", len(before), time.Since(start))
		}
	})
}

// CVE-2025-53114: a client that repeats one number must not fill the memory.
func TestUnacknowledgedMessagesAreBounded(t *testing.T) {
	both(t, bayeux.Config{MaxQueue: 20}, func(t *testing.T, r *rig, sess *bayeux.ServerSession, send func(string) []*bayeux.Message) {
		acked(t, send, 0)
		var err error
		n := 0
		for ; err == nil && n < 100; n++ {
			if err = sess.Deliver("/x", n); err == nil && n%5 == 0 {
				acked(t, send, 1)
			}
		}
		if !errors.Is(err, bayeux.ErrQueueFull) || n != 21 {
			t.Errorf("delivery %d: %v, want %v at 21", n, err, bayeux.ErrQueueFull)
		}
		if r.server.Session(sess.ID()) != nil {
			t.Error("session still there")
		}
	})
	both(t, bayeux.Config{MaxQueue: 5, QueueFull: bayeux.QueueDropOldest}, func(t *testing.T, _ *rig, sess *bayeux.ServerSession, send func(string) []*bayeux.Message) {
		acked(t, send, 0)
		var want []string
		for n := range 12 {
			if err := sess.Deliver("/x", n); err != nil {
				t.Fatal(err)
			}
			if n == 3 {
				acked(t, send, 1)
			}
			if n >= 7 {
				want = append(want, strconv.Itoa(n))
			}
		}
		// What had been sent is not there any more: its number acknowledges nothing.
		if got, _ := acked(t, send, 2); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAcknowledgeIsForThoseWhoAsk(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg bayeux.Config
		ext string
	}{
		"server off":     {bayeux.Config{}, `{"ack":true}`},
		"client off":     {bayeux.Config{Acknowledge: true}, `{"ack":false}`},
		"client silent":  {bayeux.Config{Acknowledge: true}, `{}`},
		"another format": {bayeux.Config{Acknowledge: true}, `{"ack":"true"}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tt.cfg)
			p := r.peer()
			m := p.one(strings.Replace(ackHandshake, `{"ack":true}`, tt.ext, 1))
			wantOK(t, m)
			if p.id = m.ClientID; m.Ext["ack"] != nil {
				t.Errorf("ext.ack: %s", m.Ext["ack"])
			}
			p.connect()
			r.server.Session(p.id).Deliver("/x", 1)
			for i, want := range []int{2, 1} {
				msgs := p.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0},"ext":{"ack":0}}]`)
				if len(msgs) != want || msgs[len(msgs)-1].Ext["ack"] != nil {
					t.Errorf("connect %d: %d messages, want %d", i, len(msgs), want)
				}
			}
		})
	}
}

// What waits is for the connect that took the place of another, not for both.
func TestReplacedConnectTakesNothingAlong(t *testing.T) {
	for name, handshake := range map[string]string{"plain": handshakeMessage, "acknowledged": ackHandshake} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, bayeux.Config{Acknowledge: true})
				p := r.peer()
				p.id = p.one(handshake).ClientID
				p.connect()
				first := p.held()
				synctest.Wait()
				if err := r.server.Session(p.id).DeliverMessage(lazy("/x")); err != nil {
					t.Fatal(err)
				}
				msgs := p.send(`[{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0},"ext":{"ack":0}}]`)
				if old := <-first; len(old) != 1 || len(msgs) != 2 {
					t.Errorf("%d messages for the old connect, %d for the new one, want 1 and 2", len(old), len(msgs))
				}
			})
		})
	}
}
