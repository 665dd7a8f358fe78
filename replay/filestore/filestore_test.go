package filestore

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

func newID() (id replay.ID) {
	rand.Read(id[:])
	return id
}

func newOwner() (o replay.Owner) {
	rand.Read(o[:])
	return o
}

func newRight() replay.Right {
	return replay.Right{ID: newID(), Issued: time.Now(), KeepUntil: time.Now().Add(time.Hour)}
}

// folder is a path at which Open makes a folder.
func folder(t testing.TB) string { return filepath.Join(t.TempDir(), "replay") }

// mustOpen opens the store at dir. A new one began so long ago that what is issued now
// is after its epoch.
func mustOpen(t testing.TB, dir string, cfg Config, h hooks) *Store {
	t.Helper()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		began := h
		began.now = func() time.Time { return h.now().Add(-replay.MaxAhead - time.Second) }
		must(t, openFresh(t, dir, Config{}, began).Close())
	}
	return openFresh(t, dir, cfg, h)
}

// openFresh is mustOpen at the epoch of a new store.
func openFresh(t testing.TB, dir string, cfg Config, h hooks) *Store {
	t.Helper()
	s, err := open(dir, cfg, h)
	if err != nil {
		t.Fatalf("Open(%s) = %v", dir, err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func claim(t testing.TB, s *Store, o replay.Owner, want replay.Outcome, rights ...replay.Right) {
	t.Helper()
	if got, err := s.Claim(context.Background(), o, rights...); got != want || err != nil {
		t.Fatalf("Claim = %v, %v, want %v", got, err, want)
	}
}

func TestReopenRemembers(t *testing.T) {
	dir := folder(t)
	s := mustOpen(t, dir, Config{}, realHooks())
	r, o := newRight(), newOwner()
	claim(t, s, o, replay.Won, r)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, replay.ErrClosed) {
		t.Errorf("second Close = %v, want ErrClosed", err)
	}
	s = mustOpen(t, dir, Config{}, realHooks())
	claim(t, s, o, replay.Mine, r)
	claim(t, s, newOwner(), replay.Lost, r)
}

// Folders and files that others can reach or steer are refused by name.
func TestOpenRefuses(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"folder for the group": func(t *testing.T, dir string) { must(t, os.Chmod(dir, 0o750)) },
		"folder for others":    func(t *testing.T, dir string) { must(t, os.Chmod(dir, 0o701)) },
		"folder is a link": func(t *testing.T, dir string) {
			must(t, os.Rename(dir, dir+".real"))
			must(t, os.Symlink(dir+".real", dir))
		},
		"folder is a file": func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.WriteFile(dir, nil, 0o600))
		},
		"log for the group": func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, logName), 0o640)) },
		"log is a link": func(t *testing.T, dir string) {
			log := filepath.Join(dir, logName)
			must(t, os.Rename(log, log+".real"))
			must(t, os.Symlink(logName+".real", log))
		},
		"log is a folder": func(t *testing.T, dir string) {
			log := filepath.Join(dir, logName)
			must(t, os.Remove(log))
			must(t, os.Mkdir(log, 0o700))
		},
		"log is empty":   func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, logName), 0)) },
		"header cut off": func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, logName), headerSize-1)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			must(t, mustOpen(t, dir, Config{}, realHooks()).Close())
			spoil(t, dir)
			s, err := Open(dir, Config{})
			if err == nil {
				s.Close()
				t.Fatal("Open = nil, want a refusal")
			}
			if !strings.Contains(err.Error(), dir) {
				t.Errorf("Open = %v, want the path in it", err)
			}
		})
	}
}

