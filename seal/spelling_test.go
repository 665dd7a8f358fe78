package seal_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/seal"
)

// plain is the plaintext of an envelope, with its padding.
func plain(t testing.TB, ring *seal.Ring, p seal.Purpose, text string) []byte {
	t.Helper()
	out, err := ring.NewOpener(scope, now).AppendOpen(nil, p, text)
	noError(t, err)
	return out
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// padTo32 pads as SPEC §6 does below 512 bytes.
func padTo32(b []byte) []byte {
	b = bytes.Clone(b)
	for len(b)%32 != 0 {
		b = append(b, ' ')
	}
	return b
}

// neighbours calls f with every plaintext that differs from good by one
// exchanged, added or left out byte, and with each of its parts left out.
func neighbours(good []byte, f func([]byte)) {
	const some = "{}[]\",:\\ 0129aZ-.\n\x00\xc3"
	for i := range good {
		f(append(bytes.Clone(good[:i]), good[i+1:]...))
		for _, c := range []byte(some) {
			exchanged := bytes.Clone(good)
			exchanged[i] = c
			f(exchanged)
			f(append(append(bytes.Clone(good[:i]), c), good[i:]...))
		}
	}
	members := bytes.Split(good, []byte(","))
	for i := range members {
		var rest [][]byte
		rest = append(append(rest, members[:i]...), members[i+1:]...)
		f(bytes.Join(rest, []byte(",")))
		f(bytes.Join(append(append(append([][]byte{}, members[:i]...), members[i], members[i]), members[i+1:]...), []byte(",")))
		if i > 0 {
			members[i-1], members[i] = members[i], members[i-1]
			f(bytes.Join(members, []byte(",")))
			members[i-1], members[i] = members[i], members[i-1]
		}
	}
	f(append(bytes.Clone(good), good...))
	f(append(bytes.Clone(good), '}'))
}

// Claims have one spelling: whatever opens is what would be written for what
// was read. The plaintexts are sealed as they are, so that nothing but the
// reader can refuse them.
func TestWhatOpensIsWhatWouldBeWritten(t *testing.T) {
	ring := testRing(t, usual)
	s, err := ring.NewSealer(scope, now)
	noError(t, err)
	o := ring.NewOpener(scope, now)
	once := claims("ticket", `{"a":[1,"x"]}`)
	once.Once, once.UID, once.AbsoluteExpires = true, seal.NewID(), once.Expires
	binary := claims("raw", "\x00\x01\x02\xff")
	binary.Binary, binary.AbsoluteExpires = true, binary.Expires
	for _, c := range []*seal.Claims{claims("cart", `{"a":1}`), claims("n", `"é\n"`), once, binary} {
		text, err := s.Attribute(c)
		noError(t, err)
		good := bytes.TrimRight(plain(t, ring, seal.ForAttribute, text), " ")
		accepted := 0
		if c.AbsoluteExpires == 0 { // absent, not zero
			zero := bytes.Replace(good, []byte(`,"sid"`), []byte(`,"axp":0,"sid"`), 1)
			raw, err := s.AppendSeal(nil, seal.ForAttribute, padTo32(zero))
			noError(t, err)
			if _, _, err := o.Attribute(string(raw)); !errors.Is(err, seal.ErrMalformed) {
				t.Errorf("%s with an axp of 0: %v", c.Name, err)
			}
		}
		neighbours(good, func(variant []byte) {
			raw, err := s.AppendSeal(nil, seal.ForAttribute, padTo32(variant))
			noError(t, err)
			got, _, err := o.Attribute(string(raw))
			if err != nil {
				if !errors.Is(err, seal.ErrMalformed) || got != nil {
					t.Fatalf("%q: %v, %v", variant, got, err)
				}
				return
			}
			accepted++
			again, err := s.Attribute(got)
			noError(t, err)
			if written := bytes.TrimRight(plain(t, ring, seal.ForAttribute, again), " "); !bytes.Equal(written, bytes.TrimRight(variant, " ")) {
				t.Fatalf("%q opens, but would be written %q", variant, written)
			}
		})
		if accepted == 0 {
			t.Errorf("%s: no neighbour opened, so that nothing was compared", c.Name)
		}
	}
}

func TestWhatOpensAsAManifestIsWhatWouldBeWritten(t *testing.T) {
	ring := testRing(t, usual)
	s, err := ring.NewSealer(scope, now)
	noError(t, err)
	o := ring.NewOpener(scope, now)
	entry := func(slot string) seal.Entry { return seal.Entry{Slot: slot, JTI: seal.NewID(), Expires: 90} }
	for _, entries := range [][]seal.Entry{nil, {entry("aaaaaaaaaaaa"), entry("caaaaaaaaaaa")}} {
		text, err := s.Manifest(&seal.Manifest{
			Session: seal.NewID(), Subject: `a"\z`, SubjectSince: 40, Fence: 1, Gen: 20, IssuedAt: 50, Expires: 60, AbsoluteExpires: 70, Binding: "cookie:abc", Policy: "1.x", Entries: entries,
		})
		noError(t, err)
		good, accepted := bytes.TrimRight(plain(t, ring, seal.ForManifest, text), " "), 0
		neighbours(good, func(variant []byte) {
			raw, err := s.AppendSeal(nil, seal.ForManifest, padTo32(variant))
			noError(t, err)
			got, _, err := o.Manifest(string(raw))
			if err != nil {
				if !errors.Is(err, seal.ErrMalformed) || got != nil {
					t.Fatalf("%q: %v, %v", variant, got, err)
				}
				return
			}
			accepted++
			again, err := s.Manifest(got)
			noError(t, err)
			if written := bytes.TrimRight(plain(t, ring, seal.ForManifest, again), " "); !bytes.Equal(written, bytes.TrimRight(variant, " ")) {
				t.Fatalf("%q opens, but would be written %q", variant, written)
			}
		})
		if accepted == 0 {
			t.Error("no neighbour opened, so that nothing was compared")
		}
		for name, padded := range map[string][]byte{
			"no padding":   good,
			"one bucket":   append(padTo32(good), bytes.Repeat([]byte(" "), 32)...),
			"one too few":  padTo32(good)[:len(padTo32(good))-1],
			"another byte": append(padTo32(good)[:len(padTo32(good))-1], '\n'),
		} {
			if len(good)%32 == 0 && name == "no padding" {
				continue
			}
			raw, err := s.AppendSeal(nil, seal.ForManifest, padded)
			noError(t, err)
			if _, _, err := o.Manifest(string(raw)); !errors.Is(err, seal.ErrMalformed) {
				t.Errorf("%s: %v, want ErrMalformed", name, err)
			}
		}
	}
}

// Each envelope has an IV of its own, whatever memory it is written into.
func TestIVsAreFresh(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		s, err := ring.NewSealer(scope, now)
		noError(t, err)
		seen, reused := map[string]bool{}, make([]byte, 0, 4096)
		add := func(text string) {
			t.Helper()
			iv := strings.Split(text, ".")[2]
			if seen[iv] {
				t.Fatalf("%s: the IV %s was used before", enc, iv)
			}
			seen[iv] = true
		}
		c := claims("cart", `1`)
		for range 100 {
			text, err := s.Attribute(c)
			noError(t, err)
			add(text)
			into, err := s.AppendSeal(reused[:0], seal.ForAttribute, []byte("x"))
			noError(t, err)
			add(string(into))
			fresh, err := s.AppendSeal(nil, seal.ForManifest, []byte("x"))
			noError(t, err)
			add(string(fresh))
		}
		ones := 0
		for iv := range seen {
			for _, b := range unb64(t, iv) {
				for ; b != 0; b &= b - 1 {
					ones++
				}
			}
		}
		if bits := len(seen) * 8 * len(unb64(t, strings.Split(sealed(t, ring, c), ".")[2])); ones < bits*45/100 || ones > bits*55/100 {
			t.Errorf("%s: %d of %d bits are set in IVs that should be random", enc, ones, bits)
		}
	}
}

