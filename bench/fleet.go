package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// The transports, as the protocol names them.
const (
	polling   = "long-polling"
	websocket = "websocket"
)

const (
	fanChannel = "/fan/out"
	fanPath    = "/bayeux"
)

// fanText makes a publication's data about 150 bytes long.
var fanText = strings.Repeat("tea, milk and salt; ", 7)[:130]

// fleet is the clients of one server over one transport: subscribers of one channel
// and a publisher.
type fleet struct {
	addr      *net.TCPAddr
	transport string
	poller    *poller
	members   []*member
	mute      bool // the server does not answer, but for upgrades
	publisher *member
	posts     []*post // of a publisher over HTTP
	current   *window // what is being measured, or nil
}

// member is one client. It goes on connecting as the server advises, and no server
// here advises anything but to do so at once.
type member struct {
	fleet   *fleet
	link    *link
	id      string
	cookies string
	connect []byte   // made ready, for the link
	seen    []uint64 // a bit for each publication of the window
}

// post is a connection for publications over HTTP, one after another.
type post struct {
	link    *link
	seq     int  // of the publication it carried last
	waiting bool // for its answer
}

// newFleet starts with a publisher, and a member for each subscriber.
func newFleet(p *poller, addr *net.TCPAddr, transport string, subscribers int) (*fleet, error) {
	f := &fleet{addr: addr, transport: transport, poller: p}
	var err error
	if f.publisher, err = f.join(false); err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	return f, f.grow(subscribers)
}

func (f *fleet) grow(subscribers int) error {
	for i := range subscribers {
		m, err := f.join(true)
		if err != nil {
			return fmt.Errorf("subscriber %d: %w", i, err)
		}
		f.members = append(f.members, m)
		if err := f.poller.turn(0); err != nil { // who came earlier lives on
			return err
		}
	}
	return nil
}

// join shakes hands, connects, subscribes if it is to, and connects again, to be held.
func (f *fleet) join(subscribe bool) (*member, error) {
	l, err := dial(f.addr)
	if err != nil {
		return nil, err
	}
	m := &member{fleet: f, link: l}
	if err := m.introduce(subscribe); err != nil {
		return nil, err
	}
	l.handle = m.receive
	if err := f.poller.add(l); err != nil {
		return nil, err
	}
	return m, l.send(m.connect)
}

func (m *member) introduce(subscribe bool) error {
	if m.fleet.transport == websocket {
		if err := m.upgrade(); err != nil {
			return err
		}
	}
	if m.fleet.mute {
		m.connect = m.wrap(nil, "[]")
		return nil
	}
	answer, err := m.ask(`[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["` + m.fleet.transport + `"],"id":"1"}]`)
	if err != nil {
		return err
	}
	_, rest, found := strings.Cut(answer, `"clientId":"`)
	id, _, ended := strings.Cut(rest, `"`)
	if !found || !ended {
		return fmt.Errorf("handshake: %.300s", answer)
	}
	m.id = id
	connect := `"channel":"/meta/connect","clientId":"` + id + `","connectionType":"` + m.fleet.transport + `","id":"2"`
	if _, err := m.ask(`[{` + connect + `,"advice":{"timeout":0}}]`); err != nil {
		return err
	}
	m.connect = m.wrap(nil, `[{`+connect+`}]`)
	if subscribe {
		_, err = m.ask(`[{"channel":"/meta/subscribe","clientId":"` + id + `","subscription":"` + fanChannel + `","id":"3"}]`)
	}
	return err
}

func (m *member) upgrade() error {
	request := "GET " + fanPath + " HTTP/1.1\r\nHost: " + m.fleet.addr.String() + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	if err := m.link.send([]byte(request)); err != nil {
		return err
	}
	m.link.socket = true
	head, err := m.fleet.poller.head(m.link)
	if err == nil && !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		err = fmt.Errorf("upgrade: %.300q", head)
	}
	return err
}

// ask sends a message of a member that is not served yet, and waits for its answer.
func (m *member) ask(text string) (string, error) {
	if err := m.link.send(m.wrap(nil, text)); err != nil {
		return "", err
	}
	body, head, err := m.fleet.poller.wait(m.link)
	if err != nil {
		return "", err
	}
	if !m.link.socket {
		m.keepCookies(string(head))
	}
	if failed(body) || !bytes.Contains(body, []byte(`"successful":true`)) {
		return "", fmt.Errorf("asked %s, answered %.300s", text, body)
	}
	return string(body), nil
}

