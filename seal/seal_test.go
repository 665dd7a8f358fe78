package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

var (
	now   = time.Unix(1_800_000_000, 0)
	scope = seal.Scope{App: "shop", Tenant: "t1"}
)

func testRing(t testing.TB, enc seal.Enc) *seal.Ring {
	t.Helper()
	ring, err := seal.InitRing(t.TempDir(), enc, now)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func claims(name, value string) *seal.Claims {
	return &seal.Claims{
		JTI: seal.NewID(), IssuedAt: now.Unix(), Expires: now.Unix() + 60, Session: seal.NewID(),
		Gen: 1, Name: name, Policy: "1-abc", Value: []byte(value),
	}
}

func sealed(t testing.TB, ring *seal.Ring, c *seal.Claims) string {
	t.Helper()
	s, err := ring.NewSealer(scope, now)
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Attribute(c)
	if err != nil {
		t.Fatalf("Attribute(%s) = %v", c.Name, err)
	}
	return text
}

func TestRoundTrip(t *testing.T) {
	for _, enc := range profiles {
		t.Run(string(enc), func(t *testing.T) {
			ring := testRing(t, enc)
			for _, want := range []*seal.Claims{
				claims("cart", `{"items":["a","b"],"n":1.5}`),
				claims("x", `"`+strings.Repeat("é", 2000)+`"`),
				{JTI: seal.NewID(), UID: seal.NewID(), Once: true, IssuedAt: 1, Expires: 2, AbsoluteExpires: 3, Session: seal.NewID(), Name: "t", Policy: "1", Value: []byte{0, 255, 1}, Binary: true},
			} {
				got, opened, err := ring.NewOpener(scope, now).Attribute(sealed(t, ring, want))
				if err != nil {
					t.Fatalf("open %s: %v", want.Name, err)
				}
				if fmt.Sprint(*got) != fmt.Sprint(*want) {
					t.Errorf("opened %+v, want %+v", got, want)
				}
				if in, err := opened.InSlot("AAAAAAAAAAAA", want.Name); opened.Stale || opened.KeyID != ring.Keys()[0].ID() || in || err != nil {
					t.Errorf("opened = %+v, in another slot: %t, %v", opened, in, err)
				}
			}
		})
	}
}

func TestGrantRoundTrip(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		s, err := ring.NewSealer(scope, now)
		noError(t, err)
		want := claims("reset", `"ada"`)
		text, err := s.Grant(want)
		noError(t, err)
		o := ring.NewOpener(scope, now)
		if got, opened, err := o.Grant(text); err != nil || fmt.Sprint(got) != fmt.Sprint(want) || opened.KeyID != s.KeyID() {
			t.Errorf("%s: Grant = %+v, %+v, %v, want %+v", enc, got, opened, err, want)
		}
		if got, _, err := o.Attribute(text); got != nil || !errors.Is(err, seal.ErrAuth) {
			t.Errorf("%s: a grant opened as an attribute: %v", enc, err)
		}
		attribute, err := s.Attribute(want)
		noError(t, err)
		if got, _, err := o.Grant(attribute); got != nil || !errors.Is(err, seal.ErrAuth) {
			t.Errorf("%s: an attribute opened as a grant: %v", enc, err)
		}
	}
}

func TestManifestRoundTrip(t *testing.T) {
	ring := testRing(t, usual)
	s, _ := ring.NewSealer(scope, now)
	want := &seal.Manifest{
		Session: seal.NewID(), Subject: "zoë \\ \"quoted\" <&>", SubjectSince: 4, Fence: 2, Gen: 9, IssuedAt: 5, Expires: 6, AbsoluteExpires: 7, Binding: "cookie:abc", Policy: "1",
		Entries: []seal.Entry{{Slot: "aaaaaaaaaaaa", JTI: seal.NewID(), Expires: 9}, {Slot: "baaaaaaaaaaa", JTI: seal.NewID(), Expires: 9}},
	}
	text, err := s.Manifest(want)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := ring.NewOpener(scope, now).Manifest(text)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("Manifest = %+v, %v, want %+v", got, err, want)
	}
	if _, _, err := ring.NewOpener(scope, now).Attribute(text); !errors.Is(err, seal.ErrAuth) {
		t.Errorf("a manifest opened as an attribute: %v", err)
	}
	want.Subject = "line\nbreak"
	if _, err := s.Manifest(want); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("a control character in the subject: %v", err)
	}
}

