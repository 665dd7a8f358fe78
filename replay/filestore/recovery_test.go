package filestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// logName is the only segment of a small store.
var logName = segmentName(1)

// quick are hooks that trust the page cache, and that a copy is none, for tests
// that open many logs.
func quick() hooks {
	h := copied(realHooks())
	h.sync = func(*os.File) error { return nil }
	h.syncFolder = h.sync
	return h
}

// copied takes every file for the one that was written.
func copied(h hooks) hooks {
	h.stamp = func(*os.File) (stamp, error) { return stamp{}, nil }
	return h
}

// sample is a log of some groups, and who holds what in the last and before.
type sample struct {
	log          []byte
	starts       []int // of the groups
	owner        replay.Owner
	early, late  []replay.Right
	session      replay.ID
	sessionStart int // the group that restored the session
}

// newSample makes a log with several groups; the last has a batch of n rights.
func newSample(t testing.TB, n int) sample {
	t.Helper()
	dir := folder(t)
	s := mustOpen(t, dir, Config{}, quick())
	p := sample{owner: newOwner(), session: newID()}
	mark := func() { p.starts = append(p.starts, len(read(t, dir))) }
	for range 3 {
		r := newRight()
		p.early = append(p.early, r)
		mark()
		claim(t, s, p.owner, replay.Won, r)
	}
	mark()
	p.sessionStart = len(p.starts) - 1
	got, err := s.Restore(context.Background(), p.restore())
	if got.Verdict != replay.Granted || err != nil {
		t.Fatalf("Restore = %v, %v", got, err)
	}
	for range n {
		p.late = append(p.late, newRight())
	}
	mark()
	claim(t, s, p.owner, replay.Won, p.late...)
	must(t, s.Close())
	p.log = read(t, dir)
	return p
}

func (p sample) restore() replay.RestoreRequest {
	return replay.RestoreRequest{Session: p.session, Set: replay.Version{Gen: 1}, Issued: time.Now(), KeepUntil: time.Now().Add(time.Hour), Attempt: newOwner()}
}

// last is where the last group begins.
func (p sample) last() int { return p.starts[len(p.starts)-1] }

// read returns the last segment, without the room for more.
func read(t testing.TB, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(lastLog(t, dir))
	must(t, err)
	return bytes.TrimRight(b, "\x00")
}

// logs are the paths of the segments, in order.
func logs(t testing.TB, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "replay-*.log"))
	must(t, err)
	return all
}

func lastLog(t testing.TB, dir string) string {
	t.Helper()
	all := logs(t, dir)
	if len(all) == 0 {
		t.Fatalf("%s has no segments", dir)
	}
	return all[len(all)-1]
}

// files is what a folder holds.
func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	all := make(map[string][]byte)
	for _, path := range logs(t, dir) {
		b, err := os.ReadFile(path)
		must(t, err)
		all[filepath.Base(path)] = b
	}
	return all
}

// putBack makes the folder hold the copies all, as a backup does.
func putBack(t testing.TB, dir string, all map[string][]byte) {
	t.Helper()
	for _, path := range logs(t, dir) {
		must(t, os.Rename(path, path+".moved")) // so that no inode is used again
	}
	for name, b := range all {
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
}

// place makes a folder with this log.
func place(t testing.TB, log []byte) string {
	t.Helper()
	dir := folder(t)
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, logName), log, 0o600))
	return dir
}

// expect opens the log, and again after it was written to, and looks whether all
// but the last group is remembered, and that too if whole.
func (p sample) expect(t *testing.T, log []byte, whole bool) {
	t.Helper()
	dir := place(t, log)
	late := replay.Won
	if whole {
		late = replay.Lost
	}
	other := newOwner()
	for range 2 {
		s, err := open(dir, Config{}, quick())
		if err != nil {
			t.Fatalf("Open of %d of %d bytes = %v", len(log), len(p.log), err)
		}
		for _, r := range p.early {
			claim(t, s, other, replay.Lost, r)
			claim(t, s, p.owner, replay.Mine, r)
		}
		if got, err := s.Restore(context.Background(), p.restore()); got.Verdict != replay.Superseded || err != nil {
			t.Fatalf("Restore = %v, %v, want superseded", got.Verdict, err)
		}
		claim(t, s, other, replay.Won, newRight()) // shorter than what was torn
		must(t, s.Close())
		s, err = open(dir, Config{}, quick())
		if err != nil {
			t.Fatalf("Open after the first write = %v", err)
		}
		claim(t, s, other, late, p.late...)
		if !whole {
			late = replay.Mine
		}
		must(t, s.Close())
	}
}

