package replay_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

func id(s string) replay.ID              { return replay.NewID("test", "uid", []byte(s)) }
func owner(b byte) replay.Owner          { return replay.Owner{b} }
func at(s int64) time.Time               { return time.Unix(s, 0) }
func version(f, g uint64) replay.Version { return replay.Version{Fence: f, Gen: g} }

func right(name string, issued, keep time.Time) replay.Right {
	return replay.Right{ID: id(name), Issued: issued, KeepUntil: keep}
}

// The memory's epoch is the first whole second of which nothing can have been granted
// before it was made, and what was issued earlier is refused for ever.
func TestMemoryEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(300 * time.Millisecond)
		ctx, made := t.Context(), time.Now()
		m := replay.NewMemory(replay.MemoryConfig{})
		epoch, err := m.Epoch(ctx)
		if err != nil || !epoch.Equal(made.Add(5700*time.Millisecond)) {
			t.Fatalf("Epoch() = %v, %v, want 5.7 s after %v", epoch, err, made)
		}
		for _, c := range []struct {
			issued time.Time
			want   error
		}{{made, replay.ErrBeforeEpoch}, {epoch.Add(-1), replay.ErrBeforeEpoch}, {epoch, nil}, {epoch.Add(time.Second), replay.ErrAhead}} {
			_, err := m.Claim(ctx, owner(1), right("a", c.issued, made.Add(time.Hour)))
			if !errors.Is(err, c.want) {
				t.Errorf("Claim(issued %v) = %v, want %v", c.issued, err, c.want)
			}
		}
	})
}

// What clause 7 says of clocks: however far ahead a right is dated, and whenever its
// memory is lost and begins anew, it is won once.
func TestMemoryEpochAndClocks(t *testing.T) {
	for _, ahead := range []time.Duration{0, 4 * time.Second, 5 * time.Second, 6 * time.Second, 25 * time.Second} {
		for lost := range 40 {
			synctest.Test(t, func(t *testing.T) {
				m := replay.NewMemory(replay.MemoryConfig{})
				time.Sleep(10 * time.Second)
				r, won := right("a", time.Now().Add(ahead), time.Now().Add(time.Hour)), 0
				for half := range 80 {
					if half == lost {
						m = replay.NewMemory(replay.MemoryConfig{})
					}
					o, err := m.Claim(t.Context(), replay.NewOwner(), r)
					if o == replay.Won {
						won++
					} else if err != nil && !errors.Is(err, replay.ErrAhead) && !errors.Is(err, replay.ErrBeforeEpoch) {
						t.Fatalf("Claim = %v, %v", o, err)
					}
					time.Sleep(500 * time.Millisecond)
				}
				if won > 1 || won == 0 && lost > int(2*ahead/time.Second) {
					t.Errorf("dated %v ahead, in a memory that is lost after %d half seconds: won %d times", ahead, lost, won)
				}
			})
		}
	}
}

// What is dated ahead is told of as soon as the clock is near enough, and not a second before.
func TestLedgerDatedAhead(t *testing.T) {
	l := replay.NewLedger(replay.LedgerConfig{Epoch: at(100)})
	for now, want := range map[int64]error{90: replay.ErrAhead, 194: replay.ErrAhead, 195: nil} {
		r := right(fmt.Sprint(now), at(200), at(300))
		if o, err := l.Claim(at(now).Add(time.Second-1), owner(1), []replay.Right{r}); o.Granted() != (want == nil) || !errors.Is(err, want) {
			t.Errorf("Claim at %d of a right issued at 200 = %v, %v, want %v", now, o, err, want)
		}
	}
	if o, err := l.Claim(at(1), owner(1), []replay.Right{right("first", at(100), at(300))}); o != replay.Won || err != nil {
		t.Errorf("Claim of a right that was issued at the epoch = %v, %v, want won", o, err)
	}
}

// What is past its KeepUntil goes as others are written; the horizon rises.
func TestMemoryPurges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		m := replay.NewMemory(replay.MemoryConfig{MaxRights: 2})
		time.Sleep(replay.MaxAhead + time.Second)
		now := time.Now()
		for _, name := range []string{"a", "b"} {
			if o, err := m.Claim(ctx, owner(1), right(name, now, now.Add(10*time.Second))); o != replay.Won || err != nil {
				t.Fatalf("Claim(%s) = %v, %v", name, o, err)
			}
		}
		later := right("c", now, now.Add(time.Minute))
		if _, err := m.Claim(ctx, owner(1), later); !errors.Is(err, replay.ErrFull) {
			t.Errorf("Claim in a full memory = %v, want ErrFull", err)
		}
		time.Sleep(10 * time.Second)
		if _, err := m.Claim(ctx, owner(1), later); !errors.Is(err, replay.ErrFull) {
			t.Errorf("Claim at KeepUntil of the others = %v, want ErrFull", err)
		}
		time.Sleep(time.Second)
		if o, err := m.Claim(ctx, owner(1), later); o != replay.Won || err != nil {
			t.Errorf("Claim after KeepUntil of the others = %v, %v, want won", o, err)
		}
		status, err := m.Status(ctx)
		if err != nil || status.Rights != 1 || !status.Horizon.Equal(now.Add(10*time.Second)) {
			t.Errorf("Status() = %+v, %v, want one right and the horizon 10 s after %v", status, err, now)
		}
	})
}

