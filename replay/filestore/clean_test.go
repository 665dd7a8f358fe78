package filestore

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// The log stays small, and what was purged stays refused, also by a process that
// starts under a clock that went back.
func TestCleaning(t *testing.T) {
	var c clock
	h := quick()
	h.now, h.minLog = c.now, 4096
	dir := folder(t)
	s := mustOpen(t, dir, Config{}, h)
	other := mustOpen(t, dir, Config{}, h)
	lasting, o := newRight(), newOwner()
	claim(t, s, o, replay.Won, lasting)
	gone := newRight()
	gone.KeepUntil = c.now().Add(10 * time.Second)
	for range 50 {
		for range 20 {
			r := newRight()
			r.KeepUntil = c.now().Add(10 * time.Second)
			claim(t, s, o, replay.Won, r)
		}
		c.shift(6 * time.Second)
	}
	settle(t, s)
	size, most := 0, 6*4096 // of more than 60 kB written
	for _, b := range files(t, dir) {
		size += len(b)
	}
	if size > most {
		t.Errorf("the log has %d bytes, want at most %d: 41 rights are live", size, most)
	}
	claim(t, other, newOwner(), replay.Lost, lasting)
	c.shift(-295 * time.Second)
	third := mustOpen(t, dir, Config{}, h)
	for name, s := range map[string]*Store{"the writer": s, "the other": other, "a new one": third} {
		if got, err := s.Claim(context.Background(), newOwner(), gone); got.Granted() || !errors.Is(err, replay.ErrBeyondHorizon) {
			t.Errorf("%s: Claim = %v, %v, want ErrBeyondHorizon", name, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, newName)); err == nil {
		t.Errorf("%s was left", newName)
	}
}

// What was past when its segment was cleaned stays refused, though it was left in
// memory, by a process that starts under a clock that went back.
func TestHorizonOfCleaned(t *testing.T) {
	var c clock
	h := quick()
	h.now, h.minLog = c.now, 1
	dir := folder(t)
	s := mustOpen(t, dir, Config{}, h)
	brief := newRight()
	brief.KeepUntil = c.now().Add(10 * time.Second)
	lasting := []replay.Right{brief}
	for range 50 {
		lasting = append(lasting, newRight())
	}
	claim(t, s, newOwner(), replay.Won, lasting...)
	c.shift(20 * time.Second)
	session := newID() // of which all records but the last are dead
	for gen := range uint64(200) {
		at := replay.Place{Session: session, Version: replay.Version{Gen: gen + 1}, KeepUntil: time.Now().Add(time.Hour)}
		if v, err := s.Protect(context.Background(), at); v != replay.Granted || err != nil {
			t.Fatal(v, err)
		}
	}
	if settle(t, s); s.disk.begin.segment < 2 {
		t.Fatal("the first segment was not cleaned")
	}
	if spent, err := s.Spent(context.Background(), brief.ID); err != nil || !spent[0] {
		t.Fatalf("Spent = %v, %v: it was purged, which is not what is tested", spent, err)
	}
	c.shift(-15 * time.Second)
	for name, s := range map[string]*Store{"the writer": s, "a new one": mustOpen(t, dir, Config{}, h)} {
		if o, err := s.Claim(context.Background(), newOwner(), brief); o.Granted() || !errors.Is(err, replay.ErrBeyondHorizon) {
			t.Errorf("%s: Claim = %v, %v, want ErrBeyondHorizon", name, o, err)
		}
		claim(t, s, newOwner(), replay.Lost, lasting[1:]...)
	}
}

// A purge that fails leaves what it did not come to.
func TestPurgeFails(t *testing.T) {
	dir, f := folder(t), newFailing()
	s := mustOpen(t, dir, Config{}, f.hooked())
	r, o := newRight(), newOwner()
	claim(t, s, o, replay.Won, r)
	f.sync = 2 // that of the group, if any, and that of the rewrite
	if err := s.Purge(context.Background()); err == nil {
		t.Error("Purge = nil, want an error")
	}
	f.sync = 0
	claim(t, s, o, replay.Mine, r)
	claim(t, mustOpen(t, dir, Config{}, realHooks()), newOwner(), replay.Lost, r)
}

// What a crash left of a rewrite is removed.
func TestTidy(t *testing.T) {
	dir := folder(t)
	must(t, mustOpen(t, dir, Config{}, realHooks()).Close())
	left := filepath.Join(dir, newName)
	must(t, os.WriteFile(left, []byte("half"), 0o600))
	s := mustOpen(t, dir, Config{}, realHooks())
	if _, err := os.Stat(left); err == nil {
		t.Errorf("%s was left", left)
	}
	claim(t, s, newOwner(), replay.Won, newRight())
}

// A raised epoch refuses all that is older, in every process and for good, and
// forgets nothing.
func TestRaiseEpoch(t *testing.T) {
	var c clock
	h := realHooks()
	h.now = c.now
	dir, ctx := folder(t), context.Background()
	s, other := mustOpen(t, dir, Config{}, h), mustOpen(t, dir, Config{}, h)
	held, old, o := newRight(), newRight(), newOwner()
	claim(t, s, o, replay.Won, held)
	c.shift(10 * time.Second)
	must(t, s.RaiseEpoch(ctx))
	want := replay.FirstEpoch(c.now()).Unix()
	raised, err := s.Epoch(ctx)
	must(t, err)
	held.Issued = raised
	third := mustOpen(t, dir, Config{}, h)
	for name, s := range map[string]*Store{"the writer": s, "the other": other, "a new one": third} {
		if got, err := s.Epoch(ctx); err != nil || got.Unix() < want-1 || got.Unix() > want {
			t.Errorf("%s: Epoch = %v, %v, want %v", name, got, err, time.Unix(want, 0))
		}
		if got, err := s.Claim(ctx, newOwner(), old); got.Granted() || !errors.Is(err, replay.ErrBeforeEpoch) {
			t.Errorf("%s: Claim = %v, %v, want ErrBeforeEpoch", name, got, err)
		}
		claim(t, s, newOwner(), replay.Lost, held)
	}
	c.shift(-time.Hour)
	must(t, s.RaiseEpoch(ctx)) // later than it was, whatever the clock says
	if got, err := s.Epoch(ctx); err != nil || !got.After(raised) {
		t.Errorf("Epoch = %v, %v, want one after %v", got, err, raised)
	}
	for range 3 { // the record of it is gone with its segment
		must(t, s.Purge(ctx))
	}
	if got, err := mustOpen(t, dir, Config{}, h).Epoch(ctx); err != nil || !got.After(raised) {
		t.Errorf("after cleaning, Epoch = %v, %v, want one after %v", got, err, raised)
	}
}

func TestStatus(t *testing.T) {
	dir, ctx := folder(t), context.Background()
	s := mustOpen(t, dir, Config{}, realHooks())
	claim(t, s, newOwner(), replay.Won, newRight(), newRight())
	must(t, s.Revoke(ctx, newID(), time.Now().Add(time.Hour)))
	got, err := s.Status(ctx)
	if err != nil || got.Rights != 2 || got.Sessions != 1 || got.Bytes != int64(len(read(t, dir))) || got.Epoch.IsZero() || !got.Horizon.IsZero() {
		t.Errorf("Status = %+v, %v", got, err)
	}
}

// A store that is open for reading follows the others and changes nothing.
func TestReadOnly(t *testing.T) {
	dir, ctx := folder(t), context.Background()
	if _, err := Open(dir, Config{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of no store = %v, want %v", err, fs.ErrNotExist)
	}
	must(t, os.Mkdir(dir, 0o700))
	if _, err := Open(dir, Config{ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of an empty folder = %v, want %v", err, fs.ErrNotExist)
	}
	must(t, os.Remove(dir))
	s := mustOpen(t, dir, Config{}, realHooks())
	reader := mustOpen(t, dir, Config{ReadOnly: true}, realHooks())
	r := newRight()
	claim(t, s, newOwner(), replay.Won, r)
	must(t, s.Purge(ctx))
	log := lastLog(t, dir)
	must(t, os.WriteFile(filepath.Join(dir, newName), nil, 0o600))
	torn := append(read(t, dir), "SB"...)
	must(t, os.WriteFile(log, torn, 0o600))
	for _, reader := range []*Store{reader, mustOpen(t, dir, Config{ReadOnly: true}, realHooks())} {
		if spent, err := reader.Spent(ctx, r.ID); err != nil || !spent[0] {
			t.Errorf("Spent = %v, %v, want true", spent, err)
		}
		if o, err := reader.Claim(ctx, newOwner(), newRight()); o.Granted() || !errors.Is(err, errReadOnly) {
			t.Errorf("Claim = %v, %v, want %v", o, err, errReadOnly)
		}
		if err := reader.Purge(ctx); !errors.Is(err, errReadOnly) {
			t.Errorf("Purge = %v, want %v", err, errReadOnly)
		}
	}
	if len(read(t, dir)) != len(torn) {
		t.Error("a reader cut the log")
	}
	if _, err := os.Stat(filepath.Join(dir, newName)); err != nil {
		t.Errorf("a reader tidied up: %v", err)
	}
}

// Reading writes nothing.
func TestReadsWriteNothing(t *testing.T) {
	dir, ctx := folder(t), context.Background()
	s := mustOpen(t, dir, Config{}, realHooks())
	claim(t, s, newOwner(), replay.Won, newRight())
	before, err := os.Stat(filepath.Join(dir, logName))
	must(t, err)
	if _, err := s.Spent(ctx, newID()); err != nil {
		t.Error(err)
	}
	if _, err := s.Epoch(ctx); err != nil {
		t.Error(err)
	}
	if _, err := s.Status(ctx); err != nil {
		t.Error(err)
	}
	after, err := os.Stat(filepath.Join(dir, logName))
	must(t, err)
	if !after.ModTime().Equal(before.ModTime()) || after.Size() != before.Size() {
		t.Error("reading wrote")
	}
}
