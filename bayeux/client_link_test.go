package bayeux

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A connection that comes up while the client is closed is closed too.
func TestClosedClientAdoptsNoLink(t *testing.T) {
	c, err := NewClient("http://bayeux.test/", ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	l := &socketLink{client: c, turn: make(chan struct{}, 1), out: frameWriter{conn: near, timeout: time.Second, masks: true}}
	if err := c.adopt(l); err != ErrClosed {
		t.Errorf("adopt = %v", err)
	}
	far.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := far.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is open: %v", err)
	}
}

// A handshake that was about to begin leaves the link, on which Close says good-bye, alone.
func TestClosingClientKeepsItsLink(t *testing.T) {
	c, err := NewClient("http://bayeux.test/", ClientConfig{Transports: []string{LongPolling}})
	if err != nil {
		t.Fatal(err)
	}
	l := &pollingLink{c}
	c.link, c.closing = l, true
	if s := c.establish(t.Context()); s.err != ErrClosed || c.link != l {
		t.Errorf("establish: %v, link %v", s.err, c.link)
	}
}

// What a closed client drops is not kept until its handler returns.
func TestClosedDispatcherKeepsNothing(t *testing.T) {
	d := &dispatcher{limit: 10, maxBytes: 1000}
	running, release := make(chan struct{}), make(chan struct{})
	ended := make(chan struct{})
	d.add(event{f: func() { close(running); <-release }, delivery: true, bytes: 10})
	<-running
	late := event{f: func() { t.Error("a delivery is handed over") }, delivery: true, bytes: 10}
	d.add(late)
	d.add(event{f: func() { close(ended) }})
	d.close()
	d.add(late)
	d.mu.Lock()
	if len(d.queue) != 1 || d.bytes != 0 {
		t.Errorf("%d wait, of %d bytes; want the change of state", len(d.queue), d.bytes)
	}
	d.mu.Unlock()
	close(release)
	<-ended
}

// The clientId, which comes later, counts for the size of a batch.
func TestFittingCountsTheClientID(t *testing.T) {
	msgs := make([]*Message, maxClientBatch)
	for i := range msgs {
		msgs[i] = &Message{Channel: "/a", Data: []byte("1"), Error: strings.Repeat("x", 400)}
	}
	n, size := fitting(msgs), 0
	for _, m := range msgs[:n] {
		m.ClientID = strings.Repeat("c", maxClientID-20)
		size += len(m.appendTo(nil))
	}
	if n < 300 || size > maxClientBatchBytes {
		t.Errorf("%d messages are %d bytes", n, size)
	}
}
