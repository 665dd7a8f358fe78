package testkit

import (
	"iter"
	"strings"
)

// AllBytes are the 256 values of a byte.
var AllBytes = func() string {
	var b strings.Builder
	for c := range 256 {
		b.WriteByte(byte(c))
	}
	return b.String()
}()

// Neighbours yields the strings that lie one step from text, with a word for
// the step: one of bytes exchanged for another or put in, a byte left out, a
// letter in the other case, two neighbours swapped. It never yields text.
func Neighbours(text, bytes string) iter.Seq2[string, string] {
	return func(yield func(step, variant string) bool) {
		try := func(step, variant string) bool { return variant == text || yield(step, variant) }
		for i := range len(text) + 1 {
			for j := range len(bytes) {
				if !try("insertion", text[:i]+bytes[j:j+1]+text[i:]) {
					return
				}
				if i < len(text) && !try("substitution", text[:i]+bytes[j:j+1]+text[i+1:]) {
					return
				}
			}
			if i == len(text) {
				return
			}
			if !try("deletion", text[:i]+text[i+1:]) || !try("case", text[:i]+otherCase(text[i])+text[i+1:]) {
				return
			}
			if i > 0 && !try("swap", text[:i-1]+text[i:i+1]+text[i-1:i]+text[i+1:]) {
				return
			}
		}
	}
}

// otherCase is a letter in the other case; what is no letter stays.
func otherCase(c byte) string {
	if 'A' <= c&^0x20 && c&^0x20 <= 'Z' {
		c ^= 0x20
	}
	return string([]byte{c})
}
