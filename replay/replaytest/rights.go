package replaytest

import (
	"errors"
	"slices"
	"sync"

	"github.com/sealedblob/sealedblob/replay"
)

var rightChecks = []check{
	{name: "claim/first wins, owner retries, others lose", clause: 4, run: claimOnce},
	{name: "claim/race of 64 owners", clause: 1, run: claimRace},
	{name: "claim/race of one owner with itself", clause: 11, run: claimRaceSameOwner},
	{name: "claim/batch is all or none", clause: 3, run: batchAllOrNone},
	{name: "claim/batch of own and new", clause: 3, run: batchMixed},
	{name: "claim/batch with duplicates", clause: 3, run: batchDuplicates},
	{name: "claim/race of overlapping batches", clause: 1, run: batchRace},
	{name: "claim/of nothing is an error", run: claimNothing},
	{name: "claim/zero owner is refused", clause: 4, run: claimZeroOwner},
	{name: "spent/reports and writes nothing", run: spentReports},
	{name: "ids/namespaces and kinds are apart", clause: 12, run: idsApart},
}

func claimOnce(k *kit) {
	s, r, first := k.open(), k.right(), newOwner()
	s.claim(replay.Won, first, r)
	s.claim(replay.Mine, first, r)
	s.claim(replay.Lost, newOwner(), r)
	s.claim(replay.Mine, first, r)
	s.claim(replay.Won, first, k.right())
}

// race runs f in n goroutines at once and counts what they return.
func race[T comparable](n int, f func(i int) T) map[T]int {
	var wg sync.WaitGroup
	start, results := make(chan struct{}), make([]T, n)
	for i := range n {
		wg.Go(func() {
			<-start
			results[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	count := make(map[T]int)
	for _, r := range results {
		count[r]++
	}
	return count
}

// tryClaim is for goroutines: it reports an error and goes on.
func (s store) tryClaim(owner replay.Owner, rights ...replay.Right) replay.Outcome {
	o, err := s.Claim(s.k.Context(), owner, rights...)
	if err != nil {
		s.k.Errorf("Claim = %v", err)
	}
	return o
}

const racers = 64

func claimRace(k *kit) {
	s, r := k.open(), k.right()
	for round := range 4 {
		r.ID = newID("uid")
		got := race(racers, func(int) replay.Outcome { return s.tryClaim(newOwner(), r) })
		if got[replay.Won] != 1 || got[replay.Lost] != racers-1 {
			k.Fatalf("round %d: outcomes %v, want one won and the rest lost", round, got)
		}
	}
}

func claimRaceSameOwner(k *kit) {
	s, r, o := k.open(), k.right(), newOwner()
	got := race(racers, func(int) replay.Outcome { return s.tryClaim(o, r) })
	if got[replay.Won] != 1 || got[replay.Mine] != racers-1 {
		k.Fatalf("outcomes %v, want one won and the rest mine", got)
	}
}

func batchAllOrNone(k *kit) {
	s, held := k.open(), k.right()
	s.claim(replay.Won, newOwner(), held)
	for place := range 3 {
		fresh := []replay.Right{k.right(), k.right()}
		batch := slices.Insert(slices.Clone(fresh), place, held)
		s.claim(replay.Lost, newOwner(), batch...)
		s.spent(false, fresh[0].ID, fresh[1].ID)
		s.claim(replay.Won, newOwner(), fresh...)
	}
}

func batchMixed(k *kit) {
	s, a, b, o := k.open(), k.right(), k.right(), newOwner()
	s.claim(replay.Won, o, a)
	s.claim(replay.Won, o, a, b)
	s.claim(replay.Mine, o, b, a)
	s.claim(replay.Mine, o, b)
	s.claim(replay.Lost, newOwner(), b)
	// Own, new and another's: the new one stays free.
	c, other := k.right(), k.right()
	s.claim(replay.Won, newOwner(), other)
	s.claim(replay.Lost, o, a, c, other)
	s.spent(false, c.ID)
	s.claim(replay.Mine, o, a)
}

func batchDuplicates(k *kit) {
	s, a, b, o := k.open(), k.right(), k.right(), newOwner()
	s.claim(replay.Won, o, a, b, a)
	s.claim(replay.Mine, o, a, a)
	s.claim(replay.Lost, newOwner(), b, b)
}

func batchRace(k *kit) {
	s := k.open()
	for range 4 {
		a, b, c := k.right(), k.right(), k.right()
		batches := [][]replay.Right{{a, b}, {b, a}, {b, a, c}, {a, c, b}}
		got := race(32, func(i int) replay.Outcome { return s.tryClaim(newOwner(), batches[i%len(batches)]...) })
		if got[replay.Won] != 1 || got[replay.Lost] != 31 {
			k.Fatalf("outcomes %v, want one won and the rest lost", got)
		}
	}
}

func claimNothing(k *kit) {
	s := k.open()
	if o, err := s.Claim(k.Context(), newOwner()); o.Granted() || !errors.Is(err, replay.ErrArgument) {
		k.Fatalf("Claim of no rights = %v, %v, want ErrArgument", o, err)
	}
}

// All callers who forget their owner would hold what the first of them won.
func claimZeroOwner(k *kit) {
	s, sid, a := k.open(), newID("sid"), k.right()
	if o, err := s.Claim(k.Context(), replay.Owner{}, a); o != replay.Lost || !errors.Is(err, replay.ErrNoOwner) {
		k.Fatalf("Claim without an owner = %v, %v", o, err)
	}
	if v, o, err := s.Take(k.Context(), k.place(sid, 0, 0), replay.Owner{}, a); v != replay.Refused || o != replay.Lost || !errors.Is(err, replay.ErrNoOwner) {
		k.Fatalf("Take without an owner = %v, %v, %v", v, o, err)
	}
	r := k.request(sid, 0, 0)
	r.Attempt, r.Burn = replay.Owner{}, []replay.Burn{{Right: a}}
	if got, err := s.Restore(k.Context(), r); got.Verdict != replay.Refused || !errors.Is(err, replay.ErrNoOwner) {
		k.Fatalf("Restore without an attempt = %+v, %v", got, err)
	}
	s.claim(replay.Won, newOwner(), a)
}

func spentReports(k *kit) {
	s, a, b := k.open(), k.right(), k.right()
	s.spent(false, a.ID, b.ID, a.ID)
	s.claim(replay.Won, newOwner(), a)
	got, err := s.Spent(k.Context(), b.ID, a.ID, b.ID, a.ID)
	if want := []bool{false, true, false, true}; err != nil || !slices.Equal(got, want) {
		k.Fatalf("Spent = %v, %v, want %v", got, err, want)
	}
	s.spent(true)
	s.claim(replay.Won, newOwner(), b)
}

func idsApart(k *kit) {
	s, raw := k.open(), random16()
	names := [][3]string{
		{"app", "uid", string(raw)}, {"app", "sid", string(raw)}, {"app2", "uid", string(raw)},
		{"appu", "id", string(raw)}, {"ap", "puid", string(raw)}, {"app", "uid", string(raw) + "\x00"},
		{"", "appuid", string(raw)}, {"app", "", "uid" + string(raw)},
	}
	for _, n := range names {
		r := k.right()
		r.ID = replay.NewID(n[0], n[1], []byte(n[2]))
		s.claim(replay.Won, newOwner(), r)
	}
	// A revoked session is no spent right.
	sid, r := replay.NewID("app", "sid2", raw), k.right()
	s.revoke(sid)
	r.ID = replay.NewID("app", "uid2", raw)
	s.claim(replay.Won, newOwner(), r)
}
