package replaytest

import "github.com/sealedblob/sealedblob/replay"

var fenceChecks = []check{
	{name: "protect/under another fence is superseded", run: protectFenced},
	{name: "protect/race with a restore", clause: 1, run: protectRace},
	{name: "take/spends under the fence", run: takeSpends},
	{name: "take/under another fence spends nothing", run: takeFenced},
	{name: "take/leaves the watermark alone", run: takeLeavesWatermark},
	{name: "take/race of 64 owners", clause: 1, run: takeRace},
	{name: "take/race with a restore", clause: 1, run: takeVersusRestore},
	{name: "revoke/refuses everything", run: revokeRefuses},
	{name: "revoke/works on an absent record", run: revokeAbsent},
}

func protectFenced(k *kit) {
	s, sid := k.open(), newID("sid")
	s.protect(replay.Superseded, sid, 1, 9)
	s.granted(1, k.request(sid, 0, 1))
	s.protect(replay.Superseded, sid, 0, 9)
	s.protect(replay.Superseded, sid, 2, 9)
	r := k.request(sid, 1, 1)
	r.Strict = true
	s.granted(2, r) // the refused ones marked nothing
	s.protect(replay.Granted, sid, 2, 9)
}

// protectRace: a change is protected, or a set without it restored; never both.
func protectRace(k *kit) {
	s := k.open()
	for round := range 32 {
		sid := newID("sid")
		r := k.request(sid, 0, 1)
		r.Strict = true
		got := race(2, func(i int) bool {
			if i == round%2 { // either may get a head start
				v, err := s.Protect(k.Context(), k.place(sid, 0, 2))
				return err == nil && v == replay.Granted
			}
			got, err := s.Restore(k.Context(), r)
			return err == nil && got.Verdict == replay.Granted
		})
		if got[true] != 1 {
			k.Fatalf("%d of a protected change and a restore of the set before it were granted, want 1", got[true])
		}
	}
}

func takeSpends(k *kit) {
	s, sid, r, o := k.open(), newID("sid"), k.right(), newOwner()
	s.take(replay.Granted, replay.Won, sid, 0, o, r)
	s.take(replay.Granted, replay.Mine, sid, 0, o, r)
	s.take(replay.Granted, replay.Lost, sid, 0, newOwner(), r)
	s.claim(replay.Mine, o, r)
	s.claim(replay.Lost, newOwner(), r)
	s.granted(1, k.request(sid, 0, 1))
	s.take(replay.Granted, replay.Mine, sid, 1, o, r)
	s.take(replay.Granted, replay.Won, sid, 1, o, k.right())
	claimed := k.right()
	s.claim(replay.Won, o, claimed)
	s.take(replay.Granted, replay.Lost, sid, 1, newOwner(), claimed)
}

func takeFenced(k *kit) {
	s, sid, r := k.open(), newID("sid"), k.right()
	s.take(replay.Superseded, replay.Lost, sid, 1, newOwner(), r)
	s.granted(1, k.request(sid, 0, 1))
	s.take(replay.Superseded, replay.Lost, sid, 0, newOwner(), r)
	s.take(replay.Superseded, replay.Lost, sid, 2, newOwner(), r)
	s.spent(false, r.ID)
	s.take(replay.Granted, replay.Won, sid, 1, newOwner(), r)
}

func takeLeavesWatermark(k *kit) {
	s, sid := k.open(), newID("sid")
	first := k.request(sid, 0, 3)
	s.granted(1, first)
	s.take(replay.Granted, replay.Won, sid, 1, newOwner(), k.right())
	s.granted(2, first) // nothing was protected: the same attempt wins again
	s.take(replay.Granted, replay.Won, sid, 2, newOwner(), k.right())
	r := k.request(sid, 2, 0)
	r.Strict = true
	if got := s.granted(3, r); got.BehindWatermark {
		k.Fatal("Take raised the watermark")
	}
}

func takeRace(k *kit) {
	s, sid, r := k.open(), newID("sid"), k.right()
	got := race(racers, func(int) replay.Outcome {
		v, o, err := s.Take(k.Context(), k.place(sid, 0, 0), newOwner(), r)
		if err != nil || v != replay.Granted {
			k.Errorf("Take = %v, %v, %v", v, o, err)
		}
		return o
	})
	if got[replay.Won] != 1 || got[replay.Lost] != racers-1 {
		k.Fatalf("outcomes %v, want one won and the rest lost", got)
	}
}

// takeVersusRestore: what was refused for the fence was not spent.
func takeVersusRestore(k *kit) {
	s := k.open()
	for round := range 32 {
		sid, r := newID("sid"), k.right()
		took := race(2, func(i int) replay.Outcome {
			if i == round%2 {
				s.Restore(k.Context(), k.request(sid, 0, 1))
				return replay.Mine
			}
			v, o, err := s.Take(k.Context(), k.place(sid, 0, 0), newOwner(), r)
			if err != nil || (v == replay.Granted) != (o == replay.Won) {
				k.Errorf("Take = %v, %v, %v", v, o, err)
			}
			return o
		})
		s.spent(took[replay.Won] == 1, r.ID)
		s.protect(replay.Granted, sid, 1, 1)
	}
}

func revokeRefuses(k *kit) {
	s, sid, right := k.open(), newID("sid"), k.right()
	won := k.request(sid, 0, 3)
	s.granted(1, won)
	s.protect(replay.Granted, sid, 1, 4)
	s.revoke(sid)
	s.revoke(sid)
	s.restore(replay.Revoked, won)
	for fence := range uint64(4) {
		s.restore(replay.Revoked, k.request(sid, fence, 9))
		s.protect(replay.Revoked, sid, fence, 9)
		s.take(replay.Revoked, replay.Lost, sid, fence, newOwner(), right)
		s.acknowledge(replay.Revoked, sid, fence, 9)
	}
	s.restore(replay.Revoked, k.request(sid, 1, 9))
	s.spent(false, right.ID)
}

func revokeAbsent(k *kit) {
	s, sid := k.open(), newID("sid")
	s.revoke(sid)
	s.restore(replay.Revoked, k.request(sid, 0, 1))
	s.restore(replay.Revoked, k.request(sid, 1, 1))
	s.protect(replay.Revoked, sid, 0, 1)
}
