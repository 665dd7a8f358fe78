package replay

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

// check looks at what rightTable says of its array: in the order of the hashes, no
// right before its place, nothing free between its place and it, the counts true.
func (t *rightTable) check(tb testing.TB) {
	tb.Helper()
	used, last, free := 0, uint64(0), -1
	var past [spans]uint32
	for i := range t.slots {
		s := &t.slots[i]
		if s.keep == 0 {
			free = i
			continue
		}
		h := t.hash(&s.id)
		home := place(h, t.places)
		if h < last || home > i || home <= free {
			tb.Fatalf("slot %d: hash %x after %x, its place is %d, the last free one %d", i, h, last, home, free)
		}
		if int64(s.keep) < t.first {
			tb.Fatalf("slot %d is kept until %d, before the first", i, s.keep)
		}
		used, last = used+1, h
		past[t.span(s.keep)]++
	}
	if used != t.used || past != t.past || used > t.places {
		tb.Fatalf("%d rights in %d places, used = %d; counts %v, want %v", used, t.places, t.used, t.past, past)
	}
}

// plainRight is what the table is compared with.
type plainRight struct {
	owner Owner
	keep  int64
}

// A table says the same as a map, while time passes in small and large steps, and
// forgets nothing before its time.
func TestRightTable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	table := newRightTable(newTableKey(), 1<<20)
	plain := make(map[ID]plainRight)
	now, latest, known := int64(1_000_000), int64(0), make([]ID, 0, 100_000)
	for step := range 150_000 {
		switch rnd.IntN(4000) {
		case 0:
			now += rnd.Int64N(200)
		case 1:
			now += rnd.Int64N(5000)
		case 2:
			now -= rnd.Int64N(100)
		case 3:
			table.renew(now, 0)
			table.check(t)
		}
		latest = max(latest, now)
		var id ID
		if len(known) > 0 && rnd.IntN(3) == 0 {
			id = known[rnd.IntN(len(known))]
		} else {
			binary.LittleEndian.PutUint64(id[:], rnd.Uint64())
			binary.LittleEndian.PutUint64(id[8:], rnd.Uint64())
			known = append(known, id)
		}
		owner, keep := Owner{byte(rnd.IntN(3))}, now+rnd.Int64N(3000)
		was, held := plain[id]
		got := table.outcome(id, owner)
		switch {
		case held && was.owner != owner && got == Mine, !held && got != Won:
			t.Fatalf("step %d: outcome = %v, held by %v: %v", step, got, was.owner, held)
		case held && got == Won && (table.horizon < was.keep || latest <= was.keep):
			t.Fatalf("step %d: a right until %d is forgotten, the horizon is %d, the latest time %d", step, was.keep, table.horizon, latest)
		case got == Lost:
			continue
		}
		if keep <= table.horizon {
			continue // Admission would have refused it.
		}
		table.spend(now, owner, Right{ID: id, KeepUntil: time.Unix(keep, 0)})
		if got == Mine {
			keep = max(keep, was.keep)
		}
		plain[id] = plainRight{owner, keep}
	}
	table.check(t)
	if table.horizon == none || table.used == 0 {
		t.Fatalf("nothing was purged or all was: %d rights, horizon %d", table.used, table.horizon)
	}
	table.renew(now+10_000, 0)
	if table.check(t); table.used != 0 || table.places != minPlaces {
		t.Errorf("when all is past, %d rights in %d places are left", table.used, table.places)
	}
}

// All rights on one place: the array is still enlarged where its end is full.
func TestRightTableCrowded(t *testing.T) {
	table := newRightTable(&tableKey{newTableKey().block, 1}, 1<<20)
	for n := range 2000 {
		var id ID // hashes close to the largest
		binary.LittleEndian.PutUint64(id[:], ^uint64(0)-uint64(n))
		r := Right{ID: id, KeepUntil: time.Unix(500, 0)}
		if table.outcome(id, Owner{}) != Won || !table.spend(100, Owner{1}, r) {
			t.Fatalf("right %d is not new", n)
		}
		if got := table.outcome(id, Owner{1}); got != Mine {
			t.Fatalf("outcome of right %d = %v, want mine", n, got)
		}
	}
	table.check(t)
}

// A KeepUntil that does not fit in 32 bits is for ever.
func TestRightTableForEver(t *testing.T) {
	table := newRightTable(newTableKey(), 8)
	far := time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)
	table.spend(100, Owner{1}, Right{ID: ID{1}, KeepUntil: far})
	table.purge(far.Unix() + 1)
	if got := table.outcome(ID{1}, Owner{2}); got != Lost {
		t.Errorf("outcome = %v, want lost", got)
	}
}

// Two ids of one hash are two rights.
func TestRightTableSameHash(t *testing.T) {
	table := newRightTable(newTableKey(), 1<<20)
	for n := range uint64(500) {
		for _, halves := range [][2]uint64{{n, 1000}, {1000, n}} {
			var id ID
			binary.LittleEndian.PutUint64(id[:], halves[0])
			binary.LittleEndian.PutUint64(id[8:], halves[1])
			if table.outcome(id, Owner{1}) != Won {
				t.Fatalf("%x is not new", id)
			}
			table.spend(100, Owner{1}, Right{ID: id, KeepUntil: time.Unix(500, 0)})
		}
	}
	table.check(t)
	for i := range table.slots {
		if s := table.slots[i]; s.keep != 0 && table.outcome(s.id, Owner{1}) != Mine {
			t.Errorf("%x is not found", s.id)
		}
	}
}

// Owners differ for a table if any byte of them does.
func TestRightTableOwners(t *testing.T) {
	table := newRightTable(newTableKey(), 8)
	table.spend(100, Owner{}, Right{ID: ID{1}, KeepUntil: time.Unix(500, 0)})
	for i := range len(Owner{}) {
		other := Owner{}
		other[i] = 1
		if got := table.outcome(ID{1}, other); got != Lost {
			t.Errorf("outcome for an owner with another byte %d = %v, want lost", i, got)
		}
	}
	if got := table.outcome(ID{1}, Owner{}); got != Mine {
		t.Errorf("outcome for the owner = %v, want mine", got)
	}
}
