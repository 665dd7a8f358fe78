package seal

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// ValidValue reports whether v is one JSON value (RFC 8259) in the form that an
// attribute may have: without white space outside strings, in valid UTF-8, no
// member twice in one object, no lone surrogate, at most [MaxDepth] deep.
//
// It walks over the value and builds nothing. Each function below passes one
// thing that begins at a place and returns the place behind it, or nowhere.
func ValidValue(v []byte) bool { return passValue(v, 0, 0) == len(v) }

const nowhere = -1

func passValue(in []byte, at, depth int) int {
	if at >= len(in) {
		return nowhere
	}
	switch c := in[at]; c {
	case '"':
		end, _ := passText(in, at)
		return end
	case '{', '[':
		if depth == MaxDepth {
			return nowhere
		}
		if c == '{' {
			return passObject(in, at, depth+1)
		}
		return passArray(in, at, depth+1)
	case 't':
		return passLiteral(in, at, "true")
	case 'f':
		return passLiteral(in, at, "false")
	case 'n':
		return passLiteral(in, at, "null")
	}
	return passNumber(in, at)
}

func passLiteral(in []byte, at int, text string) int {
	if len(in)-at < len(text) || string(in[at:at+len(text)]) != text {
		return nowhere
	}
	return at + len(text)
}

// is reports whether c stands at a place, which may be nowhere or the end.
func is(in []byte, at int, c byte) bool { return uint(at) < uint(len(in)) && in[at] == c }

func passArray(in []byte, at, depth int) int {
	if at++; is(in, at, ']') {
		return at + 1
	}
	for {
		at = passValue(in, at, depth)
		if is(in, at, ']') {
			return at + 1
		}
		if !is(in, at, ',') {
			return nowhere
		}
		at++
	}
}

func passObject(in []byte, at, depth int) int {
	if at++; is(in, at, '}') {
		return at + 1
	}
	var seen names
	for {
		end, escaped := passText(in, at)
		if !is(in, end, ':') || !seen.add(in, at, end, escaped) {
			return nowhere
		}
		at = passValue(in, end+1, depth)
		if is(in, at, '}') {
			return at + 1
		}
		if !is(in, at, ',') {
			return nowhere
		}
		at++
	}
}

// names are the member names of one object. The first few are compared one by
// one; more, and those with escapes, go into a map, so that work stays linear.
type names struct {
	few  [8]struct{ from, to int32 } // places, not slices: nothing for the collector
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
	case n.many != nil && n.many[string(name)]:
		return false
	case !escaped && n.n < len(n.few) && to <= math.MaxInt32:
		n.few[n.n].from, n.few[n.n].to = int32(from+1), int32(to-1)
		n.n++
	default:
		if n.many == nil {
			n.many = map[string]bool{}
		}
		n.many[string(name)] = true
	}
	return true
}

// passText passes a string and says whether it has an escape.
func passText(in []byte, at int) (end int, escaped bool) {
	if !is(in, at, '"') {
		return nowhere, false
	}
	at++
	if len(in)-at >= 8 { // most strings are short
		if end := at + bits.TrailingZeros64(marks(in[at:]))/8; end < at+8 && in[end] == '"' {
			return end + 1, false
		}
	}
	for {
		at += plainRun(in[at:])
		if at == len(in) {
			return nowhere, false
		}
		switch c := in[at]; {
		case c == '"':
			return at + 1, escaped
		case c == '\\':
			escaped = true
			if at = passEscape(in, at+1); at == nowhere {
				return nowhere, false
			}
		case c < 0x20:
			return nowhere, false
		default:
			r, n := utf8.DecodeRune(in[at:])
			if r == utf8.RuneError && n == 1 {
				return nowhere, false
			}
			at += n
		}
	}
}

// plainRun counts the bytes at the front of b that stand for themselves in a
// string: ASCII but control characters, quotation mark and reverse solidus. It
// looks at eight at a time.
func plainRun(b []byte) int {
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		if m := marks(b[n:]); m != 0 {
			return n + bits.TrailingZeros64(m)/8
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] < utf8.RuneSelf && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

// marks sets the high bit of those of the first eight bytes that are not plain.
// A subtraction borrows only out of a byte that is marked, so the lowest mark is
// exact.
func marks(b []byte) uint64 {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	v := binary.LittleEndian.Uint64(b)
	return (v | (v - ones*' ') | (v ^ ones*'"' - ones) | (v ^ ones*'\\' - ones)) & high
}

// passEscape passes what follows a reverse solidus.
func passEscape(in []byte, at int) int {
	if at >= len(in) {
		return nowhere
	}
	switch in[at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 1
	case 'u':
		return passUnicode(in, at)
	}
	return nowhere
}

// passUnicode passes u and four hexadecimal digits, or a whole surrogate pair.
func passUnicode(in []byte, at int) int {
	high, ok := hexadecimal(in, at)
	at += len("u0000")
	switch {
	case !ok || high >= 0xdc00 && high <= 0xdfff:
		return nowhere
	case high < 0xd800 || high > 0xdbff:
		return at
	case !is(in, at, '\\'):
		return nowhere
	}
	low, ok := hexadecimal(in, at+1)
	if !ok || low < 0xdc00 || low > 0xdfff {
		return nowhere
	}
	return at + len(`\u0000`)
}

// hexadecimal reads u and four digits.
func hexadecimal(in []byte, at int) (v uint32, ok bool) {
	if !is(in, at, 'u') || len(in)-at < len("u0000") {
		return 0, false
	}
	for _, c := range in[at+1 : at+len("u0000")] {
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
	}
	return v, true
}

// passNumber passes a number that a double can hold (RFC 8259 §6).
func passNumber(in []byte, at int) int {
	end, exponent := passNumeral(in, at)
	if end != nowhere && (exponent || end-at >= 300) {
		if _, err := strconv.ParseFloat(string(in[at:end]), 64); err != nil {
			return nowhere
		}
	}
	return end
}

func passNumeral(in []byte, at int) (end int, exponent bool) {
	if is(in, at, '-') {
		at++
	}
	if is(in, at, '0') {
		at++
	} else if at = passDigits(in, at); at == nowhere {
		return nowhere, false
	}
	if is(in, at, '.') {
		if at = passDigits(in, at+1); at == nowhere {
			return nowhere, false
		}
	}
	if !is(in, at, 'e') && !is(in, at, 'E') {
		return at, false
	}
	if at++; is(in, at, '+') || is(in, at, '-') {
		at++
	}
	return passDigits(in, at), true
}

// passDigits passes at least one digit.
func passDigits(in []byte, at int) int {
	start := at
	for at < len(in) && '0' <= in[at] && in[at] <= '9' {
		at++
	}
	if at == start {
		return nowhere
	}
	return at
}
