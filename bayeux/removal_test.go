package bayeux_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
)

// An application may hold a lock around Publish and Deliver and take it in OnRemove,
// whatever silent clients do.
func TestOnRemoveIsNotInsidePublish(t *testing.T) {
	r := newRig(t, bayeux.Config{MaxQueue: 3})
	var mu sync.Mutex
	removed := make(chan bool, 2)
	sessions := make([]*bayeux.ServerSession, 2)
	for i := range sessions {
		p := r.peer().ready()
		p.subscribe("/a")
		sessions[i] = r.server.Session(p.id)
		sessions[i].OnRemove(func(expired bool) {
			mu.Lock()
			defer mu.Unlock()
			removed <- expired
		})
	}
	go func() {
		mu.Lock()
		defer mu.Unlock()
		for range 4 {
			_ = sessions[0].Deliver("/a", 1)
		}
		for range 4 {
			_ = r.server.Publish("/a", 1)
		}
	}()
	for range sessions {
		select {
		case expired := <-removed:
			if expired {
				t.Error("an overflow taken for a lapse")
			}
		case <-time.After(5 * time.Second):
			t.Fatal("OnRemove waits for who called Publish or Deliver")
		}
	}
}

// OnRemove functions that publish, and fill other queues with it, are called one after
// the other.
func TestOnRemoveIsNotNested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{MaxQueue: 5})
		const n = 50
		var called, depth, deepest int // without a lock: the race detector looks
		for range n {
			p := r.peer()
			p.handshake()
			p.subscribe("/a")
			r.server.Session(p.id).OnRemove(func(bool) {
				called++
				depth++
				deepest = max(deepest, depth)
				_ = r.server.Publish("/a", "left")
				depth--
			})
		}
		for range 6 {
			_ = r.server.Publish("/a", 1)
		}
		synctest.Wait()
		if called != n || deepest != 1 {
			t.Errorf("%d calls, %d deep, want %d", called, deepest, n)
		}
	})
}

// Sessions whose OnRemove functions wait are bounded with those that live.
func TestRemovalsCountForMaxSessions(t *testing.T) {
	r := newRig(t, bayeux.Config{MaxQueue: 1, MaxSessions: 1})
	p := r.peer().ready()
	sess := r.server.Session(p.id)
	release, returned := make(chan struct{}), make(chan struct{})
	sess.OnRemove(func(bool) { <-release; close(returned) })
	_ = sess.Deliver("/a", 1)
	_ = sess.Deliver("/a", 1)
	wantError(t, p.one(handshakeMessage), "503::too_many_sessions")
	close(release)
	<-returned
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if m := p.one(handshakeMessage); *m.Successful {
			return
		}
		if time.Since(start) > 5*time.Second {
			t.Fatal("the session that is gone still counts")
		}
	}
}

func TestRemovalsAreObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts tally
		r := newRig(t, bayeux.Config{MaxQueue: 1, Observer: &counts})
		check := func(kind bayeux.EventKind, act func(p *peer, sess *bayeux.ServerSession)) {
			t.Helper()
			p := r.peer().ready()
			act(p, r.server.Session(p.id))
			synctest.Wait()
			for _, k := range []bayeux.EventKind{bayeux.CountDisconnected, bayeux.CountExpired, bayeux.CountOverflowed, bayeux.CountEnded} {
				want := 0
				if k == kind {
					want = 1
				}
				if got := counts.of(k); got != want {
					t.Errorf("%s: %s is %d, want %d", kind, k, got, want)
				}
			}
			counts.sum = nil
		}
		check(bayeux.CountDisconnected, func(p *peer, _ *bayeux.ServerSession) {
			p.one(`{"channel":"/meta/disconnect","clientId":"$ID"}`)
		})
		check(bayeux.CountExpired, func(*peer, *bayeux.ServerSession) { time.Sleep(time.Minute) })
		check(bayeux.CountOverflowed, func(_ *peer, sess *bayeux.ServerSession) {
			_ = sess.Deliver("/a", 1)
			_ = sess.Deliver("/a", 1)
		})
		check(bayeux.CountEnded, func(_ *peer, sess *bayeux.ServerSession) { sess.Disconnect() })
		check(bayeux.CountEnded, func(_ *peer, sess *bayeux.ServerSession) { sess.Dismiss() })
		check(bayeux.CountEnded, func(*peer, *bayeux.ServerSession) { _ = r.server.Shutdown(t.Context()) })
	})
}

// shutdown gives the server so long, and says how long it took.
func shutdown(s *bayeux.Server, d time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	start := time.Now()
	err := s.Shutdown(ctx)
	return time.Since(start), err
}

