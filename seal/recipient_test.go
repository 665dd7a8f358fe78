package seal_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/sealedblob/sealedblob/seal"
)

const phrase = "correct horse battery staple\n"

// private writes a file that only its owner may read.
func private(t *testing.T, content []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "identity")
	must(t, os.WriteFile(path, content, 0o600))
	return path
}

// sshKey writes an SSH private key and returns its public half as well.
func sshKey(t *testing.T, key crypto.Signer) (path, recipient string) {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "node")
	must(t, err)
	public, err := ssh.NewPublicKey(key.Public())
	must(t, err)
	return private(t, pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

func newEd25519(t *testing.T) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return key
}

func newRSA(t *testing.T, bits int) (key *rsa.PrivateKey) {
	t.Helper()
	var err error
	fips140.WithoutEnforcement(func() { key, err = rsa.GenerateKey(rand.Reader, bits) })
	must(t, err)
	return key
}

// newAge writes an age identity.
func newAge(t *testing.T, postQuantum bool) (path, recipient string) {
	t.Helper()
	var text string
	fips140.WithoutEnforcement(func() {
		if postQuantum {
			id, err := age.GenerateHybridIdentity()
			must(t, err)
			text, recipient = id.String(), id.Recipient().String()
			return
		}
		id, err := age.GenerateX25519Identity()
		must(t, err)
		text, recipient = id.String(), id.Recipient().String()
	})
	return private(t, []byte(text+"\n")), recipient
}

// Each kind of identity makes, opens, follows and changes a ring; and the file
// is encrypted to that kind and no other.
func TestEachKindOfIdentity(t *testing.T) {
	file := func(path, _ string) []seal.RingOption { return []seal.RingOption{seal.WithIdentityFile(path)} }
	for name, c := range map[string]struct {
		options []seal.RingOption
		stanza  string
	}{
		"X25519":       {file(newAge(t, false)), "-> X25519 "},
		"post-quantum": {file(newAge(t, true)), "-> mlkem768x25519 "},
		"SSH ed25519":  {file(sshKey(t, newEd25519(t))), "-> ssh-ed25519 "},
		"SSH rsa":      {file(sshKey(t, newRSA(t, 2048))), "-> ssh-rsa "},
	} {
		t.Run(name, func(t *testing.T) { testKind(t, c.stanza, c.options...) })
	}
}

// testKind makes, changes and follows a ring with the one identity of options.
func testKind(t *testing.T, stanza string, options ...seal.RingOption) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	_, err := seal.InitRing(dir, usual, now, options...)
	must(t, err)
	if _, err := os.Stat(filepath.Join(dir, seal.IdentityFile)); err == nil {
		t.Error("a second identity was made")
	}
	if stanzas := recipientsIn(t, dir); len(stanzas) != 1 || !strings.HasPrefix(stanzas[0], stanza) {
		t.Errorf("encrypted to %q", stanzas)
	}
	_, err = seal.UnsafeRotateRing(t.Context(), dir, usual, now, now, options...)
	must(t, err)
	w, err := seal.WatchRing(dir, seal.WatchConfig{Options: options})
	must(t, err)
	if ring, err := w.Ring(t.Context()); err != nil || ring.Version() != 2 || len(ring.Keys()) != 2 {
		t.Errorf("after a rotation: %v, %v", ring, err)
	}
	if ring, err := seal.LoadRing(dir); ring != nil || !errors.Is(err, seal.ErrRing) {
		t.Errorf("without an identity: %v, %v", ring, err)
	}
	stranger, _ := newAge(t, false)
	if ring, err := seal.LoadRing(dir, seal.WithIdentityFile(stranger)); ring != nil || !errors.Is(err, seal.ErrRing) {
		t.Errorf("a stranger: %v, %v", ring, err)
	}
	if ring, err := seal.LoadRing(dir, seal.WithPassphraseFile(private(t, []byte("another passphrase")))); ring != nil || !errors.Is(err, seal.ErrRing) {
		t.Errorf("another passphrase: %v, %v", ring, err)
	}
}

