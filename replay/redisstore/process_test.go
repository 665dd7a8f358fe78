package redisstore

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
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
	"github.com/sealedblob/sealedblob/replay"
)

// The tests here start this program again as nodes on a server.
const childEnv = "SEALEDBLOB_REDISSTORE_CHILD"

func TestMain(m *testing.M) {
	switch kind, addr, _ := strings.Cut(os.Getenv(childEnv), "@"); kind {
	case "":
		os.Exit(m.Run())
	case "load":
		os.Exit(childLoad(addr))
	case "race":
		os.Exit(childRace(addr))
	default:
		os.Exit(2)
	}
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// child starts this program as kind on the server at addr.
func child(t *testing.T, kind, addr string) (cmd *exec.Cmd, in io.WriteCloser, out *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+kind+"@"+addr)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, in, bufio.NewScanner(pipe)
}

// childLoad claims, restores and revokes until it is killed, and says what was
// acknowledged, one line each, after the fact.
func childLoad(addr string) int {
	s, err := Open(context.Background(), configOf(addr, "test"))
	if err != nil {
		return fail(err)
	}
	fmt.Println("open")
	say := func(line string) { fmt.Println(line) }
	failed := make(chan error)
	for range 8 {
		go func() {
			for {
				if err := load(s, say); err != nil {
					failed <- err
				}
			}
		}()
	}
	return fail(<-failed)
}

// moves is how often each session of load is restored.
const moves = 2

func load(s *Store, say func(string)) error {
	ctx := context.Background()
	o, r := newOwner(), newRight()
	if got, err := s.Claim(ctx, o, r); err != nil || got != replay.Won {
		return fmt.Errorf("claim: %v, %w", got, err)
	}
	say(fmt.Sprintf("claim %x %x", r.ID, o))
	moved, revoked := newID(), newID()
	for fence := range uint64(moves) {
		got, err := s.Restore(ctx, restoring(moved, fence, o))
		if err != nil || got.Verdict != replay.Granted {
			return fmt.Errorf("restore: %v, %w", got.Verdict, err)
		}
	}
	say(fmt.Sprintf("moved %x %x", moved, o))
	if err := s.Revoke(ctx, revoked, r.KeepUntil); err != nil {
		return err
	}
	say(fmt.Sprintf("revoked %x %x", revoked, o))
	return nil
}

func restoring(session replay.ID, fence uint64, o replay.Owner) replay.RestoreRequest {
	r := newRight()
	return replay.RestoreRequest{Session: session, Set: replay.Version{Fence: fence, Gen: 1}, Issued: r.Issued, KeepUntil: r.KeepUntil, Attempt: o}
}

// acknowledged is a line of load.
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
		for fence := range uint64(moves) {
			if got, err := s.Restore(ctx, restoring(a.id, fence, newOwner())); got.Verdict != replay.Superseded || err != nil {
				return fmt.Errorf("restore = %v, %v, want superseded", got.Verdict, err)
			}
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

func checkAll(t *testing.T, s *Store, all []acknowledged) {
	t.Helper()
	var wg sync.WaitGroup
	for part := range 32 {
		wg.Go(func() {
			for i := part; i < len(all); i += 32 {
				if err := all[i].check(s); err != nil {
					t.Errorf("%s %x: %v", all[i].what, all[i].id, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Nothing that a node was told is ever granted again, however often nodes are
// killed in the middle of it, four at a time.
func TestKillNode(t *testing.T) {
	t.Parallel()
	server := services.Redis(t)
	var mu sync.Mutex
	var all []acknowledged
	var wg sync.WaitGroup
	const kills = 200
	for range 4 {
		wg.Go(func() {
			for range kills / 4 {
				got := killRound(t, server.Addr)
				mu.Lock()
				all = append(all, got...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(all) < kills {
		t.Fatalf("only %d acknowledged in %d rounds", len(all), kills)
	}
	checkAll(t, mustOpen(t, configOf(server.Addr, "test")), all)
	t.Logf("%d nodes killed, %d acknowledged", kills, len(all))
}

// killRound runs a node for a moment, kills it and returns what it was told.
func killRound(t *testing.T, addr string) (got []acknowledged) {
	cmd, _, lines := child(t, "load", addr)
	if !lines.Scan() || lines.Text() != "open" {
		cmd.Wait()
		t.Errorf("the node did not open the store: %q", lines.Text())
		return nil
	}
	timer := time.AfterFunc(time.Duration(1+rand.IntN(40))*time.Millisecond, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		if a, ok := parseLine(lines.Text()); ok {
			got = append(got, a)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Errorf("the node ended by itself: %v", err)
	}
	return got
}

// The same for a server that syncs each write and is killed, with KeepOnRestart.
func TestKillServer(t *testing.T) {
	t.Parallel()
	server := services.Redis(t, services.Durable()...)
	cfg := configOf(server.Addr, "test")
	cfg.KeepOnRestart = true
	s := mustOpen(t, cfg)
	var mu sync.Mutex
	var all []acknowledged
	say := func(line string) {
		a, _ := parseLine(line)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, a)
	}
	const kills = 30
	for range kills {
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for ctx.Err() == nil {
					if load(s, say) != nil {
						time.Sleep(5 * time.Millisecond)
					}
				}
			})
		}
		time.Sleep(time.Duration(20+rand.IntN(80)) * time.Millisecond)
		server.Kill()
		stop()
		wg.Wait()
		server.Start()
		expectSoon(t, s, newOwner(), newRight(), replay.Won, nil)
		mu.Lock()
		checkAll(t, mustOpen(t, cfg), all[max(0, len(all)-1000):])
		mu.Unlock()
	}
	if len(all) < kills*10 {
		t.Fatalf("only %d acknowledged in %d rounds", len(all), kills)
	}
	checkAll(t, s, all)
	t.Logf("%d kills, %d acknowledged", kills, len(all))
}

const raceIDs = 200

// raceRight is the same for all children.
func raceRight(i int) replay.Right {
	sum := sha256.Sum256([]byte(strconv.Itoa(i)))
	r := newRight()
	copy(r.ID[:], sum[:])
	return r
}

// childRace claims all ids, in an order of its own, once told to, and prints those
// it won.
func childRace(addr string) int {
	cfg := configOf(addr, "test")
	cfg.Timeout = 30 * time.Second
	s, err := Open(context.Background(), cfg)
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

// 64 processes race for the same rights: each is won by exactly one.
func TestProcessesRace(t *testing.T) {
	server, winners := services.Redis(t), make(map[string]int)
	var mu sync.Mutex
	var wg, ready sync.WaitGroup
	start := make(chan struct{})
	for range 64 {
		ready.Add(1)
		wg.Go(func() {
			opened := sync.OnceFunc(ready.Done)
			defer opened()
			cmd, in, lines := child(t, "race", server.Addr)
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
}
