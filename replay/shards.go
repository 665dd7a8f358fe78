package replay

import (
	"math/bits"
	"sync"
)

// maxShards bounds the locks of a Memory: a set of them is a word array.
const maxShards = 256

// shardRoom is the least room of a shard, so that ids, which are as good as
// random, fill all shards alike within a percent.
const shardRoom = 1 << 14

// shards are the rights of a [Memory], by the first byte of their ID. Whoever
// asks of an id holds the lock of its shard, or is alone.
type shards struct {
	all []shard
}

type shard struct {
	sync.Mutex
	table rightTable
	_     [64]byte // the next lock is on another cache line
}

func newShards(room int) *shards {
	n := 1
	for n < maxShards && room/(2*n) >= shardRoom {
		n *= 2
	}
	s := &shards{all: make([]shard, n)}
	key := newTableKey()
	for i := range s.all {
		s.all[i].table = newRightTable(key, (room+i)/n) // in all exactly room
	}
	return s
}

func (s *shards) index(id ID) int { return int(id[0]) & (len(s.all) - 1) }

func (s *shards) of(id ID) *rightTable { return &s.all[s.index(id)].table }

// locks is a set of shards.
type locks [maxShards / 64]uint64

func (l *locks) add(shard int) { l[shard/64] |= 1 << (shard % 64) }

// each calls f in ascending order, in which everybody takes locks.
func (l *locks) each(f func(shard int)) {
	for i, word := range l {
		for ; word != 0; word &= word - 1 {
			f(64*i + bits.TrailingZeros64(word))
		}
	}
}

func (s *shards) lock(l *locks)   { l.each(func(i int) { s.all[i].Lock() }) }
func (s *shards) unlock(l *locks) { l.each(func(i int) { s.all[i].Unlock() }) }

// every is all the locks.
func (s *shards) every() (l locks) {
	for i := range s.all {
		l.add(i)
	}
	return l
}

func (s *shards) outcome(id ID, owner Owner) Outcome { return s.of(id).outcome(id, owner) }

func (s *shards) horizon(id ID) int64 { return s.of(id).horizon }

func (s *shards) room(now int64, rights []Right) bool {
	if len(rights) == 1 {
		return s.of(rights[0].ID).room(now, rights)
	}
	byShard := make(map[int][]Right)
	for _, r := range rights {
		i := s.index(r.ID)
		byShard[i] = append(byShard[i], r)
	}
	for i, some := range byShard {
		if !s.all[i].table.room(now, some) {
			return false
		}
	}
	return true
}

func (s *shards) spend(now int64, owner Owner, r Right) bool { return s.of(r.ID).spend(now, owner, r) }

func (s *shards) set(id ID, r held)      { s.of(id).set(id, r) }
func (s *shards) has(id ID, r held) bool { return s.of(id).has(id, r) }

// purge forgets everything that is past, for which the caller holds every lock.
// Otherwise it does nothing: a table forgets as it is written to.
func (s *shards) purge(now int64, budget int) {
	if budget != everything {
		return
	}
	for i := range s.all {
		s.all[i].table.renew(now, 0)
	}
}

func (s *shards) raise(horizon int64) {
	for i := range s.all {
		s.all[i].table.horizon = max(s.all[i].table.horizon, horizon)
	}
}

// drop forgets everything. The caller holds every lock.
func (s *shards) drop() {
	for i := range s.all {
		s.all[i].table = rightTable{}
	}
}

func (s *shards) status() (rights int, horizon int64) {
	horizon = none
	for i := range s.all {
		t := &s.all[i].table
		rights, horizon = rights+t.used, max(horizon, t.horizon)
	}
	return rights, horizon
}
