package session_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sealedblob/sealedblob/internal/testkit"
	"github.com/sealedblob/sealedblob/policy"
	"github.com/sealedblob/sealedblob/replay"
	"github.com/sealedblob/sealedblob/replay/filestore"
	"github.com/sealedblob/sealedblob/seal"
)

const programPolicy = `{"version":1,"session":{"idle":"30m30s","absolute":"3h0m30s","leeway":"1s"},"attributes":{
	"cart":{},"login":{"ttl":"5m30s"},"note":{"idle":"10m30s"},"role":{"rollback":"%s"},"here":{"authority":"server"},
	"ticket":{"ttl":"20m30s","once":true},"voucher":{"ttl":"20m30s","once":true,"burn":"restore"}}}`

// step is one line of a program. What it does not need is zero.
type step struct {
	Do     string
	Node   int
	Tab    int
	Set    int  // which of those that the thief has, counted from the newest
	Cookie int  // which of those that the thief has, counted from the newest; zero: the set's own
	Again  bool // with the token of the last try
	Lost   bool // the answer is lost
	Acks   int  // that follow
	For    time.Duration
	Acts   []act
}

// GoString leaves out what is zero.
func (s step) GoString() string {
	out := fmt.Sprintf("%s on node %d", s.Do, s.Node)
	for _, part := range []struct {
		name  string
		value any
		zero  bool
	}{
		{"tab", s.Tab, s.Tab == 0}, {"set", s.Set, s.Set == 0}, {"cookie", s.Cookie, s.Cookie == 0}, {"again", s.Again, !s.Again},
		{"lost", s.Lost, !s.Lost}, {"acknowledged", s.Acks, s.Acks == 0}, {"for", s.For, s.For == 0},
	} {
		if !part.zero {
			out += fmt.Sprintf(", %s %v", part.name, part.value)
		}
	}
	for _, a := range s.Acts {
		out += "; " + strings.TrimSpace(a.Do+" "+a.Name)
		if a.Do == "take" {
			out += fmt.Sprint(" by ", a.Owner)
		}
		if a.Lost {
			out += " (answer lost)"
		}
	}
	return out
}

// choice draws a number below n.
type choice func(what string, n int) int

func pick[T any](c choice, what string, from []T) T { return from[c(what, len(from))] }

// words repeats each word as often as its number says.
func words(of string) (out []string) {
	for _, field := range strings.Split(of, ",") {
		var word string
		count := 1
		fmt.Sscanf(field, "%d", &count)
		word = strings.TrimLeft(field, "0123456789 ")
		for range count {
			out = append(out, word)
		}
	}
	return out
}

var (
	allSteps = words("16 visit,8 shake,8 acknowledge,6 steal,4 intrude,4 tick,3 wait,3 crash,2 drain,1 leave,2 deafen,1 rotate,1 watch,1 end logins")
	allActs  = words("12 read,20 set,4 update,4 delete,14 take,3 login,2 renew,1 logout,1 end logins")
	names    = words("2 cart,1 login,1 note,3 role,1 here,3 ticket,3 voucher")
	rights   = []string{"ticket", "voucher"}
	waits    = []time.Duration{time.Minute, time.Minute, 6 * time.Minute, 6 * time.Minute, 12 * time.Minute, 21 * time.Minute, 31 * time.Minute}
)

func drawStep(c choice, kinds, acts []string) step {
	s := step{Do: pick(c, "step", kinds), Node: c("node", 3)}
	switch s.Do {
	case "visit", "intrude":
		for range 1 + c("acts", 3) {
			s.Acts = append(s.Acts, drawAct(c, acts))
		}
		if s.Do == "intrude" {
			s.Cookie = c("cookie", 12)
		}
	case "shake":
		s.Tab, s.Lost, s.Acks = c("tab", 2), c("lost", 6) == 1, c("acknowledged", 3)
	case "acknowledge", "leave", "deafen":
		s.Tab = c("tab", 2)
	case "steal":
		s.Set, s.Cookie, s.Again, s.Lost = c("set", 8), max(0, c("cookie", 12)-6), c("again", 2) == 1, c("lost", 4) == 1
	case "wait":
		s.For = pick(c, "for", waits)
	}
	return s
}

