package seal_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// rotateForever is what the killed process does. On descriptor 3 it says when a
// rotation begins and when it has ended.
const (
	rotateForever = "SEALEDBLOB_ROTATE_DIR"
	begins, ended = 'b', 'e'
)

func TestMain(m *testing.M) {
	dir := os.Getenv(rotateForever)
	if dir == "" {
		os.Exit(m.Run())
	}
	tell := os.NewFile(3, "progress")
	for keys := 1; keys < 200; { // before the ring is full
		_, _ = tell.Write([]byte{begins})
		ring, err := seal.RotateRing(context.Background(), dir, usual, now, now.Add(2*seal.ReloadInterval))
		if err != nil {
			os.Exit(1)
		}
		_, _ = tell.Write([]byte{ended})
		keys = len(ring.Keys())
	}
}

// A rotation that is killed leaves the old ring or the new one, and no litter
// that grows. SEALEDBLOB_CRASH_ROUNDS sets the number of kills. A kill is drawn
// after the process has finished its first rotation, however slow it started; it
// counts if it came between the beginning and the end of one.
func TestKilledRotationLeavesAGoodRing(t *testing.T) {
	rounds := 30
	if n, err := strconv.Atoi(os.Getenv("SEALEDBLOB_CRASH_ROUNDS")); err == nil {
		rounds = n
	}
	dir := ringDir(t)
	last, interrupted := uint64(1), 0
	for round := range rounds {
		if last > 100 { // a ring has at most 256 keys
			dir, last = ringDir(t), 1
		}
		done, inside := killedRotations(t, dir)
		if inside {
			interrupted++
		}
		ring, err := seal.LoadRing(dir)
		if err != nil {
			t.Fatalf("round %d: after kill -9: %v", round, err)
		}
		last += done
		if v := ring.Version(); v != last && !(inside && v == last+1) || len(ring.Keys()) != int(v) {
			t.Fatalf("round %d: version %d with %d keys, %d rotations have ended", round, v, len(ring.Keys()), last-1)
		}
		last = ring.Version()
	}
	t.Logf("%d of %d kills interrupted a rotation", interrupted, rounds)
	if interrupted == 0 || interrupted < rounds/2 {
		t.Errorf("only %d of %d kills interrupted a rotation", interrupted, rounds)
	}
	_, err := seal.RotateRing(t.Context(), dir, usual, now, now.Add(2*seal.ReloadInterval))
	must(t, err)
	if left, _ := filepath.Glob(filepath.Join(dir, ".*.new-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// killedRotations runs a process that rotates dir's ring, kills it after its
// first rotation, and returns how many had ended, and whether one had begun.
func killedRotations(t *testing.T, dir string) (done uint64, inside bool) {
	t.Helper()
	progress, tell, err := os.Pipe()
	must(t, err)
	defer progress.Close()
	child := exec.Command(os.Args[0])
	child.Env, child.ExtraFiles = append(os.Environ(), rotateForever+"="+dir), []*os.File{tell}
	must(t, child.Start())
	must(t, tell.Close())
	first := make([]byte, 2)
	_, err = io.ReadFull(progress, first)
	if err == nil {
		time.Sleep(rand.N(20 * time.Millisecond))
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	must(t, err)
	rest, err := io.ReadAll(progress)
	must(t, err)
	said := append(first, rest...)
	return uint64(bytes.Count(said, []byte{ended})), said[len(said)-1] == begins
}
