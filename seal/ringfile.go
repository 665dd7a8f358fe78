package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"filippo.io/edwards25519"
	"github.com/go-jose/go-jose/v4/json"
)

// MaxRing is the largest ring file read, in bytes.
const MaxRing = 1 << 20

const (
	ringHead     = "sealed-blob/v1 keyring\n"
	signContext  = "sealed-blob/v1/keyring-signature\x00"
	maxRingKeys  = 256
	maxRecipient = 64
	maxVersion   = 1<<53 - 1       // what every reader of JSON counts exactly
	maxTime      = 253_402_300_799 // 9999-12-31T23:59:59Z, the last second of RFC 3339
)

// ringDoc is the signed content of a ring file. Times are whole seconds.
type ringDoc struct {
	Version    uint64    `json:"version"`
	Created    int64     `json:"created"`
	Recipients []string  `json:"recipients"`
	Keys       []ringKey `json:"keys"`
}

type ringKey struct {
	ID       string `json:"id"`
	Enc      Enc    `json:"enc"`
	Secret   string `json:"secret,omitempty"` // not of a key that has ended
	Created  int64  `json:"created"`
	Activate int64  `json:"activate"`
	Ended    State  `json:"ended,omitempty"`
}

// check refuses what no writer makes: numbers that are out of range, and
// recipients that are none, twice there or not in their one spelling.
func (d *ringDoc) check() error {
	switch {
	case len(d.Keys) > maxRingKeys:
		return fmt.Errorf("%w: over %d keys", ErrRing, maxRingKeys)
	case len(d.Recipients) == 0 || len(d.Recipients) > maxRecipient:
		return fmt.Errorf("%w: no recipient, or over %d", ErrRing, maxRecipient)
	case d.Version > maxVersion || !validTime(d.Created):
		return fmt.Errorf("%w: its version or time is out of range", ErrRing)
	}
	to, err := canonicalRecipients(d.Recipients)
	if err != nil {
		return err
	}
	if !slices.Equal(to, d.Recipients) {
		return fmt.Errorf("%w: a recipient is there twice, or in another spelling than its one", ErrRing)
	}
	return nil
}

func validTime(seconds int64) bool { return 0 <= seconds && seconds <= maxTime }

