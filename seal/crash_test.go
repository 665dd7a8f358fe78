package seal_test

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// rotateForever is what the killed process does.
const rotateForever = "SEALEDBLOB_ROTATE_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(rotateForever)
	if dir == "" {
		os.Exit(m.Run())
	}
	for {
		ring, err := seal.LoadRing(dir)
		if err == nil && len(ring.Keys()) > 200 {
			os.Exit(0) // before the ring is full
		}
		if _, err := seal.RotateRing(context.Background(), dir, usual, time.Now(), time.Now()); err != nil {
			os.Exit(1)
		}
	}
}

// A rotation that is killed leaves the old ring or the new one, and no litter
// that grows. SEALEDBLOB_CRASH_ROUNDS sets the number of kills.
func TestKilledRotationLeavesAGoodRing(t *testing.T) {
	rounds := 30
	if n, err := strconv.Atoi(os.Getenv("SEALEDBLOB_CRASH_ROUNDS")); err == nil {
		rounds = n
	}
	dir := ringDir(t)
	last, rotations := uint64(1), uint64(0)
	for round := range rounds {
		if last > 150 { // a ring has at most 256 keys
			dir, last = ringDir(t), 1
		}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), rotateForever+"="+dir)
		must(t, child.Start())
		time.Sleep(time.Duration(5+rand.IntN(40)) * time.Millisecond)
		_ = child.Process.Kill()
		_ = child.Wait()
		ring, err := seal.LoadRing(dir)
		if err != nil {
			t.Fatalf("round %d: after kill -9: %v", round, err)
		}
		if ring.Version() < last || len(ring.Keys()) != int(ring.Version()) {
			t.Fatalf("round %d: version %d after %d, with %d keys", round, ring.Version(), last, len(ring.Keys()))
		}
		rotations += ring.Version() - last
		last = ring.Version()
	}
	if rotations == 0 {
		t.Error("no rotation was finished: nothing was tested")
	}
	_, err := seal.RotateRing(t.Context(), dir, usual, now, now)
	must(t, err)
	if left, _ := filepath.Glob(filepath.Join(dir, ".*.new-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
