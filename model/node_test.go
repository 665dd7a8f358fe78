package model

import "github.com/sealedblob/sealedblob/replay"

// emit takes a state that a step leads to, and the property that the step breaks.
type emit func(next *state, l label, broken string)

// first is a session that began at node 1 and was pushed to every tab.
func (m *machine) first() (s state) {
	s.nodes[0] = node{alive: true, gen: 1, content: content{ticket: m.ticket}}
	s.seal(&s.nodes[0])
	for r := range m.records() {
		s.kept[r].held = s.nodes[0].at()
	}
	for t := range m.tabs {
		s.tabs[t] = 1
	}
	return s
}

func (m *machine) records() int {
	if m.apart {
		return m.tabs
	}
	return 1
}

// record is where tab t keeps its set.
func (m *machine) record(s *state, t int) *record {
	if m.apart {
		return &s.kept[t]
	}
	return &s.kept[0]
}

func (m *machine) steps(s *state, yield emit) {
	for i := range m.nodes {
		if n := &s.nodes[i]; n.alive {
			m.crash(s, i, yield)
			m.flush(s, i, yield)
			if !n.draining {
				m.change(s, i, yield)
				m.protectedChange(s, i, yield)
			}
			m.takes(s, i, yield)
			m.logouts(s, i, yield)
			m.drains(s, i, yield)
			if m.seconds > 0 {
				m.login(s, i, yield)
			}
		}
	}
	for t := range m.tabs {
		m.tab(s, t, yield)
	}
	if m.thief {
		m.steal(s, yield)
	}
	if m.late {
		m.arrivesLate(s, yield)
	}
	if m.seconds > 0 {
		m.everywhere(s, yield)
	}
}

// room says whether the bounds let n seal one more generation. A restore seals
// one of its own under each fence.
func (m *machine) room(n *node) bool { return int(n.gen)-int(n.fence) <= int(m.gens) }

// gone takes the session from node i: it crashed, or it learnt that the session
// moved, or its last client had left.
func (s *state) gone(i int) {
	s.nodes[i] = node{}
	for t := range s.tabs {
		if s.tabs[t] == uint8(i)+1 {
			s.tabs[t] = 0
		}
	}
}

func (m *machine) crash(s *state, i int, yield emit) {
	next := *s
	next.gone(i)
	yield(&next, label{step: "crash", node: int8(i) + 1}, "")
}

// change is an ordinary one, or a save of what a Take or a login changed.
func (m *machine) change(s *state, i int, yield emit) {
	if !m.room(&s.nodes[i]) {
		return
	}
	next := *s
	n := &next.nodes[i]
	n.gen++
	next.seal(n)
	yield(&next, label{step: "change", node: int8(i) + 1, set: n.at()}, "")
}

func (m *machine) protectedChange(s *state, i int, yield emit) {
	n := s.nodes[i]
	if s.ghost.committed >= m.values || !m.room(&n) {
		return
	}
	l := label{step: "protected change", node: int8(i) + 1, set: version(n.fence, n.gen+1)}
	marked, a := m.protect(s.store, l.set, n.content, s.now)
	if !a.granted() {
		return // passivates: a crash
	}
	next := *s
	next.store = marked
	next.ghost.marked = max(s.ghost.marked, l.set.gen())
	m.use(&next)
	l.ends = "the store's answer is lost"
	yield(&next, l, "")

	broken := m.acts(s, n, "a protected change")
	next.ghost.committed++
	lost := next
	if m.without(protectFirst) {
		lost.store = s.store
	}
	lost.gone(i)
	l.ends = "seen, then the node crashes"
	yield(&lost, l, broken)

	changed := &next.nodes[i]
	changed.gen++
	changed.value = next.ghost.committed
	next.seal(changed)
	l.ends = ""
	yield(&next, l, broken)
}

// acts says what is wrong with an effect at n.
func (m *machine) acts(s *state, n node, what string) string {
	switch {
	case s.ghost.out:
		return what + " after the logout was answered"
	case m.void(s, n.login):
		return what + " by a login from before the logout everywhere"
	case n.value != s.ghost.committed && n.value != withheld:
		return what + " over a protected value that is not the newest"
	}
	return ""
}

// use notes that something happened under the present fence.
func (m *machine) use(s *state) { s.ghost.used = true }

// flush tells the store what the clients of node i hold.
func (m *machine) flush(s *state, i int, yield emit) {
	n := s.nodes[i]
	floor, by := m.floor(s, i)
	if floor == 0 {
		return
	}
	at := version(n.fence, floor)
	store, a := m.acknowledge(s.store, at, n.content, s.now)
	if !a.granted() || store == s.store {
		return // not granted passivates: a crash
	}
	next := *s
	next.store = store
	m.use(&next)
	for r := range m.records() {
		if next.kept[r].held < at && !m.connected(s, r, i) {
			next.kept[r].overtaken = true
		}
	}
	yield(&next, label{who: by, step: "acknowledged", node: int8(i) + 1, set: at}, "")
}

// floor is the generation that every client of node i holds. Where none is
// connected the thief is, and says that he holds the newest.
func (m *machine) floor(s *state, i int) (gen uint8, by string) {
	n := s.nodes[i]
	if m.without(ackedOnly) {
		return n.gen, ""
	}
	lowest, highest := uint8(0xff), uint8(0)
	for t := range m.tabs {
		if s.tabs[t] != uint8(i)+1 {
			continue
		}
		held := m.record(s, t).held
		if held == 0 || held.fence() != n.fence {
			held = 0
		}
		lowest, highest = min(lowest, held.gen()), max(highest, held.gen())
	}
	switch {
	case lowest == 0xff && m.thief:
		return n.gen, "thief"
	case lowest == 0xff:
		return 0, ""
	case m.without(everyClient):
		return highest, ""
	}
	return lowest, ""
}

