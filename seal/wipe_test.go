package seal

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func wipeSealer(t *testing.T, ring *Ring) *Sealer {
	t.Helper()
	s, err := ring.NewSealer(Scope{App: "shop"}, time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// noKeys fails if d holds a key, or can make one.
func noKeys(t *testing.T, d *derived) {
	t.Helper()
	for p := range d.content {
		if _, err := d.key(Purpose(p)); !errors.Is(err, errWiped) || d.content[p].Load() != nil {
			t.Errorf("the %s key after Wipe: %v", Purpose(p).label(), err)
		}
	}
	if _, err := d.slot("cart"); !errors.Is(err, errWiped) || d.slots.mac != nil {
		t.Errorf("a slot after Wipe: %v", err)
	}
}

func TestNothingIsSealedAfterWipe(t *testing.T) {
	s := wipeSealer(t, boundsRing(t))
	if _, err := s.Slot("cart"); err != nil {
		t.Fatal(err)
	}
	s.Wipe()
	noKeys(t, s.keys)
	if slot, err := s.Slot("cart"); !errors.Is(err, errWiped) {
		t.Errorf("Slot = %q, %v", slot, err)
	}
	for p := range purposes {
		if out, err := s.AppendSeal([]byte("kept"), Purpose(p), []byte("x")); string(out) != "kept" || !errors.Is(err, errWiped) {
			t.Errorf("AppendSeal of a %s = %q, %v", Purpose(p).label(), out, err)
		}
	}
}

// Whoever seals beside Wipe gets an envelope that opens, or an error, and makes
// no key anew.
func TestWipeBesideSealing(t *testing.T) {
	ring := boundsRing(t)
	for range 50 {
		s, all := wipeSealer(t, ring), sync.WaitGroup{}
		for range 4 {
			all.Go(func() {
				text, err := s.Attribute(boundsClaims())
				if errors.Is(err, errWiped) {
					return
				}
				if _, _, openErr := ring.NewOpener(Scope{App: "shop"}, time.Unix(1_800_000_000, 0)).Attribute(text); err != nil || openErr != nil {
					t.Errorf("sealed beside Wipe: %v, %v", err, openErr)
				}
			})
		}
		s.Wipe()
		all.Wait()
		noKeys(t, s.keys)
	}
}

// After Wipe an opener opens nothing and tells no slot, not even of a salt that
// had made room for others. Before, it does.
func TestNothingIsOpenedAfterWipe(t *testing.T) {
	ring := boundsRing(t)
	o := ring.NewOpener(Scope{App: "shop"}, time.Unix(1_800_000_000, 0))
	type envelope struct {
		text, slot string
		opened     Opened
	}
	var all []envelope
	for range maxDerived + 1 {
		s := wipeSealer(t, ring)
		text, err := s.Attribute(boundsClaims())
		if err != nil {
			t.Fatal(err)
		}
		slot, err := s.Slot("cart")
		if err != nil {
			t.Fatal(err)
		}
		_, opened, err := o.Attribute(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, envelope{text, slot, opened})
	}
	for i, e := range all {
		if in, err := e.opened.InSlot(e.slot, "cart"); !in || err != nil {
			t.Errorf("salt %d: InSlot = %t, %v", i, in, err)
		}
	}
	kept := slices.Clone(o.keys)
	o.Wipe()
	for _, keys := range kept {
		noKeys(t, keys)
	}
	for i, e := range all {
		if in, err := e.opened.InSlot(e.slot, "cart"); in || !errors.Is(err, errWiped) {
			t.Errorf("salt %d after Wipe: InSlot = %t, %v", i, in, err)
		}
		if c, _, err := o.Attribute(e.text); c != nil || !errors.Is(err, errWiped) {
			t.Errorf("salt %d after Wipe: Attribute = %v, %v", i, c, err)
		}
	}
	if in, err := (Opened{}).InSlot("", ""); in || err == nil {
		t.Errorf("of no envelope: InSlot = %t, %v", in, err)
	}
}

// The plaintext that a sealer or opener has written is gone from the room that it
// gives back.
func TestRoomIsWiped(t *testing.T) {
	ring := boundsRing(t)
	s, c := wipeSealer(t, ring), boundsClaims()
	c.Value = []byte(`"` + strings.Repeat("plaintext", 60) + `"`)
	r := &room{plain: make([]byte, 0, 4096), text: make([]byte, 0, 4096)}
	memory := r.plain[:cap(r.plain)]
	if _, err := s.appendClaims(nil, ForAttribute, c, r); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(memory, []byte("plaintext")) {
		t.Fatal("the plaintext was never there")
	}
	r.leave()
	if bytes.Contains(memory, []byte("plaintext")) {
		t.Error("the plaintext is still there")
	}
}
