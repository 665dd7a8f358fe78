package session_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

const livesPolicy = `{"version":1,"session":{"idle":"30m","absolute":"2h","leeway":"1s"},"attributes":{
	"plain":{},"ttl":{"ttl":"1h"},"idle":{"idle":"10m"},"both":{"ttl":"20m","idle":"10m"},"abs":{"absolute":"30m"},
	"absidle":{"absolute":"30m","idle":"10m"},"right":{"ttl":"10m","once":true}}}`

// lives runs f with a fresh session under livesPolicy, on a clock of its own.
func lives(t *testing.T, f func(t *testing.T, c *cluster, m *session.Manager, s *session.Session)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t).with(livesPolicy)
		time.Sleep(pastEpoch)
		m := c.node()
		s, err := m.Start()
		must(t, err)
		f(t, c, m, s)
	})
}

// ends is when an attribute ends, counted from start; negative if it is not there.
func ends(s *session.Session, name string, start time.Time) time.Duration {
	for _, a := range s.Attributes() {
		if a.Name == name {
			return a.Expires.Sub(start)
		}
	}
	return -1
}

func TestEndOfASetValue(t *testing.T) {
	for name, want := range map[string]time.Duration{
		"plain": 2 * time.Hour, "ttl": time.Hour, "idle": 10 * time.Minute, "both": 10 * time.Minute,
		"abs": 30 * time.Minute, "absidle": 10 * time.Minute, "right": 10 * time.Minute,
	} {
		lives(t, func(t *testing.T, _ *cluster, _ *session.Manager, s *session.Session) {
			start := time.Now()
			must(t, s.Set(t.Context(), name, 1))
			if got := ends(s, name, start); got != want {
				t.Errorf("%s ends after %v, want %v", name, got, want)
			}
			time.Sleep(want - time.Second)
			if err := s.Get(name, new(int)); err != nil {
				t.Errorf("%s, a second before its end: %v", name, err)
			}
			time.Sleep(time.Until(s.Expires()) - time.Second)
			must(t, s.Set(t.Context(), name, 1))
			if got := ends(s, name, start); got != 2*time.Hour {
				t.Errorf("%s, set at the session's end, ends after %v; want 2h", name, got)
			}
		})
	}
}

func TestSettingAgainMovesNoAbsoluteEnd(t *testing.T) {
	lives(t, func(t *testing.T, c *cluster, _ *session.Manager, s *session.Session) {
		start := time.Now()
		must(t, s.Set(t.Context(), "abs", 1))
		must(t, s.Set(t.Context(), "absidle", 1))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		for range 3 {
			time.Sleep(8 * time.Minute)
			must(t, s.Set(t.Context(), "abs", 2))
			must(t, s.Set(t.Context(), "absidle", 2))
		}
		for _, name := range []string{"abs", "absidle"} {
			if got := ends(s, name, start); got != 30*time.Minute {
				t.Errorf("%s, set again, ends after %v; want 30m", name, got)
			}
		}
		must(t, s.Acknowledge(t.Context(), b, b.version))
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		must(t, r.Session.Set(t.Context(), "abs", 3))
		if got := ends(r.Session, "abs", start); got != 30*time.Minute {
			t.Errorf("restored and set again it ends after %v; want 30m", got)
		}
		time.Sleep(7 * time.Minute)
		must(t, r.Session.Set(t.Context(), "abs", 4)) // the old life is over: this is a new one
		if got := ends(r.Session, "abs", start); got != 61*time.Minute {
			t.Errorf("set after its end it ends after %v; want 61m", got)
		}
	})
}

// Reading moves an idle end, in steps, but beyond no other limit.
func TestReadingMovesTheIdleEnd(t *testing.T) {
	for name, steps := range map[string][][2]time.Duration{ // read at, then ends at, in minutes
		"idle":    {{1, 10}, {2, 10}, {3, 13}, {12, 22}, {21, 31}, {30, 40}, {39, 49}, {48, 58}, {57, 67}, {66, 76}, {75, 85}, {84, 94}, {93, 103}, {102, 112}, {111, 120}, {119, 120}},
		"both":    {{5, 15}, {14, 20}, {19, 20}},
		"absidle": {{9, 19}, {18, 28}, {25, 28}, {27, 28}},
		"abs":     {{9, 30}, {29, 30}},
		"ttl":     {{30, 60}},
	} {
		lives(t, func(t *testing.T, _ *cluster, _ *session.Manager, s *session.Session) {
			start := time.Now()
			must(t, s.Set(t.Context(), name, 1))
			for _, step := range steps {
				time.Sleep(time.Until(start.Add(step[0] * time.Minute)))
				if err := s.Get(name, new(int)); err != nil {
					t.Fatalf("%s at %v: %v", name, step[0]*time.Minute, err)
				}
				if got := ends(s, name, start); got != step[1]*time.Minute {
					t.Errorf("%s, read at %v, ends at %v; want %v", name, step[0]*time.Minute, got, step[1]*time.Minute)
				}
			}
		})
	}
}

