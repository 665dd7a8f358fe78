package seal

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// ValidValue reports whether v is one JSON value (RFC 8259) in the form that an
// attribute may have: without white space outside strings, in valid UTF-8, no
// member twice in one object, no lone surrogate, at most [MaxDepth] deep.
func ValidValue(v []byte) bool {
	s := scanner{in: v}
	return s.value(0) && s.at == len(v)
}

// scanner walks over a JSON value without building anything.
type scanner struct {
	in      []byte
	at      int
	escaped bool // the last string had an escape; reset by who asks
}

func (s *scanner) peek() byte {
	if s.at < len(s.in) {
		return s.in[s.at]
	}
	return 0 // no token begins with it
}

func (s *scanner) skip(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) literal(text string) bool {
	if !bytes.HasPrefix(s.in[s.at:], []byte(text)) {
		return false
	}
	s.at += len(text)
	return true
}

func (s *scanner) value(depth int) bool {
	switch c := s.peek(); {
	case c == '{':
		return depth < MaxDepth && s.object(depth+1)
	case c == '[':
		return depth < MaxDepth && s.array(depth+1)
	case c == '"':
		return s.text()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) array(depth int) bool {
	s.at++
	if s.skip(']') {
		return true
	}
	for s.value(depth) {
		if s.skip(']') {
			return true
		}
		if !s.skip(',') {
			return false
		}
	}
	return false
}

func (s *scanner) object(depth int) bool {
	s.at++
	if s.skip('}') {
		return true
	}
	var seen names
	for {
		start := s.at
		s.escaped = false
		if !s.text() || !seen.add(s.in, start, s.at, s.escaped) || !s.skip(':') || !s.value(depth) {
			return false
		}
		if s.skip('}') {
			return true
		}
		if !s.skip(',') {
			return false
		}
	}
}

// names are the member names of one object. The first few are compared one by
// one; more, and those with escapes, go into a map, so that work stays linear.
type names struct {
	few  [8]struct{ from, to int } // places, not slices: nothing for the collector
	n    int
	many map[string]bool
}

// add notes the quoted name in[from:to] and reports whether it is new. Names
// are compared as decoded: an escape does not make another name.
func (n *names) add(in []byte, from, to int, escaped bool) bool {
	name := in[from+1 : to-1]
	if escaped {
		var decoded string
		if json.Unmarshal(in[from:to], &decoded) != nil {
			return false
		}
		name = []byte(decoded)
	}
	for _, old := range n.few[:n.n] {
		if string(in[old.from:old.to]) == string(name) {
			return false
		}
	}
	switch {
	case n.many[string(name)]:
		return false
	case !escaped && n.n < len(n.few):
		n.few[n.n].from, n.few[n.n].to = from+1, to-1
		n.n++
	default:
		if n.many == nil {
			n.many = map[string]bool{}
		}
		n.many[string(name)] = true
	}
	return true
}

// text passes a string.
func (s *scanner) text() bool {
	if !s.skip('"') {
		return false
	}
	for {
		s.at += plainRun(s.in[s.at:])
		switch c := s.peek(); {
		case c == '"':
			s.at++
			return true
		case c == '\\':
			if !s.escape() {
				return false
			}
		case c < 0x20: // or the end
			return false
		default:
			r, n := utf8.DecodeRune(s.in[s.at:])
			if r == utf8.RuneError && n == 1 {
				return false
			}
			s.at += n
		}
	}
}

// plainRun counts the bytes at the front of b that stand for themselves in a
// string: ASCII but control characters, quotation mark and reverse solidus. It
// looks at eight at a time; of the marks it makes the lowest is exact.
func plainRun(b []byte) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		v := binary.LittleEndian.Uint64(b[n:])
		quote, escape := v^ones*'"', v^ones*'\\'
		if marks := (v | (v-ones*0x20)&^v | (quote-ones)&^quote | (escape-ones)&^escape) & high; marks != 0 {
			return n + bits.TrailingZeros64(marks)/8
		}
	}
	for n < len(b) && b[n] >= 0x20 && b[n] < utf8.RuneSelf && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

func (s *scanner) escape() bool {
	s.at++
	s.escaped = true
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at++
		return true
	case 'u':
		return s.unicode()
	}
	return false
}

// unicode passes u and four hexadecimal digits, or a whole surrogate pair.
func (s *scanner) unicode() bool {
	high, ok := s.hex()
	if !ok || high >= 0xdc00 && high <= 0xdfff {
		return false
	}
	if high < 0xd800 || high > 0xdbff {
		return true
	}
	if !s.skip('\\') {
		return false
	}
	low, ok := s.hex()
	return ok && low >= 0xdc00 && low <= 0xdfff
}

// hex passes u and four digits.
func (s *scanner) hex() (v uint32, ok bool) {
	if !s.skip('u') || len(s.in)-s.at < 4 {
		return 0, false
	}
	for range 4 {
		c := s.in[s.at]
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint32(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint32(c-'a'+10)
		case 'A' <= c && c <= 'F':
			v = v<<4 | uint32(c-'A'+10)
		default:
			return 0, false
		}
		s.at++
	}
	return v, true
}

// number passes a number that a double can hold (RFC 8259 §6).
func (s *scanner) number() bool {
	start := s.at
	exponent, ok := s.numeral()
	if !ok {
		return false
	}
	text := s.in[start:s.at]
	if len(text) < 300 && !exponent {
		return true
	}
	_, err := strconv.ParseFloat(string(text), 64)
	return err == nil
}

func (s *scanner) numeral() (exponent, ok bool) {
	s.skip('-')
	if !s.skip('0') && !s.digits() {
		return false, false
	}
	if s.skip('.') && !s.digits() {
		return false, false
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if !s.skip('+') {
			s.skip('-')
		}
		return true, s.digits()
	}
	return false, true
}

func (s *scanner) digits() bool {
	start := s.at
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > start
}
