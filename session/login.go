package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/seal"
)

// Login says who is logged in: at most 256 bytes of UTF-8 without control
// characters, and not empty. It renews the session ([Session.Renew]), so that
// whoever planted or read the old ID is not logged in with it. Use what it
// returns from then on; the attributes are there. But see [Session.Key] for those
// that are bound to one.
//
// Check is asked whether the credentials are good, and its error is returned as
// it is. The store is asked before and after whether the subject's logins were
// ended ([Manager.EndLogins]): a password that is changed while it is checked
// logs nobody in, and the error is [ErrUnavailable]. Do the check in it, and
// nowhere else. Of an EndLogins of another node at the very moment of the renewal
// this one learns as it does later, within about ten seconds of use.
//
// The errors are those of Renew. A session that nobody but this request knows
// needs no new ID: it gets none, and nothing is written to the store.
func (s *Session) Login(ctx context.Context, subject string, check func(context.Context) error) (*Session, error) {
	if err := validSubject(subject); err != nil {
		return nil, err
	}
	now := s.m.now()
	cut, err := s.m.cut(ctx, subject)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := check(ctx); err != nil {
		return nil, err
	}
	l := login{subject, replay.LoginTime(now, cut).Unix()}
	before := s.m.loginsEnded.Load() // before asking: one that the answer does not know of is counted
	if err := s.m.stands(ctx, l); err != nil {
		return nil, err
	}
	return s.renewSince(ctx, l, before)
}

// renewSince is renew, and asks about the login again if an EndLogins of this node, of
// which there had been before so many, may have looked through the sessions too early.
func (s *Session) renewSince(ctx context.Context, l login, before uint64) (*Session, error) {
	renewed, err := s.renew(ctx, l)
	if err != nil || l.subject == "" || s.m.loginsEnded.Load() == before {
		return renewed, err
	}
	if err := s.m.stands(ctx, l); err != nil {
		s.m.end(ctx, renewed)
		return nil, err
	}
	return renewed, nil
}

// stands says whether a login's subject still is allowed to have it.
func (m *Manager) stands(ctx context.Context, l login) error {
	cut, err := m.cut(ctx, l.subject)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case cut.Unix() >= l.since:
		return fmt.Errorf("%w: the subject's logins were ended meanwhile", ErrUnavailable)
	}
	return nil
}

// Renew gives the session a new ID and cookie secret, and returns it: the old
// session is over, for every other request as [ErrMoved], and none of its sets
// restores on any node. Attributes, subject and absolute end are kept. Connected
// clients have to show the new cookie ([Client]): any of them may be of somebody who
// knew the old one. Call it where rights grow; [Session.Login] does.
//
// Give it the request's context: the new cookie goes out with the response, to
// this request alone. If that has begun the error is [ErrTooLate]. Outside HTTP
// the caller hands the new [Session.Holder] to its owner.
//
// It asks the store once. [ErrUnavailable] says that it could not tell: repeat it,
// since the old ID may have ended; the session stays for that, and what asks the
// store is unavailable in it until then. It may also say that the subject's logins were ended
// meanwhile; then the session is over. [ErrMoved] and [ErrEnded] say that there is nothing
// to renew here. With replay.None old sets restore until they expire.
// Not promised: that the client has the new set; if the node dies before, the
// session is over.
func (s *Session) Renew(ctx context.Context) (*Session, error) {
	before := s.m.loginsEnded.Load() // before the store compares the login
	s.mu.Lock()
	l := s.login
	s.mu.Unlock()
	return s.renewSince(ctx, l, before)
}

func (s *Session) renew(ctx context.Context, l login) (renewed *Session, err error) {
	defer func() { s.m.note(ctx, KindRenew, s.id, "", err) }()
	rw := s.request(ctx) // another visitor's gets no cookie of this session
	if rw != nil && rw.committed.Load() {
		return nil, ErrTooLate
	}
	if done, err := s.loginUnborn(l); done || err != nil {
		return s, err
	}
	if err := s.changing.wait(ctx); err != nil { // nothing is sealed, changed or taken meanwhile
		return nil, err
	}
	defer s.changing.done()
	if err := s.taking.wait(ctx); err != nil {
		return nil, err
	}
	defer s.taking.done()
	s.setRenewing(true)
	defer s.setRenewing(false)
	next, err := s.retire(ctx)
	if err != nil {
		return nil, err
	}
	if renewed, err = s.become(next, l, rw); err == nil {
		s.m.remember(s, replaced)
	}
	return renewed, err
}

