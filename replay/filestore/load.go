package filestore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// errAnew says that the log is not the one that we hold any more, though it may go
// on from it: it must be read from its beginning.
var errAnew = errors.New("read anew")

// refresh brings the ledger up to date with the log.
func (d *disk) refresh() error {
	d.pending = append(d.pending[:0], make([]byte, frameSize)...)
	if err := d.present(); err != nil {
		return err
	}
	if d.suspect != 0 {
		d.drop()
		if err := d.renew(d.suspect, 0); err != nil {
			return err
		}
		d.suspect = 0
	}
	err := errAnew
	if d.log != nil {
		if err = d.remembers(); err == nil {
			err = d.follow()
		}
	}
	if errors.Is(err, errAnew) {
		err = d.load()
	}
	if err == nil && len(d.copies) > 0 {
		err = d.adopt()
	}
	if err == nil && d.unsettled {
		err = d.settle()
	}
	if err != nil {
		d.drop()
	}
	return err
}

// ahead reads the segments that nobody writes to any more before the lock is taken,
// so that others need not wait for it. What it can't read is left to refresh, which
// says why.
func (d *disk) ahead() {
	numbers, err := d.segments()
	if err != nil || len(numbers) < 3 {
		return
	}
	if d.log == nil {
		err = d.start(numbers)
	}
	for err == nil && d.header.number+1 < numbers[len(numbers)-1] {
		if err = d.readOn(); err == nil && !d.ended {
			err = errAnew
		}
		if err == nil {
			err = d.next()
		}
	}
	if err != nil {
		d.drop()
	}
}

// follow reads on, through new segments, to the end of the log.
func (d *disk) follow() error {
	for {
		if err := d.readOn(); err != nil {
			return err
		}
		if !d.ended {
			break
		}
		if err := d.next(); err != nil {
			return err
		}
	}
	if err := d.current(); err != nil {
		return err
	}
	if d.begin.segment < d.first {
		return d.corrupt(d.begin, "the segment is missing")
	}
	if d.header.number < d.behind.segment || d.header.number == d.behind.segment && d.offset < d.behind.offset {
		return d.corrupt(d.end(), "the log lost its end")
	}
	d.behind, d.seen = d.end(), d.last
	return nil
}

// remembers makes sure that the last group that we know is still there. A log that
// was set back in its file and has grown again may be as long as before, with other
// groups where those were that we read.
func (d *disk) remembers() error {
	at, f := d.seen.at, d.log
	if at.segment == 0 {
		return nil
	}
	if d.header.number != at.segment {
		var err error
		if f, _, err = d.openSegment(at.segment); errors.Is(err, fs.ErrNotExist) {
			return nil // it is past; if not, follow misses it
		}
		if err != nil {
			return err
		}
		defer f.Close()
	}
	n, err := f.ReadAt(d.frame[:], at.offset)
	if err != nil && err != io.EOF {
		return d.failed(err)
	}
	if !bytes.Equal(d.frame[:n], d.seen.frame[:]) {
		return d.corrupt(at, "the group that was here is not there any more")
	}
	return nil
}

// current makes sure that the last segment is the one in the folder.
func (d *disk) current() error {
	held, err := d.log.Stat()
	if err != nil {
		return err
	}
	named, err := d.root.Lstat(segmentName(d.header.number))
	if errors.Is(err, fs.ErrNotExist) {
		return d.corrupt(position{d.header.number, 0}, "the segment is gone")
	}
	if err == nil && !os.SameFile(held, named) {
		err = errAnew
	}
	return err
}

// load reads the whole log, or makes it.
func (d *disk) load() error {
	numbers, err := d.segments()
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		if d.behind.segment > 0 || d.cfg.ReadOnly {
			return fmt.Errorf("%s: %w", d.path(1), fs.ErrNotExist)
		}
		if err := d.create(); err != nil {
			return err
		}
		numbers = []uint64{1}
	}
	if err := d.start(numbers); err != nil {
		return err
	}
	if err = d.remembers(); err == nil {
		err = d.follow()
	}
	if errors.Is(err, errAnew) {
		err = d.corrupt(d.end(), "what should follow is missing")
	}
	return err
}

