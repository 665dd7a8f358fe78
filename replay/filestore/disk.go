package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// disk is the folder, its segments, and the ledger that mirrors them up to offset
// in the last one. All but openDisk and close is done under the lock on the folder.
type disk struct {
	dir   string
	cfg   Config
	hooks hooks

	root   *os.Root
	folder *os.File // locked and synced
	info   os.FileInfo

	log    *os.File // the last segment, which is written to; nil before the first load and after a failure
	header header   // its
	offset int64    // behind the last whole group in it
	latest int64    // KeepUntil of anything in it
	torn   bool     // there is a piece of a group behind offset
	stale  bool     // others may have written what they did not sync
	ended  bool     // the log goes on in the next segment
	read   bool     // it was read up to its end at least once
	room   int64    // size of its file: behind offset there are zeros
	frame  [frameSize]byte

	sealed    []segment // those before it, from begin on
	bytes     int64     // of the sealed ones
	begin     position  // what stands before is past, or stands again behind
	first     uint64    // the segment from which on the log was read
	unsettled bool      // since the load, the folder was not looked through
	copies    []uint64  // segments that are to be adopted
	dead      []uint64  // segments before begin
	last      landmark  // the last group that was read or written
	behind    position  // the end of the log as it was seen last
	seen      landmark  // the group before it

	// suspect is a segment of which a sync failed, if not 0: it may hold, in memory
	// only, what looks whole. It must be written anew before it is believed.
	suspect uint64

	unlocked time.Time // when we last held the lock
	others   time.Time // when we last saw that we are not alone

	ledger  *replay.Ledger
	pending []byte // the group under construction, room for its frame in front
	old     *oldSegment
	retryAt int64 // size of the last segment at which a failed start of the next is tried again
}

