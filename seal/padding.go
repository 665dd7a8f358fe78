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

// pad appends spaces up to the bucket.
func pad(plain []byte) []byte {
	n := len(plain)
	plain = slices.Grow(plain, padded(n)-n)[:padded(n)]
	for i := n; i < len(plain); i++ {
		plain[i] = ' '
	}
	return plain
}

// unpad removes the spaces and reports whether they were exactly the bucket's.
func unpad(plain []byte) ([]byte, bool) {
	end := len(plain)
	for end > 0 && plain[end-1] == ' ' {
		end--
	}
	return plain[:end], len(plain) == padded(end)
}
