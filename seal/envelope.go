package seal

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync/atomic"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

const maxSeals = 1 << 20 // per derived key, far below the 2^32 of SP 800-38D §8.3

// Sealer seals one session's envelopes under one key and one salt. It is safe
// for concurrent use.
type Sealer struct {
	key   *Key
	kid   string
	keys  sessionKeys
	count atomic.Uint64
}

// sessionKeys are the keys derived from one ring key and one salt.
type sessionKeys struct {
	attribute, manifest, slot []byte
}

func (k *Key) session(scope Scope, salt []byte) (s sessionKeys, err error) {
	size, _ := k.enc.sizes()
	for _, d := range []struct {
		to *[]byte
		p  purpose
		n  int
	}{{&s.attribute, purposeAttribute, size.key}, {&s.manifest, purposeManifest, size.key}, {&s.slot, purposeSlot, sha256.Size}} {
		if *d.to, err = k.derive(scope, d.p, salt, d.n); err != nil {
			return sessionKeys{}, err
		}
	}
	return s, nil
}

func (s *sessionKeys) wipe() {
	clear(s.attribute)
	clear(s.manifest)
	clear(s.slot)
}

// slotName hides an attribute's name: the first 12 characters of the base64url
// of HMAC-SHA-256(slot key, name) (SPEC §5).
func (s *sessionKeys) slotName(name string) string {
	mac := hmac.New(sha256.New, s.slot)
	mac.Write([]byte(name))
	return b64.EncodeToString(mac.Sum(nil))[:SlotLen]
}

// SlotLen is the length of a slot's text.
const SlotLen = 12

// NewSealer derives the keys of one session from the ring's primary key at now
// and a fresh 128-bit salt. It returns [ErrNoPrimary] if no key may seal.
func (r *Ring) NewSealer(scope Scope, now time.Time) (*Sealer, error) {
	key, err := r.Primary(now)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, saltLen)
	rand.Read(salt)
	keys, err := key.session(scope, salt)
	if err != nil {
		return nil, err
	}
	return &Sealer{key: key, kid: key.id + "." + b64.EncodeToString(salt), keys: keys}, nil
}

// KeyID is the ring key's ID.
func (s *Sealer) KeyID() string { return s.key.id }

// Slot is the opaque outside name of an attribute under this sealer.
func (s *Sealer) Slot(name string) string { return s.keys.slotName(name) }

// Attribute seals one attribute. It returns [ErrTooLarge] over [MaxEnvelope],
// [ErrExhausted] after 2^20 seals, and [ErrMalformed] for claims that have no
// spelling (see [Claims]).
func (s *Sealer) Attribute(c *Claims) (string, error) {
	plain, err := c.encode()
	if err != nil {
		return "", err
	}
	return s.seal(s.keys.attribute, plain)
}

// Manifest seals a session's manifest, with the errors of [Sealer.Attribute].
func (s *Sealer) Manifest(m *Manifest) (string, error) {
	plain, err := m.encode()
	if err != nil {
		return "", err
	}
	return s.seal(s.keys.manifest, plain)
}

// Wipe overwrites the derived keys; the sealer must not be used afterwards.
// Go may have copied them before: this is hygiene, not a promise.
func (s *Sealer) Wipe() { s.keys.wipe() }

func (s *Sealer) seal(key, plain []byte) (string, error) {
	if s.count.Add(1) > maxSeals {
		return "", ErrExhausted
	}
	size, _ := s.key.enc.sizes()
	plain = pad(plain)
	if envelopeLen(s.key.enc, s.kid, len(plain), size) > MaxEnvelope {
		return "", ErrTooLarge
	}
	enc, err := jose.NewEncrypter(jose.ContentEncryption(s.key.enc), jose.Recipient{Algorithm: jose.DIRECT, Key: key, KeyID: s.kid}, nil)
	if err != nil {
		return "", fmt.Errorf("seal: preparing the cipher: %w", err)
	}
	object, err := enc.Encrypt(plain)
	if err != nil {
		return "", fmt.Errorf("seal: encrypting: %w", err)
	}
	return object.CompactSerialize()
}

func envelopeLen(enc Enc, kid string, plain int, size encSizes) int {
	if enc == A256CBCHS512 {
		plain = plain/16*16 + 16 // PKCS #7
	}
	return b64.EncodedLen(len(header(enc, kid))) + b64.EncodedLen(size.iv) + b64.EncodedLen(plain) + b64.EncodedLen(size.tag) + 4
}

