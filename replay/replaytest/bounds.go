package replaytest

import (
	"errors"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

var boundChecks = []check{
	{name: "bounds/full of rights refuses and evicts nothing", clause: 8, needs: bounds, run: fullOfRights},
	{name: "bounds/a batch that does not fit writes nothing", clause: 8, needs: bounds, run: fullForBatch},
	{name: "bounds/full of sessions refuses and evicts nothing", clause: 8, needs: bounds, run: fullOfSessions},
	{name: "bounds/a restore that does not fit writes nothing", clause: 8, needs: bounds, run: fullForRestore},
	{name: "bounds/what is past makes room", clause: 8, needs: bounds, run: roomAgain},
}

func fullOfRights(k *kit) {
	s, o := k.bounded(Bounds{Rights: 4, Sessions: 4, Subjects: 4}), newOwner()
	var rights []replay.Right
	for range 4 {
		r := k.right()
		s.claim(replay.Won, o, r)
		rights = append(rights, r)
	}
	for range 8 {
		s.denied(replay.ErrFull, newOwner(), k.right())
	}
	sid := newID("sid")
	if v, out, err := s.Take(k.Context(), k.place(sid, 0, 0), newOwner(), k.right()); out.Granted() || !errors.Is(err, replay.ErrFull) {
		k.Fatalf("Take in a full store = %v, %v, %v, want ErrFull", v, out, err)
	}
	for _, r := range rights {
		s.claim(replay.Lost, newOwner(), r)
		s.claim(replay.Mine, o, r)
	}
	s.claim(replay.Mine, o, rights...)
}

func fullForBatch(k *kit) {
	s, o := k.bounded(Bounds{Rights: 3, Sessions: 4, Subjects: 4}), newOwner()
	s.claim(replay.Won, o, k.right(), k.right())
	a, b := k.right(), k.right()
	s.denied(replay.ErrFull, newOwner(), a, b)
	s.spent(false, a.ID, b.ID)
	s.claim(replay.Won, o, a, a) // one place is enough for one right
	s.denied(replay.ErrFull, newOwner(), b)
}

func fullOfSessions(k *kit) {
	s := k.bounded(Bounds{Rights: 4, Sessions: 3, Subjects: 4})
	revoked, fenced, marked, one := newID("sid"), newID("sid"), newID("sid"), newID("sid")
	s.revoke(revoked)
	s.granted(1, k.request(fenced, 0, 1))
	s.protect(replay.Granted, marked, 0, 5)
	s.restoreDenied(replay.ErrFull, k.request(one, 0, 1))
	if v, err := s.Protect(k.Context(), k.place(one, 0, 1)); v == replay.Granted || !errors.Is(err, replay.ErrFull) {
		k.Fatalf("Protect in a full store = %v, %v, want ErrFull", v, err)
	}
	if err := s.Revoke(k.Context(), one, k.keep()); !errors.Is(err, replay.ErrFull) {
		k.Fatalf("Revoke in a full store = %v, want ErrFull", err)
	}
	s.acknowledgeAll(replay.ErrFull, []answered{{k.place(one, 0, 1), replay.Granted}, {k.place(fenced, 1, 7), replay.Granted}})
	s.restore(replay.Revoked, k.request(revoked, 0, 1))
	s.restore(replay.Superseded, k.request(fenced, 0, 1))
	r := k.request(marked, 0, 4)
	r.Strict = true
	s.restore(replay.RolledBack, r)
	s.restore(replay.Superseded, k.request(fenced, 1, 6))
	s.granted(2, k.request(fenced, 1, 7))
}

func fullForRestore(k *kit) {
	s, sid := k.bounded(Bounds{Rights: 1, Sessions: 4, Subjects: 4}), newID("sid")
	s.claim(replay.Won, newOwner(), k.right())
	r := k.request(sid, 0, 1)
	burn := k.right()
	r.Burn = []replay.Burn{{Right: burn}}
	s.restoreDenied(replay.ErrFull, r)
	s.spent(false, burn.ID)
	s.granted(1, k.request(sid, 0, 1)) // the fence did not move
}

func roomAgain(k *kit) {
	s, soon := k.bounded(Bounds{Rights: 2, Sessions: 1, Subjects: 4}), k.now().Add(2*time.Second)
	s.claim(replay.Won, newOwner(), k.rightUntil(soon), k.rightUntil(soon))
	if err := s.Revoke(k.Context(), newID("sid"), soon); err != nil {
		k.Fatalf("Revoke = %v", err)
	}
	s.denied(replay.ErrFull, newOwner(), k.right())
	k.advance(5 * time.Second)
	s.claim(replay.Won, newOwner(), k.right(), k.right())
	s.granted(1, k.request(newID("sid"), 0, 1))
}