// Every other string in the neighbourhood of an envelope is refused: one
// accepted string per sealed value.
func TestOneAcceptedString(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		good := sealed(t, ring, claims("cart", `1`))
		refuse := func(variant, what string) {
			t.Helper()
			if variant == good {
				return
			}
			c, opened, err := ring.NewOpener(scope, now).Attribute(variant)
			if err == nil {
				t.Fatalf("%s: %s accepted %q", enc, what, variant)
			}
			if c != nil || opened != (seal.Opened{}) {
				t.Fatalf("%s: %s: a result beside the error", enc, what)
			}
			if !errors.Is(err, seal.ErrMalformed) && !errors.Is(err, seal.ErrAuth) && !errors.Is(err, seal.ErrUnknownKey) {
				t.Fatalf("%s: %s: unexpected error %v", enc, what, err)
			}
		}
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\r\t\x00é"
		for i := range len(good) {
			for _, c := range alphabet {
				refuse(good[:i]+string(c)+good[i+1:], "substitution")
				refuse(good[:i]+string(c)+good[i:], "insertion")
			}
			refuse(good[:i]+good[i+1:], "deletion")
			refuse(good[:i], "truncation")
		}
		p := strings.Split(good, ".")
		for n := 1; n < len(p[3]); n++ {
			refuse(strings.Join([]string{p[0], "", p[2], p[3][:len(p[3])-n], p[3][len(p[3])-n:] + p[4]}, "."), "ciphertext moved into the tag")
		}
		refuse(p[0]+".AAAA."+p[2]+"."+p[3]+"."+p[4], "an encrypted key")
		refuse(`{"protected":"`+p[0]+`","iv":"`+p[2]+`","ciphertext":"`+p[3]+`","tag":"`+p[4]+`"}`, "JSON serialization")
		refuse(" "+good, "leading space")
		refuse(good+"\n", "trailing newline")
		refuse(good+".", "a sixth part")
		refuse(strings.Repeat(".", 8<<20), "dots")
	}
}

func TestHeaderIsFixed(t *testing.T) {
	ring := testRing(t, usual)
	good := sealed(t, ring, claims("cart", `1`))
	head, rest, _ := strings.Cut(good, ".")
	raw := unb64(t, head)
	var h map[string]any
	if err := json.Unmarshal(raw, &h); err != nil || len(h) != 3 {
		t.Fatalf("header %s: %v", raw, err)
	}
	for name, variant := range map[string]string{
		"space":        strings.Replace(string(raw), ":", ": ", 1),
		"order":        `{"enc":"` + string(usual) + `","alg":"dir","kid":"` + h["kid"].(string) + `"}`,
		"zip":          strings.Replace(string(raw), `"dir",`, `"dir","zip":"DEF",`, 1),
		"crit":         strings.Replace(string(raw), `}`, `,"crit":["x"]}`, 1),
		"duplicate":    strings.Replace(string(raw), `}`, `,"alg":"dir"}`, 1),
		"enc swapped":  strings.Replace(string(raw), string(usual), map[seal.Enc]string{seal.A256GCM: "A256CBC-HS512", seal.A256CBCHS512: "A256GCM"}[usual], 1),
		"alg swapped":  strings.Replace(string(raw), `"dir"`, `"A256KW"`, 1),
		"escaped name": strings.Replace(string(raw), `"alg"`, `"\u0061lg"`, 1),
	} {
		if variant == string(raw) {
			t.Fatalf("%s changed nothing", name)
		}
		if _, _, err := ring.NewOpener(scope, now).Attribute(b64(variant) + "." + rest); !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func TestScopeAndKeySeparate(t *testing.T) {
	ring := testRing(t, usual)
	text := sealed(t, ring, claims("cart", `1`))
	for _, other := range []seal.Scope{{App: "shop"}, {App: "shopt", Tenant: "1"}, {App: "other", Tenant: "t1"}, {App: "", Tenant: "shopt1"}} {
		if _, _, err := ring.NewOpener(other, now).Attribute(text); !errors.Is(err, seal.ErrAuth) {
			t.Errorf("scope %+v: %v, want ErrAuth", other, err)
		}
	}
	if _, _, err := testRing(t, usual).NewOpener(scope, now).Attribute(text); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("foreign ring: %v, want ErrUnknownKey", err)
	}
}

func TestLengthIsHidden(t *testing.T) {
	ring := testRing(t, usual)
	s, _ := ring.NewSealer(scope, now)
	text := func(n int) int {
		out, err := s.Attribute(claims("a", `"`+strings.Repeat("x", n)+`"`))
		if err != nil {
			t.Fatal(err)
		}
		return len(out)
	}
	sizes := map[int]bool{}
	for n := range 8000 {
		sizes[text(n)] = true
	}
	if len(sizes) > 80 { // 16 buckets to 512 B, 16 an octave above
		t.Errorf("8000 lengths show %d sizes", len(sizes))
	}
}

func TestEnvelopeLen(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		s, _ := ring.NewSealer(scope, now)
		for n := range 1500 {
			c := claims("a", `"`+strings.Repeat("x", n)+`"`)
			text, err := s.Attribute(c)
			noError(t, err)
			plain, err := ring.NewOpener(scope, now).AppendOpen(nil, seal.ForAttribute, text)
			noError(t, err)
			if got := seal.EnvelopeLen(enc, len(bytes.TrimRight(plain, " ")), 0); got != len(text) {
				t.Fatalf("%s: EnvelopeLen of a value of %d characters = %d, want %d", enc, n, got, len(text))
			}
			if n%100 == 0 {
				c.Pad = seal.PadFor(2000)
				text, err = s.Attribute(c)
				noError(t, err)
				if got := seal.EnvelopeLen(enc, len(bytes.TrimRight(plain, " ")), c.Pad); got != len(text) {
					t.Fatalf("%s: EnvelopeLen of a padded one = %d, want %d", enc, got, len(text))
				}
			}
		}
	}
}

