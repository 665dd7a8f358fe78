package replaytest

import "github.com/sealedblob/sealedblob/replay"

var renewChecks = []check{
	{name: "renew/ends the old session", run: renewEnds},
	{name: "renew/under another fence is superseded", run: renewFenced},
	{name: "renew/again for the same successor", clause: 11, run: renewAgain},
	{name: "renew/of a revoked session is revoked", run: renewRevoked},
	{name: "renew/race of 64 successors", clause: 1, run: renewRace},
	{name: "renew/race with a restore", clause: 1, run: renewVersusRestore},
}

// renew expects a verdict.
func (s store) renew(want replay.Verdict, session replay.ID, fence uint64, next replay.ID) {
	s.k.Helper()
	if v, err := s.Renew(s.k.Context(), s.k.place(session, fence, 0), next); v != want || err != nil {
		s.k.Fatalf("Renew(fence %d) = %v, %v, want %v", fence, v, err, want)
	}
}

func renewEnds(k *kit) {
	s, right := k.open(), k.right()
	absent, moved := newID("sid"), newID("sid")
	won := k.request(moved, 0, 3)
	s.granted(1, won)
	s.protect(replay.Granted, moved, 1, 4)
	for sid, fence := range map[replay.ID]uint64{absent: 0, moved: 1} {
		next := newID("sid")
		s.renew(replay.Granted, sid, fence, next)
		for fence := range uint64(3) {
			s.restore(replay.Revoked, k.request(sid, fence, 9))
			s.protect(replay.Revoked, sid, fence, 9)
			s.take(replay.Revoked, replay.Lost, sid, fence, newOwner(), right)
			s.acknowledge(replay.Revoked, sid, fence, 9)
		}
		s.protect(replay.Granted, next, 0, 1) // as new as any
		s.granted(1, k.request(next, 0, 1))
	}
	s.restore(replay.Revoked, won)
	s.spent(false, right.ID)
}

func renewFenced(k *kit) {
	s, sid := k.open(), newID("sid")
	s.renew(replay.Superseded, sid, 1, newID("sid"))
	s.granted(1, k.request(sid, 0, 1))
	s.renew(replay.Superseded, sid, 0, newID("sid")) // the copy left behind
	s.renew(replay.Superseded, sid, 2, newID("sid"))
	s.granted(2, k.request(sid, 1, 1))
}

func renewAgain(k *kit) {
	s, sid, next := k.open(), newID("sid"), newID("sid")
	s.granted(1, k.request(sid, 0, 1))
	for range 3 {
		s.renew(replay.Granted, sid, 1, next)
	}
	s.renew(replay.Revoked, sid, 1, newID("sid"))
	s.renew(replay.Revoked, sid, 0, next)
	s.renew(replay.Revoked, sid, 2, next)
	s.revoke(sid) // says nothing new
	s.renew(replay.Granted, sid, 1, next)
}

func renewRevoked(k *kit) {
	s, sid := k.open(), newID("sid")
	s.revoke(sid)
	for range 2 {
		s.renew(replay.Revoked, sid, 0, newID("sid"))
		s.renew(replay.Revoked, sid, 0, replay.ID{})
	}
	s.renew(replay.Revoked, sid, 1, newID("sid"))
}

func renewRace(k *kit) {
	s, sid := k.open(), newID("sid")
	got := race(racers, func(int) replay.Verdict {
		v, err := s.Renew(k.Context(), k.place(sid, 0, 0), newID("sid"))
		if err != nil {
			k.Errorf("Renew = %v", err)
		}
		return v
	})
	if got[replay.Granted] != 1 || got[replay.Revoked] != racers-1 {
		k.Fatalf("verdicts %v, want one granted and the rest revoked", got)
	}
}

// renewVersusRestore: a session goes on here or there, never in both places.
func renewVersusRestore(k *kit) {
	s := k.open()
	for round := range 32 {
		sid := newID("sid")
		got := race(2, func(i int) bool {
			if i == round%2 { // either may get a head start
				v, err := s.Renew(k.Context(), k.place(sid, 0, 0), newID("sid"))
				return err == nil && v == replay.Granted
			}
			got, err := s.Restore(k.Context(), k.request(sid, 0, 1))
			return err == nil && got.Verdict == replay.Granted
		})
		if got[true] != 1 {
			k.Fatalf("%d of a renewal and a restore were granted, want 1", got[true])
		}
	}
}
