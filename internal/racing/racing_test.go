package racing

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/replay"
)

// The processes of these tests have a store each that they take for a common one,
// which is what the tests of a store must notice.
func TestMain(m *testing.M) {
	Main(Roles{
		"load":  func(string) error { return Load(replay.NewMemory(replay.MemoryConfig{})) },
		"race":  func(string) error { return Claim(replay.NewMemory(replay.MemoryConfig{}), 4) },
		"ended": func(string) error { Ready(); return nil },
		"mute":  func(string) error { return nil },
	})
	os.Exit(m.Run())
}

// mistakes are what fails here, by name, and what is then said of it.
var mistakes = map[string]struct {
	make func(t *testing.T)
	want string
}{
	"two winners": {func(t *testing.T) { Race(t, "") }, "was won 64 times"},
	"forgotten": {func(t *testing.T) {
		all := Kills{Number: 8, AtOnce: 2, Life: 20 * time.Millisecond}.Run(t)
		CheckAll(t, replay.NewMemory(replay.MemoryConfig{}), all)
	}, "want "},
	"seen by those who watch": {func(t *testing.T) {
		watch := func(told []Fact) { CheckAll(t, replay.NewMemory(replay.MemoryConfig{}), told) }
		Kills{Number: 8, AtOnce: 2, Life: 20 * time.Millisecond, Watch: watch}.Run(t)
	}, "want "},
	"final": {func(t *testing.T) {
		s := closing{replay.NewMemory(replay.MemoryConfig{})}
		KillServer(t, s, s, 1, func(err error) bool { return errors.Is(err, replay.ErrClosed) }, func([]Fact) {})
	}, "told of a server that died"},
}

// closing is a store that takes the end of its server for its own.
type closing struct{ *replay.Memory }

func (c closing) Kill()  { c.Close() }
func (c closing) Start() {}

const mistakeEnv = "SEALEDBLOB_TEST_MISTAKE"

// A test of a store that is wrong fails.
func TestMistakesAreSeen(t *testing.T) {
	if name, again := os.LookupEnv(mistakeEnv); again {
		mistakes[name].make(t)
		return
	}
	for name, m := range mistakes {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMistakesAreSeen$")
			cmd.Env = append(os.Environ(), mistakeEnv+"="+name)
			if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), m.want) {
				t.Errorf("%v, want a failure that says %q: %s", err, m.want, out)
			}
		})
	}
}

// Each kind of fact is denied by a store that never heard of it, and confirmed by
// the one that said it.
func TestFacts(t *testing.T) {
	s, other := replay.NewMemory(replay.MemoryConfig{}), replay.NewMemory(replay.MemoryConfig{})
	seen := make(map[string]int)
	err := Use(s, func(f Fact) {
		seen[f.What]++
		if again, err := parse(f.String()); again != f || err != nil {
			t.Errorf("%v is read as %v, %v", f, again, err)
		}
		if err := f.Check(s); err != nil {
			t.Errorf("%v: %v", f, err)
		}
		if f.Check(other) == nil {
			t.Errorf("%v is confirmed by a store that does not know it", f)
		}
	})
	if err != nil || seen[claimed] != 2 || seen[moved] != 1 || seen[revoked] != 1 {
		t.Errorf("Use = %v, facts: %v", err, seen)
	}
}

func TestProcessesThatEnd(t *testing.T) {
	p, err := Start("ended", "")
	if err != nil {
		t.Fatal(err)
	}
	if facts, err := p.facts(func() {}); len(facts) != 0 || err != nil {
		t.Errorf("facts = %v, %v", facts, err)
	}
	if err := p.killed(); err == nil {
		t.Error("a process that ended by itself passes for killed")
	}
	for _, role := range []string{"mute", "none"} {
		if _, err := Start(role, ""); err == nil {
			t.Errorf("Start(%q) = nil", role)
		}
	}
}