func TestSizeLimit(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		s, _ := ring.NewSealer(scope, now)
		largest := 0
		for n := 11_000; n < 13_000; n += 7 {
			text, err := s.Attribute(claims("a", `"`+strings.Repeat("x", n)+`"`))
			if err != nil {
				if !errors.Is(err, seal.ErrTooLarge) {
					t.Fatal(err)
				}
				continue
			}
			if _, _, err := ring.NewOpener(scope, now).Attribute(text); err != nil {
				t.Fatalf("%s: sealed %d bytes but can't open: %v", enc, len(text), err)
			}
			largest = max(largest, len(text))
		}
		if largest == 0 || largest > seal.MaxEnvelope {
			t.Errorf("%s: largest envelope %d", enc, largest)
		}
	}
}

// The limit of an envelope is the ring's to move, for both directions alike.
func TestOtherSizeLimit(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		plain := []byte(strings.Repeat("x", 64<<10))
		wide, err := ring.WithMaxEnvelope(100<<10).NewSealer(scope, now)
		noError(t, err)
		text, err := wide.AppendSeal(nil, seal.ForAttribute, plain)
		noError(t, err)
		for limit, want := range map[int]error{0: seal.ErrMalformed, len(text) - 1: seal.ErrMalformed, len(text): nil, 1 << 30: nil} {
			got, err := ring.WithMaxEnvelope(limit).NewOpener(scope, now).AppendOpen(nil, seal.ForAttribute, string(text))
			if !errors.Is(err, want) || (err == nil) != bytes.Equal(got, plain) {
				t.Errorf("%s: opening %d characters with the limit %d: %v, want %v", enc, len(text), limit, err, want)
			}
			s, err := ring.WithMaxEnvelope(limit).NewSealer(scope, now)
			noError(t, err)
			if _, err := s.AppendSeal(nil, seal.ForAttribute, plain); (err == nil) != (want == nil) || err != nil && !errors.Is(err, seal.ErrTooLarge) {
				t.Errorf("%s: sealing %d characters with the limit %d: %v", enc, len(text), limit, err)
			}
		}
		if _, err := ring.NewOpener(scope, now).AppendOpen(nil, seal.ForAttribute, string(text)); !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("%s: the ring itself has the limit of the other: %v", enc, err)
		}
		most, err := ring.WithMaxEnvelope(1<<30).NewSealer(scope, now)
		noError(t, err)
		if _, err := most.AppendSeal(nil, seal.ForAttribute, make([]byte, seal.MaxMaxEnvelope)); !errors.Is(err, seal.ErrTooLarge) {
			t.Errorf("%s: over the highest limit: %v", enc, err)
		}
	}
}

func TestClaimsHaveOneSpelling(t *testing.T) {
	for name, value := range map[string]string{
		"space":          `{"a": 1}`,
		"duplicate":      `{"a":1,"a":2}`,
		"nested":         `{"b":{"a":1,"a":2}}`,
		"two values":     `1 2`,
		"bad UTF-8":      "\"\xff\"",
		"unfinished":     `{"a":`,
		"empty":          ``,
		"seventeen":      strings.Repeat("[", 17) + strings.Repeat("]", 17),
		"fifty thousand": strings.Repeat("[", 50_000),
	} {
		ring := testRing(t, usual)
		s, _ := ring.NewSealer(scope, now)
		if _, err := s.Attribute(claims("cart", value)); !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("%s: sealed, %v", name, err)
		}
	}
	if text := sealed(t, testRing(t, usual), claims("cart", strings.Repeat("[", 16)+strings.Repeat("]", 16))); text == "" {
		t.Error("depth 16 refused")
	}
}