// setRenewing notes that a renewal is under way: its successor's ID will be handed out.
func (s *Session) setRenewing(on bool) {
	s.mu.Lock()
	s.underRenewal = on
	s.mu.Unlock()
}

// loginUnborn logs in to a session whose ID nobody else has seen.
func (s *Session) loginUnborn(l login) (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begin == nil {
		return false, nil
	}
	if err := s.start(); err != nil {
		return false, err
	}
	s.login, s.replica.dirty = l, true
	return true, nil
}

// retire ends the session's ID in the store, in favour of the one it returns.
func (s *Session) retire(ctx context.Context) (Holder, error) {
	s.mu.Lock()
	if s.ended != nil {
		defer s.mu.Unlock()
		return Holder{}, s.ended
	}
	if s.next == (Holder{}) {
		s.next = newHolder()
		s.next.bearer = s.holder.bearer
	}
	next, at := s.next, s.place(0)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.m.cfg.StoreTimeout)
	defer cancel()
	verdict, err := s.m.cfg.Store.Renew(ctx, at, s.m.sessionKey(next.Session))
	if errors.Is(err, replay.ErrNoStore) {
		return next, nil
	}
	return next, s.heed(ctx, verdict, err)
}

// errRenewing is what the store's refusal means of a session whose renewal may
// have happened: the ID has ended, and what follows it is not known here yet.
var errRenewing = fmt.Errorf("%w: a renewal was not answered; repeat it", ErrUnavailable)

// renewing reports whether it was the session's own renewal that ended its ID,
// as it is when the answer was lost, or is still on its way. Then the session is
// kept for the repetition. It asks the store, which knows the successor, again;
// one that can't tell ends nothing.
func (s *Session) renewing(ctx context.Context) bool {
	s.mu.Lock()
	next, at := s.next, s.place(0)
	s.mu.Unlock()
	if next == (Holder{}) {
		return false
	}
	verdict, err := s.m.cfg.Store.Renew(ctx, at, s.m.sessionKey(next.Session))
	return verdict == replay.Granted || err != nil && Outward(err) == ErrUnavailable
}

// renewalGap keeps the generations of a renewed session apart from those that copies
// of the former one, left behind on other nodes, may still seal: a client tells by
// the version alone what it holds.
const renewalGap = 1 << 20

// become moves everything to a session of its own. It is another object, so that
// what still holds the old one, such as a request that an attacker keeps open,
// sees nothing of the new one. Nor does any connected client come along: what one says
// that holds the former cookie alone must neither raise the floor nor let the session go.
func (s *Session) become(next Holder, l login, rw *headerHook) (*Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return nil, s.ended
	}
	n := s.m.session(next, next.binding(), s.m.now(), 0)
	n.absolute, n.former, n.version, n.login = s.absolute, s.newest(), Version{Gen: s.version.Gen + renewalGap}, l
	n.key, n.formerKey, n.formerID = s.key, s.key != "", s.id
	n.attrs, n.unsure, n.alone, n.replica.dirty = s.attrs, s.unsure, s.alone, true
	n.visit = s.visit.renewed()
	for name, a := range n.attrs {
		rule, _ := s.m.cfg.Policy.Rule(name)
		a.dirty, a.slot, a.former = !a.local, "", rule.Binding == policy.BindingKey
	}
	told := s.clients
	if n.visit != nil { // the one client is the request itself
		n.clients = s.clients
	}
	s.renewed = true
	s.ended, s.attrs, s.unsure, s.clients = ErrMoved, map[string]*attribute{}, nil, nil
	s.replica.wipe()
	if rw != nil { // the request goes on, with the new one
		s.leaving.requests--
		n.leaving.requests++
		rw.session.Store(n)
	}
	s.m.exchange(s, n)
	for c := range told {
		c.Renewed(n)
	}
	return n, nil
}

