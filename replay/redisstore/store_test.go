package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// configOf is for a store of that name on the server at addr.
func configOf(addr, name string) Config {
	return Config{Client: rueidis.ClientOption{InitAddress: []string{addr}, ForceSingleClient: true, DisableCache: true}, Name: name, Timeout: 2 * time.Second}
}

func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(context.Background(), cfg)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func newOwner() (o replay.Owner) {
	rand.Read(o[:])
	return o
}

// newRight is one that s grants: dated now, or at the epoch of a store that was just made.
func newRight(s *Store) (r replay.Right) {
	copy(r.ID[:], rand.Text()) // fit for a command line
	now := time.Now()
	r.Issued, r.KeepUntil = time.Unix(max(now.Unix(), s.known.Load().epoch), 0), now.Add(time.Hour)
	return r
}

// bent are the scripts under a clock that the test sets: the server's own, moved by
// the seconds at a key.
func bent(key string) scripts {
	const clock = "call('TIME')[1])"
	out := make(scripts)
	for name, text := range storeScripts {
		if strings.Count(text, clock) != 1 || strings.Count(text, "TIME") != 1 {
			panic("the script reads the clock elsewhere")
		}
		out[name] = strings.Replace(text, clock, clock+" + (call('GET', '"+key+"') or 0)", 1)
	}
	return out
}

// fresh starts a server with a store.
func fresh(t testing.TB, options ...string) (*services.Server, *Store) {
	t.Helper()
	server := services.Redis(t, options...)
	return server, mustOpen(t, configOf(server.Addr, "test"))
}

// skewKey has the seconds by which the clock of a skewed store is moved.
const skewKey = "skew"

// skewed opens a store under a clock that the test sets.
func skewed(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := open(t.Context(), cfg, bent(skewKey))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func skew(server *services.Server, seconds int) { server.Redis("SET", skewKey, strconv.Itoa(seconds)) }

func said(s *services.Server, command ...string) string {
	return strings.TrimSpace(s.Redis(command...))
}

// expect claims r and expects an outcome or an error.
func expect(t *testing.T, s *Store, owner replay.Owner, r replay.Right, want replay.Outcome, wantErr error) {
	t.Helper()
	if got, err := s.Claim(context.Background(), owner, r); got != want || !errors.Is(err, wantErr) {
		t.Fatalf("Claim = %v, %v, want %v, %v", got, err, want, wantErr)
	}
}

// expectSoon is expect of a server that came up again, after the errors of former
// connections.
func expectSoon(t *testing.T, s *Store, owner replay.Owner, r replay.Right, want replay.Outcome, wantErr error) {
	t.Helper()
	var got replay.Outcome
	var err error
	eventually(t, func() bool {
		got, err = s.Claim(context.Background(), owner, r)
		return err == nil || isFinal(err)
	})
	if got != want || !errors.Is(err, wantErr) {
		t.Fatalf("Claim = %v, %v, want %v, %v", got, err, want, wantErr)
	}
}

// expectSoonErr waits for an error of a claim.
func expectSoonErr(t *testing.T, s *Store, r replay.Right, want error) {
	t.Helper()
	var got replay.Outcome
	var err error
	for end := time.Now().Add(20 * time.Second); !errors.Is(err, want); time.Sleep(20 * time.Millisecond) {
		if got, err = s.Claim(context.Background(), newOwner(), r); time.Now().After(end) {
			t.Fatalf("Claim = %v, %v, want soon %v", got, err, want)
		}
	}
}

// eventually waits for a server that comes up again.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come about in 20 s")
		}
	}
}

// rejoin waits until s has joined a store on a server that comes up again.
func rejoin(t *testing.T, s *Store) {
	t.Helper()
	eventually(t, func() bool {
		_, err := s.Epoch(context.Background())
		return err == nil
	})
}

// nextSecond waits until a store that is made has a later epoch than the one that was just made.
func nextSecond(s *Store) {
	time.Sleep(time.Until(time.Unix(s.known.Load().epoch, 0).Add(-replay.MaxAhead)))
}

func newID() (id replay.ID) {
	rand.Read(id[:])
	return id
}

func placeOf(session replay.ID) replay.Place {
	return replay.Place{Session: session, Version: replay.Version{Gen: 1}, KeepUntil: time.Now().Add(time.Hour)}
}

func exercise(t *testing.T, s *Store, owner replay.Owner, right replay.Right) {
	t.Helper()
	must(t, use(s, owner, right))
}

func use(s *Store, owner replay.Owner, right replay.Right) error {
	ctx, session, subject := context.Background(), newID(), newID()
	_, errClaim := s.Claim(ctx, owner, right)
	right.KeepUntil = right.KeepUntil.Add(time.Minute)
	_, errLonger := s.Claim(ctx, owner, right)
	_, errSpent := s.Spent(ctx, right.ID)
	_, errRestore := s.Restore(ctx, replay.RestoreRequest{Session: session, Issued: right.Issued, KeepUntil: right.KeepUntil, Attempt: owner,
		Burn: []replay.Burn{{Right: newRight(s)}}, Look: []replay.ID{right.ID}})
	at := placeOf(session)
	at.Version.Fence, at.Login = 1, replay.Login{Subject: subject, Since: right.Issued}
	_, errProtect := s.Protect(ctx, at)
	_, _, errTake := s.Take(ctx, at, owner, newRight(s))
	_, errAck := s.Acknowledge(ctx, at)
	_, errRenew := s.Renew(ctx, at, newID())
	errRevoke := s.Revoke(ctx, newID(), right.KeepUntil)
	errSubject := s.RevokeSubject(ctx, subject, time.Now(), right.KeepUntil)
	_, errCut := s.SubjectCut(ctx, subject)
	_, errEpoch := s.Epoch(ctx)
	s.recheck()
	_, errStatus := s.Status(ctx)
	return errors.Join(errClaim, errLonger, errSpent, errRestore, errProtect, errTake, errAck, errRenew, errRevoke, errSubject, errCut, errEpoch, errStatus)
}

// try uses a store in every way, and returns the first error.
func try(cfg Config) error {
	s, err := Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	return use(s, newOwner(), newRight(s))
}
