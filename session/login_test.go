package session_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/session"
)

// A login gives the session a new ID and secret; the old ID is dead everywhere,
// and nothing of the session is lost.
func TestLoginRenewsTheSession(t *testing.T) {
	for what, renew := range map[string]func(*session.Session) (*session.Session, error){
		"Login": func(s *session.Session) (*session.Session, error) { return s.Login(t.Context(), "ada", trusted) },
		"Renew": func(s *session.Session) (*session.Session, error) { return s.Renew(t.Context()) },
	} {
		c := newCluster(t)
		m := c.node()
		old, b := shopping(t, m)
		oldSet, ends := b.set(old.Holder()), old.Expires()
		s, err := renew(old)
		must(t, err)
		if s.ID() == old.ID() || s.Holder() == old.Holder() || !s.Expires().Equal(ends) || s.Subject() != map[string]string{"Login": "ada"}[what] {
			t.Errorf("%s: session %v of %q until %v after %v until %v", what, s.ID(), s.Subject(), s.Expires(), old.ID(), ends)
		}
		if _, live := m.Live(old.Holder()); live || !errors.Is(old.Err(), session.ErrMoved) || !errors.Is(old.Set(t.Context(), "cart", 1), session.ErrMoved) {
			t.Errorf("%s: the old session goes on: %v", what, old.Err())
		}
		for name, node := range map[string]*session.Manager{"here": m, "elsewhere": c.node()} {
			if _, err := node.Restore(t.Context(), oldSet); !errors.Is(err, session.ErrRevoked) {
				t.Errorf("%s: the old set %s: %v", what, name, err)
			}
		}
		if b.renewed != s || b.detached || b.ended {
			t.Errorf("%s: the client: renewed %t, detached %t, ended %t", what, b.renewed == s, b.detached, b.ended)
		}
		must(t, s.Attach(b))
		must(t, s.Save(t.Context()))
		if _, err := c.node().Restore(t.Context(), b.set(old.Holder())); !errors.Is(err, policy.ErrBinding) {
			t.Errorf("%s: the new set with the old cookie: %v", what, err)
		}
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		if len(r.Session.Attributes()) != 3 || r.Session.Subject() != s.Subject() {
			t.Errorf("%s: restored %v of %q", what, r.Session.Attributes(), r.Session.Subject())
		}
		must(t, r.Session.Take(t.Context(), "ticket", replay.Owner{1}, new(string)))
		if _, err := old.Renew(t.Context()); !errors.Is(err, session.ErrMoved) {
			t.Errorf("%s: the old one again: %v", what, err)
		}
	}
}

// A client that holds a set under a later fence of the former ID follows, and
// what it still says of that set ends nothing.
func TestClientFollowsARenewal(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	for range 2 { // to fence 2
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		s, b = r.Session, connected(t, r.Session)
	}
	held := *b.version
	s = b.login(t, s, "grace")
	must(t, s.Save(t.Context()))
	if last := b.pushes[len(b.pushes)-1]; last.Over != held || last.Delta {
		t.Errorf("at the end of the request: pushed %v over %v, want over %v", last.Version, last.Over, held)
	}
	for range 2 {
		r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
		must(t, err)
		s, b = r.Session, connected(t, r.Session)
	}
	held = *b.version
	b.deaf = true
	s = b.login(t, s, "ada")
	must(t, s.Save(t.Context()))
	b.deaf = false
	must(t, s.Acknowledge(t.Context(), b, &held)) // its connect was under way
	if last := b.pushes[len(b.pushes)-1]; last.Over != held || last.Delta || last.Version.Fence != 0 {
		t.Errorf("pushed %v over %v, delta %t; want a complete set over %v", last.Version, last.Over, last.Delta, held)
	}
	must(t, s.Acknowledge(t.Context(), b, b.version))
	must(t, s.Set(t.Context(), "cart", "more"))
	must(t, s.Save(t.Context()))
	if last := b.pushes[len(b.pushes)-1]; !last.Delta || last.Over != (session.Version{}) {
		t.Errorf("pushed %v over %v, delta %t", last.Version, last.Over, last.Delta)
	}
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	if over := connected(t, r.Session).pushes[0].Over; over != (session.Version{}) {
		t.Errorf("after a restore: over %v", over)
	}
	later := session.Version{Fence: held.Fence + 1}
	if err := s.Acknowledge(t.Context(), b, &later); !errors.Is(err, session.ErrMoved) {
		t.Errorf("a fence above all: %v", err)
	}
}

