package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestFanWire(t *testing.T) {
	answers := map[string]string{
		"length": "HTTP/1.1 200 OK\r\nX: y\r\ncontent-Length:  5\r\n\r\nhello",
		"chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
	}
	for name, in := range answers {
		for i := range in {
			if body, n, err := httpBody([]byte(in[:i]), nil); n != 0 || err != nil {
				t.Fatalf("%s: %d bytes of an answer are %q, %v", name, i, body, err)
			}
		}
		if body, n, err := httpBody([]byte(in+"HTTP"), nil); string(body) != "hello" || n != len(in) || err != nil {
			t.Errorf("%s: %q, %d, %v", name, body, n, err)
		}
	}
	for _, bad := range []string{"HTTP/1.1 500 Oh\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"} {
		if _, _, err := httpBody([]byte(bad), nil); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	for _, size := range []int{0, 125, 126, 65535, 65536} {
		frame := serverFrame(size)
		if text, n, err := socketText(append(frame, 0x81)); len(text) != size || n != len(frame) || err != nil {
			t.Errorf("frame of %d: %d, %d, %v", size, len(text), n, err)
		}
		if _, n, err := socketText(frame[:len(frame)-1]); n != 0 || err != nil {
			t.Errorf("frame of %d, cut: %d, %v", size, n, err)
		}
	}
	if _, _, err := socketText([]byte{0x88, 0}); err == nil {
		t.Error("a close frame was taken")
	}
}

func serverFrame(size int) []byte {
	head := []byte{0x81, byte(size)}
	switch {
	case size > 65535:
		head = []byte{0x81, 127, 0, 0, 0, 0, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}
	case size > 125:
		head = []byte{0x81, 126, byte(size >> 8), byte(size)}
	}
	return append(head, make([]byte, size)...)
}

// Every subscriber gets every publication once, and what came twice, or not at all,
// fails the measurement.
func TestFanOnce(t *testing.T) {
	for _, transport := range []string{polling, websocket} {
		p, err := newPoller()
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		server, err := fanServers[0].start()
		if err != nil {
			t.Fatal(err)
		}
		defer server.close()
		f, err := newFleet(p, server.addr, transport, 5)
		if err != nil {
			t.Fatal(err)
		}
		for _, load := range []pace{{0, inFlight}, {5 * time.Millisecond, inFlight}} {
			s, err := f.measure(load, 100*time.Millisecond, server.used)
			if err != nil || s.batch < 1 || s.p50 <= 0 || s.p99 < s.p50 || s.perSecond <= 0 {
				t.Fatalf("%s: %+v, %v", transport, s, err)
			}
			if want := 5 / max(load.every.Seconds(), 1e-9); load.every > 0 && s.perSecond > 1.2*want {
				t.Errorf("%s: %.0f deliveries/s, want %.0f", transport, s.perSecond, want)
			}
		}
		f.current = &window{receivers: 1, sent: []time.Time{time.Now()}, left: []int32{1}, open: 1}
		clear(f.members[0].seen)
		message := []byte(`[{"channel":"/fan/out","data":{"text":"","seq": 0}}]`)
		if err := f.members[0].deliver(0, time.Now()); err != nil || f.current.open != 0 {
			t.Errorf("the first of a message: %v, %d open", err, f.current.open)
		}
		if err := f.members[0].receive(nil, message, time.Now()); !errors.Is(err, errNotOnce) {
			t.Errorf("the second of a message: %v", err)
		}
		if err := f.members[0].deliver(1, time.Now()); !errors.Is(err, errNotOnce) {
			t.Errorf("a message that was not sent: %v", err)
		}
		f.current.open = 1
		if err := f.drain(f.current, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "1 of 1") {
			t.Errorf("a lost message: %v", err)
		}
	}
}

func TestFanIdle(t *testing.T) {
	for _, r := range []struct {
		name, transport string
	}{{bareHeld, polling}, {bareHijacked, websocket}, {oursFan, websocket}} {
		n, err := fanServer{r.name, []string{r.transport}, nil}.idle(r.transport)
		if err != nil || n < 1<<10 || n > 1<<17 {
			t.Errorf("%s: %d bytes, %v", r.name, n, err)
		}
	}
}
