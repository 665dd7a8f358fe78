package faultproxy

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
)

// peer is a connection to Redis through the proxy.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, p *Proxy) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &peer{t, conn, bufio.NewReader(conn)}
}

func (c *peer) send(command ...string) {
	c.t.Helper()
	request := fmt.Sprintf("*%d\r\n", len(command))
	for _, word := range command {
		request += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	_, _ = c.conn.Write([]byte(request)) // a cut shows when the reply is read
}

// reply reads one within the time, and says how that ended.
func (c *peer) reply(within time.Duration) (string, error) {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	value, err := redisValue(c.in)
	return string(value), err
}

// do sends a command whose reply must come.
func (c *peer) do(command ...string) string {
	c.t.Helper()
	c.send(command...)
	reply, err := c.reply(10 * time.Second)
	if err != nil {
		c.t.Fatalf("%v: %q, %v", command, reply, err)
	}
	return reply
}

// attempt sends one command over a connection of its own, if there is one to be had.
func attempt(t *testing.T, p *Proxy, command ...string) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	c := &peer{t, conn, bufio.NewReader(conn)}
	c.send(command...)
	return c.reply(10 * time.Second)
}

func nth(n int, f Fault) Rule {
	return func(r Request) Fault {
		if r.Number == n {
			return f
		}
		return Fault{}
	}
}

func begin(t *testing.T) (key string, server *services.Server, p *Proxy) {
	t.Helper()
	server = services.SharedRedis(t)
	return "faultproxy:" + rand.Text(), server, New(t, server.Addr, Redis())
}

// Each fault meets the second of three INCRs: what the client sees of it, and what
// the server counted.
func TestFaultsOfRedis(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		fault   Fault
		replies []string // until the connection ends
		counted string   // by the server, three when all passed
	}{
		"pass":       {Fault{}, []string{":1\r\n", ":2\r\n", ":3\r\n"}, "3"},
		"delay":      {Fault{Delay: time.Millisecond}, []string{":1\r\n", ":2\r\n", ":3\r\n"}, "3"},
		"cut before": {Fault{Kind: CutBefore}, []string{":1\r\n"}, "1"},
		"cut within": {Fault{Kind: CutWithin}, []string{":1\r\n"}, "1"},
		"lose reply": {Fault{Kind: LoseReply}, []string{":1\r\n"}, "2"},
		"cut reply":  {Fault{Kind: CutReply}, []string{":1\r\n", ":2"}, "2"},
		"cut after":  {Fault{Kind: CutAfter}, []string{":1\r\n", ":2\r\n"}, "2"},
		"twice":      {Fault{Kind: Twice}, []string{":1\r\n", ":2\r\n", ":4\r\n"}, "4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key, server, p := begin(t)
			p.Set(nth(2, want.fault))
			client := dial(t, p)
			var replies []string
			for range 3 {
				client.send("INCR", key)
				reply, err := client.reply(10 * time.Second)
				if reply != "" {
					replies = append(replies, reply)
				}
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("no reply and no end")
				}
				if err != nil {
					break
				}
			}
			if !slices.Equal(replies, want.replies) {
				t.Errorf("replies %q, want %q", replies, want.replies)
			}
			// What the proxy has passed on may still be on its way.
			for range 100 {
				if got := strings.TrimSpace(server.Redis("GET", key)); got == want.counted {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("the server counted %s, want %s", server.Redis("GET", key), want.counted)
		})
	}
}

func TestDelayIsWaited(t *testing.T) {
	t.Parallel()
	key, _, p := begin(t)
	p.Set(nth(1, Fault{Delay: 300 * time.Millisecond}))
	began := time.Now()
	dial(t, p).do("INCR", key)
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("after %v", took)
	}
}

