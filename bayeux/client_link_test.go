package bayeux

import (
	"io"
	"net"
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
