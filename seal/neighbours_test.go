package seal_test

import (
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/seal"
)

// Nothing that lies one step from an envelope opens, whatever byte is put where
// and of whatever kind the envelope is: neither in a fresh opener nor in one
// that has opened the envelope itself and knows its header.
func TestNoNeighbourOpens(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		s, err := ring.NewSealer(scope, now)
		must(t, err)
		for _, kind := range []string{"attribute", "once-only", "grant", "manifest"} {
			t.Run(string(enc)+"/"+kind, func(t *testing.T) {
				t.Parallel()
				text := sampleOf(t, s, kind)
				open := func(o *seal.Opener, text string) (opened bool, err error) {
					if kind == "manifest" {
						m, _, err := o.Manifest(text)
						return m != nil, err
					}
					one := o.Attribute
					if kind == "grant" {
						one = o.Grant
					}
					c, _, err := one(text)
					return c != nil, err
				}
				known := ring.NewOpener(scope, now)
				trials := map[string]int{}
				for step, variant := range testkit.Neighbours(text, testkit.AllBytes) {
					if step == "deletion" { // once a place: other salts may have pushed the header out
						if opened, err := open(known, text); !opened || err != nil {
							t.Fatalf("the envelope itself: %v", err)
						}
					}
					trials[step]++
					openers := []*seal.Opener{known}
					if enc == usual { // in the slower one TestOneAcceptedString does
						openers = append(openers, ring.NewOpener(scope, now))
					}
					for _, o := range openers {
						opened, err := open(o, variant)
						if opened || err != seal.ErrMalformed && err != seal.ErrUnknownKey && err != seal.ErrAuth {
							t.Fatalf("%s: opened %t, %v: %q", step, opened, err, variant)
						}
					}
				}
				n := len(text)
				t.Logf("%d characters: %v", n, trials)
				if trials["insertion"] != 256*(n+1) || trials["substitution"] != 255*n || trials["deletion"] != n || trials["swap"] < n/2 || trials["case"] < n/2 {
					t.Errorf("%d characters had only %v", n, trials)
				}
			})
		}
	}
}

// sampleOf is an envelope of each kind, with an A in every part: a foreign byte
// that decodes as if it were one would be told by nothing but the alphabet.
func sampleOf(t *testing.T, s *seal.Sealer, kind string) string {
	t.Helper()
	c := claims("cart", `1`)
	if kind == "once-only" || kind == "grant" {
		c.Once, c.UID, c.AbsoluteExpires = true, seal.NewID(), c.Expires
	}
	m := &seal.Manifest{
		Session: c.Session, IssuedAt: 5, Expires: 6, AbsoluteExpires: 7, Binding: "cookie:abc", Policy: "1",
		Entries: []seal.Entry{{Slot: "aaaaaaaaaaaa", JTI: seal.NewID(), Expires: 9}},
	}
	for {
		text, err := "", error(nil)
		switch kind {
		case "manifest":
			text, err = s.Manifest(m)
		case "grant":
			text, err = s.Grant(c)
		default:
			text, err = s.Attribute(c)
		}
		must(t, err)
		if p := strings.Split(text, "."); strings.Contains(p[2], "A") && strings.Contains(p[3], "A") && strings.Contains(p[4], "A") {
			return text
		}
	}
}
