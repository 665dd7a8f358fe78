package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
	"github.com/sealedblob/sealedblob/session"
)

// Parallel calls for one ticket are one purchase, whoever makes them: never
// none, never two. Many rounds, because the race is narrow.
func TestParallelTakesHaveOneEffect(t *testing.T) {
	c := newCluster(t)
	s, _ := shopping(t, c.node())
	for name, owner := range map[string]func(i int) replay.Owner{
		"one owner":    func(int) replay.Owner { return replay.Owner{7} },
		"other owners": func(i int) replay.Owner { return replay.Owner{byte(i + 1)} },
	} {
		for round := range 300 {
			must(t, s.Set(t.Context(), "ticket", round))
			errs := make(chan error, 4)
			for i := range cap(errs) {
				go func() { errs <- s.Take(t.Context(), "ticket", owner(i), new(int)) }()
			}
			won := 0
			for range cap(errs) {
				if <-errs == nil {
					won++
				}
			}
			if won != 1 {
				t.Fatalf("%s, round %d: %d effects of one right", name, round, won)
			}
		}
	}
}

func TestTakeIsRepeatedWithTheSameOwner(t *testing.T) {
	c := newCluster(t)
	store := &flaky{Store: c.store, fail: 1}
	c.store = store
	s, _ := shopping(t, c.node())
	var seat string
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); !errors.Is(err, session.ErrUnavailable) {
		t.Fatalf("the first try: %v", err)
	}
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); err != nil || seat != "row 7" {
		t.Errorf("the owner's second try: %q, %v", seat, err)
	}
}

func TestSubjectsThatCantBeSealedAreRefused(t *testing.T) {
	c := newCluster(t)
	s, _ := shopping(t, c.node())
	for _, bad := range []string{"", "line\nbreak", "\x00", "\xff", strings.Repeat("x", seal.MaxSubject+1)} {
		if _, err := s.Login(t.Context(), bad, trusted); !errors.Is(err, policy.ErrNotAllowed) {
			t.Errorf("Login(%.10q) = %v", bad, err)
		}
	}
	s = login(t, s, `zoë "the" \first`)
	must(t, s.Save(t.Context()))
	if s.Subject() != `zoë "the" \first` {
		t.Errorf("subject %q", s.Subject())
	}
}

// The largest session that a policy allows still restores.
func TestLargestSessionRestores(t *testing.T) {
	c := newCluster(t)
	rules := []string{}
	for i := range policy.MaxAttributes {
		rules = append(rules, `"`+strings.Repeat("n", 62)+string(rune('a'+i/26))+string(rune('a'+i%26))+`":{"ttl":"1h","once":true}`)
	}
	for _, enc := range []seal.Enc{seal.A256GCM, seal.A256CBCHS512} {
		ring, err := seal.InitRing(t.TempDir(), enc, time.Now())
		must(t, err)
		c.ring, c.policy = ring, testkit.Policy(t, `{"version":1,"session":{"idle":"30m","absolute":"12h","max_bytes":131072},"attributes":{`+strings.Join(rules, ",")+`}}`)
		s, err := c.node().Start()
		must(t, err)
		for _, r := range c.policy.Rules() {
			must(t, s.Set(t.Context(), r.Name, strings.Repeat("x", 2046)))
		}
		if err := s.Set(t.Context(), c.policy.Rules()[0].Name, strings.Repeat("x", 2047)); !errors.Is(err, session.ErrTooLarge) {
			t.Errorf("one byte more: %v", err)
		}
		s = login(t, s, strings.Repeat(`"`, seal.MaxSubject))
		must(t, s.Save(t.Context()))
		b := &browser{}
		must(t, s.Attach(b))
		must(t, s.Acknowledge(t.Context(), b, nil))
		if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); err != nil {
			t.Errorf("%s: %v", enc, err)
		}
	}
}

// A session whose time is over ends: the visitor gets a new one, not a 503.
func TestExpiredSessionIsNotElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		time.Sleep(pastEpoch)
		h := c.node().Middleware(http.HandlerFunc(handler))
		cookies := do(h, request("GET", "/?cart=tea")).Cookies()
		if cookies[0].MaxAge < 43_000 || cookies[0].MaxAge > 43_201 {
			t.Errorf("the cookie lives %d s, the session 12 h", cookies[0].MaxAge)
		}
		time.Sleep(31 * time.Minute)
		if res := do(h, request("GET", "/?cart=new", cookies...)); res.StatusCode != 200 || len(res.Cookies()) != 1 {
			t.Errorf("after the idle time: %d %v", res.StatusCode, res.Cookies())
		}
	})
}