func TestStates(t *testing.T) {
	dir := t.TempDir()
	ring, err := seal.InitRing(dir, usual, now)
	if err != nil {
		t.Fatal(err)
	}
	old := sealed(t, ring, claims("cart", `1`))
	later := now.Add(2 * time.Minute)
	ring, err = seal.UnsafeRotateRing(t.Context(), dir, seal.A256CBCHS512, now, later)
	if err != nil {
		t.Fatal(err)
	}
	first, second := ring.Keys()[0], ring.Keys()[1]
	for _, step := range []struct {
		at   time.Time
		want [2]seal.State
	}{
		{now.Add(-time.Second), [2]seal.State{seal.Pending, seal.Pending}},
		{now, [2]seal.State{seal.Primary, seal.Pending}},
		{later.Add(-time.Second), [2]seal.State{seal.Primary, seal.Pending}},
		{later, [2]seal.State{seal.OpenOnly, seal.Primary}},
	} {
		if got := [2]seal.State{ring.State(first, step.at), ring.State(second, step.at)}; got != step.want {
			t.Errorf("at %v: %v, want %v", step.at, got, step.want)
		}
	}
	if _, err := ring.NewSealer(scope, now.Add(-time.Hour)); !errors.Is(err, seal.ErrNoPrimary) {
		t.Errorf("before activation: %v", err)
	}
	if _, opened, err := ring.NewOpener(scope, later).Attribute(old); err != nil || !opened.Stale {
		t.Errorf("under the old key: %+v, %v, want stale", opened, err)
	}
}

func TestSecretsDontPrint(t *testing.T) {
	ring := testRing(t, usual)
	key := ring.Keys()[0]
	out := fmt.Sprintf("%v %+v %#v %s %x %v %+v", key, key, key, key, key, ring, ring)
	if j, err := json.Marshal(key); err != nil || string(j) != `"[redacted]"` {
		t.Errorf("json = %s, %v", j, err)
	}
	if strings.Trim(strings.ReplaceAll(out, "[redacted]", ""), " ") != "" {
		t.Errorf("printed %q", out)
	}
}

func TestErrorsCarryNoInput(t *testing.T) {
	ring := testRing(t, usual)
	for _, in := range []string{strings.Repeat("A", 1<<20), "SECRETSECRET.a.b.c.d", b64(`{"alg":"`+strings.Repeat("B", 9000)+`"}`) + "...."} {
		_, _, err := ring.NewOpener(scope, now).Attribute(in)
		if err == nil || len(err.Error()) > 100 || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("error %.200q", err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	ring := testRing(b, usual)
	text := sealed(b, ring, claims("cart", `"`+strings.Repeat("x", 200)+`"`))
	o := ring.NewOpener(scope, now)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := o.Attribute(text); err != nil {
			b.Fatal(err)
		}
	}
}

// With a chosen padding the envelope's length says nothing of the value's.
func TestChosenPadding(t *testing.T) {
	ring := testRing(t, usual)
	s, _ := ring.NewSealer(scope, now)
	for _, most := range []int{0, 40, 1000, 11 << 10} {
		lengths := map[int]bool{}
		for _, n := range []int{0, 1, most / 2, most - 2} {
			c := claims("a", `"`+strings.Repeat("x", max(n, 0))+`"`)
			c.Pad = seal.PadFor(max(most, 2))
			text, err := s.Attribute(c)
			noError(t, err)
			got, _, err := ring.NewOpener(scope, now).Attribute(text)
			if err != nil || fmt.Sprint(*got) != fmt.Sprint(*c) {
				t.Fatalf("opened %+v, %v; want %+v", got, err, c)
			}
			lengths[len(text)] = true
		}
		if len(lengths) != 1 {
			t.Errorf("values of up to %d bytes show %d lengths", most, len(lengths))
		}
	}
	longest := &seal.Claims{
		JTI: seal.NewID(), UID: seal.NewID(), Once: true, IssuedAt: 1 << 52, Expires: 1 << 52, AbsoluteExpires: 1 << 52, Session: seal.NewID(),
		Gen: 1 << 52, Name: strings.Repeat("n", 64), Policy: strings.Repeat("p", 64), Value: []byte(`"` + strings.Repeat("x", 11<<10-2) + `"`),
	}
	longest.Pad = seal.PadFor(len(longest.Value))
	if _, err := s.Attribute(longest); err != nil {
		t.Errorf("the longest claims don't fit what PadFor says: %v", err)
	}
	for _, n := range []int{-32, 1, 33, 500, 2 << 20, 32} { // no buckets, too large, too small
		c := claims("a", `"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"`)
		c.Pad = n
		if text, err := s.Attribute(c); text != "" || !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("padded to %d: %v", n, err)
		}
	}
}
