package replay_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// The functions model… are the table of docs/SPEC.md §8, written once more. A
// store of the model is (fence, floor, wm, att, attset, spent); no attset is set 0 of an
// attempt 0, that nobody makes.
type modelStore struct {
	fence, floor, wm uint64
	att              byte
	attset           [2]uint64
	spent            bool
}

func modelRestore(s modelStore, f, g uint64, a byte) (won modelStore, ok bool) {
	won = modelStore{s.fence + 1, 0, 0, a, [2]uint64{f, g}, s.spent}
	if s.att == a && s.attset == [2]uint64{f, g} && f < s.fence && (s.wm == 0 && s.floor == 0) {
		return won, true
	}
	if f != s.fence {
		return s, false // superseded
	}
	if g < s.floor || g < s.wm {
		return s, false // superseded, rolled back
	}
	return won, true
}

func modelProtect(s modelStore, f, g uint64) (modelStore, bool) {
	if f != s.fence {
		return s, false
	}
	s.wm = max(s.wm, g)
	return s, true
}

func modelTake(s modelStore, f uint64) (modelStore, bool) {
	if f != s.fence || s.spent {
		return s, false
	}
	s.spent = true
	return s, true
}

func modelAck(s modelStore, f, g uint64) modelStore {
	if f == s.fence && g > s.floor {
		s.floor = g
	}
	return s
}

// The bounds of the search. An operation beyond maxFence is not tried.
const (
	maxFence = 3
	maxGen   = 3
	attempts = 2
)

// step is an operation of the model and its counterpart on a store, which tells
// whether it was granted.
type step struct {
	name  string
	model func(modelStore) (modelStore, bool)
	store func(t *testing.T, s replay.Store, w world) bool
}

// world names what one walk uses, so that many walks share one store.
type world struct {
	session, right replay.ID
	now            time.Time
}

func (w world) keep() time.Time { return w.now.Add(time.Hour) }

func (w world) place(f, g uint64) replay.Place {
	return replay.Place{Session: w.session, Version: version(f, g), KeepUntil: w.keep()}
}

func steps() (all []step) {
	for f := range uint64(maxFence + 1) {
		all = append(all, takeStep(f))
		for g := range uint64(maxGen + 1) {
			all = append(all, protectStep(f, g), ackStep(f, g))
			for a := range byte(attempts) {
				all = append(all, restoreStep(f, g, a+1))
			}
		}
	}
	return all
}

func restoreStep(f, g uint64, a byte) step {
	return step{
		name:  fmt.Sprintf("restore(%d.%d by %d)", f, g, a),
		model: func(s modelStore) (modelStore, bool) { return modelRestore(s, f, g, a) },
		store: func(t *testing.T, s replay.Store, w world) bool {
			// The model refuses what is below the watermark.
			r := replay.RestoreRequest{Session: w.session, Set: version(f, g), Issued: w.now, KeepUntil: w.keep(), Attempt: owner(a), Strict: true, Look: []replay.ID{w.right}}
			got, err := s.Restore(context.Background(), r)
			if err != nil {
				t.Fatal(err)
			}
			return got.Verdict == replay.Granted
		},
	}
}

func protectStep(f, g uint64) step {
	return step{
		name:  fmt.Sprintf("protect(%d.%d)", f, g),
		model: func(s modelStore) (modelStore, bool) { return modelProtect(s, f, g) },
		store: func(t *testing.T, s replay.Store, w world) bool {
			v, err := s.Protect(context.Background(), w.place(f, g))
			if err != nil {
				t.Fatal(err)
			}
			return v == replay.Granted
		},
	}
}

func takeStep(f uint64) step {
	return step{
		name:  fmt.Sprintf("take(%d)", f),
		model: func(s modelStore) (modelStore, bool) { return modelTake(s, f) },
		store: func(t *testing.T, s replay.Store, w world) bool {
			_, o, err := s.Take(context.Background(), w.place(f, 0), owner(9), replay.Right{ID: w.right, Issued: w.now, KeepUntil: w.keep()})
			if err != nil {
				t.Fatal(err)
			}
			return o == replay.Won
		},
	}
}

