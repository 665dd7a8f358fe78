package seal

import (
	"crypto/rand"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const maxSeals = 1 << 20 // per salt, far below the 2^32 of SP 800-38D §8.3

// SlotLen is the length of a slot's text.
const SlotLen = 12

// Sealer seals one session's envelopes under one key and one salt. It is safe
// for concurrent use.
type Sealer struct {
	keys  *derived
	limit int // of an envelope's text
	count atomic.Uint64
}

// NewSealer prepares to seal one session's envelopes under the ring's primary
// key at now and a fresh 128-bit salt. It returns [ErrNoPrimary] if no key may
// seal.
func (r *Ring) NewSealer(scope Scope, now time.Time) (*Sealer, error) {
	key, err := r.Primary(now)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, saltLen)
	rand.Read(salt)
	return &Sealer{keys: key.derived(scope, salt), limit: r.limit()}, nil
}

// KeyID is the ring key's ID.
func (s *Sealer) KeyID() string { return s.keys.ring.id }

// Slot is the opaque outside name of an attribute under this sealer. It is an
// error after [Sealer.Wipe].
func (s *Sealer) Slot(name string) (string, error) {
	slot, err := s.keys.slot(name)
	return string(slot[:]), err
}

// Attribute seals one attribute. It returns [ErrTooLarge] over the limit ([MaxEnvelope]),
// [ErrExhausted] after 2^20 seals, and [ErrMalformed] for claims that have no
// spelling (see [Claims]).
func (s *Sealer) Attribute(c *Claims) (string, error) {
	return s.claims(ForAttribute, c)
}

// Grant seals a right outside any session, with the errors of
// [Sealer.Attribute]. Its claims are an attribute's; it opens as nothing else.
func (s *Sealer) Grant(c *Claims) (string, error) {
	return s.claims(ForGrant, c)
}

func (s *Sealer) claims(p Purpose, c *Claims) (string, error) {
	room := rooms.Get().(*room)
	defer room.leave()
	var err error
	room.text, err = s.appendClaims(room.text[:0], p, c, room)
	return string(room.text), err
}

// AppendAttribute appends the envelope of one attribute to dst, with the errors
// of [Sealer.Attribute] and the terms of [Sealer.AppendSeal].
func (s *Sealer) AppendAttribute(dst []byte, c *Claims) ([]byte, error) {
	room := rooms.Get().(*room)
	defer room.leave()
	return s.appendClaims(dst, ForAttribute, c, room)
}

func (s *Sealer) appendClaims(dst []byte, p Purpose, c *Claims, room *room) ([]byte, error) {
	plain, err := c.append(room.plain[:0])
	if err != nil {
		return dst, err
	}
	if room.plain, err = pad(plain, c.Pad); err != nil {
		return dst, err
	}
	return s.AppendSeal(dst, p, room.plain)
}

// Manifest seals a session's manifest, with the errors of [Sealer.Attribute].
func (s *Sealer) Manifest(m *Manifest) (string, error) {
	room := rooms.Get().(*room)
	defer room.leave()
	plain, err := m.append(room.plain[:0])
	if err != nil {
		return "", err
	}
	if room.plain, err = pad(plain, 0); err != nil {
		return "", err
	}
	room.text, err = s.AppendSeal(room.text[:0], ForManifest, room.plain)
	return string(room.text), err
}

// room is where an envelope is made or a manifest opened: plaintext and text.
type room struct{ plain, text []byte }

var rooms = sync.Pool{New: func() any { return &room{plain: make([]byte, 0, 1024), text: make([]byte, 0, 2048)} }}

// leave wipes the plaintext, as far as Go has not copied it when it grew.
func (r *room) leave() {
	clear(r.plain)
	rooms.Put(r)
}

// AppendSeal appends the bare envelope of plaintext to dst: no claims, no
// padding. [Sealer.Attribute] and [Sealer.Manifest] are what a session uses.
// With room in dst (the envelope and half as much again) A256GCM allocates
// nothing; what lies behind the result is overwritten. dst must not overlap
// plaintext. On error dst is returned as it was.
func (s *Sealer) AppendSeal(dst []byte, p Purpose, plaintext []byte) ([]byte, error) {
	if s.count.Add(1) > maxSeals {
		return dst, ErrExhausted
	}
	key, err := s.keys.key(p)
	if err != nil {
		return dst, err
	}
	if key.enc.textLen(len(s.keys.head.text), len(plaintext)) > s.limit {
		return dst, ErrTooLarge
	}
	return key.appendSeal(dst, s.keys.head, plaintext)
}

// Wipe overwrites the derived keys; what begins to seal or asks for a slot
// afterwards gets an error. A sealing that is under way ends well: Wipe waits for
// it under A256CBC-HS512, and not under A256GCM. The cipher's own copy of its key
// stays until it is collected, and Go may have copied keys before: this is
// hygiene, not a promise.
func (s *Sealer) Wipe() { s.keys.wipe() }

// Opener opens the envelopes of one presented set. It keeps the keys derived
// for the few salts of a set and is not safe for concurrent use.
type Opener struct {
	ring    *Ring
	scope   Scope
	primary *Key
	keys    []*derived
	wiped   bool
}

const maxDerived = 8 // salts kept by one opener; a set has one, or a few after rotations

// NewOpener prepares to open envelopes of scope; now decides which key counts
// as primary for [Opened.Stale].
func (r *Ring) NewOpener(scope Scope, now time.Time) *Opener {
	primary, _ := r.Primary(now)
	return &Opener{ring: r, scope: scope, primary: primary}
}

