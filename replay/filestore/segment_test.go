package filestore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// segmented is a closed store of n full segments and the last one, none of which is
// past, and what was claimed for owner in each.
type segmented struct {
	dir    string
	owner  replay.Owner
	rights [][]replay.Right
}

func newSegmented(t testing.TB, n int) segmented {
	t.Helper()
	h := realHooks()
	h.minLog = 1
	p := segmented{dir: folder(t), owner: newOwner()}
	s := mustOpen(t, p.dir, Config{}, h)
	for range n {
		batch := make([]replay.Right, 50)
		for i := range batch {
			batch[i] = newRight()
		}
		p.rights = append(p.rights, batch)
		claim(t, s, p.owner, replay.Won, batch...)
	}
	must(t, s.Close())
	if got := len(logs(t, p.dir)); got != n+1 {
		t.Fatalf("%d segments, want %d", got, n+1)
	}
	return p
}

// remembers looks whether s knows all of p.
func (p segmented) remembers(t testing.TB, s *Store) {
	t.Helper()
	for _, batch := range p.rights {
		claim(t, s, newOwner(), replay.Lost, batch[0])
		claim(t, s, p.owner, replay.Mine, batch...)
	}
}

// All segments are read again, whoever wrote them, also those that another process
// began while this one was open.
func TestSegments(t *testing.T) {
	p := newSegmented(t, 6)
	h := realHooks()
	h.minLog = 1
	s, other := mustOpen(t, p.dir, Config{}, h), mustOpen(t, p.dir, Config{}, h)
	p.remembers(t, s)
	for range 10 {
		r := newRight()
		claim(t, s, p.owner, replay.Won, r)
		claim(t, other, newOwner(), replay.Lost, r)
		p.rights = append(p.rights, []replay.Right{r})
	}
	p.remembers(t, other)
	p.remembers(t, s)
	p.remembers(t, mustOpen(t, p.dir, Config{}, realHooks()))
}

// Whatever is missing of the segments or was changed in them is noticed.
func TestSegmentsDamaged(t *testing.T) {
	cut := func(n int, by int64) func(t *testing.T, all []string) {
		return func(t *testing.T, all []string) {
			info, err := os.Stat(all[n])
			must(t, err)
			must(t, os.Truncate(all[n], info.Size()-by))
		}
	}
	for name, spoil := range map[string]func(t *testing.T, all []string){
		"first missing":          func(t *testing.T, all []string) { must(t, os.Remove(all[0])) },
		"one missing":            func(t *testing.T, all []string) { must(t, os.Remove(all[2])) },
		"all but last missing":   func(t *testing.T, all []string) { removeAll(t, all[:len(all)-1]) },
		"last missing":           func(t *testing.T, all []string) { must(t, os.Remove(all[len(all)-1])) },
		"last two missing":       func(t *testing.T, all []string) { removeAll(t, all[len(all)-2:]) },
		"cut off by a byte":      cut(2, 1),
		"without its end":        cut(2, frameSize+endSize+trailerSize),
		"next to last, no end":   cut(5, frameSize+endSize+trailerSize),
		"one cut to zero":        func(t *testing.T, all []string) { must(t, os.Truncate(all[2], 0)) },
		"last cut to zero":       func(t *testing.T, all []string) { must(t, os.Truncate(all[len(all)-1], 0)) },
		"something behind":       func(t *testing.T, all []string) { appendTo(t, all[2], "SB") },
		"under another's name":   func(t *testing.T, all []string) { must(t, os.Rename(all[1], all[2])) },
		"a page zeroed":          func(t *testing.T, all []string) { overwrite(t, all[2], 512, make([]byte, 512)) },
		"a page zeroed at front": func(t *testing.T, all []string) { overwrite(t, all[2], 0, make([]byte, 512)) },
		"a byte changed":         func(t *testing.T, all []string) { overwrite(t, all[3], 300, []byte{1, 2}) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newSegmented(t, 6)
			s := mustOpen(t, p.dir, Config{}, realHooks())
			claim(t, s, p.owner, replay.Won, newRight()) // so that the last segment is in use
			must(t, s.Close())
			spoil(t, logs(t, p.dir))
			before := files(t, p.dir)
			for range 2 {
				s, err := Open(p.dir, Config{})
				if err == nil {
					s.Close()
					t.Fatal("Open = nil, want ErrCorrupt")
				}
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), p.dir) {
					t.Fatalf("Open = %v, want ErrCorrupt with the path", err)
				}
			}
			for name, b := range files(t, p.dir) {
				if string(before[name]) != string(b) {
					t.Errorf("Open changed %s", name)
				}
			}
		})
	}
}

