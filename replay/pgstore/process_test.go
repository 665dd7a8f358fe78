package pgstore

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// The tests here start this program again as another node.
const (
	childEnv = "SEALEDBLOB_PGSTORE_CHILD"
	urlEnv   = "SEALEDBLOB_PGSTORE_URL"
)

func TestMain(m *testing.M) {
	url := os.Getenv(urlEnv)
	switch os.Getenv(childEnv) {
	case "":
		code := m.Run()
		if err := dropShared(); err != nil {
			fmt.Println(err)
			code = 1
		}
		os.Exit(code)
	case "load":
		os.Exit(childLoad(url))
	case "race":
		os.Exit(childRace(url))
	case "buy":
		os.Exit(childBuy(url))
	default:
		os.Exit(2)
	}
}

// child starts this program as kind.
func child(kind, url string) (*exec.Cmd, *bufio.Scanner, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+kind, urlEnv+"="+url)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, bufio.NewScanner(out), nil
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// childLoad claims, restores, takes and revokes until it is killed, and says what was
// acknowledged, one line each, after the fact.
func childLoad(url string) int {
	s, err := Open(context.Background(), Config{URL: url, Timeout: busy, hooks: hooks{purgeEvery: 5 * time.Millisecond}})
	if err != nil {
		return fail(err)
	}
	fmt.Println("open")
	failed := make(chan error)
	for range 8 {
		go func() { failed <- load(s, time.Hour) }()
	}
	return fail(<-failed)
}

// load does what a node does, until something fails.
func load(s *Store, keep time.Duration) error {
	ctx := context.Background()
	for {
		o, r := newOwner(), newRight()
		r.KeepUntil = time.Now().Add(keep)
		if got, err := s.Claim(ctx, o, r); err != nil || got != replay.Won {
			return fmt.Errorf("claim: %v, %w", got, err)
		}
		fmt.Printf("claim %x %x\n", r.ID, o)
		moved, revoked := newID(), newID()
		burn := newRight()
		req := restoring(moved, 0, o)
		req.Burn = []replay.Burn{{Right: burn, Required: true}}
		if got, err := s.Restore(ctx, req); err != nil || got.Verdict != replay.Granted {
			return fmt.Errorf("restore: %v, %w", got.Verdict, err)
		}
		fmt.Printf("moved %x %x\nclaim %x %x\n", moved, o, burn.ID, o)
		if err := s.Revoke(ctx, revoked, r.KeepUntil); err != nil {
			return err
		}
		fmt.Printf("revoked %x %x\n", revoked, o)
	}
}

func restoring(session replay.ID, fence uint64, o replay.Owner) replay.RestoreRequest {
	return replay.RestoreRequest{
		Session: session, Set: replay.Version{Fence: fence, Gen: 1},
		Issued: soon(), KeepUntil: time.Now().Add(time.Hour), Attempt: o,
	}
}

// acknowledged is a line of a child.
type acknowledged struct {
	what  string
	id    replay.ID
	owner replay.Owner
}

func parseLine(line string) (a acknowledged, ok bool) {
	var id, owner []byte
	n, err := fmt.Sscanf(line, "%s %x %x", &a.what, &id, &owner)
	copy(a.id[:], id)
	copy(a.owner[:], owner)
	return a, err == nil && n == 3 && len(id) == 16 && len(owner) == 16
}

// check looks whether s still knows a.
func (a acknowledged) check(s *Store) error {
	ctx := context.Background()
	switch a.what {
	case "claim":
		r := newRight()
		r.ID = a.id
		if got, err := s.Claim(ctx, newOwner(), r); got != replay.Lost || err != nil {
			return fmt.Errorf("claim by another = %v, %v, want lost", got, err)
		}
		if got, err := s.Claim(ctx, a.owner, r); got != replay.Mine || err != nil {
			return fmt.Errorf("claim by its owner = %v, %v, want mine", got, err)
		}
	case "moved":
		if got, err := s.Restore(ctx, restoring(a.id, 0, newOwner())); got.Verdict != replay.Superseded || err != nil {
			return fmt.Errorf("restore = %v, %v, want superseded", got.Verdict, err)
		}
	case "revoked":
		if got, err := s.Restore(ctx, restoring(a.id, 0, newOwner())); got.Verdict != replay.Revoked || err != nil {
			return fmt.Errorf("restore = %v, %v, want revoked", got.Verdict, err)
		}
	default:
		return fmt.Errorf("unknown line %q", a.what)
	}
	return nil
}

