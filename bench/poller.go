package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// poller serves thousands of connections from one goroutine with as few system
// calls as there can be: the clients share the machine with what is measured.
type poller struct {
	epoll  int
	links  map[int32]*link
	events []syscall.EpollEvent
	buf    []byte
	joined []byte // the body of an answer in chunks
}

// link is one connection. handle gets what came: a body, or a frame's text.
type link struct {
	fd     int
	socket bool   // it speaks WebSocket
	in     []byte // the beginning of what has not come whole
	handle func(l *link, message []byte, at time.Time) error
	// ended is called when the server ends the connection; nil: that is a fault.
	ended func(l *link)
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &poller{epoll: fd, links: map[int32]*link{}, events: make([]syscall.EpollEvent, 256), buf: make([]byte, 256<<10)}, nil
}

// dial connects to a server on loopback. Until [poller.add] the link blocks.
func dial(addr *net.TCPAddr) (*link, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	to := &syscall.SockaddrInet4{Port: addr.Port}
	copy(to.Addr[:], addr.IP.To4())
	patience := syscall.Timeval{Sec: 30}
	if err := errors.Join(
		syscall.Connect(fd, to),
		syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1),
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &patience),
	); err != nil {
		syscall.Close(fd)
		return nil, err
	}
	return &link{fd: fd}, nil
}

// add has l served from now on.
func (p *poller) add(l *link) error {
	if len(l.in) > 0 {
		return fmt.Errorf("unasked: %.100q", l.in)
	}
	if err := syscall.SetNonblock(l.fd, true); err != nil {
		return err
	}
	p.links[int32(l.fd)] = l
	return syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, l.fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(l.fd)})
}

// drop closes l.
func (p *poller) drop(l *link) {
	delete(p.links, int32(l.fd))
	syscall.Close(l.fd)
}

func (p *poller) close() {
	for _, l := range p.links {
		syscall.Close(l.fd)
	}
	syscall.Close(p.epoll)
}

// send writes all of b. What a client says fits into an empty socket buffer.
func (l *link) send(b []byte) error {
	n, err := syscall.Write(l.fd, b)
	if err == nil && n < len(b) {
		err = errors.New("the server does not read")
	}
	return err
}

// turn waits at most so long for something to come, and handles it.
func (p *poller) turn(wait time.Duration) error {
	n, err := syscall.EpollWait(p.epoll, p.events, int(wait.Milliseconds()))
	if err == syscall.EINTR {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range p.events[:n] {
		if l := p.links[e.Fd]; l != nil {
			if err := p.read(l); err != nil {
				return err
			}
		}
	}
	return nil
}

var errEnded = errors.New("the server ended the connection")

// read reads what there is, and handles what is whole.
func (p *poller) read(l *link) error {
	have := copy(p.buf, l.in)
	n, err := syscall.Read(l.fd, p.buf[have:])
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return nil
	case err == nil && n == 0:
		err = errEnded
	}
	if err != nil {
		if l.ended == nil {
			return err
		}
		p.drop(l)
		l.ended(l)
		return nil
	}
	at := time.Now()
	b := p.buf[:have+n]
	for len(b) > 0 {
		message, n, err := p.next(l, b)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := l.handle(l, message, at); err != nil {
			return err
		}
		b = b[n:]
	}
	if len(b) == len(p.buf) {
		return errors.New("an answer that is too long")
	}
	l.in = append(l.in[:0], b...)
	return nil
}

func (p *poller) next(l *link, b []byte) (message []byte, n int, err error) {
	if l.socket {
		return socketText(b)
	}
	return httpBody(b, p.joined[:0])
}

// wait blocks for the next message; for a link that was not added yet. head gets
// what an HTTP answer has before its body.
func (p *poller) wait(l *link) (message, head []byte, err error) {
	for {
		if message, n, err := p.next(l, l.in); n > 0 || err != nil {
			whole := l.in[:n]
			l.in = append([]byte(nil), l.in[n:]...)
			return message, whole, err
		}
		if err := p.more(l); err != nil {
			return nil, nil, err
		}
	}
}

// more blocks until something came.
func (p *poller) more(l *link) error {
	n, err := syscall.Read(l.fd, p.buf)
	for err == syscall.EINTR {
		n, err = syscall.Read(l.fd, p.buf)
	}
	if err == nil && n == 0 {
		err = errEnded
	}
	if err == nil {
		l.in = append(l.in, p.buf[:n]...)
	}
	return err
}

// head blocks for what comes before the first blank line.
func (p *poller) head(l *link) (string, error) {
	for {
		if i := bytes.Index(l.in, blankLine); i >= 0 {
			head := string(l.in[:i])
			l.in = append([]byte(nil), l.in[i+len(blankLine):]...)
			return head, nil
		}
		if err := p.more(l); err != nil {
			return "", err
		}
	}
}
