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
	return r.in[r.at-n : r.at : r.at]
}

// id passes label and the text of an ID.
func (r *reader) id(label string, into *ID) {
	r.literal(label)
	if text := r.take(len64(len(into))); !r.ok || !decode64To(into[:], text) {
		r.fail()
	}
}

// number passes label and an unsigned number without leading zeros, of at most
// maxNumber.
func (r *reader) number(label string) (n uint64) {
	r.literal(label)
	text := r.rest()
	digits := 0
	for digits < len(text) && '0' <= text[digits] && text[digits] <= '9' && n <= maxNumber {
		n = n*10 + uint64(text[digits]-'0')
		digits++
	}
	if !r.ok || digits == 0 || text[0] == '0' && digits > 1 || n > maxNumber {
		r.fail()
		return 0
	}
	r.at += digits
	return n
}

// before passes everything up to end, which must be the end of the text.
func (r *reader) before(end string) []byte {
	out := r.take(len(r.rest()) - len(end))
	r.literal(end)
	return out
}

// plainText passes label and a text without escapes, up to its closing quote.
// What the text may hold is the caller's to check.
func (r *reader) plainText(label string) []byte {
	r.literal(label)
	return r.take(bytes.IndexByte(r.rest(), '"'))
}

// escapedText is plainText for a text that appendText wrote: only quotation
// mark and reverse solidus are escaped, and they always are.
func (r *reader) escapedText(label string) string {
	r.literal(label)
	var out []byte
	for i := r.at; i < len(r.in); i++ {
		switch c := r.in[i]; {
		case c == '"':
			r.at = i
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
