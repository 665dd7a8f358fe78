package redisstore

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"github.com/redis/rueidis"
)

// conns are the connections of a store, to be given up where the client library
// would go on with one whose answers are no longer those to its questions.
type conns struct {
	dial func(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error)

	mu   sync.Mutex
	open map[*trackedConn]struct{}
}

type trackedConn struct {
	net.Conn
	of *conns
}

// track makes the client of an option dial through c.
func (c *conns) track(o *rueidis.ClientOption) {
	c.dial, c.open = o.DialCtxFn, make(map[*trackedConn]struct{})
	if c.dial == nil {
		c.dial = dial
	}
	o.DialCtxFn = c.connect
}

func dial(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
	if t != nil {
		return (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", addr)
	}
	return d.DialContext(ctx, "tcp", addr)
}

func (c *conns) connect(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
	conn, err := c.dial(ctx, addr, d, t)
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{conn, c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[tracked] = struct{}{}
	return tracked, nil
}

func (t *trackedConn) Close() error {
	t.of.mu.Lock()
	delete(t.of.open, t)
	t.of.mu.Unlock()
	return t.Conn.Close()
}

// sever closes all connections.
func (c *conns) sever() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for t := range c.open {
		t.Conn.Close()
	}
	clear(c.open)
}
