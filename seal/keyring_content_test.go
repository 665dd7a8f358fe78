//go:build unix

package seal_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/sealedblob/sealedblob/seal"
)

// doc is the content of a ring file, as SPEC §11 has it.
type doc struct {
	Version    uint64   `json:"version"`
	Created    int64    `json:"created"`
	Recipients []string `json:"recipients"`
	Keys       []docKey `json:"keys"`
}

type docKey struct {
	ID       string `json:"id"`
	Enc      string `json:"enc"`
	Secret   string `json:"secret,omitempty"`
	Created  int64  `json:"created"`
	Activate int64  `json:"activate"`
	Ended    string `json:"ended,omitempty"`
}

// randomSecret is 32 bytes that look random, the same for the same n.
func randomSecret(n byte) []byte {
	sum := sha256.Sum256([]byte{n})
	return sum[:]
}

func key(id string, n byte) docKey {
	return docKey{ID: id, Enc: string(usual), Secret: b64(string(randomSecret(n))), Created: now.Unix(), Activate: now.Unix()}
}

// keyring is a folder whose ring the test writes itself: rightly encrypted and
// signed, so that nothing but its content can be refused.
type keyring struct {
	t         *testing.T
	dir       string
	identity  *age.X25519Identity
	recipient *age.X25519Recipient
	signer    ed25519.PrivateKey
}

func newKeyring(t *testing.T) *keyring {
	t.Helper()
	dir := ringDir(t)
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		return strings.TrimSpace(string(text))
	}
	lines := strings.Split(read(seal.IdentityFile), "\n")
	var identity *age.X25519Identity
	var err error
	fips140.WithoutEnforcement(func() { identity, err = age.ParseX25519Identity(lines[len(lines)-1]) })
	must(t, err)
	return &keyring{t, dir, identity, identity.Recipient(), ed25519.NewKeyFromSeed(unb64(t, read(seal.SignerFile)))}
}

func (k *keyring) doc(keys ...docKey) doc {
	return doc{Version: 2, Created: now.Unix(), Recipients: []string{k.recipient.String()}, Keys: keys}
}

// write encrypts a plaintext that sign makes of the content.
func (k *keyring) write(content []byte, sign func(content []byte) string) {
	k.t.Helper()
	var out bytes.Buffer
	fips140.WithoutEnforcement(func() {
		w, err := age.Encrypt(&out, k.recipient)
		must(k.t, err)
		_, err = w.Write([]byte(sign(content)))
		must(k.t, err)
		must(k.t, w.Close())
	})
	must(k.t, os.WriteFile(filepath.Join(k.dir, seal.RingFile), out.Bytes(), 0o600))
}

// read is the content of the ring that the package wrote.
func (k *keyring) read() (d doc) {
	k.t.Helper()
	must(k.t, json.Unmarshal(unb64(k.t, strings.Split(string(k.plain()), "\n")[1]), &d))
	return d
}

// plain decrypts that ring.
func (k *keyring) plain() (plain []byte) {
	k.t.Helper()
	f, err := os.Open(filepath.Join(k.dir, seal.RingFile))
	must(k.t, err)
	defer f.Close()
	fips140.WithoutEnforcement(func() {
		in, err := age.Decrypt(f, k.identity)
		must(k.t, err)
		plain, err = io.ReadAll(in)
		must(k.t, err)
	})
	return plain
}

func (k *keyring) signed(content []byte) string {
	signature := ed25519.Sign(k.signer, append([]byte("sealed-blob/v1/keyring-signature\x00"), content...))
	return "sealed-blob/v1 keyring\n" + b64(string(content)) + "\n" + b64(string(signature)) + "\n"
}

func (k *keyring) load(d doc) (*seal.Ring, error) {
	k.t.Helper()
	content, err := json.Marshal(d)
	must(k.t, err)
	k.write(content, k.signed)
	return seal.LoadRing(k.dir)
}