func TestOpenModes(t *testing.T) {
	dir := folder(t)
	mustOpen(t, dir, Config{}, realHooks())
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, logName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s = %v, %v, want %v", path, info.Mode().Perm(), err, want)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An acknowledgement that raises no floor is answered from what the log says,
// also where another process wrote it, and neither writes nor syncs. One that
// raises some is durable, even if there was no room for others.
func TestAcknowledge(t *testing.T) {
	syncs, h := 0, realHooks()
	h.sync = func(f *os.File) error {
		syncs++
		return datasync(f)
	}
	dir, ctx, keep := folder(t), context.Background(), time.Now().Add(time.Hour)
	s, other := mustOpen(t, dir, Config{MaxSessions: 3}, h), mustOpen(t, dir, Config{}, realHooks())
	here, moved, revoked := newID(), newID(), newID()
	ack := func(id replay.ID, gen uint64) replay.Place {
		return replay.Place{Session: id, Version: replay.Version{Gen: gen}, KeepUntil: keep}
	}
	expect := func(wantErr error, wantSyncs int, acks []replay.Place, want ...replay.Verdict) {
		t.Helper()
		before := syncs
		got, err := s.Acknowledge(ctx, acks...)
		if !slices.Equal(got, want) || !errors.Is(err, wantErr) {
			t.Fatalf("Acknowledge = %v, %v, want %v, %v", got, err, want, wantErr)
		}
		if syncs-before != wantSyncs {
			t.Errorf("Acknowledge synced %d times, want %d", syncs-before, wantSyncs)
		}
	}
	expect(nil, 1, []replay.Place{ack(here, 5)}, replay.Granted)
	if got, err := other.Restore(ctx, replay.RestoreRequest{Session: moved, Issued: time.Now(), KeepUntil: keep, Attempt: newOwner()}); got.Verdict != replay.Granted || err != nil {
		t.Fatalf("Restore = %v, %v", got.Verdict, err)
	}
	must(t, other.Revoke(ctx, revoked, keep))
	size := len(read(t, dir))
	late := ack(here, 9)
	late.KeepUntil = time.Now().Add(-time.Hour)
	expect(nil, 0, nil)
	expect(nil, 0, []replay.Place{ack(here, 0), ack(here, 3), ack(here, 5), late, ack(moved, 9), ack(revoked, 9), ack(newID(), 0)},
		replay.Granted, replay.Granted, replay.Granted, replay.Refused, replay.Superseded, replay.Revoked, replay.Granted)
	expect(replay.ErrFull, 0, []replay.Place{ack(newID(), 1)}, replay.Granted)
	if now := len(read(t, dir)); now != size {
		t.Errorf("what raised nothing wrote %d bytes", now-size)
	}
	expect(replay.ErrFull, 1, []replay.Place{ack(here, 6), ack(newID(), 1)}, replay.Granted, replay.Granted)
	must(t, s.Close())
	s = mustOpen(t, dir, Config{}, h)
	if got, err := s.Restore(ctx, replay.RestoreRequest{Session: here, Set: replay.Version{Gen: 5}, Issued: time.Now(), KeepUntil: keep, Attempt: newOwner()}); got.Verdict != replay.Superseded || err != nil {
		t.Errorf("Restore below the floor = %v, %v, want superseded", got.Verdict, err)
	}
}

// What an acknowledgement did not sync of another process's is synced before it
// is the ground of a claim.
func TestAcknowledgeLeavesTheSyncToOthers(t *testing.T) {
	syncs, h, lazy := 0, realHooks(), realHooks()
	h.sync = func(f *os.File) error {
		syncs++
		return datasync(f)
	}
	lazy.sync = func(*os.File) error { return nil }
	dir := folder(t)
	s, other := mustOpen(t, dir, Config{}, h), mustOpen(t, dir, Config{}, lazy)
	o, r := newOwner(), newRight()
	claim(t, other, o, replay.Won, r)
	syncs = 0
	if v, err := s.Acknowledge(context.Background(), replay.Place{Session: newID(), KeepUntil: time.Now().Add(time.Hour)}); err != nil || v[0] != replay.Granted || syncs != 0 {
		t.Errorf("Acknowledge = %v, %v with %d syncs", v, err, syncs)
	}
	if claim(t, s, o, replay.Mine, r); syncs != 1 {
		t.Errorf("Claim of what another wrote synced %d times, want 1", syncs)
	}
}

// A flush of a thousand sessions, most of which stand still.
func BenchmarkAcknowledge(b *testing.B) {
	for name, raised := range map[string]int{"none": 0, "10 of 1000": 10, "1000 of 1000": 1000} {
		b.Run(name, func(b *testing.B) {
			s := mustOpen(b, folder(b), Config{}, realHooks())
			acks := make([]replay.Place, 1000)
			for i := range acks {
				acks[i] = replay.Place{Session: newID(), Version: replay.Version{Gen: 1}, KeepUntil: time.Now().Add(time.Hour)}
			}
			b.ReportAllocs()
			for b.Loop() {
				for i := range raised {
					acks[i].Version.Gen++
				}
				if _, err := s.Acknowledge(context.Background(), acks...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A process that is alone, and its own new segments, are no crowd to stand back for.
func TestAlone(t *testing.T) {
	dir := folder(t)
	wins := func(s *Store) {
		t.Helper()
		r := newRight()
		epoch, err := s.Epoch(t.Context())
		must(t, err)
		r.Issued = epoch
		claim(t, s, newOwner(), replay.Won, r)
	}
	one := mustOpen(t, dir, Config{}, realHooks())
	for range 3 {
		wins(one)
		must(t, one.RaiseEpoch(t.Context())) // begins a segment
		wins(one)
	}
	two := mustOpen(t, dir, Config{}, realHooks())
	must(t, one.Close())
	if !one.disk.others.IsZero() {
		t.Error("one alone saw others")
	}
	one = mustOpen(t, dir, Config{}, realHooks())
	wins(one)
	wins(two)
	must(t, two.Close())
	if two.disk.others.IsZero() {
		t.Error("one of two saw no others")
	}
}
