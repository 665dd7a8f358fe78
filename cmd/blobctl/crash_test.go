package main

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/seal"
)

// The built program is killed in 200 rotations: every other time at a random
// moment of its life, the others at a random moment after it has begun to write.
// The ring is each time the old or the new one, and the next rotation goes on.
func TestKilledRotations(t *testing.T) {
	const kills = 200
	blobctl := filepath.Join(t.TempDir(), "blobctl")
	if out, err := exec.Command("go", "build", "-o", blobctl, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v: %s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "keys")
	for _, args := range [][]string{{"init"}, {"rotate"}} { // the first run of a program is slow
		if out, err := exec.Command(blobctl, "keyring", args[0], "--dir", dir).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args[0], err, out)
		}
	}
	began := time.Now()
	rotation := func() *exec.Cmd { return exec.Command(blobctl, "keyring", "rotate", "--dir", dir) }
	if err := rotation().Run(); err != nil {
		t.Fatal(err)
	}
	life := time.Since(began)
	version := uint64(3)
	var killed, writing, changed int
	for i := range kills {
		cmd := rotation()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			time.Sleep(rand.N(life))
		} else {
			waitForWrite(dir, life)
			time.Sleep(rand.N(2 * time.Millisecond))
		}
		_ = cmd.Process.Kill()
		err := cmd.Wait()
		var exit *exec.ExitError
		wasKilled := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		if err != nil && !wasKilled {
			t.Fatalf("kill %d: %v", i, err)
		}
		ring, err := seal.LoadRing(dir)
		if err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		now := ring.Version()
		if now != version+1 && (!wasKilled || now != version) || len(ring.Keys()) != int(now) {
			t.Fatalf("kill %d: version %d with %d keys after version %d; killed: %t", i, now, len(ring.Keys()), version, wasKilled)
		}
		if wasKilled {
			killed++
			if len(leftovers(dir)) > 0 {
				writing++
			}
			if now > version {
				changed++
			}
		}
		version = now
	}
	t.Logf("a rotation lives %v; of %d kills %d hit one that ran, %d left an unfinished file, %d came after the change", life, kills, killed, writing, changed)
	if killed < kills/4 || writing == 0 || changed == 0 {
		t.Errorf("too few of the kills came in time")
	}
	if out, err := rotation().CombinedOutput(); err != nil {
		t.Errorf("the next rotation: %v: %s", err, out)
	}
	if left := leftovers(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// leftovers are the files that are not yet what they will be.
func leftovers(dir string) (names []string) {
	names, _ = filepath.Glob(filepath.Join(dir, ".*.new-*"))
	return names
}

// waitForWrite waits until a file appears that was not there, for four lives at most.
func waitForWrite(dir string, life time.Duration) {
	before := map[string]bool{}
	for _, name := range leftovers(dir) {
		before[name] = true
	}
	for end := time.Now().Add(4 * life); time.Now().Before(end); {
		for _, name := range leftovers(dir) {
			if !before[name] {
				return
			}
		}
	}
}