// A signature says who wrote the ring, not that it is sane.
func TestSignedRingIsCheckedAllTheSame(t *testing.T) {
	k := newKeyring(t)
	if ring, err := k.load(k.doc(key("firstkey", 1), key("otherkey", 2))); err != nil || len(ring.Keys()) != 2 {
		t.Fatalf("a good ring: %v", err)
	}
	secret := func(b []byte) docKey { c := key("firstkey", 1); c.Secret = b64(string(b)); return c }
	change := func(f func(*docKey)) docKey { c := key("firstkey", 1); f(&c); return c }
	counting := make([]byte, 32)
	for i := range counting {
		counting[i] = byte(i)
	}
	backwards := make([]byte, 32)
	for i := range backwards {
		backwards[i] = byte(200 - i)
	}
	many := func(n int) (out []docKey) {
		for i := range n {
			out = append(out, key(fmt.Sprintf("key%05d", i), byte(i)))
		}
		return out
	}
	for name, c := range map[string]struct {
		keys []docKey
		doc  func(*doc)
	}{
		"no key":               {},
		"no version":           {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Version = 0 }},
		"no recipient":         {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Recipients = nil }},
		"65 recipients":        {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Recipients = make([]string, 65) }},
		"257 keys":             {keys: many(257)},
		"one ID twice":         {keys: []docKey{key("firstkey", 1), key("firstkey", 2)}},
		"one secret twice":     {keys: []docKey{key("firstkey", 1), key("otherkey", 1)}},
		"an ended key, whole":  {keys: []docKey{key("otherkey", 2), change(func(c *docKey) { c.Ended = "retired" })}},
		"no secret, not ended": {keys: []docKey{key("otherkey", 2), change(func(c *docKey) { c.Secret = "" })}},
		"version 2^53":         {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Version = 1 << 53 }},
		"version 2^64-1":       {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Version = 1<<64 - 1 }},
		"before 1970":          {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Created = -1 }},
		"after 9999":           {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Created = 253402300800 }},
		"a key before 1970":    {keys: []docKey{change(func(c *docKey) { c.Created = -1 })}},
		"a key after 9999":     {keys: []docKey{change(func(c *docKey) { c.Created = 253402300800 })}},
		"active before 1970":   {keys: []docKey{change(func(c *docKey) { c.Activate = -1 })}},
		"active at 2^63-1":     {keys: []docKey{change(func(c *docKey) { c.Activate = 1<<63 - 1 })}},
		"a recipient twice":    {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Recipients = append(d.Recipients, d.Recipients[0]) }},
		"a recipient, spaced":  {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Recipients[0] += " " }},
		"no such recipient":    {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Recipients = []string{"age1x"} }},
		"kinds mixed":          {[]docKey{key("firstkey", 1)}, func(d *doc) { d.Recipients = append(d.Recipients, seal.PassphraseRecipient) }},
		"zeros":                {keys: []docKey{secret(make([]byte, 32))}},
		"a phrase, repeated":   {keys: []docKey{secret([]byte("changemechangemechangemechangeme"))}},
		"counting up":          {keys: []docKey{secret(counting)}},
		"counting down":        {keys: []docKey{secret(backwards)}},
		"128 bits":             {keys: []docKey{secret(randomSecret(1)[:16])}},
		"264 bits":             {keys: []docKey{secret(append(randomSecret(1), 7))}},
		"no secret":            {keys: []docKey{secret(nil)}},
		"a secret, padded":     {keys: []docKey{change(func(c *docKey) { c.Secret += "=" })}},
		"an unknown algorithm": {keys: []docKey{change(func(c *docKey) { c.Enc = "A128GCM" })}},
		"no algorithm":         {keys: []docKey{change(func(c *docKey) { c.Enc = "" })}},
		"an unknown state":     {keys: []docKey{change(func(c *docKey) { c.Ended = "primary" })}},
		"a short ID":           {keys: []docKey{change(func(c *docKey) { c.ID = "first" })}},
		"an ID with a dot":     {keys: []docKey{change(func(c *docKey) { c.ID = "first.ke" })}},
	} {
		d := k.doc(c.keys...)
		if c.doc != nil {
			c.doc(&d)
		}
		ring, err := k.load(d)
		if ring != nil || !errors.Is(err, seal.ErrRing) {
			t.Errorf("%s: LoadRing = %v, %v", name, ring, err)
		} else if strings.Contains(err.Error(), b64(string(randomSecret(1)))[:20]) {
			t.Errorf("%s: the message shows the secret: %v", name, err)
		}
	}
	if _, err := k.load(k.doc(many(256)...)); err != nil {
		t.Errorf("256 keys: %v", err)
	}
	last := k.doc(change(func(c *docKey) { c.Created, c.Activate = 0, 253402300799 }))
	last.Version, last.Created = 1<<53-1, 253402300799
	if ring, err := k.load(last); err != nil || ring.Version() != last.Version {
		t.Errorf("the largest numbers: %v", err)
	}
}

