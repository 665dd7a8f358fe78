package filestore

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A segment is ended when it has so many bytes, or an eighth of the log if that is
// less: the log of a small store is small.
const segmentSize = 1 << 24

// cleanBudget is how much of the oldest segment is looked through with each group
// when the log is crowded, and for each byte written as many more: less than half
// of the log is live then, so that it shrinks faster than it grows.
const (
	cleanBudget = 1 << 16
	cleanRate   = 4
)

// size is that of the log on disk.
func (d *disk) size() int64 { return d.bytes + d.offset }

// crowded says whether less than half of the log is live.
func (d *disk) crowded() bool {
	rights, sessions, subjects := d.ledger.Len()
	live := int64(rights)*rightSize + int64(sessions)*sessionSize + int64(subjects)*subjectSize
	return d.size()-d.begin.offset > max(d.hooks.minLog, 2*live)
}

// cleanIfDue adds to a group that is written anyway what moves the beginning of
// the log on.
func (d *disk) cleanIfDue(now time.Time) error {
	if len(d.pending) == frameSize || len(d.pending) > segmentSize || len(d.sealed) == 0 {
		return nil
	}
	switch {
	case d.crowded():
		return d.clean(now, cleanBudget+cleanRate*int64(len(d.pending)))
	case d.sealed[0].latest < now.Unix():
		return d.clean(now, 0)
	}
	return nil
}

// clean moves the beginning of the log over segments that are past as a whole, and
// over some budget bytes of the next one, of which it writes again what still counts.
func (d *disk) clean(now time.Time, budget int64) error {
	begin, horizon := d.begin, int64(noHorizon)
	if h := d.ledger.Horizon(); !h.IsZero() {
		horizon = h.Unix()
	}
	for _, s := range d.sealed {
		if s.latest < now.Unix() {
			begin, horizon = position{s.number + 1, headerSize}, max(horizon, s.latest)
			continue
		}
		if budget <= 0 {
			break
		}
		from := position{s.number, headerSize}
		if from.segment == begin.segment {
			from = begin
		}
		to, past, err := d.carry(from, min(from.offset+budget, s.size), now)
		if err != nil {
			return err
		}
		budget -= to - from.offset
		begin, horizon = position{s.number, to}, max(horizon, past)
		if to < s.size {
			break
		}
		begin = position{s.number + 1, headerSize}
	}
	if begin == d.begin {
		return nil
	}
	d.pending = appendBegin(d.pending, begin, horizon)
	d.beginAt(begin, horizon)
	return nil
}

// carry writes again what counts of the groups between from and about end. It
// returns the offset behind them, and the latest KeepUntil of what is past.
func (d *disk) carry(from position, end int64, now time.Time) (to, past int64, err error) {
	old, err := d.oldSegment(from.segment)
	if err != nil {
		return 0, 0, err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(old.file, from.offset, 1<<62), 1<<16)
	to, past = from.offset, noHorizon
	for to < end {
		next, err := old.header.readGroup(r, &d.frame, to, func(r *record) {
			switch keep := r.KeepUntil.Unix(); {
			case r.about():
			case keep < now.Unix():
				past = max(past, keep)
			case d.ledger.Has(r.Change):
				d.pending = append(d.pending, r.text...)
				d.latest = max(d.latest, keep)
			}
		})
		if err != nil {
			if errors.Is(err, errBadGroup) || errors.Is(err, errBadRecord) || err == io.EOF {
				err = d.corrupt(position{from.segment, to}, "a group was damaged after it was written")
			}
			return 0, 0, err
		}
		to = next
	}
	return to, past, nil
}

// beginAt forgets the segments before p, which nobody needs once that is durable.
func (d *disk) beginAt(p position, horizon int64) {
	d.begin = p
	if horizon != noHorizon {
		d.ledger.RaiseHorizon(time.Unix(horizon, 0))
	}
	for len(d.sealed) > 0 && d.sealed[0].number < p.segment {
		d.dead = append(d.dead, d.sealed[0].number)
		d.bytes -= d.sealed[0].size
		d.sealed = d.sealed[1:]
	}
}

// remove removes the segments that count no more. What is left over goes when
// the store is opened again.
func (d *disk) remove() {
	for _, n := range d.dead {
		d.root.Remove(segmentName(n))
	}
	d.dead = d.dead[:0]
}

// oldSegment is the one that is cleaned.
type oldSegment struct {
	file   *os.File
	header header
}

func (o *oldSegment) close() {
	if o != nil {
		o.file.Close()
	}
}

func (d *disk) oldSegment(number uint64) (*oldSegment, error) {
	if d.old != nil && d.old.header.number == number {
		return d.old, nil
	}
	f, h, err := d.openSegment(number)
	if err != nil {
		return nil, fmt.Errorf("clean: %w", err)
	}
	d.old.close()
	d.old = &oldSegment{f, h}
	return d.old, nil
}

// endIfDue ends the last segment if it is large, or if there is no other that could
// be cleaned. A failure is no harm: the segment goes on growing and it is tried
// again later.
func (d *disk) endIfDue() {
	if d.offset < d.retryAt {
		return
	}
	large := d.offset >= max(d.hooks.minLog, min(segmentSize, d.size()/8))
	if !large && !(len(d.sealed) == 0 && d.crowded()) {
		return
	}
	if err := d.endSegment(); err != nil {
		d.retryAt = d.offset + d.offset/4
	}
}

// endPayload is the group that ends a segment, to be framed, in the memory of b.
func endPayload(b []byte) []byte { return append(append(b[:0], make([]byte, frameSize)...), 'E') }

// endSegment starts the next segment and then ends the last one. If a crash comes
// in between, the next is there and not used.
func (d *disk) endSegment() error {
	h := d.header
	h.number, h.epoch = h.number+1, d.ledger.Epoch().Unix()
	h.chain = frameSum(d.header.frame(endPayload(d.pending), d.offset, d.chain()))
	if err := d.write(h, bytes.NewReader(nil)); err != nil {
		return err
	}
	d.pending = endPayload(d.pending)
	if err := d.append(); err != nil {
		d.undo()
		return err
	}
	d.log.Truncate(d.offset) // the room that it does not need
	if err := d.next(); err != nil {
		d.drop()
		return err
	}
	d.behind = d.end()
	return nil
}
