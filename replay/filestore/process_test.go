package filestore

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/racing"
)

// roles are what this program is when it is started again, on a folder.
var roles = racing.Roles{
	"load": load,
	"race": func(dir string) error {
		s, err := Open(dir, Config{LockWait: time.Minute})
		if err != nil {
			return err
		}
		return racing.Claim(s, 20)
	},
}

func TestMain(m *testing.M) {
	racing.Main(roles)
	if !supported {
		fmt.Println("skipped: no file store on this system")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// load uses the store while its segments end and are cleaned all the time.
func load(dir string) error {
	h := realHooks()
	h.minLog = 4096
	s, err := open(dir, Config{LockWait: time.Minute}, h)
	if err != nil {
		return err
	}
	failed := make(chan error)
	go func() { failed <- racing.Load(s) }()
	go func() {
		for {
			if err := s.Purge(context.Background()); err != nil {
				failed <- err
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	return <-failed
}

// Nothing that was acknowledged is ever lost, however often a process is killed in
// the middle of it while others go on, and the store opens every time.
func TestKill(t *testing.T) {
	dir := folder(t)
	living := mustOpen(t, dir, Config{LockWait: time.Minute}, realHooks())
	all := racing.Kills{
		Place: dir, Number: racing.Rounds(200), AtOnce: 3, Life: 120 * time.Millisecond,
		Watch: func(told []racing.Fact) { racing.CheckAll(t, living, told) },
	}.Run(t)
	s := mustOpen(t, dir, Config{}, realHooks())
	racing.CheckAll(t, s, all)
	racing.CheckAll(t, living, all)
	if s.disk.begin.segment < 2 {
		t.Errorf("no segment was ever removed")
	}
	t.Logf("segments %d to %d", s.disk.begin.segment, s.disk.header.number)
}

// Many processes race for the same rights: each is won by exactly one.
func TestProcessesRace(t *testing.T) {
	dir := folder(t)
	won := racing.Race(t, dir)
	racing.CheckAll(t, mustOpen(t, dir, Config{}, realHooks()), won)
}
