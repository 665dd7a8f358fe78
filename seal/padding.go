package seal

import (
	"math/bits"
	"slices"
)

// padded is the bucket that hides a plaintext of n bytes: the next multiple of
// 32 up to 512, then Padmé (Nikitin et al., "Reducing Metadata Leakage from
// Encrypted Files and Communication with PURBs", §4), which adds at most 12 %.
func padded(n int) int {
	if n <= 512 {
		return max(32, (n+31)/32*32)
	}
	exponent := bits.Len(uint(n)) - 1
	mantissa := bits.Len(uint(exponent))
	mask := 1<<(exponent-mantissa) - 1
	return (n + mask) &^ mask
}

// PadFor is the bucket for [Claims.Pad] that hides the length of an attribute
// whose encoded value has at most n bytes.
func PadFor(n int) int { return padded(n + maxClaims) }

// EnvelopeLen is the length of the envelope of n bytes of claims or manifest, in
// characters; pad is [Claims].Pad.
func EnvelopeLen(enc Enc, n, pad int) int {
	header := len(headerHead) + len(enc) + len(headerMid) + kidLen + len(headerTail)
	return enc.textLen(len64(header)+len(".."), max(padded(n), pad))
}

// maxClaims is what claims take beside their value, at most.
const maxClaims = 384

// pad appends spaces up to the bucket, or to the larger one that is wanted. It
// returns [ErrMalformed] if that is too small.
func pad(plain []byte, want int) ([]byte, error) {
	n, to := len(plain), padded(len(plain))
	if want != 0 && want < to {
		return plain, ErrMalformed
	}
	to = max(to, want)
	plain = slices.Grow(plain, to-n)[:to]
	for i := n; i < len(plain); i++ {
		plain[i] = ' '
	}
	return plain, nil
}

// unpad removes the spaces.
func unpad(plain []byte) []byte {
	end := len(plain)
	for end > 0 && plain[end-1] == ' ' {
		end--
	}
	return plain[:end]
}

// padding reports whether n bytes of text are rightly padded to length: to
// their bucket, or to the larger one that the text itself says.
func padding(n, length, said int) bool {
	if said == 0 {
		return length == padded(n)
	}
	return length == said && said >= padded(n)
}