// Whoever planted the old cookie is not logged in: not by a request that he kept
// open, and not by its response.
func TestSessionFixation(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	planted, _ := shopping(t, m)
	open, logged := make(chan struct{}), make(chan struct{})
	h := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		switch r.URL.Path {
		case "/slow": // the attacker's
			close(open)
			<-logged
			if s.Subject() != "" || session.FromContext(r.Context()).Subject() != "" || s.Get("cart", new(any)) == nil {
				t.Error("a request that was kept open sees the login")
			}
			if err := s.Set(r.Context(), "cart", "spoiled"); !errors.Is(err, session.ErrMoved) {
				t.Errorf("it changes the session: %v", err)
			}
		case "/login":
			renewed, err := s.Login(r.Context(), "ada", trusted)
			must(t, err)
			if session.FromContext(r.Context()) != renewed {
				t.Error("the request that logged in has the old session")
			}
			must(t, session.Set(r.Context(), policy.Attr[string]("login"), "ada"))
		}
	}))
	slow := make(chan *http.Response, 1)
	go func() { slow <- do(h, request("GET", "/slow", cookieOf(t, planted.Holder()))) }()
	<-open
	res := do(h, request("POST", "/login", cookieOf(t, planted.Holder())))
	close(logged)
	if cookies := (<-slow).Cookies(); len(cookies) != 0 {
		t.Errorf("its response has a cookie: %v", cookies)
	}
	cookies := res.Cookies()
	if len(cookies) != 1 || strings.Contains(cookies[0].Value, planted.ID().String()) {
		t.Fatalf("the response to the login has the cookies %v", cookies)
	}
	own := request("GET", "/", cookies[0])
	holder, _ := m.Holder(own)
	s, live := m.Live(holder)
	if !live || s.Subject() != "ada" {
		t.Error("the one who logged in is not")
	}
	if res := do(h, request("GET", "/", cookieOf(t, planted.Holder()))); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the planted cookie: %d", res.StatusCode)
	}
}

// Where no cookie can be sent any more there is no new ID.
func TestRenewalIsTooLate(t *testing.T) {
	c := newCluster(t)
	store := c.counted()
	m := c.node()
	s, _ := shopping(t, m)
	other, _ := shopping(t, m)
	h := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		renewed, err := other.Renew(r.Context()) // another's session: this visitor gets none of its cookies
		must(t, err)
		if session.FromContext(r.Context()) == renewed {
			t.Error("a request was given another's session")
		}
		_, _ = w.Write([]byte("x"))
		store.since(t, "too late", map[string]int{"cut": 2}, func() {
			if _, err := session.FromContext(r.Context()).Login(r.Context(), "ada", trusted); !errors.Is(err, session.ErrTooLate) {
				t.Errorf("Login = %v", err)
			}
		})
	}))
	if res := do(h, request("GET", "/", cookieOf(t, s.Holder()))); len(res.Cookies()) != 0 {
		t.Errorf("cookies %v", res.Cookies())
	}
	if _, live := m.Live(s.Holder()); !live || s.Subject() != "" {
		t.Error("the session was renewed all the same")
	}
}