// The purposes of one session stay apart, in whichever order they are used.
func TestPurposesStayApart(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		s, err := ring.NewSealer(scope, now)
		noError(t, err)
		text := map[seal.Purpose]string{}
		for _, p := range []seal.Purpose{seal.ForAttribute, seal.ForManifest, seal.ForGrant} {
			out, err := s.AppendSeal(nil, p, []byte("x"))
			noError(t, err)
			text[p] = string(out)
		}
		for _, order := range [][]seal.Purpose{
			{seal.ForAttribute, seal.ForManifest}, {seal.ForManifest, seal.ForAttribute}, {seal.ForAttribute, seal.ForGrant},
			{seal.ForGrant, seal.ForAttribute}, {seal.ForManifest, seal.ForGrant}, {seal.ForGrant, seal.ForManifest},
		} {
			o := ring.NewOpener(scope, now)
			for range 2 {
				for i, p := range order {
					if got, err := o.AppendOpen(nil, p, text[p]); err != nil || string(got) != "x" {
						t.Errorf("%s: purpose %d in order %v: %q, %v", enc, p, order, got, err)
					}
					if got, err := o.AppendOpen(nil, order[1-i], text[p]); got != nil || !errors.Is(err, seal.ErrAuth) {
						t.Errorf("%s: purpose %d opens as %d: %q, %v", enc, p, order[1-i], got, err)
					}
				}
			}
		}
		for range 2 { // a slot does not depend on those that were asked for before
			a, err1 := s.Slot("a")
			b, err2 := s.Slot("b")
			a2, err3 := s.Slot("a")
			noError(t, errors.Join(err1, err2, err3))
			if a != a2 || a == b {
				t.Errorf("%s: slots %s, %s, %s", enc, a, b, a2)
			}
		}
	}
}