// A memory in parts never holds more than it may, and refuses not much earlier.
func TestMemoryIsBounded(t *testing.T) {
	const room = 1 << 16
	m := replay.NewMemory(replay.MemoryConfig{MaxRights: room})
	defer m.Close()
	epoch, err := m.Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	won := 0
	for n := range 2 * room {
		o, err := m.Claim(t.Context(), owner(1), right(fmt.Sprint(n), epoch, epoch.Add(time.Hour)))
		switch {
		case o == replay.Won && err == nil:
			won++
		case won < room*95/100 || !errors.Is(err, replay.ErrFull):
			t.Fatalf("Claim with %d of %d = %v, %v", won, room, o, err)
		}
	}
	if status, err := m.Status(t.Context()); err != nil || status.Rights != won || won != room {
		t.Errorf("Status = %+v, %v, after %d claims that were won; the room is %d", status, err, won, room)
	}
}

func TestMemoryClosed(t *testing.T) {
	m := replay.NewMemory(replay.MemoryConfig{})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Epoch(context.Background()); !errors.Is(err, replay.ErrClosed) {
		t.Errorf("Epoch after Close = %v, want ErrClosed", err)
	}
	if err := m.Close(); !errors.Is(err, replay.ErrClosed) {
		t.Errorf("second Close = %v, want ErrClosed", err)
	}
}

// A ledger refuses what lies at or below its horizon, also when the clock was
// stepped back: it may have known it once.
func TestLedgerHorizonOutlivesTheClock(t *testing.T) {
	l := replay.NewLedger(replay.LedgerConfig{Epoch: at(100)})
	if o, err := l.Claim(at(200), owner(1), []replay.Right{right("a", at(150), at(300))}); o != replay.Won || err != nil {
		t.Fatalf("Claim = %v, %v", o, err)
	}
	l.Purge(at(301))
	for name, keep := range map[string]int64{"a": 300, "b": 299} {
		if o, err := l.Claim(at(200), owner(2), []replay.Right{right(name, at(150), at(keep))}); o.Granted() || !errors.Is(err, replay.ErrBeyondHorizon) {
			t.Errorf("Claim(%s) after the step back = %v, %v, want ErrBeyondHorizon", name, o, err)
		}
	}
	if o, err := l.Claim(at(200), owner(2), []replay.Right{right("c", at(150), at(301))}); o != replay.Won || err != nil {
		t.Errorf("Claim above the horizon = %v, %v, want won", o, err)
	}
}

// A record whose KeepUntil was raised is kept that long.
func TestLedgerKeepsTheLonger(t *testing.T) {
	l := replay.NewLedger(replay.LedgerConfig{Epoch: at(0)})
	session := replay.NewID("test", "sid", []byte("s"))
	for _, keep := range []int64{100, 300, 200} {
		if err := l.Revoke(at(50), session, at(keep)); err != nil {
			t.Fatal(err)
		}
	}
	for _, now := range []int64{101, 201, 300} {
		l.Purge(at(now))
		r, err := l.Restore(at(now), replay.RestoreRequest{Session: session, Attempt: replay.Owner{1}, Issued: at(50), KeepUntil: at(1000)})
		if r.Verdict != replay.Revoked || err != nil {
			t.Errorf("Restore at %d = %v, %v, want revoked", now, r.Verdict, err)
		}
	}
	if l.Purge(at(301)); !l.Horizon().Equal(at(300)) {
		t.Errorf("Horizon() = %v, want %v", l.Horizon(), at(300))
	}
}

// What a ledger told its journal makes an equal ledger.
func TestLedgerJournalRebuilds(t *testing.T) {
	var journal []replay.Change
	l := replay.NewLedger(replay.LedgerConfig{Journal: func(c replay.Change) { journal = append(journal, c) }})
	session := replay.NewID("test", "sid", []byte("s"))
	now := at(100)
	burn := []replay.Burn{{Right: right("b", now, at(400))}}
	if r, err := l.Restore(now, replay.RestoreRequest{Session: session, Issued: now, KeepUntil: at(500), Attempt: owner(1), Burn: burn}); err != nil || r.Verdict != replay.Granted {
		t.Fatal(r, err)
	}
	if v, err := l.Protect(now, replay.Place{Session: session, Version: version(1, 7), KeepUntil: at(500)}); err != nil || v != replay.Granted {
		t.Fatal(v, err)
	}
	if v, err := l.Acknowledge(now, []replay.Place{{Session: session, Version: version(1, 3), KeepUntil: at(500)}}); err != nil || v[0] != replay.Granted {
		t.Fatal(v, err)
	}
	renewed := replay.Place{Session: id("renewed"), KeepUntil: at(500)}
	if v, err := l.Renew(now, renewed, id("next")); err != nil || v != replay.Granted {
		t.Fatal(v, err)
	}
	if err := l.RevokeSubject(now, id("subject"), now, at(500)); err != nil {
		t.Fatal(err)
	}
	again := replay.NewLedger(replay.LedgerConfig{})
	for _, c := range journal {
		again.Apply(c)
	}
	want := map[replay.ID]replay.Change{}
	for c := range l.All() {
		want[c.ID] = c
	}
	n := 0
	for c := range again.All() {
		if n++; want[c.ID] != c {
			t.Errorf("rebuilt %+v, want %+v", c, want[c.ID])
		}
	}
	if n != len(want) || n != 4 {
		t.Errorf("rebuilt %d records of %d, want 4", n, len(want))
	}
}

