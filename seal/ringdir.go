package seal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The files of a keyring directory. Readers need the first, second and fourth;
// only the one writer has the signer's key.
const (
	RingFile     = "ring.age"
	IdentityFile = "identity.txt"
	SignerFile   = "signer.key"
	VerifierFile = "signer.pub"
	lockFile     = "ring.lock"
	temporary    = ".new-" // follows the name of a file that is not yet what it will be
)

// ReloadInterval is how often nodes look for a changed ring. A new key's
// activation lies at least two of them ahead.
const ReloadInterval = time.Minute

// InitRing makes a keyring directory with one primary key of profile enc. It
// returns an error wrapping fs.ErrExist, and changes nothing, if dir already
// holds any keyring file.
func InitRing(dir string, enc Enc, now time.Time) (*Ring, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	unlock, err := lockDir(context.Background(), filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, name := range []string{RingFile, IdentityFile, SignerFile, VerifierFile} { // the ring is written last
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: %s is already there: %w", ErrRing, filepath.Join(dir, name), fs.ErrExist)
		}
	}
	identity, recipient, err := newIdentity()
	if err != nil {
		return nil, err
	}
	verifier, signer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	doc := &ringDoc{Version: 1, Created: now.Unix(), Recipients: []string{recipient}}
	doc.addKey(enc, now, now)
	for _, f := range []struct {
		name, content string
		mode          fs.FileMode
	}{
		{IdentityFile, "# recipient: " + recipient + "\n" + identity + "\n", 0o600},
		{SignerFile, text64(signer.Seed()) + "\n", 0o600},
		{VerifierFile, text64(verifier) + "\n", 0o644},
	} {
		if err := writeFile(filepath.Join(dir, f.name), []byte(f.content), f.mode); err != nil {
			return nil, err
		}
	}
	if err := writeRing(dir, doc, signer); err != nil {
		return nil, err
	}
	return doc.ring()
}

// LoadRing reads dir's ring, checks its signature and every key. It refuses,
// with an [ErrRing] that names the path, a file that is a symbolic link, not
// regular, another user's or open to group or others; and a version below the
// highest that a [Watched] has noted in dir. It writes nothing.
func LoadRing(dir string) (*Ring, error) {
	doc, err := loadDoc(dir)
	if err != nil {
		return nil, err
	}
	ring, err := doc.ring()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, RingFile), err)
	}
	return ring, checkSeen(dir, filepath.Join(dir, SeenFile), ring.version)
}

// RotateRing adds a key of profile enc that becomes primary at activate; the
// present primary then only opens.
func RotateRing(ctx context.Context, dir string, enc Enc, now, activate time.Time) (*Ring, error) {
	return changeRing(ctx, dir, func(doc *ringDoc, _ *Ring) error {
		doc.addKey(enc, now, activate)
		return nil
	})
}

// RetireKey ends the life of an open-only key: what it sealed opens no more. It
// refuses the primary key and a pending one.
func RetireKey(ctx context.Context, dir, id string, now time.Time) (*Ring, error) {
	return changeRing(ctx, dir, func(doc *ringDoc, ring *Ring) error {
		k, err := doc.key(id)
		if err != nil {
			return err
		}
		if state := ring.state(id, now); state != OpenOnly {
			return fmt.Errorf("%w: key %s is %s; only an open-only key can be retired", ErrRing, id, state)
		}
		k.Ended = Retired
		return nil
	})
}

// RevokeKey ends the life of a key that leaked, in whatever state it is: what
// it sealed opens no more, on any node that has read the ring. If it was the
// primary, a new key takes its place at once, never an older one.
func RevokeKey(ctx context.Context, dir, id string, now time.Time) (*Ring, error) {
	return changeRing(ctx, dir, func(doc *ringDoc, ring *Ring) error {
		k, err := doc.key(id)
		if err != nil {
			return err
		}
		if ring.state(id, now) == Primary { // an older key must not come back into service
			doc.addKey(k.Enc, now, now)
			k, _ = doc.key(id) // the list may have moved
		}
		k.Ended = Revoked
		return nil
	})
}

