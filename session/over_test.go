package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// A set may outlive its session's copy on this node by the leeway. Then it
// restores; nobody joins a session that is over.
func TestNobodyJoinsASessionThatIsOver(t *testing.T) {
	lives(t, func(t *testing.T, _ *cluster, m *session.Manager, s *session.Session) {
		must(t, s.Set(t.Context(), "plain", 1))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		time.Sleep(30 * time.Minute)
		r, err := m.Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		if r.Joined || r.Session == s {
			t.Errorf("joined %t", r.Joined)
		}
		if _, live := m.Live(r.Session.Holder()); !live {
			t.Error("the restored session does not live")
		}
	})
}

// Leeway is for another node's clock, and never for a right: restored, a right
// ends when it says, an ordinary value a leeway later.
func TestLeewayAfterARestore(t *testing.T) {
	lives(t, func(t *testing.T, c *cluster, _ *session.Manager, s *session.Session) {
		must(t, s.Set(t.Context(), "right", 1))
		must(t, s.Set(t.Context(), "idle", 1))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		end := time.Now().Add(10 * time.Minute)
		time.Sleep(9 * time.Minute)
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		time.Sleep(time.Until(end))
		if err := r.Session.Take(t.Context(), "right", replay.Owner{1}, new(int)); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("a right at its end: Take = %v, want ErrNoAttribute", err)
		}
		if len(r.Session.Attributes()) != 1 {
			t.Errorf("at the end there are %v, want the ordinary value alone", r.Session.Attributes())
		}
		time.Sleep(time.Second)
		if err := r.Session.Get("idle", new(int)); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("a value beyond its leeway: Get = %v", err)
		}
	})
}