// A visitor who logs in at once has one ID, and it is no store's business.
func TestFirstLogin(t *testing.T) {
	c := newCluster(t)
	store := c.counted()
	m := c.node()
	h := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := session.FromContext(r.Context())
		if renewed, err := s.Login(r.Context(), "ada", trusted); err != nil || renewed != s {
			t.Errorf("Login = %v", err)
		}
	}))
	store.since(t, "a first login", map[string]int{"cut": 2}, func() {
		res := do(h, request("POST", "/"))
		if len(res.Cookies()) != 1 {
			t.Fatalf("cookies %v", res.Cookies())
		}
	})
}

// The credentials are checked after the store was asked and before anything changes.
func TestLoginAsksInOrder(t *testing.T) {
	c := newCluster(t)
	store := c.counted()
	s, _ := shopping(t, c.node())
	wrong := errors.New("wrong password")
	store.since(t, "wrong credentials", map[string]int{"cut": 1}, func() {
		if _, err := s.Login(t.Context(), "ada", func(context.Context) error { return wrong }); !errors.Is(err, wrong) {
			t.Errorf("Login = %v", err)
		}
	})
	if s.Err() != nil || s.Subject() != "" {
		t.Errorf("wrong credentials: %v, %q", s.Err(), s.Subject())
	}
	asked := false
	store.hook = func(_ context.Context, op string) error {
		if op == "cut" {
			return errDisk
		}
		return nil
	}
	if _, err := s.Login(t.Context(), "ada", func(context.Context) error { asked = true; return nil }); !errors.Is(err, session.ErrUnavailable) || asked {
		t.Errorf("without the store: %v, checked %t", err, asked)
	}
}

// A password that is changed while it is checked logs nobody in, whoever changes
// it where; the visitor keeps the session.
func TestPasswordChangedDuringALogin(t *testing.T) {
	c := newCluster(t)
	here, elsewhere := c.node(), c.node()
	for name, m := range map[string]*session.Manager{"here": here, "elsewhere": elsewhere} {
		s, _ := shopping(t, here)
		_, err := s.Login(t.Context(), "ada", func(ctx context.Context) error { return m.EndLogins(ctx, "ada") })
		if !errors.Is(err, session.ErrUnavailable) || s.Subject() != "" || s.Err() != nil {
			t.Errorf("%s: Login = %v, then %q in a session that is %v", name, err, s.Subject(), s.Err())
		}
		login(t, s, "ada") // with the new one
	}
}

// So does one that is changed just after the store said that the login stands.
func TestPasswordChangedBehindTheAnswer(t *testing.T) {
	c := newCluster(t)
	cuts := &lateCut{Store: c.store}
	c.store = cuts
	m := c.node()
	s, b := shopping(t, m)
	cuts.behind = func(ctx context.Context) error { return m.EndLogins(ctx, "ada") }
	if _, err := s.Login(t.Context(), "ada", trusted); !errors.Is(err, session.ErrUnavailable) || b.renewed == nil || b.renewed.Err() == nil {
		t.Errorf("Login = %v, and the renewed session is usable", err)
	}
	must(t, cuts.failed)
}

// lateCut does something behind its second answer about a subject, before that arrives.
type lateCut struct {
	replay.Store
	behind func(context.Context) error
	asked  int
	failed error
}

func (s *lateCut) SubjectCut(ctx context.Context, subject replay.ID) (time.Time, error) {
	cut, err := s.Store.SubjectCut(ctx, subject)
	if s.asked++; s.asked == 2 {
		s.failed = s.behind(ctx)
	}
	return cut, err
}

