package bayeux

import (
	"crypto/rand"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"time"
)

// frameWriter writes whole frames to a connection, for several goroutines. After a
// failed write, and after a close frame, the connection is closed and nothing is
// written any more.
type frameWriter struct {
	conn    net.Conn
	timeout time.Duration // of each write
	masks   bool          // a client's frames are masked

	mu       sync.Mutex
	err      error
	deadline time.Time // as last set
}

func (w *frameWriter) write(opcode byte, payload []byte) error {
	return w.send(opcode == opClose, appendFrame(nil, opcode, payload, w.masks))
}

// writeBatch writes a server's messages as one frame. It does not keep them. One long
// message is not copied: a client that does not read would hold the copy.
func (w *frameWriter) writeBatch(msgs [][]byte) error {
	if len(msgs) == 1 && len(msgs[0]) > frameBytes {
		head := append(appendFrameHeader(nil, opText, len(msgs[0])+2), '[')
		return w.send(false, head, msgs[0], []byte("]"))
	}
	buf := messageBuffers.Get().(*[]byte)
	frame := appendBatch(appendFrameHeader((*buf)[:0], opText, batchLength(msgs)), msgs)
	err := w.send(false, frame)
	if *buf = frame; cap(frame) <= maxPooledBuffer {
		messageBuffers.Put(buf)
	}
	return err
}

// send writes the parts of one frame.
func (w *frameWriter) send(last bool, parts ...[]byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.err = w.extendDeadline()
	for _, part := range parts {
		if w.err == nil {
			_, w.err = w.conn.Write(part)
		}
	}
	err := w.err
	if last && err == nil {
		w.err = net.ErrClosed
	}
	if w.err != nil {
		_ = w.conn.Close()
	}
	return err
}

// extendDeadline gives a write its time, or down to three quarters of it: to move the
// deadline for each of many writes would cost as much as some of them.
func (w *frameWriter) extendDeadline() error {
	now := time.Now()
	if w.deadline.Sub(now) >= w.timeout-w.timeout/4 {
		return nil
	}
	w.deadline = now.Add(w.timeout)
	return w.conn.SetWriteDeadline(w.deadline)
}

// close says why, and closes the connection.
func (w *frameWriter) close(code closeError) {
	_ = w.write(opClose, binary.BigEndian.AppendUint16(nil, uint16(code)))
}

// maxFrameHeader is the longest: opcode, length of eight bytes, key.
const maxFrameHeader = 14

// appendFrame appends one frame that is a whole message (RFC 6455, section 5.2).
func appendFrame(b []byte, opcode byte, payload []byte, masks bool) []byte {
	n := len(payload)
	b = slices.Grow(b, n+maxFrameHeader)
	second := len(b) + 1
	b = appendFrameHeader(b, opcode, n)
	if !masks {
		return append(b, payload...)
	}
	b[second] |= 0x80
	var key [4]byte
	_, _ = rand.Read(key[:]) // it cannot fail
	b = append(append(b, key[:]...), payload...)
	mask(b[len(b)-n:], key)
	return b
}

// appendFrameHeader begins a frame of n bytes without a mask.
func appendFrameHeader(b []byte, opcode byte, n int) []byte {
	switch {
	case n <= maxControl:
		return append(b, 0x80|opcode, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0x80|opcode, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, 0x80|opcode, 127), uint64(n))
	}
}