// ring checks the document and every key of it.
func (d *ringDoc) ring() (*Ring, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	var keys []*Key
	for _, k := range d.Keys {
		if !validTime(k.Created) || !validTime(k.Activate) {
			return nil, fmt.Errorf("%w: a time of key %.20q is out of range", ErrRing, k.ID)
		}
		secret, ok := decode64(k.Secret)
		if !ok {
			return nil, fmt.Errorf("%w: a key's secret is not base64url", ErrRing)
		}
		key, err := newKey(k.ID, k.Enc, secret, time.Unix(k.Created, 0), time.Unix(k.Activate, 0), k.Ended)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	ring, err := newRing(d.Version, keys)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	ring.digest = sha256.Sum256(content)
	return ring, nil
}

// addKey appends a fresh random key that becomes primary at activate.
func (d *ringDoc) addKey(enc Enc, now, activate time.Time) {
	id, secret := make([]byte, 6), make([]byte, 32)
	rand.Read(secret)
	for ok := false; !ok; {
		rand.Read(id)
		ok = isAlphanumeric(text64(id))
	}
	d.Keys = append(d.Keys, ringKey{
		ID: text64(id), Enc: enc, Secret: text64(secret),
		Created: now.Unix(), Activate: activate.Unix(),
	})
}

// end ends the life of k, whose secret nobody needs any more.
func (k *ringKey) end(as State) { k.Ended, k.Secret = as, "" }

// live counts the keys that have not ended.
func (d *ringDoc) live() (n int) {
	for _, k := range d.Keys {
		if k.Ended == "" {
			n++
		}
	}
	return n
}

// prune makes the list as short as it must be: the oldest ended keys go.
func (d *ringDoc) prune() {
	for len(d.Keys) > maxRingKeys {
		oldest := slices.IndexFunc(d.Keys, func(k ringKey) bool { return k.Ended != "" })
		if oldest < 0 {
			return // encode refuses it
		}
		d.Keys = slices.Delete(d.Keys, oldest, oldest+1)
	}
}

// key finds a key of the document.
func (d *ringDoc) key(id string) (*ringKey, error) {
	for i := range d.Keys {
		if d.Keys[i].ID == id {
			return &d.Keys[i], nil
		}
	}
	return nil, fmt.Errorf("%w: there is no key %.20q", ErrRing, id)
}

// isAlphanumeric keeps '-' and '_' out of new key IDs, so that none looks like a flag.
func isAlphanumeric(id string) bool { return !strings.ContainsAny(id, "-_") }

// encode signs the document and encrypts it to its recipients, of whom ids must
// be one. age hides the content but does not authenticate its writer; the
// signature does. The ring is what a reader makes of the file.
func (d *ringDoc) encode(ids *identities, signer ed25519.PrivateKey) (file []byte, ring *Ring, err error) {
	if ring, err = d.ring(); err != nil {
		return nil, nil, err
	}
	if !slices.ContainsFunc(ids.recipients, func(own string) bool { return slices.Contains(d.Recipients, own) }) {
		return nil, nil, fmt.Errorf("%w: the identity at hand could not open the new ring; nothing was changed", ErrRing)
	}
	content, err := json.Marshal(d)
	if err != nil {
		return nil, nil, err
	}
	signature := ed25519.Sign(signer, append([]byte(signContext), content...))
	var out bytes.Buffer
	err = encryptTo(&out, d.Recipients, ids.passphrase, fmt.Appendf(nil, "%s%s\n%s\n", ringHead, text64(content), text64(signature)))
	return out.Bytes(), ring, err
}

// readRingDoc decrypts, verifies and only then parses a ring file.
func readRingDoc(file []byte, ids *identities, signer ed25519.PublicKey) (*ringDoc, error) {
	if len(file) > MaxRing {
		return nil, fmt.Errorf("%w: over %d bytes", ErrRing, MaxRing)
	}
	plain, err := ids.decrypt(file, MaxRing)
	if err != nil {
		return nil, err
	}
	return readSigned(plain, signer)
}

// readSigned verifies and only then parses the plaintext of a ring file.
func readSigned(plain []byte, signer ed25519.PublicKey) (*ringDoc, error) {
	rest, ok := strings.CutPrefix(string(plain), ringHead)
	lines := strings.Split(rest, "\n")
	if !ok || len(lines) != 3 || lines[2] != "" {
		return nil, fmt.Errorf("%w: not a keyring of version 1", ErrRing)
	}
	content, ok1 := decode64(lines[0])
	signature, ok2 := decode64(lines[1])
	if !ok1 || !ok2 || !ed25519.Verify(signer, append([]byte(signContext), content...), signature) {
		return nil, fmt.Errorf("%w: not signed by signer.pub", ErrRing)
	}
	return parseRingDoc(content)
}

// validVerifier refuses what is no point of the curve, and points of small order:
// under these anybody can sign (RFC 8032 §8.1 knows the cofactor).
func validVerifier(key ed25519.PublicKey) bool {
	p, err := new(edwards25519.Point).SetBytes(key)
	return err == nil && new(edwards25519.Point).MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 0
}

// ParseRing reads the signed plaintext of a ring (SPEC §11), for a [Source] that
// decrypts it by other means than age. verifier is the key of [VerifierFile]. Of
// the options only [InsecureSampleKeys] counts. Unlike [Watched] it remembers
// nothing: the caller must refuse a version below one that he has accepted, as the
// source in examples/clevis does.
func ParseRing(plain []byte, verifier ed25519.PublicKey, options ...RingOption) (*Ring, error) {
	if len(plain) > MaxRing || !validVerifier(verifier) {
		return nil, fmt.Errorf("%w: over %d bytes, or no verifier", ErrRing, MaxRing)
	}
	a := newAccess(options)
	if err := a.refuseSample("signer", verifier); err != nil {
		return nil, err
	}
	doc, err := readSigned(plain, verifier)
	if err != nil {
		return nil, err
	}
	return a.ring(doc)
}

// parseRingDoc accepts the one spelling that write produces.
func parseRingDoc(content []byte) (*ringDoc, error) {
	var d ringDoc
	if err := json.Unmarshal(content, &d); err == nil {
		if again, err := json.Marshal(&d); err == nil && bytes.Equal(again, content) {
			return &d, nil
		}
	}
	return nil, fmt.Errorf("%w: its content is not a keyring", ErrRing)
}