// A group that was cut off anywhere is gone as a whole, and nothing else is.
func TestTornTail(t *testing.T) {
	p := newSample(t, 3)
	for cut := p.last(); cut <= len(p.log); cut++ {
		p.expect(t, p.log[:cut], cut == len(p.log))
	}
}

// So is one of which the disk wrote some sectors and others not.
func TestTornSectors(t *testing.T) {
	p := newSample(t, 60)
	var sectors [][2]int
	for at := p.last(); at < len(p.log); {
		end := min(len(p.log), at+sector-at%sector)
		sectors = append(sectors, [2]int{at, end})
		at = end
	}
	if len(sectors) < 5 {
		t.Fatalf("the last group has only %d sectors", len(sectors))
	}
	for written := range 1 << len(sectors) {
		log := bytes.Clone(p.log)
		for i, s := range sectors {
			if written&(1<<i) == 0 {
				clear(log[s[0]:s[1]])
			}
		}
		p.expect(t, log, written == 1<<len(sectors)-1)
		p.expect(t, append(log, make([]byte, 3*sector)...), written == 1<<len(sectors)-1)
	}
}

// Nothing of a torn group is left where later groups come.
func TestTornGroupLeavesNothing(t *testing.T) {
	p := newSample(t, 400) // more than the room of a small segment
	for _, cut := range []int{p.last(), (p.last()/sector + 2) * sector} {
		log := bytes.Clone(p.log)
		clear(log[cut : cut+sector-cut%sector])
		dir := place(t, append(log, make([]byte, 4*sector)...))
		for n := range 80 {
			s, err := open(dir, Config{}, quick())
			if err != nil {
				t.Fatalf("Open after %d more claims = %v", n, err)
			}
			claim(t, s, p.owner, replay.Won, newRight())
			must(t, s.Close())
		}
	}
}

// Damage to what was once whole is refused, told, and left as it is.
func TestCorruption(t *testing.T) {
	p := newSample(t, 3)
	for at := range p.log {
		log := bytes.Clone(p.log)
		log[at] ^= 0x40
		p.refused(t, log, fmt.Sprintf("byte %d flipped", at))
	}
	first, second := p.starts[1], p.starts[2]
	p.refused(t, append(bytes.Clone(p.log[:first]), p.log[second:]...), "a group was cut out")
	p.refused(t, append(bytes.Clone(p.log[:second]), p.log[first:]...), "a group stands twice")
	swapped := append(bytes.Clone(p.log[:p.starts[0]]), p.log[first:second]...)
	p.refused(t, append(append(swapped, p.log[p.starts[0]:first]...), p.log[second:]...), "two groups exchanged")
	zeroed := bytes.Clone(p.log)
	clear(zeroed[first:second])
	p.refused(t, zeroed, "a group zeroed in the middle")

	// A group of many sectors, none of them left, and a whole one behind.
	p = newSample(t, 60)
	dir := place(t, p.log)
	s := mustOpen(t, dir, Config{}, quick())
	claim(t, s, newOwner(), replay.Won, newRight())
	must(t, s.Close())
	zeroed = read(t, dir)
	clear(zeroed[p.last():len(p.log)])
	p.refused(t, zeroed, "a large group zeroed in the middle")
}

func (p sample) refused(t *testing.T, log []byte, what string) {
	t.Helper()
	dir := place(t, log)
	s, err := open(dir, Config{}, quick())
	if err == nil {
		s.Close()
		t.Fatalf("%s: Open = nil, want ErrCorrupt", what)
	}
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), filepath.Join(dir, logName)) || !strings.Contains(err.Error(), "offset") {
		t.Fatalf("%s: Open = %v, want ErrCorrupt with path and offset", what, err)
	}
	if !bytes.Equal(read(t, dir), log) {
		t.Fatalf("%s: Open changed the log", what)
	}
}

// What another process left torn does not stop those that live.
func TestTornWhileOpen(t *testing.T) {
	dir := folder(t)
	s := mustOpen(t, dir, Config{}, realHooks())
	o, a, b := newOwner(), newRight(), newRight()
	claim(t, s, o, replay.Won, a)
	whole := read(t, dir)
	h, err := decodeHeader(whole[:headerSize])
	must(t, err)
	group := appendRecord(make([]byte, frameSize), replay.Change{ID: b.ID, Owner: newOwner(), KeepUntil: b.KeepUntil})
	group = h.frame(group, int64(len(whole)), s.disk.chain())
	must(t, os.WriteFile(filepath.Join(dir, logName), append(whole, group[:len(group)-1]...), 0o600))
	if spent, err := s.Spent(context.Background(), a.ID, b.ID); err != nil || !spent[0] || spent[1] {
		t.Fatalf("Spent = %v, %v", spent, err)
	}
	claim(t, s, o, replay.Won, b)
	other := mustOpen(t, dir, Config{}, realHooks())
	claim(t, other, newOwner(), replay.Lost, a)
	claim(t, other, newOwner(), replay.Lost, b)
}

