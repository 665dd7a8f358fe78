//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// caller is a client on one connection, as cheap as it gets: it speaks just
// enough of Bayeux, and can do what a library would not.
type caller struct {
	conn   net.Conn
	in     *bufio.Reader
	socket bool
	cookie string
	id     string
}

// dial opens a connection, and upgrades it.
func dial(addr string, socket bool) (*caller, error) {
	conn, err := net.DialTimeout("tcp", addr, 20*time.Second)
	if err != nil {
		return nil, err
	}
	c := &caller{conn: conn, in: bufio.NewReaderSize(conn, 1024), socket: socket}
	if !socket {
		return c, nil
	}
	const upgrade = "GET /bayeux HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := io.WriteString(conn, upgrade); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = errors.New(resp.Status)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// join shakes hands, connects once and subscribes.
func (c *caller) join(channel string) error {
	b, err := c.do(`{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling","websocket"]}`)
	if err != nil {
		return err
	}
	var replies []struct {
		ClientID string `json:"clientId"`
	}
	if err := json.Unmarshal(b, &replies); err != nil || len(replies) != 1 || replies[0].ClientID == "" {
		return fmt.Errorf("handshake answered with %.200s", b)
	}
	c.id = replies[0].ClientID
	if err := c.connect(); err != nil {
		return err
	}
	return c.must(`{"channel":"/meta/subscribe","clientId":"` + c.id + `","subscription":"` + channel + `"}`)
}

func (c *caller) connect() error {
	return c.must(c.connectMessage())
}

func (c *caller) connectMessage() string {
	return `{"channel":"/meta/connect","clientId":"` + c.id + `","connectionType":"any"}`
}

func (c *caller) publish(channel, data string) error {
	return c.send(`{"channel":"` + channel + `","clientId":"` + c.id + `","data":"` + data + `"}`)
}

// must sends a message and waits for an answer with no error in it, passing over
// deliveries of a WebSocket.
func (c *caller) must(message string) error {
	b, err := c.do(message)
	for err == nil && c.socket && !bytes.Contains(b, []byte(`"/meta/`)) {
		b, err = c.receive()
	}
	if err == nil && (!bytes.Contains(b, []byte(`"successful":true`)) || bytes.Contains(b, []byte(`"successful":false`))) {
		err = fmt.Errorf("answered with %.200s", b)
	}
	return err
}

func (c *caller) do(message string) ([]byte, error) {
	if err := c.send(message); err != nil {
		return nil, err
	}
	return c.receive()
}

func (c *caller) send(message string) error {
	if c.socket {
		_, err := c.conn.Write(frame(message))
		return err
	}
	cookie := ""
	if c.cookie != "" {
		cookie = "Cookie: " + c.cookie + "\r\n"
	}
	_, err := fmt.Fprintf(c.conn, "POST /bayeux HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", cookie, len(message), message)
	return err
}

// frame masks with the key 0, which leaves the text as it is.
func frame(text string) []byte {
	b := []byte{0x81}
	switch n := len(text); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), text...)
}

// receive reads one response or one frame.
func (c *caller) receive() ([]byte, error) {
	if c.socket {
		return c.receiveFrame()
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if set := resp.Header.Get("Set-Cookie"); set != "" {
		c.cookie, _, _ = strings.Cut(set, ";")
	}
	return b, err
}

func (c *caller) receiveFrame() ([]byte, error) {
	var h [8]byte
	if _, err := io.ReadFull(c.in, h[:2]); err != nil {
		return nil, err
	}
	opcode, size := h[0]&0x0f, uint64(h[1])
	if size > 125 {
		wide := h[6:]
		if size == 127 {
			wide = h[:]
		}
		clear(h[:])
		if _, err := io.ReadFull(c.in, wide); err != nil {
			return nil, err
		}
		size = binary.BigEndian.Uint64(h[:])
	}
	if size > 16<<20 {
		return nil, errors.New("a frame of more than 16 MiB")
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(c.in, b); err != nil {
		return nil, err
	}
	if opcode != 1 {
		return nil, fmt.Errorf("a frame with opcode %d: %q", opcode, b)
	}
	return b, nil
}

// vanish ends the connection with a reset, as when a machine goes away.
func (c *caller) vanish() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.conn.Close()
}
