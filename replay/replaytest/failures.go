package replaytest

import (
	"context"
	"errors"
	"sync"

	"github.com/sealedblob/sealedblob/replay"
)

var failureChecks = []check{
	{name: "failure/cancelled context", clause: 10, run: cancelledContext},
	{name: "failure/closed store", clause: 13, run: closedStore},
	{name: "failure/close while claims run", clause: 13, run: closeUnderLoad},
	{name: "failure/broken backend is not replayed", clause: 9, needs: broken, run: brokenBackend},
}

// errorsOf calls every operation and returns its error by name, and what else
// than an error it said.
func (s store) errorsOf(ctx context.Context) (errs map[string]error, said []string) {
	k, sid := s.k, newID("sid")
	errs = make(map[string]error)
	note := func(name string, err error, silent bool) {
		errs[name] = err
		if !silent {
			said = append(said, name)
		}
	}
	o, err := s.Claim(ctx, newOwner(), k.right())
	note("Claim", err, o == replay.Lost)
	spent, err := s.Spent(ctx, newID("uid"))
	note("Spent", err, len(spent) == 0)
	got, err := s.Restore(ctx, k.request(sid, 0, 1))
	note("Restore", err, got.Verdict == replay.Refused && bare(got))
	v, err := s.Protect(ctx, k.place(sid, 0, 1))
	note("Protect", err, v == replay.Refused)
	v, o, err = s.Take(ctx, k.place(sid, 0, 0), newOwner(), k.right())
	note("Take", err, v == replay.Refused && o == replay.Lost)
	verdicts, err := s.Acknowledge(ctx, k.place(sid, 0, 1))
	note("Acknowledge", err, len(verdicts) == 0)
	v, err = s.Renew(ctx, k.place(newID("sid"), 0, 0), newID("sid"))
	note("Renew", err, v == replay.Refused)
	note("RevokeSubject", s.RevokeSubject(ctx, newID("subject"), k.now(), k.keep()), true)
	cut, err := s.SubjectCut(ctx, newID("subject"))
	note("SubjectCut", err, cut.IsZero())
	note("Revoke", s.Revoke(ctx, newID("sid"), k.keep()), true)
	return errs, said
}

func cancelledContext(k *kit) {
	s := k.open()
	errs, said := s.errorsOf(k.cancelled())
	for name, err := range errs {
		if !errors.Is(err, context.Canceled) {
			k.Errorf("%s with a cancelled context = %v, want %v", name, err, context.Canceled)
		}
	}
	if len(said) > 0 {
		k.Errorf("%v with a cancelled context said more than the error", said)
	}
	s.claim(replay.Won, newOwner(), k.right())
}

func closedStore(k *kit) {
	s := k.open()
	if err := s.Close(); err != nil {
		k.Fatalf("Close() = %v", err)
	}
	errs, said := s.errorsOf(k.Context())
	_, errs["Epoch"] = s.Epoch(k.Context())
	for name, err := range errs {
		if !errors.Is(err, replay.ErrClosed) {
			k.Errorf("%s after Close = %v, want %v", name, err, replay.ErrClosed)
		}
	}
	if len(said) > 0 {
		k.Errorf("%v after Close said more than the error", said)
	}
}

// closeUnderLoad: every claim is answered, truly or with ErrClosed.
func closeUnderLoad(k *kit) {
	s, r := k.open(), k.right()
	var wg sync.WaitGroup
	started := make(chan struct{}, racers)
	for range racers {
		wg.Go(func() {
			for {
				r := r
				r.ID = newID("uid")
				o, err := s.Claim(k.Context(), newOwner(), r)
				select {
				case started <- struct{}{}:
				default:
				}
				if err != nil {
					if o.Granted() || !errors.Is(err, replay.ErrClosed) {
						k.Errorf("Claim while closing = %v, %v, want %v", o, err, replay.ErrClosed)
					}
					return
				}
				if o != replay.Won {
					k.Errorf("Claim of a new right while closing = %v", o)
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	if err := s.Close(); err != nil {
		k.Errorf("Close() = %v", err)
	}
	wg.Wait()
}

// brokenBackend: "we could not tell" is neither a grant nor a final refusal.
func brokenBackend(k *kit) {
	s := k.open()
	s.claim(replay.Won, newOwner(), k.right())
	k.cfg.Break(k.TB, s.Store)
	errs, said := s.errorsOf(k.Context())
	for name, err := range errs {
		if err == nil {
			k.Errorf("%s on a broken backend = nil, want an error", name)
		}
		if final(err) {
			k.Errorf("%s on a broken backend = %v, which is final", name, err)
		}
	}
	if len(said) > 0 {
		k.Errorf("%v on a broken backend said more than the error", said)
	}
}