// Opener opens the envelopes of one presented set. It keeps the keys derived
// for the few salts of a set and is not safe for concurrent use.
type Opener struct {
	ring    *Ring
	scope   Scope
	primary *Key
	derived map[string]sessionKeys
}

const maxDerived = 8 // salts kept by one opener; a set has one, or a few after rotations

// NewOpener prepares to open envelopes of scope; now decides which key counts
// as primary for [Opened.Stale].
func (r *Ring) NewOpener(scope Scope, now time.Time) *Opener {
	primary, _ := r.Primary(now)
	return &Opener{ring: r, scope: scope, primary: primary, derived: map[string]sessionKeys{}}
}

// Wipe overwrites the derived keys, like [Sealer.Wipe].
func (o *Opener) Wipe() {
	for kid, keys := range o.derived {
		keys.wipe()
		delete(o.derived, kid)
	}
}

// Opened says under which key an envelope was sealed.
type Opened struct {
	KeyID string
	// Slot is the slot that the attribute's name has under the envelope's salt;
	// empty for a manifest.
	Slot string
	// Stale asks for the attribute to be sealed again: the key is not primary.
	Stale bool
}

// Attribute authenticates and decrypts one attribute's envelope.
//
// It checks, in this order, size, shape, key, authenticity and the claims'
// spelling. It does not check expiry, session, name or reuse: session.Restore
// does. It returns [ErrMalformed], [ErrUnknownKey] or [ErrAuth], and zero
// values with it.
func (o *Opener) Attribute(text string) (*Claims, Opened, error) {
	plain, keys, opened, err := o.open(text, purposeAttribute)
	if err != nil {
		return nil, Opened{}, err
	}
	c, err := decodeClaims(plain)
	if err != nil {
		return nil, Opened{}, err
	}
	opened.Slot = keys.slotName(c.Name)
	return c, opened, nil
}

// Manifest authenticates and decrypts a manifest's envelope, with the checks
// and errors of [Opener.Attribute].
func (o *Opener) Manifest(text string) (*Manifest, Opened, error) {
	plain, _, opened, err := o.open(text, purposeManifest)
	if err != nil {
		return nil, Opened{}, err
	}
	m, err := decodeManifest(plain)
	if err != nil {
		return nil, Opened{}, err
	}
	return m, opened, nil
}

func (o *Opener) open(text string, p purpose) ([]byte, sessionKeys, Opened, error) {
	fail := func(err error) ([]byte, sessionKeys, Opened, error) { return nil, sessionKeys{}, Opened{}, err }
	s, err := parseShape(text)
	if err != nil {
		return fail(err)
	}
	key, err := o.ring.usable(s.keyID)
	if err != nil {
		return fail(err)
	}
	if key.enc != s.enc { // the key chooses the algorithm, never the header
		return fail(ErrMalformed)
	}
	keys, err := o.keys(key, s)
	if err != nil {
		return fail(fmt.Errorf("seal: deriving keys: %w", err))
	}
	content := keys.attribute
	if p == purposeManifest {
		content = keys.manifest
	}
	plain, err := decrypt(text, key.enc, content)
	if err != nil {
		return fail(err)
	}
	return plain, keys, Opened{KeyID: key.id, Stale: key != o.primary}, nil
}

func (o *Opener) keys(key *Key, s shape) (sessionKeys, error) {
	if keys, ok := o.derived[s.kid]; ok {
		return keys, nil
	}
	keys, err := key.session(o.scope, s.salt)
	if err == nil && len(o.derived) < maxDerived {
		o.derived[s.kid] = keys
	}
	return keys, err
}

// decrypt hands a shape-checked envelope to go-jose, whose error texts echo
// input and are therefore dropped.
func decrypt(text string, enc Enc, key []byte) ([]byte, error) {
	object, err := jose.ParseEncryptedCompact(text, []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.ContentEncryption(enc)})
	if err != nil {
		return nil, ErrMalformed
	}
	padded, err := object.Decrypt(key)
	if err != nil {
		return nil, ErrAuth
	}
	plain, ok := unpad(padded)
	if !ok {
		return nil, ErrMalformed
	}
	return plain, nil
}
