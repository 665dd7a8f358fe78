package replaytest

import "github.com/sealedblob/sealedblob/replay"

var restoreChecks = []check{
	{name: "restore/raises the fence", run: restoreRaisesFence},
	{name: "restore/another attempt is superseded", run: restoreForkLoses},
	{name: "restore/the same attempt wins again", clause: 11, run: wonAgain},
	{name: "restore/not again with another set", run: notAgainOtherSet},
	{name: "restore/not again after a protected change", run: notAgainProtected},
	{name: "restore/not again after an acknowledgement", run: notAgainAcknowledged},
	{name: "restore/race of 64 attempts", clause: 1, run: restoreRace},
	{name: "restore/sessions are apart", clause: 12, run: sessionsApart},
	{name: "floor/below it is superseded", run: floorSupersedes},
	{name: "watermark/strict is rolled back", run: watermarkStrict},
	{name: "watermark/not strict is granted and told", run: watermarkTold},
	{name: "watermark/the retry is told the same", clause: 11, run: watermarkToldAgain},
	{name: "watermark/protect never lowers", run: watermarkNeverLowered},
	{name: "watermark/floor decides before it", run: floorBeforeWatermark},
	{name: "watermark/a restore starts anew", run: restoreResets},
}

func restoreRaisesFence(k *kit) {
	s, sid := k.open(), newID("sid")
	for fence := range uint64(4) {
		s.restore(replay.Superseded, k.request(sid, fence+1, 1)) // from the future
		s.granted(fence+1, k.request(sid, fence, 10-fence))
	}
	for fence := range uint64(4) {
		s.restore(replay.Superseded, k.request(sid, fence, 100))
	}
	s.granted(5, k.request(sid, 4, 0))
}

func restoreForkLoses(k *kit) {
	s, sid := k.open(), newID("sid")
	s.granted(1, k.request(sid, 0, 1))
	for gen := range uint64(3) {
		s.restore(replay.Superseded, k.request(sid, 0, gen))
	}
	s.granted(2, k.request(sid, 1, 1)) // the losers changed nothing
}

func wonAgain(k *kit) {
	s, sid := k.open(), newID("sid")
	r := k.request(sid, 0, 3)
	for fence := uint64(1); fence <= 4; fence++ {
		s.granted(fence, r)
	}
	r.Strict = true
	s.granted(5, r)
	s.restore(replay.Superseded, k.request(sid, 0, 3))
	s.granted(6, r) // the loser changed nothing
	next := k.request(sid, 6, 4)
	s.granted(7, next)
	s.restore(replay.Superseded, r) // no longer the last winner
	s.granted(8, next)
}

func notAgainOtherSet(k *kit) {
	s, sid := k.open(), newID("sid")
	r := k.request(sid, 0, 3)
	s.granted(1, r)
	for _, set := range []replay.Version{{Gen: 2}, {Gen: 4}, {Gen: 0}} {
		other := r
		other.Set = set
		s.restore(replay.Superseded, other)
	}
	s.granted(2, r)
}

func notAgainProtected(k *kit) {
	s, sid := k.open(), newID("sid")
	r := k.request(sid, 0, 3)
	s.granted(1, r)
	s.protect(replay.Granted, sid, 1, 4)
	s.restore(replay.Superseded, r)
}

func notAgainAcknowledged(k *kit) {
	s, sid := k.open(), newID("sid")
	r := k.request(sid, 0, 3)
	s.granted(1, r)
	s.acknowledge(replay.Superseded, sid, 0, 9) // under the old fence: nothing
	s.granted(2, r)
	s.acknowledge(replay.Granted, sid, 2, 4)
	s.restore(replay.Superseded, r)
}

func restoreRace(k *kit) {
	s := k.open()
	for range 4 {
		sid := newID("sid")
		got := race(racers, func(int) replay.Verdict {
			got, err := s.Restore(k.Context(), k.request(sid, 0, 1))
			if err != nil {
				k.Errorf("Restore = %v", err)
			}
			return got.Verdict
		})
		if got[replay.Granted] != 1 || got[replay.Superseded] != racers-1 {
			k.Fatalf("verdicts %v, want one granted and the rest superseded", got)
		}
		s.granted(2, k.request(sid, 1, 1))
	}
}

