package ext

import (
	"errors"
	"strings"
)

// z85Alphabet is that of ZeroMQ's RFC 32.
const z85Alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

var errZ85 = errors.New("ext: not Z85")

var z85Value = func() (values [256]byte) {
	for i := range values {
		values[i] = 0xff
	}
	for i, c := range []byte(z85Alphabet) {
		values[c] = byte(i)
	}
	return values
}()

// EncodeZ85 renders b as Z85: five characters for four bytes. RFC 32 wants whole
// groups; like CometD it writes a last group of n bytes as n+1 characters.
func EncodeZ85(b []byte) string {
	var text strings.Builder
	text.Grow(len(b)/4*5 + 5)
	for len(b) > 0 {
		n := min(4, len(b))
		var group [4]byte
		copy(group[:], b[:n])
		digits := z85Digits(group)
		text.Write(digits[:n+1])
		b = b[n:]
	}
	return text.String()
}

func z85Digits(group [4]byte) (digits [5]byte) {
	v := uint32(group[0])<<24 | uint32(group[1])<<16 | uint32(group[2])<<8 | uint32(group[3])
	for i := 4; i >= 0; i-- {
		digits[i] = z85Alphabet[v%85]
		v /= 85
	}
	return digits
}

// DecodeZ85 is the reverse of [EncodeZ85]. It accepts only what EncodeZ85 writes,
// one text for each sequence of bytes.
func DecodeZ85(text string) ([]byte, error) {
	if len(text)%5 == 1 {
		return nil, errZ85
	}
	b := make([]byte, 0, len(text)/5*4+3)
	for len(text) > 0 {
		n := min(5, len(text))
		group, ok := z85Group(text[:n])
		if !ok {
			return nil, errZ85
		}
		b = append(b, group[:n-1]...)
		text = text[n:]
	}
	return b, nil
}

// z85Group decodes up to five characters. What a short group leaves open is
// filled from above, which is the number its bytes came from.
func z85Group(text string) (group [4]byte, ok bool) {
	var v uint64
	for i := range 5 {
		digit := byte(84)
		if i < len(text) {
			if digit = z85Value[text[i]]; digit > 84 {
				return group, false
			}
		}
		v = v*85 + uint64(digit)
	}
	// What does not fit into four bytes is not written like this either.
	group = [4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}
	clear(group[len(text)-1:])
	digits := z85Digits(group)
	return group, string(digits[:len(text)]) == text
}
