package bayeux

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// The close codes that are sent (RFC 6455, section 7.4.1).
const (
	closeNormal      = 1000
	closeGoingAway   = 1001
	closeProtocol    = 1002
	closeUnsupported = 1003
	closeNotUTF8     = 1007
	closePolicy      = 1008
	closeTooLarge    = 1009
	closeInternal    = 1011
	closeTryAgain    = 1013 // IANA's registry
)

// closeError ends a connection with a close code.
type closeError uint16

func (e closeError) Error() string { return "bayeux: websocket closed with " + strconv.Itoa(int(e)) }

// The opcodes of RFC 6455, section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
)

const (
	maxControl = 125
	// maxFragments bounds the frames of one message: the smallest fragment brings
	// nothing and costs as much as any.
	maxFragments = 4096
	// frameChunk is what is set aside for a payload before any of it came. A frame
	// may announce the whole limit and never send it.
	frameChunk = 4096
	// Control frames cost their sender nothing: more than so many between two
	// messages in one window end the connection.
	controlLimit  = 64
	controlWindow = 10 * time.Second
)

// frameReader reads the messages that a peer sends over a WebSocket.
type frameReader struct {
	src    *bufio.Reader
	limit  int  // bytes of a message
	masked bool // the peer is a client: its frames are masked, a server's are not
	// pong answers a ping with this payload, which is not kept.
	pong func(payload []byte) error

	controls int // since window began, and the last message
	window   time.Time
}

// errControl: there was no message yet, and nothing is to be kept until there is.
var errControl = errors.New("bayeux: control frame")

type frameHeader struct {
	fin    bool
	opcode byte
	length uint64
	key    [4]byte
}

// messageBuffers are for messages while they are read and handled, and while they are
// written.
var messageBuffers = sync.Pool{New: func() any { return new([]byte) }}

const maxPooledBuffer = 64 << 10

// each calls handle with each text message, which it must not keep, until it or the
// connection fails. Nothing is set aside for a connection that is idle.
func (f *frameReader) each(handle func(message []byte) error) error {
	for {
		if err := f.one(handle); err != nil {
			return err
		}
	}
}

// one is each for the next message alone.
func (f *frameReader) one(handle func(message []byte) error) error {
	if _, err := f.src.Peek(1); err != nil {
		return err
	}
	buf := messageBuffers.Get().(*[]byte)
	message, err := f.next((*buf)[:0])
	switch err {
	case nil:
		err = handle(message)
	case errControl:
		err = nil
	}
	if *buf = message; cap(message) <= maxPooledBuffer {
		messageBuffers.Put(buf)
	}
	return err
}

// next appends the next text message to buf. Its error is a closeError, or that of
// the connection.
func (f *frameReader) next(buf []byte) ([]byte, error) {
	for fragments := 0; ; {
		h, err := f.header()
		if err != nil {
			return buf, err
		}
		if h.opcode >= opClose {
			if err := f.readControl(h); err != nil {
				return buf, err
			}
			if fragments == 0 {
				return buf, errControl
			}
			continue
		}
		if (h.opcode == opContinuation) != (fragments > 0) {
			return buf, closeError(closeProtocol)
		}
		if h.opcode == opBinary {
			return buf, closeError(closeUnsupported)
		}
		if h.length > uint64(f.limit-len(buf)) {
			return buf, closeError(closeTooLarge)
		}
		if buf, err = f.payload(buf, h); err != nil {
			return buf, err
		}
		if fragments++; fragments > maxFragments {
			return buf, closeError(closePolicy)
		}
		if h.fin {
			if !utf8.Valid(buf) {
				return buf, closeError(closeNotUTF8)
			}
			f.controls = 0
			return buf, nil
		}
	}
}

// header reads a frame's header and checks all that it alone can say.
func (f *frameReader) header() (h frameHeader, err error) {
	var b [8]byte
	if _, err := io.ReadFull(f.src, b[:2]); err != nil {
		return h, err
	}
	h.fin, h.opcode, h.length = b[0]&0x80 != 0, b[0]&0x0f, uint64(b[1]&0x7f)
	switch {
	case b[0]&0x70 != 0, (b[1]&0x80 != 0) != f.masked: // an extension nobody agreed on; not its side's frame
		return h, closeError(closeProtocol)
	case h.opcode > opBinary && h.opcode < opClose, h.opcode > opPong:
		return h, closeError(closeProtocol)
	case h.opcode >= opClose && (!h.fin || h.length > maxControl):
		return h, closeError(closeProtocol)
	}
	if h.length > maxControl {
		if h.length, err = f.longLength(h.length); err != nil {
			return h, err
		}
	}
	if f.masked {
		_, err = io.ReadFull(f.src, h.key[:])
	}
	return h, err
}

// longLength reads a length of 2 or 8 bytes. A longer form than needed is against
// the RFC, but can be read in one way only.
func (f *frameReader) longLength(short uint64) (uint64, error) {
	var b [8]byte
	size := 2
	if short == 127 {
		size = 8
	}
	if _, err := io.ReadFull(f.src, b[8-size:]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint64(b[:])
	if n > 1<<63-1 {
		return 0, closeError(closeProtocol)
	}
	return n, nil
}

// payload appends a frame's bytes to buf, which grows as they come.
func (f *frameReader) payload(buf []byte, h frameHeader) ([]byte, error) {
	start := len(buf)
	for left := int(h.length); left > 0; {
		n := min(left, max(frameChunk, len(buf)))
		buf = slices.Grow(buf, n)
		part := buf[len(buf) : len(buf)+n]
		if _, err := io.ReadFull(f.src, part); err != nil {
			return buf, err
		}
		buf = buf[:len(buf)+n]
		left -= n
	}
	if f.masked {
		mask(buf[start:], h.key)
	}
	return buf, nil
}

// mask masks b, or takes the mask off.
func mask(b []byte, key [4]byte) {
	word := uint64(binary.LittleEndian.Uint32(key[:]))
	for word |= word << 32; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
	}
	for i := range b {
		b[i] ^= key[i&3]
	}
}

func (f *frameReader) readControl(h frameHeader) error {
	var b [maxControl]byte
	payload := b[:h.length]
	if _, err := io.ReadFull(f.src, payload); err != nil {
		return err
	}
	mask(payload, h.key) // a server's key is zero
	if h.opcode == opClose {
		return answerToClose(payload)
	}
	now := time.Now()
	if now.Sub(f.window) > controlWindow {
		f.window, f.controls = now, 0
	}
	if f.controls++; f.controls > controlLimit {
		return closeError(closePolicy)
	}
	if h.opcode == opPing {
		return f.pong(payload)
	}
	return nil
}

// answerToClose is the close frame that answers one with this payload.
func answerToClose(payload []byte) closeError {
	if len(payload) == 0 {
		return closeNormal
	}
	if len(payload) == 1 {
		return closeProtocol
	}
	code := binary.BigEndian.Uint16(payload)
	switch {
	case code < 1000, code >= 1004 && code <= 1006, code >= 1015 && code < 3000, code >= 5000:
		return closeProtocol
	case !utf8.Valid(payload[2:]):
		return closeNotUTF8
	}
	return closeError(code)
}
