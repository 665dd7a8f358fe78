package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
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

// Key derivation is HKDF as the standard library has it, for one block and for two.
func TestExpandIsHKDF(t *testing.T) {
	secret := make([]byte, 32)
	rand.Read(secret)
	k, err := newKey("testkeyA", usualEnc, secret, time.Time{}, time.Time{}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{32, 64} {
		for range 3 { // the HMAC is used again
			want, err := hkdf.Key(sha256.New, k.secret, nil, "some info", n)
			if err != nil {
				t.Fatal(err)
			}
			e := k.expanders.Get().(*expander)
			e.info = append(e.info[:0], "some info"...)
			got := e.expand(n)
			if k.expanders.Put(e); !bytes.Equal(got, want) {
				t.Errorf("%d bytes: %x, want %x", n, got, want)
			}
		}
	}
	for _, scope := range []Scope{{App: strings.Repeat("a", 1<<16)}, {Tenant: strings.Repeat("a", 1<<16)}} {
		if _, err := k.derive(scope, "attribute", nil, 32); err == nil {
			t.Error("a part whose length has no 16 bits was accepted")
		}
	}
}

// Attributes that are opened into one buffer don't touch each other.
func TestAppendAttribute(t *testing.T) {
	ring, now := boundsRing(t), time.Unix(1_800_000_000, 0)
	s, err := ring.NewSealer(Scope{App: "shop"}, now)
	if err != nil {
		t.Fatal(err)
	}
	o := ring.NewOpener(Scope{App: "shop"}, now)
	values := []string{`"one"`, `{"two":[2,2]}`, `3`, `"` + strings.Repeat("4", 700) + `"`}
	dst, text := append(make([]byte, 0, 8<<10), "kept"...), []byte("kept") // dst does not move
	opened := make([]Claims, len(values))
	for i, value := range values {
		c := boundsClaims()
		c.Value = []byte(value)
		start := len(text)
		if text, err = s.AppendAttribute(text, c); err != nil {
			t.Fatal(err)
		}
		if dst, _, err = o.AppendAttribute(dst, &opened[i], string(text[start:])); err != nil {
			t.Fatal(err)
		}
		c.Name = "Not a name"
		if again, err := s.AppendAttribute(text, c); len(again) != len(text) || !errors.Is(err, ErrMalformed) {
			t.Errorf("sealing claims without a spelling: %d bytes more, %v", len(again)-len(text), err)
		}
		for _, bad := range []string{string(text[start : len(text)-4]), string(text[start:len(text)-4]) + "AAAA", ""} {
			c := Claims{Name: "left"}
			if again, _, err := o.AppendAttribute(dst, &c, bad); len(again) != len(dst) || err == nil || c.Name != "" {
				t.Errorf("opening %d characters: %d bytes more, %+v, %v", len(bad), len(again)-len(dst), c, err)
			}
		}
	}
	if string(dst[:4]) != "kept" || string(text[:4]) != "kept" {
		t.Error("what was there before is gone")
	}
	for i, value := range values {
		if string(opened[i].Value) != value {
			t.Errorf("value %d is %q, want %q", i, opened[i].Value, value)
		}
		_ = append(opened[i].Value, make([]byte, 400)...) // over the padding, and what follows
	}
	for i, value := range values {
		if string(opened[i].Value) != value {
			t.Errorf("appending to a value changed value %d to %q", i, opened[i].Value)
		}
	}
}

// A chosen padding of over MaxMaxEnvelope is refused by itself: no envelope is as
// long as that, but what must be allocated for one would be.
func TestChosenPaddingIsBounded(t *testing.T) {
	for pad, good := range map[int]bool{1 << 20: true, 1 << 21: false, 1 << 40: false} {
		if pad != padded(pad) {
			t.Fatalf("%d is no bucket, and refused for that", pad)
		}
		c := boundsClaims()
		c.Pad = pad
		if _, err := c.append(nil); good != (err == nil) {
			t.Errorf("sealing with %d: %v", pad, err)
		}
		c.Pad = 512
		plain, err := c.append(nil)
		if err != nil {
			t.Fatal(err)
		}
		plain = bytes.Replace(plain, []byte(`"pad":512`), fmt.Appendf(nil, `"pad":%d`, pad), 1)
		if got := (&Claims{}).decode(plain); got != good {
			t.Errorf("opening %s: %t", plain, got)
		}
	}
}

// A ring file over its size is not handed to age.
func TestLargeRingIsNotDecrypted(t *testing.T) {
	_, err := readRingDoc(make([]byte, MaxRing+1), &identities{}, make([]byte, 32))
	if want := fmt.Sprintf("over %d bytes", MaxRing); !errors.Is(err, ErrRing) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// The key chooses the algorithm, never the header: an envelope that is well formed
// for the other profile finds no keys.
func TestHeaderDoesNotChooseTheAlgorithm(t *testing.T) {
	for enc, other := range map[Enc]Enc{A256GCM: A256CBCHS512, A256CBCHS512: A256GCM} {
		ring, err := InitRing(t.TempDir(), enc, time.Unix(1_800_000_000, 0))
		if err != nil {
			t.Fatal(err)
		}
		size, _ := other.sizes()
		salt, zeros := make([]byte, saltLen), make([]byte, 64)
		kid := ring.keys[0].id + "." + text64(salt)
		text := newHead(other, kid).text + text64(zeros[:size.iv]) + "." + text64(zeros[:32]) + "." + text64(zeros[:size.tag])
		if _, err := parseShape(text, MaxEnvelope); err != nil {
			t.Fatalf("%s: not well formed: %v", other, err)
		}
		o := ring.NewOpener(Scope{App: "shop"}, time.Unix(1_800_000_000, 0))
		if keys, err := o.find(text); keys != nil || !errors.Is(err, ErrMalformed) || len(o.keys) != 0 {
			t.Errorf("a header of %s under a key of %s: %v, %v", other, enc, keys, err)
		}
	}
}
