package replaytest

import (
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// operateChecks are for stores that somebody can tend.
var operateChecks = []check{
	{name: "operate/status counts", run: statusCounts},
	{name: "operate/purge forgets what is past alone", clause: 5, run: purgeForgets},
	{name: "operate/a raised epoch refuses what is older", clause: 7, run: epochRaised},
	{name: "operate/a raised epoch is that of all instances", clause: 7, needs: reopen, run: epochRaisedForAll},
}

// operable is who tends s; without anybody the check is skipped.
func (s store) operable() replay.Operable {
	s.k.Helper()
	if s.k.cfg.Operator != nil {
		return s.k.cfg.Operator(s.k.TB, s.Store)
	}
	o, ok := s.Store.(replay.Operable)
	if !ok {
		s.k.Skipf("%T is not Operable", s.Store)
	}
	return o
}

func statusCounts(k *kit) {
	s := k.open()
	s.claim(replay.Won, newOwner(), k.right(), k.right())
	s.granted(1, k.request(newID("sid"), 0, 1))
	s.revokeSubject(newID("subject"))
	epoch, _ := s.epochOf()
	for range 2 {
		got, err := s.operable().Status(k.Context())
		if err != nil || got.Rights != 2 || got.Sessions != 1 || got.Subjects != 1 || !got.Epoch.Equal(epoch) {
			k.Fatalf("Status = %+v, %v, want 2 rights, 1 session, 1 subject, epoch %v", got, err, epoch)
		}
	}
}

func purgeForgets(k *kit) {
	s, o := k.open(), newOwner()
	brief, lasting, sid, subject := k.rightUntil(k.now().Add(3*time.Second)), k.right(), newID("sid"), newID("subject")
	old := s.login(subject)
	s.claim(replay.Won, o, brief)
	s.claim(replay.Won, o, lasting)
	s.revoke(sid)
	s.revokeSubject(subject)
	k.advance(5 * time.Second)
	for range 2 {
		if err := s.operable().Purge(k.Context()); err != nil {
			k.Fatalf("Purge = %v", err)
		}
		s.denied(replay.ErrBeyondHorizon, newOwner(), brief)
		s.claim(replay.Lost, newOwner(), lasting)
		s.claim(replay.Mine, o, lasting)
		s.restore(replay.Revoked, k.request(sid, 0, 1))
		s.everywhere(replay.Revoked, old)
	}
}

func epochRaised(k *kit) {
	s := k.open()
	raiseEpoch(k, s, s)
}

func epochRaisedForAll(k *kit) {
	s := k.open()
	raiseEpoch(k, s, k.reopen(s))
}

// raiseEpoch raises the epoch of s and looks what then says.
func raiseEpoch(k *kit, s, then store) {
	was, _ := s.epochOf()
	held, old, o := k.right(), k.right(), newOwner()
	set, login := k.request(newID("sid"), 0, 1), s.login(newID("subject"))
	s.claim(replay.Won, o, held)
	k.advance(2 * time.Second)
	ahead := k.right()
	ahead.Issued = s.latest()
	s.claim(replay.Won, o, ahead)
	earliest := replay.FirstEpoch(k.now())
	if err := s.operable().RaiseEpoch(k.Context()); err != nil {
		k.Fatalf("RaiseEpoch = %v", err)
	}
	at, err := then.Epoch(k.Context())
	if latest := replay.FirstEpoch(k.now()); err != nil || !at.After(was) || at.Nanosecond() != 0 || at.Before(earliest) || at.After(latest) {
		k.Fatalf("Epoch() = %v, %v after %v, want a whole second from %v to %v", at, err, was, earliest, latest)
	}
	then.denied(replay.ErrBeforeEpoch, o, ahead)
	then.denied(replay.ErrBeforeEpoch, newOwner(), old)
	then.denied(replay.ErrBeforeEpoch, o, held)
	then.restoreDenied(replay.ErrBeforeEpoch, set)
	then.placeDenied(replay.ErrBeforeEpoch, as(k.place(newID("sid"), 0, 1), login))
	held.Issued = at // what was spent is not forgotten
	then.claim(replay.Lost, newOwner(), held)
	then.claim(replay.Mine, o, held)
	k.issued = at
	then.claim(replay.Won, newOwner(), k.right())
	then.granted(1, k.request(newID("sid"), 0, 1))
	if err := then.operable().RaiseEpoch(k.Context()); err != nil {
		k.Fatalf("RaiseEpoch again = %v", err)
	}
	if again, err := s.Epoch(k.Context()); err != nil || again.Before(at) {
		k.Fatalf("Epoch() = %v, %v after it was %v", again, err, at)
	}
}