// changeRing is the one way to write a ring that exists: under the writer's
// lock, with the signer's key, one version on.
func changeRing(ctx context.Context, dir string, change func(*ringDoc, *Ring) error) (*Ring, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	unlock, err := lockDir(ctx, filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	defer unlock()
	signer, err := loadSigner(dir)
	if err != nil {
		return nil, err
	}
	doc, err := loadDoc(dir)
	if err != nil {
		return nil, err
	}
	ring, err := doc.ring()
	if err != nil {
		return nil, err
	}
	if err := checkSeen(dir, filepath.Join(dir, SeenFile), ring.version); err != nil {
		return nil, err // a version must never be given out twice
	}
	if err := change(doc, ring); err != nil {
		return nil, err
	}
	doc.Version++
	removeLeftovers(dir)
	if err := writeRing(dir, doc, signer); err != nil {
		return nil, err
	}
	return doc.ring()
}

func loadDoc(dir string) (*ringDoc, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	file, err := readPrivate(filepath.Join(dir, RingFile), MaxRing)
	if err != nil {
		return nil, err
	}
	identityPath := filepath.Join(dir, IdentityFile)
	text, err := readPrivate(identityPath, 64<<10)
	if err != nil {
		return nil, err
	}
	identities, err := parseIdentities(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", identityPath, err)
	}
	verifier, err := loadVerifier(dir)
	if err != nil {
		return nil, err
	}
	doc, err := readRingDoc(file, identities, verifier)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, RingFile), err)
	}
	return doc, nil
}

func loadVerifier(dir string) (ed25519.PublicKey, error) {
	path := filepath.Join(dir, VerifierFile)
	text, err := readChecked(path, 4<<10, 0o022)
	if err != nil {
		return nil, err
	}
	key, ok := decode64(string(bytes.TrimSuffix(text, []byte("\n"))))
	if !ok || len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: %s is not an Ed25519 public key", ErrRing, path)
	}
	return key, nil
}

func loadSigner(dir string) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, SignerFile)
	text, err := readPrivate(path, 4<<10)
	if err != nil {
		return nil, err
	}
	seed, ok := decode64(string(bytes.TrimSuffix(text, []byte("\n"))))
	if !ok || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%w: %s is not an Ed25519 key", ErrRing, path)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func writeRing(dir string, doc *ringDoc, signer ed25519.PrivateKey) error {
	var out bytes.Buffer
	if err := doc.write(&out, signer); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, RingFile), out.Bytes(), 0o600)
}

func readPrivate(path string, limit int64) ([]byte, error) { return readChecked(path, limit, 0o077) }

// readChecked reads path after checking the very file it opened.
func readChecked(path string, limit int64, forbidden fs.FileMode) ([]byte, error) {
	f, err := openNoFollow(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRing, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRing, err)
	}
	if reason := untrusted(info, forbidden); reason != "" {
		return nil, fmt.Errorf("%w: %s %s", ErrRing, path, reason)
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%w: %s is not a regular file of at most %d bytes", ErrRing, path, limit)
	}
	content, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, fmt.Errorf("%w: reading %s: %w", ErrRing, path, err)
	}
	return content, nil
}

// checkDir refuses a directory in which somebody else could exchange files.
func checkDir(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRing, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%w: %s is a symbolic link", ErrRing, dir)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is not a directory", ErrRing, dir)
	}
	if reason := untrusted(info, 0o022); reason != "" {
		return fmt.Errorf("%w: %s %s", ErrRing, dir, reason)
	}
	return nil
}

// writeFile replaces path so that a crash leaves the old or the new content:
// temporary file, fsync, rename, fsync of the directory.
func writeFile(path string, content []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+temporary+"*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// removeLeftovers removes what writers that were killed have left. The caller
// holds the writer's lock.
func removeLeftovers(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "."+RingFile+temporary+"*")) // the pattern is good
	for _, path := range left {
		_ = os.Remove(path) // the next writer tries again
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