// The file around the content has one form, and the signature one meaning.
func TestRingFileHasOneForm(t *testing.T) {
	k := newKeyring(t)
	content, err := json.Marshal(k.doc(key("firstkey", 1)))
	must(t, err)
	good := k.signed(content)
	lines := strings.Split(good, "\n")
	sign := func(context string, content []byte) string {
		return lines[0] + "\n" + b64(string(content)) + "\n" + b64(string(ed25519.Sign(k.signer, append([]byte(context), content...)))) + "\n"
	}
	k.write(content, func([]byte) string { return good })
	if _, err := seal.LoadRing(k.dir); err != nil {
		t.Fatal(err)
	}
	for name, plain := range map[string]string{
		"no signature":                  lines[0] + "\n" + lines[1] + "\n\n",
		"signed for another purpose":    sign("", content),
		"another key's signature":       lines[0] + "\n" + lines[1] + "\n" + b64(strings.Repeat("x", 64)) + "\n",
		"another version":               strings.Replace(good, "v1 keyring", "v2 keyring", 1),
		"no first line":                 lines[1] + "\n" + lines[2] + "\n",
		"something after the end":       good + "x\n",
		"no line feed at the end":       strings.TrimSuffix(good, "\n"),
		"white space, signed":           k.signed(append(content, ' ')),
		"an unknown member, signed":     k.signed(bytes.Replace(content, []byte(`"version"`), []byte(`"x":1,"version"`), 1)),
		"a doubled member, signed":      k.signed(bytes.Replace(content, []byte(`"version"`), []byte(`"version":1,"version"`), 1)),
		"another order, signed":         k.signed(bytes.Replace(content, []byte(fmt.Sprintf(`{"version":2,"created":%d`, now.Unix())), []byte(fmt.Sprintf(`{"created":%d,"version":2`, now.Unix())), 1)),
		"an empty state, signed":        k.signed(bytes.Replace(content, []byte(`}]}`), []byte(`,"ended":""}]}`), 1)),
		"not JSON, signed":              k.signed([]byte("keys")),
		"the content in another base64": strings.Replace(good, lines[1], base64.RawURLEncoding.EncodeToString(content)+"\r", 1),
	} {
		if plain == good {
			t.Fatalf("%s changed nothing", name)
		}
		k.write(nil, func([]byte) string { return plain })
		if ring, err := seal.LoadRing(k.dir); ring != nil || !errors.Is(err, seal.ErrRing) {
			t.Errorf("%s: LoadRing = %v, %v", name, ring, err)
		}
	}
}

