package seal

import (
	"bytes"
	"crypto/fips140"
	"crypto/sha256"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The envelopes of the worked example (SPEC §13) open to the plaintexts beside
// them. The Python opener checks the rest of it.
func TestWorkedExample(t *testing.T) {
	spec, err := os.ReadFile("../docs/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(spec), "\n## 13 ")
	text, _, _ = strings.Cut(text, "\n## 14 ")
	plain := regexp.MustCompile(`(?m)^\{.*\}$`).FindAllString(text, -1)
	envelopes := regexp.MustCompile(`(?m)^eyJ\S+$`).FindAllString(text, -1)
	if len(plain) != 3 || len(envelopes) != 4 {
		t.Fatalf("%d plaintexts and %d envelopes, want 3 and 4", len(plain), len(envelopes))
	}
	secret := sha256.Sum256([]byte("sealed-blob/v1 example ring key"))
	for i, c := range []struct {
		enc   Enc
		p     Purpose
		plain string
	}{
		{A256GCM, ForAttribute, plain[0]}, {A256GCM, ForManifest, plain[1]}, {A256CBCHS512, ForAttribute, plain[0]}, {A256GCM, ForGrant, plain[2]},
	} {
		key, err := newKey("ExampleK", c.enc, secret[:], time.Time{}, time.Time{}, "")
		if err != nil {
			t.Fatal(err)
		}
		ring, err := newRing(1, []*Key{key})
		if err != nil {
			t.Fatal(err)
		}
		o := ring.NewOpener(Scope{App: "shop"}, time.Unix(1_800_000_000, 0))
		var got []byte
		fips140.WithoutEnforcement(func() { got, err = o.AppendOpen(nil, c.p, envelopes[i]) })
		if err != nil || string(bytes.TrimRight(got, " ")) != c.plain {
			t.Errorf("envelope %d: %q, %v", i, got, err)
		}
		fips140.WithoutEnforcement(func() {
			switch c.p {
			case ForAttribute:
				_, _, err = o.Attribute(envelopes[i])
			case ForManifest:
				_, _, err = o.Manifest(envelopes[i])
			case ForGrant:
				_, _, err = o.Grant(envelopes[i])
			}
		})
		if err != nil {
			t.Errorf("envelope %d: %v", i, err)
		}
	}
}
