package replay

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"math"
	"math/bits"
)

// rightTable keeps spent rights in 28 bytes each: an array without pointers, which
// the garbage collector does not look into, in the order of the ids' hashes, each
// right as near behind the place of its hash as those before it let it be (linear
// probing). So the array is filled to 15/16, and is purged or enlarged in one pass
// from its beginning to its end.
//
// Ids are kept in full. Of an owner there are 64 bits of its AES-128 encryption
// under a key of the table: an owner other than the true one is taken for it with
// probability 2^-64 at each try, whatever tokens are chosen.
type rightTable struct {
	slots   []slot // places, and some more behind the last one
	places  int
	used    int
	max     int
	horizon int64
	key     *tableKey
	in, out Owner // scratch, so that the cipher makes no garbage
	last    answer

	// first is when the first of the rights is past; past counts them by the span of
	// their end, the last for all later ones; base is where the first span begins.
	// They tell when a purge is worth a pass.
	first, base int64
	past        [spans]uint32
}

// answer is what find said last, until the array changes: a claim asks once whether
// a right is free and once more where it goes.
type answer struct {
	id    ID
	at    int
	known bool // that it is so
	found bool
}

type slot struct {
	id   ID
	tag  [8]byte
	keep uint32 // Unix seconds; 0: the slot is free; the largest: for ever
}

const (
	spans     = 64
	span      = 64 // seconds
	minPlaces = 16
	forever   = math.MaxUint32
)

// tableKey is drawn for each Memory: what is sent to it can't be chosen to fall on
// one place, nor an owner to look like another.
type tableKey struct {
	block cipher.Block
	odd   uint64
}

func newTableKey() *tableKey {
	var seed [24]byte
	rand.Read(seed[:])
	block, err := aes.NewCipher(seed[:16])
	if err != nil {
		panic(err) // the length of the key is right
	}
	return &tableKey{block, binary.LittleEndian.Uint64(seed[16:]) | 1}
}

func newRightTable(key *tableKey, room int) rightTable {
	return rightTable{max: room, horizon: none, key: key, first: forever}
}

func (t *rightTable) hash(id *ID) uint64 {
	return (binary.LittleEndian.Uint64(id[:8]) ^ binary.LittleEndian.Uint64(id[8:])) * t.key.odd
}

func place(hash uint64, places int) int {
	hi, _ := bits.Mul64(hash, uint64(places))
	return int(hi)
}

func (t *rightTable) tag(owner Owner) (tag [8]byte) {
	t.in = owner
	t.key.block.Encrypt(t.out[:], t.in[:])
	copy(tag[:], t.out[:])
	return tag
}

// find returns where id is, or where it would be put.
func (t *rightTable) find(id *ID) (at int, found bool) {
	if t.last.known && t.last.id == *id {
		return t.last.at, t.last.found
	}
	if t.places == 0 {
		return 0, false
	}
	at, found = t.search(id)
	t.last = answer{*id, at, true, found}
	return at, found
}

func (t *rightTable) search(id *ID) (at int, found bool) {
	h := t.hash(id)
	for at = place(h, t.places); at < len(t.slots); at++ {
		s := &t.slots[at]
		if s.keep == 0 {
			return at, false
		}
		if s.id == *id {
			return at, true
		}
		if t.hash(&s.id) > h {
			return at, false
		}
	}
	return at, false
}

func (t *rightTable) outcome(id ID, owner Owner) Outcome {
	at, found := t.find(&id)
	switch {
	case !found:
		return Won
	case t.slots[at].tag == t.tag(owner):
		return Mine
	}
	return Lost
}

func (t *rightTable) room(now int64, rights []Right) bool {
	if t.used+len(rights) <= t.max || t.fits(rights) {
		return true
	}
	t.purge(now)
	return t.fits(rights)
}

func (t *rightTable) fits(rights []Right) bool {
	fresh := make(map[ID]bool)
	for _, r := range rights {
		if _, known := t.find(&r.ID); !known {
			fresh[r.ID] = true
		}
	}
	return len(fresh) == 0 || t.used+len(fresh) <= t.max
}

func (t *rightTable) spend(now int64, owner Owner, r Right) bool {
	keep := until(ceil(r.KeepUntil))
	at, found := t.find(&r.ID)
	if !found {
		t.insert(now, at, slot{r.ID, t.tag(owner), keep})
		return true
	}
	if t.slots[at].keep >= keep {
		return false
	}
	t.extend(at, keep)
	return true
}

