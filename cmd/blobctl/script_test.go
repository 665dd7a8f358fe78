package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sealedblob/sealedblob/seal"
)

// The test binary is the program, so that scripts run what users run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"blobctl": func() {
			os.Exit(execute(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	testscript.Run(t, testscript.Params{
		Dir:       "testdata/script",
		Condition: condition,
		Cmds:      commands,
		Setup:     atOnce,
	})
}

// atOnce lets the program end without the second that one with the race detector sleeps
// before: a script has nothing of the environment but what it is given.
func atOnce(env *testscript.Env) error {
	env.Setenv("GORACE", "atexit_sleep_ms=100")
	return nil
}

// commands are what scripts may use beside testscript's own.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"exits": exits, "flip": flip, "oneline": oneLine, "cat2": concatenate, "big": big, "wrap": wrap, "firstkey": firstKey, "rotated": rotated, "harwrap": wrapHAR,
}

// condition knows [mounts]: a script may mount a file system of its own. In CI it
// must be able to, so that nothing is left out in silence.
func condition(name string) (bool, error) {
	if name != "mounts" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return os.Getenv("CI") != "" || exec.Command("unshare", "--map-root-user", "--mount", "true").Run() == nil, nil
}

// exits CODE COMMAND...: runs blobctl and compares its exit code. Standard
// input is the file "in", if there is one.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	var in bytes.Buffer
	if b, err := os.ReadFile(ts.MkAbs("in")); err == nil {
		in.Write(b)
	}
	var out, errOut bytes.Buffer
	program := filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "blobctl") // testscript puts it first
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), &in, &out, &errOut
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.MkAbs(".")}
	for _, name := range []string{"REDISCLI_AUTH", "PGPASSFILE", "GORACE"} {
		if value := ts.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	err := cmd.Run()
	code := cmd.ProcessState.ExitCode()
	if code < 0 {
		ts.Fatalf("blobctl did not exit: %v", err)
	}
	ts.Check(os.WriteFile(ts.MkAbs("out"), out.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("err"), errOut.Bytes(), 0o600))
	if want := args[0]; want != string(rune('0'+code)) {
		ts.Fatalf("exit code %d, want %s\nout: %s\nerr: %s", code, want, out.String(), errOut.String())
	}
}

// flip FILE changes one character inside the ciphertext.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	text := []byte(ts.ReadFile(args[0]))
	i := bytes.LastIndexByte(text, '.') - 9
	if text[i] == 'A' {
		text[i] = 'B'
	} else {
		text[i] = 'A'
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

// oneline FILE: one clear line (and perhaps a hint), no more than 700 bytes.
func oneLine(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if !strings.HasPrefix(lines[0], "blobctl: ") || len(lines) > 2 || len(lines) == 2 && !strings.HasPrefix(lines[1], "hint: ") || len(text) > 900 {
		ts.Fatalf("want one line and at most a hint, got %q", text)
	}
}

func concatenate(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(ts.ReadFile(args[1])+ts.ReadFile(args[2])), 0o600))
}

// big FILE N writes N times the letter A.
func big(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat([]byte("A"), n), 0o600))
}

// wrap FILE BLOB writes the handshake that would present the blob.
func wrap(ts *testscript.TestScript, _ bool, args []string) {
	blob := strings.TrimSpace(ts.ReadFile(args[1]))
	out, err := json.Marshal([]any{map[string]any{"channel": "/meta/handshake", "ext": map[string]any{"sealed": map[string]any{"v": 1, "blobs": map[string]string{"AAAAAAAAAAAA": blob}}}}})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out, 0o600))
}

// wrapHAR FILE BODY writes a HAR file of one request with that body.
func wrapHAR(ts *testscript.TestScript, _ bool, args []string) {
	out, err := json.Marshal(map[string]any{"log": map[string]any{"entries": []any{map[string]any{"request": map[string]any{"postData": map[string]string{"text": ts.ReadFile(args[1])}}}}}})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out, 0o600))
}

// rotated DIR makes a keyring that was rotated two hours ago, whose older key may
// be retired.
func rotated(ts *testscript.TestScript, _ bool, args []string) {
	dir, then := ts.MkAbs(args[0]), time.Now().Add(-2*time.Hour)
	_, err := seal.InitRing(dir, seal.A256GCM, then)
	ts.Check(err)
	_, err = seal.RotateRing(context.Background(), dir, seal.A256GCM, then, then.Add(2*seal.ReloadInterval))
	ts.Check(err)
}

// firstkey FILE LIST writes the ID of the first key in a keyring's list.
func firstKey(ts *testscript.TestScript, _ bool, args []string) {
	line := strings.Split(ts.ReadFile(args[1]), "\n")[1]
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Fields(line)[0]+"\n"), 0o600))
}
