package seal_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/sealedblob/sealedblob/seal"
)

func TestKeyLife(t *testing.T) {
	dir := ringDir(t)
	ctx := t.Context()
	ring, err := seal.LoadRing(dir)
	must(t, err)
	first := ring.Keys()[0].ID()
	text := sealed(t, ring, claims("cart", `1`))

	if _, err := seal.RetireKey(ctx, dir, first, now); !errors.Is(err, seal.ErrRing) {
		t.Errorf("the primary was retired: %v", err)
	}
	if _, err := seal.RetireKey(ctx, dir, "AAAAAAAA", now); !errors.Is(err, seal.ErrRing) {
		t.Errorf("an unknown key was retired: %v", err)
	}
	ring, err = seal.UnsafeRotateRing(ctx, dir, usual, now, now)
	must(t, err)
	if _, opened, err := ring.NewOpener(scope, now).Attribute(text); err != nil || !opened.Stale {
		t.Errorf("open-only: %+v, %v", opened, err)
	}
	ring, err = seal.RetireKey(ctx, dir, first, now.Add(7*time.Minute))
	must(t, err)
	if _, _, err := ring.NewOpener(scope, now).Attribute(text); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("retired: %v", err)
	}
	second := ring.Keys()[1].ID()
	text = sealed(t, ring, claims("cart", `1`))
	ring, err = seal.RevokeKey(ctx, dir, second, now)
	must(t, err)
	if _, _, err := ring.NewOpener(scope, now).Attribute(text); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("revoked: %v", err)
	}
	primary, err := ring.Primary(now)
	if err != nil || primary.ID() == second || ring.Version() != 4 {
		t.Errorf("after revoking the primary: %v, version %d", err, ring.Version())
	}
}

func TestWatchFollowsTheRing(t *testing.T) {
	dir := ringDir(t)
	told := make(chan error, 10)
	w, err := seal.WatchRing(dir, seal.WatchConfig{Interval: 10 * time.Millisecond, Reloaded: func(_ *seal.Ring, err error) { told <- err }})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go w.Run(ctx, nil)
	_, err = seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	must(t, <-told)
	if ring, _ := w.Ring(ctx); ring.Version() != 2 {
		t.Errorf("version %d", ring.Version())
	}
	must(t, os.Chmod(filepath.Join(dir, seal.RingFile), 0o644))
	if err := <-told; !errors.Is(err, seal.ErrRing) {
		t.Errorf("a ring open to all: %v", err)
	}
	if ring, err := w.Ring(ctx); err != nil || ring.Version() != 2 {
		t.Errorf("a bad ring replaced a good one: %v", err)
	}
}

// A backup of the ring must not bring a revoked key back: not to a running
// node, not to one that starts, not to the writer.
func TestRingNeverGoesBack(t *testing.T) {
	for name, config := range map[string]seal.WatchConfig{"note beside the ring": {}, "note elsewhere": {Seen: filepath.Join(t.TempDir(), "seen")}} {
		t.Run(name, func(t *testing.T) {
			dir := ringDir(t)
			backup, err := os.ReadFile(filepath.Join(dir, seal.RingFile))
			must(t, err)
			ring, err := seal.LoadRing(dir)
			must(t, err)
			var last error
			config.Reloaded = func(_ *seal.Ring, err error) { last = err }
			w, err := seal.WatchRing(dir, config)
			must(t, err)
			_, err = seal.RevokeKey(t.Context(), dir, ring.Keys()[0].ID(), now)
			must(t, err)
			w.Reload()
			must(t, last)
			must(t, os.WriteFile(filepath.Join(dir, seal.RingFile), backup, 0o600))
			w.Reload()
			if r, _ := w.Ring(t.Context()); !errors.Is(last, seal.ErrRing) || r.Version() != 2 {
				t.Errorf("running: %v, version %d", last, r.Version())
			}
			if _, err := seal.WatchRing(dir, config); !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), seal.RingFile) {
				t.Errorf("starting: %v", err)
			}
			if config.Seen != "" {
				return
			}
			if ring, err := seal.LoadRing(dir); ring != nil || !errors.Is(err, seal.ErrRing) {
				t.Errorf("reading: %v", err)
			}
			if _, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now); !errors.Is(err, seal.ErrRing) {
				t.Errorf("writing: %v", err)
			}
		})
	}
}

