package seal

import "strings"

// MaxEnvelope is the largest envelope accepted or made, in bytes of text, unless
// [Ring.WithMaxEnvelope] says otherwise, which it can up to MaxMaxEnvelope.
const (
	MaxEnvelope    = 16 << 10
	MaxMaxEnvelope = 1 << 20
)

const (
	saltLen    = 16
	saltText   = 22 // base64url of 16 bytes
	kidLen     = keyIDLen + len(".") + saltText
	headerHead = `{"alg":"dir","enc":"`
	headerMid  = `","kid":"`
	headerTail = `"}`
)

func isBase64URL(c byte) bool { return char64[0][c] != bad }

// header renders the one protected header of a key and salt (SPEC §2).
func header(enc Enc, kid string) string {
	return headerHead + string(enc) + headerMid + kid + headerTail
}

// shape is an envelope whose form was checked and whose content is still unknown.
type shape struct {
	enc    Enc
	header string // its text
	kid    string
	keyID  string
	salt   []byte
}

// parseShape checks everything that needs no key: size, alphabet, four dots,
// an empty encrypted key, the exact lengths of IV and tag, canonical base64url,
// and a header of the one form. It looks at each byte a bounded number of
// times and builds no error text from the input.
func parseShape(text string, limit int) (shape, error) {
	if len(text) > limit {
		return shape{}, ErrMalformed
	}
	parts, ok := split(text)
	if !ok {
		return shape{}, ErrMalformed
	}
	s, ok := parseHeader(parts[0])
	if !ok || parts[1] != "" {
		return shape{}, ErrMalformed
	}
	size, _ := s.enc.sizes()
	iv, ct, tag := parts[2], parts[3], parts[4]
	if len(iv) != len64(size.iv) || len(tag) != len64(size.tag) || ct == "" ||
		!canonical64(iv) || !canonical64(ct) || !canonical64(tag) {
		return shape{}, ErrMalformed
	}
	return s, nil
}

// split cuts text at its four dots; the parts' alphabet is their reader's to check.
func split(text string) (parts [5]string, ok bool) {
	for i := range 4 {
		if parts[i], text, ok = strings.Cut(text, "."); !ok {
			return parts, false
		}
	}
	parts[4] = text
	return parts, strings.IndexByte(text, '.') < 0
}

// parseHeader reads enc and kid by position; no JSON parser sees the input.
func parseHeader(part string) (shape, bool) {
	raw, ok := decode64(part)
	if !ok {
		return shape{}, false
	}
	rest, ok := strings.CutPrefix(string(raw), headerHead)
	if !ok {
		return shape{}, false
	}
	enc, rest, ok := strings.Cut(rest, headerMid)
	if _, known := Enc(enc).sizes(); !ok || !known {
		return shape{}, false
	}
	kid, ok := strings.CutSuffix(rest, headerTail)
	if !ok {
		return shape{}, false
	}
	s := shape{enc: Enc(enc), header: part, kid: kid}
	if !s.parseKid() {
		return shape{}, false
	}
	return s, header(s.enc, s.kid) == string(raw)
}

func (s *shape) parseKid() bool {
	if len(s.kid) != kidLen || s.kid[keyIDLen] != '.' || !validKeyID(s.kid[:keyIDLen]) {
		return false
	}
	salt, ok := decode64(s.kid[keyIDLen+1:])
	s.keyID, s.salt = s.kid[:keyIDLen], salt
	return ok && len(salt) == saltLen
}
