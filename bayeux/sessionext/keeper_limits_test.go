package sessionext_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// many are n envelopes of size bytes each.
func many(n, size int) set {
	blobs := set{}
	for i := range n {
		blobs[fmt.Sprintf("slot-%07d", i)] = strings.Repeat("x", size)
	}
	return blobs
}

// What no server takes back is not taken either: the next handshake would be too long
// for every server, and the one after it too.
func TestKeeperKeepsWhatServersTake(t *testing.T) {
	const rest = "slot-the-res"
	room := session.MaxHandshake - len("m0.2")
	exact := many(15, seal.MaxEnvelope)
	exact[rest] = strings.Repeat("x", room-15*(seal.SlotLen+seal.MaxEnvelope)-len(rest))
	more := maps.Clone(exact)
	more[rest] += "x"
	for name, test := range map[string]struct {
		push  sessionext.Update
		taken bool
	}{
		"as many as there may be":       {full("0.2", many(seal.MaxEntries, 1)), true},
		"one too many":                  {full("0.2", many(seal.MaxEntries+1, 1)), false},
		"one too many, by a difference": {sessionext.Update{V: 1, Gen: "0.2", Base: "0.1", Manifest: "m0.2", Set: many(seal.MaxEntries, 1)}, false},
		"in the place of another":       {sessionext.Update{V: 1, Gen: "0.2", Base: "0.1", Manifest: "m0.2", Set: many(seal.MaxEntries, 1), Del: []string{"a"}}, true},
		"as long as one may be":         {full("0.2", many(1, seal.MaxEnvelope)), true},
		"one too long":                  {full("0.2", many(1, seal.MaxEnvelope+1)), false},
		"as much as there may be":       {full("0.2", exact), true},
		"too much":                      {full("0.2", more), false},
		"a manifest too long":           {sessionext.Update{V: 1, Gen: "0.2", Manifest: strings.Repeat("m", seal.MaxEnvelope+1)}, false},
		"a manifest that JSON escapes":  {sessionext.Update{V: 1, Gen: "0.2", Manifest: "m\x01"}, false},
		"an envelope that JSON escapes": {full("0.2", set{"b": "\u2028"}), false},
		"a slot that JSON escapes":      {full("0.2", set{`"`: "x"}), false},
	} {
		b := newBench(t)
		b.shakes(fresh)
		b.pushed(full("0.1", set{"a": "1"}))
		b.pushed(test.push)
		if !test.taken {
			b.holds(name, "0.1", set{"a": "1"})
			continue
		}
		b.holds(name, "0.2", test.push.Set)
		m := &bayeux.Message{Channel: bayeux.MetaHandshake}
		if !b.k.Outgoing(m) || len(m.Ext[sessionext.ExtName]) > session.MaxHandshake+2<<10 {
			t.Errorf("%s: the handshake has %d bytes", name, len(m.Ext[sessionext.ExtName]))
		}
	}
}

// What has to be signed goes with the next handshake.
func TestKeeperSignsNoLongChallenge(t *testing.T) {
	for n, signed := range map[int]bool{seal.ChallengeLen: true, seal.ChallengeLen + 1: false} {
		b := newBench(t)
		b.shakes(sessionext.Reply{V: 1, State: sessionext.StateRetry, Challenge: strings.Repeat("x", n)})
		if r, _ := b.sends(bayeux.MetaHandshake); signed != (r.Proof != "") {
			t.Errorf("a challenge of %d bytes: proof %.20q", n, r.Proof)
		}
	}
}