// until is keep as a slot has it.
func until(keep int64) uint32 { return uint32(min(max(keep, 1), forever)) }

// extend makes keep the end of the right at.
func (t *rightTable) extend(at int, keep uint32) {
	t.past[t.span(t.slots[at].keep)]--
	t.slots[at].keep = keep
	t.count(keep)
}

// insert writes s, which belongs at that place as the table is now.
func (t *rightTable) insert(now int64, at int, s slot) {
	if t.used+1 > t.places-t.places/16 || t.wasted(now) {
		t.renew(now, 0)
		at, _ = t.find(&s.id)
	}
	for !t.shift(at) {
		t.renew(now, 2*(len(t.slots)-t.places))
		at, _ = t.find(&s.id)
	}
	t.slots[at] = s
	t.last.known = false
	t.used++
	t.count(s.keep)
}

// set writes what holds id as it is, over what there is. It purges nothing.
func (t *rightTable) set(id ID, r held) {
	at, found := t.find(&id)
	if !found {
		t.insert(0, at, slot{id, t.tag(r.owner), until(r.keep)})
		return
	}
	t.slots[at].tag = t.tag(r.owner)
	t.extend(at, until(r.keep))
}

func (t *rightTable) has(id ID, r held) bool {
	at, found := t.find(&id)
	return found && t.slots[at].keep == until(r.keep) && t.slots[at].tag == t.tag(r.owner)
}

// shift frees the slot at, if there is a free one behind it.
func (t *rightTable) shift(at int) bool {
	run := t.slots[at:]
	for end := range run {
		if run[end].keep == 0 {
			copy(run[1:end+1], run[:end])
			return true
		}
	}
	return false
}

func (t *rightTable) count(keep uint32) {
	t.past[t.span(keep)]++
	t.first = min(t.first, int64(keep))
}

// span is the count in which a right is that is kept until keep.
func (t *rightTable) span(keep uint32) int {
	return int(min(max((int64(keep)-t.base)/span, 0), spans-1))
}

// wasted says whether more than an eighth of the rights are past, or the counts
// tell nothing any more.
func (t *rightTable) wasted(now int64) bool {
	over := (now - t.base) / span
	if over <= 0 { // or the clock went back
		return false
	}
	if over >= spans-1 {
		return true
	}
	past := 0
	for _, n := range t.past[:over] {
		past += int(n)
	}
	return past > t.used/8
}

// purge forgets what is past. All that stays moves forward or not at all.
func (t *rightTable) purge(now int64) {
	if now <= t.first && now < t.base+spans*span {
		return
	}
	t.base, t.first, t.past = now, forever, [spans]uint32{}
	t.last.known = false
	next, used := 0, 0
	for i := range t.slots {
		s := t.slots[i]
		if s.keep == 0 {
			continue
		}
		t.slots[i] = slot{}
		if int64(s.keep) < now && s.keep != forever {
			t.horizon = max(t.horizon, int64(s.keep))
			continue
		}
		next = max(next, place(t.hash(&s.id), t.places))
		t.slots[next] = s
		t.count(s.keep)
		next, used = next+1, used+1
	}
	t.used = used
}

// renew purges, and takes an array of another size if the rights do not fit well,
// or if it is to have so many more slots behind the last place.
func (t *rightTable) renew(now int64, behind int) {
	t.purge(now)
	need := t.used + 1
	full, empty := t.places-t.places/16-t.places/64, t.places/2
	if behind == 0 && need <= full && (need > empty || t.places <= minPlaces) {
		return
	}
	places := max(minPlaces, need+need/8+need/256)
	for behind = max(behind, min(256, 8+places/8)); ; behind *= 2 {
		if slots, fit := t.spread(places, behind); fit {
			t.slots, t.places = slots, places
			t.last.known = false
			return
		}
	}
}

// spread copies the rights to a new array, unless they do not fit.
func (t *rightTable) spread(places, behind int) (slots []slot, fit bool) {
	slots = make([]slot, places+behind)
	next := 0
	for i := range t.slots {
		s := &t.slots[i]
		if s.keep == 0 {
			continue
		}
		next = max(next, place(t.hash(&s.id), places))
		if next == len(slots) {
			return nil, false
		}
		slots[next] = *s
		next++
	}
	return slots, true
}
