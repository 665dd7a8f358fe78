package replay

// State is the record that a store keeps for one session. The zero State is
// that of a session without a record.
//
// Its methods are the session table of docs/SPEC.md §8 and nothing else: pure
// functions from a record and a request to the next record and a verdict. A
// store that decides in Go uses them, so that the table is written once; unless
// the verdict is [Granted], the next State is the old one.
type State struct {
	// Fence counts the restores; only sets sealed under it are current.
	Fence uint64
	// Floor is the generation that every connected client has acknowledged.
	Floor uint64
	// Watermark is the generation of the newest protected change.
	Watermark uint64
	// Attempt and Set tell who won the last restore, and with what; Behind, that
	// a protected change was newer, which a repeated attempt must learn as well.
	Attempt Owner
	Set     Version
	Behind  bool
	// Revoked refuses everything.
	Revoked bool
	// Next is the session that a renewal put in its place, zero if none did.
	Next ID
}

// Restore decides on a restore of set by attempt, as [Sessions] describes.
// Behind says that a protected change is newer than set.
func (s State) Restore(set Version, attempt Owner, strict bool) (next State, v Verdict, behind bool) {
	again := s.won(set, attempt)
	if behind = set.Gen < s.Watermark; again {
		behind = s.Behind
	}
	switch {
	case s.Revoked:
		return s, Revoked, false
	case !again && (set.Fence != s.Fence || set.Gen < s.Floor):
		return s, Superseded, false
	case behind && strict:
		return s, RolledBack, false
	}
	return State{Fence: s.Fence + 1, Attempt: attempt, Set: set, Behind: behind}, Granted, behind
}

// won reports whether attempt won the last restore with this very set and
// nothing was protected or acknowledged under the fence it won.
func (s State) won(set Version, attempt Owner) bool {
	return s.Attempt == attempt && s.Set == set && set.Fence < s.Fence && s.Floor == 0 && s.Watermark == 0
}

// Protect raises the watermark to at.Gen if the session still is under at.Fence.
func (s State) Protect(at Version) (next State, v Verdict) {
	if v := s.Under(at.Fence); v != Granted {
		return s, v
	}
	s.Watermark = max(s.Watermark, at.Gen)
	return s, Granted
}

// Acknowledge raises the floor to at.Gen if the session still is under at.Fence.
func (s State) Acknowledge(at Version) (next State, v Verdict) {
	if v := s.Under(at.Fence); v != Granted {
		return s, v
	}
	s.Floor = max(s.Floor, at.Gen)
	return s, Granted
}

// Renew ends the session in favour of next if it still is under fence, and says
// so again to whoever repeats it. A zero next is not known again.
func (s State) Renew(fence uint64, next ID) (State, Verdict) {
	if s.Revoked && s.Next != (ID{}) && s.Next == next && s.Fence == fence {
		return s, Granted
	}
	if v := s.Under(fence); v != Granted {
		return s, v
	}
	return State{Fence: fence, Revoked: true, Next: next}, Granted
}

// Under is [Granted] if the session still is under fence.
func (s State) Under(fence uint64) Verdict {
	switch {
	case s.Revoked:
		return Revoked
	case s.Fence != fence:
		return Superseded
	}
	return Granted
}
