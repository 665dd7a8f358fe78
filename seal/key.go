package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash"
	"log/slog"
	"math"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// Enc is a content encryption algorithm (RFC 7518 §5). A key has exactly one.
type Enc string

// The two profiles.
const (
	A256GCM      Enc = "A256GCM"       // the default
	A256CBCHS512 Enc = "A256CBC-HS512" // the strict profile: key-committing, 256-bit MAC
)

// sizes of an Enc's parts, in bytes.
type encSizes struct{ key, iv, tag int }

func (e Enc) sizes() (encSizes, bool) {
	switch e {
	case A256GCM:
		return encSizes{key: 32, iv: 12, tag: 16}, true
	case A256CBCHS512:
		return encSizes{key: 64, iv: 16, tag: 32}, true
	}
	return encSizes{}, false
}

// State is where a key stands in its life (SPEC §11: pending → primary →
// open-only → retired, or revoked at any time).
type State string

// The states of a key.
const (
	Pending  State = "pending"   // known, but its activation lies ahead
	Primary  State = "primary"   // seals and opens
	OpenOnly State = "open-only" // opens; what it opens is stale
	Retired  State = "retired"   // does nothing any more
	Revoked  State = "revoked"   // does nothing, because it leaked
)

// Key is one key of a [Ring]. Its secret never leaves the package in text:
// printing a Key in any way shows "[redacted]".
type Key struct {
	id       string
	enc      Enc
	created  time.Time
	activate time.Time
	ended    State  // Retired or Revoked, else empty
	secret   []byte // nil if it has ended
	// expanders holds some whose HMAC is keyed with HKDF-Extract(secret).
	expanders sync.Pool
}

const keyIDLen = 8

func newKey(id string, enc Enc, secret []byte, created, activate time.Time, ended State) (*Key, error) {
	if _, ok := enc.sizes(); !ok {
		return nil, fmt.Errorf("%w: key %q has unknown enc %q", ErrRing, id, enc)
	}
	if !validKeyID(id) {
		return nil, fmt.Errorf("%w: key ID %q is not %d of [A-Za-z0-9_-]", ErrRing, id, keyIDLen)
	}
	k := &Key{id: id, enc: enc, created: created, activate: activate, ended: ended, secret: secret}
	switch ended {
	case "":
	case Retired, Revoked:
		if len(secret) != 0 {
			return nil, fmt.Errorf("%w: key %q has ended and still has a secret", ErrRing, id)
		}
		return k, nil
	default:
		return nil, fmt.Errorf("%w: key %q has unknown state %.20q", ErrRing, id, ended)
	}
	if len(secret) != 32 {
		return nil, fmt.Errorf("%w: key %q is not 256 bits", ErrRing, id)
	}
	if weak(secret) {
		return nil, fmt.Errorf("%w: key %q is not random", ErrRing, id)
	}
	prk, err := hkdf.Extract(sha256.New, secret, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: key %q: %v", ErrRing, id, err)
	}
	k.expanders.New = func() any { return &expander{mac: hmac.New(sha256.New, prk)} }
	return k, nil
}

func validKeyID(id string) bool {
	if len(id) != keyIDLen {
		return false
	}
	for i := range len(id) {
		if !isBase64URL(id[i]) {
			return false
		}
	}
	return true
}

// weak catches the keys that people type: few distinct bytes or counting ones.
// 32 random bytes have fewer than 12 distinct values once in 2^100.
func weak(secret []byte) bool {
	var seen [256]bool
	distinct, steps := 0, 0
	for i, b := range secret {
		if !seen[b] {
			seen[b] = true
			distinct++
		}
		if i > 0 && (b == secret[i-1]+1 || b == secret[i-1]-1) {
			steps++
		}
	}
	return distinct < 12 || steps > 16
}

// ID is the key's random 8-character name.
func (k *Key) ID() string { return k.id }

// Enc is the key's one content encryption algorithm.
func (k *Key) Enc() Enc { return k.enc }

// Created is when the key was made.
func (k *Key) Created() time.Time { return k.created }

// Activation is when the key may become primary.
func (k *Key) Activation() time.Time { return k.activate }

// Format implements fmt.Formatter: every verb prints "[redacted]".
func (k *Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// LogValue implements slog.LogValuer.
func (k *Key) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalJSON implements json.Marshaler, so that no encoder reaches the secret.
func (k *Key) MarshalJSON() ([]byte, error) { return []byte(`"[redacted]"`), nil }

// Scope is the application and tenant an envelope belongs to. It is bound into
// the content key and never travels.
type Scope struct {
	App, Tenant string
}

// Purpose separates the content keys of one session (SPEC §3): an envelope of
// one purpose never opens as another.
type Purpose uint8

// The purposes.
const (
	ForAttribute Purpose = iota
	ForManifest
	ForGrant

	purposes = iota // how many there are
)

func (p Purpose) label() string { return [purposes]string{"attribute", "manifest", "grant"}[p] }

// labelSlot keys the HMAC of slots; no envelope has this purpose.
const labelSlot = "slot"

const kdfLabel = "sealed-blob/v1"

// derive makes a key of n bytes from the ring key for one scope, label and salt:
// HKDF-Expand with SHA-256 (RFC 5869 §2.3). Each part of info is prefixed by its
// 16-bit length, so that no two contexts share one info (SPEC §3).
func (k *Key) derive(scope Scope, label string, salt []byte, n int) ([]byte, error) {
	e := k.expanders.Get().(*expander)
	defer k.expanders.Put(e)
	b := cryptobyte.NewBuilder(e.info[:0])
	for _, part := range [...]string{kdfLabel, string(k.enc), scope.App, scope.Tenant, label, string(salt)} {
		if len(part) > math.MaxUint16 {
			return nil, fmt.Errorf("seal: a part of the key derivation has %d bytes", len(part))
		}
		b.AddUint16(uint16(len(part)))
		b.AddBytes([]byte(part))
	}
	var err error
	if e.info, err = b.Bytes(); err != nil {
		return nil, err
	}
	return e.expand(n), nil
}

// expander is HKDF-Expand for one PRK. crypto/hkdf would key its HMAC anew each
// time; here it stays keyed.
type expander struct {
	mac  hash.Hash
	info []byte
}

func (e *expander) expand(n int) []byte {
	out := make([]byte, 0, (n+sha256.Size-1)/sha256.Size*sha256.Size)
	for i := byte(1); len(out) < n; i++ {
		e.mac.Reset()
		e.mac.Write(out[max(0, len(out)-sha256.Size):])
		e.info = append(e.info, i)
		e.mac.Write(e.info)
		e.info = e.info[:len(e.info)-1]
		out = e.mac.Sum(out)
	}
	return out[:n]
}
