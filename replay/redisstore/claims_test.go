package redisstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// claimed is a claim of a batch, and what is to become of it.
type claimed struct {
	owner   replay.Owner
	rights  []replay.Right
	want    replay.Outcome
	wantErr error
}

// together claims all in one call.
func together(t *testing.T, s *Store, all []claimed) {
	t.Helper()
	batch, replies := make([]question, len(all)), make([]reply, len(all))
	for i, c := range all {
		var err error
		batch[i], err = s.claim(c.owner, c.rights)
		must(t, err)
	}
	must(t, s.carry(batch, replies))
	for i, c := range all {
		if got := replies[i]; got.outcome != c.want || !errors.Is(got.err, c.wantErr) {
			t.Errorf("claim %d = %v, %v, want %v, %v", i, got.outcome, got.err, c.want, c.wantErr)
		}
	}
}

func won(s *Store, n int) (all []claimed) {
	for range n {
		all = append(all, claimed{newOwner(), []replay.Right{newRight(s)}, replay.Won, nil})
	}
	return all
}

// claimOn claims from 16 goroutines, also what was won before, and tries again where it can't be told. Stop
// returns what was won. Something is, when claimOn returns.
func claimOn(t *testing.T, s *Store) (stop func() []claimed) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var all []claimed
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for ctx.Err() == nil {
				owner, right := newOwner(), newRight(s)
				got, err := s.Claim(ctx, owner, right)
				if err != nil {
					time.Sleep(time.Millisecond)
					continue
				}
				mu.Lock()
				if got == replay.Won {
					all = append(all, claimed{owner, []replay.Right{right}, replay.Mine, nil})
				}
				spent := all[rand.IntN(len(all))].rights[0]
				mu.Unlock()
				if got, err := s.Claim(ctx, newOwner(), spent); got.Granted() {
					t.Errorf("Claim of a spent right = %v, %v", got, err)
					return
				}
			}
		})
	}
	stop = func() []claimed {
		cancel()
		wg.Wait()
		return all
	}
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		won := len(all)
		mu.Unlock()
		if won > 0 {
			return stop
		}
		if time.Now().After(limit) {
			stop()
			t.Fatal("nothing was won")
		}
	}
}

// checkWon claims again what was won: by its owner, or refused by an epoch since. It says how much
// is after the epoch.
func checkWon(t *testing.T, s *Store, all []claimed) (after int) {
	t.Helper()
	epoch, err := s.Epoch(t.Context())
	must(t, err)
	for _, c := range all {
		if c.rights[0].Issued.Before(epoch) {
			c.want, c.wantErr = replay.Lost, replay.ErrBeforeEpoch
		} else {
			after++
		}
		expect(t, s, c.owner, c.rights[0], c.want, c.wantErr)
	}
	return after
}

// callsOf is how often the server ran a command.
func callsOf(server *services.Server, command string) string {
	_, text, _ := strings.Cut(server.Redis("INFO", "commandstats"), "cmdstat_"+command+":calls=")
	n, _, _ := strings.Cut(text, ",")
	return n
}

// Claims that share a call share a command, too, and each has an outcome of its own nonetheless.
func TestClaimsTogether(t *testing.T) {
	t.Parallel()
	server, s := fresh(t)
	together(t, s, won(s, batchSize))
	if n := callsOf(server, "msetnx"); n != "1" || callsOf(server, "setnx") != "" {
		t.Errorf("%s commands for %d rights, and %s more", n, batchSize, callsOf(server, "setnx"))
	}
	twice, once := won(s, 1)[0], won(s, 1)[0]
	again, late := twice, twice
	again.want = replay.Mine
	late.owner, late.want = newOwner(), replay.Lost
	all := append(won(s, 3), twice, again, late)
	together(t, s, all)
	for i := range all {
		if all[i].want == replay.Won {
			all[i].want = replay.Mine
		}
	}
	together(t, s, append(all, once)) // one is new

	before, ahead, beyond, nobody, both, part := won(s, 1)[0], won(s, 1)[0], won(s, 1)[0], won(s, 1)[0], won(s, 1)[0], won(s, 1)[0]
	before.rights[0].Issued = time.Unix(1, 0)
	before.want, before.wantErr = replay.Lost, replay.ErrBeforeEpoch
	ahead.rights[0].Issued = time.Now().Add(time.Minute)
	ahead.want, ahead.wantErr = replay.Lost, replay.ErrAhead
	beyond.rights[0].KeepUntil = time.Now().Add(-time.Minute)
	beyond.want, beyond.wantErr = replay.Lost, replay.ErrBeyondHorizon
	nobody.owner, nobody.want, nobody.wantErr = replay.Owner{}, replay.Lost, replay.ErrNoOwner
	both.rights = append(both.rights, newRight(s))
	part.rights, part.want = append(part.rights, once.rights[0]), replay.Lost
	for _, c := range []claimed{before, ahead, beyond, nobody, both, part} {
		together(t, s, append(won(s, 2), c))
	}
	part.rights, part.want = part.rights[:1], replay.Won // all or none
	together(t, s, []claimed{part})
}

// The bound holds among claims that share a call.
func TestClaimsTogetherFull(t *testing.T) {
	t.Parallel()
	cfg := configOf(services.Redis(t).Addr, "test")
	cfg.MaxRights = 5
	s := mustOpen(t, cfg)
	all := won(s, 7)
	for i := range all[5:] {
		all[5+i].want, all[5+i].wantErr = replay.Lost, replay.ErrFull
	}
	together(t, s, all)
	if status, err := s.Status(t.Context()); err != nil || status.Rights != 5 {
		t.Errorf("Status = %+v, %v", status, err)
	}
}

// What was written together is purged together, but for what is kept longer by then.
func TestPurgeTogether(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	s := skewed(t, configOf(server.Addr, "test"))
	all := won(s, batchSize)
	together(t, s, all)
	kept := all[7]
	kept.rights[0].KeepUntil, kept.want = kept.rights[0].KeepUntil.Add(2*time.Hour), replay.Mine
	together(t, s, []claimed{kept})
	skew(server, 7200)
	must(t, s.Purge(t.Context()))
	if status, err := s.Status(t.Context()); err != nil || status.Rights != 1 || status.Horizon.IsZero() {
		t.Errorf("Status = %+v, %v", status, err)
	}
	expect(t, s, newOwner(), kept.rights[0], replay.Lost, nil)
	expect(t, s, all[8].owner, all[8].rights[0], replay.Lost, replay.ErrBeyondHorizon)
	skew(server, 14400)
	must(t, s.Purge(t.Context()))
	if n := said(server, "DBSIZE"); n != "2" { // meta and skew
		t.Errorf("%s keys are left: %s", n, server.Redis("KEYS", "*"))
	}
}
