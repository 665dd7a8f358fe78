package seal

import "bytes"

// reader follows a text of known form from the front. After the first thing
// that is not as expected ok is false and everything it returns is zero.
type reader struct {
	in []byte
	ok bool
}

// next reports whether text comes next, and stays.
func (r *reader) next(text string) bool {
	return r.ok && len(r.in) >= len(text) && string(r.in[:len(text)]) == text
}

// has passes text if it comes next.
func (r *reader) has(text string) bool {
	if !r.next(text) {
		return false
	}
	r.in = r.in[len(text):]
	return true
}

// literal passes text, which must come next.
func (r *reader) literal(text string) {
	if !r.has(text) {
		r.ok, r.in = false, nil
	}
}

// take passes n bytes.
func (r *reader) take(n int) []byte {
	if !r.ok || n < 0 || len(r.in) < n {
		r.ok, r.in = false, nil
		return nil
	}
	out := r.in[:n]
	r.in = r.in[n:]
	return out
}

// id passes a quoted ID.
func (r *reader) id(into *ID) {
	r.literal(`"`)
	text := r.take(len64(len(into)))
	r.ok = r.ok && decode64To(into[:], text)
	r.literal(`"`)
}

// number passes label and an unsigned number without leading zeros, of at most
// maxNumber.
func (r *reader) number(label string) (n uint64) {
	r.literal(label)
	digits := 0
	for ; digits < len(r.in) && '0' <= r.in[digits] && r.in[digits] <= '9' && n <= maxNumber; digits++ {
		n = n*10 + uint64(r.in[digits]-'0')
	}
	text := r.take(digits)
	if !r.ok || digits == 0 || text[0] == '0' && digits > 1 || n > maxNumber {
		r.ok = false
		return 0
	}
	return n
}

// before passes everything up to end, which must be the end of the text.
func (r *reader) before(end string) []byte {
	out := r.take(len(r.in) - len(end))
	r.literal(end)
	return out
}

// plainText passes label and a text without escapes, with its closing quote.
// What the text may hold is the caller's to check.
func (r *reader) plainText(label string) []byte {
	r.literal(label)
	out := r.take(bytes.IndexByte(r.in, '"'))
	r.literal(`"`)
	return out
}

// escapedText is plainText for a text that appendText wrote: only quotation
// mark and reverse solidus are escaped, and they always are.
func (r *reader) escapedText(label string) string {
	r.literal(label)
	var out []byte
	for i := 0; i < len(r.in); i++ {
		switch c := r.in[i]; {
		case c == '"':
			r.take(i + 1)
			return string(out)
		case c == '\\':
			i++
			if i == len(r.in) || r.in[i] != '"' && r.in[i] != '\\' {
				r.ok = false
				return ""
			}
			out = append(out, r.in[i])
		default:
			out = append(out, c)
		}
	}
	r.ok = false
	return ""
}
