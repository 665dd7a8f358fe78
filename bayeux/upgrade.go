package bayeux

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
)

// The opening handshake of a WebSocket (RFC 6455, section 4), on both sides. No
// extension and no subprotocol is ever agreed on; compression would mix secrets with
// what a stranger chose, and let a small frame cost much memory.

// maxUpgradeReply bounds the answer to an upgrade, in bytes.
const maxUpgradeReply = 64 << 10

// clientReadBuffer is what a client's connection has for reading. Longer frames are read
// past it.
const clientReadBuffer = 512

// An open WebSocket keeps the request that opened it, for hooks: so many bytes of
// names, values and URL, and so many header lines, at most. net/http takes 1 MiB.
const (
	maxUpgradeHeader = 32 << 10
	maxUpgradeLines  = 200
)

func modestHeader(r *http.Request) bool {
	size, lines := len(r.RequestURI)+len(r.Host), 0
	for name, values := range r.Header {
		lines += len(values)
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	return size <= maxUpgradeHeader && lines <= maxUpgradeLines
}

// isUpgrade reports whether r asks for a WebSocket.
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// wellFormedUpgrade checks what else a request must have that asks for one.
func wellFormedUpgrade(r *http.Request) bool {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	return err == nil && len(key) == 16 && r.Header.Get("Sec-WebSocket-Version") == "13" &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0 && // a body would be read as frames
		r.ProtoMajor == 1 && hasToken(r.Header, "Connection", "upgrade")
}

// hasToken looks for a token in a header's list, whatever the case.
func hasToken(h http.Header, name, token string) bool {
	for _, v := range h.Values(name) {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// acceptKey is the answer to a key (section 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// upgradeReply is the server's answer to a well-formed upgrade with this key.
func upgradeReply(key string, cookie *http.Cookie) []byte {
	b := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + acceptKey(key) + "\r\nCache-Control: no-store\r\n"
	if cookie != nil {
		b += "Set-Cookie: " + cookie.String() + "\r\n"
	}
	return []byte(b + "\r\n")
}

// askUpgrade sends req with what an upgrade needs, and returns the answer and the
// rest of the connection. The answer is nil if none came.
func askUpgrade(nc net.Conn, req *http.Request) (*http.Response, *bufio.Reader, error) {
	key := make([]byte, 16)
	_, _ = rand.Read(key) // it cannot fail
	text := base64.StdEncoding.EncodeToString(key)
	for name, v := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": text} {
		req.Header.Set(name, v)
	}
	if err := req.Write(nc); err != nil {
		return nil, nil, err
	}
	bounded := &io.LimitedReader{R: nc, N: maxUpgradeReply}
	src := bufio.NewReaderSize(bounded, clientReadBuffer)
	resp, err := http.ReadResponse(src, req)
	if err != nil {
		return nil, nil, err
	}
	bounded.N = math.MaxInt64
	h := resp.Header
	if resp.StatusCode != http.StatusSwitchingProtocols || !strings.EqualFold(h.Get("Upgrade"), "websocket") || !hasToken(h, "Connection", "upgrade") ||
		h.Get("Sec-WebSocket-Accept") != acceptKey(text) || h["Sec-Websocket-Extensions"] != nil || h["Sec-Websocket-Protocol"] != nil {
		return resp, nil, errors.New("bayeux: not the answer to an upgrade")
	}
	return resp, src, nil
}
