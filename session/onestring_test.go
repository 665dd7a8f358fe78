package session_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// What is put everywhere, beside all bytes: the alphabet and what decoders are
// known to let through; or, where each try costs more, one character of each
// kind of end in place of the alphabet.
const (
	foreign = ".=+/, \r\n\t\x00\x7f\x80\xc3\xff"
	usual   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" + foreign
	few     = "AQgw_" + foreign
)

// profiles are the two ways to seal.
var profiles = []seal.Enc{seal.A256GCM, seal.A256CBCHS512}

// bothProfiles runs f with a session and its set under a ring of each profile.
func bothProfiles(t *testing.T, f func(t *testing.T, c *cluster, p session.Presented, envelope map[string]string)) {
	for _, enc := range profiles {
		t.Run(string(enc), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			ring, err := seal.InitRing(t.TempDir(), enc, time.Now())
			must(t, err)
			c.ring = ring
			s, b := shopping(t, c.node())
			p := b.set(s.Holder())
			envelope := map[string]string{}
			opener := ring.NewOpener(seal.Scope{App: "shop"}, time.Now())
			for slot, text := range p.Blobs {
				claims, _, err := opener.Attribute(text)
				must(t, err)
				envelope[claims.Name] = slot
			}
			f(t, c, p, envelope)
		})
	}
}

// refusedOutwardly insists on the one refusal that the outside sees, for a
// reason that the log can hold.
func refusedOutwardly(t *testing.T, step, variant string, err error) {
	t.Helper()
	if session.Outward(err) != session.ErrRejected || len(err.Error()) > 200 {
		t.Fatalf("%s: outward %v, %d bytes of %.300v: %q", step, session.Outward(err), len(err.Error()), err, variant)
	}
	if !errors.Is(err, seal.ErrMalformed) && !errors.Is(err, seal.ErrUnknownKey) && !errors.Is(err, seal.ErrAuth) {
		t.Fatalf("%s: refused for another reason, %v: %q", step, err, variant)
	}
}

// A single envelope has no second spelling, whatever byte is put where; seal's
// TestNoNeighbourOpens tries all bytes in both profiles.
func TestVerifierTakesOneString(t *testing.T) {
	bothProfiles(t, func(t *testing.T, c *cluster, p session.Presented, slots map[string]string) {
		v := session.Verifier{Keys: c.ring, Policy: c.policy, Scope: seal.Scope{App: "shop"}, Store: c.store}
		bytes := testkit.AllBytes
		if c.ring.Keys()[0].Enc() != seal.A256GCM { // the slower one
			bytes = usual
		}
		for _, name := range []string{"cart", "ticket"} {
			text, trials := p.Blobs[slots[name]], 0
			if _, err := v.Verify(t.Context(), text, seal.ID{}, time.Now()); err != nil {
				t.Fatalf("the envelope itself: %v", err)
			}
			for step, variant := range testkit.Neighbours(text, bytes) {
				trials++
				out, err := v.Verify(t.Context(), variant, seal.ID{}, time.Now())
				if err == nil || out.Claims != nil {
					t.Fatalf("%s: accepted %q", step, variant)
				}
				refusedOutwardly(t, step, variant, err)
			}
			t.Logf("%s: %d strings refused", name, trials)
			if trials < 2*(len(bytes)-1)*len(text) {
				t.Errorf("%s: only %d strings", name, trials)
			}
		}
	})
}

// A set has no second spelling either: with one of its texts a step away it is
// refused, nothing comes to life, and the set itself still restores.
func TestRestoreTakesOneString(t *testing.T) {
	bothProfiles(t, func(t *testing.T, c *cluster, p session.Presented, slots map[string]string) {
		node := c.node()
		for _, name := range []string{"manifest", "ticket"} {
			text, bytes, trials := p.Manifest, few, 0
			if name != "manifest" {
				text = p.Blobs[slots[name]]
			} else if c.ring.Keys()[0].Enc() == seal.A256GCM { // the fastest: it is opened first
				bytes = usual
			}
			for step, variant := range testkit.Neighbours(text, bytes) {
				trials++
				spoiled := p
				if name == "manifest" {
					spoiled.Manifest = variant
				} else {
					spoiled.Blobs = maps.Clone(p.Blobs)
					spoiled.Blobs[slots[name]] = variant
				}
				out, err := node.Restore(t.Context(), spoiled)
				if err == nil || out.Session != nil {
					t.Fatalf("%s, %s: restored from %q", name, step, variant)
				}
				refusedOutwardly(t, step, variant, err)
			}
			t.Logf("%s: %d strings refused", name, trials)
			if trials < 2*(len(bytes)-1)*len(text) {
				t.Errorf("%s: only %d strings", name, trials)
			}
		}
		if _, alive := node.Live(p.Holder); alive {
			t.Error("a refused set left a session")
		}
		out, err := node.Restore(t.Context(), p)
		if err != nil {
			t.Fatalf("the set itself: %v", err)
		}
		if cart, err := get(t, out.Session, "cart"); cart != "tea" {
			t.Errorf("restored a cart of %q, %v", cart, err)
		}
	})
}
