package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// recordSize is what a right takes in filestore's log: a kind, id, owner and time.
const recordSize = 1 + 16 + 16 + 8

// groupLog is the limit of all that is durable: one file to which concurrent
// callers' records are appended with one write and one fdatasync. It decides
// nothing, checks nothing, and can't be read back.
type groupLog struct {
	file    *os.File
	waiting chan entryOf
	stopped chan struct{}
}

type entryOf struct {
	claim
	done chan error
}

// openLimit writes so many zeros beforehand, so that a sync need not make the file
// longer until they are used up.
func openLimit(dir string, preallocated int64) (claimer, error) {
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return claimer{}, err
	}
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < preallocated && err == nil; off += int64(len(zeros)) {
		_, err = f.WriteAt(zeros, off)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		return claimer{}, err
	}
	l := &groupLog{f, make(chan entryOf, 1024), make(chan struct{})}
	go l.run()
	return claimer{claim: l.claim, close: l.close}, nil
}

func (l *groupLog) claim(c claim) (bool, error) {
	e := entryOf{c, make(chan error, 1)}
	l.waiting <- e
	err := <-e.done
	return err == nil, err
}

func (l *groupLog) close() error {
	close(l.waiting)
	<-l.stopped
	return l.file.Close()
}

func (l *groupLog) run() {
	defer close(l.stopped)
	var offset int64
	var group []entryOf
	var text []byte
	for first := range l.waiting {
		for n := -1; n != len(l.waiting); { // whoever was answered just now comes again
			n = len(l.waiting)
			runtime.Gosched()
		}
		group, text = append(group[:0], first), appendEntry(text[:0], first.claim)
		for range len(l.waiting) {
			e := <-l.waiting
			group, text = append(group, e), appendEntry(text, e.claim)
		}
		_, err := l.file.WriteAt(text, offset)
		if err == nil {
			err = syscall.Fdatasync(int(l.file.Fd()))
		}
		offset += int64(len(text))
		for _, e := range group {
			e.done <- err
		}
	}
}

func appendEntry(b []byte, c claim) []byte {
	b = append(b, 'R')
	b = append(b, c.id[:]...)
	b = append(b, c.owner[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(c.keepUntil.Unix()))
}