// The same at the moment of the renewal, which asks no more about the subject.
func TestPasswordChangedDuringARenewal(t *testing.T) {
	c := newCluster(t)
	store := c.counted()
	m, other := c.node(), c.node()
	during := func(m *session.Manager) {
		store.hook = func(ctx context.Context, op string) error {
			if op != "renew" {
				return nil
			}
			store.hook = nil
			return m.EndLogins(ctx, "ada")
		}
	}
	s, b := shopping(t, m)
	during(m)
	if _, err := s.Login(t.Context(), "ada", trusted); !errors.Is(err, session.ErrUnavailable) || b.renewed.Err() == nil {
		t.Errorf("here: Login = %v, and the renewed session is %v", err, b.renewed.Err())
	}
	s, b = shopping(t, m)
	during(other)
	s = b.login(t, s, "ada")
	must(t, s.Save(t.Context()))
	if _, err := c.node().Restore(t.Context(), b.set(s.Holder())); !errors.Is(err, session.ErrRevoked) {
		t.Errorf("elsewhere: its set: %v", err)
	}
	if err := s.Take(t.Context(), "ticket", replay.Owner{1}, new(string)); !errors.Is(err, session.ErrEnded) {
		t.Errorf("elsewhere: Take = %v", err)
	}
}

// behindRenewals does something behind the store's answer to a renewal, before that arrives.
type behindRenewals struct {
	replay.Store
	do func(context.Context) error
}

func (b *behindRenewals) Renew(ctx context.Context, old replay.Place, next replay.ID) (replay.Verdict, error) {
	verdict, err := b.Store.Renew(ctx, old, next)
	if b.do != nil {
		err = errors.Join(err, b.do(ctx))
	}
	return verdict, err
}

// leaver does something when its session ends.
type leaver struct {
	browser
	do func()
}

func (l *leaver) Detached() { l.do() }

// A plain renewal that the store granted just before an end of logins, and that ends
// while this looks through the node's sessions, leaves nobody logged in.
func TestLoginsEndedDuringAPlainRenewal(t *testing.T) {
	for range 5 { // the session itself may be looked at first
		c := newCluster(t)
		store := &behindRenewals{Store: c.store}
		c.store = store
		m := c.node()
		s, b := shopping(t, m)
		s = b.login(t, s, "ada")
		granted, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
		leaves := sync.OnceFunc(func() { close(goOn); <-done })
		for range 8 {
			other, _ := shopping(t, m)
			must(t, login(t, other, "ada").Attach(&leaver{do: leaves}))
		}
		store.do = func(context.Context) error { close(granted); <-goOn; return nil }
		var renewed *session.Session
		var err error
		go func() {
			defer close(done)
			renewed, err = s.Renew(t.Context())
		}()
		<-granted
		must(t, m.EndLogins(t.Context(), "ada"))
		<-done
		if err == nil || renewed != nil || b.renewed != nil && b.renewed.Err() == nil {
			t.Fatalf("Renew = %v", err)
		}
	}
}

// A renewal whose answer was lost is repeated, and nobody else has anything.
func TestLostAnswerOfARenewal(t *testing.T) {
	c := newCluster(t)
	store := c.counted()
	s, b := shopping(t, c.node())
	old := b.set(s.Holder())
	store.lost = "renew"
	if _, err := s.Login(t.Context(), "ada", trusted); !errors.Is(err, session.ErrUnavailable) || s.Err() != nil {
		t.Fatalf("Login = %v, then %v", err, s.Err())
	}
	if _, err := c.node().Restore(t.Context(), old); !errors.Is(err, session.ErrRevoked) {
		t.Errorf("the old set: %v", err)
	}
	s = b.login(t, s, "ada")
	must(t, s.Save(t.Context()))
	r, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	if err != nil || r.Session.Subject() != "ada" {
		t.Errorf("the new set: %v", err)
	}
}

// A request that began before a login logs nobody out, and is told so.
func TestLogoutOfARenewedSession(t *testing.T) {
	c := newCluster(t)
	m := c.node()
	s, _ := shopping(t, m)
	renewed := login(t, s, "ada")
	if err := s.Logout(t.Context()); !errors.Is(err, session.ErrMoved) || renewed.Err() != nil {
		t.Errorf("Logout = %v, and the renewed session is %v", err, renewed.Err())
	}
	must(t, renewed.Logout(t.Context()))

	synctest.Test(t, func(t *testing.T) { // in the middle of the logout
		c := newCluster(t)
		store := c.counted()
		time.Sleep(pastEpoch)
		s, _ := shopping(t, c.node())
		left := make(chan error, 1)
		store.hook = func(_ context.Context, op string) error {
			if op == "renew" {
				store.hook = nil
				go func() { left <- s.Logout(t.Context()) }()
				synctest.Wait()
			}
			return nil
		}
		renewed := login(t, s, "ada")
		if err := <-left; !errors.Is(err, session.ErrMoved) || renewed.Err() != nil {
			t.Errorf("Logout = %v, and the session renewed meanwhile is %v", err, renewed.Err())
		}
	})
}

