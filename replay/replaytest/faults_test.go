package replaytest

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// faulty is a store of which some operations are replaced.
type faulty struct {
	replay.Store
	claim       func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error)
	spent       func(ctx context.Context, ids []replay.ID) ([]bool, error)
	restore     func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error)
	protect     func(ctx context.Context, at replay.Place) (replay.Verdict, error)
	take        func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error)
	acknowledge func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error)
	revoke      func(ctx context.Context, id replay.ID, keep time.Time) error
	epoch       func(ctx context.Context) (time.Time, error)
	close       func() error
}

func (f *faulty) Claim(ctx context.Context, o replay.Owner, rights ...replay.Right) (replay.Outcome, error) {
	if f.claim != nil {
		return f.claim(ctx, o, rights)
	}
	return f.Store.Claim(ctx, o, rights...)
}

func (f *faulty) Spent(ctx context.Context, ids ...replay.ID) ([]bool, error) {
	if f.spent != nil {
		return f.spent(ctx, ids)
	}
	return f.Store.Spent(ctx, ids...)
}

func (f *faulty) Restore(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
	if f.restore != nil {
		return f.restore(ctx, r)
	}
	return f.Store.Restore(ctx, r)
}

func (f *faulty) Protect(ctx context.Context, at replay.Place) (replay.Verdict, error) {
	if f.protect != nil {
		return f.protect(ctx, at)
	}
	return f.Store.Protect(ctx, at)
}

func (f *faulty) Take(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
	if f.take != nil {
		return f.take(ctx, by, o, r)
	}
	return f.Store.Take(ctx, by, o, r)
}

func (f *faulty) Acknowledge(ctx context.Context, acks ...replay.Place) ([]replay.Verdict, error) {
	if f.acknowledge != nil {
		return f.acknowledge(ctx, acks)
	}
	return f.Store.Acknowledge(ctx, acks...)
}

func (f *faulty) Revoke(ctx context.Context, id replay.ID, keep time.Time) error {
	if f.revoke != nil {
		return f.revoke(ctx, id, keep)
	}
	return f.Store.Revoke(ctx, id, keep)
}

func (f *faulty) Epoch(ctx context.Context) (time.Time, error) {
	if f.epoch != nil {
		return f.epoch(ctx)
	}
	return f.Store.Epoch(ctx)
}

func (f *faulty) Close() error {
	if f.close != nil {
		return f.close()
	}
	return f.Store.Close()
}

// fault is one deliberate fault and the checks that must find it.
type fault struct {
	name string
	want []string
	make func(f *faulty, b *backend)
}

// The names of the checks that most faults are found by.
const (
	cFirst    = "claim/first wins, owner retries, others lose"
	cRace     = "claim/race of 64 owners"
	cBatch    = "claim/batch is all or none"
	cMixed    = "claim/batch of own and new"
	cDup      = "claim/batch with duplicates"
	cKeep     = "horizon/remembered until KeepUntil, refused after"
	cPast     = "horizon/what is past is refused"
	cBack     = "horizon/survives a clock that steps back"
	cFull     = "bounds/full of rights refuses and evicts nothing"
	cFullB    = "bounds/a batch that does not fit writes nothing"
	cFork     = "restore/another attempt is superseded"
	cAgain    = "restore/the same attempt wins again"
	cClosed   = "failure/closed store"
	cBroken   = "failure/broken backend is not replayed"
	cWalk     = "walk/at random beside the reference"
	cStrict   = "watermark/strict is rolled back"
	cReopened = "instances/reopened, everything is remembered"
	cLowers   = "acknowledge/never lowers the floor"
	cFenced   = "acknowledge/under another fence is superseded"
	cRevoked  = "acknowledge/of a revoked session is revoked"
	cMany     = "acknowledge/answers many in order"
	cAsks     = "acknowledge/generation 0 raises nothing"
	cNoRecord = "acknowledge/generation 0 makes no record"
	cReach    = "acknowledge/out of reach is refused"
	cReserve  = "acknowledge/leaves the last eighth"
)

// onRights lets a fault bend the rights of every claim.
func onRights(bend func(b *backend, r *replay.Right)) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			bent := append([]replay.Right(nil), rights...)
			for i := range bent {
				bend(b, &bent[i])
			}
			return f.Store.Claim(ctx, o, bent...)
		}
	}
}

