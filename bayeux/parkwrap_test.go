package bayeux

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
)

// However often a client sends early, its connection has one wrapper at most.
func TestWrappersDoNotPileUp(t *testing.T) {
	plain, _ := net.Pipe()
	for name, conn := range map[string]net.Conn{"plain": plain, "TLS": tls.Client(plain, new(tls.Config))} {
		for range 2 {
			w := withEarly(conn, []byte("xy"), new(requestHead))
			got, early, head := takeEarly(w, bufio.NewReader(strings.NewReader("")))
			if got != w || len(early) != 0 || head != nil {
				t.Errorf("%s: bytes that nobody read are lost", name)
			}
			if b := make([]byte, 1); true {
				io.ReadFull(w, b)
				io.ReadFull(w, b)
			}
			if got, _, _ := takeEarly(w, bufio.NewReader(strings.NewReader(""))); got != conn {
				t.Errorf("%s: still wrapped", name)
			}
		}
	}
}

// The head of the request that came early is known until another request is read.
func TestHeadOfTheLastRequest(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	known := new(requestHead)
	w := withEarly(server, []byte("x"), known)
	b := make([]byte, 8)
	io.ReadFull(w, b[:1])
	if _, _, head := takeEarly(w, bufio.NewReader(strings.NewReader(""))); head != known {
		t.Error("the head is not known")
	}
	buffered := bufio.NewReader(strings.NewReader("more"))
	buffered.Peek(1)
	if _, early, head := takeEarly(w, buffered); head != nil || string(early) != "more" {
		t.Error("the head is taken for that of the next request")
	}
	go client.Write([]byte("next"))
	w.Read(b)
	if _, _, head := takeEarly(w, bufio.NewReader(strings.NewReader(""))); head != nil {
		t.Error("the head is taken for that of a later request")
	}
}

func TestRequestHead(t *testing.T) {
	const request = "POST /a HTTP/1.1\r\nCookie: a=b\r\nContent-Length: 5\r\nHost: x\r\n\r\nhello"
	for _, bad := range []string{
		"", "hello", request[:len(request)-1], request + "x", request[:30], request + request,
		strings.Replace(request, "5", "", 1), strings.Replace(request, "5", "05", 1), strings.Replace(request, "5", "-5", 1),
		strings.Replace(request, "5", "5 ", 1) + "x", strings.Replace(request, "5", "99999999999999999999", 1),
		strings.Replace(request, "Host: x", "content-length: 5", 1), strings.Replace(request, "Content-Length: 5\r\n", "", 1),
		strings.Replace(request, "a=b", "a=\xff", 1), strings.Replace(request, "a=b", "a=\u0130", 1), strings.Replace(request, "Host: x", "Host: \u00e9", 1),
	} {
		if splitHead([]byte(bad)) != nil {
			t.Errorf("%q has a head", bad)
		}
	}
	h := splitHead([]byte(request))
	if h == nil {
		t.Fatal("no head")
	}
	for body, length := range map[string]string{"hello": "5", "": "0", "h": "1", strings.Repeat("x", 1234): "1234"} {
		in := strings.Replace(strings.TrimSuffix(request, "hello"), "5", length, 1) + body
		if got, ok := h.body([]byte(in)); ok != (body != "") || string(got) != body && ok {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
	for _, other := range []string{
		request[:len(request)-1], request + "\n", strings.Replace(request, "a=b", "a=c", 1), strings.Replace(request, "Host: x", "Host: y", 1),
		strings.Replace(request, "5", "4", 1), strings.Replace(request, "5", "+5", 1), strings.Replace(request, "5", "5\r\nX: y", 1),
		strings.Replace(request, "5", "05", 1), strings.Replace(request, "5", "1000000", 1), " " + request,
	} {
		if got, ok := h.body([]byte(other)); ok {
			t.Errorf("%q was taken for the same, body %q", other, got)
		}
	}
}