func ackStep(f, g uint64) step {
	return step{
		name: fmt.Sprintf("acknowledge(%d.%d)", f, g),
		model: func(s modelStore) (modelStore, bool) {
			return modelAck(s, f, g), f == s.fence
		},
		store: func(t *testing.T, s replay.Store, w world) bool {
			v, err := s.Acknowledge(context.Background(), w.place(f, g))
			if err != nil || len(v) != 1 {
				t.Fatal(v, err)
			}
			return v[0] == replay.Granted
		},
	}
}

// Every state that the model reaches at small bounds, and every operation in it:
// the store decides as the model does. Each state is reached anew by the shortest
// path, so that the operations before are compared as well.
func TestModel(t *testing.T) {
	all := steps()
	start := modelStore{}
	paths := map[modelStore][]step{start: nil}
	queue := []modelStore{start}
	tried := 0
	for len(queue) > 0 {
		state := queue[0]
		queue = queue[1:]
		// A store of its own keeps it small.
		m := replay.NewMemory(replay.MemoryConfig{})
		for _, s := range all {
			next, granted := s.model(state)
			if next.fence > maxFence {
				continue
			}
			tried++
			w := newWorld(t, m, tried)
			for _, before := range paths[state] {
				before.store(t, m, w)
			}
			if got := s.store(t, m, w); got != granted {
				t.Fatalf("after %s: %s = %v, want %v", pathString(paths[state]), s.name, got, granted)
			}
			if _, seen := paths[next]; !seen {
				paths[next] = append(paths[state][:len(paths[state]):len(paths[state])], s)
				queue = append(queue, next)
			}
		}
	}
	if len(paths) < 500 {
		t.Errorf("only %d states", len(paths))
	}
	t.Logf("%d states, %d operations", len(paths), tried)
}

func newWorld(t *testing.T, s replay.Store, n int) world {
	t.Helper()
	epoch, err := s.Epoch(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Append(nil, n)
	return world{replay.NewID("model", "sid", name), replay.NewID("model", "uid", name), epoch}
}

func pathString(path []step) (s string) {
	for _, p := range path {
		s += p.name + " "
	}
	return s
}

// The same states in the pure table, where the next record can be seen as well.
func TestModelState(t *testing.T) {
	seen := map[modelStore]bool{{}: true}
	queue := []modelStore{{}}
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		visit := func(next modelStore, got replay.State, what string) {
			t.Helper()
			if want := stateOf(next); got != want {
				t.Fatalf("%s in %+v = %+v, want %+v", what, m, got, want)
			}
			if next.fence <= maxFence && !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
		for f := range uint64(maxFence + 1) {
			for g := range uint64(maxGen + 1) {
				next, _ := modelProtect(m, f, g)
				got, _ := stateOf(m).Protect(version(f, g))
				visit(next, got, "protect")
				acked, v := stateOf(m).Acknowledge(version(f, g))
				if (v == replay.Granted) != (f == m.fence) {
					t.Fatalf("acknowledge(%d.%d) in %+v = %v", f, g, m, v)
				}
				visit(modelAck(m, f, g), acked, "acknowledge")
				for a := range byte(attempts) {
					next, ok := modelRestore(m, f, g, a+1)
					got, v, behind := stateOf(m).Restore(version(f, g), owner(a+1), true)
					if ok != (v == replay.Granted) || behind && ok {
						t.Fatalf("restore(%d.%d by %d) in %+v = %v, %v, want %v", f, g, a+1, m, v, behind, ok)
					}
					visit(next, got, "restore")
				}
			}
		}
	}
	t.Logf("%d states", len(seen))
}

func stateOf(m modelStore) (s replay.State) {
	s = replay.State{Fence: m.fence, Floor: m.floor, Watermark: m.wm, Set: version(m.attset[0], m.attset[1])}
	if m.att != 0 {
		s.Attempt = owner(m.att)
	}
	return s
}