// A log that lost what it had, or is another one, is not believed.
func TestReplacedWhileOpen(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string, early map[string][]byte){
		"cut off":      func(t *testing.T, dir string, _ map[string][]byte) { must(t, os.Truncate(lastLog(t, dir), headerSize)) },
		"cut to zero":  func(t *testing.T, dir string, _ map[string][]byte) { must(t, os.Truncate(lastLog(t, dir), 0)) },
		"set back":     putBackT,
		"last removed": func(t *testing.T, dir string, _ map[string][]byte) { must(t, os.Remove(lastLog(t, dir))) },
		"emptied":      func(t *testing.T, dir string, _ map[string][]byte) { putBack(t, dir, nil) },
		"set back in place": func(t *testing.T, dir string, early map[string][]byte) {
			for name, b := range early {
				must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
			}
			must(t, os.Remove(lastLog(t, dir)))
		},
		"replaced by a copy": func(t *testing.T, dir string, _ map[string][]byte) { putBack(t, dir, files(t, dir)) },
		"folder replaced": func(t *testing.T, dir string, early map[string][]byte) {
			must(t, os.Rename(dir, dir+".old"))
			must(t, os.Mkdir(dir, 0o700))
			putBack(t, dir, early)
		},
		"folder removed": func(t *testing.T, dir string, _ map[string][]byte) { must(t, os.RemoveAll(dir)) },
		"another store": func(t *testing.T, dir string, _ map[string][]byte) {
			other := folder(t)
			s := mustOpen(t, other, Config{}, realHooks())
			for range 5 {
				must(t, s.Purge(context.Background())) // so that its segments are later ones
			}
			must(t, s.Close())
			putBack(t, dir, nil)
			must(t, os.Rename(lastLog(t, other), filepath.Join(dir, filepath.Base(lastLog(t, other)))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			s := mustOpen(t, dir, Config{}, realHooks())
			claim(t, s, newOwner(), replay.Won, newRight())
			early := files(t, dir)
			must(t, s.Purge(context.Background()))
			r := newRight()
			claim(t, s, newOwner(), replay.Won, r)
			spoil(t, dir, early)
			for range 3 {
				if o, err := s.Claim(context.Background(), newOwner(), r); o.Granted() || err == nil {
					t.Fatalf("Claim = %v, %v, want an error", o, err)
				}
				if _, err := s.Spent(context.Background(), r.ID); err == nil {
					t.Fatal("Spent = nil, want an error")
				}
			}
		})
	}
}

// An older log that was copied over the files in place is the store of whoever opens it
// then. A process that lives on refuses, also when the others have written as much as
// was lost: their groups are where its own were.
func TestSetBackInPlace(t *testing.T) {
	for anew := range 4 { // groups that others write
		dir, ctx := folder(t), context.Background()
		living := mustOpen(t, dir, Config{}, realHooks())
		claim(t, living, newOwner(), replay.Won, newRight())
		early := files(t, dir)
		lost := newRight()
		claim(t, living, newOwner(), replay.Won, lost)
		reads := mustOpen(t, dir, Config{}, realHooks())
		for name, b := range early {
			must(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
		}
		other := mustOpen(t, dir, Config{}, realHooks())
		theirs := newRight()
		for range anew {
			theirs = newRight()
			claim(t, other, newOwner(), replay.Won, theirs)
		}
		for range 3 {
			for _, s := range []*Store{living, reads} {
				for _, r := range []replay.Right{lost, theirs, newRight()} {
					if o, err := s.Claim(ctx, newOwner(), r); o.Granted() || !errors.Is(err, ErrCorrupt) {
						t.Fatalf("after %d groups: Claim = %v, %v, want ErrCorrupt", anew, o, err)
					}
				}
				if _, err := s.Spent(ctx, lost.ID); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("after %d groups: Spent: %v, want ErrCorrupt", anew, err)
				}
			}
		}
	}
}

func putBackT(t *testing.T, dir string, early map[string][]byte) { putBack(t, dir, early) }

// failing are hooks whose next write or sync of the log goes wrong.
type failing struct {
	hooks
	write, sync int // how many to fail
}

