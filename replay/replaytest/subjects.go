package replaytest

import (
	"errors"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

var subjectChecks = []check{
	{name: "subject/an old login is revoked everywhere", run: oldLoginRevoked},
	{name: "subject/a later login lives, in the same second", run: laterLoginLives},
	{name: "subject/the cut never goes back", run: cutNeverBack},
	{name: "subject/a login at the epoch is revoked", clause: 7, run: loginAtEpochRevoked},
	{name: "subject/others are not touched", clause: 12, run: othersUntouched},
	{name: "subject/the cut is told in whole seconds", run: cutIsTold},
	{name: "subject/race of revocations", clause: 1, run: subjectRace},
	{name: "subject/a login before the epoch is refused", clause: 7, run: loginBeforeEpoch},
	{name: "subject/a longer record outlives shorter ones", clause: 5, run: subjectKeptLonger},
	{name: "subject/what is past is refused", clause: 6, run: subjectPast},
	{name: "subject/full refuses and evicts nothing", clause: 8, needs: bounds, run: fullOfSubjects},
}

// as is p under a login.
func as(p replay.Place, l replay.Login) replay.Place {
	p.Login = l
	return p
}

// login is what a node would seal for a login of subject at the store's time.
func (s store) login(subject replay.ID) replay.Login {
	s.k.Helper()
	now := time.Unix(max(s.k.now().Unix(), s.k.issued.Unix()), 0)
	return replay.Login{Subject: subject, Since: replay.LoginTime(now, s.cut(subject))}
}

// cut is a subject's cut.
func (s store) cut(subject replay.ID) time.Time {
	s.k.Helper()
	cut, err := s.SubjectCut(s.k.Context(), subject)
	if err != nil {
		s.k.Fatalf("SubjectCut = %v", err)
	}
	return cut
}

// revokeSubject ends the logins of subject as a node with a leeway would.
func (s store) revokeSubject(subject replay.ID) {
	s.k.Helper()
	if err := s.RevokeSubject(s.k.Context(), subject, s.k.now().Add(30*time.Second), s.k.keep()); err != nil {
		s.k.Fatalf("RevokeSubject = %v", err)
	}
}

// everywhere expects a verdict on a login from each operation that compares it,
// in new sessions.
func (s store) everywhere(want replay.Verdict, l replay.Login) {
	k := s.k
	k.Helper()
	r, right, outcome := k.request(newID("sid"), 0, 1), k.right(), replay.Lost
	r.Login = l
	s.restore(want, r)
	if want == replay.Granted {
		outcome = replay.Won
	}
	sid := newID("sid")
	place := as(k.place(sid, 0, 1), l)
	s.acknowledgeAll(nil, []answered{{place, want}})
	if v, err := s.Protect(k.Context(), place); v != want || err != nil {
		k.Fatalf("Protect = %v, %v, want %v", v, err, want)
	}
	if v, o, err := s.Take(k.Context(), place, newOwner(), right); v != want || o != outcome || err != nil {
		k.Fatalf("Take = %v, %v, %v, want %v, %v", v, o, err, want, outcome)
	}
	if v, err := s.Renew(k.Context(), place, newID("sid")); v != want || err != nil {
		k.Fatalf("Renew = %v, %v, want %v", v, err, want)
	}
	s.spent(want == replay.Granted, right.ID)
	if want == replay.Revoked {
		s.granted(1, k.request(r.Session, 0, 0)) // nobody's set of it: nothing was noted
		s.granted(1, k.request(sid, 0, 0))
	}
}

func oldLoginRevoked(k *kit) {
	s, subject, sid := k.open(), newID("subject"), newID("sid")
	old := s.login(subject)
	s.everywhere(replay.Granted, old)
	won := k.request(sid, 0, 1)
	won.Login = old
	s.granted(1, won)
	s.revokeSubject(subject)
	s.everywhere(replay.Revoked, old)
	s.restore(replay.Revoked, won) // nor does the last winner's retry
	// A live copy learns of it, whatever its fence.
	for fence := range uint64(3) {
		s.acknowledgeAll(nil, []answered{{as(k.place(sid, fence, 0), old), replay.Revoked}})
	}
	burn, wants := k.right(), k.request(newID("sid"), 0, 1)
	wants.Login, wants.Burn = old, []replay.Burn{required(burn)}
	s.restore(replay.Revoked, wants)
	s.spent(false, burn.ID)
}

func laterLoginLives(k *kit) {
	s, subject := k.open(), newID("subject")
	var old []replay.Login
	for range 4 {
		l := s.login(subject)
		s.everywhere(replay.Granted, l)
		for _, o := range old {
			s.everywhere(replay.Revoked, o)
		}
		old = append(old, l)
		s.revokeSubject(subject)
	}
	s.everywhere(replay.Granted, s.login(subject))
}

func cutNeverBack(k *kit) {
	s, subject := k.open(), newID("subject")
	revoke := func(before time.Time) time.Time {
		k.Helper()
		if err := s.RevokeSubject(k.Context(), subject, before, k.keep()); err != nil {
			k.Fatalf("RevokeSubject = %v", err)
		}
		return s.cut(subject)
	}
	far := k.now().Add(time.Hour).Truncate(time.Second)
	if cut := revoke(far); !cut.Equal(far) {
		k.Fatalf("SubjectCut = %v, want %v", cut, far)
	}
	for i, before := range []time.Time{far, k.now(), k.now().Add(-time.Hour), {}} {
		if cut, want := revoke(before), far.Add(time.Duration(i+1)*time.Second); !cut.Equal(want) {
			k.Fatalf("SubjectCut after an earlier one = %v, want %v", cut, want)
		}
	}
	s.everywhere(replay.Revoked, replay.Login{Subject: subject, Since: far.Add(4 * time.Second)})
	s.everywhere(replay.Granted, replay.Login{Subject: subject, Since: far.Add(5 * time.Second)})
}

// loginAtEpochRevoked: right after a memory began, logins are dated later than now.
func loginAtEpochRevoked(k *kit) {
	s, subject := k.open(), newID("subject")
	at, _ := s.epochOf()
	old := replay.Login{Subject: subject, Since: at}
	if err := s.RevokeSubject(k.Context(), subject, at.Add(-replay.MaxAhead), k.keep()); err != nil {
		k.Fatalf("RevokeSubject = %v", err)
	}
	if cut := s.cut(subject); !cut.Equal(at) {
		k.Fatalf("SubjectCut = %v, want the epoch, %v", cut, at)
	}
	s.everywhere(replay.Revoked, old)
	s.everywhere(replay.Granted, s.login(subject))
}

// othersUntouched: neither another subject nor nobody, in the same session, nor a
// session or right of the same name.
func othersUntouched(k *kit) {
	s, subject, other := k.open(), newID("subject"), newID("subject")
	mine, theirs := s.login(subject), s.login(other)
	s.revokeSubject(subject)
	s.everywhere(replay.Revoked, mine)
	s.everywhere(replay.Granted, theirs)
	s.everywhere(replay.Granted, replay.Login{})
	s.granted(1, k.request(subject, 0, 1))
	r := k.right()
	r.ID = subject
	s.claim(replay.Won, newOwner(), r)
	s.revoke(other)
	s.everywhere(replay.Granted, theirs)
}

func cutIsTold(k *kit) {
	s, subject := k.open(), newID("subject")
	if cut := s.cut(subject); !cut.IsZero() {
		k.Fatalf("SubjectCut without one = %v, want the zero time", cut)
	}
	before := k.issued.Add(700 * time.Millisecond)
	if err := s.RevokeSubject(k.Context(), subject, before, k.keep()); err != nil {
		k.Fatalf("RevokeSubject = %v", err)
	}
	if cut := s.cut(subject); cut.Unix() != before.Unix() || cut.Nanosecond() != 0 {
		k.Fatalf("SubjectCut = %v, want the second of %v", cut, before)
	}
}

// subjectRace: each revocation moves the cut, so that none is lost in another.
func subjectRace(k *kit) {
	s, subject := k.open(), newID("subject")
	before := k.issued
	race(racers, func(int) error {
		err := s.RevokeSubject(k.Context(), subject, before, k.keep())
		if err != nil {
			k.Errorf("RevokeSubject = %v", err)
		}
		return nil
	})
	if cut, want := s.cut(subject), before.Add((racers-1)*time.Second); !cut.Equal(want) {
		k.Fatalf("SubjectCut after %d revocations = %v, want %v", racers, cut, want)
	}
}

// loginBeforeEpoch: whether it was revoked was known to a memory that is gone.
func loginBeforeEpoch(k *kit) {
	s := k.open()
	at, before := s.epochOf()
	for _, since := range []time.Time{before, {}} {
		l := replay.Login{Subject: newID("subject"), Since: since}
		r := k.request(newID("sid"), 0, 1)
		r.Login = l
		s.restoreDenied(replay.ErrBeforeEpoch, r)
		s.placeDenied(replay.ErrBeforeEpoch, as(k.place(r.Session, 0, 1), l))
		s.acknowledgeAll(nil, []answered{{as(k.place(r.Session, 0, 9), l), replay.Refused}})
		s.granted(1, k.request(r.Session, 0, 0))
	}
	s.everywhere(replay.Granted, replay.Login{Subject: newID("subject"), Since: at})
}

// placeDenied expects an error that wraps want from the operations on one place.
func (s store) placeDenied(want error, p replay.Place) {
	k, right := s.k, s.k.right()
	k.Helper()
	if v, err := s.Protect(k.Context(), p); v != replay.Refused || !errors.Is(err, want) {
		k.Fatalf("Protect = %v, %v, want %v", v, err, want)
	}
	if v, o, err := s.Take(k.Context(), p, newOwner(), right); v != replay.Refused || o != replay.Lost || !errors.Is(err, want) {
		k.Fatalf("Take = %v, %v, %v, want %v", v, o, err, want)
	}
	if v, err := s.Renew(k.Context(), p, newID("sid")); v != replay.Refused || !errors.Is(err, want) {
		k.Fatalf("Renew = %v, %v, want %v", v, err, want)
	}
	s.spent(false, right.ID)
}

func subjectKeptLonger(k *kit) {
	s, subject := k.open(), newID("subject")
	old := s.login(subject)
	for _, d := range []time.Duration{2 * time.Second, time.Hour, 2 * time.Second} {
		if err := s.RevokeSubject(k.Context(), subject, k.now(), k.now().Add(d)); err != nil {
			k.Fatalf("RevokeSubject = %v", err)
		}
	}
	k.advance(5 * time.Second)
	s.claim(replay.Won, newOwner(), k.right())
	s.everywhere(replay.Revoked, old)
}

func subjectPast(k *kit) {
	s, subject, past := k.open(), newID("subject"), k.now().Add(-3*time.Second)
	for _, keep := range []time.Time{past, {}} {
		if err := s.RevokeSubject(k.Context(), subject, past.Add(-time.Hour), keep); !errors.Is(err, replay.ErrBeyondHorizon) {
			k.Fatalf("RevokeSubject until %v = %v, want ErrBeyondHorizon", keep, err)
		}
	}
	if err := s.RevokeSubject(k.Context(), replay.ID{}, k.now(), k.keep()); err == nil {
		k.Fatal("RevokeSubject of nobody = nil, want an error")
	}
	if err := s.RevokeSubject(k.Context(), subject, k.keep().Add(time.Hour), k.keep()); err == nil {
		k.Fatal("RevokeSubject of logins later than KeepUntil = nil, want an error")
	}
	if cut := s.cut(subject); !cut.IsZero() {
		k.Fatalf("SubjectCut after refusals = %v, want the zero time", cut)
	}
}

func fullOfSubjects(k *kit) {
	s := k.bounded(Bounds{Rights: 4, Sessions: 4, Subjects: 2})
	first, second, third := newID("subject"), newID("subject"), newID("subject")
	old := s.login(first)
	s.revokeSubject(first)
	soon := k.now().Add(2 * time.Second)
	if err := s.RevokeSubject(k.Context(), second, k.now(), soon); err != nil {
		k.Fatalf("RevokeSubject = %v", err)
	}
	for range 4 {
		if err := s.RevokeSubject(k.Context(), third, k.now(), k.keep()); !errors.Is(err, replay.ErrFull) {
			k.Fatalf("RevokeSubject in a full store = %v, want ErrFull", err)
		}
	}
	l := k.request(newID("sid"), 0, 1)
	l.Login = old
	s.restore(replay.Revoked, l)
	s.revokeSubject(first) // what is known has its place
	k.advance(5 * time.Second)
	s.revokeSubject(third)
	s.restore(replay.Revoked, l)
}
