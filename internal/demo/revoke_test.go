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
	interval, rounds := 2*time.Second, 3
	if d, err := time.ParseDuration(os.Getenv("SEALEDBLOB_REVOKE_INTERVAL")); err == nil {
		interval = d
	}
	if n, err := strconv.Atoi(os.Getenv("SEALEDBLOB_REVOKE_ROUNDS")); err == nil {
		rounds = n
	}
	t.Run("reload interval", func(t *testing.T) {
		c := runCluster(t, program, "--keyring-reload", interval.String())
		worst := worstRevocation(t, c, rounds, 2*interval, func() {})
		t.Logf("interval %v, %d rounds, %d nodes: refused by all after %v at worst", interval, rounds, nodes, worst)
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
	})
}

// bounds enclose the time from the new ring's place in the folder to a refusal: on a
// busy machine the command, and each presentation, takes its time.
type bounds struct{ least, most time.Duration }

// worstRevocation revokes the primary key once a round, fails if a node surely took
// longer than the limit, and returns the most that any surely took. A round that was
// too slow to tell is repeated.
func worstRevocation(t *testing.T, c *cluster, rounds int, limit time.Duration, then func()) (worst time.Duration) {
	t.Helper()
	if rounds < 1 {
		t.Fatal("no rounds: nothing would be measured")
	}
	const tries = 20
	stranger, unclear := strangersCookie(t, c), 0
	for round := 0; round < rounds+unclear; round++ {
		took := revocation(t, c, round, stranger, limit, then)
		switch {
		case took.least > limit:
			t.Fatalf("round %d: still opened after %v, more than %v", round, took.least, limit)
		case took.most <= limit:
			worst = max(worst, took.most)
		default:
			if unclear++; unclear == tries {
				t.Fatalf("%d rounds could not tell: the last took between %v and %v", tries, took.least, took.most)
			}
		}
	}
	return worst
}

// revocation is one round: how long it took until the last node refused.
func revocation(t *testing.T, c *cluster, round int, stranger []*http.Cookie, limit time.Duration, then func()) (all bounds) {
	t.Helper()
	cookies, set := sealedSet(t, c.nodes[round%nodes])
	for _, n := range c.nodes {
		if reason := reasonOf(t, n, stranger, set); !strings.Contains(reason, "another session than the cookie") {
			t.Fatalf("round %d: before the revocation %s refuses a stranger because of %q", round, n.name, reason)
		}
	}
	began := time.Now()
	revoke(t, c, set)
	then()
	done := time.Now()
	took := make(chan bounds, nodes)
	for _, n := range c.nodes {
		go func() { took <- untilUnknown(t, n, stranger, set, began, done, limit) }()
	}
	for range nodes {
		one := <-took
		all = bounds{max(all.least, one.least), max(all.most, one.most)}
	}
	if all.least > limit {
		return all
	}
	for _, n := range c.nodes { // its own cookie helps no more
		if reason := reasonOf(t, n, cookies, set); !strings.Contains(reason, seal.ErrUnknownKey.Error()) {
			t.Errorf("round %d: %s refuses the holder because of %q", round, n.name, reason)
		}
	}
	return all
}

// untilUnknown presents the set until the node refuses its key, or opened it after the
// limit. The cookie is a stranger's, so that no try restores anything or moves the
// session. The ring came between began and done.
func untilUnknown(t *testing.T, n *node, cookies []*http.Cookie, set sessionext.Held, began, done time.Time, limit time.Duration) (took bounds) {
	for took.least <= limit {
		asked := time.Now()
		reason := reasonOf(t, n, cookies, set)
		took.most = time.Since(began)
		if strings.Contains(reason, seal.ErrUnknownKey.Error()) {
			return took
		}
		took.least = asked.Sub(done)
		time.Sleep(limit / 200)
	}
	return took
}

// strangersCookie is of a session that lives on no node: one that does would soon have
// too many clients.
func strangersCookie(t *testing.T, c *cluster) []*http.Cookie {
	t.Helper()
	v := newVisitor(c.nodes[0].url)
	_, err := v.do(t.Context(), "POST", "/api/cart", map[string]string{"item": "tea"})
	check(t, err)
	cookies := v.cookies()
	for _, cookie := range cookies {
		_, secret, _ := strings.Cut(cookie.Value, ".")
		cookie.Value = seal.NewID().String() + "." + secret
	}
	return cookies
}

// reasonOf is why the node refuses the set, from its log.
func reasonOf(t *testing.T, n *node, cookies []*http.Cookie, set sessionext.Held) string {
	out, reply, err := present(t.Context(), http.DefaultClient, cookies, n, set)
	if err != nil || reply.State != sessionext.StateRefused {
		t.Errorf("%s: %q because of %q, %v", n.name, reply.State, out.Reason, err)
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
