package seal

import "bytes"

// reader follows a text of known form from the front. After the first thing
// that is not as expected ok is false and everything it returns is zero.
type reader struct {
	in []byte
	at int
	ok bool
}

func (r *reader) rest() []byte { return r.in[r.at:] }

func (r *reader) fail() { r.ok, r.at = false, len(r.in) }

// next reports whether text comes next, and stays.
func (r *reader) next(text string) bool {
	return r.ok && len(r.in)-r.at >= len(text) && string(r.in[r.at:r.at+len(text)]) == text
}

// has passes text if it comes next.
func (r *reader) has(text string) bool {
	if !r.next(text) {
		return false
	}
	r.at += len(text)
	return true
}

// literal passes text, which must come next.
func (r *reader) literal(text string) {
	if !r.has(text) {
		r.fail()
	}
}

// take passes n bytes.
func (r *reader) take(n int) []byte {
	if !r.ok || n < 0 || len(r.in)-r.at < n {
		r.fail()
		return nil
	}
	r.at += n
	return r.in[r.at-n : r.at]
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
	start := r.at
	for ; r.at < len(r.in) && '0' <= r.in[r.at] && r.in[r.at] <= '9' && n <= maxNumber; r.at++ {
		n = n*10 + uint64(r.in[r.at]-'0')
	}
	digits := r.at - start
	if !r.ok || digits == 0 || r.in[start] == '0' && digits > 1 || n > maxNumber {
		r.fail()
		return 0
	}
	return n
}

// before passes everything up to end, which must be the end of the text.
func (r *reader) before(end string) []byte {
	out := r.take(len(r.rest()) - len(end))
	r.literal(end)
	return out
}

// plainText passes label and a text without escapes, with its closing quote.
// What the text may hold is the caller's to check.
func (r *reader) plainText(label string) []byte {
	r.literal(label)
	out := r.take(bytes.IndexByte(r.rest(), '"'))
	r.literal(`"`)
	return out
}

// escapedText is plainText for a text that appendText wrote: only quotation
// mark and reverse solidus are escaped, and they always are.
func (r *reader) escapedText(label string) string {
	r.literal(label)
	var out []byte
	for i := r.at; i < len(r.in); i++ {
		switch c := r.in[i]; {
		case c == '"':
			r.at = i + 1
			return string(out)
		case c == '\\':
			i++
			if i == len(r.in) || r.in[i] != '"' && r.in[i] != '\\' {
				r.fail()
				return ""
			}
			out = append(out, r.in[i])
		default:
			out = append(out, c)
		}
	}
	r.fail()
	return ""
}