func (m *member) keepCookies(head string) {
	head, _, _ = strings.Cut(head, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if textproto.CanonicalMIMEHeaderKey(name) != "Set-Cookie" {
			continue
		}
		value, _, _ = strings.Cut(strings.TrimSpace(value), ";")
		if m.cookies != "" {
			m.cookies += "; "
		}
		m.cookies += value
	}
}

// wrap appends a text as it goes over the transport.
func (m *member) wrap(dst []byte, text string) []byte {
	if m.fleet.transport == websocket {
		return appendText(dst, []byte(text))
	}
	dst = fmt.Appendf(dst, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json;charset=UTF-8\r\n", fanPath, m.fleet.addr)
	if m.cookies != "" {
		dst = append(append(append(dst, "Cookie: "...), m.cookies...), "\r\n"...)
	}
	return fmt.Appendf(dst, "Content-Length: %d\r\n\r\n%s", len(text), text)
}

var (
	sequence    = []byte(`"seq":`)
	metaConnect = []byte(`"/meta/connect"`)
	interval    = []byte(`"interval":`)
)

// failed reports whether a message says that something was not successful.
func failed(message []byte) bool { return bytes.Contains(message, []byte(`"successful":false`)) }

// receive handles what came for a member: deliveries, the answer to its connect, or
// both.
func (m *member) receive(_ *link, message []byte, at time.Time) error {
	got := 0
	for rest := message; ; got++ {
		i := bytes.Index(rest, sequence)
		if i < 0 {
			break
		}
		rest = rest[i+len(sequence):]
		if err := m.deliver(number(rest), at); err != nil {
			return err
		}
	}
	if w := m.fleet.current; w != nil && got > 0 {
		w.responses++
	}
	if m.fleet.transport == websocket && !bytes.Contains(message, metaConnect) {
		if got == 0 && failed(message) {
			return fmt.Errorf("refused: %.300s", message)
		}
		return nil
	}
	if i := bytes.Index(message, interval); failed(message) || i >= 0 && number(message[i+len(interval):]) > 0 {
		return fmt.Errorf("not to be followed: %.300s", message)
	}
	return m.link.send(m.connect)
}

var errNotOnce = errors.New("a message came twice, or unasked")

func (m *member) deliver(seq int, at time.Time) error {
	w := m.fleet.current
	if w == nil || seq >= len(w.sent) {
		return errNotOnce
	}
	for len(m.seen) <= seq/64 {
		m.seen = append(m.seen, 0)
	}
	if m.seen[seq/64]&(1<<(seq%64)) != 0 {
		return errNotOnce
	}
	m.seen[seq/64] |= 1 << (seq % 64)
	w.delivered(seq, at)
	return nil
}

// publish sends one publication, over its place among those in flight.
func (f *fleet) publish(seq int) error {
	text := fmt.Sprintf(`[{"channel":"%s","clientId":"%s","id":"p%d","data":{"seq":%d,"text":"%s"}}]`, fanChannel, f.publisher.id, seq, seq, fanText)
	out := f.publisher.wrap(nil, text)
	if f.transport == websocket {
		return f.publisher.link.send(out)
	}
	for _, p := range f.posts {
		if !p.waiting && f.current.left[p.seq] == 0 {
			return f.publishOver(p, seq, out)
		}
	}
	p := &post{}
	f.posts = append(f.posts, p)
	return f.publishOver(p, seq, out)
}

func (f *fleet) publishOver(p *post, seq int, request []byte) (err error) {
	if p.link == nil {
		if p.link, err = dial(f.addr); err != nil {
			return err
		}
		p.link.ended = func(*link) { p.link = nil } // while it is idle
		p.link.handle = func(_ *link, answer []byte, _ time.Time) error {
			p.waiting = false
			if failed(answer) {
				return fmt.Errorf("refused: %.300s", answer)
			}
			return nil
		}
		if err := f.poller.add(p.link); err != nil {
			return err
		}
	}
	p.seq, p.waiting = seq, true
	return p.link.send(request)
}

// forgetPosts closes the connections for publications. Node.js ends those that were idle
// for five seconds, and a publication on its way then would be lost.
func (f *fleet) forgetPosts() {
	for _, p := range f.posts {
		if p.link != nil {
			f.poller.drop(p.link)
		}
	}
	f.posts = nil
}

// answered reports whether every publication over HTTP has its answer.
func (f *fleet) answered() bool {
	for _, p := range f.posts {
		if p.waiting {
			return false
		}
	}
	return true
}