func removeAll(t *testing.T, all []string) {
	t.Helper()
	for _, path := range all {
		must(t, os.Remove(path))
	}
}

func appendTo(t *testing.T, path, s string) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	overwrite(t, path, info.Size(), []byte(s))
}

func overwrite(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(b, off)
	must(t, err)
}

// settle waits for what the committer does after it answered.
func settle(t *testing.T, s *Store) {
	t.Helper()
	_, err := s.Status(context.Background())
	must(t, err)
}

// A segment of another store fits nowhere, even under the right number.
func TestSegmentOfAnotherStore(t *testing.T) {
	for n := range 4 {
		p, other := newSegmented(t, 3), newSegmented(t, 3)
		must(t, os.Rename(logs(t, other.dir)[n], logs(t, p.dir)[n]))
		if _, err := Open(p.dir, Config{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("Open with segment %d of another store = %v, want ErrCorrupt", n+1, err)
		}
	}
}

// Nor do its groups, even if they stand in the same place.
func TestGroupOfAnotherStore(t *testing.T) {
	a, b := newSample(t, 3), newSample(t, 3)
	a.refused(t, append(append([]byte(nil), a.log[:headerSize]...), b.log[headerSize:]...), "another store's groups")
	a.refused(t, append(append([]byte(nil), a.log[:a.last()]...), b.log[b.last():]...), "another store's last group")
}

// Nor do those of the same store that were written after another past: two of them
// went on from one copy, with groups of the same sizes.
func TestGroupOfAnotherPast(t *testing.T) {
	h := quick()
	h.minLog = headerSize + 100 // two claims, and then the segment ends
	grow := func(dir string, claims int) map[string][]byte {
		s := mustOpen(t, dir, Config{}, h)
		for range claims {
			claim(t, s, newOwner(), replay.Won, newRight())
		}
		must(t, s.Close())
		return files(t, dir)
	}
	early := grow(folder(t), 1)
	log := bytes.TrimRight(early[logName], "\x00")
	var late [2]map[string][]byte
	for i := range late {
		late[i] = grow(place(t, log), 2)
	}
	second := segmentName(2)
	if len(late[0]) != 2 || len(late[0][logName]) != len(late[1][logName]) {
		t.Fatalf("%d segments of %d and %d bytes, want 2 of the same size", len(late[0]), len(late[0][logName]), len(late[1][logName]))
	}
	ended := len(late[0][logName]) - frameSize - endSize - trailerSize
	for name, mixed := range map[string]map[string][]byte{
		"the end":     {logName: slices.Concat(late[0][logName][:ended], late[1][logName][ended:]), second: late[1][second]},
		"the segment": {logName: late[0][logName], second: late[1][second]},
		"a group":     {logName: late[0][logName], second: slices.Concat(late[0][second][:headerSize], late[1][second][headerSize:])},
	} {
		dir := folder(t)
		must(t, os.Mkdir(dir, 0o700))
		putBack(t, dir, mixed)
		if _, err := open(dir, Config{}, h); !errors.Is(err, ErrCorrupt) {
			t.Errorf("Open with %s of another past = %v, want ErrCorrupt", name, err)
		}
	}
	mustOpen(t, place(t, log), Config{}, h)
}

// A process that knows the end of a segment as the last group refuses another past
// with the same end.
func TestSegmentEndedInAnotherPast(t *testing.T) {
	h := realHooks()
	h.minLog = headerSize + 100 // two claims, and then the segment ends
	dir := folder(t)
	living := mustOpen(t, dir, Config{}, h)
	claim(t, living, newOwner(), replay.Won, newRight())
	settle(t, living)
	early := files(t, dir)
	lost := newRight()
	claim(t, living, newOwner(), replay.Won, lost)
	if settle(t, living); living.disk.header.number != 2 {
		t.Fatalf("the last segment is %d, want 2", living.disk.header.number)
	}
	must(t, os.WriteFile(filepath.Join(dir, logName), early[logName], 0o600))
	other := mustOpen(t, dir, Config{}, h)
	claim(t, other, newOwner(), replay.Won, newRight())
	if settle(t, other); other.disk.header.number != 2 {
		t.Fatalf("the other's last segment is %d, want 2", other.disk.header.number)
	}
	for range 3 {
		if o, err := living.Claim(context.Background(), newOwner(), lost); o.Granted() || !errors.Is(err, ErrCorrupt) {
			t.Fatalf("Claim = %v, %v, want ErrCorrupt", o, err)
		}
	}
}

// What a crash leaves between the steps of ending a segment: the next one in the
// making, or there but not used, or the end torn.
func TestCrashWhileSegmentEnds(t *testing.T) {
	endGroup := frameSize + endSize + trailerSize
	for cut := range endGroup + 1 {
		p := newSegmented(t, 2)
		all := logs(t, p.dir)
		ended := all[1]
		info, err := os.Stat(ended)
		must(t, err)
		must(t, os.Truncate(ended, info.Size()-int64(cut)))
		s := mustOpen(t, p.dir, Config{}, realHooks())
		if want := uint64(3); cut == 0 && s.disk.header.number != want {
			t.Errorf("the last segment is %d, want %d", s.disk.header.number, want)
		} else if want = 2; cut > 0 && s.disk.header.number != want {
			t.Errorf("the end cut by %d: the last segment is %d, want %d", cut, s.disk.header.number, want)
		}
		p.remembers(t, s)
		r := newRight()
		claim(t, s, p.owner, replay.Won, r)
		must(t, s.Purge(context.Background()))
		claim(t, s, p.owner, replay.Mine, r)
		must(t, s.Close())
		p.remembers(t, mustOpen(t, p.dir, Config{}, realHooks()))
	}
}

// Segments that are past go as a whole, without being read, and those that a crash
// left of them go when the store is opened.
func TestSegmentsUnlinked(t *testing.T) {
	var c clock
	h := realHooks()
	h.now, h.minLog = c.now, 1
	dir := folder(t)
	s, other := mustOpen(t, dir, Config{}, h), mustOpen(t, dir, Config{}, h)
	o, last := newOwner(), newRight()
	var brief []replay.Right
	for range 4 {
		for range 50 {
			r := newRight()
			r.KeepUntil = c.now().Add(10 * time.Second)
			brief = append(brief, r)
		}
		claim(t, s, o, replay.Won, brief[len(brief)-50:]...)
	}
	settle(t, s)
	before, old := len(logs(t, dir)), files(t, dir)
	c.shift(20 * time.Second)
	must(t, os.Truncate(logs(t, dir)[1], headerSize)) // nobody looks into it
	claim(t, s, o, replay.Won, last)
	settle(t, s)
	if after := len(logs(t, dir)); before != 5 || after > 2 {
		t.Errorf("%d segments, then %d, want 5 and at most 2", before, after)
	}
	for name, s := range map[string]*Store{"the writer": s, "the other": other, "a new one": mustOpen(t, dir, Config{}, h)} {
		c.shift(-15 * time.Second)
		if got, err := s.Claim(context.Background(), newOwner(), brief[0]); got.Granted() || !errors.Is(err, replay.ErrBeyondHorizon) {
			t.Errorf("%s: Claim under a clock that went back = %v, %v, want ErrBeyondHorizon", name, got, err)
		}
		claim(t, s, newOwner(), replay.Lost, last)
		c.shift(15 * time.Second)
	}
	delete(old, segmentName(2)) // a gap: they were not removed in order
	for _, name := range []string{segmentName(1), segmentName(3)} {
		must(t, os.WriteFile(filepath.Join(dir, name), old[name], 0o600))
	}
	s = mustOpen(t, dir, Config{}, h)
	claim(t, s, newOwner(), replay.Lost, last)
	if after := logs(t, dir); len(after) > 2 {
		t.Errorf("left: %v", after)
	}
}

// A copy is refused: the store cannot know what was spent since it was made. With
// AfterRestore it is opened, and everything older than that moment is refused, by
// everybody and for good.
func TestRestored(t *testing.T) {
	for name, restore := range map[string]func(t *testing.T, p *segmented){
		"put back": func(t *testing.T, p *segmented) { putBack(t, p.dir, files(t, p.dir)) },
		"copied elsewhere": func(t *testing.T, p *segmented) {
			all := files(t, p.dir)
			p.dir = folder(t)
			must(t, os.Mkdir(p.dir, 0o700))
			putBack(t, p.dir, all)
		},
		"one segment a copy": func(t *testing.T, p *segmented) {
			path := logs(t, p.dir)[1]
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, os.Rename(path, path+".moved"))
			must(t, os.WriteFile(path, b, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, ctx := newSegmented(t, 3), context.Background()
			living := mustOpen(t, p.dir, Config{}, realHooks())
			restore(t, &p)
			for _, cfg := range []Config{{}, {ReadOnly: true}, {ReadOnly: true, AfterRestore: true}} {
				if _, err := Open(p.dir, cfg); !errors.Is(err, ErrRestored) {
					t.Fatalf("Open(%+v) = %v, want ErrRestored", cfg, err)
				}
			}
			var c clock
			c.shift(time.Minute)
			h := realHooks()
			h.now = c.now
			want := replay.FirstEpoch(c.now())
			s := mustOpen(t, p.dir, Config{AfterRestore: true}, h)
			for range 2 {
				epoch, err := s.Epoch(ctx)
				if err != nil || epoch.Before(want) || epoch.After(want.Add(10*time.Second)) {
					t.Errorf("Epoch = %v, %v, want %v", epoch, err, want)
				}
				for _, r := range []replay.Right{p.rights[0][0], newRight()} {
					if o, err := s.Claim(ctx, newOwner(), r); o.Granted() || !errors.Is(err, replay.ErrBeforeEpoch) {
						t.Errorf("Claim = %v, %v, want ErrBeforeEpoch", o, err)
					}
				}
				if spent, err := s.Spent(ctx, p.rights[2][7].ID); err != nil || !spent[0] {
					t.Errorf("Spent = %v, %v, want true", spent, err)
				}
				s = mustOpen(t, p.dir, Config{}, h)
			}
			o, err := living.Claim(ctx, newOwner(), newRight())
			if name == "one segment a copy" && (o.Granted() || !errors.Is(err, replay.ErrBeforeEpoch)) {
				t.Errorf("a process that had it open: Claim = %v, %v, want ErrBeforeEpoch", o, err)
			}
		})
	}
}

// A crash in the middle of taking over a copy leaves one that is still refused.
func TestRestoredInPart(t *testing.T) {
	p := newSegmented(t, 3)
	putBack(t, p.dir, files(t, p.dir))
	for left := 1; left < 4; left++ {
		h, syncs := realHooks(), left
		h.sync = func(f *os.File) error {
			if syncs--; syncs < 0 {
				return errors.New("input/output error")
			}
			return datasync(f)
		}
		if _, err := open(p.dir, Config{AfterRestore: true}, h); err == nil {
			t.Fatal("Open = nil, want an error")
		}
		if _, err := Open(p.dir, Config{}); !errors.Is(err, ErrRestored) {
			t.Fatalf("Open = %v, want ErrRestored", err)
		}
	}
	mustOpen(t, p.dir, Config{AfterRestore: true}, realHooks())
	mustOpen(t, p.dir, Config{}, realHooks())
}

// A folder that was emptied is a new store, to which everything older is unknown.
func TestEmptiedFolder(t *testing.T) {
	p := newSegmented(t, 2)
	removeAll(t, logs(t, p.dir))
	var c clock
	c.shift(time.Minute)
	h := realHooks()
	h.now = c.now
	s := mustOpen(t, p.dir, Config{}, h)
	if o, err := s.Claim(context.Background(), newOwner(), p.rights[0][0]); o.Granted() || !errors.Is(err, replay.ErrBeforeEpoch) {
		t.Errorf("Claim = %v, %v, want ErrBeforeEpoch", o, err)
	}
}
