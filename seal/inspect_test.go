package seal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/seal"
)

// The form is judged by itself, without the help of the key or of
// authentication: each part of SPEC §2 is looked at alone.
func TestShapeIsCheckedWithoutAKey(t *testing.T) {
	const keyID, salt = "firstkey", "AAAAAAAAAAAAAAAAAAAAAA"
	header := func(enc, kid string) string { return fmt.Sprintf(`{"alg":"dir","enc":"%s","kid":"%s"}`, enc, kid) }
	bytes := func(n int) string { return b64(strings.Repeat("x", n)) }
	envelope := func(header string, parts ...string) string { return b64(header) + "." + strings.Join(parts, ".") }
	gcm, cbc := header("A256GCM", keyID+"."+salt), header("A256CBC-HS512", keyID+"."+salt)
	for name, text := range map[string]string{
		"GCM":          envelope(gcm, "", bytes(12), bytes(32), bytes(16)),
		"CBC":          envelope(cbc, "", bytes(16), bytes(32), bytes(32)),
		"one byte":     envelope(gcm, "", bytes(12), bytes(1), bytes(16)),
		"largest":      envelope(gcm, "", bytes(12), bytes((1<<20-len(envelope(gcm, "", bytes(12), "", bytes(16))))*3/4), bytes(16)),
		"any key's ID": envelope(header("A256GCM", "-_-_-_-_."+salt), "", bytes(12), bytes(32), bytes(16)),
	} {
		if seen, err := seal.InspectUnverified(text); err != nil || seen.Length != len(text) {
			t.Errorf("%s: %+v, %v", name, seen, err)
		}
	}
	for name, text := range map[string]string{
		"empty":                  "",
		"over the size":          envelope(gcm, "", bytes(12), bytes(768<<10), bytes(16)),
		"four parts":             envelope(gcm, "", bytes(12), bytes(32)),
		"six parts":              envelope(gcm, "", bytes(12), bytes(32), bytes(16), ""),
		"an encrypted key":       envelope(gcm, bytes(40), bytes(12), bytes(32), bytes(16)),
		"IV of 11":               envelope(gcm, "", bytes(11), bytes(32), bytes(16)),
		"IV of 16":               envelope(gcm, "", bytes(16), bytes(32), bytes(16)),
		"no IV":                  envelope(gcm, "", "", bytes(32), bytes(16)),
		"tag of 12":              envelope(gcm, "", bytes(12), bytes(32), bytes(12)),
		"tag of 17":              envelope(gcm, "", bytes(12), bytes(32), bytes(17)),
		"CBC, tag of 16":         envelope(cbc, "", bytes(16), bytes(32), bytes(16)),
		"no ciphertext":          envelope(gcm, "", bytes(12), "", bytes(16)),
		"spare bits in the tag":  envelope(gcm, "", bytes(12), bytes(32), strings.Repeat("A", 21)+"B"),
		"spare bits in the IV":   envelope(cbc, "", strings.Repeat("A", 21)+"B", bytes(32), bytes(32)),
		"spare bits in the text": envelope(gcm, "", bytes(12), "AB", bytes(16)),
		"line feed":              envelope(gcm, "", bytes(12), "AA\nAA", bytes(16)),
		"line feeds, padded out": envelope(gcm, "", bytes(12), "AAAA\r\n\r\n", bytes(16)),
		"standard alphabet":      envelope(gcm, "", bytes(12), "++//", bytes(16)),
		"padding":                envelope(gcm, "", bytes(12), "AA==", bytes(16)),
		"another algorithm":      envelope(header("A128GCM", keyID+"."+salt), "", bytes(12), bytes(32), bytes(16)),
		"another, empty parts":   envelope(header("none", keyID+"."+salt), "", "", bytes(32), ""),
		"no algorithm":           envelope(header("", keyID+"."+salt), "", "", bytes(32), ""),
		"no salt":                envelope(header("A256GCM", keyID), "", bytes(12), bytes(32), bytes(16)),
		"salt of 15":             envelope(header("A256GCM", keyID+"."+bytes(15)), "", bytes(12), bytes(32), bytes(16)),
		"salt of 17":             envelope(header("A256GCM", keyID+"."+bytes(17)), "", bytes(12), bytes(32), bytes(16)),
		"spare bits in the salt": envelope(header("A256GCM", keyID+"."+salt[:21]+"B"), "", bytes(12), bytes(32), bytes(16)),
		"salt not base64url":     envelope(header("A256GCM", keyID+"."+salt[:21]+"+"), "", bytes(12), bytes(32), bytes(16)),
		"no dot before the salt": envelope(header("A256GCM", keyID+"x"+salt), "", bytes(12), bytes(32), bytes(16)),
		"a quote in the key ID":  envelope(header("A256GCM", `first","`+"."+salt), "", bytes(12), bytes(32), bytes(16)),
		"another alg":            envelope(strings.Replace(gcm, "dir", "foo", 1), "", bytes(12), bytes(32), bytes(16)),
		"another member before":  envelope(`{"zip":"DEF",`+gcm[1:], "", bytes(12), bytes(32), bytes(16)),
		"another member after":   envelope(gcm[:len(gcm)-1]+`,"zip":"DEF"}`, "", bytes(12), bytes(32), bytes(16)),
		"something after it":     envelope(gcm+" ", "", bytes(12), bytes(32), bytes(16)),
		"something before it":    envelope(" "+gcm, "", bytes(12), bytes(32), bytes(16)),
	} {
		if seen, err := seal.InspectUnverified(text); !errors.Is(err, seal.ErrMalformed) || seen != (seal.UnverifiedEnvelope{}) {
			t.Errorf("%s: %+v, %v", name, seen, err)
		}
	}
}

