package filestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// A segment is a header and groups of records, all integers big-endian, all
// checksums CRC-32C. docs/SPEC.md §8 has the table.
//
//	header  "SBreplay" version:4 number:8 epoch:8 store:16 inode:8 born:8 chain:4 crc:4
//	group   "SBgr" length:4 crc(payload):4 chain:4 sum:4 = crc(store, number, offset, the 16 bytes before)
//	        payload "\nend"
//	right   'R' id:16 owner:16 keep:8
//	session 'S' id:16 keep:8 fence:8 floor:8 watermark:8 attempt:16 set.fence:8 set.gen:8 flags:1
//	renewed 'N' id:16 keep:8 fence:8 next:16
//	subject 'U' id:16 keep:8 cut:8
//	begin   'B' segment:8 offset:8 horizon:8
//	epoch   'P' epoch:8
//	end     'E'
//
// Flags are 1 for revoked and 2 for behind. Epoch, horizon, keep and cut are Unix seconds; a horizon of -2^63 means none. A
// group's sum covers where it stands, so that no group is valid elsewhere, and its
// chain, the sum of the group before it, so that none is valid after another past. The
// header's chain, which that of the first group is too, is the sum of the end of the
// segment before; 0 in segment 1.
const (
	headerSize  = 68
	frameSize   = 20
	trailerSize = 4
	rightSize   = 1 + 16 + 16 + 8
	sessionSize = 1 + 16 + 8 + 3*8 + 16 + 2*8 + 1
	renewedSize = 1 + 16 + 8 + 8 + 16
	subjectSize = 1 + 16 + 8 + 8
	beginSize   = 1 + 3*8
	epochSize   = 1 + 8
	endSize     = 1

	flagRevoked = 1
	flagBehind  = 2

	version    = 2
	maxPayload = 1 << 28
	noHorizon  = math.MinInt64
)

var (
	magic      = []byte("SBreplay")
	frameMagic = []byte("SBgr")
	trailer    = []byte("\nend")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// stamp tells a file from every copy of it.
type stamp struct {
	inode uint64
	born  int64 // Unix nanoseconds, or what else tells inodes of one number apart
}

// header is the head of a segment.
type header struct {
	number uint64   // 1 for the first
	epoch  int64    // when the segment was made
	store  [16]byte // random, the same in all segments
	stamp  stamp    // of the file that the segment was written to
	chain  uint32   // sum of the end of the segment before
}

func (h header) encode() []byte {
	b := append(make([]byte, 0, headerSize), magic...)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint64(b, h.number)
	b = binary.BigEndian.AppendUint64(b, uint64(h.epoch))
	b = append(b, h.store[:]...)
	b = binary.BigEndian.AppendUint64(b, h.stamp.inode)
	b = binary.BigEndian.AppendUint64(b, uint64(h.stamp.born))
	b = binary.BigEndian.AppendUint32(b, h.chain)
	return binary.BigEndian.AppendUint32(b, checksum(b))
}

func decodeHeader(b []byte) (h header, err error) {
	switch {
	case len(b) != headerSize:
		return h, errors.New("header is cut off")
	case !bytes.HasPrefix(b, magic):
		return h, errors.New("not a replay log")
	case binary.BigEndian.Uint32(b[8:]) != version: // whose checksum may stand elsewhere
		return h, fmt.Errorf("version %d is not known", binary.BigEndian.Uint32(b[8:]))
	case checksum(b[:headerSize-4]) != binary.BigEndian.Uint32(b[headerSize-4:]):
		return h, errors.New("header checksum does not match")
	}
	h.number = binary.BigEndian.Uint64(b[12:])
	h.epoch = int64(binary.BigEndian.Uint64(b[20:]))
	copy(h.store[:], b[28:])
	h.stamp.inode = binary.BigEndian.Uint64(b[44:])
	h.stamp.born = int64(binary.BigEndian.Uint64(b[52:]))
	h.chain = binary.BigEndian.Uint32(b[60:])
	return h, nil
}

// frame closes a group of which b holds the payload after frameSize free bytes.
// chain is the sum of the group before.
func (h header) frame(b []byte, off int64, chain uint32) []byte {
	payload := b[frameSize:]
	copy(b, frameMagic)
	binary.BigEndian.PutUint32(b[4:], uint32(len(payload)))
	binary.BigEndian.PutUint32(b[8:], checksum(payload))
	binary.BigEndian.PutUint32(b[12:], chain)
	binary.BigEndian.PutUint32(b[16:], h.sum(b[:16], off))
	return append(b, trailer...)
}

// frameChain is the sum of the group before the one that b begins with, frameSum its own.
func frameChain(b []byte) uint32 { return binary.BigEndian.Uint32(b[12:]) }
func frameSum(b []byte) uint32   { return binary.BigEndian.Uint32(b[16:]) }

func (h header) sum(frame []byte, off int64) uint32 {
	b := make([]byte, 0, 32+len(frame))
	b = append(b, h.store[:]...)
	b = binary.BigEndian.AppendUint64(b, h.number)
	b = binary.BigEndian.AppendUint64(b, uint64(off))
	return checksum(append(b, frame...))
}

// parseFrame returns the length of the payload of the group at off.
func (h header) parseFrame(b []byte, off int64) (length int, ok bool) {
	if len(b) < frameSize || !bytes.HasPrefix(b, frameMagic) ||
		h.sum(b[:16], off) != frameSum(b) {
		return 0, false
	}
	n := binary.BigEndian.Uint32(b[4:])
	return int(n), n <= maxPayload
}

// errBadGroup says that no whole group stands where one was looked for.
var errBadGroup = errors.New("no whole group")

// readGroup reads the group at off from r, its frame into frame, and calls apply for
// its records. It returns the offset behind it, io.EOF at the very end, or errBadGroup.
func (h header) readGroup(r io.Reader, frame *[frameSize]byte, off int64, apply func(*record)) (int64, error) {
	if _, err := io.ReadFull(r, frame[:]); err != nil {
		return off, short(err)
	}
	n, ok := h.parseFrame(frame[:], off)
	if !ok {
		return off, errBadGroup
	}
	payload := make([]byte, n+trailerSize)
	if _, err := io.ReadFull(r, payload); err != nil {
		return off, short(fmt.Errorf("%w", notEOF(err)))
	}
	if checksum(payload[:n]) != binary.BigEndian.Uint32(frame[8:]) || !bytes.Equal(payload[n:], trailer) {
		return off, errBadGroup
	}
	if err := eachRecord(payload[:n], apply); err != nil {
		return off, err
	}
	return off + frameSize + int64(n) + trailerSize, nil
}

// short turns the end of the file inside a group into errBadGroup.
func short(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errBadGroup
	}
	return err
}

func notEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func appendRecord(b []byte, c replay.Change) []byte {
	switch c.Kind {
	case replay.SessionRecord:
		if c.State.Next != (replay.ID{}) {
			return appendRenewed(b, c)
		}
		return appendSession(b, c)
	case replay.SubjectRecord:
		b = appendHead(b, 'U', c)
		return binary.BigEndian.AppendUint64(b, uint64(c.Cut.Unix()))
	}
	b = append(append(append(b, 'R'), c.ID[:]...), c.Owner[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(c.KeepUntil.Unix()))
}

func appendHead(b []byte, kind byte, c replay.Change) []byte {
	b = append(append(b, kind), c.ID[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(c.KeepUntil.Unix()))
}

func appendSession(b []byte, c replay.Change) []byte {
	b = appendHead(b, 'S', c)
	b = binary.BigEndian.AppendUint64(b, c.State.Fence)
	b = binary.BigEndian.AppendUint64(b, c.State.Floor)
	b = binary.BigEndian.AppendUint64(b, c.State.Watermark)
	b = append(b, c.State.Attempt[:]...)
	b = binary.BigEndian.AppendUint64(b, c.State.Set.Fence)
	b = binary.BigEndian.AppendUint64(b, c.State.Set.Gen)
	var flags byte
	if c.State.Revoked {
		flags |= flagRevoked
	}
	if c.State.Behind {
		flags |= flagBehind
	}
	return append(b, flags)
}

// appendRenewed writes a session that has a successor; nothing else of it counts.
func appendRenewed(b []byte, c replay.Change) []byte {
	b = appendHead(b, 'N', c)
	b = binary.BigEndian.AppendUint64(b, c.State.Fence)
	return append(b, c.State.Next[:]...)
}

// record is one record of a payload: a change, unless kind is that of one about
// the log itself.
type record struct {
	replay.Change
	kind    byte
	text    []byte   // as it stands in the payload; not to be kept
	begin   position // 'B'
	horizon int64    // 'B'
	epoch   int64    // 'P'
}

// position is an offset in a segment.
type position struct {
	segment uint64
	offset  int64
}

// landmark is where a group begins, and what stands there: none but a group of that
// very payload, after that very past, has this frame.
type landmark struct {
	at    position
	frame [frameSize]byte
}

// about says whether r is about the log itself.
func (r *record) about() bool { return r.kind == 'B' || r.kind == 'P' || r.kind == 'E' }

// errBadRecord is damage that the checksum vouches for: a fault of the writer.
var errBadRecord = errors.New("unknown record in a valid group")

// eachRecord calls apply for the records of b, up to the first bad one.
func eachRecord(b []byte, apply func(*record)) error {
	var r record
	for len(b) > 0 {
		size, decode := recordKind(b[0])
		if size == 0 || len(b) < size {
			return errBadRecord
		}
		r = record{kind: b[0], text: b[:size]}
		if !decode(&r, r.text) {
			return errBadRecord
		}
		apply(&r)
		b = b[size:]
	}
	return nil
}

func recordKind(kind byte) (size int, decode func(*record, []byte) bool) {
	switch kind {
	case 'R':
		return rightSize, (*record).decodeRight
	case 'S':
		return sessionSize, (*record).decodeSession
	case 'N':
		return renewedSize, (*record).decodeRenewed
	case 'U':
		return subjectSize, (*record).decodeSubject
	case 'B':
		return beginSize, (*record).decodeBegin
	case 'P':
		return epochSize, (*record).decodeEpoch
	case 'E':
		return endSize, func(*record, []byte) bool { return true }
	}
	return 0, nil
}

func appendBegin(b []byte, p position, horizon int64) []byte {
	b = binary.BigEndian.AppendUint64(append(b, 'B'), p.segment)
	b = binary.BigEndian.AppendUint64(b, uint64(p.offset))
	return binary.BigEndian.AppendUint64(b, uint64(horizon))
}

func (r *record) decodeBegin(b []byte) bool {
	r.begin = position{binary.BigEndian.Uint64(b[1:]), int64(binary.BigEndian.Uint64(b[9:]))}
	r.horizon = int64(binary.BigEndian.Uint64(b[17:]))
	return true
}

func appendEpoch(b []byte, epoch int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 'P'), uint64(epoch))
}

