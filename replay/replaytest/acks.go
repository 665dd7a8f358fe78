package replaytest

import (
	"errors"
	"slices"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

var ackChecks = []check{
	{name: "acknowledge/never lowers the floor", run: ackNeverLowers},
	{name: "acknowledge/under another fence is superseded", run: ackFenced},
	{name: "acknowledge/of a revoked session is revoked", run: ackRevoked},
	{name: "acknowledge/answers many in order", run: ackMany},
	{name: "acknowledge/generation 0 raises nothing", run: ackAsks},
	{name: "acknowledge/generation 0 makes no record", needs: bounds, run: ackMakesNoRecord},
	{name: "acknowledge/out of reach is refused", clause: 6, run: ackOutOfReach},
	{name: "acknowledge/leaves the last eighth", clause: 8, needs: bounds, run: ackReserve},
}

func ackNeverLowers(k *kit) {
	s, sid := k.open(), newID("sid")
	for _, gen := range []uint64{5, 3, 0} {
		s.acknowledge(replay.Granted, sid, 0, gen)
	}
	s.restore(replay.Superseded, k.request(sid, 0, 4))
	s.granted(1, k.request(sid, 0, 5))
}

func ackFenced(k *kit) {
	s, sid := k.open(), newID("sid")
	s.acknowledge(replay.Superseded, sid, 1, 9)
	s.granted(1, k.request(sid, 0, 1))
	for _, gen := range []uint64{0, 9} {
		s.acknowledge(replay.Superseded, sid, 0, gen)
		s.acknowledge(replay.Superseded, sid, 2, gen)
	}
	s.granted(2, k.request(sid, 1, 1)) // none of them raised the floor
	s.acknowledge(replay.Superseded, sid, 1, 1)
	s.acknowledge(replay.Granted, sid, 2, 1)
}

func ackRevoked(k *kit) {
	s, sid, absent := k.open(), newID("sid"), newID("sid")
	s.granted(1, k.request(sid, 0, 1))
	s.revoke(sid)
	s.revoke(absent)
	for fence := range uint64(3) {
		for _, gen := range []uint64{0, 9} {
			s.acknowledge(replay.Revoked, sid, fence, gen)
			s.acknowledge(replay.Revoked, absent, fence, gen)
		}
	}
	s.restore(replay.Revoked, k.request(sid, 1, 9))
}

// ackMany: each is decided by itself, and a session that is listed twice is
// raised to the larger.
func ackMany(k *kit) {
	s, a, moved, revoked, c := k.open(), newID("sid"), newID("sid"), newID("sid"), newID("sid")
	s.granted(1, k.request(moved, 0, 1))
	s.revoke(revoked)
	s.acknowledgeAll(nil, nil)
	s.acknowledgeAll(nil, []answered{
		{k.place(a, 0, 3), replay.Granted},
		{k.place(moved, 0, 9), replay.Superseded},
		{k.place(revoked, 0, 9), replay.Revoked},
		{k.place(c, 0, 4), replay.Granted},
		{k.place(moved, 1, 0), replay.Granted},
		{k.place(a, 0, 5), replay.Granted},
		{k.place(a, 0, 2), replay.Granted},
		{k.place(a, 1, 2), replay.Superseded},
	})
	s.restore(replay.Superseded, k.request(a, 0, 4))
	s.granted(1, k.request(a, 0, 5))
	s.granted(2, k.request(moved, 1, 1))
	s.restore(replay.Superseded, k.request(c, 0, 3))
	s.granted(1, k.request(c, 0, 4))
}

func ackAsks(k *kit) {
	s, sid := k.open(), newID("sid")
	s.acknowledge(replay.Granted, sid, 0, 0)
	r := k.request(sid, 0, 3)
	s.granted(1, r)
	s.acknowledge(replay.Granted, sid, 1, 0)
	s.granted(2, r) // nothing was acknowledged: the same attempt wins again
	s.acknowledge(replay.Granted, sid, 2, 0)
	s.granted(3, k.request(sid, 2, 0))
}

func ackMakesNoRecord(k *kit) {
	s := k.bounded(Bounds{Rights: 4, Sessions: 3, Subjects: 4})
	ask := func() {
		for range 8 {
			s.acknowledge(replay.Granted, newID("sid"), 0, 0)
			s.acknowledge(replay.Superseded, newID("sid"), 1, 0)
			s.acknowledge(replay.Superseded, newID("sid"), 1, 9)
		}
	}
	ask()
	for range 3 {
		s.revoke(newID("sid"))
	}
	ask() // also in a full store
}

// ackOutOfReach: of what may have been purged nothing is known.
func ackOutOfReach(k *kit) {
	s, sid, revoked, good := k.open(), newID("sid"), newID("sid"), newID("sid")
	soon := k.now().Add(3 * time.Second)
	if err := s.Revoke(k.Context(), revoked, soon); err != nil {
		k.Fatalf("Revoke = %v", err)
	}
	at := func(session replay.ID, gen uint64, keep time.Time) replay.Place {
		return until(k.place(session, 0, gen), keep)
	}
	s.acknowledgeAll(nil, []answered{{at(revoked, 1, soon), replay.Revoked}})
	k.advance(6 * time.Second)
	for range 2 {
		s.acknowledgeAll(nil, []answered{
			{at(revoked, 1, soon), replay.Refused},
			{at(revoked, 0, soon), replay.Refused},
			{at(sid, 9, soon), replay.Refused},
			{at(sid, 9, time.Time{}), replay.Refused},
			{k.place(good, 0, 2), replay.Granted},
		})
		s.claim(replay.Won, newOwner(), k.right()) // gives the store a reason to purge
	}
	s.granted(1, k.request(sid, 0, 1))
	s.restore(replay.Superseded, k.request(good, 0, 1))
}

// ackReserve: of twelve places two are not for acknowledgements. Who finds none
// is told of its session all the same, and all others are served.
func ackReserve(k *kit) {
	s := k.bounded(Bounds{Rights: 4, Sessions: 12, Subjects: 4})
	moved := newID("sid")
	s.granted(1, k.request(moved, 0, 1))
	for range 8 {
		s.acknowledge(replay.Granted, newID("sid"), 0, 1)
	}
	last, first, second := newID("sid"), newID("sid"), newID("sid")
	full := func() {
		k.Helper()
		s.acknowledgeAll(replay.ErrFull, []answered{
			{k.place(last, 0, 4), replay.Granted},
			{k.place(first, 0, 4), replay.Granted},
			{k.place(moved, 0, 4), replay.Superseded},
			{k.place(second, 1, 4), replay.Superseded},
			{k.place(moved, 1, 7), replay.Granted},
		})
	}
	full()
	s.restore(replay.Superseded, k.request(last, 0, 3)) // the tenth had a place
	s.restore(replay.Superseded, k.request(moved, 1, 6))
	full()
	s.acknowledge(replay.Granted, last, 0, 6) // what is known is raised
	s.restore(replay.Superseded, k.request(last, 0, 5))
	s.granted(1, k.request(first, 0, 1)) // its floor was not
	s.revoke(second)
	s.acknowledge(replay.Granted, first, 1, 5) // nor does a full store stop it
	s.restore(replay.Superseded, k.request(first, 1, 4))
	s.acknowledgeAll(nil, []answered{{k.place(second, 0, 1), replay.Revoked}, {k.place(newID("sid"), 0, 0), replay.Granted}})
	if err := s.Revoke(k.Context(), newID("sid"), k.keep()); !errors.Is(err, replay.ErrFull) {
		k.Fatalf("Revoke in a full store = %v, want ErrFull", err)
	}
}

func (k *kit) place(session replay.ID, fence, gen uint64) replay.Place {
	return replay.Place{Session: session, Version: replay.Version{Fence: fence, Gen: gen}, KeepUntil: k.keep()}
}

// until is p, kept until keep.
func until(p replay.Place, keep time.Time) replay.Place {
	p.KeepUntil = keep
	return p
}

// acknowledge acknowledges one generation and expects a verdict.
func (s store) acknowledge(want replay.Verdict, session replay.ID, fence, gen uint64) {
	s.k.Helper()
	s.acknowledgeAll(nil, []answered{{s.k.place(session, fence, gen), want}})
}

// answered is an acknowledgement and the verdict that is expected.
type answered struct {
	ack  replay.Place
	want replay.Verdict
}

// acknowledgeAll expects a verdict for each, and wantErr.
func (s store) acknowledgeAll(wantErr error, all []answered) {
	s.k.Helper()
	var acks []replay.Place
	var want []replay.Verdict
	for _, a := range all {
		acks, want = append(acks, a.ack), append(want, a.want)
	}
	got, err := s.Acknowledge(s.k.Context(), acks...)
	if !slices.Equal(got, want) || !errors.Is(err, wantErr) {
		s.k.Fatalf("Acknowledge(%v) = %v, %v, want %v, %v", acks, got, err, want, wantErr)
	}
}