func newFailing() *failing {
	f := &failing{hooks: realHooks()}
	write, sync := f.hooks.write, f.hooks.sync
	f.hooks.write = func(file *os.File, b []byte, off int64) error {
		if f.write > 0 {
			f.write--
			write(file, b[:len(b)/2], off)
			return errors.New("no space left on device")
		}
		return write(file, b, off)
	}
	f.hooks.sync = func(file *os.File) error {
		if f.sync > 0 {
			f.sync--
			return errors.New("input/output error")
		}
		return sync(file)
	}
	return f
}

func (f *failing) hooked() hooks { return f.hooks }

// After a failed write nothing is known but what the log says.
func TestWriteFails(t *testing.T) {
	dir, f := folder(t), newFailing()
	s := mustOpen(t, dir, Config{}, f.hooked())
	o, a, b := newOwner(), newRight(), newRight()
	claim(t, s, o, replay.Won, a)
	f.write = 2
	for range 2 {
		if got, err := s.Claim(context.Background(), newOwner(), b); got != replay.Lost || err == nil {
			t.Fatalf("Claim = %v, %v, want an error", got, err)
		}
	}
	claim(t, s, newOwner(), replay.Lost, a)
	claim(t, s, o, replay.Won, b) // those who were not told hold nothing
	must(t, s.Close())
	s = mustOpen(t, dir, Config{}, realHooks())
	claim(t, s, o, replay.Mine, a, b)
}

// A segment whose name may not last is not written to, and a log of which one may
// be such is not answered from.
func TestFolderSyncFails(t *testing.T) {
	fails, h := 0, realHooks()
	h.syncFolder = func(f *os.File) error {
		if fails > 0 {
			fails--
			return errors.New("input/output error")
		}
		return f.Sync()
	}
	dir := folder(t)
	s := mustOpen(t, dir, Config{}, h)
	o, r := newOwner(), newRight()
	claim(t, s, o, replay.Won, r)
	for range 2 {
		fails = 1
		if err := s.Purge(context.Background()); err == nil {
			t.Error("Purge = nil, want an error")
		}
		claim(t, s, o, replay.Mine, r)
		if s.disk.header.number != 1 {
			t.Fatal("the next segment is written to")
		}
	}
	fails = 1
	if _, err := open(dir, Config{}, h); err == nil {
		t.Error("Open = nil, want an error")
	}
	claim(t, mustOpen(t, dir, Config{}, realHooks()), newOwner(), replay.Lost, r)
	must(t, s.Purge(context.Background()))
	claim(t, s, o, replay.Mine, r)
	claim(t, mustOpen(t, dir, Config{}, realHooks()), newOwner(), replay.Lost, r)
}

// After a failed sync the log is written anew before anything is answered: what
// the kernel shows of the old one need not be on the disk.
func TestSyncFails(t *testing.T) {
	for n := range 6 {
		t.Run(fmt.Sprint(n+1), func(t *testing.T) { syncFails(t, n+1) })
	}
}

func syncFails(t *testing.T, times int) {
	dir, f := folder(t), newFailing()
	s := mustOpen(t, dir, Config{}, f.hooked())
	other := mustOpen(t, dir, Config{}, realHooks())
	o, a, b := newOwner(), newRight(), newRight()
	claim(t, s, o, replay.Won, a)
	before, err := os.Stat(filepath.Join(dir, logName))
	must(t, err)
	f.sync = times
	for f.sync > 0 {
		if got, err := s.Claim(context.Background(), newOwner(), b); got != replay.Lost || err == nil {
			t.Fatalf("Claim = %v, %v, want an error", got, err)
		}
		if f.sync > 0 {
			if got, err := s.Claim(context.Background(), o, a); got != replay.Lost || err == nil {
				t.Fatalf("Claim of what is held = %v, %v, want an error", got, err)
			}
		}
	}
	claim(t, s, o, replay.Mine, a)
	after, err := os.Stat(filepath.Join(dir, logName))
	must(t, err)
	if os.SameFile(before, after) {
		t.Error("the segment was not written anew")
	}
	claim(t, other, newOwner(), replay.Lost, a)
	claim(t, other, o, replay.Won, b)
	claim(t, s, o, replay.Mine, a, b)
}

