package replaytest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// someOwner is o, or a fresh owner if there is none.
func someOwner(o replay.Owner) replay.Owner {
	if o == (replay.Owner{}) {
		return newOwner()
	}
	return o
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
	{"batches overlap", []string{"claim/race of overlapping batches"}, func(f *faulty, _ *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			first, err := f.Store.Claim(ctx, o, rights[0])
			if !first.Granted() {
				return first, err
			}
			time.Sleep(100 * time.Microsecond)
			return f.Store.Claim(ctx, o, rights...)
		}
	}},
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
	{"claims without an owner are anybody's", []string{cNoOwner}, func(f *faulty, _ *backend) {
		f.claim = func(ctx context.Context, o replay.Owner, rights []replay.Right) (replay.Outcome, error) {
			return f.Store.Claim(ctx, someOwner(o), rights...)
		}
	}},
	{"takes without an owner are anybody's", []string{cNoOwner}, func(f *faulty, _ *backend) {
		f.take = func(ctx context.Context, by replay.Place, o replay.Owner, r replay.Right) (replay.Verdict, replay.Outcome, error) {
			return f.Store.Take(ctx, by, someOwner(o), r)
		}
	}},
	{"restores without an attempt are anybody's", []string{cNoOwner}, onRequest(func(_ *backend, r *replay.RestoreRequest) { r.Attempt = someOwner(r.Attempt) })},
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
				f.Store.Claim(ctx, newOwner(), replay.Right{ID: id, Issued: b.epoch(), KeepUntil: b.now().Add(time.Hour)})
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
