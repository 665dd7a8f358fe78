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

	mu  sync.Mutex
	err error
}

func (w *frameWriter) write(opcode byte, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if w.err = w.conn.SetWriteDeadline(time.Now().Add(w.timeout)); w.err == nil {
		_, w.err = w.conn.Write(appendFrame(nil, opcode, payload, w.masks))
	}
	err := w.err
	if opcode == opClose && err == nil {
		w.err = net.ErrClosed
	}
	if w.err != nil {
		_ = w.conn.Close()
	}
	return err
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
	switch {
	case n <= maxControl:
		b = append(b, 0x80|opcode, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|opcode, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|opcode, 127), uint64(n))
	}
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