// Whatever is granted, or answered on the strength of what another process wrote,
// is in what was synced by then.
func TestDurableBeforeAnswer(t *testing.T) {
	var mu sync.Mutex
	synced := make(map[uint64][]byte)
	h := copied(realHooks())
	h.minLog = 1024
	h.sync = func(f *os.File) error {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
		must(t, err)
		head, err := decodeHeader(b[:headerSize]) // its name may be that of one in the making
		mu.Lock()
		defer mu.Unlock()
		synced[head.number] = b
		return err
	}
	dir := folder(t)
	s := mustOpen(t, dir, Config{}, h)
	durable := func(o replay.Owner, rights ...replay.Right) {
		t.Helper()
		mu.Lock()
		now := maps.Clone(synced)
		mu.Unlock()
		on := folder(t)
		must(t, os.Mkdir(on, 0o700))
		for n, b := range now {
			must(t, os.WriteFile(filepath.Join(on, segmentName(n)), b, 0o600))
		}
		claim(t, mustOpen(t, on, Config{}, quick()), o, replay.Mine, rights...)
	}
	session, o := newID(), newOwner()
	for i := range 100 {
		r := newRight()
		claim(t, s, o, replay.Won, r)
		durable(o, r)
		if v, err := s.Protect(context.Background(), replay.Place{Session: session, Version: replay.Version{Gen: uint64(i)}, KeepUntil: time.Now().Add(time.Hour)}); v != replay.Granted || err != nil {
			t.Fatal(v, err)
		}
	}
	if settle(t, s); s.disk.begin.segment < 2 {
		t.Error("no segment was ever removed")
	}
	// A process that was killed between its write and its fsync.
	killed := copied(realHooks())
	killed.sync = func(*os.File) error { return nil }
	r := newRight()
	claim(t, mustOpen(t, dir, Config{}, killed), o, replay.Won, r)
	claim(t, s, o, replay.Mine, r)
	durable(o, r)
}

// A log that lost its end, or all, is noticed also when it has to be read anew.
func TestCutWhileFailing(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"cut":     func(t *testing.T, dir string) { must(t, os.Truncate(lastLog(t, dir), headerSize)) },
		"emptied": func(t *testing.T, dir string) { must(t, os.Remove(lastLog(t, dir))) },
	} {
		t.Run(name, func(t *testing.T) { cutWhileFailing(t, spoil) })
	}
}

func cutWhileFailing(t *testing.T, spoil func(t *testing.T, dir string)) {
	dir, f := folder(t), newFailing()
	s := mustOpen(t, dir, Config{}, f.hooked())
	o, a := newOwner(), newRight()
	claim(t, s, o, replay.Won, a)
	f.write = 1
	if got, err := s.Claim(context.Background(), o, newRight()); got != replay.Lost || err == nil {
		t.Fatalf("Claim = %v, %v, want an error", got, err)
	}
	spoil(t, dir)
	had := len(logs(t, dir))
	for range 2 {
		if got, err := s.Claim(context.Background(), newOwner(), a); got != replay.Lost || err == nil {
			t.Fatalf("Claim = %v, %v, want an error", got, err)
		}
	}
	if left := len(logs(t, dir)); left != had {
		t.Errorf("%d segments, then %d: the store was made anew", had, left)
	}
}

// Another process that holds the folder is waited for, but not for ever.
func TestLocked(t *testing.T) {
	dir := folder(t)
	s := mustOpen(t, dir, Config{LockWait: 50 * time.Millisecond}, realHooks())
	patient := mustOpen(t, dir, Config{LockWait: time.Hour}, realHooks())
	late := mustOpen(t, dir, Config{LockWait: time.Hour}, realHooks())
	holder, err := os.Open(dir)
	must(t, err)
	defer holder.Close()
	if ok, err := tryLock(holder); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := s.Claim(context.Background(), newOwner(), newRight()); !errors.Is(err, ErrLocked) {
		t.Errorf("Claim = %v, want ErrLocked", err)
	}
	if _, err := open(dir, Config{LockWait: 10 * time.Millisecond}, realHooks()); !errors.Is(err, ErrLocked) {
		t.Errorf("Open = %v, want ErrLocked", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	given := newRight()
	if _, err := late.Claim(ctx, newOwner(), given); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Claim = %v, want %v", err, context.DeadlineExceeded)
	}
	waiting := make(chan error)
	go func() {
		_, err := patient.Claim(context.Background(), newOwner(), newRight())
		waiting <- err
	}()
	time.Sleep(10 * time.Millisecond)
	must(t, patient.Close())
	if err := <-waiting; !errors.Is(err, replay.ErrClosed) {
		t.Errorf("Claim under Close = %v, want ErrClosed", err)
	}
	must(t, unlock(holder))
	claim(t, late, newOwner(), replay.Won, given) // what was given up is not decided
	claim(t, s, newOwner(), replay.Won, newRight())
}
