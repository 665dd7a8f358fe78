package services_test

import (
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sealedblob/sealedblob/internal/services"
)

func TestRedisKeepsWhatItSynced(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*services.Server){"kill": (*services.Server).Kill, "stop": (*services.Server).Stop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := services.Redis(t, services.Durable()...)
			s.Redis("SET", "k", "kept")
			end(s)
			if s.Running() || reachable(s.Addr) {
				t.Error("the server runs on")
			}
			s.Start()
			if got := s.Redis("GET", "k"); got != "kept\n" {
				t.Errorf("after the restart: %q", got)
			}
		})
	}
}

func TestRedisWithoutOptionsForgets(t *testing.T) {
	t.Parallel()
	s := services.Redis(t)
	s.Redis("SET", "k", "v")
	s.Stop()
	s.Start()
	if got := s.Redis("GET", "k"); got != "\n" {
		t.Errorf("after the restart: %q", got)
	}
}

func TestOlderCopyPutBack(t *testing.T) {
	t.Parallel()
	s := services.Redis(t, services.Durable()...)
	s.Redis("SET", "k", "old")
	s.Stop()
	copied := s.Save()
	s.Start()
	s.Redis("SET", "k", "new")
	s.Kill()
	s.PutBack(copied)
	s.Start()
	if got := s.Redis("GET", "k"); got != "old\n" {
		t.Errorf("after the copy was put back: %q", got)
	}
}

func TestRedisReplica(t *testing.T) {
	t.Parallel()
	s := services.Redis(t)
	s.Redis("SET", "k", "v")
	replica := services.RedisReplica(t, s)
	if got := replica.Redis("GET", "k"); got != "v\n" {
		t.Errorf("at the replica: %q", got)
	}
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	nodes := services.RedisCluster(t, 3)
	for _, n := range nodes {
		if info := n.Redis("CLUSTER", "INFO"); !strings.Contains(info, "cluster_slots_ok:16384") {
			t.Error(info)
		}
	}
}

func TestSharedRedisIsOne(t *testing.T) {
	t.Parallel()
	key := "services:" + rand.Text()
	services.SharedRedis(t).Redis("SET", key, "v")
	if got := services.SharedRedis(t).Redis("GET", key); got != "v\n" {
		t.Errorf("the other: %q", got)
	}
}

func TestPostgresDatabasesAreApart(t *testing.T) {
	t.Parallel()
	one, other := services.Postgres(t), services.Postgres(t)
	one.SQL("CREATE TABLE t (n int)")
	if got := other.SQL("SELECT count(*) FROM pg_tables WHERE tablename = 't'"); got != "0" {
		t.Errorf("tables in the other: %s", got)
	}
	if os.Getenv("SEALEDBLOB_TEST_POSTGRES") != "" {
		return // its settings are somebody else's
	}
	if got := one.SQL("SELECT current_setting('fsync') || current_setting('synchronous_commit')"); got != "onon" {
		t.Errorf("durability %q", got)
	}
	if strings.Contains(one.SQL("SELECT setting FROM pg_settings WHERE name = 'unix_socket_directories'"), "/") {
		t.Error("listens on a socket in the file system")
	}
}

func TestPostgresKeepsWhatItCommitted(t *testing.T) {
	t.Parallel()
	s := services.PostgresServer(t, "max_connections=20")
	s.SQL("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
	s.Kill()
	if s.Running() {
		t.Error("the server runs on")
	}
	s.Start()
	if got := s.SQL("SELECT n || '/' || current_setting('max_connections') FROM t"); got != "7/20" {
		t.Errorf("after the restart: %s", got)
	}
}

func TestPostgresAsksForThePassword(t *testing.T) {
	t.Parallel()
	s := services.Postgres(t)
	cmd := exec.Command("psql", "--no-password", "--command=SELECT 1", "--dbname=postgres://postgres@"+s.Addr+"/postgres")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "password") {
		t.Errorf("without one: %v: %s", err, out)
	}
}

func TestPostgresStandby(t *testing.T) {
	t.Parallel()
	s := services.PostgresServer(t)
	s.SQL("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
	standby := services.PostgresStandby(t, s)
	if got := standby.SQL("SELECT n || pg_is_in_recovery()::text FROM t"); got != "7true" {
		t.Errorf("at the standby: %s", got)
	}
}

// A test process that dies without cleaning up leaves no server and no folder.
func TestServersEndWithTheProcess(t *testing.T) {
	t.Parallel()
	if os.Getenv("SERVICES_DIE") != "" {
		s := services.Redis(t)
		println("addr=" + s.Addr)
		println("dir=" + s.Dir)
		os.Exit(3)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "SERVICES_DIE=1")
	out, _ := cmd.CombinedOutput()
	_, rest, found := strings.Cut(string(out), "addr=")
	addr, rest, _ := strings.Cut(rest, "\n")
	dir, _, _ := strings.Cut(strings.TrimPrefix(rest, "dir="), "\n")
	if !found {
		t.Fatalf("the other process: %s", out)
	}
	limit := time.Now().Add(20 * time.Second)
	for ; reachable(addr) || exists(dir); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s serves: %v; %s is there: %v", addr, reachable(addr), dir, exists(dir))
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func reachable(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
