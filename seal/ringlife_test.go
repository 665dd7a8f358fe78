//go:build unix

package seal_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// manyKeys are n keys that have not ended, the last of which is primary.
func manyKeys(n int) (keys []docKey) {
	for i := range n {
		k := key(fmt.Sprintf("key%05d", i), 0)
		secret := sha256.Sum256(fmt.Appendf(nil, "key %d", i))
		k.Secret, k.Activate = b64(string(secret[:])), now.Unix()-int64(10_000-i)
		keys = append(keys, k)
	}
	return keys
}

func (k docKey) ended() docKey {
	k.Ended, k.Secret = "retired", ""
	return k
}

// However full a ring is, its leaked primary key can be revoked and replaced;
// a rotation keeps the place that this takes.
func TestFullRing(t *testing.T) {
	ended := func(n, of int) []docKey {
		keys := manyKeys(of)
		for i := range n {
			keys[i] = keys[i].ended()
		}
		return keys
	}
	for name, c := range map[string]struct {
		keys    []docKey
		rotates bool
		left    int // keys after a revocation of the primary
	}{
		"254":                         {manyKeys(254), true, 255},
		"255":                         {manyKeys(255), false, 256},
		"256":                         {manyKeys(256), false, 256},
		"255, and one that ended":     {ended(1, 256), false, 256},
		"254, and two that ended":     {ended(2, 256), true, 256},
		"one, and 255 that ended":     {ended(255, 256), true, 256},
		"254, and one that ended":     {ended(1, 255), true, 256},
		"one, and nobody else at all": {manyKeys(1), true, 2},
	} {
		k := newKeyring(t)
		_, err := k.load(k.doc(c.keys...))
		must(t, err)
		primary := c.keys[len(c.keys)-1].ID
		ring, err := seal.RevokeKey(t.Context(), k.dir, primary, now)
		must(t, err)
		after, err := ring.Primary(now)
		if err != nil || after.ID() == primary || len(ring.Keys()) != c.left {
			t.Errorf("%s: revoked: primary %v, %v, %d keys, want %d", name, after, err, len(ring.Keys()), c.left)
		}
		if len(c.keys) == 256 && slices.ContainsFunc(ring.Keys(), func(x *seal.Key) bool { return x.ID() == c.keys[0].ID }) == (c.keys[0].Ended != "") {
			t.Errorf("%s: the oldest ended key is what leaves", name)
		}
		k = newKeyring(t)
		_, err = k.load(k.doc(c.keys...))
		must(t, err)
		ring, err = seal.UnsafeRotateRing(t.Context(), k.dir, usual, now, now)
		if c.rotates {
			if err != nil || len(ring.Keys()) != min(len(c.keys)+1, 256) {
				t.Errorf("%s: rotated: %v", name, err)
			}
		} else if !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), "keys that have not ended") {
			t.Errorf("%s: rotated: %v, want the limit by name", name, err)
		}
	}
}

// A ring lives for any number of rotations: its oldest ended keys make room.
func TestRingOutlivesItsKeys(t *testing.T) {
	keys := manyKeys(253)
	for i := range 252 {
		keys[i] = keys[i].ended()
	}
	k := newKeyring(t)
	_, err := k.load(k.doc(keys...))
	must(t, err)
	for i := range 6 {
		at := now.Add(time.Duration(i+1) * time.Hour)
		ring, err := seal.UnsafeRotateRing(t.Context(), k.dir, usual, at, at)
		must(t, err)
		_, err = seal.RetireKey(t.Context(), k.dir, ring.Keys()[len(ring.Keys())-2].ID(), at.Add(7*time.Minute))
		must(t, err)
	}
	if left := k.read().Keys; len(left) != 256 || left[0].ID != keys[3].ID {
		t.Errorf("%d keys, the first of them %s", len(left), left[0].ID)
	}
}

// The secret of an ended key is in no ring that is written after.
func TestEndedKeysAreErased(t *testing.T) {
	k := newKeyring(t)
	keys := manyKeys(3)
	_, err := k.load(k.doc(keys...))
	must(t, err)
	_, err = seal.RetireKey(t.Context(), k.dir, keys[0].ID, now)
	must(t, err)
	_, err = seal.RevokeKey(t.Context(), k.dir, keys[2].ID, now)
	must(t, err)
	content, err := json.Marshal(k.read())
	must(t, err)
	for i, gone := range []bool{true, false, true} {
		if strings.Contains(string(content), keys[i].Secret) == gone {
			t.Errorf("key %d: its secret is gone: %t", i, !gone)
		}
	}
}

