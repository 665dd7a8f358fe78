package bayeux

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"reflect"
	"strconv"
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

// Whatever head is known, a request that is taken for another with the same head is, to
// net/http, that and nothing else: all that follows would be another client's on a
// connection that a proxy shares.
func FuzzRepeatedHead(f *testing.F) {
	const request = "POST /a HTTP/1.1\r\nCookie: a=b\r\nContent-Length: 5\r\nHost: x\r\n\r\nhello"
	for _, first := range []string{
		request, strings.Replace(request, "a=b", "a=\xff", 1), strings.Replace(request, "h: 5", "h:5 ", 1),
		strings.Replace(request, "Host", "X-Content-Length: 7\r\nHost", 1), strings.Replace(request, "Host", " Content-Length: 7\r\nHost", 1),
		"POST /a HTTP/1.1\r\nHost: x\r\nX-A: \xff\xff\xff\xff\r\nContent-Length: 5\r\nX-B: 5\r\n\r\nhello",
	} {
		f.Add([]byte(first), []byte("hi"))
		f.Add([]byte(first), []byte(request))
	}
	f.Fuzz(func(t *testing.T, first, body []byte) {
		head := splitHead(first)
		if head == nil || len(body) == 0 {
			return
		}
		want, _, ok := readByNetHTTP(first)
		if !ok {
			return // it was refused, and is no known head
		}
		second := bytes.Join([][]byte{head.before, []byte(strconv.Itoa(len(body))), head.after, body}, nil)
		got, rest, ok := readByNetHTTP(second)
		if !ok || len(rest) != 0 {
			t.Fatalf("%q after %q: net/http reads another request (%v), and %q", second, first, ok, rest)
		}
		if taken, ok := head.body(second); ok {
			if b, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(b, taken) {
				t.Errorf("%q: body %q, net/http reads %q", second, taken, b)
			}
		}
		for _, r := range []*http.Request{want, got} {
			r.Header.Del("Content-Length")
		}
		if got.Method != want.Method || got.RequestURI != want.RequestURI || got.Host != want.Host || got.Proto != want.Proto || !reflect.DeepEqual(got.Header, want.Header) {
			t.Errorf("%q is taken for %q", second, first)
		}
	})
}

// readByNetHTTP is not ok for what an http.Server refuses, or what is never parked. rest is
// what stands behind the request.
func readByNetHTTP(b []byte) (r *http.Request, rest []byte, ok bool) {
	in := bufio.NewReaderSize(bytes.NewReader(b), len(b)+16)
	r, err := http.ReadRequest(in)
	if err != nil || r.Method != http.MethodPost || !r.ProtoAtLeast(1, 1) || r.ContentLength < 0 {
		return nil, nil, false
	}
	for _, values := range r.Header {
		for _, v := range values {
			if strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
				return nil, nil, false
			}
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil, false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	rest, _ = io.ReadAll(in)
	return r, rest, true
}