func drawAct(c choice, acts []string) act {
	a := act{Do: pick(c, "act", acts)}
	switch a.Do {
	case "set", "delete":
		a.Name = pick(c, "name", names)
	case "take":
		a.Name, a.Owner = pick(c, "right", rights), byte(1+c("owner", 2))
	default:
		return a
	}
	a.Lost = c("lost", 8) == 1
	return a
}

// run does one step.
func (w *world) run(s step) {
	w.align(14 * time.Second)
	w.tally[s.Do]++
	t := w.tabs[s.Tab]
	switch s.Do {
	case "visit":
		w.come(s)
	case "intrude":
		if i := len(w.cookies) - 1 - s.Cookie; i >= 0 {
			if _, served := w.visit(s.Node, w.cookies[i], false, s.Acts); served {
				w.tally["an intruder served"]++
			}
		}
	case "shake":
		w.shake(t, s.Node, s.Lost)
		for range s.Acks {
			w.ack(t)
		}
	case "acknowledge":
		w.ack(t)
	case "leave":
		t.leave()
	case "deafen":
		t.deaf = true
	case "steal":
		w.steal(s)
	case "tick":
		for n := range w.nodes {
			w.tick(n)
		}
	case "watch":
		w.watch(s.Node)
	case "wait":
		time.Sleep(s.For)
	case "crash":
		w.crash(s.Node)
	case "drain":
		w.drain(s.Node)
	case "rotate":
		if len(w.rings) > 0 {
			w.keys.ring, w.rings = w.rings[0], w.rings[1:]
		}
	case "end logins":
		w.endLogins(s.Node)
	}
	w.look(false)
}

// come is a request of the browser: if its session is not on the node it restores
// it there and asks again. With another session its pages are made anew.
func (w *world) come(s step) {
	defer func() {
		for _, t := range w.tabs {
			if l := w.lifeOf(w.cookie); t.s != nil && !l.was(w.branches[t.s].life) {
				t.leave()
			}
		}
	}()
	var served bool
	if w.cookie, served = w.visit(s.Node, w.cookie, false, s.Acts); served {
		return
	}
	if w.shake(w.tabs[s.Tab], s.Node, false); w.held == nil || w.tabs[s.Tab].s != nil {
		w.cookie, _ = w.visit(s.Node, w.cookie, w.held == nil, s.Acts)
	}
}

// steal presents an old set.
func (w *world) steal(s step) {
	i := len(w.sets) - 1 - s.Set
	if i < 0 {
		return
	}
	q, attempt, cookie := w.sets[i], replay.Owner(seal.NewID()), ""
	if s.Again {
		attempt = q.attempt
	}
	for _, c := range w.cookies {
		if w.lifeOf(c) == q.by.life {
			cookie = c
		}
	}
	if j := len(w.cookies) - s.Cookie; s.Cookie > 0 && j >= 0 {
		cookie = w.cookies[j]
	}
	w.hand(s.Node, cookie, q, attempt, s.Lost)
}

// tick lets a node's background work run once.
func (w *world) tick(n int) {
	w.tell(n)
	ctx, cancel := context.WithTimeout(context.Background(), 1200*time.Millisecond)
	defer cancel()
	w.nodes[n].Run(ctx)
	for _, b := range w.branches {
		if b.node == n && !b.gone && b.over(time.Now()) && b.s.Err() == nil {
			w.fail("a node keeps a session whose time is up", n)
		}
	}
	w.look(true)
}

// watch uses what is left of a session on a node for as long as it takes the node
// to learn that it has gone.
func (w *world) watch(n int) {
	var left *branch
	for _, b := range w.branches {
		if b.node == n && !b.gone && b.doomed() && (left == nil || b.used.Before(left.used)) {
			left = b
		}
	}
	cookie := ""
	for _, c := range w.cookies {
		if left != nil && w.lifeOf(c) == left.life && w.fenceOf(c) <= left.s.Version().Fence {
			cookie = c
		}
	}
	if cookie == "" {
		return
	}
	for range 11 {
		if !left.gone {
			w.visit(n, cookie, false, []act{{Do: "read"}})
			w.tick(n)
		}
	}
	if !left.gone {
		w.fail("a node still serves a session that has gone from there", n)
	}
	w.tally["learnt"]++
}