// Nodes whose clocks differ from the writer's by up to five minutes neither stop
// sealing nor fall back to an older key when the primary is revoked.
func TestRevocationAndClocks(t *testing.T) {
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	older, newer := manyKeys(2)[0], manyKeys(2)[1]
	older.Activate = at(-24 * time.Hour)
	for name, c := range map[string]struct {
		keys     []docKey
		activate time.Duration // of the newer key
		revoke   string
		replaced bool
	}{
		"the primary":                         {[]docKey{older, newer}, -time.Hour, newer.ID, true},
		"the only key":                        {[]docKey{newer}, -time.Hour, newer.ID, true},
		"primary for a moment":                {[]docKey{older, newer}, -time.Second, newer.ID, true},
		"pending for a moment":                {[]docKey{older, newer}, 5 * time.Minute, newer.ID, true},
		"pending for long":                    {[]docKey{older, newer}, 5*time.Minute + time.Second, newer.ID, false},
		"open-only for a moment":              {[]docKey{older, newer}, -5*time.Minute + time.Second, older.ID, true},
		"open-only for as long as it takes":   {[]docKey{older, newer}, -5 * time.Minute, older.ID, false},
		"open-only, the new one is too young": {[]docKey{older, newer}, 0, older.ID, true},
	} {
		keys := slices.Clone(c.keys)
		keys[len(keys)-1].Activate = at(c.activate)
		k := newKeyring(t)
		before, err := k.load(k.doc(keys...))
		must(t, err)
		ring, err := seal.RevokeKey(t.Context(), k.dir, c.revoke, now)
		must(t, err)
		if got := len(ring.Keys()) > len(keys); got != c.replaced {
			t.Errorf("%s: replaced: %t", name, got)
		}
		for _, off := range []time.Duration{-5 * time.Minute, -2 * time.Second, 0, 2 * time.Second, 5 * time.Minute} {
			was, err := before.Primary(now.Add(off))
			must(t, err)
			is, err := ring.Primary(now.Add(off))
			if err != nil || is.Activation() != was.Activation() || is.ID() == c.revoke {
				t.Errorf("%s, a clock that is %v off: %v", name, off, err)
			}
		}
	}
}

// A key is not retired while a node whose clock is behind may seal with it.
func TestRetireWaitsForTheSuccessor(t *testing.T) {
	keys := manyKeys(2)
	keys[1].Activate = now.Unix()
	k := newKeyring(t)
	_, err := k.load(k.doc(keys...))
	must(t, err)
	if _, err := seal.RetireKey(t.Context(), k.dir, keys[0].ID, now.Add(7*time.Minute-time.Second)); !errors.Is(err, seal.ErrRing) {
		t.Errorf("a second too early: %v", err)
	}
	if _, err := seal.RetireKey(t.Context(), k.dir, keys[0].ID, now.Add(7*time.Minute)); err != nil {
		t.Errorf("after seven minutes: %v", err)
	}
}

// Nodes must have read a new key before one of them seals with it; and a key
// that would never seal is not made.
func TestRotationNeedsItsTime(t *testing.T) {
	rotate, unsafe := seal.RotateRing, seal.UnsafeRotateRing
	for name, c := range map[string]struct {
		rotate  func(context.Context, string, seal.Enc, time.Time, time.Time, ...seal.RingOption) (*seal.Ring, error)
		in      time.Duration
		refused bool
	}{
		"two intervals":              {rotate, 2 * seal.ReloadInterval, false},
		"less":                       {rotate, 2*seal.ReloadInterval - time.Second, true},
		"at once":                    {rotate, 0, true},
		"at once, unsafe":            {unsafe, 0, false},
		"before the primary, unsafe": {unsafe, -time.Second, true},
		"in a year":                  {rotate, seal.MaxActivation, false},
		"later":                      {rotate, seal.MaxActivation + time.Second, true},
		"in 100 years, unsafe":       {unsafe, 876_000 * time.Hour, true},
	} {
		ring, err := c.rotate(t.Context(), ringDir(t), usual, now, now.Add(c.in))
		if errors.Is(err, seal.ErrRing) != c.refused || (ring == nil) != c.refused {
			t.Errorf("%s: %v, %v", name, ring, err)
		}
	}
}
