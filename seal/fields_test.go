package seal_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/seal"
)

const tooLarge = 1 << 53 // one more than every JSON reader holds exactly

// Each rule of SPEC §4 by itself. Sealing and opening use the same check, so
// that what is refused here can't be opened either.
func TestClaimsRules(t *testing.T) {
	s, err := testRing(t, usual).NewSealer(scope, now)
	must(t, err)
	once := func(c *seal.Claims) { c.Once, c.UID, c.AbsoluteExpires = true, seal.NewID(), c.Expires }
	for name, change := range map[string]func(*seal.Claims){
		"no jti":              func(c *seal.Claims) { c.JTI = seal.ID{} },
		"no session":          func(c *seal.Claims) { c.Session = seal.ID{} },
		"no iat":              func(c *seal.Claims) { c.IssuedAt = 0 },
		"negative iat":        func(c *seal.Claims) { c.IssuedAt = -1 },
		"exp before iat":      func(c *seal.Claims) { c.Expires = c.IssuedAt - 1 },
		"huge exp":            func(c *seal.Claims) { c.Expires = tooLarge },
		"axp before iat":      func(c *seal.Claims) { c.AbsoluteExpires = c.IssuedAt - 1 },
		"negative axp":        func(c *seal.Claims) { c.AbsoluteExpires = -1 },
		"huge axp":            func(c *seal.Claims) { c.AbsoluteExpires = tooLarge },
		"huge gen":            func(c *seal.Claims) { c.Gen = tooLarge },
		"once without uid":    func(c *seal.Claims) { once(c); c.UID = seal.ID{} },
		"once without axp":    func(c *seal.Claims) { once(c); c.AbsoluteExpires = 0 },
		"uid without once":    func(c *seal.Claims) { c.UID = seal.NewID() },
		"no name":             func(c *seal.Claims) { c.Name = "" },
		"name of 65":          func(c *seal.Claims) { c.Name = strings.Repeat("a", 65) },
		"name with a quote":   func(c *seal.Claims) { c.Name = `a","once":true,"x":"` },
		"no policy":           func(c *seal.Claims) { c.Policy = "" },
		"policy of 65":        func(c *seal.Claims) { c.Policy = strings.Repeat("1", 65) },
		"policy with a quote": func(c *seal.Claims) { c.Policy = `1","val":0,"x":"` },
		"no value":            func(c *seal.Claims) { c.Value = nil },
	} {
		c := claims("cart", `1`)
		change(c)
		if text, err := s.Attribute(c); text != "" || !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("%s: sealed, %v", name, err)
		}
	}
	for name, change := range map[string]func(*seal.Claims){
		"as it is":           func(*seal.Claims) {},
		"exp at iat":         func(c *seal.Claims) { c.Expires = c.IssuedAt },
		"axp at iat":         func(c *seal.Claims) { c.AbsoluteExpires = c.IssuedAt },
		"largest numbers":    func(c *seal.Claims) { c.Expires, c.AbsoluteExpires, c.Gen = tooLarge-1, tooLarge-1, tooLarge-1 },
		"once":               once,
		"name of 64":         func(c *seal.Claims) { c.Name = strings.Repeat("a", 64) },
		"policy of 64":       func(c *seal.Claims) { c.Policy = strings.Repeat("1", 64) },
		"bytes, none at all": func(c *seal.Claims) { c.Binary, c.Value = true, nil },
	} {
		c := claims("cart", `1`)
		change(c)
		if _, err := s.Attribute(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each rule of SPEC §5 by itself.
func TestManifestRules(t *testing.T) {
	s, err := testRing(t, usual).NewSealer(scope, now)
	must(t, err)
	good := func() *seal.Manifest {
		return &seal.Manifest{
			Session: seal.NewID(), Subject: "ada", SubjectSince: 4, Fence: 1, Gen: 2, IssuedAt: 5, Expires: 6, AbsoluteExpires: 7, Binding: "cookie:abc", Policy: "1",
			Entries: []seal.Entry{{"aaaaaaaaaaaa", seal.NewID(), 9}, {"baaaaaaaaaaa", seal.NewID(), 9}},
		}
	}
	entries := func(n int) (out []seal.Entry) {
		for i := range n {
			out = append(out, seal.Entry{Slot: "aaaaaaaaaa" + string(rune('a'+i/26)) + string(rune('a'+i%26)), JTI: seal.NewID(), Expires: 9})
		}
		return out
	}
	for name, change := range map[string]func(*seal.Manifest){
		"no session":           func(m *seal.Manifest) { m.Session = seal.ID{} },
		"no iat":               func(m *seal.Manifest) { m.IssuedAt = 0 },
		"negative iat":         func(m *seal.Manifest) { m.IssuedAt = -1 },
		"exp before iat":       func(m *seal.Manifest) { m.Expires = 4 },
		"huge exp":             func(m *seal.Manifest) { m.Expires = tooLarge },
		"axp before iat":       func(m *seal.Manifest) { m.AbsoluteExpires = 4 },
		"huge axp":             func(m *seal.Manifest) { m.AbsoluteExpires = tooLarge },
		"huge fence":           func(m *seal.Manifest) { m.Fence = tooLarge },
		"huge gen":             func(m *seal.Manifest) { m.Gen = tooLarge },
		"a subject, no time":   func(m *seal.Manifest) { m.SubjectSince = 0 },
		"a time, no subject":   func(m *seal.Manifest) { m.Subject = "" },
		"negative sat":         func(m *seal.Manifest) { m.SubjectSince = -1 },
		"huge sat":             func(m *seal.Manifest) { m.SubjectSince = tooLarge },
		"subject of 257":       func(m *seal.Manifest) { m.Subject = strings.Repeat("a", 257) },
		"subject not UTF-8":    func(m *seal.Manifest) { m.Subject = "a\xff" },
		"subject with ESC":     func(m *seal.Manifest) { m.Subject = "\x1b[2J" },
		"subject with C1":      func(m *seal.Manifest) { m.Subject = "\u0085" },
		"no binding":           func(m *seal.Manifest) { m.Binding = "" },
		"binding of 97":        func(m *seal.Manifest) { m.Binding = strings.Repeat("a", 97) },
		"binding with a quote": func(m *seal.Manifest) { m.Binding = `a","pv":"` },
		"no policy":            func(m *seal.Manifest) { m.Policy = "" },
		"65 entries":           func(m *seal.Manifest) { m.Entries = entries(65) },
		"short slot":           func(m *seal.Manifest) { m.Entries[0].Slot = "aaaaaaaaaaa" },
		"slot with a quote":    func(m *seal.Manifest) { m.Entries[0].Slot = `aaaaaaaaaaa"` },
		"no jti":               func(m *seal.Manifest) { m.Entries[0].JTI = seal.ID{} },
		"entry without end":    func(m *seal.Manifest) { m.Entries[0].Expires = 0 },
		"entry, huge end":      func(m *seal.Manifest) { m.Entries[0].Expires = tooLarge },
		"descending":           func(m *seal.Manifest) { m.Entries[0], m.Entries[1] = m.Entries[1], m.Entries[0] },
		"one slot twice":       func(m *seal.Manifest) { m.Entries[1].Slot = m.Entries[0].Slot },
	} {
		m := good()
		change(m)
		if text, err := s.Manifest(m); text != "" || !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("%s: sealed, %v", name, err)
		}
	}
	for name, change := range map[string]func(*seal.Manifest){
		"as it is":       func(*seal.Manifest) {},
		"nobody, no set": func(m *seal.Manifest) { m.Subject, m.SubjectSince, m.Entries = "", 0, nil },
		"64 entries":     func(m *seal.Manifest) { m.Entries = entries(64) },
		"subject of 256": func(m *seal.Manifest) { m.Subject = strings.Repeat("a", 256) },
		"binding of 96":  func(m *seal.Manifest) { m.Binding = strings.Repeat("a", 96) },
	} {
		m := good()
		change(m)
		if _, err := s.Manifest(m); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "cart": true, "a_b.c-9": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "A": false, "9a": false, "_a": false, "-a": false, ".a": false,
		"aB": false, "a b": false, "a/b": false, "a\n": false, "a\x00": false, "aé": false, `a"`: false, "{a": false, "`a": false,
	} {
		if got := seal.ValidName(name); got != want {
			t.Errorf("ValidName(%q) = %t", name, got)
		}
	}
}

// Only brackets outside of texts nest.
func TestDepthCountsOutsideTexts(t *testing.T) {
	many := strings.Repeat("[", 40)
	for value, want := range map[string]bool{
		`"` + many + `"`:      true,
		`{"` + many + `":1}`:  true,
		`["\"` + many + `"]`:  true,
		`["\\",` + many + `]`: false,
		`"a\\"`:               true,
		strings.Repeat(`[[],`, 15) + `1` + strings.Repeat(`]`, 15):  true,
		strings.Repeat(`{"a":`, 17) + `1` + strings.Repeat(`}`, 17): false,
	} {
		if got := seal.ValidValue([]byte(value)); got != want {
			t.Errorf("ValidValue(%s) = %t", value, got)
		}
	}
}

func TestParseIDTakesOneSpelling(t *testing.T) {
	id := seal.NewID()
	if got, err := seal.ParseID(id.String()); got != id || err != nil {
		t.Fatalf("ParseID(%s) = %v, %v", id, got, err)
	}
	for name, text := range map[string]string{
		"empty": "", "15 bytes": b64(strings.Repeat("x", 15)), "17 bytes": b64(strings.Repeat("x", 17)), "32 bytes": b64(strings.Repeat("x", 32)),
		"padded": id.String() + "==", "line feed": id.String() + "\n", "spare bits": strings.Repeat("A", 21) + "B",
	} {
		if got, err := seal.ParseID(text); got != (seal.ID{}) || !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("%s: ParseID = %v, %v", name, got, err)
		}
	}
}
