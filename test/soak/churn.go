//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	busy  = "/busy"  // everybody who comes and goes
	flood = "/flood" // those who do not read
)

func connected(b []byte) bool {
	return bytes.Contains(b, []byte(`"/meta/connect"`)) && bytes.Contains(b, []byte(`"successful":true`))
}

// churn is clients that come and go, badly. Nothing is expected of their answers
// but that some are good.
type churn struct {
	addr     string
	patience time.Duration // the longest life
	stop     chan struct{}
	wg       sync.WaitGroup
	lives    [6]atomic.Int64 // of each way
	good     atomic.Int64    // lives without an error
	flooded  error           // of flood, once it ended
}

// lives are ways to be a client.
var lives = [...]struct {
	name string
	live func(c *churn, one *caller) error
}{
	{"polite", polite}, {"vanishing", vanishing}, {"half open", halfOpen},
	{"half a request", halfRequest}, {"coming back", comingBack}, {"slow", slow},
}

const slowOnes = len(lives) - 1

// begin starts n churners of all kinds, and somebody who floods those who are slow.
func begin(addr string, n int, patience time.Duration) *churn {
	c := &churn{addr: addr, patience: patience, stop: make(chan struct{})}
	for i := range n {
		c.wg.Go(func() {
			for !c.over(0) {
				way := rand.IntN(len(lives) - 1)
				if i < 4 {
					way = slowOnes // few, as each costs what it does not read
				}
				c.one(way, i%2 == 0 || way == slowOnes)
			}
		})
	}
	c.wg.Go(func() { c.flooded = c.flood() })
	return c
}

// quickly has n churners live through lives that are short, in all total of them.
func quickly(addr string, n, total int) {
	c := &churn{addr: addr, patience: 10 * time.Second}
	var left atomic.Int64
	left.Store(int64(total))
	for i := range n {
		c.wg.Go(func() {
			for left.Add(-1) >= 0 {
				c.one(i%4/2, i%2 == 0)
			}
		})
	}
	c.wg.Wait()
}

func (c *churn) end() {
	close(c.stop)
	c.wg.Wait()
}

// over waits for d, or until the end, and says whether that has come.
func (c *churn) over(d time.Duration) bool {
	select {
	case <-c.stop:
		return true
	case <-time.After(d):
		return false
	}
}

func (c *churn) one(way int, socket bool) {
	one, err := dial(c.addr, socket)
	if err != nil {
		return
	}
	defer one.conn.Close()
	c.lives[way].Add(1)
	_ = one.conn.SetDeadline(time.Now().Add(c.patience))
	if err := lives[way].live(c, one); err == nil {
		c.good.Add(1)
	}
}

func polite(_ *churn, one *caller) error {
	if err := one.join(busy); err != nil {
		return err
	}
	for range 2 {
		if err := one.publish(busy, "hello"); err != nil {
			return err
		}
		if _, err := one.receive(); err != nil {
			return err
		}
	}
	_, err := one.do(`{"channel":"/meta/disconnect","clientId":"` + one.id + `"}`)
	return err
}

// vanishing is gone while its connect is held, or about to be.
func vanishing(_ *churn, one *caller) error {
	defer one.vanish()
	if err := one.join("/private/" + one.cookie); err != nil {
		return err
	}
	if err := one.send(one.connectMessage()); err != nil {
		return err
	}
	time.Sleep(rand.N(20 * time.Millisecond))
	return nil
}

// halfOpen says that it sends no more, and goes on listening.
func halfOpen(_ *churn, one *caller) error {
	if err := one.join(busy); err != nil {
		return err
	}
	if err := one.send(one.connectMessage()); err != nil {
		return err
	}
	if half, ok := one.conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, one.conn)
	return err
}

// halfRequest stops in the middle until the server has had enough.
func halfRequest(_ *churn, one *caller) error {
	if err := one.join(busy); err != nil {
		return err
	}
	part := "POST /bayeux HTTP/1.1\r\nHost: soak\r\nContent-Length: 100\r\n\r\n[{"
	if one.socket {
		part = string(frame(strings.Repeat(" ", 100))[:20])
	}
	if _, err := io.WriteString(one.conn, part); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, one.conn)
	return err
}

// slow asks for much and reads nothing.
func slow(c *churn, one *caller) error {
	if tcp, ok := one.conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(16 << 10)
	}
	if err := one.join(flood); err != nil {
		return err
	}
	c.over(2 * c.patience)
	one.vanish()
	return nil
}

// comingBack loses its connection and goes on with its session on another.
func comingBack(c *churn, one *caller) error {
	if err := one.join(busy); err != nil {
		return err
	}
	if err := one.send(one.connectMessage()); err != nil {
		return err
	}
	if one.socket {
		// Over a WebSocket the session is the connection's: it lapses.
		one.vanish()
		return nil
	}
	again, err := dial(c.addr, false)
	if err != nil {
		return err
	}
	defer again.vanish()
	one.vanish()
	again.id, again.cookie = one.id, one.cookie
	if err := again.publish(busy, "again"); err != nil {
		return err
	}
	b, err := again.receive()
	if err == nil && !bytes.Contains(b, []byte(`"successful":true`)) {
		err = fmt.Errorf("coming back was answered with %.200s", b)
	}
	return err
}

// flood publishes more than those who don't read can be sent.
func (c *churn) flood() error {
	one, err := dial(c.addr, true)
	if err != nil {
		return err
	}
	defer one.conn.Close()
	if err := one.join("/none"); err != nil {
		return err
	}
	go io.Copy(io.Discard, one.conn)
	data := strings.Repeat("x", 64<<10)
	for !c.over(20 * time.Millisecond) {
		if err := one.publish(flood, data); err != nil {
			return err
		}
	}
	return nil
}
