package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/bayeux"
	"github.com/sealedblob/sealedblob/bayeux/sessionext"
	"github.com/sealedblob/sealedblob/internal/shop"
	"github.com/sealedblob/sealedblob/seal"
)

// program is this test binary under the name of the program.
func program(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	path := filepath.Join(t.TempDir(), "blobctl")
	must(t, os.Symlink(self, path))
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// node is a blobctl serve of a test.
type node struct {
	t       *testing.T
	url     string
	process *exec.Cmd
	log     *bytes.Buffer // to be read when it has ended
}

// serveIn starts a node on the keyring, policy and store of dir, and makes them
// if need be.
func serveIn(t *testing.T, dir string, flags ...string) *node {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "policy.json")); err != nil {
		_, err := seal.InitRing(filepath.Join(dir, "keys"), seal.A256GCM, time.Now())
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "policy.json"), []byte(shop.PolicyFile), 0o600))
	}
	n := &node{t: t, log: &bytes.Buffer{}}
	n.process = exec.Command(program(t), append([]string{"serve", "--listen", "127.0.0.1:0", "--keyring", filepath.Join(dir, "keys"),
		"--policy", filepath.Join(dir, "policy.json"), "--replay", "file:" + filepath.Join(dir, "replay")}, flags...)...)
	n.process.Stderr = n.log
	out, err := n.process.StdoutPipe()
	must(t, err)
	must(t, n.process.Start())
	t.Cleanup(func() {
		if n.process.ProcessState == nil {
			_ = n.process.Process.Kill()
			_ = n.process.Wait()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	n.url = strings.TrimSuffix(strings.TrimSpace(line), "/")
	return n
}

// ends waits for the end and returns the exit code, -1 for the end by a signal.
func (n *node) ends(within time.Duration) int {
	n.t.Helper()
	done := make(chan struct{})
	go func() {
		_ = n.process.Wait()
		close(done)
	}()
	select {
	case <-done:
		return n.process.ProcessState.ExitCode()
	case <-time.After(within):
		n.t.Fatalf("still running after %v", within)
		return 0
	}
}

// answers is the status of a request, 0 without an answer.
func answers(client *http.Client, method, url, body string) int {
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0
	}
	res, err := client.Do(r)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// SIGTERM leaves every session with its clients, and the exit code is 0.
func TestServeDrainsOnSIGTERM(t *testing.T) {
	dir := t.TempDir()
	first, second := serveIn(t, dir), serveIn(t, dir)
	jar, err := cookiejar.New(nil)
	must(t, err)
	browser := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	keeper := sessionext.NewKeeper()
	c, err := bayeux.NewClient(first.url+"/bayeux", bayeux.ClientConfig{HTTPClient: browser, Extensions: []bayeux.ClientExtension{keeper}, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer c.Close(context.Background())
	if status := answers(browser, "POST", first.url+"/api/cart", `{"item":"tea"}`); status != 200 {
		t.Fatalf("cart: %d", status)
	}
	must(t, c.Connect(t.Context()))
	if status := answers(browser, "GET", first.url+"/healthz", ""); status != 200 {
		t.Errorf("/healthz before: %d", status)
	}
	for _, item := range []string{"pot", "cup"} {
		answers(browser, "POST", first.url+"/api/cart", `{"item":"`+item+`"}`)
	}
	must(t, first.process.Process.Signal(syscall.SIGTERM))
	if code := first.ends(10 * time.Second); code != 0 || !strings.Contains(first.log.String(), `"msg":"drained","node":"`) || !strings.Contains(first.log.String(), `"sessions":1,"unacknowledged":0`) {
		t.Errorf("exit code %d, log %s", code, first.log)
	}
	held, _ := keeper.Held()
	if held.Version.Gen < 3 {
		t.Errorf("the client holds %v, want what was answered last", held.Version)
	}
	// The session goes on elsewhere, with what was answered last. The cookie jar
	// knows hosts, not ports.
	next, err := bayeux.NewClient(second.url+"/bayeux", bayeux.ClientConfig{HTTPClient: browser, Extensions: []bayeux.ClientExtension{keeper}, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	defer next.Close(context.Background())
	must(t, next.Connect(t.Context()))
	res, err := browser.Get(second.url + "/api/state")
	must(t, err)
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); !strings.Contains(string(body), `["tea","pot","cup"]`) {
		t.Errorf("elsewhere: %s", body)
	}
}

// Nobody may wait for a node that was told twice to stop.
func TestServeEndsAtTheSecondSignal(t *testing.T) {
	n := serveIn(t, t.TempDir(), "--drain", "1m")
	if status := answers(http.DefaultClient, "POST", n.url+"/api/cart", `{"item":"tea"}`); status != 200 { // a session without a client
		t.Fatalf("cart: %d", status)
	}
	must(t, n.process.Process.Signal(syscall.SIGTERM))
	status := 0
	for deadline := time.Now().Add(20 * time.Second); status != 503 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		status = answers(http.DefaultClient, "GET", n.url+"/healthz", "")
	}
	if status != 503 {
		t.Errorf("/healthz of a node that drains: %d", status)
	}
	if got := answers(http.DefaultClient, "POST", n.url+"/api/cart", `{"item":"tea"}`); got != 503 {
		t.Errorf("a new session on a node that drains: %d", got)
	}
	must(t, n.process.Process.Signal(syscall.SIGTERM))
	if code := n.ends(20 * time.Second); code != -1 {
		t.Errorf("exit code %d, want the end by the signal", code)
	}
}

func TestServeDrainIsBounded(t *testing.T) {
	n := serveIn(t, t.TempDir(), "--drain", "300ms")
	answers(http.DefaultClient, "POST", n.url+"/api/cart", `{"item":"tea"}`)
	must(t, n.process.Process.Signal(syscall.SIGTERM))
	if code := n.ends(10 * time.Second); code != 0 || !strings.Contains(n.log.String(), `"sessions":0,"unacknowledged":1`) {
		t.Errorf("exit code %d, log %s", code, n.log)
	}
}

func TestServeRefusesNegativeTimes(t *testing.T) {
	for _, flag := range []string{"--drain", "--spread"} {
		var f *failure
		if err := runServe(newServe(), serveFlags{reload: 1, drain: map[string]time.Duration{"--drain": -1}[flag], spread: map[string]time.Duration{"--spread": -1}[flag]}); !errors.As(err, &f) || f.code != exitUsage {
			t.Errorf("%s=-1ns: %v", flag, err)
		}
	}
}

// A keyring that can't be read any more serves for --keyring-max-stale.
func TestServeEndsTheUseOfAStaleKeyring(t *testing.T) {
	for flag, wantStale := range map[string]bool{"400ms": true, "0": false} {
		dir := t.TempDir()
		n := serveIn(t, dir, "--keyring-reload", "50ms", "--keyring-max-stale", flag, "--drain", "100ms")
		must(t, os.Chmod(filepath.Join(dir, "keys", seal.RingFile), 0o644))
		time.Sleep(600 * time.Millisecond)
		answers(http.DefaultClient, "POST", n.url+"/api/cart", `{"item":"tea"}`)
		must(t, n.process.Process.Signal(syscall.SIGTERM))
		n.ends(30 * time.Second)
		if got := strings.Contains(n.log.String(), "could not be read for over 400ms"); got != wantStale {
			t.Errorf("--keyring-max-stale %s: log %s", flag, n.log)
		}
		if !strings.Contains(n.log.String(), `"ring_in_use":1`) {
			t.Errorf("a look that failed is not logged: %s", n.log)
		}
	}
	if code, text := run("serve", "--keyring", "keys", "--policy", "p", "--replay", "mem:", "--keyring-max-stale", "119s"); code != exitUsage || !strings.Contains(text, "--keyring-max-stale wants") {
		t.Errorf("a --keyring-max-stale below two reload intervals: exit code %d: %s", code, text)
	}
}

// A node whose keyring has no primary key could seal nothing.
func TestServeNeedsAPrimaryKey(t *testing.T) {
	dir := t.TempDir()
	keys, policyFile := filepath.Join(dir, "keys"), filepath.Join(dir, "policy.json")
	_, err := seal.InitRing(keys, seal.A256GCM, time.Now().Add(time.Hour))
	must(t, err)
	must(t, os.WriteFile(policyFile, []byte(shop.PolicyFile), 0o600))
	code, text := run("serve", "--listen", "127.0.0.1:0", "--keyring", keys, "--policy", policyFile, "--replay", "mem:")
	if code != exitUsage || !strings.Contains(text, seal.ErrNoPrimary.Error()) {
		t.Errorf("exit code %d: %s", code, text)
	}
}

// run is one command line in this process, and what it prints.
func run(args ...string) (code int, text string) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // for a node that runs and should not
	defer cancel()
	code = execute(ctx, args, strings.NewReader(""), &out, &out)
	return code, out.String()
}
