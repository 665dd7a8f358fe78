package seal_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/seal"
)

// The key chooses the algorithm, also where an envelope has the other one's form in all
// else: it is malformed, before anything is decrypted.
func TestKeyChoosesTheAlgorithm(t *testing.T) {
	other := map[seal.Enc]seal.Enc{seal.A256GCM: seal.A256CBCHS512, seal.A256CBCHS512: seal.A256GCM}
	rest := map[seal.Enc]string{seal.A256GCM: form(12, 16), seal.A256CBCHS512: form(16, 32)}
	for _, enc := range profiles {
		ring := testRing(t, enc)
		head, _, _ := strings.Cut(sealed(t, ring, claims("cart", `1`)), ".")
		swapped := strings.Replace(string(unb64(t, head)), string(enc), string(other[enc]), 1)
		opener := ring.NewOpener(scope, now)
		if _, _, err := opener.Attribute(head + rest[enc]); !errors.Is(err, seal.ErrAuth) {
			t.Errorf("%s: %v, want ErrAuth: the form is wrong", enc, err)
		}
		if _, _, err := opener.Attribute(b64(swapped) + rest[other[enc]]); !errors.Is(err, seal.ErrMalformed) {
			t.Errorf("%s under a key of %s: %v, want ErrMalformed", other[enc], enc, err)
		}
	}
}

// form is what stands behind the header of an envelope.
func form(iv, tag int) string {
	part := func(n int) string { return b64(strings.Repeat("x", n)) }
	return ".." + part(iv) + "." + part(32) + "." + part(tag)
}
