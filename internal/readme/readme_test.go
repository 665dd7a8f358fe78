// Package readme keeps the README true: its shell session runs, and its Go code
// is the example's.
package readme

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const readme = "../../README.md"

func blocks(t *testing.T, page, language string) (out []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "```"+language+"\n")[1:] {
		block, _, ok := strings.Cut(part, "```")
		if !ok {
			t.Fatal("a code block without an end")
		}
		out = append(out, block)
	}
	if len(out) == 0 {
		t.Fatalf("%s has no %s block", page, language)
	}
	return out
}

func TestGoCodeIsTheExample(t *testing.T) {
	var examples []byte
	for _, name := range []string{"hello", "stateless"} {
		example, err := os.ReadFile("../../examples/" + name + "/main.go")
		if err != nil {
			t.Fatal(err)
		}
		examples = append(examples, example...)
	}
	for _, block := range blocks(t, readme, "go") {
		if !bytes.Contains(examples, []byte(block)) {
			t.Errorf("no example has:\n%s", block)
		}
	}
}

// The Go code of docs/bayeux.md is that of the package's examples.
func TestGoCodeOfBayeux(t *testing.T) {
	var examples []byte
	for _, name := range []string{"example_test.go", "example_serve_test.go"} {
		example, err := os.ReadFile("../../bayeux/" + name)
		if err != nil {
			t.Fatal(err)
		}
		examples = append(examples, example...)
	}
	for _, block := range blocks(t, "../../docs/bayeux.md", "go") {
		if !bytes.Contains(examples, []byte(block)) {
			t.Errorf("no example has:\n%s", block)
		}
	}
}

// The example server runs as the README says, from a folder of its own.
func TestExampleServerRuns(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"blobctl": "cmd/blobctl", "hello": "examples/hello"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), "github.com/sealedblob/sealedblob/"+path).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, out)
		}
	}
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(dir, name), args...)
		cmd.Dir = dir
		return cmd
	}
	if out, err := run("blobctl", "keyring", "init", "--dir", ".hello/keys").CombinedOutput(); err != nil {
		t.Fatalf("keyring init: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	hello := run("hello", "-listen", address)
	var log bytes.Buffer
	hello.Stderr = &log
	if err := hello.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hello.Process.Kill(); _ = hello.Wait() }()
	for range 100 {
		res, err := http.Post("http://"+address+"/click", "", nil)
		if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		body, _ := io.ReadAll(res.Body)
		if string(body) != "1" || len(res.Cookies()) != 1 {
			t.Errorf("a first click: %d %q", res.StatusCode, body)
		}
		return
	}
	t.Errorf("no answer: %s", log.String())
}

func TestShellSessionRuns(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin", "blobctl"), "github.com/sealedblob/sealedblob/cmd/blobctl")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building blobctl: %v\n%s", err, out)
	}
	ran := 0
	for _, block := range blocks(t, readme, "console") {
		for _, line := range strings.Split(strings.TrimSpace(block), "\n") {
			command, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				t.Fatalf("not a command: %s", line)
			}
			want := 0
			if strings.Contains(line, "# exit code 4") {
				want = 4
			}
			cmd := exec.Command("sh", "-c", command)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Fatalf("%s\nexit code %d, want %d\n%s", command, got, want, out)
			}
			ran++
		}
	}
	if ran < 6 {
		t.Errorf("%d commands ran", ran)
	}
}
