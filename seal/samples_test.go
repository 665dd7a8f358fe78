package seal

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var sshPublicKey = regexp.MustCompile(`ssh-ed25519 AAAA[0-9A-Za-z+/]{64}`)

// samplesIn are the values in text that may be keys, as [ringAccess.refuseSample]
// takes them: age identities and recipients, SSH keys of ed25519, and 32 bytes
// in hexadecimal or base64url.
func samplesIn(text string) (values [][]byte) {
	recipient := func(text string) {
		if to, err := canonicalRecipients([]string{text}); err == nil {
			values = append(values, []byte(to[0]))
		}
	}
	for _, key := range sshPublicKey.FindAllString(text, -1) {
		recipient(key)
	}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r > 0x7f || !isBase64URL(byte(r)) }) {
		ids := &identities{}
		if strings.HasPrefix(word, "AGE-SECRET-KEY-") && ids.addFile([]byte(word)) == nil {
			values = append(values, []byte(ids.recipients[0]))
		} else if strings.HasPrefix(word, "age1") {
			recipient(word)
		} else if b, err := hex.DecodeString(word); err == nil && len(b) == 32 {
			values = append(values, b)
		} else if b, ok := decode64(word); ok && len(b) == 32 {
			values = append(values, b)
		}
	}
	return values
}

// Every key in the documents, the vectors' keyring and the test data is refused.
// Whoever adds one adds its digest to samples.txt.
func TestSamplesAreListed(t *testing.T) {
	root := ".."
	count := 0
	check := func(path string, value []byte) {
		count++
		if (&ringAccess{}).refuseSample("", value) == nil && !weak(value) {
			t.Errorf("%s: %x is a published key that would be accepted; add to samples.txt: %s", path, value, sampleDigest(value))
		}
	}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		if e.IsDir() && (name == "node_modules" || name == ".git" || strings.HasPrefix(name, ".") && path != root) {
			return fs.SkipDir
		}
		if e.IsDir() || !e.Type().IsRegular() || filepath.Ext(name) != ".md" && filepath.Ext(name) != ".txtar" {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, value := range samplesIn(string(text)) {
			check(path, value)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 9 {
		t.Errorf("only %d values in the documents: where is SPEC §13?", count)
	}
	for _, value := range vectorKeys(t) {
		check("vectors/keys", value)
	}
	for _, value := range wycheproofKeys(t) {
		check("testdata/wycheproof", value)
	}
}

// vectorKeys are the secrets, the identity and the signer of the vectors' ring.
func vectorKeys(t *testing.T) (values [][]byte) {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("..", "vectors", "keys", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ids := &identities{}
	if err := ids.addFile(read(IdentityFile)); err != nil {
		t.Fatal(err)
	}
	values = append(values, []byte(ids.recipients[0]))
	verifier, ok := decode64(strings.TrimSpace(string(read(VerifierFile))))
	doc, err := readRingDoc(read(RingFile), ids, verifier)
	if !ok || err != nil {
		t.Fatal(err)
	}
	values = append(values, verifier)
	for _, k := range doc.Keys {
		if k.Ended != "" {
			continue // its secret is gone
		}
		secret, _ := decode64(k.Secret)
		values = append(values, secret)
	}
	return values
}

// wycheproofKeys are the symmetric keys of 32 bytes in Project Wycheproof's JWEs.
func wycheproofKeys(t *testing.T) (values [][]byte) {
	t.Helper()
	text, err := os.ReadFile("testdata/wycheproof/json_web_encryption_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TestGroups []struct {
			Private struct{ K string }
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.TestGroups {
		if k, err := base64.RawURLEncoding.DecodeString(g.Private.K); err == nil && len(k) == 32 {
			values = append(values, k)
		}
	}
	if len(values) == 0 {
		t.Error("no key in the file")
	}
	return values
}

// The finder must find, or the test above is empty.
func TestSamplesAreFound(t *testing.T) {
	ids := &identities{}
	text, err := newIdentity(false)
	if err != nil || ids.addFile([]byte(text)) != nil {
		t.Fatal(err)
	}
	hex64, b64 := strings.Repeat("0a", 32), text64([]byte(strings.Repeat("\n", 32)))
	for _, line := range []string{text, "to " + ids.recipients[0] + ".", "secret   " + hex64 + "    ; why", `{"k":"` + b64 + `"}`, b64 + "\n"} {
		if len(samplesIn(line)) != 1 {
			t.Errorf("nothing found in %q", line)
		}
	}
	if found := samplesIn(strings.Repeat("A", 44) + " " + strings.Repeat("a", 63)); len(found) != 0 {
		t.Errorf("found %x", found)
	}
}