// onRequest lets a fault bend every restore.
func onRequest(bend func(b *backend, r *replay.RestoreRequest)) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			r.Burn = append([]replay.Burn(nil), r.Burn...)
			bend(b, &r)
			return f.Store.Restore(ctx, r)
		}
	}
}

// onOutcome lets a fault bend the answer to every claim.
func onOutcome(bend func(o replay.Outcome, err error) (replay.Outcome, error)) func(f *faulty, b *backend) {
	return func(f *faulty, _ *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			return bend(f.Store.Claim(ctx, o, rights...))
		}
	}
}

// onRestored lets a fault bend the answer to every restore.
func onRestored(bend func(b *backend, r replay.RestoreRequest, got *replay.Restored, err *error)) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			got, err := f.Store.Restore(ctx, r)
			bend(b, r, &got, &err)
			return got, err
		}
	}
}

// onVerdict lets a fault bend each answer to an acknowledgement.
func onVerdict(bend func(b *backend, a replay.Place, v replay.Verdict) replay.Verdict) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			verdicts, err := f.Store.Acknowledge(ctx, acks...)
			for i := range verdicts {
				verdicts[i] = bend(b, acks[i], verdicts[i])
			}
			return verdicts, err
		}
	}
}

// onAcknowledged lets a fault bend all the answers.
func onAcknowledged(bend func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error)) func(f *faulty, b *backend) {
	return func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			verdicts, err := f.Store.Acknowledge(ctx, acks...)
			return bend(b, acks, verdicts, err)
		}
	}
}

// raise raises the floors of what was granted, whatever the room.
func raise(b *backend, acks []replay.Place, verdicts []replay.Verdict) {
	for i, v := range verdicts {
		if v == replay.Granted {
			b.edit(acks[i].Session, func(s *replay.State) { s.Floor = max(s.Floor, acks[i].Version.Gen) })
		}
	}
}

func oneByOne(f *faulty, _ *backend) {
	f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
		if len(rights) == 0 {
			return f.Store.Claim(ctx, o)
		}
		best := replay.Mine
		for _, r := range rights {
			got, err := f.Store.Claim(ctx, o, r)
			if err != nil || got == replay.Lost {
				return got, err
			}
			best = max(best, got)
		}
		return best, nil
	}
}

// checkThenAct reads and writes in two steps.
func checkThenAct(f *faulty, _ *backend) {
	var mu sync.Mutex
	holder := make(map[replay.ID]replay.Owner)
	f.claim = func(_ context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
		mu.Lock()
		was, held := holder[rights[0].ID]
		mu.Unlock()
		if held && was != o {
			return replay.Lost, nil
		}
		time.Sleep(time.Microsecond)
		mu.Lock()
		defer mu.Unlock()
		holder[rights[0].ID] = o
		return replay.Won, nil
	}
}

var errNotAFact = errors.New("deliberate")