// openDisk checks the folder, creating it if there is none.
func openDisk(dir string, cfg Config, h hooks) (*disk, error) {
	if !supported {
		return nil, errors.ErrUnsupported
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if !cfg.ReadOnly {
		if err := makeFolder(dir, h); err != nil {
			return nil, err
		}
	}
	d := &disk{dir: dir, cfg: cfg, hooks: h}
	if err := d.openFolder(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *disk) openFolder() (err error) {
	if d.info, err = checkFolder(d.dir); err != nil {
		return err
	}
	if d.root, err = os.OpenRoot(d.dir); err != nil {
		return err
	}
	if d.folder, err = d.root.Open("."); err != nil {
		return err
	}
	if err := d.present(); err != nil {
		return err
	}
	name, err := networkFilesystem(d.folder)
	if err == nil && name != "" && !d.cfg.UnsafeNetworkFilesystem {
		err = fmt.Errorf("%s is on a network file system (%s)", d.dir, name)
	}
	return err
}

func makeFolder(dir string, h hooks) error {
	if _, err := os.Lstat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	return h.syncFolder(parent)
}

func checkFolder(dir string) (os.FileInfo, error) {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("%s is a symbolic link", dir)
	case !info.IsDir():
		return nil, fmt.Errorf("%s is not a folder", dir)
	}
	return info, checkPrivate(dir, info)
}

// present makes sure that the folder we hold is still the one at its path: a lock
// on one that was moved away excludes nobody.
func (d *disk) present() error {
	held, err := d.folder.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Lstat(d.dir); err != nil || !os.SameFile(held, now) || !os.SameFile(held, d.info) {
		return fmt.Errorf("%s was replaced while it was open", d.dir)
	}
	return nil
}

func (d *disk) path(segment uint64) string { return filepath.Join(d.dir, segmentName(segment)) }

func (d *disk) corrupt(at position, why string) error {
	return fmt.Errorf("%w: %s at offset %d: %s", ErrCorrupt, d.path(at.segment), at.offset, why)
}

// failed says which segment an error is about.
func (d *disk) failed(err error) error { return fmt.Errorf("%s: %w", d.path(d.header.number), err) }

// end is where the next group goes.
func (d *disk) end() position { return position{d.header.number, d.offset} }

// A process that waits for the lock looks for it every poll or so. One that had
// it just now stands back for that long if there have been others within the last
// crowd: else whoever is busiest would keep it.
const (
	poll  = 150 * time.Microsecond
	crowd = time.Second
)

// locked runs f under the lock on the folder. It gives up after wait, or when
// quit is closed.
func (d *disk) locked(wait time.Duration, quit <-chan struct{}, f func() error) error {
	start := time.Now()
	if start.Sub(d.others) < crowd && start.Sub(d.unlocked) < poll {
		time.Sleep(poll)
	}
	for {
		ok, err := tryLock(d.folder)
		if err != nil {
			return fmt.Errorf("%s: %w", d.dir, err)
		}
		if ok {
			break
		}
		if d.others = time.Now(); d.others.Sub(start) > wait {
			return fmt.Errorf("%w: %s, for longer than %v", ErrLocked, d.dir, wait)
		}
		select {
		case <-quit:
			return replay.ErrClosed
		case <-time.After(poll/2 + rand.N(poll/2)):
		}
	}
	err := f()
	d.unlocked = time.Now()
	return errors.Join(err, unlock(d.folder))
}

// chain is the sum of the group behind which the next one goes.
func (d *disk) chain() uint32 {
	if d.last.at.segment == d.header.number {
		return frameSum(d.last.frame[:])
	}
	return d.header.chain
}

// commit makes the pending group durable, and what others may have left unsynced;
// it does nothing for a group that only reads.
func (d *disk) commit(writes bool) error {
	if !writes {
		return nil
	}
	if len(d.pending) > frameSize {
		if err := d.append(); err != nil {
			d.undo()
			return d.failed(err)
		}
	}
	if d.stale {
		if err := d.hooks.sync(d.log); err != nil {
			d.suspect = d.header.number
			d.undo()
			return d.failed(err)
		}
		d.stale = false
	}
	return nil
}

func (d *disk) append() error {
	if len(d.pending)-frameSize > maxPayload {
		return errors.New("too much for one group")
	}
	if d.torn {
		if err := d.log.Truncate(d.offset); err != nil {
			return err
		}
		d.torn, d.room = false, d.offset
	}
	d.pending = d.header.frame(d.pending, d.offset, d.chain())
	if err := d.writeGroup(d.pending); err != nil {
		return err
	}
	d.stale = true
	if err := d.hooks.sync(d.log); err != nil {
		d.suspect = d.header.number
		return err
	}
	d.last.at = d.end()
	copy(d.last.frame[:], d.pending)
	d.offset += int64(len(d.pending))
	d.behind, d.seen, d.stale = d.end(), d.last, false
	return nil
}

// writeGroup writes a group with room behind it, or without if the disk has none. A disk
// that is full is replay.ErrFull; one that says so only when it syncs is not, since
// the group may be there.
func (d *disk) writeGroup(group []byte) error {
	roomy := d.withRoom(group)
	err := d.hooks.write(d.log, roomy, d.offset)
	if full(err) && len(roomy) > len(group) {
		d.room = d.offset + int64(len(group))
		err = d.hooks.write(d.log, group, d.offset)
	}
	return asFull(err)
}

// full says that there is no room on the disk, or for this user.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func asFull(err error) error {
	if full(err) {
		return fmt.Errorf("%w: %w", replay.ErrFull, err)
	}
	return err
}

// The room that a segment gets beforehand: a quarter of what it has, within these.
// Where a sync need not make the file longer it is faster.
const (
	leastRoom = 1 << 12
	mostRoom  = 1 << 20
)

// withRoom adds zeros to a group that does not fit in the file.
func (d *disk) withRoom(group []byte) []byte {
	end := d.offset + int64(len(group))
	if end <= d.room {
		return group
	}
	step := min(max(d.offset/4, leastRoom), mostRoom) &^ (leastRoom - 1)
	d.room = (end/step + 1) * step
	return append(group, make([]byte, d.room-end)...)
}

// undo takes back a group that could not be made durable, as far as that is
// possible, and forgets all that was decided: what counts is what the log says.
func (d *disk) undo() {
	if err := d.log.Truncate(d.offset); err == nil {
		d.hooks.sync(d.log)
	}
	d.drop()
}

// drop makes the next refresh read the whole log again.
func (d *disk) drop() {
	if d.log != nil {
		d.log.Close()
		d.log = nil
	}
	d.old.close()
	d.old = nil
}

func (d *disk) close() error {
	d.drop()
	var err error
	if d.folder != nil {
		err = d.folder.Close()
	}
	if d.root != nil {
		err = errors.Join(err, d.root.Close())
	}
	return err
}
