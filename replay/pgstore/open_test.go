package pgstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// A server that may forget what it answered is refused unless it is asked for by name.
func TestUnsafeSettingsRefused(t *testing.T) {
	t.Parallel()
	for setting, unsafe := range map[string]Config{
		"fsync":              {UnsafeNoSync: true},
		"full_page_writes":   {UnsafeNoSync: true},
		"synchronous_commit": {UnsafeAsyncCommit: true},
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			server := services.PostgresServer(t, setting+"=off")
			s := siteOn(t, server, newRoles(t, server))
			for _, cfg := range []Config{{}, {UnsafeNoSync: !unsafe.UnsafeNoSync, UnsafeAsyncCommit: !unsafe.UnsafeAsyncCommit}} {
				cfg.URL = s.web
				if _, err := Open(t.Context(), cfg); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), setting+"=off") {
					t.Errorf("Open = %v, want %v", err, ErrUnfit)
				}
			}
			unsafe.URL = s.web
			claims(t, mustOpen(t, unsafe), newOwner(), replay.Won, newRight())
		})
	}
}

// The settings may change while the store is open: new connections ask again.
func TestSettingsAskedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var pool *pgxpool.Config
	store := mustOpen(t, Config{URL: s.web, hooks: hooks{pool: func(c *pgxpool.Config) { pool = c }}})
	s.server.SQL("ALTER DATABASE " + strings.TrimPrefix(parse(t, s.server.DSN).Path, "/") + " SET synchronous_commit = off")
	store.pool.Reset() // as if all connections had been cut
	if got, err := store.Claim(t.Context(), newOwner(), newRight()); got != replay.Lost || !errors.Is(err, ErrUnfit) {
		t.Errorf("Claim = %v, %v, want %v", got, err, ErrUnfit)
	}
	if pool.ConnConfig.Password == "" {
		t.Error("the test does not log in with a password")
	}
}

// Errors hold no password, and say little.
func TestErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const secret = "s3cr3t-p4ssw0rd"
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for what, url := range map[string]string{
		"wrong password": as(t, s.web, s.roles.web, secret),
		"no server":      "postgres://web:" + secret + "@" + closed.Addr().String() + "/x?sslmode=disable",
		"no host":        "postgres://web:" + secret + "@nowhere.invalid/x",
		"bad port":       "postgres://web:" + secret + "@127.0.0.1:port/x",
		"bad escape":     "postgres://web:%zz" + secret + "@127.0.0.1/x",
		"bad option":     "host=127.0.0.1 password=" + secret + " sslmode=perhaps",
		"quotes":         "host=127.0.0.1 password='" + secret + " sslmode=disable",
		"bad pool size":  as(t, s.web, s.roles.web, secret) + "&pool_max_conns=many",
	} {
		for name, err := range map[string]error{
			"Open":    second(Open(t.Context(), Config{URL: url, Timeout: 2 * time.Second})),
			"Migrate": Migrate(t.Context(), url),
		} {
			if err == nil {
				t.Errorf("%s: %s succeeds", what, name)
				continue
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if text := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(text, secret) || len(e.Error()) > 200 {
					t.Errorf("%s: %s = %s", what, name, text)
				}
			}
			if final(err) {
				t.Errorf("%s: %s = %v, which is final", what, name, err)
			}
		}
	}
}

// Who can't connect is told why.
func TestUnreached(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"nobody listens": second(Open(t.Context(), Config{URL: "postgres://web@127.0.0.1:1/x?sslmode=disable"})),
		"host":           plain(fmt.Errorf("connect: %w", &net.DNSError{Name: "secret", IsNotFound: true})),
		"certificate":    plain(fmt.Errorf("connect: %w", &tls.CertificateVerificationError{Err: errors.New("secret")})),
		"unexpected":     plain(pgx.ScanArgError{Err: errors.New("secret")}),
		"no connection":  plain(errors.New("secret")),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || final(err) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// The simple protocol, which puts values into the text of a statement, is not used
// even if the connection string asks for it.
func TestNeverSimpleProtocol(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var proto counted
	store := mustOpen(t, Config{URL: s.web + "&default_query_exec_mode=simple_protocol", hooks: hooks{pool: proto.hook}})
	claims(t, store, newOwner(), replay.Won, newRight())
	if n := proto.simple.Load(); n != 0 {
		t.Errorf("%d simple queries", n)
	}
}

// counted counts what goes over a store's connections: round trips, and messages of
// the simple protocol.
type counted struct{ trips, simple atomic.Int64 }

func (c *counted) hook(cfg *pgxpool.Config) {
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &countedConn{Conn: conn, all: c}, err
	}
}