var claimFaults = []fault{
	{"batch is not atomic", []string{cBatch, cMixed, cFullB, cWalk}, oneByOne},
	{"check, then act", []string{cRace, "claim/race of one owner with itself"}, checkThenAct},
	{"mine to anyone", []string{cFirst, cRace, cWalk}, onOutcome(func(o replay.Outcome, err error) (replay.Outcome, error) {
		if err == nil && o == replay.Lost {
			o = replay.Mine
		}
		return o, err
	})},
	{"the owner is forgotten", []string{cFirst, cWalk}, onOutcome(func(o replay.Outcome, err error) (replay.Outcome, error) {
		if o == replay.Mine {
			o = replay.Lost
		}
		return o, err
	})},
	{"won again and again", []string{cFirst, cWalk}, onOutcome(func(o replay.Outcome, err error) (replay.Outcome, error) {
		if o == replay.Mine {
			o = replay.Won
		}
		return o, err
	})},
	{"errors become lost", []string{cKeep, cFull, cClosed, cBroken, "failure/cancelled context", "epoch/rights issued before are refused"},
		onOutcome(func(o replay.Outcome, err error) (replay.Outcome, error) { return o, nil })},
	{"errors become won", []string{cKeep, cFull, cClosed, cBroken}, onOutcome(func(o replay.Outcome, err error) (replay.Outcome, error) {
		if err != nil {
			return replay.Won, nil
		}
		return o, nil
	})},
	{"grants beside an error", []string{cFull, cClosed, cBroken}, onOutcome(func(o replay.Outcome, err error) (replay.Outcome, error) {
		if err != nil {
			o = replay.Mine
		}
		return o, err
	})},
	{"a broken backend is a final refusal", []string{cBroken}, onOutcome(func(o replay.Outcome, err error) (replay.Outcome, error) {
		if errors.Is(err, errBroken) {
			err = replay.ErrBeyondHorizon
		}
		return o, err
	})},
	{"nothing claimed is granted", []string{"claim/of nothing is an error"}, func(f *faulty, _ *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			if len(rights) == 0 {
				return replay.Mine, nil
			}
			return f.Store.Claim(ctx, o, rights...)
		}
	}},
	{"the zero owner is nobody", []string{"claim/zero owner is an owner like any"}, func(f *faulty, _ *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			if o == (replay.Owner{}) {
				o = newOwner()
			}
			return f.Store.Claim(ctx, o, rights...)
		}
	}},
	{"a duplicate loses to itself", []string{cDup}, func(f *faulty, _ *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			if len(rights) > 1 && rights[0] == rights[len(rights)-1] {
				return replay.Lost, nil
			}
			return f.Store.Claim(ctx, o, rights...)
		}
	}},
	{"a duplicate takes two places", []string{cFullB}, func(f *faulty, _ *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			if len(rights) > 1 && rights[0] == rights[1] {
				return replay.Lost, replay.ErrFull
			}
			return f.Store.Claim(ctx, o, rights...)
		}
	}},
	{"spent spends", []string{"spent/reports and writes nothing", cBatch}, func(f *faulty, b *backend) {
		f.spent = func(ctx context.Context, ids []replay.ID) ([]bool, error) {
			spent, err := f.Store.Spent(ctx, ids...)
			for _, id := range ids {
				f.Store.Claim(ctx, newOwner(), replay.Right{ID: id, Issued: b.now().Add(time.Minute), KeepUntil: b.now().Add(time.Hour)})
			}
			return spent, err
		}
	}},
	{"spent says no", []string{"spent/reports and writes nothing", "burn/spends with the restore", cReopened, cWalk}, func(f *faulty, _ *backend) {
		f.spent = func(ctx context.Context, ids []replay.ID) ([]bool, error) {
			_, err := f.Store.Spent(ctx, ids...)
			return make([]bool, len(ids)), err
		}
	}},
	{"one table for all kinds", []string{"ids/namespaces and kinds are apart"}, onRights(func(_ *backend, r *replay.Right) { r.ID = replay.ID{} })},
}