func TestValidValue(t *testing.T) {
	members := func(n int) string { // of an object, each with its own name
		var b strings.Builder
		for i := range n {
			b.WriteString(`"` + string(rune('a'+i)) + `":0,`)
		}
		return b.String()
	}
	for value, want := range map[string]bool{
		`null`: true, `true`: true, `false`: true, `0`: true, `-0`: true, `-1.5e+10`: true, `1E5`: true, `""`: true, `[]`: true, `{}`: true,
		`[[],{}]`: true, `"\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t"`: true, `"é漢😀"`: true, "\"\x7f\"": true, `"\u0000"`: true,
		`{` + members(20) + `"z":0}`: true, `[{"a":1},{"a":1}]`: true, `{"a":{"a":1}}`: true,

		``: false, `nul`: false, `nulll`: false, `True`: false, `01`: false, `-`: false, `+1`: false, `1.`: false, `.5`: false, `1e`: false, `1e+`: false, `0x1`: false,
		`"`: false, `"a`: false, `'a'`: false, `[1,]`: false, `[,1]`: false, `[1 ,2]`: false, `[1`: false, `{"a":1,}`: false, `{"a"}`: false, `{a:1}`: false, `{"a":1`: false, `{"a":}`: false,
		` 1`: false, `1 `: false, "1\n": false, `1 2`: false, `[]]`: false, `{}{}`: false, `{"a": 1}`: false,
		`"\x"`: false, `"\u12"`: false, `"\u12g4"`: false, `"\ud83d"`: false, `"\ude00"`: false, `"\ud83d\u0041"`: false, `"\ud83dx"`: false, `"\ud83d\ud83d"`: false,
		"\"\n\"": false, "\"\x00\"": false, "\"\x1f\"": false, "\"\xff\"": false, "\"\xed\xa0\x80\"": false, "\"\xc0\x80\"": false,
		`{"a":1,"a":2}`: false, `{"a":1,"\u0061":2}`: false, `{"\u0061":1,"a":2}`: false, `[{"a":1,"a":1}]`: false,
		`{` + members(20) + `"a":0}`: false, `{` + members(20) + `"t":0}`: false, `{` + members(20) + `"\u0073":0}`: false, `{` + members(8) + `"h":0}`: false,
	} {
		if got := seal.ValidValue([]byte(value)); got != want {
			t.Errorf("ValidValue(%q) = %t", value, got)
		}
	}
}