type countedConn struct {
	net.Conn
	all   *counted
	asked atomic.Bool
}

func (c *countedConn) Write(b []byte) (int, error) {
	if len(b) > 0 && b[0] == 'Q' {
		c.all.simple.Add(1)
	}
	c.asked.Store(true)
	return c.Conn.Write(b)
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.asked.Swap(false) {
		c.all.trips.Add(1)
	}
	return n, err
}

// Each operation is one round trip.
func TestOneRoundTrip(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var c counted
	store := mustOpen(t, Config{URL: s.web, hooks: hooks{pool: c.hook, purgeEvery: time.Hour}})
	ctx := t.Context()
	sid, r, burn := newID(), newRight(), newRight()
	req := restoring(newID(), 0, newOwner())
	req.Burn, req.Look = []replay.Burn{{Right: burn, Required: true}}, []replay.ID{r.ID}
	place := replay.Place{Session: sid, Version: replay.Version{Gen: 1}, KeepUntil: r.KeepUntil}
	for name, f := range map[string]func() error{
		"Claim":           func() error { return second(store.Claim(ctx, newOwner(), newRight())) },
		"Claim of two":    func() error { return second(store.Claim(ctx, newOwner(), newRight(), newRight())) },
		"Spent":           func() error { return second(store.Spent(ctx, r.ID)) },
		"Restore":         func() error { return second(store.Restore(ctx, req)) },
		"Protect":         func() error { return second(store.Protect(ctx, place)) },
		"Take":            func() error { _, _, err := store.Take(ctx, place, newOwner(), r); return err },
		"Acknowledge 100": func() error { return second(store.Acknowledge(ctx, many(place, 100)...)) },
		"Renew": func() error {
			return second(store.Renew(ctx, replay.Place{Session: newID(), KeepUntil: r.KeepUntil}, newID()))
		},
		"Revoke":        func() error { return store.Revoke(ctx, newID(), r.KeepUntil) },
		"RevokeSubject": func() error { return store.RevokeSubject(ctx, newID(), time.Now(), r.KeepUntil) },
		"SubjectCut":    func() error { return second(store.SubjectCut(ctx, newID())) },
		"Epoch":         func() error { return second(store.Epoch(ctx)) },
	} {
		before := c.trips.Load()
		must(t, f())
		if n := c.trips.Load() - before; n != 1 {
			t.Errorf("%s: %d round trips", name, n)
		}
	}
}

func many(p replay.Place, n int) (all []replay.Place) {
	for range n {
		p.Session = newID()
		all = append(all, p)
	}
	return all
}

// A server that answers no more holds up nobody for longer than Timeout, and no more
// callers than ask pile up.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var gate gate
	store := mustOpen(t, Config{URL: s.web, Timeout: time.Second, hooks: hooks{pool: gate.hook}})
	claims(t, store, newOwner(), replay.Won, newRight())
	gate.shut.Store(true)
	start := time.Now()
	done := make(chan error, 100)
	for n := range 100 {
		go func() {
			if n%2 == 0 {
				done <- second(store.Claim(context.Background(), newOwner(), newRight()))
				return
			}
			done <- second(store.SubjectCut(context.Background(), newID()))
		}()
	}
	for range 100 {
		if err := <-done; err == nil || final(err) {
			t.Errorf("an operation on a server that hangs = %v", err)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("they took %v", took)
	}
	gate.shut.Store(false)
	awaitStore(t, store)
}

// gate lets nothing through while it is shut.
type gate struct{ shut atomic.Bool }

func (g *gate) hook(cfg *pgxpool.Config) {
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return &gatedConn{conn, g}, err
	}
}

type gatedConn struct {
	net.Conn
	gate *gate
}

func (c *gatedConn) Write(b []byte) (int, error) {
	if c.gate.shut.Load() {
		return len(b), nil // swallowed: the answer never comes
	}
	return c.Conn.Write(b)
}
