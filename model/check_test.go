package model

import "fmt"

// check looks at a state: who is owed something must be able to get it.
func (m *machine) check(s *state) string {
	for r := range m.records() {
		if m.lockedOut(s, r) {
			return lockedOut
		}
	}
	if at, attempt, yes := m.forked(s); yes {
		return fmt.Sprintf("%s: set %s by attempt %d", fork, at, attempt)
	}
	if m.robbed(s) {
		return robbed
	}
	return ""
}

// lockedOut reports that no node has the session, that nobody else restored it and
// no protected change was lost on the way, and that record r restores nothing.
func (m *machine) lockedOut(s *state, i int) bool {
	r := s.kept[i]
	if r.overtaken || r.presents() == 0 || s.store.revoked || s.store.fence >= m.fences {
		return false
	}
	for _, n := range s.nodes {
		if n.alive {
			return false
		}
	}
	if m.missed(s, r.presents()) && m.missed(s, r.held) {
		return false
	}
	m.begin(&r)
	if _, a := m.restore(s.store, r.shown, s.content(r.shown), r.attempt(i), s.now); a.granted() {
		return false
	}
	if r.held == r.shown {
		return true
	}
	r.shown = 0 // refused: what is held comes next, as an episode of its own
	m.begin(&r)
	_, a := m.restore(s.store, r.shown, s.content(r.shown), r.attempt(i), s.now)
	return !a.granted()
}

// missed reports that the set lacks a protected change that the store was told of.
func (m *machine) missed(s *state, at set) bool {
	c := s.content(at)
	if m.void(s, c.login) {
		return true // ended by the user himself
	}
	marked := m.strict && s.ghost.marked > at.gen()
	if at.fence() < s.store.fence {
		marked = s.ghost.marked > 0
	}
	return marked || m.strict && c.value != s.ghost.committed
}

// robbed reports that a Take won in the store, that its node lives and did not
// hear of it, and that its owner's repetition there has no effect.
func (m *machine) robbed(s *state) bool {
	if s.store.owner == 0 || s.ghost.effects > 0 || s.store.revoked {
		return false
	}
	for _, n := range s.nodes {
		if n.alive && n.fence == s.store.fence && n.doubt&(1<<s.store.owner) != 0 && !m.void(s, n.login) {
			_, a := m.take(s.store, n.at(), n.content, s.store.owner, s.now)
			return !n.ticket && !n.unsure || !a.granted() || !a.outcome.Granted()
		}
	}
	return false
}

// forked looks for a set that is dead and restores all the same: of an older fence
// and no clean repetition, or below the floor. It tries every version that there
// can be, whether or not it was ever sealed.
func (m *machine) forked(s *state) (at set, attempt uint8, yes bool) {
	if s.store.revoked || s.store.fence >= m.fences {
		return 0, 0, false
	}
	for f := range s.store.fence + 1 {
		for g := uint8(1); g < maxGens; g++ {
			for _, attempt := range [...]uint8{1, 2, 3, 4, thiefsToken} {
				at := version(f, g)
				clean := at == s.ghost.won && attempt == s.ghost.wonBy && !s.ghost.used
				if f == s.store.fence && g >= s.store.floor || f < s.store.fence && clean {
					continue
				}
				if _, a := m.restore(s.store, at, content{login: 7}, attempt, s.now); a.granted() {
					return at, attempt, true
				}
			}
		}
	}
	return 0, 0, false
}