var timeFaults = []fault{
	{"forgets early", []string{cKeep}, onRights(func(b *backend, r *replay.Right) {
		if now := b.now(); r.KeepUntil.After(now) {
			r.KeepUntil = now
		}
	})},
	{"never past", []string{cKeep, cPast}, onRights(func(b *backend, r *replay.Right) { r.KeepUntil = b.now().Add(time.Hour) })},
	{"sessions are never past", []string{cKeep, cPast}, onRequest(func(b *backend, r *replay.RestoreRequest) { r.KeepUntil = b.now().Add(time.Hour) })},
	{"the horizon follows the clock", []string{cBack, "horizon/survives reopening under a clock that steps back"}, func(f *faulty, b *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			if now := b.now(); now.Before(b.latest) {
				b.forget(func(c replay.Change) bool { return c.KeepUntil.After(b.latest) })
			} else {
				b.latest = now
			}
			return f.Store.Claim(ctx, o, rights...)
		}
	}},
	{"epoch ignored for rights", []string{"epoch/rights issued before are refused"}, onRights(func(b *backend, r *replay.Right) { r.Issued = b.now().Add(time.Minute) })},
	{"epoch ignored for sets", []string{"epoch/sets issued before are refused"}, onRequest(func(b *backend, r *replay.RestoreRequest) { r.Issued = b.now().Add(time.Minute) })},
	{"epoch refuses its own second", []string{"epoch/rights issued before are refused", "epoch/sets issued before are refused"}, func(f *faulty, b *backend) {
		onRights(func(_ *backend, r *replay.Right) { r.Issued = r.Issued.Add(-time.Second) })(f, b)
		onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Issued = r.Issued.Add(-time.Second) })(f, b)
	}},
	{"epoch moves", []string{"epoch/whole seconds, and steady"}, func(f *faulty, b *backend) {
		f.epoch = func(context.Context) (time.Time, error) { return time.Unix(b.now().Unix(), 0), nil }
	}},
	{"epoch in fractions", []string{"epoch/whole seconds, and steady"}, func(f *faulty, _ *backend) {
		f.epoch = func(ctx context.Context) (time.Time, error) {
			at, err := f.Store.Epoch(ctx)
			return at.Add(time.Millisecond), err
		}
	}},
	{"the last KeepUntil counts", []string{"horizon/a longer record outlives shorter ones"}, func(f *faulty, b *backend) {
		f.revoke = func(ctx context.Context, id replay.ID, keep time.Time) error {
			b.forget(func(c replay.Change) bool { return c.ID != id })
			return f.Store.Revoke(ctx, id, keep)
		}
	}},
	{"revoke until the past is done", []string{cPast}, func(f *faulty, _ *backend) {
		f.revoke = func(ctx context.Context, id replay.ID, keep time.Time) error {
			err := f.Store.Revoke(ctx, id, keep)
			if errors.Is(err, replay.ErrBeyondHorizon) {
				return nil
			}
			return err
		}
	}},
	{"evicts when full", []string{cFull}, func(f *faulty, b *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			got, err := f.Store.Claim(ctx, o, rights...)
			if errors.Is(err, replay.ErrFull) {
				b.forget(func(c replay.Change) bool { return false })
				return f.Store.Claim(ctx, o, rights...)
			}
			return got, err
		}
	}},
	{"evicts sessions when full", []string{"bounds/full of sessions refuses and evicts nothing"}, func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			got, err := f.Store.Restore(ctx, r)
			if errors.Is(err, replay.ErrFull) {
				b.forget(func(c replay.Change) bool { return c.Kind != replay.SessionRecord })
				return f.Store.Restore(ctx, r)
			}
			return got, err
		}
	}},
	{"full burns beside the restore", []string{"bounds/a restore that does not fit writes nothing"}, func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			got, err := f.Store.Restore(ctx, r)
			if errors.Is(err, replay.ErrFull) {
				b.edit(r.Session, func(s *replay.State) { s.Fence++ })
			}
			return got, err
		}
	}},
	{"never makes room", []string{"bounds/what is past makes room"}, func(f *faulty, b *backend) {
		full := false
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			if full {
				return replay.Lost, replay.ErrFull
			}
			got, err := f.Store.Claim(ctx, o, rights...)
			full = errors.Is(err, replay.ErrFull)
			return got, err
		}
	}},
}

