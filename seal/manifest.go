package seal

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"
)

// Manifest is the sealed list of a session's envelopes at one generation
// (SPEC §5). Times are whole seconds since 1970.
type Manifest struct {
	Session         ID
	Subject         string // who is logged in; may be empty
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
	ok := times && m.Session != ID{} && m.Fence <= maxNumber && m.Gen <= maxNumber && validPolicy(m.Policy) &&
		validSubject(m.Subject) && validBinding(m.Binding) && len(m.Entries) <= MaxEntries
	last := ""
	for _, e := range m.Entries {
		ok = ok && validSlot(e.Slot) && e.Slot > last && e.JTI != ID{} && e.Expires > 0 && e.Expires <= maxNumber
		last = e.Slot
	}
	return ok
}

// validSubject keeps control characters out, so that a subject has one JSON
// spelling and can't forge a log line.
func validSubject(s string) bool {
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

// encode writes the one spelling of m (SPEC §5).
func (m *Manifest) encode() ([]byte, error) {
	if !m.valid() {
		return nil, ErrMalformed
	}
	b := append(make([]byte, 0, 320+80*len(m.Entries)), `{"sid":`...)
	b = appendID(b, m.Session)
	b = append(b, `,"sub":`...)
	b = appendText(b, m.Subject)
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

type wireManifest struct {
	SID   string `json:"sid"`
	Sub   string `json:"sub"`
	Fence uint64 `json:"fence"`
	Gen   uint64 `json:"gen"`
	IAT   int64  `json:"iat"`
	EXP   int64  `json:"exp"`
	AXP   int64  `json:"axp"`
	BND   string `json:"bnd"`
	PV    string `json:"pv"`
	Set   []struct {
		Slot string `json:"slot"`
		JTI  string `json:"jti"`
		EXP  int64  `json:"exp"`
	} `json:"set"`
}

// decodeManifest reads an authenticated plaintext as strictly as decodeClaims.
func decodeManifest(plain []byte) (*Manifest, error) {
	var w wireManifest
	if !utf8.Valid(plain) || depth(plain) > 4 || json.Unmarshal(plain, &w) != nil || len(w.Set) > MaxEntries {
		return nil, ErrMalformed
	}
	m := &Manifest{Subject: w.Sub, Fence: w.Fence, Gen: w.Gen, IssuedAt: w.IAT, Expires: w.EXP, AbsoluteExpires: w.AXP, Binding: w.BND, Policy: w.PV}
	ok := parseIDs([]string{w.SID}, []*ID{&m.Session})
	for _, e := range w.Set {
		entry := Entry{Slot: e.Slot, Expires: e.EXP}
		ok = ok && parseIDs([]string{e.JTI}, []*ID{&entry.JTI})
		m.Entries = append(m.Entries, entry)
	}
	if !ok {
		return nil, ErrMalformed
	}
	again, err := m.encode()
	if err != nil || !bytes.Equal(again, plain) {
		return nil, ErrMalformed
	}
	return m, nil
}
