package session_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// crafted is a set that somebody with the keyring seals, rightly or not.
type crafted struct {
	manifest *seal.Manifest
	parts    []part
}

type part struct {
	claims *seal.Claims
	salt   int    // which of two sealers seals it
	slot   string // where it is presented; empty: where it belongs
	list   func(*seal.Entry)
}

// set seals it as spoil leaves it.
func (f *crafted) set(t *testing.T, ring *seal.Ring, spoil func(*crafted)) (manifest string, blobs map[string]string) {
	t.Helper()
	var sealers [2]*seal.Sealer
	for i := range sealers {
		s, err := ring.NewSealer(seal.Scope{App: "shop"}, time.Now())
		must(t, err)
		sealers[i] = s
	}
	spoil(f)
	blobs = map[string]string{}
	for _, p := range f.parts {
		slot, err := sealers[p.salt].Slot(p.claims.Name)
		must(t, err)
		if p.slot != "" {
			slot = p.slot
		}
		if blobs[slot], err = sealers[p.salt].Attribute(p.claims); err != nil {
			t.Fatal(err)
		}
		entry := seal.Entry{Slot: slot, JTI: p.claims.JTI, Expires: p.claims.Expires}
		if p.list != nil {
			p.list(&entry)
		}
		f.manifest.Entries = append(f.manifest.Entries, entry)
	}
	slices.SortFunc(f.manifest.Entries, func(a, b seal.Entry) int { return strings.Compare(a.Slot, b.Slot) })
	manifest, err := sealers[0].Manifest(f.manifest)
	must(t, err)
	return manifest, blobs
}

// opened are the manifest and claims of a set.
func opened(t *testing.T, ring *seal.Ring, p session.Presented) *crafted {
	t.Helper()
	opener := ring.NewOpener(seal.Scope{App: "shop"}, time.Now())
	m, _, err := opener.Manifest(p.Manifest)
	must(t, err)
	m.Entries = nil
	f := &crafted{manifest: m}
	for _, text := range p.Blobs {
		claims, _, err := opener.Attribute(text)
		must(t, err)
		claims.Value = slices.Clone(claims.Value)
		f.parts = append(f.parts, part{claims: claims})
	}
	slices.SortFunc(f.parts, func(a, b part) int { return strings.Compare(a.claims.Name, b.claims.Name) })
	return f
}

// beside is another slot in the same place among the others.
func beside(slot string) string {
	last := byte('a')
	if slot[len(slot)-1] == last {
		last = 'b'
	}
	return slot[:len(slot)-1] + string(last)
}

// Each rule by which set and manifest must agree refuses by itself (SPEC §7, steps 3,
// 5 and 8), also what is authentic and judged well: none relies on the one before.
func TestSetAndManifestAgree(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	good := b.set(s.Holder())
	for name, test := range map[string]struct {
		spoil func(f *crafted)
		want  error
	}{
		"binary":                        {func(f *crafted) { f.parts[0].claims.Binary = true }, seal.ErrMalformed},
		"another session's":             {func(f *crafted) { f.parts[0].claims.Session = seal.NewID() }, session.ErrIncomplete},
		"newer than the manifest":       {func(f *crafted) { f.parts[0].claims.Gen = f.manifest.Gen + 1 }, session.ErrIncomplete},
		"one name in two slots":         {func(f *crafted) { f.parts = append(f.parts, part{claims: f.parts[0].claims, salt: 1}) }, session.ErrIncomplete},
		"in a slot that is not its own": {func(f *crafted) { f.parts[0].slot = "AAAAAAAAAAAA" }, session.ErrIncomplete},
		"listed under another slot":     {func(f *crafted) { f.parts[0].list = func(e *seal.Entry) { e.Slot = beside(e.Slot) } }, session.ErrIncomplete},
		"listed with another jti":       {func(f *crafted) { f.parts[0].list = func(e *seal.Entry) { e.JTI = seal.NewID() } }, session.ErrIncomplete},
		"listed with another end":       {func(f *crafted) { f.parts[0].list = func(e *seal.Entry) { e.Expires++ } }, session.ErrIncomplete},
		"another session's manifest": {func(f *crafted) {
			f.manifest.Session = seal.NewID()
			for i := range f.parts {
				f.parts[i].claims.Session = f.manifest.Session
			}
		}, policy.ErrBinding},
	} {
		p := good
		p.Manifest, p.Blobs = opened(t, c.ring, good).set(t, c.ring, test.spoil)
		if r, err := c.node().Restore(t.Context(), p); !errors.Is(err, test.want) || r.Session != nil {
			t.Errorf("%s: Restore = %v, %v; want %v", name, r.Session, err, test.want)
		}
	}
	rightly := good
	rightly.Manifest, rightly.Blobs = opened(t, c.ring, good).set(t, c.ring, func(*crafted) {})
	if r, err := c.node().Restore(t.Context(), rightly); err != nil || len(r.Dropped) != 0 {
		t.Errorf("sealed anew, rightly: %v, %v", r, err)
	}
}

// An envelope that is not listed refuses the set wherever its slot stands among the others.
func TestAnExtraEnvelopeIsRefused(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	for _, slot := range []string{"------------", "zzzzzzzzzzzz"} { // before and behind all others
		p := b.set(s.Holder())
		p.Blobs = maps.Clone(p.Blobs)
		p.Blobs[slot] = first(p.Blobs)
		if r, err := c.node().Restore(t.Context(), p); !errors.Is(err, session.ErrIncomplete) || r.Session != nil {
			t.Errorf("one more in %s: %v, %v", slot, r.Session, err)
		}
	}
}