var sessionFaults = []fault{
	{"fence not raised", []string{cFork, "restore/raises the fence", "restore/race of 64 attempts", cWalk}, onRestored(func(b *backend, r replay.RestoreRequest, got *replay.Restored, err *error) {
		if got.Verdict == replay.Granted {
			b.edit(r.Session, func(s *replay.State) { s.Fence-- })
		}
	})},
	{"fence told wrongly", []string{"restore/raises the fence", cWalk}, onRestored(func(_ *backend, r replay.RestoreRequest, got *replay.Restored, _ *error) {
		if got.Verdict == replay.Granted {
			got.Fence = r.Set.Fence
		}
	})},
	{"fence not compared", []string{cFork, "restore/raises the fence", cWalk}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		r.Set.Fence = b.state(r.Session).State.Fence
	})},
	{"restores read, then write", []string{"restore/race of 64 attempts"}, func(f *faulty, b *backend) {
		f.restore = func(_ context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			next, v, _ := b.state(r.Session).State.Restore(r.Set, r.Attempt, r.Strict)
			runtime.Gosched()
			time.Sleep(time.Microsecond)
			if v != replay.Granted {
				return replay.Restored{Verdict: v}, nil
			}
			b.edit(r.Session, func(s *replay.State) { *s = next })
			return replay.Restored{Verdict: v, Fence: next.Fence}, nil
		}
	}},
	{"never won again", []string{cAgain, cWalk, cReopened}, onRequest(func(_ *backend, r *replay.RestoreRequest) {
		if len(r.Burn) == 0 || r.Set.Fence == 0 {
			r.Attempt = newOwner()
		}
	})},
	{"won again by anyone", []string{cFork, cAgain, cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Attempt = replay.Owner{} })},
	{"won again with any set", []string{"restore/not again with another set", cWalk}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		if s := b.state(r.Session).State; s.Attempt == r.Attempt {
			r.Set = s.Set
		}
	})},
	{"won again after changes", []string{"restore/not again after a protected change", "restore/not again after an acknowledgement", cWalk}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		if s := b.state(r.Session).State; s.Attempt == r.Attempt && s.Set == r.Set && s.Fence > 0 {
			b.edit(r.Session, func(s *replay.State) { s.Floor, s.Watermark = 0, 0 })
		}
	})},
	{"refusals say more", []string{cFork}, onRestored(func(b *backend, r replay.RestoreRequest, got *replay.Restored, _ *error) {
		got.Fence = b.state(r.Session).State.Fence
	})},
	{"sessions are one", []string{"restore/sessions are apart"}, onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Session = replay.ID{} })},
	{"floor ignored", []string{"floor/below it is superseded", cWalk}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		b.edit(r.Session, func(s *replay.State) { s.Floor = 0 })
	})},
	{"watermark ignored", []string{cStrict, "watermark/not strict is granted and told", "protect/race with a restore", cWalk}, func(f *faulty, _ *backend) {
		f.protect = func(ctx context.Context, _ replay.Place) (replay.Verdict, error) {
			return replay.Granted, ctx.Err()
		}
	}},
	{"strict ignored", []string{cStrict, cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Strict = false })},
	{"always strict", []string{"watermark/not strict is granted and told", cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Strict = true })},
	{"behind is not told", []string{"watermark/not strict is granted and told", cWalk}, onRestored(func(_ *backend, _ replay.RestoreRequest, got *replay.Restored, _ *error) {
		got.BehindWatermark = false
	})},
	{"watermark lowered", []string{"watermark/protect never lowers", cWalk}, func(f *faulty, b *backend) {
		f.protect = func(ctx context.Context, at replay.Place) (replay.Verdict, error) {
			v, err := f.Store.Protect(ctx, at)
			if v == replay.Granted {
				b.edit(at.Session, func(s *replay.State) { s.Watermark = at.Version.Gen })
			}
			return v, err
		}
	}},
	{"watermark before floor", []string{"watermark/floor decides before it"}, onRestored(func(b *backend, r replay.RestoreRequest, got *replay.Restored, _ *error) {
		if s := b.state(r.Session).State; r.Strict && got.Verdict == replay.Superseded && r.Set.Gen < s.Watermark {
			got.Verdict = replay.RolledBack
		}
	})},
	{"watermark outlives a restore", []string{"watermark/a restore starts anew", cWalk}, func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			was := b.state(r.Session).State
			got, err := f.Store.Restore(ctx, r)
			if got.Verdict == replay.Granted {
				b.edit(r.Session, func(s *replay.State) { s.Watermark = was.Watermark })
			}
			return got, err
		}
	}},
	{"protect under any fence", []string{"protect/under another fence is superseded", cWalk}, func(f *faulty, b *backend) {
		f.protect = func(ctx context.Context, at replay.Place) (replay.Verdict, error) {
			at.Version.Fence = b.state(at.Session).State.Fence
			return f.Store.Protect(ctx, at)
		}
	}},
	{"take under any fence", []string{"take/under another fence spends nothing", cWalk}, func(f *faulty, b *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			by.Version.Fence = b.state(by.Session).State.Fence
			return f.Store.Take(ctx, by, o, r)
		}
	}},
	{"take spends before it looks", []string{"take/under another fence spends nothing", "revoke/refuses everything", cWalk}, func(f *faulty, _ *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			f.Store.Claim(ctx, o, r)
			return f.Store.Take(ctx, by, o, r)
		}
	}},
	{"take marks", []string{"take/leaves the watermark alone"}, func(f *faulty, b *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			v, out, err := f.Store.Take(ctx, by, o, r)
			if v == replay.Granted {
				b.edit(by.Session, func(s *replay.State) { s.Watermark++ })
			}
			return v, out, err
		}
	}},
	{"take is won by all", []string{"take/spends under the fence", "take/race of 64 owners"}, func(f *faulty, _ *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			v, out, err := f.Store.Take(ctx, by, o, r)
			if v == replay.Granted {
				out = replay.Won
			}
			return v, out, err
		}
	}},
	{"revoke does nothing", []string{"revoke/refuses everything", "revoke/works on an absent record", cWalk}, func(f *faulty, _ *backend) {
		f.revoke = func(ctx context.Context, _ replay.ID, _ time.Time) error { return ctx.Err() }
	}},
	{"revoke needs a record", []string{"revoke/works on an absent record"}, func(f *faulty, b *backend) {
		f.revoke = func(ctx context.Context, id replay.ID, keep time.Time) error {
			if b.state(id).State == (replay.State{}) {
				return ctx.Err()
			}
			return f.Store.Revoke(ctx, id, keep)
		}
	}},
	{"the last winner outlives revocation", []string{"revoke/refuses everything"}, onRequest(func(b *backend, r *replay.RestoreRequest) {
		if s := b.state(r.Session).State; s.Attempt == r.Attempt && s.Set == r.Set && s.Fence > 0 {
			b.edit(r.Session, func(s *replay.State) { *s = replay.State{Fence: r.Set.Fence} })
		}
	})},
}

