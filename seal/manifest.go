package seal

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Manifest is the sealed list of a session's envelopes at one generation
// (SPEC §5). Times are whole seconds since 1970.
type Manifest struct {
	Session         ID
	Subject         string // who is logged in; may be empty
	SubjectSince    int64  // when Subject was set; 0 exactly when it is empty
	Fence, Gen      uint64
	IssuedAt        int64
	Expires         int64  // idle
	AbsoluteExpires int64  // never moves
	Binding         string // what the presenter must prove, as session defines it
	Policy          string
	Entries         []Entry // strictly ascending by slot
}

// Entry names one envelope of the set. The jti is unique and inside the seal,
// so it identifies the envelope; no digest is needed.
type Entry struct {
	Slot    string
	JTI     ID
	Expires int64
}

// Limits of a manifest.
const (
	MaxSubject = 256
	MaxBinding = 96
	MaxEntries = 64
)

func (m *Manifest) valid() bool {
	times := m.IssuedAt > 0 && m.Expires >= m.IssuedAt && m.Expires <= maxNumber &&
		m.AbsoluteExpires >= m.IssuedAt && m.AbsoluteExpires <= maxNumber
	login := m.SubjectSince >= 0 && m.SubjectSince <= maxNumber && (m.SubjectSince == 0) == (m.Subject == "")
	ok := times && login && m.Session != ID{} && m.Fence <= maxNumber && m.Gen <= maxNumber && validPolicy(m.Policy) &&
		ValidSubject(m.Subject) && validBinding(m.Binding) && len(m.Entries) <= MaxEntries
	last := ""
	for _, e := range m.Entries {
		ok = ok && validSlot(e.Slot) && e.Slot > last && e.JTI != ID{} && e.Expires > 0 && e.Expires <= maxNumber
		last = e.Slot
	}
	return ok
}

// ValidSubject reports whether s may be a manifest's subject: at most
// [MaxSubject] bytes of UTF-8 without control characters, so that it has one
// JSON spelling and can't forge a log line.
func ValidSubject(s string) bool {
	return len(s) <= MaxSubject && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// appendText escapes only what JSON requires of a text without control
// characters: quotation mark and reverse solidus.
func appendText(b []byte, text string) []byte {
	b = append(b, '"')
	for i := range len(text) {
		if text[i] == '"' || text[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, text[i])
	}
	return append(b, '"')
}

func validBinding(b string) bool {
	for i := range len(b) {
		if !isBase64URL(b[i]) && b[i] != ':' {
			return false
		}
	}
	return b != "" && len(b) <= MaxBinding
}

func validSlot(slot string) bool {
	for i := range len(slot) {
		if !isBase64URL(slot[i]) {
			return false
		}
	}
	return len(slot) == SlotLen
}

// append writes the one spelling of m (SPEC §5).
func (m *Manifest) append(b []byte) ([]byte, error) {
	if !m.valid() {
		return nil, ErrMalformed
	}
	b = append(b, `{"sid":`...)
	b = appendID(b, m.Session)
	b = append(b, `,"sub":`...)
	b = appendText(b, m.Subject)
	b = appendNumber(b, "sat", uint64(m.SubjectSince))
	b = appendNumber(b, "fence", m.Fence)
	b = appendNumber(b, "gen", m.Gen)
	b = appendNumber(b, "iat", uint64(m.IssuedAt))
	b = appendNumber(b, "exp", uint64(m.Expires))
	b = appendNumber(b, "axp", uint64(m.AbsoluteExpires))
	b = append(b, `,"bnd":"`...)
	b = append(b, m.Binding...)
	b = append(b, `","pv":"`...)
	b = append(b, m.Policy...)
	b = append(b, `","set":[`...)
	for i, e := range m.Entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"slot":"`...)
		b = append(b, e.Slot...)
		b = append(b, `","jti":`...)
		b = appendID(b, e.JTI)
		b = appendNumber(b, "exp", uint64(e.Expires))
		b = append(b, '}')
	}
	return append(b, "]}"...), nil
}

// decodeManifest reads an authenticated plaintext as strictly as Claims.decode.
func decodeManifest(plain []byte) (*Manifest, error) {
	m := &Manifest{}
	r := reader{in: plain, ok: true}
	texts := string(plain) // one for all of them
	r.id(`{"sid":"`, &m.Session)
	m.Subject = r.escapedText(`","sub":"`)
	m.SubjectSince = int64(r.number(`","sat":`))
	m.Fence = r.number(`,"fence":`)
	m.Gen = r.number(`,"gen":`)
	m.IssuedAt = int64(r.number(`,"iat":`))
	m.Expires = int64(r.number(`,"exp":`))
	m.AbsoluteExpires = int64(r.number(`,"axp":`))
	m.Binding = string(r.plainText(`,"bnd":"`))
	m.Policy = string(r.plainText(`","pv":"`))
	m.Entries = r.entries(texts)
	if !r.ok || r.at != len(plain) || !m.valid() {
		return nil, ErrMalformed
	}
	return m, nil
}

// entries reads the list; texts is the same plaintext.
func (r *reader) entries(texts string) (list []Entry) {
	r.literal(`","set":[`)
	if r.has(`]}`) {
		return nil
	}
	list = make([]Entry, 0, min(MaxEntries, len(r.rest())/len(`{"slot":"123456789012","jti":"1234567890123456789012","exp":1},`)+1))
	for r.ok && len(list) < MaxEntries {
		var e Entry
		n := len(r.plainText(`{"slot":"`))
		e.Slot = texts[r.at-n : r.at]
		r.id(`","jti":"`, &e.JTI)
		e.Expires = int64(r.number(`","exp":`))
		list = append(list, e)
		if r.has(`}]}`) {
			return list
		}
		r.literal(`},`)
	}
	r.ok = false
	return nil
}
