package bayeux_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// frame renders a masked WebSocket frame, with a key of zeros. head has the FIN
// and reserved bits and the opcode.
func frame(head byte, payload []byte) []byte {
	b := []byte{head}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// frames reads a sequence of frames out of fuzzed bytes: a head, a length, and so
// many bytes. Those that begin with 0xff are sent as they are.
func frames(in []byte, render func(head byte, payload []byte) []byte) []byte {
	if raw, ok := bytes.CutPrefix(in, []byte{0xff}); ok {
		return raw
	}
	var out []byte
	for len(in) >= 2 {
		n := min(int(in[1]), len(in)-2)
		out = append(out, render(in[0], in[2:2+n])...)
		in = in[2+n:]
	}
	return out
}

// alarm is a slog handler that notes what must not happen: a panic.
type alarm struct {
	slog.Handler
	rang chan string
}

func (a alarm) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (a alarm) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(at slog.Attr) bool { text += fmt.Sprintf(" %v", at); return true })
	select {
	case a.rang <- text:
	default:
	}
	return nil
}

func (a alarm) WithAttrs([]slog.Attr) slog.Handler { return a }
func (a alarm) WithGroup(string) slog.Handler      { return a }

// Whatever frames come after the upgrade, the server does not panic, ends the
// connection when the client does, and has nothing left of it.
func FuzzBayeuxFrames(f *testing.F) {
	part := func(head byte, payload string) string { return string([]byte{head, byte(len(payload))}) + payload }
	hello := `[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"]}]`
	for _, s := range []string{
		"", part(0x81, hello), part(0x81, `{"channel":"/meta/connect","clientId":"x"}`), part(0x01, `[`) + part(0x80, `]`),
		part(0x89, "ping") + part(0x8a, "pong"), part(0x88, "\x03\xe8bye"), part(0x88, "\x03"), part(0x82, "binary"), part(0x81, "\xff"),
		part(0x80, "alone"), part(0x01, "a") + part(0x01, "b"), part(0xc1, "reserved"), part(0x83, "unknown"), part(0x09, "split ping"),
		strings.Repeat(part(0x00, ""), 50), strings.Repeat(part(0x89, ""), 100), "\xff\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\xff\x81\x05hello",
	} {
		f.Add([]byte(s))
	}
	rang := make(chan string, 1)
	s, err := bayeux.NewServer(bayeux.Config{MaxBody: 4096, Logger: slog.New(alarm{rang: rang}), MaxSessionsPerBrowser: 1 << 20, MaxSessions: 1 << 20})
	if err != nil {
		f.Fatal(err)
	}
	net := newMemNet()
	web := &http.Server{Handler: s, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go web.Serve(net)
	f.Cleanup(func() { web.Close() })
	f.Fuzz(func(t *testing.T, in []byte) {
		conn, err := net.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "GET /bayeux HTTP/1.1\r\nHost: bayeux.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
		ended := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}()
		// A final close makes the server end the connection, if nothing before did.
		_, _ = conn.Write(frames(in, frame))
		_, _ = conn.Write(frame(0x88, []byte{3, 232}))
		if len(in) > 0 && in[0] == 0xff {
			conn.Close() // an unfinished frame may have swallowed it
		}
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("the connection does not end")
		}
		select {
		case text := <-rang:
			t.Fatal(text)
		default:
		}
	})
}
