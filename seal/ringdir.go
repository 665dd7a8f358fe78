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
	"slices"
	"strings"
	"time"
)

// The files of a keyring folder. Readers need the ring, the verifier and,
// unless they have another one, the identity; only the one writer has the
// signer's key.
const (
	RingFile     = "ring.age"
	IdentityFile = "identity.txt"
	SignerFile   = "signer.key"
	VerifierFile = "signer.pub"
	ringLock     = "ring.lock"
	temporary    = ".new-" // follows the name of a file that is not yet what it will be
)

// ReloadInterval is how often nodes look for a changed ring. A new key's
// activation lies at least two of them ahead.
const ReloadInterval = time.Minute

// InitRing makes a keyring folder with one primary key of profile enc,
// encrypted to the identity of the options and to [WithRecipients]; without an
// identity it generates one. It returns an error wrapping fs.ErrExist, and
// changes nothing, if dir already holds any file that it would write.
func InitRing(dir string, enc Enc, now time.Time, options ...RingOption) (*Ring, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	unlock, err := lockFile(context.Background(), filepath.Join(dir, ringLock))
	if err != nil {
		return nil, err
	}
	defer unlock()
	a := newAccess(options)
	if err := nothingThere(dir, len(a.sources) == 0); err != nil {
		return nil, err
	}
	ids, identity, err := a.initialIdentities()
	if err != nil {
		return nil, err
	}
	recipients, err := canonicalRecipients(slices.Concat(ids.recipients, a.recipients))
	if err != nil {
		return nil, err
	}
	if err := a.refuseRecipients(recipients); err != nil {
		return nil, err
	}
	verifier, signer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	doc := &ringDoc{Version: 1, Created: now.Unix(), Recipients: recipients}
	doc.addKey(enc, now, now)
	file, ring, err := doc.encode(ids, signer)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name, content string
		mode          fs.FileMode
	}{
		{IdentityFile, identity, 0o600},
		{SignerFile, text64(signer.Seed()) + "\n", 0o600},
		{VerifierFile, text64(verifier) + "\n", 0o644},
		{RingFile, string(file), 0o600}, // last: it makes the keyring
	} {
		if f.content == "" {
			continue // the identity is elsewhere
		}
		if err := writeFile(filepath.Join(dir, f.name), []byte(f.content), f.mode); err != nil {
			return nil, err
		}
	}
	return ring, nil
}

// nothingThere returns an error wrapping fs.ErrExist if a file of a keyring is in dir.
func nothingThere(dir string, identity bool) error {
	names := []string{RingFile, SignerFile, VerifierFile, SeenFile} // a note would refuse the new ring
	if identity {
		names = append(names, IdentityFile)
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s: %w", ErrRing, filepath.Join(dir, name), fs.ErrExist)
		}
	}
	return nil
}

// initialIdentities are those of the options, or a fresh one and its file.
func (a *ringAccess) initialIdentities() (ids *identities, file string, err error) {
	if len(a.sources) > 0 {
		if a.postQuantum {
			return nil, "", fmt.Errorf("%w: the kind of an identity that is given can't be chosen", ErrRing)
		}
		ids, err = a.identities()
		return ids, "", err
	}
	wanted, err := canonicalRecipients(a.recipients)
	if err != nil {
		return nil, "", err
	}
	postQuantum := a.postQuantum || len(wanted) > 0 && strings.HasPrefix(wanted[0], postQuantumPrefix)
	fresh, err := newIdentity(postQuantum)
	if err != nil {
		return nil, "", err
	}
	ids = &identities{}
	if err := ids.addFile([]byte(fresh)); err != nil {
		return nil, "", err
	}
	return ids, "# recipient: " + ids.recipients[0] + "\n" + fresh + "\n", nil
}

// LoadRing reads dir's ring, checks its signature and every key. It refuses,
// with an [ErrRing] that names the path, a file that is a symbolic link, not
// regular, another user's or open to group or others; a published sample key;
// a version below the highest that has been noted in dir, and another ring of
// that version. It writes nothing. The folders above dir are not checked: who may
// change those may exchange dir.
func LoadRing(dir string, options ...RingOption) (*Ring, error) {
	_, ring, err := readDir(dir, options)
	return ring, err
}

// RingRecipients lists who can open dir's ring, as the signed ring says it. It
// refuses what [LoadRing] refuses.
func RingRecipients(dir string, options ...RingOption) ([]string, error) {
	doc, _, err := readDir(dir, options)
	if err != nil {
		return nil, err
	}
	return doc.Recipients, nil
}

// readDir reads dir's ring as a reader does: signed by whom dir says, and not
// older than noted there.
func readDir(dir string, options []RingOption) (*ringDoc, *Ring, error) {
	if err := checkDir(dir); err != nil {
		return nil, nil, err
	}
	verifier, err := loadVerifier(dir)
	if err != nil {
		return nil, nil, err
	}
	doc, ring, _, err := loadDoc(dir, newAccess(options), verifier)
	return doc, ring, err
}