func (r *record) decodeEpoch(b []byte) bool {
	r.epoch = int64(binary.BigEndian.Uint64(b[1:]))
	return true
}

func (r *record) decodeRight(b []byte) bool {
	copy(r.ID[:], b[1:])
	copy(r.Owner[:], b[17:])
	r.KeepUntil = seconds(b[33:])
	return true
}

func (r *record) decodeSession(b []byte) bool {
	r.Kind = replay.SessionRecord
	copy(r.ID[:], b[1:])
	r.KeepUntil = seconds(b[17:])
	r.State.Fence = binary.BigEndian.Uint64(b[25:])
	r.State.Floor = binary.BigEndian.Uint64(b[33:])
	r.State.Watermark = binary.BigEndian.Uint64(b[41:])
	copy(r.State.Attempt[:], b[49:])
	r.State.Set.Fence = binary.BigEndian.Uint64(b[65:])
	r.State.Set.Gen = binary.BigEndian.Uint64(b[73:])
	r.State.Revoked = b[81]&flagRevoked != 0
	r.State.Behind = b[81]&flagBehind != 0
	return b[81] <= flagRevoked|flagBehind
}

func (r *record) decodeRenewed(b []byte) bool {
	r.Kind = replay.SessionRecord
	copy(r.ID[:], b[1:])
	r.KeepUntil = seconds(b[17:])
	r.State.Fence = binary.BigEndian.Uint64(b[25:])
	copy(r.State.Next[:], b[33:])
	r.State.Revoked = true
	return r.State.Next != replay.ID{}
}

func (r *record) decodeSubject(b []byte) bool {
	r.Kind = replay.SubjectRecord
	copy(r.ID[:], b[1:])
	r.KeepUntil = seconds(b[17:])
	r.Cut = seconds(b[25:])
	return true
}

func seconds(b []byte) time.Time { return time.Unix(int64(binary.BigEndian.Uint64(b)), 0) }

// sector is what a disk writes at least at once.
const sector = 512

// torn reports whether b, what was written from off where a whole group should
// stand, is what a crash in the middle of a write leaves: the beginning of one
// group at the end of the file, or one with a sector that was never written, and
// nothing whole behind. Anything else was whole once, and somebody may have been
// told of it. Behind b there are zeros, and with b they are room bytes.
func (h header) torn(b []byte, off, room int64) bool {
	for i := 1; i+frameSize <= len(b); i++ {
		next := bytes.Index(b[i:], frameMagic)
		if next < 0 {
			break
		}
		i += next
		if _, ok := h.parseFrame(b[i:], off+int64(i)); ok {
			return false
		}
	}
	if room < frameSize {
		return true
	}
	size := int64(len(b)) // of the group; if it doesn't say, up to the end of a sector
	if n, ok := h.parseFrame(b, off); ok {
		if size = frameSize + int64(n) + trailerSize; room < size {
			return true
		}
	} else {
		size = min(size+(sector-(off+size)%sector)%sector, room)
	}
	b = append(b, make([]byte, max(size-int64(len(b)), 0))...)
	return hasUnwrittenSector(b[:size], off)
}

func hasUnwrittenSector(b []byte, off int64) bool {
	for len(b) > 0 {
		n := min(int64(len(b)), sector-off%sector)
		if len(bytes.Trim(b[:n], "\x00")) == 0 {
			return true
		}
		b, off = b[n:], off+n
	}
	return false
}