// recipientsIn are the recipient lines of dir's ring file.
func recipientsIn(t *testing.T, dir string) (lines []string) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(dir, seal.RingFile))
	must(t, err)
	head, _, _ := bytes.Cut(file, []byte("\n--- "))
	for _, line := range strings.Split(string(head), "\n") {
		if strings.HasPrefix(line, "-> ") && !strings.Contains(line, "-grease ") {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestRingForSeveral(t *testing.T) {
	sshPath, sshTo := sshKey(t, newEd25519(t))
	agePath, ageTo := newAge(t, false)
	dir := filepath.Join(t.TempDir(), "keys")
	_, err := seal.InitRing(dir, usual, now, seal.WithRecipients(sshTo+" node-1@example", ageTo, ageTo))
	must(t, err)
	for _, options := range [][]seal.RingOption{nil, {seal.WithIdentityFile(sshPath)}, {seal.WithIdentityFile(agePath)}} {
		_, err := seal.LoadRing(dir, options...)
		must(t, err)
	}
	got, err := seal.RingRecipients(dir)
	must(t, err)
	if len(got) != 3 || !slices.Contains(got, sshTo) || !slices.Contains(got, ageTo) {
		t.Errorf("recipients %q", got)
	}
	// Post-quantum nodes get a post-quantum identity for the folder.
	pqPath, pqTo := newAge(t, true)
	dir = filepath.Join(t.TempDir(), "keys")
	_, err = seal.InitRing(dir, usual, now, seal.WithRecipients(pqTo))
	must(t, err)
	_, err = seal.LoadRing(dir, seal.WithIdentityFile(pqPath))
	must(t, err)
	if stanzas := recipientsIn(t, dir); len(stanzas) != 2 {
		t.Errorf("encrypted to %q", stanzas)
	}
}

// What is no recipient, or can't stand beside the others, makes no keyring.
func TestRecipientsAreRefused(t *testing.T) {
	_, x25519 := newAge(t, false)
	_, pq := newAge(t, true)
	_, sshTo := sshKey(t, newEd25519(t))
	_, short := sshKey(t, newRSA(t, 1024))
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	_, ecdsaTo := sshKey(t, curve)
	many := make([]string, 64)
	for i := range many {
		_, many[i] = newAge(t, false)
	}
	for name, to := range map[string][]string{
		"plugin":                       {"age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t"},
		"nothing":                      {""},
		"an identity":                  {"AGE-SECRET-KEY-1" + strings.Repeat("Q", 58)},
		"a changed letter":             {x25519[:60] + "q" + x25519[61:] + "q"},
		"a short RSA key":              {short},
		"an ECDSA key":                 {ecdsaTo},
		"options of an authorized key": {`command="true" ` + sshTo},
		"two lines":                    {sshTo + "\n" + sshTo},
		"a file's name":                {"/etc/ssh/ssh_host_ed25519_key.pub"},
		"both kinds":                   {x25519, pq},
		"post-quantum and SSH":         {pq, sshTo},
		"a passphrase beside a key":    {seal.PassphraseRecipient, x25519},
		"65":                           many, // with the folder's own
	} {
		dir := filepath.Join(t.TempDir(), "keys")
		if _, err := seal.InitRing(dir, usual, now, seal.WithRecipients(to...)); !errors.Is(err, seal.ErrRing) || len(err.Error()) > 200 {
			t.Errorf("%s: InitRing = %v", name, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 1 || len(left) == 1 && filepath.Base(left[0]) != "ring.lock" {
			t.Errorf("%s: it has left %q", name, left)
		}
		dir = ringDir(t)
		if _, err := seal.SetRecipients(t.Context(), dir, to); !errors.Is(err, seal.ErrRing) {
			t.Errorf("%s: SetRecipients = %v", name, err)
		}
		if ring, err := seal.LoadRing(dir); err != nil || ring.Version() != 1 {
			t.Errorf("%s: the ring is %v, %v", name, ring, err)
		}
	}
}

// What is no identity opens nothing, and its text is in no message.
func TestIdentitiesAreRefused(t *testing.T) {
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(newEd25519(t), "", []byte("secret"))
	must(t, err)
	shortPath, _ := sshKey(t, newRSA(t, 1024))
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	ecdsaPath, _ := sshKey(t, curve)
	open, _ := newAge(t, false)
	must(t, os.Chmod(open, 0o644))
	real, _ := newAge(t, false)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(real, link))
	good, err := os.ReadFile(real)
	must(t, err)
	huge := append(good, bytes.Repeat([]byte("#\n"), 40<<10)...)
	text := func(s string) string { return private(t, []byte(s)) }
	for name, option := range map[string]seal.RingOption{
		"a plugin":                     seal.WithIdentityFile(text("AGE-PLUGIN-YUBIKEY-1GKZYXQYZFM5CQTQ2V3Y0W\n")),
		"an SSH key with a passphrase": seal.WithIdentityFile(private(t, pem.EncodeToMemory(locked))),
		"a short RSA key":              seal.WithIdentityFile(shortPath),
		"an ECDSA key":                 seal.WithIdentityFile(ecdsaPath),
		"half a PEM":                   seal.WithIdentityFile(text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")),
		"comments alone":               seal.WithIdentityFile(text("# nothing\n\n")),
		"a huge file":                  seal.WithIdentityFile(private(t, huge)),
		"no file":                      seal.WithIdentityFile("nowhere"),
		"a file open to others":        seal.WithIdentityFile(open),
		"a symbolic link":              seal.WithIdentityFile(link),
		"a short passphrase":           seal.WithPassphraseFile(text("hunter2")),
		"no passphrase":                seal.WithPassphraseFile(text("\n")),
		"two lines":                    seal.WithPassphraseFile(text("correct horse\nbattery staple\n")),
		"a huge passphrase":            seal.WithPassphraseFile(text(strings.Repeat("a", 1025))),
		"a huge answer":                seal.WithIdentity("service", func() ([]byte, error) { return huge, nil }),
	} {
		if ring, err := seal.LoadRing(ringDir(t), option); ring != nil || !errors.Is(err, seal.ErrRing) {
			t.Errorf("%s: LoadRing = %v, %v", name, ring, err)
		} else if strings.Contains(err.Error(), "PLUGIN") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the message shows it: %v", name, err)
		}
		if _, err := seal.InitRing(filepath.Join(t.TempDir(), "keys"), usual, now, option); !errors.Is(err, seal.ErrRing) {
			t.Errorf("%s: InitRing = %v", name, err)
		}
	}
	if _, err := seal.LoadRing(ringDir(t), seal.WithIdentityFile(real), seal.WithIdentityFile(text("# nothing\n"))); err == nil || !strings.Contains(err.Error(), "holds no identity") {
		t.Errorf("a file of comments beside another: %v", err)
	}
	if _, err := seal.InitRing(t.TempDir(), usual, now, seal.WithIdentityFile(real), seal.WithPostQuantum()); !errors.Is(err, seal.ErrRing) {
		t.Errorf("the kind of a given identity was chosen: %v", err)
	}
}

// A work factor above the one that is written is refused without the work.
func TestExpensivePassphrase(t *testing.T) {
	k := newKeyring(t)
	k.load(k.doc(key("firstkey", 1)))
	to, err := age.NewScryptRecipient(strings.TrimSpace(phrase))
	must(t, err)
	to.SetWorkFactor(10)
	var out bytes.Buffer
	fips140.WithoutEnforcement(func() {
		w, err := age.Encrypt(&out, to)
		must(t, err)
		must(t, w.Close())
	})
	file := bytes.Replace(out.Bytes(), []byte(" 10\n"), []byte(" 19\n"), 1)
	must(t, os.WriteFile(filepath.Join(k.dir, seal.RingFile), file, 0o600))
	passphrase := seal.WithPassphraseFile(private(t, []byte(phrase)))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := seal.LoadRing(k.dir, passphrase); !errors.Is(err, seal.ErrRing) {
		t.Errorf("LoadRing = %v", err)
	}
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 64<<20 { // the work takes 512 MiB
		t.Errorf("refused after %d bytes of work", spent)
	}
}

// Who is removed can't read the next ring, and can't seal or open what its new
// key seals.
func TestRemovedRecipient(t *testing.T) {
	dir := ringDir(t)
	own, err := seal.RingRecipients(dir)
	must(t, err)
	node, nodeTo := newAge(t, false)
	as := seal.WithIdentityFile(node)
	_, err = seal.SetRecipients(t.Context(), dir, append(own, nodeTo))
	must(t, err)
	before, err := seal.LoadRing(dir, as)
	must(t, err)
	_, err = seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	if _, err := seal.LoadRing(dir, as); err != nil {
		t.Errorf("a rotation lost a recipient: %v", err)
	}
	_, err = seal.SetRecipients(t.Context(), dir, own)
	must(t, err)
	after, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	if ring, err := seal.LoadRing(dir, as); ring != nil || !errors.Is(err, seal.ErrRing) {
		t.Errorf("a removed recipient reads version %d: %v", after.Version(), err)
	}
	if _, _, err := before.NewOpener(scope, now).Attribute(sealed(t, after, claims("cart", `1`))); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("a removed recipient opens what the new key sealed: %v", err)
	}
}

// A change after which the folder's own identity could not open the ring is refused.
func TestNobodyLocksHimselfOut(t *testing.T) {
	dir := ringDir(t)
	before, err := os.ReadFile(filepath.Join(dir, seal.RingFile))
	must(t, err)
	_, other := newAge(t, false)
	if _, err := seal.SetRecipients(t.Context(), dir, []string{other}); !errors.Is(err, seal.ErrRing) {
		t.Errorf("locked out: %v", err)
	}
	if _, err := seal.SetRecipients(t.Context(), dir, []string{seal.PassphraseRecipient}); !errors.Is(err, seal.ErrRing) {
		t.Errorf("to a passphrase that nobody gave: %v", err)
	}
	if _, err := seal.SetRecipients(t.Context(), dir, nil); !errors.Is(err, seal.ErrRing) {
		t.Errorf("to nobody: %v", err)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, seal.RingFile)); !bytes.Equal(before, after) {
		t.Error("the ring was changed all the same")
	}
}

// Whom the writer encrypts to is in the signed ring alone. A forged ring with a
// matching signer.pub is not what the writer goes on from.
func TestWriterTrustsItsOwnKeyAlone(t *testing.T) {
	_, thief := newAge(t, false)
	t.Run("forged ring and verifier", func(t *testing.T) {
		k := newKeyring(t)
		public, forger, err := ed25519.GenerateKey(rand.Reader)
		must(t, err)
		k.signer = forger
		d := k.doc(key("firstkey", 1))
		d.Recipients = append(d.Recipients, thief)
		edit(t, k.dir, seal.VerifierFile, func([]byte) []byte { return []byte(b64(string(public)) + "\n") })
		if _, err := k.load(d); err != nil {
			t.Fatalf("the forgery is not good enough to test with: %v", err)
		}
		if _, err := seal.UnsafeRotateRing(t.Context(), k.dir, usual, now, now); !errors.Is(err, seal.ErrRing) {
			t.Errorf("RotateRing = %v", err)
		}
	})
	t.Run("recipient in identity.txt", func(t *testing.T) {
		dir := ringDir(t)
		edit(t, dir, seal.IdentityFile, func(b []byte) []byte { return append([]byte("# recipient: "+thief+"\n"), b...) })
		_, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
		must(t, err)
		if to, err := seal.RingRecipients(dir); err != nil || slices.Contains(to, thief) {
			t.Errorf("recipients %q, %v", to, err)
		}
	})
	t.Run("older ring", func(t *testing.T) {
		dir := ringDir(t)
		own, err := seal.RingRecipients(dir)
		must(t, err)
		_, err = seal.SetRecipients(t.Context(), dir, append(own, thief))
		must(t, err)
		old, err := os.ReadFile(filepath.Join(dir, seal.RingFile))
		must(t, err)
		_, err = seal.SetRecipients(t.Context(), dir, own)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, seal.RingFile), old, 0o600))
		if _, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now); !errors.Is(err, seal.ErrRing) {
			t.Errorf("RotateRing = %v", err)
		}
	})
}

