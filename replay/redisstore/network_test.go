package redisstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// wire is a network that counts what is sent, and drops or repeats an answer.
type wire struct {
	mu     sync.Mutex
	sent   int
	drop   bool // the next answer, and the connection
	repeat int  // so many answers on, one comes once more, before the one after it
}

type wiredConn struct {
	net.Conn
	wire          *wire
	kept, pending []byte // of an answer to be repeated
}

func (w *wire) dial(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	c, err := d.DialContext(ctx, "tcp", addr)
	return &wiredConn{Conn: c, wire: w}, err
}

func (c *wiredConn) Write(b []byte) (int, error) {
	c.wire.mu.Lock()
	c.wire.sent++
	c.pending = append(c.pending, c.kept...)
	c.kept = nil
	c.wire.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *wiredConn) Read(b []byte) (int, error) {
	c.wire.mu.Lock()
	if n := copy(b, c.pending); n > 0 {
		c.pending = c.pending[n:]
		c.wire.mu.Unlock()
		return n, nil
	}
	c.wire.mu.Unlock()
	n, err := c.Conn.Read(b)
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	if c.wire.drop && err == nil {
		c.wire.drop = false
		c.Conn.Close()
		return 0, errors.New("connection reset")
	}
	if c.wire.repeat--; c.wire.repeat == 0 {
		c.kept = bytes.Clone(b[:n])
	}
	return n, err
}

func wired(t *testing.T, addr string) (*Store, *wire) {
	t.Helper()
	w, cfg := new(wire), configOf(addr, "test")
	cfg.Client.DialCtxFn = w.dial
	return mustOpen(t, cfg), w
}

func TestOneRoundTrip(t *testing.T) {
	s, w := wired(t, services.Redis(t).Addr)
	ctx, session, right := t.Context(), newID(), newRight(s)
	at := placeOf(session)
	request := replay.RestoreRequest{Session: session, Issued: right.Issued, KeepUntil: right.KeepUntil, Attempt: newOwner(),
		Burn: []replay.Burn{{Right: newRight(s)}, {Right: newRight(s)}}, Look: []replay.ID{right.ID}}
	for name, f := range map[string]func() error{
		"Claim":         func() error { _, err := s.Claim(ctx, newOwner(), newRight(s), newRight(s)); return err },
		"Spent":         func() error { _, err := s.Spent(ctx, right.ID, newID()); return err },
		"Restore":       func() error { _, err := s.Restore(ctx, request); return err },
		"Protect":       func() error { _, err := s.Protect(ctx, at); return err },
		"Take":          func() error { _, _, err := s.Take(ctx, at, newOwner(), newRight(s)); return err },
		"Acknowledge":   func() error { _, err := s.Acknowledge(ctx, at, placeOf(newID())); return err },
		"Renew":         func() error { _, err := s.Renew(ctx, placeOf(newID()), newID()); return err },
		"Revoke":        func() error { return s.Revoke(ctx, newID(), right.KeepUntil) },
		"RevokeSubject": func() error { return s.RevokeSubject(ctx, newID(), time.Now(), right.KeepUntil) },
		"SubjectCut":    func() error { _, err := s.SubjectCut(ctx, newID()); return err },
		"Epoch":         func() error { _, err := s.Epoch(ctx); return err },
		"Status":        func() error { _, err := s.Status(ctx); return err },
		"Purge":         func() error { return s.Purge(ctx) },
	} {
		before := w.count()
		must(t, f())
		if n := w.count() - before; n != 1 {
			t.Errorf("%s took %d round trips", name, n)
		}
	}
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

func (w *wire) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// An answer is lost: nobody is told that it won, nothing is repeated, and the same
// owner or attempt learns what became of it.
func TestLostAnswer(t *testing.T) {
	s, w := wired(t, services.Redis(t).Addr)
	owner, right := newOwner(), newRight(s)
	w.set(func() { w.drop = true })
	before := w.count()
	if o, err := s.Claim(t.Context(), owner, right); o != replay.Lost || err == nil || isFinal(err) {
		t.Fatalf("Claim without an answer = %v, %v", o, err)
	}
	if n := w.count() - before; n != 1 {
		t.Errorf("the claim was sent %d times", n)
	}
	expectSoon(t, s, newOwner(), right, replay.Lost, nil)
	expectSoon(t, s, owner, right, replay.Mine, nil)
	r := replay.RestoreRequest{Session: newID(), Issued: right.Issued, KeepUntil: right.KeepUntil, Attempt: owner, Burn: []replay.Burn{{Right: newRight(s), Required: true}}}
	w.set(func() { w.drop = true })
	if got, err := s.Restore(t.Context(), r); got.Verdict != replay.Refused || err == nil {
		t.Fatalf("Restore without an answer = %v, %v", got, err)
	}
	var got replay.Restored
	eventually(t, func() (ok bool) {
		var err error
		got, err = s.Restore(context.Background(), r)
		return err == nil
	})
	if got.Verdict != replay.Granted || got.Fence != 2 || got.Burnt[0] != replay.Mine {
		t.Errorf("Restore once more = %+v", got)
	}
}

// An answer that comes twice is not taken for that to the next question.
func TestRepeatedAnswer(t *testing.T) {
	s, w := wired(t, services.Redis(t).Addr)
	spent := newRight(s)
	expect(t, s, newOwner(), spent, replay.Won, nil)
	w.set(func() { w.repeat = 1 })
	expect(t, s, newOwner(), newRight(s), replay.Won, nil)
	if o, err := s.Claim(t.Context(), newOwner(), spent); o != replay.Lost || !errors.Is(err, errAnswer) {
		t.Fatalf("Claim answered with another's answer = %v, %v", o, err)
	}
	expectSoon(t, s, newOwner(), newRight(s), replay.Won, nil) // over another connection
}

// Nor while the server is checked, and the process does not end by it.
func TestRepeatedAnswerToACheck(t *testing.T) {
	addr := services.Redis(t).Addr
	for n := range 8 {
		s, w := wired(t, addr)
		w.set(func() { w.repeat = n })
		s.recheck()
		s.recheck()
		expectSoon(t, s, newOwner(), newRight(s), replay.Won, nil)
		w.set(func() { w.repeat = 1 })
		expectSoon(t, s, newOwner(), newRight(s), replay.Won, nil)
		must(t, s.Close())
	}
}

// A server that is stopped and does not answer ends nobody's patience but that of
// each caller, and leaves nothing behind.
func TestHangingServer(t *testing.T) {
	server := services.Redis(t)
	cfg := configOf(server.Addr, "test")
	cfg.Timeout = 300 * time.Millisecond
	s := mustOpen(t, cfg)
	other := mustOpen(t, configOf(server.Addr, "test"))
	go other.client.Do(context.Background(), other.client.B().Arbitrary("EVAL", "local t = redis.call('TIME') local e = t[1] * 1000 + t[2] / 1000 + 3500 repeat t = redis.call('TIME') until t[1] * 1000 + t[2] / 1000 > e", "0").Build())
	expectSoonErr(t, s, newRight(s), context.DeadlineExceeded)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			start := time.Now()
			if o, err := s.Claim(context.Background(), newOwner(), newRight(s)); o.Granted() || err == nil || isFinal(err) {
				t.Errorf("Claim from a server that hangs = %v, %v", o, err)
			}
			if d := time.Since(start); d > 2*time.Second { // the server hangs for longer
				t.Errorf("it took %v", d)
			}
		})
	}
	wg.Wait()
	expectSoon(t, s, newOwner(), newRight(s), replay.Won, nil)
}

