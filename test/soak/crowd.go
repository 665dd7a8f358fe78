//go:build linux

package main

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// crowd is the idle clients: each connects again and again, and nothing else.
type crowd struct {
	wg      sync.WaitGroup
	leaving atomic.Bool
	mu      sync.Mutex
	callers []*caller
	failed  error // the first thing that went wrong
}

func (c *crowd) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil && !c.leaving.Load() {
		c.failed = err
	}
}

// gather returns when all are connected and their next connect is on its way.
func (c *crowd) gather(addr string, polls, sockets int) error {
	var arriving sync.WaitGroup
	door := make(chan struct{}, 64)
	for i := range polls + sockets {
		door <- struct{}{}
		arriving.Go(func() {
			defer func() { <-door }()
			if err := c.admit(addr, i >= polls); err != nil {
				c.fail(err)
			}
		})
	}
	arriving.Wait()
	return c.err()
}

func (c *crowd) admit(addr string, socket bool) error {
	one, err := dial(addr, socket)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.callers = append(c.callers, one)
	c.mu.Unlock()
	if err := one.join("/quiet"); err != nil {
		return err
	}
	if err := one.send(one.connectMessage()); err != nil {
		return err
	}
	c.wg.Go(func() { c.idle(one) })
	return nil
}

// idle answers each reply with the next connect. Nothing is published to it: what
// comes is the reply of a connect that timed out.
func (c *crowd) idle(one *caller) {
	for {
		b, err := one.receive()
		if err != nil {
			c.fail(err)
			return
		}
		if !connected(b) {
			c.fail(fmt.Errorf("idle client got %.200s", b))
			return
		}
		if err := one.send(one.connectMessage()); err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *crowd) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// leave ends all connections, every other one without a word.
func (c *crowd) leave() {
	c.leaving.Store(true)
	for i, one := range c.callers {
		if i%2 == 0 {
			one.vanish()
		} else {
			one.conn.Close()
		}
	}
	c.wg.Wait()
	c.callers = nil
}
