package readme

import (
	"bytes"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sealedblob/sealedblob/internal/services"
)

const operations = "../../docs/operations.md"

var (
	consoleBlock = regexp.MustCompile("(?ms)^```console ?(\\w*)( emptied)?\n(.*?)^```$")
	exitCode     = regexp.MustCompile(`# exit code (\d)`)
	testName     = regexp.MustCompile("`(Test\\w+)`")
)

// operator is somebody who follows docs/operations.md with one kind of store.
type operator struct {
	kind, dir string
	env       []string
	addr      string // of the server
}

// Every command of docs/operations.md does what the page says, in its order.
func TestOperationsRun(t *testing.T) {
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	blocks := consoleBlock.FindAllStringSubmatch(string(text), -1)
	if n := bytes.Count(text, []byte("```console")); len(blocks) != n || n < 6 {
		t.Fatalf("%d of %d blocks were found", len(blocks), n)
	}
	blobctl := filepath.Join(t.TempDir(), "blobctl")
	if out, err := exec.Command("go", "build", "-o", blobctl, "github.com/sealedblob/sealedblob/cmd/blobctl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for kind, start := range map[string]func(t *testing.T, o *operator){"file": withFile, "redis": withRedis, "postgres": withPostgres} {
		t.Run(kind, func(t *testing.T) {
			o := &operator{kind: kind, dir: t.TempDir()}
			o.env = append(os.Environ(), "PATH="+filepath.Dir(blobctl)+string(os.PathListSeparator)+os.Getenv("PATH"))
			start(t, o)
			own := 0
			for _, block := range blocks {
				if block[1] != "" && block[1] != kind {
					continue
				}
				if block[1] == kind {
					own++
				}
				if block[2] != "" { // not a command of the page, which somebody would copy
					o.run(t, "$ redis-cli -h redis.example flushall")
				}
				for line := range strings.Lines(block[3]) {
					o.run(t, line)
				}
			}
			if own == 0 {
				t.Errorf("no command is about %s alone", kind)
			}
		})
	}
}

// run runs one line of the page.
func (o *operator) run(t *testing.T, line string) {
	t.Helper()
	command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
	if !ok {
		t.Fatalf("not a command: %s", line)
	}
	want := 0
	if code := exitCode.FindStringSubmatch(command); code != nil {
		want, _ = strconv.Atoi(code[1])
	}
	if o.addr != "" {
		host, port, err := net.SplitHostPort(o.addr)
		if err != nil {
			t.Fatal(err)
		}
		server := map[string]string{"redis": "redis.example", "postgres": "db.example"}[o.kind]
		command = strings.ReplaceAll(command, "-h "+server, "-h "+host+" -p "+port)
		command = strings.ReplaceAll(command, server, o.addr)
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir, cmd.Env = o.dir, o.env
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Fatalf("%s\nexit code %d, want %d\n%s", command, got, want, out)
	}
}

// seal makes a store as whoever issues rights does.
func (o *operator) seal(t *testing.T) {
	t.Helper()
	for _, line := range []string{
		`$ blobctl keyring init --dir keys`,
		`$ echo '{"version":1,"session":{"idle":"30m","absolute":"12h"},"attributes":{"ticket":{"ttl":"10m","once":true}}}' > policy.json`,
		`$ echo '"row 7"' | blobctl seal --keyring keys --policy policy.json --app shop --session new --name ticket --replay "$STORE"`,
	} {
		o.run(t, line)
	}
}

func withFile(t *testing.T, o *operator) {
	o.env = append(o.env, "STORE=file:replay")
	o.seal(t)
}

func withRedis(t *testing.T, o *operator) {
	o.addr = services.Redis(t, services.Durable()...).Addr
	o.env = append(o.env, "STORE=redis://"+o.addr)
	o.seal(t)
}

func withPostgres(t *testing.T, o *operator) {
	u, err := url.Parse(services.PostgresServer(t).DSN)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	o.addr = u.Host
	passwords := filepath.Join(o.dir, "passwords")
	err = os.WriteFile(passwords, []byte("*:*:*:postgres:"+password+"\n*:*:*:shop_owner:of the owner\n*:*:*:web:of the nodes\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	o.env = append(o.env, "PGUSER=postgres", "PGPASSFILE="+passwords, "OWNER_PASSWORD=of the owner", "WEB_PASSWORD=of the nodes", "STORE=postgres://postgres@"+o.addr+"/postgres")
	o.run(t, `$ blobctl replay migrate "$STORE"`)
	o.seal(t)
}

// The tests that the page names as witnesses are there.
func TestOperationsNamesTests(t *testing.T) {
	text, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	err = filepath.WalkDir("../../replay", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := testName.FindAllStringSubmatch(string(text), -1)
	if len(names) < 20 {
		t.Fatalf("%d tests are named", len(names))
	}
	for _, name := range names {
		if !bytes.Contains(all.Bytes(), []byte("func "+name[1]+"(")) {
			t.Errorf("there is no %s", name[1])
		}
	}
}
