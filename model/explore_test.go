package model

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
)

// violation is a broken property and the shortest way to it.
type violation struct {
	what  string
	trace []string
}

func (v *violation) String() string {
	return v.what + "\n    " + strings.Join(v.trace, "\n    ")
}

// result is what one exploration saw. Without a violation it saw every state.
type result struct {
	states, steps, questions int
	violation                *violation
}

// explorer walks breadth first, so that the first violation has the shortest
// trace. A state is kept once, with the place of the one that it came from.
type explorer struct {
	m      *machine
	states []state
	came   []uint32
	seen   table
}

// explore walks every state that m can reach and stops at the first violation.
func explore(m *machine) (r result) {
	m.asked = map[question]reply{}
	x := &explorer{m: m, seen: table{seed: maphash.MakeSeed()}}
	x.add(m.first(), 0)
	for at := 0; at < len(x.states) && r.violation == nil; at++ {
		s := x.states[at]
		if what := m.check(&s); what != "" {
			r.violation = x.trace(at, what)
			break
		}
		m.steps(&s, func(next *state, l label, broken string) {
			r.steps++
			switch {
			case r.violation != nil:
			case broken != "":
				r.violation = x.trace(at, broken)
				r.violation.trace = append(r.violation.trace, l.String())
			default:
				x.add(*next, at)
			}
		})
	}
	r.states, r.questions = len(x.states), len(m.asked)
	return r
}

func (x *explorer) add(s state, from int) {
	s.forget()
	if x.seen.add(&s, x.states) {
		x.states, x.came = append(x.states, s), append(x.came, uint32(from))
	}
}

// trace tells the steps to state at, by walking them once more.
func (x *explorer) trace(at int, what string) *violation {
	v := &violation{what: what}
	for ; at != 0; at = int(x.came[at]) {
		v.trace = append(v.trace, x.between(int(x.came[at]), at))
	}
	slices.Reverse(v.trace)
	return v
}

func (x *explorer) between(from, to int) (step string) {
	s := x.states[from]
	x.m.steps(&s, func(next *state, l label, _ string) {
		if n := *next; step == "" {
			if n.forget(); n == x.states[to] {
				step = l.String()
			}
		}
	})
	return step
}

// table finds a state's place in a slice, by open addressing: half a hash and the
// place plus 1. Go's map would keep every state a second time.
type table struct {
	seed  maphash.Seed
	slots []uint64
	used  int
}

// add notes that s is to be the next of states, unless it is there.
func (t *table) add(s *state, states []state) bool {
	if 2*t.used >= len(t.slots) {
		t.grow()
	}
	half := maphash.Comparable(t.seed, *s) >> 32
	i := t.free(half, func(at uint32) bool { return states[at] == *s })
	if t.slots[i] != 0 {
		return false
	}
	t.slots[i] = half<<32 | uint64(len(states)+1)
	t.used++
	return true
}

// free finds the slot of the state that same knows, or an empty one.
func (t *table) free(half uint64, same func(at uint32) bool) int {
	mask := uint64(len(t.slots) - 1)
	for i := half & mask; ; i = (i + 1) & mask {
		if e := t.slots[i]; e == 0 || e>>32 == half && same(uint32(e)-1) {
			return int(i)
		}
	}
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]uint64, max(1<<16, 2*len(old)))
	for _, e := range old {
		if e != 0 {
			t.slots[t.free(e>>32, func(uint32) bool { return false })] = e
		}
	}
}

// label names a step. What is zero is left out of its text.
type label struct {
	step    string
	who     string
	node    int8 // plus 1
	set     set
	attempt uint8
	ends    string
}

func (l label) String() string {
	b := new(strings.Builder)
	if l.who != "" {
		fmt.Fprintf(b, "%s: ", l.who)
	}
	b.WriteString(l.step)
	if l.node > 0 {
		fmt.Fprintf(b, " at node %d", l.node)
	}
	if l.set != 0 {
		fmt.Fprintf(b, ", set %s", l.set)
	}
	if l.attempt != 0 {
		fmt.Fprintf(b, ", attempt %d", l.attempt)
	}
	if l.ends != "" {
		fmt.Fprintf(b, " (%s)", l.ends)
	}
	return b.String()
}
