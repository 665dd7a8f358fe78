package seal

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"time"
)

// Source yields the keyring of the moment. A [Ring] is a Source of itself; a
// reloading source replaces the ring while the program runs.
type Source interface {
	// Ring returns the current ring. An error means that it cannot be told
	// now; the caller refuses and may retry.
	Ring(ctx context.Context) (*Ring, error)
}

// Ring is an immutable set of keys with a version that never goes back. It is
// safe for concurrent use. Load one with [LoadRing].
type Ring struct {
	version uint64
	keys    []*Key            // in order of adding
	digest  [sha256.Size]byte // of the signed content
	max     int               // of an envelope's text; 0: MaxEnvelope
}

func newRing(version uint64, keys []*Key) (*Ring, error) {
	ids, secrets := map[string]bool{}, map[string]bool{}
	for _, k := range keys {
		if ids[k.id] {
			return nil, fmt.Errorf("%w: key ID %q appears twice", ErrRing, k.id)
		}
		if k.ended == "" && secrets[string(k.secret)] {
			return nil, fmt.Errorf("%w: key %q has the secret of another", ErrRing, k.id)
		}
		ids[k.id], secrets[string(k.secret)] = true, true
	}
	if version == 0 || len(keys) == 0 {
		return nil, fmt.Errorf("%w: no version or no key", ErrRing)
	}
	return &Ring{version: version, keys: keys}, nil
}

// Ring returns r: a fixed ring is its own [Source].
func (r *Ring) Ring(context.Context) (*Ring, error) { return r, nil }

// WithMaxEnvelope returns the same ring with another limit for the text of the
// envelopes that its sealers make and its openers accept, in bytes: larger than
// [MaxEnvelope] only for values that need it, since a client sends its whole set
// at once. n is brought between 1 KiB and [MaxMaxEnvelope].
func (r *Ring) WithMaxEnvelope(n int) *Ring {
	other := *r
	other.max = min(max(n, 1<<10), MaxMaxEnvelope)
	return &other
}

func (r *Ring) limit() int {
	if r.max == 0 {
		return MaxEnvelope
	}
	return r.max
}

// Version counts the ring's changes.
func (r *Ring) Version() uint64 { return r.version }

// Keys lists the keys in the order in which they were added.
func (r *Ring) Keys() []*Key { return append([]*Key(nil), r.keys...) }

// Primary is the key that seals at now: of the keys whose activation has come
// and that are neither retired nor revoked, the one activated last. It returns
// [ErrNoPrimary] if there is none.
func (r *Ring) Primary(now time.Time) (*Key, error) {
	var primary *Key
	for _, k := range r.keys {
		if k.ended == "" && !now.Before(k.activate) && (primary == nil || !k.activate.Before(primary.activate)) {
			primary = k
		}
	}
	if primary == nil {
		return nil, ErrNoPrimary
	}
	return primary, nil
}

// clockLeeway is how much two clocks may differ: the most that a policy allows.
const clockLeeway = 5 * time.Minute

// primaryWithin says whether k is primary at any moment between from and to. A
// node whose clock is off lives at such a moment.
func (r *Ring) primaryWithin(k *Key, from, to time.Time) bool {
	if from.Before(k.activate) {
		from = k.activate
	}
	primary, _ := r.Primary(from)
	return primary == k && !from.After(to)
}

// State tells where k stands in r at now.
func (r *Ring) State(k *Key, now time.Time) State {
	switch primary, _ := r.Primary(now); {
	case k.ended != "":
		return k.ended
	case k == primary:
		return Primary
	case now.Before(k.activate):
		return Pending
	}
	return OpenOnly
}

// key finds a key by its ID; nil if there is none.
func (r *Ring) key(id string) *Key {
	for _, k := range r.keys {
		if k.id == id {
			return k
		}
	}
	return nil
}

// usable finds the key that may open an envelope of id. A pending key opens
// too: another node's clock may be ahead.
func (r *Ring) usable(id string) (*Key, error) {
	if k := r.key(id); k != nil && k.ended == "" {
		return k, nil
	}
	return nil, ErrUnknownKey
}

// Format implements fmt.Formatter: a ring prints as "[redacted]".
func (r *Ring) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// LogValue implements slog.LogValuer.
func (r *Ring) LogValue() slog.Value { return slog.StringValue("[redacted]") }
