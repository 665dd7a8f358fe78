package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

var clicks = policy.Attr[int]("clicks", policy.TTL(time.Hour))

// sealed gives the nodes sealed sessions, whose visitors click.
func (p *place) sealed(ctx context.Context) error {
	ring, err := seal.InitRing(filepath.Join(p.proxy.dir, "keys"), seal.A256GCM, time.Now())
	if err != nil {
		return err
	}
	rules, err := policy.New(1, policy.SessionRule{Idle: 30 * time.Minute, Absolute: 12 * time.Hour}, clicks)
	if err != nil {
		return err
	}
	store := replay.NewMemory(replay.MemoryConfig{})
	for _, n := range p.nodes {
		m, err := session.New(ctx, session.Config{Keys: ring, Policy: rules, Store: store, App: "proxies", Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		n.bayeux.AddExtension(sessionext.New(m, slog.New(slog.DiscardHandler)))
		n.app.Handle("POST /click", m.Middleware(http.HandlerFunc(click)))
	}
	return nil
}

func click(w http.ResponseWriter, r *http.Request) {
	var now int
	if err := session.Update(r.Context(), clicks, func(n int) (int, error) { now = n + 1; return now, nil }); err != nil {
		http.Error(w, "try again", session.HTTPStatus(err))
		return
	}
	fmt.Fprint(w, now)
}

// restored: a sealed session goes on at the other node when its own is killed, with all
// that its visitor's client was told.
func restored(transport string) func(context.Context, *place) error {
	return func(ctx context.Context, p *place) error {
		if err := p.sealed(ctx); err != nil {
			return err
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			return err
		}
		keeper := sessionext.NewKeeper()
		web := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: p.proxy.tls()}}
		c, err := bayeux.NewClient(p.proxy.url(), bayeux.ClientConfig{
			HTTPClient: web, Header: http.Header{userHeader: {"visitor"}}, Transports: []string{transport}, Extensions: []bayeux.ClientExtension{keeper},
			Backoff: 50 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return err
		}
		// The first makes the session, to which the client then connects.
		if err := p.click(ctx, web, "1"); err != nil {
			return err
		}
		if err := c.Connect(ctx); err != nil {
			return err
		}
		var before sessionext.Held
		if err := until(ctx, "a sealed set", func() bool { before, _ = keeper.Held(); return len(before.Blobs) == 1 }); err != nil {
			return err
		}
		if err := p.click(ctx, web, "2"); err != nil {
			return err
		}
		if err := until(ctx, "the next set", func() bool { h, _ := keeper.Held(); return h.Manifest != before.Manifest }); err != nil {
			return err
		}
		home, _, err := p.home(c.ID())
		if err != nil {
			return err
		}
		home.kill()
		if err := p.click(ctx, web, "3"); err != nil {
			return err
		}
		return c.Close(ctx)
	}
}

// click clicks until a node has the session, and wants this count.
func (p *place) click(ctx context.Context, web *http.Client, want string) error {
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+p.proxy.addr+"/click", nil)
		if err != nil {
			return err
		}
		req.Header.Set(userHeader, "visitor")
		resp, err := web.Do(req)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		switch {
		case resp.StatusCode == http.StatusOK && string(body) == want:
			return nil
		case resp.StatusCode == http.StatusOK:
			return fmt.Errorf("%q clicks, want %s", body, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("waited for the session")
}