func TestHangForwardsLate(t *testing.T) {
	t.Parallel()
	key, server, p := begin(t)
	p.Set(nth(1, Fault{Kind: Hang}))
	client, gone, other := dial(t, p), dial(t, p), dial(t, p)
	client.send("INCR", key)
	if reply, err := client.reply(100 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("while it hangs: %q, %v", reply, err)
	}
	if got := other.do("INCR", key); got != ":1\r\n" {
		t.Errorf("another connection: %q", got)
	}
	p.Set(func(Request) Fault { return Fault{Kind: Hang} })
	gone.send("INCR", key)
	for p.Requests() < 3 {
		time.Sleep(time.Millisecond)
	}
	gone.conn.Close()
	p.Heal()
	if reply, err := client.reply(10 * time.Second); err != nil {
		t.Errorf("healed: %q, %v", reply, err)
	}
	for range 100 {
		if server.Redis("GET", key) == "3\n" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the request of the client that had gone did not arrive")
}

func TestHangReplyWasCarriedOut(t *testing.T) {
	t.Parallel()
	key, server, p := begin(t)
	p.Set(nth(1, Fault{Kind: HangReply}))
	client := dial(t, p)
	client.send("INCR", key)
	if reply, err := client.reply(100 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the reply: %q, %v", reply, err)
	}
	if got := server.Redis("GET", key); got != "1\n" {
		t.Errorf("the server counted %q", got)
	}
	p.Heal()
	if reply, err := client.reply(10 * time.Second); !errors.Is(err, io.EOF) {
		t.Errorf("healed: %q, %v", reply, err)
	}
}

func TestRuleSeesTheBytes(t *testing.T) {
	t.Parallel()
	key, _, p := begin(t)
	p.Set(func(r Request) Fault {
		if bytes.Contains(r.Bytes, []byte("unwanted")) {
			return Fault{Kind: CutBefore}
		}
		return Fault{}
	})
	client := dial(t, p)
	client.do("SET", key, "wanted")
	client.send("SET", key, "unwanted")
	if reply, err := client.reply(10 * time.Second); err == nil {
		t.Errorf("got %q", reply)
	}
}

func TestDownAndUp(t *testing.T) {
	t.Parallel()
	key, _, p := begin(t)
	client := dial(t, p)
	client.do("INCR", key)
	p.Down()
	if reply, err := client.reply(10 * time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection lives: %q, %v", reply, err)
	}
	if reply, err := attempt(t, p, "PING"); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new one lives: %q, %v", reply, err)
	}
	p.Up()
	dial(t, p).do("INCR", key)
}