// A key that becomes primary while the session lives: everything is sealed
// anew and pushed whole, and it restores.
func TestRotationReseals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		dir := t.TempDir()
		_, err := seal.InitRing(dir, seal.A256GCM, time.Now())
		must(t, err)
		if c.ring, err = seal.UnsafeRotateRing(t.Context(), dir, seal.A256GCM, time.Now(), time.Now().Add(10*time.Second)); err != nil {
			t.Fatal(err)
		}
		s, b := shopping(t, c.node())
		time.Sleep(11 * time.Second)
		must(t, s.Acknowledge(t.Context(), b, b.version)) // nothing changed but the key
		last := b.pushes[len(b.pushes)-1]
		if last.Delta || len(last.Set) != 3 {
			t.Errorf("after the rotation pushed delta=%t of %d", last.Delta, len(last.Set))
		}
		for _, envelope := range b.blobs {
			if seen, err := seal.InspectUnverified(envelope); err != nil || seen.KeyID != c.ring.Keys()[1].ID() {
				t.Errorf("an envelope is still under %s: %v", seen.KeyID, err)
			}
		}
		if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); err != nil {
			t.Error(err)
		}
	})
}

// What a session requires and has lost can't be restored; the live copy ends too.
func TestRequiredAttributesEndTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.policy = testkit.Policy(t, `{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"5s"},"attributes":{"mfa":{"ttl":"1m","required":true,"on_expiry":"refuse"},"cart":{}}}`)
		time.Sleep(pastEpoch)
		m := c.node()
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "mfa", true))
		must(t, s.Set(t.Context(), "cart", "tea"))
		must(t, s.Save(t.Context()))
		b := &browser{}
		must(t, s.Attach(b))
		must(t, s.Acknowledge(t.Context(), b, nil))
		time.Sleep(63 * time.Second) // over, but within the leeway
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		if len(r.Dropped) != 0 || len(r.Session.Attributes()) != 2 {
			t.Errorf("within the leeway: dropped %v, attributes %v", r.Dropped, r.Session.Attributes())
		}
		if _, live := m.Live(s.Holder()); live {
			t.Error("the first copy goes on without what it requires")
		}
	})
}

// flaky fails calls of Take after the store did the work.
type flaky struct {
	replay.Store
	fail int
}

func (f *flaky) Take(ctx context.Context, by replay.Place, owner replay.Owner, right replay.Right) (replay.Verdict, replay.Outcome, error) {
	v, o, err := f.Store.Take(ctx, by, owner, right)
	if f.fail--; f.fail >= 0 {
		return 0, 0, errDisk
	}
	return v, o, err
}

// A copy that a hostile client keeps in use learns from the store that its
// session has moved or was logged out elsewhere.
func TestLeftBehindCopiesEnd(t *testing.T) {
	for name, logout := range map[string]bool{"moved": false, "moved and logged out": true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			node1 := c.node()
			s, b := shopping(t, node1)
			r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
			must(t, err)
			if logout {
				must(t, r.Session.Logout(t.Context()))
			}
			h := s.Holder() // the old cookie, without the hint
			for range 12 {
				runFor(t, node1, time.Second)
				if _, live := node1.Live(h); live {
					_ = s.Acknowledge(t.Context(), b, b.version) // in use
				}
			}
			if _, live := node1.Live(h); live {
				t.Errorf("%s: the old node's copy lives on", name)
			}
			if !b.detached {
				t.Errorf("%s: its client was not sent away", name)
			}
		})
	}
}

// Sessions that nobody uses cost the store nothing.
func TestUnusedSessionsAreNotAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		counter := &counting{Store: c.store}
		c.store = counter
		m := c.node()
		s, b := shopping(t, m)
		must(t, s.Acknowledge(t.Context(), b, b.version))
		runFor(t, m, 15*time.Second)
		before := counter.acks
		runFor(t, m, 5*time.Minute)
		if counter.acks != before {
			t.Errorf("%d questions about a session that nobody used", counter.acks-before)
		}
	})
}

type counting struct {
	replay.Store
	acks int
}

func (c *counting) Acknowledge(ctx context.Context, acks ...replay.Place) ([]replay.Verdict, error) {
	c.acks += len(acks)
	return c.Store.Acknowledge(ctx, acks...)
}

func TestUpdateIsOneStep(t *testing.T) {
	c := newCluster(t)
	s, _ := shopping(t, c.node())
	done := make(chan error, 50)
	for range cap(done) {
		go func() {
			done <- session.Update(session.NewContext(t.Context(), s), policy.Attr[int]("note"), func(n int) (int, error) { return n + 1, nil })
		}()
	}
	for range cap(done) {
		must(t, <-done)
	}
	var n int
	if must(t, s.Get("note", &n)); n != cap(done) {
		t.Errorf("%d of %d updates are left", n, cap(done))
	}
	no := errors.New("no")
	if err := session.Update(session.NewContext(t.Context(), s), policy.Attr[int]("note"), func(n int) (int, error) { return 0, no }); !errors.Is(err, no) {
		t.Errorf("Update = %v", err)
	}
	if must(t, s.Get("note", &n)); n != cap(done) {
		t.Error("a refused update changed the value")
	}
	if err := session.Update(session.NewContext(t.Context(), s), policy.Attr[int]("admin"), func(n int) (int, error) { return 1, nil }); !errors.Is(err, policy.ErrNotAllowed) {
		t.Errorf("an undeclared name: %v", err)
	}
}