// Acknowledgements leave an eighth of the room, rounded up, and what tells
// nothing new is not told to the journal.
func TestLedgerAcknowledge(t *testing.T) {
	now := at(100)
	ack := func(n int, gen uint64) replay.Place {
		return replay.Place{Session: replay.NewID("test", "sid", []byte{byte(n)}), Version: version(0, gen), KeepUntil: at(500)}
	}
	for room, want := range map[int]int{1: 0, 2: 1, 7: 6, 8: 7, 9: 7, 16: 14, 17: 14} {
		changes := 0
		l := replay.NewLedger(replay.LedgerConfig{MaxSessions: room, Journal: func(replay.Change) { changes++ }})
		for n := range room {
			wantErr := error(nil)
			if n >= want {
				wantErr = replay.ErrFull
			}
			if v, err := l.Acknowledge(now, []replay.Place{ack(n, 0), ack(n, 1)}); v[0] != replay.Granted || v[1] != replay.Granted || !errors.Is(err, wantErr) {
				t.Errorf("%d of %d: Acknowledge = %v, %v, want granted, %v", n, room, v, err, wantErr)
			}
		}
		if _, sessions, _ := l.Len(); sessions != want || changes != want {
			t.Errorf("acknowledgements made %d records of %d and %d changes, want %d", sessions, room, changes, want)
		}
		for n := range want {
			later := ack(n, 1)
			later.KeepUntil = at(900)
			l.Acknowledge(now, []replay.Place{later, ack(n, 0)})
		}
		if changes != want {
			t.Errorf("acknowledgements of nothing new made %d changes", changes-want)
		}
		if _, err := l.Acknowledge(at(501), []replay.Place{{Session: id("new"), Version: version(0, 1), KeepUntil: at(900)}}); (err == nil) != (want > 0) {
			t.Errorf("Acknowledge in a store of %d whose records are past = %v", room, err)
		}
	}
}

// A flush that needs the room of more records that are past than one operation
// purges gets it.
func TestLedgerAcknowledgePurges(t *testing.T) {
	l := replay.NewLedger(replay.LedgerConfig{MaxSessions: 4000})
	acks := func(keep int64) (all []replay.Place) {
		for n := range 3500 {
			session := replay.NewID("test", "sid", fmt.Append(nil, keep, n))
			all = append(all, replay.Place{Session: session, Version: version(0, 1), KeepUntil: at(keep)})
		}
		return all
	}
	for _, now := range []int64{100, 200} {
		if _, err := l.Acknowledge(at(now), acks(now+50)); err != nil {
			t.Errorf("Acknowledge at %d = %v", now, err)
		}
	}
}

func TestNone(t *testing.T) {
	ctx, none := t.Context(), replay.None{}
	now := time.Now()
	r, err := none.Restore(ctx, replay.RestoreRequest{Set: version(4, 2)})
	if err != nil || r.Verdict != replay.Granted || r.Fence != 5 {
		t.Errorf("Restore = %+v, %v, want granted under fence 5", r, err)
	}
	if v, err := none.Acknowledge(ctx, make([]replay.Place, 2)...); err != nil || len(v) != 2 || v[0] != replay.Granted || v[1] != replay.Granted {
		t.Errorf("Acknowledge = %v, %v, want granted for both", v, err)
	}
	_, claim := none.Claim(ctx, owner(1), right("a", now, now))
	_, spent := none.Spent(ctx, id("a"))
	_, protect := none.Protect(ctx, replay.Place{})
	_, _, take := none.Take(ctx, replay.Place{}, owner(1), right("a", now, now))
	_, renew := none.Renew(ctx, replay.Place{}, id("t"))
	_, burn := none.Restore(ctx, replay.RestoreRequest{Burn: make([]replay.Burn, 1)})
	_, look := none.Restore(ctx, replay.RestoreRequest{Look: make([]replay.ID, 1)})
	_, strict := none.Restore(ctx, replay.RestoreRequest{Strict: true})
	for name, err := range map[string]error{"Claim": claim, "Spent": spent, "Protect": protect, "Take": take,
		"Renew": renew, "Revoke": none.Revoke(ctx, id("s"), now), "RevokeSubject": none.RevokeSubject(ctx, id("u"), now, now), "Restore with Burn": burn, "with Look": look, "Strict": strict} {
		if !errors.Is(err, replay.ErrNoStore) {
			t.Errorf("%s = %v, want ErrNoStore", name, err)
		}
	}
}
