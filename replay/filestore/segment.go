package filestore

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"

	"github.com/sealedblob/sealedblob/replay"
)

// newName is a segment in the making, or one that a crash left.
const newName = "replay.new"

func segmentName(number uint64) string { return fmt.Sprintf("replay-%08d.log", number) }

// segmentNumber is that of the segment called name; 0 if that is none's name.
func segmentNumber(name string) (number uint64) {
	if _, err := fmt.Sscanf(name, "replay-%d.log", &number); err != nil || segmentName(number) != name {
		return 0
	}
	return number
}

// segment is one that is written to no more.
type segment struct {
	number uint64
	size   int64
	latest int64 // KeepUntil of anything in it
}

// segments lists the numbers of those in the folder, ascending.
func (d *disk) segments() (numbers []uint64, err error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	for _, name := range names {
		if n := segmentNumber(name); n > 0 {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, err
}

// openSegment opens a segment that is what and whose it should be.
func (d *disk) openSegment(number uint64) (f *os.File, h header, err error) {
	mode := os.O_RDWR
	if d.cfg.ReadOnly {
		mode = os.O_RDONLY
	}
	if f, err = d.root.OpenFile(segmentName(number), mode, 0); err != nil {
		return nil, h, fmt.Errorf("%s: %w", d.path(number), err)
	}
	if h, err = d.check(f, number); err != nil {
		f.Close()
		return nil, h, err
	}
	return f, h, nil
}

// check reads the header of f.
func (d *disk) check(f *os.File, number uint64) (h header, err error) {
	info, err := f.Stat()
	if err != nil {
		return h, err
	}
	// A Root follows links that stay inside it.
	if named, err := d.root.Lstat(segmentName(number)); err != nil || !named.Mode().IsRegular() || !os.SameFile(named, info) {
		return h, fmt.Errorf("%s is not a regular file", d.path(number))
	}
	if err := checkPrivate(d.path(number), info); err != nil {
		return h, err
	}
	b := make([]byte, headerSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return h, err
	}
	if h, err = decodeHeader(b[:n]); err == nil && h.number != number {
		err = errors.New("the header is that of another segment")
	}
	if err != nil {
		return h, d.corrupt(position{number, 0}, err.Error())
	}
	return h, nil
}

// create makes the first segment of a new store.
func (d *disk) create() error {
	h := header{number: 1, epoch: replay.FirstEpoch(d.hooks.now()).Unix()}
	rand.Read(h.store[:])
	return d.write(h, bytes.NewReader(nil))
}

// renew writes a segment anew, as it reads now, with a header for its new file, and
// an epoch of at least that.
func (d *disk) renew(number uint64, epoch int64) error {
	f, h, err := d.openSegment(number)
	if err != nil {
		return err
	}
	defer f.Close()
	h.epoch = max(h.epoch, epoch)
	return d.write(h, io.NewSectionReader(f, headerSize, math.MaxInt64-headerSize))
}

// write puts a segment in its place, for good: what was there, or the whole of it.
func (d *disk) write(h header, groups io.Reader) error {
	if err := d.root.Remove(newName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := d.root.OpenFile(newName, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return asFull(err)
	}
	err = d.fill(f, h, groups)
	if err = errors.Join(err, f.Close()); err != nil {
		d.root.Remove(newName)
		return d.failed(asFull(err)) // nothing has that name yet
	}
	if err := d.root.Rename(newName, segmentName(h.number)); err != nil {
		return err
	}
	return d.hooks.syncFolder(d.folder)
}

func (d *disk) fill(f *os.File, h header, groups io.Reader) (err error) {
	if h.stamp, err = d.hooks.stamp(f); err != nil {
		return err
	}
	if _, err := io.Copy(f, io.MultiReader(bytes.NewReader(h.encode()), groups)); err != nil {
		return err
	}
	return d.hooks.sync(f)
}

// tidy removes what a crash left: a segment in the making, and those that count no more.
func (d *disk) tidy() {
	d.root.Remove(newName)
	numbers, _ := d.segments()
	for _, n := range numbers {
		if n < d.begin.segment {
			d.root.Remove(segmentName(n))
		}
	}
}
