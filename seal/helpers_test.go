package seal_test

import (
	"crypto/fips140"
	"encoding/base64"
	"testing"

	"github.com/sealedblob/sealedblob/seal"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func unb64(t testing.TB, s string) []byte {
	t.Helper()
	out, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// usual is the profile of tests that are about something else; profiles are all
// that this process can use. Under GODEBUG=fips140=only that is the strict one:
// the FIPS module seals A256GCM only with IVs of its own.
var usual, profiles = func() (seal.Enc, []seal.Enc) {
	if fips140.Enforced() {
		return seal.A256CBCHS512, []seal.Enc{seal.A256CBCHS512}
	}
	return seal.A256GCM, []seal.Enc{seal.A256GCM, seal.A256CBCHS512}
}()
