package replaytest

import (
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

var burnChecks = []check{
	{name: "burn/spends with the restore", clause: 11, run: burnSpends},
	{name: "burn/required and spent refuses all", clause: 3, run: burnRequired},
	{name: "burn/not required is lost alone", run: burnOptional},
	{name: "burn/a refused restore burns nothing", clause: 3, run: burnNothing},
	{name: "burn/unknowable rights", run: burnUnknowable},
	{name: "burn/listed twice", run: burnTwice},
	{name: "burn/race of sessions for one right", clause: 1, run: burnRace},
	{name: "look/reports and spends nothing", run: lookReports},
}

func required(r replay.Right) replay.Burn { return replay.Burn{Right: r, Required: true} }
func optional(r replay.Right) replay.Burn { return replay.Burn{Right: r} }

// burnt expects the outcomes of a granted restore.
func (k *kit) burnt(got replay.Restored, want ...replay.Outcome) {
	k.Helper()
	if !slices.Equal(got.Burnt, want) {
		k.Fatalf("Burnt = %v, want %v", got.Burnt, want)
	}
}

func burnSpends(k *kit) {
	s, a, b := k.open(), k.right(), k.right()
	r := k.request(newID("sid"), 0, 1)
	r.Burn = []replay.Burn{required(a), optional(b)}
	k.burnt(s.granted(1, r), replay.Won, replay.Won)
	s.spent(true, a.ID, b.ID)
	s.claim(replay.Lost, newOwner(), a)
	k.burnt(s.granted(2, r), replay.Mine, replay.Mine)
	s.claim(replay.Mine, r.Attempt, a, b) // the attempt owns them
}

func burnRequired(k *kit) {
	s, held := k.open(), k.right()
	s.claim(replay.Won, newOwner(), held)
	for place := range 3 {
		sid, fresh := newID("sid"), []replay.Right{k.right(), k.right()}
		r := k.request(sid, 0, 1)
		r.Burn = slices.Insert([]replay.Burn{required(fresh[0]), optional(fresh[1])}, place, required(held))
		s.restore(replay.Spent, r)
		s.spent(false, fresh[0].ID, fresh[1].ID)
		s.protect(replay.Granted, sid, 0, 1) // still under fence 0
		s.granted(1, k.request(sid, 0, 1))
	}
}

func burnOptional(k *kit) {
	s, held := k.open(), k.right()
	s.claim(replay.Won, newOwner(), held)
	for place := range 3 {
		r := k.request(newID("sid"), 0, 1)
		r.Burn = slices.Insert([]replay.Burn{required(k.right()), optional(k.right())}, place, optional(held))
		want := slices.Insert([]replay.Outcome{replay.Won, replay.Won}, place, replay.Lost)
		k.burnt(s.granted(1, r), want...)
	}
}

func burnNothing(k *kit) {
	s, right := k.open(), k.right()
	revoked, moved, marked := newID("sid"), newID("sid"), newID("sid")
	s.revoke(revoked)
	s.granted(1, k.request(moved, 0, 1))
	s.protect(replay.Granted, marked, 0, 5)
	for sid, want := range map[replay.ID]replay.Verdict{revoked: replay.Revoked, moved: replay.Superseded, marked: replay.RolledBack} {
		r := k.request(sid, 0, 1)
		r.Strict, r.Burn, r.Look = true, []replay.Burn{required(right), optional(right)}, []replay.ID{right.ID}
		s.restore(want, r)
		s.spent(false, right.ID)
	}
	// The set is judged before its rights.
	s.claim(replay.Won, newOwner(), right)
	r := k.request(moved, 0, 1)
	r.Burn = []replay.Burn{required(right)}
	s.restore(replay.Superseded, r)
}

// burnUnknowable: a right before the epoch or beyond the horizon is lost alone,
// or refuses the restore if it is required.
func burnUnknowable(k *kit) {
	s, good := k.open(), k.right()
	_, before := s.epochOf()
	old, past := k.right(), k.rightUntil(k.now().Add(-3*time.Second))
	old.Issued = before
	sid := newID("sid")
	for want, bad := range map[error]replay.Right{replay.ErrBeforeEpoch: old, replay.ErrBeyondHorizon: past} {
		r := k.request(sid, 0, 1)
		r.Burn = []replay.Burn{required(good), required(bad)}
		s.restoreDenied(want, r)
		s.spent(false, good.ID, bad.ID)
	}
	r := k.request(sid, 0, 1)
	r.Burn = []replay.Burn{optional(old), required(good), optional(past)}
	k.burnt(s.granted(1, r), replay.Lost, replay.Won, replay.Lost)
}

func burnTwice(k *kit) {
	s, right := k.open(), k.right()
	r := k.request(newID("sid"), 0, 1)
	r.Burn = []replay.Burn{required(right), optional(right), required(right)}
	for i, o := range s.granted(1, r).Burnt {
		if !o.Granted() {
			k.Fatalf("Burnt[%d] = %v, want it granted", i, o)
		}
	}
	s.claim(replay.Lost, newOwner(), right)
}

func burnRace(k *kit) {
	s, right := k.open(), k.right()
	got := race(16, func(int) replay.Verdict {
		r := k.request(newID("sid"), 0, 1)
		r.Burn = []replay.Burn{required(right)}
		got, err := s.Restore(k.Context(), r)
		if err != nil {
			k.Errorf("Restore = %v", err)
		}
		return got.Verdict
	})
	if got[replay.Granted] != 1 || got[replay.Spent] != 15 {
		k.Fatalf("verdicts %v, want one granted and the rest spent", got)
	}
}

func lookReports(k *kit) {
	s, free, held, burn := k.open(), k.right(), k.right(), k.right()
	s.claim(replay.Won, newOwner(), held)
	r := k.request(newID("sid"), 0, 1)
	r.Burn = []replay.Burn{required(burn)}
	r.Look = []replay.ID{held.ID, free.ID, held.ID}
	got := s.granted(1, r)
	if want := []bool{true, false, true}; !slices.Equal(got.Spent, want) {
		k.Fatalf("Spent = %v, want %v", got.Spent, want)
	}
	s.spent(false, free.ID)
	s.claim(replay.Won, newOwner(), free)
}
