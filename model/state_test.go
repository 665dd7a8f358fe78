package model

import "fmt"

// The sizes of a state's tables. A configuration's bounds stay below them.
const (
	maxNodes  = 3
	maxFences = 5
	maxGens   = 9 // 0 is none
)

// set names a sealed set by its version: fence in the upper half, generation in
// the lower. 0 is none. Under one fence one node seals, so that a version has one
// content; seal refuses another.
type set uint8

func version(fence, gen uint8) set { return set(fence<<4 | gen) }

func (s set) fence() uint8   { return uint8(s >> 4) }
func (s set) gen() uint8     { return uint8(s & 15) }
func (s set) String() string { return fmt.Sprintf("%d.%d", s.fence(), s.gen()) }

// content is what a session's attributes say, or nothing at all.
type content struct {
	value  uint8 // of the protected attribute: how many changes it has seen, or withheld
	ticket bool  // the once-only attribute is there
	login  uint8 // the second of its user's login
}

// withheld is the protected attribute that a restore left out.
const withheld = 7

// packed is a content in a byte; 0 is no content.
type packed uint8

func (c content) pack() packed {
	p := 1<<7 | packed(c.value) | packed(c.login)<<4
	if c.ticket {
		p |= 1 << 3
	}
	return p
}

func (p packed) content() content {
	return content{value: uint8(p & 7), ticket: p&(1<<3) != 0, login: uint8(p >> 4 & 7)}
}

// node is one server's copy of the session; alive false: it has none.
type node struct {
	alive, draining bool
	fence, gen      uint8
	content
	unsure bool  // a Take was not answered: the ticket is kept for its repetition
	doubt  uint8 // whose Take it was, as bits
}

func (n node) at() set { return version(n.fence, n.gen) }

// record is what a browser keeps: the newest set, and the episode.
type record struct {
	held, shown set
	draw        bool // which of its two tokens the episode has, or the last one had
	overtaken   bool // somebody else restored, or acknowledged while it was away, since its last push
}

// presents is the set of the next handshake.
func (r record) presents() set {
	if r.shown != 0 {
		return r.shown
	}
	return r.held
}

// flight is a handshake that left a tab and arrived nowhere yet.
type flight struct {
	set     set
	attempt uint8
}

// ghost is what nobody in the system knows, for the properties alone.
type ghost struct {
	committed uint8 // protected changes whose effect was visible
	effects   uint8 // of the ticket
	out       bool  // a logout was answered
	logins    uint8 // the user's last login
	void      uint8 // logins below this were ended
	won       set   // the last set that restored, and its attempt
	wonBy     uint8
	used      bool  // something was protected or acknowledged since
	marked    uint8 // generation of the newest protected change under the present fence
	drained   set   // what a node that drained to its end left with every client
}

// state is everything, in bytes without gaps, so that it is a map's key.
type state struct {
	store  store
	nodes  [maxNodes]node
	tabs   [2]uint8 // the node that the tab is connected to, plus 1
	kept   [2]record
	sealed [maxFences][maxGens]packed // what can restore, or is kept by a browser
	late   flight
	now    uint8
	ghost  ghost
}

func (s *state) content(at set) content { return s.sealed[at.fence()][at.gen()].content() }

// seal makes n's present content the newest set. The thief has it from now on.
func (s *state) seal(n *node) {
	was, now := s.sealed[n.fence][n.gen], n.content.pack()
	if was != 0 && was != now {
		panic(fmt.Sprintf("two contents of version %s", n.at()))
	}
	s.sealed[n.fence][n.gen] = now
}

// forget drops the sets that no store grants any more and no browser keeps. That
// none is granted is checked for every state: see forked.
func (s *state) forget() {
	for f := range s.sealed {
		for g := range s.sealed[f] {
			if at := version(uint8(f), uint8(g)); s.sealed[f][g] != 0 && s.dead(at) && !s.keeps(at) {
				s.sealed[f][g] = 0
			}
		}
	}
}

// dead says that at must never restore again.
func (s *state) dead(at set) bool {
	if at.fence() != s.store.fence {
		return at != s.ghost.won || s.ghost.used
	}
	return at.gen() < s.store.floor
}

func (s *state) keeps(at set) bool {
	for _, r := range s.kept {
		if r.held == at || r.shown == at {
			return true
		}
	}
	return s.late.set == at
}
