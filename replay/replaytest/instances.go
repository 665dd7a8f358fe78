package replaytest

import "github.com/sealedblob/sealedblob/replay"

var instanceChecks = []check{
	{name: "instances/two on one backend agree", clause: 1, needs: reopen, run: instancesAgree},
	{name: "instances/race of claims", clause: 1, needs: reopen, run: instancesRace},
	{name: "instances/race of restores", clause: 1, needs: reopen, run: instancesRestoreRace},
	{name: "instances/closing one leaves the other", clause: 2, needs: reopen, run: instancesClose},
	{name: "instances/reopened, everything is remembered", clause: 2, needs: reopen, run: reopenRemembers},
}

func instancesAgree(k *kit) {
	a := k.open()
	b := k.reopen(a)
	r, o := k.right(), newOwner()
	a.claim(replay.Won, o, r)
	b.spent(true, r.ID)
	b.claim(replay.Lost, newOwner(), r)
	b.claim(replay.Mine, o, r)
	sid := newID("sid")
	b.granted(1, k.request(sid, 0, 1))
	a.protect(replay.Superseded, sid, 0, 2)
	a.take(replay.Superseded, replay.Lost, sid, 0, newOwner(), k.right())
	a.protect(replay.Granted, sid, 1, 5)
	a.acknowledge(replay.Superseded, sid, 0, 3)
	a.acknowledge(replay.Granted, sid, 1, 3)
	b.restore(replay.Superseded, k.request(sid, 1, 2))
	strict := k.request(sid, 1, 4)
	strict.Strict = true
	b.restore(replay.RolledBack, strict)
	b.revoke(sid)
	a.acknowledge(replay.Revoked, sid, 1, 3)
	a.restore(replay.Revoked, k.request(sid, 1, 9))
	l := a.login(newID("subject"))
	b.revokeSubject(l.Subject)
	a.everywhere(replay.Revoked, l)
	a.everywhere(replay.Granted, a.login(l.Subject))
	renewed, next := newID("sid"), newID("sid")
	a.renew(replay.Granted, renewed, 0, next)
	b.renew(replay.Granted, renewed, 0, next)
	b.renew(replay.Revoked, renewed, 0, newID("sid"))
	ea, _ := a.epochOf()
	if eb, _ := b.epochOf(); !ea.Equal(eb) {
		k.Fatalf("Epoch() = %v and %v on one backend", ea, eb)
	}
}

func instancesRace(k *kit) {
	a := k.open()
	both := []store{a, k.reopen(a)}
	for range 8 {
		r := k.right()
		got := race(racers, func(i int) replay.Outcome { return both[i%2].tryClaim(newOwner(), r) })
		if got[replay.Won] != 1 || got[replay.Lost] != racers-1 {
			k.Fatalf("outcomes %v, want one won and the rest lost", got)
		}
	}
}

func instancesRestoreRace(k *kit) {
	a := k.open()
	both := []store{a, k.reopen(a)}
	for range 8 {
		sid := newID("sid")
		got := race(16, func(i int) replay.Verdict {
			got, err := both[i%2].Restore(k.Context(), k.request(sid, 0, 1))
			if err != nil {
				k.Errorf("Restore = %v", err)
			}
			return got.Verdict
		})
		if got[replay.Granted] != 1 || got[replay.Superseded] != 15 {
			k.Fatalf("verdicts %v, want one granted and the rest superseded", got)
		}
	}
}

func instancesClose(k *kit) {
	a := k.open()
	b := k.reopen(a)
	r := k.right()
	a.claim(replay.Won, newOwner(), r)
	if err := a.Close(); err != nil {
		k.Fatalf("Close() = %v", err)
	}
	b.claim(replay.Lost, newOwner(), r)
	b.claim(replay.Won, newOwner(), k.right())
}

func reopenRemembers(k *kit) {
	s, right, o := k.open(), k.right(), newOwner()
	moved, marked, revoked := newID("sid"), newID("sid"), newID("sid")
	won := k.request(moved, 0, 1)
	burn := k.right()
	won.Burn = []replay.Burn{required(burn)}
	s.claim(replay.Won, o, right)
	s.granted(1, won)
	stale := newID("sid")
	s.protect(replay.Granted, stale, 0, 5)
	behind := k.request(stale, 0, 4)
	s.granted(1, behind)
	s.protect(replay.Granted, marked, 0, 5)
	s.acknowledge(replay.Granted, marked, 0, 3)
	s.revoke(revoked)
	renewed, next, old := newID("sid"), newID("sid"), s.login(newID("subject"))
	s.renew(replay.Granted, renewed, 0, next)
	s.revokeSubject(old.Subject)
	cut := s.cut(old.Subject)
	epoch, _ := s.epochOf()
	if err := s.Close(); err != nil {
		k.Fatalf("Close() = %v", err)
	}

	s = k.reopen(s)
	if again, _ := s.epochOf(); !again.Equal(epoch) {
		k.Fatalf("Epoch() = %v, then %v", epoch, again)
	}
	s.claim(replay.Mine, o, right)
	s.claim(replay.Lost, newOwner(), right)
	s.spent(true, right.ID, burn.ID)
	s.restore(replay.Superseded, k.request(moved, 0, 1))
	k.burnt(s.granted(2, won), replay.Mine)
	s.restore(replay.Superseded, k.request(marked, 0, 2))
	strict := k.request(marked, 0, 4)
	strict.Strict = true
	s.restore(replay.RolledBack, strict)
	s.restore(replay.Revoked, k.request(revoked, 0, 1))
	if got := s.granted(2, behind); !got.BehindWatermark {
		k.Fatal("Restore once more after reopening: BehindWatermark = true, then false")
	}
	s.renew(replay.Granted, renewed, 0, next)
	s.renew(replay.Revoked, renewed, 0, newID("sid"))
	s.everywhere(replay.Revoked, old)
	if again := s.cut(old.Subject); !again.Equal(cut) {
		k.Fatalf("SubjectCut = %v, then %v", cut, again)
	}
}