// Wipe overwrites the derived keys, with the limits of [Sealer.Wipe]; opening and
// [Opened.InSlot] afterwards are errors.
func (o *Opener) Wipe() {
	o.wiped = true
	for _, keys := range o.keys {
		keys.wipe()
	}
	o.keys = nil
}

// Opened says under which key an envelope was sealed.
type Opened struct {
	KeyID string
	// Stale asks for the attribute to be sealed again: the key is not primary.
	Stale bool

	keys *derived
	by   *Opener
}

// InSlot reports whether slot is the one that name has under the envelope's key
// and salt. It returns an error if the slot's key can't be derived, or the opener
// was wiped.
func (o Opened) InSlot(slot, name string) (bool, error) {
	if o.by == nil || o.by.wiped {
		return false, errWiped
	}
	want, err := o.keys.slot(name)
	return err == nil && slot == string(want[:]), err
}

// Attribute authenticates and decrypts one attribute's envelope.
//
// It checks, in this order, size, shape, key, authenticity and the claims'
// spelling. It does not check expiry, session, name or reuse: session.Restore
// does. It returns [ErrMalformed], [ErrUnknownKey] or [ErrAuth], and zero
// values with it.
func (o *Opener) Attribute(text string) (*Claims, Opened, error) {
	return o.claims(ForAttribute, text)
}

// Grant authenticates and decrypts a grant's envelope, with the checks and
// errors of [Opener.Attribute]. Whether it is spent is for session.Grants to ask.
func (o *Opener) Grant(text string) (*Claims, Opened, error) {
	return o.claims(ForGrant, text)
}

func (o *Opener) claims(p Purpose, text string) (*Claims, Opened, error) {
	c := new(Claims)
	_, opened, err := o.appendClaims(nil, p, c, text)
	if err != nil {
		return nil, Opened{}, err
	}
	return c, opened, nil
}

// AppendAttribute is [Opener.Attribute] for many of one set: it fills c, whose
// Value lies in what is appended to dst, unless it is Binary: then it has memory
// of its own. With A256GCM what lies behind the result in dst is overwritten, 28
// bytes of it, after an error more. On error dst is returned as it was and c is
// zero.
func (o *Opener) AppendAttribute(dst []byte, c *Claims, text string) ([]byte, Opened, error) {
	return o.appendClaims(dst, ForAttribute, c, text)
}

func (o *Opener) appendClaims(dst []byte, p Purpose, c *Claims, text string) ([]byte, Opened, error) {
	*c = Claims{}
	out, opened, err := o.open(dst, p, text)
	if err != nil {
		return dst, Opened{}, err
	}
	whole := out[len(dst):]
	if plain := unpad(whole); !c.decode(plain) || !padding(len(plain), len(whole), c.Pad) {
		*c = Claims{}
		return dst, Opened{}, ErrMalformed
	}
	return out, opened, nil
}

// Manifest authenticates and decrypts a manifest's envelope, with the checks
// and errors of [Opener.Attribute].
func (o *Opener) Manifest(text string) (*Manifest, Opened, error) {
	room := rooms.Get().(*room)
	defer room.leave()
	var opened Opened
	var err error
	if room.plain, opened, err = o.open(room.plain[:0], ForManifest, text); err != nil {
		return nil, Opened{}, err
	}
	plain := unpad(room.plain)
	if !padding(len(plain), len(room.plain), 0) {
		return nil, Opened{}, ErrMalformed
	}
	m, err := decodeManifest(plain)
	if err != nil {
		return nil, Opened{}, err
	}
	return m, opened, nil
}

// AppendOpen appends the plaintext of a bare envelope to dst: the counterpart
// of [Sealer.AppendSeal], with the errors of [Opener.Attribute]. The plaintext
// is authentic; nothing else is known of it. What lies behind the result is
// overwritten as [Opener.AppendAttribute] does. On error dst is returned as it was.
func (o *Opener) AppendOpen(dst []byte, p Purpose, text string) ([]byte, error) {
	out, _, err := o.open(dst, p, text)
	return out, err
}

func (o *Opener) open(dst []byte, p Purpose, text string) ([]byte, Opened, error) {
	if o.wiped {
		return dst, Opened{}, errWiped
	}
	if len(text) > o.ring.limit() {
		return dst, Opened{}, ErrMalformed
	}
	keys, err := o.find(text)
	if err != nil {
		return dst, Opened{}, err
	}
	key, err := keys.key(p)
	if err != nil {
		return dst, Opened{}, err
	}
	plain, err := key.appendOpen(dst, keys.head, text)
	if err != nil {
		return dst, Opened{}, err
	}
	return plain, Opened{KeyID: keys.ring.id, Stale: keys.ring != o.primary, keys: keys, by: o}, nil
}

// find returns the keys of an envelope's header. A header that was seen before
// is compared as a whole; of a new one, and of all that comes with it, the
// shape is checked before a key is looked up.
func (o *Opener) find(text string) (*derived, error) {
	for _, keys := range o.keys {
		if strings.HasPrefix(text, keys.head.text) {
			return keys, nil
		}
	}
	s, err := parseShape(text, o.ring.limit())
	if err != nil {
		return nil, err
	}
	key, err := o.ring.usable(s.keyID)
	if err != nil {
		return nil, err
	}
	if s.enc != key.enc { // the key chooses the algorithm, never the header
		return nil, ErrMalformed
	}
	keys := &derived{ring: key, scope: o.scope, salt: s.salt, head: s.head()}
	if len(o.keys) == maxDerived { // a set of many salts: the oldest makes room
		o.keys[0].forget()
		o.keys = o.keys[1:]
	}
	o.keys = append(o.keys, keys)
	return keys, nil
}
