package filestore

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

	"github.com/sealedblob/sealedblob/replay"
)

// The tests here start this program again as another process on the same folder.
const (
	childEnv  = "SEALEDBLOB_FILESTORE_CHILD"
	roundsEnv = "SEALEDBLOB_CRASH_ROUNDS"
)

// children are what this program is when it is started again.
var children = map[string]func(dir string) int{"load": childLoad, "race": childRace}

func TestMain(m *testing.M) {
	kind, dir, again := strings.Cut(os.Getenv(childEnv), ":")
	if again {
		os.Exit(children[kind](dir))
	}
	if !supported {
		fmt.Println("skipped: no file store on this system")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child starts this program as kind on dir.
func child(t *testing.T, kind, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+kind+":"+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// childLoad claims, restores and revokes until it is killed, and says what was
// acknowledged, one line each, after the fact. Segments end and are cleaned all the time.
func childLoad(dir string) int {
	h := realHooks()
	h.minLog = 4096
	s, err := open(dir, Config{}, h)
	if err != nil {
		return fail(err)
	}
	fmt.Println("open")
	failed := make(chan error)
	for range 8 {
		go func() { failed <- load(s) }()
	}
	go func() {
		for {
			if err := s.Purge(context.Background()); err != nil {
				failed <- err
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return fail(<-failed)
}

// moves is how often each session of childLoad is restored.
const moves = 3

func load(s *Store) error {
	ctx := context.Background()
	for {
		o, r := newOwner(), newRight()
		if got, err := s.Claim(ctx, o, r); err != nil || got != replay.Won {
			return fmt.Errorf("claim: %v, %w", got, err)
		}
		fmt.Printf("claim %x %x\n", r.ID, o)
		moved, revoked := newID(), newID()
		for fence := range uint64(moves) {
			got, err := s.Restore(ctx, restoring(moved, fence, o))
			if err != nil || got.Verdict != replay.Granted {
				return fmt.Errorf("restore: %v, %w", got.Verdict, err)
			}
		}
		fmt.Printf("moved %x %x\n", moved, o)
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

// Nothing that was acknowledged is ever lost, however often a process is killed in
// the middle of it while others go on, and the store opens every time.
func TestKill(t *testing.T) {
	kills := int64(200)
	if n, err := strconv.ParseInt(os.Getenv(roundsEnv), 10, 64); err == nil {
		kills = n
	}
	dir := folder(t)
	living := mustOpen(t, dir, Config{LockWait: time.Minute}, realHooks())
	var left atomic.Int64
	left.Store(kills)
	var mu sync.Mutex
	var all []acknowledged
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for left.Add(-1) >= 0 && !t.Failed() {
				got := killed(t, dir)
				checkAll(t, "one that was open all the time", living, got)
				mu.Lock()
				all = append(all, got...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(all) < int(kills) {
		t.Fatalf("only %d acknowledged in %d rounds", len(all), kills)
	}
	s := mustOpen(t, dir, Config{}, realHooks())
	checkAll(t, "a new one", s, all)
	checkAll(t, "the first", living, all)
	if s.disk.begin.segment < 2 {
		t.Errorf("no segment was ever removed")
	}
	t.Logf("%d kills, %d acknowledged, segments %d to %d", kills, len(all), s.disk.begin.segment, s.disk.header.number)
}

// checkAll looks whether s still knows all of got.
func checkAll(t *testing.T, who string, s *Store, got []acknowledged) {
	var wg sync.WaitGroup
	const workers = 32
	for part := range workers {
		wg.Go(func() {
			for n := part; n < len(got); n += workers {
				if err := got[n].check(s); err != nil {
					t.Errorf("%s: %s %x: %v", who, got[n].what, got[n].id, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// killed runs a child for a moment, kills it and returns what it acknowledged.
func killed(t *testing.T, dir string) (got []acknowledged) {
	cmd, lines := child(t, "load", dir)
	if !lines.Scan() || lines.Text() != "open" {
		cmd.Wait()
		t.Errorf("the child did not open the store: %q", lines.Text())
		return nil
	}
	timer := time.AfterFunc(time.Duration(1+rand.IntN(120))*time.Millisecond, func() { cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		if a, ok := parseLine(lines.Text()); ok {
			got = append(got, a)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Errorf("the child ended by itself: %v", err)
	}
	return got
}

const (
	raceIDs       = 200
	raceProcesses = 64
)

// raceRight is the same for all children.
func raceRight(i int) replay.Right {
	sum := sha256.Sum256([]byte(strconv.Itoa(i)))
	r := newRight()
	copy(r.ID[:], sum[:])
	return r
}

// childRace claims all ids, in an order of its own, once told to, and prints those
// it won.
func childRace(dir string) int {
	s, err := Open(dir, Config{LockWait: time.Minute})
	if err != nil {
		return fail(err)
	}
	fmt.Println("open")
	io.ReadAll(os.Stdin)
	const callers = 20
	order, failed := rand.Perm(raceIDs), make(chan error, callers)
	var wg sync.WaitGroup
	for part := range callers {
		wg.Go(func() {
			for n := part; n < raceIDs; n += callers {
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

// Many processes race for the same rights: each is won by exactly one.
func TestProcessesRace(t *testing.T) {
	dir, winners := folder(t), make(map[string]int)
	var mu sync.Mutex
	var wg, ready sync.WaitGroup
	start := make(chan struct{})
	for range raceProcesses {
		ready.Add(1)
		wg.Go(func() {
			opened := sync.OnceFunc(ready.Done)
			defer opened()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"=race:"+dir)
			cmd.Stderr = os.Stderr
			in, _ := cmd.StdinPipe()
			out, _ := cmd.StdoutPipe()
			if err := cmd.Start(); err != nil {
				t.Error(err)
				return
			}
			lines := bufio.NewScanner(out)
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
	s := mustOpen(t, dir, Config{}, realHooks())
	for i := range raceIDs {
		claim(t, s, newOwner(), replay.Lost, raceRight(i))
	}
}
