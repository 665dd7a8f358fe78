package session_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// verifiedByJOSE returns the embedded key with which go-jose verifies a proof.
func verifiedByJOSE(proof string) (*jose.JSONWebKey, error) {
	jws, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, err
	}
	key := jws.Signatures[0].Protected.JSONWebKey
	_, err = jws.Verify(key)
	return key, err
}

// A proof is a JWS that others verify, and the session's key is the thumbprint
// that others compute.
func TestProofIsAJWS(t *testing.T) {
	o := newKeyholder(t)
	key, err := verifiedByJOSE(o.proved(o.home, o.request()).Proof)
	must(t, err)
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	must(t, err)
	if got := base64.RawURLEncoding.EncodeToString(thumbprint); got != o.s.Key() || !key.IsPublic() {
		t.Errorf("thumbprint %s, the session has %s", got, o.s.Key())
	}
}

// Nothing panics, and what is accepted verifies elsewhere too.
func FuzzProof(f *testing.F) {
	challenge, err := testkit.Ring(f).Challenge(seal.Scope{App: "shop"}, seal.NewID(), time.Now())
	if err != nil {
		f.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	good, err := session.Prove(key, challenge, "", "")
	if err != nil || session.ReadProofForTest(good) != nil {
		f.Fatalf("%v, %v", err, session.ReadProofForTest(good))
	}
	parts := strings.Split(good, ".")
	for _, seed := range []string{good, "", "..", parts[0] + ".." + parts[2], good[:len(good)-1], good + ".", parts[1] + "." + parts[0] + "." + parts[2]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, proof string) {
		if session.ReadProofForTest(proof) != nil {
			return
		}
		if _, err := verifiedByJOSE(proof); err != nil {
			t.Errorf("accepted here, and elsewhere: %v", err)
		}
	})
}