func sessionsApart(k *kit) {
	s, a, b := k.open(), newID("sid"), newID("sid")
	s.granted(1, k.request(a, 0, 1))
	s.protect(replay.Granted, a, 1, 9)
	s.acknowledge(replay.Granted, a, 1, 9)
	s.granted(1, k.request(b, 0, 1))
	s.revoke(a)
	s.granted(2, k.request(b, 1, 1))
}

func floorSupersedes(k *kit) {
	s, sid := k.open(), newID("sid")
	s.acknowledge(replay.Granted, sid, 0, 5)
	for _, strict := range []bool{false, true} {
		r := k.request(sid, 0, 4)
		r.Strict = strict
		s.restore(replay.Superseded, r)
	}
	s.granted(1, k.request(sid, 0, 5))
	s.acknowledge(replay.Granted, sid, 1, 6)
	s.restore(replay.Superseded, k.request(sid, 1, 5))
	s.granted(2, k.request(sid, 1, 7))
}

func watermarkStrict(k *kit) {
	s, sid := k.open(), newID("sid")
	s.protect(replay.Granted, sid, 0, 5)
	r := k.request(sid, 0, 4)
	r.Strict = true
	s.restore(replay.RolledBack, r)
	s.restore(replay.RolledBack, r) // and it stays so
	r.Set.Gen = 5
	if got := s.granted(1, r); got.BehindWatermark {
		k.Fatal("Restore at the watermark = behind it")
	}
}

func watermarkTold(k *kit) {
	s := k.open()
	for gen, behind := range map[uint64]bool{4: true, 5: false, 6: false} {
		sid := newID("sid")
		s.protect(replay.Granted, sid, 0, 5)
		if got := s.granted(1, k.request(sid, 0, gen)); got.BehindWatermark != behind {
			k.Fatalf("Restore(0.%d) under watermark 5: BehindWatermark = %v, want %v", gen, got.BehindWatermark, behind)
		}
	}
}

// watermarkToldAgain: winning starts the watermark anew, and still the attempt that
// wins again must withhold what it withheld.
func watermarkToldAgain(k *kit) {
	s, sid := k.open(), newID("sid")
	s.protect(replay.Granted, sid, 0, 5)
	r := k.request(sid, 0, 4)
	for fence := range uint64(3) {
		if got := s.granted(fence+1, r); !got.BehindWatermark {
			k.Fatalf("Restore(0.4) under watermark 5, for the %d. time: BehindWatermark = false", fence+1)
		}
	}
	strict := r
	strict.Strict = true
	s.restore(replay.RolledBack, strict)
	if got := s.granted(4, k.request(sid, 3, 5)); got.BehindWatermark {
		k.Fatal("Restore of a set of the new fence = behind the watermark of the old one")
	}
}

func watermarkNeverLowered(k *kit) {
	s, sid := k.open(), newID("sid")
	s.protect(replay.Granted, sid, 0, 5)
	s.protect(replay.Granted, sid, 0, 3)
	s.protect(replay.Granted, sid, 0, 0)
	r := k.request(sid, 0, 4)
	r.Strict = true
	s.restore(replay.RolledBack, r)
}

func floorBeforeWatermark(k *kit) {
	s, sid := k.open(), newID("sid")
	s.protect(replay.Granted, sid, 0, 7)
	s.acknowledge(replay.Granted, sid, 0, 5)
	r := k.request(sid, 0, 4)
	r.Strict = true
	s.restore(replay.Superseded, r)
	r.Set.Gen = 6
	s.restore(replay.RolledBack, r)
	r.Strict = false
	if got := s.granted(1, r); !got.BehindWatermark {
		k.Fatal("Restore(0.6) under watermark 7: BehindWatermark = false")
	}
}

func restoreResets(k *kit) {
	s, sid := k.open(), newID("sid")
	s.protect(replay.Granted, sid, 0, 9)
	s.acknowledge(replay.Granted, sid, 0, 9)
	s.granted(1, k.request(sid, 0, 9))
	r := k.request(sid, 1, 1)
	r.Strict = true
	if got := s.granted(2, r); got.BehindWatermark {
		k.Fatal("Restore under a new fence = behind the watermark of the old one")
	}
}
