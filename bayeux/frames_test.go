package bayeux

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
)

// raw renders a frame as a client does, but for what the test wants wrong.
func raw(head byte, payload string) string {
	b := []byte{head}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	key := [4]byte{1, 2, 3, 4}
	masked := []byte(payload)
	for i := range masked {
		masked[i] ^= key[i%4]
	}
	return string(append(append(b, key[:]...), masked...))
}

func closing(code uint16, reason string) string {
	return raw(0x88, string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

func TestFrames(t *testing.T) {
	const limit = 100_000
	long := strings.Repeat("é", 30_000)
	tests := []struct {
		name, in string
		want     []string
		err      error
	}{
		{"one", raw(0x81, "a"), []string{"a"}, io.EOF},
		{"empty", raw(0x81, ""), []string{""}, io.EOF},
		{"two", raw(0x81, "a") + raw(0x81, "b"), []string{"a", "b"}, io.EOF},
		{"16 bits", raw(0x81, strings.Repeat("a", 126)), []string{strings.Repeat("a", 126)}, io.EOF},
		{"64 bits", raw(0x81, strings.Repeat("a", 1<<16)), []string{strings.Repeat("a", 1<<16)}, io.EOF},
		{"fragments", raw(0x01, long[:3]) + raw(0x00, "") + raw(0x80, long[3:]), []string{long}, io.EOF},
		{"control between fragments", raw(0x01, "a") + raw(0x89, "p") + raw(0x8a, "q") + raw(0x80, "b"), []string{"ping p", "ab"}, io.EOF},
		{"at the limit", raw(0x81, strings.Repeat("a", limit)), []string{strings.Repeat("a", limit)}, io.EOF},
		{"over the limit", raw(0x81, strings.Repeat("a", limit+1)), nil, closeError(1009)},
		{"over the limit in parts", raw(0x01, strings.Repeat("a", limit)) + raw(0x80, "a"), nil, closeError(1009)},
		{"most fragments", raw(0x01, "") + strings.Repeat(raw(0x00, ""), maxFragments-2) + raw(0x80, "a"), []string{"a"}, io.EOF},
		{"too many fragments", raw(0x01, "") + strings.Repeat(raw(0x00, ""), maxFragments-1) + raw(0x80, "a"), nil, closeError(1008)},
		{"highest bit of the length", "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", nil, closeError(1002)},
		{"longest length", "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", nil, closeError(1009)},
		{"longer form than needed", "\x81\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00a", []string{"a"}, io.EOF},
		{"reserved bit 1", raw(0xc1, "a"), nil, closeError(1002)},
		{"reserved bit 3", raw(0x91, "a"), nil, closeError(1002)},
		{"not masked", "\x81\x01a", nil, closeError(1002)},
		{"unknown opcode", raw(0x83, "a"), nil, closeError(1002)},
		{"unknown control opcode", raw(0x8b, ""), nil, closeError(1002)},
		{"split control", raw(0x09, ""), nil, closeError(1002)},
		{"long control", raw(0x89, strings.Repeat("a", 126)), nil, closeError(1002)},
		{"continuation of nothing", raw(0x80, "a"), nil, closeError(1002)},
		{"message in a message", raw(0x01, "a") + raw(0x81, "b"), nil, closeError(1002)},
		{"binary", raw(0x82, "a"), nil, closeError(1003)},
		{"not UTF-8", raw(0x81, "\xff"), nil, closeError(1007)},
		{"not UTF-8 in parts", raw(0x01, "\xc3") + raw(0x80, "a"), nil, closeError(1007)},
		{"close", raw(0x88, ""), nil, closeError(1000)},
		{"close with a code", closing(1001, "bye"), nil, closeError(1001)},
		{"close with a code of the application", closing(4999, ""), nil, closeError(4999)},
		{"close with half a code", raw(0x88, "\x03"), nil, closeError(1002)},
		{"close with a low code", closing(999, ""), nil, closeError(1002)},
		{"close with a code that is never sent", closing(1006, ""), nil, closeError(1002)},
		{"close with a code nobody knows", closing(2000, ""), nil, closeError(1002)},
		{"close with a high code", closing(5000, ""), nil, closeError(1002)},
		{"close with a reason that is not UTF-8", closing(1000, "\xff"), nil, closeError(1007)},
		{"after a close", closing(1000, "") + raw(0x81, "a"), nil, closeError(1000)},
		{"half a header", "\x81", nil, io.ErrUnexpectedEOF},
		{"half a length", "\x81\xfe\x01", nil, io.ErrUnexpectedEOF},
		{"half a key", "\x81\x81\x01", nil, io.ErrUnexpectedEOF},
		{"half a payload", raw(0x81, "abc")[:7], nil, io.ErrUnexpectedEOF},
		{"half a ping", raw(0x89, "abc")[:7], nil, io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			f := &frameReader{src: bufio.NewReaderSize(strings.NewReader(tt.in), 16), limit: limit, masked: true,
				pong: func(payload []byte) error { got = append(got, "ping "+string(payload)); return nil }}
			buf := []byte{}
			for {
				message, err := f.next(buf[:0])
				if err != nil {
					if !errors.Is(err, tt.err) {
						t.Errorf("error %v, want %v", err, tt.err)
					}
					break
				}
				got = append(got, string(message))
			}
			if strings.Join(got, "|") != strings.Join(tt.want, "|") || len(got) != len(tt.want) {
				t.Errorf("got %.50q, want %.50q", got, tt.want)
			}
		})
	}
}

// A server's frames are the same, but for the mask.
func TestFramesOfAServer(t *testing.T) {
	ping := ""
	in := "\x01\x01a\x89\x01p\x80\x7e\x00\x7e" + strings.Repeat("b", 126) + "\x81\x82\x01\x02\x03\x04ab"
	f := &frameReader{src: bufio.NewReader(strings.NewReader(in)), limit: 1000, pong: func(payload []byte) error { ping = string(payload); return nil }}
	if got, err := f.next(nil); string(got) != "a"+strings.Repeat("b", 126) || err != nil || ping != "p" {
		t.Errorf("got %q, %v, and the ping %q", got, err, ping)
	}
	if got, err := f.next(nil); err != closeError(closeProtocol) {
		t.Errorf("a masked frame: %q, %v", got, err)
	}
}

// Control frames between two messages are few; a message begins the count anew.
func TestControlFramesAreBounded(t *testing.T) {
	in := strings.Repeat(strings.Repeat(raw(0x89, ""), controlLimit)+raw(0x81, "a"), 3) + strings.Repeat(raw(0x8a, ""), controlLimit+1)
	f := &frameReader{src: bufio.NewReader(strings.NewReader(in)), limit: 1000, masked: true, pong: func([]byte) error { return nil }}
	message := func() (got []byte, err error) {
		for err = errControl; err == errControl; {
			got, err = f.next(nil)
		}
		return got, err
	}
	for range 3 {
		if got, err := message(); string(got) != "a" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if _, err := message(); err != closeError(closePolicy) {
		t.Errorf("error %v", err)
	}
}

// A silent peer that pings keeps no buffer for a message that may never come.
func TestPingsKeepNoBuffer(t *testing.T) {
	handled := false
	f := &frameReader{src: bufio.NewReader(strings.NewReader(raw(0x89, "p"))), limit: 1000, masked: true, pong: func([]byte) error { return nil }}
	if err := f.one(func([]byte) error { handled = true; return nil }); err != nil || handled {
		t.Errorf("a ping alone: %v, handled %v", err, handled)
	}
}

// What a frame announces costs nothing, and what came of it a small multiple of its
// size.
func TestFramesGrowAsTheyCome(t *testing.T) {
	for head, masked := range map[string]bool{"\x81\xff\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00": true, "\x81\x7f\x00\x00\x00\x00\x40\x00\x00\x00": false} {
		for _, came := range []int{0, 1, 5000, 100_000} {
			in := bytes.NewReader(append([]byte(head), make([]byte, came)...))
			f := &frameReader{src: bufio.NewReaderSize(in, 16), limit: 1 << 30, masked: masked}
			buf, err := f.next(nil)
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) || cap(buf) > 4*came+2*frameChunk {
				t.Errorf("%d bytes set aside for %d, %v", cap(buf), came, err)
			}
		}
	}
}

// What is written is read again, by the other side's reader.
func TestWrittenFrames(t *testing.T) {
	for _, masked := range []bool{false, true} {
		for _, n := range []int{0, 1, 125, 126, 1<<16 - 1, 1 << 16} {
			payload := bytes.Repeat([]byte("é"), n/2+n%2)[:n/2*2]
			b := appendFrame([]byte("before"), opText, payload, masked)
			if masked && n > 8 && bytes.Contains(b, payload[:8]) {
				t.Errorf("%d bytes are not masked", n)
			}
			f := &frameReader{src: bufio.NewReader(bytes.NewReader(b[len("before"):])), limit: 1 << 20, masked: masked}
			if got, err := f.next(nil); err != nil || !bytes.Equal(got, payload) {
				t.Errorf("%d bytes, masked %v: %d, %v", n, masked, len(got), err)
			}
			if _, err := f.src.ReadByte(); err != io.EOF {
				t.Errorf("%d bytes, masked %v: more than a frame", n, masked)
			}
		}
	}
}

func TestMask(t *testing.T) {
	for n := range 40 {
		b := bytes.Repeat([]byte{0x55}, n)
		mask(b, [4]byte{1, 2, 3, 4})
		for i := range b {
			if b[i] != 0x55^byte(i%4+1) {
				t.Fatalf("byte %d of %d is %x", i, n, b[i])
			}
		}
	}
}

// BenchmarkFrames reads one message of 128 bytes in a frame of its own.
func BenchmarkFrames(b *testing.B) {
	some := strings.Repeat(raw(0x81, strings.Repeat("a", 128)), 500)
	f := &frameReader{limit: 1 << 20, masked: true}
	buf := make([]byte, 0, 256)
	var err error
	for i := 0; b.Loop(); i++ {
		if i%500 == 0 {
			f.src = bufio.NewReaderSize(strings.NewReader(some), clientReadBuffer)
		}
		if _, err = f.next(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
}
