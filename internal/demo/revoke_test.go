package demo

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/seal"
)

// A revocation takes effect on every running node within two reload intervals,
// and at once where SIGHUP follows it: three node processes, one keyring, and
// sets sealed under the key that is revoked. SEALEDBLOB_REVOKE_INTERVAL and
// SEALEDBLOB_REVOKE_ROUNDS measure another interval, or longer.
func TestRevocationReachesEveryNode(t *testing.T) {
	program := buildProgram(t)
	interval, rounds := time.Second, 3
	if d, err := time.ParseDuration(os.Getenv("SEALEDBLOB_REVOKE_INTERVAL")); err == nil {
		interval = d
	}
	if n, err := strconv.Atoi(os.Getenv("SEALEDBLOB_REVOKE_ROUNDS")); err == nil {
		rounds = n
	}
	t.Run("reload interval", func(t *testing.T) {
		c := runCluster(t, program, "--keyring-reload", interval.String())
		worst := worstRevocation(t, c, rounds, interval, func() {})
		t.Logf("interval %v, %d rounds, %d nodes: refused by all after %v at worst", interval, rounds, nodes, worst)
		if worst > 2*interval {
			t.Errorf("refused after %v, two intervals are %v", worst, 2*interval)
		}
	})
	t.Run("SIGHUP", func(t *testing.T) {
		const atOnce = 5 * time.Second // for a busy machine
		c := runCluster(t, program, "--keyring-reload", "1h")
		worst := worstRevocation(t, c, rounds, atOnce, func() {
			for _, n := range c.nodes {
				check(t, n.process.Signal(syscall.SIGHUP))
			}
		})
		t.Logf("%d rounds, %d nodes: refused by all after %v at worst", rounds, nodes, worst)
		if worst > atOnce {
			t.Errorf("refused after %v, at once is at most %v", worst, atOnce)
		}
	})
}

// worstRevocation revokes the primary key once a round and returns the longest
// time from the start of the command to a refusal by the last node.
func worstRevocation(t *testing.T, c *cluster, rounds int, patience time.Duration, then func()) (worst time.Duration) {
	t.Helper()
	if rounds < 1 {
		t.Fatal("no rounds: nothing would be measured")
	}
	stranger := newVisitor(c.nodes[0].url)
	_, err := stranger.do(t.Context(), "POST", "/api/cart", map[string]string{"item": "tea"})
	check(t, err)
	for round := range rounds {
		cookies, set := sealedSet(t, c.nodes[round%nodes])
		for _, n := range c.nodes {
			if reason := reasonOf(t, n, stranger.cookies(), set); !strings.Contains(reason, "another session than the cookie") {
				t.Fatalf("round %d: before the revocation %s refuses a stranger because of %q", round, n.name, reason)
			}
		}
		start := time.Now()
		revoke(t, c, set)
		then()
		done := make(chan time.Duration, nodes)
		for _, n := range c.nodes {
			go func() { done <- untilUnknown(t, n, stranger.cookies(), set, start, patience) }()
		}
		for range nodes {
			worst = max(worst, <-done)
		}
		for _, n := range c.nodes { // its own cookie helps no more
			if reason := reasonOf(t, n, cookies, set); !strings.Contains(reason, seal.ErrUnknownKey.Error()) {
				t.Errorf("round %d: %s refuses the holder because of %q", round, n.name, reason)
			}
		}
	}
	return worst
}

// untilUnknown presents the set until the node refuses its key. The cookie is a
// stranger's, so that no try restores anything or moves the session.
func untilUnknown(t *testing.T, n *node, cookies []*http.Cookie, set sessionext.Held, start time.Time, patience time.Duration) time.Duration {
	for time.Since(start) < 4*patience {
		if strings.Contains(reasonOf(t, n, cookies, set), seal.ErrUnknownKey.Error()) {
			return time.Since(start)
		}
		time.Sleep(patience / 100)
	}
	t.Errorf("%s still opens the set after %v", n.name, time.Since(start))
	return time.Since(start)
}

// reasonOf is why the node refuses the set, from its log.
func reasonOf(t *testing.T, n *node, cookies []*http.Cookie, set sessionext.Held) string {
	out, reply, err := present(t.Context(), http.DefaultClient, cookies, n, set)
	if err != nil || reply.State != sessionext.StateRefused {
		t.Errorf("%s: %q, %v", n.name, reply.State, err)
	}
	return out.Reason
}

// sealedSet is a new visitor's set, with its cookies, made on node n.
func sealedSet(t *testing.T, n *node) ([]*http.Cookie, sessionext.Held) {
	t.Helper()
	v := newVisitor(n.url)
	_, err := v.do(t.Context(), "POST", "/api/cart", map[string]string{"item": "tea"})
	check(t, err)
	check(t, v.connect(t.Context()))
	defer v.leave(context.WithoutCancel(t.Context()))
	set, err := v.waitSet(t.Context(), 1, sessionext.Held{})
	check(t, err)
	return v.cookies(), set
}

// revoke ends the key of a set, as an operator does.
func revoke(t *testing.T, c *cluster, set sessionext.Held) {
	t.Helper()
	seen, err := seal.InspectUnverified(set.Manifest)
	check(t, err)
	out, err := exec.CommandContext(t.Context(), c.program, "keyring", "revoke", "--dir", filepath.Join(c.dir, "keys"), seen.KeyID).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func runCluster(t *testing.T, program string, flags ...string) *cluster {
	t.Helper()
	c, err := startCluster(t.Context(), program, time.Minute, flags...)
	check(t, err)
	t.Cleanup(func() { check(t, c.close()) })
	return c
}

func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "blobctl")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/sealedblob/sealedblob/cmd/blobctl").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