var ackFaults = []fault{
	{"floor lowered", []string{cLowers, cMany, cWalk}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		for i, v := range verdicts {
			if v == replay.Granted {
				b.edit(acks[i].Session, func(s *replay.State) { s.Floor = acks[i].Version.Gen })
			}
		}
		return verdicts, err
	})},
	{"floor of any fence", []string{cFenced, cWalk}, func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			verdicts, err := f.Store.Acknowledge(ctx, acks...)
			for _, a := range acks {
				a.Version.Fence = b.state(a.Session).State.Fence
				f.Store.Acknowledge(ctx, a)
			}
			return verdicts, err
		}
	}},
	{"only the first is acknowledged", []string{cMany, cWalk}, func(f *faulty, _ *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			verdicts, err := f.Store.Acknowledge(ctx, acks[:min(1, len(acks))]...)
			for len(verdicts) < len(acks) {
				v, _ := f.Store.Acknowledge(ctx, replay.Place{
					Session: acks[len(verdicts)].Session, Version: replay.Version{Fence: acks[len(verdicts)].Version.Fence}, KeepUntil: acks[len(verdicts)].KeepUntil,
				})
				verdicts = append(verdicts, v...)
			}
			return verdicts, err
		}
	}},
	{"always granted", []string{cFenced, cRevoked, cMany, cReach, cReserve, "revoke/refuses everything", "instances/two on one backend agree", cWalk},
		onVerdict(func(*backend, replay.Place, replay.Verdict) replay.Verdict { return replay.Granted })},
	{"a logout is told as a move", []string{cRevoked, cMany, "revoke/refuses everything", "instances/two on one backend agree", cWalk}, onVerdict(func(_ *backend, _ replay.Place, v replay.Verdict) replay.Verdict {
		if v == replay.Revoked {
			v = replay.Superseded
		}
		return v
	})},
	{"a logout is told under its fence only", []string{cRevoked, "revoke/refuses everything", cWalk}, onVerdict(func(b *backend, a replay.Place, v replay.Verdict) replay.Verdict {
		if v == replay.Revoked && b.state(a.Session).State.Fence != a.Version.Fence {
			v = replay.Superseded
		}
		return v
	})},
	{"below the floor is superseded", []string{cLowers, cMany, cWalk}, onVerdict(func(b *backend, a replay.Place, v replay.Verdict) replay.Verdict {
		if v == replay.Granted && a.Version.Gen < b.state(a.Session).State.Floor {
			v = replay.Superseded
		}
		return v
	})},
	{"only what is raised is granted", []string{cLowers, cAsks, cNoRecord, cWalk}, onVerdict(func(_ *backend, a replay.Place, v replay.Verdict) replay.Verdict {
		if a.Version.Gen == 0 {
			v = replay.Refused
		}
		return v
	})},
	{"verdicts out of order", []string{cMany, cWalk}, onAcknowledged(func(_ *backend, _ []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		slices.Reverse(verdicts)
		return verdicts, err
	})},
	{"one verdict for each session", []string{cMany, cWalk}, onAcknowledged(func(_ *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		var once []replay.Verdict
		for i, v := range verdicts {
			if !slices.ContainsFunc(acks[:i], func(a replay.Place) bool { return a.Session == acks[i].Session }) {
				once = append(once, v)
			}
		}
		return once, err
	})},
	{"generation 0 counts as an acknowledgement", []string{cAsks, cWalk}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		for i, v := range verdicts {
			if v == replay.Granted && acks[i].Version.Gen == 0 {
				b.edit(acks[i].Session, func(s *replay.State) { s.Floor = max(s.Floor, 1) })
			}
		}
		return verdicts, err
	})},
	{"generation 0 makes a record", []string{cNoRecord}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		raise(b, acks, verdicts)
		return verdicts, err
	})},
	{"what is refused makes a record", []string{cNoRecord}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		for i, v := range verdicts {
			if v == replay.Superseded {
				b.edit(acks[i].Session, func(*replay.State) {})
			}
		}
		return verdicts, err
	})},
	{"out of reach is an error", []string{cReach}, onAcknowledged(func(_ *backend, _ []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		if slices.Contains(verdicts, replay.Refused) {
			return nil, replay.ErrBeyondHorizon
		}
		return verdicts, err
	})},
	{"out of reach is raised", []string{cReach}, func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			verdicts, err := f.Store.Acknowledge(ctx, acks...)
			for i, v := range verdicts {
				if a := acks[i]; v == replay.Refused {
					a.KeepUntil = b.now().Add(time.Hour)
					f.Store.Acknowledge(ctx, a)
				}
			}
			return verdicts, err
		}
	}},
	{"out of reach reads as absent", []string{cReach, cBack}, func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			late := slices.Clone(acks)
			for i := range late {
				late[i].KeepUntil = b.now().Add(time.Hour)
			}
			return f.Store.Acknowledge(ctx, late...)
		}
	}},
	{"no reserve", []string{cReserve}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		if errors.Is(err, replay.ErrFull) {
			raise(b, acks, verdicts)
			err = nil
		}
		return verdicts, err
	})},
	{"the reserve is taken in silence", []string{cReserve}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		if errors.Is(err, replay.ErrFull) {
			raise(b, acks, verdicts)
		}
		return verdicts, err
	})},
	{"a floor is lost in silence", []string{cReserve}, onAcknowledged(func(_ *backend, _ []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		if errors.Is(err, replay.ErrFull) {
			err = nil
		}
		return verdicts, err
	})},
	{"full says nothing of the sessions", []string{cReserve, "bounds/full of sessions refuses and evicts nothing"}, onAcknowledged(func(_ *backend, _ []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		if err != nil {
			verdicts = nil
		}
		return verdicts, err
	})},
	{"full refuses those it cannot raise", []string{cReserve, "bounds/full of sessions refuses and evicts nothing"}, onAcknowledged(func(b *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		for i, v := range verdicts {
			if err != nil && v == replay.Granted && b.state(acks[i].Session).State.Floor < acks[i].Version.Gen {
				verdicts[i] = replay.Refused
			}
		}
		return verdicts, err
	})},
	{"full raises nothing at all", []string{cReserve, "bounds/full of sessions refuses and evicts nothing"}, func(f *faulty, b *backend) {
		f.acknowledge = func(ctx context.Context, acks []replay.Place) ([]replay.Verdict, error) {
			var before []uint64
			for _, a := range acks {
				before = append(before, b.state(a.Session).State.Floor)
			}
			verdicts, err := f.Store.Acknowledge(ctx, acks...)
			for i, v := range verdicts {
				if errors.Is(err, replay.ErrFull) && v == replay.Granted {
					b.edit(acks[i].Session, func(s *replay.State) { s.Floor = before[i] })
				}
			}
			return verdicts, err
		}
	}},
	{"grants sessions beside an error", []string{cClosed, cBroken, "failure/cancelled context"}, onAcknowledged(func(_ *backend, acks []replay.Place, verdicts []replay.Verdict, err error) ([]replay.Verdict, error) {
		for len(verdicts) < len(acks) {
			verdicts = append(verdicts, replay.Granted)
		}
		return verdicts, err
	})},
}

