package seal_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// While a key service is down the last good ring stays, for MaxStale and no
// longer; and it comes back by itself.
func TestRingOfAKeyServiceThatFails(t *testing.T) {
	dir := ringDir(t)
	identity, err := os.ReadFile(filepath.Join(dir, seal.IdentityFile))
	must(t, err)
	must(t, os.Remove(filepath.Join(dir, seal.IdentityFile)))
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("the service is down")
		var failure, told error
		service := seal.WithIdentity("service", func() ([]byte, error) { return identity, failure })
		w, err := seal.WatchRing(dir, seal.WatchConfig{Options: []seal.RingOption{service}, MaxStale: 5 * time.Minute,
			Reloaded: func(_ *seal.Ring, err error) { told = err }})
		must(t, err)
		time.Sleep(4 * time.Minute)
		w.Reload() // looks, and finds it good
		failure = down
		time.Sleep(5 * time.Minute)
		w.Reload()
		if ring, err := w.Ring(t.Context()); err != nil || ring.Version() != 1 || !errors.Is(told, down) || errors.Is(told, seal.ErrRing) {
			t.Errorf("within MaxStale: %v, told %v", err, told)
		}
		time.Sleep(time.Second)
		w.Reload()
		if ring, err := w.Ring(t.Context()); ring != nil || err == nil {
			t.Errorf("a ring that nobody has seen for over MaxStale: %v, %v", ring, err)
		}
		if _, err := seal.WatchRing(dir, seal.WatchConfig{Options: []seal.RingOption{service}}); !errors.Is(err, down) {
			t.Errorf("starting without the service: %v", err)
		}
		failure = nil
		w.Reload()
		if _, err := w.Ring(t.Context()); err != nil {
			t.Errorf("after the service came back: %v", err)
		}
	})
	if _, err := seal.WatchRing(ringDir(t), seal.WatchConfig{MaxStale: seal.ReloadInterval}); err == nil {
		t.Error("a MaxStale that each missed look would exceed")
	}
}

// A ring that is refused does not count as seen.
func TestRefusedRingGetsStale(t *testing.T) {
	dir := ringDir(t)
	synctest.Test(t, func(t *testing.T) {
		w, err := seal.WatchRing(dir, seal.WatchConfig{MaxStale: 2 * time.Minute})
		must(t, err)
		must(t, os.Chmod(filepath.Join(dir, seal.RingFile), 0o644))
		time.Sleep(2*time.Minute + 1)
		w.Reload()
		if ring, err := w.Ring(t.Context()); ring != nil || err == nil {
			t.Errorf("a refused ring: %v, %v", ring, err)
		}
	})
}

// Nodes that share a note never lower it, however their looks interleave.
func TestNoteIsNeverLowered(t *testing.T) {
	const rings = 12
	dir := ringDir(t)
	versions := make([][]byte, rings+1)
	for v := 1; v <= rings; v++ {
		var err error
		versions[v], err = os.ReadFile(filepath.Join(dir, seal.RingFile))
		must(t, err)
		_, err = seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
		must(t, err)
	}
	for range 20 {
		note := filepath.Join(t.TempDir(), "seen")
		var nodes sync.WaitGroup
		accepted := make([]error, rings+1)
		for v := 1; v <= rings; v++ {
			node := t.TempDir() // a node's folder, with the ring of its moment
			must(t, os.WriteFile(filepath.Join(node, seal.RingFile), versions[v], 0o600))
			copyFile(t, filepath.Join(dir, seal.IdentityFile), filepath.Join(node, seal.IdentityFile))
			copyFile(t, filepath.Join(dir, seal.VerifierFile), filepath.Join(node, seal.VerifierFile))
			nodes.Go(func() {
				_, accepted[v] = seal.WatchRing(node, seal.WatchConfig{Seen: note}) // an older one may be refused by now
			})
		}
		nodes.Wait()
		want := rings
		for want > 0 && accepted[want] != nil { // a slow machine may let one give up its turn
			want--
		}
		text, err := os.ReadFile(note)
		must(t, err)
		version, _, _ := strings.Cut(string(text), " ")
		if seen, err := strconv.Atoi(version); err != nil || want == 0 || seen < want {
			t.Fatalf("the note says %q, want %d", text, want)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(note), ".*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// A rotation in the middle of a reader's look is no ring that went back: the
// reader has the ring of before, and the next look shows the new one.
func TestRotationWhileReading(t *testing.T) {
	dir := ringDir(t)
	identity, err := os.ReadFile(filepath.Join(dir, seal.IdentityFile))
	must(t, err)
	rotated := seal.WithIdentity("meanwhile", func() ([]byte, error) { // called after the ring's file is read
		_, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
		return identity, err
	})
	for look := range uint64(2) {
		if ring, err := seal.LoadRing(dir, rotated); err != nil || ring.Version() != look+1 {
			t.Errorf("LoadRing = %v", err)
		}
	}
	if w, err := seal.WatchRing(dir, seal.WatchConfig{Options: []seal.RingOption{rotated}}); err != nil {
		t.Errorf("WatchRing = %v, %v", w, err)
	}
}

// The writer notes what it gives out: the version, and the digest of the content.
func TestWriterNotesItsVersion(t *testing.T) {
	k := newKeyring(t)
	_, err := seal.UnsafeRotateRing(t.Context(), k.dir, usual, now, now)
	must(t, err)
	content := unb64(t, strings.Split(string(k.plain()), "\n")[1])
	digest := sha256.Sum256(content)
	want := "2 " + b64(string(digest[:])) + "\n"
	if text, err := os.ReadFile(filepath.Join(k.dir, seal.SeenFile)); err != nil || string(text) != want {
		t.Errorf("the note says %q, %v; want %q", text, err, want)
	}
}