// OnRemove functions that take long hold up neither Shutdown nor other sessions.
func TestShutdownKeepsToItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{})
		var held []<-chan []*bayeux.Message
		for range 3 {
			p := r.peer().ready()
			r.server.Session(p.id).OnRemove(func(bool) { time.Sleep(time.Minute) })
			held = append(held, p.held())
		}
		synctest.Wait()
		start := time.Now()
		go func() {
			for _, h := range held {
				if <-h; time.Since(start) != 0 {
					t.Errorf("a held connect is answered after %v", time.Since(start))
				}
			}
		}()
		if took, err := shutdown(r.server, time.Second); took != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown with a second = %v after %v", err, took)
		}
		if took, err := shutdown(r.server, time.Hour); took != 3*time.Minute-time.Second || err != nil {
			t.Errorf("Shutdown with an hour = %v after %v", err, took)
		}
	})
}

// What is published until the last session is gone reaches the other nodes.
func TestShutdownDrainsTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(hub)
		var counts tally
		a, b := newRig(t, bayeux.Config{Broker: h, Observer: &counts}), newRig(t, bayeux.Config{Broker: h})
		watcher := b.peer().ready()
		watcher.subscribe("/left")
		const n = 300 // more than one call takes
		browser := a.peer()
		for range n / 3 {
			browser.handshake()
			a.server.Session(browser.id).OnRemove(func(bool) {
				_ = a.server.Publish("/left", 1)
				_ = a.server.Publish("/left", 2)
				_ = a.server.Publish("/left", 3)
			})
		}
		synctest.Wait()
		if took, err := shutdown(a.server, time.Minute); err != nil || took != 0 {
			t.Errorf("Shutdown = %v after %v", err, took)
		}
		synctest.Wait()
		if got := find(watcher.connect(), "/left"); len(got) != n || counts.of(bayeux.CountBroker) != 0 {
			t.Errorf("%d messages reached the other node, want %d; %d counted as lost", len(got), n, counts.of(bayeux.CountBroker))
		}
		_ = a.server.Publish("/left", 4)
		if got := counts.of(bayeux.CountBroker); got != 1 {
			t.Errorf("after Shutdown %d counted as not sent, want 1", got)
		}
	})
}

// What a broker that hangs did not take by the end of Shutdown is counted.
func TestShutdownCountsWhatTheBrokerDidNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts tally
		r := newRig(t, bayeux.Config{Broker: &hub{hang: true}, Observer: &counts})
		const n = 200
		for range n {
			_ = r.server.Publish("/a", 1)
		}
		if took, err := shutdown(r.server, 3*time.Second); took != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v after %v", err, took)
		}
		synctest.Wait()
		if got := counts.of(bayeux.CountBroker); got != n {
			t.Errorf("%d counted, want %d", got, n)
		}
	})
}

// What waits for a broker that hangs is bounded in number.
func TestBrokerQueueLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts tally
		r := newRig(t, bayeux.Config{Broker: &hub{hang: true}, Observer: &counts, WriteTimeout: time.Second})
		for range 1 + 1024 + 75 {
			_ = r.server.Publish("/a", 1)
			if counts.sum[bayeux.CountPublished] == 1 {
				synctest.Wait() // the first is on its way
			}
		}
		if got := counts.of(bayeux.CountBroker); got != 75 {
			t.Errorf("%d of 1,100 did not fit, want 75", got)
		}
		time.Sleep(time.Minute)
	})
}

// And in bytes.
func TestBrokerQueueBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var counts tally
		h := &hub{hang: true}
		r := newRig(t, bayeux.Config{Broker: h, Observer: &counts, WriteTimeout: time.Second})
		big := strings.Repeat("x", 1_000_000)
		publish := func(n int) {
			for range n {
				if err := r.server.Publish("/a", big); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the first is on its way when the second comes
			}
		}
		publish(20)
		if got := counts.of(bayeux.CountBroker); got != 4 {
			t.Errorf("%d of 20 MB did not fit into 16 MiB, want 4", got)
		}
		time.Sleep(time.Minute) // all have failed: there is room again
		publish(16)
		if got := counts.of(bayeux.CountBroker); got != 20 {
			t.Errorf("%d counted, want 20", got)
		}
		time.Sleep(time.Minute)
	})
}

// The connection of a session whose queue is full is closed before its client can have
// another session on it, whatever OnRemove functions do meanwhile.
func TestOverflowClosesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, bayeux.Config{MaxQueue: 5})
		overflow := func(id string) {
			sess := r.server.Session(id)
			sess.Batch(func() {
				for range 6 {
					_ = sess.Deliver("/x", 1)
				}
			})
			if r.server.Session(id) != nil {
				t.Fatal("session still there")
			}
		}
		slow := r.peer().ready()
		r.server.Session(slow.id).OnRemove(func(bool) { time.Sleep(3 * time.Second) })
		overflow(slow.id)
		w := r.peer().ws().ready()
		start := time.Now()
		overflow(w.id)
		w.closed()
		if took := time.Since(start); took != 0 {
			t.Errorf("closed after %v", took)
		}
	})
}