// start opens the first of the segments that can count, behind the last gap:
// those before one were past when a crash came while they were removed.
func (d *disk) start(numbers []uint64) error {
	i := len(numbers) - 1
	for i > 0 && numbers[i-1] == numbers[i]-1 {
		i--
	}
	d.drop()
	f, h, err := d.openSegment(numbers[i])
	if err != nil {
		return err
	}
	if d.behind.segment > 0 && h.store != d.header.store {
		f.Close()
		return d.corrupt(position{h.number, 0}, "the log was replaced by another one")
	}
	d.sealed, d.bytes, d.dead, d.copies = nil, 0, nil, nil
	d.first, d.begin, d.last, d.unsettled = h.number, position{1, headerSize}, landmark{}, true
	d.ledger = d.newLedger(h)
	return d.enter(f, h)
}

// enter makes f the last segment, of which nothing was read yet.
func (d *disk) enter(f *os.File, h header) error {
	d.log, d.header, d.offset, d.latest = f, h, headerSize, noHorizon
	d.torn, d.stale, d.ended, d.read, d.retryAt = false, true, false, false, 0
	d.ledger.RaiseEpoch(time.Unix(h.epoch, 0))
	if now, err := d.hooks.stamp(f); err != nil || now == h.stamp {
		return err
	}
	if !d.cfg.AfterRestore || d.cfg.ReadOnly {
		return fmt.Errorf("%w: %s is a copy", ErrRestored, d.path(h.number))
	}
	d.copies = append(d.copies, h.number)
	return nil
}

// adopt writes the segments that are copies anew, with a raised epoch, and reads the
// log again. The last segment is written in any case, and first: by it others that
// have the store open learn of the epoch. After a crash in between, the next Open
// sees the copies that are left.
func (d *disk) adopt() error {
	epoch, last := nextEpoch(d.ledger.Epoch(), d.hooks.now()).Unix(), d.header.number
	others := slices.DeleteFunc(d.copies, func(n uint64) bool { return n == last })
	for _, n := range append([]uint64{last}, others...) {
		if err := d.renew(n, epoch); err != nil {
			return err
		}
	}
	d.cfg.AfterRestore = false // but not what happens from now on
	return d.load()
}

// next goes on to the segment behind the one that has ended.
func (d *disk) next() error {
	if d.stale && !d.cfg.ReadOnly {
		if err := d.hooks.sync(d.log); err != nil {
			d.suspect = d.header.number
			return d.failed(err)
		}
	}
	f, h, err := d.openSegment(d.header.number + 1)
	if errors.Is(err, fs.ErrNotExist) {
		return errAnew // or it is past already
	}
	if err != nil {
		return err
	}
	if h.store != d.header.store {
		f.Close()
		return d.corrupt(position{h.number, 0}, "the segment is another store's")
	}
	if h.chain != d.chain() {
		f.Close()
		return d.corrupt(position{h.number, 0}, "the segment does not follow the one before it")
	}
	d.sealed = append(d.sealed, segment{d.header.number, d.offset, d.latest})
	d.bytes += d.offset
	d.log.Close()
	d.log = nil
	return d.enter(f, h)
}

// settle ends a load.
func (d *disk) settle() error {
	numbers, err := d.segments()
	if err != nil {
		return err
	}
	if last := numbers[len(numbers)-1]; last != d.header.number {
		if err := d.unused(last); err != nil {
			return err
		}
	}
	if !d.cfg.ReadOnly { // a rename may not have been synced before a crash
		if err := d.hooks.syncFolder(d.folder); err != nil {
			return err
		}
	}
	d.unsettled = false
	return nil
}

