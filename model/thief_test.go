package model

// steal presents every set that was ever sealed at every node, with the thief's
// own token and with all that still mean something: the store's, and those of
// open episodes.
func (m *machine) steal(s *state, yield emit) {
	tokens := []uint8{thiefsToken}
	if s.store.attempt != 0 && s.store.attempt != thiefsToken {
		tokens = append(tokens, s.store.attempt)
	}
	for r := range m.records() {
		if k := s.kept[r]; k.shown != 0 && k.attempt(r) != s.store.attempt {
			tokens = append(tokens, k.attempt(r))
		}
	}
	for i := range m.nodes {
		for f := range s.sealed {
			for g := uint8(1); g < maxGens; g++ {
				if s.sealed[f][g] == 0 {
					continue
				}
				for _, attempt := range tokens {
					m.present(s, i, version(uint8(f), g), attempt, yield)
				}
			}
		}
	}
}

func (m *machine) present(s *state, i int, at set, attempt uint8, yield emit) {
	for r := range m.records() {
		if k := s.kept[r]; k.shown == at && k.attempt(r) == attempt {
			return // the same as the owner's own, with its answer lost
		}
	}
	next, how, broken := m.arrive(s, i, at, attempt)
	if how != restored || broken == outOfBounds {
		return
	}
	for r := range m.records() {
		next.kept[r].overtaken = true
	}
	yield(&next, label{who: "thief", step: "restores", node: int8(i) + 1, set: at, attempt: attempt}, broken)
}