var burnFaults = []fault{
	{"nothing is required", []string{"burn/required and spent refuses all", "burn/unknowable rights", cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) {
		for i := range r.Burn {
			r.Burn[i].Required = false
		}
	})},
	{"everything is required", []string{"burn/not required is lost alone", cWalk}, onRequest(func(_ *backend, r *replay.RestoreRequest) {
		for i := range r.Burn {
			r.Burn[i].Required = true
		}
	})},
	{"burns before it decides", []string{"burn/a refused restore burns nothing", "burn/required and spent refuses all", cWalk}, func(f *faulty, _ *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			for _, b := range r.Burn {
				f.Store.Claim(ctx, r.Attempt, b.Right)
			}
			return f.Store.Restore(ctx, r)
		}
	}},
	{"burns nothing", []string{"burn/spends with the restore", cWalk}, func(f *faulty, _ *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			n := len(r.Burn)
			r.Burn = nil
			got, err := f.Store.Restore(ctx, r)
			for range n {
				if got.Verdict == replay.Granted {
					got.Burnt = append(got.Burnt, replay.Won)
				}
			}
			return got, err
		}
	}},
	{"one bad right refuses all", []string{"burn/unknowable rights"}, func(f *faulty, _ *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			epoch, _ := f.Store.Epoch(ctx)
			for _, b := range r.Burn {
				if b.Issued.Before(epoch) {
					return replay.Restored{}, replay.ErrBeforeEpoch
				}
			}
			return f.Store.Restore(ctx, r)
		}
	}},
	{"looking spends", []string{"look/reports and spends nothing", cWalk}, func(f *faulty, b *backend) {
		f.restore = func(ctx context.Context, r replay.RestoreRequest) (replay.Restored, error) {
			got, err := f.Store.Restore(ctx, r)
			for _, id := range r.Look {
				f.Store.Claim(ctx, newOwner(), replay.Right{ID: id, Issued: b.now().Add(time.Minute), KeepUntil: b.now().Add(time.Hour)})
			}
			return got, err
		}
	}},
	{"errors become grants", []string{"epoch/sets issued before are refused", cPast, cClosed, cBroken}, onRestored(func(_ *backend, r replay.RestoreRequest, got *replay.Restored, err *error) {
		if *err != nil {
			*got, *err = replay.Restored{Verdict: replay.Granted, Fence: r.Set.Fence + 1}, nil
		}
	})},
}