func TestWatchNeedsToNote(t *testing.T) {
	dir := ringDir(t)
	if _, err := seal.WatchRing(dir, seal.WatchConfig{Seen: filepath.Join(dir, "nowhere", "seen")}); err == nil {
		t.Error("a version that can't be noted is accepted")
	}
	digest := strings.Repeat("A", 43)
	for _, damaged := range []string{"many\n", "", "1\n", "1 \n", "1 " + digest, "1 " + digest + "\n\n", "01 " + digest + "\n", "1 " + digest[1:] + "\n", "1  " + digest + "\n", "1 " + digest + "A\n"} {
		must(t, os.WriteFile(filepath.Join(dir, seal.SeenFile), []byte(damaged), 0o600))
		if _, err := seal.LoadRing(dir); !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), "not the note") {
			t.Errorf("a damaged note %q: %v", damaged, err)
		}
	}
}

// A note that failed is tried again at each look, so that what was revoked does
// not come back with the next start.
func TestNoteIsTriedAgain(t *testing.T) {
	dir := ringDir(t)
	notes := filepath.Join(t.TempDir(), "notes")
	must(t, os.Mkdir(notes, 0o700))
	config := seal.WatchConfig{Seen: filepath.Join(notes, "seen")}
	told, last := 0, error(nil)
	config.Reloaded = func(_ *seal.Ring, err error) { told, last = told+1, err }
	w, err := seal.WatchRing(dir, config)
	must(t, err)
	backup, err := os.ReadFile(filepath.Join(dir, seal.RingFile))
	must(t, err)
	ring, _ := w.Ring(t.Context())
	must(t, os.Rename(notes, notes+".away"))
	_, err = seal.RevokeKey(t.Context(), dir, ring.Keys()[0].ID(), now)
	must(t, err)
	w.Reload()
	w.Reload()
	if told != 2 || last == nil {
		t.Errorf("told %d times, %v", told, last)
	}
	must(t, os.Rename(notes+".away", notes))
	w.Reload()
	must(t, os.WriteFile(filepath.Join(dir, seal.RingFile), backup, 0o600))
	remove(t, dir, seal.SeenFile) // whatever brings rings to nodes brings no note
	if _, err := seal.WatchRing(dir, config); !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), "seen before") {
		t.Errorf("the next start takes the old ring: %v", err)
	}
}

// fork makes two rings of version 2: the second is in dir, the note has the first.
func fork(t *testing.T) (dir string, first []byte) {
	t.Helper()
	dir = ringDir(t)
	path, note := filepath.Join(dir, seal.RingFile), filepath.Join(dir, seal.SeenFile)
	origin, err := os.ReadFile(path)
	must(t, err)
	_, err = seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	first, err = os.ReadFile(path)
	must(t, err)
	noted, err := os.ReadFile(note)
	must(t, err)
	must(t, os.WriteFile(path, origin, 0o600))
	must(t, os.Remove(note))
	_, err = seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	must(t, os.WriteFile(note, noted, 0o600))
	return dir, first
}

