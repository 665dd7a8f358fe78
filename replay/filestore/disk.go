package filestore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

const (
	logName = "replay.log"
	newName = "replay.log.new" // a rewrite in progress, or one that a crash left
)

// disk is the folder, its log, and the ledger that mirrors the log up to offset.
// All but openDisk and close is done under the lock on the folder.
type disk struct {
	dir   string
	cfg   Config
	hooks hooks

	root   *os.Root
	folder *os.File // locked and synced
	info   os.FileInfo

	log    *os.File // nil before the first load and after a failure
	file   os.FileInfo
	header header // of the generation loaded last
	offset int64  // behind the last whole group
	seen   int64  // the largest offset in this generation, ever
	torn   bool   // there is a piece of a group behind offset
	stale  bool   // others may have written what they did not sync
	// suspect says that a sync failed: the log may hold, in memory only, what
	// looks whole. It must be written anew before it is believed.
	suspect bool

	unlocked time.Time // when we last held the lock
	others   time.Time // when we last saw that we are not alone

	ledger  *replay.Ledger
	pending []byte // the group under construction, room for its frame in front
	retryAt int64  // size of the log at which a failed compaction is tried again
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

func (d *disk) path() string { return filepath.Join(d.dir, logName) }

func (d *disk) corrupt(off int64, why string) error {
	return fmt.Errorf("%w: %s at offset %d: %s", ErrCorrupt, d.path(), off, why)
}

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

// refresh brings the ledger up to date with the log.
func (d *disk) refresh() error {
	d.pending = append(d.pending[:0], make([]byte, frameSize)...)
	if err := d.present(); err != nil {
		return err
	}
	current, err := d.current()
	if err != nil {
		return err
	}
	if !current {
		if err := d.reload(); err != nil {
			d.drop()
			return err
		}
	}
	if err := d.readOn(); err != nil {
		d.drop()
		return err
	}
	if d.suspect {
		return d.compact(d.header.epoch)
	}
	return nil
}

// current says whether the log we hold is the one in the folder.
func (d *disk) current() (bool, error) {
	if d.log == nil {
		return false, nil
	}
	held, err := d.log.Stat()
	if err != nil {
		return false, err
	}
	now, err := d.root.Lstat(logName)
	if err != nil {
		return false, d.corrupt(0, "the log is gone")
	}
	return os.SameFile(held, now), nil
}

// reload opens the log, or makes the first one, and starts a ledger with its header.
func (d *disk) reload() error {
	known := d.ledger != nil
	d.drop()
	f, err := d.openLog(known || d.cfg.ReadOnly)
	if err != nil {
		return fmt.Errorf("%s: %w", d.path(), err)
	}
	h, info, err := d.check(f)
	if err == nil && known {
		err = d.succeeds(h, info)
	}
	if err == nil && !d.cfg.ReadOnly {
		err = d.hooks.syncFolder(d.folder) // a rename may not have been synced before a crash
	}
	if err != nil {
		f.Close()
		return err
	}
	if h.generation != d.header.generation {
		d.seen = 0
	}
	d.log, d.file, d.header, d.offset, d.stale = f, info, h, headerSize, true
	d.ledger = d.newLedger(h)
	return nil
}

// succeeds makes sure that a log with header h goes on from the one that we knew:
// it is the same file, or a later generation of it.
func (d *disk) succeeds(h header, info os.FileInfo) error {
	if h.store == d.header.store &&
		(h.generation > d.header.generation || h.generation == d.header.generation && os.SameFile(info, d.file)) {
		return nil
	}
	return d.corrupt(0, "the log was replaced by an older or another one while it was open")
}

// openLog opens the log; if there is none it makes the first, unless it must exist.
func (d *disk) openLog(must bool) (*os.File, error) {
	mode := os.O_RDWR
	if d.cfg.ReadOnly {
		mode = os.O_RDONLY
	}
	f, err := d.root.OpenFile(logName, mode, 0)
	if !errors.Is(err, fs.ErrNotExist) || must {
		return f, err
	}
	if err := d.create(); err != nil {
		return nil, err
	}
	return d.root.OpenFile(logName, mode, 0)
}

func (d *disk) newLedger(h header) *replay.Ledger {
	return replay.NewLedger(replay.LedgerConfig{
		Epoch:       time.Unix(h.epoch, 0),
		Horizon:     h.horizonTime(),
		MaxRights:   d.cfg.MaxRights,
		MaxSessions: d.cfg.MaxSessions,
		MaxSubjects: d.cfg.MaxSubjects,
		Journal:     func(c replay.Change) { d.pending = appendRecord(d.pending, c) },
	})
}

// check reads the header of a log that is what and whose it should be.
func (d *disk) check(f *os.File) (h header, info os.FileInfo, err error) {
	if info, err = f.Stat(); err != nil {
		return h, nil, err
	}
	// A Root follows links that stay inside it.
	if named, err := d.root.Lstat(logName); err != nil || !named.Mode().IsRegular() || !os.SameFile(named, info) {
		return h, nil, fmt.Errorf("%s is not a regular file", d.path())
	}
	if err := checkPrivate(d.path(), info); err != nil {
		return h, nil, err
	}
	b := make([]byte, headerSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return h, nil, err
	}
	if h, err = decodeHeader(b[:n]); err != nil {
		return h, nil, d.corrupt(0, err.Error())
	}
	return h, info, nil
}

// readOn applies what the log holds behind offset.
func (d *disk) readOn() error {
	info, err := d.log.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if err := d.readTo(size); err != nil {
		return err
	}
	if d.offset < d.seen {
		return d.corrupt(d.offset, "the log lost its end")
	}
	d.seen = d.offset
	return nil
}

// readTo applies the groups between offset and size.
func (d *disk) readTo(size int64) error {
	d.torn = false
	if size < d.offset {
		return d.corrupt(size, "the log lost its end")
	}
	if size == d.offset {
		return nil
	}
	if d.seen > 0 {
		d.others = time.Now()
	}
	r := bufio.NewReaderSize(io.NewSectionReader(d.log, d.offset, size-d.offset), 1<<16)
	for {
		next, err := d.header.readGroup(r, d.offset, d.ledger.Apply)
		switch {
		case err == nil:
			d.offset, d.stale = next, true
		case err == io.EOF:
			return nil
		case errors.Is(err, errBadGroup):
			return d.judgeTail(size)
		case errors.Is(err, errBadRecord):
			return d.corrupt(d.offset, err.Error())
		default:
			return fmt.Errorf("%s: %w", d.path(), err)
		}
	}
}

// judgeTail tells a write that a crash interrupted from damage. Nobody else can
// be writing: we have the lock.
func (d *disk) judgeTail(size int64) error {
	b := make([]byte, size-d.offset)
	if _, err := d.log.ReadAt(b, d.offset); err != nil {
		return fmt.Errorf("%s: %w", d.path(), err)
	}
	if !d.header.torn(b, d.offset) {
		return d.corrupt(d.offset, "a group was damaged after it was written")
	}
	d.torn = true
	return nil
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
			return fmt.Errorf("%s: %w", d.path(), err)
		}
	}
	if d.stale {
		if err := d.hooks.sync(d.log); err != nil {
			d.suspect = true
			d.undo()
			return fmt.Errorf("%s: %w", d.path(), err)
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
		d.torn = false
	}
	d.pending = d.header.frame(d.pending, d.offset)
	if err := d.hooks.write(d.log, d.pending, d.offset); err != nil {
		return err
	}
	d.stale = true
	if err := d.hooks.sync(d.log); err != nil {
		d.suspect = true
		return err
	}
	d.offset += int64(len(d.pending))
	d.seen, d.stale = d.offset, false
	return nil
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
