//go:build unix

package seal_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// A lock that is a symbolic link is refused, and what it points to is not made.
func TestLockIsNoLink(t *testing.T) {
	dir := ringDir(t)
	target := filepath.Join(t.TempDir(), "elsewhere")
	for _, name := range []string{"ring.lock", "ring.seen.lock"} {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		must(t, os.Symlink(target, path))
		_, err := seal.RotateRing(t.Context(), dir, usual, now, now.Add(2*seal.ReloadInterval))
		if err == nil || !strings.Contains(err.Error(), path+" is a symbolic link") {
			t.Errorf("%s: RotateRing = %v", name, err)
		}
		if _, err := os.Lstat(target); err == nil {
			t.Errorf("%s: its target was made", name)
		}
		must(t, os.Remove(path))
	}
}

// Whoever notes a version waits for its lock: two that read and write at once
// could lower the note.
func TestNotingWaitsForItsLock(t *testing.T) {
	dir := ringDir(t)
	_ = os.Remove(filepath.Join(dir, seal.SeenFile)) // there is something to note
	lock, err := os.OpenFile(filepath.Join(dir, "ring.seen.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer lock.Close()
	must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	done := make(chan error, 1)
	go func() {
		_, err := seal.WatchRing(dir, seal.WatchConfig{})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("WatchRing did not wait: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if _, err := os.Stat(filepath.Join(dir, seal.SeenFile)); err == nil {
		t.Error("the version was noted beside the lock")
	}
	must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_UN))
	must(t, <-done)
	if _, err := os.Stat(filepath.Join(dir, seal.SeenFile)); err != nil {
		t.Error("the version was not noted")
	}
}

// ParseRing refuses a published signer whose ring is good in all else.
func TestParseRingRefusesSampleSigner(t *testing.T) {
	k := newKeyring(t)
	seed, err := hex.DecodeString(wellKnown["RFC 8037 A.1"])
	must(t, err)
	k.signer = ed25519.NewKeyFromSeed(seed)
	_, err = k.load(k.doc(key("firstkey", 1)))
	if err == nil {
		t.Fatal("LoadRing accepts another signer")
	}
	verifier := k.signer.Public().(ed25519.PublicKey)
	if ring, err := seal.ParseRing(k.plain(), verifier); ring != nil || !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), "signer") {
		t.Errorf("ParseRing = %v, %v", ring, err)
	}
	_, err = seal.ParseRing(k.plain(), verifier, seal.InsecureSampleKeys())
	must(t, err)
}