// crash ends a node and starts another in its place.
func (w *world) crash(n int) {
	for _, b := range w.branches {
		if b.node == n {
			b.gone = true
		}
	}
	for _, t := range w.tabs {
		if t.s != nil && w.branches[t.s].node == n {
			t.s = nil
		}
	}
	w.start(n)
}

// drain empties a node, whose clients answer, and starts another in its place.
func (w *world) drain(n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	var expected []*branch
	for s, b := range w.branches {
		ours := b.life == w.lifeOf(w.cookie) && (w.tabs[0].s == s || w.tabs[1].s == s)
		if ours && b.node == n && !b.gone && !b.doomed() && !b.over(time.Now()) {
			expected = append(expected, b)
		}
	}
	w.tell(n)
	w.order.Add(1)
	done := make(chan bool)
	go func() {
		w.nodes[n].Drain(ctx)
		close(done)
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(30 * time.Millisecond):
			synctest.Wait() // the drain has done what it does at this moment
			for _, t := range w.tabs {
				if t.s != nil && w.branches[t.s].node == n && t.s.Err() == nil && !w.branches[t.s].over(time.Now()) {
					w.ack(t)
				}
			}
			w.tell(n)
			w.order.Add(1)
		}
	}
	for _, b := range expected {
		w.tally["drained"]++
		if q := b.sets[b.s.Version().Gen]; q != nil && w.held != q {
			w.fail("after the drain the browser does not hold the newest set", n, q.version)
		}
	}
	for _, b := range w.branches {
		if b.node == n && !b.gone && b.s.Err() == nil {
			w.fail("a session is left on a drained node", n)
		}
	}
	w.crash(n)
}

// programRings makes keyrings of which each has one key more, which is primary.
func programRings(t *testing.T) (out []*seal.Ring) {
	synctest.Test(t, func(t *testing.T) {
		dir, now := t.TempDir(), time.Now()
		ring, err := seal.InitRing(dir, seal.A256GCM, now)
		must(t, err)
		out = append(out, ring)
		for range 3 {
			ring, err := seal.UnsafeRotateRing(t.Context(), dir, seal.A256GCM, now, now)
			must(t, err)
			out = append(out, ring)
		}
	})
	return out
}

// Random programs over three nodes: what they do is what the oracle says.
// -rapid.checks says how many, 100 by itself; ci/programs.sh runs 10,000.
func TestPrograms(t *testing.T) {
	rings := programRings(t)
	policies := map[bool]*policy.Policy{
		true: testkit.Policy(t, fmt.Sprintf(programPolicy, "refuse")), false: testkit.Policy(t, fmt.Sprintf(programPolicy, "drop")),
	}
	bit := rapid.Bool()
	steps := rapid.Custom(func(t *rapid.T) step {
		return drawStep(func(what string, n int) int { // rapid's own numbers are mostly small
			v, of := 0, 1
			for ; of < 4*n; of *= 2 {
				if v *= 2; bit.Draw(t, what) {
					v++
				}
			}
			return v * n / of
		}, allSteps, allActs)
	})
	total, dir, stores := map[string]int{}, t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		strict, disk := rapid.Bool().Draw(t, "refuse"), rapid.IntRange(0, 49).Draw(t, "disk") == 49
		rapid.SyncTest(t, func(t *rapid.T) {
			var store replay.Store = replay.NewMemory(replay.MemoryConfig{})
			if disk {
				stores++
				onDisk, err := filestore.Open(filepath.Join(dir, fmt.Sprint(stores)), filestore.Config{})
				if err != nil {
					t.Fatal(err)
				}
				defer onDisk.Close()
				store = onDisk
			}
			w := newWorld(t, policies[strict], strict, store, rings)
			t.Repeat(map[string]func(*rapid.T){"": func(*rapid.T) {}, "program": func(t *rapid.T) { w.run(steps.Draw(t, "step")) }})
			for what, n := range w.tally {
				total[what] += n
			}
		})
	})
	t.Logf("%v", total)
}