// Each new key has a secret and an ID of its own.
func TestNewKeysAreRandom(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		k := newKeyring(t)
		if _, err := seal.UnsafeRotateRing(t.Context(), k.dir, usual, now, now); err != nil {
			t.Fatal(err)
		}
		for _, c := range k.read().Keys {
			if seen[c.ID] || seen[c.Secret] || len(unb64(t, c.Secret)) != 32 {
				t.Errorf("key %s: its ID or secret is an older one's, or not of 32 bytes", c.ID)
			}
			seen[c.ID], seen[c.Secret] = true, true
		}
	}
	if len(seen) != 12 {
		t.Errorf("%d IDs and secrets of six keys", len(seen))
	}
}

// A key that has ended neither seals nor opens, however young it is.
func TestEndedKeysDoNothing(t *testing.T) {
	k := newKeyring(t)
	older, newer := key("olderkey", 1), key("newerkey", 2)
	older.Activate -= 60
	live, err := k.load(k.doc(older, newer))
	must(t, err)
	text := sealed(t, live, claims("cart", `1`))
	for _, state := range []seal.State{seal.Retired, seal.Revoked} {
		ended := newer
		ended.Ended, ended.Secret = string(state), ""
		ring, err := k.load(k.doc(older, ended))
		must(t, err)
		if _, _, err := ring.NewOpener(scope, now).Attribute(text); !errors.Is(err, seal.ErrUnknownKey) {
			t.Errorf("%s: it still opens: %v", state, err)
		}
		if got := ring.State(ring.Keys()[1], now); got != state {
			t.Errorf("%s: State = %s", state, got)
		}
		if primary, err := ring.Primary(now); err != nil || primary.ID() != "olderkey" {
			t.Errorf("%s: primary is %v, %v; want the older key", state, primary, err)
		}
		ring, err = k.load(k.doc(ended))
		must(t, err)
		if _, err := ring.NewSealer(scope, now); !errors.Is(err, seal.ErrNoPrimary) {
			t.Errorf("%s: with no other key NewSealer = %v, want ErrNoPrimary", state, err)
		}
	}
}

// The primary key is the one activated last, wherever it stands in the file; a
// pending one opens already, because another node's clock may be ahead.
func TestActivationDecidesNotOrder(t *testing.T) {
	k := newKeyring(t)
	early, late, pending := key("earlykey", 1), key("late_key", 2), key("pending-", 3)
	early.Activate, late.Activate, pending.Activate = now.Unix()-60, now.Unix(), now.Unix()+60
	for _, keys := range [][]docKey{{early, late, pending}, {pending, late, early}, {late, pending, early}} {
		ring, err := k.load(k.doc(keys...))
		must(t, err)
		s, err := ring.NewSealer(scope, now)
		if err != nil || s.KeyID() != "late_key" {
			t.Fatalf("sealing under %v, %v", s, err)
		}
		ahead, err := ring.NewSealer(scope, now.Add(time.Minute))
		must(t, err)
		text, err := ahead.Attribute(claims("cart", `1`))
		must(t, err)
		if _, opened, err := ring.NewOpener(scope, now).Attribute(text); err != nil || opened.KeyID != "pending-" {
			t.Errorf("under the pending key: %+v, %v", opened, err)
		}
	}
}

// Two keys of one ring never stand in for each other: the ID picks one.
func TestKeyIDPicksOneKey(t *testing.T) {
	k := newKeyring(t)
	ring, err := k.load(k.doc(key("firstkey", 1), key("otherkey", 2)))
	must(t, err)
	text := sealed(t, ring, claims("cart", `1`)) // under otherkey: both are active, the last wins
	swapped, err := k.load(k.doc(key("firstkey", 2), key("otherkey", 1)))
	must(t, err)
	if _, _, err := swapped.NewOpener(scope, now).Attribute(text); !errors.Is(err, seal.ErrAuth) {
		t.Errorf("under the same ID with another secret: %v, want ErrAuth", err)
	}
	other := key("otherkey", 2)
	other.Enc = map[seal.Enc]string{seal.A256GCM: string(seal.A256CBCHS512), seal.A256CBCHS512: string(seal.A256GCM)}[usual]
	strict, err := k.load(k.doc(key("firstkey", 1), other))
	must(t, err)
	if _, _, err := strict.NewOpener(scope, now).Attribute(text); !errors.Is(err, seal.ErrMalformed) {
		t.Errorf("an enc that is not the key's: %v, want ErrMalformed", err)
	}
}

