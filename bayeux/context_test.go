package bayeux_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// patient is a policy, and an extension, that waits for its context, as a query of a
// database does whose table is locked.
type patient struct {
	bayeux.DefaultPolicy
	waits func(ctx context.Context)
}

func (p patient) CanHandshake(ctx context.Context, _ *http.Request, _ *bayeux.Message) bool {
	p.waits(ctx)
	return false
}

func (p patient) Incoming(ctx context.Context, _ *bayeux.ServerSession, m *bayeux.Message) bool {
	p.waits(ctx)
	return true
}

func (patient) Outgoing(*bayeux.ServerSession, *bayeux.Message) bool { return true }

// What waits for its context keeps no WebSocket whose client has gone, whatever became
// of the session.
func TestSocketContextsEnd(t *testing.T) {
	const life = 40 * time.Second // of a silent client's session: Timeout + MaxInterval
	greet := func(_ *rig, p *peer) *wsPeer {
		w := p.ws()
		w.send(handshakeMessage)
		return w
	}
	call := func(w *wsPeer) *wsPeer {
		w.send(`{"channel":"/service/wait","clientId":"$ID","data":1}`)
		synctest.Wait()
		return w
	}
	tests := []struct {
		name                    string
		inPolicy, inAnExtension bool
		want                    time.Duration
		begin                   func(r *rig, p *peer) *wsPeer
	}{
		{"policy", true, false, 10 * time.Second, greet},
		{"extension", false, true, 10 * time.Second, greet},
		{"session by HTTP", false, false, life, func(_ *rig, p *peer) *wsPeer {
			p.ready()
			w := p.ws()
			w.id = p.id
			return call(w)
		}},
		{"session goes on by HTTP", false, false, life, func(_ *rig, p *peer) *wsPeer {
			w := call(p.ws().ready())
			p.id = w.id
			for range 9 {
				p.one(`{"channel":"/meta/connect","clientId":"$ID","advice":{"timeout":0}}`)
				time.Sleep(time.Second)
			}
			return w
		}},
		{"session ended", false, false, life, func(r *rig, p *peer) *wsPeer {
			w := call(p.ws().ready())
			r.server.Session(w.id).Disconnect()
			return w
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan time.Duration, 1)
				wait := patient{waits: func(ctx context.Context) {
					start := time.Now()
					select {
					case <-ctx.Done():
					case <-time.After(time.Hour):
					}
					ended <- time.Since(start)
				}}
				var sockets tally
				cfg := bayeux.Config{Observer: &sockets}
				if tt.inPolicy {
					cfg.Policy = wait
				}
				r := newRig(t, cfg)
				if tt.inAnExtension {
					r.server.AddExtension(wait)
				}
				r.server.HandleService("/service/wait", func(ctx context.Context, _ *bayeux.ServerSession, _ *bayeux.Message) {
					wait.waits(ctx)
				})
				w := tt.begin(r, r.peer())
				synctest.Wait()
				_ = w.conn.NetConn().Close()
				if took := <-ended; took != tt.want {
					t.Errorf("the context ended after %v, want %v", took, tt.want)
				}
				synctest.Wait()
				if n := sockets.of(bayeux.GaugeSockets); n != 0 {
					t.Errorf("%d WebSockets are open", n)
				}
			})
		})
	}
}

// A client that is denied because the policy had no time is told to come again.
func TestDeniedForWantOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := patient{waits: func(ctx context.Context) { <-ctx.Done() }}
		r := newRig(t, bayeux.Config{Policy: policy})
		w := r.peer().ws()
		w.send(handshakeMessage)
		m, _ := w.next(bayeux.MetaHandshake)
		wantError(t, m, "403::handshake_denied")
		if m.Advice == nil || m.Advice.Reconnect != bayeux.ReconnectHandshake || *m.Advice.Interval != 5000 {
			t.Errorf("advice %+v", m.Advice)
		}
	})
}