// Whoever logs out what another request logged out is content; and a copy that was left
// behind, on a node that the session has left, ends it where it lives.
func TestLogoutTwice(t *testing.T) {
	c := newCluster(t)
	left, b := shopping(t, c.node())
	r, err := c.node().Restore(t.Context(), b.set(left.Holder()))
	must(t, err)
	b = connected(t, r.Session)
	must(t, left.Logout(t.Context()))
	if _, err := c.node().Restore(t.Context(), b.set(r.Session.Holder())); !errors.Is(err, session.ErrRevoked) {
		t.Errorf("the set of where it lives: %v", err)
	}
	for range 2 {
		must(t, left.Logout(t.Context()))
	}
}

// A logout is no renewal where that matters: it ends a session whose renewal was not
// answered, and one whose login is out of the store's reach.
func TestLogoutOfWhatCannotBeRenewed(t *testing.T) {
	c := newCluster(t)
	store := c.counted()
	m := c.node()
	for what, prepare := range map[string]func(*session.Session){
		"not answered": func(s *session.Session) {
			store.lost = "renew"
			if _, err := s.Login(t.Context(), "ada", trusted); !errors.Is(err, session.ErrUnavailable) {
				t.Errorf("Login = %v", err)
			}
		},
		"before the epoch": func(*session.Session) {
			store.hook = func(_ context.Context, op string) error {
				if op == "renew" {
					return replay.ErrBeforeEpoch
				}
				return nil
			}
		},
	} {
		store.hook = nil
		s, b := shopping(t, m)
		set := b.set(s.Holder())
		prepare(s)
		if err := s.Logout(t.Context()); err != nil || !errors.Is(s.Err(), session.ErrEnded) {
			t.Errorf("%s: Logout = %v, and the session is %v", what, err, s.Err())
		}
		if _, err := c.node().Restore(t.Context(), set); !errors.Is(err, session.ErrRevoked) {
			t.Errorf("%s: its set: %v", what, err)
		}
	}
}

// The response of a request that could not log out, because another one logged in
// meanwhile, does not delete the cookie that this one was answered with.
func TestVainLogoutKeepsTheCookie(t *testing.T) {
	m := newCluster(t).node()
	s, _ := shopping(t, m)
	out := do(m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mine := session.FromContext(r.Context())
		login(t, s, "ada") // by another request
		if err := mine.Logout(r.Context()); !errors.Is(err, session.ErrMoved) {
			t.Errorf("Logout = %v", err)
		}
	})), request("GET", "/", cookieOf(t, s.Holder()))).Cookies()
	if len(out) != 0 {
		t.Errorf("cookies %v", out)
	}
}