var otherFaults = []fault{
	{"closing does nothing", []string{cClosed, "failure/close while claims run"}, func(f *faulty, _ *backend) {
		var once sync.Once
		stop := make(chan struct{})
		f.close = func() error {
			once.Do(func() { time.AfterFunc(20*time.Millisecond, func() { close(stop) }) })
			return nil
		}
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			select {
			case <-stop:
				return replay.Lost, errNotAFact
			default:
				return f.Store.Claim(ctx, o, rights...)
			}
		}
	}},
	{"the context is ignored", []string{"failure/cancelled context"}, func(f *faulty, _ *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			return f.Store.Claim(context.WithoutCancel(ctx), o, rights...)
		}
	}},
	{"instances do not share", []string{"instances/two on one backend agree", "instances/race of claims", "instances/race of restores", cReopened}, func(f *faulty, _ *backend) {
		f.Store = &front{b: newBackend(0, 0)}
	}},
	{"closing forgets", []string{cReopened, "instances/closing one leaves the other"}, func(f *faulty, b *backend) {
		f.close = func() error {
			b.forget(func(replay.Change) bool { return false })
			return f.Store.Close()
		}
	}},
}

// The kit goes red for every fault, in each check that is there to find it.
func TestFaultsAreFound(t *testing.T) {
	found := 0
	for _, topic := range [][]fault{claimFaults, timeFaults, sessionFaults, ackFaults, burnFaults, otherFaults} {
		for _, bad := range topic {
			t.Run(bad.name, func(t *testing.T) {
				for _, name := range bad.want {
					if !finds(t, checkNamed(t, name), bad) {
						t.Errorf("%q passed", name)
					}
					found++
				}
			})
		}
	}
	if found == 0 {
		t.Error("no fault was tried")
	}
}

// finds gives a check that needs luck a few chances.
func finds(t *testing.T, c check, bad fault) bool {
	cfg := configWith(func(s replay.Store, b *backend) replay.Store {
		f := &faulty{Store: s}
		bad.make(f, b)
		return f
	})
	for range 20 {
		if len(failures(t, c, cfg)) > 0 {
			return true
		}
	}
	return false
}
