package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// check is something that must hold behind a proxy.
type check struct {
	name   string
	run    func(ctx context.Context, p *place) error
	config bayeux.Config
	edits  map[string][]string // of a proxy's configuration, see startProxy
}

var checks = []check{
	{name: "a session over long-polling", run: overPolling},
	{name: "a session over a WebSocket", run: overSocket},
	{name: "long messages", run: longMessages},
	{name: "a client that vanishes", run: vanishes},
	{name: "a node that is killed", run: leaveNode(func(_ context.Context, n *node) error { n.kill(); return nil })},
	{name: "a node that ends", run: leaveNode(func(ctx context.Context, n *node) error { return n.end(ctx) })},
	{name: "a hold that the proxy cuts", run: cutHold, config: bayeux.Config{Timeout: time.Hour}, edits: map[string][]string{
		"nginx": {"max_fails=1", "max_fails=0"}, // or it takes the nodes out
	}},
	{name: "the origin of a page", run: origins},
	{name: "a Host that is rewritten", run: rewrittenHost, config: bayeux.Config{AllowedOrigins: []string{"https://listed.test"}}, edits: map[string][]string{
		"nginx":   {"        proxy_set_header Host $http_host;\n", ""},
		"HAProxy": {"    default_backend nodes\n", "    http-request set-header Host nodes\n    default_backend nodes\n"},
	}},
	{name: "no keep-alive", run: fallsBack, edits: map[string][]string{
		"nginx":   {"        proxy_http_version 1.1;", "        #", "        proxy_set_header Connection $connection_upgrade;\n", ""},
		"HAProxy": {"    mode http", "    mode http\n    option httpclose"},
	}},
	{name: "strangers on one connection", run: strangers, config: bayeux.Config{MaxPollsPerBrowser: 100}},
	{name: "connects that repeat", run: repeats},
	{name: "a body in pieces", run: smuggle},
	{name: "a sealed session over long-polling", run: restored(bayeux.LongPolling)},
	{name: "a sealed session over a WebSocket", run: restored(bayeux.WebSocket)},
	{name: "CometD over long-polling", run: cometd("long-polling")},
	{name: "CometD over a WebSocket", run: cometd("websocket")},
}

// visitor is our client, and what came to it.
type visitor struct {
	*bayeux.Client
	got chan string
}

