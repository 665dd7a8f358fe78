package bayeux_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// endings runs f with a session whose connect is held, over both transports;
// ended waits for that connect's reply and all that came before.
func endings(t *testing.T, f func(t *testing.T, s *bayeux.Server, sess *bayeux.ServerSession, ended func() (*bayeux.Message, []*bayeux.Message))) {
	t.Run("long-polling", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, bayeux.Config{})
			p := r.peer().ready()
			held := p.held()
			synctest.Wait()
			f(t, r.server, r.server.Session(p.id), func() (*bayeux.Message, []*bayeux.Message) {
				msgs := <-held
				return msgs[len(msgs)-1], msgs[:len(msgs)-1]
			})
		})
	})
	t.Run("websocket", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, bayeux.Config{})
			w := r.peer().ws().ready()
			w.connect()
			synctest.Wait()
			f(t, r.server, r.server.Session(w.id), func() (*bayeux.Message, []*bayeux.Message) {
				return w.next(bayeux.MetaConnect)
			})
		})
	})
}

func TestDismiss(t *testing.T) {
	endings(t, func(t *testing.T, s *bayeux.Server, sess *bayeux.ServerSession, ended func() (*bayeux.Message, []*bayeux.Message)) {
		removed := make(chan bool, 2)
		sess.OnRemove(func(expired bool) { removed <- expired })
		sess.Dismiss()
		sess.Dismiss()
		m, _ := ended()
		wantError(t, m, "402::session_unknown")
		if m.Advice == nil || m.Advice.Reconnect != bayeux.ReconnectHandshake {
			t.Errorf("advice %+v", m.Advice)
		}
		if <-removed || len(removed) != 0 || s.Session(sess.ID()) != nil {
			t.Error("not removed once, unexpired")
		}
		sess.EndConnect()
	})
}

// An extension may end the session of the very connect it sees.
func TestDisconnectInAConnect(t *testing.T) {
	r := newRig(t, bayeux.Config{})
	over := false
	r.server.AddExtension(tap{in: func(from *bayeux.ServerSession, m *bayeux.Message) bool {
		if m.Channel == bayeux.MetaConnect && over {
			from.Disconnect()
		}
		return true
	}})
	p := r.peer().ready()
	over = true
	m := p.connect()[0]
	wantError(t, m, "402::session_unknown")
	if m.Advice == nil || m.Advice.Reconnect != bayeux.ReconnectNone {
		t.Errorf("advice %+v, want to give up", m.Advice)
	}
}

func TestEndConnect(t *testing.T) {
	endings(t, func(t *testing.T, s *bayeux.Server, sess *bayeux.ServerSession, ended func() (*bayeux.Message, []*bayeux.Message)) {
		start := time.Now()
		sess.Deliver("/a", 1)
		sess.EndConnect()
		m, before := ended()
		wantOK(t, m)
		if len(before) != 1 || string(before[0].Data) != "1" || time.Since(start) != 0 {
			t.Errorf("%d messages before, after %v", len(before), time.Since(start))
		}
		sess.EndConnect() // nothing is held
		time.Sleep(9 * time.Second)
		if s.Session(sess.ID()) == nil {
			t.Error("lapsed too early")
		}
		time.Sleep(2 * time.Second)
		if s.Session(sess.ID()) != nil {
			t.Error("did not lapse")
		}
	})
}

// A frame that comes with the upgrade is not lost, nor one that comes a byte at a time
// while the connection is taken for idle.
func TestFramesInPieces(t *testing.T) {
	// Masked with zeros.
	body := `{"channel":"/meta/connect","clientId":"x"}`
	frame := string([]byte{0x81, 0x80 | byte(len(body)), 0, 0, 0, 0}) + body
	for name, pieces := range map[string][]string{
		"all at once":     {upgradeRequest + "\r\n" + frame + frame},
		"a byte early":    {upgradeRequest + "\r\n" + frame[:1], frame[1:] + frame},
		"byte after byte": append(append([]string{upgradeRequest + "\r\n"}, strings.Split(frame, "")...), frame[:1], frame[1:]),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, bayeux.Config{})
				nc, err := r.net.Dial(t.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				written := make(chan struct{})
				go func() {
					defer close(written)
					for _, piece := range pieces {
						_, _ = io.WriteString(nc, piece)
						time.Sleep(150 * time.Millisecond)
					}
				}()
				_ = nc.SetReadDeadline(time.Now().Add(20 * time.Second))
				all, _ := io.ReadAll(nc)
				<-written
				if got := string(all); !strings.Contains(got, "101 Switching") || strings.Count(got, "402::session_unknown") != 2 {
					t.Errorf("got %.600q", got)
				}
			})
		})
	}
}

func TestClientStateString(t *testing.T) {
	for s, want := range map[bayeux.ClientState]string{
		bayeux.StateIdle: "idle", bayeux.StateHandshaking: "handshaking", bayeux.StateConnected: "connected",
		bayeux.StateBroken: "broken", bayeux.StateClosed: "closed", 9: "ClientState(9)", -1: "ClientState(-1)",
	} {
		if got := s.String(); got != want {
			t.Errorf("ClientState(%d) = %q, want %q", int(s), got, want)
		}
	}
}
