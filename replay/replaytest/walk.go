package replaytest

import (
	cryptorand "crypto/rand"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

var walkChecks = []check{
	{name: "walk/at random beside the reference", run: walk},
}

// reference is the session table once more, as plain as it can be said, to
// compare a store with: small numbers, no time, no bounds.
type reference struct {
	sessions map[replay.ID]*row
	owners   map[replay.ID]replay.Owner
	cuts     map[replay.ID]int64
}

type row struct {
	fence, floor, watermark   uint64
	attempt                   replay.Owner
	setFence, setGen          uint64
	restoredOnce, isLoggedOut bool
	wasBehind                 bool // at the last restore
	next                      replay.ID
}

func newReference() *reference {
	return &reference{make(map[replay.ID]*row), make(map[replay.ID]replay.Owner), make(map[replay.ID]int64)}
}

func (m *reference) row(id replay.ID) *row {
	if m.sessions[id] == nil {
		m.sessions[id] = new(row)
	}
	return m.sessions[id]
}

// ended says whether the session was logged out, or its login.
func (m *reference) ended(session replay.ID, l replay.Login) bool {
	cut, revoked := m.cuts[l.Subject]
	return m.row(session).isLoggedOut || revoked && l.Since.Unix() <= cut
}

// another says whether somebody else than owner holds id.
func (m *reference) another(id replay.ID, owner replay.Owner) bool {
	holder, held := m.owners[id]
	return held && holder != owner
}

func (m *reference) hold(id replay.ID, owner replay.Owner) replay.Outcome {
	if _, held := m.owners[id]; held {
		return replay.Mine
	}
	m.owners[id] = owner
	return replay.Won
}

func (m *reference) claim(owner replay.Owner, rights []replay.Right) replay.Outcome {
	for _, r := range rights {
		if m.another(r.ID, owner) {
			return replay.Lost
		}
	}
	best := replay.Mine
	for _, r := range rights {
		if m.hold(r.ID, owner) == replay.Won {
			best = replay.Won
		}
	}
	return best
}

func (m *reference) spent(ids []replay.ID) (spent []bool) {
	for _, id := range ids {
		_, held := m.owners[id]
		spent = append(spent, held)
	}
	return spent
}

func (m *reference) restore(r replay.RestoreRequest) (got replay.Restored) {
	w := m.row(r.Session)
	f, g := r.Set.Fence, r.Set.Gen
	if m.ended(r.Session, r.Login) {
		got.Verdict = replay.Revoked
		return got
	}
	lastWinner := w.restoredOnce && w.attempt == r.Attempt && w.setFence == f && w.setGen == g
	wonAgain := lastWinner && w.floor == 0 && w.watermark == 0
	behind := w.wasBehind
	if !wonAgain {
		if f != w.fence || g < w.floor {
			got.Verdict = replay.Superseded
			return got
		}
		behind = g < w.watermark
	}
	if behind && r.Strict {
		got.Verdict = replay.RolledBack
		return got
	}
	got.BehindWatermark = behind
	for _, b := range r.Burn {
		if b.Required && m.another(b.ID, r.Attempt) {
			return replay.Restored{Verdict: replay.Spent}
		}
	}
	got.Spent = m.spent(r.Look)
	for _, b := range r.Burn {
		if m.another(b.ID, r.Attempt) {
			got.Burnt = append(got.Burnt, replay.Lost)
			continue
		}
		got.Burnt = append(got.Burnt, m.hold(b.ID, r.Attempt))
	}
	*w = row{fence: w.fence + 1, attempt: r.Attempt, setFence: f, setGen: g, restoredOnce: true, wasBehind: behind}
	got.Verdict, got.Fence = replay.Granted, w.fence
	return got
}

// here says whether the session lives where p says.
func (m *reference) here(p replay.Place) replay.Verdict {
	if m.ended(p.Session, p.Login) {
		return replay.Revoked
	}
	if p.Version.Fence != m.row(p.Session).fence {
		return replay.Superseded
	}
	return replay.Granted
}

func (m *reference) protect(p replay.Place) replay.Verdict {
	v := m.here(p)
	if w := m.row(p.Session); v == replay.Granted && p.Version.Gen > w.watermark {
		w.watermark = p.Version.Gen
	}
	return v
}

func (m *reference) take(p replay.Place, owner replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome) {
	if v := m.here(p); v != replay.Granted {
		return v, replay.Lost
	}
	return replay.Granted, m.claim(owner, []replay.Right{r})
}

func (m *reference) renew(p replay.Place, next replay.ID) replay.Verdict {
	w := m.row(p.Session)
	cut, revoked := m.cuts[p.Login.Subject]
	voided := revoked && p.Login.Since.Unix() <= cut
	if !voided && w.next == next && w.fence == p.Version.Fence && w.next != (replay.ID{}) {
		return replay.Granted
	}
	v := m.here(p)
	if v == replay.Granted {
		w.isLoggedOut, w.next = true, next
	}
	return v
}

func (m *reference) revokeSubject(subject replay.ID, before int64) {
	if cut, revoked := m.cuts[subject]; revoked && before <= cut {
		before = cut + 1
	}
	m.cuts[subject] = before
}

func (m *reference) acknowledge(acks []replay.Place) (verdicts []replay.Verdict) {
	for _, a := range acks {
		v := m.here(a)
		if w := m.row(a.Session); v == replay.Granted && a.Version.Gen > w.floor {
			w.floor = a.Version.Gen
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

func (m *reference) revoke(session replay.ID) { m.row(session).isLoggedOut = true }

// walker takes random steps on a store and on the reference.
type walker struct {
	*rand.Rand
	k        *kit
	store    replay.Store
	model    *reference
	sessions []replay.ID
	owners   []replay.Owner
	rights   []replay.Right
	logins   []replay.Login
}

func walk(k *kit) {
	seed := k.cfg.Seed
	if seed == 0 {
		var b [8]byte
		cryptorand.Read(b[:])
		seed = binary.BigEndian.Uint64(b[:])
	}
	k.Logf("Seed: %#x", seed)
	w := &walker{Rand: rand.New(rand.NewPCG(seed, seed)), k: k, store: k.open()}
	steps := k.cfg.Steps
	if steps <= 0 {
		steps = 2000
	}
	for step := range steps {
		if step%200 == 0 {
			w.afresh() // else all rights are spent and all sessions revoked
		}
		what, got, want := w.step()
		if got != want {
			k.Fatalf("step %d (seed %#x): %s\n got %s\nwant %s", step, seed, what, got, want)
		}
	}
}

// afresh goes on with new sessions, owners and rights.
func (w *walker) afresh() {
	w.model, w.sessions, w.owners, w.rights, w.logins = newReference(), nil, nil, nil, []replay.Login{{}}
	for n := range 3 {
		w.logins = append(w.logins, replay.Login{Subject: newID("subject"), Since: w.k.issued.Add(time.Duration(n) * time.Second)})
		w.sessions = append(w.sessions, newID("sid"))
		w.owners = append(w.owners, newOwner())
	}
	for range 12 {
		w.rights = append(w.rights, w.k.right())
	}
}

// step does one operation on both and tells what each answered.
func (w *walker) step() (what, got, want string) {
	ctx, session, owner := w.k.Context(), w.pickSession(), w.owners[w.IntN(len(w.owners))]
	switch n := w.IntN(100); {
	case n < 35:
		r := w.request(session, owner)
		res, err := w.store.Restore(ctx, r)
		return fmt.Sprintf("Restore(%+v)", r), show(restoredOf(res), err), show(restoredOf(w.model.restore(r)), nil)
	case n < 50:
		at := w.place(session)
		v, err := w.store.Protect(ctx, at)
		return fmt.Sprintf("Protect(%+v)", at), show(v, err), show(w.model.protect(at), nil)
	case n < 65:
		by, right := w.place(session), w.right()
		v, o, err := w.store.Take(ctx, by, owner, right)
		wantV, wantO := w.model.take(by, owner, right)
		return fmt.Sprintf("Take(%+v, %x, %x)", by, owner, right.ID), show([]any{v, o}, err), show([]any{wantV, wantO}, nil)
	case n < 75:
		acks := w.acks()
		verdicts, err := w.store.Acknowledge(ctx, acks...)
		return fmt.Sprintf("Acknowledge(%v)", acks), show(verdicts, err), show(w.model.acknowledge(acks), nil)
	case n < 88:
		rights := make([]replay.Right, 1+w.IntN(3))
		for i := range rights {
			rights[i] = w.right()
		}
		o, err := w.store.Claim(ctx, owner, rights...)
		return fmt.Sprintf("Claim(%x, %v)", owner, rights), show(o, err), show(w.model.claim(owner, rights), nil)
	case n < 96:
		ids := []replay.ID{w.right().ID, w.right().ID}
		spent, err := w.store.Spent(ctx, ids...)
		return fmt.Sprintf("Spent(%x)", ids), show(spent, err), show(w.model.spent(ids), nil)
	case n == 96:
		old, next := w.place(session), w.pickSession()
		v, err := w.store.Renew(ctx, old, next)
		return fmt.Sprintf("Renew(%+v, %x)", old, next), show(v, err), show(w.model.renew(old, next), nil)
	case n < 99:
		l := w.logins[1+w.IntN(len(w.logins)-1)] // nobody can't be revoked
		err := w.store.RevokeSubject(ctx, l.Subject, l.Since, w.k.keep())
		w.model.revokeSubject(l.Subject, l.Since.Unix())
		return fmt.Sprintf("RevokeSubject(%+v)", l), show(nil, err), show(nil, nil)
	default:
		err := w.store.Revoke(ctx, session, w.k.keep())
		w.model.revoke(session)
		return fmt.Sprintf("Revoke(%x)", session), show(nil, err), show(nil, nil)
	}
}

func show(answer any, err error) string { return fmt.Sprintf("%v, %v", answer, err) }

// restoredOf makes nil and empty the same.
func restoredOf(r replay.Restored) string {
	return fmt.Sprint(r.Verdict, r.Fence, r.BehindWatermark, slices.Clip(r.Burnt), slices.Clip(r.Spent))
}

func (w *walker) pickSession() replay.ID { return w.sessions[w.IntN(len(w.sessions))] }

func (w *walker) login() replay.Login { return w.logins[w.IntN(len(w.logins))] }

// place is near where the session is, as anybody.
func (w *walker) place(session replay.ID) replay.Place {
	at := w.version(session)
	return as(w.k.place(session, at.Fence, at.Gen), w.login())
}

func (w *walker) right() replay.Right { return w.rights[w.IntN(len(w.rights))] }

// version is near where the session is, or where it was.
func (w *walker) version(session replay.ID) replay.Version {
	at := w.model.row(session)
	v := replay.Version{Fence: at.fence, Gen: uint64(w.IntN(4))}
	switch n := w.IntN(10); {
	case n == 0:
		v.Fence++
	case n < 3 && v.Fence > 0:
		v.Fence--
	}
	return v
}

// request is now and then the last winner's own.
func (w *walker) request(session replay.ID, owner replay.Owner) replay.RestoreRequest {
	r := w.k.request(session, 0, 0)
	r.Set, r.Attempt, r.Strict, r.Login = w.version(session), owner, w.IntN(2) == 0, w.login()
	if at := w.model.row(session); at.restoredOnce && w.IntN(3) == 0 {
		r.Set, r.Attempt = replay.Version{Fence: at.setFence, Gen: at.setGen}, at.attempt
	}
	for range w.IntN(3) {
		r.Burn = append(r.Burn, replay.Burn{Right: w.right(), Required: w.IntN(2) == 0})
	}
	for range w.IntN(3) {
		r.Look = append(r.Look, w.right().ID)
	}
	return r
}

func (w *walker) acks() []replay.Place {
	acks := make([]replay.Place, 1+w.IntN(3))
	for i := range acks {
		acks[i] = w.place(w.pickSession())
	}
	return acks
}
