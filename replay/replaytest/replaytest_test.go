package replaytest

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/replay"
)

// The kit passes the stores that are right.
func TestMemory(t *testing.T) {
	Run(t, Config{
		New: func(testing.TB) replay.Store { return replay.NewMemory(replay.MemoryConfig{}) },
		NewBounded: func(_ testing.TB, room Bounds) replay.Store {
			return replay.NewMemory(replay.MemoryConfig{MaxRights: room.Rights, MaxSessions: room.Sessions, MaxSubjects: room.Subjects})
		},
		FakeTime: true,
	})
}

func TestEveryHook(t *testing.T) {
	Run(t, configWith(func(s replay.Store, _ *backend) replay.Store { return s }))
}

// The storeless mode is no store, and the kit says so.
func TestNoneFails(t *testing.T) {
	cfg := Config{New: func(testing.TB) replay.Store { return replay.None{} }}
	for _, name := range []string{"claim/first wins, owner retries, others lose", "restore/another attempt is superseded", "revoke/works on an absent record"} {
		if len(failures(t, checkNamed(t, name), cfg)) == 0 {
			t.Errorf("%s passed None", name)
		}
	}
}

func checkNamed(t *testing.T, name string) check {
	t.Helper()
	for _, c := range checks() {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("there is no check %q", name)
	return check{}
}

func TestCheckNamesDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range checks() {
		if seen[c.name] {
			t.Errorf("two checks are called %q", c.name)
		}
		seen[c.name] = true
	}
}

// A kit that ran nothing must not pass.
func TestZeroChecksFail(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestMemory$/^no-such-check$", "-test.v")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no check ran") {
		t.Errorf("Run of no check = %v, want a failure\n%s", err, out)
	}
}