// unused makes sure that the segment behind the last one is what a crash in the
// start of it left: nothing is in it.
func (d *disk) unused(number uint64) error {
	info, err := d.root.Lstat(segmentName(number))
	if err != nil {
		return err
	}
	if number != d.header.number+1 || info.Size() > headerSize {
		return d.corrupt(d.end(), "the segment lost its end")
	}
	return nil
}

func (d *disk) newLedger(h header) *replay.Ledger {
	return replay.NewLedger(replay.LedgerConfig{
		Epoch:       time.Unix(h.epoch, 0),
		MaxRights:   d.cfg.MaxRights,
		MaxSessions: d.cfg.MaxSessions,
		MaxSubjects: d.cfg.MaxSubjects,
		ShortOwners: true,
		Journal: func(c replay.Change) {
			d.pending = appendRecord(d.pending, c)
			d.latest = max(d.latest, c.KeepUntil.Unix())
		},
	})
}

// readOn applies what the last segment holds behind offset.
func (d *disk) readOn() error {
	d.torn = false
	info, err := d.log.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	d.room = size
	if size < d.offset {
		return d.corrupt(d.end(), "the log lost its end")
	}
	if more, err := d.more(size); err != nil || !more {
		return err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(d.log, d.offset, size-d.offset), 1<<16)
	for !d.ended {
		next, err := d.header.readGroup(r, &d.frame, d.offset, d.apply)
		switch {
		case err == nil && frameChain(d.frame[:]) != d.chain():
			return d.corrupt(d.end(), "the group does not follow the one before it")
		case err == nil:
			d.last = landmark{d.end(), d.frame}
			d.offset, d.stale = next, true
			if d.behind.segment > 0 { // not what was there when we came
				d.others = time.Now()
			}
		case err == io.EOF:
			return nil
		case errors.Is(err, errBadGroup):
			return d.judgeTail(size)
		case errors.Is(err, errBadRecord):
			return d.corrupt(d.end(), err.Error())
		default:
			return d.failed(err)
		}
	}
	if written, err := d.written(size); err != nil || len(written) > 0 {
		return errors.Join(err, d.corrupt(d.end(), "something stands behind the end of the segment"))
	}
	return nil
}

// more says whether anything may stand behind offset. Once a segment was read to
// its end and nothing torn was there, a frame of zeros is the room for the next group.
func (d *disk) more(size int64) (bool, error) {
	if size == d.offset {
		return false, nil
	}
	if !d.read {
		d.read = true
		return true, nil
	}
	n, err := d.log.ReadAt(d.frame[:], d.offset)
	if err != nil && err != io.EOF {
		return false, d.failed(err)
	}
	return len(bytes.Trim(d.frame[:n], "\x00")) > 0, nil
}

// written is what stands behind offset, up to the zeros at the end.
func (d *disk) written(size int64) ([]byte, error) {
	b := make([]byte, size-d.offset)
	if _, err := d.log.ReadAt(b, d.offset); err != nil {
		return nil, d.failed(err)
	}
	return bytes.TrimRight(b, "\x00"), nil
}

// apply takes a record of the log into the ledger.
func (d *disk) apply(r *record) {
	switch r.kind {
	case 'B':
		d.beginAt(r.begin, r.horizon)
	case 'P':
		d.ledger.RaiseEpoch(time.Unix(r.epoch, 0))
	case 'E':
		d.ended = true
	default:
		d.ledger.Apply(r.Change)
		d.latest = max(d.latest, r.KeepUntil.Unix())
	}
}

// judgeTail tells a write that a crash interrupted from damage. Nobody else can
// be writing: we have the lock.
func (d *disk) judgeTail(size int64) error {
	b, err := d.written(size)
	if err != nil || len(b) == 0 {
		return err
	}
	if !d.header.torn(b, d.offset, size-d.offset) {
		return d.corrupt(d.end(), "a group was damaged after it was written")
	}
	d.torn, d.read = true, false // until it is cut off
	return nil
}