func (p *place) visitor(ctx context.Context, acknowledge bool, transports ...string) (*visitor, error) {
	c, err := bayeux.NewClient(p.proxy.url(), bayeux.ClientConfig{
		HTTPClient:  &http.Client{Transport: &http.Transport{TLSClientConfig: p.proxy.tls(), ForceAttemptHTTP2: true}},
		Header:      http.Header{userHeader: {"visitor"}},
		Transports:  transports,
		Acknowledge: acknowledge,
		Backoff:     50 * time.Millisecond,
		MaxBackoff:  200 * time.Millisecond,
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	v := &visitor{c, make(chan string, 100)}
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	return v, c.Subscribe(ctx, "/proxies/down", func(m *bayeux.Message) { v.got <- string(m.Data) })
}

func (v *visitor) expect(ctx context.Context, want string) error {
	select {
	case got := <-v.got:
		if got != want {
			return fmt.Errorf("got %.100q, want %.100q", got, want)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waited for %.100q", want)
	}
}

// echo is a message both ways.
func (v *visitor) echo(ctx context.Context, text string) error {
	data, err := json.Marshal(text)
	if err != nil {
		return err
	}
	if err := v.Publish(ctx, "/proxies/up", text); err != nil {
		return err
	}
	return v.expect(ctx, string(data))
}

// lasts says something now and once the proxy's time has passed, in one session, and
// leaves.
func (p *place) lasts(ctx context.Context, v *visitor) error {
	id := v.ID()
	if err := v.echo(ctx, "zażółć ✓"); err != nil {
		return err
	}
	time.Sleep(2 * proxyTimeout)
	if err := v.echo(ctx, "later"); err != nil {
		return err
	}
	if v.ID() != id {
		return errors.New("the session ended")
	}
	home, _, err := p.home(id)
	if err != nil {
		return err
	}
	if err := v.Close(ctx); err != nil {
		return err
	}
	return until(ctx, "the end of the session and its connect", func() bool { return home.bayeux.Session(id) == nil && p.polls() == 0 })
}

func overPolling(ctx context.Context, p *place) error {
	v, err := p.visitor(ctx, false, bayeux.LongPolling)
	if err != nil {
		return err
	}
	if err := until(ctx, "a held connect", func() bool { return p.polls() == 1 }); err != nil {
		return err
	}
	return p.lasts(ctx, v)
}

func overSocket(ctx context.Context, p *place) error {
	v, err := p.visitor(ctx, false, bayeux.WebSocket)
	if err != nil {
		return err
	}
	return p.lasts(ctx, v)
}

// longMessages are longer than a proxy's buffers, both ways.
func longMessages(ctx context.Context, p *place) error {
	for _, transport := range []string{bayeux.LongPolling, bayeux.WebSocket} {
		v, err := p.visitor(ctx, false, transport)
		if err != nil {
			return err
		}
		for i := range 3 {
			if err := v.echo(ctx, strings.Repeat(string(rune('a'+i)), 60_000)); err != nil {
				return fmt.Errorf("%s: %w", transport, err)
			}
		}
		_, s, err := p.home(v.ID())
		if err != nil {
			return err
		}
		long := strings.Repeat("x", 100_000)
		s.Batch(func() {
			for range 9 { // one response
				if err == nil {
					err = s.Deliver("/proxies/down", long)
				}
			}
		})
		if err != nil {
			return err
		}
		for range 9 {
			if err = v.expect(ctx, `"`+long+`"`); err != nil {
				return fmt.Errorf("%s: %w", transport, err)
			}
		}
		if err := v.Close(ctx); err != nil {
			return err
		}
	}
	return nil
}

// vanishes: a client that is gone frees its connect at once, and what is sent to it
// meanwhile waits for it.
func vanishes(ctx context.Context, p *place) error {
	r, err := p.raw(ctx, "visitor")
	if err != nil {
		return err
	}
	if err := r.write(r.post(r.message(bayeux.MetaConnect))); err != nil {
		return err
	}
	if err := until(ctx, "a held connect", func() bool { return p.polls() == 1 }); err != nil {
		return err
	}
	_ = r.conn.Close()
	gone, cancel := context.WithTimeout(ctx, hold/2)
	defer cancel()
	if err := until(gone, "the end of its connect", func() bool { return p.polls() == 0 }); err != nil {
		return err
	}
	_, s, err := p.home(r.id)
	if err != nil {
		return err
	}
	if err := s.Deliver("/news", "waited"); err != nil {
		return err
	}
	if err := r.dial(ctx); err != nil {
		return err
	}
	return r.ask(r.message(bayeux.MetaConnect), "waited")
}

// leaveNode ends a node: its clients get a session at the other one.
func leaveNode(end func(context.Context, *node) error) func(context.Context, *place) error {
	return func(ctx context.Context, p *place) error {
		var all []*visitor
		for _, transport := range []string{bayeux.LongPolling, bayeux.LongPolling, bayeux.WebSocket, bayeux.WebSocket} {
			v, err := p.visitor(ctx, false, transport)
			if err != nil {
				return err
			}
			all = append(all, v)
		}
		home, _, err := p.home(all[0].ID()) // that of some others, too
		if err != nil {
			return err
		}
		if err := end(ctx, home); err != nil {
			return err
		}
		for i, v := range all {
			if err := v.again(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}
}

// again publishes until it comes back: a new session's subscriptions may come later.
func (v *visitor) again(ctx context.Context, number int) error {
	for {
		_ = v.Publish(ctx, "/proxies/up", number) // the node may be gone
		for wait := time.After(200 * time.Millisecond); wait != nil; {
			select {
			case got := <-v.got:
				if got == fmt.Sprint(number) {
					return nil
				}
			case <-wait:
				wait = nil
			case <-ctx.Done():
				return errors.New("waited for a session at the other node")
			}
		}
	}
}

// cutHold: the proxy is less patient than the node. A connect fails then, but the session
// goes on, and nothing is lost.
func cutHold(ctx context.Context, p *place) error {
	v, err := p.visitor(ctx, true, bayeux.LongPolling)
	if err != nil {
		return err
	}
	id := v.ID()
	_, s, err := p.home(id)
	if err != nil {
		return err
	}
	for i, end := 0, time.Now().Add(3*proxyTimeout); time.Now().Before(end); i++ {
		time.Sleep(proxyTimeout / 4) // some fall between two connects
		if err := s.Deliver("/proxies/down", i); err != nil {
			return err
		}
		if err := v.expect(ctx, fmt.Sprint(i)); err != nil {
			return err
		}
		if i%4 == 0 {
			time.Sleep(proxyTimeout + 10*time.Millisecond)
		}
	}
	if v.ID() != id {
		return errors.New("the session ended")
	}
	return nil
}

// origins: a page of the site is let in, another one and a plain one are not, over HTTP
// and WebSocket; the cookie is for https alone.
func origins(ctx context.Context, p *place) error {
	own := "https://" + p.proxy.addr
	for origin, want := range map[string]int{own: 200, "http://" + p.proxy.addr: 403, "https://other.test": 403, "": 200} {
		if err := p.wantStatus(ctx, origin, want); err != nil {
			return err
		}
	}
	return nil
}

// rewrittenHost: behind a proxy that hides the site's name pages are let in that are listed.
func rewrittenHost(ctx context.Context, p *place) error {
	for origin, want := range map[string]int{"https://" + p.proxy.addr: 403, "https://listed.test": 200, "https://nodes": 200} {
		if err := p.wantStatus(ctx, origin, want); err != nil {
			return err
		}
	}
	return nil
}

const handshakeMessage = `{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}`

// wantStatus shakes hands by HTTP, and opens a WebSocket, for a page of origin.
func (p *place) wantStatus(ctx context.Context, origin string, want int) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: p.proxy.tls()}, Jar: jar}
	defer client.CloseIdleConnections()
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, p.proxy.url(), strings.NewReader(handshakeMessage))
	if err != nil {
		return err
	}
	upgrade, err := http.NewRequestWithContext(ctx, http.MethodGet, p.proxy.url(), nil)
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
		upgrade.Header.Set(name, value)
	}
	for _, req := range []*http.Request{post, upgrade} {
		status := want
		if req == upgrade && want == http.StatusOK {
			status = http.StatusSwitchingProtocols
		}
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		if req == post {
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status {
			return fmt.Errorf("%s of %q: %s, want %d", req.Method, origin, resp.Status, status)
		}
		for _, c := range resp.Cookies() {
			if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode {
				return fmt.Errorf("cookie %v", c)
			}
		}
	}
	return nil
}

// fallsBack: where each answer ends its connection to the node, clients go on all the same;
// without a WebSocket where the proxy has none.
func fallsBack(ctx context.Context, p *place) error {
	v, err := p.visitor(ctx, false)
	if err != nil {
		return err
	}
	if err := p.lasts(ctx, v); err != nil {
		return err
	}
	for _, n := range p.nodes {
		if n.shared() > 0 {
			return errors.New("a connection was kept open")
		}
		for _, r := range n.seen() {
			if p.trial.proxy.name == "nginx" && r.ProtoMinor != 0 {
				return errors.New("a request came by " + r.Proto)
			}
		}
	}
	return nil
}
