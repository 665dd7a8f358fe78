package sessionext_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/internal/testkit"
)

const keyPolicy = `{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"1s"},"attributes":{
	"cart":{"ttl":"1h"},"login":{"ttl":"1h","binding":"key"}}}`

func newKeyWorld(t *testing.T) *world {
	w := newWorld(t)
	w.policy = testkit.Policy(t, keyPolicy)
	w.move(nil)
	return w
}

// A keeper registers its key by itself, and a session bound to it outlives its
// node. Whoever has cookie and set, and not the key, gets nothing.
func TestBoundSessionOutlivesItsNode(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			w := newKeyWorld(t)
			v := w.visitor(transport)
			if code, body := v.try("/set?name=login&value=ada"); code != 500 || body != "session: no key is registered: login\n" {
				t.Fatalf("before there is a key: %d %s", code, body)
			}
			v.connect().blobs(1)
			v.do("/set?name=login&value=ada")
			held := v.blobs(2)
			must(t, v.client.Close(t.Context()))
			w.move(nil)
			v.http.CloseIdleConnections()

			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			must(t, err)
			thief := &visitor{w: w, http: v.http, keeper: sessionext.NewKeeper()}
			thief.keeper.Put(held)
			thief.keeper.UseKey(key)
			thief.dial(transport)
			thief.wait("refusal", state(sessionext.StateRefused))
			if got, holds := thief.keeper.Held(); holds || thief.keeper.Last().Gen != "" {
				t.Errorf("the thief was given %v, %+v", got.Version, thief.keeper.Last())
			}

			v.dial(transport)
			v.wait("the new node's set", func(h sessionext.Held, r sessionext.Reply) bool { return h.Version.Fence == 1 })
			if got := v.do("/get?name=login"); got != "ada" {
				t.Errorf("the login is %q", got)
			}
			// Where it lives nobody joins without the key.
			thief.dial(transport)
			if _, holds := thief.keeper.Held(); holds || thief.keeper.Last().State != sessionext.StateRefused {
				t.Errorf("the thief joined: %+v", thief.keeper.Last())
			}
			reply, wait := advised(t, v, `{"v":1}`)
			if reply.State != sessionext.StateRetry || reply.Challenge == "" || reply.Gen != "" || wait > 100 {
				t.Errorf("without a proof: %+v after %d ms", reply, wait)
			}
		})
	}
}

// dial connects with another client: the same cookies, the same keeper.
func (v *visitor) dial(transport string) {
	v.w.t.Helper()
	c, err := bayeux.NewClient(v.w.server.URL+"/bayeux", bayeux.ClientConfig{
		HTTPClient: v.http, Transports: []string{transport}, Extensions: []bayeux.ClientExtension{v.keeper},
		Backoff: 20 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	must(v.w.t, err)
	v.w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	must(v.w.t, c.Connect(v.w.t.Context()))
}

// try is do with any status.
func (v *visitor) try(path string) (int, string) {
	v.w.t.Helper()
	res, err := v.http.Get(v.w.server.URL + path)
	must(v.w.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(v.w.t, err)
	return res.StatusCode, string(body)
}

// The proof is of what the handshake presents, over the challenge of the last answer.
func TestKeeperProves(t *testing.T) {
	b := newBench(t)
	if r := b.shakes(sessionext.Reply{V: 1, State: sessionext.StateRetry, Challenge: "c1"}); r.Proof != "" {
		t.Errorf("a proof that nobody asked for: %+v", r)
	}
	if r := b.shakes(fresh); r.Proof == "" {
		t.Error("no proof of the key")
	}
	b.pushed(full("0.1", set{"a": "1"}))
	first := b.shakes(sessionext.Reply{V: 1, State: sessionext.StateRetry, Challenge: "c2"})
	again, _ := b.sends(bayeux.MetaHandshake)
	if first.Proof != "" || again.Proof == "" || again.Attempt != first.Attempt {
		t.Errorf("first %+v, again %+v", first, again)
	}
	var raw map[string]any
	text, err := json.Marshal(again)
	must(t, err)
	must(t, json.Unmarshal(text, &raw))
	if len(raw) != 5 {
		t.Errorf("the handshake's members: %v", raw)
	}
}
