package replay

import "math"

// rightSet is where a [Ledger] keeps its rights: a map that is rebuilt from a
// journal, or the shards of a [Memory].
type rightSet interface {
	// outcome is what a claim of id by owner would be told.
	outcome(id ID, owner Owner) Outcome
	// horizon is the largest KeepUntil purged from where id is kept, in Unix seconds.
	horizon(id ID) int64
	// room says whether the new ones of rights fit, if need be after purging.
	room(now int64, rights []Right) bool
	// spend notes that owner holds r, for which there is room, at least until its
	// KeepUntil. It says whether anything was written.
	spend(now int64, owner Owner, r Right) bool
	// set writes what holds id as it is, over what there is; has says if it is there.
	set(id ID, r held)
	has(id ID, r held) bool
	// purge forgets rights that are past, the oldest first: up to budget, or all
	// with everything. With less, those that forget as they are written to need not.
	purge(now int64, budget int)
	// raise makes horizon at least so late.
	raise(horizon int64)
	// status counts the rights and tells the largest KeepUntil purged.
	status() (rights int, horizon int64)
}

// none is the horizon of a memory that purged nothing; everything is a budget.
const (
	none       = math.MinInt64
	everything = math.MaxInt
)

// held is a spent right; keep is in Unix seconds.
type held struct {
	owner Owner
	keep  int64
}

// heldRights keeps rights in a map, with their owners in full.
type heldRights struct {
	max  int
	past int64
	all  map[ID]held
	due  expiry
}

func (m *heldRights) outcome(id ID, owner Owner) Outcome {
	switch r, ok := m.all[id]; {
	case !ok:
		return Won
	case r.owner == owner:
		return Mine
	}
	return Lost
}

func (m *heldRights) horizon(ID) int64 { return m.past }

func (m *heldRights) room(now int64, rights []Right) bool {
	if len(m.all)+len(rights) <= m.max || m.fits(rights) {
		return true
	}
	m.purge(now, everything)
	return m.fits(rights)
}

// fits counts the new ones: a right that is known, or listed twice, needs no place
// more.
func (m *heldRights) fits(rights []Right) bool {
	fresh := make(map[ID]bool)
	for _, r := range rights {
		if _, ok := m.all[r.ID]; !ok {
			fresh[r.ID] = true
		}
	}
	return len(fresh) == 0 || len(m.all)+len(fresh) <= m.max
}

func (m *heldRights) spend(_ int64, owner Owner, r Right) bool {
	keep := ceil(r.KeepUntil)
	if was, ok := m.all[r.ID]; ok && was.keep >= keep {
		return false
	}
	m.set(r.ID, held{owner, keep})
	return true
}

func (m *heldRights) set(id ID, r held) {
	if _, ok := m.all[id]; !ok {
		m.due.add(r.keep, id)
	}
	m.all[id] = r
}

func (m *heldRights) has(id ID, r held) bool { return m.all[id] == r }

func (m *heldRights) raise(horizon int64) { m.past = max(m.past, horizon) }

func (m *heldRights) purge(now int64, budget int) {
	m.past = max(m.past, sweep(&m.due, m.all, now, budget, func(r held) int64 { return r.keep }))
}

func (m *heldRights) status() (rights int, horizon int64) { return len(m.all), m.past }