// Slots are HMACs as SPEC §3 and §5 say, computed here without the package.
func TestSlots(t *testing.T) {
	k := newKeyring(t)
	ring, err := k.load(k.doc(key("firstkey", 1)))
	must(t, err)
	s, err := ring.NewSealer(scope, now)
	must(t, err)
	text, err := s.Attribute(claims("cart", `1`))
	must(t, err)
	seen, err := seal.InspectUnverified(text)
	must(t, err)
	prk, err := hkdf.Extract(sha256.New, randomSecret(1), nil)
	must(t, err)
	var info []byte
	for _, part := range []string{"sealed-blob/v1", string(usual), scope.App, scope.Tenant, "slot", string(unb64(t, seen.Salt))} {
		info = append(binary.BigEndian.AppendUint16(info, uint16(len(part))), part...)
	}
	slotKey, err := hkdf.Expand(sha256.New, prk, string(info), 32)
	must(t, err)
	mac := hmac.New(sha256.New, slotKey)
	mac.Write([]byte("cart"))
	want := b64(string(mac.Sum(nil)))[:12]
	got, err := s.Slot("cart")
	must(t, err)
	if got != want {
		t.Errorf("slot %s, want %s", got, want)
	}
	_, opened, err := ring.NewOpener(scope, now).Attribute(text)
	must(t, err)
	for slot, ok := range map[string]bool{want: true, want[:11]: false, want + "A": false, "": false, strings.Repeat("A", 12): false} {
		if in, err := opened.InSlot(slot, "cart"); in != ok || err != nil {
			t.Errorf("in slot %q: %t, %v", slot, in, err)
		}
	}
	again, err := ring.NewSealer(scope, now)
	must(t, err)
	pin, err1 := s.Slot("pin")
	other, err2 := again.Slot("cart")
	if pin == want || other == want || err1 != nil || err2 != nil {
		t.Error("slots of two names or of two salts are equal: names could be followed")
	}
}

// An opener that saw one set keeps its keys apart from the next one's.
func TestOpenerKeepsSaltsApart(t *testing.T) {
	ring := testRing(t, usual)
	o := ring.NewOpener(scope, now)
	for range 20 {
		c := claims("cart", `1`)
		got, _, err := o.Attribute(sealed(t, ring, c))
		if err != nil || got.JTI != c.JTI {
			t.Fatalf("opening under a further salt: %v", err)
		}
	}
}

func TestSecretsAreNotLogged(t *testing.T) {
	k := newKeyring(t)
	ring, err := k.load(k.doc(key("firstkey", 1)))
	must(t, err)
	c := claims("cart", `"PLAINTEXT"`)
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "claims", c, "key", ring.Keys()[0], "ring", ring)
	}
	if n := strings.Count(out.String(), "[redacted]"); n != 6 {
		t.Errorf("%d of 6 values redacted: %s", n, out.String())
	}
	for _, secret := range []string{"PLAINTEXT", string(randomSecret(1)), b64(string(randomSecret(1)))} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("logged %q", secret)
		}
	}
}