// A session whose renewal was not answered is kept for the repetition: that its ID
// was revoked is its own doing. Somebody else's revocation ends it all the same.
func TestSessionWaitsForItsRenewal(t *testing.T) {
	for what, ends := range map[string]bool{"its own renewal": false, "a logout": true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t).with(refusing)
			store := c.counted()
			time.Sleep(pastEpoch)
			m := c.node()
			s, err := m.Start()
			must(t, err)
			must(t, s.Set(t.Context(), "role", "user"))
			must(t, s.Save(t.Context()))
			b := connected(t, s)
			store.lost = "renew"
			if ends {
				store.lost = ""
				store.hook = func(_ context.Context, op string) error {
					if op == "renew" {
						return errDisk // and it did not happen
					}
					return nil
				}
			}
			if _, err := s.Login(t.Context(), "ada", trusted); !errors.Is(err, session.ErrUnavailable) {
				t.Fatalf("Login = %v", err)
			}
			if ends {
				store.hook = nil
				id := s.ID()
				must(t, c.store.Revoke(t.Context(), replay.NewID("4:shop", "session", id[:]), time.Now().Add(13*time.Hour)))
			}
			time.Sleep(15 * time.Second)
			must(t, s.Acknowledge(t.Context(), b, b.version))
			runFor(t, m, 2500*time.Millisecond)
			if ended := s.Err() != nil; ended != ends || b.detached != ends || b.ended {
				t.Fatalf("%s: the session is %v, its client was sent away %t, told of an end %t", what, s.Err(), b.detached, b.ended)
			}
			if ends {
				return
			}
			if err := s.Set(t.Context(), "role", "admin"); !errors.Is(err, session.ErrUnavailable) || s.Err() != nil {
				t.Errorf("a protected change: %v, and the session is %v", err, s.Err())
			}
			if v, err := get(t, login(t, s, "ada"), "role"); v != "user" || err != nil {
				t.Errorf("after the repetition: %q, %v", v, err)
			}
		})
	}
}

// A copy that was left behind on another node can't be renewed.
func TestRenewalOfACopyLeftBehind(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	_, err := c.node().Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	if _, err := s.Login(t.Context(), "ada", trusted); !errors.Is(err, session.ErrMoved) || !errors.Is(s.Err(), session.ErrMoved) {
		t.Errorf("Login = %v, then %v", err, s.Err())
	}
}

// EndLogins ends what was logged in, on every node, and nothing else.
func TestEndLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		here, there := c.node(), c.node()
		sessionOf := func(m *session.Manager, subject string) (*session.Session, *browser) {
			s, b := shopping(t, m)
			s = b.login(t, s, subject)
			must(t, s.Save(t.Context()))
			must(t, s.Acknowledge(t.Context(), b, b.version))
			return s, b
		}
		mine, b1 := sessionOf(here, "ada")
		hers, b2 := sessionOf(there, "ada")
		grace, b3 := sessionOf(here, "grace")
		must(t, here.EndLogins(t.Context(), "ada"))
		if _, live := here.Live(mine.Holder()); live || !errors.Is(mine.Err(), session.ErrEnded) || !b1.ended {
			t.Errorf("on the same node: live %t, %v, client told %t", live, mine.Err(), b1.ended)
		}
		if _, err := c.node().Restore(t.Context(), b2.set(hers.Holder())); !errors.Is(err, session.ErrRevoked) {
			t.Errorf("a set from another node: %v", err)
		}
		for range 12 { // in use: the node learns of it
			time.Sleep(time.Second)
			if hers.Err() == nil {
				must(t, hers.Acknowledge(t.Context(), b2, b2.version))
			}
			runFor(t, there, time.Second)
		}
		if !errors.Is(hers.Err(), session.ErrEnded) || !b2.ended {
			t.Errorf("on another node: %v, client told %t", hers.Err(), b2.ended)
		}
		if _, err := c.node().Restore(t.Context(), b3.set(grace.Holder())); err != nil || grace.Err() != nil {
			t.Errorf("another subject: %v, %v", err, grace.Err())
		}
		later, b4 := sessionOf(there, "ada")
		r, err := c.node().Restore(t.Context(), b4.set(later.Holder()))
		if err != nil || r.Session.Subject() != "ada" {
			t.Errorf("who logged in afterwards: %v", err)
		}
		must(t, r.Session.Take(t.Context(), "ticket", replay.Owner{1}, new(string)))
	})
}

// cutSpy notes what a revocation of a subject asks for.
type cutSpy struct {
	replay.Store
	before, keepUntil time.Time
}

