package session_test

import (
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/session"
)

// A set may outlive its session's copy on this node by the leeway. Then it
// restores; nobody joins a session that is over.
func TestNobodyJoinsASessionThatIsOver(t *testing.T) {
	lives(t, func(t *testing.T, _ *cluster, m *session.Manager, s *session.Session) {
		must(t, s.Set("plain", 1))
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
