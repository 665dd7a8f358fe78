//go:build unix

package bayeux

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"
)

// processTime is what the process has had of the processors, whatever else the
// machine does.
func processTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// raceDetector reports whether the code is slowed down by it.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// No input of 1 MiB may take 100 ms or 64 MiB.
func TestOneMebibyteIsCheap(t *testing.T) {
	const size = 1 << 20
	limit := 100 * time.Millisecond
	if raceDetector() {
		limit *= 5
	}
	fill := func(head, body, tail string) string {
		return head + strings.TrimSuffix(strings.Repeat(body, (size-len(head)-len(tail))/len(body)), ",") + tail
	}
	var unique strings.Builder
	for i := 0; unique.Len() < size-20; i++ {
		fmt.Fprintf(&unique, `"%x":1,`, i)
	}
	members := strings.TrimSuffix(unique.String(), ",")
	inputs := map[string]string{
		"empty messages":  fill("[", `{},`, "]"),
		"nesting":         fill("", "[", ""),
		"members":         "{" + members + "}",
		"members of data": `{"data":{` + members + `}}`,
		"members of ext":  `{"ext":{` + members + `}}`,
		"equal members":   fill(`{"data":{`, `"x":1,`, `}}`),
		"subscriptions":   fill(`{"subscription":[`, `"/a/b",`, `]}`),
		"segments":        fill(`{"channel":"`, "/a", `"}`),
		"escapes":         fill(`{"channel":"`, `\u0041`, `"}`),
		"numbers":         fill(`{"data":[`, `1e9,`, `]}`),
		"one number":      fill(`{"advice":{"timeout":`, `1`, `}}`),
		"brackets":        fill(`{"data":"`, `[`, `"}`),
		"spaces":          fill(``, ` `, `{}`),
	}
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) {
			best, least := time.Hour, uint64(1<<40)
			for range 3 {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := processTime(t)
				_, _ = parseMessages([]byte(in), defaultMaxDepth, defaultMaxBatch)
				best = min(best, processTime(t)-start)
				runtime.ReadMemStats(&after)
				least = min(least, after.TotalAlloc-before.TotalAlloc)
			}
			if best > limit || least > 64<<20 {
				t.Errorf("%v and %d MiB, want at most %v and 64 MiB", best, least>>20, limit)
			}
		})
	}
}

// A limit that is raised makes nothing quadratic.
func TestManySubscriptionsAreCheap(t *testing.T) {
	limit := time.Second
	if raceDetector() {
		limit *= 5
	}
	s := quietServer(t, Config{MaxSubscriptions: 100_000})
	sess, _ := s.admit("browser")
	list := make([]string, 50_000)
	for i := range list {
		list[i] = fmt.Sprintf("/%06d", len(list)-i)
	}
	start := processTime(t)
	for _, channel := range []string{MetaSubscribe, MetaUnsubscribe} {
		x := &exchange{server: s, ctx: t.Context(), browser: owner{id: "browser"}}
		x.run([]*Message{{Channel: channel, ClientID: sess.id, Subscription: list}})
		if len(x.replies) != 1 || !strings.Contains(string(x.replies[0]), `"successful":true`) {
			t.Fatalf("%s: %.200s", channel, x.replies)
		}
		if n := len(sess.subs); (n == len(list)) != (channel == MetaSubscribe) {
			t.Errorf("%s: %d subscriptions", channel, n)
		}
	}
	if took := processTime(t) - start; took > limit {
		t.Errorf("%v, want at most %v", took, limit)
	}
	if s.registry.has("/000001") {
		t.Error("the registry keeps a channel")
	}
}
