package sessionext_test

import (
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux/sessionext"
)

// A login gives the session a new ID. The client that is connected goes on
// without a handshake, and what it then holds restores with the new cookie; also
// when the session had been restored before, so that its fence was higher.
func TestClientGoesOnAfterALogin(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			v := w.visitor(transport).connect()
			v.blobs(1)
			for _, fence := range []string{"no restore", "a restore"} {
				if fence == "a restore" { // that of the round before
					v.wait("set of the new fence", func(h sessionext.Held, _ sessionext.Reply) bool { return h.Version.Fence > 0 })
				}
				before, _ := v.keeper.Held()
				handshake := v.client.ID()
				v.do("/set?login")
				after := v.wait("set of the renewed session", func(h sessionext.Held, _ sessionext.Reply) bool {
					return h.Version.Fence == 0 && h.Manifest != before.Manifest
				})
				if v.client.ID() != handshake || after.Version.Gen <= before.Version.Gen {
					t.Errorf("after %s: client %s went on as %s, %v after %v", fence, handshake, v.client.ID(), after.Version, before.Version)
				}
				v.do("/set?name=login&value=ada")
				v.blobs(2)
				w.move(nil)
				v.wait("restore", state(sessionext.StateRestored))
				if got := v.do("/get?name=cart") + v.do("/get?name=login"); got != "teaada" {
					t.Errorf("after %s: restored %q", fence, got)
				}
			}
		})
	}
}

// What it acknowledges after a login counts for the renewed session.
func TestAcknowledgementsAfterALogin(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			w := newWorld(t)
			v := w.visitor(transport).connect()
			before := v.blobs(1)
			v.do("/set?login")
			old := v.wait("set of the renewed session", func(h sessionext.Held, _ sessionext.Reply) bool { return before.Version.Less(h.Version) })
			v.do("/set?name=cart&value=paid")
			v.wait("the push", func(h sessionext.Held, _ sessionext.Reply) bool { return old.Version.Less(h.Version) })
			time.Sleep(1500 * time.Millisecond) // the manager flushes each second
			v.keeper.Put(old)
			w.move(nil)
			v.wait("a refusal", state(sessionext.StateRefused))
		})
	}
}