func (s *cutSpy) RevokeSubject(ctx context.Context, subject replay.ID, before, keepUntil time.Time) error {
	s.before, s.keepUntil = before, keepUntil
	return s.Store.RevokeSubject(ctx, subject, before, keepUntil)
}

// A login by a node whose clock is ahead dies too, and the store remembers it
// for longer than any session that there can be.
func TestHowFarEndLoginsReaches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h","leeway":"30s"},"attributes":{"cart":{}}}`)
		spy := &cutSpy{Store: c.store}
		c.store = spy
		m := c.node()
		time.Sleep(pastEpoch)
		now := time.Now().Truncate(time.Second)
		must(t, m.EndLogins(t.Context(), "ada"))
		if want := now.Add(30 * time.Second); !spy.before.Equal(want) {
			t.Errorf("ends logins until %v, want %v", spy.before, want)
		}
		if least := now.Add(30*time.Second + 12*time.Hour + time.Minute); !spy.keepUntil.After(least) {
			t.Errorf("kept until %v, want after %v", spy.keepUntil, least)
		}
	})
}

func TestEndLoginsWithoutAnAnswer(t *testing.T) {
	c := newCluster(t)
	store := c.counted()
	m := c.node()
	s, _ := shopping(t, m)
	s = login(t, s, "ada")
	store.hook = func(context.Context, string) error { return errDisk }
	if err := m.EndLogins(t.Context(), "ada"); !errors.Is(err, session.ErrUnavailable) || s.Err() != nil {
		t.Errorf("EndLogins = %v, then %v", err, s.Err())
	}
	if err := m.EndLogins(t.Context(), ""); !errors.Is(err, policy.ErrNotAllowed) {
		t.Errorf("of nobody: %v", err)
	}
	c.store = replay.None{}
	none := c.with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{}}}`).node()
	s, err := none.Start()
	must(t, err)
	s = login(t, s, "ada")
	if err := none.EndLogins(t.Context(), "ada"); !errors.Is(err, replay.ErrNoStore) || !errors.Is(s.Err(), session.ErrEnded) {
		t.Errorf("without a store: %v, then %v", err, s.Err())
	}
}

// A login during a drain: the request that logged in ends before the session leaves.
func TestLoginDuringADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.node()
		s, err := m.Start()
		must(t, err)
		must(t, s.Set(t.Context(), "cart", "tea"))
		must(t, s.Save(t.Context()))
		p := open(t, s)
		slow := make(chan struct{})
		var renewed *session.Session
		h := m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			var err error
			renewed, err = session.FromContext(r.Context()).Login(r.Context(), "ada", trusted)
			must(t, err)
			must(t, renewed.Attach(p))
			must(t, renewed.Save(r.Context()))
			<-slow
			must(t, session.Set(r.Context(), policy.Attr[string]("cart"), "late"))
		}))
		first := later(h, request("POST", "/", cookieOf(t, s.Holder())))
		synctest.Wait()
		end := drained(m, time.Minute)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if p.detached {
			t.Fatal("sent away in the middle of the request")
		}
		close(slow)
		out := <-end
		synctest.Wait()
		r, err := c.node().Restore(t.Context(), p.set(renewed.Holder()))
		must(t, err)
		if v, err := get(t, r.Session, "cart"); v != "late" || err != nil || out.Sessions != 1 || (<-first).Code != 200 {
			t.Errorf("restored %q, %v; %+v", v, err, out)
		}
	})
}

// A client without Bayeux that holds a set of the former ID is given the new one.
func TestRenewalOverHTTP(t *testing.T) {
	c := newCluster(t)
	s, b := shopping(t, c.node())
	m := c.node()
	r, err := m.Restore(t.Context(), b.set(s.Holder()))
	must(t, err)
	must(t, r.Session.Save(t.Context()))
	held := r.Session.Version()
	s = login(t, r.Session, "ada")
	_, a := bring(t, m.RestoreHandler(), session.WireRequest{V: 1, Gen: session.FormatVersion(held)}, cookieOf(t, s.Holder()))
	if a.State != session.StateNone || a.Push == nil || a.Push.Over != session.FormatVersion(held) || !strings.HasPrefix(a.Gen, "0.") {
		t.Errorf("answered %+v with %+v", a.WireReply, a.Push)
	}
	if s.Err() != nil {
		t.Errorf("the session is let go: %v", s.Err())
	}
}

// A client that was there before the login may be of who planted the cookie: whatever
// it says of later versions, which can be guessed, and whether it leaves or stays, the
// owner keeps the session, and the store learns of no floor.
func TestPlantedClientMovesNoSession(t *testing.T) {
	for what, store := range map[string]replay.Store{"memory": replay.NewMemory(replay.MemoryConfig{}), "none": replay.None{}} {
		for name, says := range map[string]func(newest session.Version) session.Version{
			"a higher fence":     func(session.Version) session.Version { return session.Version{Fence: 1 << 40, Gen: 1} },
			"the newest version": func(newest session.Version) session.Version { return newest },
		} {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(pastEpoch)
				c := newCluster(t).with(`{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"cart":{"ttl":"1h"}}}`)
				spy := &floorSpy{Store: store}
				if c.store = spy; what == "none" {
					c.store = store // which the manager has to know
				}
				m := c.node()
				s, err := m.Start()
				must(t, err)
				must(t, s.Set(t.Context(), "cart", "tea"))
				must(t, s.Save(t.Context()))
				leaves, stays := connected(t, s), connected(t, s)
				spy.floors = 0
				s = login(t, s, "ada")
				must(t, s.Save(t.Context()))
				guess := says(s.Version())
				for _, planted := range []*browser{leaves, stays} {
					pushes := len(planted.pushes)
					must(t, s.Acknowledge(t.Context(), planted, &guess))
					if len(planted.pushes) != pushes || planted.renewed != s {
						t.Errorf("%s, %s: pushed %d sets, told of the renewal %t", what, name, len(planted.pushes)-pushes, planted.renewed == s)
					}
				}
				s.Detach(leaves)
				runFor(t, m, time.Minute)
				if _, live := m.Live(s.Holder()); !live || spy.floors != 0 {
					t.Errorf("%s, %s: the session is %v, %d floors", what, name, s.Err(), spy.floors)
				}
				s.Detach(stays)
				runFor(t, m, time.Minute)
				if _, live := m.Live(s.Holder()); !live {
					t.Errorf("%s, %s, when none is left: the session is %v", what, name, s.Err())
				}
			})
		}
	}
}

// A node that dies after a login, before a client has shown the new cookie, takes the
// session along: its set is with nobody, and what restored before ended with the login.
// Nobody else has anything of it, and its owner begins anew.
func TestNodeThatDiesRightAfterALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m := c.node()
		old, b := shopping(t, m)
		s := login(t, old, "ada")
		must(t, s.Save(t.Context())) // sealed, and pushed to nobody
		other := c.node()            // m is dead
		former := b.set(old.Holder())
		mixed := b.set(s.Holder())
		for what, p := range map[string]session.Presented{"with the old cookie": former, "with the new cookie": mixed} {
			if _, err := other.Restore(t.Context(), p); session.Outward(err) != session.ErrRejected {
				t.Errorf("the set from before, %s: %v", what, err)
			}
		}
		wantVerdicts(t, "the new cookie", verdictOn(t, other, s.Holder()), "restore")
		wantVerdicts(t, "with nothing to restore", verdictOn(t, other, s.Holder(), session.StatusNone), "anew")
		must(t, s.Attach(b)) // had it lived for one more handshake
		must(t, s.Acknowledge(t.Context(), b, nil))
		r, err := other.Restore(t.Context(), b.set(s.Holder()))
		if err != nil || r.Session.Subject() != "ada" || len(r.Session.Attributes()) != 3 {
			t.Errorf("the set that it pushed: %v", err)
		}
	})
}
