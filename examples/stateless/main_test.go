package main

import (
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Two servers share a folder and no memory: a visitor goes from one to the other.
func TestTwoServersOneVisitor(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"blobctl": "cmd/blobctl", "stateless": "examples/stateless"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), "github.com/sealedblob/sealedblob/"+path).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, out)
		}
	}
	initRing := exec.Command(filepath.Join(dir, "blobctl"), "keyring", "init", "--dir", ".stateless/keys")
	initRing.Dir = dir
	if out, err := initRing.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	one, two := start(t, dir), start(t, dir)
	jar, _ := cookiejar.New(nil)
	visitor := &http.Client{Jar: jar}
	post := func(at, path string, form url.Values) (int, string) {
		t.Helper()
		res, err := visitor.PostForm("http://"+at+path, form)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, strings.TrimSpace(string(body))
	}
	for i, step := range []struct{ at, item, want string }{{one, "tea", "tea"}, {two, "milk", "tea, milk"}, {one, "salt", "tea, milk, salt"}} {
		if code, got := post(step.at, "/add", url.Values{"item": {step.item}}); code != 200 || got != step.want {
			t.Errorf("step %d: %d %q", i, code, got)
		}
	}
	_, link := post(one, "/invite", nil)
	u, err := url.Parse(link)
	if err != nil || u.Query().Get("grant") == "" {
		t.Fatalf("no link: %q", link)
	}
	for range 3 { // following the link spends nothing
		res, err := visitor.Get("http://" + two + u.RequestURI())
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%v %v", res, err)
		}
		res.Body.Close()
	}
	for i, want := range []int{200, 409} {
		if code, got := post([]string{two, one}[i], "/voucher", url.Values{"grant": {u.Query().Get("grant")}}); code != want || want == 200 && got != "tea, milk, salt, a free tea" {
			t.Errorf("the voucher: %d %q", code, got)
		}
	}
}

func start(t *testing.T, dir string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	cmd := exec.Command(filepath.Join(dir, "stateless"), "-listen", address)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 200 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return address
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("no answer")
	return ""
}
