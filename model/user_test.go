package model

import (
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// login is the user's at node i. It is sealed at once. Its time is the real
// replay.LoginTime.
func (m *machine) login(s *state, i int, yield emit) {
	n := s.nodes[i]
	if !m.room(&n) {
		return
	}
	cut := time.Time{}
	if s.store.cut != 0 && !m.without(loginAfterCut) {
		cut = second(s.store.cut - 1)
	}
	since := uint8(replay.LoginTime(second(s.now), cut).Sub(began) / time.Second)
	if n.login >= since {
		return
	}
	next := *s
	in := &next.nodes[i]
	in.login = since
	in.gen++
	next.seal(in)
	next.ghost.logins = max(next.ghost.logins, since)
	yield(&next, label{step: "login", node: int8(i) + 1, set: in.at()}, "")
}

// everywhere ends all logins of the user, perhaps in the second of a login.
func (m *machine) everywhere(s *state, yield emit) {
	if s.now < m.seconds {
		next := *s
		next.now++
		yield(&next, label{step: "a second passes"}, "")
	}
	if s.store.cut > m.seconds+1 {
		return
	}
	next := *s
	next.store, _ = m.ask(s.store, op{name: "revoke subject", now: s.now})
	next.ghost.void = s.ghost.logins + 1
	yield(&next, label{step: "logout everywhere"}, "")
}

// void says that a login was made before the user ended all of them.
func (m *machine) void(s *state, login uint8) bool { return login < s.ghost.void }