func TestFlapEndsUp(t *testing.T) {
	t.Parallel()
	key, _, p := begin(t)
	stop := p.Flap(5*time.Millisecond, 5*time.Millisecond)
	cut := 0
	for range 200 {
		if _, err := attempt(t, p, "INCR", key); err != nil {
			cut++
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	if cut == 0 || cut == 200 {
		t.Errorf("%d of 200 were cut", cut)
	}
	dial(t, p).do("INCR", key)
}

// A value of each kind comes through whole, in both versions of the protocol.
func TestRedisValues(t *testing.T) {
	t.Parallel()
	key, _, p := begin(t)
	client := dial(t, p)
	client.do("HELLO", "3")
	client.do("SET", key, "a\r\nb")
	client.do("HSET", key+":h", "f", "v")
	for _, test := range []struct{ script, want string }{
		{"return redis.call('GET', KEYS[1])", "$4\r\na\r\nb\r\n"},
		{"return {1, {'x', false}, redis.status_reply('ok')}", "*3\r\n:1\r\n*2\r\n$1\r\nx\r\n_\r\n+ok\r\n"},
		{"redis.setresp(3); return redis.call('HGETALL', KEYS[1] .. ':h')", "%1\r\n$1\r\nf\r\n$1\r\nv\r\n"},
		{"return {double = 1.5}", ",1.5\r\n"},
		{"return redis.error_reply('ERR no')", "-ERR no\r\n"},
	} {
		if got := client.do("EVAL", test.script, "1", key); got != test.want {
			t.Errorf("%s: %q, want %q", test.script, got, test.want)
		}
	}
	client.do("HELLO", "2")
	if got := client.do("GET", key+":none"); got != "$-1\r\n" {
		t.Errorf("none in version 2: %q", got)
	}
}

// What the server says unasked goes through with the next reply.
func TestRedisPush(t *testing.T) {
	t.Parallel()
	key, _, p := begin(t)
	client := dial(t, p)
	client.do("HELLO", "3")
	client.do("CLIENT", "TRACKING", "ON")
	client.do("GET", key)
	dial(t, p).do("SET", key, "v")
	client.send("PING")
	if push, err := client.reply(10 * time.Second); err != nil || !strings.Contains(push, "invalidate") {
		t.Fatalf("the push: %q, %v", push, err)
	}
	if pong, err := client.reply(10 * time.Second); err != nil || pong != "+PONG\r\n" {
		t.Errorf("the reply: %q, %v", pong, err)
	}
}

// psql runs statements, each a request of its own, in one connection.
func psql(p *Proxy, dsn, from string, statements ...string) (string, error) {
	args := []string{"--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname=" + strings.Replace(dsn, from, p.Addr, 1)}
	for _, s := range statements {
		args = append(args, "--command="+s)
	}
	out, err := exec.Command("psql", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func TestFaultsOfPostgres(t *testing.T) {
	t.Parallel()
	insert := "INSERT INTO t VALUES (1)"
	for name, want := range map[string]struct {
		kind    Kind
		rows    string
		succeed bool
	}{
		"pass":       {Pass, "1", true},
		"cut before": {CutBefore, "0", false},
		"cut within": {CutWithin, "0", false},
		"lose reply": {LoseReply, "1", false},
		"cut reply":  {CutReply, "1", false},
		"twice":      {Twice, "2", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := services.Postgres(t)
			db.SQL("CREATE TABLE t (n int)")
			p := New(t, db.Addr, Postgres())
			p.Set(func(r Request) Fault {
				if bytes.Contains(r.Bytes, []byte("INSERT")) {
					return Fault{Kind: want.kind}
				}
				return Fault{}
			})
			out, err := psql(p, db.DSN, db.Addr, "SELECT 7", insert, "SELECT 8")
			if (err == nil) != want.succeed || !strings.HasPrefix(out, "7") || strings.HasSuffix(out, "8") != want.succeed {
				t.Errorf("psql: %v: %s", err, out)
			}
			if got := db.SQL("SELECT count(*) FROM t"); got != want.rows {
				t.Errorf("%s rows, want %s", got, want.rows)
			}
		})
	}
}

// An error of the server, a wrong password and a cancelled query come through.
func TestPostgresErrors(t *testing.T) {
	t.Parallel()
	db := services.Postgres(t)
	p := New(t, db.Addr, Postgres())
	if out, err := psql(p, db.DSN, db.Addr, "SELECT 1/0"); err == nil || !strings.Contains(out, "division by zero") {
		t.Errorf("an error: %v: %s", err, out)
	}
	if out, err := psql(p, strings.Replace(db.DSN, "//postgres:", "//postgres:not", 1), db.Addr, "SELECT 1"); err == nil || !strings.Contains(out, "password authentication failed") {
		t.Errorf("a wrong password: %v: %s", err, out)
	}
	sleep := exec.Command("psql", "--command=SELECT pg_sleep(60)", "--dbname="+strings.Replace(db.DSN, db.Addr, p.Addr, 1))
	var out bytes.Buffer
	sleep.Stdout, sleep.Stderr = &out, &out
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	for db.SQL("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'") == "0" {
		time.Sleep(10 * time.Millisecond)
	}
	if err := sleep.Process.Signal(os.Interrupt); err != nil { // psql asks the server to cancel
		t.Fatal(err)
	}
	if err := sleep.Wait(); err == nil || !strings.Contains(out.String(), "canceling statement") {
		t.Errorf("cancelled: %v: %s", err, out.String())
	}
}

// Streams that are cut anywhere, or no protocol at all, end with an error.
func TestProtocolsCutAnywhere(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		read  func(*bufio.Reader) ([]byte, error)
		whole string
	}{
		"redis":    {redisReply, ">1\r\n+x\r\n*2\r\n$3\r\nabc\r\n%1\r\n:1\r\n_\r\n"},
		"request":  {postgresRequest, "B\x00\x00\x00\x05xS\x00\x00\x00\x04"},
		"reply":    {postgresReply, "C\x00\x00\x00\x06OKZ\x00\x00\x00\x05I"},
		"no size":  {postgresRequest, ""},
		"startup":  {postgresStartup, "\x00\x00\x00\x08\x00\x03\x00\x00"},
		"attached": {redisReply, "|1\r\n+k\r\n+v\r\n:1\r\n"},
	} {
		got, err := test.read(bufio.NewReader(strings.NewReader(test.whole + "more")))
		if name != "no size" && (err != nil || string(got) != test.whole) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		for i := range len(test.whole) {
			if got, err := test.read(bufio.NewReader(strings.NewReader(test.whole[:i]))); err == nil || string(got) != test.whole[:i] {
				t.Errorf("%s cut at %d: %q, %v", name, i, got, err)
			}
		}
	}
	for _, bad := range []string{"B\x00\x00\x00\x03", "B\xff\xff\xff\xff", "H\x00\x00\x00\x04", "d\x00\x00\x00\x04"} {
		if got, err := postgresRequest(bufio.NewReader(strings.NewReader(bad))); err == nil {
			t.Errorf("%q passes as %q", bad, got)
		}
	}
}
