package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"
	"sync/atomic"

	jose "github.com/go-jose/go-jose/v4"
)

// contentKey seals and opens under one derived key. Its two profiles differ in
// who does the work: A256GCM is our own fast path, checked against go-jose;
// A256CBC-HS512 is go-jose's.
type contentKey struct {
	enc  Enc
	size encSizes
	aead cipher.AEAD // A256GCM only

	mu    sync.RWMutex // key is not wiped while go-jose uses it
	key   []byte
	wiped bool
}

// errWiped says that a key was overwritten: nothing may be sealed with zeros.
var errWiped = errors.New("seal: the derived key was wiped")

func (c *contentKey) wipe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.key)
	c.wiped = true
}

func newContentKey(enc Enc, key []byte) (*contentKey, error) {
	size, _ := enc.sizes()
	c := &contentKey{enc: enc, size: size, key: key}
	if enc != A256GCM {
		return c, nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	c.aead, err = cipher.NewGCM(block)
	return c, err
}

// textLen is the length of an envelope of n bytes of plaintext behind a head of
// so many characters.
func (e Enc) textLen(head, n int) int {
	size, _ := e.sizes()
	if e == A256CBCHS512 {
		n = n/16*16 + 16 // PKCS #7
	}
	return head + len64(size.iv) + 1 + len64(n) + 1 + len64(size.tag)
}

// appendSeal appends the envelope of plain to dst. The bytes of dst behind its
// new length are scratch space.
func (c *contentKey) appendSeal(dst []byte, head head, plain []byte) ([]byte, error) {
	if c.aead == nil {
		return c.appendJOSE(dst, head, plain)
	}
	total, start := c.enc.textLen(len(head.text), len(plain)), len(dst)
	dst = slices.Grow(dst, total+c.size.iv+len(plain)+c.size.tag)
	buf := dst[start : start+total+c.size.iv+len(plain)+c.size.tag]
	iv, raw := buf[total:][:c.size.iv], buf[total+c.size.iv:]
	rand.Read(iv)
	c.aead.Seal(raw[:0], iv, plain, head.aad)
	text := buf[copy(buf, head.text):]
	text = put64(text, iv)
	text = put64(dot(text), raw[:len(plain)])
	put64(dot(text), raw[len(plain):])
	return dst[:start+total], nil
}

// put64 and dot write to the front of dst and return the rest.
func put64(dst, src []byte) []byte {
	n := len64(len(src))
	encode64(dst[:n], src)
	return dst[n:]
}

func dot(dst []byte) []byte {
	dst[0] = '.'
	return dst[1:]
}

func (c *contentKey) appendJOSE(dst []byte, head head, plain []byte) ([]byte, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.wiped {
		return dst, errWiped
	}
	enc, err := jose.NewEncrypter(jose.ContentEncryption(c.enc), jose.Recipient{Algorithm: jose.DIRECT, Key: c.key, KeyID: head.kid}, nil)
	if err != nil {
		return dst, fmt.Errorf("seal: preparing the cipher: %w", err)
	}
	object, err := enc.Encrypt(plain)
	if err != nil {
		return dst, fmt.Errorf("seal: encrypting: %w", err)
	}
	text, err := object.CompactSerialize()
	if err != nil {
		return dst, fmt.Errorf("seal: serializing: %w", err)
	}
	return append(dst, text...), nil
}

// appendOpen appends the plaintext of text to dst. Of text, everything up to
// and including the second dot is known to be head. It returns [ErrMalformed]
// or [ErrAuth].
func (c *contentKey) appendOpen(dst []byte, head head, text string) ([]byte, error) {
	if c.aead == nil {
		return c.openJOSE(dst, text)
	}
	rest := text[len(head.text):]
	ivText, tagText := len64(c.size.iv), len64(c.size.tag)
	body := len(rest) - ivText - 1 - 1 - tagText
	if body < 1 || rest[ivText] != '.' || rest[ivText+1+body] != '.' {
		return dst, ErrMalformed
	}
	n, start := bytes64(body), len(dst)
	dst = slices.Grow(dst, n+c.size.tag+c.size.iv)
	buf := dst[start : start+n+c.size.tag+c.size.iv]
	sealed, iv := buf[:n+c.size.tag], buf[n+c.size.tag:]
	if !decode64To(iv, rest[:ivText]) || !decode64To(sealed[:n:n], rest[ivText+1:ivText+1+body]) || !decode64To(sealed[n:], rest[ivText+body+2:]) {
		return dst[:start], ErrMalformed
	}
	plain, err := c.aead.Open(sealed[:0], iv, sealed, head.aad)
	if err != nil {
		return dst[:start], ErrAuth
	}
	return dst[:start+len(plain)], nil
}

// openJOSE hands a shape-checked envelope to go-jose, whose error texts echo
// input and are therefore dropped.
func (c *contentKey) openJOSE(dst []byte, text string) ([]byte, error) {
	if _, err := parseShape(text, len(text)); err != nil {
		return dst, err
	}
	object, err := jose.ParseEncryptedCompact(text, []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.ContentEncryption(c.enc)})
	if err != nil {
		return dst, ErrMalformed
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.wiped {
		return dst, errWiped
	}
	plain, err := object.Decrypt(c.key)
	if err != nil {
		return dst, ErrAuth
	}
	return append(dst, plain...), nil
}

// head is everything of an envelope that its key and salt fix: the protected
// header's text, a dot, no encrypted key, a dot.
type head struct {
	kid  string
	text string
	aad  []byte // the protected header's text alone
}

func newHead(enc Enc, kid string) head {
	aad := append64(nil, []byte(header(enc, kid)))
	return head{kid: kid, text: string(aad) + "..", aad: aad}
}

// head is the head of an envelope whose shape was checked: its header's text is
// the one of its enc and kid.
func (s *shape) head() head {
	text := s.header + ".."
	return head{kid: s.kid, text: text, aad: []byte(text[:len(s.header)])}
}

// derived are the keys of one ring key, scope and salt, made when needed. It is
// safe for concurrent use.
type derived struct {
	ring  *Key
	scope Scope
	salt  []byte
	head  head

	content [purposes]atomic.Pointer[contentKey] // by Purpose
	mu      sync.Mutex                           // held to make or wipe a key, and for slots
	slots   slotMAC
	wiped   bool // no key is made any more
}

func (k *Key) derived(scope Scope, salt []byte) *derived {
	return &derived{ring: k, scope: scope, salt: salt, head: newHead(k.enc, k.id+"."+text64(salt))}
}

func (d *derived) key(p Purpose) (*contentKey, error) {
	if c := d.content[p].Load(); c != nil {
		return c, nil
	}
	return d.make(p)
}

func (d *derived) make(p Purpose) (*contentKey, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.content[p].Load(); c != nil {
		return c, nil
	}
	if d.wiped {
		return nil, errWiped
	}
	size, _ := d.ring.enc.sizes()
	key, err := d.ring.derive(d.scope, p.label(), d.salt, size.key)
	if err != nil {
		return nil, fmt.Errorf("seal: deriving a key: %w", err)
	}
	c, err := newContentKey(d.ring.enc, key)
	if err != nil {
		return nil, err
	}
	d.content[p].Store(c)
	return c, nil
}

// slot hides an attribute's name: the first 12 characters of the base64url of
// HMAC-SHA-256(slot key, name) (SPEC §5).
func (d *derived) slot(name string) (slot [SlotLen]byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wiped {
		return slot, errWiped
	}
	if d.slots.mac == nil {
		key, err := d.ring.derive(d.scope, labelSlot, d.salt, sha256.Size)
		if err != nil {
			return slot, fmt.Errorf("seal: deriving a key: %w", err)
		}
		d.slots.mac = hmac.New(sha256.New, key)
		clear(key)
	}
	encode64(slot[:], d.slots.sum(name)[:SlotLen/4*3])
	return slot, nil
}

// slotMAC is a keyed HMAC with room for its input and output, which would
// otherwise be allocated for each name.
type slotMAC struct {
	mac     hash.Hash
	in, out []byte
}

func (m *slotMAC) sum(name string) []byte {
	m.in = append(m.in[:0], name...)
	m.mac.Reset()
	m.mac.Write(m.in)
	m.out = m.mac.Sum(m.out[:0])
	return m.out
}

// wipe forgets the keys for good.
func (d *derived) wipe() {
	d.mu.Lock()
	d.wiped = true
	d.mu.Unlock()
	d.forget()
}

// forget overwrites the keys that we hold; they are made again when needed. The
// cipher's own schedule, and what Go copied, stay until they are collected: this
// is hygiene, not a promise.
func (d *derived) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := range d.content {
		if c := d.content[p].Swap(nil); c != nil {
			c.wipe()
		}
	}
	d.slots = slotMAC{}
}
