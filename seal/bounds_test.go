package seal

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

// These bounds lie too far away to be reached from outside in a test's time.

func boundsRing(t *testing.T) *Ring {
	t.Helper()
	ring, err := InitRing(t.TempDir(), usualEnc, time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func boundsClaims() *Claims {
	return &Claims{JTI: NewID(), IssuedAt: 1, Expires: 2, Session: NewID(), Name: "cart", Policy: "1", Value: []byte("1")}
}

// SPEC §2: a fresh salt after at most 2^20 envelopes under one derived key.
func TestSealerIsExhausted(t *testing.T) {
	s, err := boundsRing(t).NewSealer(Scope{App: "shop"}, time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	s.count.Store(1<<20 - 1)
	if _, err := s.Attribute(boundsClaims()); err != nil {
		t.Errorf("the last of 2^20 seals: %v", err)
	}
	m := &Manifest{Session: NewID(), IssuedAt: 1, Expires: 2, AbsoluteExpires: 3, Binding: "b", Policy: "1"}
	for range 3 {
		if text, err := s.Attribute(boundsClaims()); text != "" || !errors.Is(err, ErrExhausted) {
			t.Errorf("one more attribute: %v, want ErrExhausted", err)
		}
		if text, err := s.Manifest(m); text != "" || !errors.Is(err, ErrExhausted) {
			t.Errorf("one more manifest: %v, want ErrExhausted", err)
		}
	}
}

// A set of blobs with a salt each must not make an opener keep a key for each.
func TestOpenerKeepsFewKeys(t *testing.T) {
	ring, now := boundsRing(t), time.Unix(1_800_000_000, 0)
	o := ring.NewOpener(Scope{App: "shop"}, now)
	for range 3 * maxDerived {
		s, err := ring.NewSealer(Scope{App: "shop"}, now)
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.Attribute(boundsClaims())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := o.Attribute(text); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.keys) > maxDerived {
		t.Errorf("%d sets of keys kept, the bound is %d", len(o.keys), maxDerived)
	}
}

// Wipe overwrites the very bytes that were used, and so does making room.
func TestWipeOverwrites(t *testing.T) {
	ring, now := boundsRing(t), time.Unix(1_800_000_000, 0)
	o := ring.NewOpener(Scope{App: "shop"}, now)
	used := func(d *derived) []byte {
		key, err := d.key(ForAttribute)
		if err != nil {
			t.Fatal(err)
		}
		return key.key
	}
	gone := func(what string, key []byte) {
		t.Helper()
		if len(key) < 32 || !bytes.Equal(key, make([]byte, len(key))) {
			t.Errorf("%s: a derived key is still there", what)
		}
	}
	var first, last []byte
	for i := range maxDerived + 1 {
		s, err := ring.NewSealer(Scope{App: "shop"}, now)
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.Attribute(boundsClaims())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := o.Attribute(text); err != nil {
			t.Fatal(err)
		}
		sealing := used(s.keys)
		s.Wipe()
		gone("a sealer", sealing)
		last = used(o.keys[len(o.keys)-1])
		if i == 0 {
			first = last
		}
	}
	gone("the oldest of an opener", first)
	o.Wipe()
	gone("an opener", last)
	if len(o.keys) != 0 {
		t.Errorf("%d sets of keys kept after Wipe", len(o.keys))
	}
}