// The error after authentication failed is the very same for every cause, also
// for an opener that has seen the header before.
func TestAuthErrorSaysNothing(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		good := sealed(t, ring, claims("cart", `1`))
		parts := strings.Split(good, ".")
		warm := ring.NewOpener(scope, now)
		if _, _, err := warm.Attribute(good); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"ciphertext": strings.Join([]string{parts[0], "", parts[2], changed(parts[3]), parts[4]}, "."),
			"tag":        strings.Join([]string{parts[0], "", parts[2], parts[3], changed(parts[4])}, "."),
			"IV":         strings.Join([]string{parts[0], "", changed(parts[2]), parts[3], parts[4]}, "."),
		} {
			for _, o := range []*seal.Opener{ring.NewOpener(scope, now), warm} {
				if _, _, err := o.Attribute(text); err != seal.ErrAuth {
					t.Errorf("%s, %s: %v, want ErrAuth itself", enc, name, err)
				}
				if _, _, err := o.Manifest(text); err != seal.ErrAuth {
					t.Errorf("%s, %s as a manifest: %v, want ErrAuth itself", enc, name, err)
				}
			}
		}
	}
}

// changed is a part with another first character.
func changed(part string) string {
	if part[0] == 'A' {
		return "B" + part[1:]
	}
	return "A" + part[1:]
}

// A header that was seen before spares no check of what follows it.
func TestKnownHeaderSparesNoCheck(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		good := sealed(t, ring, claims("cart", `1`))
		p := strings.Split(good, ".")
		o := ring.NewOpener(scope, now)
		if _, _, err := o.Attribute(good); err != nil {
			t.Fatal(err)
		}
		last := func(part string) string { // the same bytes in another spelling, where spare bits exist
			return part[:len(part)-1] + string(part[len(part)-1]+1)
		}
		for name, text := range map[string]string{
			"header alone":       p[0] + "..",
			"no tag":             p[0] + ".." + p[2] + "." + p[3],
			"an encrypted key":   p[0] + ".AAAA." + p[2] + "." + p[3] + "." + p[4],
			"no ciphertext":      p[0] + ".." + p[2] + ".." + p[4],
			"a sixth part":       good + ".",
			"tag moved":          p[0] + ".." + p[2] + "." + p[3] + p[4][:4] + "." + p[4][4:],
			"IV moved":           p[0] + ".." + p[2][:12] + "." + p[2][12:] + p[3] + "." + p[4],
			"dot in the text":    p[0] + ".." + p[2] + "." + p[3][:8] + "." + p[3][9:] + "." + p[4],
			"dot in the IV":      p[0] + ".." + p[2][:4] + "." + p[2][5:] + "." + p[3] + "." + p[4],
			"other IV spelling":  p[0] + ".." + p[2][:len(p[2])-1] + "=" + "." + p[3] + "." + p[4],
			"other tag spelling": p[0] + ".." + p[2] + "." + p[3] + "." + last(p[4]),
			"line feed":          good + "\n",
			"over the size":      p[0] + ".." + p[2] + "." + strings.Repeat("A", 16<<10) + "." + p[4],
		} {
			if c, _, err := o.Attribute(text); c != nil || !errors.Is(err, seal.ErrMalformed) && !errors.Is(err, seal.ErrAuth) {
				t.Errorf("%s, %s: %v, %v", enc, name, c, err)
			}
		}
		if _, _, err := o.Attribute(good); err != nil {
			t.Errorf("%s: the good one after all that: %v", enc, err)
		}
	}
}