// SetRecipients encrypts dir's ring to these alone: age or SSH public keys, or
// [PassphraseRecipient]. It refuses a list with which the identity at hand could
// not open the ring. Whoever is removed keeps the keys that he has read: rotate
// then, and revoke the older keys.
func SetRecipients(ctx context.Context, dir string, recipients []string, options ...RingOption) (*Ring, error) {
	a := newAccess(options)
	to, err := canonicalRecipients(recipients)
	if err != nil {
		return nil, err
	}
	if err := a.refuseRecipients(to); err != nil {
		return nil, err
	}
	return changeRing(ctx, dir, a, func(doc *ringDoc, _ *Ring) error {
		doc.Recipients = to
		return nil
	})
}

// MaxActivation is how far ahead the activation of a new key may lie.
const MaxActivation = 366 * 24 * time.Hour

// RotateRing adds a key of profile enc that becomes primary at activate; the
// present primary then only opens. The recipients stay what the signed ring says.
// It refuses an activation under two [ReloadInterval] or over [MaxActivation]
// ahead of now. A ring holds 255 keys that have not ended; the oldest ended ones
// leave it when it is full.
func RotateRing(ctx context.Context, dir string, enc Enc, now, activate time.Time, options ...RingOption) (*Ring, error) {
	if activate.Sub(now) < 2*ReloadInterval {
		return nil, fmt.Errorf("%w: the activation lies under %v ahead; nodes that had not read the new key would refuse what it seals", ErrRing, 2*ReloadInterval)
	}
	return UnsafeRotateRing(ctx, dir, enc, now, activate, options...)
}

// UnsafeRotateRing is [RotateRing] without its least time ahead. It is for rings
// that no node has read: until a node reads the new key it refuses what others
// seal with it, and clients drop sets that were refused. An activation before that
// of the present primary key, with which the new one would never seal, is refused.
func UnsafeRotateRing(ctx context.Context, dir string, enc Enc, now, activate time.Time, options ...RingOption) (*Ring, error) {
	if activate.Sub(now) > MaxActivation {
		return nil, fmt.Errorf("%w: the activation lies over %v ahead", ErrRing, MaxActivation)
	}
	return changeRing(ctx, dir, newAccess(options), func(doc *ringDoc, ring *Ring) error {
		if primary, err := ring.Primary(now); err == nil && activate.Unix() < primary.activate.Unix() {
			return fmt.Errorf("%w: the activation lies before that of the primary key", ErrRing)
		}
		if doc.live() >= maxRingKeys-1 { // the last place is for who replaces a leaked key
			return fmt.Errorf("%w: it holds %d keys that have not ended, which is the most; retire some", ErrRing, doc.live())
		}
		doc.addKey(enc, now, activate)
		return nil
	})
}

// retireAfter is how long a key's successor must have been primary: a node whose
// clock is behind still seals with the older key, and may read the ring late.
const retireAfter = clockLeeway + 2*ReloadInterval

// RetireKey ends the life of an open-only key, and erases its secret: what it
// sealed opens no more. It refuses the primary key, a pending one, and one whose
// successor has been primary for less than seven minutes.
func RetireKey(ctx context.Context, dir, id string, now time.Time, options ...RingOption) (*Ring, error) {
	return changeRing(ctx, dir, newAccess(options), func(doc *ringDoc, ring *Ring) error {
		k, err := doc.key(id)
		if err != nil {
			return err
		}
		key := ring.key(id)
		if state := ring.State(key, now); state != OpenOnly {
			return fmt.Errorf("%w: key %s is %s; only an open-only key can be retired", ErrRing, id, state)
		}
		if then := now.Add(-retireAfter); ring.State(key, then) != OpenOnly {
			return fmt.Errorf("%w: key %s was not yet open-only %v ago, and may still seal somewhere by another clock", ErrRing, id, retireAfter)
		}
		k.end(Retired)
		return nil
	})
}

// RevokeKey ends the life of a key that leaked, in whatever state it is, and
// erases its secret: what it sealed opens no more, on any node that has read the
// ring. If it is the primary key, or within five minutes was or will be, a new key
// takes its place and its activation, so that no older one comes back into
// service on a node whose clock is off. It finds room in a full ring.
func RevokeKey(ctx context.Context, dir, id string, now time.Time, options ...RingOption) (*Ring, error) {
	return changeRing(ctx, dir, newAccess(options), func(doc *ringDoc, ring *Ring) error {
		k, err := doc.key(id)
		if err != nil {
			return err
		}
		replace := ring.primaryWithin(ring.key(id), now.Add(-clockLeeway), now.Add(clockLeeway))
		k.end(Revoked)
		if replace {
			doc.addKey(k.Enc, now, time.Unix(k.Activate, 0))
		}
		return nil
	})
}