// checkAll checks many at a time.
func checkAll(t *testing.T, s *Store, all []acknowledged) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				if err := all[i].check(s); err != nil {
					t.Errorf("%s %x: %v", all[i].what, all[i].id, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// rounds of the crash tests, which the environment may change.
func rounds(fallback int) int {
	if n, err := strconv.Atoi(os.Getenv("SEALEDBLOB_CRASH_ROUNDS")); err == nil {
		return n
	}
	return fallback
}

// Nothing that a node acknowledged is granted again, however often nodes are killed
// in the middle of their work, and the store opens every time.
func TestKillNodes(t *testing.T) {
	t.Parallel()
	s, n := newSite(t), rounds(200)
	var mu sync.Mutex
	var all []acknowledged
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				got, err := killRound(s.web)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				all = append(all, got...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(all) < n {
		t.Fatalf("only %d acknowledged in %d rounds", len(all), n)
	}
	checkAll(t, mustOpen(t, Config{URL: s.web, MaxConns: 16}), all)
	t.Logf("%d rounds, %d acknowledged", n, len(all))
}

// killRound runs a child for a moment, kills it and returns what it acknowledged.
func killRound(url string) (got []acknowledged, err error) {
	cmd, lines, err := child("load", url)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if !lines.Scan() || lines.Text() != "open" {
		cmd.Wait()
		return nil, fmt.Errorf("the child did not open the store: %q", lines.Text())
	}
	timer := time.AfterFunc(time.Duration(1+rand.IntN(80))*time.Millisecond, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		if a, ok := parseLine(lines.Text()); ok {
			got = append(got, a)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		return nil, fmt.Errorf("the child ended by itself: %w", err)
	}
	return got, nil
}

// The server is killed under load again and again: what it answered holds, and
// nodes that live go on by themselves when it is back.
func TestKillServer(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t, "recovery_init_sync_method=syncfs") // not each file: the host lives
	s := siteOn(t, server, newRoles(t, server))
	store := mustOpen(t, Config{URL: s.web, Timeout: 10 * time.Second})
	var mu sync.Mutex
	var all []acknowledged
	n := min(rounds(20), 20)
	for range n {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for {
					o, r := newOwner(), newRight()
					got, err := store.Claim(context.Background(), o, r)
					if err != nil {
						if got != replay.Lost || final(err) {
							t.Errorf("claim on a server that died = %v, %v", got, err)
						}
						return
					}
					mu.Lock()
					all = append(all, acknowledged{"claim", r.ID, o})
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(20+rand.IntN(100)) * time.Millisecond)
		server.Kill()
		wg.Wait()
		server.Start()
		awaitStore(t, store)
	}
	if len(all) < n {
		t.Fatalf("only %d acknowledged in %d rounds", len(all), n)
	}
	checkAll(t, store, all)
	checkAll(t, mustOpen(t, Config{URL: s.web}), all[:min(len(all), 100)])
	t.Logf("%d rounds, %d acknowledged", n, len(all))
}

// awaitStore waits until s answers again, which takes it as many errors as it has
// dead connections.
func awaitStore(t *testing.T, s *Store) {
	t.Helper()
	var err error
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
		if _, err = s.Epoch(context.Background()); err == nil {
			if _, err = s.Claim(context.Background(), newOwner(), newRight()); err == nil {
				return
			}
		}
		if errors.Is(err, ErrRestored) {
			break
		}
	}
	t.Fatalf("the store does not come back: %v", err)
}

// final says whether err pretends to know.
func final(err error) bool {
	for _, known := range []error{replay.ErrReplayed, replay.ErrBeforeEpoch, replay.ErrBeyondHorizon, replay.ErrFull, replay.ErrNoOwner, replay.ErrClosed} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

const (
	raceIDs   = 200
	raceNodes = 64
)

// raceRight is the same for all children.
func raceRight(i int) replay.Right {
	sum := sha256.Sum256([]byte(strconv.Itoa(i)))
	r := newRight()
	copy(r.ID[:], sum[:])
	return r
}

// childRace claims all ids, in an order of its own, once told to, and prints those
// it won. It repeats what ended in an error, as the same owner.
func childRace(url string) int {
	s, err := Open(context.Background(), Config{URL: url, MaxConns: 6, Timeout: time.Minute, LockWait: time.Minute})
	if err != nil {
		return fail(err)
	}
	fmt.Println("open")
	io.ReadAll(os.Stdin)
	order, failed := rand.Perm(raceIDs), make(chan error, 4)
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for n := part; n < raceIDs; n += 4 {
				got, err := s.Claim(context.Background(), newOwner(), raceRight(order[n]))
				if err != nil {
					failed <- err
					return
				}
				if got == replay.Won {
					fmt.Println(order[n])
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return fail(err)
	default:
	}
	if err := s.Close(); err != nil {
		return fail(err)
	}
	return 0
}

// So many processes race for the same rights: each is won by exactly one.
func TestProcessesRace(t *testing.T) {
	t.Parallel()
	server := services.PostgresServer(t, "max_connections=450")
	s := siteOn(t, server, newRoles(t, server))
	winners := make(map[string]int)
	var mu sync.Mutex
	var wg, ready sync.WaitGroup
	start := make(chan struct{})
	for range raceNodes {
		ready.Add(1)
		wg.Go(func() {
			opened := sync.OnceFunc(ready.Done)
			defer opened()
			cmd, lines, err := child("race", s.web)
			if err != nil {
				t.Error(err)
				return
			}
			in, _ := cmd.StdinPipe()
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			lines.Scan()
			opened()
			<-start
			in.Close()
			for lines.Scan() {
				mu.Lock()
				winners[lines.Text()]++
				mu.Unlock()
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("child: %v", err)
			}
		})
	}
	ready.Wait()
	close(start)
	wg.Wait()
	for i := range raceIDs {
		if n := winners[strconv.Itoa(i)]; n != 1 {
			t.Errorf("right %d was won %d times", i, n)
		}
	}
	if got, _ := strconv.Atoi(strings.TrimSpace(sql(t, s.owner, "SELECT count(*) FROM sealedblob.rights"))); got != raceIDs {
		t.Errorf("%d rights are kept", got)
	}
}
