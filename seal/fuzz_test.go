package seal

import (
	"crypto/ed25519"
	"errors"
	"io/fs"
	"testing"

	agevectors "c2sp.org/CCTV/age"
)

// FuzzKeyring: whatever stands in an identity file, in a list of recipients, in
// a ring's place or in its plaintext, the answer is a keyring or ErrRing.
func FuzzKeyring(f *testing.F) {
	entries, err := fs.ReadDir(agevectors.Vectors, ".")
	if err != nil || len(entries) == 0 {
		f.Fatalf("no vectors: %v", err)
	}
	for _, e := range entries {
		text, err := fs.ReadFile(agevectors.Vectors, e.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{
		"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----\n",
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
		ringHead + "e30\nAA\n",
	} {
		f.Add([]byte(text))
	}
	text, err := newIdentity(false)
	if err != nil {
		f.Fatal(err)
	}
	own := &identities{}
	if err := own.addFile([]byte(text)); err != nil {
		f.Fatal(err)
	}
	signer, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ids := &identities{}
		_, errRecipient := canonicalRecipients([]string{string(text)})
		_, errRing := own.decrypt(text, MaxRing)
		ring, errSigned := readSigned(text, signer)
		_, errContent := parseRingDoc(text)
		if ring != nil || errRing == nil {
			t.Errorf("a ring from nowhere: %v", ring)
		}
		for _, err := range []error{ids.addFile(text), ids.addPassphrase(text), errRecipient, errRing, errSigned, errContent} {
			if err != nil && (!errors.Is(err, ErrRing) || len(err.Error()) > 200) {
				t.Errorf("%v", err)
			}
		}
	})
}
