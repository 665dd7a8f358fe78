package seal_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/vectors"
)

// Well-known keys: the content keys of RFC 7516 A.1 and A.2, the symmetric keys
// of RFC 7520 §3.5 and §3.6, the signing key of RFC 8037 A.1, the example of
// SPEC §13, and what people type.
var wellKnown = map[string]string{
	"RFC 7516 A.1":  "b1a1f480548fe1733fb403ff6b9ad4f68a076e5b702e22692f82cb2e7aea40fc",
	"RFC 7516 A.2":  "04d31fc5549dfcfe0b649dfa3faa6ace6b7cd42d6f6b09dbc8b100f08f9c2ccf",
	"RFC 7520 §3.5": "849b57219dae48de646d07dbb533566e976686457c1491be3a76dcea6c427188",
	"RFC 7520 §3.6": "0003daa40bf82db15b8956b01236a050196e62a379ae19dafbc9ee95d0ef3b1f",
	"RFC 8037 A.1":  "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	"SPEC §13":      "3f506a024d86e87cf0ac787c3c49f6bdac40305f8c70c682b2dd2a10ef6cc2c7",
	"zeros":         strings.Repeat("00", 32),
	"counting":      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
}

func TestPublishedSecretsAreRefused(t *testing.T) {
	for name, text := range wellKnown {
		secret, err := hex.DecodeString(text)
		must(t, err)
		k := newKeyring(t)
		bad := key("otherkey", 1)
		bad.Secret = b64(string(secret))
		ring, err := k.load(k.doc(key("firstkey", 2), bad))
		if ring != nil || !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), "otherkey") {
			t.Errorf("%s: LoadRing = %v, %v", name, ring, err)
		}
		if _, err := seal.UnsafeRotateRing(t.Context(), k.dir, usual, now, now); !errors.Is(err, seal.ErrRing) {
			t.Errorf("%s: RotateRing = %v", name, err)
		}
		if _, err := seal.ParseRing(k.plain(), k.signer.Public().(ed25519.PublicKey)); !errors.Is(err, seal.ErrRing) {
			t.Errorf("%s: ParseRing = %v", name, err)
		}
	}
}

// The identities and recipients of age's manual, and the signer of RFC 8037.
func TestPublishedIdentitiesAreRefused(t *testing.T) {
	const manual = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := seal.InitRing(dir, usual, now, seal.WithRecipients(manual)); !errors.Is(err, seal.ErrRing) {
		t.Errorf("a published recipient: InitRing = %v", err)
	}
	dir = ringDir(t)
	own, err := seal.RingRecipients(dir)
	must(t, err)
	if _, err := seal.SetRecipients(t.Context(), dir, append(own, manual)); !errors.Is(err, seal.ErrRing) {
		t.Errorf("a published recipient: SetRecipients = %v", err)
	}
	k := newKeyring(t)
	d := k.doc(key("firstkey", 1))
	d.Recipients = append(d.Recipients, manual)
	if _, err := k.load(d); !errors.Is(err, seal.ErrRing) {
		t.Errorf("a published recipient: LoadRing = %v", err)
	}
	for _, identity := range []string{
		"AGE-SECRET-KEY-184JMZMVQH3E6U0PSL869004Y3U2NYV7R30EU99CSEDNPH02YUVFSZW44VU",    // age's tests
		"AGE-SECRET-KEY-PQ-1HZLGZUPT4ETPKDEV8HSGFDCYZ4E522W0A7PU2LHT8EH9W6YLNC3SW78XKG", // C2SP's vectors
	} {
		as := seal.WithIdentityFile(private(t, []byte(identity)))
		dir := filepath.Join(t.TempDir(), "keys")
		if _, err := seal.InitRing(dir, usual, now, as); !errors.Is(err, seal.ErrRing) {
			t.Errorf("a published identity: InitRing = %v", err)
		}
		_, err := seal.InitRing(dir, usual, now, as, seal.InsecureSampleKeys())
		must(t, err)
		if _, err := seal.LoadRing(dir, as); !errors.Is(err, seal.ErrRing) {
			t.Errorf("a published identity: LoadRing = %v", err)
		}
	}
	k = newKeyring(t)
	seed, err := hex.DecodeString(wellKnown["RFC 8037 A.1"])
	must(t, err)
	k.signer = ed25519.NewKeyFromSeed(seed)
	edit(t, k.dir, seal.VerifierFile, func([]byte) []byte {
		return []byte(b64(string(k.signer.Public().(ed25519.PublicKey))) + "\n")
	})
	if _, err := k.load(k.doc(key("firstkey", 1))); !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), seal.VerifierFile) {
		t.Errorf("a published signer: %v", err)
	}
}

// The vectors' keyring loads by a name that says Insecure, and by no other way.
func TestVectorKeysAreRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, vectors.WriteKeys(dir))
	if _, err := seal.LoadRing(dir); !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), "published") {
		t.Errorf("LoadRing = %v", err)
	}
	if _, err := seal.WatchRing(dir, seal.WatchConfig{}); !errors.Is(err, seal.ErrRing) {
		t.Errorf("WatchRing = %v", err)
	}
	if _, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now); !errors.Is(err, seal.ErrRing) {
		t.Errorf("RotateRing = %v", err)
	}
	if ring, err := seal.LoadRing(dir, seal.InsecureSampleKeys()); err != nil || len(ring.Keys()) < 2 {
		t.Errorf("for the vectors: %v", err)
	}
	// A ring of one's own under the published identity is as good as open.
	mine := ringDir(t)
	copyFile(t, filepath.Join(dir, seal.IdentityFile), filepath.Join(mine, seal.IdentityFile))
	if _, err := seal.LoadRing(mine); !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), "published") {
		t.Errorf("under the vectors' identity: %v", err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, b, 0o600))
}
