package filestore

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// rewriteGroup is the payload of a group in a rewritten log.
const rewriteGroup = 1 << 16

// create makes the first generation of a log.
func (d *disk) create() error {
	h := header{generation: 1, epoch: replay.FirstEpoch(d.hooks.now()).Unix(), horizon: noHorizon}
	rand.Read(h.store[:])
	f, _, err := d.writeNew(h, nil)
	if err != nil {
		return err
	}
	return errors.Join(d.replaceLog(), f.Close())
}

// compactIfDue rewrites the log when less than half of it is live. A failure is
// no harm: the log goes on growing and it is tried again later.
func (d *disk) compactIfDue() {
	if d.offset < max(d.hooks.minCompact, d.retryAt) || d.offset < 2*d.live() {
		return
	}
	d.retryAt = d.offset + d.offset/4
	if err := d.compact(d.header.epoch); err == nil {
		d.retryAt = 0
	}
}

func (d *disk) live() int64 {
	rights, sessions, subjects := d.ledger.Len()
	return int64(rights)*rightSize + int64(sessions)*sessionSize + int64(subjects)*subjectSize
}

// compact writes the live records as the next generation of the log and goes on
// with that. Until the folder is synced after the rename, nothing is answered.
func (d *disk) compact(epoch int64) error {
	d.ledger.Purge(d.hooks.now())
	next := header{generation: d.header.generation + 1, epoch: epoch, horizon: noHorizon, store: d.header.store}
	if horizon := d.ledger.Horizon(); !horizon.IsZero() {
		next.horizon = horizon.Unix()
	}
	f, size, err := d.writeNew(next, d.ledger)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		err = d.replaceLog()
	}
	if err != nil {
		f.Close()
		d.drop() // whichever of the two it is now
		return err
	}
	d.log.Close()
	d.log, d.file, d.header, d.offset, d.seen = f, info, next, size, size
	d.torn, d.stale, d.suspect = false, false, false
	if !d.ledger.Epoch().Equal(time.Unix(epoch, 0)) {
		old := d.ledger
		d.ledger = d.newLedger(next)
		for c := range old.All() {
			d.ledger.Apply(c)
		}
	}
	return nil
}

// writeNew writes a whole, synced log beside the current one.
func (d *disk) writeNew(h header, l *replay.Ledger) (f *os.File, size int64, err error) {
	if err := d.root.Remove(newName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	f, err = d.root.OpenFile(newName, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, 0, err
	}
	size, err = writeLog(f, h, l)
	if err == nil {
		err = d.hooks.sync(f)
	}
	if err != nil {
		f.Close()
		d.root.Remove(newName)
		return nil, 0, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return f, size, nil
}

func writeLog(f *os.File, h header, l *replay.Ledger) (size int64, err error) {
	w := bufio.NewWriterSize(f, 1<<18)
	n, _ := w.Write(h.encode())
	size = int64(n)
	group := make([]byte, frameSize, frameSize+rewriteGroup+sessionSize)
	flush := func() {
		if len(group) > frameSize {
			n, _ := w.Write(h.frame(group, size))
			size += int64(n)
			group = group[:frameSize]
		}
	}
	if l != nil {
		for c := range l.All() {
			if group = appendRecord(group, c); len(group) >= rewriteGroup {
				flush()
			}
		}
	}
	flush()
	return size, w.Flush()
}

// replaceLog puts the new log in the place of the old one, for good.
func (d *disk) replaceLog() error {
	if err := d.root.Rename(newName, logName); err != nil {
		return err
	}
	return d.hooks.syncFolder(d.folder)
}

// tidy removes what a crash in the middle of a rewrite left.
func (d *disk) tidy() { d.root.Remove(newName) }