// changeRing is the one way to write a ring that exists: under the writer's
// lock, with the signer's key, one version on. What it goes on from must be
// signed by that very key: neither signer.pub nor anything else in the folder
// may decide to whom the keys are encrypted.
func changeRing(ctx context.Context, dir string, a *ringAccess, change func(*ringDoc, *Ring) error) (*Ring, error) {
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	unlock, err := lockFile(ctx, filepath.Join(dir, ringLock))
	if err != nil {
		return nil, err
	}
	defer unlock()
	signer, err := loadSigner(dir)
	if err != nil {
		return nil, err
	}
	doc, ring, ids, err := loadDoc(dir, a, signer.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	if err := change(doc, ring); err != nil {
		return nil, err
	}
	doc.Version++
	doc.prune()
	file, ring, err := doc.encode(ids, signer)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, RingFile)
	removeLeftovers(path)
	written := writeFile(path, file, 0o600)
	if written != nil && !errors.Is(written, errUnsynced) {
		return nil, written
	}
	noting := noteSeen(filepath.Join(dir, SeenFile), ring.note()) // so that an older ring, and its recipients, can't come back
	if err := errors.Join(written, noting); err != nil {
		return nil, fmt.Errorf("seal: the keyring is changed to version %d, but: %w", ring.version, err)
	}
	return ring, nil
}

// loadDoc reads dir's ring, signed by verifier and not older than noted, with the
// identities of a.
func loadDoc(dir string, a *ringAccess, verifier ed25519.PublicKey) (*ringDoc, *Ring, *identities, error) {
	path := filepath.Join(dir, RingFile)
	seen, err := readSeen(filepath.Join(dir, SeenFile)) // before the ring: its writer changes the note last
	if err != nil {
		return nil, nil, nil, err
	}
	file, err := readPrivate(path, MaxRing)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := a.refuseSample("signer", verifier); err != nil {
		return nil, nil, nil, refusedAt(filepath.Join(dir, VerifierFile), err)
	}
	ids, err := a.opening(dir).identities()
	if err != nil {
		return nil, nil, nil, err
	}
	doc, err := readRingDoc(file, ids, verifier)
	if err != nil {
		return nil, nil, nil, refusedAt(path, err)
	}
	ring, err := a.ring(doc)
	if err != nil {
		return nil, nil, nil, refusedAt(path, err)
	}
	if err := seen.judge(dir, ring); err != nil {
		return nil, nil, nil, err
	}
	return doc, ring, ids, nil
}

// refusedAt is an [ErrRing] that names the path first, then the reason.
func refusedAt(path string, err error) error {
	reason := strings.TrimPrefix(err.Error(), ErrRing.Error()+": ")
	return fmt.Errorf("%w: %s: %s", ErrRing, path, reason)
}

func loadVerifier(dir string) (ed25519.PublicKey, error) {
	path := filepath.Join(dir, VerifierFile)
	text, err := readChecked(path, 4<<10, 0o022)
	if err != nil {
		return nil, err
	}
	key, ok := decode64(string(bytes.TrimSuffix(text, []byte("\n"))))
	if !ok || !validVerifier(key) {
		return nil, fmt.Errorf("%w: %s is not an Ed25519 public key, or of small order", ErrRing, path)
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

// checkDir refuses a folder in which somebody else could exchange files. A
// slash behind a symbolic link's name would have the system follow it; Clean
// takes it away, as filepath.Join does of the names of the files.
func checkDir(dir string) error {
	if dir == "" {
		return fmt.Errorf("%w: no folder", ErrRing)
	}
	info, err := os.Lstat(filepath.Clean(dir))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRing, err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%w: %s is a symbolic link", ErrRing, dir)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is not a folder", ErrRing, dir)
	}
	if reason := untrusted(info, 0o022); reason != "" {
		return fmt.Errorf("%w: %s %s", ErrRing, dir, reason)
	}
	return nil
}

// errUnsynced says that a file was replaced, and that a power cut may undo it.
var errUnsynced = errors.New("replaced, but the folder could not be synced")

// writeFile replaces path so that a crash leaves the old or the new content:
// temporary file, fsync, rename, fsync of the folder. It returns
// [errUnsynced] if the last of these failed.
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
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("%w: %w", errUnsynced, err)
	}
	return nil
}

// removeLeftovers removes what writers of path that were killed have left. The
// caller holds the lock of path's writers.
func removeLeftovers(path string) {
	entries, _ := os.ReadDir(filepath.Dir(path))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+filepath.Base(path)+temporary) {
			_ = os.Remove(filepath.Join(filepath.Dir(path), e.Name())) // the next writer tries again
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