// ParseRing takes the plaintext as another service decrypted it.
func TestParseRing(t *testing.T) {
	k := newKeyring(t)
	public := k.signer.Public().(ed25519.PublicKey)
	plain := k.plain()
	ring, err := seal.ParseRing(plain, public)
	must(t, err)
	if ring.Version() != 1 || len(ring.Keys()) != 1 {
		t.Errorf("version %d with %d keys", ring.Version(), len(ring.Keys()))
	}
	other, _, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	for name, try := range map[string]func() (*seal.Ring, error){
		"another signer": func() (*seal.Ring, error) { return seal.ParseRing(plain, other) },
		"no signer":      func() (*seal.Ring, error) { return seal.ParseRing(plain, nil) },
		"a changed byte": func() (*seal.Ring, error) {
			changed := bytes.Clone(plain)
			changed[40] ^= 1
			return seal.ParseRing(changed, public)
		},
		"nothing":  func() (*seal.Ring, error) { return seal.ParseRing(nil, public) },
		"too much": func() (*seal.Ring, error) { return seal.ParseRing(make([]byte, seal.MaxRing+1), public) },
	} {
		if ring, err := try(); ring != nil || !errors.Is(err, seal.ErrRing) {
			t.Errorf("%s: ParseRing = %v, %v", name, ring, err)
		}
	}
}