// Visitors without end must not shut out those whose node has died.
func TestRestoresHaveRoomLeft(t *testing.T) {
	c := newCluster(t)
	m, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: c.store, App: "shop", MaxSessions: 16})
	must(t, err)
	for range 14 {
		_, err := m.Start()
		must(t, err)
	}
	if _, err := m.Start(); !errors.Is(err, session.ErrUnavailable) {
		t.Errorf("the fifteenth new session: %v", err)
	}
	s, b := shopping(t, c.node())
	if _, err := m.Restore(t.Context(), b.set(s.Holder())); err != nil {
		t.Errorf("a restore: %v", err)
	}
}

// Nothing that prints a holder shows the cookie's secret.
func TestHolderHidesItsSecret(t *testing.T) {
	c := newCluster(t)
	s, _ := shopping(t, c.node())
	h := s.Holder()
	secret := strings.Split(session.CookieValueForTest(h), ".")[1]
	raw, err := seal.ParseID(secret)
	must(t, err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "holder", h, "pointer", &h)
	text := fmt.Sprintf("%v %+v %#v %s %d %x %v %+v", h, h, h, h, h, h, &h, []session.Holder{h}) + log.String()
	for _, verb := range strings.Fields("%p %v %+v %#v %x %d") { // fmt calls no method for these
		text += fmt.Sprintf(verb, struct{ h session.Holder }{h})
	}
	for _, verb := range []string{"%p", "%#p", "%+p"} {
		text += fmt.Sprintf(verb, h)
	}
	for _, leak := range []string{secret, fmt.Sprintf("%x", raw[:]), fmt.Sprint(raw[:])[1:20], fmt.Sprintf("%#v", raw[:])[8:40]} {
		if strings.Contains(text, leak) {
			t.Errorf("the secret is in %q", text)
		}
	}
	if !strings.Contains(text, s.ID().String()) {
		t.Errorf("no session in %q", text)
	}
}

// The store noted the owner but its answer was lost; a competitor then loses.
// The owner's repetition still gets what is his.
func TestUnsureOwnerKeepsHisRight(t *testing.T) {
	c := newCluster(t)
	c.store = &flaky{Store: c.store, fail: 1}
	s, _ := shopping(t, c.node())
	var seat string
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); !errors.Is(err, session.ErrUnavailable) {
		t.Fatalf("the first try: %v", err)
	}
	if err := s.Take(t.Context(), "ticket", replay.Owner{2}, &seat); !errors.Is(err, replay.ErrReplayed) {
		t.Errorf("the competitor: %v", err)
	}
	if err := s.Get("ticket", &seat); !errors.Is(err, session.ErrNoAttribute) {
		t.Errorf("a spent right is still shown: %v", err)
	}
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); err != nil || seat != "row 7" {
		t.Errorf("the owner's repetition: %q, %v", seat, err)
	}
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat); err == nil {
		t.Error("he got it twice")
	}
}

// slow answers late, so that many restores are under way at once.
type slow struct{ replay.Store }

func (s slow) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	time.Sleep(20 * time.Millisecond)
	return s.Store.Restore(ctx, r)
}

// Restores that find no room do not fence their sessions, also when they all
// come at once.
func TestStormFencesNobody(t *testing.T) {
	c := newCluster(t)
	home := c.node()
	var sets []session.Presented
	var sessions []*session.Session
	for range 20 {
		s, b := shopping(t, home)
		sets, sessions = append(sets, b.set(s.Holder())), append(sessions, s)
	}
	small, err := session.New(t.Context(), session.Config{Keys: c.ring, Policy: c.policy, Store: slow{c.store}, App: "shop", MaxSessions: 3})
	must(t, err)
	errs := make([]error, len(sets))
	var wait sync.WaitGroup
	for i := range sets {
		wait.Go(func() { _, errs[i] = small.Restore(t.Context(), sets[i]) })
	}
	wait.Wait()
	admitted := 0
	for i, s := range sessions {
		var seat string
		err := s.Take(t.Context(), "ticket", replay.Owner{1}, &seat)
		if moved := errors.Is(err, session.ErrMoved); moved != (errs[i] == nil) {
			t.Errorf("restore %v, and then on the old node: %v", errs[i], err)
		}
		if errs[i] == nil {
			admitted++
		}
	}
	if admitted != 3 {
		t.Errorf("%d admitted to 3 places", admitted)
	}
}

// One session whose lock is held does not hold up the manager.
func TestHangingChangeHoldsUpNobody(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, _ := shopping(t, m)
	other, b := shopping(t, m)
	release, inside := make(chan struct{}), make(chan struct{})
	go func() {
		_ = session.Update(session.NewContext(t.Context(), s), policy.Attr[int]("note"), func(n int) (int, error) { close(inside); <-release; return n, nil })
	}()
	<-inside
	defer close(release)
	must(t, other.Acknowledge(t.Context(), b, b.version))
	old := b.set(other.Holder())
	must(t, other.Set(t.Context(), "cart", []string{"paid"}))
	must(t, other.Save(t.Context()))
	must(t, other.Acknowledge(t.Context(), b, b.version))
	runFor(t, m, 1500*time.Millisecond)
	if _, err := c.node().Restore(t.Context(), old); !errors.Is(err, session.ErrSuperseded) {
		t.Errorf("the floor of another session was not told: %v", err)
	}
}
