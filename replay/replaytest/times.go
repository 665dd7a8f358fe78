package replaytest

import (
	"errors"
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

var timeChecks = []check{
	{name: "epoch/whole seconds, and steady", clause: 7, run: epochSteady},
	{name: "epoch/rights issued before are refused", clause: 7, run: epochRights},
	{name: "epoch/sets issued before are refused", clause: 7, run: epochSets},
	{name: "epoch/what is dated ahead can't be told", clause: 7, run: datedAhead},
	{name: "horizon/remembered until KeepUntil, refused after", clause: 6, run: keepUntil},
	{name: "horizon/what is past is refused", clause: 6, run: pastRefused},
	{name: "horizon/a longer record outlives shorter ones", clause: 5, run: keepsTheLonger},
	{name: "horizon/survives a clock that steps back", clause: 6, needs: stepBack, run: clockStepsBack},
	{name: "horizon/survives reopening under a clock that steps back", clause: 6, needs: stepBack | reopen, run: clockStepsBackReopened},
}

func epochSteady(k *kit) {
	earliest := replay.FirstEpoch(k.now())
	s := k.open()
	first, err := s.Epoch(k.Context())
	if latest := replay.FirstEpoch(k.now()); err != nil || first.Before(earliest) || first.Nanosecond() != 0 || first.After(latest) {
		k.Fatalf("Epoch() = %v, %v, want a whole second from %v to %v", first, err, earliest, latest)
	}
	s.claim(replay.Won, newOwner(), k.right())
	k.advance(1100 * time.Millisecond)
	if again, err := s.Epoch(k.Context()); err != nil || !again.Equal(first) {
		k.Fatalf("Epoch() = %v, %v, then %v", first, err, again)
	}
}

// epochOf returns the epoch and the last moment before it.
func (s store) epochOf() (at, before time.Time) {
	at, err := s.Epoch(s.k.Context())
	if err != nil {
		s.k.Fatalf("Epoch() = %v", err)
	}
	return at, at.Add(-time.Nanosecond)
}

func epochRights(k *kit) {
	s := k.open()
	at, before := s.epochOf()
	old, first := k.right(), k.right()
	old.Issued, first.Issued = before, at
	s.denied(replay.ErrBeforeEpoch, newOwner(), old)
	s.denied(replay.ErrBeforeEpoch, newOwner(), first, old)
	s.spent(false, old.ID, first.ID)
	s.claim(replay.Won, newOwner(), first)
	sid := newID("sid")
	if v, o, err := s.Take(k.Context(), k.place(sid, 0, 0), newOwner(), old); v == replay.Granted || o.Granted() || err == nil {
		k.Fatalf("Take of a right before the epoch = %v, %v, %v, want an error", v, o, err)
	}
}

func epochSets(k *kit) {
	s, sid := k.open(), newID("sid")
	at, before := s.epochOf()
	r := k.request(sid, 0, 1)
	r.Issued = before
	s.restoreDenied(replay.ErrBeforeEpoch, r)
	r.Issued = at
	s.granted(1, r)
}

// latest is the last second of which the store grants something now.
func (s store) latest() time.Time {
	epoch, _ := s.epochOf()
	return time.Unix(max(epoch.Unix(), s.k.now().Add(replay.MaxAhead).Unix()), 0)
}

// datedAhead: the store can't tell about it yet, and changes nothing. Later it can.
func datedAhead(k *kit) {
	s, sid, owner := k.open(), newID("sid"), newOwner()
	ahead, good := k.right(), k.right()
	ahead.Issued = s.latest().Add(3 * time.Second)
	s.denied(replay.ErrAhead, owner, ahead)
	s.denied(replay.ErrAhead, owner, good, ahead)
	if v, o, err := s.Take(k.Context(), k.place(sid, 0, 0), owner, ahead); v != replay.Refused || o != replay.Lost || !errors.Is(err, replay.ErrAhead) {
		k.Fatalf("Take = %v, %v, %v, want %v", v, o, err, replay.ErrAhead)
	}
	set, burning := k.request(sid, 0, 1), k.request(sid, 0, 1)
	set.Issued = ahead.Issued
	s.restoreDenied(replay.ErrAhead, set)
	for _, burn := range []replay.Burn{required(ahead), optional(ahead)} {
		burning.Burn = []replay.Burn{required(good), burn}
		s.restoreDenied(replay.ErrAhead, burning)
	}
	s.spent(false, ahead.ID, good.ID)
	good.Issued = s.latest()
	s.claim(replay.Won, owner, good)
	k.advance(5 * time.Second)
	s.claim(replay.Won, owner, ahead)
	s.granted(1, set)
}

func keepUntil(k *kit) {
	s, o := k.open(), newOwner()
	r := k.rightUntil(k.now().Add(3 * time.Second))
	sid, gone := newID("sid"), k.now().Add(3*time.Second)
	s.claim(replay.Won, o, r)
	if err := s.Revoke(k.Context(), sid, gone); err != nil {
		k.Fatalf("Revoke = %v", err)
	}
	request := k.request(sid, 0, 1)
	request.KeepUntil = gone
	k.advance(2 * time.Second)
	s.claim(replay.Won, newOwner(), k.right()) // gives the store a reason to purge
	s.claim(replay.Lost, newOwner(), r)
	s.claim(replay.Mine, o, r)
	s.restore(replay.Revoked, request)
	k.advance(3 * time.Second)
	for range 2 {
		s.denied(replay.ErrBeyondHorizon, newOwner(), r)
		s.denied(replay.ErrBeyondHorizon, o, r)
		s.restoreDenied(replay.ErrBeyondHorizon, request)
		s.claim(replay.Won, newOwner(), k.right())
	}
}

func pastRefused(k *kit) {
	s, sid, past := k.open(), newID("sid"), k.now().Add(-3*time.Second)
	old, good := k.rightUntil(past), k.right()
	s.denied(replay.ErrBeyondHorizon, newOwner(), old)
	s.denied(replay.ErrBeyondHorizon, newOwner(), good, old)
	s.denied(replay.ErrBeyondHorizon, newOwner(), k.rightUntil(time.Time{}))
	s.spent(false, old.ID, good.ID)
	r := k.request(sid, 0, 1)
	r.KeepUntil = past
	s.restoreDenied(replay.ErrBeyondHorizon, r)
	s.placeDenied(replay.ErrBeyondHorizon, until(k.place(sid, 0, 9), past))
	if err := s.Revoke(k.Context(), sid, past); err == nil {
		k.Fatal("Revoke until a moment that is past = nil, want an error")
	}
	if err := s.Revoke(k.Context(), sid, time.Time{}); err == nil {
		k.Fatal("Revoke until the zero time = nil, want an error")
	}
	// None of them left a trace.
	r = k.request(sid, 0, 1)
	r.Strict = true
	s.granted(1, r)
}

func keepsTheLonger(k *kit) {
	s, sid := k.open(), newID("sid")
	for _, d := range []time.Duration{2 * time.Second, time.Hour, 2 * time.Second} {
		if err := s.Revoke(k.Context(), sid, k.now().Add(d)); err != nil {
			k.Fatalf("Revoke = %v", err)
		}
	}
	marked := newID("sid")
	for gen, d := range []time.Duration{2 * time.Second, time.Hour, 2 * time.Second} {
		v, err := s.Protect(k.Context(), until(k.place(marked, 0, uint64(gen)+1), k.now().Add(d)))
		if v != replay.Granted || err != nil {
			k.Fatalf("Protect = %v, %v", v, err)
		}
	}
	k.advance(5 * time.Second)
	s.claim(replay.Won, newOwner(), k.right())
	s.restore(replay.Revoked, k.request(sid, 0, 1))
	r := k.request(marked, 0, 2)
	r.Strict = true
	s.restore(replay.RolledBack, r)
}

func clockStepsBack(k *kit) {
	s := k.open()
	stepBackAfterPurge(k, s, s)
}

func clockStepsBackReopened(k *kit) {
	s := k.open()
	stepBackAfterPurge(k, s, k.reopen(s))
}

// stepBackAfterPurge spends on s, lets s purge, and asks then under a clock at
// which the records would still be good.
func stepBackAfterPurge(k *kit, s, then store) {
	r := k.rightUntil(k.now().Add(3 * time.Second))
	sid, gone := newID("sid"), k.now().Add(3*time.Second)
	s.claim(replay.Won, newOwner(), r)
	if err := s.Revoke(k.Context(), sid, gone); err != nil {
		k.Fatalf("Revoke = %v", err)
	}
	request := k.request(sid, 0, 1)
	request.KeepUntil = gone
	stolen := k.request(newID("sid"), 0, 1)
	stolen.KeepUntil, stolen.Login = gone, s.login(newID("subject"))
	if err := s.RevokeSubject(k.Context(), stolen.Login.Subject, gone, gone); err != nil {
		k.Fatalf("RevokeSubject = %v", err)
	}
	k.advance(6 * time.Second)
	for range 3 {
		s.claim(replay.Won, newOwner(), k.right())
	}
	k.stepBack(5 * time.Second)
	if o, _ := then.Claim(k.Context(), newOwner(), r); o.Granted() {
		k.Fatalf("Claim of a spent right after the clock stepped back = %v", o)
	}
	if got, _ := then.Restore(k.Context(), request); got.Verdict == replay.Granted {
		k.Fatal("Restore of a revoked session after the clock stepped back was granted")
	}
	if got, _ := then.Restore(k.Context(), stolen); got.Verdict == replay.Granted {
		k.Fatal("Restore of a revoked subject after the clock stepped back was granted")
	}
	if v, _ := then.Acknowledge(k.Context(), until(k.place(sid, 0, 1), gone)); slices.Contains(v, replay.Granted) {
		k.Fatal("Acknowledge for a revoked session after the clock stepped back was granted")
	}
	if v, o, _ := then.Take(k.Context(), k.place(newID("sid"), 0, 0), newOwner(), r); v == replay.Granted && o.Granted() {
		k.Fatalf("Take of a spent right after the clock stepped back = %v", o)
	}
}