// connected reports that a tab with record r is at node i.
func (m *machine) connected(s *state, r, i int) bool {
	for t := range m.tabs {
		if s.tabs[t] == uint8(i)+1 && m.record(s, t) == &s.kept[r] {
			return true
		}
	}
	return false
}

// takes spends the ticket for the honest user (owner 1) or somebody else (2).
func (m *machine) takes(s *state, i int, yield emit) {
	if !m.ticket {
		return
	}
	for owner := uint8(1); owner <= 2; owner++ {
		n := s.nodes[i]
		if !n.ticket && !n.unsure {
			continue
		}
		store, a := m.take(s.store, n.at(), n.content, owner, s.now)
		if !a.granted() {
			continue // passivates: a crash
		}
		l := label{step: "take", node: int8(i) + 1, attempt: owner}
		next := *s
		next.store = store
		lost := next
		lost.nodes[i].unsure = true
		lost.nodes[i].doubt |= 1 << owner
		lostLabel := l
		lostLabel.ends = "the store's answer is lost"
		yield(&lost, lostLabel, "")

		broken := ""
		taken := &next.nodes[i]
		taken.ticket = false
		taken.doubt &^= 1 << owner
		if a.outcome.Granted() {
			taken.unsure = false
			next.ghost.effects++
			if broken = m.acts(s, n, "a take"); next.ghost.effects > 1 {
				broken = twice
			}
		} else if m.without(doubtKept) {
			taken.unsure = false
		}
		l.ends = a.outcome.String()
		yield(&next, l, broken)
	}
}

func (m *machine) logouts(s *state, i int, yield emit) {
	if !m.logout {
		return
	}
	next := *s
	next.store, _ = m.ask(s.store, op{name: "revoke", now: s.now})
	l := label{step: "logout", node: int8(i) + 1, ends: "the store's answer is lost"}
	if next.store != s.store {
		yield(&next, l, "")
	}
	next.ghost.out = true
	next.gone(i)
	l.ends = ""
	yield(&next, l, "")
}

// drains lets the clients of a node have its last generation, then lets it go.
func (m *machine) drains(s *state, i int, yield emit) {
	n := s.nodes[i]
	if !m.drain {
		return
	}
	next := *s
	if !n.draining {
		next.nodes[i].draining = true
		yield(&next, label{step: "drain begins", node: int8(i) + 1}, "")
		return
	}
	clients, have := 0, 0
	for t := range m.tabs {
		if s.tabs[t] == uint8(i)+1 {
			clients++
			if m.record(s, t).held == n.at() {
				have++
			}
		}
	}
	acked, stored := have == clients, s.store.fence == n.fence && s.store.floor >= n.gen
	if m.without(drainWaits) {
		acked, stored = true, true
	}
	if m.without(drainStores) {
		stored = true
	}
	if clients == 0 || !acked || !stored {
		return // waits, or gives up: a crash
	}
	next.ghost.drained = n.at()
	next.gone(i)
	yield(&next, label{step: "drain ends", node: int8(i) + 1, set: n.at()}, "")
}

// revive is a granted restore's copy at node i, sealed at once.
func (m *machine) revive(s *state, i int, at set, a answer) {
	c := s.content(at)
	if a.behind && !m.strict && !m.without(withholds) {
		c.value = withheld
	}
	if a.spent && !m.without(spentLeft) {
		c.ticket = false
	}
	s.gone(i) // clients of an older copy shake hands again
	s.nodes[i] = node{alive: true, fence: s.store.fence, gen: at.gen() + 1, content: c}
	s.seal(&s.nodes[i])
}

// The answers to a handshake.
const (
	refused = iota
	restored
	joined
)

// arrive is a presented set at node i.
func (m *machine) arrive(s *state, i int, at set, attempt uint8) (next state, how int, broken string) {
	next = *s
	if n := s.nodes[i]; n.alive && n.fence >= at.fence() {
		if m.without(joinAsks) {
			return next, joined, ""
		}
		switch _, a := m.acknowledge(s.store, version(n.fence, 0), n.content, s.now); a.verdict {
		case replay.Granted:
			return next, joined, ""
		case replay.Superseded:
			next.gone(i)
		default:
			next.gone(i)
			return next, refused, ""
		}
	}
	if s.store.fence >= m.fences {
		return next, refused, outOfBounds
	}
	store, a := m.restore(s.store, at, s.content(at), attempt, s.now)
	if !a.granted() {
		return next, refused, ""
	}
	broken = m.overDrained(s, at)
	next.store = store
	m.revive(&next, i, at, a)
	next.ghost.won, next.ghost.wonBy, next.ghost.used = at, attempt, false
	next.ghost.marked, next.ghost.drained = 0, 0
	if wrong := m.acts(s, next.nodes[i], "a restore"); wrong != "" {
		broken = wrong
	}
	return next, restored, broken
}

// outOfBounds marks a restore that is not explored.
const outOfBounds = "out of bounds"

// overDrained says that a set restores which a node that drained had replaced.
func (m *machine) overDrained(s *state, at set) string {
	if d := s.ghost.drained; d != 0 && at.fence() == d.fence() && at < d {
		return drained
	}
	return ""
}
