package seal

import (
	"crypto/rand"
	"log/slog"
	"strconv"
)

// ID is a random 128-bit identifier: a session (sid), an envelope (jti) or a
// right (uid). Its text is 22 characters of base64url.
type ID [16]byte

// NewID draws a fresh ID.
func NewID() (id ID) {
	rand.Read(id[:])
	return id
}

// ParseID reads an ID's text and returns [ErrMalformed] for any other spelling.
func ParseID(text string) (id ID, err error) {
	raw, ok := decode64(text)
	if !ok || len(raw) != len(id) {
		return ID{}, ErrMalformed
	}
	return ID(raw), nil
}

// String is the ID's text.
func (id ID) String() string { return text64(id[:]) }

// Claims are the content of an attribute's envelope, or of a grant's (SPEC §4).
// Times are whole seconds since 1970.
type Claims struct {
	JTI ID // this envelope
	// UID is the right's use-id: set exactly when Once, drawn at creation and
	// kept by every re-seal.
	UID  ID
	Once bool
	// IssuedAt is when the value was set. Re-sealing does not change it.
	IssuedAt int64
	Expires  int64
	// AbsoluteExpires never moves while the attribute lives; 0 for none.
	AbsoluteExpires int64
	Session         ID     // of a grant: an ID of its own, which names no session
	Gen             uint64 // generation in which it was sealed; of a grant: 0
	Name            string
	Policy          string // version of the policy that sealed it
	// Pad is the length in bytes to which the plaintext is padded, so that the
	// envelope's length says nothing of the value's: a bucket as [PadFor] gives.
	// 0: the claims' own bucket.
	Pad int
	// Value is the attribute's value: JSON, or bytes if Binary.
	Value  []byte
	Binary bool
}

// LogValue keeps plaintext out of logs.
func (c *Claims) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Limits of the claims' text fields, in bytes, and of JSON nesting.
const (
	MaxName   = 64
	MaxPolicy = 64
	MaxDepth  = 16

	maxNumber = 1<<53 - 1 // every JSON reader holds these exactly
)

// ValidName reports whether name may name an attribute: a lower-case letter,
// then up to 63 of [a-z0-9_.-].
func ValidName(name string) bool {
	if len(name) == 0 || len(name) > MaxName || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-') {
			return false
		}
	}
	return true
}

func validPolicy(pv string) bool {
	for i := range len(pv) {
		if !isBase64URL(pv[i]) && pv[i] != '.' {
			return false
		}
	}
	return pv != "" && len(pv) <= MaxPolicy
}

func (c *Claims) valid() bool {
	times := c.IssuedAt > 0 && c.Expires >= c.IssuedAt && c.Expires <= maxNumber &&
		(c.AbsoluteExpires == 0 || c.AbsoluteExpires >= c.IssuedAt && c.AbsoluteExpires <= maxNumber)
	return times && c.JTI != ID{} && c.Session != ID{} && (c.UID != ID{}) == c.Once &&
		(!c.Once || c.AbsoluteExpires != 0) &&
		c.Gen <= maxNumber && (c.Pad == 0 || c.Pad > 0 && c.Pad == padded(c.Pad)) && ValidName(c.Name) && validPolicy(c.Policy) && (c.Binary || ValidValue(c.Value))
}

// append writes the one spelling of c: these members, in this order, without
// white space (SPEC §4).
func (c *Claims) append(b []byte) ([]byte, error) {
	if c.Pad > MaxMaxEnvelope || !c.valid() {
		return nil, ErrMalformed
	}
	b = append(b, `{"jti":`...)
	b = appendID(b, c.JTI)
	if c.Once {
		b = append(b, `,"uid":`...)
		b = appendID(b, c.UID)
	}
	b = appendNumber(b, "iat", uint64(c.IssuedAt))
	b = appendNumber(b, "exp", uint64(c.Expires))
	if c.AbsoluteExpires != 0 {
		b = appendNumber(b, "axp", uint64(c.AbsoluteExpires))
	}
	b = append(b, `,"sid":`...)
	b = appendID(b, c.Session)
	b = appendNumber(b, "gen", c.Gen)
	b = append(b, `,"name":"`...)
	b = append(b, c.Name...)
	b = append(b, `","pv":"`...)
	b = append(b, c.Policy...)
	b = append(b, '"')
	if c.Once {
		b = append(b, `,"once":true`...)
	}
	if c.Pad != 0 {
		b = appendNumber(b, "pad", uint64(c.Pad))
	}
	if c.Binary {
		b = append(b, `,"bin":"`...)
		b = append64(b, c.Value)
		b = append(b, '"')
	} else {
		b = append(b, `,"val":`...)
		b = append(b, c.Value...)
	}
	return append(b, '}'), nil
}

func appendID(b []byte, id ID) []byte {
	b = append(b, '"')
	b = append64(b, id[:])
	return append(b, '"')
}

func appendNumber(b []byte, name string, n uint64) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendUint(b, n, 10)
}

// decode reads an authenticated plaintext, which it keeps as the value's
// memory, into zero claims. It follows the one spelling that append writes and
// refuses anything else: unknown, missing, duplicate, reordered and wrong-case
// members, other forms of numbers, white space.
func (c *Claims) decode(plain []byte) bool {
	r := reader{in: plain, ok: true}
	r.id(`{"jti":"`, &c.JTI)
	if r.next(`","uid":"`) {
		c.Once = true
		r.id(`","uid":"`, &c.UID)
	}
	c.IssuedAt = int64(r.number(`","iat":`))
	c.Expires = int64(r.number(`,"exp":`))
	if r.next(`,"axp":`) {
		c.AbsoluteExpires = int64(r.number(`,"axp":`))
		r.ok = r.ok && c.AbsoluteExpires != 0
	}
	r.id(`,"sid":"`, &c.Session)
	c.Gen = r.number(`","gen":`)
	start := r.at
	name := r.plainText(`,"name":"`)
	pv := r.plainText(`","pv":"`)
	if r.ok { // one string for both
		text := string(plain[start:r.at])
		c.Name = text[len(`,"name":"`):][:len(name)]
		c.Policy = text[len(text)-len(pv):]
	}
	if c.Once {
		r.literal(`","once":true`)
	} else {
		r.literal(`"`)
	}
	if r.next(`,"pad":`) {
		n := r.number(`,"pad":`)
		r.ok = r.ok && n != 0 && n <= MaxMaxEnvelope
		c.Pad = int(n)
	}
	c.Value, c.Binary = r.claimsValue()
	return r.ok && c.valid()
}

// claimsValue reads the last member and the closing brace.
func (r *reader) claimsValue() (value []byte, binary bool) {
	if !r.has(`,"bin":"`) {
		r.literal(`,"val":`)
		return r.before(`}`), false
	}
	text := r.before(`"}`)
	value = make([]byte, bytes64(len(text)))
	r.ok = r.ok && decode64To(value, text)
	return value, true
}