// The note tells one ring of a version from another, after a restart too.
func TestForkIsRefused(t *testing.T) {
	dir, first := fork(t)
	_, loading := seal.LoadRing(dir)
	_, starting := seal.WatchRing(dir, seal.WatchConfig{})
	_, writing := seal.RotateRing(t.Context(), dir, usual, now, now.Add(time.Hour))
	_, listing := seal.RingRecipients(dir)
	for who, err := range map[string]error{"LoadRing": loading, "WatchRing": starting, "RotateRing": writing, "RingRecipients": listing} {
		if !errors.Is(err, seal.ErrRing) || !strings.Contains(err.Error(), "another ring of version 2") {
			t.Errorf("%s: %v", who, err)
		}
	}
	// With a note that is not in the folder, where two nodes may share it.
	seen := filepath.Join(t.TempDir(), "seen")
	must(t, os.Rename(filepath.Join(dir, seal.SeenFile), seen))
	if _, err := seal.WatchRing(dir, seal.WatchConfig{Seen: seen}); !errors.Is(err, seal.ErrRing) {
		t.Errorf("starting: %v", err)
	}
	other := filepath.Join(t.TempDir(), "seen")
	var last error
	w, err := seal.WatchRing(dir, seal.WatchConfig{Seen: other, Reloaded: func(_ *seal.Ring, err error) { last = err }})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, seal.RingFile), first, 0o600))
	w.Reload()
	if !errors.Is(last, seal.ErrRing) {
		t.Errorf("running: %v", last)
	}
}

// A ring that somebody else's note refuses is not taken by a node that runs.
func TestSharedNoteRefusesAFork(t *testing.T) {
	dir := ringDir(t)
	seen := filepath.Join(t.TempDir(), "seen")
	var last error
	w, err := seal.WatchRing(dir, seal.WatchConfig{Seen: seen, Reloaded: func(_ *seal.Ring, err error) { last = err }})
	must(t, err)
	_, err = seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	must(t, os.WriteFile(seen, []byte("2 "+strings.Repeat("A", 43)+"\n"), 0o600)) // what another node saw
	w.Reload()
	if ring, _ := w.Ring(t.Context()); ring.Version() != 1 || !errors.Is(last, seal.ErrRing) {
		t.Errorf("version %d, told %v", ring.Version(), last)
	}
}

// A list of an older ring's recipients would name who was taken out since.
func TestRecipientsOfAnOlderRing(t *testing.T) {
	dir := ringDir(t)
	path := filepath.Join(dir, seal.RingFile)
	old, err := os.ReadFile(path)
	must(t, err)
	_, err = seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	must(t, os.WriteFile(path, old, 0o600))
	if to, err := seal.RingRecipients(dir); to != nil || !errors.Is(err, seal.ErrRing) {
		t.Errorf("RingRecipients = %v, %v", to, err)
	}
}

// A note that was left would refuse the new ring at each load.
func TestInitOverANote(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, seal.SeenFile), []byte("9 "+strings.Repeat("A", 43)+"\n"), 0o600))
	if _, err := seal.InitRing(dir, usual, now); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), seal.SeenFile) {
		t.Errorf("InitRing = %v", err)
	}
}

// A closed channel asks for nothing.
func TestRunWithAClosedChannel(t *testing.T) {
	dir := ringDir(t)
	looks := 0
	w, err := seal.WatchRing(dir, seal.WatchConfig{Interval: 50 * time.Millisecond, Reloaded: func(*seal.Ring, error) { looks++ }})
	must(t, err)
	remove(t, dir, seal.RingFile) // each look fails, and is told
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
	defer cancel()
	closed := make(chan os.Signal)
	close(closed)
	w.Run(ctx, closed)
	if looks == 0 || looks > 3 {
		t.Errorf("%d looks in 120 ms, at an interval of 50", looks)
	}
}