// A moved end travels: it is sealed and survives a restore.
func TestMovedIdleEndIsSealed(t *testing.T) {
	lives(t, func(t *testing.T, c *cluster, _ *session.Manager, s *session.Session) {
		start := time.Now()
		must(t, s.Set(t.Context(), "idle", 1))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		time.Sleep(9 * time.Minute)
		must(t, s.Get("idle", new(int)))
		must(t, s.Save(t.Context()))
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		if got := ends(r.Session, "idle", start); got != 19*time.Minute {
			t.Errorf("restored it ends at %v, want 19m", got)
		}
	})
}

func TestExpiredValueIsGone(t *testing.T) {
	lives(t, func(t *testing.T, _ *cluster, _ *session.Manager, s *session.Session) {
		for _, name := range []string{"idle", "right", "plain"} {
			must(t, s.Set(t.Context(), name, 1))
		}
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		time.Sleep(10 * time.Minute)
		if err := s.Get("idle", new(int)); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("Get = %v, want ErrNoAttribute", err)
		}
		if err := s.Take(t.Context(), "right", replay.Owner{1}, new(int)); !errors.Is(err, session.ErrNoAttribute) {
			t.Errorf("Take = %v, want ErrNoAttribute", err)
		}
		if list := s.Attributes(); len(list) != 1 || list[0].Name != "plain" {
			t.Errorf("attributes %+v", list)
		}
		must(t, s.Save(t.Context()))
		if len(b.blobs) != 1 {
			t.Errorf("the browser still holds %d blobs, want 1", len(b.blobs))
		}
	})
}

// Restoring keeps the session's own end and its subject, and caps the session
// and its attributes by today's policy.
func TestRestoreLengthensNothing(t *testing.T) {
	lives(t, func(t *testing.T, c *cluster, _ *session.Manager, s *session.Session) {
		start := time.Now()
		s = login(t, s, "ada")
		must(t, s.Set(t.Context(), "ttl", 1))
		must(t, s.Save(t.Context()))
		b := connected(t, s)
		for range 4 {
			time.Sleep(10 * time.Minute)
			r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
			must(t, err)
			s, b = r.Session, connected(t, r.Session)
			if got := s.Expires().Sub(start); got != 2*time.Hour || s.Subject() != "ada" {
				t.Errorf("restored: subject %q, the session ends after %v; want ada, 2h", s.Subject(), got)
			}
		}
		iat := time.Now()
		today := c.with(`{"version":2,"session":{"idle":"10m","absolute":"50m","leeway":"1s"},"attributes":{"ttl":{"ttl":"45m"}}}`)
		r, err := today.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		if got := r.Session.Expires().Sub(iat); got != 50*time.Minute {
			t.Errorf("under today's absolute limit it ends %v after it was sealed; want 50m", got)
		}
		if got := ends(r.Session, "ttl", start); got != 45*time.Minute {
			t.Errorf("under today's ttl the value ends after %v; want 45m", got)
		}
	})
}

// A session is over by idleness, and by its absolute end whatever its use.
func TestSessionIsOver(t *testing.T) {
	lives(t, func(t *testing.T, _ *cluster, m *session.Manager, s *session.Session) {
		must(t, s.Set(t.Context(), "plain", 1))
		time.Sleep(30*time.Minute - time.Second)
		if _, live := m.Live(s.Holder()); !live {
			t.Fatal("over before its idle end")
		}
		time.Sleep(time.Second)
		if _, live := m.Live(s.Holder()); live {
			t.Error("alive at its idle end")
		}
		used, err := m.Start()
		must(t, err)
		b := connected(t, used)
		for range 11 {
			time.Sleep(10 * time.Minute)
			must(t, used.Acknowledge(t.Context(), b, b.version))
		}
		if _, live := m.Live(used.Holder()); !live {
			t.Fatal("over in spite of its use")
		}
		time.Sleep(9 * time.Minute)
		must(t, used.Acknowledge(t.Context(), b, b.version))
		time.Sleep(time.Minute)
		if _, live := m.Live(used.Holder()); live {
			t.Error("alive at its absolute end")
		}
		if !b.detached {
			t.Error("its client was not told")
		}
	})
}

// The sweep ends what is over, and tells clients that it is over for good.
func TestSweepEndsSessions(t *testing.T) {
	lives(t, func(t *testing.T, _ *cluster, m *session.Manager, s *session.Session) {
		must(t, s.Set(t.Context(), "plain", 1))
		b := connected(t, s)
		time.Sleep(30 * time.Minute)
		runFor(t, m, 1500*time.Millisecond)
		if !b.ended || !b.detached {
			t.Errorf("ended %t, detached %t", b.ended, b.detached)
		}
		if err := s.Get("plain", new(int)); !errors.Is(err, session.ErrEnded) {
			t.Errorf("Get = %v, want ErrEnded", err)
		}
		fresh, err := m.Start()
		must(t, err)
		runFor(t, m, time.Minute)
		if _, live := m.Live(fresh.Holder()); !live {
			t.Error("a session that never had a client was let go")
		}
	})
}
