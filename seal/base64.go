package seal

import "encoding/binary"

// Own base64url (RFC 4648 §5, no padding): the standard library's is slower
// than the cipher, and even its Strict mode skips CR and LF. This one accepts
// exactly what it writes: the alphabet alone, and zero trailing bits.

const alphabet64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// bad marks a character outside the alphabet in the decoding tables; it is
// above the 24 bits of a group.
const bad = 1 << 24

var (
	pair64 = pairs() // two characters, little endian, for 12 bits
	char64 = chars() // the bits of a character at each place of a group
)

func pairs() (table [1 << 12]uint16) {
	for i := range table {
		table[i] = uint16(alphabet64[i>>6]) | uint16(alphabet64[i&63])<<8
	}
	return table
}

func chars() (table [4][256]uint32) {
	for place := range table {
		for c := range table[place] {
			table[place][c] = bad
		}
		for v := range 64 {
			table[place][alphabet64[v]] = uint32(v) << (18 - 6*place)
		}
	}
	return table
}

// len64 is the length of n bytes' text.
func len64(n int) int { return n/3*4 + (n%3*8+5)/6 }

// bytes64 is the number of bytes that n characters hold.
func bytes64(n int) int { return n/4*3 + n%4*6/8 }

// text64 returns raw's text.
func text64(raw []byte) string {
	var room [64]byte // enough for IDs, salts and slots
	return string(append64(room[:0], raw))
}

// decode64 returns the bytes of text if it is their one spelling.
func decode64(text string) ([]byte, bool) {
	out := make([]byte, bytes64(len(text)))
	return out, decode64To(out, text)
}

// encode64 writes src's text to dst, which has len64(len(src)) bytes.
func encode64(dst, src []byte) {
	for len(src) >= 8 && len(dst) >= 8 {
		v := binary.BigEndian.Uint64(src) >> 16 // two bytes too many, read again
		out := uint64(pair64[v>>36&0xfff]) | uint64(pair64[v>>24&0xfff])<<16 | uint64(pair64[v>>12&0xfff])<<32 | uint64(pair64[v&0xfff])<<48
		binary.LittleEndian.PutUint64(dst, out)
		src, dst = src[6:], dst[8:]
	}
	for len(src) >= 3 {
		v := uint32(src[0])<<16 | uint32(src[1])<<8 | uint32(src[2])
		binary.LittleEndian.PutUint32(dst, uint32(pair64[v>>12])|uint32(pair64[v&0xfff])<<16)
		src, dst = src[3:], dst[4:]
	}
	switch len(src) {
	case 1:
		binary.LittleEndian.PutUint16(dst, pair64[uint32(src[0])<<4])
	case 2:
		v := uint32(src[0])<<10 | uint32(src[1])<<2
		binary.LittleEndian.PutUint16(dst, pair64[v>>6])
		dst[2] = alphabet64[v&63]
	}
}

// append64 appends src's text to dst.
func append64(dst, src []byte) []byte {
	n := len(dst)
	dst = append(dst, make([]byte, len64(len(src)))...)
	encode64(dst[n:], src)
	return dst
}

// canonical64 reports whether src is the one spelling of some bytes.
func canonical64(src string) bool {
	var seen uint32
	for ; len(src) >= 4; src = src[4:] {
		seen |= char64[0][src[0]] | char64[1][src[1]] | char64[2][src[2]] | char64[3][src[3]]
	}
	switch len(src) {
	case 1:
		return false
	case 2:
		v := char64[0][src[0]] | char64[1][src[1]]
		if seen |= v; v&0xffff != 0 {
			return false
		}
	case 3:
		v := char64[0][src[0]] | char64[1][src[1]] | char64[2][src[2]]
		if seen |= v; v&0xff != 0 {
			return false
		}
	}
	return seen&bad == 0
}

// decode64To writes the bytes of src to dst, which has bytes64(len(src)) bytes,
// and reports whether src is the one spelling of them.
func decode64To[T string | []byte](dst []byte, src T) bool {
	var seen uint32
	for len(src) >= 8 && len(dst) >= 8 {
		a := char64[0][src[0]] | char64[1][src[1]] | char64[2][src[2]] | char64[3][src[3]]
		b := char64[0][src[4]] | char64[1][src[5]] | char64[2][src[6]] | char64[3][src[7]]
		seen |= a | b
		binary.BigEndian.PutUint64(dst, uint64(a)<<40|uint64(b&(bad-1))<<16) // two bytes too many, written over
		src, dst = src[8:], dst[6:]
	}
	for len(src) >= 4 {
		v := char64[0][src[0]] | char64[1][src[1]] | char64[2][src[2]] | char64[3][src[3]]
		seen |= v
		dst[0], dst[1], dst[2] = byte(v>>16), byte(v>>8), byte(v)
		src, dst = src[4:], dst[3:]
	}
	switch len(src) {
	case 1:
		return false
	case 2:
		v := char64[0][src[0]] | char64[1][src[1]]
		seen |= v
		if v&0xffff != 0 { // the last 4 of 12 bits are zero
			return false
		}
		dst[0] = byte(v >> 16)
	case 3:
		v := char64[0][src[0]] | char64[1][src[1]] | char64[2][src[2]]
		seen |= v
		if v&0xff != 0 { // the last 2 of 18 bits are zero
			return false
		}
		dst[0], dst[1] = byte(v>>16), byte(v>>8)
	}
	return seen&bad == 0
}
