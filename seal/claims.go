package seal

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"strconv"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"
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
func (id ID) String() string { return b64.EncodeToString(id[:]) }

// Claims are the content of an attribute's envelope (SPEC §4). Times are whole
// seconds since 1970.
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
	Session         ID
	Gen             uint64 // generation in which it was sealed
	Name            string
	Policy          string // version of the policy that sealed it
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
		c.Gen <= maxNumber && ValidName(c.Name) && validPolicy(c.Policy) && (c.Binary || ValidValue(c.Value))
}

// ValidValue reports whether v is one compact JSON value in valid UTF-8 without
// duplicate members, nested at most [MaxDepth] deep.
func ValidValue(v []byte) bool {
	if len(v) == 0 || !utf8.Valid(v) || depth(v) > MaxDepth {
		return false
	}
	var any any
	if json.Unmarshal(v, &any) != nil {
		return false
	}
	var compact bytes.Buffer
	return json.Compact(&compact, v) == nil && bytes.Equal(compact.Bytes(), v)
}

// depth counts the deepest nesting without parsing.
func depth(v []byte) (deepest int) {
	open, quoted := 0, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}

// encode writes the one spelling of c: these members, in this order, without
// white space (SPEC §4).
func (c *Claims) encode() ([]byte, error) {
	if !c.valid() {
		return nil, ErrMalformed
	}
	b := make([]byte, 0, 320+len(c.Value)*4/3)
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
	if c.Binary {
		b = append(b, `,"bin":"`...)
		b = b64.AppendEncode(b, c.Value)
		b = append(b, '"')
	} else {
		b = append(b, `,"val":`...)
		b = append(b, c.Value...)
	}
	return append(b, '}'), nil
}

func appendID(b []byte, id ID) []byte {
	b = append(b, '"')
	b = b64.AppendEncode(b, id[:])
	return append(b, '"')
}

func appendNumber(b []byte, name string, n uint64) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendUint(b, n, 10)
}

type wireClaims struct {
	JTI  string          `json:"jti"`
	UID  string          `json:"uid"`
	IAT  int64           `json:"iat"`
	EXP  int64           `json:"exp"`
	AXP  int64           `json:"axp"`
	SID  string          `json:"sid"`
	Gen  uint64          `json:"gen"`
	Name string          `json:"name"`
	PV   string          `json:"pv"`
	Once bool            `json:"once"`
	Val  json.RawMessage `json:"val"`
	Bin  *string         `json:"bin"`
}

// decodeClaims reads an authenticated plaintext. Writing the result again must
// give the same bytes; that refuses unknown, duplicate, reordered and
// wrong-case members, other number forms and white space at once.
func decodeClaims(plain []byte) (*Claims, error) {
	var w wireClaims
	if !utf8.Valid(plain) || depth(plain) > MaxDepth+1 || json.Unmarshal(plain, &w) != nil {
		return nil, ErrMalformed
	}
	c := &Claims{Once: w.Once, IssuedAt: w.IAT, Expires: w.EXP, AbsoluteExpires: w.AXP, Gen: w.Gen, Name: w.Name, Policy: w.PV, Value: w.Val}
	ok := parseIDs([]string{w.JTI, w.SID}, []*ID{&c.JTI, &c.Session})
	if w.Once {
		ok = ok && parseIDs([]string{w.UID}, []*ID{&c.UID})
	}
	if w.Bin != nil {
		c.Binary = true
		c.Value, ok = decodeBin(*w.Bin, ok && w.Val == nil)
	}
	if !ok {
		return nil, ErrMalformed
	}
	again, err := c.encode()
	if err != nil || !bytes.Equal(again, plain) {
		return nil, ErrMalformed
	}
	return c, nil
}

func decodeBin(text string, ok bool) ([]byte, bool) {
	raw, canonical := decode64(text)
	return raw, ok && canonical
}

func parseIDs(texts []string, into []*ID) bool {
	for i, text := range texts {
		id, err := ParseID(text)
		if err != nil {
			return false
		}
		*into[i] = id
	}
	return true
}
