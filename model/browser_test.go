package model

// tab is what one tab may do: lose its connection, get a push, shake hands.
func (m *machine) tab(s *state, t int, yield emit) {
	if s.tabs[t] == 0 {
		for i := range m.nodes {
			m.handshake(s, t, i, yield)
		}
		return
	}
	next := *s
	next.tabs[t] = 0
	yield(&next, label{who: tabNames[t], step: "loses its connection"}, "")
	m.push(s, t, yield)
}

var answers = [...]string{refused: "refused", restored: "restored", joined: "lives here"}

var tabNames = [...]string{"tab 1", "tab 2"}

// push brings the newest set of tab t's node. A push that was lost is one that
// comes later or never.
func (m *machine) push(s *state, t int, yield emit) {
	n := s.nodes[s.tabs[t]-1]
	held := m.record(s, t).held
	if n.at() == held || n.at() < held && !m.without(newestWins) {
		return
	}
	next := *s
	r := m.record(&next, t)
	r.held = n.at()
	if n.fence == s.store.fence {
		r.overtaken = false
	}
	if r.shown != 0 && r.held.fence() > r.shown.fence() {
		r.shown = 0 // the episode is over
	}
	yield(&next, label{who: tabNames[t], step: "gets a push", node: int8(s.tabs[t]), set: r.held}, "")
}

// begin opens an episode, unless one is open.
func (m *machine) begin(r *record) {
	if r.shown == 0 {
		r.shown, r.draw = r.held, !r.draw
	} else if m.without(tokenKept) {
		r.draw = !r.draw
	}
	if m.without(setKept) {
		r.shown = r.held
	}
}

// attempt is the token of record i's episode. The thief's own is another.
func (r record) attempt(i int) uint8 {
	n := uint8(1 + 2*i)
	if r.draw {
		n++
	}
	return n
}

const thiefsToken = 9

// handshake presents what tab t keeps to node i. Its answer comes, or is lost.
func (m *machine) handshake(s *state, t, i int, yield emit) {
	own := 0
	if m.apart {
		own = t
	}
	l := label{who: tabNames[t], step: "shakes hands", node: int8(i) + 1}
	if s.kept[own].presents() == 0 {
		m.handshakeWithNothing(s, t, own, i, l, yield)
		return
	}
	asked := *s
	r := &asked.kept[own]
	m.begin(r)
	l.set, l.attempt = r.shown, r.attempt(own)
	if m.late && s.late == (flight{}) {
		sent := asked
		sent.late = flight{r.shown, l.attempt}
		l.ends = "on its way"
		yield(&sent, l, "")
	}
	next, how, broken := m.arrive(&asked, i, r.shown, l.attempt)
	if broken == outOfBounds {
		return
	}
	if how == restored {
		for o := range m.records() {
			if o != own {
				next.kept[o].overtaken = true
			}
		}
	}
	l.ends = answers[how] + ", the answer is lost"
	yield(&next, l, broken)
	m.answered(&next, t, own, i, how)
	l.ends = answers[how]
	yield(&next, l, broken)
}

func (m *machine) handshakeWithNothing(s *state, t, own, i int, l label, yield emit) {
	if !s.nodes[i].alive {
		return
	}
	next := *s
	next.tabs[t] = uint8(i) + 1
	l.ends = "lives here"
	yield(&next, l, "")
}

// answered is what the browser makes of the answer.
func (m *machine) answered(s *state, t, own, i, how int) {
	r := &s.kept[own]
	switch {
	case how == refused:
		if r.held == r.shown {
			r.held = 0
		}
		r.shown = 0
	case m.without(episodeOpen), s.nodes[i].fence == r.shown.fence(), r.held.fence() > r.shown.fence():
		r.shown = 0
	}
	if s.nodes[i].alive {
		s.tabs[t] = uint8(i) + 1
	}
}

// arrivesLate brings a handshake whose sender has long repeated it.
func (m *machine) arrivesLate(s *state, yield emit) {
	if s.late == (flight{}) {
		return
	}
	for i := range m.nodes {
		next, how, broken := m.arrive(s, i, s.late.set, s.late.attempt)
		if broken == outOfBounds {
			continue
		}
		next.late = flight{}
		yield(&next, label{step: "a handshake arrives late", node: int8(i) + 1, set: s.late.set, attempt: s.late.attempt, ends: answers[how]}, broken)
	}
}