func TestContentKeyJWK(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		text := sealed(t, ring, claims("cart", `["tea"]`))
		raw, err := ring.ContentKeyJWK(scope, seal.ForAttribute, text)
		must(t, err)
		var jwk jose.JSONWebKey
		must(t, json.Unmarshal(raw, &jwk))
		object, err := jose.ParseEncryptedCompact(text, []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.ContentEncryption(enc)})
		must(t, err)
		plain, err := object.Decrypt(jwk)
		if err != nil || !strings.Contains(string(plain), `"val":["tea"]`) {
			t.Errorf("%s: %q, %v", enc, plain, err)
		}
		if _, err := ring.ContentKeyJWK(seal.Scope{App: "other"}, seal.ForAttribute, text); !errors.Is(err, seal.ErrAuth) {
			t.Errorf("a key that opens nothing was exported: %v", err)
		}
	}
}

// A revocation takes effect even where its version can't be noted.
func TestRevocationDoesNotWaitForTheNote(t *testing.T) {
	dir := ringDir(t)
	notes := t.TempDir()
	var last error
	w, err := seal.WatchRing(dir, seal.WatchConfig{Seen: filepath.Join(notes, "seen"), Reloaded: func(_ *seal.Ring, err error) { last = err }})
	must(t, err)
	ring, _ := w.Ring(t.Context())
	must(t, os.RemoveAll(notes))
	_, err = seal.RevokeKey(t.Context(), dir, ring.Keys()[0].ID(), now)
	must(t, err)
	w.Reload()
	if now, _ := w.Ring(t.Context()); now.Version() != 2 || last == nil {
		t.Errorf("version %d, told %v", now.Version(), last)
	}
}

// Two writers that went different ways made two rings of one version.
func TestForkedRingIsReported(t *testing.T) {
	dir := ringDir(t)
	path := filepath.Join(dir, seal.RingFile)
	backup, err := os.ReadFile(path)
	must(t, err)
	ring, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	var last error
	w, err := seal.WatchRing(dir, seal.WatchConfig{Reloaded: func(_ *seal.Ring, err error) { last = err }})
	must(t, err)
	must(t, os.WriteFile(path, backup, 0o600))
	must(t, os.Remove(filepath.Join(dir, seal.SeenFile)))
	_, err = seal.RevokeKey(t.Context(), dir, ring.Keys()[0].ID(), now)
	must(t, err)
	w.Reload()
	if !errors.Is(last, seal.ErrRing) || !strings.Contains(last.Error(), "another ring of version 2") {
		t.Errorf("told %v", last)
	}
}

// An older key never comes back into service when the primary is revoked.
func TestRevokedPrimaryIsReplacedByANewKey(t *testing.T) {
	dir := ringDir(t)
	ring, err := seal.UnsafeRotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	first, second := ring.Keys()[0], ring.Keys()[1]
	ring, err = seal.RevokeKey(t.Context(), dir, second.ID(), now)
	must(t, err)
	primary, err := ring.Primary(now)
	must(t, err)
	if primary.ID() == first.ID() || primary.ID() == second.ID() || ring.State(ring.Keys()[1], now) != seal.Revoked {
		t.Errorf("primary %s of %v", primary.ID(), ring.Keys())
	}
}

// Wiping waits for a sealing under way and ends the sealer: nothing is ever
// sealed under a key of zeros.
func TestWipeWhileSealing(t *testing.T) {
	for _, enc := range profiles {
		ring := testRing(t, enc)
		for range 200 {
			s, err := ring.NewSealer(scope, now)
			must(t, err)
			texts := make(chan string, 64)
			go func() {
				defer close(texts)
				for range cap(texts) {
					text, err := s.Attribute(claims("cart", `1`))
					if err != nil {
						return
					}
					texts <- text
				}
			}()
			texts2 := []string{<-texts}
			s.Wipe()
			for text := range texts {
				texts2 = append(texts2, text)
			}
			o := ring.NewOpener(scope, now)
			for _, text := range texts2 {
				if _, _, err := o.Attribute(text); text != "" && err != nil {
					t.Fatalf("%s: sealed under another key: %v", enc, err)
				}
			}
			if text, err := s.Attribute(claims("cart", `1`)); err == nil || text != "" {
				t.Fatal("a wiped sealer seals")
			}
		}
	}
}