func TestNumbers(t *testing.T) {
	_, s := fresh(t)
	at, far := placeOf(newID()), placeOf(newID())
	at.Version = replay.Version{Gen: maxNumber}
	if v, err := s.Protect(t.Context(), at); v != replay.Granted || err != nil {
		t.Fatalf("Protect = %v, %v", v, err)
	}
	r := replay.RestoreRequest{Session: at.Session, Set: replay.Version{Gen: maxNumber - 1}, Issued: newRight(s).Issued, KeepUntil: at.KeepUntil, Attempt: newOwner(), Strict: true}
	if got, err := s.Restore(t.Context(), r); got.Verdict != replay.RolledBack || err != nil {
		t.Errorf("Restore = %v, %v", got, err)
	}
	r.Set.Gen++
	if got, err := s.Restore(t.Context(), r); got.Verdict != replay.Granted || err != nil {
		t.Errorf("Restore = %v, %v", got, err)
	}
	far.Version.Gen = maxNumber + 1
	if v, err := s.Protect(t.Context(), far); v != replay.Refused || !errors.Is(err, errNumber) {
		t.Errorf("Protect = %v, %v", v, err)
	}
	far = placeOf(newID())
	far.KeepUntil = time.Unix(1<<60, 0)
	if v, err := s.Protect(t.Context(), far); v != replay.Refused || !errors.Is(err, errNumber) {
		t.Errorf("Protect = %v, %v", v, err)
	}
	right := newRight(s)
	right.KeepUntil = far.KeepUntil
	expect(t, s, newOwner(), right, replay.Lost, errNumber)
}

func TestNames(t *testing.T) {
	addr := services.Redis(t).Addr
	for _, name := range []string{"a}b", "{", "a b", "a\n", "ä", string(make([]byte, 65))} {
		if s, err := Open(t.Context(), configOf(addr, name)); err == nil {
			s.Close()
			t.Errorf("Open took the name %q", name)
		}
	}
	a, b := mustOpen(t, configOf(addr, "a")), mustOpen(t, configOf(addr, "b"))
	right := newRight(a)
	expect(t, a, newOwner(), right, replay.Won, nil)
	right.Issued = newRight(b).Issued
	expect(t, b, newOwner(), right, replay.Won, nil)
}