// The private files' fixed parts: wrong lengths are refused, not a panic.
func TestKeyFilesOfTheWrongSize(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "not base64url": "????\n", "31 bytes": b64(strings.Repeat("x", 31)) + "\n", "33 bytes": b64(strings.Repeat("x", 33)) + "\n",
		"two lines": b64(strings.Repeat("x", 32)) + "\n\n", "huge": strings.Repeat("A", 5<<10),
	} {
		dir := ringDir(t)
		edit(t, dir, seal.VerifierFile, func([]byte) []byte { return []byte(content) })
		if _, err := seal.LoadRing(dir); !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), seal.VerifierFile) {
			t.Errorf("%s: LoadRing = %v, want an ErrRing that names %s", name, err, seal.VerifierFile)
		}
		dir = ringDir(t)
		edit(t, dir, seal.SignerFile, func([]byte) []byte { return []byte(content) })
		if _, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now); !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), seal.SignerFile) {
			t.Errorf("%s: RotateRing = %v, want an ErrRing that names %s", name, err, seal.SignerFile)
		}
	}
	dir := ringDir(t)
	edit(t, dir, seal.IdentityFile, func([]byte) []byte { return []byte("# nobody\n\n") })
	if _, err := seal.LoadRing(dir); !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), seal.IdentityFile) {
		t.Errorf("no identity: %v", err)
	}
}

// Writers check the folder before they write a secret into it.
func TestWritersRefuseAnOpenFolder(t *testing.T) {
	dir := t.TempDir()
	chmod(t, dir, "", 0o770)
	if _, err := seal.InitRing(dir, usual, now); !errors.Is(err, seal.ErrRing) {
		t.Errorf("InitRing in a folder that the group may write: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("the refusal left %v", left)
	}
	dir = ringDir(t)
	remove(t, dir, "ring.lock") // what init left
	chmod(t, dir, "", 0o702)
	if _, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now); !errors.Is(err, seal.ErrRing) {
		t.Errorf("RotateRing in a folder that others may write: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "ring.lock")); len(left) != 0 {
		t.Errorf("the refusal left %v", left)
	}
	if _, err := seal.LoadRing(filepath.Join(ringDir(t), seal.RingFile)); !errors.Is(err, seal.ErrRing) {
		t.Errorf("a file in place of the folder: %v", err)
	}
	dir = ringDir(t)
	remove(t, dir, seal.RingFile) // the other files are there: their keys must stay
	if _, err := seal.InitRing(dir, usual, now); !errors.Is(err, os.ErrExist) {
		t.Errorf("InitRing over other keyring files: %v", err)
	}
}

// A reader that has the old ring open goes on reading the old ring, whole.
func TestRotationReplacesTheFile(t *testing.T) {
	dir := ringDir(t)
	path := filepath.Join(dir, seal.RingFile)
	old, err := os.ReadFile(path)
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	_, err = seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	still := make([]byte, len(old)+1)
	if n, _ := f.Read(still); !bytes.Equal(still[:n], old) {
		t.Error("rotation wrote into the file that a reader had open")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("after rotation: %v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

// A pipe in place of a file must not make a node wait for a writer.
func TestPipeIsRefusedAtOnce(t *testing.T) {
	dir := ringDir(t)
	path := remove(t, dir, seal.RingFile)
	must(t, syscall.Mkfifo(path, 0o600))
	done := make(chan error, 1)
	go func() { _, err := seal.LoadRing(dir); done <- err }()
	select {
	case err := <-done:
		if !errors.Is(err, seal.ErrRing) {
			t.Errorf("LoadRing = %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("LoadRing waits for the pipe's writer")
	}
}

// The lock ends with the caller's patience.
func TestRotateWaitsForTheWriterAsLongAsAsked(t *testing.T) {
	dir := ringDir(t)
	lock, err := os.OpenFile(filepath.Join(dir, "ring.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	defer lock.Close()
	must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := seal.UnsafeRotateRing(ctx, dir, usual, now, now); err == nil || errors.Is(err, seal.ErrRing) { // not refused: it could not be told
		t.Errorf("RotateRing under another writer's lock = %v", err)
	}
	if ring, err := seal.LoadRing(dir); err != nil || ring.Version() != 1 {
		t.Errorf("the ring changed: %v, %v", ring.Version(), err)
	}
}
