package bayeux_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// lines answers each request with the next line, and no more when they are used up.
type lines struct {
	mu   sync.Mutex
	rest [][]byte
}

func (l *lines) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.rest) == 0 {
		l.mu.Unlock()
		<-r.Context().Done()
		l.mu.Lock()
		return nil, r.Context().Err()
	}
	body := l.rest[0]
	l.rest = l.rest[1:]
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), Request: r}, nil
}

// noPanics fails where the client had to catch a panic.
type noPanics struct {
	slog.Handler
	t *testing.T
}

func (h noPanics) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		r.Attrs(func(a slog.Attr) bool { h.t.Errorf("%s: %v", r.Message, a); return true })
	}
	return nil
}

func (noPanics) Enabled(context.Context, slog.Level) bool { return true }

// FuzzClient: whatever a server answers, line by line, the client hands over
// only what was subscribed to, and can be closed at once.
func FuzzClient(f *testing.F) {
	const hello = `[{"channel":"/meta/handshake","successful":true,"version":"1.0","clientId":"c","supportedConnectionTypes":["long-polling"],"ext":{"ack":true}}]`
	for _, s := range []string{
		hello + "\n" + `[{"channel":"/meta/subscribe","successful":true,"subscription":"/a/**"}]` + "\n" +
			`[{"channel":"/meta/connect","successful":true,"ext":{"ack":1}},{"channel":"/a/b","data":{"x":1}}]` + "\n" +
			`[{"channel":"/a","data":1},{"channel":"/meta/connect","successful":false,"error":"402::unknown","advice":{"reconnect":"handshake","interval":5}}]` + "\n" + hello,
		hello + "\n" + `[{"channel":"/meta/subscribe","successful":false,"error":"403::x"}]` + "\n" + `[{"channel":"/meta/connect","successful":true,"advice":{"reconnect":"none"}}]`,
		`[{"channel":"/meta/handshake","successful":false,"advice":{"reconnect":"retry","interval":-1}}]` + "\n[]\n{}\nnull",
		hello + "\n" + `[{"channel":"/meta/subscribe","id":"2","successful":true},{"channel":"/a/c","data":null},{"channel":"/a/**","data":1}]` + "\n" +
			`[{"channel":"/meta/connect","id":3,"successful":true,"advice":{"timeout":9e9,"interval":9e9}}]`,
		`[{"channel":"/meta/handshake","advice":{"interval":1e7}}]`,
		strings.Repeat("[", 100), "\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answers []byte) {
		if len(answers) > 1<<16 {
			t.Skip("long inputs find nothing more")
		}
		synctest.Test(t, func(t *testing.T) {
			c, err := bayeux.NewClient("http://bayeux.test/", bayeux.ClientConfig{
				HTTPClient: &http.Client{Transport: &lines{rest: bytes.Split(answers, []byte("\n"))}},
				Transports: []string{bayeux.LongPolling}, Acknowledge: true, Logger: slog.New(noPanics{t: t}),
			})
			if err != nil {
				t.Fatal(err)
			}
			c.Subscribe(t.Context(), "/a/**", func(m *bayeux.Message) {
				if !strings.HasPrefix(m.Channel, "/a/") || strings.Contains(m.Channel, "*") || !json.Valid(m.Data) {
					t.Errorf("handed %q %q", m.Channel, m.Data)
				}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			if err := c.Connect(ctx); err == nil && c.ID() == "" {
				t.Error("connected without a session")
			}
			if ctx.Err() != nil {
				t.Error("Connect did not end by itself")
			}
			time.Sleep(time.Hour)
			c.Publish(ctx, "/a/b", 1)
			start := time.Now()
			c.Close(ctx)
			if d := time.Since(start); d > 11*time.Second {
				t.Errorf("Close took %v", d)
			}
		})
	})
}

const socketHello = `[{"channel":"/meta/handshake","successful":true,"version":"1.0","clientId":"c","supportedConnectionTypes":["websocket"]}]`

// frameServer answers an upgrade, then what the client sends with the next line each
// time, and leaves the connection to then when they are used up. Nobody is there for
// another connection.
func frameServer(then func(net.Conn), lines ...string) func(context.Context, string, string) (net.Conn, error) {
	var once sync.Once
	return func(context.Context, string, string) (conn net.Conn, err error) {
		err = errors.New("nobody there")
		once.Do(func() {
			client, server := net.Pipe()
			conn, err = client, nil
			go func() {
				defer server.Close()
				r, err := http.ReadRequest(bufio.NewReader(server))
				if err != nil {
					return
				}
				upgraded(server, r)
				buf := make([]byte, 64<<10)
				for _, line := range lines {
					if _, err := server.Read(buf); err != nil {
						return
					}
					io.WriteString(server, serverFrame(0x81, line))
				}
				then(server)
			}()
		})
		return conn, err
	}
}

// FuzzClientFrames: whatever frames a server sends after a good beginning, the client
// hands over only what was subscribed to, does not panic, and can be closed at once.
func FuzzClientFrames(f *testing.F) {
	part := func(head byte, payload string) string { return string([]byte{head, byte(len(payload))}) + payload }
	for _, s := range []string{
		"", part(0x81, `[{"channel":"/a/b","data":1}]`), part(0x01, `[{"channel":"/a/b",`) + part(0x89, "ping") + part(0x80, `"data":1}]`),
		part(0x81, `[{"channel":"/meta/connect","successful":false,"advice":{"reconnect":"handshake"}}]`), part(0x81, `{"channel":"/a/**","data":1}`),
		part(0x88, "\x03\xe8bye"), part(0x88, "\x03"), part(0x82, "[]"), part(0x81, "\xff"), part(0x80, "alone"), part(0x01, "a") + part(0x01, "b"),
		part(0xc1, "reserved"), part(0x83, "unknown"), part(0x09, "split ping"), strings.Repeat(part(0x00, ""), 50), strings.Repeat(part(0x89, ""), 100),
		"\xff\x81\x7f\x00\x00\x00\x00\x40\x00\x00\x00", "\xff\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", "\xff\x81\x82\x00\x00\x00\x00[]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<16 {
			t.Skip("long inputs find nothing more")
		}
		sent := frames(in, func(head byte, payload []byte) []byte { return []byte(serverFrame(head, string(payload))) })
		synctest.Test(t, func(t *testing.T) {
			dial := frameServer(func(conn net.Conn) {
				go io.Copy(io.Discard, conn)
				conn.Write(sent)
			}, socketHello, `[{"channel":"/meta/subscribe","successful":true,"subscription":"/a/**"}]`, `[{"channel":"/meta/connect","successful":true}]`)
			c, err := bayeux.NewClient("http://bayeux.test/", bayeux.ClientConfig{
				HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}},
				Transports: []string{bayeux.WebSocket}, Logger: slog.New(noPanics{t: t}),
			})
			if err != nil {
				t.Fatal(err)
			}
			c.Subscribe(t.Context(), "/a/**", func(m *bayeux.Message) {
				if !strings.HasPrefix(m.Channel, "/a/") || strings.Contains(m.Channel, "*") || !json.Valid(m.Data) {
					t.Errorf("handed %q %q", m.Channel, m.Data)
				}
			})
			if err := c.Connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			if c.State() == bayeux.StateConnected {
				t.Error("connected to nobody")
			}
			start := time.Now()
			c.Close(t.Context())
			if d := time.Since(start); d > 11*time.Second {
				t.Errorf("Close took %v", d)
			}
		})
	})
}
