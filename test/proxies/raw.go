package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// raw is a client with one connection to the proxy, on which requests are written byte by
// byte.
type raw struct {
	place   *place
	user    string
	conn    *tls.Conn
	in      *bufio.Reader
	cookies map[string]string
	id      string
}

// raw shakes hands and connects.
func (p *place) raw(ctx context.Context, user string) (*raw, error) {
	r := &raw{place: p, user: user, cookies: make(map[string]string)}
	if err := r.dial(ctx); err != nil {
		return nil, err
	}
	if err := r.write(r.post(handshakeMessage)); err != nil {
		return nil, err
	}
	body, err := r.read()
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(body, `"clientId":"`)
	r.id, _, _ = strings.Cut(rest, `"`)
	return r, r.ask(r.message(bayeux.MetaConnect), bayeux.MetaConnect) // the first is answered at once
}

func (r *raw) dial(ctx context.Context) error {
	d := tls.Dialer{Config: r.place.proxy.tls()}
	c, err := d.DialContext(ctx, "tcp", r.place.proxy.addr)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { c.Close() })
	r.conn, r.in = c.(*tls.Conn), bufio.NewReader(c)
	return nil
}

func (r *raw) message(channel string) string {
	return `{"channel":"` + channel + `","clientId":"` + r.id + `","data":"` + r.user + `"}`
}

func (r *raw) cookie() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(r.cookies)) { // in one order, as browsers have it
		all = append(all, name+"="+r.cookies[name])
	}
	return "Cookie: " + strings.Join(all, "; ") + "\r\n"
}

// head is that of a request, but for the headers of its body.
func (r *raw) head() string {
	head := "POST /bayeux HTTP/1.1\r\nHost: " + r.place.proxy.addr + "\r\n" + userHeader + ": " + r.user + "\r\n"
	if len(r.cookies) > 0 {
		head += r.cookie()
	}
	return head
}

func (r *raw) post(body string) string {
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", r.head(), len(body), body)
}

func (r *raw) chunked(body string) string {
	return fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", r.head(), len(body), body)
}

func (r *raw) write(text string) error {
	_, err := io.WriteString(r.conn, text)
	return err
}

// answer returns a response with its body.
func (r *raw) answer() (*http.Response, string, error) {
	resp, err := http.ReadResponse(r.in, nil)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", err
	}
	for _, c := range resp.Cookies() {
		r.cookies[c.Name] = c.Value
	}
	return resp, string(body), nil
}

// read returns the body of a response that is a success.
func (r *raw) read() (string, error) {
	resp, body, err := r.answer()
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"successful":true`) || strings.Contains(body, `"successful":false`) {
		return "", fmt.Errorf("%s: %.300s", resp.Status, body)
	}
	return body, nil
}

// ask sends a message, and wants this in the answer.
func (r *raw) ask(message, want string) error {
	if err := r.write(r.post(message)); err != nil {
		return err
	}
	return r.want(want)
}

func (r *raw) want(want string) error {
	body, err := r.read()
	if err == nil && !strings.Contains(body, want) {
		err = fmt.Errorf("%.300s: no %q", body, want)
	}
	return err
}

// strangers: the proxy brings requests of several clients by one connection. Each is
// answered as itself, gets what is for it and nothing else; see node.Incoming.
func strangers(ctx context.Context, p *place) error {
	const clients, rounds = 12, 25
	errs := make(chan error, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { errs <- p.stranger(ctx, fmt.Sprintf("user%02d", i), rounds) })
	}
	all.Wait()
	for range clients {
		if err := <-errs; err != nil {
			return err
		}
	}
	if p.nodes[0].shared()+p.nodes[1].shared() == 0 {
		return errors.New("no connection was shared")
	}
	return nil
}

func (p *place) stranger(ctx context.Context, user string, rounds int) error {
	r, err := p.raw(ctx, user)
	if err != nil {
		return err
	}
	_, s, err := p.home(r.id)
	if err != nil {
		return err
	}
	pause := func() { time.Sleep(rand.N(10 * time.Millisecond)) }
	for i := range rounds {
		connect := r.post(r.message(bayeux.MetaConnect))
		if i%5 == 4 {
			connect = r.chunked(r.message(bayeux.MetaConnect))
		}
		if err := r.write(connect); err != nil {
			return err
		}
		pause() // most connects are held; it must not matter
		if err := s.Deliver("/news", fmt.Sprintf("%s-%d", user, i)); err != nil {
			return err
		}
		body, err := r.read()
		if err != nil {
			return fmt.Errorf("%s's connect: %w", user, err)
		}
		if strings.Count(body, `"/news"`) != 1 || !strings.Contains(body, fmt.Sprintf(`"%s-%d"`, user, i)) {
			return fmt.Errorf("%s got %.300s", user, body)
		}
		pause()
		if i%3 == 0 {
			if err := r.ask(r.message("/proxies/none"), "/proxies/none"); err != nil {
				return fmt.Errorf("%s's publication: %w", user, err)
			}
		}
	}
	return nil
}

// repeats: with RepeatPolls the connects of one client pass net/http by, here too.
func repeats(ctx context.Context, p *place) error {
	r, err := p.raw(ctx, "visitor")
	if err != nil {
		return err
	}
	home, s, err := p.home(r.id)
	if err != nil {
		return err
	}
	const rounds = 20
	before := len(home.seen())
	for i := range rounds {
		if err := r.write(r.post(r.message(bayeux.MetaConnect))); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond) // most connects are held; it must not matter
		if err := s.Deliver("/news", i); err != nil {
			return err
		}
		if err := r.want("/news"); err != nil {
			return err
		}
	}
	if n := len(home.seen()) - before; (n < rounds/2) != p.trial.park {
		return fmt.Errorf("%d of %d connects came by net/http", n, rounds)
	}
	return nil
}

// smuggle sends a body whose end looks like a request, in two pieces, under a head that
// repeats but for a number that is no Content-Length: the node reads one request.
func smuggle(ctx context.Context, p *place) error {
	r, err := p.raw(ctx, "sender")
	if err != nil {
		return err
	}
	connect := r.message(bayeux.MetaConnect)
	hidden := "POST /bayeux/hidden HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
	whole := len(connect) + len(hidden)
	head := func(other int) string {
		return fmt.Sprintf("POST /bayeux HTTP/1.1\r\nHost: x\r\n%s: %s\r\n%sX-A: \xff\xff\xff\xff\xff\r\nContent-Length: %d\r\nX-B: %d\r\n\r\n", userHeader, r.user, r.cookie(), whole, other)
	}
	_, s, err := p.home(r.id)
	if err != nil {
		return err
	}
	for i := range 4 {
		if err := r.write(head(whole) + connect + strings.Repeat(" ", len(hidden))); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
		if err := s.Deliver("/news", i); err != nil {
			return err
		}
		if err := r.want("/news"); err != nil {
			return err
		}
	}
	if err := r.write(head(len(connect)) + connect); err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond)
	if err := r.write(hidden); err != nil {
		return err
	}
	resp, body, err := r.answer()
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusBadRequest {
		return fmt.Errorf("a body that is no JSON: %s, %.200s", resp.Status, body)
	}
	for _, n := range p.nodes {
		for _, req := range n.seen() {
			if strings.HasSuffix(req.URL.Path, "/hidden") {
				return errors.New("a part of a body was taken for a request")
			}
		}
	}
	return nil
}