// EndLogins ends all logins of a subject on every node: to log out everywhere,
// or when the password was changed or the user disabled, after that was stored. When it
// returns nil no set of an earlier login restores anywhere. This node's sessions
// of the subject are over at once, the caller's too; the others learn of it from
// the store within about ten seconds of use; see Config.LoginGrace for while it
// does not answer. A later [Session.Login] is not
// ended: to keep a disabled user out is for its check.
//
// Any error says that it may not have happened: repeat it. It then wraps
// [ErrUnavailable], or replay.ErrNoStore, which can end nothing but the sessions
// of this node. Nodes must agree on the policy's absolute limit, for which the
// store remembers it.
func (m *Manager) EndLogins(ctx context.Context, subject string) (err error) {
	defer func() { m.note(ctx, KindEndLogins, seal.ID{}, "", err) }()
	if err := validSubject(subject); err != nil {
		return err
	}
	rule := m.cfg.Policy.Session()
	before := m.now().Add(rule.Leeway)
	ctx, cancel := context.WithTimeout(ctx, m.cfg.StoreTimeout)
	defer cancel()
	err = m.cfg.Store.RevokeSubject(ctx, m.subjectKey(subject), before, m.keepUntil(before.Add(rule.Absolute)).Add(time.Second))
	if err != nil && !errors.Is(err, replay.ErrNoStore) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	m.loginsEnded.Add(1) // before looking: a login that comes too late to be seen asks again
	for s, since := range m.loggedIn(subject) {
		// What is dated later was behind another end of logins a moment ago, and maybe behind this one.
		if since <= before.Unix() || m.stands(ctx, login{subject, since}) != nil {
			m.end(ctx, s)
		}
	}
	return err
}

// loggedIn are the subject's sessions here, and since when.
func (m *Manager) loggedIn(subject string) map[*Session]int64 {
	out := map[*Session]int64{}
	for _, s := range m.all() {
		s.mu.Lock()
		if s.login.subject == subject {
			out[s] = s.login.since
		}
		s.mu.Unlock()
	}
	return out
}

// cut is the time up to which the subject's logins are void.
func (m *Manager) cut(ctx context.Context, subject string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.StoreTimeout)
	defer cancel()
	return m.cfg.Store.SubjectCut(ctx, m.subjectKey(subject))
}

func validSubject(subject string) error {
	if subject == "" || !seal.ValidSubject(subject) {
		return fmt.Errorf("%w: a subject has 1 to %d bytes of UTF-8 without control characters", policy.ErrNotAllowed, seal.MaxSubject)
	}
	return nil
}

// Logout ends the session everywhere: when it returns nil, no set of the
// session restores on any node. If the store could not tell, it returns
// [ErrUnavailable] and the session goes on. [ErrMoved] says that it was renewed,
// here or elsewhere, and goes on under another ID, for whoever has the new cookie: the
// request that asked is to be repeated with that. With replay.None only the copy on
// this node ends, and its sets restore until they expire.
//
// Of a session that lives on another node it ends the ID all the same; a renewal there
// at that very moment it does not notice.
//
// Give it the request's context: its response deletes the cookie, and no other
// one does, which might hit that of a session that began since.
func (s *Session) Logout(ctx context.Context) (err error) {
	if s.unborn() {
		return nil
	}
	defer func() { s.m.note(ctx, KindLogout, s.id, "", err) }()
	ctx, cancel := context.WithTimeout(ctx, s.m.cfg.StoreTimeout)
	defer cancel()
	if err := s.revoke(ctx); err != nil {
		return err
	}
	s.m.end(ctx, s)
	if s.isRenewed() { // also while the store was asked
		return ErrMoved
	}
	return nil
}

// revoke ends the session's ID in the store. It is a renewal in favour of what is no
// session's, and the same at each logout, whoever asks: so the store tells whether it was
// renewed in favour of another, without a moment in between.
func (s *Session) revoke(ctx context.Context) error {
	s.mu.Lock()
	at, next := s.place(0), record(s.m.scope, "logout", s.id[:])
	if s.next != (Holder{}) && !s.underRenewal { // a renewal was not answered; nobody got its ID
		next = s.m.sessionKey(s.next.Session)
	}
	s.mu.Unlock()
	verdict, err := s.m.cfg.Store.Renew(ctx, at, next)
	s.mu.Lock()
	renewing := s.underRenewal
	s.mu.Unlock()
	switch {
	case errors.Is(err, replay.ErrNoStore), err == nil && verdict == replay.Granted:
		return nil
	case err == nil && verdict == replay.Revoked && renewing:
		return ErrMoved // the renewal that is under way was first, and goes on
	case err == nil && verdict == replay.Revoked:
		if err := s.m.revoked(ctx, s); !errors.Is(err, ErrEnded) {
			return ErrMoved
		}
		return nil
	case err == nil && verdict == replay.Superseded, final(err): // it lives elsewhere, or its login is out of the store's reach
		err = s.m.cfg.Store.Revoke(ctx, at.Session, at.KeepUntil)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// isRenewed reports that the session goes on as another one.
func (s *Session) isRenewed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renewed
}
